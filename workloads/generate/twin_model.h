/*
 * twin_model.h - a few kilobytes in place of a trace: what was asked for, how much of it, how long it lived. No
 * address, call site, command or time stamp is in it.
 *
 * A *kind* is what is asked for in one way: the objects of a cache, pages of an order, kmallocs of a range of sizes
 * without a cache. Its time is cut into phases at change points; for each phase the model has how many were born in it,
 * and how many were alive at its end. Who dies, given how many, is told by lifetimes: quantiles of their
 * logarithm, estimated with those that never died counted as what they are (Kaplan & Meier, Nonparametric estimation
 * from incomplete observations, JASA 53, 1958), and by how often neighbours in birth die together.
 *
 * The file is JSON, a line for each cache and its kinds; workloads/README.md describes every field.
 */
#ifndef KMEMLAB_TWIN_MODEL_H
#define KMEMLAB_TWIN_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "traces/kmt/kmt.h"

enum {
	TWIN_VERSION = 1,
	TWIN_QUANTILES = 9,
	TWIN_TICKS = 1024, /* phases end at multiples of duration / TWIN_TICKS */
	TWIN_SIZES_MAX = 12,
	TWIN_CPUS_MAX = 64,
	TWIN_KINDS_MAX = 4096,
};
#define TWIN_COUNT_MAX (1u << 28) /* of births in a phase, of live objects */
#define TWIN_TIME_MAX_NS (1ull << 53)

/* Lifetimes in ns; infinite where so many never died. Ascending. */
struct twin_life {
	bool is_known; /* of a kind of which none was born, or none was there at the start, there is nothing to tell */
	double quantile_ns[TWIN_QUANTILES];
};

/* Weights of a size among those there at the start, and those born to a short and to a long life. */
enum twin_stage { TWIN_WARM, TWIN_SHORT, TWIN_LONG, TWIN_STAGES };
struct twin_size {
	uint64_t size_bytes;
	uint64_t weight[TWIN_STAGES];
};

struct twin_kind {
	int32_t cache; /* index in the model; -1: none */
	bool is_pages; /* 2^order pages */
	uint8_t order;
	uint16_t flags; /* enum kml_flag and kmt_flag of the allocation, without WARM */
	uint32_t phases;
	uint16_t *until;                  /* ticks at which each phase ends, ascending; the last one TWIN_TICKS */
	uint64_t *born;                   /* by phase */
	uint64_t *live;                   /* at the start, and at the end of each phase */
	struct twin_life life, warm_life; /* from birth; of those there at the start from then on */
	double together;                  /* share of long lives that end with the one born before */
	double cross;                     /* share of frees on another cpu than the birth's */
	double cpu_share[TWIN_CPUS_MAX];
	struct twin_size sizes[TWIN_SIZES_MAX];
	uint32_t size_count; /* 0: all of the cache's own size, or pages */
};

struct twin_model {
	uint32_t page_bytes, cpu_count;
	uint64_t duration_ns;
	uint64_t long_ns;         /* a life of this or more is long */
	struct kmt_cache *caches; /* names owned */
	uint32_t cache_count;
	struct twin_kind *kinds;
	uint32_t kind_count;
};

/* false and *error naming the field and the mend. The caller frees what is there, whatever is returned. */
bool twin_model_read(const char *path, struct twin_model *model, struct kml_error *error);
bool twin_model_parse(const char *text, const char *name, struct twin_model *model, struct kml_error *error);
/* false without memory. The same model is the same bytes. */
bool twin_model_write(const struct twin_model *model, FILE *stream);
void twin_model_free(struct twin_model *model);

/* The shares of lives that are over at each quantile. Closer at the end: a few long lives weigh as much as all others.
 */
extern const double twin_shares[TWIN_QUANTILES];
/* A lifetime: that of which a share of `uniform` in [0, 1) is over by then; infinite beyond the last death. */
double twin_life_at(const struct twin_life *life, double uniform);

#endif
