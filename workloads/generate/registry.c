/* registry.c - the one table of generators: a line each, alphabetical so that nobody has to search. */
#include <string.h>

#include "workloads/generate/generators.h"

static const struct generator *const table[] = {
	&generator_knuth,
	&generator_long_lists,
	&generator_purdom_stigler,
	&generator_robson,
};

const struct generator *const *generators(size_t *count)
{
	*count = sizeof table / sizeof *table;
	return table;
}

const struct generator *generator_find(const char *name)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(table[i]->name, name) == 0)
			return table[i];
	return NULL;
}
