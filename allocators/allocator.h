/*
 * allocator.h - the one ABI every allocator of kmemlab stands behind.
 *
 * A buddy system, a slab strategy, a reference heap, the recorded kernel and a user's plugin are each one
 * `struct kml_allocator`: a description and a table of operations. This header is the whole contract; it
 * includes nothing of the project, so a plugin needs only this file.
 *
 * Words used throughout (units are always bytes unless a name says otherwise):
 *   requested  what the caller asked for
 *   granted    what the caller may use because of it (the block, the slab object)
 *   held       what nobody else can use because of it: whole arena pages
 *   arena      the memory under study; an address is a byte offset in it. Areas of vmalloc lie in a window behind it
 *              (arena.h), where pages of the arena are shown a second time
 *
 * Layers: an allocator of the PAGES layer manages an arena; one of the OBJECTS layer takes whole pages from a
 * PAGES allocator (its backing) and hands out objects. Either serves any workload.
 *
 * Threads: none. CPUs are simulated by the `cpu` of each call, so that a trace replays deterministically.
 */
#ifndef KMEMLAB_ALLOCATOR_H
#define KMEMLAB_ALLOCATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A plugin built against another version is refused at load. */
#define KML_ABI_VERSION 2u

/* The symbol a plugin exports: const struct kml_allocator *const kml_plugin_allocators[], NULL at its end. */
#define KML_PLUGIN_SYMBOL "kml_plugin_allocators"

/* --------------------------------------------------------------------------------------------- results */

/* Why an operation did not happen. KML_OK is 0; every other value leaves the allocator as it was. */
enum kml_status {
	KML_OK = 0,
	/* alloc */
	KML_NO_MEMORY,  /* fewer free bytes than the block that would be granted */
	KML_NO_RUN,     /* enough free bytes, but no free contiguous block of that size: external fragmentation */
	KML_IMPOSSIBLE, /* could not be granted by the empty arena either: size 0, too large, alignment too large */
	/* free */
	KML_DOUBLE_FREE, /* the address starts a block, or lies in one, that is free already */
	KML_FOREIGN,     /* the address is outside everything this allocator ever handed out */
	KML_INTERIOR,    /* the address lies inside a granted block but is not its start */
	KML_WRONG_CACHE, /* the object belongs to another cache than the one named */
	/* cache_close */
	KML_CACHE_BUSY, /* the cache still has live objects */
	/* alloc and free where objects are guarded (parameter `debug`) */
	KML_RED_ZONE, /* free: bytes outside the object were overwritten */
	KML_POISON,   /* alloc: a free object was written to */
	KML_STATUS_COUNT
};

static inline const char *kml_status_name(enum kml_status status)
{
	static const char *const names[KML_STATUS_COUNT] = {"ok",
							    "no memory",
							    "no contiguous run",
							    "impossible request",
							    "double free",
							    "foreign pointer",
							    "interior pointer",
							    "wrong cache",
							    "cache busy",
							    "red zone overwritten",
							    "poison overwritten"};
	return (unsigned)status < KML_STATUS_COUNT ? names[status] : "unknown status";
}

/* The one error type: a sentence that names the thing, the place and the mend. Empty while nothing failed. */
struct kml_error {
	char text[512];
};

/* -------------------------------------------------------------------------------------------- requests */

/* Request flags, shared with trace events (traces/kmt/kmt.h). SLAB_PAGE and LARGE are given to a KML_TRAIT_RECORDED
 * allocator only, WARM also to one that has settle(). */
