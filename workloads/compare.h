/*
 * compare.h - how near are two workloads on the same stack? A trace and its twin, or a capture and the workload that
 * was made of less than it.
 *
 * Both are replayed in arenas of the same size and sampled at equal fractions of their time (not of their events, of
 * which they have different numbers). For every curve, requested or held or a term of the waste, and for every cache
 * that a stack names, the bytes of `a` are held against those of `b` at the same fraction:
 *
 *     WAPE = sum |a - b| / sum |a|     over samples
 *
 * Cost: two passes over each trace; at each sample O(caches log caches).
 */
#ifndef KMEMLAB_COMPARE_H
#define KMEMLAB_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "workloads/names.h"
#include "workloads/replay.h"

enum compare_side { COMPARE_A, COMPARE_B, COMPARE_SIDES };

/* Curves of the whole stack. After WASTE, which is held - requested, its terms in the order of enum kml_waste. */
enum compare_curve {
	COMPARE_REQUESTED,
	COMPARE_GRANTED,
	COMPARE_HELD,
	COMPARE_WASTE,
	COMPARE_WASTE_TERMS,
	COMPARE_CURVES = COMPARE_WASTE_TERMS + KML_WASTE_KINDS
};
const char *compare_curve_name(enum compare_curve curve); /* "requested", ..., "waste", "waste_class_rounding", ... */

/* Curves of one cache: bytes of its slabs; of these, the slots granted; and the difference, below 0 where the strategy
 * does not tell slabs by cache (SLOB). */
enum compare_cache_curve { COMPARE_SLABS, COMPARE_LIVE, COMPARE_SLACK, COMPARE_CACHE_CURVES };
const char *compare_cache_curve_name(enum compare_cache_curve curve); /* "slabs", "live", "slack" */

/* How far b is from a along one curve, over all samples. */
struct compare_distance {
	uint64_t error_bytes; /* sum |b - a| */
	uint64_t base_bytes;  /* sum |a| */
	int64_t moved_bytes;  /* sum (b - a) */
	int64_t most_bytes;   /* b - a where it is farthest off; the first such sample */
	uint32_t most_sample;
	uint64_t peak_bytes[COMPARE_SIDES]; /* the highest sample of each */
};

struct compare_sample {
	uint64_t event, time_ns;
	uint64_t bytes[COMPARE_CURVES];
	uint64_t (*caches)[COMPARE_SLACK]; /* slabs and live, by cache; NULL: none yet */
	uint32_t cache_count;              /* of the first caches; later ones were not there yet */
};

struct comparison {
	uint32_t samples;
	struct compare_sample *sample[COMPARE_SIDES];
	struct replay_result result[COMPARE_SIDES]; /* peaks after every event, failures */
	struct compare_distance curves[COMPARE_CURVES];
	struct names caches;                                    /* of both stacks */
	struct compare_distance (*cache)[COMPARE_CACHE_CURVES]; /* by cache */
	struct compare_distance by_cache[COMPARE_CACHE_CURVES]; /* errors and bases of all caches added up */
};

/*
 * Replay both, each from its start, with options.samples samples in time (at least 1). An arena of 0 bytes is the
 * larger of the two automatic ones. false and *error: a trace is damaged, the stack cannot be created, or
 * result[].check_failed, an allocator broke a promise. The caller frees what was filled, whatever is returned.
 */
bool compare_run(struct kmt_reader *const readers[COMPARE_SIDES], const struct kml_spec *spec,
		 const struct replay_options *options, struct comparison *comparison, struct kml_error *error);
void compare_free(struct comparison *comparison);

/* Bytes of a cache at a sample. */
int64_t compare_cache_bytes(const struct compare_sample *sample, uint32_t cache, enum compare_cache_curve curve);

/* NaN where nothing is on either side; infinite where a has nothing and b something. */
double compare_wape(const struct compare_distance *distance);

/* Indices of the caches that are off, by the errors of their slabs and of their live bytes, farthest first; at most
 * `count`; how many there are. */
uint32_t compare_worst(const struct comparison *comparison, uint32_t *worst, uint32_t count);

#endif
