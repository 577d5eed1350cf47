/*
 * differential.h - two allocators that must agree: the targets `textbook` and `stacks` (target.h), and the run they are
 * made of, for tests.
 *
 * Which system, parameters, policy and unit: from the setup bytes. An execution runs one pair. Only the allocs and
 * frees of a program are used, their sizes without alignment.
 */
#ifndef KMEMLAB_FUZZ_DIFFERENTIAL_H
#define KMEMLAB_FUZZ_DIFFERENTIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/check/textbook.h"
#include "fuzz/program.h"

/* What must agree of two stacks. */
enum differential_law {
	DIFFERENTIAL_BLOCKS,  /* success, address and size of every answer, and every block of the walks */
	DIFFERENTIAL_FITS,    /* granted bytes where both succeed; until the first free success and address too */
	DIFFERENTIAL_KMALLOC, /* granted bytes where both succeed, of requests that all serve from size classes */
	DIFFERENTIAL_PAGES,   /* as BLOCKS, of requests for 2^order pages: success, address and size */
};

struct differential_pair {
	char first[128], second[128];
	enum differential_law law;
};

/* The pairs that the target `stacks` draws from, by number; false: there is none of that number. */
bool differential_pair(uint32_t number, enum textbook_policy policy, struct differential_pair *pair);
/* The specs that the target `textbook` draws from, "" at their end: made of the registry's page allocators that have a
 * textbook, and every number that shapes one of them. Policy and unit are appended by the target. */
const char *differential_system(uint32_t number);

/* Run the allocs and frees of a program on a stack and on the textbook of a spec, as a rule the same. False and *error:
 * they disagree, and how; a stack that cannot be created in such an arena agrees. O(events x blocks). */
bool differential_textbook(const struct program *program, const char *stack, const char *spec, struct kml_error *error);
/* The same on two stacks. */
bool differential_stacks(const struct program *program, const struct differential_pair *pair, struct kml_error *error);

#endif
