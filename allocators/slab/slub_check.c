/*
 * slub_check.c - the self-check of a cache of SLUB.
 *
 * Invariants: a slab is on the list that it says, once; its chain has its free objects, each once, none granted; a slab
 * on a list of partial slabs has a free object; slots in use are granted, parked in a sheaf, or of a cpu's slab and on
 * that cpu's free list; counters are what the lists hold; whatever is on no list is full and out. No list is walked
 * further than its cache has slabs, no chain further than its slab has objects. O(objects).
 */
#include <inttypes.h>

#include <stdlib.h>

#include "allocators/slab/parked.h"
#include "allocators/slab/sheaves.h"
#include "allocators/slab/slub.h"

/* What the lists of a cache add up to. */
struct census {
	const struct slub_cache *cache;
	const struct parked *parked;
	struct kml_error *error;
	uint64_t slabs, objects, live, free_objects;
};

static bool fails(const struct census *census, const struct slab *slab, const char *what)
{
	return kml_fail(census->error, "cache %s, slab at %" PRIu64 " (list %u, cpu %u, %u of %u slots in use): %s",
			census->cache->slabs.cache.description.name, slab->address, slab->list, slab->cpu, slab->in_use,
			slab->objects, what);
}

/* The chain that a cpu took off its slab: objects of that slab, not granted, none twice (no longer than the slab). */
static bool check_freelist(struct census *census, const struct slub_cpu *cpu, uint32_t *length)
{
	const struct slab *slab = cpu->slab;
	*length = 0;
	for (uint64_t object = cpu->freelist; object != KML_NO_ADDRESS; object = *slub_link(census->cache, object)) {
		if (!slab_has_object(slab, object))
			return fails(census, slab, "the cpu's free list leaves the slab");
		if (slab_is_granted(slab, slab_slot(slab, object)))
			return fails(census, slab, "the cpu's free list has a granted object");
		if (++*length > slab->in_use - slab->live)
			return fails(census, slab,
				     "the cpu's free list is longer than what is not granted: it runs in a circle");
	}
	return true;
}

/* `elsewhere`: slots in use that are neither granted nor parked. */
static bool check_slab(struct census *census, const struct slab *slab, enum slub_list list, uint32_t elsewhere)
{
	if (slab->cache != &census->cache->slabs)
		return fails(census, slab, "is of another cache");
	if (slab->list != list)
		return fails(census, slab, "is on another list than it says");
	if (++census->slabs > census->cache->slabs.slabs)
		return fails(census, slab, "the lists have more slabs than the cache: a list runs in a circle");
	if (list != SLUB_CPU && slab->free_head == KML_NO_ADDRESS)
		return fails(census, slab, "is full and on a list of partial slabs");
	census->objects += slab->objects;
	census->live += slab->live;
	census->free_objects += slab->objects - slab->in_use;
	if (!slab_check(slab, census->error))
		return false;
	uint64_t *free_slots = slab_chain_slots(slab, census->error);
	bool is_good = free_slots && parked_check_slab(census->parked, slab, free_slots, elsewhere, census->error);
	free(free_slots);
	return is_good;
}

static bool check_node(struct census *census)
{
	const struct slub_cache *cache = census->cache;
	const struct slab_list *list = &cache->partial;
	const char *name = cache->slabs.cache.description.name;
	if (!slab_list_check(list, cache->slabs.slabs, name, census->error))
		return false;
	for (const struct slab *slab = slab_list_first(list); slab; slab = slab_list_next(list, slab))
		if (!check_slab(census, slab, SLUB_NODE, 0))
			return false;
	if (census->free_objects != cache->partial_free)
		return kml_fail(census->error,
				"cache %s: %" PRIu64 " free objects on the node's list, the counter says %" PRIu64,
				name, census->free_objects, cache->partial_free);
	return true;
}

static bool check_cpu(struct census *census, uint32_t index)
{
	const struct slub_cpu *cpu = &census->cache->cpus[index];
	const char *name = census->cache->slabs.cache.description.name;
	if (!cpu->slab && cpu->freelist != KML_NO_ADDRESS)
		return kml_fail(census->error, "cache %s: cpu %u has a free list without a slab", name, index);
	if (cpu->slab) {
		if (cpu->slab->cpu != index)
			return fails(census, cpu->slab, "is the slab of another cpu than it says");
		uint32_t length;
		if (!check_freelist(census, cpu, &length) || !check_slab(census, cpu->slab, SLUB_CPU, length))
			return false;
	}
	uint32_t slabs = 0;
	for (const struct slab *slab = cpu->partial; slab; slab = (struct slab *)slab->link.next, slabs++)
		if (!check_slab(census, slab, SLUB_CPU_PARTIAL, 0))
			return false;
	if (slabs != cpu->partial_slabs)
		return kml_fail(census->error, "cache %s: cpu %u has %u partial slabs, its counter says %u", name,
				index, slabs, cpu->partial_slabs);
	return true;
}

static bool check_lists(struct census *census)
{
	const struct slub_cache *cache = census->cache;
	if (!check_node(census))
		return false;
	for (uint32_t cpu = 0; slub_has_percpu(cache) && cpu < cache->slabs.cache.heap->cpu_count; cpu++)
		if (!check_cpu(census, cpu))
			return false;
	return true;
}

/* All objects of the slabs that are on no list are out; so the lists and the counters must add up to the cache. */
static bool check_sums(const struct census *census)
{
	const struct slab_cache *slabs = &census->cache->slabs;
	const char *name = slabs->cache.description.name;
	uint64_t parked_on_full = 0;
	for (uint64_t i = 0; i < census->parked->count; i++)
		parked_on_full += slab_of(slabs->cache.heap, census->parked->objects[i])->list == SLUB_FULL;
	uint64_t out = slabs->total_objects - census->objects + census->live;
	if (out != slabs->cache.live + parked_on_full)
		return kml_fail(census->error,
				"cache %s: %" PRIu64 " objects out by its slabs, %" PRIu64
				" by its counter and %" PRIu64 " parked",
				name, out, slabs->cache.live, parked_on_full);
	if (census->free_objects != slabs->free_objects)
		return kml_fail(census->error,
				"cache %s: %" PRIu64 " free objects on its lists, %" PRIu64 " by its counter", name,
				census->free_objects, slabs->free_objects);
	return true;
}

bool slub_cache_validate(const struct object_cache *base, struct kml_error *error)
{
	const struct slub_cache *cache = slub_cache_of(base);
	struct parked parked = {.cache = &cache->slabs};
	struct census census = {.cache = cache, .parked = &parked, .error = error};
	bool is_good = (!cache->sheaves || sheaves_gather(cache, &parked, error)) && parked_sort(&parked, error) &&
		       check_lists(&census) && check_sums(&census);
	parked_free(&parked);
	return is_good;
}

/* Of those on lists the caches are asked. */
bool slub_run_validate(const struct object_heap *heap, void *run, struct kml_error *error)
{
	const struct slab *slab = run;
	(void)heap;
	if (slab->list != SLUB_FULL)
		return true;
	if (slab->in_use != slab->objects || slab->free_head != KML_NO_ADDRESS)
		return kml_fail(error, "cache %s: the slab at %" PRIu64 " with %u of %u slots in use is on no list",
				slab->cache->cache.description.name, slab->address, slab->in_use, slab->objects);
	return slab_check(slab, error);
}
