/*
 * bounds.h - what theory says of the worst case, in units of the smallest block.
 *
 * Requests are powers of two from 1 to 2^r units, and at most `live` units are live at any moment. No block is moved.
 *
 *   knuth_needed      binary buddy system, lowest address first: a sequence needs this much (TAOCP 1, 2.5 exercise 41)
 *   knuth_enough      binary buddy system, any choice: no sequence needs more (the same)
 *   robson_needed     every allocator: a program needs this much (J. M. Robson, Bounds for some functions concerning
 *                     dynamic storage allocation, JACM 21(3), 1974, pp. 491-499); robson.c has the proof
 *
 * All expect `live` to be a multiple of 2^(r+1), so that nothing is rounded; r = 1: Robson's N(live, 2) = (3 live -
 * 1)/2.
 */
#ifndef KMEMLAB_BOUNDS_H
#define KMEMLAB_BOUNDS_H

#include <stdint.h>

static inline uint64_t knuth_needed(uint64_t live, uint64_t r)
{
	return live + r * (live / 2);
}

static inline uint64_t knuth_enough(uint64_t live, uint64_t r)
{
	return (r + 1) * live;
}

static inline uint64_t robson_needed(uint64_t live, uint64_t r)
{
	return live + r * (live / 2) - (1ull << r) + 1;
}

#endif
