/*
 * slub.c - SLUB, the slab allocator without queues of Linux (C. Lameter 2007; mm/slub.c), the rules of 6.1 and 6.18.
 *
 * Each cpu has one slab per cache from which it takes objects without a lock, and a short list of partial slabs; a node
 * has one list of partial slabs. Free lists are chains through the free objects. A full slab is on no list: it comes
 * back to one when an object of it is freed.
 *
 *   alloc  the cpu's free list; the cpu slab's own list, taken whole; the cpu partial list; the node's list (the first
 *          becomes the cpu slab, some more go to the cpu partial list); a new slab
 *   free   of the own cpu slab: push. Else push on its slab. If that was full, it goes to this cpu's partial list,
 *          which moves to the node first if it is long enough already. If it is empty now and on the node's list,
 *          it is freed when that list has min_partial slabs
 *
 * percpu=off is the form that the kernel uses for caches under debugging: one list under one lock, object by object
 * (alloc_single_from_partial, free_to_partial_list); percpu=slab is CONFIG_SLUB_CPU_PARTIAL=n.
 *
 * The notion of active objects in slabinfo is the kernel's (get_slabinfo): all but the free ones on the node's list, so
 * free objects of cpu slabs and of cpu partial lists count as active, and every slab is an active slab.
 *
 * Cost: O(1) but for a new slab (its chain) and a move of a cpu partial list. Metadata: a descriptor a slab, 32 bytes a
 * cpu and cache. Invariants: slub_check.c.
 */
#include "allocators/slab/slub.h"
#include "allocators/slab/seed.h"
#include "allocators/slab/sheaves.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/planted.h"
#include "kmemlab/support/random.h"

extern const struct kml_allocator kml_slub;

const char *const slub_event_names[SLUB_EVENTS] = {
	"alloc_fastpath",     "alloc_slowpath",          "free_fastpath",      "free_slowpath",    "free_frozen",
	"free_add_partial",   "free_remove_partial",     "alloc_from_partial", "alloc_slab",       "alloc_refill",
	"free_slab",          "cpuslab_flush",           "deactivate_full",    "deactivate_empty", "deactivate_to_head",
	"deactivate_to_tail", "deactivate_remote_frees", "deactivate_bypass",  "order_fallback",   "cpu_partial_alloc",
	"cpu_partial_free",   "cpu_partial_node",        "cpu_partial_drain"};

enum { SHRINK_PROMOTE_MAX = 32 }; /* mm/slub.c: how many lengths of free lists a shrink tells apart */

static inline void count(struct slub_cache *cache, enum slub_event event)
{
	cache->events[event]++;
}

static inline struct slub_cache *cache_of(const struct slab *slab)
{
	return (struct slub_cache *)slab->cache;
}

/* ---------------------------------------------------------------------------------------------- random lists */

/* Below limit, without bias that shows. */
static uint32_t random_slot(uint64_t *state, uint32_t limit)
{
	return (uint32_t)((unsigned __int128)random_next(state) * limit >> 64);
}

/*
 * mm/slab_common.c: cache_random_seq_create. A permutation for all slabs of the cache. Its numbers are drawn when the
 * cache is opened; it is made of them for the first slab, which many a cache never has. NULL without memory.
 */
static const uint32_t *sequence_of(struct slub_cache *cache)
{
	if (cache->sequence)
		return cache->sequence;
	uint32_t *sequence = calloc(cache->sequence_count, sizeof *sequence);
	uint64_t state = cache->sequence_state;
	for (uint32_t i = 0; sequence && i < cache->sequence_count; i++) {
		uint32_t other = random_slot(&state, i + 1);
		sequence[i] = sequence[KML_PLANTED(slub_random_duplicate) ? i : other];
		sequence[other] = i;
	}
	cache->sequence = sequence;
	return sequence;
}

/* mm/slub.c: shuffle_freelist. From a random place on, round the sequence, without slots that a smaller slab lacks. */
static void shuffle(struct slub_cache *cache, struct slab *slab)
{
	bool is_shuffled = slab->objects >= 2 && slab->objects <= cache->sequence_count;
	const uint32_t *sequence = is_shuffled ? sequence_of(cache) : NULL;
	if (!sequence)
		return;
	uint32_t at = random_slot(&slub_heap_of(cache)->random_state, cache->sequence_count);
	uint64_t *link = &slab->free_head;
	for (uint32_t left = slab->objects; left > 0; at = at + 1 == cache->sequence_count ? 0 : at + 1)
		if (sequence[at] < slab->objects) {
			*link = slab_object(slab, sequence[at]);
			link = slub_link(cache, *link);
			left--;
		}
	*link = KML_NO_ADDRESS;
}

/* ------------------------------------------------------------------------------------------------- the node */

static void add_partial(struct slub_cache *cache, struct slab *slab, bool at_tail)
{
	slab->list = SLUB_NODE;
	cache->partial_free += slab->objects - slab->in_use;
	if (at_tail)
		slab_list_add_tail(&cache->partial, slab);
	else
		slab_list_add_head(&cache->partial, slab);
}

