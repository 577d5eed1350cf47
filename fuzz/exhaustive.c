/*
 * exhaustive.c - breadth-first search over the states of a stack. See exhaustive.h.
 *
 * After the exhaustive bounded checking of Jackson's small scope hypothesis (Software Abstractions, 2006): most faults
 * of a design show in small instances, when all of these are looked at. Breadth first, so that a fault comes with one
 * of the shortest ways to it.
 *
 * A state is hashed (XXH3, 128 bits) from what can be seen of it through the ABI:
 *
 *   the walk   address, size, state, class, owner and cpu of every block
 *   the probe  unless the walk tells all: for each cpu and kind of memory the addresses that allocs of the smallest
 *              class return, one after the other until one is refused
 *   the frees  with more than one cpu: the walk after each free that is possible, and a probe by the cpu that frees
 *
 * Two states of one hash behave alike:
 *
 *   first_fit, best_fit, buddy systems with policy=lowest: what is granted and what merges is a function of the blocks,
 *       for the choice among free blocks is by address. The walk tells all (setup.walk_tells_all).
 *   buddy systems with policy=lifo or fifo: a function of the blocks and of the order of each free list. Allocs of the
 *       smallest class take the blocks of the smallest non-empty class in the order of its list, and split a block of
 *       the next class only when nothing smaller is left (what the split leaves is used up before the next is split);
 *       so the order in which the probe enters the free blocks is the order of every list.
 *   slab strategies, Linux mode: the probe of a cpu empties what that cpu has, then what all share, in their order; the
 *       walk shows what is parked where; the frees, what a cpu owns without having anything there (a full cpu slab),
 * and where in its lists. Counters that rule the future remain (free_factor, batches, working sets), which is why
 * equality is tested here, not only argued: when a way leads to a known state, in one of VERIFY_EVERY times every
 * operation is done to both, and what it leads to must have one hash (merges_verified). A difference is reported as
 * `congruence`.
 *
 * A state is entered by its operations from an empty stack. Where the walk tells all, an operation is undone by its
 * inverse when the hash says that this leads back, and a stack that was drained is used again: by the same argument.
 */
#include "fuzz/exhaustive.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "allocators/arena.h"
#include "allocators/check/invariants.h"
#include "allocators/check/shadow.h"
#include "allocators/registry.h"
#include "kmemlab/support/clock.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/progress.h"
#include "kmemlab/support/hashmap.h"

enum {
	UNIT_BYTES = 16,
	PAGE_BYTES = 4096,
	UNITS_MAX = 64,
	BLOCKS_MAX = 512, /* of a walk */
	LIVE_MAX = 256,
	CLASSES_MAX = 64,
	EDGES_MAX = 512,     /* operations that every state has: all but frees */
	HISTORY_MAX = 12000, /* operations of one living stack; below PROGRAM_EVENTS_MAX */
	DEPTH_MAX = 1000,
	VERIFY_EVERY = 64, /* ways to a known state; where the walk tells all: */
	VERIFY_WALK_EVERY = 1024,
};
#define NO_STATE KML_HASHMAP_NONE

enum edge_kind { EDGE_NONE, EDGE_ALLOC, EDGE_FREE, EDGE_SHRINK, EDGE_DRAIN };

/* An operation. */
struct edge {
	uint8_t kind; /* enum edge_kind */
	uint8_t cpu;
	uint8_t cache;
	uint8_t flags;
	uint32_t value; /* bytes asked for, or the address freed */
};

struct state {
	uint64_t hash_high;
	uint32_t alike; /* the state found before this one with the same low half of its hash */
	uint32_t parent;
	uint32_t depth;
	struct edge edge; /* from the parent */
};

struct live {
	uint64_t address;
	uint32_t size_bytes;
	uint8_t cache, flags;
};

/* An operation that was done, and where its block is. */
struct step {
	struct edge edge;
	uint64_t address;
};

/* A stack and how it came to where it is. */
struct living {
	struct kml_stack stack;
	struct kml_shadow *shadow;
	uint32_t live_count;
	struct live live[LIVE_MAX]; /* by address */
	uint32_t step_count;
	struct step steps[HISTORY_MAX];
};

struct seen_block {
	uint32_t address, size_bytes, owner;
	uint16_t cpu, size_class;
	uint32_t state;
};

/* What a walk shows. */
struct look {
	XXH128_hash_t hash;
	uint32_t block_count;
	struct seen_block blocks[BLOCKS_MAX];
	uint64_t largest_free_bytes; /* of the page layer */
	bool has_cached;
	bool has_free_object; /* of the cache, on a slab */
	bool breaks_rule;     /* a block is none of the rule's */
};

struct search {
	const struct exhaustive_setup *setup;
	struct exhaustive_result *result;
	struct kml_error *error;
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct exhaustive_rule *rule; /* NULL: none is known */
	uint64_t unit_bytes;
	bool has_cache;
	bool looks_ahead; /* the hash of a state has what each free leads to */
	uint32_t page_bytes;

