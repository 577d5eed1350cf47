/*
 * sheaves.c - see sheaves.h. Functions are named like their counterparts in mm/slub.c of Linux 6.18.
 */
#include "allocators/slab/sheaves.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/slab/parked.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

/* struct slab_sheaf */
struct sheaf {
	struct sheaf *next;
	uint32_t size;
	uint64_t objects[];
};

/* struct slub_percpu_sheaves. main is NULL until first used: an empty one. */
struct sheaves_cpu {
	struct sheaf *main, *spare;
};

/* struct node_barn; the newest first. */
struct barn_list {
	struct sheaf *first;
	uint32_t count;
};

struct sheaves {
	uint32_t capacity, cpu_count;
	struct barn_list full, empty;
	struct sheaves_cpu cpus[];
};

/* ---------------------------------------------------------------------------------------------- which caches */

struct sheaves_asker {
	const char *name;
	uint32_t capacity;
	bool filled_by_rcu;
};

/* Zeroes for a cache that does not ask. */
static struct sheaves_asker asker(const char *cache_name)
{
	static const struct sheaves_asker askers[] = {{"maple_node", 32, true}, {"vm_area_struct", 32, false}};
	for (size_t i = 0; i < sizeof askers / sizeof askers[0]; i++)
		if (strcmp(askers[i].name, cache_name) == 0)
			return askers[i];
	return (struct sheaves_asker){0};
}

uint32_t sheaves_capacity(const char *cache_name)
{
	return asker(cache_name).capacity;
}

bool sheaves_filled_by_rcu(const char *cache_name)
{
	return asker(cache_name).filled_by_rcu;
}

/* ---------------------------------------------------------------------------------------------------- sheaves */

static struct sheaf *alloc_empty_sheaf(const struct sheaves *sheaves)
{
	return calloc(1, sizeof(struct sheaf) + sheaves->capacity * sizeof(uint64_t));
}

static void push_sheaf(struct barn_list *list, struct sheaf *sheaf)
{
	sheaf->next = list->first;
	list->first = sheaf;
	list->count++;
}

static struct sheaf *pop_sheaf(struct barn_list *list)
{
	struct sheaf *sheaf = list->first;
	if (sheaf) {
		list->first = sheaf->next;
		list->count--;
	}
	return sheaf;
}

static void barn_put_empty_sheaf(struct sheaves *sheaves, struct sheaf *sheaf)
{
	if (sheaf && sheaves->empty.count < SHEAVES_BARN_MAX)
		push_sheaf(&sheaves->empty, sheaf);
	else
		free(sheaf);
}

/* An empty one of the barn's, or a new one; NULL without memory. */
static struct sheaf *get_empty_sheaf(struct sheaves *sheaves)
{
	struct sheaf *sheaf = pop_sheaf(&sheaves->empty);
	return sheaf ? sheaf : alloc_empty_sheaf(sheaves);
}

/* __kmem_cache_free_bulk: from the last to the first. */
static void sheaf_flush_unused(struct slub_cache *cache, struct sheaf *sheaf, uint16_t cpu)
{
	const struct object_heap *heap = cache->slabs.cache.heap;
	while (sheaf->size > 0) {
		uint64_t object = sheaf->objects[--sheaf->size];
		cache->parked--;
		slub_give(cache, slab_of(heap, object), object, cpu);
	}
}

struct sheaves *sheaves_create(uint32_t capacity, uint32_t cpu_count)
{
	struct sheaves *sheaves = calloc(1, sizeof *sheaves + cpu_count * sizeof sheaves->cpus[0]);
	if (sheaves) {
		sheaves->capacity = capacity;
		sheaves->cpu_count = cpu_count;
	}
	return sheaves;
}

static void free_list(struct barn_list *list)
{
	for (struct sheaf *sheaf; (sheaf = pop_sheaf(list));)
		free(sheaf);
}

void sheaves_destroy(struct sheaves *sheaves)
{
	if (!sheaves)
		return;
	for (uint32_t cpu = 0; cpu < sheaves->cpu_count; cpu++) {
		free(sheaves->cpus[cpu].main);
		free(sheaves->cpus[cpu].spare);
	}
	free_list(&sheaves->full);
	free_list(&sheaves->empty);
	free(sheaves);
}

/* ------------------------------------------------------------------------------------------------------ alloc */

