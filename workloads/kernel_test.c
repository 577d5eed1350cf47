/*
 * kernel_test.c - held against a real kernel: Linux 6.1 with SLUB, every allocation since boot, and its own files.
 *
 * `recorded` must have as many slabs of every cache as /proc/slabinfo says, at every snapshot; the two indices must be
 * those of the kernel's debugfs, from the buddyinfo of the same moment. Skipped where the captures are not at hand.
 */
#include "workloads/testing.h"

#include "allocators/reference/recorded.h"
#include "traces/import/capture_testing.h"
#include "traces/proc/proc_text.h"
#include "workloads/orders.h"
#include "workloads/replay.h"

static struct test_capture capture;

/* ------------------------------------------------------------------------------------------------- slabs */

struct slabs {
	const struct kml_stack *stack; /* living, from the first sample on */
	const struct kmt_cache *caches;
	uint32_t cache_count;
	uint64_t snapshots, compared;
};

static bool keep_stack(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
		       const struct kml_arena *arena)
{
	struct slabs *slabs = context;
	(void)sample;
	(void)arena;
	slabs->stack = stack;
	return true;
}

static void compare_line(struct slabs *slabs, const struct slabinfo_line *line, const char *label)
{
	uint64_t pages = line->slabs * line->pages_per_slab;
	for (uint32_t i = 0; i < slabs->cache_count; i++) {
		if (strcmp(slabs->caches[i].name, line->name) != 0)
			continue;
		uint64_t recorded = recorded_slab_pages(kml_stack_top(slabs->stack), i);
		if (recorded != pages)
			fail_msg("%s at %s: %lu pages in the kernel, %lu recorded", line->name, label,
				 (unsigned long)pages, (unsigned long)recorded);
		slabs->compared++;
	}
}

static bool compare_slabs(void *context, const struct kmt_snapshot *snapshot, const struct kml_stack *stack,
			  const struct kml_arena *arena)
{
	(void)stack;
	(void)arena;
	struct slabs *slabs = context;
	if (snapshot->kind != KMT_SNAPSHOT_SLABINFO || !slabs->stack)
		return true;
	slabs->snapshots++;
	struct slabinfo_line line;
	for (const char *text = snapshot->text; slabinfo_next(&text, &line);)
		compare_line(slabs, &line, snapshot->label);
	return true;
}

static void replay_recorded(struct kmt_reader *reader, struct slabs *slabs, enum replay_level level,
			    struct replay_result *result)
{
	struct kml_error error;
	struct replay_options options = {.samples = 2000, .level = level, .seed = 1};
	struct kml_spec *spec = kml_spec_parse("recorded", &error);
	slabs->caches = kmt_reader_caches(reader, &slabs->cache_count);
	if (!replay_run(reader, spec, &options, keep_stack, compare_slabs, slabs, result, &error))
		fail_msg("%s", error.text);
	if (result->check_failed)
		fail_msg("%s", result->check_error.text);
	kml_spec_free(spec);
}

static void recorded_has_the_slabs_of_slabinfo(void **state)
{
	struct slabs slabs = {0};
	struct replay_result result;
	(void)state;
	struct kmt_reader *reader = test_capture_open(&capture);
	replay_recorded(reader, &slabs, REPLAY_ALL, &result);
	assert_int_equal(slabs.snapshots, 13);
	assert_true(slabs.compared > 13 * 100);
	assert_int_equal(result.failures[KML_NO_MEMORY] + result.failures[KML_NO_RUN] + result.failures[KML_IMPOSSIBLE],
			 0);
	kmt_close(reader);
}

