/* naive.c - uniformly random events. Cost: O(events). */
#include "fuzz/naive.h"

#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/random.h"

enum { ARENA_BYTES = 1 << 18, CPUS = 2, ORDERS = 11, ALIGNMENTS = 13, ADDRESS_STEP = 8, STEP_NS = 1000000000 };

/* Defaults, and the caches of the seeds (fuzz/seeds). */
static void naive_setup(struct program *program, const char *stack, uint64_t seed)
{
	static const uint16_t object_bytes[PROGRAM_CACHES] = {64, 192, 512, 1024};
	program_decode(program, stack, NULL, 0);
	struct program_setup *setup = &program->setup;
	setup->arena_bytes = ARENA_BYTES;
	setup->cpu_count = CPUS;
	setup->seed = seed;
	setup->check_every = 0;
	for (uint32_t i = 0; i < setup->cache_count; i++)
		setup->caches[i].object_bytes = object_bytes[i % PROGRAM_CACHES];
}

static uint16_t naive_flags(uint64_t *state)
{
	static const uint16_t flags[] = {KML_MOVABLE, KML_RECLAIMABLE, KML_ATOMIC,    KML_ZEROED, KML_CONTIGUOUS,
					 KML_KMALLOC, KML_DMA,         KML_ACCOUNTED, KML_VMALLOC};
	uint16_t set = 0;
	for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
		set |= random_below(state, 2) ? flags[i] : 0;
	return set;
}

static uint16_t naive_cache(const struct program_setup *setup, uint64_t *state, bool needed)
{
	uint64_t choices = setup->cache_count + !needed, cache = choices ? random_below(state, choices) : 0;
	return cache < setup->cache_count ? (uint16_t)cache : KMT_NO_CACHE;
}

static void naive_object(const struct program_setup *setup, struct kmt_event *event, uint64_t *state)
{
	event->cache = naive_cache(setup, state, false);
	event->size_bytes = 1 + random_below(state, setup->arena_bytes);
	event->flags = naive_flags(state);
	if (event->cache != KMT_NO_CACHE) {
		event->size_bytes = setup->caches[event->cache].object_bytes;
		event->flags &= (uint16_t)~KML_VMALLOC; /* areas are of no cache */
	}
	event->align_log2 = (uint8_t)random_below(state, ALIGNMENTS);
	event->address = random_below(state, setup->arena_bytes / ADDRESS_STEP) * ADDRESS_STEP;
}

static void naive_pages(const struct program_setup *setup, struct kmt_event *event, uint64_t *state)
{
	event->order = (uint8_t)random_below(state, ORDERS);
	event->size_bytes = (uint64_t)setup->page_bytes << event->order;
	event->address = random_below(state, setup->arena_bytes / setup->page_bytes) * setup->page_bytes;
	event->flags = naive_flags(state) & (uint16_t)~KML_VMALLOC;
}

static void naive_misuse(const struct program_setup *setup, struct kmt_event *event, uint64_t *state)
{
	event->order = (uint8_t)random_below(state, KMT_MISUSE_KINDS);
	event->size_bytes = random_below(state, setup->arena_bytes);
	event->cache = naive_cache(setup, state, true);
}

/* False: what the stack has none of. */
static bool naive_event(const struct program_setup *setup, struct kmt_event *event, uint64_t *state)
{
	static const uint8_t ops[] = {KMT_ALLOC,      KMT_FREE,        KMT_PAGE_ALLOC, KMT_PAGE_FREE,
				      KMT_CACHE_OPEN, KMT_CACHE_CLOSE, KMT_SHRINK,     KMT_DRAIN,
				      KMT_MISUSE,     KMT_EXHAUST,     KMT_MARK};
	uint32_t id = (uint32_t)random_below(state, PROGRAM_OBJECTS);
	*event = (struct kmt_event){.op = ops[random_below(state, sizeof ops)],
				    .address = KMT_NO_ADDRESS,
				    .cache = KMT_NO_CACHE,
				    .cpu = (uint16_t)random_below(state, setup->cpu_count)};
	switch ((enum kmt_op)event->op) {
	case KMT_ALLOC:
		event->object = id;
		naive_object(setup, event, state);
		return true;
	case KMT_PAGE_ALLOC:
		event->object = id;
		naive_pages(setup, event, state);
		return true;
	case KMT_FREE:
	case KMT_PAGE_FREE:
		event->object = id; /* kfree: no cache is named, for which it was is not known */
		return true;
	case KMT_MISUSE:
		event->object = id;
		naive_misuse(setup, event, state);
		return event->order != KMT_MISUSE_CACHE || setup->cache_count > 0;
	case KMT_CACHE_OPEN:
	case KMT_CACHE_CLOSE:
		event->cache = naive_cache(setup, state, true);
		return setup->cache_count > 0;
	case KMT_SHRINK:
		event->cache = naive_cache(setup, state, false);
		return true;
	case KMT_EXHAUST:
		event->order = (uint8_t)random_below(state, 2);
		return true;
	default:
		return true;
	}
}

/* What every tester keeps: pointers to its objects, where a place that is taken is not taken again - whether it was
 * granted is not known -, and its open caches. */
struct places {
	uint64_t taken, open;
};

static bool flip(uint64_t *set, uint64_t bit, bool wanted)
{
	bool changes = ((*set & bit) != 0) != wanted;
	*set = wanted ? *set | bit : *set & ~bit;
	return changes;
}

static bool is_possible(struct places *places, const struct kmt_event *event)
{
	uint64_t object = 1ull << event->object, cache = event->cache == KMT_NO_CACHE ? 0 : 1ull << event->cache;
	switch ((enum kmt_op)event->op) {
	case KMT_ALLOC:
	case KMT_PAGE_ALLOC:
		return (places->open & cache) == cache && flip(&places->taken, object, true);
	case KMT_FREE:
	case KMT_PAGE_FREE:
		flip(&places->taken, object, false);
		return true;
	case KMT_CACHE_OPEN:
		return flip(&places->open, cache, true);
	case KMT_CACHE_CLOSE:
		return flip(&places->open, cache, false);
	default:
		return true;
	}
}

void naive_program(struct program *program, const char *stack, uint64_t *state)
{
	struct kmt_event event;
	struct places places = {.open = UINT64_MAX};
	uint64_t time_ns = 0;
	naive_setup(program, stack, 1 + random_below(state, UINT8_MAX));
	program->event_count = 0;
	for (uint64_t left = random_below(state, PROGRAM_OPS + 1); left > 0; left--) {
		if (!naive_event(&program->setup, &event, state) || !is_possible(&places, &event))
			continue;
		KML_CHECK(program_add(program, &event), "memory exhausted");
		time_ns += event.op == KMT_MARK ? random_below(state, 16) * STEP_NS : 0;
		program->events[program->event_count - 1].time_ns = time_ns;
	}
}
