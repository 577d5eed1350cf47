/* size_table.c - see size_table.h. */
#include "workloads/validate/size_table.h"

#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"

static uint32_t granted_units(struct kml_heap *heap, uint32_t units)
{
	const struct kml_request request = {.size_bytes = (uint64_t)units * SIZE_TABLE_UNIT_BYTES,
					    .recorded = KML_NO_ADDRESS,
					    .cache = KML_NO_CACHE};
	struct kml_grant grant = heap->allocator->alloc(heap, &request);
	if (grant.status != KML_OK)
		return 0;
	const struct kml_release release = {.address = grant.address, .cache = KML_NO_CACHE};
	return heap->allocator->free(heap, &release) == KML_OK ? (uint32_t)(grant.granted_bytes / SIZE_TABLE_UNIT_BYTES)
							       : 0;
}

static bool fill_table(struct kml_heap *heap, struct size_table *table, const char *stack, struct kml_error *error)
{
	for (uint32_t units = 1; units <= SIZE_TABLE_UNITS; units++) {
		uint32_t granted = granted_units(heap, units);
		if (granted < units)
			return kml_fail(error, "%s granted %u units for %u", stack, granted, units);
		table->granted_units[units] = granted;
		if (table->size_count > 0 && table->size_units[table->size_count - 1] == granted)
			continue;
		if (table->size_count == sizeof table->size_units / sizeof table->size_units[0])
			return kml_fail(error, "%s has more than %u block sizes", stack, table->size_count);
		table->size_units[table->size_count++] = granted;
	}
	return true;
}

/* Large enough that the largest size's block is one of the roots that tile it. */
static bool make_table(const char *stack, struct size_table *table, struct kml_error *error)
{
	const uint64_t arena_bytes = 4ull * SIZE_TABLE_UNITS * SIZE_TABLE_UNIT_BYTES;
	struct kml_stack heaps;
	memset(table, 0, sizeof *table);
	struct kml_spec *spec = kml_spec_parse(stack, error);
	struct kml_arena *arena = spec ? kml_arena_create(arena_bytes, 4096, false, error) : NULL;
	const struct kml_environment environment = {.arena = arena, .page_bytes = 4096, .cpu_count = 1};
	bool done = arena && kml_stack_create(&heaps, spec, &environment, error);
	if (done) {
		done = fill_table(kml_stack_top(&heaps), table, stack, error);
		kml_stack_destroy(&heaps);
	}
	kml_arena_destroy(arena);
	kml_spec_free(spec);
	return done;
}

struct size_table *size_table_of(const char *stack, struct kml_error *error)
{
	struct size_table *table = malloc(sizeof *table);
	if (!table)
		kml_fail(error, "out of memory");
	else if (make_table(stack, table, error))
		return table;
	free(table);
	return NULL;
}
