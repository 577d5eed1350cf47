/*
 * groundtruth_test.c - imports of real captures against what the kernel itself said in the same seconds.
 *
 * linux-6.1-*: complete streams from boot. At every snapshot the objects that live according to the events are those
 * the kernel found by walking its slabs, cache by cache, and the pages told apart as slabs are the kernel's slab pages,
 * page by page. linux-6.18-slub: captures that begin in mid-life; /proc/slabinfo counts free objects of cpu slabs as
 * active, and bulk allocations and some RCU frees leave no event, so live counts agree within half a percent.
 *
 * The captures are not part of the source: ../shared/groundtruth beside it, or KMEMLAB_GROUNDTRUTH. Without: skipped.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/hashmap.h"
#include "traces/import/capture_testing.h"

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static bool too_slow(const char *name)
{
	if (SANITIZED)
		print_message("skipped: %s takes minutes under sanitizers; a like capture runs the same code\n", name);
	return SANITIZED;
}

/* ------------------------------------------------------------------------------------ what lives, by events */

struct state {
	const struct kmt_cache *caches;
	uint32_t cache_count;
	int64_t *live;                /* by cache */
	struct kml_hashmap slab_page; /* page number -> 1: a slab's, 0: no more */
	uint64_t slab_pages;
};

static void apply(struct state *state, const struct kmt_event *event)
{
	bool begins = event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC;

	if ((event->op == KMT_ALLOC || event->op == KMT_FREE) && event->cache != KMT_NO_CACHE)
		state->live[event->cache] += begins ? 1 : -1;
	if ((event->op != KMT_PAGE_ALLOC && event->op != KMT_PAGE_FREE) || (event->flags & KMT_SLAB_PAGE) == 0)
		return;
	assert_true(kml_hashmap_set(&state->slab_page, event->address >> 12, begins));
	state->slab_pages += begins ? 1 : UINT64_MAX;
}

static int64_t find_cache(const struct state *state, const char *name)
{
	for (uint32_t i = 0; i < state->cache_count; i++) {
		if (strcmp(state->caches[i].name, name) == 0)
			return i;
	}
	return -1;
}

typedef void check_snapshot(const struct state *state, const struct kmt_snapshot *snapshot);

/* Every event and every snapshot of the wanted kind; the number of the latter. */
static uint32_t walk_capture(const struct test_capture *capture, enum kmt_snapshot_kind kind, check_snapshot *check)
{
	struct kmt_reader *reader = test_capture_open(capture);
	struct kml_error error = {0};
	struct state state = {0};
	struct kmt_item item;
	uint32_t checked = 0;

	state.caches = kmt_reader_caches(reader, &state.cache_count);
	state.live = calloc(state.cache_count + 1u, sizeof(*state.live));
	assert_non_null(state.live);
	for (enum kmt_item_kind got; (got = kmt_next(reader, &item, &error)) != KMT_ITEM_END;) {
		if (got == KMT_ITEM_ERROR)
			fail_msg("%s", error.text);
		for (uint32_t i = 0; got == KMT_ITEM_EVENTS && i < item.event_count; i++)
			apply(&state, &item.events[i]);
		if (got == KMT_ITEM_SNAPSHOT && item.snapshot->kind == kind) {
			check(&state, item.snapshot);
			checked++;
		}
	}
	free(state.live);
	kml_hashmap_free(&state.slab_page);
	kmt_close(reader);
	return checked;
}

/* --------------------------------------------------------------------------- the kernel's walk of its slabs */

struct walk {
	int64_t *live;                       /* by cache */
	struct kml_hashmap free_in_cpu_slab; /* pfn -> objects */
	uint64_t slabs, foreign_slabs;
};

/* Sum of the numbers after each `key` in a line. */
static int64_t sum_after(const char *line, const char *key)
{
	int64_t sum = 0;

	for (const char *at = strstr(line, key); at != NULL; at = strstr(at + 1, key))
		sum += strtoll(at + strlen(key), NULL, 10);
	return sum;
}

/* "C NAME ... cpu0=pfn:0x1234,nfree:5,..." (SLUB), "C NAME ... shared_avail=3 cpu0=avail:2,..." (SLAB) */
static void take_cache_line(const struct state *state, struct walk *walk, const char *line)
{
	char name[128];

	assert_int_equal(sscanf(line, "C %127s", name), 1);
	int64_t cache = find_cache(state, name);
	int64_t parked = sum_after(line, "avail:") + sum_after(line, "shared_avail=");
	for (const char *at = strstr(line, "=pfn:"); at != NULL; at = strstr(at + 1, "=pfn:")) {
		char *end;
		uint64_t pfn = strtoull(at + 5, &end, 16);
		assert_int_equal(strncmp(end, ",nfree:", 7), 0);
		if (pfn != 0)
			assert_true(
				kml_hashmap_set(&walk->free_in_cpu_slab, pfn, (uint32_t)strtoul(end + 7, NULL, 10)));
	}
	if (cache >= 0)
		walk->live[cache] -= parked;
	else
		assert_int_equal(parked, 0);
}

