/*
 * slab.c - SLAB: Bonwick's slab allocator as Linux had it until 6.7.
 *
 * J. Bonwick, "The Slab Allocator: An Object-Caching Kernel Memory Allocator", USENIX Summer 1994; the rules are those
 * of mm/slab.c of Linux 6.1 on one memory node.
 *
 *      take --> array of the cpu (LIFO) --refill--> shared array --> partial slabs --> free slabs --> a new slab
 *      give --> array of the cpu ---flush the oldest--> shared array, or when that is full: slabs
 *
 * A slab is on one of three lists: full, partial, free. Which of its objects are free is a stack of slot numbers, kept
 * where the kernel keeps it (slab_geometry.h): in the arena behind the last object, in the arena in one of the free
 * objects, or off the slab. An index off the slab is metadata here: in the kernel it is a kmalloc, and a recorded trace
 * has that kmalloc as an event of its own.
 *
 * Empty slabs stay while no more than free_limit objects are free; a timer of each cpu (cache_reap) gives a fifth of
 * an idle array back to the slabs, and a fifth of the free limit's slabs to the page allocator. Where the environment
 * says that reaping is told, what the recorded kernel drained is drained, by the same rule, and there is no timer;
 * arrays have one entry, as in early boot, until they are told to be sized.
 *
 * `active_objects` of cache_stats counts what is parked in arrays, as /proc/slabinfo does (get_slabinfo);
 * `live_objects` does not.
 *
 * Cost: take and give O(1), and O(batchcount) every batchcount-th time; a cpu's reaping O(caches) every two seconds.
 * Metadata: arrays of limit entries for each cpu, one of shared * batchcount, 8 bytes an entry; index and bitmap a
 * slab.
 *
 * Invariants (cache_validate): a slab's list is the one its count of used slots says; the entries of its index from
 * in_use on are its free slots, each once; used slots = granted + parked in arrays; no parked object is granted, or
 * free, or parked twice; while more objects are free than free_limit no slab is wholly free.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/slab/guard.h"
#include "allocators/slab/object_heap.h"
#include "allocators/slab/parked.h"
#include "allocators/slab/seed.h"
#include "allocators/slab/slab_geometry.h"
#include "allocators/slab/slab_run.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/round.h"

/* ---------------------------------------------------------------------------------------------- parameters */

struct slab_config {
	uint64_t limit, batchcount; /* 0: by size */
	uint64_t shared;
	uint64_t max_order;
	uint64_t reap_ms, node_reap_ms;
	uint32_t colouring, percpu, debug, fit;
};

enum { OFF, ON };
static const char *const off_on[] = {"off", "on", NULL};

#define LIMIT_MAX 65536u
#define SHARED_MAX 1024u

static const struct kml_param slab_params[] = {
	{.name = "limit",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct slab_config, limit),
	 .default_text = "auto",
	 .minimum = 1,
	 .maximum = LIMIT_MAX,
	 .help = "objects in a cpu's array; auto: 120, 54, 24, 8 or 1 by object size (enable_cpucache)"},
	{.name = "batchcount",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct slab_config, batchcount),
	 .default_text = "auto",
	 .minimum = 1,
	 .maximum = LIMIT_MAX,
	 .help = "objects moved to or from an array at once; auto: half the limit, rounded up"},
	{.name = "shared",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct slab_config, shared),
	 .default_text = "8",
	 .minimum = 0,
	 .maximum = SHARED_MAX,
	 .help = "the shared array holds shared * batchcount objects, of up to a page and with more than one cpu; 0: "
		 "none"},
	{.name = "max_order",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct slab_config, max_order),
	 .default_text = "1",
	 .minimum = 0,
	 .maximum = SLAB_ORDERS - 1,
	 .help = "slabs grow to less waste up to this order (slab_max_order; the kernel: 0 with 32 MiB or less)"},
	{.name = "colouring",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct slab_config, colouring),
	 .default_text = "on",
	 .choices = off_on,
	 .help = "slabs begin at different cache lines"},
	{.name = "reap_ms",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct slab_config, reap_ms),
	 .default_text = "2000",
	 .minimum = 0,
	 .maximum = 3600000,
	 .help = "trace time between reaping on a cpu (REAPTIMEOUT_AC); 0: never; unused where the trace tells of it"},
	{.name = "node_reap_ms",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct slab_config, node_reap_ms),
	 .default_text = "4000",
	 .minimum = 0,
	 .maximum = 3600000,
	 .help = "trace time between reaping a cache's shared array and free slabs (REAPTIMEOUT_NODE)"},
	{.name = "percpu",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct slab_config, percpu),
	 .default_text = "on",
	 .choices = off_on,
	 .help = "off: no arrays, every object from and to the slab lists under one lock"},
	{.name = "debug",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct slab_config, debug),
	 .default_text = "off",
	 .choices = guard_names,
	 .help = GUARD_HELP},
	{.name = "fit",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct slab_config, fit),
	 .default_text = "asked",
	 .choices = slab_fit_names,
	 .help = "granted: objects also in what the page allocator grants beyond the pages asked for"},
	{.name = NULL},
};

/* ---------------------------------------------------------------------------------------------------- data */

/* Oldest first. */
struct array_cache {
	uint32_t avail, limit, batchcount;
	bool touched; /* taken from since the reaper came by */
	uint64_t *entry;
};

enum slab_list_name { LIST_FULL, LIST_PARTIAL, LIST_FREE, LISTS };

struct kmem_cache {
	struct slab_cache slabs; /* free_objects there: of the node */
	struct slab_geometry geometry;
	struct slab_tunables tunables;
	struct array_cache *arrays; /* one a cpu, then the shared one; entries behind them */
	uint64_t arrays_bytes;
	struct slab_list lists[LISTS];
	uint64_t free_limit;
	uint32_t colour_next;
	bool free_touched;                /* a free slab was wanted since the reaper came by */
	bool is_tuned;                    /* arrays have their final size */
	bool may_exceed_limit;            /* sized anew, or not yet used: more may be free than the limit */
	uint64_t next_reap_ns;            /* of shared array and free slabs */
	struct kmem_cache *newer, *older; /* slab_caches: the order in which the reaper goes, newest first */
};

struct slab_heap {
	struct object_heap heap;
	struct slab_config config;
	struct kmem_cache *newest, *oldest;
	uint32_t opened;           /* caches ever opened */
	uint16_t cpus_online;      /* that did anything so far */
	bool starts_in_early_boot; /* arrays wait to be told their size */
	bool caches_are_up;        /* kmem_cache_init_late is over */
	uint64_t now_ns;           /* of the last timer */
	uint64_t next_tick_ns;     /* of the next one */
	struct cpu_reaper {
		uint64_t due_ns;
		bool is_deferred; /* due, and the cpu is idle */
		struct kmem_cache
			*next; /* of a reaping that is told: the cache it comes to; NULL: none, or at the end */
	} * reapers;
};

