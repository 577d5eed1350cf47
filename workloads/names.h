/*
 * names.h - a table of names: each has a dense index, in the order in which they came.
 *
 * Cost: O(log names) to find one, O(names) to add one; a copy of each name.
 */
#ifndef KMEMLAB_NAMES_H
#define KMEMLAB_NAMES_H

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialised: empty. */
struct names {
	char **name;
	uint32_t *sorted; /* indices in the order of their names */
	uint32_t count, capacity;
};

/* The index of the name, which is added where it is new. False without memory: the table is as it was. */
bool names_find(struct names *names, const char *name, uint32_t *index);
void names_free(struct names *names);

#endif
