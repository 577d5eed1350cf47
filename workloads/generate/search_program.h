/*
 * search_program.h - a short program of allocations and frees that can be changed and played: what search.c looks
 * among.
 *
 * Every sequence of operations is a program. An allocation that would make more than the limit live is a free instead,
 * a free when nothing is live an allocation; so each operation does something, wherever a change puts it. What is freed
 * is named by its rank among the live blocks in the order of their addresses: "the third from the left" means much the
 * same after a change elsewhere, which the name of an object would not. Or by how many live blocks are passed over
 * since the last one freed: a run of one and the same operation frees every second block, or every fourth.
 */
#ifndef KMEMLAB_SEARCH_PROGRAM_H
#define KMEMLAB_SEARCH_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "workloads/generate/generate.h"

enum { SEARCH_LENGTH_MAX = 1 << 16 };

enum search_kind { SEARCH_ALLOC, SEARCH_FREE, SEARCH_FREE_ONWARD, SEARCH_KINDS };

struct search_op {
	uint16_t rank; /* FREE, of the live blocks, as a share of 65536 */
	uint8_t skip;  /* FREE_ONWARD */
	uint8_t size;  /* index among the sizes */
	uint8_t kind;  /* enum search_kind */
};

/* The rules of the game. */
struct search_rules {
	const struct kml_sizes *sizes;
	uint64_t live_max_bytes; /* at least the largest size */
	uint32_t length;
};

/* O(length). */
void search_program_random(struct search_op *ops, const struct search_rules *rules, struct generate *generate);
/* A few small changes: an operation anew, one moved, two swapped, one repeated, a run of them repeated elsewhere.
 * O(length). */
void search_program_change(struct search_op *ops, const struct search_rules *rules, struct generate *generate);

/* What is looked for, of the outcome so far. */
typedef uint64_t search_measure(const struct workload_outcome *outcome);

struct search_score {
	uint64_t value;   /* of the measure at the end */
	uint32_t reached; /* operations until it was reached */
	/* The largest span that filling up would have reached at some moment: were blocks of one size taken until the
	   limit, and did every gap between live blocks serve as many as fit in it. Where a search may hope. */
	uint64_t promise_bytes;
};
/*
 * Play it against the living stack; every live block stays. false without memory; the workload then fails. O(length x
 * live blocks x sizes).
 */
bool search_program_play(const struct search_op *ops, const struct search_rules *rules, struct generate *generate,
			 search_measure *measure, struct search_score *score);

#endif
