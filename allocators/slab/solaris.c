/*
 * solaris.c - the object layer of Solaris: the first slab allocator, with magazines.
 *
 * J. Bonwick, The Slab Allocator, USENIX Summer 1994; J. Bonwick and J. Adams, Magazines and Vmem, USENIX 2001; rules
 * and numbers as in OpenSolaris kmem.c (usr/src/uts/common/os; functions named below).
 *
 *      cpu       loaded and previous magazine: a stack of up to M objects each
 *       | full for empty
 *      depot     full and empty magazines, one lock
 *       | object by object
 *      slabs     free list of slabs; a slab with no object out goes back to the page layer at once
 *
 * Slabs (kmem_cache_create, kmem_slab_create). Objects of less than 1/8 page: one page, struct kmem_slab at its end,
 * the link of a free object in its last word. Larger: the number of pages, up to eight objects', that wastes least per
 * object, so at most 1/8; descriptors outside (struct kmem_bufctl). The rest of a slab colours its successors: each
 * begins one alignment further, until the rest is used up. Complete slabs are on no list; a slab that gets an object
 * back is the first of the free list.
 *
 * Magazines (kmem_cache_alloc, kmem_cache_free). The exchange of loaded and previous keeps a cpu at least one magazine
 * away from the depot. Magazine sizes begin small by object size (kmem_magtype) and grow when the depot is contended:
 * more than 3 failed attempts at its lock in an update interval of 15 s (kmem_cache_update). There are no threads here,
 * so contention is told from the order of operations: each cpu does one at a time, so of two that follow each other
 * within as many operations as there are cpus each may overlap the other; a depot access that follows one of another
 * cpu so closely is a failed attempt.
 *
 * Every 15 s of trace time the depot's working set is taken anew: what it held at least, of full and of empty
 * magazines, was not needed (kmem_depot_ws_update), and with reap=on is given back as kmem_reap does when memory is
 * short.
 *
 * Unlike the original: slabs are contiguous pages (Solaris maps single pages), so when there is no such run a slab for
 * one object is tried; magazines, slab descriptors and bufctls of large objects are counted as metadata outside the
 * arena, where Solaris has caches for them; the page map stands for the hash of bufctls; sizes of kmalloc are those of
 * all strategies here; the consolidator of 2008, which moves objects with their owner's help, is left out.
 *
 * Active objects are the live ones (kstat buf_inuse): what magazines hold is not in use.
 *
 * Cost: O(1) but for a new slab and the interval's work. Metadata: a descriptor a slab, 24 bytes an object of 1/8 page
 * or more, 8 bytes a round. Invariants: cache_validate.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/slab/guard.h"
#include "allocators/slab/parked.h"
#include "allocators/slab/seed.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/round.h"

enum {
	KMEM_ALIGN = 8,
	KMEM_VOID_FRACTION = 8,    /* never waste more than 1/8 */
	KMEM_SLAB_BYTES = 56,      /* sizeof (kmem_slab_t): seven words */
	KMEM_DEPOT_CONTENTION = 3, /* failed attempts in an interval that are borne */
	MAGAZINE_ROUNDS_MAX = 143,
};
#define KMEM_REAP_INTERVAL_NS 15000000000ull
#define OBJECT_BYTES_MAX (1ull << 40)

/* Objects larger than minimum_bytes begin with this type; one smaller than maximum_bytes may go on to the next. */
struct magazine_type {
	uint32_t rounds;
	uint64_t minimum_bytes, maximum_bytes;
};
static const struct magazine_type magazine_types[] = {
	{1, 3200, 65536}, {3, 256, 32768}, {7, 64, 16384}, {15, 0, 8192}, {31, 0, 4096},
	{47, 0, 2048},    {63, 0, 1024},   {95, 0, 512},   {143, 0, 0},
};

struct magazine {
	struct magazine *next;
	uint64_t round[];
};

/* Of one cpu. Rounds are -1 where there is no magazine. */
struct magazine_cpu {
	struct magazine *loaded, *previous;
	int32_t rounds, previous_rounds;
};

struct depot_list {
	struct magazine *first;
	uint64_t total;
	uint64_t minimum;    /* since the last update */
	uint64_t reap_limit; /* the minimum of the interval before */
};

/* What a slab of large objects keeps of each. */
struct bufctl {
	struct bufctl *next;
	uint64_t address;
	struct slab *slab;
};

struct bufctls {
	struct bufctl *first; /* free ones */
	struct bufctl bufctl[];
};

struct solaris_config {
	uint64_t magazine; /* rounds; 0: by object size */
	uint32_t percpu, resize, reap, colouring, fit, debug;
};

struct solaris_heap {
	struct object_heap heap;
	struct solaris_config config;
	uint64_t operations; /* of all caches */
	uint64_t next_update_ns;
};

