/*
 * mutate_file.h - what the changes of binary files share (mutate_kmt.c, mutate_perf.c): a file that is being changed in
 * its room, and numbers and bytes of it.
 */
#ifndef KMEMLAB_FUZZ_MUTATE_FILE_H
#define KMEMLAB_FUZZ_MUTATE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Changes bytes in place, with room for byte_max; their new number. libFuzzer's LLVMFuzzerMutate is one. */
typedef size_t mutate_bytes(uint8_t *bytes, size_t byte_count, size_t byte_max);

struct mutation {
	uint8_t *bytes; /* borrowed */
	size_t byte_count, byte_max;
	uint64_t state; /* of the random numbers */
	mutate_bytes *mutate;
};

/* A number below `count` (>= 1). */
size_t mutation_below(struct mutation *mutation, size_t count);
/* Another number in place of one: a little more or less, a bit flipped, or at a bound. */
uint64_t mutation_number(struct mutation *mutation, uint64_t value);
/* `out_bytes` in place of those from `at` to `end`, `out` or, where it is NULL, whatever there was; false, and nothing
 * done, where there is no room. O(bytes). */
bool mutation_splice(struct mutation *mutation, size_t at, size_t end, const uint8_t *out, size_t out_bytes);

/* Numbers of 1 to 8 bytes, the lowest first. */
uint64_t get_little_endian(const uint8_t *bytes, size_t width);
void put_little_endian(uint8_t *bytes, size_t width, uint64_t value);

#endif
