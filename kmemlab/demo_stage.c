/*
 * demo_stage.c - what the examples of `kmemlab demo` play on: an allocator with an arena of its own, drawn and asked.
 *
 * A map shows the arena from left to right: '|' starts a block, '#' is granted, blank is free (with the block's size),
 * '.' is too small for a block. Every figure printed is the allocator's own answer.
 */
#include <stdio.h>
#include <string.h>

#include "kmemlab/demo.h"
#include "kmemlab/support/error.h"

enum { MAP_ROWS_MAX = 4, LINE_MAX_COLUMNS = 64 };

void stage_close(struct stage *stage)
{
	kml_stack_destroy(&stage->stack);
	kml_spec_free(stage->spec);
	kml_arena_destroy(stage->arena);
}

bool stage_open(struct stage *stage, const char *spec, uint64_t arena_bytes, struct kml_error *error)
{
	memset(stage, 0, sizeof *stage);
	for (uint32_t i = 0; i < STAGE_NAMES; i++)
		stage->address[i] = KML_NO_ADDRESS;
	stage->window_bytes = arena_bytes;
	stage->spec = kml_spec_parse(spec, error);
	/* Slabs live in the memory of their pages; the books of page allocators do not. */
	bool with_memory = stage->spec && stage->spec->layer[0]->layer == KML_LAYER_OBJECTS;
	stage->arena = stage->spec ? kml_arena_create(arena_bytes, STAGE_PAGE_BYTES, with_memory, error) : NULL;
	struct kml_environment environment = {
		.arena = stage->arena, .page_bytes = STAGE_PAGE_BYTES, .cpu_count = 1, .cache_count = 1};
	if (!stage->arena || !kml_stack_create(&stage->stack, stage->spec, &environment, error)) {
		stage_close(stage);
		return false;
	}
	stage->heap = kml_stack_top(&stage->stack);
	printf("  kmemlab spec: %s\n\n", spec);
	return true;
}

struct kml_stats stage_stats(const struct stage *stage)
{
	struct kml_stats stats;
	stage->heap->allocator->stats(stage->heap, &stats);
	return stats;
}

struct kml_grant stage_ask(const struct stage *stage, uint64_t size_bytes, uint16_t flags)
{
	struct kml_request request = {
		.size_bytes = size_bytes, .recorded = KML_NO_ADDRESS, .cache = KML_NO_CACHE, .flags = flags};
	return stage->heap->allocator->alloc(stage->heap, &request);
}

void stage_give_back(const struct stage *stage, uint64_t address, uint16_t flags)
{
	struct kml_release release = {.address = address, .cache = KML_NO_CACHE, .flags = flags};
	enum kml_status status = stage->heap->allocator->free(stage->heap, &release);
	KML_CHECK(status == KML_OK, "%s: free of %llu: %s", stage->spec->text, (unsigned long long)address,
		  kml_status_name(status));
}

struct size_text size_text(uint64_t size_bytes)
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
	char line[STAGE_MAP_CELLS + 2];
};

static uint32_t cell_of(const struct stage *stage, uint64_t address)
{
	return address >= stage->window_bytes ? STAGE_MAP_CELLS
					      : (uint32_t)(address * STAGE_MAP_CELLS / stage->window_bytes);
}

static char name_of(const struct stage *stage, uint64_t address)
{
	for (uint32_t i = 0; i < STAGE_NAMES; i++)
		if (stage->address[i] == address)
			return (char)('A' + i);
	return '#';
}

