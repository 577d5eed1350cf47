/*
 * seed.c - a start in mid-life. See seed.h for the rules, by number.
 */
#include "allocators/slab/seed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/hashmap.h"

#define NONE UINT32_MAX
/* Slabs of a cpu's partial list that are looked at. By the kernel's own rules there are 48 at most: 24 objects wanted,
 * twice, of slabs with one. */
#define CUT_MAX 64u

/* A slab of the recorded kernel's, or (recorded is KML_NO_ADDRESS) one that is known by the count only. */
struct seed_slab {
	uint64_t recorded;
	struct slab *slab;   /* NULL: not made yet */
	uint32_t seeds;      /* free slots that were used later */
	uint32_t parked;     /* of those, the ones that a sheaf kept */
	uint32_t free_slots; /* planned */
	uint32_t rank;       /* of slabs with seeds: which of its cpu's, from 0 */
	uint16_t cpu;        /* of the first seed */
	uint8_t place;       /* enum seed_place */
	uint8_t is_listed;   /* its place in the node's order is settled */
};

/* A seed that may have been parked. */
struct seed_object {
	uint32_t slab;
	uint16_t cpu;
};

struct seed {
	struct seed_slab *slabs; /* those with seeds first, in the order of their first seed */
	uint32_t count, capacity, seeded;
	struct kml_hashmap numbers;  /* recorded address -> number in slabs */
	struct seed_object *objects; /* the first seeds, as many as could be parked */
	uint32_t object_count, object_capacity;
	uint64_t seeds;
	uint32_t *node_order; /* slabs of the node's list with seeds */
	uint32_t node_count;
	uint32_t cursor; /* the first slab that may have room for an object without a place */
	bool planned, yields, failed;
};

/* ------------------------------------------------------------------------------------------- slabs by address */

static struct seed *seed_of(struct slab_cache *cache)
{
	if (!cache->seed)
		cache->seed = calloc(1, sizeof *cache->seed);
	return cache->seed;
}

/* Of a cache of the recorded kernel's. */
static uint64_t recorded_slab_bytes(const struct slab_cache *cache)
{
	return (uint64_t)cache->cache.description.recorded_pages_per_slab * cache->cache.heap->page_bytes;
}

static struct seed_slab *add_slab(struct seed *seed, uint64_t recorded)
{
	if (seed->count == seed->capacity) {
		uint32_t capacity = seed->capacity ? 2 * seed->capacity : 16;
		struct seed_slab *grown = realloc(seed->slabs, capacity * sizeof *grown);
		if (!grown)
			return NULL;
		seed->slabs = grown;
		seed->capacity = capacity;
	}
	struct seed_slab *added = &seed->slabs[seed->count++];
	*added = (struct seed_slab){.recorded = recorded};
	return added;
}

/* The slab at a recorded address, new or known; NULL without memory. */
static struct seed_slab *slab_at(struct seed *seed, uint64_t recorded)
{
	uint32_t number = kml_hashmap_get(&seed->numbers, recorded);
	if (number != KML_HASHMAP_NONE)
		return &seed->slabs[number];
	if (!kml_hashmap_set(&seed->numbers, recorded, seed->count))
		return NULL;
	struct seed_slab *added = add_slab(seed, recorded);
	if (!added)
		kml_hashmap_remove(&seed->numbers, recorded);
	return added;
}

static struct seed_slab *slab_of_object(const struct slab_cache *cache, struct seed *seed, uint64_t recorded)
{
	return slab_at(seed, recorded - recorded % recorded_slab_bytes(cache));
}

/* --------------------------------------------------------------------------------------------------- seeds */

static uint64_t parked_max(const struct slab_cache *cache, const struct seed_rules *rules)
{
	return (uint64_t)rules->parked_per_cpu * cache->cache.heap->cpu_count + rules->parked_on_node;
}

static bool note_object(struct slab_cache *cache, const struct seed_rules *rules, struct seed *seed, uint32_t slab,
			uint16_t cpu)
{
	if (seed->object_count >= parked_max(cache, rules))
		return true;
	if (seed->object_count == seed->object_capacity) {
		uint32_t capacity = seed->object_capacity ? 2 * seed->object_capacity : 64;
		struct seed_object *grown = realloc(seed->objects, capacity * sizeof *grown);
		if (!grown)
			return false;
		seed->objects = grown;
		seed->object_capacity = capacity;
	}
	seed->objects[seed->object_count++] = (struct seed_object){slab, cpu};
	return true;
}

