/*
 * afl_mutator.c - mutate.c for afl-fuzz: AFL_CUSTOM_MUTATOR_LIBRARY=BUILD/libkmemlab-mutator.so (AFL++, custom
 * mutators, "C/C++ interface"). For targets that take programs; others are served well by afl-fuzz itself.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/mutate.h"
#include "fuzz/program.h"

/* One of so many joins two programs. */
enum { CROSSOVER_ONE_IN = 4 };

struct mutator {
	uint64_t seed;
	uint8_t bytes[PROGRAM_BYTES_MAX];
};

#define EXPORTED __attribute__((visibility("default")))

EXPORTED void *afl_custom_init(void *afl, unsigned seed);
EXPORTED size_t afl_custom_fuzz(void *data, uint8_t *bytes, size_t byte_count, uint8_t **out, uint8_t *other,
				size_t other_count, size_t byte_max);
EXPORTED void afl_custom_deinit(void *data);

void *afl_custom_init(void *afl, unsigned seed)
{
	(void)afl;
	struct mutator *mutator = calloc(1, sizeof *mutator);
	if (mutator)
		mutator->seed = (uint64_t)seed << 32;
	return mutator;
}

size_t afl_custom_fuzz(void *data, uint8_t *bytes, size_t byte_count, uint8_t **out, uint8_t *other, size_t other_count,
		       size_t byte_max)
{
	struct mutator *mutator = data;
	size_t room = byte_max < sizeof mutator->bytes ? byte_max : sizeof mutator->bytes;
	size_t count = byte_count < room ? byte_count : room;
	uint64_t seed = mutator->seed++ << 1;

	*out = mutator->bytes;
	if (other && mutator->seed % CROSSOVER_ONE_IN == 0)
		return program_crossover(bytes, byte_count, other, other_count, mutator->bytes, room, seed);
	memcpy(mutator->bytes, bytes, count);
	return program_mutate(mutator->bytes, count, room, seed);
}

void afl_custom_deinit(void *data)
{
	free(data);
}
