/* structured.c - the policy: which change, how often. */
#include "fuzz/structured.h"

#include <string.h>

#include "fuzz/mutate.h"
#include "fuzz/mutate_kmt.h"
#include "fuzz/mutate_perf.h"
#include "fuzz/mutate_spec.h"
#include "fuzz/mutate_text.h"
#include "fuzz/program.h"
#include "kmemlab/support/random.h"

enum {
	FRESH_FIRST = 256,  /* programs of their own before any other change */
	FRESH_ONE_IN = 4,   /* later */
	BYTES_ONE_IN = 8,   /* changes that are the engine's own */
	CHANGED_ONE_IN = 2, /* joined programs that are changed besides */
	GRAMMAR_ONE_IN = 2, /* changes of a spec or another text */
};

enum structure structure_of(const char *target, bool takes_programs)
{
	if (takes_programs)
		return STRUCTURE_PROGRAM;
	return strcmp(target, "kmt") == 0         ? STRUCTURE_KMT
	       : strcmp(target, "perf-data") == 0 ? STRUCTURE_PERF
	       : strcmp(target, "spec") == 0      ? STRUCTURE_SPEC
						  : STRUCTURE_TEXT;
}

static size_t mutate_program(uint8_t *bytes, size_t byte_count, size_t byte_max, const uint8_t *other,
			     size_t other_count, uint64_t age, uint64_t seed, mutate_bytes *mutate)
{
	static uint8_t joined[PROGRAM_BYTES_MAX];
	size_t room = byte_max < PROGRAM_BYTES_MAX ? byte_max : PROGRAM_BYTES_MAX;
	size_t count = byte_count < room ? byte_count : room;
	uint64_t state = seed;

	if (age < FRESH_FIRST || random_below(&state, FRESH_ONE_IN) == 0)
		return program_generate(bytes, room, seed);
	if (!other)
		return random_below(&state, BYTES_ONE_IN) == 0 ? mutate(bytes, count, room)
							       : program_mutate(bytes, count, room, seed);
	count = program_crossover(bytes, byte_count, other, other_count, joined, room, seed);
	memcpy(bytes, joined, count);
	return random_below(&state, CHANGED_ONE_IN) == 0 ? program_mutate(bytes, count, room, seed) : count;
}

size_t structured_mutate(enum structure structure, uint8_t *bytes, size_t byte_count, size_t byte_max,
			 const uint8_t *other, size_t other_count, uint64_t age, uint64_t seed, mutate_bytes *mutate)
{
	uint64_t state = random_mix(seed);
	switch (structure) {
	case STRUCTURE_PROGRAM:
		return mutate_program(bytes, byte_count, byte_max, other, other_count, age, state, mutate);
	case STRUCTURE_KMT:
		return kmt_mutate(bytes, byte_count, byte_max, state, mutate);
	case STRUCTURE_PERF:
		return perf_mutate(bytes, byte_count, byte_max, state, mutate);
	case STRUCTURE_SPEC:
		return random_below(&state, GRAMMAR_ONE_IN) == 0
			       ? spec_mutate(bytes, byte_count, byte_max, other, other_count, state)
			       : mutate(bytes, byte_count, byte_max);
	case STRUCTURE_TEXT:
		return random_below(&state, GRAMMAR_ONE_IN) == 0
			       ? text_mutate(bytes, byte_count, byte_max, other, other_count, state)
			       : mutate(bytes, byte_count, byte_max);
	}
	return 0;
}