/* Page demand and slabs, or all pages as the page allocator saw them: the kernel held the same. */
static void recorded_holds_the_same_at_both_levels(void **state)
{
	struct slabs slabs = {0}, none = {0};
	struct replay_result all, pages;
	(void)state;
	struct kmt_reader *reader = test_capture_open(&capture);
	replay_recorded(reader, &slabs, REPLAY_ALL, &all);
	kmt_rewind(reader, NULL);
	struct kml_error error;
	struct replay_options options = {.level = REPLAY_PAGES, .seed = 1};
	struct kml_spec *spec = kml_spec_parse("recorded", &error);
	assert_true(replay_run(reader, spec, &options, NULL, NULL, &none, &pages, &error));
	assert_int_equal(all.peak_held_bytes, pages.peak_held_bytes);
	assert_int_equal(all.at_end.stats.held_bytes, pages.at_end.stats.held_bytes);
	kml_spec_free(spec);
	kmt_close(reader);
}

/* ----------------------------------------------------------------------------------------------- indices */

/* The files of one snapshot, in whatever order they come. */
struct moment {
	char label[64];
	char *buddyinfo, *unusable, *extfrag;
};

static uint32_t differing(const struct free_orders *orders, const char *text,
			  int32_t (*index)(const struct free_orders *, uint32_t), const char *label)
{
	const char *at = strchr(strstr(text, "DMA32"), ' ');
	uint32_t different = 0;
	for (uint32_t order = 0; order < KML_ORDERS; order++) {
		char expected[32], ours[32];
		int length = 0;
		assert_int_equal(sscanf(at, " %31s%n", expected, &length), 1);
		at += length;
		int32_t value = index(orders, order);
		snprintf(ours, sizeof ours, "%s%d.%03d", value < 0 ? "-" : "", abs(value) / 1000, abs(value) % 1000);
		if (strcmp(expected, ours) == 0)
			continue;
		print_message("%s, order %u: the kernel says %s, we %s\n", label, order, expected, ours);
		different++;
	}
	return different;
}

static void keep(struct moment *moment, const struct kmt_snapshot *snapshot)
{
	char **kept = snapshot->kind == KMT_SNAPSHOT_BUDDYINFO        ? &moment->buddyinfo
		      : snapshot->kind == KMT_SNAPSHOT_UNUSABLE_INDEX ? &moment->unusable
		      : snapshot->kind == KMT_SNAPSHOT_EXTFRAG_INDEX  ? &moment->extfrag
								      : NULL;
	if (!kept)
		return;
	if (strcmp(moment->label, snapshot->label) != 0) {
		free(moment->buddyinfo);
		free(moment->unusable);
		free(moment->extfrag);
		*moment = (struct moment){0};
		snprintf(moment->label, sizeof moment->label, "%s", snapshot->label);
	}
	free(*kept);
	*kept = strdup(snapshot->text);
}

static void indices_are_those_of_the_kernel(void **state)
{
	(void)state;
	struct kmt_reader *reader = test_capture_open(&capture);
	struct kmt_item item;
	struct kml_error error;
	struct moment moment = {0};
	uint32_t moments = 0, different = 0;
	enum kmt_item_kind kind;
	while ((kind = kmt_next(reader, &item, &error)) != KMT_ITEM_END) {
		assert_int_not_equal(kind, KMT_ITEM_ERROR);
		if (kind != KMT_ITEM_SNAPSHOT)
			continue;
		bool whole = moment.buddyinfo && moment.unusable && moment.extfrag;
		keep(&moment, item.snapshot);
		if (whole || !moment.buddyinfo || !moment.unusable || !moment.extfrag)
			continue;
		struct free_orders orders;
		assert_true(free_orders_from_buddyinfo(&orders, moment.buddyinfo));
		different += differing(&orders, moment.unusable, free_orders_unusable_index, moment.label);
		different += differing(&orders, moment.extfrag, free_orders_extfrag_index, moment.label);
		moments++;
	}
	free(moment.buddyinfo);
	free(moment.unusable);
	free(moment.extfrag);
	assert_int_equal(moments, 13);
	assert_int_equal(different, 0);
	kmt_close(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recorded_has_the_slabs_of_slabinfo),
		cmocka_unit_test(recorded_holds_the_same_at_both_levels),
		cmocka_unit_test(indices_are_those_of_the_kernel),
	};
	return test_capture_run(tests, &capture, "linux-6.1-slub", NULL);
}
