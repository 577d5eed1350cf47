/*
 * seeds.h - one pass over a trace that begins in mid-life: what its addresses say about the state at the start.
 *
 * A slot is a place where the recorded kernel put objects: an address. What happens first on a slot says what it was
 * when the recording began: an allocation, so it was free; a free, so it was live (a warm object of the trace). Slots
 * of slabs that the kernel took during the recording are left out: those slabs did not exist yet.
 *
 * What is not used: pages of the slab allocator given back after the first slabinfo (those before it only tell how many
 * slabs there were at the start). Which slabs emptied is for the replay to predict.
 *
 * Cost: O(events) time; memory O(distinct slots and slabs that the trace names), about 48 bytes each.
 */
#ifndef KMEMLAB_SEEDS_H
#define KMEMLAB_SEEDS_H

#include <stdbool.h>
#include <stdint.h>

#include "traces/kmt/kmt.h"

struct replay_seeds {
	struct kml_seed *seeds; /* free slots, in the order of the events that used them first */
	uint64_t count;
	/*
	 * By cache: how many warm objects without an address the replayer must leave out. The importer counts them from
	 * the first slabinfo, whose active objects include free ones on per-cpu slabs; slots that the trace shows to
	 * have been free cannot have held them. Leave out the first so many of each cache; they have no free.
	 */
	uint64_t *surplus;
	uint32_t cache_count;
};

/*
 * The whole trace, from its start; leaves the reader anywhere. Empty for a trace that begins at boot. false and *error
 * when it is damaged or memory is short. The caller frees the seeds.
 */
bool replay_seeds_collect(struct kmt_reader *reader, struct replay_seeds *seeds, struct kml_error *error);
void replay_seeds_free(struct replay_seeds *seeds);

#endif
