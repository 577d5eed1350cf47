/*
 * proc_text.h - the kernel's own /proc texts read: slabinfo 2.1, meminfo, and walks over every slab page.
 *
 * Texts come from files that may be damaged: a line that is none of its kind is passed over, never trusted.
 */
#ifndef KMEMLAB_PROC_PROC_TEXT_H
#define KMEMLAB_PROC_PROC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One line of slabinfo, in the order of its columns (mm/slab_common.c: cache_show). */
struct slabinfo_line {
	char name[256]; /* "dentry(1041:user@1000.service)": cgroups of 4.x have long names */
	uint64_t active_objects, total_objects;
	uint64_t slot_bytes; /* objsize */
	uint32_t objects_per_slab, pages_per_slab;
	uint32_t limit, batchcount, shared_factor;
	uint64_t active_slabs, slabs, shared_available;
};

enum slabinfo_kind {
	SLABINFO_END,     /* of the text */
	SLABINFO_HEADING, /* or an empty line */
	SLABINFO_CACHE,   /* *line is filled */
	SLABINFO_DAMAGED, /* anything else */
};

/* What the line at *text is, which is moved past it. */
enum slabinfo_kind slabinfo_read(const char **text, struct slabinfo_line *line);

/* The next cache at *text, which is moved past it; all other lines are passed over. false at the end. */
bool slabinfo_next(const char **text, struct slabinfo_line *line);

/* Kilobytes of a line of meminfo ("Slab"); false where it has none. */
bool meminfo_find(const char *text, const char *name, uint64_t *kilobytes);

/* Pages of all slabs in a walk over every slab page: lines "S pfn order cache ...". false when no line is one. */
bool slab_walk_pages(const char *text, uint64_t *pages);

#endif
