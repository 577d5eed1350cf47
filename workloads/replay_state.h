/*
 * replay_state.h - a replay on its way, for the files that it is made of: replay.c (requests, books, samples) and
 * replay_kernel.c (all that the recorded kernel did besides: caches, shrinks, drains, reaps, memory at boot, what was
 * there at the start, time) and replay_program.c (what only programs written for a test do: misuse, exhaustion; the end
 * of a checked replay).
 */
#ifndef KMEMLAB_REPLAY_STATE_H
#define KMEMLAB_REPLAY_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/check/shadow.h"
#include "workloads/replay.h"
#include "workloads/scan.h"
#include "workloads/tape.h"

/*
 * What is known of an id. requested 0: dead; requested > 0 and granted 0: its alloc failed; requested 0 and granted >
 * 0: a page of the recorded slab allocator. Half a cache line. A dead id keeps its address: RCU may give the object
 * back later.
 */
struct slot {
	uint64_t address;
	uint64_t recorded;
	uint64_t requested_bytes : 46;
	uint64_t is_page : 1;
	uint64_t is_freed : 1; /* by a free of its object, and RCU has not given it back since */
	uint64_t cache : 16;   /* of its alloc: frees of merged caches name another */
	uint64_t granted_bytes : 46;
	uint64_t flags : 16;    /* of its request: those of its free */
	uint64_t is_orphan : 1; /* its cache was closed while it lived: a merged one stays for its other users */
};

/* The cache that a free of it names. The index of an orphan's may be another cache by now. */
static inline uint32_t replay_named_cache(const struct slot *slot)
{
	return slot->cache == KMT_NO_CACHE || slot->is_orphan ? KML_NO_CACHE : slot->cache;
}

/* Memory taken by KMT_EXHAUST: it has no ids. */
struct replay_grant {
	uint64_t address, requested_bytes, granted_bytes;
	uint16_t cpu, flags;
};
struct replay_grants {
	struct replay_grant *grants; /* owned */
	uint32_t count, room;
};

struct replay {
	struct kmt_reader *reader;
	const struct replay_tape *tape; /* events to feed instead of the reader's, or NULL */
	const struct replay_options *options;
	const struct kmt_cache *caches;
	struct replay_result *result;

	struct kml_arena *arena;
	struct kml_stack stack;
	struct kml_heap *heap; /* the top of the stack */
	const struct kml_allocator *allocator;
	struct kml_shadow *shadow; /* with --check */
	uint32_t page_bytes;
	bool bare; /* no figures: only what fails */
	bool stop;
	bool recorded;          /* KML_TRAIT_RECORDED */
	bool keeps_blocks;      /* not KML_TRAIT_NO_REUSE */
	bool takes_objects;     /* objects' rounding is class rounding, not the page layer's */
	uint16_t request_flags; /* of enum kml_flag, those that this allocator is given */
	bool has_settled;       /* a start in mid-life is over */
	uint32_t told_ops;      /* bits of enum kmt_op: events that only this stack wants */

	uint64_t *surplus; /* by cache: warm objects without an address still to be left out; NULL: none */

	uint64_t tick_ns[KML_STACK_LAYERS]; /* when each layer wants to be told the time */
	uint64_t next_tick_ns;              /* the earliest of them */

	struct slot *slots;
	struct replay_grants exhausted;
	bool *cache_open; /* by cache; NULL at the level of pages */

	uint64_t position; /* events of the trace passed */
	uint64_t time_ns;
	uint64_t live_blocks;
	uint64_t requested_bytes[2], granted_bytes[2]; /* of objects and of pages */
	struct kml_stats stats;                        /* after the last event */
	unsigned __int128 requested_sum, granted_sum, held_sum;
	double ratio_sum;
	uint64_t ratio_count, mean_count; /* events after the warm start */

	replay_observer *observer;
	replay_snapshot_observer *snapshot_observer;
	void *context;
	uint64_t next_sample;    /* position of the next sample; UINT64_MAX: none, or it is planned in time */
	uint64_t next_sample_ns; /* or its time; UINT64_MAX: none, or it is planned in events */
	uint64_t next_check;     /* position of the next deep check between samples */
	uint64_t samples_taken;
};

/* Does this stack want events of this kind to be told? */
static inline bool replay_tells(const struct replay *replay, const struct kmt_event *event)
{
	return replay->told_ops >> event->op & 1;
}

/* The slab allocator's own pages, which no level but that of pages feeds: the recorded kernel holds them. */
static inline bool replay_is_recorded_slab_page(const struct replay *replay, const struct kmt_event *event)
{
	return replay->recorded && (event->flags & KMT_SLAB_PAGE);
}

/* A broken promise of the allocator: the replay ends here, and the event (or, of NULL, the position) is named. */
void replay_fail(struct replay *replay, const struct kmt_event *event, const char *format, ...)
	__attribute__((format(printf, 3, 4), noinline));
/* A live block that its allocator would not free; an event of NULL: at the end. */
void replay_fail_free(struct replay *replay, const struct kmt_event *event, uint64_t granted_bytes, uint64_t address,
		      enum kml_status status);
/* Through the shadow where there is one. */
struct kml_grant replay_call_alloc(struct replay *replay, const struct kml_request *request);
enum kml_status replay_call_free(struct replay *replay, const struct kml_release *release);
/* The books after the free of a live id. */
void replay_count_free(struct replay *replay, struct slot *slot);

/* replay_program.c */
void replay_feed_misuse(struct replay *replay, const struct kmt_event *event);
void replay_feed_exhaust(struct replay *replay, const struct kmt_event *event);
/* With a shadow: free all that is live, shrink; the arena must be whole again. */
void replay_check_end(struct replay *replay);

/* A page of the recorded slab allocator goes back; RCU gives back a freed object, where the stack wants to be told. */
void replay_free_slab_page(struct replay *replay, struct slot *slot);
void replay_end_grace_period(struct replay *replay, struct slot *slot);

/* Events that ask for nothing and give nothing back. */
void replay_feed_other(struct replay *replay, const struct kmt_event *event);
/* A cache of the trace's table, with so many slabs at the start. */
void replay_open_cache(struct replay *replay, uint16_t index, uint64_t slabs_at_start);

/* The start in mid-life: first the free slots, before anything that was live. False and *error without memory. */
bool replay_give_seeds(struct replay *replay, struct kml_error *error);
/* Last, before the first event of the recording; once. */
void replay_settle(struct replay *replay);

/* The trace's clock, for the layers that asked: at 0, then every timer until time_ns at its own time. */
void replay_start_clock(struct replay *replay);
void replay_tick_until(struct replay *replay, uint64_t time_ns);

#endif