enum kml_flag {
	KML_MOVABLE = 1u << 0,     /* the pages can be migrated (page cache, anonymous memory) */
	KML_RECLAIMABLE = 1u << 1, /* the pages can be reclaimed by shrinking (dentry, inode caches) */
	KML_ATOMIC = 1u << 2,      /* the caller cannot sleep: may dip into reserves, cannot reclaim */
	KML_ZEROED = 1u << 3,      /* the contents must read as zero */
	KML_CONTIGUOUS = 1u << 4,  /* physically contiguous is required (all but vmalloc) */
	KML_PAGES = 1u << 5,       /* a page-level request: size is page size << order */
	KML_KMALLOC = 1u << 6,     /* asked through kmalloc: only a size, no cache */
	KML_DMA = 1u << 7,         /* must come from the DMA zone */
	KML_SLAB_PAGE = 1u << 8,   /* pages that the recorded slab allocator took for itself: held, not granted */
	KML_WARM = 1u << 9,        /* live before the recording began */
	KML_LARGE = 1u << 11,      /* a kmalloc that the kernel served with pages */
	KML_ACCOUNTED = 1u << 12,  /* charged to a memory cgroup */
	KML_VMALLOC = 1u << 13,    /* page by page, made contiguous by mapping: needs no run of pages */
};

#define KML_NO_CACHE UINT32_MAX
#define KML_NO_ADDRESS UINT64_MAX

struct kml_request {
	uint64_t size_bytes;  /* at least 1 */
	uint64_t align_bytes; /* a power of two; 0 and 1 mean no requirement */
	uint64_t recorded;    /* where the real kernel put it, or KML_NO_ADDRESS; read by `recorded`, and of KML_WARM
				 objects by allocators that have settle() */
	uint64_t recorded_granted_bytes; /* what the real kernel granted, or 0; only `recorded` reads it */
	uint32_t cache;                  /* index given to cache_open, or KML_NO_CACHE */
	uint16_t cpu;                    /* below environment.cpu_count */
	uint16_t flags;                  /* enum kml_flag */
};

/* The answer to an alloc. On failure address is KML_NO_ADDRESS and granted_bytes 0. May not be ignored. */
struct kml_grant {
	enum kml_status status;
	uint64_t address;       /* byte offset in the arena (with KML_VMALLOC: or in its window), aligned as asked */
	uint64_t granted_bytes; /* >= size_bytes; all of them may be written */
};

/* The answer of an alloc that failed. */
static inline struct kml_grant kml_refuse(enum kml_status status)
{
	return (struct kml_grant){.status = status, .address = KML_NO_ADDRESS};
}

struct kml_release {
	uint64_t address;
	uint32_t cache; /* KML_NO_CACHE when the caller does not know (kfree): the allocator finds it */
	uint16_t cpu;
	uint16_t flags; /* those of the request */
};

/* A kmem cache, as kmem_cache_create() is told, and - for the recorded kernel - as the kernel reported it. */
struct kml_cache {
	const char *name;      /* borrowed; valid until cache_close */
	uint64_t object_bytes; /* what a caller may use of each object */
	uint64_t align_bytes;  /* 0: the strategy's default */
	bool has_constructor;
	bool typesafe_by_rcu;
	bool reclaimable;
	bool is_kmalloc; /* a size class of kmalloc: objects are asked for by size */
	/* The kernel's own figures, 0 where unknown; simulations compute their own. */
	uint64_t recorded_slot_bytes; /* object and its padding: slabinfo objsize */
	uint32_t recorded_objects_per_slab;
	uint32_t recorded_pages_per_slab;
	uint64_t recorded_slabs_at_start; /* slabs at the start */
	uint64_t
		recorded_free_at_start; /* objects that the first snapshot counts as free (SLUB: of the node's lists) */
};

/* ---------------------------------------------------------------------------------------------- figures */

/*
 * Where held bytes go that nobody asked for. requested + sum(waste) == held at every moment, to the byte.
 * An allocator fills what happens inside it; the runner, which knows what was asked, adds the two roundings of
 * what was handed out (CLASS_ROUNDING for objects of an OBJECTS allocator, BUDDY_ROUNDING for the rest).
 */
enum kml_waste {
	KML_WASTE_CLASS_ROUNDING, /* object granted - object requested */
	KML_WASTE_SLAB_TAIL,      /* end of a slab too short for an object */
	KML_WASTE_MANAGEMENT,     /* colour and on-slab management, per-object padding and headers */
	KML_WASTE_FREE_SLOTS,     /* free objects in slabs */
	KML_WASTE_CPU_CACHED,     /* objects and pages parked per cpu, in magazines, sheaves or array caches */
	KML_WASTE_BUDDY_ROUNDING, /* page-layer block - what was asked of it */
	KML_WASTE_EXTERNAL,       /* free bytes in arena pages that some block pins */
	KML_WASTE_KINDS
};

