/*
 * slub_geometry_test.c - the geometry of SLUB against real kernels: every cache of Linux 6.18 (/sys/kernel/slab) and of
 * 6.1 (object size, alignment, flags in; slot, link, order, objects, cpu_partial, min_partial out), where their tables
 * are at hand; worked cases by hand everywhere.
 *
 * The tables: ../shared/groundtruth below the source, or KMEMLAB_GROUNDTRUTH.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocators/slab/slub_geometry.h"
#include "traces/import/capture_testing.h"

#define PAGE_BYTES 4096u
#define CPUS 2u

/* include/linux/slab.h */
#define SLAB_TYPESAFE_BY_RCU 0x80000u

static struct slub_tunables tunables_of(enum slub_profile profile, uint32_t cpus)
{
	return (struct slub_tunables){
		.profile = profile, .page_bytes = PAGE_BYTES, .cpu_count = cpus, .min_order = 0, .max_order = 3};
}

static uint32_t order_at(enum slub_profile profile, uint32_t cpus, uint64_t slot_bytes)
{
	struct slub_tunables tunables = tunables_of(profile, cpus);
	return slub_order(&tunables, slot_bytes);
}

/* --------------------------------------------------------------------------------------------- by hand */

/* A link lies in the middle of an object, on a word; behind one that must keep its contents. */
static void the_link_lies_inside_or_behind(void **state)
{
	(void)state;
	struct slub_slot slot = slub_slot(20, 0, false);
	assert_int_equal(slot.bytes, 24);
	assert_int_equal(slot.link_offset, 8);
	slot = slub_slot(20, 64, true);
	assert_int_equal(slot.link_offset, 24);
	assert_int_equal(slot.bytes, 64);
	slot = slub_slot(64, 64, true); /* 72 bytes do not fit one cache line */
	assert_int_equal(slot.bytes, 128);
	slot = slub_slot(1, 0, false);
	assert_int_equal(slot.bytes, 8);
	assert_int_equal(slot.link_offset, 0);
}

/* 2 cpus want 12 objects: 12 of 192 fit a page of 21; 12 of 1024 need 4 pages; 8 of 4096 are all that order 3 has. */
static void an_order_holds_the_objects_that_cpus_want(void **state)
{
	(void)state;
	assert_int_equal(order_at(SLUB_LINUX_6_18, 2, 192), 0);
	assert_int_equal(order_at(SLUB_LINUX_6_18, 2, 1024), 2);
	assert_int_equal(order_at(SLUB_LINUX_6_18, 2, 4096), 3);
	/* 64 cpus: bits 7, so 32 objects: 32 of 256 are two pages. */
	assert_int_equal(order_at(SLUB_LINUX_6_18, 64, 256), 1);
}

/*
 * Two objects of 10928..16384 bytes fit 8 pages. One of 11264: 32768 = 2 * 11264 + 10240, more than a quarter is left
 * (8192), less than a half. 6.7 accepts the half at order 3; before, a single object in 4 pages leaves 5120: any waste.
 */
static void profiles_differ_where_more_than_a_quarter_is_left(void **state)
{
	(void)state;
	assert_int_equal(order_at(SLUB_LINUX_6_18, 2, 11264), 3);
	assert_int_equal(order_at(SLUB_LINUX_6_1, 2, 11264), 2);
	for (uint64_t slot_bytes = 8; slot_bytes <= 32768; slot_bytes += 8) {
		bool differs = order_at(SLUB_LINUX_6_18, 2, slot_bytes) != order_at(SLUB_LINUX_6_1, 2, slot_bytes);
		assert_int_equal(differs, slot_bytes >= 10928 && slot_bytes <= 12280);
	}
}

static void an_object_above_max_order_gets_the_order_it_needs(void **state)
{
	(void)state;
	assert_int_equal(order_at(SLUB_LINUX_6_18, 2, 40000), 4);
	assert_int_equal(order_at(SLUB_LINUX_6_1, 2, 40000), 4);
	assert_int_equal(order_at(SLUB_LINUX_6_18, 2, (uint64_t)PAGE_BYTES << SLUB_ORDER_MAX), SLUB_ORDER_MAX);
	assert_int_equal(order_at(SLUB_LINUX_6_18, 2, ((uint64_t)PAGE_BYTES << SLUB_ORDER_MAX) + 8), SLUB_ORDER_NONE);
	struct slub_tunables tunables = tunables_of(SLUB_LINUX_6_18, 2);
	tunables.max_order = 0; /* slab_max_order=0 */
	assert_int_equal(slub_order(&tunables, 1024), 0);
	assert_int_equal(slub_order(&tunables, 5000), 1);
	tunables.min_order = tunables.max_order = 3; /* slab_min_order=3 */
	assert_int_equal(slub_order(&tunables, 64), 3);
}

static void what_is_kept_goes_by_size(void **state)
{
	(void)state;
	struct slub_tunables tunables = tunables_of(SLUB_LINUX_6_1, 2);
	assert_int_equal(slub_min_partial(8), 5);         /* log2 / 2 = 1 */
	assert_int_equal(slub_min_partial(4096), 6);      /* 12 / 2 */
	assert_int_equal(slub_min_partial(1u << 22), 10); /* 22 / 2 */
	assert_int_equal(slub_cpu_partial(&tunables, 255), 120);
	assert_int_equal(slub_cpu_partial(&tunables, 256), 52);
	assert_int_equal(slub_cpu_partial(&tunables, 1024), 24);
	assert_int_equal(slub_cpu_partial(&tunables, 4096), 6);
	assert_int_equal(slub_cpu_partial_slabs(120, 21), 12); /* 240 / 21 = 11.4 */
	assert_int_equal(slub_cpu_partial_slabs(52, 16), 7);
}

