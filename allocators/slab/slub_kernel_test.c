/*
 * slub_kernel_test.c - SLUB held against Linux 6.1: every allocation since boot is replayed by the rules alone.
 *
 *   slabs   at each of the kernel's slabinfo snapshots, cache by cache, the pages of all slabs
 *   paths   how often each path of mm/slub.c was taken, by the kernel's own counters (CONFIG_SLUB_STATS). They were
 *           read after the recording had ended, and reading them made work; so they are held against those caches
 *           whose allocations and frees are as many as in the recording
 *
 * Two cpus race, and their trace does not tell who came first; what is left open for that is said with each limit.
 * Skipped where the capture is not at hand.
 */
#include "allocators/slab/slub.h"
#include "traces/import/capture_testing.h"
#include "workloads/fidelity.h"
#include "workloads/testing.h"

static struct test_capture capture;

static struct kml_spec *parse(const char *text)
{
	struct kml_error error = {{0}};
	struct kml_spec *spec = kml_spec_parse(text, &error);
	if (!spec)
		fail_msg("%s", error.text);
	return spec;
}

/* ----------------------------------------------------------------------------------------------------- slabs */

/* At most 0.5 % of the pages at any moment, 0.1 % over all: a race that two cpus' frees decide differently costs a few
 * slabs of that cache until it is emptied. */
static void slabs_are_the_kernels_at_every_snapshot(void **state)
{
	(void)state;
	struct kmt_reader *reader = test_capture_open(&capture);
	struct kml_spec *spec = parse("slub:profile=linux-6.1");
	const struct fidelity_options options = {.replay = {.level = REPLAY_ALL}};
	struct fidelity fidelity = {0};
	struct kml_error error = {{0}};
	if (!fidelity_run(reader, spec, &options, &fidelity, &error))
		fail_msg("%s", error.text);
	assert_int_equal(fidelity.scale, FIDELITY_SLABINFO);
	assert_int_equal(fidelity.judged_moments, 12);
	for (uint32_t i = 0; i < fidelity.moment_count; i++) {
		const struct fidelity_moment *moment = &fidelity.moments[i];
		if (!moment->judged)
			continue;
		print_message("%s: %llu of %llu pages off\n", moment->label, (unsigned long long)moment->sums.error,
			      (unsigned long long)moment->sums.actual);
		assert_true(moment->sums.error * 200 <= moment->sums.actual);
	}
	assert_true(fidelity.sums.error * 1000 <= fidelity.sums.actual);
	fidelity_free(&fidelity);
	kml_spec_free(spec);
	kmt_close(reader);
}

/* ----------------------------------------------------------------------------------------------------- paths */

enum { COLUMNS_MAX = 64 };

struct table {
	char header[2048], line[8192];
	char *names[COLUMNS_MAX], *values[COLUMNS_MAX];
	uint32_t columns;
	FILE *file;
};

static uint32_t split(char *line, char *columns[COLUMNS_MAX])
{
	uint32_t count = 0;
	line[strcspn(line, "\n")] = '\0';
	while (count < COLUMNS_MAX && line)
		columns[count++] = strsep(&line, "\t");
	return count;
}

static bool next_row(struct table *table)
{
	if (!fgets(table->line, sizeof table->line, table->file))
		return false;
	assert_int_equal(split(table->line, table->values), table->columns);
	return true;
}

/* "17 C0=9 C1=8" is 17. */
static uint64_t counter(const struct table *table, const char *name)
{
	for (uint32_t i = 0; i < table->columns; i++)
		if (strcmp(table->names[i], name) == 0)
			return strtoull(table->values[i], NULL, 10);
	fail_msg("sysfs_slab.tsv has no column %s", name);
	return 0;
}

struct paths {
	uint64_t caches, exact, steps, off;
};

static bool did_the_same_work(const struct table *table, const struct slub_cache *cache)
{
	const uint64_t *ours = cache->events;
	uint64_t allocations = counter(table, "alloc_fastpath") + counter(table, "alloc_slowpath");
	uint64_t frees = counter(table, "free_fastpath") + counter(table, "free_slowpath");
	return allocations > 0 && allocations == ours[SLUB_ALLOC_FASTPATH] + ours[SLUB_ALLOC_SLOWPATH] &&
	       frees == ours[SLUB_FREE_FASTPATH] + ours[SLUB_FREE_SLOWPATH];
}

static void compare_paths(struct paths *paths, const struct table *table, const struct slub_cache *cache)
{
	bool exact = true;
	for (uint32_t event = 0; event < SLUB_EVENTS; event++) {
		uint64_t ours = cache->events[event], theirs = counter(table, slub_event_names[event]);
		paths->steps += theirs;
		paths->off += ours > theirs ? ours - theirs : theirs - ours;
		if (ours != theirs) {
			print_message("%s: %s %llu, the kernel %llu\n", cache->slabs.cache.description.name,
				      slub_event_names[event], (unsigned long long)ours, (unsigned long long)theirs);
			exact = false;
		}
	}
	paths->caches++;
	paths->exact += exact;
}

/* At the end of the replay. */
static bool compare_counters(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
			     const struct kml_arena *arena)
{
	(void)sample, (void)arena;
	const struct object_heap *heap = object_heap_of(kml_stack_top(stack));
	struct table table = {.file = test_capture_table("linux-6.1-slub", "sysfs_slab.tsv")};
	assert_non_null(table.file);
	assert_non_null(fgets(table.header, sizeof table.header, table.file));
	table.columns = split(table.header, table.names);
	while (next_row(&table))
		for (uint32_t i = 0; i < heap->cache_count; i++) {
			const struct object_cache *cache = heap->caches[i];
			if (cache && strcmp(cache->description.name, table.values[0]) == 0 &&
			    did_the_same_work(&table, slub_cache_of(cache)))
				compare_paths(context, &table, slub_cache_of(cache));
		}
	fclose(table.file);
	return true;
}

/*
 * 0.1 % of the steps: the order in which the last shrink met the objects of others; and kmem_cache, whose first slab
 * boot flushes to move the cache's own descriptor (bootstrap).
 */
static void paths_are_taken_as_often_as_in_the_kernel(void **state)
{
	(void)state;
	struct kmt_reader *reader = test_capture_open(&capture);
	struct kml_spec *spec = parse("slub:profile=linux-6.1");
	const struct replay_options options = {.level = REPLAY_ALL};
	struct replay_result result;
	struct kml_error error = {{0}};
	struct paths paths = {0};
	if (!replay_run(reader, spec, &options, compare_counters, NULL, &paths, &result, &error))
		fail_msg("%s", error.text);
	print_message("%llu caches, %llu of them exact; %llu steps, %llu off\n", (unsigned long long)paths.caches,
		      (unsigned long long)paths.exact, (unsigned long long)paths.steps, (unsigned long long)paths.off);
	assert_true(paths.caches >= 40);
	assert_true(paths.exact * 10 >= paths.caches * 8);
	assert_true(paths.off * 1000 <= paths.steps);
	kml_spec_free(spec);
	kmt_close(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slabs_are_the_kernels_at_every_snapshot),
		cmocka_unit_test(paths_are_taken_as_often_as_in_the_kernel),
	};
	return test_capture_run(tests, &capture, "linux-6.1-slub", "cache_params.tsv");
}