static inline const char *kml_waste_name(enum kml_waste kind)
{
	static const char *const names[KML_WASTE_KINDS] = {
		"class_rounding", "slab_tail", "management", "free_slots", "cpu_cached", "buddy_rounding", "external"};
	return (unsigned)kind < KML_WASTE_KINDS ? names[kind] : "unknown waste";
}

/* All maintained as the allocator goes; stats() costs O(1). Zero what does not apply. */
struct kml_stats {
	uint64_t granted_bytes;      /* live, as handed to callers */
	uint64_t held_bytes;         /* whole arena pages that hold a granted, cached or management byte */
	uint64_t free_bytes;         /* what the page layer could still grant, over all blocks */
	uint64_t largest_free_bytes; /* the largest block the page layer could grant now */
	uint64_t metadata_bytes;     /* bookkeeping outside the arena now in use (descriptors of touched memory) */
	uint64_t waste_bytes[KML_WASTE_KINDS]; /* as above; CLASS_ROUNDING left 0, BUDDY_ROUNDING: of own requests to
						  the backing */
	uint64_t splits;                       /* blocks split since creation */
	uint64_t merges;                       /* blocks coalesced since creation */
	uint64_t steps; /* OBJECTS layer, since creation: what was looked at or moved to serve objects: objects handed
			   over or moved between lists, slots of new slabs, pages and free blocks searched; 0: not
			   counted */
};

/* Free blocks of one size, for buddyinfo, the unusable index and figures. */
struct kml_free_area {
	uint64_t block_bytes;
	uint64_t count;
};
#define KML_FREE_AREAS_MAX 128u

enum kml_block_state {
	KML_BLOCK_FREE,
	KML_BLOCK_GRANTED,
	KML_BLOCK_CACHED,
	KML_BLOCK_PADDING, /* held by the granted block right after it, in front of whose aligned address it lies;
			      MANAGEMENT waste */
	KML_BLOCK_ABSENT,  /* memory that an allocator which starts empty has not been given: neither free nor held */
};

/* One block, as walk() shows it. */
struct kml_block {
	uint64_t address;
	uint64_t size_bytes;
	enum kml_block_state state;
	uint32_t size_class; /* the allocator's own class index (order, Fibonacci index, ...) */
	uint32_t owner;      /* cache index, or KML_NO_CACHE */
	uint16_t cpu;        /* where a CACHED block is parked */
};

/* Return false to stop the walk. */
typedef bool kml_visit(void *context, const struct kml_block *block);

/*
 * One cache as /proc/slabinfo shows it, and as it truly is. A cache merged into another is that other one: it has no
 * figures of its own.
 */
struct kml_cache_stats {
	const char *name;        /* borrowed; NULL: nothing under this index (closed, merged, not yet used) */
	uint64_t live_objects;   /* granted to callers */
	uint64_t active_objects; /* the kernel's notion: objects parked per cpu may count as active (each strategy's
				    file says which) */
	uint64_t total_objects;
	uint64_t active_slabs, slabs; /* slabinfo: not wholly free, all */
	uint64_t slab_bytes;          /* of all slabs, as asked of the page layer */
	uint64_t slot_bytes;          /* slabinfo objsize */
	uint32_t objects_per_slab, pages_per_slab;
	uint32_t limit, batchcount, shared_factor; /* tunables of SLAB; 0 in others */
	uint64_t shared_available;
};

/*
 * For a start in mid-life. A slot that was free when the recording began: the recorded kernel allocated there before it
 * freed anything there, on a slab that it had not taken during the recording.
 */
struct kml_seed {
	uint64_t recorded; /* address of the object */
	uint64_t event;    /* position of that allocation in the trace */
	uint32_t cache;
	uint16_t cpu; /* that allocated there */
};