void seed_note(struct slab_cache *cache, const struct seed_rules *rules, const struct kml_seed *noted)
{
	struct seed *seed = seed_of(cache);
	if (!seed || seed->failed || seed->planned || noted->cpu >= cache->cache.heap->cpu_count ||
	    cache->cache.description.recorded_pages_per_slab == 0)
		return;
	struct seed_slab *slab = slab_of_object(cache, seed, noted->recorded);
	uint32_t number = slab ? (uint32_t)(slab - seed->slabs) : 0;
	if (!slab || !note_object(cache, rules, seed, number, noted->cpu)) {
		seed->failed = true;
		return;
	}
	if (slab->seeds == cache->objects)
		return; /* more than the slab can have: a slab of another size */
	if (slab->seeds++ == 0)
		slab->cpu = noted->cpu;
	seed->seeds++;
	seed->seeded = seed->count;
}

/* ------------------------------------------------------------------------------------------------ the plan */

/* Seeds that stay on the slab: its known free slots. */
static uint32_t seeds_on_slab(const struct seed_slab *slab)
{
	return slab->seeds - slab->parked;
}

static uint32_t live_on(const struct seed_slab *slab)
{
	return slab->slab ? slab->slab->live : 0;
}

/* Sheaves keep what was counted as active although it was free. */
static void plan_parked(const struct slab_cache *cache, struct seed *seed)
{
	uint64_t counted = cache->cache.description.recorded_free_at_start;
	uint64_t parked = seed->seeds > counted ? seed->seeds - counted : 0;
	if (parked > seed->object_count)
		parked = seed->object_count;
	seed->object_count = (uint32_t)parked;
	for (uint32_t i = 0; i < seed->object_count; i++)
		seed->slabs[seed->objects[i].slab].parked++;
}

/* The slabs with seeds of one cpu that rule 2 is about, in the order of use: `first` to `last` by rank. */
struct cut {
	uint32_t slabs;               /* that could be on the cpu's partial list */
	uint32_t kept;                /* the first so many are */
	uint32_t free_slots[CUT_MAX]; /* of each */
};

static uint64_t beyond(const struct cut *cut, uint32_t kept)
{
	uint64_t free_slots = 0;
	for (uint32_t i = kept; i < cut->slabs; i++)
		free_slots += cut->free_slots[i];
	return free_slots;
}

/* From what every cpu keeps all its list can hold: give the node the latest of those with the longest lists, while it
 * has room for them. */
static uint64_t cut_by_rank(struct cut *cuts, uint32_t cpus, uint32_t longest, uint64_t on_node, uint64_t counted)
{
	for (uint32_t rank = longest; rank > 0; rank--)
		for (uint32_t cpu = cpus; cpu-- > 0;) {
			struct cut *cut = &cuts[cpu];
			if (cut->kept != rank || on_node + cut->free_slots[rank - 1] > counted)
				continue;
			on_node += cut->free_slots[--cut->kept];
		}
	return on_node;
}

/* The best cuts of two cpus, the others as they are. */
static uint64_t cut_pair(struct cut *a, struct cut *b, uint64_t on_node, uint64_t counted)
{
	uint64_t others = on_node - beyond(a, a->kept) - (a == b ? 0 : beyond(b, b->kept));
	uint64_t best_miss = UINT64_MAX, best_node = on_node;
	uint32_t best_a = a->kept, best_b = b->kept, best_gap = UINT32_MAX;
	for (uint32_t keep_a = a->slabs + 1; keep_a-- > 0;)
		for (uint32_t keep_b = b->slabs + 1; keep_b-- > 0;) {
			uint64_t node = others + beyond(a, keep_a) + (a == b ? 0 : beyond(b, keep_b));
			uint64_t miss = node > counted ? UINT64_MAX - 1 : counted - node;
			uint32_t gap = keep_a > keep_b ? keep_a - keep_b : keep_b - keep_a;
			if ((a == b && keep_a != keep_b) || miss > best_miss || (miss == best_miss && gap >= best_gap))
				continue;
			best_miss = miss;
			best_gap = gap;
			best_node = node;
			best_a = keep_a;
			best_b = keep_b;
		}
	a->kept = best_a;
	b->kept = best_b;
	return best_node;
}

