/*
 * scenarios_test.c - the kernel's scenarios leave live what they say, with the geometry of the kernel's own caches.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "workloads/generate/kernel_caches.h"
#include "workloads/generate/process.h"
#include "workloads/replay.h"

struct counts {
	int64_t live[KERNEL_CACHES], peak[KERNEL_CACHES];
	int64_t live_pages, live_sized;
	uint64_t events;
	char marks[512];
	int64_t live_at_mark[8][KERNEL_CACHES];
	int marked;
};

static void count_event(struct counts *counts, const struct kmt_event *event)
{
	int64_t change = event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC ? 1
			 : event->op == KMT_FREE || event->op == KMT_PAGE_FREE ? -1
									       : 0;
	counts->events++;
	if (event->op == KMT_PAGE_ALLOC || event->op == KMT_PAGE_FREE) {
		counts->live_pages += change * (1 << event->order);
	} else if (event->cache == KMT_NO_CACHE) {
		counts->live_sized += change;
	} else {
		counts->live[event->cache] += change;
		assert_true(counts->live[event->cache] >= 0);
		if (counts->live[event->cache] > counts->peak[event->cache])
			counts->peak[event->cache] = counts->live[event->cache];
	}
}

static struct counts play(const char *workload)
{
	struct counts counts = {0};
	struct kml_error error;
	struct kmt_item item;
	enum kmt_item_kind kind;
	struct kmt_reader *reader = workload_open(workload, NULL, &error);
	if (!reader)
		fail_msg("%s", error.text);
	while ((kind = kmt_next(reader, &item, &error)) != KMT_ITEM_END) {
		assert_int_not_equal(kind, KMT_ITEM_ERROR);
		for (uint32_t i = 0; i < item.event_count; i++)
			count_event(&counts, &item.events[i]);
		if (kind != KMT_ITEM_SNAPSHOT)
			continue;
		strncat(counts.marks, item.snapshot->text, sizeof counts.marks - strlen(counts.marks) - 2);
		strcat(counts.marks, " ");
		if (counts.marked < 8)
			memcpy(counts.live_at_mark[counts.marked++], counts.live, sizeof counts.live);
	}
	kmt_close(reader);
	return counts;
}

static void walks_and_drops(void **state)
{
	(void)state;
	struct counts counts = play("dentry_storm:files=3000,rounds=2,keep=30");
	assert_string_equal(counts.marks, "walk drop_caches walk drop_caches ");
	assert_int_equal(counts.live_at_mark[1][KERNEL_DENTRY], 3000);
	assert_int_equal(counts.live_at_mark[1][KERNEL_EXT4_INODE], 3000);
	/* After the drop the open files alone, each with its file. */
	int64_t open = counts.live_at_mark[2][KERNEL_FILP];
	assert_true(open > 0);
	assert_int_equal(counts.live_at_mark[2][KERNEL_DENTRY], open);
	assert_int_equal(counts.live_at_mark[3][KERNEL_DENTRY], 3000 + open);
	/* One in 30, within five standard deviations of the binomial. */
	assert_in_range(open, 100 - 50, 100 + 50);
	assert_int_equal(counts.live[KERNEL_DENTRY], 0);
	assert_int_equal(counts.live_pages, 0);
	assert_int_equal(counts.peak[KERNEL_NAMES], 1);
}

static void every_connection_has_two_ends(void **state)
{
	(void)state;
	struct counts counts = play("socket_storm:connections=200,waves=2,messages=3,linger=60");
	assert_string_equal(counts.marks, "open use close open use close ");
	assert_int_equal(counts.live_at_mark[1][KERNEL_TCP], 400);
	assert_int_equal(counts.peak[KERNEL_TCP], 400);
	/* A minute is not over: all that were closed are remembered. */
	assert_int_equal(counts.peak[KERNEL_TW_SOCK_TCP], 400);
	for (int i = 0; i < KERNEL_CACHES; i++)
		assert_int_equal(counts.live[i], 0);
}