static void remove_partial(struct slub_cache *cache, struct slab *slab)
{
	KML_CHECK(slab->list == SLUB_NODE, "cache %s: slab at %" PRIu64 " of the node's list says it is on list %u",
		  cache->slabs.cache.description.name, slab->address, slab->list);
	cache->partial_free -= slab->objects - slab->in_use;
	slab_list_remove(&cache->partial, slab);
}

static void discard(struct slub_cache *cache, struct slab *slab, uint16_t cpu)
{
	count(cache, SLUB_FREE_SLAB);
	slab_destroy(slab, cpu);
}

static bool node_has_enough(const struct slub_cache *cache)
{
	return cache->partial.count >= cache->min_partial;
}

struct slab *slub_slab_new(struct slub_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	struct slab_cache *slabs = &cache->slabs;
	enum slab_fit fit = (enum slab_fit)slub_heap_of(cache)->config.fit;
	struct slab *slab = slab_create(slabs, slabs->order, fit, 0, request, status);
	if (!slab && slabs->order > slabs->fallback_order) {
		slab = slab_create(slabs, slabs->fallback_order, fit, 0, request, status);
		if (slab)
			count(cache, SLUB_ORDER_FALLBACK);
	}
	if (!slab)
		return NULL;
	count(cache, SLUB_ALLOC_SLAB);
	slab->list = SLUB_FULL;
	shuffle(cache, slab);
	return slab;
}

/* --------------------------------------------------------------------------------------------------- a cpu */

/* The slab becomes the cpu's; its free list is taken whole (get_freelist, acquire_slab). */
static void load_slab(struct slub_cpu *cpu, struct slab *slab, uint16_t index)
{
	slab->list = SLUB_CPU;
	slab->cpu = index;
	cpu->slab = slab;
	cpu->freelist = slab->free_head;
	slab->free_head = KML_NO_ADDRESS;
	slab_count(slab, (int32_t)(slab->objects - slab->in_use));
}

static void push_cpu_partial(struct slub_cpu *cpu, struct slab *slab, uint16_t index)
{
	slab->list = SLUB_CPU_PARTIAL;
	slab->cpu = index;
	slab->link.next = cpu->partial ? &cpu->partial->link : NULL;
	cpu->partial = slab;
	cpu->partial_slabs++;
}

static struct slab *pop_cpu_partial(struct slub_cpu *cpu)
{
	struct slab *slab = cpu->partial;
	cpu->partial = (struct slab *)slab->link.next;
	cpu->partial_slabs--;
	slab->link.next = NULL;
	return slab;
}

/* __unfreeze_partials. A chain of slabs, the newest first, goes to the end of the node's list; the empty ones that it
 * has no use for are freed after that, the last one first. */
static void unfreeze_partials(struct slub_cache *cache, struct slab *chain, uint16_t cpu)
{
	struct slab *unwanted = NULL;
	while (chain) {
		struct slab *slab = chain;
		chain = (struct slab *)slab->link.next;
		if (slab->in_use == 0 && node_has_enough(cache)) {
			slab->link.next = (struct slab_link *)unwanted;
			unwanted = slab;
		} else {
			count(cache, SLUB_FREE_ADD_PARTIAL);
			add_partial(cache, slab, true);
		}
	}
	while (unwanted) {
		struct slab *slab = unwanted;
		unwanted = KML_PLANTED(slub_unwanted_lost) ? NULL : (struct slab *)slab->link.next;
		count(cache, SLUB_DEACTIVATE_EMPTY);
		discard(cache, slab, cpu);
	}
}

static struct slab *take_cpu_partials(struct slub_cpu *cpu)
{
	struct slab *chain = cpu->partial;
	cpu->partial = NULL;
	cpu->partial_slabs = 0;
	return chain;
}

/* put_cpu_partial with drain: a list that is long enough already moves to the node first. */
static void put_cpu_partial(struct slub_cache *cache, struct slab *slab, uint16_t index)
{
	struct slub_cpu *cpu = &cache->cpus[index];
	struct slab *full_list = NULL;
	if (cpu->partial && cpu->partial_slabs >= cache->cpu_partial_slabs)
		full_list = take_cpu_partials(cpu);
	push_cpu_partial(cpu, slab, index);
	count(cache, SLUB_CPU_PARTIAL_FREE);
	if (!full_list || KML_PLANTED(slub_cpu_partial_dropped))
		return;
	count(cache, SLUB_CPU_PARTIAL_DRAIN);
	unfreeze_partials(cache, full_list, index);
}