	uint32_t edge_count, probe_count;
	struct edge edges[EDGES_MAX]; /* all but frees */
	struct edge probes[EDGES_MAX];

	struct state *states;
	uint64_t state_room;
	struct kml_hashmap by_hash, layouts;
	XXH128_hash_t empty_hash;
	uint64_t merges;
	XXH3_state_t *hash;

	struct living living;
	bool is_living;
	struct look here, there, ahead;
};

static const char cache_name[] = "tiny";
static struct search *running; /* for the handler of an abort */

/* ---------------------------------------------------------------------------------------------- a living stack */

static void end_living(struct search *search)
{
	if (!search->is_living)
		return;
	kml_shadow_destroy(search->living.shadow);
	kml_stack_destroy(&search->living.stack);
	search->is_living = false;
}

static bool begin_living(struct search *search)
{
	end_living(search);
	struct living *living = &search->living;
	living->live_count = living->step_count = 0;
	const struct kml_environment environment = {.arena = search->arena,
						    .page_bytes = search->page_bytes,
						    .cpu_count = search->setup->cpu_count,
						    .cache_count = search->setup->cache_count,
						    .seed = 1};
	if (!kml_stack_create(&living->stack, search->spec, &environment, search->error))
		return false;
	living->shadow = kml_shadow_create(&living->stack, search->arena, search->error);
	if (living->shadow == NULL) {
		kml_stack_destroy(&living->stack);
		return false;
	}
	search->is_living = true;
	struct kml_heap *heap = kml_stack_top(&living->stack);
	const struct kml_cache cache = {.name = cache_name, .object_bytes = search->setup->object_bytes};
	for (uint32_t i = 0; search->has_cache && i < search->setup->cache_count; i++)
		if (heap->allocator->cache_open(heap, i, &cache) != KML_OK)
			return kml_fail(search->error,
					"%s: a cache of objects of %" PRIu64
					" bytes cannot be opened: use smaller ones",
					search->setup->stack, cache.object_bytes);
	return true;
}

static void add_live(struct living *living, const struct live *live)
{
	KML_CHECK(living->live_count < LIVE_MAX, "more than %d blocks are live", LIVE_MAX);
	uint32_t at = living->live_count++;
	for (; at > 0 && living->live[at - 1].address > live->address; at--)
		living->live[at] = living->live[at - 1];
	living->live[at] = *live;
}

static void remove_live(struct living *living, uint64_t address)
{
	uint32_t at = 0;
	while (at < living->live_count && living->live[at].address != address)
		at++;
	KML_CHECK(at < living->live_count, "no live block at %" PRIu64, address);
	living->live_count--;
	memmove(&living->live[at], &living->live[at + 1], (living->live_count - at) * sizeof(living->live[0]));
}

static enum kml_status do_alloc(struct search *search, const struct edge *edge, struct step *step)
{
	struct living *living = &search->living;
	const struct kml_request request = {.size_bytes = edge->value,
					    .recorded = KML_NO_ADDRESS,
					    .cache = search->has_cache ? edge->cache : KML_NO_CACHE,
					    .cpu = edge->cpu,
					    .flags = edge->flags};
	struct kml_grant grant = kml_shadow_alloc(living->shadow, &request);
	step->address = grant.address;
	/* A block that the shadow refused is reported, and not live. */
	if (grant.status == KML_OK && living->shadow->live_blocks > living->live_count)
		add_live(living, &(struct live){grant.address, edge->value, edge->cache, edge->flags});
	return grant.status;
}

static enum kml_status do_free(struct search *search, const struct edge *edge)
{
	struct living *living = &search->living;
	const struct kml_release release = {.address = edge->value,
					    .cache = search->has_cache ? edge->cache : KML_NO_CACHE,
					    .cpu = edge->cpu,
					    .flags = edge->flags};
	enum kml_status status = kml_shadow_free(living->shadow, &release);
	if (status == KML_OK)
		remove_live(living, edge->value);
	return status;
}

/* Do an operation. The shadow has the findings. */
static enum kml_status apply(struct search *search, const struct edge *edge)
{
	struct living *living = &search->living;
	struct kml_heap *heap = living->shadow->heap;
	KML_CHECK(living->step_count < HISTORY_MAX, "a living stack of %u operations", living->step_count);
	struct step *step = &living->steps[living->step_count++];
	*step = (struct step){*edge, edge->value};
	switch ((enum edge_kind)edge->kind) {
	case EDGE_ALLOC:
		return do_alloc(search, edge, step);
	case EDGE_FREE:
		return do_free(search, edge);
	case EDGE_SHRINK:
		heap->allocator->shrink(heap);
		return KML_OK;
	case EDGE_DRAIN:
		heap->allocator->drain(heap, edge->cpu);
		return KML_OK;
	case EDGE_NONE:
		break;
	}
	return KML_OK;
}

/* ------------------------------------------------------------------------------------------------- what is seen */

struct looking {
	const struct search *search;
	struct look *look;
};

