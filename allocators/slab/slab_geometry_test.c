/*
 * slab_geometry_test.c - the geometry of SLAB against the real Linux 6.1: every cache of a booted kernel (object size,
 * alignment and flags in; slot, order, objects, colours, place and size of the index, arrays, free limit out), where
 * its tables are at hand; worked cases by hand everywhere.
 *
 * The tables: ../shared/groundtruth/linux-6.1-slab below the source, or $KMEMLAB_GROUNDTRUTH/linux-6.1-slab.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocators/slab/slab_geometry.h"
#include "traces/import/capture_testing.h"

#define PAGE_BYTES 4096u
#define CPUS 2u

/* include/linux/slab.h and mm/slab.c of 6.1. */
#define SLAB_RECLAIM_ACCOUNT 0x20000u
#define SLAB_TYPESAFE_BY_RCU 0x80000u
#define CFLGS_OBJFREELIST_SLAB 0x40000000u
#define CFLGS_OFF_SLAB 0x80000000u

static struct slab_geometry geometry_of(struct kml_cache description, uint32_t page_bytes, uint32_t max_order)
{
	struct slab_geometry geometry;
	assert_true(slab_geometry(&description, page_bytes, max_order, &geometry));
	return geometry;
}

/* --------------------------------------------------------------------------------------------- by hand */

/* 64 objects of 64 bytes fill a page; their index of 64 bytes fits into one of them. */
static void index_lies_in_a_free_object(void **state)
{
	(void)state;
	struct slab_geometry geometry = geometry_of((struct kml_cache){.object_bytes = 64}, PAGE_BYTES, 1);
	assert_int_equal(geometry.index_place, SLAB_INDEX_ON_OBJECT);
	assert_int_equal(geometry.objects, 64);
	assert_int_equal(geometry.index_bytes, 64);
	assert_int_equal(geometry.order, 0);
	assert_int_equal(geometry.colours, 0);
}

/* 128 objects of 32 bytes need an index of 128 bytes: too big for an object, and for half of one as a kmalloc; behind
 * the objects it costs 4096 / 33 = 124 of them, 4 bytes left. */
static void small_objects_have_their_index_on_the_slab(void **state)
{
	(void)state;
	struct slab_geometry geometry = geometry_of((struct kml_cache){.object_bytes = 32}, PAGE_BYTES, 1);
	assert_int_equal(geometry.index_place, SLAB_INDEX_ON_SLAB);
	assert_int_equal(geometry.objects, 124);
	assert_int_equal(geometry.left_bytes, 4);
}

/* A constructor forbids the index on the object; nothing is left of the page and 16 entries are a kmalloc of 32 bytes,
 * no more than half the object. */
static void constructed_objects_have_their_index_off_the_slab(void **state)
{
	(void)state;
	const struct kml_cache description = {.object_bytes = 256, .has_constructor = true};
	struct slab_geometry geometry = geometry_of(description, PAGE_BYTES, 1);
	assert_int_equal(geometry.index_place, SLAB_INDEX_OFF_SLAB);
	assert_int_equal(geometry.objects, 16);
}

/* 4096 - 21 * 192 = 64 bytes are left: room for 21 entries, so the index goes on the slab for nothing. */
static void index_goes_on_the_slab_where_the_tail_has_room(void **state)
{
	(void)state;
	const struct kml_cache description = {.object_bytes = 192, .typesafe_by_rcu = true};
	struct slab_geometry geometry = geometry_of(description, PAGE_BYTES, 1);
	assert_int_equal(geometry.index_place, SLAB_INDEX_ON_SLAB);
	assert_int_equal(geometry.objects, 21);
	assert_int_equal(geometry.left_bytes, 4096 - 21 * 193);
}

/* Slots of 2176: one in a page wastes 1920 of 4096, three in two pages 1664 of 8192, both more than an eighth; seven in
 * four pages 1152 of 16384. Two pages are the last tried, unless the limit is higher. Reclaimable: the first. */
static void order_is_the_first_that_wastes_an_eighth(void **state)
{
	(void)state;
	struct kml_cache description = {.object_bytes = 2144, .align_bytes = 64};
	assert_int_equal(geometry_of(description, PAGE_BYTES, 1).order, 1);
	assert_int_equal(geometry_of(description, PAGE_BYTES, 1).objects, 3);
	assert_int_equal(geometry_of(description, PAGE_BYTES, 1).colours, (8192 - 3 * 2176) / 64);
	assert_int_equal(geometry_of(description, PAGE_BYTES, 10).order, 2);
	assert_int_equal(geometry_of(description, PAGE_BYTES, 10).objects, 7);
	assert_int_equal(geometry_of(description, PAGE_BYTES, 0).order, 0);
	description.reclaimable = true;
	assert_int_equal(geometry_of(description, PAGE_BYTES, 1).order, 0);
}

