/*
 * slub_check.c - the self-check of a cache of SLUB.
 *
 * Invariants: a slab is on the list that it says, once; its chain has its free objects, each once, none granted; a slab
 * on a list of partial slabs has a free object; the cpu's free list has the objects of the cpu's slab that are in use
 * and neither granted nor parked; counters are what the lists hold; whatever is on no list is out. No list is walked
 * further than its cache has slabs, no chain further than its slab has objects. O(objects).
 */
#include <inttypes.h>

#include "allocators/slab/sheaves.h"
#include "allocators/slab/slub.h"

/* What the lists of a cache add up to. */
struct census {
	const struct slub_cache *cache;
	struct kml_error *error;
	uint64_t slabs, objects, live, free_objects;
};

static bool fails(const struct census *census, const struct slab *slab, const char *what)
{
	return kml_fail(census->error, "cache %s, slab at %" PRIu64 " (list %u, cpu %u, %u of %u slots in use): %s",
			census->cache->slabs.cache.description.name, slab->address, slab->list, slab->cpu, slab->in_use,
			slab->objects, what);
}

static bool check_slab(struct census *census, const struct slab *slab, enum slub_list list)
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
	return slab_check(slab, true, census->error);
}

static bool check_node(struct census *census)
{
	const struct slab_list *list = &census->cache->partial;
	const struct slab_link *before = &list->head;
	uint64_t slabs = 0;
	for (const struct slab *slab = slab_list_first(list); slab; slab = slab_list_next(list, slab)) {
		if (slab->link.prev != before)
			return fails(census, slab, "its list link back is broken");
		if (!check_slab(census, slab, SLUB_NODE))
			return false;
		before = &slab->link;
		slabs++;
	}
	if (slabs != list->count || census->free_objects != census->cache->partial_free)
		return kml_fail(census->error,
				"cache %s: %" PRIu64 " slabs with %" PRIu64
				" free objects on the node's list, the counters say %" PRIu64 " and %" PRIu64,
				census->cache->slabs.cache.description.name, slabs, census->free_objects, list->count,
				census->cache->partial_free);
	return true;
}

/* The chain that a cpu took off its slab: objects of that slab, not granted, none twice (no longer than the slab). */
static bool check_freelist(struct census *census, const struct slub_cpu *cpu)
{
	const struct slab *slab = cpu->slab;
	uint32_t length = 0;
	for (uint64_t object = cpu->freelist; object != KML_NO_ADDRESS; object = *slub_link(census->cache, object)) {
		uint32_t slot = slab_slot(slab, object);
		if (object < slab->first || slot >= slab->objects || slab_object(slab, slot) != object)
			return fails(census, slab, "the cpu's free list leaves the slab");
		if (slab_is_granted(slab, slot))
			return fails(census, slab, "the cpu's free list has a granted object");
		if (++length > slab->in_use - slab->live)
			return fails(census, slab,
				     "the cpu's free list is longer than what is parked: it runs in a circle");
	}
	if (length != slab->in_use - slab->live && census->cache->parked == 0)
		return fails(census, slab, "objects are neither granted nor on a free list");
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
		if (!check_slab(census, cpu->slab, SLUB_CPU) || !check_freelist(census, cpu))
			return false;
	}
	uint32_t slabs = 0;
	for (const struct slab *slab = cpu->partial; slab; slab = (struct slab *)slab->link.next, slabs++)
		if (!check_slab(census, slab, SLUB_CPU_PARTIAL))
			return false;
	if (slabs != cpu->partial_slabs)
		return kml_fail(census->error, "cache %s: cpu %u has %u partial slabs, its counter says %u", name,
				index, slabs, cpu->partial_slabs);
	return true;
}

/* All objects of the slabs that are on no list are out; so the lists and the counters must add up to the cache. */
bool slub_cache_validate(const struct object_cache *base, struct kml_error *error)
{
	const struct slub_cache *cache = slub_cache_of(base);
	const struct slab_cache *slabs = &cache->slabs;
	struct census census = {.cache = cache, .error = error};
	if ((cache->sheaves && !sheaves_validate(cache, error)) || !check_node(&census))
		return false;
	for (uint32_t cpu = 0; slub_has_percpu(cache) && cpu < base->heap->cpu_count; cpu++)
		if (!check_cpu(&census, cpu))
			return false;
	uint64_t out = slabs->total_objects - census.objects + census.live;
	if (out != base->live + cache->parked && cache->parked == 0)
		return kml_fail(error, "cache %s: %" PRIu64 " objects out by its slabs, %" PRIu64 " by its counter",
				base->description.name, out, base->live);
	if (census.free_objects != slabs->free_objects)
		return kml_fail(error, "cache %s: %" PRIu64 " free objects on its lists, %" PRIu64 " by its counter",
				base->description.name, census.free_objects, slabs->free_objects);
	return true;
}
