/*
 * naive.h - the naive stress test that fuzzers are compared with: events whose every field is uniform in its range, on
 * a stack of defaults. It knows what an event may say, as any user of the ABI does, and nothing of what was granted, of
 * the bounds of size classes or of what an operation needs to do anything; nor does it choose parameters.
 */
#ifndef KMEMLAB_FUZZ_NAIVE_H
#define KMEMLAB_FUZZ_NAIVE_H

#include <stdint.h>

#include "fuzz/program.h"

/* A program of up to PROGRAM_OPS events on a stack ("slub/binary"); *state: of the random numbers. O(events). */
void naive_program(struct program *program, const char *stack, uint64_t *state);

#endif
