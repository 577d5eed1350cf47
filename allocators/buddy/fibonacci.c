/*
 * fibonacci.c - Fibonacci buddy systems: sizes a(n) = a(n-1) + a(n-j), each split into those two.
 *
 * D. S. Hirschberg, A class of dynamic memory allocation algorithms, CACM 16(10), 1973, pp. 615-618: j = 2 gives 1, 2,
 * 3, 5, 8, ...; larger j gives closer sizes, j = 1 the binary system. The sequence starts with j ones, of which one is
 * kept, so that 1, 2, ..., j + 1 are its first sizes. J. A. Hinds (CACM 18(4), 1975) and B. Cranston & R. Thomas (CACM
 * 18(6), 1975) tell how to find the buddy; the engine does it as the latter.
 *
 * Cost: O(log n) to the base of the growth rate (1.618 for j = 2).
 */
#include "allocators/buddy/engine.h"
#include "kmemlab/support/planted.h"

extern const struct kml_allocator kml_fibonacci;

struct fibonacci_config {
	struct buddy_config common;
	uint64_t j;
};

static bool fibonacci_build(struct buddy_table *table, uint64_t limit_units, const void *config,
			    struct kml_error *error)
{
	(void)error;
	uint64_t j = ((const struct fibonacci_config *)config)->j;
	bool added = buddy_table_add(table, limit_units, 1, 0, NULL);
	while (added) {
		uint32_t n = table->class_count;
		uint64_t larger = table->size_units[n - 1], smaller = table->size_units[n > j ? n - j : 0];
		uint64_t first = KML_PLANTED(fibonacci_smaller_first) ? smaller : larger;
		uint64_t pieces[] = {first, larger + smaller - first};
		added = buddy_table_add(table, limit_units, larger + smaller, 2, pieces);
	}
	return true;
}

static struct kml_heap *fibonacci_create(const struct kml_environment *environment, const void *config,
					 struct kml_error *error)
{
	const struct fibonacci_config *fibonacci = config;
	return buddy_create(&kml_fibonacci, environment, &fibonacci->common, BUDDY_PLACES, fibonacci_build, config,
			    error);
}

static const struct kml_param fibonacci_params[] = {BUDDY_COMMON_PARAMS(struct fibonacci_config),
						    {.name = "j",
						     .type = KML_PARAM_NUMBER,
						     .offset = offsetof(struct fibonacci_config, j),
						     .default_text = "2",
						     .minimum = 1,
						     .maximum = 16,
						     .help = "sizes a(n) = a(n-1) + a(n-j); 2: Fibonacci, 1: binary"},
						    {.name = NULL}};

const struct kml_allocator kml_fibonacci = {
	.abi_version = KML_ABI_VERSION,
	.name = "fibonacci",
	.title = "Fibonacci buddy system",
	.citation = "Hirschberg, A class of dynamic memory allocation algorithms, CACM 16(10), 1973",
	.summary = "a(n) splits into a(n-1) and a(n-j); buddies by Cranston & Thomas' two memories; O(log n)",
	.layer = KML_LAYER_PAGES,
	.params = fibonacci_params,
	.config_bytes = sizeof(struct fibonacci_config),
	.create = fibonacci_create,
	.alloc = buddy_alloc_by_places,
	.free = buddy_free_by_places,
	BUDDY_COMMON_OPERATIONS,
};
