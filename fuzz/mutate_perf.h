/*
 * mutate_perf.h - changes of perf.data files, of both forms, by section, record, attribute, feature and field, for
 * libFuzzer and AFL++ alike.
 *
 * A file is lengths within lengths, and offsets to them: a byte more or less anywhere and nothing behind it is read. So
 * it is taken apart as far as it is sound; what is changed is an item of it or one of its fields, and all lengths
 * around and offsets behind are set right - but where one of them is what is changed. What the fields are is
 * tools/perf/Documentation/perf.data-file-format.txt's; little is asked of their meaning. Compressed records are bytes.
 */
#ifndef KMEMLAB_FUZZ_MUTATE_PERF_H
#define KMEMLAB_FUZZ_MUTATE_PERF_H

#include <stddef.h>
#include <stdint.h>

#include "fuzz/mutate_file.h"

/*
 * Change a file in place, room for byte_max bytes; its new length. One change in four, and each where the file is no
 * perf.data, is `mutate` of the whole. Same seed, same change, but for what `mutate` does. O(bytes).
 */
size_t perf_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, uint64_t seed, mutate_bytes *mutate);

#endif
