/*
 * views.h - a living stack as the kernel's own /proc files show theirs.
 *
 * slabinfo 2.1: mm/slab_common.c (print_slabinfo_header, cache_show; fs/proc before), every column. meminfo:
 * fs/proc/meminfo.c, the lines that a replay knows, in the kernel's order. buddyinfo: workloads/orders.h.
 */
#ifndef KMEMLAB_VIEWS_H
#define KMEMLAB_VIEWS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "allocators/registry.h"
#include "traces/proc/proc_text.h"

/* Which objects slabinfo calls active. */
enum view_active {
	VIEW_ACTIVE_KERNEL, /* as the kernel counts: free objects parked per cpu may be among them */
	VIEW_ACTIVE_TRUE,   /* those that callers have */
};

void slabinfo_print_heading(FILE *stream);
void slabinfo_print_line(const struct slabinfo_line *line, FILE *stream);

/* Every cache of the stack; false when its top keeps no figures of caches. O(caches^2). */
bool view_slabinfo(const struct kml_stack *stack, enum view_active active, FILE *stream);

/* What meminfo needs beside the stack. */
struct view_memory {
	uint32_t page_bytes;
	const bool *reclaimable; /* by cache of the trace */
	uint32_t cache_count;
	uint64_t large_pages; /* of live large kmallocs: meminfo counts them as slab */
};

/* MemTotal, MemFree, and where the stack has caches KReclaimable, Slab, SReclaimable, SUnreclaim. O(blocks). */
void view_meminfo(const struct kml_stack *stack, const struct view_memory *memory, FILE *stream);

#endif