static struct slab_heap *slab_heap_of(const struct object_heap *heap)
{
	return (struct slab_heap *)(uintptr_t)heap;
}

static struct kmem_cache *kmem_cache_of(const struct object_cache *cache)
{
	return (struct kmem_cache *)(uintptr_t)cache;
}

static struct slab_heap *heap_of(const struct kmem_cache *cache)
{
	return slab_heap_of(cache->slabs.cache.heap);
}

static const char *name_of(const struct kmem_cache *cache)
{
	return cache->slabs.cache.description.name;
}

static struct array_cache *shared_array(const struct kmem_cache *cache)
{
	struct array_cache *shared = cache->arrays + cache->slabs.cache.heap->cpu_count;
	return shared->limit > 0 ? shared : NULL;
}

/* ------------------------------------------------------------------------------- a slab's index: a stack of slots */

/* Where the entries lie. On the object: none while no object is free. */
static uint8_t *index_memory(const struct slab *slab)
{
	const struct kmem_cache *cache = (const struct kmem_cache *)slab->cache;
	const struct object_heap *heap = slab->cache->cache.heap;
	uint64_t bytes = (uint64_t)slab->objects * cache->geometry.index_width;
	switch (cache->geometry.index_place) {
	case SLAB_INDEX_ON_OBJECT:
		return object_memory(heap, slab->free_head);
	case SLAB_INDEX_OFF_SLAB:
		return slab->index;
	default:
		return object_memory(heap, slab->address + slab->used_bytes - bytes);
	}
}

static uint32_t index_read(const struct slab *slab, uint32_t position)
{
	const struct kmem_cache *cache = (const struct kmem_cache *)slab->cache;
	const uint8_t *memory = index_memory(slab);
	if (cache->geometry.index_width == 1)
		return memory[position];
	uint16_t slot;
	memcpy(&slot, memory + position * sizeof slot, sizeof slot);
	return slot;
}

static void index_write(struct slab *slab, uint32_t position, uint32_t slot)
{
	const struct kmem_cache *cache = (const struct kmem_cache *)slab->cache;
	uint8_t *memory = index_memory(slab);
	if (cache->geometry.index_width == 1) {
		memory[position] = (uint8_t)slot;
		return;
	}
	uint16_t narrow = (uint16_t)slot;
	memcpy(memory + position * sizeof narrow, &narrow, sizeof narrow);
}

static bool index_is_on_object(const struct slab *slab)
{
	return ((const struct kmem_cache *)slab->cache)->geometry.index_place == SLAB_INDEX_ON_OBJECT;
}

/* cache_init_objs: all free, lowest first; on the object: in the one that is taken last. */
static void index_start(struct slab *slab)
{
	if (index_is_on_object(slab))
		slab->free_head = slab_object(slab, slab->objects - 1);
	for (uint32_t slot = 0; slot < slab->objects; slot++)
		index_write(slab, slot, slot);
}

static uint64_t slab_get_object(struct slab *slab)
{
	uint32_t slot = index_read(slab, slab->in_use);
	KML_CHECK(slot < slab->objects && !slab_is_granted(slab, slot),
		  "cache %s, slab at %" PRIu64
		  ": entry %u of its index is %u of %u objects: a free object was written to",
		  slab->cache->cache.description.name, slab->address, slab->in_use, slot, slab->objects);
	slab_count(slab, 1);
	if (slab->in_use == slab->objects)
		slab->free_head = KML_NO_ADDRESS;
	return slab_object(slab, slot);
}

static void slab_put_object(struct slab *slab, uint64_t object)
{
	slab_count(slab, -1);
	if (index_is_on_object(slab) && slab->free_head == KML_NO_ADDRESS)
		slab->free_head = object;
	index_write(slab, slab->in_use, slab_slot(slab, object));
}

/* --------------------------------------------------------------------------------------------------- slabs */

static enum slab_list_name list_of(const struct slab *slab)
{
	if (slab->in_use == slab->objects)
		return LIST_FULL;
	return slab->in_use > 0 ? LIST_PARTIAL : LIST_FREE;
}

static void list_move(struct kmem_cache *cache, struct slab *slab, enum slab_list_name list, bool to_tail)
{
	slab_list_remove(&cache->lists[slab->list], slab);
	slab->list = (uint8_t)list;
	if (to_tail)
		slab_list_add_tail(&cache->lists[list], slab);
	else
		slab_list_add_head(&cache->lists[list], slab);
}

/* cache_grow_begin: the colour is the next one, and cyclic. */
static uint64_t next_colour_bytes(struct kmem_cache *cache)
{
	if (++cache->colour_next >= cache->geometry.colours)
		cache->colour_next = 0;
	return heap_of(cache)->config.colouring == ON ? cache->colour_next * cache->geometry.colour_bytes : 0;
}

/* Of a slab that is on no list. */
static void destroy_unlisted(struct kmem_cache *cache, struct slab *slab, uint16_t cpu)
{
	if (slab->index)
		cache->slabs.cache.heap->books.metadata_bytes -= (uint64_t)slab->objects * cache->geometry.index_width;
	slab_destroy(slab, cpu);
}

static void destroy_slab(struct kmem_cache *cache, struct slab *slab, uint16_t cpu)
{
	slab_list_remove(&cache->lists[slab->list], slab);
	destroy_unlisted(cache, slab, cpu);
}

/* A new slab, wholly free, on no list. NULL and *status when there is none. */
static struct slab *create_slab(struct kmem_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	struct slab_heap *heap = heap_of(cache);
	struct slab *slab = slab_create(&cache->slabs, cache->slabs.order, heap->config.fit, next_colour_bytes(cache),
					request, status);
	if (slab && cache->geometry.index_place == SLAB_INDEX_OFF_SLAB) {
		uint64_t bytes = (uint64_t)slab->objects * cache->geometry.index_width;
		slab->index = malloc(bytes);
		if (!slab->index) {
			destroy_unlisted(cache, slab, request->cpu);
			*status = KML_NO_MEMORY;
			return NULL;
		}
		heap->heap.books.metadata_bytes += bytes;
	}
	if (slab)
		index_start(slab);
	return slab;
}

/* At the end of the free list. */
static struct slab *grow(struct kmem_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	struct slab *slab = create_slab(cache, request, status);
	if (!slab)
		return NULL;
	slab->list = LIST_FREE;
	slab_list_add_tail(&cache->lists[LIST_FREE], slab);
	return slab;
}

/* Take up to so many objects into the array, the slab to the head of the list it belongs on; how many.
 * alloc_block, fixup_slab_list. */
