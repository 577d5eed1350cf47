/*
 * mutate_kmt.h - changes of loose .kmt files (repair.h) by block, part and field, for libFuzzer and AFL++ alike.
 *
 * A byte more or less in a column is a damaged file and no more, to a reader that holds lengths against each other. So
 * a part is changed as what it is - a list of numbers, of bytes, of texts - and the lengths around it are set right.
 * What the fields are is traces/README.md's; nothing is asked of their meaning.
 */
#ifndef KMEMLAB_FUZZ_MUTATE_KMT_H
#define KMEMLAB_FUZZ_MUTATE_KMT_H

#include <stddef.h>
#include <stdint.h>

#include "fuzz/mutate_file.h"

/*
 * Change a file in place, room for byte_max bytes; its new length. One change in four, and each where the file has no
 * sound part, is `mutate` of the whole. Same seed, same change, but for what `mutate` does. O(bytes).
 */
size_t kmt_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, uint64_t seed, mutate_bytes *mutate);

#endif
