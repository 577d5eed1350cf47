/*
 * internal.h - what the files of the import share: the stored events, and the steps of resolving them.
 *
 * import_write() runs the steps in this order, each in its own file:
 *   sort.c        events by time, stable
 *   direct_map.c  page size and the address of physical 0
 *   interrupted.c allocations traced after the interrupt that came after them
 *   caches.c      the cache table: names, geometry of the first slabinfo, the size classes of kmalloc
 *   lifetimes.c   pairs allocations with frees (pages.c keeps what lies in each page)
 *   warm.c        caches of what stayed unknown; objects known only from the first slabinfo
 *   layout.c      alignment and flags of caches that slots and pages tell
 *   place.c       snapshots to their place in the stream
 *   write.c       dense ids, and the .kmt
 *
 * Snapshots of slabinfo without a single event take another way: series.h.
 */
#ifndef KMEMLAB_IMPORT_INTERNAL_H
#define KMEMLAB_IMPORT_INTERNAL_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kmemlab/support/hashmap.h"
#include "traces/import/import.h"
#include "traces/proc/proc_text.h"

#define IMPORT_NONE UINT32_MAX
/* Beyond any kernel's MAX_ORDER (13 on arm64 with 64 KiB pages, 14 for s390's hugetlb); a larger one is damage. */
#define IMPORT_ORDER_MAX 14u
/* kfree() of NULL, or of ZERO_SIZE_PTR which kmalloc(0) gives (include/linux/slab.h), frees nothing. */
#define IMPORT_ZERO_SIZE_PTR 16u

/* An object that nothing tells the size of: the smallest size class. */
#define IMPORT_UNKNOWN_OBJECT_BYTES 8u
/* Pages of 512 GiB (of 4 KiB pages) take 1 GiB of tables; a trace that touches more is damaged, or beyond this machine.
 */
#define IMPORT_CHUNKS_MAX (1u << 23)

/* A raw event as kept. `place` is the pointer, or the pfn of page events. */
struct stored_event {
	uint64_t time_ns;
	uint64_t place;
	uint64_t bytes_requested, bytes_allocated;
	uint32_t call_site; /* hash; 0: absent */
	uint32_t name;      /* index of import.names; IMPORT_NONE: absent */
	uint16_t cpu;
	uint8_t kind;  /* enum raw_kind */
	uint8_t order; /* as raw_event has it */
	uint8_t gfp;
	int8_t migrate_type;
	bool accounted : 1, cross_node : 1;
	uint8_t depth : 2;
	uint8_t task;
};
static_assert(sizeof(struct stored_event) == 48, "2.2 million events are to fit in 110 MB");
static_assert(RAW_GFP_ACCOUNT < 1u << 8, "stored_event.gfp is a byte");

/* From an allocation to its free. Also a block of pages, and memory handed over at boot. */
struct lifetime {
	uint64_t address; /* physical, or KMT_NO_ADDRESS */
	uint64_t place;   /* pointer or pfn */
	uint64_t size_bytes, granted_bytes;
	uint32_t event;        /* that allocated it; of a warm one, that freed it; IMPORT_NONE: seen in no event */
	uint32_t live_objects; /* of a block of pages: objects seen in it and not yet freed */
	uint16_t cache;        /* of a block of pages: of the objects seen in it */
	uint16_t flags;        /* enum kmt_flag */
	uint8_t order;
	uint8_t align_log2;
	bool is_page;
	bool live;
	bool dropped;       /* pages that a large kmalloc stands for: written neither when allocated nor when freed */
	bool rcu_delayed;   /* a KMT_RCU_FREE follows its KMT_FREE */
	bool cache_guessed; /* the event named no cache: the size tells a stand-in until a free names it */
};

/* One event of the .kmt to be: raw event `event` does `op` to `lifetime`. */
struct action {
	uint32_t event;
	uint32_t lifetime;
	uint8_t op; /* enum kmt_op */
	bool implicit;
};

