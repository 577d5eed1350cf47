/*
 * replay.h - the runner: feeds a trace to one stack and samples metrics as it goes.
 *
 * Cost: O(1) per event and per sample; no hashing and no allocation on the way (ids are dense). The definitions of
 * the metrics are in workloads/README.md.
 */
#ifndef KMEMLAB_REPLAY_H
#define KMEMLAB_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/registry.h"
#include "traces/kmt/kmt.h"

/* Which events a replay feeds. */
enum replay_level {
	REPLAY_ALL,     /* objects and page demand; the slab allocator's own pages are left out (the stack's slabs take
			   them) */
	REPLAY_OBJECTS, /* objects only */
	REPLAY_PAGES,   /* what the kernel's page allocator saw: page demand and slab pages; no objects */
	REPLAY_LEVELS
};
const char *replay_level_name(enum replay_level level); /* "all", "objects", "pages" */
/* false when the text names no level. */
bool replay_level_parse(const char *text, enum replay_level *level);

struct replay_options {
	enum replay_level level;
	uint64_t
		arena_bytes; /* 0: auto, twice the peak of granted bytes that the recorded kernel shows at this level */
	bool check; /* shadow model after every event, deep checks at every sample; at the end of the trace all that
		       is live is freed, and the arena must be whole again */
	uint32_t check_every; /* with check: deep checks after every so many events too; 0: only at samples */
	uint32_t samples;     /* evenly spaced in events; 0: only the end */
	bool samples_in_time; /* evenly spaced in time instead: sample i of n when the clock has come to i/n of the
				 trace's duration, after the events of that instant; n of them, if nothing stops it */
	uint64_t seed;
	bool stop_at_failure;       /* for the bisection of the smallest arena */
	uint64_t stop_after_events; /* of the trace; 0 or beyond its end: all of it */
	bool add_pages; /* the page allocator begins empty and gets its memory as the recorded kernel's did, where it
			   did: the arena is the recorded machine, arena_bytes is not read */
};

/* One moment. Every row of samples.csv. */
struct replay_sample {
	uint64_t event, time_ns;
	uint64_t live_blocks;
	uint64_t requested_bytes;
	struct kml_stats stats; /* waste_bytes complete: requested + sum = held */
};

struct replay_result {
	/* Work done. */
	uint64_t events, allocations, frees; /* fed at this level; slab pages told apart are not among them */
	uint64_t failures[KML_STATUS_COUNT]; /* of alloc, by reason */
	uint64_t skipped_frees;              /* of ids whose alloc failed */
	uint64_t dead_frees;        /* of ids that are not live, or that an allocator without reuse cannot judge */
	uint64_t refused_frees;     /* misuse in the trace (a wrong address on purpose), refused as it must be */
	uint64_t unserved_closes;   /* cache_close refused: live objects */
	uint64_t refused_page_adds; /* memory that the page allocator could not take */
	/* Over allocations of objects in the recording (warm ones left out): perf kmem's fragmentation is 1 - ratio. */
	uint64_t perf_requested_bytes, perf_allocated_bytes;
	uint64_t arena_bytes;
	/* Peaks, each with its own moment, and sums over events for means. */
	uint64_t peak_requested_bytes, peak_granted_bytes, peak_held_bytes, peak_metadata_bytes;
	struct replay_sample at_peak_requested, at_peak_held, at_end;
	double mean_requested_bytes, mean_granted_bytes, mean_held_bytes; /* over events */
	double mean_held_over_requested;
	uint64_t elapsed_ns; /* of the events alone, samples excluded; never in a CSV that must be reproducible */
	bool check_failed;
	struct kml_error check_error; /* names the event */
};

/* Allocations that failed, for whatever reason. */
uint64_t replay_failures(const struct replay_result *result);

/* Called at each sample, with the living stack and its arena to look at (free areas, cells). */
typedef bool replay_observer(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
			     const struct kml_arena *arena);
/* Called for each snapshot in the trace as it passes, with the stack as it stands then: after the warm start, and at
 * the time of the snapshot. */
typedef bool replay_snapshot_observer(void *context, const struct kmt_snapshot *snapshot, const struct kml_stack *stack,
				      const struct kml_arena *arena);

/*
 * Replay from the start of the reader. false and *error when the trace is damaged or the stack cannot be created; a
 * failed allocation is a result, not an error.
 */
bool replay_run(struct kmt_reader *reader, const struct kml_spec *spec, const struct replay_options *options,
		replay_observer *observer, replay_snapshot_observer *snapshot_observer, void *context,
		struct replay_result *result, struct kml_error *error);

/*
 * Whether the page allocator may begin empty and get its memory as the recorded kernel's did (options.add_pages): the
 * stream tells how, the lowest layer can, all levels are fed, and no other arena is asked for.
 */
bool replay_may_add_pages(struct kmt_reader *reader, const struct kml_spec *spec, const struct replay_options *options);

/*
 * The smallest arena, a multiple of the page size, in which the stack finishes the trace without a failed allocation,
 * found by bisection to one page, or to 1/1024 of the requested peak where that is more. 0 when no arena up to 64 times
 * the requested peak does.
 */
bool replay_smallest_arena(struct kmt_reader *reader, const struct kml_spec *spec, const struct replay_options *options,
			   uint64_t *arena_bytes, struct kml_error *error);

#endif
