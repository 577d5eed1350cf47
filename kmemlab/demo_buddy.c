/* demo_buddy.c - the examples of `kmemlab demo` about page allocators. */
#include <stdio.h>

#include "kmemlab/demo.h"
#include "kmemlab/support/error.h"

bool demo_binary(struct kml_error *error)
{
	struct stage stage;
	if (!stage_open(&stage, "binary:unit=1k", 1024 * KIB, error))
		return false;
	stage_draw(&stage, "start");
	stage_alloc(&stage, 'A', 70 * KIB);
	stage_alloc(&stage, 'B', 61 * KIB);
	stage_alloc(&stage, 'C', 100 * KIB);
	stage_free(&stage, 'A');
	stage_alloc(&stage, 'D', 33 * KIB);
	stage_free(&stage, 'B');
	stage_free(&stage, 'D');
	stage_free(&stage, 'C');
	stage_close(&stage);
	return true;
}

bool demo_rounding(struct kml_error *error)
{
	struct stage stage;
	if (!stage_open(&stage, "binary:unit=1", 128, error))
		return false;
	stage_draw(&stage, "start");
	stage_alloc(&stage, 'A', 10);
	stage_print_free_lists(&stage, "free blocks: ");
	stage_close(&stage);
	return true;
}

bool demo_fibonacci(struct kml_error *error)
{
	struct stage stage;
	if (!stage_open(&stage, "fibonacci:unit=1", 144, error))
		return false;
	stage_draw(&stage, "start");
	stage_alloc(&stage, 'A', 70);
	stage_print_free_lists(&stage, "its buddy: ");
	stage_free(&stage, 'A');
	stage_close(&stage);
	return true;
}

/* The class of the block that starts at an address, counted from 1. */
struct weight_of {
	uint64_t address;
	uint32_t weight;
};

static bool look_for_weight(void *context, const struct kml_block *block)
{
	struct weight_of *wanted = context;
	if (block->address == wanted->address)
		wanted->weight = block->size_class + 1;
	return true;
}

bool demo_weights(struct kml_error *error)
{
	struct stage stage;
	if (!stage_open(&stage, "weighted:sizes=64k+128k+256k", 200 * KIB, error))
		return false;
	puts("  weight 1 = 64k, weight 2 = 128k, weight 3 = 256k\n");
	stage_draw(&stage, "start");
	stage_print_free_lists(&stage, "the arena is tiled by ");
	stage_alloc(&stage, 'A', 90 * KIB);
	struct weight_of granted = {.address = stage.address[0]};
	stage.heap->allocator->walk(stage.heap, look_for_weight, &granted);
	printf("%sthe smallest weight that fits is %u\n", STAGE_INDENT, granted.weight);
	stage_alloc(&stage, 'B', 10 * KIB);
	stage_free(&stage, 'A');
	stage_alloc(&stage, 'C', 50 * KIB);
	stage_free(&stage, 'C');
	stage_free(&stage, 'B');
	stage_close(&stage);
	return true;
}

bool demo_ternary(struct kml_error *error)
{
	struct stage stage;
	if (!stage_open(&stage, "kary:k=3,unit=1k", 81 * KIB, error))
		return false;
	stage_draw(&stage, "start");
	stage_alloc(&stage, 'A', 20 * KIB);
	stage_print_free_lists(&stage, "free blocks: ");
	stage_free(&stage, 'A');
	stage_close(&stage);
	return true;
}

static void print_order_table(const struct free_orders *columns, uint32_t count)
{
	puts("  order  pages   block  at first  after the 8k  after its free");
	for (uint32_t order = 0; order < KML_ORDERS; order++) {
		printf("  %5u  %5u  %6s", order, 1u << order, size_text((uint64_t)STAGE_PAGE_BYTES << order).text);
		static const int widths[] = {10, 14, 16};
		for (uint32_t i = 0; i < count; i++)
			printf("%*llu", widths[i], (unsigned long long)columns[i].free_blocks[order]);
		putchar('\n');
	}
	putchar('\n');
}