static bool draw_block(void *context, const struct kml_block *block)
{
	struct map *map = context;
	uint32_t first = cell_of(map->stage, block->address);
	uint32_t end = cell_of(map->stage, block->address + block->size_bytes);
	if (first == STAGE_MAP_CELLS)
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

void stage_draw(const struct stage *stage, const char *what)
{
	struct map map = {.stage = stage};
	memset(map.line, '.', STAGE_MAP_CELLS);
	stage->heap->allocator->walk(stage->heap, draw_block, &map);
	if (map.line[STAGE_MAP_CELLS - 1] == '.') {
		uint32_t cell = STAGE_MAP_CELLS;
		while (cell > 0 && map.line[cell - 1] == '.')
			cell--;
		map.line[cell] = '|';
	}
	map.line[STAGE_MAP_CELLS] = '|';
	printf("  %-9s %s\n", what, map.line);
}

/* ------------------------------------------------------------------------------------------------- single steps */

void stage_print_free_lists(const struct stage *stage, const char *before)
{
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint32_t count = stage->heap->allocator->free_areas(stage->heap, areas);
	int column = printf("%s%s", STAGE_INDENT, before);
	bool any = false;
	for (uint32_t i = 0; i < count; i++) {
		if (areas[i].count == 0)
			continue;
		if (column > LINE_MAX_COLUMNS)
			column = printf(",\n%s", STAGE_INDENT) - 2;
		else
			column += printf("%s", any ? ", " : "");
		column +=
			printf("%llu of %s", (unsigned long long)areas[i].count, size_text(areas[i].block_bytes).text);
		any = true;
	}
	puts(any ? "" : "none");
}

void stage_alloc(struct stage *stage, char name, uint64_t size_bytes)
{
	struct kml_stats before = stage_stats(stage);
	struct kml_grant grant = stage_ask(stage, size_bytes, KML_CONTIGUOUS);
	KML_CHECK(grant.status == KML_OK, "%s: %llu bytes: %s", stage->spec->text, (unsigned long long)size_bytes,
		  kml_status_name(grant.status));
	stage->address[name - 'A'] = grant.address;
	char what[32];
	snprintf(what, sizeof what, "%c = %s", name, size_text(size_bytes).text);
	stage_draw(stage, what);
	printf("%s%s granted at %s, %s of it not asked for; splits: %llu\n", STAGE_INDENT,
	       size_text(grant.granted_bytes).text, size_text(grant.address).text,
	       size_text(grant.granted_bytes - size_bytes).text,
	       (unsigned long long)(stage_stats(stage).splits - before.splits));
}

void stage_free(struct stage *stage, char name)
{
	struct kml_stats before = stage_stats(stage);
	stage_give_back(stage, stage->address[name - 'A'], 0);
	stage->address[name - 'A'] = KML_NO_ADDRESS;
	char what[32];
	snprintf(what, sizeof what, "free %c", name);
	stage_draw(stage, what);
	struct kml_stats after = stage_stats(stage);
	printf("%smerges: %llu; largest free block %s\n", STAGE_INDENT,
	       (unsigned long long)(after.merges - before.merges), size_text(after.largest_free_bytes).text);
}

struct free_orders stage_orders(const struct stage *stage)
{
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint32_t count = stage->heap->allocator->free_areas(stage->heap, areas);
	struct free_orders orders;
	free_orders_from_areas(&orders, areas, count, STAGE_PAGE_BYTES);
	return orders;
}

void stage_print_buddyinfo(const struct stage *stage, const char *when)
{
	struct free_orders orders = stage_orders(stage);
	printf("  /proc/buddyinfo %s:\n  ", when);
	free_orders_print(&orders, "Normal", stdout);
}

/* Free bytes in each cell of a map of several rows. */
struct density {
	uint64_t cell_bytes;
	uint64_t free_bytes[MAP_ROWS_MAX * STAGE_MAP_CELLS];
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

void stage_draw_density(const struct stage *stage)
{
	struct density density = {.cell_bytes = stage->arena->size_bytes / (MAP_ROWS_MAX * STAGE_MAP_CELLS)};
	stage->heap->allocator->walk(stage->heap, add_density, &density);
	for (uint32_t cell = 0; cell < MAP_ROWS_MAX * STAGE_MAP_CELLS; cell++) {
		if (cell % STAGE_MAP_CELLS == 0)
			printf("  %7s |", size_text(cell * density.cell_bytes).text);
		uint64_t free_bytes = density.free_bytes[cell];
		putchar(free_bytes == 0 ? '#' : free_bytes == density.cell_bytes ? ' ' : '+');
		if ((cell + 1) % STAGE_MAP_CELLS == 0)
			puts("|");
	}
	printf("  a cell is %s: '#' all granted, '+' partly, ' ' all free\n\n", size_text(density.cell_bytes).text);
}