struct solaris_cache {
	struct slab_cache slabs;
	struct slab_list partial, complete;
	uint64_t slab_bytes, least_slab_bytes;
	uint64_t colour_bytes, colour_limit;
	struct magazine_cpu *cpus; /* NULL: no magazines */
	uint32_t type;             /* in magazine_types */
	uint32_t rounds;           /* of a magazine */
	struct depot_list full, empty;
	uint64_t contention, contention_before;
	uint64_t depot_operation; /* of the last depot access, by depot_cpu */
	uint16_t depot_cpu;
	bool has_contention_pause; /* just resized */
};

enum { LIST_PARTIAL, LIST_COMPLETE };

static struct solaris_heap *heap_of(const struct solaris_cache *cache)
{
	return (struct solaris_heap *)(void *)cache->slabs.cache.heap;
}

static struct solaris_cache *cache_of(const struct object_cache *cache)
{
	return (struct solaris_cache *)(uintptr_t)cache;
}

/* ---------------------------------------------------------------------------------------------- slab layer */

static uint64_t bufctls_bytes(const struct slab *slab)
{
	return sizeof(struct bufctls) + slab->objects * sizeof(struct bufctl);
}

/* The last object first, as kmem_slab_create chains them. */
static bool chain_objects(struct solaris_cache *cache, struct slab *slab)
{
	if (!cache->slabs.has_own_index) {
		slab->free_head = KML_NO_ADDRESS;
		for (uint32_t slot = 0; slot < slab->objects; slot++) {
			uint64_t object = slab_object(slab, slot);
			*slab_link(slab, object) = slab->free_head;
			slab->free_head = object;
		}
		return true;
	}
	struct bufctls *index = malloc(bufctls_bytes(slab));
	if (!index)
		return false;
	index->first = NULL;
	for (uint32_t slot = 0; slot < slab->objects; slot++) {
		index->bufctl[slot] =
			(struct bufctl){.next = index->first, .address = slab_object(slab, slot), .slab = slab};
		index->first = &index->bufctl[slot];
	}
	slab->index = index;
	heap_of(cache)->heap.books.metadata_bytes += bufctls_bytes(slab);
	return true;
}

static void slab_return(struct solaris_cache *cache, struct slab *slab, uint16_t cpu)
{
	if (slab->index)
		heap_of(cache)->heap.books.metadata_bytes -= bufctls_bytes(slab);
	slab_destroy(slab, cpu);
}

/* The colour of the next slab: one alignment further than the last one's. */
static uint64_t next_colour(struct solaris_cache *cache)
{
	if (!heap_of(cache)->config.colouring)
		return 0;
	cache->colour_bytes += cache->slabs.align_bytes;
	if (cache->colour_bytes > cache->colour_limit)
		cache->colour_bytes = 0;
	return cache->colour_bytes;
}

/* kmem_slab_create. On no list. */
static struct slab *create_slab(struct solaris_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	enum slab_fit fit = heap_of(cache)->config.fit;
	struct slab *slab =
		slab_create_sized(&cache->slabs, cache->slab_bytes, fit, next_colour(cache), request, status);
	if (!slab && cache->slab_bytes > cache->least_slab_bytes)
		slab = slab_create_sized(&cache->slabs, cache->least_slab_bytes, fit, 0, request, status);
	if (!slab || chain_objects(cache, slab))
		return slab;
	slab_destroy(slab, request->cpu);
	*status = KML_NO_MEMORY;
	return NULL;
}

static struct slab *slab_add(struct solaris_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	struct slab *slab = create_slab(cache, request, status);
	if (!slab)
		return NULL;
	slab->list = LIST_PARTIAL;
	slab_list_add_head(&cache->partial, slab);
	return slab;
}

static uint64_t pop_object(struct slab *slab)
{
	struct bufctls *index = slab->index;
	if (!index)
		return slab_pop(slab);
	struct bufctl *bufctl = index->first;
	KML_CHECK(bufctl, "slab at %" PRIu64 ": %u of %u objects in use and none free", slab->address, slab->in_use,
		  slab->objects);
	index->first = bufctl->next;
	slab_count(slab, 1);
	return bufctl->address;
}

static void push_object(struct slab *slab, uint64_t object)
{
	struct bufctls *index = slab->index;
	if (!index) {
		slab_push(slab, object);
		return;
	}
	struct bufctl *bufctl = &index->bufctl[slab_slot(slab, object)];
	bufctl->next = index->first;
	index->first = bufctl;
	slab_count(slab, -1);
}

static void move_slab(struct solaris_cache *cache, struct slab *slab, uint8_t list)
{
	struct slab_list *lists[] = {&cache->partial, &cache->complete};
	slab_list_remove(lists[slab->list], slab);
	slab->list = list;
	slab_list_add_head(lists[list], slab);
}

