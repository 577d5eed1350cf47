/*
 * mutate.h - changes of operation programs that keep operations whole, for libFuzzer and AFL++ alike.
 *
 * A program of bytes is changed by operation: insert, drop, repeat, swap, move, change one field, retarget a free,
 * splice a run of another program. Swarm weights (Groce et al. 2012): a seed switches kinds of operation off and skews
 * the others, so that some programs are all frees and some never shrink.
 */
#ifndef KMEMLAB_FUZZ_MUTATE_H
#define KMEMLAB_FUZZ_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* Change a program in place; room for byte_max bytes. Returns its new length, at least PROGRAM_SETUP_BYTES where
 * byte_max allows. Same seed, same result. O(bytes). */
size_t program_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, uint64_t seed);
/* A program of its own: setup and operations of one swarm. As program_mutate; no bytes where byte_max is less than a
 * setup's. */
size_t program_generate(uint8_t *bytes, size_t byte_max, uint64_t seed);
/* A program made of runs of two. */
size_t program_crossover(const uint8_t *first, size_t first_count, const uint8_t *second, size_t second_count,
			 uint8_t *out, size_t out_max, uint64_t seed);

#endif