/* Rule 1; and which slabs rule 2 is about. The number of free slots that are on the node's list whatever the cut. */
static uint64_t rank_slabs(const struct seed_rules *rules, struct seed *seed, struct cut *cuts, uint32_t longest,
			   uint32_t *seen)
{
	uint64_t on_node = 0;
	for (uint32_t i = 0; i < seed->seeded; i++) {
		struct seed_slab *slab = &seed->slabs[i];
		struct cut *cut = &cuts[slab->cpu];
		uint32_t free_slots = seeds_on_slab(slab);
		slab->place = SEED_NODE;
		if (free_slots == 0)
			continue;
		slab->rank = seen[slab->cpu]++;
		if (slab->rank == 0 && rules->has_cpu_slab) {
			slab->place = SEED_CPU;
		} else if (cut->slabs < longest) {
			cut->free_slots[cut->slabs++] = free_slots;
			slab->place = SEED_CPU_PARTIAL;
		} else {
			on_node += free_slots;
		}
		cut->kept = cut->slabs;
	}
	return on_node;
}

static void apply_cuts(const struct seed_rules *rules, struct seed *seed, const struct cut *cuts)
{
	for (uint32_t i = 0; i < seed->seeded; i++) {
		struct seed_slab *slab = &seed->slabs[i];
		slab->free_slots = seeds_on_slab(slab);
		if (slab->place == SEED_CPU_PARTIAL && slab->rank - rules->has_cpu_slab >= cuts[slab->cpu].kept)
			slab->place = SEED_NODE;
	}
}

/* Rules 1 and 2. The free slots of slabs with seeds that are on the node's list. */
static uint64_t plan_cuts(struct slab_cache *cache, const struct seed_rules *rules, struct seed *seed)
{
	uint32_t cpus = cache->cache.heap->cpu_count;
	uint32_t longest = rules->cpu_partial_slabs < CUT_MAX ? rules->cpu_partial_slabs : CUT_MAX;
	uint64_t counted = cache->cache.description.recorded_free_at_start;
	struct cut *cuts = calloc(cpus, sizeof *cuts);
	uint32_t *seen = calloc(cpus, sizeof *seen);
	uint64_t on_node = 0;
	if (cuts && seen) {
		on_node = rank_slabs(rules, seed, cuts, longest, seen);
		on_node = cut_by_rank(cuts, cpus, longest, on_node, counted);
		for (uint32_t cpu = 0; cpu + 1 < cpus || cpu == 0; cpu++)
			on_node = cut_pair(&cuts[cpu], &cuts[cpu + 1 < cpus ? cpu + 1 : cpu], on_node, counted);
		apply_cuts(rules, seed, cuts);
	} else {
		seed->failed = true;
	}
	free(cuts);
	free(seen);
	return on_node;
}

/* Rule 3: the slabs of the node's list that have seeds, in its order. */
static void order_node(const struct seed_rules *rules, struct seed *seed)
{
	seed->node_order = malloc((seed->seeded + 1) * sizeof *seed->node_order);
	if (!seed->node_order) {
		seed->failed = true;
		return;
	}
	for (uint32_t first = 0; first < seed->seeded; first++) {
		uint32_t begin = seed->node_count, taken = 0;
		const uint16_t cpu = seed->slabs[first].cpu;
		for (uint32_t i = first; i < seed->seeded && taken < rules->node_batch; i++) {
			struct seed_slab *slab = &seed->slabs[i];
			if (slab->place != SEED_NODE || slab->cpu != cpu || slab->is_listed || slab->free_slots == 0) {
				if (i == first)
					break;
				continue;
			}
			slab->is_listed = true;
			seed->node_order[begin + taken++] = i;
		}
		for (uint32_t low = begin + 1, high = begin + taken; high > low + 1; low++) {
			uint32_t swapped = seed->node_order[low];
			seed->node_order[low] = seed->node_order[--high];
			seed->node_order[high] = swapped;
		}
		seed->node_count += taken;
	}
}

/* The slabs that are known by the count only. Not more than the arena can hold: then the count is no count. */
static void add_counted(struct slab_cache *cache, struct seed *seed)
{
	uint64_t wanted = cache->cache.description.recorded_slabs_at_start;
	uint64_t slab_bytes = recorded_slab_bytes(cache);
	if (slab_bytes == 0 || wanted > cache->cache.heap->arena->size_bytes / slab_bytes || wanted >= NONE / 2)
		return;
	while (seed->count < wanted && add_slab(seed, KML_NO_ADDRESS))
		;
}

struct choice {
	uint64_t key;
	uint32_t slab;
};

static int by_key(const void *left, const void *right)
{
	const struct choice *a = left, *b = right;
	return a->key != b->key ? (a->key < b->key ? -1 : 1) : (a->slab > b->slab) - (a->slab < b->slab);
}

