/*
 * random.h - the tests' random numbers: splitmix64 (Steele, Lea & Flood 2014). Same seed, same numbers, everywhere.
 */
#ifndef KMEMLAB_CHECK_RANDOM_H
#define KMEMLAB_CHECK_RANDOM_H

#include <stdint.h>

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state += 0x9E3779B97F4A7C15ull;
	x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
	x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
	return x ^ (x >> 31);
}

/* A number below `limit` (>= 1). The bias of the remainder does not matter to a test. */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

#endif
