/*
 * kmt.h - the .kmt trace: one event stream for recorded kernels, generated workloads and fuzzer programs.
 *
 * The format is specified in traces/README.md. A file is read as a stream in constant memory, block by block; every
 * block carries a checksum. A damaged or hostile file gives an error with the block number, never a crash.
 */
#ifndef KMEMLAB_KMT_H
#define KMEMLAB_KMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"

#define KMT_NO_CACHE UINT16_MAX
#define KMT_NO_ADDRESS UINT64_MAX
#define KMT_CACHES_MAX 65535u
#define KMT_OBJECTS_MAX (1u << 30)
#define KMT_CPUS_MAX 4096u
#define KMT_BLOCK_EVENTS 16384u /* events in a block at most */

enum kmt_op {
	KMT_ALLOC,      /* an object: cache, or KML_KMALLOC with or without a cache */
	KMT_FREE,       /* of an object */
	KMT_PAGE_ALLOC, /* 2^order pages */
	KMT_PAGE_FREE,
	KMT_PAGE_ADD,    /* memory handed to the page allocator at boot: address, order; no object */
	KMT_CACHE_OPEN,  /* cache; without such an event a cache is open from the start */
	KMT_CACHE_CLOSE, /* cache */
	KMT_SHRINK,      /* give back everything cached, of one cache or (KMT_NO_CACHE) of all */
	KMT_DRAIN,       /* of one cpu */
	KMT_REAP,        /* a SLAB drain the kernel performed: cache, cpu; size_bytes = objects, order = enum of
			    traces/README.md */
	KMT_MARK,        /* a phase begins; its text is a snapshot of kind KMT_SNAPSHOT_MARK at the same place */
	KMT_RCU_FREE,    /* a type-safe-by-RCU object is really given back (its KMT_FREE came before) */
	KMT_MISUSE,      /* a free that must be refused: object, alive or not; order = enum kmt_misuse */
	KMT_EXHAUST,     /* order 1: all memory that is left is taken, as pages; 0: it is given back; no object */
	KMT_OP_COUNT     /* new ones come last: files count those they know */
};
const char *kmt_op_name(enum kmt_op op); /* "alloc", "page_free", ... */
bool kmt_op_has_object(uint8_t op);      /* whether an event's `object` means something */

/* What is wrong with a KMT_MISUSE; in its `order`. */
enum kmt_misuse {
	KMT_MISUSE_DOUBLE,     /* a dead object is freed where it last was; of a live one nothing is done */
	KMT_MISUSE_INTERIOR,   /* a live object is freed size_bytes behind its start, inside it */
	KMT_MISUSE_FOREIGN,    /* an address size_bytes beyond all memory */
	KMT_MISUSE_MISALIGNED, /* a live object is freed 1 + size_bytes behind its start, at an odd address inside it */
	KMT_MISUSE_CACHE,      /* a live object is freed into `cache`, which is not its own */
	KMT_MISUSE_KINDS
};
const char *kmt_misuse_name(enum kmt_misuse misuse); /* "double", "interior", ... */

/* What a KMT_REAP was; in its `order`. */
enum kmt_reap {
	KMT_REAP_BEGIN,    /* the periodic reaper starts; no cache */
	KMT_REAP_END,      /* and is through */
	KMT_REAP_CPU,      /* objects of a cpu's array given back to the slabs */
	KMT_REAP_SHARED,   /* objects of the shared array given back to the slabs */
	KMT_REAP_FREELIST, /* empty slabs given back to the page allocator: size_bytes = slabs */
	KMT_REAP_TUNE,     /* the arrays were sized: size_bytes = limit, granted_bytes = batchcount */
	KMT_REAP_KINDS
};

/* Event flags: the low byte is enum kml_flag of allocator.h. */
enum kmt_flag {
	KMT_SLAB_PAGE = 1u << 8,  /* PAGE_ALLOC/FREE of the slab allocator's own: told apart from page demand */
	KMT_WARM = 1u << 9,       /* live before the capture began */
	KMT_IMPLICIT = 1u << 10,  /* a free that the kernel did not trace, proved by the reuse of its address */
	KMT_LARGE = 1u << 11,     /* kmalloc beyond the size classes: pages; with the object, not with the page event */
	KMT_ACCOUNTED = 1u << 12, /* charged to a memory cgroup */
	KMT_VMALLOC = 1u << 13,   /* an object of vmalloc: page by page */
};