static uint32_t size_of(const struct sheaf *sheaf)
{
	return sheaf ? sheaf->size : 0;
}

static void swap_sheaves(struct sheaves_cpu *cpu)
{
	struct sheaf *main = cpu->main;
	cpu->main = cpu->spare;
	cpu->spare = main;
}

/* refill_sheaf: as many objects as the slabs give. */
static void refill_sheaf(struct slub_cache *cache, struct sheaf *sheaf, const struct kml_request *request,
			 enum kml_status *status)
{
	while (sheaf->size < cache->sheaves->capacity) {
		uint64_t object = slub_take(cache, request, status);
		if (object == KML_NO_ADDRESS)
			return;
		sheaf->objects[sheaf->size++] = object;
		cache->parked++;
	}
}

/* __pcs_replace_empty_main: false when there is nothing to take, *status says why if it is not KML_OK. */
static bool replace_empty_main(struct slub_cache *cache, struct sheaves_cpu *cpu, const struct kml_request *request,
			       enum kml_status *status)
{
	struct sheaves *sheaves = cache->sheaves;
	if (size_of(cpu->spare) > 0) {
		swap_sheaves(cpu);
		return true;
	}
	struct sheaf *full = pop_sheaf(&sheaves->full);
	if (full) {
		barn_put_empty_sheaf(sheaves, cpu->main);
		cpu->main = full;
		return true;
	}
	if (request->flags & KML_ATOMIC)
		return false;
	struct sheaf *filled = cpu->spare ? cpu->spare : get_empty_sheaf(sheaves);
	cpu->spare = KML_PLANTED(sheaf_spare_dangles) ? cpu->spare : NULL;
	if (!filled)
		return false;
	refill_sheaf(cache, filled, request, status);
	if (filled->size == 0) {
		barn_put_empty_sheaf(sheaves, filled);
		return false;
	}
	cpu->spare = cpu->main;
	cpu->main = filled;
	return true;
}

uint64_t sheaves_take(struct slub_cache *cache, const struct kml_request *request, enum kml_status *status)
{
	struct sheaves_cpu *cpu = &cache->sheaves->cpus[request->cpu];
	*status = KML_OK;
	if (size_of(cpu->main) == 0 && !replace_empty_main(cache, cpu, request, status))
		return *status == KML_OK ? slub_take(cache, request, status) : KML_NO_ADDRESS;
	*status = KML_OK;
	cache->parked--;
	return cpu->main->objects[--cpu->main->size];
}

/* ------------------------------------------------------------------------------------------------------- free */

/* __pcs_replace_full_main: main has room after it; false without memory. */
static bool replace_full_main(struct slub_cache *cache, struct sheaves_cpu *cpu, uint16_t index)
{
	struct sheaves *sheaves = cache->sheaves;
	if (cpu->spare && cpu->spare->size < sheaves->capacity + KML_PLANTED(sheaf_swaps_full)) {
		swap_sheaves(cpu);
		return true;
	}
	struct sheaf *empty;
	if (cpu->spare && sheaves->full.count >= SHEAVES_BARN_MAX) {
		empty = cpu->spare;
		cpu->spare = NULL;
		sheaf_flush_unused(cache, empty, index);
	} else {
		empty = get_empty_sheaf(sheaves);
	}
	if (!empty)
		return false;
	if (cpu->spare)
		push_sheaf(&sheaves->full, cpu->main);
	else
		cpu->spare = cpu->main;
	cpu->main = empty;
	return true;
}

void sheaves_give(struct slub_cache *cache, struct slab *slab, uint64_t object, uint16_t index)
{
	struct sheaves_cpu *cpu = &cache->sheaves->cpus[index];
	if (!cpu->main)
		cpu->main = get_empty_sheaf(cache->sheaves);
	bool has_room =
		cpu->main && (cpu->main->size < cache->sheaves->capacity || replace_full_main(cache, cpu, index));
	if (!has_room) {
		slub_give(cache, slab, object, index);
		return;
	}
	cpu->main->objects[cpu->main->size++] = object;
	cache->parked++;
}

/* ------------------------------------------------------------------------------------------------------ flush */