/* "S pfn order cache inuse=... objects=..." (SLUB), "... active=..." (SLAB), "S pfn 0 slob units=..." (SLOB) */
static void take_slab_line(const struct state *state, struct walk *walk, const char *line)
{
	char name[128];
	uint64_t pfn;

	assert_int_equal(sscanf(line, "S %" SCNx64 " %*u %127s", &pfn, name), 2);
	uint32_t in_cpu_slab = kml_hashmap_get(&walk->free_in_cpu_slab, pfn);
	int64_t active = sum_after(line, " inuse=") + sum_after(line, " active=");
	int64_t cache = find_cache(state, name);
	if (cache >= 0)
		walk->live[cache] += active - (in_cpu_slab == KML_HASHMAP_NONE ? 0 : in_cpu_slab);
	walk->slabs++;
	walk->foreign_slabs += kml_hashmap_get(&state->slab_page, pfn) != 1;
}

static void take_walk(const struct state *state, struct walk *walk, const struct kmt_snapshot *snapshot)
{
	char *text = strdup(snapshot->text), *position;

	assert_non_null(text);
	walk->live = calloc(state->cache_count + 1u, sizeof(*walk->live));
	assert_non_null(walk->live);
	for (char *line = strtok_r(text, "\n", &position); line != NULL; line = strtok_r(NULL, "\n", &position)) {
		if (line[0] == 'C')
			take_cache_line(state, walk, line);
		else if (line[0] == 'S')
			take_slab_line(state, walk, line);
	}
	free(text);
}

static void free_walk(struct walk *walk)
{
	free(walk->live);
	kml_hashmap_free(&walk->free_in_cpu_slab);
}

static void compare_with_walk(const struct state *state, const struct kmt_snapshot *snapshot)
{
	struct walk walk = {0};

	take_walk(state, &walk, snapshot);
	for (uint32_t i = 0; i < state->cache_count; i++) {
		if (state->live[i] != walk.live[i])
			fail_msg("snapshot %s, %s: %" PRId64 " objects live by events, %" PRId64
				 " by the kernel's walk",
				 snapshot->label, state->caches[i].name, state->live[i], walk.live[i]);
	}
	assert_in_range(walk.slabs, 1000, UINT32_MAX);
	assert_int_equal(walk.foreign_slabs, 0);
	assert_int_equal(state->slab_pages, walk.slabs);
	free_walk(&walk);
}

/* SLOB's objects know no slab; its caches of a page or more take pages straight, which the walk does not show. */
static void compare_slob_pages(const struct state *state, const struct kmt_snapshot *snapshot)
{
	struct walk walk = {0};
	int64_t whole_pages = 0;

	take_walk(state, &walk, snapshot);
	for (uint32_t i = 0; i < state->cache_count; i++)
		whole_pages += state->caches[i].object_bytes >= 4096 ? state->live[i] : 0;
	assert_in_range(walk.slabs, 1000, UINT32_MAX);
	assert_int_equal(walk.foreign_slabs, 0);
	assert_int_equal((int64_t)state->slab_pages, (int64_t)walk.slabs + whole_pages);
	free_walk(&walk);
}

static void check_boot_stream(const char *name, uint32_t snapshots, check_snapshot *check)
{
	struct test_capture capture;

	if (!test_capture_find(&capture, name) || (strcmp(name, "linux-6.1-slub") != 0 && too_slow(name)))
		skip();
	test_capture_import(&capture, NULL, true);
	assert_int_equal(walk_capture(&capture, KMT_SNAPSHOT_SLABS, check), snapshots);
	struct kmt_reader *reader = test_capture_open(&capture);
	assert_true(kmt_reader_origin(reader)->at_boot);
	assert_int_equal(kmt_reader_origin(reader)->cpu_count, 2);
	/* nokaslr: Documentation/arch/x86/x86_64/mm.rst */
	assert_true(kmt_reader_origin(reader)->direct_map_base == 0xffff888000000000u);
	kmt_close(reader);
	test_capture_remove(&capture);
}

static void slub_from_boot_lives_as_the_kernel_walked(void **state)
{
	(void)state;
	check_boot_stream("linux-6.1-slub", 13, compare_with_walk);
}

static void slab_from_boot_lives_as_the_kernel_walked(void **state)
{
	(void)state;
	check_boot_stream("linux-6.1-slab", 12, compare_with_walk);
}

static void slob_from_boot_has_the_pages_the_kernel_walked(void **state)
{
	(void)state;
	check_boot_stream("linux-6.1-slob", 12, compare_slob_pages);
}