/* kmem_slab_alloc. */
static uint64_t slab_layer_take(struct solaris_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	struct slab *slab = slab_list_first(&cache->partial);
	if (!slab)
		slab = slab_add(cache, request, status);
	if (!slab)
		return KML_NO_ADDRESS;
	uint64_t object = pop_object(slab);
	if (slab->in_use == slab->objects)
		move_slab(cache, slab, LIST_COMPLETE);
	return object;
}

/* kmem_slab_free. */
static void slab_layer_give(struct solaris_cache *cache, uint64_t object, uint16_t cpu)
{
	struct slab *slab = slab_of(cache->slabs.cache.heap, object);
	push_object(slab, object);
	if (slab->list == LIST_COMPLETE)
		move_slab(cache, slab, LIST_PARTIAL);
	if (slab->in_use > 0)
		return;
	slab_list_remove(&cache->partial, slab);
	slab_return(cache, slab, cpu);
}

/* ------------------------------------------------------------------------------------------ start in mid-life */

static struct slab *seed_create(struct slab_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	return create_slab(cache_of(&cache->cache), request, status);
}

/* The free slots in this order; magazines begin empty, so the others are granted. */
static void seed_adopt(struct slab *slab, const uint32_t *free_slots, uint32_t count, enum seed_place place,
		       uint16_t cpu)
{
	struct solaris_cache *cache = cache_of(&slab->cache->cache);
	struct bufctls *index = slab->index;
	(void)place;
	if (slab->live == 0) {
		slab_return(cache, slab, cpu);
		return;
	}
	slab->free_head = KML_NO_ADDRESS;
	if (index)
		index->first = NULL;
	for (uint32_t i = count; i-- > 0;) {
		uint64_t object = slab_object(slab, free_slots[i]);
		if (index) {
			index->bufctl[free_slots[i]].next = index->first;
			index->first = &index->bufctl[free_slots[i]];
		} else {
			*slab_link(slab, object) = slab->free_head;
			slab->free_head = object;
		}
	}
	slab->list = count > 0 ? LIST_PARTIAL : LIST_COMPLETE;
	slab_list_add_tail(count > 0 ? &cache->partial : &cache->complete, slab);
}

/* No slab is a cpu's own. */
static const struct seed_rules seed_rules = {.node_batch = 1, .create = seed_create, .adopt = seed_adopt};

static void solaris_seed(struct object_cache *cache, const struct kml_seed *seed)
{
	seed_note(slab_cache_of(cache), &seed_rules, seed);
}

static enum kml_status solaris_take_warm(struct object_cache *cache, const struct kml_request *request,
					 struct object_place *place)
{
	return seed_take(slab_cache_of(cache), &seed_rules, request, place);
}

static void solaris_cache_settle(struct object_cache *cache)
{
	seed_settle(slab_cache_of(cache), &seed_rules);
}

/* -------------------------------------------------------------------------------------- magazines and depot */

static uint64_t magazine_bytes(const struct solaris_cache *cache)
{
	return sizeof(struct magazine) + cache->rounds * sizeof(uint64_t);
}

static struct magazine *magazine_create(struct solaris_cache *cache)
{
	struct magazine *magazine = malloc(magazine_bytes(cache));
	if (magazine)
		heap_of(cache)->heap.books.metadata_bytes += magazine_bytes(cache);
	return magazine;
}

/* Its objects go to the slab layer. */
static void magazine_destroy(struct solaris_cache *cache, struct magazine *magazine, int32_t rounds, uint16_t cpu)
{
	if (!magazine)
		return;
	for (int32_t round = 0; round < rounds; round++)
		slab_layer_give(cache, magazine->round[round], cpu);
	heap_of(cache)->heap.books.metadata_bytes -= magazine_bytes(cache);
	free(magazine);
}

static void depot_give(struct depot_list *list, struct magazine *magazine)
{
	magazine->next = list->first;
	list->first = magazine;
	list->total++;
}

static struct magazine *depot_pop(struct depot_list *list)
{
	struct magazine *magazine = list->first;
	if (!magazine)
		return NULL;
	list->first = magazine->next;
	list->total--;
	if (!KML_PLANTED(solaris_minimum_stale) && list->total < list->minimum)
		list->minimum = list->total;
	return magazine;
}

/* kmem_depot_alloc. An access that another cpu's may overlap has found the lock taken. */
static struct magazine *depot_take(struct solaris_cache *cache, struct depot_list *list, uint16_t cpu)
{
	const struct solaris_heap *heap = heap_of(cache);
	uint64_t distance = heap->operations - cache->depot_operation;
	if (cache->depot_operation > 0 && cache->depot_cpu != cpu && distance <= heap->heap.cpu_count)
		cache->contention++;
	cache->depot_operation = heap->operations;
	cache->depot_cpu = cpu;
	return depot_pop(list);
}

