/*
 * object_heap.h - what all object allocators share: caches, the kmalloc front end, pages for the caller, figures, walk.
 *
 * A strategy (slub.c, slab.c, solaris.c, slob.c) is a `struct object_strategy`: how objects are found and kept. All
 * else is here, once:
 *
 *      caller --- page request ---------------------------------------------> backing
 *         |------ vmalloc --------> vmalloc.c ------------------------------> backing, page by page
 *         |------ cache ------------------------> strategy: take, give -----> backing, slab by slab
 *         '------ kmalloc --> size class, large: pages ----^
 *
 * The classes of kmalloc are 8 to 8192 bytes with 96 and 192 (mm/slab_common.c), in the families normal, accounted
 * (cg), reclaimable (rcl) and DMA, as caches that are opened when first used; what is larger is pages.
 *
 * Every page of a strategy's has an owner in the arena's page map; a page without one is the caller's.
 *
 * Cost: O(1) beside the strategy's; stats O(1).
 */
#ifndef KMEMLAB_SLAB_OBJECT_HEAP_H
#define KMEMLAB_SLAB_OBJECT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"
#include "allocators/arena.h"

struct object_heap;

enum {
	KMALLOC_CLASSES = 13, /* 8 16 32 64 96 128 192 256 512 1k 2k 4k 8k */
	KMALLOC_FAMILIES = 4, /* normal, cg, rcl, dma */
	KMALLOC_CACHES = KMALLOC_CLASSES * KMALLOC_FAMILIES,
};
#define KMALLOC_MAX_BYTES 8192u /* SLUB, and SLAB since 6.1: KMALLOC_MAX_CACHE_SIZE, two pages */

/* A cache; the first member of a strategy's own. */
struct object_cache {
	struct object_heap *heap;
	struct kml_cache description; /* the name is borrowed from the caller, or the class's own */
	uint32_t index;               /* of the first cache_open that made it */
	uint32_t users;               /* indices it is open under: more than one when merged */
	uint64_t live;                /* objects granted to callers */
	uint64_t object_bytes;        /* granted to the caller of each object */
	bool is_guarded;              /* guard.h; only of strategies whose runs are slabs */
};

/* A granted object and where it lies. `run` is the owner in the page map: the strategy's slab. */
struct object_place {
	uint64_t address;
	uint64_t granted_bytes;
	struct object_cache *cache; /* NULL: of none (SLOB's kmalloc) */
	void *run;
	uint32_t slot;
};

struct object_strategy {
	const struct kml_allocator *allocator;
	size_t heap_bytes, cache_bytes; /* of structs that begin with object_heap, object_cache */
	uint32_t kmalloc_min_bytes;     /* the smallest size class; 0: 8 */

	/* After the common part is set up; false and *error on parameters that contradict each other. Optional. */
	bool (*start)(struct object_heap *heap, const void *config, struct kml_error *error);
	/* Memory of the strategy's own. Slabs need not be given back: the backing is destroyed. Optional. */
	void (*stop)(struct object_heap *heap);

	/* Geometry and empty lists. False without memory, or when no slab can hold such an object. */
	bool (*cache_open)(struct object_cache *cache);
	/* An open cache that may stand for this one too; NULL: none. Optional: nothing is merged. */
	struct object_cache *(*merge)(struct object_heap *heap, const struct kml_cache *description);
	/* No object is live: give back every slab. */
	void (*cache_close)(struct object_cache *cache);
	/* Memory of the cache's own (arrays); its slabs are gone or forgotten. Optional. */
	void (*cache_release)(struct object_cache *cache);
	/* The heap is destroyed: the memory of a run's descriptor. */
	void (*run_release)(void *run);

	/*
	 * An object for the caller; place is filled but for granted_bytes and cache, which are set already. On failure
	 * the backing's status. The caller of take marks nothing: the strategy marks the object live.
	 */
	enum kml_status (*take)(struct object_cache *cache, const struct kml_request *request,
				struct object_place *place);
	/* A live object comes back; not refused. */
	void (*give)(const struct object_place *place, const struct kml_release *release);
	/* Of a request that went through kmalloc, whatever cache it names. Optional: size classes. */
	struct kml_grant (*kmalloc)(struct object_heap *heap, const struct kml_request *request);
	/* The live object that starts at an address in a page of the strategy's, or the misuse by name. */
	enum kml_status (*resolve)(const struct object_heap *heap, void *run, uint64_t address,
				   struct object_place *place);

	void (*cache_shrink)(struct object_cache *cache);
	void (*cache_drain)(struct object_cache *cache, uint16_t cpu); /* optional: nothing per cpu */
	/* What belongs to no cache; after all caches. Optional. */
	void (*heap_shrink)(struct object_heap *heap);
	/* Fill all but name and live_objects. */
	void (*cache_stats)(const struct object_cache *cache, struct kml_cache_stats *stats);
	/* Of pages that belong to no cache, as one more cache after all others; its name too. Optional. */
	void (*heap_stats)(const struct object_heap *heap, struct kml_cache_stats *stats);
	/* Every object of the run in address order; owner, and cpu where it is parked. */
	bool (*walk_run)(const struct object_heap *heap, void *run, kml_visit *visit, void *context);
	/* Self-check of one cache; *error names what is broken. */
	bool (*cache_validate)(const struct object_cache *cache, struct kml_error *error);
	/* Of one run, before the caches: for what cache_validate cannot come by. Optional. */
	bool (*run_validate)(const struct object_heap *heap, void *run, struct kml_error *error);
	/* Of what belongs to no cache. Optional. */
	bool (*heap_validate)(const struct object_heap *heap, struct kml_error *error);