static uint32_t take_from_slab(struct kmem_cache *cache, struct slab *slab, struct array_cache *array, uint32_t wanted)
{
	uint32_t taken = 0;
	for (; taken < wanted && slab->in_use < slab->objects; taken++)
		array->entry[array->avail++] = slab_get_object(slab);
	list_move(cache, slab, list_of(slab), false);
	return taken;
}

/* get_first_slab. */
static struct slab *first_slab_with_room(struct kmem_cache *cache)
{
	struct slab *slab = slab_list_first(&cache->lists[LIST_PARTIAL]);
	if (slab)
		return slab;
	cache->free_touched = true;
	return slab_list_first(&cache->lists[LIST_FREE]);
}

/* Objects go back to their slabs; what is then free beyond the limit, to the page allocator. */
static void free_block(struct kmem_cache *cache, const uint64_t *objects, uint32_t count, uint16_t cpu)
{
	struct object_heap *heap = cache->slabs.cache.heap;
	for (uint32_t i = 0; i < count; i++) {
		struct slab *slab = slab_of(heap, objects[i]);
		slab_put_object(slab, objects[i]);
		if ((KML_PLANTED(slab_parked_counts_free) ? slab->live : slab->in_use) == 0)
			list_move(cache, slab, LIST_FREE, false);
		else
			list_move(cache, slab, LIST_PARTIAL, true); /* the more time for its others to be freed */
	}
	struct slab_list *empty = &cache->lists[LIST_FREE];
	while (cache->slabs.free_objects > cache->free_limit && empty->count > 0)
		destroy_slab(cache, slab_list_last(empty), cpu);
	cache->may_exceed_limit = false;
}

/* From the tail: those that are empty for the longest time. */
static uint64_t drain_freelist(struct kmem_cache *cache, uint64_t slabs, uint16_t cpu)
{
	struct slab_list *empty = &cache->lists[LIST_FREE];
	uint64_t freed = 0;
	for (; freed < slabs && empty->count > 0; freed++)
		destroy_slab(cache, slab_list_last(empty), cpu);
	return freed;
}

/* -------------------------------------------------------------------------------------------------- arrays */

static void drop_oldest(struct array_cache *array, uint32_t count)
{
	array->avail -= count;
	memmove(array->entry, array->entry + (KML_PLANTED(slab_batch_not_moved) ? 0 : count),
		array->avail * sizeof *array->entry);
}

/* Those added last of `from`. */
static uint32_t transfer_objects(struct array_cache *to, struct array_cache *from, uint32_t most)
{
	uint32_t count = from->avail < most ? from->avail : most;
	if (count > to->limit - to->avail)
		count = to->limit - to->avail;
	from->avail -= count;
	memcpy(to->entry + to->avail, from->entry + from->avail, count * sizeof *to->entry);
	to->avail += count;
	return count;
}

/* cache_alloc_refill, of an empty array. */
static enum kml_status refill(struct kmem_cache *cache, struct array_cache *array, const struct kml_request *request)
{
	enum { BATCHREFILL_LIMIT = 16 }; /* of an array that was idle */
	uint32_t wanted = array->batchcount;
	if (!array->touched && wanted > BATCHREFILL_LIMIT)
		wanted = BATCHREFILL_LIMIT;
	struct array_cache *shared = shared_array(cache);
	if (shared && transfer_objects(array, shared, wanted) > 0) {
		shared->touched = true;
		return KML_OK;
	}
	if (cache->slabs.free_objects > 0) { /* else without a look at the lists: direct_grow */
		uint32_t left = wanted;
		while (left > 0) {
			struct slab *slab = first_slab_with_room(cache);
			if (!slab)
				break;
			left -= take_from_slab(cache, slab, array, left);
		}
		if (array->avail > 0)
			return KML_OK;
	}
	enum kml_status status;
	struct slab *slab = grow(cache, request, &status);
	if (!slab)
		return status;
	take_from_slab(cache, slab, array, wanted);
	return KML_OK;
}

/* cache_flusharray, of a full array. */
static void flush(struct kmem_cache *cache, struct array_cache *array, uint16_t cpu)
{
	uint32_t count = array->batchcount;
	struct array_cache *shared = shared_array(cache);
	uint32_t room = shared ? shared->limit - shared->avail : 0;
	if (room > 0) {
		if (count > room && !KML_PLANTED(slab_flush_overruns_shared))
			count = room;
		memcpy(shared->entry + shared->avail, array->entry, count * sizeof *array->entry);
		shared->avail += count;
	} else {
		free_block(cache, array->entry, count, cpu);
	}
	drop_oldest(array, count);
}

/* drain_array_locked: all, or a fifth of the limit, or where that is more than there is, half of what there is. */
static void drain_array(struct kmem_cache *cache, struct array_cache *array, bool all, uint16_t cpu)
{
	uint32_t count = all ? array->avail : (array->limit + 4) / 5;
	if (count > array->avail && !KML_PLANTED(slab_reap_beyond_avail))
		count = (array->avail + 1) / 2;
	free_block(cache, array->entry, count, cpu);
	drop_oldest(array, count);
}

/* ---------------------------------------------------------------------------------------- sizes of the arrays */

/*
 * One allocation: the arrays of all cpus, the shared one, then the entries of each. A limit may be large: there is no
 * room for more objects than the arena has. *bytes: with entries up to the limits, as in the kernel.
 */
static struct array_cache *create_arrays(const struct kmem_cache *cache, const struct slab_tunables *tunables,
					 uint64_t *bytes)
{
	const struct object_heap *heap = cache->slabs.cache.heap;
	uint64_t arrays = (uint64_t)heap->cpu_count + 1;
	uint64_t shared_limit = (uint64_t)tunables->shared * tunables->batchcount;
	uint64_t objects_max = heap->arena->size_bytes / cache->slabs.slot_bytes;
	uint64_t room = tunables->limit < objects_max ? tunables->limit : objects_max;
	uint64_t shared_room = shared_limit < objects_max ? shared_limit : objects_max;
	*bytes = arrays * sizeof(struct array_cache) +
		 (heap->cpu_count * (uint64_t)tunables->limit + shared_limit) * sizeof(uint64_t);
	struct array_cache *array =
		malloc(arrays * sizeof *array + (heap->cpu_count * room + shared_room) * sizeof(uint64_t));
	if (!array)
		return NULL;
	uint64_t *entry = (uint64_t *)(void *)(array + arrays);
	for (uint32_t cpu = 0; cpu < heap->cpu_count; cpu++, entry += room)
		array[cpu] = (struct array_cache){
			.limit = tunables->limit, .batchcount = tunables->batchcount, .entry = entry};
	array[heap->cpu_count] = (struct array_cache){.limit = (uint32_t)shared_limit, .entry = entry};
	return array;
}

static uint32_t cpus_online(const struct slab_heap *heap)
{
	return heap->starts_in_early_boot ? heap->cpus_online : heap->heap.cpu_count;
}