/* ------------------------------------------------------------------------------------ captures in mid-life */

/* Sum over caches of |live - active_objs| is at most 0.5 % of all active objects. */
static void compare_with_slabinfo(const struct state *state, const struct kmt_snapshot *snapshot)
{
	char *text = strdup(snapshot->text), *position;
	int64_t difference = 0, total = 0;

	assert_non_null(text);
	for (char *line = strtok_r(text, "\n", &position); line != NULL; line = strtok_r(NULL, "\n", &position)) {
		char name[128];
		int64_t active;
		if (line[0] == '#' || sscanf(line, "%127s %" SCNd64, name, &active) != 2)
			continue;
		int64_t cache = find_cache(state, name);
		assert_true(cache >= 0);
		difference += llabs(state->live[cache] - active);
		total += active;
	}
	free(text);
	assert_in_range(total, 1000000, 10000000);
	if (difference * 200 > total)
		fail_msg("snapshot %s: live counts differ by %" PRId64 " of %" PRId64, snapshot->label, difference,
			 total);
	/* At the first one nothing is left to chance: what no event names comes from this very count. */
	if (strcmp(snapshot->label, "0000") == 0)
		assert_int_equal(difference, 0);
}

/* The count of one kind of event in event-counts.txt ("kfree: 25628"). */
static uint64_t counted(const struct test_capture *capture, const char *event)
{
	char path[4096], line[256], key[128];
	uint64_t count = 0;

	snprintf(path, sizeof(path), "%sevent-counts.txt", capture->folder);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	snprintf(key, sizeof(key), "%s: ", event);
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, key, strlen(key)) == 0)
			count = strtoull(line + strlen(key), NULL, 10);
	}
	fclose(file);
	assert_true(count > 0);
	return count;
}

/* Every recorded event is in the .kmt, or in a quirk that says why not. */
static void check_conservation(const struct test_capture *capture)
{
	struct kmt_reader *reader = test_capture_open(capture);
	struct kml_error error = {0};
	struct kmt_item item;
	uint64_t recorded[KMT_OP_COUNT] = {0};

	while (kmt_next(reader, &item, &error) != KMT_ITEM_END) {
		for (uint32_t i = 0; item.kind == KMT_ITEM_EVENTS && i < item.event_count; i++) {
			const struct kmt_event *event = &item.events[i];
			bool added = (event->flags & KMT_IMPLICIT) != 0 ||
				     ((event->flags & KMT_WARM) != 0 &&
				      (event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC));
			recorded[event->op] += !added;
		}
	}
	kmt_close(reader);
	const uint64_t *quirks = capture->totals.quirks;
	assert_int_equal(recorded[KMT_ALLOC], counted(capture, "kmalloc") + counted(capture, "kmem_cache_alloc"));
	assert_int_equal(quirks[KMT_QUIRK_SPLIT_PAGES], 0);
	assert_int_equal(recorded[KMT_FREE] + recorded[KMT_PAGE_ALLOC] + recorded[KMT_PAGE_FREE] +
				 quirks[KMT_QUIRK_NULL_FREE] + quirks[KMT_QUIRK_UNTRACED_ALLOC] +
				 quirks[KMT_QUIRK_LARGE_PAGES],
			 counted(capture, "kfree") + counted(capture, "kmem_cache_free") +
				 counted(capture, "mm_page_alloc") + counted(capture, "mm_page_free"));
	assert_int_equal(quirks[KMT_QUIRK_LOST] + quirks[KMT_QUIRK_MALFORMED] + quirks[KMT_QUIRK_UNKNOWN_EVENT], 0);
}

static void check_mid_life(const char *name, uint32_t snapshots)
{
	struct test_capture capture;

	if (!test_capture_find(&capture, name) || (strstr(name, "reclaim") != NULL && too_slow(name)))
		skip();
	test_capture_import(&capture, NULL, false);
	assert_int_equal(walk_capture(&capture, KMT_SNAPSHOT_SLABINFO, compare_with_slabinfo), snapshots);
	check_conservation(&capture);
	test_capture_remove(&capture);
}

static void compile_lives_as_slabinfo_counted(void **state)
{
	(void)state;
	check_mid_life("linux-6.18-slub/compile", 15);
}

static void reclaim_lives_as_slabinfo_counted(void **state)
{
	(void)state;
	check_mid_life("linux-6.18-slub/reclaim", 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slub_from_boot_lives_as_the_kernel_walked),
		cmocka_unit_test(slab_from_boot_lives_as_the_kernel_walked),
		cmocka_unit_test(slob_from_boot_has_the_pages_the_kernel_walked),
		cmocka_unit_test(compile_lives_as_slabinfo_counted),
		cmocka_unit_test(reclaim_lives_as_slabinfo_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