/* deactivate_slab: the cpu's free objects go back to the front of the slab's list, the slab to its place. */
static void deactivate(struct slub_cache *cache, struct slub_cpu *cpu, uint16_t index)
{
	struct slab *slab = cpu->slab;
	bool at_tail = slab->free_head != KML_NO_ADDRESS; /* freed by other cpus: cold */
	if (at_tail)
		count(cache, SLUB_DEACTIVATE_REMOTE_FREES);
	int32_t returned = 0;
	uint64_t last = KML_NO_ADDRESS;
	for (uint64_t object = cpu->freelist; object != KML_NO_ADDRESS; object = *slub_link(cache, object)) {
		last = object;
		returned++;
		KML_CHECK((uint32_t)returned <= slab->in_use,
			  "cache %s, slab at %" PRIu64 ": the free list of cpu %u runs in a circle: a free object was "
			  "written to",
			  cache->slabs.cache.description.name, slab->address, index);
	}
	if (returned > 0) {
		*slub_link(cache, last) = KML_PLANTED(slub_freelist_cycle) && at_tail ? cpu->freelist : slab->free_head;
		slab->free_head = cpu->freelist;
		slab_count(slab, -returned);
	}
	cpu->slab = NULL;
	cpu->freelist = KML_NO_ADDRESS;
	slab->list = SLUB_FULL;
	if (slab->in_use == 0 && node_has_enough(cache)) {
		count(cache, SLUB_DEACTIVATE_EMPTY);
		discard(cache, slab, index);
	} else if (slab->free_head != KML_NO_ADDRESS) {
		count(cache, at_tail ? SLUB_DEACTIVATE_TO_TAIL : SLUB_DEACTIVATE_TO_HEAD);
		add_partial(cache, slab, at_tail);
	} else {
		count(cache, SLUB_DEACTIVATE_FULL);
	}
}

void slub_flush_cpu(struct slub_cache *cache, uint16_t index)
{
	if (!slub_has_percpu(cache) || (KML_PLANTED(slub_drain_misses_partials) && !cache->cpus[index].slab))
		return;
	struct slub_cpu *cpu = &cache->cpus[index];
	if (cpu->slab) {
		deactivate(cache, cpu, index);
		count(cache, SLUB_CPUSLAB_FLUSH);
	}
	unfreeze_partials(cache, take_cpu_partials(cpu), index);
}

/* ---------------------------------------------------------------------------------------------------- alloc */

/* How many slabs beside the cpu's own get_partial_node takes off the node's list: until the cpu's list has more than
 * half of what it should. 6.18 takes none where it should have none. */
static uint32_t partials_to_take(const struct slub_cache *cache)
{
	const struct slub_heap *heap = slub_heap_of(cache);
	bool none = heap->config.percpu == SLUB_PERCPU_SLAB ||
		    (cache->cpu_partial_slabs == 0 && heap->config.profile != SLUB_LINUX_6_1);
	return none ? 0 : cache->cpu_partial_slabs / 2 + 1;
}

/* get_partial_node */
static bool take_from_node(struct slub_cache *cache, struct slub_cpu *cpu, uint16_t index)
{
	struct slab *slab = slab_list_first(&cache->partial);
	if (!slab)
		return false;
	remove_partial(cache, slab);
	load_slab(cpu, slab, index);
	count(cache, SLUB_ALLOC_FROM_PARTIAL);
	for (uint32_t wanted = partials_to_take(cache); wanted > 0; wanted--) {
		slab = slab_list_first(&cache->partial);
		if (!slab)
			break;
		remove_partial(cache, slab);
		push_cpu_partial(cpu, slab, index);
		count(cache, SLUB_CPU_PARTIAL_NODE);
	}
	return true;
}

/* ___slab_alloc: the cpu gets a slab with a free object. */
static bool refill(struct slub_cache *cache, struct slub_cpu *cpu, const struct kml_request *request,
		   enum kml_status *status)
{
	count(cache, SLUB_ALLOC_SLOWPATH);
	struct slab *slab = cpu->slab;
	if (slab && (KML_PLANTED(slub_freelist_lost) || slab->free_head == KML_NO_ADDRESS)) {
		slab->list = SLUB_FULL;
		cpu->slab = NULL;
		count(cache, SLUB_DEACTIVATE_BYPASS);
		slab = NULL;
	}
	if (!slab && cpu->partial) {
		slab = pop_cpu_partial(cpu);
		count(cache, SLUB_CPU_PARTIAL_ALLOC);
	}
	if (slab) {
		load_slab(cpu, slab, request->cpu);
		count(cache, SLUB_ALLOC_REFILL);
		return true;
	}
	if (take_from_node(cache, cpu, request->cpu))
		return true;
	slab = slub_slab_new(cache, request, status);
	if (slab)
		load_slab(cpu, slab, request->cpu);
	return slab != NULL;
}

/* alloc_single_from_partial, alloc_single_from_new_slab */
static uint64_t take_single(struct slub_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	struct slab *slab = slab_list_first(&cache->partial);
	if (slab) {
		count(cache, SLUB_ALLOC_FROM_PARTIAL);
	} else {
		slab = slub_slab_new(cache, request, status);
		if (!slab)
			return KML_NO_ADDRESS;
		add_partial(cache, slab, false);
	}
	uint64_t object = slab_pop(slab);
	cache->partial_free--;
	if (slab->free_head == KML_NO_ADDRESS) {
		remove_partial(cache, slab);
		slab->list = SLUB_FULL;
	}
	return object;
}

