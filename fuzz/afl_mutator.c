/*
 * afl_mutator.c - mutate.c for afl-fuzz: AFL_CUSTOM_MUTATOR_LIBRARY=BUILD/libkmemlab-mutator.so (AFL++, custom
 * mutators, "C/C++ interface"). For targets that take programs; others are served well by afl-fuzz itself.
 * With AFL_CUSTOM_MUTATOR_ONLY=1: afl-fuzz would spend the first minutes of a fresh corpus on random changes of its
 * first program, whose number it doubles at each find.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/mutate.h"
#include "fuzz/program.h"
#include "kmemlab/support/random.h"

/* One of so many joins two programs. */
enum { CROSSOVER_ONE_IN = 4, BYTES_ONE_IN = 8, BYTES_MAX = 8, CHANGES_OF_ONE = 32 };

struct mutator {
	uint64_t seed;
	uint8_t bytes[PROGRAM_BYTES_MAX];
};

#define EXPORTED __attribute__((visibility("default")))

EXPORTED void *afl_custom_init(void *afl, unsigned seed);
EXPORTED size_t afl_custom_fuzz(void *data, uint8_t *bytes, size_t byte_count, uint8_t **out, uint8_t *other,
				size_t other_count, size_t byte_max);
EXPORTED unsigned afl_custom_fuzz_count(void *data, const uint8_t *bytes, size_t byte_count);
EXPORTED void afl_custom_deinit(void *data);

void *afl_custom_init(void *afl, unsigned seed)
{
	(void)afl;
	struct mutator *mutator = calloc(1, sizeof *mutator);
	if (mutator)
		mutator->seed = (uint64_t)seed << 32;
	return mutator;
}

/* Bytes anywhere: fields take values that no rule of mutate.c would give. */
static size_t change_bytes(uint8_t *bytes, size_t count, uint64_t seed)
{
	for (uint64_t left = 1 + random_below(&seed, BYTES_MAX); left > 0; left--) {
		uint8_t *byte = &bytes[random_below(&seed, count)];
		uint64_t random = random_next(&seed);
		*byte = random & 1 ? (uint8_t)(random >> 8) : *byte ^ (uint8_t)(1u << (random >> 8 & 7));
	}
	return count;
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
	if (count && mutator->seed % BYTES_ONE_IN == 1)
		return change_bytes(mutator->bytes, count, seed);
	return program_mutate(mutator->bytes, count, room, seed);
}

/*
 * How many of one program before the next has its turn. afl-fuzz doubles it at each find, up to 64 times: with its own
 * number the first program of a fresh corpus would be the only one for minutes, and nothing be taken over from others.
 */
unsigned afl_custom_fuzz_count(void *data, const uint8_t *bytes, size_t byte_count)
{
	(void)data;
	(void)bytes;
	(void)byte_count;
	return CHANGES_OF_ONE;
}

void afl_custom_deinit(void *data)
{
	free(data);
}