/* kmem_cpu_reload. */
static void reload(struct magazine_cpu *cpu, struct magazine *magazine, int32_t rounds)
{
	cpu->previous = cpu->loaded;
	cpu->previous_rounds = KML_PLANTED(solaris_rounds_stale) ? cpu->previous_rounds : cpu->rounds;
	cpu->loaded = magazine;
	cpu->rounds = rounds;
}

/* kmem_cache_alloc; KML_NO_ADDRESS: the magazine layer has none. */
static uint64_t magazine_take(struct solaris_cache *cache, uint16_t number)
{
	struct magazine_cpu *cpu = &cache->cpus[number];
	for (;;) {
		if (cpu->rounds > 0)
			return cpu->loaded->round[--cpu->rounds];
		if (cpu->previous_rounds > 0) {
			reload(cpu, cpu->previous, cpu->previous_rounds);
			continue;
		}
		struct magazine *full = depot_take(cache, &cache->full, number);
		if (!full)
			return KML_NO_ADDRESS;
		if (cpu->previous)
			depot_give(&cache->empty, cpu->previous);
		reload(cpu, full, (int32_t)cache->rounds);
	}
}

/* kmem_cache_free; false: no magazine can be had. */
static bool magazine_give(struct solaris_cache *cache, uint64_t object, uint16_t number)
{
	struct magazine_cpu *cpu = &cache->cpus[number];
	for (;;) {
		if (cpu->loaded && cpu->rounds < (int32_t)cache->rounds) {
			cpu->loaded->round[cpu->rounds++] = object;
			return true;
		}
		if (cpu->previous_rounds == 0) {
			reload(cpu, cpu->previous, cpu->previous_rounds);
			continue;
		}
		struct magazine *empty = depot_take(cache, &cache->empty, number);
		if (!empty) {
			empty = magazine_create(cache);
			if (!empty)
				return false;
			depot_give(&cache->empty, empty);
			continue;
		}
		if (cpu->previous)
			depot_give(&cache->full, cpu->previous);
		reload(cpu, empty, 0);
	}
}

/* What a cpu has goes to the slab layer. */
static void purge_cpu(struct solaris_cache *cache, uint16_t number)
{
	struct magazine_cpu *cpu = &cache->cpus[number];
	struct magazine_cpu had = *cpu;
	*cpu = (struct magazine_cpu){.rounds = -1, .previous_rounds = -1};
	magazine_destroy(cache, had.loaded, had.rounds, number);
	magazine_destroy(cache, had.previous, KML_PLANTED(solaris_drain_rounds) ? had.rounds : had.previous_rounds,
			 number);
}

/* kmem_depot_ws_update. */
static void update_working_set(struct depot_list *list)
{
	list->reap_limit = list->minimum;
	list->minimum = list->total;
}

static void reap_list(struct solaris_cache *cache, struct depot_list *list, int32_t rounds)
{
	uint64_t count = list->reap_limit < list->minimum ? list->reap_limit : list->minimum;
	for (; count > 0; count--)
		magazine_destroy(cache, depot_pop(list), rounds, 0);
}

/* kmem_depot_ws_reap: what has fallen out of the working set. */
static void reap_depot(struct solaris_cache *cache)
{
	reap_list(cache, &cache->full, KML_PLANTED(solaris_reap_loses_rounds) ? 0 : (int32_t)cache->rounds);
	reap_list(cache, &cache->empty, 0);
}

/* kmem_cache_magazine_purge: two updates in a row leave no working set. */
static void purge(struct solaris_cache *cache)
{
	for (uint32_t cpu = 0; cpu < heap_of(cache)->heap.cpu_count; cpu++)
		purge_cpu(cache, (uint16_t)cpu);
	for (int i = 0; i < 2; i++) {
		update_working_set(&cache->full);
		update_working_set(&cache->empty);
	}
	reap_depot(cache);
}

/* kmem_cache_update, and kmem_cache_magazine_resize where it asks for it. */
static void update_cache(struct solaris_cache *cache)
{
	const struct solaris_config *config = &heap_of(cache)->config;
	update_working_set(&cache->full);
	update_working_set(&cache->empty);
	bool is_contended = cache->contention - cache->contention_before > KMEM_DEPOT_CONTENTION;
	bool may_grow = config->resize && config->magazine == 0 &&
			cache->slabs.slot_bytes < magazine_types[cache->type].maximum_bytes;
	bool resizes = is_contended && may_grow && !cache->has_contention_pause;
	cache->contention_before = cache->contention;
	cache->has_contention_pause = false;
	if (resizes) {
		if (!KML_PLANTED(solaris_resize_keeps_magazines))
			purge(cache);
		cache->rounds = magazine_types[++cache->type].rounds;
		cache->has_contention_pause = true;
	} else if (config->reap) {
		reap_depot(cache);
	}
}

