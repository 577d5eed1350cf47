/*
 * weighted.c - the weighted buddy system, and any user's table of weights.
 *
 * K. K. Shen & J. L. Peterson, A weighted buddy method for dynamic storage allocation, CACM 17(10), 1974, pp. 558-562
 * (corrigendum CACM 18:202): sizes 2^i and 3*2^i; 2^(r+2) splits into 3*2^r and 2^r, 3*2^r into 2^(r+1) and 2^r.
 *
 * With sizes=64k+128k+256k the table is the user's: the smallest size is the unit, weights are positions in the list
 * (1, 2, 3). A size splits into the next smaller one and the rest, the rest into the largest sizes that fit: Burton's
 * SIZE(i) = SIZE(i-1) + SIZE(i-k(i)) (CACM 19(7), 1976), with more pieces where two will not do.
 *
 * Cost: O(log n).
 */
#include "allocators/buddy/engine.h"

extern const struct kml_allocator kml_weighted;

struct weighted_config {
	struct buddy_config common;
	struct kml_sizes sizes; /* count 0: Shen & Peterson's */
};

static bool shen_peterson_build(struct buddy_table *table, uint64_t limit_units)
{
	const uint64_t ones[] = {1, 1};
	bool added = buddy_table_add(table, limit_units, 1, 0, NULL) && buddy_table_add(table, limit_units, 2, 2, ones);
	for (uint64_t power = 1; added; power *= 2) {
		uint64_t of_3[] = {2 * power, power}, of_4[] = {3 * power, power};
		added = buddy_table_add(table, limit_units, 3 * power, 2, of_3) &&
			buddy_table_add(table, limit_units, 4 * power, 2, of_4);
	}
	return true;
}

static bool check_sizes(const struct kml_sizes *sizes, struct kml_error *error)
{
	uint64_t unit_bytes = sizes->size_bytes[0];
	for (uint32_t i = 1; i < sizes->count; i++) {
		uint64_t rest_bytes = sizes->size_bytes[i] % unit_bytes;
		if (rest_bytes != 0)
			return kml_fail(
				error,
				"weighted: sizes: %llu cannot split into smaller sizes of the table, all made of %llu: "
				"use %llu or %llu",
				(unsigned long long)sizes->size_bytes[i], (unsigned long long)unit_bytes,
				(unsigned long long)(sizes->size_bytes[i] - rest_bytes),
				(unsigned long long)(sizes->size_bytes[i] - rest_bytes + unit_bytes));
	}
	return true;
}

/* The next smaller size, then the largest that fit in what is left; the number of pieces, or 0 when they are too many.
 */
static uint32_t split_size(const struct kml_sizes *sizes, uint32_t index, uint64_t *pieces)
{
	uint64_t unit_bytes = sizes->size_bytes[0], rest_bytes = sizes->size_bytes[index];
	uint32_t count = 0;
	for (uint32_t i = index; i-- > 0;)
		for (; rest_bytes >= sizes->size_bytes[i]; rest_bytes -= sizes->size_bytes[i]) {
			if (count == BUDDY_CHILDREN_MAX)
				return 0;
			pieces[count++] = sizes->size_bytes[i] / unit_bytes;
		}
	return count;
}

static bool user_table_build(struct buddy_table *table, uint64_t limit_units, const struct kml_sizes *sizes,
			     struct kml_error *error)
{
	uint64_t unit_bytes = sizes->size_bytes[0], pieces[BUDDY_CHILDREN_MAX];
	buddy_table_add(table, limit_units, 1, 0, NULL);
	for (uint32_t i = 1; i < sizes->count; i++) {
		uint32_t count = split_size(sizes, i, pieces);
		if (count == 0)
			return kml_fail(
				error,
				"weighted: sizes: %llu splits into more than %d smaller sizes of the table: put a size "
				"between %llu and %llu",
				(unsigned long long)sizes->size_bytes[i], BUDDY_CHILDREN_MAX,
				(unsigned long long)sizes->size_bytes[i - 1], (unsigned long long)sizes->size_bytes[i]);
		buddy_table_add(table, limit_units, sizes->size_bytes[i] / unit_bytes, count, pieces);
	}
	return true;
}

static bool weighted_build(struct buddy_table *table, uint64_t limit_units, const void *config, struct kml_error *error)
{
	const struct weighted_config *weighted = config;
	return weighted->sizes.count == 0 ? shen_peterson_build(table, limit_units)
					  : user_table_build(table, limit_units, &weighted->sizes, error);
}

static struct kml_heap *weighted_create(const struct kml_environment *environment, const void *config,
					struct kml_error *error)
{
	const struct weighted_config *weighted = config;
	struct buddy_config common = weighted->common;
	if (weighted->sizes.count > 0) {
		if (common.unit_bytes && common.unit_bytes != weighted->sizes.size_bytes[0]) {
			kml_fail(error,
				 "weighted: unit=%llu contradicts sizes, whose smallest is the unit: leave unit out",
				 (unsigned long long)common.unit_bytes);
			return NULL;
		}
		if (!check_sizes(&weighted->sizes, error))
			return NULL;
		common.unit_bytes = weighted->sizes.size_bytes[0];
	}
	return buddy_create(&kml_weighted, environment, &common, BUDDY_PLACES, weighted_build, config, error);
}

static const struct kml_param weighted_params[] = {
	BUDDY_COMMON_PARAMS(struct weighted_config),
	{.name = "sizes",
	 .type = KML_PARAM_SIZES,
	 .offset = offsetof(struct weighted_config, sizes),
	 .default_text = "auto",
	 .minimum = 1,
	 .maximum = 1ull << 46,
	 .help = "a table of your own, ascending: 64k+128k+256k; auto: 2^i and 3*2^i units"},
	{.name = NULL}};

const struct kml_allocator kml_weighted = {
	.abi_version = KML_ABI_VERSION,
	.name = "weighted",
	.title = "Weighted buddy system",
	.citation = "Shen & Peterson, A weighted buddy method for dynamic storage allocation, CACM 17(10), 1974",
	.summary = "2^(r+2) splits into 3*2^r and 2^r, 3*2^r into 2^(r+1) and 2^r, or by a table of yours; O(log n)",
	.layer = KML_LAYER_PAGES,
	.params = weighted_params,
	.config_bytes = sizeof(struct weighted_config),
	.create = weighted_create,
	.alloc = buddy_alloc_by_places,
	.free = buddy_free_by_places,
	BUDDY_COMMON_OPERATIONS,
};