uint64_t slub_take(struct slub_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	*status = KML_OK;
	if (!slub_has_percpu(cache))
		return take_single(cache, request, status);
	struct slub_cpu *cpu = &cache->cpus[request->cpu];
	if (cpu->freelist != KML_NO_ADDRESS)
		count(cache, SLUB_ALLOC_FASTPATH);
	else if (!refill(cache, cpu, request, status))
		return KML_NO_ADDRESS;
	uint64_t object = cpu->freelist;
	cpu->freelist = *slub_link(cache, object);
	return object;
}

/* ----------------------------------------------------------------------------------------------------- free */

/* A slab of the node's list got an object back. */
static void settle_on_node(struct slub_cache *cache, struct slab *slab, uint16_t cpu)
{
	cache->partial_free += KML_PLANTED(slub_partial_free_drift) ? slab->in_use > 0 : 1;
	if (slab->in_use > 0 || !node_has_enough(cache))
		return;
	count(cache, SLUB_FREE_REMOVE_PARTIAL);
	remove_partial(cache, slab);
	discard(cache, slab, cpu);
}

/* A slab that was full, and no cpu partial list to put it on. */
static void leave_full(struct slub_cache *cache, struct slab *slab, uint16_t cpu)
{
	if (slab->in_use == 0 && node_has_enough(cache)) {
		discard(cache, slab, cpu);
		return;
	}
	count(cache, SLUB_FREE_ADD_PARTIAL);
	add_partial(cache, slab, true);
}

/* __slab_free */
static void give_slowly(struct slub_cache *cache, struct slab *slab, uint64_t object, uint16_t cpu)
{
	count(cache, SLUB_FREE_SLOWPATH);
	slab_push(slab, object);
	switch ((enum slub_list)slab->list) {
	case SLUB_CPU:
	case SLUB_CPU_PARTIAL:
		count(cache, SLUB_FREE_FROZEN);
		return;
	case SLUB_NODE:
		settle_on_node(cache, slab, cpu);
		return;
	case SLUB_FULL:
		break;
	}
	if (slub_heap_of(cache)->config.percpu == SLUB_PERCPU_ON)
		put_cpu_partial(cache, slab, cpu);
	else
		leave_full(cache, slab, cpu);
}

void slub_give(struct slub_cache *cache, struct slab *slab, uint64_t object, uint16_t index)
{
	struct slub_cpu *cpu = slub_has_percpu(cache) ? &cache->cpus[index] : NULL;
	if (!cpu || cpu->slab != slab) {
		give_slowly(cache, slab, object, index);
		return;
	}
	count(cache, SLUB_FREE_FASTPATH);
	*slub_link(cache, object) = cpu->freelist;
	cpu->freelist = object;
}

/* -------------------------------------------------------------------------------------- a start in mid-life */

void slub_slab_shape(struct slab *slab, const uint32_t *free_slots, uint32_t free_count)
{
	struct slub_cache *cache = cache_of(slab);
	uint64_t next = KML_NO_ADDRESS;
	for (uint32_t i = free_count; i-- > 0;) {
		uint64_t object = slab_object(slab, free_slots[i]);
		*slub_link(cache, object) = next;
		next = object;
	}
	slab->free_head = next;
	slab_count(slab, (int32_t)(slab->objects - slab->in_use) - (int32_t)free_count);
}

void slub_slab_adopt(struct slab *slab, enum slub_list list, uint16_t index)
{
	struct slub_cache *cache = cache_of(slab);
	bool is_full = slab->free_head == KML_NO_ADDRESS;
	KML_CHECK(is_full ? list == SLUB_FULL || list == SLUB_CPU : list != SLUB_FULL,
		  "cache %s, slab at %" PRIu64 ": %u of %u slots in use, meant for list %d",
		  cache->slabs.cache.description.name, slab->address, slab->in_use, slab->objects, (int)list);
	switch (list) {
	case SLUB_FULL:
		slab->list = SLUB_FULL;
		return;
	case SLUB_NODE:
		add_partial(cache, slab, true);
		return;
	case SLUB_CPU_PARTIAL:
		push_cpu_partial(&cache->cpus[index], slab, index);
		return;
	case SLUB_CPU:
		KML_CHECK(!cache->cpus[index].slab, "cache %s: cpu %u has a slab already",
			  cache->slabs.cache.description.name, index);
		load_slab(&cache->cpus[index], slab, index);
		return;
	}
}

/* --------------------------------------------------------------------------------------------------- caches */

/*
 * What the slots are: computed. But as slabinfo reported them where the trace does not tell the alignment, and where
 * they are smaller than type-safety by RCU makes them: since 6.12 a cache may name a place inside the object for the
 * link (freeptr_offset: vm_area_struct, filp).
 */
