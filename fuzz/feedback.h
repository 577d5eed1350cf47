/*
 * feedback.h - what is done once and kept (a parsed spec, a stack made on trial) must not look to an engine as if its
 * input had done it: run a second time the same input would cover less, and be called unstable.
 */
#ifndef KMEMLAB_FUZZ_FEEDBACK_H
#define KMEMLAB_FUZZ_FEEDBACK_H

#include <stddef.h>
#include <stdint.h>

/* Keep the coverage counted so far of this input, and go back to it. No calls within each other; nothing to do in a
 * build without an engine. O(edges of the program). */
void feedback_hold(void);
void feedback_restore(void);

/* A byte an edge, as counted now; NULL without an engine. */
uint8_t *feedback_counters(size_t *count);
/* Where the code of a counter is; 0: not known. */
uintptr_t feedback_place(size_t counter);

#endif
