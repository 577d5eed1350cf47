/*
 * import.h - from raw kernel events, whatever their source, to a .kmt.
 *
 * Sources (ftrace text, perf.data, perf script text, a live capture, snapshot folders) only parse: each event becomes a
 * raw_event and is given to the import. The import alone knows the quirks of kernels: it sorts, names caches, tells
 * slab pages from page demand, finds implicit frees and the warm start, and writes the .kmt. Memory: O(events).
 */
#ifndef KMEMLAB_IMPORT_H
#define KMEMLAB_IMPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "traces/kmt/kmt.h"

enum raw_kind {
	RAW_CACHE_ALLOC, /* kmem_cache_alloc, kmem_cache_alloc_node */
	RAW_CACHE_FREE,  /* kmem_cache_free */
	RAW_KMALLOC,     /* kmalloc, kmalloc_node */
	RAW_KFREE,
	RAW_PAGE_ALLOC,
	RAW_PAGE_FREE,
	RAW_PAGE_FREE_BATCHED,
	RAW_SLAB_PAGE_ALLOC, /* slab_page_alloc of instrumented kernels */
	RAW_SLAB_PAGE_FREE,
	RAW_SLAB_DRAIN,    /* order = enum kmt_reap; bytes_requested, bytes_allocated = its size_bytes, granted_bytes */
	RAW_SLOB_RCU_FREE, /* pointer */
	RAW_MARK,          /* name = its text */
	RAW_LOST,          /* bytes_requested = events lost */
	RAW_OTHER,         /* a kmem event of no use here (extfrag, pcpu_drain): counted */
};

/* What the fields of a tracepoint say; absent ones keep the default in RAW_EVENT_INIT. Numbers are as in the trace. */
struct raw_event {
	enum raw_kind kind;
	uint16_t cpu;
	uint16_t order;   /* of pages; of RAW_KMALLOC log2 of the alignment asked for */
	uint64_t time_ns; /* of the trace's clock */
	uint64_t pointer; /* virtual */
	uint64_t pfn;     /* UINT64_MAX: absent */
	uint64_t bytes_requested, bytes_allocated;
	uint64_t call_site;   /* address, or a hash of the symbol+offset text; 0: absent */
	uint32_t gfp;         /* enum raw_gfp */
	int32_t migrate_type; /* -1: absent */
	bool accounted;
	bool cross_node;  /* asked of another NUMA node than the cpu's own; only perf.data knows */
	uint8_t depth;    /* of interrupts: 0 a task, 1 a soft interrupt in it, 2 a hard one; 0 where it is not told */
	uint8_t task;     /* a hash: events of one task have the same */
	const char *name; /* cache name or mark text; borrowed for the call; NULL: absent */
};
#define RAW_EVENT_INIT                                                                                                 \
	{                                                                                                              \
		.pfn = UINT64_MAX, .migrate_type = -1                                                                  \
	}

/* The few gfp flags that matter, source-independent: numeric values differ from kernel to kernel. */
enum raw_gfp {
	RAW_GFP_ATOMIC = 1u << 0, /* no direct reclaim */
	RAW_GFP_ZERO = 1u << 1,
	RAW_GFP_MOVABLE = 1u << 2,
	RAW_GFP_RECLAIMABLE = 1u << 3,
	RAW_GFP_DMA = 1u << 4,
	RAW_GFP_ACCOUNT = 1u << 5,
};
/* "GFP_KERNEL|__GFP_ZERO" (any mix of names and hex numbers) to raw_gfp. */
uint32_t raw_gfp_parse(const char *text);

struct import;

/* Of a series of slabinfo, which shows counts and no events. All zero: the fewest events that explain the counts. */
struct import_series_options {
	double churn_per_s; /* objects replaced a second, in all caches together */
	bool churn_auto;    /* as many as the series itself saw come and go */
	uint64_t seed;
	uint64_t seconds; /* how long the churn goes on where there is one snapshot only */
};

struct import_options {
	bool strict; /* anything missing, unmatched, malformed or lost is an error */
	bool quiet;  /* no progress bar */
	struct import_series_options series;
};

struct import *import_create(const struct import_options *options);
void import_destroy(struct import *import);