/* What the recorded kernel did of its own accord. */
enum kml_notice_kind {
	KML_NOTICE_REAP_BEGIN, /* the periodic reaper of SLAB starts; no cache */
	KML_NOTICE_REAP_END,
	KML_NOTICE_REAP_CPU,      /* `count` objects left the array of `cpu` for the slabs */
	KML_NOTICE_REAP_SHARED,   /* `count` objects left the shared array for the slabs */
	KML_NOTICE_REAP_FREELIST, /* `count` empty slabs went back to the page allocator */
	KML_NOTICE_REAP_TUNE,     /* the arrays were sized: limit `count`, `batchcount` */
	KML_NOTICE_RCU_FREE,      /* the object at `address`, type-safe by RCU, freed before, is really given back */
};
struct kml_notice {
	enum kml_notice_kind kind;
	uint32_t cache; /* or KML_NO_CACHE */
	uint16_t cpu;
	uint64_t count, batchcount;
	uint64_t address;
};

/* ------------------------------------------------------------------------------------------- parameters */

enum kml_param_type {
	KML_PARAM_SIZE,   /* uint64_t; bytes, with suffix k, M, G, T (powers of 1024) */
	KML_PARAM_NUMBER, /* uint64_t */
	KML_PARAM_CHOICE, /* uint32_t; index in `choices` */
	KML_PARAM_SIZES,  /* struct kml_sizes; joined by '+', ascending, as in 64k+128k+256k */
	KML_PARAM_REAL,   /* double; not negative */
	KML_PARAM_TEXT,   /* const char *; of workloads only: a path, a spec */
};

#define KML_SIZES_MAX 32u
struct kml_sizes {
	uint32_t count;
	uint64_t size_bytes[KML_SIZES_MAX];
};

/* One parameter of a spec string. The parsed value is stored at `offset` in the allocator's config struct. */
struct kml_param {
	const char *name;
	enum kml_param_type type;
	size_t offset;
	const char *default_text;   /* parsed like the user's own text */
	uint64_t minimum, maximum;  /* inclusive; of SIZE, NUMBER, REAL and each of SIZES */
	const char *const *choices; /* of CHOICE; NULL at its end */
	const char *help;           /* one line */
};

/* -------------------------------------------------------------------------------------------- allocator */

/* The memory under study and its page map: allocators/arena.h. */
struct kml_arena;

/*
 * A living allocator. Each implementation embeds it as its first member. `allocator` is the table to call it through:
 * an allocator whose parameters choose another engine may name another table than the registered one here, with traits
 * of its own (binary in Linux mode does).
 */
struct kml_heap {
	const struct kml_allocator *allocator;
};

/* What an allocator is created in. All borrowed; outlives the heap. */
struct kml_environment {
	struct kml_arena *arena;
	struct kml_heap *backing; /* of the OBJECTS layer: the PAGES allocator below; else NULL */
	uint64_t unit_bytes; /* granularity for a PAGES allocator whose `unit` is auto: 16 alone, else the page size */
	uint32_t page_bytes;
	uint32_t cpu_count;
	uint32_t cache_count; /* cache indices are below this */
	uint64_t seed;
	bool starts_empty; /* a PAGES allocator with page_add: all memory comes by page_add */
	bool reaps_told;   /* notice() tells when the recorded kernel reaped: no timer of one's own */
	bool rcu_told;     /* notice() tells when objects that are type-safe by RCU are really given back */
};

enum kml_layer { KML_LAYER_PAGES, KML_LAYER_OBJECTS };

enum kml_trait {
	/* Addresses have no arena memory behind them: contents cannot be checked, objects cannot lie in them. */
	KML_TRAIT_NO_MEMORY = 1u << 0,
	KML_TRAIT_NO_REUSE = 1u << 1, /* keeps nothing: blocks may overlap, frees are not checked (nop) */
	KML_TRAIT_RECORDED = 1u << 2, /* follows recorded addresses; is also given the slab allocator's own pages */
	KML_TRAIT_MAY_WASTE_RUNS = 1u << 3, /* may refuse although a big enough free block exists (policy, reserve) */
};

/*
 * The operations. Members marked optional may be NULL. All others must be there. None may print, exit or keep a
 * pointer it was not given to keep. Internal damage found on the way: abort with the values (KML_CHECK).
 */
