/* nearest.c - edit distance (Levenshtein 1966), one row at a time. */
#include "kmemlab/support/nearest.h"

#include <limits.h>
#include <string.h>

enum { LENGTH_MAX = 63 }; /* what lies beyond does not decide which name was meant */

static unsigned minimum(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

static unsigned edit_distance(const char *a, const char *b)
{
	size_t a_length = strnlen(a, LENGTH_MAX), b_length = strnlen(b, LENGTH_MAX);
	unsigned row[LENGTH_MAX + 1];
	for (size_t j = 0; j <= b_length; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned above = row[j];
			unsigned replaced = diagonal + (a[i - 1] != b[j - 1]);
			row[j] = minimum(replaced, minimum(above, row[j - 1]) + 1);
			diagonal = above;
		}
	}
	return row[b_length];
}

struct kml_nearest kml_nearest_start(const char *wanted)
{
	return (struct kml_nearest){.wanted = wanted, .best_distance = UINT_MAX};
}

void kml_nearest_offer(struct kml_nearest *nearest, const char *name)
{
	unsigned distance = edit_distance(nearest->wanted, name);
	if (distance >= nearest->best_distance)
		return;
	nearest->best = name;
	nearest->best_distance = distance;
}

const char *kml_nearest_name(const struct kml_nearest *nearest)
{
	return nearest->best;
}