/* -------------------------------------------------------------------------------------------- the strategy */

static bool solaris_start(struct object_heap *heap, const void *config, struct kml_error *error)
{
	(void)error;
	struct solaris_heap *own = (struct solaris_heap *)(void *)heap;
	memcpy(&own->config, config, sizeof own->config);
	own->next_update_ns = KMEM_REAP_INTERVAL_NS;
	return true;
}

/* Pages for a slab of large objects: of up to eight objects, what wastes least per object. */
static uint64_t best_slab_bytes(uint64_t chunk_bytes, uint64_t page_bytes)
{
	uint64_t best_bytes = 0, least_waste = UINT64_MAX;
	for (uint64_t chunks = 1; chunks <= KMEM_VOID_FRACTION; chunks++) {
		uint64_t slab_bytes = kml_round_up(chunk_bytes * chunks, page_bytes);
		chunks = slab_bytes / chunk_bytes;
		uint64_t waste = slab_bytes % chunk_bytes / chunks;
		if (waste < least_waste) {
			least_waste = waste;
			best_bytes = slab_bytes;
		}
	}
	return best_bytes;
}

/* kmem_cache_create. */
static bool set_geometry(struct solaris_cache *cache)
{
	struct slab_cache *slabs = &cache->slabs;
	const struct kml_cache *description = &slabs->cache.description;
	uint64_t page_bytes = slabs->cache.heap->page_bytes;
	uint64_t align_bytes = description->align_bytes > KMEM_ALIGN ? description->align_bytes : KMEM_ALIGN;
	if ((align_bytes & (align_bytes - 1)) != 0 || description->object_bytes > OBJECT_BYTES_MAX ||
	    align_bytes > OBJECT_BYTES_MAX)
		return false;
	enum guard debug = heap_of(cache)->config.debug;
	uint64_t rounded_bytes = kml_round_up(guard_description(description, debug).object_bytes, KMEM_ALIGN);
	uint64_t linked_bytes = rounded_bytes + (debug == GUARD_OFF ? 0 : KMEM_ALIGN); /* no link in a guarded object */
	slabs->align_bytes = align_bytes;
	slabs->slot_bytes = kml_round_up(linked_bytes, align_bytes);
	slabs->link_offset = linked_bytes - KMEM_ALIGN;
	if (slabs->slot_bytes < page_bytes / KMEM_VOID_FRACTION) {
		slabs->trailer_bytes = KMEM_SLAB_BYTES;
		cache->slab_bytes = cache->least_slab_bytes = page_bytes;
	} else {
		slabs->has_own_index = true;
		slabs->slot_bytes = kml_round_up(rounded_bytes, align_bytes);
		cache->slab_bytes = best_slab_bytes(slabs->slot_bytes, page_bytes);
		cache->least_slab_bytes = kml_round_up(slabs->slot_bytes, page_bytes);
	}
	uint64_t usable_bytes = cache->slab_bytes - slabs->trailer_bytes;
	if (usable_bytes / slabs->slot_bytes > SLAB_OBJECTS_MAX)
		return false;
	slabs->objects = (uint32_t)(usable_bytes / slabs->slot_bytes);
	cache->colour_limit = usable_bytes % slabs->slot_bytes;
	if (cache->colour_limit >= page_bytes)
		cache->colour_limit = page_bytes - 1;
	guard_open(slabs, debug);
	return slabs->objects > 0;
}

static bool solaris_cache_open(struct object_cache *base)
{
	struct solaris_cache *cache = cache_of(base);
	struct solaris_heap *heap = heap_of(cache);
	if (!set_geometry(cache))
		return false;
	slab_list_clear(&cache->partial);
	slab_list_clear(&cache->complete);
	if (!heap->config.percpu)
		return true;
	while (cache->slabs.slot_bytes <= magazine_types[cache->type].minimum_bytes)
		cache->type++;
	cache->rounds = magazine_types[cache->type].rounds;
	if (heap->config.magazine > 0)
		cache->rounds = (uint32_t)heap->config.magazine;
	cache->cpus = calloc(heap->heap.cpu_count, sizeof *cache->cpus);
	if (!cache->cpus)
		return false;
	for (uint32_t cpu = 0; cpu < heap->heap.cpu_count; cpu++)
		cache->cpus[cpu].rounds = cache->cpus[cpu].previous_rounds = -1;
	heap->heap.books.metadata_bytes += heap->heap.cpu_count * sizeof *cache->cpus;
	return true;
}

static void free_magazines(struct magazine *magazine)
{
	while (magazine) {
		struct magazine *next = magazine->next;
		free(magazine);
		magazine = next;
	}
}

