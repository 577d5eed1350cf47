/*
 * survival.h - how long the objects of a trace live: Kaplan & Meier's estimate (Nonparametric estimation from
 * incomplete observations, J. Am. Stat. Assoc. 53, 1958).
 *
 * Observed are the objects that were born during the recording. One that is still alive at its end is censored: it
 * lived at least so long. Those that were live before it began are left out: their age is unknown, and the long-lived
 * are too many among them. Beyond the last observation the estimate goes on as the exponential through that point
 * (Brown, Hollander & Korwar 1974).
 *
 * Memory: O(live objects of the trace): lifetimes are kept to three digits (0.1 %), those below a microsecond exactly.
 */
#ifndef KMEMLAB_SURVIVAL_H
#define KMEMLAB_SURVIVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"

struct survival_step {
	double life_ns; /* at which some die */
	double died;    /* P(L <= life) */
};

struct survival {
	struct survival_step *steps; /* ascending */
	size_t count;
	double last_ns;   /* the longest observation */
	double survivors; /* P(L > last) */
};

/* false and *error, nothing to free: unreadable, or no object of the trace is seen to be born and to die. */
bool survival_fit(struct survival *survival, const char *path, struct kml_error *error);
void survival_free(struct survival *survival);

/* The lifetime of a uniform number in [0, 1). O(log steps). */
double survival_quantile(const struct survival *survival, double uniform);
/* P(L > life). */
double survival_beyond(const struct survival *survival, double life_ns);
double survival_mean(const struct survival *survival);

#endif