	/* A start in mid-life (allocator.h: seed, settle). take_warm as take, of requests with KML_WARM. Optional. */
	void (*seed)(struct object_cache *cache, const struct kml_seed *seed);
	enum kml_status (*take_warm)(struct object_cache *cache, const struct kml_request *request,
				     struct object_place *place);
	void (*cache_settle)(struct object_cache *cache);

	void (*notice)(struct object_heap *heap, struct object_cache *cache, const struct kml_notice *notice);
	uint64_t (*tick)(struct object_heap *heap, uint64_t now_ns);
};

/* The books, in bytes; kept by the functions below and by the strategy as it says there. */
struct object_books {
	uint64_t live_bytes;        /* granted objects, as granted */
	uint64_t live_slot_bytes;   /* the same with their padding and headers */
	uint64_t slot_bytes;        /* all slots of all slabs */
	uint64_t free_slot_bytes;   /* of those on a slab's own free list */
	uint64_t tail_bytes;        /* ends of slabs too short for a slot */
	uint64_t management_bytes;  /* colour, indices and descriptors on slabs */
	uint64_t run_granted_bytes; /* pages of the strategy's, as the backing granted them */
	uint64_t page_bytes;        /* granted to the caller as pages */
	uint64_t metadata_bytes;    /* descriptors, caches, arrays: outside the arena */
	uint64_t steps;             /* allocator.h: what was looked at or moved */
};

struct object_heap {
	struct kml_heap heap;
	const struct object_strategy *strategy;
	struct kml_environment environment;
	struct kml_heap *backing;
	struct kml_arena *arena;
	uint32_t page_bytes, page_shift;
	uint32_t cpu_count;
	uint32_t cache_count;         /* indices of callers; then KMALLOC_CACHES of our own */
	struct object_cache **caches; /* by index; NULL: not open. Merged ones point to the same. */
	const char **names;           /* by index: as each was opened, borrowed */
	struct object_books books;
	bool has_settled;
	bool has_guards;               /* some cache is guarded */
	struct vmalloc_areas *vmalloc; /* NULL until first used */
};

/* ----------------------------------------------------------------------------------- the ABI's operations */

struct kml_heap *object_create(const struct object_strategy *strategy, const struct kml_environment *environment,
			       const void *config, struct kml_error *error);
void object_destroy(struct kml_heap *heap);
enum kml_status object_cache_open(struct kml_heap *heap, uint32_t index, const struct kml_cache *description);
enum kml_status object_cache_close(struct kml_heap *heap, uint32_t index);
struct kml_grant object_alloc(struct kml_heap *heap, const struct kml_request *request);
enum kml_status object_free(struct kml_heap *heap, const struct kml_release *release);
uint64_t object_usable(const struct kml_heap *heap, uint64_t address);
void object_shrink(struct kml_heap *heap);
void object_drain(struct kml_heap *heap, uint16_t cpu);
void object_stats(const struct kml_heap *heap, struct kml_stats *stats);
uint32_t object_free_areas(const struct kml_heap *heap, struct kml_free_area *areas);
void object_walk(const struct kml_heap *heap, kml_visit *visit, void *context);
bool object_validate(const struct kml_heap *heap, struct kml_error *error);
void object_cache_shrink(struct kml_heap *heap, uint32_t index);
bool object_cache_stats(const struct kml_heap *heap, uint32_t index, struct kml_cache_stats *stats);
void object_seed(struct kml_heap *heap, const struct kml_seed *seed);
void object_settle(struct kml_heap *heap);
void object_notice(struct kml_heap *heap, const struct kml_notice *notice);
uint64_t object_tick(struct kml_heap *heap, uint64_t now_ns);

/* All of them but create; a strategy adds seed, settle, notice and tick where it has them. */
#define OBJECT_COMMON_OPERATIONS                                                                                       \
	.destroy = object_destroy, .cache_open = object_cache_open, .cache_close = object_cache_close,                 \
	.alloc = object_alloc, .free = object_free, .usable = object_usable, .shrink = object_shrink,                  \
	.drain = object_drain, .stats = object_stats, .free_areas = object_free_areas, .walk = object_walk,            \
	.validate = object_validate, .cache_shrink = object_cache_shrink, .cache_stats = object_cache_stats

/* ------------------------------------------------------------------------------------- for the strategies */

/* Pages for the strategy: the backing's grant for a block of size_bytes (whole pages), all pages marked with the
 * owner, the books kept. */
struct kml_grant object_take_run(struct object_heap *heap, uint64_t size_bytes, const struct kml_cache *description,
				 const struct kml_request *request, void *owner);
/* Mark the pages of a run with their owner. */
void object_own_run(struct object_heap *heap, uint64_t address, uint64_t granted_bytes, void *owner);
/* Give them back. */
void object_give_run(struct object_heap *heap, uint64_t address, uint64_t granted_bytes, uint16_t cpu);
/* Pages for the caller (large kmalloc); granted as the backing grants. */
struct kml_grant object_take_pages(struct object_heap *heap, const struct kml_request *request);
/* The smallest order whose block of pages holds so many bytes (get_order). */
uint32_t object_order(const struct object_heap *heap, uint64_t size_bytes);

/* The class of a kmalloc of this size (1 to KMALLOC_MAX_BYTES), and a class's size. mm/slab_common.c:
 * kmalloc_index. */
uint32_t kmalloc_class(uint64_t size_bytes);
uint64_t kmalloc_class_bytes(uint32_t class);

static inline struct object_heap *object_heap_of(const struct kml_heap *heap)
{
	return (struct object_heap *)(uintptr_t)heap;
}

static inline uint8_t *object_memory(const struct object_heap *heap, uint64_t address)
{
	return heap->arena->base + address;
}

#endif