/* do_tune_cpucache: new arrays; what was parked goes to the slabs. false without memory: all stays as it was. */
static bool tune(struct kmem_cache *cache, const struct slab_tunables *tunables)
{
	struct slab_heap *heap = heap_of(cache);
	uint64_t bytes;
	struct array_cache *arrays = create_arrays(cache, tunables, &bytes);
	if (!arrays)
		return false;
	struct array_cache *old = cache->arrays;
	uint64_t free_limit = slab_free_limit(cpus_online(heap), tunables->batchcount, cache->slabs.objects);
	for (uint32_t cpu = 0; old && cpu < heap->heap.cpu_count; cpu++)
		free_block(cache, old[cpu].entry, old[cpu].avail, (uint16_t)cpu);
	cache->may_exceed_limit = free_limit < cache->free_limit;
	cache->free_limit = free_limit;
	if (old && old[heap->heap.cpu_count].limit > 0)
		free_block(cache, old[heap->heap.cpu_count].entry, old[heap->heap.cpu_count].avail, 0);
	cache->arrays = arrays;
	cache->tunables = *tunables;
	cache->is_tuned = true;
	heap->heap.books.metadata_bytes += bytes - cache->arrays_bytes;
	cache->arrays_bytes = bytes;
	free(old);
	return true;
}

/* enable_cpucache, under the parameters. */
static struct slab_tunables wanted_tunables(const struct kmem_cache *cache)
{
	const struct slab_heap *heap = heap_of(cache);
	const struct slab_config *config = &heap->config;
	struct slab_tunables tunables =
		slab_tunables(cache->slabs.slot_bytes, heap->heap.page_bytes, heap->heap.cpu_count);
	if (config->limit > 0)
		tunables.limit = (uint32_t)config->limit;
	tunables.batchcount = config->batchcount > 0 ? (uint32_t)config->batchcount : (tunables.limit + 1) / 2;
	if (tunables.batchcount > tunables.limit)
		tunables.batchcount = tunables.limit;
	if (tunables.shared > 0)
		tunables.shared = (uint32_t)config->shared;
	return tunables;
}

/* setup_cpu_cache before the caches are up: an entry a cpu; an empty slab is not kept. */
static bool tune_for_early_boot(struct kmem_cache *cache)
{
	const struct slab_tunables tunables = {.limit = 1, .batchcount = 1};
	if (!tune(cache, &tunables))
		return false;
	cache->free_limit = 0;
	cache->is_tuned = false;
	return true;
}

/* -------------------------------------------------------------------------------- the list that the reaper follows */

static void caches_insert(struct slab_heap *heap, struct kmem_cache *cache, struct kmem_cache *newer)
{
	cache->newer = newer;
	cache->older = newer ? newer->older : heap->newest;
	*(cache->older ? &cache->older->newer : &heap->oldest) = cache;
	*(newer ? &newer->older : &heap->newest) = cache;
}

static void caches_remove(struct slab_heap *heap, struct kmem_cache *cache)
{
	for (uint32_t cpu = 0; cpu < heap->heap.cpu_count; cpu++)
		if (heap->reapers[cpu].next == cache)
			heap->reapers[cpu].next = cache->older;
	*(cache->newer ? &cache->newer->older : &heap->newest) = cache->older;
	*(cache->older ? &cache->older->newer : &heap->oldest) = cache->newer;
}

/*
 * Told that the cache got its arrays. A cache is put on the list as it is created, at the head, and sized at once; but
 * those of early boot are sized later, in the order of the list, of which kmem_cache, the first of all, is the last
 * (kmem_cache_init_late).
 */
static void caches_move_as_told(struct slab_heap *heap, struct kmem_cache *cache)
{
	caches_remove(heap, cache);
	caches_insert(heap, cache, heap->caches_are_up ? NULL : heap->oldest);
	if (strcmp(name_of(cache), "kmem_cache") == 0)
		heap->caches_are_up = true;
}

/* -------------------------------------------------------------------------------------------------- reaping */

/* kernel/time/timer.c, round_jiffies_common: timers at whole periods, those of the cpus 3 jiffies apart (HZ=250). */
#define CPU_SKEW_NS 12000000u
#define NS_PER_MS 1000000u
#define NS_PER_S 1000000000u

/* Slabs to give back: a fifth of the free limit's. */
static uint64_t slabs_to_reap(const struct kmem_cache *cache)
{
	uint64_t part = 5 * (uint64_t)cache->slabs.objects;
	return (cache->free_limit + part - 1) / part;
}

/* drain_array, by the timer: an array in use is let alone once. */
static void reap_array(struct kmem_cache *cache, struct array_cache *array, uint16_t cpu)
{
	if (array->avail == 0)
		return;
	if (array->touched)
		array->touched = false;
	else
		drain_array(cache, array, false, cpu);
}

static void cache_reap(struct slab_heap *heap, uint16_t cpu)
{
	for (struct kmem_cache *cache = heap->newest; cache; cache = cache->older) {
		reap_array(cache, &cache->arrays[cpu], cpu);
		if (heap->now_ns < cache->next_reap_ns)
			continue;
		cache->next_reap_ns = heap->now_ns + heap->config.node_reap_ms * NS_PER_MS;
		reap_array(cache, &cache->arrays[heap->heap.cpu_count], cpu);
		if (cache->free_touched)
			cache->free_touched = false;
		else
			drain_freelist(cache, slabs_to_reap(cache), cpu);
	}
}

/* next_reap is spread by the address of the cache's descriptor, modulo the period; those are 128 bytes apart. */
static uint64_t first_node_reap_ns(const struct slab_heap *heap)
{
	enum { DESCRIPTOR_BYTES = 128, JIFFY_MS = 4 };
	uint64_t period_ms = heap->config.node_reap_ms;
	uint64_t spread_ms = period_ms ? (uint64_t)heap->opened * DESCRIPTOR_BYTES * JIFFY_MS % period_ms : 0;
	return heap->now_ns + (period_ms + spread_ms) * NS_PER_MS;
}

static uint64_t next_due_ns(const struct slab_heap *heap, uint32_t cpu)
{
	uint64_t period_ns = heap->config.reap_ms * NS_PER_MS;
	uint64_t due_ns = (heap->now_ns / period_ns + 1) * period_ns - cpu * (uint64_t)CPU_SKEW_NS % period_ns;
	return due_ns > heap->now_ns ? due_ns : due_ns + period_ns;
}

static void reap_now(struct slab_heap *heap, uint16_t cpu)
{
	heap->reapers[cpu].is_deferred = false;
	heap->reapers[cpu].due_ns = next_due_ns(heap, cpu);
	cache_reap(heap, cpu);
}

