/*
 * orders.h - free memory by order, as the kernel's page allocator shows it, for any allocator.
 *
 * Orders are of the page size: order 0 is one page, order 10 the largest. A free block counts in the highest order that
 * fits into it; blocks beyond the largest order count as often as the largest order fits. The indices are those of
 * mm/vmstat.c, in thousandths, truncated as there.
 */
#ifndef KMEMLAB_ORDERS_H
#define KMEMLAB_ORDERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "allocators/allocator.h"

#define KML_ORDERS 11u /* include/linux/mmzone.h: MAX_ORDER, on x86-64 */

struct free_orders {
	uint64_t free_blocks[KML_ORDERS];     /* as a line of /proc/buddyinfo */
	uint64_t suitable_blocks[KML_ORDERS]; /* blocks of an order that could be cut out of what is free */
	uint64_t free_pages;
	uint64_t blocks_total; /* free blocks of a page or more */
};

/* Of the free blocks of an allocator. O(areas x orders). */
void free_orders_from_areas(struct free_orders *orders, const struct kml_free_area *areas, uint32_t count,
			    uint32_t page_bytes);
/* Of the text of /proc/buddyinfo, all zones of all nodes added. false when no line of it is one. */
bool free_orders_from_buddyinfo(struct free_orders *orders, const char *text);

/*
 * unusable_free_index(): the share of free memory that cannot serve this order, 0..1000. 1000 when nothing is free.
 */
int32_t free_orders_unusable_index(const struct free_orders *orders, uint32_t order);
/*
 * __fragmentation_index(): why an allocation of this order would fail: towards 0 for lack of memory, towards 1000 for
 * fragmentation; -1000 when it would not fail. 0 when no block is free.
 */
int32_t free_orders_extfrag_index(const struct free_orders *orders, uint32_t order);

/* One line of /proc/buddyinfo, as mm/vmstat.c prints it. */
void free_orders_print(const struct free_orders *orders, const char *zone, FILE *stream);

#endif