struct stored_snapshot {
	enum kmt_snapshot_kind kind;
	uint64_t time_ns; /* UINT64_MAX: placed by mark */
	uint32_t event;   /* events before it, once placed */
	uint32_t order;   /* of being added: ties */
	uint32_t line;    /* lines before its text in the file that holds it */
	char *label, *text;
	size_t text_bytes;
};

/* A growing array: import_reserve() makes room for one more. */
#define IMPORT_VECTOR(type)                                                                                            \
	struct {                                                                                                       \
		type *items;                                                                                           \
		uint32_t count, capacity;                                                                              \
	}

/* A page of memory, as far as events told of it. */
struct page {
	uint32_t owner;      /* lifetime of the block; PAGE_WARM: never allocated or freed yet; PAGE_FREE */
	uint32_t warm_cache; /* of objects seen in it while it was PAGE_WARM; or SLAB_UNSEEN, SLAB_UNTOLD */
};
enum { PAGE_WARM = UINT32_MAX, PAGE_FREE = UINT32_MAX - 1, PAGES_IN_CHUNK = 16 };
enum { SLAB_UNSEEN = UINT32_MAX, SLAB_UNTOLD = UINT32_MAX - 1 };

struct pages {
	struct kml_hashmap chunk_of; /* pfn / PAGES_IN_CHUNK -> index */
	IMPORT_VECTOR(struct page *) chunks;
};

struct import {
	struct import_options options;
	struct kmt_origin origin; /* texts owned */
	struct kmt_totals totals;
	uint32_t page_shift; /* 0 until known */
	bool pointers_hashed;
	uint64_t unanchored_base; /* stands in for the direct map where there are no pages to tie objects to */
	bool has_page_events;

	IMPORT_VECTOR(struct stored_event) events;
	IMPORT_VECTOR(struct stored_snapshot) snapshots;
	IMPORT_VECTOR(char *) warnings;

	/* Texts, each once. */
	IMPORT_VECTOR(char *) names;
	struct kml_hashmap name_of; /* hash -> index */

	/* The cache table; .name points into names. */
	IMPORT_VECTOR(struct kmt_cache) caches;
	struct kml_hashmap cache_of_name;  /* name index -> cache */
	struct kml_hashmap cache_of_class; /* family and size of a kmalloc -> cache (or KMT_NO_CACHE) */
	struct kml_hashmap cache_of_size;  /* sizes of an allocation without name -> cache */
	uint64_t kmalloc_max_bytes;        /* larger ones are pages; page_bytes * 2 unless the caches say otherwise */

	/* Filled by lifetimes.c. */
	IMPORT_VECTOR(struct lifetime) lifetimes;
	IMPORT_VECTOR(struct action) actions;
	IMPORT_VECTOR(uint32_t) warm;           /* lifetimes */
	uint64_t *unseen;                       /* by cache: warm objects that no event names */
	struct kml_hashmap lifetime_of_pointer; /* the latest */
	struct pages pages;

	/* A series of slabinfo: NULL unless it is one. */
	struct series *series;
	char *series_file; /* NULL: a folder or tar, where each snapshot has its file */
};

/* Room for one more item of `size` bytes; false and *error when memory (or the 2^31 items there can be) is exhausted.
 */
bool import_reserve_items(void **items, uint32_t count, uint32_t *capacity, size_t size, struct kml_error *error);
#define import_reserve(vector, error)                                                                                  \
	import_reserve_items((void **)&(vector)->items, (vector)->count, &(vector)->capacity,                          \
			     sizeof(*(vector)->items), (error))

/* Index of a text, added when new; IMPORT_NONE and *error when memory is exhausted. */
uint32_t import_name(struct import *import, const char *text, size_t length, struct kml_error *error);

static inline uint32_t import_page_bytes(const struct import *import)
{
	return 1u << import->page_shift;
}
/* Page number of a pointer, physical when the direct map is known. */
static inline uint64_t import_pfn(const struct import *import, uint64_t pointer)
{
	return (pointer - import->origin.direct_map_base) >> import->page_shift;
}

