/*
 * cmd_demo.c - `kmemlab demo`: the examples of textbooks and lectures as memory maps, run on the real allocators.
 *
 * A map shows the arena from left to right: '|' starts a block, '#' is granted, blank is free (with the block's size),
 * '.' is too small for a block. Every figure printed is the allocator's own answer.
 */
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/nearest.h"
#include "workloads/orders.h"

#define PAGE_BYTES 4096u
#define KIB 1024ull
#define MIB (1024 * KIB)

enum { MAP_CELLS = 64, MAP_ROWS_MAX = 4, LINE_MAX_COLUMNS = 64, NAMES = 26 };

enum { OPTION_TIME = 256 };
static bool shows_time;

#define INDENT "            " /* below the map */

/* ---------------------------------------------------------------------------------------------------- a stage */

/* One allocator on an arena of its own, and what its blocks are called. */
struct stage {
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack stack;
	struct kml_heap *heap;
	uint64_t window_bytes;   /* the map shows the arena up to here */
	uint64_t address[NAMES]; /* of 'A' and so on; KML_NO_ADDRESS: not granted */
};

static void close_stage(struct stage *stage)
{
	kml_stack_destroy(&stage->stack);
	kml_spec_free(stage->spec);
	kml_arena_destroy(stage->arena);
}

static bool open_stage(struct stage *stage, const char *spec, uint64_t arena_bytes, struct kml_error *error)
{
	memset(stage, 0, sizeof *stage);
	for (uint32_t i = 0; i < NAMES; i++)
		stage->address[i] = KML_NO_ADDRESS;
	stage->window_bytes = arena_bytes;
	stage->spec = kml_spec_parse(spec, error);
	/* Slabs live in the memory of their pages; the books of page allocators do not. */
	bool with_memory = stage->spec && stage->spec->layer[0]->layer == KML_LAYER_OBJECTS;
	stage->arena = stage->spec ? kml_arena_create(arena_bytes, PAGE_BYTES, with_memory, error) : NULL;
	struct kml_environment environment = {
		.arena = stage->arena, .page_bytes = PAGE_BYTES, .cpu_count = 1, .cache_count = 1};
	if (!stage->arena || !kml_stack_create(&stage->stack, stage->spec, &environment, error)) {
		close_stage(stage);
		return false;
	}
	stage->heap = kml_stack_top(&stage->stack);
	printf("  kmemlab spec: %s\n\n", spec);
	return true;
}

static struct kml_stats stats_of(const struct stage *stage)
{
	struct kml_stats stats;
	stage->heap->allocator->stats(stage->heap, &stats);
	return stats;
}

static struct kml_grant ask(const struct stage *stage, uint64_t size_bytes)
{
	struct kml_request request = {
		.size_bytes = size_bytes, .recorded = KML_NO_ADDRESS, .cache = KML_NO_CACHE, .flags = KML_CONTIGUOUS};
	return stage->heap->allocator->alloc(stage->heap, &request);
}

static void give_back(const struct stage *stage, uint64_t address)
{
	struct kml_release release = {.address = address, .cache = KML_NO_CACHE};
	enum kml_status status = stage->heap->allocator->free(stage->heap, &release);
	KML_CHECK(status == KML_OK, "%s: free of %llu: %s", stage->spec->text, (unsigned long long)address,
		  kml_status_name(status));
}

/* 70k for whole KiB, else the number of bytes. */
struct size_text {
	char text[24];
};

static struct size_text size_text(uint64_t size_bytes)
{
	struct size_text size;
	bool kib = size_bytes >= KIB && size_bytes % KIB == 0;
	snprintf(size.text, sizeof size.text, "%llu%s", (unsigned long long)(kib ? size_bytes / KIB : size_bytes),
		 kib ? "k" : "");
	return size;
}

/* ------------------------------------------------------------------------------------------------------- maps */

struct map {
	const struct stage *stage;
	char line[MAP_CELLS + 2];
};

static uint32_t cell_of(const struct stage *stage, uint64_t address)
{
	return address >= stage->window_bytes ? MAP_CELLS : (uint32_t)(address * MAP_CELLS / stage->window_bytes);
}

