/*
 * seed.h - a start in mid-life for the strategies with slabs: which slab is where, how full, when the recording begins.
 *
 * What is known of the recorded kernel (SLUB) at that moment, cache by cache:
 *   - the slots that were free and are used during the recording, in the order of their first use, and by which cpu
 *     (seeds);
 *   - the objects that were live and are freed during it (warm objects with an address);
 *   - how many slabs there were;
 *   - how many free objects the kernel counted: those on the node's partial list, exactly, while the free objects of
 *     cpu slabs and of cpus' partial slabs counted as active (mm/slub.c: get_slabinfo).
 *
 * What follows from the rules of allocation:
 *   1. the slab of a cpu's first seed was the slab of that cpu;
 *   2. slabs of later seeds were on that cpu's partial list, the newest first, or behind that on the node's. Where one
 *      ends and the other begins is where the free slots of the node's part add up to what the kernel counted: of all
 *      such cuts, at most `cpu_partial_slabs` a cpu, the one that comes nearest from below, and of equals the one that
 *      leaves the cpus alike;
 *   3. a cpu takes slabs from the head of the node's list in batches, the first to allocate from, each of the others on
 *      top of its partial list: it uses those of a batch in reverse (get_partial_node, put_cpu_partial);
 *   4. slots that no event names, on a slab with seeds, were in use: the cpu filled the slab before it left it;
 *   5. free objects that the kernel counted and no seed explains lie on slabs without seeds, which ones is not known:
 *      a hash chooses them, each as free as the node's other slabs are on average, or by half;
 *   6. all other slots of the counted slabs were in use.
 *
 * Nothing that happens to slabs during the recording is used. Cost: O(seeds + slabs * log(slabs)), and for the cut
 * O(cpus * cpu_partial_slabs^2); 40 bytes a slab until settle.
 */
#ifndef KMEMLAB_SLAB_SEED_H
#define KMEMLAB_SLAB_SEED_H

#include "allocators/slab/slab_run.h"

/* Where a slab was. */
enum seed_place { SEED_FULL, SEED_NODE, SEED_CPU_PARTIAL, SEED_CPU };

/* The strategy, as far as a start needs it. */
struct seed_rules {
	bool has_cpu_slab;
	uint32_t cpu_partial_slabs; /* of a cpu, at most; 0: none */
	uint32_t node_batch;        /* slabs that a cpu takes from the node at once; at least 1 */
	uint32_t parked_per_cpu; /* objects that a cpu keeps off the slabs (sheaves), and the node for all; 0: none */
	uint32_t parked_on_node;
	/* A new slab, all slots free, on no list; NULL and *status when the backing has none. */
	struct slab *(*create)(struct slab_cache *cache, const struct kml_request *request, enum kml_status *status);
	/* These slots of it are free, the others in use (granted or parked); it takes its place. */
	void (*adopt)(struct slab *slab, const uint32_t *free_slots, uint32_t count, enum seed_place place,
		      uint16_t cpu);
	/* An object off its slab, not granted, is kept by this cpu, or (`on_node`) for all; the one to be used last
	 * comes first. NULL where nothing is parked. */
	void (*park)(struct slab_cache *cache, uint64_t object, uint16_t cpu, bool on_node);
};

/* For the strategy's table: seed, take_warm, cache_settle. Memory that runs out ends the seeding of the cache. */
void seed_note(struct slab_cache *cache, const struct seed_rules *rules, const struct kml_seed *seed);
enum kml_status seed_take(struct slab_cache *cache, const struct seed_rules *rules, const struct kml_request *request,
			  struct object_place *place);
void seed_settle(struct slab_cache *cache, const struct seed_rules *rules);
/* The cache is released before it was settled. */
void seed_forget(struct slab_cache *cache);

#endif
