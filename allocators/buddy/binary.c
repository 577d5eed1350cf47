/*
 * binary.c - the binary buddy system: blocks of 2^i units, each split into halves.
 *
 * K. C. Knowlton, A fast storage allocator, CACM 8(10), 1965, pp. 623-625. An arena that is no power of two is tiled as
 * in Knuth, TAOCP 1, 2.5 exercise 26. max_order=10 gives the orders of Linux (mm/page_alloc.c: MAX_PAGE_ORDER).
 *
 * Cost: the buddy is one XOR; O(log arena/unit). Up to half of a block is wasted inside.
 *
 * Linux mode - linux=on, or one of percpu, migrate, watermarks, policy=linux alone - and memory that comes as at boot
 * are another engine, zone.h, under the same name: create chooses, and the heap names that engine's table of
 * operations. So neither costs the other anything, and only a configuration with a reserve has the trait of one.
 */
#include "allocators/buddy/engine.h"
#include "allocators/buddy/zone.h"

extern const struct kml_allocator kml_binary;

enum binary_switch { BINARY_AUTO, BINARY_OFF, BINARY_ON }; /* auto: as `linux` says */
static const char *const switch_names[] = {"auto", "off", "on", NULL};
static const char *const linux_names[] = {"off", "on", NULL};

/* Behind those of all systems (buddy_policy_names). */
enum { BINARY_POLICY_LINUX = BUDDY_LOWEST + 1 };
static const char *const policy_names[] = {"lifo", "fifo", "lowest", "linux", NULL};

