/*
 * tertiary.c - the tertiary buddy system: a block of 2^i units splits into 3/8, 3/8 and 2/8 of itself.
 *
 * D. Yadav & A. K. Sharma, Tertiary buddy system for efficient dynamic memory allocation, SEPADS 2010, and Yadav et
 * al., CEA 2008: sizes 2^i and 3*2^(i-3). So that every block can be split down to one unit, 3*2^i splits into 2^(i+1)
 * and 2^i as in Shen & Peterson's system, and 4 units, too few for eighths, into halves.
 *
 * Not every larger block yields a given size: 2^i has no part of 2^(i-1). Such a block is granted whole where nothing
 * better is free.
 *
 * Cost: O(log n).
 */
#include "allocators/buddy/engine.h"

extern const struct kml_allocator kml_tertiary;

struct tertiary_config {
	struct buddy_config common;
};

static bool tertiary_build(struct buddy_table *table, uint64_t limit_units, const void *config, struct kml_error *error)
{
	(void)config;
	(void)error;
	const uint64_t of_2[] = {1, 1}, of_3[] = {2, 1}, of_4[] = {2, 2};
	bool added = buddy_table_add(table, limit_units, 1, 0, NULL) &&
		     buddy_table_add(table, limit_units, 2, 2, of_2) &&
		     buddy_table_add(table, limit_units, 3, 2, of_3) && buddy_table_add(table, limit_units, 4, 2, of_4);
	for (uint64_t power = 1; added; power *= 2) {
		uint64_t of_6[] = {4 * power, 2 * power}, of_8[] = {3 * power, 3 * power, 2 * power};
		added = buddy_table_add(table, limit_units, 6 * power, 2, of_6) &&
			buddy_table_add(table, limit_units, 8 * power, 3, of_8);
	}
	return true;
}

static struct kml_heap *tertiary_create(const struct kml_environment *environment, const void *config,
					struct kml_error *error)
{
	const struct tertiary_config *tertiary = config;
	return buddy_create(&kml_tertiary, environment, &tertiary->common, BUDDY_PLACES, tertiary_build, config, error);
}

static const struct kml_param tertiary_params[] = {BUDDY_COMMON_PARAMS(struct tertiary_config), {.name = NULL}};

const struct kml_allocator kml_tertiary = {
	.abi_version = KML_ABI_VERSION,
	.name = "tertiary",
	.title = "Tertiary buddy system",
	.citation = "Yadav & Sharma, Tertiary buddy system for efficient dynamic memory allocation, SEPADS 2010",
	.summary = "2^i splits into 3/8, 3/8 and 2/8, 3*2^i into 2^(i+1) and 2^i; O(log n)",
	.layer = KML_LAYER_PAGES,
	.params = tertiary_params,
	.config_bytes = sizeof(struct tertiary_config),
	.create = tertiary_create,
	.alloc = buddy_alloc_by_places,
	.free = buddy_free_by_places,
	BUDDY_COMMON_OPERATIONS,
};
