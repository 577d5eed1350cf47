/*
 * orders.c - free memory by order and the kernel's two indices of fragmentation.
 *
 * Follows mm/vmstat.c: fill_contig_page_info, unusable_free_index, __fragmentation_index, frag_show_print. (The kernel
 * counts suitable blocks as sum over o >= j of free[o] << (o - j); over blocks of any size that is sum of floor(size /
 * order's size).)
 */
#include "workloads/orders.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void add_block(struct free_orders *orders, uint64_t pages, uint64_t count)
{
	if (pages == 0)
		return;
	uint32_t highest = 63 - (uint32_t)__builtin_clzll(pages);
	if (highest < KML_ORDERS)
		orders->free_blocks[highest] += count;
	else
		orders->free_blocks[KML_ORDERS - 1] += count * (pages >> (KML_ORDERS - 1));
	for (uint32_t order = 0; order < KML_ORDERS; order++)
		orders->suitable_blocks[order] += count * (pages >> order);
	orders->free_pages += count * pages;
	orders->blocks_total += count;
}

void free_orders_from_areas(struct free_orders *orders, const struct kml_free_area *areas, uint32_t count,
			    uint32_t page_bytes)
{
	*orders = (struct free_orders){0};
	for (uint32_t i = 0; i < count; i++)
		add_block(orders, areas[i].block_bytes / page_bytes, areas[i].count);
}

/* The numbers behind "Node 0, zone   Normal". */
static bool add_buddyinfo_line(struct free_orders *orders, const char *line, const char *end)
{
	const char *zone = memmem(line, (size_t)(end - line), "zone", 4);
	if (strncmp(line, "Node ", 5) != 0 || !zone)
		return false;
	const char *at = zone + 4;
	while (at < end && *at == ' ')
		at++;
	while (at < end && *at != ' ')
		at++;
	for (uint32_t order = 0; order < 64; order++) {
		while (at < end && *at == ' ')
			at++;
		if (at >= end || *at < '0' || *at > '9')
			return order > 0;
		char *after;
		uint64_t count = strtoull(at, &after, 10);
		if (order < 40)
			add_block(orders, 1ull << order, count);
		at = after;
	}
	return true;
}

bool free_orders_from_buddyinfo(struct free_orders *orders, const char *text)
{
	*orders = (struct free_orders){0};
	bool any = false;
	while (*text) {
		const char *end = strchrnul(text, '\n');
		any |= add_buddyinfo_line(orders, text, end);
		text = *end ? end + 1 : end;
	}
	return any;
}

int32_t free_orders_unusable_index(const struct free_orders *orders, uint32_t order)
{
	if (orders->free_pages == 0)
		return 1000;
	uint64_t unusable = orders->free_pages - (orders->suitable_blocks[order] << order);
	return (int32_t)(unusable * 1000 / orders->free_pages);
}

int32_t free_orders_extfrag_index(const struct free_orders *orders, uint32_t order)
{
	uint64_t requested = 1ull << order;
	if (orders->blocks_total == 0)
		return 0;
	if (orders->suitable_blocks[order] > 0)
		return -1000;
	return (int32_t)(1000 - (int64_t)((1000 + orders->free_pages * 1000 / requested) / orders->blocks_total));
}

void free_orders_print(const struct free_orders *orders, const char *zone, FILE *stream)
{
	fprintf(stream, "Node %d, zone %8s ", 0, zone);
	for (uint32_t order = 0; order < KML_ORDERS; order++)
		fprintf(stream, "%6" PRIu64 " ", orders->free_blocks[order]);
	fputc('\n', stream);
}