/* At destroy the objects are forgotten; at close there is nothing left. */
static void solaris_cache_release(struct object_cache *base)
{
	struct solaris_cache *cache = cache_of(base);
	seed_forget(&cache->slabs);
	if (!cache->cpus)
		return;
	for (uint32_t cpu = 0; cpu < base->heap->cpu_count; cpu++) {
		free(cache->cpus[cpu].loaded);
		free(cache->cpus[cpu].previous);
	}
	free_magazines(cache->full.first);
	free_magazines(cache->empty.first);
	base->heap->books.metadata_bytes -= base->heap->cpu_count * sizeof *cache->cpus;
	free(cache->cpus);
}

static void solaris_cache_shrink(struct object_cache *base)
{
	struct solaris_cache *cache = cache_of(base);
	if (cache->cpus)
		purge(cache);
}

static void solaris_cache_close(struct object_cache *base)
{
	struct solaris_cache *cache = cache_of(base);
	solaris_cache_shrink(base);
	KML_CHECK(cache->slabs.slabs == 0, "cache %s: %" PRIu64 " slabs stay although no object is live",
		  base->description.name, cache->slabs.slabs);
}

static void solaris_cache_drain(struct object_cache *base, uint16_t cpu)
{
	struct solaris_cache *cache = cache_of(base);
	if (cache->cpus)
		purge_cpu(cache, cpu);
}

static enum kml_status solaris_take(struct object_cache *base, const struct kml_request *request,
				    struct object_place *place)
{
	struct solaris_cache *cache = cache_of(base);
	enum kml_status status = KML_OK;
	heap_of(cache)->operations++;
	uint64_t object = cache->cpus ? magazine_take(cache, request->cpu) : KML_NO_ADDRESS;
	if (object == KML_NO_ADDRESS)
		object = slab_layer_take(cache, request, &status);
	if (object == KML_NO_ADDRESS)
		return status;
	slab_grant(slab_of(base->heap, object), object, place);
	return KML_OK;
}

static void solaris_give(const struct object_place *place, const struct kml_release *release)
{
	struct solaris_cache *cache = cache_of(place->cache);
	heap_of(cache)->operations++;
	slab_ungrant(place);
	if (!cache->cpus || !magazine_give(cache, place->address, release->cpu))
		slab_layer_give(cache, place->address, release->cpu);
}

/* kmem_update. */
static void update_caches(struct object_heap *heap)
{
	for (uint32_t i = 0; i < heap->cache_count + KMALLOC_CACHES; i++) {
		struct solaris_cache *cache = heap->caches[i] ? cache_of(heap->caches[i]) : NULL;
		if (cache && cache->cpus)
			update_cache(cache);
	}
}

/* Every update since the last tick, as far as it changes anything: after a resize there is a pause of one, and two in a
 * row leave no working set. */
static uint64_t solaris_tick(struct object_heap *heap, uint64_t now_ns)
{
	enum { UPDATES_MAX = 4 };
	struct solaris_heap *own = (struct solaris_heap *)(void *)heap;
	if (now_ns < own->next_update_ns)
		return own->next_update_ns;
	uint64_t updates = (now_ns - own->next_update_ns) / KMEM_REAP_INTERVAL_NS + 1;
	for (uint64_t i = 0; i < updates && i < UPDATES_MAX; i++)
		update_caches(heap);
	own->next_update_ns += updates * KMEM_REAP_INTERVAL_NS;
	return own->next_update_ns;
}

/* ------------------------------------------------------------------------------------------ figures and checks */

static void solaris_cache_stats(const struct object_cache *base, struct kml_cache_stats *stats)
{
	const struct solaris_cache *cache = cache_of(base);
	stats->active_objects = base->live;
	stats->total_objects = cache->slabs.total_objects;
	stats->active_slabs = stats->slabs = cache->slabs.slabs;
	stats->slab_bytes = cache->slabs.slab_bytes;
	stats->slot_bytes = cache->slabs.slot_bytes;
	stats->objects_per_slab = cache->slabs.objects;
	stats->pages_per_slab = (uint32_t)(cache->slab_bytes / base->heap->page_bytes);
}