bool demo_pages(struct kml_error *error)
{
	struct stage stage;
	if (!stage_open(&stage, "binary:unit=4k,max_order=10", 16 * MIB, error))
		return false;
	stage.window_bytes = STAGE_MAP_CELLS * STAGE_PAGE_BYTES;
	struct free_orders columns[3];
	puts("  The first 64 of 4096 pages:");
	stage_draw(&stage, "start");
	columns[0] = stage_orders(&stage);
	stage_alloc(&stage, 'A', 8 * KIB);
	columns[1] = stage_orders(&stage);
	stage_print_buddyinfo(&stage, "now");
	stage_free(&stage, 'A');
	columns[2] = stage_orders(&stage);
	puts("\n  Free blocks in the list of each order:");
	print_order_table(columns, 3);
	stage_close(&stage);

	puts("  The same without the kernel's limit of order 10 (one block of order 12 at first):");
	if (!stage_open(&stage, "binary:unit=4k", 16 * MIB, error))
		return false;
	struct kml_grant grant = stage_ask(&stage, 8 * KIB, KML_CONTIGUOUS);
	stage_print_free_lists(&stage, "after the 8k: ");
	stage_give_back(&stage, grant.address, 0);
	stage_print_free_lists(&stage, "after its free: ");
	stage_close(&stage);
	return true;
}

bool demo_order(struct kml_error *error)
{
	struct stage stage;
	if (!stage_open(&stage, "binary:unit=4k,max_order=10", MIB / 4, error))
		return false;
	stage_draw(&stage, "start");
	stage_alloc(&stage, 'A', 9 * STAGE_PAGE_BYTES);
	uint64_t pages = stage_stats(&stage).granted_bytes / STAGE_PAGE_BYTES;
	uint32_t order = 0;
	while (1ull << order < pages)
		order++;
	printf("%s9 pages need order %u: %llu pages, %llu of them wasted\n", STAGE_INDENT, order,
	       (unsigned long long)pages, (unsigned long long)(pages - 9));
	stage_close(&stage);
	return true;
}

static void print_index(const struct stage *stage, uint32_t order)
{
	struct free_orders orders = stage_orders(stage);
	int32_t unusable = free_orders_unusable_index(&orders, order);
	int32_t extfrag = free_orders_extfrag_index(&orders, order);
	printf("  For order %u: unusable_index %d.%03d (share of free memory it cannot use), extfrag_index %d.%03d\n"
	       "  (towards 1: fragmentation, towards 0: lack of memory).\n",
	       order, unusable / 1000, unusable % 1000, extfrag / 1000, extfrag % 1000);
}

bool demo_fragmentation(struct kml_error *error)
{
	enum { PAGES = 4096, PINNED_EVERY = 128, FAILING_ORDER = 8 };
	struct stage stage;
	if (!stage_open(&stage, "binary:unit=4k,max_order=10", (uint64_t)PAGES * STAGE_PAGE_BYTES, error))
		return false;
	static uint64_t address[PAGES];
	for (uint32_t i = 0; i < PAGES; i++) {
		struct kml_grant grant = stage_ask(&stage, STAGE_PAGE_BYTES, KML_CONTIGUOUS);
		KML_CHECK(grant.status == KML_OK, "page %u: %s", i, kml_status_name(grant.status));
		address[i] = grant.address;
	}
	printf("  All %u pages are granted, then all are freed but every %uth:\n\n", PAGES, PINNED_EVERY);
	for (uint32_t i = 0; i < PAGES; i++)
		if (address[i] / STAGE_PAGE_BYTES % PINNED_EVERY != 0)
			stage_give_back(&stage, address[i], 0);
	stage_draw_density(&stage);
	struct kml_stats stats = stage_stats(&stage);
	printf("  %s of %s are free (%.1f %%), the largest free block is %s.\n", size_text(stats.free_bytes).text,
	       size_text(stage.arena->size_bytes).text,
	       100.0 * (double)stats.free_bytes / (double)stage.arena->size_bytes,
	       size_text(stats.largest_free_bytes).text);
	struct kml_grant grant = stage_ask(&stage, MIB, KML_CONTIGUOUS);
	printf("  A contiguous request of 1024k: %s.\n\n", kml_status_name(grant.status));
	stage_print_buddyinfo(&stage, "shows");
	putchar('\n');
	print_index(&stage, FAILING_ORDER);
	stage_close(&stage);
	return true;
}