/* An object of 5 pages: no smaller order holds one. */
static void large_object_takes_the_order_that_holds_it(void **state)
{
	(void)state;
	struct slab_geometry geometry = geometry_of((struct kml_cache){.object_bytes = 5 * 4096}, PAGE_BYTES, 1);
	assert_int_equal(geometry.order, 3);
	assert_int_equal(geometry.objects, 1);
}

static void too_large_object_is_refused(void **state)
{
	(void)state;
	struct slab_geometry geometry;
	struct kml_cache description = {.object_bytes = 4u << 20};
	assert_true(slab_geometry(&description, PAGE_BYTES, 1, &geometry));
	description.object_bytes++;
	assert_false(slab_geometry(&description, PAGE_BYTES, 1, &geometry));
	description.object_bytes = UINT64_MAX;
	assert_false(slab_geometry(&description, PAGE_BYTES, 1, &geometry));
}

/* The smallest slot is 16 bytes, so that a page has no more than 255 with their index: 4096 / 17 = 240. */
static void smallest_slot_keeps_the_index_to_a_byte(void **state)
{
	(void)state;
	struct slab_geometry geometry = geometry_of((struct kml_cache){.object_bytes = 1}, PAGE_BYTES, 1);
	assert_int_equal(geometry.slot_bytes, 16);
	assert_int_equal(geometry.objects, 240);
	assert_int_equal(geometry.index_width, 1);
}

/* Pages of 64 KiB: entries of two bytes, slots of 8: 65536 / (8 + 2) = 6553. */
static void large_pages_have_wide_indices(void **state)
{
	(void)state;
	struct slab_geometry geometry = geometry_of((struct kml_cache){.object_bytes = 1}, 65536, 1);
	assert_int_equal(geometry.index_width, 2);
	assert_int_equal(geometry.slot_bytes, 8);
	assert_int_equal(geometry.objects, 6553);
}

static void arrays_shrink_with_the_object(void **state)
{
	(void)state;
	static const struct {
		uint64_t slot_bytes;
		uint32_t limit, batchcount, shared;
	} rows[] = {{256, 120, 60, 8}, {257, 54, 27, 8}, {1024, 54, 27, 8}, {1025, 24, 12, 8},
		    {4096, 24, 12, 8}, {4097, 8, 4, 0},  {131072, 8, 4, 0}, {131073, 1, 1, 0}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct slab_tunables tunables = slab_tunables(rows[i].slot_bytes, PAGE_BYTES, CPUS);
		assert_int_equal(tunables.limit, rows[i].limit);
		assert_int_equal(tunables.batchcount, rows[i].batchcount);
		assert_int_equal(tunables.shared, rows[i].shared);
	}
	assert_int_equal(slab_tunables(64, PAGE_BYTES, 1).shared, 0);
}

/* --------------------------------------------------------------------------------- against the real kernel */

struct row {
	char name[64];
	unsigned long object_size, size, order, objects, align, flags, constructor, limit, batchcount, shared, colour,
		colour_off, freelist_size, free_limit;
};

static bool read_row(FILE *file, struct row *row)
{
	char line[1024];
	if (!fgets(line, sizeof line, file))
		return false;
	int fields = sscanf(line, "%63s %lu %lu %lu %lu %lu %lx %lu %lu %lu %lu %lu %lu %lu %lu", row->name,
			    &row->object_size, &row->size, &row->order, &row->objects, &row->align, &row->flags,
			    &row->constructor, &row->limit, &row->batchcount, &row->shared, &row->colour,
			    &row->colour_off, &row->freelist_size, &row->free_limit);
	assert_int_equal(fields, 15);
	return true;
}

static struct slab_geometry geometry_of_row(const struct row *row)
{
	const struct kml_cache description = {
		.name = row->name,
		.object_bytes = row->object_size,
		.align_bytes = row->align,
		.has_constructor = row->constructor != 0,
		.typesafe_by_rcu = (row->flags & SLAB_TYPESAFE_BY_RCU) != 0,
		.reclaimable = (row->flags & SLAB_RECLAIM_ACCOUNT) != 0,
	};
	return geometry_of(description, PAGE_BYTES, SLAB_MAX_ORDER_DEFAULT);
}

/* A cpu counts towards the free limit when it was online as the cache got its arrays: the caches of early boot were
 * there before the second cpu. */
static uint32_t cpus_online(const struct row *row)
{
	uint32_t cpus =
		row->free_limit == slab_free_limit(1, (uint32_t)row->batchcount, (uint32_t)row->objects) ? 1 : 2;
	assert_int_equal(row->free_limit, slab_free_limit(cpus, (uint32_t)row->batchcount, (uint32_t)row->objects));
	return cpus;
}

