/*
 * bounds.h - numbers where programs err: the bounds of integer types and powers of two, on both sides, and small ones;
 * of texts the lengths that buffers have.
 */
#ifndef KMEMLAB_FUZZ_BOUNDS_H
#define KMEMLAB_FUZZ_BOUNDS_H

#include <stddef.h>
#include <stdint.h>

#include "kmemlab/support/random.h"

static inline uint64_t number_at_bound(uint64_t *state)
{
	static const uint8_t type_bits[] = {7, 8, 15, 16, 31, 32, 63, 64};
	uint64_t random = random_next(state), side = (random >> 8) % 3 - 1;
	unsigned bits = random & 1 ? type_bits[random >> 16 & 7] : (unsigned)(random >> 16 & 63);
	if ((random >> 2 & 7) == 0)
		return random >> 32 & 15;
	return (bits < 64 ? 1ull << bits : 0) + side;
}

enum { LENGTH_MAX = 257 };

static inline size_t length_at_bound(uint64_t *state)
{
	static const uint16_t lengths[] = {0, 1, 2, 31, 32, 63, 64, 127, 128, 254, 255, 256, LENGTH_MAX};
	return lengths[random_below(state, sizeof lengths / sizeof lengths[0])];
}

#endif
