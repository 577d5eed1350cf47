/*
 * random.h - the one source of random numbers: splitmix64 (Steele, Lea & Flood, "Fast splittable pseudorandom number
 * generators", OOPSLA 2014). Same seed, same numbers, everywhere. Its finaliser is the one hash of the project too.
 */
#ifndef KMEMLAB_RANDOM_H
#define KMEMLAB_RANDOM_H

#include <stdint.h>

static const uint64_t RANDOM_STEP = 0x9e3779b97f4a7c15u; /* 2^64 over the golden ratio, odd */

/* The finaliser: a bijection in which every bit of the key moves half of the bits of the result. */
static inline uint64_t random_mix(uint64_t key)
{
	key = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9u;
	key = (key ^ (key >> 27)) * 0x94d049bb133111ebu;
	return key ^ (key >> 31);
}

static inline uint64_t random_next(uint64_t *state)
{
	return random_mix(*state += RANDOM_STEP);
}

/* As many numbers pass as if they were drawn. O(1). */
static inline void random_skip(uint64_t *state, uint64_t numbers)
{
	*state += numbers * RANDOM_STEP;
}

/* A number below `limit` (>= 1). The bias of the remainder does not matter to a test. */
static inline uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

#endif