struct kmt_event {
	uint64_t time_ns; /* since origin.start_ns; never decreases */
	uint64_t address; /* physical address the kernel chose; KMT_NO_ADDRESS when not recorded; frees: as the alloc or
			     NO */
	uint64_t size_bytes;    /* requested (pages: page_bytes << order) */
	uint64_t granted_bytes; /* what the kernel granted; 0 when not recorded */
	/*
	 * Dense id, shared by objects and pages, reused after its free (the id freed last first: then it costs nothing
	 * in the file); below totals.objects, and below 65,536 plus the number of events before. 0 where the op has no
	 * object.
	 */
	uint32_t object;
	uint16_t cache; /* index in the cache table, or KMT_NO_CACHE */
	uint16_t cpu;   /* below origin.cpu_count */
	uint16_t flags; /* enum kml_flag and enum kmt_flag; unknown bits are refused */
	uint8_t op;
	uint8_t order;      /* page events */
	uint8_t align_log2; /* 0: no requirement */
};
/* Equal in every field. */
static inline bool kmt_same_event(const struct kmt_event *a, const struct kmt_event *b)
{
	return a->time_ns == b->time_ns && a->address == b->address && a->size_bytes == b->size_bytes &&
	       a->granted_bytes == b->granted_bytes && a->object == b->object && a->cache == b->cache &&
	       a->cpu == b->cpu && a->flags == b->flags && a->op == b->op && a->order == b->order &&
	       a->align_log2 == b->align_log2;
}

/* Where a trace came from. Texts are never NULL; "" when unknown. Owned by the reader, or by the writer's caller. */
struct kmt_origin {
	const char *source;       /* "ftrace text", "perf.data", "capture", "generate", ... */
	const char *kernel;       /* "Linux 6.18.44 x86_64" */
	const char *command;      /* what ran meanwhile */
	const char *clock;        /* "mono", "boot", ... */
	const char *note;         /* how it was made, in a sentence */
	uint32_t cpu_count;       /* 1..KMT_CPUS_MAX */
	uint32_t page_bytes;      /* a power of two, 4096..65536 */
	uint64_t start_ns;        /* of the clock, at the first event */
	uint64_t direct_map_base; /* virtual address of physical 0; 0 when it could not be known */
	bool at_boot;             /* the stream begins with the allocators themselves */
	uint64_t arena_bytes;     /* that it was made for (an adversary's); 0: none in particular */
};

struct kmt_cache {
	const char *name;
	uint64_t object_bytes;     /* as requested from the cache */
	uint64_t slot_bytes;       /* object and its padding; 0 unknown */
	uint64_t align_bytes;      /* 0 unknown */
	uint32_t objects_per_slab; /* 0 unknown, as reported by the kernel */
	uint32_t pages_per_slab;
	uint64_t slabs_at_start;   /* of the first slabinfo; 0 without one */
	uint64_t objects_at_start; /* active objects of the first slabinfo */
	uint32_t flags;            /* enum kmt_cache_flag */
};
enum kmt_cache_flag {
	KMT_CACHE_CONSTRUCTOR = 1u << 0,
	KMT_CACHE_TYPESAFE_BY_RCU = 1u << 1,
	KMT_CACHE_RECLAIMABLE = 1u << 2,
	KMT_CACHE_KMALLOC = 1u << 3, /* a size class of kmalloc */
};

