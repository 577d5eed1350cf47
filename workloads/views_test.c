/*
 * views_test.c - the kernel's /proc texts, read and written: what is read from a kernel's own slabinfo and written
 * again is that slabinfo, byte for byte.
 */
#include "workloads/testing.h"

#include <inttypes.h>

#include "traces/proc/proc_text.h"
#include "workloads/replay.h"
#include "workloads/views.h"

/* --------------------------------------------------------------------------------------- the kernel's own text */

static char *written_again(const char *text)
{
	struct slabinfo_line line;
	char *copy = NULL;
	size_t bytes;
	FILE *stream = open_memstream(&copy, &bytes);
	assert_non_null(stream);
	slabinfo_print_heading(stream);
	while (slabinfo_next(&text, &line))
		slabinfo_print_line(&line, stream);
	fclose(stream);
	return copy;
}

static void slabinfo_is_the_kernels_to_the_letter(void **state)
{
	const char *source = getenv("KMEMLAB_SOURCE");
	char path[3000];
	struct kml_error error;
	struct kmt_item item;
	uint32_t compared = 0;
	(void)state;
	snprintf(path, sizeof path, "%s/traces/reclaim.kmt", source ? source : ".");
	struct kmt_reader *reader = kmt_open(path, &error);
	if (!reader)
		fail_msg("%s", error.text);
	while (kmt_next(reader, &item, &error) != KMT_ITEM_END) {
		assert_int_not_equal(item.kind, KMT_ITEM_ERROR);
		if (item.kind != KMT_ITEM_SNAPSHOT || item.snapshot->kind != KMT_SNAPSHOT_SLABINFO)
			continue;
		char *again = written_again(item.snapshot->text);
		assert_string_equal(again, item.snapshot->text);
		free(again);
		compared++;
	}
	assert_true(compared >= 2);
	kmt_close(reader);
}

/* A line of a SLAB kernel: tunables are filled. */
static void tunables_keep_their_columns(void **state)
{
	const char text[] =
		"slabinfo - version: 2.1\n"
		"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables "
		"<limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
		"bio-96                16     32    128   32    1 : tunables  120   60    8 : slabdata      1   "
		"   1      0\n"
		"mqueue_inode_cache      1      4    896    4    1 : tunables   54   27    8 : slabdata      1  "
		"    1      0\n";
	const char *rest = text;
	struct slabinfo_line line;
	(void)state;
	char *again = written_again(text);
	assert_string_equal(again, text);
	free(again);
	assert_true(slabinfo_next(&rest, &line));
	assert_string_equal(line.name, "bio-96");
	assert_int_equal(line.active_objects, 16);
	assert_int_equal(line.total_objects, 32);
	assert_int_equal(line.slot_bytes, 128);
	assert_int_equal(line.objects_per_slab, 32);
	assert_int_equal(line.pages_per_slab, 1);
	assert_int_equal(line.limit, 120);
	assert_int_equal(line.batchcount, 60);
	assert_int_equal(line.shared_factor, 8);
}

/* ------------------------------------------------------------------------------------------------ damaged */

static void lines_that_are_none_are_passed_over(void **state)
{
	const char *text = "\n \n:\n : tunables\nx : tunables 0 0 0 : slabdata 1 1 0\n"
			   "a 1 2 3 4 : tunables 0 0 0 : slabdata 1 1 0\n"
			   "a b c d e f : tunables 0 0 0 : slabdata 1 1 0\n"
			   "a 1 2 3 4 5 : tunables 0 0 : slabdata 1 1 0\n"
			   "huge 1 2 3 4 5 : tunables 0 0 0 : slabdata 1 99999999999999 0\n"
			   "wide 1 2 3 4 2048 : tunables 0 0 0 : slabdata 1 1 0\n"
			   "two words 1 2 3 4 5 : tunables 0 0 0 : slabdata 6 7 8\n";
	struct slabinfo_line line;
	(void)state;
	assert_true(slabinfo_next(&text, &line));
	assert_string_equal(line.name, "two words");
	assert_int_equal(line.slabs, 7);
	assert_false(slabinfo_next(&text, &line));
	assert_false(slabinfo_next(&text, &line));
}

static void damaged_slabinfo_never_crashes(void **state)
{
	static const char good[] =
		"kmalloc-8k           240    240   8192    4    8 : tunables    0    0    0 : slabdata "
		"    60     60      0\n";
	char text[sizeof good];
	struct slabinfo_line line;
	uint64_t seed = 88172645463325252ull;
	(void)state;
	for (int round = 0; round < 20000; round++) {
		memcpy(text, good, sizeof good);
		for (int i = 0; i < 4; i++)
			text[test_random(&seed) % (sizeof good - 1)] = (char)(1 + test_random(&seed) % 255);
		for (const char *at = text; slabinfo_next(&at, &line);)
			assert_true(strlen(line.name) < sizeof line.name);
	}
}