static bool look_at_block(void *context, const struct kml_block *block)
{
	const struct looking *looking = context;
	struct look *look = looking->look;
	KML_CHECK(look->block_count < BLOCKS_MAX, "a walk of more than %d blocks", BLOCKS_MAX);
	look->blocks[look->block_count++] = (struct seen_block){.address = (uint32_t)block->address,
								.size_bytes = (uint32_t)block->size_bytes,
								.owner = block->owner,
								.cpu = block->cpu,
								.size_class = (uint16_t)block->size_class,
								.state = (uint32_t)block->state};
	look->has_cached |= block->state == KML_BLOCK_CACHED;
	look->breaks_rule |= !exhaustive_rule_has(looking->search->rule, block->address / looking->search->unit_bytes,
						  block->size_bytes / looking->search->unit_bytes);
	if (block->state != KML_BLOCK_FREE)
		return true;
	if (block->owner != KML_NO_CACHE)
		look->has_free_object = true;
	else if (block->size_bytes > look->largest_free_bytes)
		look->largest_free_bytes = block->size_bytes;
	return true;
}

static void take_look(const struct search *search, struct look *look)
{
	const struct kml_heap *heap = search->living.shadow->heap;
	struct looking looking = {search, look};
	look->block_count = 0;
	look->largest_free_bytes = 0;
	look->has_cached = look->has_free_object = look->breaks_rule = false;
	heap->allocator->walk(heap, look_at_block, &looking);
	look->hash = XXH3_128bits(look->blocks, look->block_count * sizeof(look->blocks[0]));
}

static bool same_hash(XXH128_hash_t a, XXH128_hash_t b)
{
	return a.low64 == b.low64 && a.high64 == b.high64;
}

/* ------------------------------------------------------------------------------------------------------- ways */

/* Operations from the empty stack on. */
struct way {
	uint32_t length;
	struct edge edges[DEPTH_MAX];
};

static void way_to(const struct search *search, uint32_t index, struct way *way)
{
	way->length = search->states[index].depth;
	KML_CHECK(way->length + 2 < DEPTH_MAX, "a way of %u operations", way->length);
	for (uint32_t i = way->length; i > 0; index = search->states[index].parent)
		way->edges[--i] = search->states[index].edge;
}

static void way_on(struct way *way, const struct edge *edge)
{
	way->edges[way->length++] = *edge;
}

/* The free that undoes an alloc. */
static struct edge free_of(const struct live *live, uint8_t cpu)
{
	return (struct edge){EDGE_FREE, cpu, live->cache, live->flags, (uint32_t)live->address};
}

/* Free all that lives, shrink: the arena must be whole. */
static bool drain_to_whole(struct search *search)
{
	struct living *living = &search->living;
	while (living->live_count > 0) {
		uint32_t before = living->live_count;
		const struct edge edge = free_of(&living->live[before - 1], 0);
		apply(search, &edge);
		if (living->live_count == before)
			return false;
	}
	return kml_check_whole(living->shadow);
}

/* An empty stack: the one there is, drained, when it looks as a new one does; else a new one. */
static bool enter_empty(struct search *search)
{
	struct living *living = &search->living;
	if (search->is_living && search->setup->walk_tells_all && living->step_count < HISTORY_MAX / 2 &&
	    kml_shadow_ok(living->shadow, NULL) && drain_to_whole(search)) {
		take_look(search, &search->there);
		if (same_hash(search->there.hash, search->empty_hash))
			return true;
	}
	return begin_living(search);
}

static bool enter(struct search *search, const struct way *way)
{
	if (!enter_empty(search))
		return false;
	for (uint32_t i = 0; i < way->length; i++)
		apply(search, &way->edges[i]);
	return true;
}

/* ---------------------------------------------------------------------------------------- what is wrong, as program */

static uint32_t lowest_dead_id(const uint64_t *address_of_id)
{
	uint32_t id = 0;
	while (address_of_id[id] != KML_NO_ADDRESS)
		id++;
	return id;
}

static uint32_t id_at(const uint64_t *address_of_id, uint64_t address)
{
	uint32_t id = 0;
	while (id < LIVE_MAX && address_of_id[id] != address)
		id++;
	return id;
}

static struct kmt_event event_of(const struct search *search, const struct step *step, uint64_t *address_of_id)
{
	struct kmt_event event = {.address = KML_NO_ADDRESS,
				  .cache = search->has_cache ? step->edge.cache : KMT_NO_CACHE,
				  .cpu = step->edge.cpu,
				  .flags = step->edge.flags};
	switch ((enum edge_kind)step->edge.kind) {
	case EDGE_ALLOC:
		event.op = KMT_ALLOC;
		event.size_bytes = step->edge.value;
		event.object = lowest_dead_id(address_of_id);
		address_of_id[event.object] = step->address;
		break;
	case EDGE_FREE:
		event.op = KMT_FREE;
		event.object = id_at(address_of_id, step->address);
		if (event.object < LIVE_MAX)
			address_of_id[event.object] = KML_NO_ADDRESS;
		break;
	case EDGE_DRAIN:
		event.op = KMT_DRAIN;
		event.cache = KMT_NO_CACHE;
		break;
	default:
		event.op = KMT_SHRINK;
		event.cache = KMT_NO_CACHE;
		break;
	}
	return event;
}