/* What the source knows of its origin; NULL or 0 members leave what is there. Texts are copied. */
void import_set_origin(struct import *import, const struct kmt_origin *origin);
/* Geometry of a cache from sysfs, /proc/slabinfo or a table. Copied. */
bool import_add_cache(struct import *import, const struct kmt_cache *cache, struct kml_error *error);
/* Takes a copy. false on memory exhausted, or in strict mode. */
bool import_add_event(struct import *import, const struct raw_event *event, struct kml_error *error);
/* A snapshot at time_ns of the trace's clock (or, UINT64_MAX, at the mark whose text holds `label`). Copied. */
bool import_add_snapshot(struct import *import, enum kmt_snapshot_kind kind, uint64_t time_ns, const char *label,
			 const char *text, size_t text_bytes, struct kml_error *error);
/* A quirk seen by the source itself (unknown lines, lost events). */
void import_count(struct import *import, enum kmt_quirk quirk, uint64_t count);
bool import_is_strict(const struct import *import);
bool import_is_quiet(const struct import *import);
/* Whether all that was given so far are snapshots, slabinfo among them: events are then made up to explain them. */
bool import_is_series(const struct import *import);
/* A sentence for the user about the source as a whole ("perf loses frees"). Copied; the same one twice is kept once. */
void import_warn(struct import *import, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* NULL beyond the last. */
const char *import_warning(const struct import *import, uint32_t index);
/* Pointers are hashes (the ftrace option hash-ptr): they tell objects apart but are no addresses. */
void import_pointers_are_hashed(struct import *import);
/* Pointers tell objects apart and are no addresses of physical memory; nothing to warn of. */
void import_pointers_are_names(struct import *import);
/*
 * Resolve everything and write the .kmt. May be called once. In strict mode false when anything was missing,
 * unmatched, malformed or lost.
 */
bool import_write(struct import *import, const char *path, struct kml_error *error);
/* Valid after import_write. */
const struct kmt_totals *import_totals(const struct import *import);

/* ------------------------------------------------------------------------------- sources, one file each */

/*
 * Bytes of a file ("-": standard input), decompressed when they begin like gzip or zstd. The name stays with it for
 * error messages. traces/import/input.c.
 */
struct import_input;
struct import_input *import_input_open(const char *path, struct kml_error *error);
/* Up to `size` bytes; 0 at the end, -1 and *error on damage. */
int64_t import_input_read(struct import_input *input, void *buffer, size_t size, struct kml_error *error);
/* Look at the first bytes (up to `size` <= 4096) without consuming them; the number there. */
int64_t import_input_peek(struct import_input *input, void *buffer, size_t size, struct kml_error *error);
const char *import_input_name(const struct import_input *input);
/* Bytes of the file taken so far, and its size (0: not known), as it lies on disk: for progress. */
uint64_t import_input_position(const struct import_input *input);
uint64_t import_input_size(const struct import_input *input);
void import_input_close(struct import_input *input);

bool import_ftrace_text(struct import *import, struct import_input *input, struct kml_error *error);
bool import_perf_script(struct import *import, struct import_input *input, struct kml_error *error);
bool import_perf_data(struct import *import, struct import_input *input, struct kml_error *error);
/* trace.dat of trace-cmd. */
bool import_trace_dat(struct import *import, struct import_input *input, struct kml_error *error);
/* The text of babeltrace2: kmem events of LTTng or perf, or the malloc calls of lttng-ust. */
bool import_babeltrace(struct import *import, struct import_input *input, struct kml_error *error);
/* Calls of malloc and free: Android's memory_replay, glibc's mtrace, the course labs' `a/r/f id size`. */
bool import_malloc_trace(struct import *import, struct import_input *input, struct kml_error *error);
/* Whether a text (its first 4096 bytes) begins like one. */
bool import_is_babeltrace(const char *head);
bool import_is_malloc_trace(const char *head);
/* "time: SECONDS" and the text of /proc/slabinfo, again and again; or the text alone, once. */
bool import_slabinfo_series(struct import *import, struct import_input *input, struct kml_error *error);
/* A folder (or a tar of one) of NNNN-<monotonic ns>.KIND or NN-phase.KIND files. */
bool import_snapshots(struct import *import, const char *path, struct kml_error *error);
/* A table of caches with a heading line (traces/import/cache_table.c), as from /sys/kernel/slab. */
bool import_cache_table(struct import *import, const char *path, struct kml_error *error);
/* Tell by the first bytes which of the above it is and read it. */
bool import_any(struct import *import, struct import_input *input, struct kml_error *error);

#endif