/*
 * The reaper's work is deferrable (start_cpu_timer): it does not wake an idle cpu, whose arrays stay as they are until
 * the cpu does something. The first cpu, which keeps the time for all, is taken to be awake.
 */
static void fire_timers(struct slab_heap *heap)
{
	uint64_t next_ns = UINT64_MAX;
	for (uint32_t cpu = 0; cpu < heap->heap.cpu_count; cpu++) {
		struct cpu_reaper *reaper = &heap->reapers[cpu];
		if (reaper->due_ns <= heap->now_ns && cpu == 0)
			reap_now(heap, 0);
		else if (reaper->due_ns <= heap->now_ns)
			reaper->is_deferred = true;
		/* A deferred one needs to know the time when its cpu wakes. */
		uint64_t wanted_ns = reaper->is_deferred ? heap->now_ns + NS_PER_S : reaper->due_ns;
		if (wanted_ns < next_ns)
			next_ns = wanted_ns;
	}
	heap->next_tick_ns = next_ns;
}

/* When the reaper of the first cpu next finds something to do, if no cpu does anything. 0: as soon as it comes. */
static uint64_t next_work_ns(const struct slab_heap *heap)
{
	uint64_t next_ns = UINT64_MAX;
	for (const struct kmem_cache *cache = heap->newest; cache; cache = cache->older) {
		bool node_is_idle = cache->arrays[heap->heap.cpu_count].avail == 0 && !cache->free_touched &&
				    cache->lists[LIST_FREE].count == 0;
		uint64_t work_ns = cache->arrays[0].avail > 0 ? 0 : node_is_idle ? UINT64_MAX : cache->next_reap_ns;
		if (work_ns < next_ns)
			next_ns = work_ns;
	}
	return next_ns;
}

/* next_reap_ns after the reaper, which comes at each multiple of the period, came for the last time at last_ns. */
static uint64_t next_reap_after(const struct kmem_cache *cache, uint64_t last_ns)
{
	const struct slab_heap *heap = heap_of(cache);
	uint64_t period_ns = heap->config.reap_ms * NS_PER_MS, node_ns = heap->config.node_reap_ms * NS_PER_MS;
	uint64_t least_ns = cache->next_reap_ns > heap->now_ns ? cache->next_reap_ns : heap->now_ns + 1;
	uint64_t first_ns = kml_round_up(least_ns, period_ns);
	if (first_ns > last_ns)
		return cache->next_reap_ns;
	uint64_t step_ns = node_ns > 0 ? kml_round_up(node_ns, period_ns) : period_ns;
	return last_ns - (last_ns - first_ns) % step_ns + node_ns;
}

/*
 * The timers up to limit_ns of which none finds anything to do are passed over: from now on only those of the first cpu
 * may fire, as the others are deferred, and more often than every second.
 */
static void pass_idle_timers(struct slab_heap *heap, uint64_t limit_ns)
{
	uint64_t period_ns = heap->config.reap_ms * NS_PER_MS;
	bool only_first = heap->reapers[0].due_ns == heap->now_ns + period_ns && period_ns <= NS_PER_S;
	for (uint32_t cpu = 1; cpu < heap->heap.cpu_count; cpu++)
		only_first &= heap->reapers[cpu].is_deferred;
	if (!only_first)
		return;
	uint64_t work_ns = next_work_ns(heap);
	uint64_t idle_ns = work_ns > limit_ns ? limit_ns : work_ns > 0 ? work_ns - 1 : 0;
	uint64_t last_ns = idle_ns / period_ns * period_ns;
	if (last_ns <= heap->now_ns)
		return;
	for (struct kmem_cache *cache = heap->newest; cache; cache = cache->older)
		cache->next_reap_ns = next_reap_after(cache, last_ns);
	heap->now_ns = last_ns;
	heap->reapers[0].due_ns = heap->next_tick_ns = last_ns + period_ns;
}

/* Every timer since the last tick, each at its time; where a clock jumped by years, the first ones and one for the
 * rest.
 */
static uint64_t slab_tick(struct object_heap *object_heap, uint64_t now_ns)
{
	enum { TIMERS_MAX = 1 << 16 };
	struct slab_heap *heap = slab_heap_of(object_heap);
	if (heap->config.reap_ms == 0 || heap->heap.environment.reaps_told)
		return UINT64_MAX;
	for (uint32_t i = 0; heap->next_tick_ns <= now_ns; i++) {
		heap->now_ns = i < TIMERS_MAX ? heap->next_tick_ns : now_ns;
		fire_timers(heap);
		if (heap->next_tick_ns <= now_ns)
			pass_idle_timers(heap, now_ns);
	}
	return heap->next_tick_ns;
}

/* The cpu does something. */
static void see_cpu(struct slab_heap *heap, uint16_t cpu)
{
	if (cpu >= heap->cpus_online)
		heap->cpus_online = (uint16_t)(cpu + 1);
	if (heap->reapers[cpu].is_deferred)
		reap_now(heap, cpu);
}

/* ------------------------------------------------------------------------------------- reaping that is told */

/*
 * The told reaping of a cpu has come past `last` (NULL: the end). Those it passed without a word were empty or in use,
 * and are no longer touched. A cache that is not ahead was passed already.
 */
static void pass_caches(struct cpu_reaper *reaper, const struct kmem_cache *last, uint16_t cpu)
{
	const struct kmem_cache *ahead = last;
	while (ahead && ahead != reaper->next)
		ahead = ahead->newer;
	if (last && !ahead)
		return;
	while (reaper->next) {
		struct kmem_cache *cache = reaper->next;
		struct array_cache *array = &cache->arrays[cpu];
		if (array->avail > 0)
			array->touched = false;
		reaper->next = cache->older;
		if (cache == last)
			return;
	}
}

static void tune_as_told(struct slab_heap *heap, struct kmem_cache *cache, const struct kml_notice *notice)
{
	struct slab_tunables tunables = wanted_tunables(cache);
	bool is_sound = notice->count > 0 && notice->count <= LIMIT_MAX && notice->batchcount > 0 &&
			notice->batchcount <= notice->count;
	if (is_sound && heap->config.limit == 0)
		tunables.limit = (uint32_t)notice->count;
	if (is_sound && heap->config.limit == 0 && heap->config.batchcount == 0)
		tunables.batchcount = (uint32_t)notice->batchcount;
	bool done = tune(cache, &tunables);
	KML_CHECK(done, "%s: no memory for arrays of %u objects", name_of(cache), tunables.limit);
	caches_move_as_told(heap, cache);
}