/* NOLINTBEGIN(bugprone-signal-handler): called by on_abort too, which says why it may */
/* What was done to the living stack, as a program. */
static void write_program(const struct search *search, struct program *program)
{
	struct program_setup *setup = &program->setup;
	program->event_count = 0;
	*setup = (struct program_setup){.arena_bytes = search->arena->size_bytes,
					.page_bytes = search->page_bytes,
					.cpu_count = search->setup->cpu_count,
					.seed = 1,
					.check_every = 1};
	snprintf(setup->stack, sizeof(setup->stack), "%s", search->setup->stack);
	setup->cache_count = search->has_cache ? search->setup->cache_count : 0;
	for (uint32_t i = 0; i < setup->cache_count; i++) {
		snprintf(setup->cache_names[i], sizeof(setup->cache_names[i]), "%s", cache_name);
		setup->caches[i] =
			(struct kmt_cache){.name = setup->cache_names[i], .object_bytes = search->setup->object_bytes};
	}
	uint64_t address_of_id[LIVE_MAX + 1];
	memset(address_of_id, 0xff, sizeof(address_of_id));
	for (uint32_t i = 0; i < search->living.step_count; i++) {
		struct kmt_event event = event_of(search, &search->living.steps[i], address_of_id);
		if (!program_add(program, &event))
			return;
	}
}
/* NOLINTEND(bugprone-signal-handler) */

/*
 * Something is wrong after an operation on a state: what the shadow says, or `text`. The program is the way there;
 * should that not show it alone, all that was done to the living stack.
 */
static bool violation(struct search *search, uint32_t index, const struct edge *edge, const char *text)
{
	struct exhaustive_result *result = search->result;
	struct program as_done = {0};
	struct way way;
	result->failed = true;
	if (text != NULL)
		kml_fail(&result->error, "%s", text);
	else
		kml_shadow_ok(search->living.shadow, &result->error);
	write_program(search, &as_done);

	way_to(search, index, &way);
	if (edge->kind != EDGE_NONE)
		way_on(&way, edge);
	bool alone = begin_living(search);
	for (uint32_t i = 0; alone && i < way.length && kml_shadow_ok(search->living.shadow, NULL); i++) {
		apply(search, &way.edges[i]);
		kml_check_deep(search->living.shadow);
	}
	if (alone) {
		write_program(search, &result->program);
		if (kml_shadow_ok(search->living.shadow, NULL))
			drain_to_whole(search);
		alone = text != NULL || !kml_shadow_ok(search->living.shadow, NULL);
	}
	if (alone) {
		program_free(&as_done);
	} else {
		program_free(&result->program);
		result->program = as_done;
	}
	return false;
}

/* An abort or a fault on the way: the program that leads to it, for whoever reads stderr. The signal comes from the
 * allocator's own code and the process ends, so what is not safe in other handlers is in this one. */
/* NOLINTBEGIN(bugprone-signal-handler) */
static void on_abort(int number)
{
	struct program program = {0};
	signal(number, SIG_DFL);
	if (running != NULL && running->is_living) {
		write_program(running, &program);
		fprintf(stderr, "# the operations before the end:\n");
		program_print(&program, stderr);
	}
	raise(number);
}
/* NOLINTEND(bugprone-signal-handler) */

/* ---------------------------------------------------------------------------------------------- hash of a state */

/* Every operation that a state has beside `edges`: the frees of what lives, each with its size. Their number. */
static uint32_t list_frees(const struct search *search, struct edge *frees, uint32_t *sizes)
{
	const struct living *living = &search->living;
	uint32_t count = 0;
	for (uint32_t i = 0; i < living->live_count; i++)
		for (uint32_t cpu = 0; cpu < search->setup->cpu_count && count < EDGES_MAX; cpu++) {
			sizes[count] = living->live[i].size_bytes;
			frees[count++] = free_of(&living->live[i], (uint8_t)cpu);
		}
	return count;
}

static void hash_figures(const struct search *search, XXH3_state_t *hash)
{
	const struct kml_heap *heap = search->living.shadow->heap;
	for (uint32_t i = 0; i < search->setup->cache_count && heap->allocator->cache_stats != NULL; i++) {
		struct kml_cache_stats stats = {0};
		heap->allocator->cache_stats(heap, i, &stats);
		const uint64_t figures[] = {stats.live_objects, stats.active_objects, stats.total_objects,
					    stats.active_slabs, stats.slabs,          stats.shared_available};
		XXH3_128bits_update(hash, figures, sizeof(figures));
	}
}

/* Allocs like `edge` until one is refused: where. */
static void hash_probe(struct search *search, const struct edge *edge, XXH3_state_t *hash)
{
	uint64_t address;
	do {
		apply(search, edge);
		address = search->living.steps[search->living.step_count - 1].address;
		XXH3_128bits_update(hash, &address, sizeof(address));
	} while (address != KML_NO_ADDRESS);
}

