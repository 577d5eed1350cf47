/* adversary.c - Knuth's and Robson's adversaries as measurements. */
#include "workloads/generate/adversary.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "workloads/generate/generate.h"

/* The smallest arena is not looked for beyond this many times what was live. */
enum { LIVE_TIMES_MAX = 64 };

/* arena_units 0: its own. */
static bool play(const struct adversary *adversary, const char *against, uint64_t arena_units,
		 struct workload_outcome *outcome, struct kml_error *error)
{
	char text[256], arena[48] = "";
	if (arena_units)
		snprintf(arena, sizeof arena, ",arena=%" PRIu64, arena_units * adversary->unit_bytes);
	snprintf(text, sizeof text, "%s:r=%" PRIu64 ",live=%" PRIu64 ",unit=%" PRIu64 "%s", adversary->name,
		 adversary->r, adversary->live_units, adversary->unit_bytes, arena);
	return workload_play(text, against, outcome, error);
}

/* An arena that is too small for the stack itself is one in which it fails. */
static bool does(const struct adversary *adversary, const char *against, uint64_t arena_units)
{
	struct workload_outcome outcome;
	struct kml_error why;
	return play(adversary, against, arena_units, &outcome, &why) && outcome.refused == 0;
}

/* 0: none. */
static uint64_t smallest_arena(const struct adversary *adversary, const char *against, uint64_t roomy_units,
			       uint64_t step_units)
{
	uint64_t fails = adversary->live_units - 1, works = roomy_units;
	while (!does(adversary, against, works)) {
		fails = works;
		works *= 2;
		if (works > LIVE_TIMES_MAX * adversary->live_units)
			return 0;
	}
	while (works - fails > step_units) {
		uint64_t middle = fails + (works - fails) / 2;
		*(does(adversary, against, middle) ? &works : &fails) = middle;
	}
	return works;
}

static uint64_t in_units(uint64_t bytes, uint64_t unit_bytes)
{
	return (bytes + unit_bytes - 1) / unit_bytes;
}

bool adversary_measure(const struct adversary *adversary, const char *against, uint64_t step_units,
		       struct adversary_row *row, struct kml_error *error)
{
	bool is_knuth = strcmp(adversary->name, "knuth") == 0;
	uint64_t r = adversary->r, live_units = adversary->live_units, unit_bytes = adversary->unit_bytes;
	struct workload_outcome outcome;
	if (!is_knuth && strcmp(adversary->name, "robson") != 0)
		return kml_fail(error, "no adversary '%s': use knuth or robson", adversary->name);
	if (!play(adversary, against, 0, &outcome, error))
		return false;
	*row = (struct adversary_row){
		.allocator = against,
		.adversary = adversary->name,
		.r = r,
		.live_units = live_units,
		.span_units = in_units(outcome.span_bytes, unit_bytes),
		.refused = outcome.refused,
		.bound_units = is_knuth ? knuth_needed(live_units, r) : robson_needed(live_units, r),
		.enough_units = is_knuth ? knuth_enough(live_units, r) : 0,
	};
	if (step_units > 0)
		row->needed_units =
			smallest_arena(adversary, against, in_units(outcome.arena_bytes, unit_bytes), step_units);
	return true;
}
