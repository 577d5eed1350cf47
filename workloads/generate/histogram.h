/*
 * histogram.h - how often each size was asked for: from a text, or from the allocations of a trace.
 *
 * Memory: O(different sizes), whatever the trace's length.
 */
#ifndef KMEMLAB_HISTOGRAM_H
#define KMEMLAB_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"

struct histogram_bar {
	uint64_t size_bytes;
	double weight; /* more than 0 */
};

/* Zero-initialised: empty. */
struct histogram {
	struct histogram_bar *bars; /* ascending by size, each size once */
	size_t count, room;
};

/*
 * A file called *.kmt: the requested sizes of its allocations of objects, those that were live before the recording
 * left out. Any other file: lines "size weight", as in "4k 12.5"; what follows a # is a comment. Weights count
 * relative to each other; a size may stand in several lines. false and *error with the file and the line, nothing to
 * free: unreadable, no size from 1 to 2^46, a weight that is negative or no finite number, no weight above 0 at all.
 */
bool histogram_read(struct histogram *histogram, const char *path, struct kml_error *error);
void histogram_free(struct histogram *histogram);

#endif