static char name_of(const struct stage *stage, uint64_t address)
{
	for (uint32_t i = 0; i < NAMES; i++)
		if (stage->address[i] == address)
			return (char)('A' + i);
	return '#';
}

static bool draw_block(void *context, const struct kml_block *block)
{
	struct map *map = context;
	uint32_t first = cell_of(map->stage, block->address);
	uint32_t end = cell_of(map->stage, block->address + block->size_bytes);
	if (first == MAP_CELLS)
		return false;
	if (end == first)
		return true; /* too small to be seen */
	bool granted = block->state != KML_BLOCK_FREE;
	memset(map->line + first, granted ? '#' : ' ', end - first);
	map->line[first] = '|';
	struct size_text label = size_text(block->size_bytes);
	if (granted)
		label = (struct size_text){{name_of(map->stage, block->address)}};
	size_t length = strlen(label.text);
	if (length < end - first)
		memcpy(map->line + first + 1, label.text, length);
	return true;
}

/* One row: what happened, and the arena now. */
static void draw(const struct stage *stage, const char *what)
{
	struct map map = {.stage = stage};
	memset(map.line, '.', MAP_CELLS);
	stage->heap->allocator->walk(stage->heap, draw_block, &map);
	if (map.line[MAP_CELLS - 1] == '.') {
		uint32_t cell = MAP_CELLS;
		while (cell > 0 && map.line[cell - 1] == '.')
			cell--;
		map.line[cell] = '|';
	}
	map.line[MAP_CELLS] = '|';
	printf("  %-9s %s\n", what, map.line);
}

/* ------------------------------------------------------------------------------------------------- single steps */

static void print_free_lists(const struct stage *stage, const char *before)
{
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint32_t count = stage->heap->allocator->free_areas(stage->heap, areas);
	int column = printf("%s%s", INDENT, before);
	bool any = false;
	for (uint32_t i = 0; i < count; i++) {
		if (areas[i].count == 0)
			continue;
		if (column > LINE_MAX_COLUMNS)
			column = printf(",\n%s", INDENT) - 2;
		else
			column += printf("%s", any ? ", " : "");
		column +=
			printf("%llu of %s", (unsigned long long)areas[i].count, size_text(areas[i].block_bytes).text);
		any = true;
	}
	puts(any ? "" : "none");
}

/* Ask for a block and call it `name`; draw and say what was granted. */
static void step_alloc(struct stage *stage, char name, uint64_t size_bytes)
{
	struct kml_stats before = stats_of(stage);
	struct kml_grant grant = ask(stage, size_bytes);
	KML_CHECK(grant.status == KML_OK, "%s: %llu bytes: %s", stage->spec->text, (unsigned long long)size_bytes,
		  kml_status_name(grant.status));
	stage->address[name - 'A'] = grant.address;
	char what[32];
	snprintf(what, sizeof what, "%c = %s", name, size_text(size_bytes).text);
	draw(stage, what);
	printf("%s%s granted at %s, %s of it not asked for; splits: %llu\n", INDENT,
	       size_text(grant.granted_bytes).text, size_text(grant.address).text,
	       size_text(grant.granted_bytes - size_bytes).text,
	       (unsigned long long)(stats_of(stage).splits - before.splits));
}

static void step_free(struct stage *stage, char name)
{
	struct kml_stats before = stats_of(stage);
	give_back(stage, stage->address[name - 'A']);
	stage->address[name - 'A'] = KML_NO_ADDRESS;
	char what[32];
	snprintf(what, sizeof what, "free %c", name);
	draw(stage, what);
	struct kml_stats after = stats_of(stage);
	printf("%smerges: %llu; largest free block %s\n", INDENT, (unsigned long long)(after.merges - before.merges),
	       size_text(after.largest_free_bytes).text);
}

/* The free blocks as a line of /proc/buddyinfo. */
static struct free_orders orders_of(const struct stage *stage)
{
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint32_t count = stage->heap->allocator->free_areas(stage->heap, areas);
	struct free_orders orders;
	free_orders_from_areas(&orders, areas, count, PAGE_BYTES);
	return orders;
}