/* sort.c */
bool import_sort(struct import *import, struct kml_error *error);

/* direct_map.c */
void import_find_page_size(struct import *import);
void import_find_direct_map(struct import *import);
/* Physical address of a pointer, or KMT_NO_ADDRESS. */
uint64_t import_physical(const struct import *import, uint64_t pointer);

/* interrupted.c */
bool import_order_interrupted(struct import *import, struct kml_error *error);

/* caches.c: false and *error when memory or the table (KMT_CACHES_MAX) is exhausted. */
bool import_cache_of_slabinfo(struct import *import, const struct slabinfo_line *line, uint16_t *cache,
			      struct kml_error *error);
bool import_caches_from_slabinfo(struct import *import, struct kml_error *error);
bool import_cache_named(struct import *import, uint32_t name, uint16_t *cache, struct kml_error *error);
/* Of an allocation event; *large: it has no cache because it is pages; *guessed: by its size alone. */
bool import_cache_of_event(struct import *import, const struct stored_event *event, uint16_t *cache, bool *large,
			   bool *guessed, struct kml_error *error);
/* Whether a name is one (and not "-", "slob", "large" of instrumented kernels). */
bool import_names_a_cache(const struct import *import, uint32_t name);
bool import_name_is(const struct import *import, uint32_t name, const char *text);

/* pages.c */
bool import_page_alloc(struct import *import, uint32_t event, struct kml_error *error);
bool import_page_free(struct import *import, uint32_t event, struct kml_error *error);
bool import_slab_page_alloc(struct import *import, uint32_t event, struct kml_error *error);
/* An object was seen alive, or (live_change -1) freed: the pages it lies in are a slab's. */
bool import_page_sees_object(struct import *import, const struct lifetime *object, int32_t live_change,
			     struct kml_error *error);
/* A large kmalloc: the block that is its memory is left out of the page events. */
void import_page_is_large(struct import *import, uint64_t pointer);
/* The cache of the slab in which a pointer lies now, or KMT_NO_CACHE; that of before the first event of its page. */
uint16_t import_page_cache(const struct import *import, uint64_t pointer);
uint16_t import_page_warm_cache(const struct import *import, uint64_t pointer);
/* The slab there, live before the capture began, is of this cache: all its pages are. */
void import_page_tell_slab(struct import *import, uint64_t pointer, uint16_t cache);
void import_pages_destroy(struct pages *pages);

/* lifetimes.c */
bool import_pair(struct import *import, struct kml_error *error);
bool import_add_action(struct import *import, uint32_t event, enum kmt_op op, uint32_t lifetime, bool implicit,
		       struct kml_error *error);
/* A new lifetime; its index, or IMPORT_NONE and *error. */
uint32_t import_add_lifetime(struct import *import, const struct lifetime *lifetime, struct kml_error *error);
/* An object whose free left no trace is proved dead just before `event`. */
bool import_free_untraced(struct import *import, uint32_t event, uint32_t lifetime, struct kml_error *error);

/* warm.c */
bool import_settle_caches(struct import *import, struct kml_error *error);
bool import_warm_unseen(struct import *import, struct kml_error *error);

/* layout.c */
/* False and *error when memory is exhausted. */
bool import_complete_caches(struct import *import, struct kml_error *error);

/* place.c */
bool import_place_snapshots(struct import *import, struct kml_error *error);

/* perf_sums.c: tools/perf/builtin-kmem.c's figures over the sorted events. */
bool import_perf_sums(struct import *import, struct kml_error *error);

/* import.c: all steps but the last. */
bool import_resolve(struct import *import, struct kml_error *error);

/* write.c */
bool import_write_kmt(struct import *import, const char *path, struct kml_error *error);
bool import_write_snapshot(const struct import *import, struct kmt_writer *writer, const struct stored_snapshot *stored,
			   struct kml_error *error);
/* An allocation from a cache of which only the count is known. */
struct kmt_event import_counted_alloc(const struct import *import, uint16_t cache);

#endif