/* A bit for each bufctl on the slab's list, in a new bitmap; NULL without memory or when the list is damaged. */
static uint64_t *free_bitmap(const struct slab *slab, struct kml_error *error)
{
	uint64_t *bits = calloc(slab->objects / 64 + 1, sizeof *bits);
	const struct bufctls *index = slab->index;
	uint32_t count = 0;
	if (!bits) {
		kml_fail(error, "no memory to check a slab of %u objects", slab->objects);
		return NULL;
	}
	for (const struct bufctl *bufctl = index->first; bufctl; bufctl = bufctl->next) {
		uint64_t slot = (uint64_t)(bufctl - index->bufctl);
		if (slot >= slab->objects || slab_is_granted(slab, (uint32_t)slot) ||
		    bufctl->address != slab_object(slab, (uint32_t)slot) || (bits[slot / 64] >> slot % 64 & 1))
			break;
		bits[slot / 64] |= 1ull << slot % 64;
		count++;
	}
	if (count == slab->objects - slab->in_use)
		return bits;
	kml_fail(error, "cache %s, slab at %" PRIu64 ": %u good objects on its free list, %u of %u in use",
		 slab->cache->cache.description.name, slab->address, count, slab->in_use, slab->objects);
	free(bits);
	return NULL;
}

static bool solaris_walk_run(const struct object_heap *heap, void *run, kml_visit *visit, void *context)
{
	const struct slab *slab = run;
	if (!slab->index)
		return slab_walk_run(heap, run, visit, context);
	struct kml_error error;
	uint64_t *bits = free_bitmap(slab, &error);
	bool goes_on = slab_walk_slots(slab, bits, visit, context);
	free(bits);
	return goes_on;
}

static bool check_slab(const struct slab *slab, const struct parked *parked, struct kml_error *error)
{
	if (!slab_check(slab, error))
		return false;
	uint64_t *bits = slab->index ? free_bitmap(slab, error) : slab_chain_slots(slab, error);
	bool is_good = bits && parked_check_slab(parked, slab, bits, 0, error);
	free(bits);
	return is_good;
}

static bool check_slabs(const struct solaris_cache *cache, uint8_t list, const struct parked *parked,
			struct kml_error *error)
{
	const struct slab_list *slabs = list == LIST_PARTIAL ? &cache->partial : &cache->complete;
	const char *name = cache->slabs.cache.description.name;
	if (!slab_list_check(slabs, cache->slabs.slabs, name, error))
		return false;
	for (const struct slab *slab = slab_list_first(slabs); slab; slab = slab_list_next(slabs, slab)) {
		bool is_complete = slab->in_use == slab->objects;
		if (slab->list != list || slab->cache != &cache->slabs || is_complete != (list == LIST_COMPLETE) ||
		    slab->in_use == 0)
			return kml_fail(error,
					"cache %s: the slab at %" PRIu64
					" with %u of %u objects out is on the list of %s slabs",
					name, slab->address, slab->in_use, slab->objects,
					list == LIST_COMPLETE ? "complete" : "partial");
		if (!check_slab(slab, parked, error))
			return false;
	}
	return true;
}

static bool gather_magazine(struct parked *parked, const struct magazine *magazine, int64_t rounds,
			    struct kml_error *error)
{
	for (int64_t round = 0; round < rounds; round++)
		if (!parked_add(parked, magazine->round[round], "a magazine", error))
			return false;
	return true;
}

static bool gather_depot(struct parked *parked, const struct depot_list *list, int64_t rounds, const char *name,
			 struct kml_error *error)
{
	uint64_t count = 0;
	for (const struct magazine *magazine = list->first; magazine && count <= list->total; count++) {
		if (!gather_magazine(parked, magazine, rounds, error))
			return false;
		magazine = magazine->next;
	}
	if (count != list->total || list->minimum > list->total)
		return kml_fail(error,
				"cache %s: %" PRIu64 " %s magazines or more in the depot, %" PRIu64 " counted, %" PRIu64
				" at least",
				parked->cache->cache.description.name, count, name, list->total, list->minimum);
	return true;
}

static bool gather_cpu(const struct solaris_cache *cache, uint32_t number, struct parked *parked,
		       struct kml_error *error)
{
	const struct magazine_cpu *cpu = &cache->cpus[number];
	int32_t most = (int32_t)cache->rounds;
	bool loaded_is_good = cpu->loaded ? cpu->rounds >= 0 && cpu->rounds <= most : cpu->rounds == -1;
	bool previous_is_good =
		cpu->previous ? cpu->previous_rounds == 0 || cpu->previous_rounds == most : cpu->previous_rounds == -1;
	if (!loaded_is_good || !previous_is_good)
		return kml_fail(error, "cache %s, cpu %u: %d and %d rounds in magazines of %d",
				cache->slabs.cache.description.name, number, cpu->rounds, cpu->previous_rounds, most);
	return gather_magazine(parked, cpu->loaded, cpu->rounds, error) &&
	       gather_magazine(parked, cpu->previous, cpu->previous_rounds, error);
}

static bool gather(const struct solaris_cache *cache, struct parked *parked, struct kml_error *error)
{
	for (uint32_t cpu = 0; cache->cpus && cpu < cache->slabs.cache.heap->cpu_count; cpu++)
		if (!gather_cpu(cache, cpu, parked, error))
			return false;
	return gather_depot(parked, &cache->full, cache->rounds, "full", error) &&
	       gather_depot(parked, &cache->empty, 0, "empty", error) && parked_sort(parked, error);
}

