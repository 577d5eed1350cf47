/* generators.h - the generators there are, for registry.c. */
#ifndef KMEMLAB_GENERATORS_H
#define KMEMLAB_GENERATORS_H

#include "workloads/generate/generate.h"

extern const struct generator generator_knuth;
extern const struct generator generator_long_lists;
extern const struct generator generator_purdom_stigler;
extern const struct generator generator_robson;

#endif