static void every_cache_of_the_kernel_is_as_computed(void **state)
{
	(void)state;
	FILE *file = test_capture_table("linux-6.1-slab", "cache_params.tsv");
	if (!file)
		skip();
	char heading[1024];
	assert_non_null(fgets(heading, sizeof heading, file));
	struct row row;
	uint32_t count = 0, early = 0;
	while (read_row(file, &row)) {
		struct slab_geometry geometry = geometry_of_row(&row);
		uint64_t slot_bytes = geometry.slot_bytes;
		struct slab_tunables tunables = slab_tunables(slot_bytes, PAGE_BYTES, CPUS);
		enum slab_index_place place = row.flags & CFLGS_OBJFREELIST_SLAB ? SLAB_INDEX_ON_OBJECT
					      : row.flags & CFLGS_OFF_SLAB       ? SLAB_INDEX_OFF_SLAB
										 : SLAB_INDEX_ON_SLAB;
		if (slot_bytes != row.size || geometry.order != row.order || geometry.objects != row.objects ||
		    geometry.index_place != place || geometry.index_bytes != row.freelist_size ||
		    geometry.colours != row.colour || geometry.colour_bytes != row.colour_off ||
		    tunables.limit != row.limit || tunables.batchcount != row.batchcount ||
		    tunables.shared != row.shared)
			fail_msg("%s: computed size %lu order %u objects %u index %d of %lu colour %u of %lu", row.name,
				 (unsigned long)slot_bytes, geometry.order, geometry.objects, (int)geometry.index_place,
				 (unsigned long)geometry.index_bytes, geometry.colours,
				 (unsigned long)geometry.colour_bytes);
		early += cpus_online(&row) == 1;
		count++;
	}
	fclose(file);
	assert_true(count > 0);
	print_message("%u caches: size, order, objects, index, colours, limit, batchcount, shared and free limit are "
		      "the kernel's (%u of them from before the second cpu)\n",
		      count, early);
}

static void every_row_of_slabinfo_is_as_computed(void **state)
{
	(void)state;
	FILE *params = test_capture_table("linux-6.1-slab", "cache_params.tsv");
	if (!params)
		skip();
	FILE *file = test_capture_table("linux-6.1-slab", "slabinfo_tunables.tsv");
	assert_non_null(file);
	static struct row rows[1024];
	char line[1024];
	uint32_t known = 0, count = 0;
	assert_non_null(fgets(line, sizeof line, params));
	while (known < 1024 && read_row(params, &rows[known]))
		known++;
	fclose(params);
	assert_non_null(fgets(line, sizeof line, file));
	while (fgets(line, sizeof line, file)) {
		char name[64];
		unsigned long size, objects, pages, limit, batchcount, shared;
		assert_int_equal(sscanf(line, "%63s %lu %lu %lu %lu %lu %lu", name, &size, &objects, &pages, &limit,
					&batchcount, &shared),
				 7);
		uint32_t i = 0;
		while (i < known && strcmp(rows[i].name, name) != 0)
			i++;
		assert_true(i < known);
		struct slab_geometry geometry = geometry_of_row(&rows[i]);
		struct slab_tunables tunables = slab_tunables(geometry.slot_bytes, PAGE_BYTES, CPUS);
		assert_int_equal(geometry.slot_bytes, size);
		assert_int_equal(geometry.objects, objects);
		assert_int_equal(1u << geometry.order, pages);
		assert_int_equal(tunables.limit, limit);
		assert_int_equal(tunables.batchcount, batchcount);
		assert_int_equal(tunables.shared, shared);
		count++;
	}
	fclose(file);
	assert_true(count > 0);
	print_message("%u rows of slabinfo: objsize, objperslab, pagesperslab and tunables are the kernel's\n", count);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index_lies_in_a_free_object),
		cmocka_unit_test(small_objects_have_their_index_on_the_slab),
		cmocka_unit_test(constructed_objects_have_their_index_off_the_slab),
		cmocka_unit_test(index_goes_on_the_slab_where_the_tail_has_room),
		cmocka_unit_test(order_is_the_first_that_wastes_an_eighth),
		cmocka_unit_test(large_object_takes_the_order_that_holds_it),
		cmocka_unit_test(too_large_object_is_refused),
		cmocka_unit_test(smallest_slot_keeps_the_index_to_a_byte),
		cmocka_unit_test(large_pages_have_wide_indices),
		cmocka_unit_test(arrays_shrink_with_the_object),
		cmocka_unit_test(every_cache_of_the_kernel_is_as_computed),
		cmocka_unit_test(every_row_of_slabinfo_is_as_computed),
	};
	return cmocka_run_group_tests_name("slab_geometry", tests, NULL, NULL);
}