/* Quirks of real traces: each is handled by rule and counted. */
enum kmt_quirk {
	KMT_QUIRK_LOST,               /* events the kernel reported lost */
	KMT_QUIRK_NULL_FREE,          /* kfree(NULL): dropped */
	KMT_QUIRK_UNMATCHED_FREE,     /* frees of objects without allocation in the trace: warm start */
	KMT_QUIRK_IMPLICIT_FREE,      /* frees proved by the reuse of an address */
	KMT_QUIRK_WARM_UNSEEN,        /* warm objects known only from the first slabinfo count */
	KMT_QUIRK_CACHE_BY_POINTER,   /* frees whose cache was found by the pointer */
	KMT_QUIRK_CACHE_BY_CALL_SITE, /* frees whose cache was found by the call site */
	KMT_QUIRK_CACHE_UNKNOWN,      /* frees whose cache stayed unknown */
	KMT_QUIRK_CACHE_MISMATCH,     /* frees that named another cache than the allocation (merged caches) */
	KMT_QUIRK_SLAB_PAGES,         /* page events told apart as the slab allocator's own */
	KMT_QUIRK_LARGE_PAGES,        /* page events left out because a large kmalloc event stands for them */
	KMT_QUIRK_BATCHED_FREE,       /* mm_page_free_batched: doubles of mm_page_free, dropped */
	KMT_QUIRK_OUT_OF_ORDER,       /* events with a time stamp before their predecessor's: sorted */
	KMT_QUIRK_UNKNOWN_EVENT,      /* lines or records that are no kmem event: skipped */
	KMT_QUIRK_MALFORMED,          /* kmem events without a field they need: skipped */
	KMT_QUIRK_SPLIT_PAGES, /* page frees in another block size than allocated: rest of the block allocated again */
	KMT_QUIRK_UNTRACED_ALLOC, /* frees of what was free already: the allocation between was not traced; dropped */
	KMT_QUIRK_KFREE_OF_CACHE, /* kfrees of objects of a kmem cache: they go back to that cache */
	KMT_QUIRK_ACCOUNTED,      /* allocations charged to a memory cgroup: from the caches of all since 5.9 */
	KMT_QUIRK_FAILED_ALLOC,   /* allocations of objects that gave no memory: dropped */
	KMT_QUIRK_COUNT           /* new ones come last: files count those they know */
};
const char *kmt_quirk_name(enum kmt_quirk quirk);
const char *kmt_quirk_help(enum kmt_quirk quirk); /* one line for `info` */

/* Known at the end of writing; kept in the footer. */
struct kmt_totals {
	uint64_t events; /* all, warm ones included */
	uint64_t op_events[KMT_OP_COUNT];
	uint64_t warm_events;
	uint64_t objects; /* ids are below this */
	uint64_t duration_ns;
	uint64_t snapshots;
	uint64_t top_address; /* one past the highest recorded byte */
	uint64_t quirks[KMT_QUIRK_COUNT];
	/* perf kmem stat's sums over recorded allocation events of objects (not warm, not implied). */
	uint64_t perf_requested_bytes, perf_allocated_bytes, perf_freed_bytes;
	uint64_t perf_allocations, perf_cross_cpu;
};

enum kmt_snapshot_kind {
	KMT_SNAPSHOT_SLABINFO,
	KMT_SNAPSHOT_BUDDYINFO,
	KMT_SNAPSHOT_MEMINFO,
	KMT_SNAPSHOT_VMSTAT,
	KMT_SNAPSHOT_ZONEINFO,
	KMT_SNAPSHOT_PAGETYPEINFO,
	KMT_SNAPSHOT_EXTFRAG_INDEX,
	KMT_SNAPSHOT_UNUSABLE_INDEX,
	KMT_SNAPSHOT_SLABS, /* gt_slabs: a walk over every slab page */
	KMT_SNAPSHOT_MARK,  /* text of a KMT_MARK */
	KMT_SNAPSHOT_KINDS
};
const char *kmt_snapshot_name(enum kmt_snapshot_kind kind); /* "slabinfo": also the file suffix */

struct kmt_snapshot {
	enum kmt_snapshot_kind kind;
	uint64_t time_ns;  /* as events */
	uint64_t event;    /* events before it */
	const char *label; /* "0003", "04-steady" */
	const char *text;  /* the kernel's own bytes, NUL-terminated */
	size_t text_bytes;
};

/* ------------------------------------------------------------------------------------------------ reading */

struct kmt_reader;

enum kmt_item_kind { KMT_ITEM_EVENTS, KMT_ITEM_SNAPSHOT, KMT_ITEM_END, KMT_ITEM_ERROR };
struct kmt_item {
	enum kmt_item_kind kind;
	const struct kmt_event *events; /* EVENTS; borrowed until the next call */
	uint32_t event_count;
	const struct kmt_snapshot *snapshot; /* SNAPSHOT; borrowed until the next call */
};

