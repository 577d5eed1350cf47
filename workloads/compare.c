/*
 * compare.c - how near are two workloads on the same stack?
 *
 * Rules of the comparison:
 *   - sample i of n of either side stands at i/n of that side's own duration;
 *   - a cache is matched by its name, over all caches of the stack that bear it; where one side lacks it, it has 0;
 *   - nothing is left out and nothing is smoothed.
 */
#include "workloads/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "workloads/scan.h"

/* One side on its way. */
struct watcher {
	struct comparison *comparison;
	enum compare_side side;
	uint32_t taken;
	bool out_of_memory;
};

const char *compare_curve_name(enum compare_curve curve)
{
	static const char *const names[COMPARE_CURVES] = {"requested",
							  "granted",
							  "held",
							  "waste",
							  "waste_class_rounding",
							  "waste_slab_tail",
							  "waste_management",
							  "waste_free_slots",
							  "waste_cpu_cached",
							  "waste_buddy_rounding",
							  "waste_external"};
	return names[curve];
}

const char *compare_cache_curve_name(enum compare_cache_curve curve)
{
	static const char *const names[COMPARE_CACHE_CURVES] = {"slabs", "live", "slack"};
	return names[curve];
}

double compare_wape(const struct compare_distance *distance)
{
	if (distance->base_bytes > 0)
		return (double)distance->error_bytes / (double)distance->base_bytes;
	return distance->error_bytes > 0 ? (double)INFINITY : (double)NAN;
}

int64_t compare_cache_bytes(const struct compare_sample *sample, uint32_t cache, enum compare_cache_curve curve)
{
	if (cache >= sample->cache_count)
		return 0;
	const uint64_t *bytes = sample->caches[cache];
	if (curve == COMPARE_SLACK)
		return (int64_t)(bytes[COMPARE_SLABS] - bytes[COMPARE_LIVE]);
	return (int64_t)bytes[curve];
}

/* ---------------------------------------------------------------------------------------------- one sample */

static bool take_cache(struct names *names, struct compare_sample *sample, const struct kml_cache_stats *stats)
{
	uint32_t index;
	if (!names_find(names, stats->name, &index))
		return false;
	if (index >= sample->cache_count) {
		void *caches = realloc(sample->caches, names->capacity * sizeof *sample->caches);
		if (!caches)
			return false;
		sample->caches = caches;
		memset(sample->caches + sample->cache_count, 0,
		       (names->capacity - sample->cache_count) * sizeof *sample->caches);
		sample->cache_count = names->capacity;
	}
	sample->caches[index][COMPARE_SLABS] += stats->slab_bytes;
	sample->caches[index][COMPARE_LIVE] += stats->live_objects * stats->slot_bytes;
	return true;
}

static void take_curves(const struct replay_sample *seen, struct compare_sample *sample)
{
	sample->event = seen->event;
	sample->time_ns = seen->time_ns;
	sample->bytes[COMPARE_REQUESTED] = seen->requested_bytes;
	sample->bytes[COMPARE_GRANTED] = seen->stats.granted_bytes;
	sample->bytes[COMPARE_HELD] = seen->stats.held_bytes;
	sample->bytes[COMPARE_WASTE] = seen->stats.held_bytes - seen->requested_bytes;
	for (int kind = 0; kind < KML_WASTE_KINDS; kind++)
		sample->bytes[COMPARE_WASTE_TERMS + kind] = seen->stats.waste_bytes[kind];
}

static bool observe(void *context, const struct replay_sample *seen, const struct kml_stack *stack,
		    const struct kml_arena *arena)
{
	struct watcher *watcher = context;
	struct comparison *comparison = watcher->comparison;
	if (watcher->taken == comparison->samples)
		return true; /* a trace whose footer tells less than its duration */
	struct compare_sample *sample = &comparison->sample[watcher->side][watcher->taken++];
	const struct kml_heap *heap = kml_stack_top(stack);
	struct kml_cache_stats stats;
	(void)arena;
	take_curves(seen, sample);
	for (uint32_t i = 0; heap->allocator->cache_stats && heap->allocator->cache_stats(heap, i, &stats); i++)
		if (stats.name && !take_cache(&comparison->caches, sample, &stats))
			watcher->out_of_memory = true;
	return !watcher->out_of_memory;
}

/* ------------------------------------------------------------------------------------------------- the sums */

static uint64_t size_of(int64_t bytes)
{
	return bytes < 0 ? (uint64_t)-bytes : (uint64_t)bytes;
}

static void add_pair(struct compare_distance *distance, int64_t a, int64_t b, uint32_t sample)
{
	distance->error_bytes += size_of(b - a);
	distance->base_bytes += size_of(a);
	distance->moved_bytes += b - a;
	if (size_of(b - a) > size_of(distance->most_bytes)) {
		distance->most_bytes = b - a;
		distance->most_sample = sample;
	}
	if (a > 0 && (uint64_t)a > distance->peak_bytes[COMPARE_A])
		distance->peak_bytes[COMPARE_A] = (uint64_t)a;
	if (b > 0 && (uint64_t)b > distance->peak_bytes[COMPARE_B])
		distance->peak_bytes[COMPARE_B] = (uint64_t)b;
}

