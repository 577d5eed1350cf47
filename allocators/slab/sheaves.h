/*
 * sheaves.h - arrays of objects in front of SLUB, for the caches of Linux 6.18 that ask for them.
 *
 *      caller --- main, spare of the cpu --- barn of the node --- slabs (slub_take, slub_give)
 *                 sheaves of `capacity`      at most 10 full and 10 empty sheaves
 *
 * V. Babka, "SLUB percpu sheaves", Linux 6.18, 2025; mm/slub.c: alloc_from_pcs, free_to_pcs and what they call. The
 * last object freed is the first taken. Cost: O(1), and O(capacity) once in `capacity` steps; capacity words a sheaf.
 *
 * Two caches of 6.18 ask: vm_area_struct (kernel/fork.c) and maple_node (lib/maple_tree.c), 32 objects a sheaf.
 *
 * Not here: sheaves prefilled for a caller (kmem_cache_prefill_sheaf) and filled by kfree_rcu (__kfree_rcu_sheaf). A
 * trace shows neither: frees by kfree_rcu leave no event, and are known only when the object's place is used again.
 *
 * Objects in sheaves are in use for their slabs, granted to nobody; cache->parked counts them.
 */
#ifndef KMEMLAB_SLAB_SHEAVES_H
#define KMEMLAB_SLAB_SHEAVES_H

#include "allocators/slab/slub.h"

#define SHEAVES_BARN_MAX 10u /* MAX_FULL_SHEAVES, MAX_EMPTY_SHEAVES */

/* What a cache of this name asks for in 6.18; 0: no sheaves. */
uint32_t sheaves_capacity(const char *cache_name);
/* Are the cache's objects freed by kfree_rcu, which leaves no event in a trace? */
bool sheaves_filled_by_rcu(const char *cache_name);

/* Empty sheaves for every cpu; NULL without memory. */
struct sheaves *sheaves_create(uint32_t capacity, uint32_t cpu_count);
/* Nothing may be parked. NULL is allowed. */
void sheaves_destroy(struct sheaves *sheaves);

/* As slub_take and slub_give, of a cache with sheaves. A request with KML_ATOMIC that finds them empty goes to the
 * slabs. */
uint64_t sheaves_take(struct slub_cache *cache, const struct kml_request *request, enum kml_status *status);
void sheaves_give(struct slub_cache *cache, struct slab *slab, uint64_t object, uint16_t cpu);

/* All objects of the cpu's sheaves go to the slabs (pcs_flush_all); of the barn's (barn_shrink). */
void sheaves_flush_cpu(struct slub_cache *cache, uint16_t cpu);
void sheaves_flush_barn(struct slub_cache *cache);

/* A start in mid-life: the object, in use for its slab and not granted, is put on top of the cpu's main sheaf, which
 * goes where a full one goes first; or into the barn's newest. */
void sheaves_park(struct slub_cache *cache, uint64_t object, uint16_t cpu, bool on_node);

struct parked;
/* What every sheaf keeps, for the cache's self-check; false and *error when the sheaves themselves are broken. */
bool sheaves_gather(const struct slub_cache *cache, struct parked *parked, struct kml_error *error);

#endif
