/* generators.h - the generators there are, for registry.c. */
#ifndef KMEMLAB_GENERATORS_H
#define KMEMLAB_GENERATORS_H

#include "workloads/generate/generate.h"

extern const struct generator generator_dentry_storm;
extern const struct generator generator_dma_mix;
extern const struct generator generator_fork_storm;
extern const struct generator generator_fragmentation;
extern const struct generator generator_knuth;
extern const struct generator generator_limit;
extern const struct generator generator_long_lists;
extern const struct generator generator_optimistic;
extern const struct generator generator_page_cache;
extern const struct generator generator_pathological;
extern const struct generator generator_pessimistic;
extern const struct generator generator_purdom_stigler;
extern const struct generator generator_queue;
extern const struct generator generator_robson;
extern const struct generator generator_search;
extern const struct generator generator_socket_storm;
extern const struct generator generator_steady;
extern const struct generator generator_task_leak;
extern const struct generator generator_twin;
extern const struct generator generator_vmalloc;

#endif
