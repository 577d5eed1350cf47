/* harness.h - between the engines' entry points (harness.c) and the program of its own (standalone.c). */
#ifndef KMEMLAB_FUZZ_HARNESS_H
#define KMEMLAB_FUZZ_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuzz/target.h"

/* The target that inputs go to; NULL before one is chosen. */
const struct fuzz_target *fuzz_chosen(void);
/* Find it; a first argument that names it is taken out. False: none is named. */
bool fuzz_choose(int *argument_count, char ***arguments);
/* --list, --speed, ..., or files to run; the exit status. */
int fuzz_standalone(int argument_count, char **arguments);

/* What engines call (llvm.org/docs/LibFuzzer.html). */
int LLVMFuzzerInitialize(int *argument_count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t byte_count);
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t byte_count, size_t byte_max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *first, size_t first_count, const uint8_t *second, size_t second_count,
				 uint8_t *out, size_t out_max, unsigned seed);

#endif