struct kml_allocator {
	uint32_t abi_version; /* KML_ABI_VERSION */
	const char *name;     /* of the spec string: [a-z0-9_]+ */
	const char *title;    /* "Fibonacci buddy system" */
	const char *citation; /* who invented it, where */
	const char *summary;  /* one line: rule and cost */
	enum kml_layer layer;
	uint32_t traits;                /* enum kml_trait */
	const struct kml_param *params; /* ended by name == NULL; NULL: no parameters */
	size_t config_bytes;            /* size of the struct that params describe */

	/* NULL and *error on parameters that contradict each other or an arena it cannot tile. O(arena/root block). */
	struct kml_heap *(*create)(const struct kml_environment *environment, const void *config,
				   struct kml_error *error);
	/* Live blocks are forgotten with it; the arena is given back whole. */
	void (*destroy)(struct kml_heap *heap);

	/* Optional: allocators without caches. An index is open at most once at a time. */
	enum kml_status (*cache_open)(struct kml_heap *heap, uint32_t index, const struct kml_cache *cache);
	enum kml_status (*cache_close)(struct kml_heap *heap, uint32_t index);

	struct kml_grant (*alloc)(struct kml_heap *heap, const struct kml_request *request);
	/* Misuse is detected and named (double free, foreign, interior, wrong cache), never obeyed. */
	enum kml_status (*free)(struct kml_heap *heap, const struct kml_release *release);
	/* Bytes usable at a granted address; 0 when it starts no granted block. */
	uint64_t (*usable)(const struct kml_heap *heap, uint64_t address);

	/* Give back everything cached: per-cpu lists, empty slabs. Optional: nothing is ever cached. */
	void (*shrink)(struct kml_heap *heap);
	/* Give back what one cpu caches. Optional. */
	void (*drain)(struct kml_heap *heap, uint16_t cpu);

	/* O(1). */
	void (*stats)(const struct kml_heap *heap, struct kml_stats *stats);
	/* Free blocks by size, ascending, at most KML_FREE_AREAS_MAX; the number filled. O(classes). Page layer's for a
	 * stack. */
	uint32_t (*free_areas)(const struct kml_heap *heap, struct kml_free_area *areas);
	/* Every block in address order; O(blocks). A PAGES allocator's blocks tile the arena up to its last whole unit.
	 * An area of vmalloc is shown where its owner sees it, in the window; its pages in the arena are left out. */
	void (*walk)(const struct kml_heap *heap, kml_visit *visit, void *context);
	/* Deep self-check; false and *error naming the first broken invariant with its values. O(blocks). */
	bool (*validate)(const struct kml_heap *heap, struct kml_error *error);

	/* All below are optional. */

	/* As shrink, of one cache. */
	void (*cache_shrink)(struct kml_heap *heap, uint32_t index);
	/* Caches by index: 0 to environment.cache_count - 1 are those of cache_open, above them the allocator's own
	 * (its kmalloc classes). False past the last. O(1). */
	bool (*cache_stats)(const struct kml_heap *heap, uint32_t index, struct kml_cache_stats *stats);
	/*
	 * A start in mid-life: first every seed in the order of its event, then every object that was live (alloc with
	 * KML_WARM; `recorded` names its slab where it is known, those without a known place come last), then settle
	 * once, before the first event of the recording.
	 */
	void (*seed)(struct kml_heap *heap, const struct kml_seed *seed);
	void (*settle)(struct kml_heap *heap);
	/* What the recorded kernel did; environment says what will be told. */
	void (*notice)(struct kml_heap *heap, const struct kml_notice *notice);
	/* The clock of the trace has come to now_ns (first call: 0): the allocator's timers up to then fire, each at
	 * its own time. The answer is when to call again; the call comes with the first event at or after it. */
	uint64_t (*tick)(struct kml_heap *heap, uint64_t now_ns);
	/* Memory given, by a cpu, to a PAGES allocator that starts empty; whole units that it does not have yet. */
	enum kml_status (*page_add)(struct kml_heap *heap, uint64_t address, uint64_t size_bytes, uint16_t cpu);
};

#endif
