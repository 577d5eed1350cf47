/*
 * minimise.h - the smallest input that still shows a find.
 *
 * Programs shrink at the level of operations: operations are dropped by delta debugging (Zeller & Hildebrandt 2002,
 * "Simplifying and Isolating Failure-Inducing Input", the complements alone: for a hundred operations that
 * does), then numbers become small, caches and
 * parameters go, ids are given anew, and all over again until nothing more goes. Each try runs in a process of its own
 * (judge.h) and counts only when the same oracle breaks.
 */
#ifndef KMEMLAB_FUZZ_MINIMISE_H
#define KMEMLAB_FUZZ_MINIMISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuzz/judge.h"

struct fuzz_effort {
	uint32_t tries_max;   /* 0: as many as it takes */
	uint32_t seconds_max; /* 0: no limit */
	uint32_t tries;       /* made */
};

/*
 * Make `program` smaller as long as it fails like `wanted`. False and *error when a try could not be run, or when the
 * program does not fail like that to begin with. What is left is the smallest so far in any case. O(operations x log)
 * tries.
 */
bool fuzz_minimise_program(struct program *program, const struct fuzz_verdict *wanted, struct fuzz_effort *effort,
			   struct kml_error *error);

/*
 * The same for the bytes of a target. Bytes of programs lose whole operations. *byte_count only shrinks.
 */
bool fuzz_minimise_bytes(const struct fuzz_target *target, uint8_t *bytes, size_t *byte_count,
			 const struct fuzz_verdict *wanted, struct fuzz_effort *effort, struct kml_error *error);

#endif