/* What was drained is drained here by the kernel's rule, on what lies in our arrays and lists. */
static void slab_notice(struct object_heap *object_heap, struct object_cache *object_cache,
			const struct kml_notice *notice)
{
	struct slab_heap *heap = slab_heap_of(object_heap);
	if (notice->cpu >= heap->heap.cpu_count)
		return;
	see_cpu(heap, notice->cpu);
	struct cpu_reaper *reaper = &heap->reapers[notice->cpu];
	if (notice->kind == KML_NOTICE_REAP_BEGIN)
		reaper->next = heap->newest;
	if (notice->kind == KML_NOTICE_REAP_END)
		pass_caches(reaper, NULL, notice->cpu);
	if (!object_cache)
		return;
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	switch (notice->kind) {
	case KML_NOTICE_REAP_CPU:
		pass_caches(reaper, cache, notice->cpu);
		drain_array(cache, &cache->arrays[notice->cpu], false, notice->cpu);
		break;
	case KML_NOTICE_REAP_SHARED:
		pass_caches(reaper, cache, notice->cpu);
		drain_array(cache, &cache->arrays[heap->heap.cpu_count], false, notice->cpu);
		break;
	case KML_NOTICE_REAP_FREELIST:
		pass_caches(reaper, cache, notice->cpu);
		drain_freelist(cache, slabs_to_reap(cache), notice->cpu);
		break;
	case KML_NOTICE_REAP_TUNE:
		tune_as_told(heap, cache, notice);
		break;
	default:
		break;
	}
}

/* ------------------------------------------------------------------------------------ caches and the heap */

static bool slab_start(struct object_heap *object_heap, const void *config, struct kml_error *error)
{
	struct slab_heap *heap = slab_heap_of(object_heap);
	heap->config = *(const struct slab_config *)config;
	const struct slab_config *given = &heap->config;
	if (given->limit > 0 && given->batchcount > given->limit)
		return kml_fail(error,
				"slab: a batch of %" PRIu64 " objects does not fit in arrays of %" PRIu64
				": let batchcount be at most limit",
				given->batchcount, given->limit);
	uint64_t reaper_bytes = heap->heap.cpu_count * sizeof *heap->reapers;
	heap->reapers = calloc(1, reaper_bytes);
	if (!heap->reapers)
		return kml_fail(error, "slab: no memory for %u cpus", heap->heap.cpu_count);
	heap->heap.books.metadata_bytes += reaper_bytes;
	for (uint32_t cpu = 0; given->reap_ms > 0 && cpu < heap->heap.cpu_count; cpu++)
		heap->reapers[cpu].due_ns = next_due_ns(heap, cpu);
	heap->cpus_online = 1;
	heap->starts_in_early_boot = heap->heap.environment.reaps_told;
	return true;
}

static void slab_stop(struct object_heap *object_heap)
{
	free(slab_heap_of(object_heap)->reapers);
}

static bool is_own_class(const struct object_cache *cache)
{
	return cache->index >= cache->heap->cache_count;
}

static bool cache_open(struct object_cache *object_cache)
{
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	struct slab_heap *heap = heap_of(cache);
	struct slab_geometry *geometry = &cache->geometry;
	struct slab_cache *slabs = &cache->slabs;
	const struct kml_cache described = guard_description(&object_cache->description, heap->config.debug);
	if (!slab_geometry(&described, heap->heap.page_bytes, (uint32_t)heap->config.max_order, geometry))
		return false;
	slabs->align_bytes = geometry->align_bytes;
	slabs->slot_bytes = geometry->slot_bytes;
	slabs->order = slabs->fallback_order = geometry->order;
	slabs->objects = geometry->objects;
	slabs->has_own_index = true;
	slabs->index_bytes = geometry->index_place == SLAB_INDEX_ON_SLAB ? geometry->index_width : 0;
	slabs->objects_max = slab_index_limit(heap->heap.page_bytes);
	if (geometry->index_place == SLAB_INDEX_ON_OBJECT &&
	    slabs->objects_max > object_cache->object_bytes / geometry->index_width)
		slabs->objects_max = (uint32_t)(object_cache->object_bytes / geometry->index_width);
	guard_open(slabs, heap->config.debug);
	for (uint32_t i = 0; i < LISTS; i++)
		slab_list_clear(&cache->lists[i]);
	struct slab_tunables tunables = wanted_tunables(cache);
	bool waits = heap->starts_in_early_boot && !is_own_class(object_cache);
	if (waits ? !tune_for_early_boot(cache) : !tune(cache, &tunables))
		return false;
	cache->next_reap_ns = first_node_reap_ns(heap);
	heap->opened++;
	caches_insert(heap, cache, NULL);
	return true;
}

/* __kmem_cache_shrink. */
static void cache_shrink(struct object_cache *object_cache)
{
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	for (uint32_t i = 0; i + KML_PLANTED(slab_shared_not_drained) <= object_cache->heap->cpu_count; i++)
		drain_array(cache, &cache->arrays[i], true, 0);
	drain_freelist(cache, UINT64_MAX, 0);
}

static void cache_close(struct object_cache *object_cache)
{
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	cache_shrink(object_cache);
	KML_CHECK(cache->slabs.slabs == 0, "cache %s: %" PRIu64 " slabs stay although no object is live",
		  name_of(cache), cache->slabs.slabs);
}

static void cache_release(struct object_cache *object_cache)
{
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	seed_forget(&cache->slabs);
	caches_remove(heap_of(cache), cache);
	object_cache->heap->books.metadata_bytes -= cache->arrays_bytes;
	free(cache->arrays);
}

/* do_drain. */
static void cache_drain(struct object_cache *object_cache, uint16_t cpu)
{
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	drain_array(cache, &cache->arrays[cpu], true, cpu);
}

/* ------------------------------------------------------------------------------------------- take and give */

/* Without arrays: one object from the lists. */
static enum kml_status take_from_lists(struct kmem_cache *cache, const struct kml_request *request, uint64_t *object)
{
	enum kml_status status = KML_OK;
	struct slab *slab = first_slab_with_room(cache);
	if (!slab)
		slab = grow(cache, request, &status);
	if (!slab)
		return status;
	struct array_cache one = {.limit = 1, .entry = object};
	take_from_slab(cache, slab, &one, 1);
	return KML_OK;
}

static enum kml_status take(struct object_cache *object_cache, const struct kml_request *request,
			    struct object_place *place)
{
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	struct slab_heap *heap = heap_of(cache);
	struct array_cache *array = &cache->arrays[request->cpu];
	enum kml_status status = KML_OK;
	uint64_t object = KML_NO_ADDRESS;
	see_cpu(heap, request->cpu);
	if (heap->config.percpu == OFF) {
		status = take_from_lists(cache, request, &object);
		if (status != KML_OK)
			return status;
	} else {
		if (array->avail == 0)
			status = refill(cache, array, request);
		if (status != KML_OK)
			return status;
		array->touched = true;
		object = array->entry[--array->avail];
	}
	slab_grant(slab_of(&heap->heap, object), object, place);
	return KML_OK;
}