/* ------------------------------------------------------------------------------------- against real kernels */

static uint32_t objects_of(uint32_t order, uint64_t slot_bytes)
{
	return (uint32_t)(((uint64_t)PAGE_BYTES << order) / slot_bytes);
}

struct figures {
	char name[128];
	uint32_t order, objects, cpu_partial, min_partial;
};

/* How many of the four differ; each is printed. */
static unsigned compare(enum slub_profile profile, const struct figures *kernel, uint64_t slot_bytes)
{
	struct slub_tunables tunables = tunables_of(profile, CPUS);
	uint32_t order = slub_order(&tunables, slot_bytes);
	const uint32_t ours[] = {order, objects_of(order, slot_bytes), slub_cpu_partial(&tunables, slot_bytes),
				 slub_min_partial(slot_bytes)};
	const uint32_t theirs[] = {kernel->order, kernel->objects, kernel->cpu_partial, kernel->min_partial};
	static const char *const what[] = {"order", "objects per slab", "cpu_partial", "min_partial"};
	unsigned faults = 0;
	for (unsigned i = 0; i < 4; i++)
		if (ours[i] != theirs[i]) {
			print_message("%s: %s %u, the kernel has %u\n", kernel->name, what[i], ours[i], theirs[i]);
			faults++;
		}
	return faults;
}

/* The table tells no flags: a slot is that of an object whose link lies inside, or behind. */
static void every_cache_of_linux_6_18(void **state)
{
	(void)state;
	char line[512];
	FILE *file = test_capture_table("linux-6.18-slub", "compile/sysfs_slab.txt");
	if (!file)
		skip();
	unsigned caches = 0, faults = 0;
	while (fgets(line, sizeof line, file)) {
		struct figures kernel;
		unsigned long long object_bytes, slot_bytes, align_bytes;
		if (line[0] == '#')
			continue;
		assert_int_equal(sscanf(line, "%127s %*s %llu %llu %u %u %u %u %*u %llu", kernel.name, &object_bytes,
					&slot_bytes, &kernel.objects, &kernel.order, &kernel.cpu_partial,
					&kernel.min_partial, &align_bytes),
				 8);
		caches++;
		faults += compare(SLUB_LINUX_6_18, &kernel, slot_bytes);
		if (slub_slot(object_bytes, align_bytes, false).bytes != slot_bytes &&
		    slub_slot(object_bytes, align_bytes, true).bytes != slot_bytes) {
			print_message("%s: the kernel's slot of %llu bytes does not follow from %llu aligned to %llu\n",
				      kernel.name, slot_bytes, object_bytes, align_bytes);
			faults++;
		}
	}
	fclose(file);
	print_message("Linux 6.18: %u caches, %u differences\n", caches, faults);
	assert_int_not_equal(caches, 0);
	assert_int_equal(faults, 0);
}

static void every_cache_of_linux_6_1(void **state)
{
	(void)state;
	char line[512];
	FILE *file = test_capture_table("linux-6.1-slub", "cache_params.tsv");
	if (!file)
		skip();
	unsigned caches = 0, faults = 0;
	assert_non_null(fgets(line, sizeof line, file)); /* names of the columns */
	while (fgets(line, sizeof line, file)) {
		struct figures kernel;
		unsigned long long object_bytes, slot_bytes, align_bytes, link_offset;
		unsigned flags, has_constructor, partial_slabs;
		assert_int_equal(sscanf(line, "%127[^\t]\t%llu\t%llu\t%u\t%u\t%*u\t%llu\t%llu\t%x\t%u\t%u\t%u\t%u",
					kernel.name, &object_bytes, &slot_bytes, &kernel.order, &kernel.objects,
					&align_bytes, &link_offset, &flags, &has_constructor, &kernel.cpu_partial,
					&partial_slabs, &kernel.min_partial),
				 12);
		caches++;
		struct slub_slot slot =
			slub_slot(object_bytes, align_bytes, has_constructor || (flags & SLAB_TYPESAFE_BY_RCU));
		uint32_t our_slabs = slub_cpu_partial_slabs(kernel.cpu_partial, kernel.objects);
		faults += compare(SLUB_LINUX_6_1, &kernel, slot.bytes);
		if (slot.bytes != slot_bytes || slot.link_offset != link_offset || our_slabs != partial_slabs) {
			print_message("%s: slot %llu, link %llu, cpu_partial_slabs %u; the kernel has %llu, %llu, %u\n",
				      kernel.name, (unsigned long long)slot.bytes, (unsigned long long)slot.link_offset,
				      our_slabs, slot_bytes, link_offset, partial_slabs);
			faults++;
		}
	}
	fclose(file);
	print_message("Linux 6.1: %u caches, %u differences\n", caches, faults);
	assert_int_not_equal(caches, 0);
	assert_int_equal(faults, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_link_lies_inside_or_behind),
		cmocka_unit_test(an_order_holds_the_objects_that_cpus_want),
		cmocka_unit_test(profiles_differ_where_more_than_a_quarter_is_left),
		cmocka_unit_test(an_object_above_max_order_gets_the_order_it_needs),
		cmocka_unit_test(what_is_kept_goes_by_size),
		cmocka_unit_test(every_cache_of_linux_6_18),
		cmocka_unit_test(every_cache_of_linux_6_1),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
