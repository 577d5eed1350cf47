/* names.c - a table of names: binary search over indices in the order of the names. */
#include "workloads/names.h"

#include <stdlib.h>
#include <string.h>

/* The place of a name among the sorted ones; *found tells whether it is there. */
static uint32_t place_of(const struct names *names, const char *name, bool *found)
{
	uint32_t from = 0, to = names->count;
	*found = false;
	while (from < to && !*found) {
		uint32_t middle = from + (to - from) / 2;
		int order = strcmp(names->name[names->sorted[middle]], name);
		if (order == 0) {
			*found = true;
			return middle;
		}
		if (order < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static bool grow(struct names *names)
{
	if (names->count < names->capacity)
		return true;
	uint32_t capacity = names->capacity ? names->capacity * 2 : 256;
	char **name = realloc(names->name, capacity * sizeof *name);
	if (name)
		names->name = name;
	uint32_t *sorted = realloc(names->sorted, capacity * sizeof *sorted);
	if (sorted)
		names->sorted = sorted;
	if (!name || !sorted)
		return false;
	names->capacity = capacity;
	return true;
}

bool names_find(struct names *names, const char *name, uint32_t *index)
{
	bool found;
	uint32_t place = place_of(names, name, &found);
	if (found) {
		*index = names->sorted[place];
		return true;
	}
	char *copy = strdup(name);
	if (!copy || !grow(names)) {
		free(copy);
		return false;
	}
	memmove(names->sorted + place + 1, names->sorted + place, (names->count - place) * sizeof *names->sorted);
	*index = names->sorted[place] = names->count;
	names->name[names->count++] = copy;
	return true;
}

void names_free(struct names *names)
{
	for (uint32_t i = 0; i < names->count; i++)
		free(names->name[i]);
	free(names->name);
	free(names->sorted);
	*names = (struct names){0};
}