static void sum_caches(struct comparison *comparison, enum compare_cache_curve curve)
{
	struct compare_distance *all = &comparison->by_cache[curve];
	for (uint32_t i = 0; i < comparison->samples; i++) {
		const struct compare_sample *a = &comparison->sample[COMPARE_A][i];
		const struct compare_sample *b = &comparison->sample[COMPARE_B][i];
		for (uint32_t cache = 0; cache < comparison->caches.count; cache++)
			add_pair(&comparison->cache[cache][curve], compare_cache_bytes(a, cache, curve),
				 compare_cache_bytes(b, cache, curve), i);
	}
	for (uint32_t cache = 0; cache < comparison->caches.count; cache++) {
		all->error_bytes += comparison->cache[cache][curve].error_bytes;
		all->base_bytes += comparison->cache[cache][curve].base_bytes;
	}
}

static bool sum_up(struct comparison *comparison, struct kml_error *error)
{
	for (int curve = 0; curve < COMPARE_CURVES; curve++)
		for (uint32_t i = 0; i < comparison->samples; i++)
			add_pair(&comparison->curves[curve], (int64_t)comparison->sample[COMPARE_A][i].bytes[curve],
				 (int64_t)comparison->sample[COMPARE_B][i].bytes[curve], i);
	comparison->cache = calloc(comparison->caches.count + 1, sizeof *comparison->cache);
	if (!comparison->cache)
		return kml_fail(error, "out of memory for %u caches", comparison->caches.count);
	for (int curve = 0; curve < COMPARE_CACHE_CURVES; curve++)
		sum_caches(comparison, (enum compare_cache_curve)curve);
	return true;
}

/* ------------------------------------------------------------------------------------------------ the whole */

/* The larger of what each would get. */
static bool choose_arena(struct kmt_reader *const readers[COMPARE_SIDES], struct replay_options *options,
			 struct kml_error *error)
{
	if (options->arena_bytes > 0)
		return true;
	for (int side = 0; side < COMPARE_SIDES; side++) {
		struct replay_scan scan;
		if (!replay_scan(readers[side], &scan, error))
			return false;
		uint64_t arena_bytes =
			replay_auto_arena(kmt_reader_origin(readers[side]), scan.peak_granted_bytes[options->level]);
		replay_scan_free(&scan);
		if (arena_bytes > options->arena_bytes)
			options->arena_bytes = arena_bytes;
	}
	return true;
}

static bool replay_side(struct comparison *comparison, enum compare_side side, struct kmt_reader *reader,
			const struct kml_spec *spec, const struct replay_options *options, struct kml_error *error)
{
	struct replay_result *result = &comparison->result[side];
	struct watcher watcher = {.comparison = comparison, .side = side};
	comparison->sample[side] = calloc(options->samples, sizeof *comparison->sample[side]);
	if (!comparison->sample[side])
		return kml_fail(error, "out of memory for %u samples", options->samples);
	bool done = replay_run(reader, spec, options, observe, NULL, &watcher, result, error);
	if (watcher.out_of_memory)
		return kml_fail(error, "%s: out of memory for the caches of %s", kmt_reader_path(reader), spec->text);
	if (!done)
		return false;
	if (result->check_failed)
		return kml_fail(error, "%s on %s: %s", kmt_reader_path(reader), spec->text, result->check_error.text);
	if (result->allocations == 0)
		return kml_fail(error, "%s: no allocation at level %s: nothing to compare", kmt_reader_path(reader),
				replay_level_name(options->level));
	return true;
}

bool compare_run(struct kmt_reader *const readers[COMPARE_SIDES], const struct kml_spec *spec,
		 const struct replay_options *options, struct comparison *comparison, struct kml_error *error)
{
	struct replay_options both = *options;
	both.samples = options->samples > 0 ? options->samples : 1;
	both.samples_in_time = true;
	*comparison = (struct comparison){.samples = both.samples};
	if (kml_spec_traits(spec) & KML_TRAIT_RECORDED)
		return kml_fail(error, "%s repeats what a kernel did and serves nothing by itself: give another stack",
				spec->text);
	if (!choose_arena(readers, &both, error))
		return false;
	for (int side = 0; side < COMPARE_SIDES; side++)
		if (!replay_side(comparison, (enum compare_side)side, readers[side], spec, &both, error))
			return false;
	return sum_up(comparison, error);
}

void compare_free(struct comparison *comparison)
{
	for (int side = 0; side < COMPARE_SIDES; side++) {
		for (uint32_t i = 0; comparison->sample[side] && i < comparison->samples; i++)
			free(comparison->sample[side][i].caches);
		free(comparison->sample[side]);
	}
	free(comparison->cache);
	names_free(&comparison->caches);
	*comparison = (struct comparison){0};
}

static uint64_t error_of(const struct comparison *comparison, uint32_t cache)
{
	return comparison->cache[cache][COMPARE_SLABS].error_bytes + comparison->cache[cache][COMPARE_LIVE].error_bytes;
}

static bool is_worse(const struct comparison *comparison, uint32_t a, uint32_t b)
{
	uint64_t error_a = error_of(comparison, a), error_b = error_of(comparison, b);
	if (error_a != error_b)
		return error_a > error_b;
	return strcmp(comparison->caches.name[a], comparison->caches.name[b]) < 0;
}

uint32_t compare_worst(const struct comparison *comparison, uint32_t *worst, uint32_t count)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < comparison->caches.count && count > 0; i++) {
		if (error_of(comparison, i) == 0)
			continue;
		if (found == count && !is_worse(comparison, i, worst[found - 1]))
			continue;
		uint32_t place = found < count ? found++ : count - 1;
		for (; place > 0 && is_worse(comparison, i, worst[place - 1]); place--)
			worst[place] = worst[place - 1];
		worst[place] = i;
	}
	return found;
}
