/*
 * regression.h - what is kept of a find: files that anybody can run, and a test that fails until it is mended.
 */
#ifndef KMEMLAB_FUZZ_REGRESSION_H
#define KMEMLAB_FUZZ_REGRESSION_H

#include <stdbool.h>

#include "fuzz/judge.h"

/*
 * Write PREFIX.ops, PREFIX.kmt and PREFIX_test.c of a program; PREFIX.input and PREFIX_test.c of bytes (of a target
 * whose bytes are no program of one stack). Each file whole or not at all.
 */
bool fuzz_write_find(const char *prefix, const struct fuzz_input *input, const struct fuzz_verdict *verdict,
		     struct kml_error *error);

#endif