static void give(const struct object_place *place, const struct kml_release *release)
{
	struct kmem_cache *cache = kmem_cache_of(place->cache);
	struct slab_heap *heap = heap_of(cache);
	struct array_cache *array = &cache->arrays[release->cpu];
	see_cpu(heap, release->cpu);
	slab_ungrant(place);
	if (heap->config.percpu == OFF) {
		free_block(cache, &place->address, 1, release->cpu);
		return;
	}
	if (array->avail == array->limit)
		flush(cache, array, release->cpu);
	array->entry[array->avail++] = place->address;
}

/* -------------------------------------------------------------------------------------- figures and checks */

/* get_slabinfo: what is parked in arrays is active. */
static void cache_stats(const struct object_cache *object_cache, struct kml_cache_stats *stats)
{
	const struct kmem_cache *cache = kmem_cache_of(object_cache);
	const struct slab_cache *slabs = &cache->slabs;
	const struct array_cache *shared = shared_array(cache);
	bool has_arrays = heap_of(cache)->config.percpu == ON;
	stats->active_objects = slabs->total_objects - slabs->free_objects;
	stats->total_objects = slabs->total_objects;
	stats->active_slabs = slabs->slabs - cache->lists[LIST_FREE].count;
	stats->slabs = slabs->slabs;
	stats->slab_bytes = slabs->slab_bytes;
	stats->slot_bytes = slabs->slot_bytes;
	stats->objects_per_slab = slabs->objects;
	stats->pages_per_slab = 1u << slabs->order;
	stats->limit = has_arrays ? cache->tunables.limit : 0;
	stats->batchcount = has_arrays ? cache->tunables.batchcount : 0;
	stats->shared_factor = has_arrays ? cache->tunables.shared : 0;
	stats->shared_available = shared ? shared->avail : 0;
}

enum { BITMAP_WORDS = 65536 / 64 };

static bool bit_of(const uint64_t *bits, uint32_t slot)
{
	return bits[slot / 64] >> slot % 64 & 1;
}

/* A bit for each slot that the index says is free; false and *error when it is damaged. */
static bool index_bitmap(const struct slab *slab, uint64_t bits[BITMAP_WORDS], struct kml_error *error)
{
	const char *name = slab->cache->cache.description.name;
	memset(bits, 0, (slab->objects + 63) / 64 * sizeof *bits);
	if (index_is_on_object(slab) && (slab->free_head == KML_NO_ADDRESS) != (slab->in_use == slab->objects))
		return kml_fail(error,
				"cache %s, slab at %" PRIu64 ": %u of %u in use, its index in the object at %" PRIu64,
				name, slab->address, slab->in_use, slab->objects, slab->free_head);
	for (uint32_t position = slab->in_use; position < slab->objects; position++) {
		uint32_t slot = index_read(slab, position);
		const char *fault = slot >= slab->objects         ? "is no object of it"
				    : bit_of(bits, slot)          ? "is there twice"
				    : slab_is_granted(slab, slot) ? "is granted"
								  : NULL;
		if (fault)
			return kml_fail(error, "cache %s, slab at %" PRIu64 ": entry %u of its index, %u, %s", name,
					slab->address, position, slot, fault);
		bits[slot / 64] |= 1ull << slot % 64;
	}
	return true;
}

static bool walk_run(const struct object_heap *heap, void *run, kml_visit *visit, void *context)
{
	(void)heap;
	uint64_t bits[BITMAP_WORDS];
	struct kml_error error;
	return slab_walk_slots(run, index_bitmap(run, bits, &error) ? bits : NULL, visit, context);
}

static bool check_slab(const struct kmem_cache *cache, const struct slab *slab, enum slab_list_name list,
		       const struct parked *parked, struct kml_error *error)
{
	static const char *const names[LISTS] = {"full", "partial", "free"};
	if (slab->list != list || list != list_of(slab) || slab->cache != &cache->slabs)
		return kml_fail(error, "cache %s, slab at %" PRIu64 ": on the %s list with %u of %u objects in use",
				name_of(cache), slab->address, names[list], slab->in_use, slab->objects);
	uint64_t bits[BITMAP_WORDS];
	return slab_check(slab, error) && index_bitmap(slab, bits, error) &&
	       parked_check_slab(parked, slab, bits, 0, error);
}

struct census {
	uint64_t slabs, objects, in_use, live;
};

static bool check_lists(const struct kmem_cache *cache, const struct parked *parked, struct census *census,
			struct kml_error *error)
{
	for (uint32_t list = 0; list < LISTS; list++) {
		if (!slab_list_check(&cache->lists[list], cache->slabs.slabs, name_of(cache), error))
			return false;
		for (const struct slab *slab = slab_list_first(&cache->lists[list]); slab;
		     slab = slab_list_next(&cache->lists[list], slab)) {
			if (!check_slab(cache, slab, (enum slab_list_name)list, parked, error))
				return false;
			census->objects += slab->objects;
			census->in_use += slab->in_use;
			census->live += slab->live;
		}
		census->slabs += cache->lists[list].count;
	}
	return true;
}

/* What all arrays keep. */
static bool gather_arrays(const struct kmem_cache *cache, struct parked *parked, struct kml_error *error)
{
	for (uint32_t i = 0; i <= cache->slabs.cache.heap->cpu_count; i++) {
		const struct array_cache *array = &cache->arrays[i];
		if (array->avail > array->limit)
			return kml_fail(error, "cache %s: array %u has %u objects, its limit is %u", name_of(cache), i,
					array->avail, array->limit);
		for (uint32_t entry = 0; entry < array->avail; entry++)
			if (!parked_add(parked, array->entry[entry], "an array", error))
				return false;
	}
	return parked_sort(parked, error);
}

/* The reaper comes by every cache once. */
static bool check_reaped_list(const struct object_heap *heap, struct kml_error *error)
{
	const struct slab_heap *own = slab_heap_of(heap);
	uint64_t open = 0, listed = 0;
	for (uint32_t i = 0; i < heap->cache_count + KMALLOC_CACHES; i++)
		open += heap->caches[i] != NULL; /* nothing is merged */
	const struct kmem_cache *newer = NULL;
	for (const struct kmem_cache *cache = own->newest; cache && listed <= open; cache = cache->older, listed++) {
		if (cache->newer != newer)
			break;
		newer = cache;
	}
	if (listed == open && own->oldest == newer)
		return true;
	return kml_fail(error, "slab: %" PRIu64 " caches are open, the reaper's list has %" PRIu64 " in order", open,
			listed);
}

