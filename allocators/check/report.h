/*
 * report.h - what the checkers found: counted by the invariant it breaks.
 *
 * Every text begins with the invariant's short name and a colon ("overlap: ..."), so that crashes of a fuzzer can be
 * grouped by it. The names never change.
 */
#ifndef KMEMLAB_CHECK_REPORT_H
#define KMEMLAB_CHECK_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/allocator.h"

enum kml_invariant {
	/* after each call */
	KML_INVARIANT_STATUS,    /* the answer fits the call: misuse is named, a failure has a reason and no address */
	KML_INVARIANT_INSIDE,    /* a granted block lies in the arena, an area of vmalloc there or in its window */
	KML_INVARIANT_OVERLAP,   /* granted blocks are disjoint */
	KML_INVARIANT_ALIGNMENT, /* the address is aligned as asked */
	KML_INVARIANT_SHORT_GRANT,   /* granted >= requested */
	KML_INVARIANT_USABLE,        /* usable() is what was granted, 0 after the free */
	KML_INVARIANT_CONTENTS,      /* granted memory keeps what its owner wrote */
	KML_INVARIANT_ZEROED,        /* KML_ZEROED memory reads as zero */
	KML_INVARIANT_FALSE_FAILURE, /* a request fails only when no free block is big enough */
	KML_INVARIANT_GRANTED_BYTES, /* stats.granted_bytes is the sum of the live blocks */
	KML_INVARIANT_HELD_BYTES,    /* stats.held_bytes is what the arena, or the walk, says */
	KML_INVARIANT_WASTE,         /* requested + waste == held */
	/* deep */
	KML_INVARIANT_TILING, /* blocks tile the arena up to the last whole unit, in order, without gap or overlap */
	KML_INVARIANT_LIVE,   /* the granted blocks of the walk are the live ones */
	KML_INVARIANT_FREE_BYTES,   /* stats.free_bytes is the sum of the free blocks */
	KML_INVARIANT_LARGEST_FREE, /* stats.largest_free_bytes is the largest free block */
	KML_INVARIANT_FREE_AREAS,   /* free_areas() counts the free blocks of the walk */
	KML_INVARIANT_VALIDATE,     /* the allocator's own deep check passes */
	KML_INVARIANT_WHOLE,        /* after freeing all and shrinking the arena is as it was at creation */
	KML_INVARIANT_COUNT
};

/* "overlap", "tiling", ... */
const char *kml_invariant_name(enum kml_invariant invariant);

struct kml_reports {
	uint64_t count;                   /* of all */
	uint64_t of[KML_INVARIANT_COUNT]; /* by invariant */
	struct kml_error first;           /* the first report; empty while there is none */
};

/* Count a report; the first keeps its text, "NAME: MESSAGE". */
void kml_reports_add(struct kml_reports *reports, enum kml_invariant invariant, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
