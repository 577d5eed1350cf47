/* size_table.h - the block sizes of a page allocator, asked of it size by size. */
#ifndef KMEMLAB_SIZE_TABLE_H
#define KMEMLAB_SIZE_TABLE_H

#include <stdint.h>

#include "allocators/allocator.h"

enum {
	SIZE_TABLE_UNIT_BYTES =
		16, /* sizes are counted in units: the granularity of a page allocator that stands alone */
	SIZE_TABLE_UNITS = 1 << 16, /* the largest size asked for */
	SIZE_TABLE_SIZES = 64,
};

/* A system's answers. */
struct size_table {
	uint32_t granted_units[SIZE_TABLE_UNITS + 1]; /* by size asked for */
	uint32_t size_units[SIZE_TABLE_SIZES];        /* the block sizes, ascending */
	uint32_t size_count;
};

/* The caller frees it. NULL and *error when the stack refuses a size, or has more block sizes. O(sizes). */
struct size_table *size_table_of(const char *stack, struct kml_error *error);

#endif