static struct slub_slot cache_slot(const struct kml_cache *description)
{
	bool keeps_contents = description->has_constructor || description->typesafe_by_rcu;
	struct slub_slot slot = slub_slot(description->object_bytes, description->align_bytes, keeps_contents);
	uint64_t recorded = description->recorded_slot_bytes & ~7ull;
	bool names_a_place = description->typesafe_by_rcu && !description->has_constructor && recorded < slot.bytes;
	if ((description->align_bytes != 0 && !names_a_place) || recorded < description->object_bytes ||
	    recorded % slot.align_bytes != 0)
		return slot;
	slot.bytes = recorded;
	if (slot.link_offset + sizeof(uint64_t) > recorded)
		slot.link_offset = slub_slot(description->object_bytes, 0, false).link_offset;
	return slot;
}

static bool set_geometry(struct slub_cache *cache)
{
	const struct slub_heap *heap = slub_heap_of(cache);
	const struct slub_config *config = &heap->config;
	struct slab_cache *slabs = &cache->slabs;
	const struct kml_cache guarded = guard_description(&slabs->cache.description, config->debug);
	struct slub_slot slot = cache_slot(&guarded);
	uint32_t order = slub_order(&heap->tunables, slot.bytes);
	if (order == SLUB_ORDER_NONE)
		return false;
	uint32_t fallback_order = object_order(&heap->heap, slot.bytes);
	if (config->order != 0)
		order = config->order - 1 < fallback_order ? fallback_order : config->order - 1;
	while (((uint64_t)heap->heap.page_bytes << order) / slot.bytes > SLUB_OBJECTS_PER_SLAB &&
	       order > fallback_order)
		order--;
	uint64_t objects = ((uint64_t)heap->heap.page_bytes << order) / slot.bytes;
	if (objects > SLUB_OBJECTS_PER_SLAB)
		return false;
	slabs->align_bytes = slot.align_bytes;
	slabs->slot_bytes = slot.bytes;
	slabs->link_offset = slot.link_offset;
	slabs->order = order;
	slabs->fallback_order = fallback_order;
	slabs->objects = (uint32_t)objects;
	guard_open(slabs, config->debug);
	cache->min_partial = config->min_partial ? (uint32_t)config->min_partial : slub_min_partial(slot.bytes);
	cache->cpu_partial_objects =
		config->cpu_partial ? (uint32_t)config->cpu_partial : slub_cpu_partial(&heap->tunables, slot.bytes);
	cache->cpu_partial_slabs = slub_cpu_partial_slabs(cache->cpu_partial_objects, slabs->objects);
	return true;
}

/* Of a cache of 6.18 that asks for them, where cpus have lists. */
static bool open_sheaves(struct slub_cache *cache)
{
	const struct slub_heap *heap = slub_heap_of(cache);
	uint32_t capacity = sheaves_capacity(cache->slabs.cache.description.name);
	if (capacity == 0 || heap->config.profile == SLUB_LINUX_6_1 || heap->config.percpu != SLUB_PERCPU_ON)
		return true;
	cache->sheaves = sheaves_create(capacity, heap->heap.cpu_count);
	return cache->sheaves != NULL;
}

/* The numbers for the sequence of random free lists, and the cpus. */
static bool make_tables(struct slub_cache *cache)
{
	struct slub_heap *heap = slub_heap_of(cache);
	if (heap->config.random) {
		cache->sequence_count = cache->slabs.objects;
		cache->sequence_state = heap->random_state;
		random_skip(&heap->random_state, cache->sequence_count);
	}
	if (heap->config.percpu == SLUB_PERCPU_OFF)
		return true;
	cache->cpus = calloc(heap->heap.cpu_count, sizeof *cache->cpus);
	for (uint32_t cpu = 0; cache->cpus && cpu < heap->heap.cpu_count; cpu++)
		cache->cpus[cpu].freelist = KML_NO_ADDRESS;
	return cache->cpus && open_sheaves(cache);
}

static uint64_t tables_bytes(const struct slub_cache *cache)
{
	uint64_t cpus = cache->cpus ? cache->slabs.cache.heap->cpu_count : 0;
	return cache->sequence_count * sizeof *cache->sequence + cpus * sizeof *cache->cpus;
}

static bool slub_cache_open(struct object_cache *base)
{
	struct slub_cache *cache = slub_cache_of(base);
	if (!set_geometry(cache))
		return false;
	cache->links = base->heap->arena->base + cache->slabs.link_offset;
	slab_list_clear(&cache->partial);
	if (!make_tables(cache)) {
		free(cache->cpus);
		return false;
	}
	base->heap->books.metadata_bytes += tables_bytes(cache);
	return true;
}

static void slub_cache_release(struct object_cache *base)
{
	struct slub_cache *cache = slub_cache_of(base);
	base->heap->books.metadata_bytes -= tables_bytes(cache);
	free(cache->sequence);
	free(cache->cpus);
	sheaves_destroy(cache->sheaves);
	seed_forget(&cache->slabs);
}

