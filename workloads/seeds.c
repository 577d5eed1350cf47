/*
 * seeds.c - see seeds.h.
 */
#include "workloads/seeds.h"

#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/hashmap.h"
#include "workloads/slabs_at_start.h"

struct collector {
	struct replay_seeds *seeds;
	uint64_t capacity;
	const struct kmt_cache *caches;
	uint32_t page_bytes;
	uint64_t event;
	struct slabs_at_start slabs;
	uint64_t *warm, *unseen;  /* by cache: warm objects, those of them without an address */
	struct kml_hashmap slots; /* addresses at which something has happened */
	struct kml_hashmap born;  /* addresses of slabs that the kernel took during the recording */
};

static uint64_t slab_bytes_of(const struct collector *collector, uint32_t cache)
{
	return (uint64_t)collector->caches[cache].pages_per_slab * collector->page_bytes;
}

/* A slab is a naturally aligned block of pages. */
static uint64_t slab_at(const struct collector *collector, uint32_t cache, uint64_t address)
{
	uint64_t slab_bytes = slab_bytes_of(collector, cache);
	return address - address % slab_bytes;
}

static bool push(struct collector *collector, const struct kmt_event *event)
{
	struct replay_seeds *seeds = collector->seeds;
	if (seeds->count == collector->capacity) {
		uint64_t capacity = collector->capacity ? 2 * collector->capacity : 1024;
		struct kml_seed *grown = realloc(seeds->seeds, capacity * sizeof *grown);
		if (!grown)
			return false;
		seeds->seeds = grown;
		collector->capacity = capacity;
	}
	seeds->seeds[seeds->count++] = (struct kml_seed){
		.recorded = event->address, .event = collector->event, .cache = event->cache, .cpu = event->cpu};
	return true;
}

static bool on_alloc(struct collector *collector, const struct kmt_event *event)
{
	if ((event->flags & KMT_LARGE) || event->cache == KMT_NO_CACHE)
		return true;
	bool warm = event->flags & KMT_WARM;
	collector->warm[event->cache] += warm;
	if (event->address == KMT_NO_ADDRESS) {
		collector->unseen[event->cache] += warm;
		return true;
	}
	if (slab_bytes_of(collector, event->cache) == 0 ||
	    kml_hashmap_get(&collector->slots, event->address) != KML_HASHMAP_NONE)
		return true;
	if (!kml_hashmap_set(&collector->slots, event->address, 1))
		return false;
	uint64_t slab = slab_at(collector, event->cache, event->address);
	if (warm || kml_hashmap_get(&collector->born, slab) != KML_HASHMAP_NONE)
		return true;
	return push(collector, event);
}

static bool on_event(struct collector *collector, const struct kmt_event *event)
{
	slabs_at_start_event(&collector->slabs, event);
	if (event->op == KMT_ALLOC)
		return on_alloc(collector, event);
	if (!(event->flags & KMT_SLAB_PAGE) || (event->flags & KMT_WARM))
		return true;
	return event->op != KMT_PAGE_ALLOC || kml_hashmap_set(&collector->born, event->address, 1);
}

static bool collect_stream(struct collector *collector, struct kmt_reader *reader, struct kml_error *error)
{
	struct kmt_item item;
	if (!kmt_rewind(reader, error))
		return false;
	for (;;) {
		switch (kmt_next(reader, &item, error)) {
		case KMT_ITEM_EVENTS:
			for (uint32_t i = 0; i < item.event_count; i++, collector->event++)
				if (!on_event(collector, &item.events[i]))
					return kml_fail(error,
							"%s: no memory for the places of objects that the trace names: "
							"replay it on a larger machine",
							kmt_reader_path(reader));
			break;
		case KMT_ITEM_SNAPSHOT:
			slabs_at_start_snapshot(&collector->slabs, item.snapshot);
			break;
		case KMT_ITEM_END:
			return true;
		case KMT_ITEM_ERROR:
			return false;
		}
	}
}

/* ----------------------------------------------------------------------------------------------- the surplus */

/*
 * By cache: free slots that were surely counted as active, being on the slab that a cpu allocated from when the
 * recording began. It is the slab of the cpu's first seed.
 */
