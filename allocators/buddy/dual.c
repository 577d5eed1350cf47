/*
 * dual.c - the dual buddy system: two binary systems side by side, of 2^i and of 3*2^i units.
 *
 * I. P. Page & J. Hagins, Improving the performance of buddy systems, IEEE Transactions on Computers 35(5), 1986,
 * pp. 441-447. It has the weighted system's sizes, so its small waste inside, but every block splits into halves, so
 * that free blocks find their buddies as well as in the binary system.
 *
 * How the two share an arena is this program's choice: requests of evenly spread sizes ask as often for 3*2^(i-1) as
 * for 2^(i+1) = 4*2^(i-1) units, so the arena is divided 3 : 4. A request whose family has nothing left takes the
 * smallest block of the other that is big enough; a block of 3 units is not split.
 *
 * Cost: O(log n).
 */
#include "allocators/buddy/engine.h"

extern const struct kml_allocator kml_dual;

struct dual_config {
	struct buddy_config common;
};

enum { POWERS, TRIPLES };

static bool dual_build(struct buddy_table *table, uint64_t limit_units, const void *config, struct kml_error *error)
{
	(void)config;
	(void)error;
	table->family_count = 2;
	table->family_share[POWERS] = 4;
	table->family_share[TRIPLES] = 3;
	const uint64_t ones[] = {1, 1};
	bool added = buddy_table_add(table, limit_units, 1, 0, NULL) &&
		     buddy_table_add(table, limit_units, 2, 2, ones) && buddy_table_add(table, limit_units, 3, 0, NULL);
	for (uint64_t power = 2; added; power *= 2) {
		uint64_t powers[] = {power, power}, triples[] = {3 * power / 2, 3 * power / 2};
		added = buddy_table_add(table, limit_units, 2 * power, 2, powers) &&
			buddy_table_add(table, limit_units, 3 * power, 2, triples);
	}
	for (uint32_t class = 0; class < table->class_count; class ++)
		table->family[class] = table->size_units[class] % 3 == 0 ? TRIPLES : POWERS;
	return true;
}

static struct kml_heap *dual_create(const struct kml_environment *environment, const void *config,
				    struct kml_error *error)
{
	const struct dual_config *dual = config;
	return buddy_create(&kml_dual, environment, &dual->common, BUDDY_PLACES, dual_build, config, error);
}

static const struct kml_param dual_params[] = {BUDDY_COMMON_PARAMS(struct dual_config), {.name = NULL}};

const struct kml_allocator kml_dual = {
	.abi_version = KML_ABI_VERSION,
	.name = "dual",
	.title = "Dual buddy system",
	.citation = "Page & Hagins, Improving the performance of buddy systems, IEEE Trans. Computers 35(5), 1986",
	.summary = "2^i and 3*2^i side by side, each splits into halves; the arena is divided 4 : 3; O(log n)",
	.layer = KML_LAYER_PAGES,
	.params = dual_params,
	.config_bytes = sizeof(struct dual_config),
	.create = dual_create,
	.alloc = buddy_alloc_by_places,
	.free = buddy_free_by_places,
	BUDDY_COMMON_OPERATIONS,
};