static void flush_cpu(struct slub_cache *cache, uint16_t cpu)
{
	if (cache->sheaves)
		sheaves_flush_cpu(cache, cpu);
	slub_flush_cpu(cache, cpu);
}

static void flush_all(struct slub_cache *cache)
{
	for (uint32_t cpu = 0; slub_has_percpu(cache) && cpu < cache->slabs.cache.heap->cpu_count; cpu++)
		flush_cpu(cache, (uint16_t)cpu);
	if (!cache->sheaves)
		return;
	sheaves_flush_barn(cache);
	slub_flush_cpu(cache, 0); /* whose partial list they came to */
}

static void slub_cache_close(struct object_cache *base)
{
	struct slub_cache *cache = slub_cache_of(base);
	flush_all(cache);
	for (struct slab *slab; (slab = slab_list_first(&cache->partial));) {
		remove_partial(cache, slab);
		discard(cache, slab, 0);
	}
	KML_CHECK(cache->slabs.slabs == 0, "cache %s: %" PRIu64 " slabs stay although no object is live",
		  base->description.name, cache->slabs.slabs);
}

/* mm/slab_common.c: find_mergeable. As far as a description tells: those of kmalloc (user copies), with a constructor
 * or type-safe by RCU stay alone, and reclaimable ones among themselves. */
static bool may_merge(const struct kml_cache *description)
{
	return !description->has_constructor && !description->typesafe_by_rcu && !description->is_kmalloc;
}

static bool serves(const struct slub_cache *cache, const struct kml_cache *description, const struct slub_slot *slot)
{
	const struct object_cache *base = &cache->slabs.cache;
	uint64_t have = cache->slabs.slot_bytes;
	/* What live objects were granted does not change. */
	bool may_grow = KML_PLANTED(slub_merge_grows_live) || base->live == 0;
	return may_merge(&base->description) && base->description.reclaimable == description->reclaimable &&
	       slot->bytes <= have && have - slot->bytes < sizeof(void *) && have % slot->align_bytes == 0 &&
	       (description->object_bytes <= base->object_bytes || may_grow);
}

static struct object_cache *slub_merge(struct object_heap *base, const struct kml_cache *description)
{
	const struct slub_heap *heap = (struct slub_heap *)base;
	if (!heap->config.merge || !may_merge(description))
		return NULL;
	struct slub_slot slot = cache_slot(description);
	for (uint32_t i = 0; i < base->cache_count; i++) {
		struct object_cache *cache = base->caches[i];
		if (!cache || !serves(slub_cache_of(cache), description, &slot))
			continue;
		if (description->object_bytes > cache->object_bytes)
			cache->object_bytes = description->object_bytes;
		if (description->align_bytes > cache->description.align_bytes)
			cache->description.align_bytes = description->align_bytes;
		return cache;
	}
	return NULL;
}

/* -------------------------------------------------------------------------------------- shrink and drain */

/* __kmem_cache_do_shrink: empty slabs go; of the others those with at most SHRINK_PROMOTE_MAX free objects come to the
 * head of the list, the fullest first. */
static void shrink_node(struct slub_cache *cache)
{
	struct slab_list unwanted, promoted[SHRINK_PROMOTE_MAX];
	if (cache->partial.count == 0)
		return;
	slab_list_clear(&unwanted);
	for (uint32_t i = 0; i < SHRINK_PROMOTE_MAX; i++)
		slab_list_clear(&promoted[i]);
	for (struct slab *slab = slab_list_first(&cache->partial), *next; slab; slab = next) {
		next = slab_list_next(&cache->partial, slab);
		uint32_t free_objects = slab->objects - slab->in_use;
		bool is_empty = slab->in_use == 0;
		if (!is_empty && free_objects > SHRINK_PROMOTE_MAX + KML_PLANTED(slub_promote_off_by_one))
			continue;
		remove_partial(cache, slab);
		slab_list_add_head(is_empty ? &unwanted : &promoted[free_objects - 1], slab);
	}
	for (uint32_t i = SHRINK_PROMOTE_MAX; i-- > 0;)
		for (struct slab *slab; (slab = slab_list_last(&promoted[i]));) {
			slab_list_remove(&promoted[i], slab);
			add_partial(cache, slab, false);
		}
	for (struct slab *slab; (slab = slab_list_first(&unwanted));) {
		slab_list_remove(&unwanted, slab);
		slab_destroy(slab, 0); /* not counted: free_slab, not discard_slab */
	}
}

static void slub_cache_shrink(struct object_cache *base)
{
	struct slub_cache *cache = slub_cache_of(base);
	flush_all(cache);
	shrink_node(cache);
}

static void slub_cache_drain(struct object_cache *base, uint16_t cpu)
{
	flush_cpu(slub_cache_of(base), cpu);
}

/* -------------------------------------------------------------------------------------------------- figures */

