/*
 * afl_mutator.c - structured.c for afl-fuzz: AFL_CUSTOM_MUTATOR_LIBRARY=BUILD/libkmemlab-mutator.so (AFL++, custom
 * mutators, "C/C++ interface"). For the target in KML_FUZZ_TARGET. Programs, and only they, with
 * AFL_CUSTOM_MUTATOR_ONLY=1: afl-fuzz would spend the first minutes of a fresh corpus on random changes of its first
 * program, whose number it doubles at each find.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/structured.h"
#include "kmemlab/support/random.h"

enum {
	CROSSOVER_ONE_IN = 4,
	BYTES_MAX = 8,         /* changed at once */
	CHANGES_OF_ONE = 32,   /* of one program before the next has its turn */
	CHANGES_OF_FILE = 256, /* of a file, which afl-fuzz changes as often itself */
	INPUT_BYTES_MAX = 1 << 16,
};

struct mutator {
	enum structure structure;
	uint64_t seed, age;
	uint8_t bytes[INPUT_BYTES_MAX];
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
	const char *target = getenv("KML_FUZZ_TARGET");
	struct mutator *mutator = calloc(1, sizeof *mutator);
	if (!mutator)
		return NULL;
	mutator->structure = structure_of(target ? target : "", getenv("AFL_CUSTOM_MUTATOR_ONLY") != NULL);
	mutator->seed = (uint64_t)seed << 32;
	return mutator;
}

/* Bytes anywhere: fields take values that no rule would give. */
static size_t change_bytes(uint8_t *bytes, size_t count, size_t byte_max)
{
	static uint64_t state;
	(void)byte_max;
	for (uint64_t left = count ? 1 + random_below(&state, BYTES_MAX) : 0; left > 0; left--) {
		uint8_t *byte = &bytes[random_below(&state, count)];
		uint64_t random = random_next(&state);
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
	bool joins = mutator->seed++ % CROSSOVER_ONE_IN == 0;

	memcpy(mutator->bytes, bytes, count);
	*out = mutator->bytes;
	return structured_mutate(mutator->structure, mutator->bytes, count, room, joins ? other : NULL, other_count,
				 mutator->age++, mutator->seed, change_bytes);
}

/*
 * How many of one input before the next has its turn. afl-fuzz doubles it at each find, up to 64 times: with its own
 * number the first program of a fresh corpus would be the only one for minutes, and nothing be taken over from others.
 */
unsigned afl_custom_fuzz_count(void *data, const uint8_t *bytes, size_t byte_count)
{
	const struct mutator *mutator = data;
	(void)bytes;
	(void)byte_count;
	return mutator->structure == STRUCTURE_PROGRAM ? CHANGES_OF_ONE : CHANGES_OF_FILE;
}

void afl_custom_deinit(void *data)
{
	free(data);
}