/*
 * NULL and *error naming file, block and mend. Checks header and footer; the path must be a regular file. The totals
 * may be relied on: what exceeds them is refused before it is given out.
 */
struct kmt_reader *kmt_open(const char *path, struct kml_error *error);
void kmt_close(struct kmt_reader *reader);
/*
 * Where events come from when not from a file: a generator. Everything is borrowed and outlives the reader; `close`
 * (may be NULL) ends it. The same items come after every rewind.
 */
struct kmt_source {
	const char *name; /* for messages and tables: the spec of a workload */
	const struct kmt_origin *origin;
	const struct kmt_cache *caches;
	uint32_t cache_count;
	/* As kmt_next: at most KMT_BLOCK_EVENTS events at once, borrowed until the next call. */
	enum kmt_item_kind (*next)(void *context, struct kmt_item *item, struct kml_error *error);
	bool (*rewind)(void *context, struct kml_error *error);
	void (*close)(void *context);
	void *context;
};
/*
 * A reader of a source. One pass counts the totals first, so time is twice the source's; memory is the source's. The
 * events are checked as those of a file are, in each pass. NULL and *error naming the event; the source is then closed.
 */
struct kmt_reader *kmt_open_source(const struct kmt_source *source, struct kml_error *error);
/*
 * A reader of events in memory, without snapshots. Everything is borrowed and outlives it; nothing is copied. The
 * events are checked as those of a file are. NULL and *error naming the event. O(events).
 */
struct kmt_reader *kmt_open_events(const struct kmt_origin *origin, const struct kmt_cache *caches,
				   uint32_t cache_count, const struct kmt_event *events, uint64_t event_count,
				   struct kml_error *error);

const struct kmt_origin *kmt_reader_origin(const struct kmt_reader *reader);
const struct kmt_cache *kmt_reader_caches(const struct kmt_reader *reader, uint32_t *count);
const struct kmt_totals *kmt_reader_totals(const struct kmt_reader *reader);
const char *kmt_reader_path(const struct kmt_reader *reader); /* the source's name; "program" for events in memory */
/* XXH64 of the whole file, or of all that a source says of its events, as 16 hex digits: the trace's identity in
 * manifests. NULL and *error when unreadable, or of events in memory. O(file). */
const char *kmt_reader_hash(struct kmt_reader *reader, struct kml_error *error);

/*
 * The next block of events or snapshot, in stream order. Every event returned is valid: op known, order < 64, cpu,
 * cache and object in range, time not decreasing, size >= 1 for allocs, a misuse of a known kind. ERROR: *error is
 * filled and the reader is at its end. Liveness (free of a dead id) is the replayer's to judge: fuzzers write such
 * events on purpose.
 */
enum kmt_item_kind kmt_next(struct kmt_reader *reader, struct kmt_item *item, struct kml_error *error);
/* Back to the first item. */
bool kmt_rewind(struct kmt_reader *reader, struct kml_error *error);

/* ------------------------------------------------------------------------------------------------ writing */

struct kmt_writer;

/* Origin and caches are copied. The file appears under its name only at kmt_finish. NULL and *error on failure. */
struct kmt_writer *kmt_create(const char *path, const struct kmt_origin *origin, const struct kmt_cache *caches,
			      uint32_t cache_count, struct kml_error *error);
/* Counted into totals (events, op_events, warm, objects, duration, top_address). false when invalid or unwritable. */
bool kmt_write_event(struct kmt_writer *writer, const struct kmt_event *event, struct kml_error *error);
/* At this place in the stream; `event` is filled in. The label has at most 255 bytes, the text at most 16 MiB. */
bool kmt_write_snapshot(struct kmt_writer *writer, const struct kmt_snapshot *snapshot, struct kml_error *error);
/* What a reader gave: events, or a snapshot. */
bool kmt_write_item(struct kmt_writer *writer, const struct kmt_item *item, struct kml_error *error);
/* Footer and rename. `known` gives quirks and perf sums; the rest is counted by the writer. Frees the writer always. */
bool kmt_finish(struct kmt_writer *writer, const struct kmt_totals *known, struct kml_error *error);
/* Give up; nothing is left behind. */
void kmt_abandon(struct kmt_writer *writer);

#endif
