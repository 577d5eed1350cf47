/*
 * adversary.h - Knuth's and Robson's adversaries as measurements: rows for a table, a test or a figure.
 */
#ifndef KMEMLAB_ADVERSARY_H
#define KMEMLAB_ADVERSARY_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/allocator.h"
#include "workloads/generate/bounds.h"

/* What is played. */
struct adversary {
	const char *name;    /* "knuth", "robson" */
	uint64_t r;          /* the largest block is 2^r units; 1 to 20 */
	uint64_t live_units; /* at most; a multiple of 2^(r+1) */
	uint64_t unit_bytes; /* the smallest block; 16 is what a page allocator alone deals in */
};

/* All in units, rounded up. */
struct adversary_row {
	const char *allocator, *adversary; /* borrowed: as asked for */
	uint64_t r, live_units;
	uint64_t span_units;   /* from the lowest to the highest byte granted, in the adversary's own arena */
	uint64_t refused;      /* allocations, there */
	uint64_t needed_units; /* the smallest arena in which nothing is refused; 0: not asked, or none */
	uint64_t bound_units;  /* knuth: what lowest address first needs; robson: what every allocator needs */
	uint64_t enough_units; /* knuth: what a binary buddy system never exceeds; robson: 0 */
};

/*
 * Play it in its own arena. step_units > 0: look for the smallest arena too, by bisection to so many units;
 * a larger arena is not always better, so it is a size that does while one a step below does not. false
 * and *error when it cannot be played. Cost: one play, and about log2(arena / step) more.
 */
bool adversary_measure(const struct adversary *adversary, const char *against, uint64_t step_units,
		       struct adversary_row *row, struct kml_error *error);

#endif
