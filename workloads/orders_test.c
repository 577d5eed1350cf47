/*
 * orders_test.c - free memory by order and the kernel's indices: worked out by hand from mm/vmstat.c's formulas.
 */
#include "workloads/testing.h"

#include "workloads/orders.h"

enum { PAGE = 4096 };

static struct free_orders of_areas(const struct kml_free_area *areas, uint32_t count)
{
	struct free_orders orders;
	free_orders_from_areas(&orders, areas, count, PAGE);
	return orders;
}

/* 3 blocks of one page, 2 of two, 1 of four: 11 pages in 6 blocks. */
static void indices_worked_out_by_hand(void **state)
{
	static const struct kml_free_area areas[] = {{PAGE, 3}, {2 * PAGE, 2}, {4 * PAGE, 1}};
	static const int32_t unusable[] = {0, 272, 636, 1000}; /* 0/11, (11-8)/11, (11-4)/11, 11/11 */
	struct free_orders orders = of_areas(areas, 3);
	(void)state;
	assert_int_equal(orders.free_pages, 11);
	assert_int_equal(orders.blocks_total, 6);
	for (uint32_t order = 0; order < 4; order++)
		assert_int_equal(free_orders_unusable_index(&orders, order), unusable[order]);
	for (uint32_t order = 0; order < 3; order++)
		assert_int_equal(free_orders_extfrag_index(&orders, order), -1000);
	/* order 3: 1000 - (1000 + 11 * 1000 / 8) / 6 = 1000 - 2375 / 6 = 1000 - 395 */
	assert_int_equal(free_orders_extfrag_index(&orders, 3), 605);
	/* order 10: 1000 - (1000 + 10) / 6 */
	assert_int_equal(free_orders_extfrag_index(&orders, 10), 832);
}

static void nothing_free(void **state)
{
	struct free_orders orders = of_areas(NULL, 0);
	(void)state;
	assert_int_equal(free_orders_unusable_index(&orders, 0), 1000);
	assert_int_equal(free_orders_extfrag_index(&orders, 0), 0);
	/* One small block: towards lack of memory. 1000 - (1000 + 1000 / 1024) / 1 */
	const struct kml_free_area one = {PAGE, 1};
	orders = of_areas(&one, 1);
	assert_int_equal(free_orders_extfrag_index(&orders, 10), 0);
}

/* Sizes that are no power of two of pages count below their size; parts of a page do not count; huge ones are cut up.
 */
static void blocks_of_any_size(void **state)
{
	static const struct kml_free_area areas[] = {{16, 100}, {3 * PAGE, 1}, {5 * PAGE + 48, 2}, {2500ull * PAGE, 1}};
	struct free_orders orders = of_areas(areas, 4);
	(void)state;
	assert_int_equal(orders.free_pages, 3 + 2 * 5 + 2500);
	assert_int_equal(orders.blocks_total, 4);
	assert_int_equal(orders.free_blocks[0], 0);
	assert_int_equal(orders.free_blocks[1], 1);
	assert_int_equal(orders.free_blocks[2], 2);
	assert_int_equal(orders.free_blocks[10], 2);
	assert_int_equal(orders.suitable_blocks[0], 3 + 10 + 2500);
	assert_int_equal(orders.suitable_blocks[1], 1 + 2 * 2 + 1250);
	assert_int_equal(orders.suitable_blocks[10], 2);
}

static void zones_of_buddyinfo_are_added(void **state)
{
	static const char text[] =
		"Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      2      2 \n"
		"Node 0, zone   Normal    742    694    604    509    360    183     52      5      1      1     81 \n";
	struct free_orders orders;
	(void)state;
	assert_true(free_orders_from_buddyinfo(&orders, text));
	assert_int_equal(orders.free_blocks[0], 742);
	assert_int_equal(orders.free_blocks[8], 2);
	assert_int_equal(orders.free_blocks[10], 83);
	assert_int_equal(orders.suitable_blocks[10], 83);
	assert_int_equal(orders.suitable_blocks[9], 3 + 2 * 83);
	assert_false(free_orders_from_buddyinfo(&orders, "nothing of the kind\n"));
	assert_false(free_orders_from_buddyinfo(&orders, ""));
	assert_false(free_orders_from_buddyinfo(&orders, "Node 0, zone   Normal"));
}

/* The bytes of mm/vmstat.c: "Node %d, zone %8s " and "%6lu " for each order. */
static void a_line_is_printed_as_the_kernel_prints_it(void **state)
{
	static const char line[] =
		"Node 0, zone   Normal    742    694    604    509    360    183     52      5      1      1     81 \n";
	struct free_orders orders;
	char text[256] = "";
	(void)state;
	assert_true(free_orders_from_buddyinfo(&orders, line));
	FILE *stream = fmemopen(text, sizeof text, "w");
	assert_non_null(stream);
	free_orders_print(&orders, "Normal", stream);
	fclose(stream);
	assert_string_equal(text, line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(indices_worked_out_by_hand),
		cmocka_unit_test(nothing_free),
		cmocka_unit_test(blocks_of_any_size),
		cmocka_unit_test(zones_of_buddyinfo_are_added),
		cmocka_unit_test(a_line_is_printed_as_the_kernel_prints_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
