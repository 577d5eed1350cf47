/* ids.h - a bag of live objects, for generators that choose among them. Zero-initialised: empty. */
#ifndef KMEMLAB_GENERATE_IDS_H
#define KMEMLAB_GENERATE_IDS_H

#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "workloads/generate/generate.h"

struct ids {
	generate_id *items; /* owned */
	size_t first, count, room;
};

/* Amortised O(1). */
static inline void ids_add(struct ids *ids, generate_id id)
{
	if (id == GENERATE_REFUSED)
		return;
	if (ids->first > 0 && ids->first + ids->count == ids->room && ids->first >= ids->room / 2) {
		memmove(ids->items, ids->items + ids->first, ids->count * sizeof *ids->items);
		ids->first = 0;
	}
	if (ids->first + ids->count == ids->room) {
		ids->room = ids->room ? 2 * ids->room : 64;
		ids->items = realloc(ids->items, ids->room * sizeof *ids->items);
		KML_CHECK(ids->items, "no memory for %zu live objects", ids->room);
	}
	ids->items[ids->first + ids->count++] = id;
}

/* The one that was added first; there is one. */
static inline generate_id ids_take_oldest(struct ids *ids)
{
	ids->count--;
	return ids->items[ids->first++];
}

/* Some one; there is one. The last takes its place. */
static inline generate_id ids_take_any(struct generate *generate, struct ids *ids)
{
	generate_id *place = &ids->items[ids->first + generate_below(generate, ids->count)];
	generate_id id = *place;
	*place = ids->items[ids->first + --ids->count];
	return id;
}

static inline void ids_free(struct ids *ids)
{
	free(ids->items);
}

#endif