/* What a free would lead to: the walk, and the probes of the cpu that frees. */
static bool hash_free(struct search *search, const struct way *way, const struct edge *edge, XXH3_state_t *hash)
{
	uint32_t of_a_cpu = search->probe_count / search->setup->cpu_count;
	for (uint32_t i = 0; i < of_a_cpu; i++) {
		if (!enter(search, way))
			return false;
		apply(search, edge);
		take_look(search, &search->ahead);
		XXH3_128bits_update(hash, &search->ahead.hash, sizeof(search->ahead.hash));
		hash_probe(search, &search->probes[edge->cpu * of_a_cpu + i], hash);
	}
	return true;
}

static bool hash_frees(struct search *search, const struct way *way, XXH3_state_t *hash)
{
	struct edge frees[EDGES_MAX];
	uint32_t sizes[EDGES_MAX];
	uint32_t count = list_frees(search, frees, sizes);
	for (uint32_t i = 0; i < count; i++)
		if (!hash_free(search, way, &frees[i], hash))
			return false;
	return count == 0 || enter(search, way);
}

/* Of the state that the living stack is in, to which `way` leads. Where there are probes, the stack goes on. */
static bool hash_state(struct search *search, const struct way *way, const struct look *look, XXH128_hash_t *out)
{
	*out = look->hash;
	if (search->setup->walk_tells_all)
		return true;
	XXH3_state_t *hash = search->hash;
	XXH3_128bits_reset(hash);
	XXH3_128bits_update(hash, &look->hash, sizeof(look->hash));
	hash_figures(search, hash);
	if (search->looks_ahead && !hash_frees(search, way, hash))
		return false;
	for (uint32_t i = 0; i < search->probe_count; i++) {
		if (i > 0 && !enter(search, way))
			return false;
		hash_probe(search, &search->probes[i], hash);
	}
	*out = XXH3_128bits_digest(hash);
	return true;
}

static bool hash_way(struct search *search, const struct way *way, XXH128_hash_t *hash)
{
	if (!enter(search, way))
		return false;
	take_look(search, &search->there);
	return hash_state(search, way, &search->there, hash);
}

/* ------------------------------------------------------------------------------------------------------- states */

static uint32_t find_state(const struct search *search, XXH128_hash_t hash)
{
	uint32_t index = kml_hashmap_get(&search->by_hash, hash.low64);
	while (index != NO_STATE && search->states[index].hash_high != hash.high64)
		index = search->states[index].alike;
	return index;
}

static bool add_state(struct search *search, XXH128_hash_t hash, uint32_t parent, const struct edge *edge)
{
	struct exhaustive_result *result = search->result;
	if (result->states == search->state_room) {
		uint64_t room = search->state_room == 0 ? 1024 : 2 * search->state_room;
		struct state *states = realloc(search->states, room * sizeof(states[0]));
		if (states == NULL)
			return kml_fail(search->error, "no memory for %" PRIu64 " states: use a smaller arena", room);
		search->states = states;
		search->state_room = room;
	}
	uint32_t index = (uint32_t)result->states++;
	uint32_t depth = edge->kind == EDGE_NONE ? 0 : search->states[parent].depth + 1;
	search->states[index] = (struct state){.hash_high = hash.high64,
					       .alike = kml_hashmap_get(&search->by_hash, hash.low64),
					       .parent = parent,
					       .depth = depth,
					       .edge = *edge};
	result->depth = depth;
	return kml_hashmap_set(&search->by_hash, hash.low64, index) ||
	       kml_fail(search->error, "no memory for %u states: use a smaller arena", index);
}

static bool count_layout(struct search *search, const struct look *look)
{
	bool added = kml_hashmap_set(&search->layouts, look->hash.low64, 0);
	search->result->layouts = search->layouts.count;
	return added || kml_fail(search->error, "no memory for the layouts: use a smaller arena");
}

/* ------------------------------------------------------------------------------------------- is an answer complete */

static bool may_refuse(const struct kml_heap *heap)
{
	return (heap->allocator->traits & KML_TRAIT_MAY_WASTE_RUNS) != 0;
}

/* NULL, or what is wrong with the answer to an alloc in the state that `here` shows: a request is granted when, and
 * only when, a big enough block is free. */
