/*
 * mutate_spec.h - changes of spec strings (allocators/README.md: `name:parameter=value,.../name`) by their grammar.
 *
 * A spec is a list of words, each behind the character that says what it is: '/' a layer, ':' or ',' a parameter, '='
 * its value, '+' one more of a list. Words come from other specs that an engine has; numbers are set to bounds, lists
 * go on as they began, and words go where their like stand.
 */
#ifndef KMEMLAB_FUZZ_MUTATE_SPEC_H
#define KMEMLAB_FUZZ_MUTATE_SPEC_H

#include <stddef.h>
#include <stdint.h>

/* Change a spec in place, room for byte_max bytes; its new length. `other` (may be NULL) is one to take words from.
 * Same seed, same result. O(bytes). */
size_t spec_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, const uint8_t *other, size_t other_count,
		   uint64_t seed);

#endif
