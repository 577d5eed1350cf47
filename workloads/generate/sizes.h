/*
 * sizes.h - how large requests are: distributions that any generator can be told by `sizes=...`.
 *
 * All are of whole numbers, at least 1, from `min` to `max`: a distribution that reaches farther is the conditional
 * one, given that the size lies there. Each is drawn by inverting its cumulative distribution function (Devroye,
 * Non-Uniform Random Variate Generation, 1986, chapter II.2), one uniform number a size, so what is drawn and what
 * theory says come from the same formula:
 *
 *   uniform       P(X <= k) = (k - min + 1) / (max - min + 1)
 *   exponential   P(X <= k) = 1 - e^(-k/mean): a real exponential, rounded up
 *   geometric     P(X <= k) = 1 - (1 - 1/mean)^k
 *   power         P(X >= k) ~ k^-alpha: a Pareto distribution, rounded down
 *   bimodal       max with probability `share`, else min
 *   empirical     the histogram of a file, or of the objects of a recorded trace (histogram.h)
 *
 * Cost: O(1) a draw, O(log different sizes) of empirical.
 */
#ifndef KMEMLAB_SIZES_H
#define KMEMLAB_SIZES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"
#include "workloads/generate/histogram.h"

#define SIZES_MAX_BYTES (1ull << 46)

enum sizes_kind {
	SIZES_UNIFORM,
	SIZES_EXPONENTIAL,
	SIZES_GEOMETRIC,
	SIZES_POWER,
	SIZES_BIMODAL,
	SIZES_EMPIRICAL,
};
extern const char *const sizes_names[]; /* in this order, NULL at the end */

/* A member of a generator's configuration. Bytes, or whatever unit the generator counts in. */
struct sizes_config {
	uint32_t kind;    /* enum sizes_kind */
	uint64_t min;     /* from 1 */
	uint64_t max;     /* 0: uniform 2 mean - min; power and bimodal need it; of the others no bound */
	double mean;      /* exponential, geometric: before truncation; uniform without max */
	double alpha;     /* power */
	double share;     /* bimodal: of requests that are large */
	const char *file; /* empirical */
};

/*
 * Rows of a generator's table of parameters, for the sizes_config at offset `at`, with its defaults: a name of
 * sizes_names, the mean as a text.
 */
#define SIZES_PARAMS(at, default_kind, default_mean)                                                                   \
	{.name = "sizes",                                                                                              \
	 .type = KML_PARAM_CHOICE,                                                                                     \
	 .offset = (at) + offsetof(struct sizes_config, kind),                                                         \
	 .default_text = (default_kind),                                                                               \
	 .choices = sizes_names,                                                                                       \
	 .help = "how large requests are"},                                                                            \
		{.name = "min",                                                                                        \
		 .type = KML_PARAM_SIZE,                                                                               \
		 .offset = (at) + offsetof(struct sizes_config, min),                                                  \
		 .default_text = "1",                                                                                  \
		 .minimum = 1,                                                                                         \
		 .maximum = SIZES_MAX_BYTES,                                                                           \
		 .help = "sizes: the smallest; bimodal: the small one"},                                               \
		{.name = "max",                                                                                        \
		 .type = KML_PARAM_SIZE,                                                                               \
		 .offset = (at) + offsetof(struct sizes_config, max),                                                  \
		 .default_text = "auto",                                                                               \
		 .minimum = 1,                                                                                         \
		 .maximum = SIZES_MAX_BYTES,                                                                           \
		 .help = "sizes: the largest; bimodal: the large one; auto: uniform 2 mean - min, exponential, "       \
			 "geometric and empirical no bound"},                                                          \
		{.name = "mean",                                                                                       \
		 .type = KML_PARAM_REAL,                                                                               \
		 .offset = (at) + offsetof(struct sizes_config, mean),                                                 \
		 .default_text = (default_mean),                                                                       \
		 .minimum = 1,                                                                                         \
		 .maximum = SIZES_MAX_BYTES,                                                                           \
		 .help = "sizes: exponential, geometric: mean before truncation; uniform: where no max is given"},     \
		{.name = "alpha",                                                                                      \
		 .type = KML_PARAM_REAL,                                                                               \
		 .offset = (at) + offsetof(struct sizes_config, alpha),                                                \
		 .default_text = "1",                                                                                  \
		 .minimum = 0,                                                                                         \
		 .maximum = 100,                                                                                       \
		 .help = "sizes: power: exponent, at least 0.001"},                                                    \
		{.name = "share",                                                                                      \
		 .type = KML_PARAM_REAL,                                                                               \
		 .offset = (at) + offsetof(struct sizes_config, share),                                                \
		 .default_text = "0.1",                                                                                \
		 .minimum = 0,                                                                                         \
		 .maximum = 1,                                                                                         \
		 .help = "sizes: bimodal: of requests that are large"},                                                \
	{                                                                                                              \
		.name = "file", .type = KML_PARAM_TEXT, .offset = (at) + offsetof(struct sizes_config, file),          \
		.default_text = "", .help = "sizes: empirical: a text of lines \"size weight\", or a .kmt"             \
	}

/* A distribution that is ready to be drawn from. Read only; owned by sizes_prepare and sizes_free. */
struct sizes {
	enum sizes_kind kind;
	uint64_t min, max; /* inclusive */
	double count;      /* max - min + 1 */
	double rate;       /* exponential, geometric: P(X > k) = e^(-rate k) */
	double inside;     /* exponential, geometric, power: probability of min to max, given at least min */
	double alpha, share;
	struct histogram histogram; /* empirical: the sizes from min to max */
	double *cumulative;         /* empirical: P(X <= size) of each */
};

/*
 * false and *error naming the parameter and its range, after `workload`, nothing to free: min or max beyond 1..2^46,
 * max < min, a mean that does not lie from min to max, NaN, alpha beyond 0.001..100, share beyond 0..1, a
 * histogram that cannot be read or has nothing from min to max.
 */
bool sizes_prepare(struct sizes *sizes, const struct sizes_config *config, const char *workload,
		   struct kml_error *error);
void sizes_free(struct sizes *sizes);

/* The size of a uniform number in [0, 1): the draw is sizes_quantile(sizes, generate_uniform(generate)). */
uint64_t sizes_quantile(const struct sizes *sizes, double uniform);
/* P(X <= size), exact up to rounding. */
double sizes_cumulative(const struct sizes *sizes, uint64_t size);
/* E[X], of what is drawn: truncated and rounded. */
double sizes_mean(const struct sizes *sizes);

#endif
