/*
 * fuzz_inputs.h - what `kmemlab fuzz` does with single inputs: show, run, minimise, write the first ones.
 */
#ifndef KMEMLAB_FUZZ_INPUTS_H
#define KMEMLAB_FUZZ_INPUTS_H

#include <stdbool.h>

#include "fuzz/target.h"

/* The target of bytes: the one named, else the folder of the file or one above it that is called like a target. NULL:
 * none is known. */
const struct fuzz_target *fuzz_target_of(const char *path, const char *named);

/* Each returns an exit status; `target` NULL: as the folders say (programs need none). */
int fuzz_list_targets(bool json);
int fuzz_show(const char *path, const char *target);
int fuzz_run_files(char *const *paths, int count, const char *target, bool json);
int fuzz_minimise_file(const char *path, const char *target, const char *prefix, unsigned seconds, bool json);
int fuzz_write_corpus(const char *folder, const char *target);

#endif