static const char *judge_alloc(const struct search *search, const struct edge *edge, bool granted, bool is_drained,
			       char *text, size_t room)
{
	const struct look *here = &search->here;
	const struct kml_heap *heap = search->living.shadow->heap;
	bool is_enough, is_there;
	if (search->has_cache) {
		struct kml_cache_stats stats = {0};
		heap->allocator->cache_stats(heap, edge->cache, &stats);
		uint64_t slab_bytes = (uint64_t)stats.pages_per_slab * search->page_bytes;
		bool is_shared = is_drained || search->setup->cpu_count == 1;
		is_enough = (is_shared && here->has_free_object) ||
			    (slab_bytes > 0 && here->largest_free_bytes >= slab_bytes);
		is_there = here->has_cached || here->has_free_object || here->largest_free_bytes >= edge->value;
	} else {
		is_enough = here->largest_free_bytes >= edge->value;
		is_there = here->has_cached || is_enough;
	}
	if (granted ? is_there : !is_enough || may_refuse(heap))
		return NULL;
	snprintf(text, room, "completeness: %u bytes were %s while the largest free block has %" PRIu64 " bytes%s",
		 edge->value, granted ? "granted" : "refused", here->largest_free_bytes,
		 here->has_free_object ? " and a slab has free objects" : "");
	return text;
}

/* -------------------------------------------------------------------------------------------------- the search */

/* The same operation after each of two ways to one state must lead to one state. */
static bool verify_edge(struct search *search, struct way *a, struct way *b, const struct edge *edge, bool *alike)
{
	XXH128_hash_t hash_a, hash_b;
	way_on(a, edge);
	way_on(b, edge);
	bool done = hash_way(search, a, &hash_a) && hash_way(search, b, &hash_b);
	*alike = done && same_hash(hash_a, hash_b);
	a->length--;
	b->length--;
	return done;
}

/* Two ways lead to the state `found`: do they also go on alike? */
static bool verify_merge(struct search *search, uint32_t index, const struct edge *edge, uint32_t found)
{
	struct way a, b;
	struct edge frees[EDGES_MAX];
	uint32_t sizes[EDGES_MAX];
	bool alike = true;
	way_to(search, index, &a);
	way_on(&a, edge);
	way_to(search, found, &b);
	if (!enter(search, &a))
		return false;
	uint32_t free_count = list_frees(search, frees, sizes);
	for (uint32_t i = 0; alike && i < search->edge_count + free_count; i++) {
		const struct edge *next = i < search->edge_count ? &search->edges[i] : &frees[i - search->edge_count];
		if (!verify_edge(search, &a, &b, next, &alike))
			return false;
		if (!alike && !search->setup->hides_state)
			return violation(search, index, edge,
					 "congruence: two states that look alike go on in different ways");
	}
	search->result->merges_verified++;
	search->result->merges_refuted += !alike;
	return true;
}

/* From the state `index`, in which the living stack is and which `here` shows, along an edge. *stays: the living stack
 * is still where the edge leads. */
static bool visit(struct search *search, uint32_t index, struct way *way, const struct edge *edge, bool *stays)
{
	struct kml_shadow *shadow = search->living.shadow;
	char text[256];
	const char *wrong = NULL;
	XXH128_hash_t hash;
	*stays = search->setup->walk_tells_all;
	search->result->transitions++;
	bool granted = apply(search, edge) == KML_OK;
	if (kml_shadow_ok(shadow, NULL) && edge->kind == EDGE_ALLOC)
		wrong = judge_alloc(search, edge, granted, false, text, sizeof(text));
	take_look(search, &search->there);
	if (wrong == NULL && edge->kind == EDGE_ALLOC && !granted && !search->here.has_cached &&
	    !same_hash(search->here.hash, search->there.hash))
		wrong = "status: a request that was refused changed the state";
	if (wrong == NULL && search->there.breaks_rule)
		wrong = "rule: the walk shows a block that the split rule does not have";
	if (!search->setup->walk_tells_all)
		kml_check_deep(shadow);
	if (wrong != NULL || !kml_shadow_ok(shadow, NULL))
		return violation(search, index, edge, wrong);

	way_on(way, edge);
	bool hashed = count_layout(search, &search->there) && hash_state(search, way, &search->there, &hash);
	way->length--;
	if (!hashed)
		return false;
	uint32_t found = find_state(search, hash);
	if (found == NO_STATE) {
		if (!kml_check_deep(search->living.shadow))
			return violation(search, index, edge, NULL);
		return add_state(search, hash, index, edge);
	}
	uint32_t every = search->setup->walk_tells_all ? VERIFY_WALK_EVERY : VERIFY_EVERY;
	if (search->merges++ % every != 0)
		return true;
	*stays = false;
	return verify_merge(search, index, edge, found);
}

/* Undo the last operation, when that is known to lead back. */
static bool undo(struct search *search, const struct edge *edge, uint32_t freed_bytes)
{
	const struct living *living = &search->living;
	const struct step *last = &living->steps[living->step_count - 1];
	struct edge inverse;
	if (edge->kind == EDGE_ALLOC)
		inverse = (struct edge){EDGE_FREE, edge->cpu, edge->cache, edge->flags, (uint32_t)last->address};
	else if (edge->kind == EDGE_FREE)
		inverse = (struct edge){EDGE_ALLOC, edge->cpu, edge->cache, edge->flags, freed_bytes};
	else
		return false;
	if (living->step_count > HISTORY_MAX / 2)
		return false;
	if (last->address != KML_NO_ADDRESS)
		apply(search, &inverse);
	take_look(search, &search->there);
	return same_hash(search->there.hash, search->here.hash);
}

