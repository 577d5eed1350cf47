/* blocks.c - the live blocks of an adversary. A microsecond passes before each request. */
#include "workloads/generate/blocks.h"

#include <stdlib.h>

enum { STEP_NS = 1000 };

static void wait_a_step(struct generate *generate)
{
	generate_advance_to(generate, generate_now(generate) + STEP_NS);
}

static bool reserve(struct blocks *blocks)
{
	if (blocks->count < blocks->room)
		return true;
	uint64_t room = blocks->room ? 2 * blocks->room : 256;
	struct block *larger = realloc(blocks->items, room * sizeof *larger);
	if (!larger)
		return false;
	blocks->items = larger;
	blocks->room = room;
	return true;
}

bool blocks_take(struct blocks *blocks, struct generate *generate, uint64_t size_bytes, uint64_t live_max_bytes)
{
	const struct generate_ask ask = {.size_bytes = size_bytes};
	while (generate_live_bytes(generate) + size_bytes <= live_max_bytes) {
		if (!reserve(blocks)) {
			generate_fail(generate, "out of memory for its blocks");
			return false;
		}
		wait_a_step(generate);
		generate_id id = generate_alloc(generate, &ask);
		if (id == GENERATE_REFUSED)
			return true;
		blocks->items[blocks->count++] =
			(struct block){.address = generate_address(generate, id), .size_bytes = size_bytes, .id = id};
	}
	return true;
}

void blocks_keep(struct blocks *blocks, struct generate *generate, blocks_choice *keeps, uint64_t offset_bytes,
		 uint64_t period_bytes)
{
	uint64_t kept = 0;
	for (uint64_t i = 0; i < blocks->count; i++) {
		if (keeps(&blocks->items[i], offset_bytes, period_bytes)) {
			blocks->items[kept++] = blocks->items[i];
			continue;
		}
		wait_a_step(generate);
		generate_free(generate, blocks->items[i].id, 0);
	}
	blocks->count = kept;
}