static bool check_sums(const struct kmem_cache *cache, const struct census *census, struct kml_error *error)
{
	const struct slab_cache *slabs = &cache->slabs;
	if (census->slabs != slabs->slabs || census->objects != slabs->total_objects ||
	    census->objects - census->in_use != slabs->free_objects)
		return kml_fail(error,
				"cache %s: %" PRIu64 " slabs, %" PRIu64 " objects, %" PRIu64
				" free on the lists; counted as %" PRIu64 ", %" PRIu64 ", %" PRIu64,
				name_of(cache), census->slabs, census->objects, census->objects - census->in_use,
				slabs->slabs, slabs->total_objects, slabs->free_objects);
	if (census->live != slabs->cache.live)
		return kml_fail(error, "cache %s: %" PRIu64 " objects granted on slabs, %" PRIu64 " counted",
				name_of(cache), census->live, slabs->cache.live);
	if (!cache->may_exceed_limit && slabs->free_objects > cache->free_limit && cache->lists[LIST_FREE].count > 0)
		return kml_fail(error,
				"cache %s: %" PRIu64 " objects free, limit %" PRIu64 ", but %" PRIu64
				" empty slabs stay",
				name_of(cache), slabs->free_objects, cache->free_limit, cache->lists[LIST_FREE].count);
	return true;
}

static bool cache_validate(const struct object_cache *object_cache, struct kml_error *error)
{
	const struct kmem_cache *cache = kmem_cache_of(object_cache);
	struct census census = {0};
	struct parked parked = {.cache = &cache->slabs};
	bool is_good = gather_arrays(cache, &parked, error) && check_lists(cache, &parked, &census, error) &&
		       check_sums(cache, &census, error);
	parked_free(&parked);
	return is_good;
}

/* ------------------------------------------------------------------------------------ start in mid-life */

static struct slab *seed_create(struct slab_cache *slabs, const struct kml_request *request, enum kml_status *status)
{
	return create_slab((struct kmem_cache *)slabs, request, status);
}

/* The index names the free slots in their order; the other slots are granted or parked. */
static void seed_adopt(struct slab *slab, const uint32_t *free_slots, uint32_t count, enum seed_place place,
		       uint16_t cpu)
{
	(void)place;
	(void)cpu;
	struct kmem_cache *cache = (struct kmem_cache *)slab->cache;
	slab_count(slab, (int32_t)(slab->objects - count) - (int32_t)slab->in_use);
	if (index_is_on_object(slab))
		slab->free_head = count > 0 ? slab_object(slab, free_slots[count - 1]) : KML_NO_ADDRESS;
	for (uint32_t i = 0; i < count; i++)
		index_write(slab, slab->in_use + i, free_slots[i]);
	slab->list = list_of(slab);
	slab_list_add_tail(&cache->lists[slab->list], slab);
	cache->may_exceed_limit = true; /* until the next object comes back */
}

/* In the array of the cpu, or the shared one; where that is full, in any. */
static void seed_park(struct slab_cache *slabs, uint64_t object, uint16_t cpu, bool on_node)
{
	struct kmem_cache *cache = (struct kmem_cache *)slabs;
	uint32_t arrays = slabs->cache.heap->cpu_count + 1;
	struct array_cache *array = &cache->arrays[on_node ? arrays - 1 : cpu];
	for (uint32_t i = 0; array->avail == array->limit && i < arrays; i++)
		array = &cache->arrays[i];
	KML_CHECK(array->avail < array->limit, "cache %s: no room in arrays for an object parked at the start",
		  name_of(cache));
	array->entry[array->avail++] = object;
}

/* Free objects that slabinfo counts as active lay in arrays. */
static struct seed_rules seed_rules(const struct kmem_cache *cache)
{
	struct seed_rules rules = {.node_batch = 1, .create = seed_create, .adopt = seed_adopt};
	if (heap_of(cache)->config.percpu == ON) {
		rules.park = seed_park;
		rules.parked_per_cpu = cache->tunables.limit;
		rules.parked_on_node = cache->tunables.shared * cache->tunables.batchcount;
	}
	return rules;
}

/* The recording does not begin in early boot: arrays have their size. */
static void leave_early_boot(struct kmem_cache *cache)
{
	heap_of(cache)->starts_in_early_boot = false;
	if (cache->is_tuned)
		return;
	struct slab_tunables tunables = wanted_tunables(cache);
	bool done = tune(cache, &tunables);
	KML_CHECK(done, "%s: no memory for arrays of %u objects", name_of(cache), tunables.limit);
}

static void slab_seed(struct object_cache *object_cache, const struct kml_seed *seed)
{
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	leave_early_boot(cache);
	const struct seed_rules rules = seed_rules(cache);
	seed_note(&cache->slabs, &rules, seed);
}

static enum kml_status take_warm(struct object_cache *object_cache, const struct kml_request *request,
				 struct object_place *place)
{
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	leave_early_boot(cache);
	const struct seed_rules rules = seed_rules(cache);
	return seed_take(&cache->slabs, &rules, request, place);
}

static void cache_settle(struct object_cache *object_cache)
{
	struct kmem_cache *cache = kmem_cache_of(object_cache);
	if (heap_of(cache)->starts_in_early_boot)
		return;
	leave_early_boot(cache);
	const struct seed_rules rules = seed_rules(cache);
	seed_settle(&cache->slabs, &rules);
}

/* ------------------------------------------------------------------------------------------------ the table */

static const struct object_strategy slab_strategy;

static struct kml_heap *create(const struct kml_environment *environment, const void *config, struct kml_error *error)
{
	return object_create(&slab_strategy, environment, config, error);
}

const struct kml_allocator kml_slab = {
	.abi_version = KML_ABI_VERSION,
	.name = "slab",
	.title = "SLAB",
	.citation = "J. Bonwick, The Slab Allocator, USENIX Summer 1994; mm/slab.c of Linux 6.1",
	.summary = "arrays per cpu and shared over three lists of slabs, coloured, reaped; O(1)",
	.layer = KML_LAYER_OBJECTS,
	.params = slab_params,
	.config_bytes = sizeof(struct slab_config),
	.create = create,
	OBJECT_COMMON_OPERATIONS,
	.seed = object_seed,
	.settle = object_settle,
	.notice = object_notice,
	.tick = object_tick,
};

static const struct object_strategy slab_strategy = {
	.allocator = &kml_slab,
	.heap_bytes = sizeof(struct slab_heap),
	.cache_bytes = sizeof(struct kmem_cache),
	.kmalloc_min_bytes = 32,
	.start = slab_start,
	.stop = slab_stop,
	.cache_open = cache_open,
	.cache_close = cache_close,
	.cache_release = cache_release,
	.run_release = slab_release,
	.take = take,
	.give = give,
	.resolve = slab_resolve,
	.cache_shrink = cache_shrink,
	.cache_drain = cache_drain,
	.cache_stats = cache_stats,
	.walk_run = walk_run,
	.cache_validate = cache_validate,
	.heap_validate = check_reaped_list,
	.seed = slab_seed,
	.take_warm = take_warm,
	.cache_settle = cache_settle,
	.notice = slab_notice,
	.tick = slab_tick,
};