static bool check_sums(const struct solaris_cache *cache, uint64_t parked, struct kml_error *error)
{
	const struct slab_cache *slabs = &cache->slabs;
	if (cache->partial.count + cache->complete.count == slabs->slabs &&
	    slabs->total_objects - slabs->free_objects == slabs->cache.live + parked)
		return true;
	return kml_fail(error,
			"cache %s: %" PRIu64 " slabs on lists of %" PRIu64 "; %" PRIu64 " objects live and %" PRIu64
			" parked, %" PRIu64 " out of slabs",
			slabs->cache.description.name, cache->partial.count + cache->complete.count, slabs->slabs,
			slabs->cache.live, parked, slabs->total_objects - slabs->free_objects);
}

static bool solaris_cache_validate(const struct object_cache *base, struct kml_error *error)
{
	const struct solaris_cache *cache = cache_of(base);
	struct parked parked = {.cache = &cache->slabs};
	bool is_good = gather(cache, &parked, error) && check_slabs(cache, LIST_PARTIAL, &parked, error) &&
		       check_slabs(cache, LIST_COMPLETE, &parked, error) && check_sums(cache, parked.count, error);
	parked_free(&parked);
	return is_good;
}

/* ------------------------------------------------------------------------------------------------- its table */

static const char *const switch_names[] = {"off", "on", NULL};

#define SWITCH(name_, field, default_, help_)                                                                          \
	{                                                                                                              \
		.name = (name_), .type = KML_PARAM_CHOICE, .offset = offsetof(struct solaris_config, field),           \
		.default_text = (default_), .choices = switch_names, .help = (help_)                                   \
	}

static const struct kml_param solaris_params[] = {
	SWITCH("percpu", percpu, "on", "off: no magazines, one lock for every operation (the allocator of 1994)"),
	{.name = "magazine",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct solaris_config, magazine),
	 .default_text = "auto",
	 .minimum = 1,
	 .maximum = MAGAZINE_ROUNDS_MAX,
	 .help = "objects in a magazine, for good; auto: 1, 3, 7 or 15 by object size, and then resized"},
	SWITCH("resize", resize, "on", "magazines grow when the depot is contended (kmem_depot_contention)"),
	SWITCH("reap", reap, "on", "magazines outside the depot's working set are given back every 15 s"),
	SWITCH("colouring", colouring, "on", "slabs begin at different offsets"),
	{.name = "debug",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct solaris_config, debug),
	 .default_text = "off",
	 .choices = guard_names,
	 .help = GUARD_HELP},
	{.name = "fit",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct solaris_config, fit),
	 .default_text = "asked",
	 .choices = slab_fit_names,
	 .help = "what a slab uses of the pages granted"},
	{.name = NULL}};

static const struct object_strategy strategy;

static struct kml_heap *solaris_create(const struct kml_environment *environment, const void *config,
				       struct kml_error *error)
{
	return object_create(&strategy, environment, config, error);
}

extern const struct kml_allocator kml_solaris;
const struct kml_allocator kml_solaris = {
	.abi_version = KML_ABI_VERSION,
	.name = "solaris",
	.title = "Solaris slabs with magazines",
	.citation = "Bonwick, The Slab Allocator, USENIX 1994; Bonwick and Adams, Magazines and Vmem, USENIX 2001",
	.summary = "magazines per cpu, a depot of full and empty ones, slabs that waste at most 1/8; O(1)",
	.layer = KML_LAYER_OBJECTS,
	.params = solaris_params,
	.config_bytes = sizeof(struct solaris_config),
	.create = solaris_create,
	OBJECT_COMMON_OPERATIONS,
	.seed = object_seed,
	.settle = object_settle,
	.tick = object_tick,
};

static const struct object_strategy strategy = {
	.allocator = &kml_solaris,
	.heap_bytes = sizeof(struct solaris_heap),
	.cache_bytes = sizeof(struct solaris_cache),
	.start = solaris_start,
	.cache_open = solaris_cache_open,
	.cache_close = solaris_cache_close,
	.cache_release = solaris_cache_release,
	.run_release = slab_release,
	.take = solaris_take,
	.give = solaris_give,
	.resolve = slab_resolve,
	.cache_shrink = solaris_cache_shrink,
	.cache_drain = solaris_cache_drain,
	.cache_stats = solaris_cache_stats,
	.walk_run = solaris_walk_run,
	.cache_validate = solaris_cache_validate,
	.seed = solaris_seed,
	.take_warm = solaris_take_warm,
	.cache_settle = solaris_cache_settle,
	.tick = solaris_tick,
};
