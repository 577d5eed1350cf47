/*
 * blocks.h - the live blocks of an adversary, and where its victim put them. Used by knuth.c and robson.c.
 */
#ifndef KMEMLAB_BLOCKS_H
#define KMEMLAB_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "workloads/generate/generate.h"

struct block {
	uint64_t address, size_bytes; /* as asked for */
	generate_id id;
};

/* In the order in which they were taken. Zero-initialise; free `items`. */
struct blocks {
	struct block *items;
	uint64_t count, room;
};

/*
 * Take blocks of one size until the next would make more than live_max_bytes live, or is refused. false without memory;
 * the workload then fails.
 */
bool blocks_take(struct blocks *blocks, struct generate *generate, uint64_t size_bytes, uint64_t live_max_bytes);

/* Does a block hold a byte whose address is offset_bytes modulo period_bytes? O(1). */
static inline bool block_covers(const struct block *block, uint64_t offset_bytes, uint64_t period_bytes)
{
	uint64_t phase = block->address % period_bytes;
	return (offset_bytes + period_bytes - phase) % period_bytes < block->size_bytes;
}

/* Does it begin there? */
static inline bool block_begins(const struct block *block, uint64_t offset_bytes, uint64_t period_bytes)
{
	return block->address % period_bytes == offset_bytes;
}

typedef bool blocks_choice(const struct block *block, uint64_t offset_bytes, uint64_t period_bytes);
/* Free all of which `keeps` is not true. O(blocks). */
void blocks_keep(struct blocks *blocks, struct generate *generate, blocks_choice *keeps, uint64_t offset_bytes,
		 uint64_t period_bytes);

#endif
