/*
 * binary.c - the binary buddy system: blocks of 2^i units, each split into halves.
 *
 * K. C. Knowlton, A fast storage allocator, CACM 8(10), 1965, pp. 623-625. An arena that is no power of two is tiled as
 * in Knuth, TAOCP 1, 2.5 exercise 26. max_order=10 gives the orders of Linux (mm/page_alloc.c: MAX_PAGE_ORDER).
 *
 * Cost: the buddy is one XOR; O(log arena/unit). Up to half of a block is wasted inside.
 */
#include "allocators/buddy/engine.h"

extern const struct kml_allocator kml_binary;

struct binary_config {
	struct buddy_config common;
	uint64_t max_order; /* 0: as large as fits */
};

static bool binary_build(struct buddy_table *table, uint64_t limit_units, const void *config, struct kml_error *error)
{
	(void)error;
	const struct binary_config *binary = config;
	uint64_t last_order = binary->max_order ? binary->max_order : BUDDY_SIZE_BITS - 1;
	if (!buddy_table_add(table, limit_units, 1, 0, NULL))
		return false;
	for (uint32_t order = 1; order <= last_order; order++) {
		uint64_t half_units = 1ull << (order - 1), halves[] = {half_units, half_units};
		if (!buddy_table_add(table, limit_units, 2 * half_units, 2, halves))
			break;
	}
	return true;
}

static struct kml_heap *binary_create(const struct kml_environment *environment, const void *config,
				      struct kml_error *error)
{
	const struct binary_config *binary = config;
	return buddy_create(&kml_binary, environment, &binary->common, BUDDY_HALVES, binary_build, config, error);
}

static struct kml_grant binary_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	return buddy_alloc((struct buddy_heap *)heap, request, BUDDY_HALVES);
}

static enum kml_status binary_free(struct kml_heap *heap, const struct kml_release *release)
{
	return buddy_free((struct buddy_heap *)heap, release, BUDDY_HALVES);
}

static const struct kml_param binary_params[] = {
	BUDDY_COMMON_PARAMS(struct binary_config),
	{.name = "max_order",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct binary_config, max_order),
	 .default_text = "auto",
	 .minimum = 1,
	 .maximum = BUDDY_SIZE_BITS - 1,
	 .help = "largest block is unit << max_order (Linux: 10); auto: the largest that fits the arena"},
	{.name = NULL}};

const struct kml_allocator kml_binary = {
	.abi_version = KML_ABI_VERSION,
	.name = "binary",
	.title = "Binary buddy system",
	.citation = "Knowlton, A fast storage allocator, CACM 8(10), 1965",
	.summary = "2^i splits into halves; the buddy's address is one XOR; O(log n)",
	.layer = KML_LAYER_PAGES,
	.params = binary_params,
	.config_bytes = sizeof(struct binary_config),
	.create = binary_create,
	.alloc = binary_alloc,
	.free = binary_free,
	BUDDY_COMMON_OPERATIONS,
};
