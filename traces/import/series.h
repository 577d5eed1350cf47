/*
 * series.h - a series of /proc/slabinfo as a workload: snapshots without a single event.
 *
 * What slabinfo counts is explained by the fewest events: what the first snapshot counts is live at the start, and
 * between two snapshots each cache gets as many allocations, or frees, as its active objects differ. Beside them
 * objects may be replaced, a free and an allocation at once, which no count shows: the churn.
 *
 * slabinfo_series.c reads the text form, series.c the counts, series_stream.c writes the events. Memory: the text of
 * the series, and O(live objects), 20 bytes each. Time: O(log caches) an event.
 */
#ifndef KMEMLAB_SERIES_H
#define KMEMLAB_SERIES_H

#include "traces/import/internal.h"

/* What the series says of one cache; the index is that of import->caches. */
struct series_cache {
	uint64_t active, slabs; /* in the snapshot read last that shows it */
	uint64_t seen;          /* the number of that reading, from 1; 0 for none */
	uint64_t at_start;      /* live when the series begins */
	uint64_t count;         /* live at the end of the interval before: whoever walks over the series keeps it */
	bool exists;            /* likewise */
	bool is_started, exists_at_start;
	uint64_t variation; /* sum over the intervals of |difference of counts| */
	double churn_per_s; /* objects replaced a second */
};

struct series {
	IMPORT_VECTOR(struct series_cache) caches;
	uint64_t readings;
	bool torn;       /* the snapshot read last holds a damaged line: a cache it does not show may exist */
	bool is_counted; /* damaged lines have been counted */
	double seconds;  /* from the first slabinfo to the last */
};

/* The counts of a stored slabinfo into series->caches. false and *error when memory or the cache table is exhausted,
 * or it is no slabinfo this program can read. */
bool series_read(struct import *import, const struct stored_snapshot *snapshot, struct kml_error *error);
/* After series_read: what a cache counts now, and whether it is there. */
uint64_t series_count(const struct series *series, const struct series_cache *cache);
bool series_exists(const struct series *series, const struct series_cache *cache);

/* All of the import's steps but the writing. */
bool series_resolve(struct import *import, struct kml_error *error);
void series_destroy(struct series *series);

/* Warm objects, events and snapshots. */
bool series_write(struct import *import, struct kmt_writer *writer, struct kml_error *error);

#endif