static bool count_on_cpu_slabs(const struct collector *collector, uint64_t *on_cpu_slabs)
{
	const struct replay_seeds *seeds = collector->seeds;
	struct kml_hashmap begun = {0}, held = {0}; /* (cache, cpu) that has a slab; addresses of those slabs */
	bool done = true;
	for (uint64_t i = 0; done && i < seeds->count; i++) {
		const struct kml_seed *seed = &seeds->seeds[i];
		uint64_t holder = (uint64_t)seed->cache << 16 | seed->cpu;
		uint64_t slab = slab_at(collector, seed->cache, seed->recorded);
		if (kml_hashmap_get(&begun, holder) == KML_HASHMAP_NONE)
			done = kml_hashmap_set(&begun, holder, 1) && kml_hashmap_set(&held, slab, 1);
	}
	for (uint64_t i = 0; done && i < seeds->count; i++) {
		const struct kml_seed *seed = &seeds->seeds[i];
		uint64_t slab = slab_at(collector, seed->cache, seed->recorded);
		on_cpu_slabs[seed->cache] += kml_hashmap_get(&held, slab) != KML_HASHMAP_NONE;
	}
	kml_hashmap_free(&begun);
	kml_hashmap_free(&held);
	return done;
}

/*
 * The objects of a cache that can have been live: its slots less the free ones, which are the seeds, and of those that
 * the kernel counted as free the ones that no seed explains. Seeds on the cpus' slabs it counted as active.
 */
static uint64_t live_at_start(const struct collector *collector, uint32_t index, uint64_t seeds, uint64_t on_cpu_slabs)
{
	const struct kmt_cache *cache = &collector->caches[index];
	uint64_t slots = slabs_at_start_of(&collector->slabs, index) * cache->objects_per_slab;
	uint64_t counted = cache->slabs_at_start * cache->objects_per_slab;
	counted = counted > cache->objects_at_start ? counted - cache->objects_at_start : 0;
	uint64_t explained = seeds - on_cpu_slabs;
	uint64_t free_slots = seeds + (counted > explained ? counted - explained : 0);
	return slots > free_slots ? slots - free_slots : 0;
}

static bool conclude_surplus(const struct collector *collector)
{
	struct replay_seeds *seeds = collector->seeds;
	uint64_t *on_cpu_slabs = calloc(seeds->cache_count + 1, sizeof *on_cpu_slabs);
	uint64_t *of_cache = calloc(seeds->cache_count + 1, sizeof *of_cache);
	bool done = on_cpu_slabs && of_cache && count_on_cpu_slabs(collector, on_cpu_slabs);
	for (uint64_t i = 0; done && i < seeds->count; i++)
		of_cache[seeds->seeds[i].cache]++;
	for (uint32_t i = 0; done && i < seeds->cache_count; i++) {
		if (collector->caches[i].slabs_at_start == 0)
			continue; /* nobody counted */
		uint64_t live = live_at_start(collector, i, of_cache[i], on_cpu_slabs[i]);
		uint64_t surplus = collector->warm[i] > live ? collector->warm[i] - live : 0;
		seeds->surplus[i] = surplus < collector->unseen[i] ? surplus : collector->unseen[i];
	}
	free(on_cpu_slabs);
	free(of_cache);
	return done;
}

/* -------------------------------------------------------------------------------------------------- interface */

bool replay_seeds_collect(struct kmt_reader *reader, struct replay_seeds *seeds, struct kml_error *error)
{
	*seeds = (struct replay_seeds){0};
	struct collector collector = {.seeds = seeds, .page_bytes = kmt_reader_origin(reader)->page_bytes};
	collector.caches = kmt_reader_caches(reader, &seeds->cache_count);
	seeds->surplus = calloc(seeds->cache_count + 1, sizeof *seeds->surplus);
	collector.warm = calloc(seeds->cache_count + 1, sizeof *collector.warm);
	collector.unseen = calloc(seeds->cache_count + 1, sizeof *collector.unseen);
	bool begins_in_mid_life = !kmt_reader_origin(reader)->at_boot && kmt_reader_totals(reader)->warm_events > 0;
	bool done = slabs_at_start_init(&collector.slabs, collector.caches, seeds->cache_count) && seeds->surplus &&
		    collector.warm && collector.unseen;
	if (!done)
		kml_fail(error, "%s: no memory for %u caches", kmt_reader_path(reader), seeds->cache_count);
	else if (begins_in_mid_life)
		done = collect_stream(&collector, reader, error) &&
		       (conclude_surplus(&collector) || kml_fail(error, "%s: no memory to judge %u caches",
								 kmt_reader_path(reader), seeds->cache_count));
	free(collector.warm);
	free(collector.unseen);
	slabs_at_start_free(&collector.slabs);
	kml_hashmap_free(&collector.slots);
	kml_hashmap_free(&collector.born);
	if (!done)
		replay_seeds_free(seeds);
	return done;
}

void replay_seeds_free(struct replay_seeds *seeds)
{
	free(seeds->seeds);
	free(seeds->surplus);
	*seeds = (struct replay_seeds){0};
}