static void slub_cache_stats(const struct object_cache *base, struct kml_cache_stats *stats)
{
	const struct slub_cache *cache = slub_cache_of(base);
	const struct slab_cache *slabs = &cache->slabs;
	stats->active_objects = slabs->total_objects - cache->partial_free;
	stats->total_objects = slabs->total_objects;
	stats->active_slabs = slabs->slabs;
	stats->slabs = slabs->slabs;
	stats->slab_bytes = slabs->slab_bytes;
	stats->slot_bytes = slabs->slot_bytes;
	stats->objects_per_slab = slabs->objects;
	stats->pages_per_slab = 1u << slabs->order;
}

/* ----------------------------------------------------------------------------------------------- strategy */

static enum kml_status slub_strategy_take(struct object_cache *base, const struct kml_request *request,
					  struct object_place *place)
{
	struct slub_cache *cache = slub_cache_of(base);
	enum kml_status status;
	uint64_t object = cache->sheaves ? sheaves_take(cache, request, &status) : slub_take(cache, request, &status);
	if (object != KML_NO_ADDRESS)
		slab_grant(slab_of(base->heap, object), object, place);
	return status;
}

static void slub_strategy_give(const struct object_place *place, const struct kml_release *release)
{
	struct slub_cache *cache = slub_cache_of(place->cache);
	slab_ungrant(place);
	if (cache->sheaves)
		sheaves_give(cache, place->run, place->address, release->cpu);
	else
		slub_give(cache, place->run, place->address, release->cpu);
}

static struct slab *seed_create(struct slab_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	return slub_slab_new(slub_cache_of(&cache->cache), request, status);
}

static void seed_adopt(struct slab *slab, const uint32_t *free_slots, uint32_t free_count, enum seed_place place,
		       uint16_t cpu)
{
	static const enum slub_list lists[] = {[SEED_FULL] = SLUB_FULL,
					       [SEED_NODE] = SLUB_NODE,
					       [SEED_CPU_PARTIAL] = SLUB_CPU_PARTIAL,
					       [SEED_CPU] = SLUB_CPU};
	slub_slab_shape(slab, free_slots, free_count);
	slub_slab_adopt(slab, lists[place], cpu);
}

static void seed_park(struct slab_cache *cache, uint64_t object, uint16_t cpu, bool on_node)
{
	sheaves_park(slub_cache_of(&cache->cache), object, cpu, on_node);
}

/*
 * A cache with sheaves begins with what it had off the slabs in its sheaves. Where kfree_rcu fills them, of which a
 * trace has no events, it does without: objects that were freed without an event, and live on here until their place is
 * used again, stand for those that the sheaves keep.
 */
static struct seed_rules seed_rules(struct slub_cache *cache)
{
	if (cache->sheaves && cache->parked == 0 && sheaves_filled_by_rcu(cache->slabs.cache.description.name)) {
		sheaves_destroy(cache->sheaves);
		cache->sheaves = NULL;
	}
	bool has_lists = slub_has_percpu(cache) && !cache->sheaves;
	uint32_t batch = 1 + (slub_has_percpu(cache) ? partials_to_take(cache) : 0);
	struct seed_rules rules = {.has_cpu_slab = has_lists,
				   .cpu_partial_slabs = has_lists && batch > 1 ? cache->cpu_partial_slabs : 0,
				   .node_batch = batch,
				   .create = seed_create,
				   .adopt = seed_adopt};
	if (cache->sheaves) {
		uint32_t capacity = sheaves_capacity(cache->slabs.cache.description.name);
		rules.parked_per_cpu = 2 * capacity;
		rules.parked_on_node = SHEAVES_BARN_MAX * capacity;
		rules.park = seed_park;
	}
	return rules;
}

static void slub_seed(struct object_cache *base, const struct kml_seed *seed)
{
	struct slub_cache *cache = slub_cache_of(base);
	const struct seed_rules rules = seed_rules(cache);
	seed_note(&cache->slabs, &rules, seed);
}

static enum kml_status slub_take_warm(struct object_cache *base, const struct kml_request *request,
				      struct object_place *place)
{
	struct slub_cache *cache = slub_cache_of(base);
	const struct seed_rules rules = seed_rules(cache);
	return seed_take(&cache->slabs, &rules, request, place);
}

static void slub_cache_settle(struct object_cache *base)
{
	struct slub_cache *cache = slub_cache_of(base);
	const struct seed_rules rules = seed_rules(cache);
	seed_settle(&cache->slabs, &rules);
}

