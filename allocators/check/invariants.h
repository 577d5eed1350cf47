/*
 * invariants.h - the deep check: walk, free areas, counters and the shadow's live blocks must tell one story.
 *
 * For the PAGES layer: the blocks tile the arena in address order up to the last whole unit; granted blocks are the
 * live ones; free and largest-free counters, free areas and held pages recomputed from the walk agree. For an OBJECTS
 * layer on top: its granted blocks are the live ones, in order and disjoint, and the layer below is checked as above.
 * Both: validate() passes and the contents of every live block are kept.
 *
 * Cost: O(blocks) time, no memory.
 */
#ifndef KMEMLAB_CHECK_INVARIANTS_H
#define KMEMLAB_CHECK_INVARIANTS_H

#include <stdbool.h>

#include "allocators/check/shadow.h"

/* Check everything; findings go to shadow->reports. True when there are no new ones. */
bool kml_check_deep(struct kml_shadow *shadow);

/*
 * To be called when every block is freed: shrinks the stack, then demands the free areas of creation, nothing granted
 * and nothing held. Findings as above.
 */
bool kml_check_whole(struct kml_shadow *shadow);

#endif
