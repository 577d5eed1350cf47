/*
 * purdom_stigler.h - the bottom level of a buddy system under Poisson requests, measured on a real one.
 */
#ifndef KMEMLAB_PURDOM_STIGLER_H
#define KMEMLAB_PURDOM_STIGLER_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/allocator.h"

/* Time in mean lifetimes, so that rho = rate. Means over seeds, and their standard errors. */
struct purdom_stigler {
	double rate;                           /* lambda, arrivals in a mean lifetime */
	double available, available_error;     /* E[k]: blocks of the bottom level that are free, over time */
	double per_request, per_request_error; /* lambda T: arrivals for each block asked of the next level */
	double identity, identity_error;       /* E[k] lambda T / rho, which is 1 */
	uint64_t arrivals;                     /* counted, of all seeds */
	uint32_t seeds;
};

/*
 * Play purdom_stigler with seeds 1 to `seeds` (at least 2) against a page allocator, `arrivals` each, and measure.
 * false and *error when the stack cannot be made or refuses something. O(seeds x arrivals).
 */
bool purdom_stigler_measure(const char *stack, double rate, uint64_t arrivals, uint32_t seeds,
			    struct purdom_stigler *result, struct kml_error *error);

#endif
