/*
 * mutate_text.h - changes of texts by line, word and number, for libFuzzer and AFL++ alike: what tools print and
 * people write (traces as text, slabinfo, .ops) is lines of words, many of them numbers, and nothing more is asked.
 */
#ifndef KMEMLAB_FUZZ_MUTATE_TEXT_H
#define KMEMLAB_FUZZ_MUTATE_TEXT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Change a text in place, room for byte_max bytes; its new length. `other` (may be NULL) is one to take lines and words
 * from. Same seed, same change. O(bytes).
 */
size_t text_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, const uint8_t *other, size_t other_count,
		   uint64_t seed);

#endif