static bool slub_start(struct object_heap *base, const void *config_bytes, struct kml_error *error)
{
	struct slub_heap *heap = (struct slub_heap *)base;
	const struct slub_config *config = config_bytes;
	if (config->min_order > config->max_order)
		return kml_fail(
			error, "slub: min_order=%" PRIu64 " is above max_order=%" PRIu64 ": lower one, raise the other",
			config->min_order, config->max_order);
	heap->config = *config;
	if (config->debug) { /* kmem_cache_debug: alloc_single_from_partial; SLAB_NEVER_MERGE */
		heap->config.percpu = SLUB_PERCPU_OFF;
		heap->config.merge = false;
	}
	heap->tunables = (struct slub_tunables){
		.profile = (enum slub_profile)config->profile,
		.page_bytes = base->page_bytes,
		.cpu_count = base->cpu_count,
		.min_order = (uint32_t)config->min_order,
		.max_order = (uint32_t)config->max_order,
		.min_objects = config->min_objects,
	};
	heap->random_state = base->environment.seed;
	return true;
}

static const struct object_strategy slub_strategy = {
	.allocator = &kml_slub,
	.heap_bytes = sizeof(struct slub_heap),
	.cache_bytes = sizeof(struct slub_cache),
	.start = slub_start,
	.cache_open = slub_cache_open,
	.merge = slub_merge,
	.cache_close = slub_cache_close,
	.cache_release = slub_cache_release,
	.run_release = slab_release,
	.take = slub_strategy_take,
	.give = slub_strategy_give,
	.resolve = slab_resolve,
	.cache_shrink = slub_cache_shrink,
	.cache_drain = slub_cache_drain,
	.cache_stats = slub_cache_stats,
	.walk_run = slab_walk_run,
	.cache_validate = slub_cache_validate,
	.run_validate = slub_run_validate,
	.seed = slub_seed,
	.take_warm = slub_take_warm,
	.cache_settle = slub_cache_settle,
};

static struct kml_heap *slub_create(const struct kml_environment *environment, const void *config,
				    struct kml_error *error)
{
	return object_create(&slub_strategy, environment, config, error);
}

static const char *const profile_names[] = {"linux-6.1", "linux-6.18", NULL};
static const char *const order_names[] = {"auto", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", NULL};
static const char *const switch_names[] = {"off", "on", NULL};
static const char *const percpu_names[] = {"on", "slab", "off", NULL};

#define CHOICE(name_, field, default_, choices_, help_)                                                                \
	{                                                                                                              \
		.name = (name_), .type = KML_PARAM_CHOICE, .offset = offsetof(struct slub_config, field),              \
		.default_text = (default_), .choices = (choices_), .help = (help_)                                     \
	}
#define NUMBER(name_, field, default_, minimum_, maximum_, help_)                                                      \
	{                                                                                                              \
		.name = (name_), .type = KML_PARAM_NUMBER, .offset = offsetof(struct slub_config, field),              \
		.default_text = (default_), .minimum = (minimum_), .maximum = (maximum_), .help = (help_)              \
	}

static const struct kml_param slub_params[] = {
	CHOICE("profile", profile, "linux-6.18", profile_names, "the kernel whose rules are followed"),
	CHOICE("order", order, "auto", order_names, "order of every slab, where an object fits; auto: by the rules"),
	NUMBER("min_order", min_order, "0", 0, SLUB_ORDER_MAX, "slab_min_order: the search for an order begins here"),
	NUMBER("max_order", max_order, "3", 0, SLUB_ORDER_MAX, "slab_max_order: and ends here, where an object fits"),
	NUMBER("min_objects", min_objects, "auto", 1, SLUB_OBJECTS_PER_SLAB,
	       "slab_min_objects: wanted in a slab; auto: 4 * (bits of the number of cpus + 1)"),
	NUMBER("min_partial", min_partial, "auto", 1, UINT32_MAX,
	       "empty slabs are kept while the node has fewer partial slabs; auto: log2(size)/2, 5 to 10"),
	NUMBER("cpu_partial", cpu_partial, "auto", 1, INT32_MAX,
	       "free objects that a cpu's partial slabs should hold; auto: 6, 24, 52 or 120 by size"),
	CHOICE("random", random, "off", switch_names, "free lists of new slabs in random order, by the seed"),
	CHOICE("merge", merge, "off", switch_names, "caches of like size and kind share slabs"),
	CHOICE("percpu", percpu, "on", percpu_names,
	       "slab: a cpu slab but no partial list of the cpu's; off: one list and one lock for all"),
	CHOICE("debug", debug, "off", guard_names, GUARD_HELP "; then percpu=off and no merging"),
	CHOICE("fit", fit, "asked", slab_fit_names, "what a slab uses of the pages granted"),
	{.name = NULL}};

const struct kml_allocator kml_slub = {
	.abi_version = KML_ABI_VERSION,
	.name = "slub",
	.title = "SLUB",
	.citation = "Lameter, SLUB: the unqueued slab allocator, Linux 2.6.22, 2007; mm/slub.c",
	.summary = "a slab and a list of partial slabs per cpu, one list per node, free lists in the objects; O(1)",
	.layer = KML_LAYER_OBJECTS,
	.params = slub_params,
	.config_bytes = sizeof(struct slub_config),
	.create = slub_create,
	OBJECT_COMMON_OPERATIONS,
	.seed = object_seed,
	.settle = object_settle,
};
