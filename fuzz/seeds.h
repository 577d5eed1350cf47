/*
 * seeds.h - where a target's first inputs come from: fuzz/seeds/NAME.ops, turned into bytes, for those that take
 * programs; for a parser its files in fuzz/seeds/TARGET and what the tests of that parser read.
 */
#ifndef KMEMLAB_FUZZ_SEEDS_H
#define KMEMLAB_FUZZ_SEEDS_H

#include "fuzz/target.h"

/* Called for each seed; false ends it. `name` is a file name. */
typedef bool fuzz_seed_visit(void *context, const char *name, const uint8_t *bytes, size_t byte_count);
/* Every seed of a target that there is, from the source folder (environment KMEMLAB_SOURCE, else that of the build). */
void fuzz_seeds(const struct fuzz_target *target, fuzz_seed_visit *visit, void *context);

#endif