static void a_generation_lives_at_once(void **state)
{
	(void)state;
	struct counts counts = play("fork_storm:processes=30,generations=2");
	assert_string_equal(counts.marks, "fork exit fork exit ");
	assert_int_equal(counts.live_at_mark[1][KERNEL_MM], 30);
	assert_int_equal(counts.peak[KERNEL_MM], 31); /* and a child */
	assert_int_equal(counts.live_at_mark[1][KERNEL_VMA], 30 * PROCESS_VMAS);
	assert_int_equal(counts.live[KERNEL_TASK], 0);
	assert_int_equal(counts.live_pages, 0);
}

static void one_task_in_so_many_leaks(void **state)
{
	(void)state;
	struct counts counts = play("task_leak:processes=500,alive=20,every=7");
	/* 480 end before the last is forked, by number 20, 21, ... 499: one for each multiple of 7 among these. */
	int64_t leaked = 499 / 7 - 19 / 7;
	assert_int_equal(counts.live[KERNEL_TASK], leaked);
	assert_int_equal(counts.live[KERNEL_MM], 0);
	assert_int_equal(counts.live_pages, 0);
}

/* The load within 5 standard errors of what Little's law says: a Poisson number of objects. */
static void the_mix_is_in_equilibrium(void **state)
{
	(void)state;
	struct counts counts = play("dma_mix:load=2M,buffers=40");
	int64_t pages = 2 << 20 >> 12;
	assert_in_range(counts.live_pages, pages - 5 * 23, pages + 5 * 23); /* sqrt(512) = 22.6 */
}

static void pages_and_objects_share_memory(void **state)
{
	(void)state;
	struct counts counts = play("page_cache:memory=2M,phases=4");
	assert_string_equal(counts.marks, "read stat read stat ");
	assert_true(counts.live_at_mark[1][KERNEL_DENTRY] < counts.live_at_mark[2][KERNEL_DENTRY]);
	assert_int_equal(counts.live[KERNEL_DENTRY], 0);
	assert_int_equal(counts.live_pages, 0);
}

/* Every run that is asked for fails for want of a run, every area is granted; without vmalloc both fail. */
static void what_needs_no_run_succeeds(void **state)
{
	static const struct {
		const char *stack;
		uint64_t refusals;
	} cases[] = {{"slub/binary", 20},   {"slab/first_fit", 20}, {"solaris/kary", 20},   {"slob/best_fit", 20},
		     {"slub/weighted", 20}, {"slub/fibonacci", 20}, {"binary:unit=4k", 40}, {"first_fit:unit=4k", 40}};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct kml_error error;
		struct replay_result result = {0};
		const struct replay_options options = {.check = true, .samples = 5, .seed = 1};
		struct kmt_reader *reader = workload_open("vmalloc:arena=4M,size=256k,rounds=20", NULL, &error);
		struct kml_spec *spec = kml_spec_parse(cases[i].stack, &error);
		if (!reader || !spec || !replay_run(reader, spec, &options, NULL, NULL, NULL, &result, &error))
			fail_msg("%s", error.text);
		if (result.check_failed)
			fail_msg("%s: %s", cases[i].stack, result.check_error.text);
		assert_int_equal(result.failures[KML_NO_RUN], cases[i].refusals);
		assert_int_equal(result.failures[KML_NO_MEMORY] + result.failures[KML_IMPOSSIBLE], 0);
		kml_spec_free(spec);
		kmt_close(reader);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walks_and_drops),
		cmocka_unit_test(every_connection_has_two_ends),
		cmocka_unit_test(a_generation_lives_at_once),
		cmocka_unit_test(one_task_in_so_many_leaks),
		cmocka_unit_test(the_mix_is_in_equilibrium),
		cmocka_unit_test(pages_and_objects_share_memory),
		cmocka_unit_test(what_needs_no_run_succeeds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