static void print_buddyinfo(const struct stage *stage, const char *when)
{
	struct free_orders orders = orders_of(stage);
	printf("  /proc/buddyinfo %s:\n  ", when);
	free_orders_print(&orders, "Normal", stdout);
}

/* ------------------------------------------------------------------------------------------------- the examples */

static bool demo_binary(struct kml_error *error)
{
	struct stage stage;
	if (!open_stage(&stage, "binary:unit=1k", 1024 * KIB, error))
		return false;
	draw(&stage, "start");
	step_alloc(&stage, 'A', 70 * KIB);
	step_alloc(&stage, 'B', 61 * KIB);
	step_alloc(&stage, 'C', 100 * KIB);
	step_free(&stage, 'A');
	step_alloc(&stage, 'D', 33 * KIB);
	step_free(&stage, 'B');
	step_free(&stage, 'D');
	step_free(&stage, 'C');
	close_stage(&stage);
	return true;
}

static bool demo_rounding(struct kml_error *error)
{
	struct stage stage;
	if (!open_stage(&stage, "binary:unit=1", 128, error))
		return false;
	draw(&stage, "start");
	step_alloc(&stage, 'A', 10);
	print_free_lists(&stage, "free blocks: ");
	close_stage(&stage);
	return true;
}

static bool demo_fibonacci(struct kml_error *error)
{
	struct stage stage;
	if (!open_stage(&stage, "fibonacci:unit=1", 144, error))
		return false;
	draw(&stage, "start");
	step_alloc(&stage, 'A', 70);
	print_free_lists(&stage, "its buddy: ");
	step_free(&stage, 'A');
	close_stage(&stage);
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

static bool demo_weights(struct kml_error *error)
{
	struct stage stage;
	if (!open_stage(&stage, "weighted:sizes=64k+128k+256k", 200 * KIB, error))
		return false;
	puts("  weight 1 = 64k, weight 2 = 128k, weight 3 = 256k\n");
	draw(&stage, "start");
	print_free_lists(&stage, "the arena is tiled by ");
	step_alloc(&stage, 'A', 90 * KIB);
	struct weight_of granted = {.address = stage.address[0]};
	stage.heap->allocator->walk(stage.heap, look_for_weight, &granted);
	printf("%sthe smallest weight that fits is %u\n", INDENT, granted.weight);
	step_alloc(&stage, 'B', 10 * KIB);
	step_free(&stage, 'A');
	step_alloc(&stage, 'C', 50 * KIB);
	step_free(&stage, 'C');
	step_free(&stage, 'B');
	close_stage(&stage);
	return true;
}

static bool demo_ternary(struct kml_error *error)
{
	struct stage stage;
	if (!open_stage(&stage, "kary:k=3,unit=1k", 81 * KIB, error))
		return false;
	draw(&stage, "start");
	step_alloc(&stage, 'A', 20 * KIB);
	print_free_lists(&stage, "free blocks: ");
	step_free(&stage, 'A');
	close_stage(&stage);
	return true;
}

static void print_order_table(const struct free_orders *columns, uint32_t count)
{
	puts("  order  pages   block  at first  after the 8k  after its free");
	for (uint32_t order = 0; order < KML_ORDERS; order++) {
		printf("  %5u  %5u  %6s", order, 1u << order, size_text((uint64_t)PAGE_BYTES << order).text);
		static const int widths[] = {10, 14, 16};
		for (uint32_t i = 0; i < count; i++)
			printf("%*llu", widths[i], (unsigned long long)columns[i].free_blocks[order]);
		putchar('\n');
	}
	putchar('\n');
}

static bool demo_pages(struct kml_error *error)
{
	struct stage stage;
	if (!open_stage(&stage, "binary:unit=4k,max_order=10", 16 * MIB, error))
		return false;
	stage.window_bytes = MAP_CELLS * PAGE_BYTES;
	struct free_orders columns[3];
	puts("  The first 64 of 4096 pages:");
	draw(&stage, "start");
	columns[0] = orders_of(&stage);
	step_alloc(&stage, 'A', 8 * KIB);
	columns[1] = orders_of(&stage);
	print_buddyinfo(&stage, "now");
	step_free(&stage, 'A');
	columns[2] = orders_of(&stage);
	puts("\n  Free blocks in the list of each order:");
	print_order_table(columns, 3);
	close_stage(&stage);

	puts("  The same without the kernel's limit of order 10 (one block of order 12 at first):");
	if (!open_stage(&stage, "binary:unit=4k", 16 * MIB, error))
		return false;
	struct kml_grant grant = ask(&stage, 8 * KIB);
	print_free_lists(&stage, "after the 8k: ");
	give_back(&stage, grant.address);
	print_free_lists(&stage, "after its free: ");
	close_stage(&stage);
	return true;
}

static bool demo_order(struct kml_error *error)
{
	struct stage stage;
	if (!open_stage(&stage, "binary:unit=4k,max_order=10", MIB / 4, error))
		return false;
	draw(&stage, "start");
	step_alloc(&stage, 'A', 9 * PAGE_BYTES);
	uint64_t pages = stats_of(&stage).granted_bytes / PAGE_BYTES;
	uint32_t order = 0;
	while (1ull << order < pages)
		order++;
	printf("%s9 pages need order %u: %llu pages, %llu of them wasted\n", INDENT, order, (unsigned long long)pages,
	       (unsigned long long)(pages - 9));
	close_stage(&stage);
	return true;
}

/* Free bytes in each cell of a map of several rows. */
struct density {
	uint64_t cell_bytes;
	uint64_t free_bytes[MAP_ROWS_MAX * MAP_CELLS];
};

static bool add_density(void *context, const struct kml_block *block)
{
	struct density *density = context;
	uint64_t end = block->address + block->size_bytes;
	for (uint64_t at = block->address; block->state == KML_BLOCK_FREE && at < end;) {
		uint64_t cell = at / density->cell_bytes, cell_end = (cell + 1) * density->cell_bytes;
		uint64_t part_end = cell_end < end ? cell_end : end;
		density->free_bytes[cell] += part_end - at;
		at = part_end;
	}
	return true;
}

static void draw_density(const struct stage *stage)
{
	struct density density = {.cell_bytes = stage->arena->size_bytes / (MAP_ROWS_MAX * MAP_CELLS)};
	stage->heap->allocator->walk(stage->heap, add_density, &density);
	for (uint32_t cell = 0; cell < MAP_ROWS_MAX * MAP_CELLS; cell++) {
		if (cell % MAP_CELLS == 0)
			printf("  %7s |", size_text(cell * density.cell_bytes).text);
		uint64_t free_bytes = density.free_bytes[cell];
		putchar(free_bytes == 0 ? '#' : free_bytes == density.cell_bytes ? ' ' : '+');
		if ((cell + 1) % MAP_CELLS == 0)
			puts("|");
	}
	printf("  a cell is %s: '#' all granted, '+' partly, ' ' all free\n\n", size_text(density.cell_bytes).text);
}

static void print_index(const struct stage *stage, uint32_t order)
{
	struct free_orders orders = orders_of(stage);
	int32_t unusable = free_orders_unusable_index(&orders, order);
	int32_t extfrag = free_orders_extfrag_index(&orders, order);
	printf("  For order %u: unusable_index %d.%03d (share of free memory it cannot use), extfrag_index %d.%03d\n"
	       "  (towards 1: fragmentation, towards 0: lack of memory).\n",
	       order, unusable / 1000, unusable % 1000, extfrag / 1000, extfrag % 1000);
}

static bool demo_fragmentation(struct kml_error *error)
{
	enum { PAGES = 4096, PINNED_EVERY = 128, FAILING_ORDER = 8 };
	struct stage stage;
	if (!open_stage(&stage, "binary:unit=4k,max_order=10", (uint64_t)PAGES * PAGE_BYTES, error))
		return false;
	static uint64_t address[PAGES];
	for (uint32_t i = 0; i < PAGES; i++) {
		struct kml_grant grant = ask(&stage, PAGE_BYTES);
		KML_CHECK(grant.status == KML_OK, "page %u: %s", i, kml_status_name(grant.status));
		address[i] = grant.address;
	}
	printf("  All %u pages are granted, then all are freed but every %uth:\n\n", PAGES, PINNED_EVERY);
	for (uint32_t i = 0; i < PAGES; i++)
		if (address[i] / PAGE_BYTES % PINNED_EVERY != 0)
			give_back(&stage, address[i]);
	draw_density(&stage);
	struct kml_stats stats = stats_of(&stage);
	printf("  %s of %s are free (%.1f %%), the largest free block is %s.\n", size_text(stats.free_bytes).text,
	       size_text(stage.arena->size_bytes).text,
	       100.0 * (double)stats.free_bytes / (double)stage.arena->size_bytes,
	       size_text(stats.largest_free_bytes).text);
	struct kml_grant grant = ask(&stage, MIB);
	printf("  A contiguous request of 1024k: %s.\n\n", kml_status_name(grant.status));
	print_buddyinfo(&stage, "shows");
	putchar('\n');
	print_index(&stage, FAILING_ORDER);
	close_stage(&stage);
	return true;
}

/* ------------------------------------------------------------------------------------------ a line of slabinfo */

/* "inode_cache 54321 55000 656 12 2" */
enum { LINE_ACTIVE = 54321, LINE_OBJECTS = 55000, LINE_OBJECT_BYTES = 656, LINE_PER_SLAB = 12, LINE_PAGES = 2 };

static double mib_of_pages(uint64_t pages)
{
	return (double)(pages * PAGE_BYTES) / (double)MIB;
}

/* LINE_OBJECTS objects, of which LINE_ACTIVE stay: the frees are spread over the slabs. */
static bool fill_cache(const struct stage *stage, struct kml_error *error)
{
	static uint64_t address[LINE_OBJECTS];
	const struct kml_cache cache = {.name = "inode_cache", .object_bytes = LINE_OBJECT_BYTES, .reclaimable = true};
	enum { FREES = LINE_OBJECTS - LINE_ACTIVE, STEP = LINE_OBJECTS / FREES };
	if (stage->heap->allocator->cache_open(stage->heap, 0, &cache) != KML_OK)
		return kml_fail(error, "demo: no cache of %d bytes can be opened", LINE_OBJECT_BYTES);
	struct kml_request request = {
		.size_bytes = LINE_OBJECT_BYTES, .recorded = KML_NO_ADDRESS, .flags = KML_CONTIGUOUS};
	for (uint32_t i = 0; i < LINE_OBJECTS; i++) {
		struct kml_grant grant = stage->heap->allocator->alloc(stage->heap, &request);
		KML_CHECK(grant.status == KML_OK, "object %u: %s", i, kml_status_name(grant.status));
		address[i] = grant.address;
	}
	for (uint32_t i = 0; i < FREES; i++) {
		struct kml_release release = {.address = address[i * STEP], .flags = KML_CONTIGUOUS};
		enum kml_status status = stage->heap->allocator->free(stage->heap, &release);
		KML_CHECK(status == KML_OK, "object %u: %s", i * STEP, kml_status_name(status));
	}
	return true;
}

static bool demo_slabinfo(struct kml_error *error)
{
	const uint64_t slabs = (LINE_OBJECTS + LINE_PER_SLAB - 1) / LINE_PER_SLAB, pages = slabs * LINE_PAGES;
	struct stage stage;
	struct kml_cache_stats stats;
	printf("  %-14s %9s %9s %9s %9s %9s\n", "name", "active", "objects", "bytes", "a slab", "pages");
	printf("  %-14s %9d %9d %9d %9d %9d\n\n", "inode_cache", LINE_ACTIVE, LINE_OBJECTS, LINE_OBJECT_BYTES,
	       LINE_PER_SLAB, LINE_PAGES);
	printf("  %d objects / %d in a slab = %.1f: %llu slabs.\n", LINE_OBJECTS, LINE_PER_SLAB,
	       (double)LINE_OBJECTS / LINE_PER_SLAB, (unsigned long long)slabs);
	printf("  %llu slabs * %d pages = %llu pages, * 4 KiB = %.1f MiB.\n\n", (unsigned long long)slabs, LINE_PAGES,
	       (unsigned long long)pages, mib_of_pages(pages));
	printf("  A widely copied text says 9200 slabs and 72 MiB. Its 9200 is the number of pages, %llu, rounded and\n"
	       "  taken for slabs; times %d pages a slab once more that is %.1f MiB: every page is counted twice.\n"
	       "  (A page of 4096 bytes holds 6 objects of %d, and %d / 6 = %d: right for slabs of one page, and the\n"
	       "  last column says that these have two.)\n\n",
	       (unsigned long long)pages, LINE_PAGES, mib_of_pages(pages * LINE_PAGES), LINE_OBJECT_BYTES, LINE_OBJECTS,
	       (LINE_OBJECTS + 5) / 6);
	if (!open_stage(&stage, "slub/binary", 64 * MIB, error))
		return false;
	bool done = fill_cache(&stage, error);
	if (done) {
		stage.heap->allocator->cache_stats(stage.heap, 0, &stats);
		KML_CHECK(stats.slabs == slabs && stats.slab_bytes == pages * PAGE_BYTES &&
				  stats.live_objects == LINE_ACTIVE && stats.objects_per_slab == LINE_PER_SLAB,
			  "%llu slabs of %u objects in %llu bytes, %llu live", (unsigned long long)stats.slabs,
			  stats.objects_per_slab, (unsigned long long)stats.slab_bytes,
			  (unsigned long long)stats.live_objects);
		printf("  The same cache in the allocator, after %d allocations and %d frees, by cache_stats: %llu "
		       "live\n"
		       "  objects of %llu on %llu slabs, %llu pages, %.1f MiB held for %.1f MiB of live objects. (A\n"
		       "  kernel would print %llu objects: whole slabs of %d.)\n",
		       LINE_OBJECTS, LINE_OBJECTS - LINE_ACTIVE, (unsigned long long)stats.live_objects,
		       (unsigned long long)stats.total_objects, (unsigned long long)stats.slabs,
		       (unsigned long long)(stats.slab_bytes / PAGE_BYTES), (double)stats.slab_bytes / (double)MIB,
		       (double)(stats.live_objects * LINE_OBJECT_BYTES) / (double)MIB,
		       (unsigned long long)stats.total_objects, LINE_PER_SLAB);
	}
	close_stage(&stage);
	return done;
}

/* ------------------------------------------------------------------------------------------------------ vmalloc */

enum { VMALLOC_PAGES = 256, VMALLOC_STAGE_PAGES = 4096, VMALLOC_PINNED_EVERY = 16, TIMED_CALLS = 2000 };
#define VMALLOC_BYTES ((uint64_t)VMALLOC_PAGES * PAGE_BYTES)

static struct kml_grant ask_as(const struct stage *stage, uint64_t size_bytes, uint16_t flags)
{
	struct kml_request request = {
		.size_bytes = size_bytes, .recorded = KML_NO_ADDRESS, .cache = KML_NO_CACHE, .flags = flags};
	return stage->heap->allocator->alloc(stage->heap, &request);
}

static void give_back_as(const struct stage *stage, uint64_t address, uint16_t flags)
{
	struct kml_release release = {.address = address, .cache = KML_NO_CACHE, .flags = flags};
	enum kml_status status = stage->heap->allocator->free(stage->heap, &release);
	KML_CHECK(status == KML_OK, "free of %llu: %s", (unsigned long long)address, kml_status_name(status));
}

/* All pages are taken, then all are freed but every so many-th. */
static void pin_pages(const struct stage *stage)
{
	static uint64_t address[VMALLOC_STAGE_PAGES];
	uint32_t taken = 0;
	for (struct kml_grant grant; taken < VMALLOC_STAGE_PAGES; address[taken++] = grant.address) {
		grant = ask_as(stage, PAGE_BYTES, KML_PAGES);
		if (grant.status != KML_OK)
			break;
	}
	for (uint32_t i = 0; i < taken; i++)
		if (address[i] / PAGE_BYTES % VMALLOC_PINNED_EVERY != 0)
			give_back_as(stage, address[i], KML_PAGES);
}

static uint64_t mark_of(uint64_t page)
{
	return 0x6b6d656d6c616221 + page;
}

/* Where in the arena the pages of an area are: each page is written through the area, and looked for. */
static uint64_t count_runs(const struct stage *stage, uint64_t area, uint64_t *found)
{
	uint8_t *memory = stage->arena->base;
	uint64_t runs = 0, mark;
	for (uint64_t page = 0; page < VMALLOC_PAGES; page++) {
		mark = mark_of(page);
		memcpy(memory + area + page * PAGE_BYTES, &mark, sizeof mark);
	}
	*found = 0;
	for (uint64_t at = 0, before = 0; at < stage->arena->size_bytes; at += PAGE_BYTES) {
		if (stage->arena->pages[at / PAGE_BYTES].owner == NULL)
			continue; /* free memory is not looked at */
		memcpy(&mark, memory + at, sizeof mark);
		if (mark - mark_of(0) >= VMALLOC_PAGES)
			continue;
		runs += *found == 0 || at != before + PAGE_BYTES;
		before = at;
		++*found;
	}
	return runs;
}

static double mean_ns(const struct stage *stage, uint16_t flags)
{
	struct timespec begin, end;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
	for (int i = 0; i < TIMED_CALLS; i++)
		give_back_as(stage, ask_as(stage, VMALLOC_BYTES, flags).address, flags);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
	return ((double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec)) / TIMED_CALLS;
}

/* On an empty arena, where both succeed; what whoever uses the memory pays is not in it. */
static bool time_both(struct kml_error *error)
{
	struct stage stage;
	if (!open_stage(&stage, "slub/binary", (uint64_t)VMALLOC_STAGE_PAGES * PAGE_BYTES, error))
		return false;
	double contiguous_ns = mean_ns(&stage, KML_KMALLOC | KML_CONTIGUOUS), area_ns = mean_ns(&stage, KML_VMALLOC);
	printf("  Alloc and free of 1024k on an empty arena, mean of %d: kmalloc %.0f ns, vmalloc %.0f ns, %.0f times "
	       "as\n"
	       "  much, %.0f ns a page. (A process pays system calls where a kernel writes page tables.)\n",
	       TIMED_CALLS, contiguous_ns, area_ns, area_ns / contiguous_ns, area_ns / VMALLOC_PAGES);
	close_stage(&stage);
	return true;
}

static bool show_area(const struct stage *stage)
{
	struct kml_stats before = stats_of(stage);
	struct kml_grant refused = ask_as(stage, VMALLOC_BYTES, KML_KMALLOC | KML_CONTIGUOUS);
	printf("  %s free, the largest block %s. kmalloc(1024k) fails: %s.\n", size_text(before.free_bytes).text,
	       size_text(before.largest_free_bytes).text, kml_status_name(refused.status));
	struct kml_grant area = ask_as(stage, VMALLOC_BYTES, KML_VMALLOC);
	struct kml_stats after = stats_of(stage);
	if (refused.status == KML_OK || area.status != KML_OK)
		return false;
	uint64_t found, runs = count_runs(stage, area.address, &found);
	printf("  vmalloc(1024k) succeeds: %llu bytes in a row at %llu, behind the arena. A word written to each of "
	       "its\n"
	       "  pages is read back in the arena, in %llu pages that lie in %llu runs.\n\n",
	       (unsigned long long)area.granted_bytes, (unsigned long long)area.address, (unsigned long long)found,
	       (unsigned long long)runs);
	printf("  Cost of the area: %llu requests to the page allocator instead of one, %llu splits, %llu bytes of "
	       "books,\n"
	       "  and a page of addresses that stays empty behind it.\n",
	       (unsigned long long)found, (unsigned long long)(after.splits - before.splits),
	       (unsigned long long)(after.metadata_bytes - before.metadata_bytes));
	give_back_as(stage, area.address, KML_VMALLOC);
	return true;
}

static bool demo_vmalloc(struct kml_error *error)
{
	struct stage stage;
	if (!open_stage(&stage, "slub/binary", (uint64_t)VMALLOC_STAGE_PAGES * PAGE_BYTES, error))
		return false;
	printf("  All pages of 16 MiB are granted, then all are freed but every %dth:\n\n", VMALLOC_PINNED_EVERY);
	pin_pages(&stage);
	draw_density(&stage);
	bool shown = show_area(&stage);
	close_stage(&stage);
	if (!shown)
		return kml_fail(error, "vmalloc: it did not come as foretold");
	return !shows_time || time_both(error);
}

struct example {
	const char *name;
	const char *title;
	bool (*run)(struct kml_error *error);
};

static const struct example examples[] = {
	{"binary", "1024k: A = 70k, B = 61k, C = 100k; free A; D = 33k; free B, D, C", demo_binary},
	{"rounding", "128 bytes: a request of 10 gets a block of 16", demo_rounding},
	{"fibonacci", "Fibonacci system, 144 units: 70 gets 89, its buddy is 55", demo_fibonacci},
	{"weights", "a table of weights on 200k: 90k gets weight 2, 128k", demo_weights},
	{"ternary", "ternary system, 81k: 20k gets 27k", demo_ternary},
	{"pages", "16 MiB in pages of 4 KiB: a request of 8 KiB and its free", demo_pages},
	{"order", "9 pages get order 4: 7 pages wasted", demo_order},
	{"fragmentation", "1 MiB contiguous fails while most memory is free", demo_fragmentation},
	{"vmalloc", "kmalloc of 1 MiB fails, vmalloc of 1 MiB succeeds, page by page", demo_vmalloc},
	{"slabinfo", "inode_cache 54321 55000 656 12 2: a line of /proc/slabinfo is 35.8 MiB, not 72", demo_slabinfo},
};
enum { EXAMPLES = sizeof examples / sizeof examples[0] };

/* --------------------------------------------------------------------------------------------------- the command */

struct arguments {
	bool chosen[EXAMPLES];
	bool any_chosen;
	bool list;
};

static bool choose(struct arguments *arguments, const char *name, struct kml_error *error)
{
	struct kml_nearest nearest = kml_nearest_start(name);
	for (uint32_t i = 0; i < EXAMPLES; i++) {
		if (strcmp(examples[i].name, name) == 0) {
			arguments->chosen[i] = arguments->any_chosen = true;
			return true;
		}
		kml_nearest_offer(&nearest, examples[i].name);
	}
	return kml_fail(error, "no example '%.64s'; the nearest is '%s' (--list shows all)", name,
			kml_nearest_name(&nearest));
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	struct kml_error error;
	switch (key) {
	case 'l':
		arguments->list = true;
		return 0;
	case OPTION_TIME:
		shows_time = true;
		return 0;
	case ARGP_KEY_ARG:
		if (!choose(arguments, value, &error))
			argp_error(state, "%s", error.text);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"list", 'l', NULL, 0, "List the examples", 0},
	{"time", OPTION_TIME, NULL, 0, "Measure too, where an example can (vmalloc); never the same twice", 0},
	{0},
};

static const struct argp argp = {
	options,
	parse_option,
	"[EXAMPLE...]",
	"Show textbook examples as memory maps and sums: all of them, or those named.\v"
	"Examples:\n"
	"  kmemlab demo\n"
	"  kmemlab demo binary fragmentation\n"
	"  kmemlab demo vmalloc --time\n"
	"  kmemlab demo --list\n\n"
	"In a map '|' starts a block, '#' is granted, a number is the size of a free block, '.' is too small for a "
	"block.",
	NULL,
	NULL,
	NULL};

int cmd_demo(int argc, char **argv)
{
	struct arguments arguments = {0};
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	bool first = true;
	for (uint32_t i = 0; i < EXAMPLES; i++) {
		struct kml_error error;
		if (arguments.list) {
			printf("%-14s %s\n", examples[i].name, examples[i].title);
			continue;
		}
		if (arguments.any_chosen && !arguments.chosen[i])
			continue;
		printf("%s%s: %s\n", first ? "" : "\n", examples[i].name, examples[i].title);
		first = false;
		if (!examples[i].run(&error))
			return kml_report(&error, KML_EXIT_USAGE);
	}
	return KML_EXIT_OK;
}
