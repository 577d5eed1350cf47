/*
 * slub.h - what slub.c shares with what stands in front of it (sheaves) and what starts it in mid-life (seed).
 *
 * Where a slab of a cache is (slab->list):
 *
 *      SLUB_FULL         on no list: every object is out
 *      SLUB_CPU          the slab of cpu slab->cpu: its free list was taken whole and is cpus[].freelist; objects that
 *                        other cpus free collect on the slab's own list
 *      SLUB_CPU_PARTIAL  on the partial list of cpu slab->cpu, the newest first, linked by link.next
 *      SLUB_NODE         on the node's partial list
 *
 * An object that is off every free list is in use for the slab, whoever has it: the caller (slab_grant), or somebody
 * who keeps it for later (a sheaf). slub_take and slub_give move objects between the slabs and whoever that is; they
 * do not mark them as granted.
 */
#ifndef KMEMLAB_SLAB_SLUB_H
#define KMEMLAB_SLAB_SLUB_H

#include "allocators/slab/guard.h"
#include "allocators/slab/slab_run.h"
#include "allocators/slab/slub_geometry.h"

enum slub_list { SLUB_FULL, SLUB_CPU, SLUB_CPU_PARTIAL, SLUB_NODE };

enum slub_percpu { SLUB_PERCPU_ON, SLUB_PERCPU_SLAB, SLUB_PERCPU_OFF };

/* What happened, under the names of /sys/kernel/slab (CONFIG_SLUB_STATS). */
enum slub_event {
	SLUB_ALLOC_FASTPATH,
	SLUB_ALLOC_SLOWPATH,
	SLUB_FREE_FASTPATH,
	SLUB_FREE_SLOWPATH,
	SLUB_FREE_FROZEN,
	SLUB_FREE_ADD_PARTIAL,
	SLUB_FREE_REMOVE_PARTIAL,
	SLUB_ALLOC_FROM_PARTIAL,
	SLUB_ALLOC_SLAB,
	SLUB_ALLOC_REFILL,
	SLUB_FREE_SLAB,
	SLUB_CPUSLAB_FLUSH,
	SLUB_DEACTIVATE_FULL,
	SLUB_DEACTIVATE_EMPTY,
	SLUB_DEACTIVATE_TO_HEAD,
	SLUB_DEACTIVATE_TO_TAIL,
	SLUB_DEACTIVATE_REMOTE_FREES,
	SLUB_DEACTIVATE_BYPASS,
	SLUB_ORDER_FALLBACK,
	SLUB_CPU_PARTIAL_ALLOC,
	SLUB_CPU_PARTIAL_FREE,
	SLUB_CPU_PARTIAL_NODE,
	SLUB_CPU_PARTIAL_DRAIN,
	SLUB_EVENTS
};
extern const char *const slub_event_names[SLUB_EVENTS]; /* "alloc_fastpath", ... */

struct slub_config {
	uint32_t profile, order, random, merge, percpu, fit, debug; /* choices; order: 0 auto, else order + 1 */
	uint64_t min_order, max_order, min_objects, min_partial, cpu_partial; /* the last three: 0 auto */
};

struct slub_heap {
	struct object_heap heap;
	struct slub_config config;
	struct slub_tunables tunables;
	uint64_t random_state;
};

/* struct kmem_cache_cpu */
struct slub_cpu {
	struct slab *slab;    /* NULL: none */
	uint64_t freelist;    /* free objects of `slab` that this cpu has for itself; KML_NO_ADDRESS: none */
	struct slab *partial; /* newest */
	uint32_t partial_slabs;
};

struct sheaves;

struct slub_cache {
	struct slab_cache slabs;
	uint8_t *links;           /* memory of address 0, plus where the link lies in an object */
	struct slab_list partial; /* struct kmem_cache_node: n->partial */
	uint64_t partial_free;    /* free objects on slabs of that list */
	uint32_t min_partial, cpu_partial_objects, cpu_partial_slabs;
	uint32_t sequence_count; /* of a cache with random free lists, else 0 */
	uint64_t sequence_state; /* that its numbers are drawn from */
	uint32_t *sequence;      /* a permutation of slot numbers; NULL until the first slab */
	uint64_t parked;         /* objects in use for the slabs that sheaves keep */
	struct sheaves *sheaves; /* NULL: the cache has none */
	uint64_t events[SLUB_EVENTS];
	struct slub_cpu *cpus; /* heap.cpu_count */
};

static inline struct slub_cache *slub_cache_of(const struct object_cache *cache)
{
	return (struct slub_cache *)(uintptr_t)cache;
}

static inline struct slub_heap *slub_heap_of(const struct slub_cache *cache)
{
	return (struct slub_heap *)cache->slabs.cache.heap;
}

/* The link in a free object: slab_link with fewer steps. */
static inline uint64_t *slub_link(const struct slub_cache *cache, uint64_t object)
{
	return (uint64_t *)(void *)(cache->links + object);
}

static inline bool slub_has_percpu(const struct slub_cache *cache)
{
	return cache->cpus != NULL;
}

/*
 * An object off the slabs by the paths of ___slab_alloc, for request->cpu; KML_NO_ADDRESS and *status when the backing
 * has no page. It is not granted yet: slab_grant(slab_of(heap, object), object, place).
 */
uint64_t slub_take(struct slub_cache *cache, const struct kml_request *request, enum kml_status *status);
/* An object that is not granted goes back, by the paths of __slab_free on that cpu. */
void slub_give(struct slub_cache *cache, struct slab *slab, uint64_t object, uint16_t cpu);

/* A new slab with all slots free, on no list; NULL and *status when the backing has none. */
struct slab *slub_slab_new(struct slub_cache *cache, const struct kml_request *request, enum kml_status *status);
/*
 * The free slots of a slab of slub_slab_new are to be these, first one first; all others are in use: grant them.
 */
void slub_slab_shape(struct slab *slab, const uint32_t *free_slots, uint32_t count);
/*
 * A slab on no list takes its place: SLUB_FULL without free slots; SLUB_NODE at the end of the list; SLUB_CPU_PARTIAL
 * as the newest of that cpu's (its list is not drained); SLUB_CPU: the cpu's slab, of a cpu that has none.
 */
void slub_slab_adopt(struct slab *slab, enum slub_list list, uint16_t cpu);

/* The cpu's slab and partial list go to the node (flush_cpu_slab). */
void slub_flush_cpu(struct slub_cache *cache, uint16_t cpu);

/* slub_check.c, of the strategy's table: every list, state and counter of the cache. O(objects). */
bool slub_cache_validate(const struct object_cache *base, struct kml_error *error);
/* Of one slab: whether it may be on no list. */
bool slub_run_validate(const struct object_heap *heap, void *run, struct kml_error *error);

#endif
