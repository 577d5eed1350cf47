/*
 * kary.c - k-ary buddy systems: blocks of k^i units, each split into k equal parts.
 *
 * The direct generalisation of Knowlton's system. Fewer, coarser classes: k = 3 and 4 waste more inside than the binary
 * system (uniform requests: 33 to 50 % and 37.5 to 60 %), and merge only when all k parts are free.
 *
 * Cost: O(k log n / log k).
 */
#include "allocators/buddy/engine.h"

extern const struct kml_allocator kml_kary;

struct kary_config {
	struct buddy_config common;
	uint64_t k;
};

static bool kary_build(struct buddy_table *table, uint64_t limit_units, const void *config, struct kml_error *error)
{
	(void)error;
	uint32_t k = (uint32_t)((const struct kary_config *)config)->k;
	uint64_t size_units = 1, pieces[BUDDY_CHILDREN_MAX];
	bool added = buddy_table_add(table, limit_units, size_units, 0, NULL);
	while (added) {
		for (uint32_t i = 0; i < k; i++)
			pieces[i] = size_units;
		size_units *= k;
		added = buddy_table_add(table, limit_units, size_units, k, pieces);
	}
	return true;
}

static struct kml_heap *kary_create(const struct kml_environment *environment, const void *config,
				    struct kml_error *error)
{
	const struct kary_config *kary = config;
	return buddy_create(&kml_kary, environment, &kary->common, BUDDY_PLACES, kary_build, config, error);
}

static const struct kml_param kary_params[] = {BUDDY_COMMON_PARAMS(struct kary_config),
					       {.name = "k",
						.type = KML_PARAM_NUMBER,
						.offset = offsetof(struct kary_config, k),
						.default_text = "3",
						.minimum = 2,
						.maximum = BUDDY_CHILDREN_MAX,
						.help = "equal parts of a split block; 2: binary"},
					       {.name = NULL}};

const struct kml_allocator kml_kary = {
	.abi_version = KML_ABI_VERSION,
	.name = "kary",
	.title = "K-ary buddy system",
	.citation = "after Knowlton, A fast storage allocator, CACM 8(10), 1965",
	.summary = "k^i splits into k equal parts; O(k log n)",
	.layer = KML_LAYER_PAGES,
	.params = kary_params,
	.config_bytes = sizeof(struct kary_config),
	.create = kary_create,
	.alloc = buddy_alloc_by_places,
	.free = buddy_free_by_places,
	BUDDY_COMMON_OPERATIONS,
};
