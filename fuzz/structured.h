/*
 * structured.h - what an engine does to an input whose structure is known: one policy for libFuzzer and AFL++.
 *
 * Programs: fresh ones at first, for a corpus of a few programs is no place to start from; later one in a few, for what
 * no small change of an old one leads to; else joined with another or changed by operation. .kmt by block, part and
 * field; perf.data by section, record, feature and field; specs by their grammar; the other
 * parsers' texts by line, word and number; and of each some by its bytes, for
 * what no rule would give.
 */
#ifndef KMEMLAB_FUZZ_STRUCTURED_H
#define KMEMLAB_FUZZ_STRUCTURED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuzz/mutate_file.h"

enum structure { STRUCTURE_PROGRAM, STRUCTURE_KMT, STRUCTURE_PERF, STRUCTURE_SPEC, STRUCTURE_TEXT };

/* Of a target's inputs. */
enum structure structure_of(const char *target, bool takes_programs);
/*
 * One input anew, in place, room for byte_max bytes; its length. `other` (may be
 * NULL) is one to join it with; `age` says how many there were before; `mutate` changes bytes. Same seed and age, same
 * result, but for what `mutate` does. O(bytes).
 */
size_t structured_mutate(enum structure structure, uint8_t *bytes, size_t byte_count, size_t byte_max,
			 const uint8_t *other, size_t other_count, uint64_t age, uint64_t seed, mutate_bytes *mutate);

#endif