static bool try_edge(struct search *search, uint32_t index, struct way *way, const struct edge *edge,
		     uint32_t freed_bytes)
{
	bool stays;
	if (!visit(search, index, way, edge, &stays))
		return false;
	return (stays && undo(search, edge, freed_bytes)) || enter(search, way);
}

/* With every cpu drained nothing is kept from anybody: is a request then granted when there is room? */
static bool check_drained(struct search *search, uint32_t index, const struct way *way)
{
	const struct kml_allocator *allocator = search->living.shadow->heap->allocator;
	const struct edge *alloc = &search->edges[0];
	char text[256];
	if (allocator->drain == NULL || search->setup->cpu_count == 1)
		return true;
	if (!enter(search, way))
		return false;
	for (uint32_t cpu = 0; cpu < search->setup->cpu_count; cpu++)
		apply(search, &(struct edge){.kind = EDGE_DRAIN, .cpu = (uint8_t)cpu});
	take_look(search, &search->here);
	bool granted = apply(search, alloc) == KML_OK;
	const char *wrong = judge_alloc(search, alloc, granted, true, text, sizeof(text));
	return wrong == NULL || violation(search, index, &(struct edge){0}, wrong);
}

/* Along every edge of a state. */
static bool expand(struct search *search, uint32_t index)
{
	struct way way;
	struct edge frees[EDGES_MAX];
	uint32_t sizes[EDGES_MAX];
	way_to(search, index, &way);
	if (!enter(search, &way))
		return false;
	take_look(search, &search->here);
	uint32_t free_count = list_frees(search, frees, sizes);
	for (uint32_t i = 0; i < search->edge_count; i++)
		if (!try_edge(search, index, &way, &search->edges[i], 0))
			return false;
	for (uint32_t i = 0; i < free_count; i++)
		if (!try_edge(search, index, &way, &frees[i], sizes[i]))
			return false;
	if (!drain_to_whole(search))
		return violation(search, index, &(struct edge){0}, NULL);
	return check_drained(search, index, &way);
}

static bool is_over(const struct search *search)
{
	const struct exhaustive_setup *setup = search->setup;
	return (setup->states_max > 0 && search->result->states >= setup->states_max) ||
	       (setup->deadline_ns > 0 && kml_clock_ns(CLOCK_MONOTONIC) >= setup->deadline_ns);
}

/* ---------------------------------------------------------------------------------------------------- the edges */

static void add_edge(struct search *search, enum edge_kind kind, uint32_t cpu, uint32_t cache, uint32_t flags,
		     uint64_t value)
{
	KML_CHECK(search->edge_count < EDGES_MAX, "more than %d operations", EDGES_MAX);
	search->edges[search->edge_count++] =
		(struct edge){(uint8_t)kind, (uint8_t)cpu, (uint8_t)cache, (uint8_t)flags, (uint32_t)value};
}

static void add_class(uint64_t *classes, uint32_t *count, uint64_t size_bytes)
{
	for (uint32_t i = 0; i < *count; i++)
		if (classes[i] == size_bytes)
			return;
	KML_CHECK(*count < CLASSES_MAX, "more than %d classes", CLASSES_MAX);
	classes[(*count)++] = size_bytes;
}

/* The granted bytes of a request in the empty stack; 0: refused. */
static uint64_t granted_when_empty(struct search *search, uint64_t size_bytes)
{
	const struct edge edge = {.kind = EDGE_ALLOC, .value = (uint32_t)size_bytes};
	const struct living *living = &search->living;
	if (apply(search, &edge) != KML_OK)
		return 0;
	uint64_t address = living->steps[living->step_count - 1].address;
	uint64_t granted = living->shadow->heap->allocator->usable(living->shadow->heap, address);
	apply(search, &(struct edge){.kind = EDGE_FREE, .value = (uint32_t)address});
	return granted;
}

/* Of a page allocator: every size that it grants, or says to have free blocks of. Requests are multiples of the
 * smallest, to which all are rounded. */
static uint32_t find_classes(struct search *search, uint64_t *classes)
{
	struct kml_heap *heap = search->living.shadow->heap;
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint32_t count = 0;
	uint64_t unit_bytes = granted_when_empty(search, 1);
	if (unit_bytes == 0)
		return 0;
	for (uint64_t size = unit_bytes; size <= search->arena->size_bytes; size += unit_bytes)
		if (granted_when_empty(search, size) > 0)
			add_class(classes, &count, granted_when_empty(search, size));
	uint32_t area_count = heap->allocator->free_areas(heap, areas);
	for (uint32_t i = 0; i < area_count; i++)
		if (areas[i].block_bytes % unit_bytes == 0 && areas[i].block_bytes <= search->arena->size_bytes)
			add_class(classes, &count, areas[i].block_bytes);
	return count;
}

