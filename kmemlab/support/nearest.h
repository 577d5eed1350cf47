/*
 * nearest.h - "no such name; the nearest is ...": the known name with the smallest edit distance.
 */
#ifndef KMEMLAB_NEAREST_H
#define KMEMLAB_NEAREST_H

struct kml_nearest {
	const char *wanted, *best; /* borrowed */
	unsigned best_distance;
};

struct kml_nearest kml_nearest_start(const char *wanted);
/* O(length of wanted x length of name). */
void kml_nearest_offer(struct kml_nearest *nearest, const char *name);
/* NULL when nothing was offered. */
const char *kml_nearest_name(const struct kml_nearest *nearest);

#endif
