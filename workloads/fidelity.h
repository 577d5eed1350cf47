/*
 * fidelity.h - does a stack end where the kernel ended? Slabs of each cache, predicted and actual, at every snapshot.
 *
 * A trace is replayed; where a snapshot of /proc/slabinfo stands in the stream, the stack's slabs (cache_stats) are
 * held against the kernel's (num_slabs * pagesperslab), cache by cache, in pages. Over caches and the snapshots after
 * the first:
 *
 *     WMAPE = sum |predicted - actual| / sum actual
 *     skill = 1 - sum |predicted - actual| / sum |actual - actual at the first snapshot|
 *
 * Skill 0 is the forecast that nothing changes, 1 is perfect; where nothing moved it has no value.
 *
 * A stream without slabinfo (SLOB has none) is judged by one number a snapshot: the pages in a walk over every slab
 * page (gt_slabs), or, where it begins at boot, the pages that its events show the slab allocator to hold.
 *
 * Cost: two passes over the trace; at each snapshot O(caches log caches).
 */
#ifndef KMEMLAB_FIDELITY_H
#define KMEMLAB_FIDELITY_H

#include <stdbool.h>
#include <stdint.h>

#include "workloads/names.h"
#include "workloads/orders.h"
#include "workloads/replay.h"

struct fidelity_options {
	struct replay_options replay;
	bool with_recorder; /* judge the caches of the recording itself too */
	/* Called now and then with the number of events passed; may be NULL. */
	void (*progress)(void *context, uint64_t events);
	void *context;
};

/* What is compared. */
enum fidelity_scale {
	FIDELITY_SLABINFO, /* slabs of each cache against slabinfo */
	FIDELITY_WALK,     /* all slab pages against a walk of the kernel's */
	FIDELITY_EVENTS,   /* all slab pages against those that the events show held */
};

/* One cache at one snapshot. */
struct fidelity_point {
	uint64_t predicted_pages, actual_pages;
	uint64_t predicted_slabs, actual_slabs;
	uint64_t predicted_live, predicted_active; /* objects: granted to callers, and as slabinfo would count */
	uint64_t active_objects, total_objects;    /* the kernel's */
};

/* Sums over judged points, in pages. */
struct fidelity_sums {
	uint64_t error, actual, moved;
};

/* What the trace tells of one cache beside its slabs. */
struct fidelity_evidence {
	uint64_t events;         /* allocations and frees of its objects in the recording */
	uint64_t implicit_frees; /* of these, frees that left no trace */
	uint64_t warm, unseen;   /* live at the start; of these, known by their count alone */
	uint64_t odd_slabs;      /* slabs taken in another order than the cache's own */
};

struct fidelity_cache {
	const char *name; /* of struct fidelity, names */
	bool is_recorder; /* belongs to the recording itself: left out of sums unless asked for */
	bool reclaimable;
	bool in_slabinfo; /* of some snapshot */
	bool in_stack;    /* the stack has had figures under this name */
	/* As slabinfo and as the stack has them; 0: never told. */
	uint32_t objects_per_slab, pages_per_slab, predicted_objects_per_slab, predicted_pages_per_slab;
	uint64_t slot_bytes;
	struct fidelity_evidence evidence;
	struct fidelity_sums sums;
	int64_t worst_error_pages; /* predicted - actual where it is farthest off */
	uint32_t worst_moment;
	char reason[256]; /* why it is off, by the evidence; "" where it is not */
};

struct fidelity_moment {
	char *label;
	uint64_t time_ns, event;
	bool has_slabs; /* a snapshot of slabs stands here: points are filled */
	bool judged;    /* and it is not the first such */
	struct fidelity_point *points;
	uint32_t point_count; /* of the first caches; later ones were not there yet */
	struct fidelity_sums sums;
	uint64_t predicted_pages;
	uint64_t recorder_pages; /* estimated share of the recording itself, where slabs are not told apart by cache */
	uint64_t large_pages;    /* live large kmallocs of the trace: meminfo counts them as slab */

	/* Kilobytes; has_meminfo false: none here. Predicted as meminfo would say. */
	bool has_meminfo;
	uint64_t slab_kb, reclaimable_kb, unreclaimable_kb, kernel_stack_kb;
	uint64_t predicted_slab_kb, predicted_reclaimable_kb, predicted_unreclaimable_kb;

	bool has_orders; /* the page layer got its memory as the kernel's did, and buddyinfo stands here */
	struct free_orders orders, predicted_orders;
};

struct fidelity {
	enum fidelity_scale scale;
	uint32_t page_bytes;
	struct fidelity_cache *caches;
	uint32_t cache_count, cache_capacity;
	struct names names; /* of the caches, by index */
	struct fidelity_moment *moments;
	uint32_t moment_count, moment_capacity;
	uint32_t judged_moments;
	struct fidelity_sums sums;
	uint64_t unseen_large_pages; /* large kmallocs of before the recording, from the first meminfo */
	struct replay_result result;
};

/*
 * false and *error: the trace is damaged, has no two snapshots of slabs, or the stack keeps no figures of caches; or
 * result.check_failed, an allocator broke a promise. The caller frees what was filled, whatever is returned.
 */
bool fidelity_run(struct kmt_reader *reader, const struct kml_spec *spec, const struct fidelity_options *options,
		  struct fidelity *fidelity, struct kml_error *error);
void fidelity_free(struct fidelity *fidelity);

/* The cache's point at a moment; zeros where the cache was not there yet. */
struct fidelity_point fidelity_point(const struct fidelity_moment *moment, uint32_t cache);

/* NaN where the denominator is 0. */
double fidelity_wmape(const struct fidelity_sums *sums);
double fidelity_skill(const struct fidelity_sums *sums);

/* Indices of the caches that are off, farthest first (sum of the errors), at most `count`; how many there are. */
uint32_t fidelity_worst(const struct fidelity *fidelity, uint32_t *worst, uint32_t count);

#endif