static bool find_edges(struct search *search)
{
	static const uint8_t kinds[] = {0, KML_MOVABLE, KML_RECLAIMABLE};
	const struct exhaustive_setup *setup = search->setup;
	const struct kml_allocator *allocator = search->living.shadow->heap->allocator;
	uint64_t classes[CLASSES_MAX] = {setup->object_bytes};
	uint32_t class_count = search->has_cache ? 1 : find_classes(search, classes);
	if (class_count == 0)
		return kml_fail(search->error, "%s grants nothing in %u units: use a larger arena", setup->stack,
				setup->units);
	uint32_t kind_count = setup->has_kinds ? 3 : 1, cache_count = search->has_cache ? setup->cache_count : 1;
	search->edge_count = search->probe_count = 0;
	for (uint32_t cpu = 0; cpu < setup->cpu_count; cpu++)
		for (uint32_t cache = 0; cache < cache_count; cache++)
			for (uint32_t kind = 0; kind < kind_count; kind++) {
				for (uint32_t i = 0; i < class_count; i++)
					add_edge(search, EDGE_ALLOC, cpu, cache, kinds[kind], classes[i]);
				search->probes[search->probe_count++] =
					search->edges[search->edge_count - class_count]; /* the smallest class */
			}
	for (uint32_t cpu = 0; cpu < setup->cpu_count && allocator->drain != NULL; cpu++)
		add_edge(search, EDGE_DRAIN, cpu, 0, 0, 0);
	if (allocator->shrink != NULL)
		add_edge(search, EDGE_SHRINK, 0, 0, 0, 0);
	return true;
}

/* ------------------------------------------------------------------------------------------------- begin and end */

static bool prepare(struct search *search)
{
	const struct exhaustive_setup *setup = search->setup;
	search->spec = kml_spec_parse(setup->stack, search->error);
	if (search->spec == NULL)
		return false;
	if (setup->units == 0 || setup->units > UNITS_MAX || setup->cpu_count == 0)
		return kml_fail(search->error, "%u units: use 1 to %d", setup->units, UNITS_MAX);
	search->has_cache = search->spec->layer[0]->cache_open != NULL && setup->cache_count > 0;
	search->looks_ahead = setup->cpu_count > 1 || setup->has_kinds;
	search->page_bytes = PAGE_BYTES;
	search->unit_bytes = setup->unit_bytes > 0 ? setup->unit_bytes : UNIT_BYTES;
	search->rule = exhaustive_rule_create(setup->stack, setup->units);
	search->arena = kml_arena_create(setup->units * search->unit_bytes + setup->tail_bytes, PAGE_BYTES, true,
					 search->error);
	search->hash = XXH3_createState();
	search->states = NULL;
	return search->arena != NULL && search->hash != NULL && begin_living(search);
}

static void finish(struct search *search)
{
	end_living(search);
	kml_arena_destroy(search->arena);
	kml_spec_free(search->spec);
	XXH3_freeState(search->hash);
	exhaustive_rule_destroy(search->rule);
	kml_hashmap_free(&search->by_hash);
	kml_hashmap_free(&search->layouts);
	free(search->states);
	free(search);
}

static bool explore(struct search *search)
{
	struct exhaustive_result *result = search->result;
	const struct way nowhere = {0};
	XXH128_hash_t hash;
	if (!find_edges(search) || !begin_living(search))
		return false;
	take_look(search, &search->here);
	search->empty_hash = search->here.hash;
	if (!count_layout(search, &search->here) || !hash_state(search, &nowhere, &search->here, &hash) ||
	    !add_state(search, hash, 0, &(struct edge){0}))
		return false;
	struct kml_progress progress;
	if (search->setup->shows_progress)
		kml_progress_start(&progress, search->setup->stack, "states", 0);
	bool goes_on = true;
	uint32_t next = 0;
	for (; goes_on && next < result->states && !is_over(search); next++) {
		goes_on = expand(search, next);
		if (search->setup->shows_progress)
			kml_progress_update(&progress, result->states);
	}
	if (search->setup->shows_progress)
		kml_progress_finish(&progress);
	result->complete = goes_on && next == result->states;
	return goes_on || result->failed;
}

bool exhaustive_search(const struct exhaustive_setup *setup, struct exhaustive_result *result, struct kml_error *error)
{
	struct search *search = calloc(1, sizeof(*search));
	if (search == NULL)
		return kml_fail(error, "no memory for a search");
	uint64_t began_ns = kml_clock_ns(CLOCK_MONOTONIC);
	memset(result, 0, sizeof(*result));
	search->setup = setup;
	search->result = result;
	search->error = error;
	running = search;
	void (*before_abort)(int) = signal(SIGABRT, on_abort);
	void (*before_fault)(int) = signal(SIGSEGV, on_abort);
	bool done = prepare(search) && explore(search);
	signal(SIGABRT, before_abort);
	signal(SIGSEGV, before_fault);
	running = NULL;
	finish(search);
	result->expected_layouts = exhaustive_expected_layouts(setup->stack, setup->units);
	result->seconds = (double)(kml_clock_ns(CLOCK_MONOTONIC) - began_ns) / 1e9;
	return done;
}
