/*
 * lifetimes.h - how long objects live: distributions that any generator can be told by `lifetimes=...`.
 *
 *   exponential    P(L > t) = e^(-t/lifetime): any age is as good as new
 *   uniform        from 0 to 2 lifetime
 *   generational   most die young (Ungar, Generation scavenging, 1984): with probability `young` exponential of mean
 *                  young_lifetime, else of the longer mean that makes the mean of all `lifetime`; hyperexponential
 *   fitted         as the objects of a recorded trace live (survival.h)
 *   forever        never freed
 *
 * One uniform number a lifetime. Cost: O(1), O(log different lifetimes) of fitted.
 */
#ifndef KMEMLAB_LIFETIMES_H
#define KMEMLAB_LIFETIMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"
#include "workloads/generate/survival.h"

/* A lifetime without end. */
#define LIFETIMES_FOREVER_NS UINT64_MAX

enum lifetimes_kind {
	LIFETIMES_EXPONENTIAL,
	LIFETIMES_UNIFORM,
	LIFETIMES_GENERATIONAL,
	LIFETIMES_FITTED,
	LIFETIMES_FOREVER,
};
extern const char *const lifetimes_names[]; /* in this order, NULL at the end */

/* A member of a generator's configuration. */
struct lifetimes_config {
	uint32_t kind;          /* enum lifetimes_kind */
	double mean_s;          /* exponential, uniform, generational; seconds */
	double young;           /* generational: share */
	double young_mean_s;    /* generational */
	const char *trace_path; /* fitted */
};

/* Rows of a generator's table of parameters, for the lifetimes_config at offset `at`, with its default mean. */
#define LIFETIMES_PARAMS(at, default_mean_s)                                                                           \
	{.name = "lifetimes",                                                                                          \
	 .type = KML_PARAM_CHOICE,                                                                                     \
	 .offset = (at) + offsetof(struct lifetimes_config, kind),                                                     \
	 .default_text = "exponential",                                                                                \
	 .choices = lifetimes_names,                                                                                   \
	 .help = "how long objects live"},                                                                             \
		{.name = "lifetime",                                                                                   \
		 .type = KML_PARAM_REAL,                                                                               \
		 .offset = (at) + offsetof(struct lifetimes_config, mean_s),                                           \
		 .default_text = (default_mean_s),                                                                     \
		 .minimum = 0,                                                                                         \
		 .maximum = 1000000,                                                                                   \
		 .help = "lifetimes: the mean in seconds, at least 1e-9"},                                             \
		{.name = "young",                                                                                      \
		 .type = KML_PARAM_REAL,                                                                               \
		 .offset = (at) + offsetof(struct lifetimes_config, young),                                            \
		 .default_text = "0.9",                                                                                \
		 .minimum = 0,                                                                                         \
		 .maximum = 1,                                                                                         \
		 .help = "lifetimes: generational: the share that dies young, less than 1"},                           \
		{.name = "young_lifetime",                                                                             \
		 .type = KML_PARAM_REAL,                                                                               \
		 .offset = (at) + offsetof(struct lifetimes_config, young_mean_s),                                     \
		 .default_text = "0.0001",                                                                             \
		 .minimum = 0,                                                                                         \
		 .maximum = 1000000,                                                                                   \
		 .help = "lifetimes: generational: their mean in seconds, at most the mean of all"},                   \
	{                                                                                                              \
		.name = "lifetime_trace", .type = KML_PARAM_TEXT,                                                      \
		.offset = (at) + offsetof(struct lifetimes_config, trace_path), .default_text = "",                    \
		.help = "lifetimes: fitted: a .kmt"                                                                    \
	}

/* A distribution that is ready to be drawn from. Read only; owned by lifetimes_prepare and lifetimes_free. */
struct lifetimes {
	enum lifetimes_kind kind;
	double mean_ns;
	double young, young_mean_ns, old_mean_ns;
	struct survival survival;
};

/*
 * false and *error naming the parameter and its range, after `workload`, nothing to free: a mean beyond 1e-9..1e6 s or
 * NaN, young not from 0 to below 1, young_lifetime above lifetime, a trace that cannot be read or has no deaths.
 */
bool lifetimes_prepare(struct lifetimes *lifetimes, const struct lifetimes_config *config, const char *workload,
		       struct kml_error *error);
void lifetimes_free(struct lifetimes *lifetimes);

/* The lifetime of a uniform number in [0, 1), to the nearest ns. */
uint64_t lifetimes_draw(const struct lifetimes *lifetimes, double uniform);
/* P(L > life). */
double lifetimes_beyond(const struct lifetimes *lifetimes, double life_ns);
/* Infinite of those that live forever. */
double lifetimes_mean_ns(const struct lifetimes *lifetimes);

#endif