void sheaves_flush_cpu(struct slub_cache *cache, uint16_t index)
{
	struct sheaves_cpu *cpu = &cache->sheaves->cpus[index];
	if (cpu->spare && !KML_PLANTED(sheaf_spare_forgotten))
		sheaf_flush_unused(cache, cpu->spare, index);
	free(cpu->spare);
	cpu->spare = NULL;
	if (cpu->main)
		sheaf_flush_unused(cache, cpu->main, index);
}

void sheaves_flush_barn(struct slub_cache *cache)
{
	for (struct sheaf *sheaf; (sheaf = pop_sheaf(&cache->sheaves->full));) {
		sheaf_flush_unused(cache, sheaf, 0);
		free(sheaf);
	}
	free_list(&cache->sheaves->empty);
}

/* --------------------------------------------------------------------------------------- a start in mid-life */

/* The newest of the barn's full sheaves, while it has room; NULL without memory. */
static struct sheaf *barn_sheaf(struct sheaves *sheaves)
{
	if (!sheaves->full.first || sheaves->full.first->size == sheaves->capacity) {
		struct sheaf *sheaf = alloc_empty_sheaf(sheaves);
		if (sheaf)
			push_sheaf(&sheaves->full, sheaf);
		return sheaf;
	}
	return sheaves->full.first;
}

void sheaves_park(struct slub_cache *cache, uint64_t object, uint16_t index, bool on_node)
{
	struct sheaves *sheaves = cache->sheaves;
	struct sheaves_cpu *cpu = &sheaves->cpus[index];
	if (!on_node && size_of(cpu->main) == sheaves->capacity && !cpu->spare) {
		cpu->spare = cpu->main;
		cpu->main = NULL;
	}
	if (!on_node && !cpu->main)
		cpu->main = alloc_empty_sheaf(sheaves);
	struct sheaf *sheaf = on_node ? barn_sheaf(sheaves) : cpu->main;
	KML_CHECK(sheaf && sheaf->size < sheaves->capacity, "cache %s: no sheaf for an object parked at the start",
		  cache->slabs.cache.description.name);
	sheaf->objects[sheaf->size++] = object;
	cache->parked++;
}

/* --------------------------------------------------------------------------------------------------- checks */

static bool gather_sheaf(const struct slub_cache *cache, const struct sheaf *sheaf, struct parked *parked,
			 struct kml_error *error)
{
	if (size_of(sheaf) > cache->sheaves->capacity)
		return kml_fail(error, "cache %s: %u objects in a sheaf for %u", cache->slabs.cache.description.name,
				sheaf->size, cache->sheaves->capacity);
	for (uint32_t i = 0; i < size_of(sheaf); i++)
		if (!parked_add(parked, sheaf->objects[i], "a sheaf", error))
			return false;
	return true;
}

static bool gather_barn(const struct slub_cache *cache, const struct barn_list *list, struct parked *parked,
			struct kml_error *error)
{
	uint32_t count = 0;
	bool is_full = list == &cache->sheaves->full;
	for (const struct sheaf *sheaf = list->first; sheaf && count <= list->count; sheaf = sheaf->next, count++) {
		if (!is_full && sheaf->size > 0)
			return kml_fail(error, "cache %s: an empty sheaf of the barn has %u objects",
					cache->slabs.cache.description.name, sheaf->size);
		if (!gather_sheaf(cache, sheaf, parked, error))
			return false;
	}
	if (count == list->count)
		return true;
	return kml_fail(error, "cache %s: %u %s sheaves or more in the barn, which counts %u",
			cache->slabs.cache.description.name, count, is_full ? "full" : "empty", list->count);
}

bool sheaves_gather(const struct slub_cache *cache, struct parked *parked, struct kml_error *error)
{
	const struct sheaves *sheaves = cache->sheaves;
	for (uint32_t cpu = 0; cpu < sheaves->cpu_count; cpu++)
		if (!gather_sheaf(cache, sheaves->cpus[cpu].main, parked, error) ||
		    !gather_sheaf(cache, sheaves->cpus[cpu].spare, parked, error))
			return false;
	if (!gather_barn(cache, &sheaves->full, parked, error) || !gather_barn(cache, &sheaves->empty, parked, error))
		return false;
	if (parked->count != cache->parked)
		return kml_fail(error, "cache %s: %" PRIu64 " objects in sheaves, %" PRIu64 " by the counter",
				cache->slabs.cache.description.name, parked->count, cache->parked);
	return true;
}
