/* registry.c - the one table of generators: a line each, alphabetical so that nobody has to search. */
#include <string.h>

#include "workloads/generate/generators.h"

/* A line each. */
/* clang-format off */
static const struct generator *const table[] = {
	&generator_dentry_storm,
	&generator_dma_mix,
	&generator_fork_storm,
	&generator_fragmentation,
	&generator_knuth,
	&generator_limit,
	&generator_long_lists,
	&generator_optimistic,
	&generator_page_cache,
	&generator_pathological,
	&generator_pessimistic,
	&generator_purdom_stigler,
	&generator_queue,
	&generator_robson,
	&generator_search,
	&generator_socket_storm,
	&generator_steady,
	&generator_task_leak,
	&generator_twin,
	&generator_vmalloc,
};
/* clang-format on */
enum { GENERATORS = sizeof table / sizeof table[0] };

const struct generator *const *generators(size_t *count)
{
	*count = GENERATORS;
	return table;
}

const struct generator *generator_find(const char *name)
{
	for (size_t i = 0; i < GENERATORS; i++)
		if (strcmp(table[i]->name, name) == 0)
			return table[i];
	return NULL;
}