static void meminfo_and_walks_are_read_by_name(void **state)
{
	uint64_t value = 0;
	(void)state;
	const char *meminfo =
		"MemTotal:       24684092 kB\nSlabs:  9 kB\nSlab:             393568 kB\nSReclaimable: x\n";
	assert_true(meminfo_find(meminfo, "Slab", &value));
	assert_int_equal(value, 393568);
	assert_false(meminfo_find(meminfo, "SReclaimable", &value));
	assert_false(meminfo_find("", "Slab", &value));
	assert_true(slab_walk_pages("C a\nS 0x140 0 slob units=32\nS 0x150 3 TCP inuse=1\nS x\nL S 0 9\n", &value));
	assert_int_equal(value, 1 + 8);
	assert_false(slab_walk_pages("nothing\n", &value));
}

/* -------------------------------------------------------------------------------------------- of a stack */

struct shown {
	char *slabinfo, *truly, *meminfo;
};

static char *show_slabinfo(const struct kml_stack *stack, enum view_active active)
{
	char *text = NULL;
	size_t bytes;
	FILE *stream = open_memstream(&text, &bytes);
	assert_non_null(stream);
	assert_true(view_slabinfo(stack, active, stream));
	fclose(stream);
	return text;
}

static bool show(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
		 const struct kml_arena *arena)
{
	const bool reclaimable[TEST_CACHES] = {true, false};
	struct shown *shown = context;
	size_t bytes;
	(void)sample;
	(void)arena;
	shown->slabinfo = show_slabinfo(stack, VIEW_ACTIVE_KERNEL);
	shown->truly = show_slabinfo(stack, VIEW_ACTIVE_TRUE);
	FILE *stream = open_memstream(&shown->meminfo, &bytes);
	assert_non_null(stream);
	view_meminfo(stack,
		     &(struct view_memory){.page_bytes = TEST_PAGE_BYTES,
					   .reclaimable = reclaimable,
					   .cache_count = TEST_CACHES,
					   .large_pages = 4},
		     stream);
	fclose(stream);
	return true;
}

/* One slab of each cache by its page events, two objects in the first: 1 and 2 pages, and 4 of large kmallocs. */
static void a_stack_is_shown_as_the_kernel_shows_itself(void **state)
{
	struct shown shown = {0};
	struct test_trace trace;
	struct kml_error error;
	struct replay_result result;
	struct replay_options options = {.seed = 1};
	(void)state;
	test_trace_begin(&trace, "views");
	for (uint32_t cache = 0; cache < 2; cache++)
		test_trace_add(&trace, (struct kmt_event){.op = KMT_PAGE_ALLOC,
							  .object = cache,
							  .cache = (uint16_t)cache,
							  .order = (uint8_t)cache,
							  .size_bytes = (uint64_t)TEST_PAGE_BYTES << cache,
							  .address = (uint64_t)16 * TEST_PAGE_BYTES * (cache + 1),
							  .flags = KML_PAGES | KMT_SLAB_PAGE});
	for (uint32_t i = 0; i < 2; i++)
		test_trace_add(&trace, (struct kmt_event){.op = KMT_ALLOC,
							  .object = 10 + i,
							  .size_bytes = 64,
							  .cache = 0,
							  .address = 16 * TEST_PAGE_BYTES + 64ull * i});
	struct kmt_reader *reader = test_trace_end(&trace);
	struct kml_spec *spec = kml_spec_parse("recorded", &error);
	assert_true(replay_run(reader, spec, &options, show, NULL, &shown, &result, &error));
	const char *wanted =
		"small                  2     64     64   64    1 : tunables    0    0    0 : slabdata      1"
		"      1      0\n"
		"large                  0      8   1024    8    2 : tunables    0    0    0 : slabdata      1"
		"      1      0\n";
	assert_non_null(strstr(shown.slabinfo, wanted));
	assert_non_null(strstr(shown.truly, wanted));
	assert_non_null(strstr(shown.meminfo, "KReclaimable:          4 kB\n"
					      "Slab:                 28 kB\n"
					      "SReclaimable:          4 kB\n"
					      "SUnreclaim:           24 kB\n"));
	free(shown.slabinfo);
	free(shown.truly);
	free(shown.meminfo);
	kml_spec_free(spec);
	test_trace_close(&trace, reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slabinfo_is_the_kernels_to_the_letter),
		cmocka_unit_test(tunables_keep_their_columns),
		cmocka_unit_test(lines_that_are_none_are_passed_over),
		cmocka_unit_test(damaged_slabinfo_never_crashes),
		cmocka_unit_test(meminfo_and_walks_are_read_by_name),
		cmocka_unit_test(a_stack_is_shown_as_the_kernel_shows_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