/* Rule 5. */
static void plan_rest(struct slab_cache *cache, struct seed *seed, uint64_t on_node)
{
	uint64_t counted = cache->cache.description.recorded_free_at_start;
	uint64_t rest = counted > on_node ? counted - on_node : 0;
	uint64_t usual = seed->node_count ? (on_node + seed->node_count / 2) / seed->node_count : cache->objects / 2;
	if (usual == 0)
		usual = 1;
	struct choice *choices = malloc((seed->count + 1ull) * sizeof *choices);
	if (!choices) {
		seed->failed = true;
		return;
	}
	uint32_t count = 0;
	for (uint32_t i = 0; i < seed->count; i++)
		if (seed->slabs[i].seeds == 0 && live_on(&seed->slabs[i]) < cache->objects) {
			bool known = seed->slabs[i].recorded != KML_NO_ADDRESS;
			choices[count++] = (struct choice){kml_hash64(known ? seed->slabs[i].recorded : i), i};
		}
	qsort(choices, count, sizeof *choices, by_key);
	for (uint32_t i = 0; i < count && rest > 0; i++) {
		struct seed_slab *slab = &seed->slabs[choices[i].slab];
		uint64_t free_slots = cache->objects - live_on(slab);
		free_slots = free_slots < usual ? free_slots : usual;
		free_slots = free_slots < rest ? free_slots : rest;
		slab->free_slots = (uint32_t)free_slots;
		slab->place = SEED_NODE;
		rest -= free_slots;
	}
	free(choices);
}

/* When all objects with a place are on their slabs. */
static void plan(struct slab_cache *cache, const struct seed_rules *rules, struct seed *seed)
{
	if (seed->planned)
		return;
	seed->planned = true;
	if (rules->park)
		plan_parked(cache, seed);
	uint64_t on_node = plan_cuts(cache, rules, seed);
	if (!seed->failed)
		order_node(rules, seed);
	/* Only a kernel with slabs of this size counted what can be compared. */
	if (seed->failed || cache->cache.description.recorded_objects_per_slab != cache->objects)
		return;
	add_counted(cache, seed);
	plan_rest(cache, seed, on_node);
}

/* --------------------------------------------------------------------------------------------- warm objects */

static enum kml_status make(struct slab_cache *cache, const struct seed_rules *rules, struct seed_slab *slab,
			    const struct kml_request *request)
{
	enum kml_status status = KML_OK;
	if (!slab->slab)
		slab->slab = rules->create(cache, request, &status);
	if (slab->slab)
		slab->slab->recorded = slab->recorded;
	return status;
}

/* The next slot of a slab; until settle they are granted in order. */
static void grant_next(struct slab *slab, struct object_place *place)
{
	uint64_t object = slab_object(slab, slab->live);
	slab_count(slab, 1);
	slab_grant(slab, object, place);
}

static bool has_room(const struct slab_cache *cache, const struct seed_slab *slab, uint32_t free_slots)
{
	uint32_t objects = slab->slab ? slab->slab->objects : cache->objects;
	return live_on(slab) + free_slots + slab->parked < objects;
}

/* By the plan; when the slabs are full so far, in free slots that only the plan asks for; then on one slab more. */
static struct seed_slab *slab_with_room(struct slab_cache *cache, struct seed *seed)
{
	for (;; seed->cursor = 0, seed->yields = true) {
		for (; seed->cursor < seed->count; seed->cursor++) {
			const struct seed_slab *slab = &seed->slabs[seed->cursor];
			if (has_room(cache, slab, seed->yields ? seeds_on_slab(slab) : slab->free_slots))
				return &seed->slabs[seed->cursor];
		}
		if (seed->yields)
			return add_slab(seed, KML_NO_ADDRESS);
	}
}

enum kml_status seed_take(struct slab_cache *cache, const struct seed_rules *rules, const struct kml_request *request,
			  struct object_place *place)
{
	struct seed *seed = seed_of(cache);
	struct seed_slab *slab = NULL;
	if (!seed)
		return KML_NO_MEMORY;
	if (request->recorded != KML_NO_ADDRESS && !seed->planned && cache->cache.description.recorded_pages_per_slab) {
		slab = slab_of_object(cache, seed, request->recorded);
		if (slab && !has_room(cache, slab, slab->seeds))
			slab = NULL; /* no such slab can be: as if it had no address */
	}
	if (!slab) {
		plan(cache, rules, seed);
		slab = slab_with_room(cache, seed);
	}
	if (!slab)
		return KML_NO_MEMORY;
	enum kml_status status = make(cache, rules, slab, request);
	if (status == KML_OK)
		grant_next(slab->slab, place);
	return status;
}