struct binary_config {
	struct buddy_config common;
	uint64_t max_order; /* 0: as large as fits; in Linux mode 10 */
	uint32_t linux_mode;
	uint32_t percpu, migrate, watermarks; /* enum binary_switch */
	uint64_t page_block_order;
	uint64_t boot_requests; /* 0: auto */
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

/* Linux mode with a reserve, and without. Registered is only kml_binary. */
static const struct kml_allocator binary_zone, binary_zone_with_reserve;

static bool is_on(const struct binary_config *binary, uint32_t value)
{
	return value == BINARY_AUTO ? binary->linux_mode : value == BINARY_ON;
}

static struct kml_heap *create_zone(const struct kml_environment *environment, const struct binary_config *binary,
				    struct kml_error *error)
{
	if (binary->common.policy == BUDDY_FIFO || binary->common.policy == BUDDY_LOWEST) {
		kml_fail(error,
			 "binary: Linux mode and a start without memory have policy=lifo or policy=linux, not %s",
			 policy_names[binary->common.policy]);
		return NULL;
	}
	struct zone_rules rules = {
		.page_bytes = binary->common.unit_bytes ? binary->common.unit_bytes : environment->page_bytes,
		.max_order = binary->max_order ? (uint32_t)binary->max_order : ZONE_LINUX_MAX_ORDER,
		.linux_lists = binary->linux_mode || binary->common.policy == BINARY_POLICY_LINUX,
		.percpu = is_on(binary, binary->percpu),
		.migrate = is_on(binary, binary->migrate),
		.watermarks = is_on(binary, binary->watermarks),
		.boot_requests = binary->boot_requests,
	};
	if (rules.max_order >= ZONE_ORDERS_MAX) {
		kml_fail(error, "binary: max_order is below %d in Linux mode, not %u", ZONE_ORDERS_MAX,
			 rules.max_order);
		return NULL;
	}
	uint32_t page_block_order = (uint32_t)binary->page_block_order;
	rules.page_block_order = page_block_order < rules.max_order ? page_block_order : rules.max_order;
	return zone_create(rules.watermarks ? &binary_zone_with_reserve : &binary_zone, environment, &rules, error);
}

static struct kml_heap *binary_create(const struct kml_environment *environment, const void *config,
				      struct kml_error *error)
{
	const struct binary_config *binary = config;
	bool has_linux_rule = binary->linux_mode || binary->common.policy == BINARY_POLICY_LINUX ||
			      is_on(binary, binary->percpu) || is_on(binary, binary->migrate) ||
			      is_on(binary, binary->watermarks);
	if (has_linux_rule || environment->starts_empty)
		return create_zone(environment, binary, error);
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

/* Only a heap that starts empty is given memory, and that is a zone. */
static enum kml_status binary_page_add(struct kml_heap *heap, uint64_t address, uint64_t size_bytes, uint16_t cpu)
{
	return heap->allocator == &kml_binary ? KML_IMPOSSIBLE : zone_page_add(heap, address, size_bytes, cpu);
}

#define SWITCH(parameter, text)                                                                                        \
	{                                                                                                              \
		.name = #parameter, .type = KML_PARAM_CHOICE, .offset = offsetof(struct binary_config, parameter),     \
		.default_text = "auto", .choices = switch_names, .help = (text)                                        \
	}

static const struct kml_param binary_params[] = {
	BUDDY_UNIT_PARAM(struct binary_config),
	{.name = "policy",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct binary_config, common.policy),
	 .default_text = "lifo",
	 .choices = policy_names,
	 .help = "which free block of a size is granted: last freed, first freed, lowest address; linux: last freed, "
		 "but "
		 "those that will soon merge last"},
	{.name = "max_order",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct binary_config, max_order),
	 .default_text = "auto",
	 .minimum = 1,
	 .maximum = BUDDY_SIZE_BITS - 1,
	 .help = "largest block is unit << max_order (Linux: 10); auto: the largest that fits the arena; in Linux mode "
		 "10"},
	{.name = "linux",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct binary_config, linux_mode),
	 .default_text = "off",
	 .choices = linux_names,
	 .help = "on: as a zone of Linux 6.1: policy=linux,max_order=10,percpu=on,migrate=on,watermarks=on, unit: the "
		 "page"},
	SWITCH(percpu, "lists of each cpu for blocks of order 0 to 3; auto: as linux"),
	SWITCH(migrate, "lists and page blocks by type: unmovable, movable, reclaimable; auto: as linux"),
	SWITCH(watermarks, "a reserve of free pages for atomic requests; auto: as linux"),
	{.name = "page_block_order",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct binary_config, page_block_order),
	 .default_text = "9",
	 .minimum = 1,
	 .maximum = ZONE_ORDERS_MAX - 1,
	 .help = "migrate: order of a page block (x86-64: 9 with huge pages, else 10)"},
	{.name = "boot_requests",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct binary_config, boot_requests),
	 .default_text = "auto",
	 .minimum = 1,
	 .maximum = UINT64_MAX,
	 .help = "a start without memory: page requests and frees before setup_per_cpu_pageset; auto: until memory "
		 "that the "
		 "kernel had kept comes"},
	{.name = NULL}};

#define BINARY_DESCRIPTION                                                                                             \
	.abi_version = KML_ABI_VERSION, .name = "binary", .title = "Binary buddy system",                              \
	.citation = "Knowlton, A fast storage allocator, CACM 8(10), 1965",                                            \
	.summary = "2^i splits into halves; the buddy's address is one XOR; O(log n)", .layer = KML_LAYER_PAGES,       \
	.params = binary_params, .config_bytes = sizeof(struct binary_config), .create = binary_create

const struct kml_allocator kml_binary = {
	BINARY_DESCRIPTION,          .alloc = binary_alloc,   .free = binary_free,
	.page_add = binary_page_add, BUDDY_COMMON_OPERATIONS,
};

static const struct kml_allocator binary_zone = {BINARY_DESCRIPTION, ZONE_OPERATIONS};
static const struct kml_allocator binary_zone_with_reserve = {
	BINARY_DESCRIPTION,
	.traits = KML_TRAIT_MAY_WASTE_RUNS,
	ZONE_OPERATIONS,
};