/* --------------------------------------------------------------------------------------------------- settle */

static void adopt(const struct seed_rules *rules, struct seed_slab *seeded, enum seed_place place, uint32_t *slots)
{
	struct slab *slab = seeded->slab;
	if (!slab)
		return;
	seeded->slab = NULL;
	uint32_t in_use = slab->live + seeded->parked, count = 0;
	if (in_use > slab->objects)
		in_use = slab->objects;
	for (uint32_t slot = in_use; slot < slab->objects; slot++)
		slots[count++] = slot;
	if (count == 0)
		place = SEED_FULL;
	else if (place == SEED_FULL)
		place = SEED_NODE;
	rules->adopt(slab, slots, count, place, seeded->cpu);
}

/* Slots behind the granted ones, as they were parked: the one used last first. */
static void park(struct slab_cache *cache, const struct seed_rules *rules, struct seed *seed)
{
	uint32_t *next = calloc(seed->count + 1ull, sizeof *next);
	uint32_t *used = calloc(cache->cache.heap->cpu_count, sizeof *used);
	uint64_t *objects = calloc(seed->object_count + 1ull, sizeof *objects);
	bool *on_node = calloc(seed->object_count + 1ull, sizeof *on_node);
	for (uint32_t i = 0; next && used && objects && on_node && i < seed->object_count; i++) {
		const struct seed_object *object = &seed->objects[i];
		const struct slab *slab = seed->slabs[object->slab].slab;
		if (!slab)
			continue;
		uint32_t slot = slab->live + next[object->slab]++;
		objects[i] = slot < slab->objects ? slab_object(slab, slot) : KML_NO_ADDRESS;
		on_node[i] = used[object->cpu]++ >= rules->parked_per_cpu;
	}
	for (uint32_t i = seed->object_count; next && used && objects && on_node && i-- > 0;)
		if (seed->slabs[seed->objects[i].slab].slab && objects[i] != KML_NO_ADDRESS)
			rules->park(cache, objects[i], seed->objects[i].cpu, on_node[i]);
	free(next);
	free(used);
	free(objects);
	free(on_node);
}

static void adopt_all(const struct seed_rules *rules, struct seed *seed, uint32_t *slots)
{
	for (uint32_t i = 0; i < seed->seeded; i++)
		if (seed->slabs[i].place == SEED_CPU)
			adopt(rules, &seed->slabs[i], SEED_CPU, slots);
	for (uint32_t i = seed->seeded; i-- > 0;)
		if (seed->slabs[i].place == SEED_CPU_PARTIAL)
			adopt(rules, &seed->slabs[i], SEED_CPU_PARTIAL, slots);
	for (uint32_t i = 0; i < seed->node_count; i++)
		adopt(rules, &seed->slabs[seed->node_order[i]], SEED_NODE, slots);
	for (uint32_t i = 0; i < seed->count; i++)
		adopt(rules, &seed->slabs[i], (enum seed_place)seed->slabs[i].place, slots);
}

void seed_settle(struct slab_cache *cache, const struct seed_rules *rules)
{
	struct seed *seed = cache->seed;
	if (!seed)
		return;
	plan(cache, rules, seed);
	const struct kml_request request = {
		.size_bytes = cache->cache.object_bytes, .recorded = KML_NO_ADDRESS, .cache = cache->cache.index};
	uint32_t objects_max = 0;
	for (uint32_t i = 0; i < seed->count; i++) {
		(void)make(cache, rules, &seed->slabs[i], &request); /* no page: one slab less */
		if (seed->slabs[i].slab && seed->slabs[i].slab->objects > objects_max)
			objects_max = seed->slabs[i].slab->objects;
	}
	uint32_t *slots = malloc((objects_max + 1ull) * sizeof *slots);
	KML_CHECK(slots, "cache %s: no memory for %u slot numbers", cache->cache.description.name, objects_max);
	if (rules->park)
		park(cache, rules, seed);
	adopt_all(rules, seed, slots);
	free(slots);
	seed_forget(cache);
}

void seed_forget(struct slab_cache *cache)
{
	struct seed *seed = cache->seed;
	if (!seed)
		return;
	free(seed->slabs);
	kml_hashmap_free(&seed->numbers);
	free(seed->objects);
	free(seed->node_order);
	free(seed);
	cache->seed = NULL;
}
