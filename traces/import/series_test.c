/*
 * series_test.c - a series of /proc/slabinfo as a workload: what must hold of every stream made of one, the churn
 * worked out by hand, and texts that are damaged, hostile or of other kernels.
 *
 * fixtures/series: linux-6.1-slab.txt are four snapshots of the phases of a capture of Linux 6.1 with SLAB,
 * linux-6.18-slub.txt the first four of traces/series/busy, some caches of each. Older layouts: fixtures/series_*.txt,
 * whose streams import_test.c holds against streams typed by hand.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "kmemlab/support/error.h"
#include "traces/import/import.h"
#include "traces/proc/proc_text.h"

#define FIXTURES "traces/import/fixtures/"
#define VERSION "slabinfo - version: 2.1\n"

enum { CACHES_MAX = 64, IDS_MAX = 1 << 16 };

static const struct import_series_options fewest;

static void output_path(char *path, size_t size, const char *name)
{
	const char *folder = getenv("KMEMLAB_TEST_OUTPUT");
	snprintf(path, size, "%s/series_%d_%s", folder == NULL ? "/tmp" : folder, (int)getpid(), name);
}

static void write_whole(const char *path, const char *bytes, size_t length)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

/* ----------------------------------------------------------------------------------------------- importing */

struct imported {
	struct import *import;
	struct kmt_reader *reader;
	char path[4096];
};

static bool import_file(struct imported *imported, const char *path, const struct import_options *options, bool folder,
			struct kml_error *error)
{
	*imported = (struct imported){.import = import_create(options)};
	output_path(imported->path, sizeof(imported->path), "out.kmt");
	assert_non_null(imported->import);
	struct import_input *input = folder ? NULL : import_input_open(path, error);
	bool done = folder ? import_snapshots(imported->import, path, error)
			   : input != NULL && import_any(imported->import, input, error);
	done = done && import_write(imported->import, imported->path, error);
	import_input_close(input);
	if (done)
		imported->reader = kmt_open(imported->path, error);
	else
		assert_string_not_equal(error->text, "");
	return done && imported->reader != NULL;
}

static void close_imported(struct imported *imported)
{
	kmt_close(imported->reader);
	import_destroy(imported->import);
	unlink(imported->path);
}

static struct imported import_fixture(const char *name, const struct import_series_options *series)
{
	const struct import_options options = {.quiet = true, .series = *series};
	struct kml_error error = {0};
	struct imported imported;

	if (!import_file(&imported, name, &options, false, &error))
		fail_msg("%s: %s", name, error.text);
	return imported;
}

static bool try_bytes(struct imported *imported, const char *bytes, size_t length, const struct import_options *options,
		      struct kml_error *error)
{
	char path[4096];

	output_path(path, sizeof(path), "in.txt");
	write_whole(path, bytes, length);
	bool done = import_file(imported, path, options, false, error);
	unlink(path);
	return done;
}

static struct imported import_text(const char *text, const struct import_series_options *series)
{
	const struct import_options options = {.quiet = true, .series = *series};
	struct kml_error error = {0};
	struct imported imported;

	if (!try_bytes(&imported, text, strlen(text), &options, &error))
		fail_msg("%s", error.text);
	return imported;
}

static void expect_refused(const char *bytes, size_t length, const char *fragment)
{
	const struct import_options options = {.quiet = true};
	struct kml_error error = {0};
	struct imported imported;

	assert_false(try_bytes(&imported, bytes, length, &options, &error));
	if (strstr(error.text, fragment) == NULL)
		fail_msg("the error should hold \"%s\": %s", fragment, error.text);
	close_imported(&imported);
}

static bool warned(const struct import *import, const char *fragment)
{
	const char *warning;

	for (uint32_t i = 0; (warning = import_warning(import, i)) != NULL; i++) {
		if (strstr(warning, fragment) != NULL)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------------------------------- what must hold */

/* A walk over a trace, with its own books. */
struct books {
	const struct kmt_cache *caches;
	uint32_t cache_count;
	uint64_t live[CACHES_MAX], allocs[CACHES_MAX], frees[CACHES_MAX]; /* warm ones count as live only */
	uint64_t before[CACHES_MAX];                                      /* live at the last slabinfo */
	uint16_t cache_of[IDS_MAX], cpu_of[IDS_MAX];
	uint64_t changes; /* allocations and frees since the last slabinfo */
	uint64_t slabinfos, opened, closed, last_event_ns, last_slabinfo_ns;
	bool churns;
};

static void book_event(struct books *books, const struct kmt_event *event)
{
	books->last_event_ns = event->time_ns;
	books->opened += event->op == KMT_CACHE_OPEN;
	books->closed += event->op == KMT_CACHE_CLOSE;
	if (event->op != KMT_ALLOC && event->op != KMT_FREE)
		return;
	assert_true(event->cache < CACHES_MAX && event->object < IDS_MAX);
	uint16_t *cache = &books->cache_of[event->object];
	if (event->op == KMT_ALLOC) {
		assert_int_equal(*cache, 0); /* the id is free */
		*cache = (uint16_t)(event->cache + 1);
		books->cpu_of[event->object] = event->cpu;
		books->live[event->cache]++;
	} else {
		assert_int_equal(*cache, event->cache + 1);
		assert_int_equal(books->cpu_of[event->object], event->cpu);
		*cache = 0;
		books->live[event->cache]--;
	}
	if ((event->flags & KMT_WARM) != 0)
		return;
	books->allocs[event->cache] += event->op == KMT_ALLOC;
	books->frees[event->cache] += event->op == KMT_FREE;
	books->changes++;
}

static uint32_t cache_named(const struct books *books, const char *name)
{
	for (uint32_t i = 0; i < books->cache_count; i++) {
		if (strcmp(books->caches[i].name, name) == 0)
			return i;
	}
	fail_msg("no cache %s", name);
	return 0;
}

/* Live objects are what the kernel counts; and without churn there was no event more than needed. */
static void book_slabinfo(struct books *books, const struct kmt_snapshot *snapshot)
{
	struct slabinfo_line line;
	uint64_t needed = 0;

	for (const char *text = snapshot->text; slabinfo_next(&text, &line);) {
		uint32_t i = cache_named(books, line.name);
		if (books->live[i] != line.active_objects)
			fail_msg("%s at %s: %" PRIu64 " live, the kernel counts %" PRIu64, line.name, snapshot->label,
				 books->live[i], line.active_objects);
	}
	for (uint32_t i = 0; i < books->cache_count; i++) {
		uint64_t a = books->before[i], b = books->live[i];
		needed += a > b ? a - b : b - a;
		books->before[i] = b;
	}
	if (books->slabinfos > 0 && !books->churns)
		assert_int_equal(books->changes, needed);
	assert_true(books->changes >= needed || books->slabinfos == 0);
	books->changes = 0;
	books->slabinfos++;
	books->last_slabinfo_ns = snapshot->time_ns;
}

static struct books *walk(const struct imported *imported, bool churns)
{
	struct books *books = calloc(1, sizeof(*books));
	struct kml_error error = {0};
	struct kmt_item item;
	enum kmt_item_kind kind;

	assert_non_null(books);
	books->churns = churns;
	books->caches = kmt_reader_caches(imported->reader, &books->cache_count);
	assert_true(books->cache_count <= CACHES_MAX);
	while ((kind = kmt_next(imported->reader, &item, &error)) != KMT_ITEM_END) {
		if (kind == KMT_ITEM_ERROR)
			fail_msg("%s", error.text);
		for (uint32_t i = 0; kind == KMT_ITEM_EVENTS && i < item.event_count; i++)
			book_event(books, &item.events[i]);
		if (kind == KMT_ITEM_SNAPSHOT && item.snapshot->kind == KMT_SNAPSHOT_SLABINFO)
			book_slabinfo(books, item.snapshot);
	}
	return books;
}

static void live_objects_are_the_kernels_counts_at_every_snapshot(void **state)
{
	static const struct {
		const char *name;
		uint64_t snapshots;
	} fixtures[] = {{FIXTURES "series_26_slab.txt", 3},
			{FIXTURES "series_4x_cgroup.txt", 3},
			{FIXTURES "series/linux-6.1-slab.txt", 4},
			{FIXTURES "series/linux-6.18-slub.txt", 4}};
	static const struct import_series_options churns[] = {
		{.seed = 1}, {.churn_auto = true, .seed = 2}, {.churn_per_s = 300, .seed = 3}};

	(void)state;
	for (size_t f = 0; f < sizeof(fixtures) / sizeof(fixtures[0]); f++) {
		for (size_t c = 0; c < sizeof(churns) / sizeof(churns[0]); c++) {
			struct imported imported = import_fixture(fixtures[f].name, &churns[c]);
			struct books *books = walk(&imported, c > 0);
			assert_int_equal(books->slabinfos, fixtures[f].snapshots);
			free(books);
			close_imported(&imported);
		}
	}
}

/* The numbers are those of the file: |differences| of linux-6.1-slab.txt, added up by hand from its columns. */
static void the_stream_is_the_smallest(void **state)
{
	struct imported imported = import_fixture(FIXTURES "series/linux-6.1-slab.txt", &fewest);
	struct books *books = walk(&imported, false);
	uint32_t i = cache_named(books, "UNIX");

	(void)state;
	/* 2280, 3276, 3272, 1592 */
	assert_int_equal(books->allocs[i], 996);
	assert_int_equal(books->frees[i], 4 + 1680);
	/* 194, 115, 85, 35 */
	i = cache_named(books, "kmalloc-8k");
	assert_int_equal(books->allocs[i], 0);
	assert_int_equal(books->frees[i], 159);
	assert_int_equal(books->caches[i].slabs_at_start, 194);
	assert_int_equal(books->caches[i].objects_at_start, 194);
	assert_int_equal(books->caches[i].pages_per_slab, 2);
	free(books);
	close_imported(&imported);
}

/* -------------------------------------------------------------------------------------------- small series */

static void append(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *text, size_t size, const char *format, ...)
{
	size_t length = strlen(text);
	va_list arguments;

	va_start(arguments, format);
	assert_in_range(vsnprintf(text + length, size - length, format, arguments), 0, size - length - 1);
	va_end(arguments);
}

/* 64 objects of 64 bytes in a slab of one page. */
static void append_cache(char *text, size_t size, const char *name, unsigned active)
{
	append(text, size, "%-17s %6u %6u 64 64 1 : tunables 0 0 0 : slabdata %u %u 0\n", name, active,
	       (active + 63) / 64 * 64, (active + 63) / 64, (active + 63) / 64);
}

/* One cache, a snapshot every `step` seconds. */
static void series_of(char *text, size_t size, unsigned step, const unsigned *counts, size_t count)
{
	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		append(text, size, "time: %zu\n" VERSION, 1000 + step * i);
		append_cache(text, size, "a", counts[i]);
	}
}

static struct books *books_of(const unsigned *counts, size_t count, const struct import_series_options *series)
{
	char text[4096];

	series_of(text, sizeof(text), 10, counts, count);
	struct imported imported = import_text(text, series);
	struct books *books = walk(&imported, true);
	close_imported(&imported);
	return books;
}

static void churn_is_estimated_by_the_formula(void **state)
{
	static const struct import_series_options estimated = {.churn_auto = true};
	/* Variation 4 + 6 + 4, change 2: (14 - 2) / 2 = 6 replaced in 30 s, and 6 more that nobody saw. */
	static const unsigned waves[] = {10, 14, 8, 12};
	static const unsigned still[] = {7, 7, 7}, grows[] = {1, 5, 90}, shrinks[] = {90, 5, 1};
	struct books *books = books_of(waves, 4, &estimated);

	(void)state;
	assert_int_equal(books->allocs[0], 4 + 4 + 6);
	assert_int_equal(books->frees[0], 6 + 6);
	free(books);
	books = books_of(still, 3, &estimated);
	assert_int_equal(books->allocs[0] + books->frees[0], 0);
	free(books);
	books = books_of(grows, 3, &estimated);
	assert_int_equal(books->allocs[0], 89);
	assert_int_equal(books->frees[0], 0);
	free(books);
	books = books_of(shrinks, 3, &estimated);
	assert_int_equal(books->allocs[0], 0);
	assert_int_equal(books->frees[0], 89);
	free(books);
}

static void churn_that_is_asked_for_is_shared_out(void **state)
{
	static const struct import_series_options asked = {.churn_per_s = 10};
	char text[4096] = "";

	(void)state;
	/* No cache was seen to replace anything: by their live objects, 3 to 1, of 10 a second for 20 s. */
	for (unsigned i = 0; i < 3; i++) {
		append(text, sizeof(text), "time: %u\n" VERSION, 1000 + 10 * i);
		append_cache(text, sizeof(text), "a", 30);
		append_cache(text, sizeof(text), "b", 10);
	}
	struct imported imported = import_text(text, &asked);
	struct books *books = walk(&imported, true);
	assert_int_equal(books->frees[0], 150);
	assert_int_equal(books->frees[1], 50);
	assert_int_equal(books->allocs[0] + books->allocs[1], 200);
	free(books);
	close_imported(&imported);
	/* As the estimates are: b alone replaced some. Of 10 a second for 20 s, beside the 2 frees that are needed. */
	text[0] = '\0';
	for (unsigned i = 0; i < 3; i++) {
		append(text, sizeof(text), "time: %u\n" VERSION, 1000 + 10 * i);
		append_cache(text, sizeof(text), "a", 30);
		append_cache(text, sizeof(text), "b", i == 1 ? 12 : 10);
	}
	imported = import_text(text, &asked);
	books = walk(&imported, true);
	assert_int_equal(books->frees[0], 0);
	assert_int_equal(books->frees[1], 200 + 2);
	free(books);
	close_imported(&imported);
}

/* A cache cannot replace what it does not have. */
/* Ids are given in the order of allocation, so they tell the age. */
static uint64_t freed_below(const struct imported *imported, uint32_t id, uint64_t *frees)
{
	struct kml_error error = {0};
	struct kmt_item item;
	enum kmt_item_kind kind;
	uint64_t below = 0;

	*frees = 0;
	while ((kind = kmt_next(imported->reader, &item, &error)) != KMT_ITEM_END && kind != KMT_ITEM_ERROR) {
		for (uint32_t i = 0; kind == KMT_ITEM_EVENTS && i < item.event_count; i++) {
			bool is_free = item.events[i].op == KMT_FREE;
			*frees += is_free;
			below += is_free && item.events[i].object < id;
		}
	}
	assert_int_equal(kind, KMT_ITEM_END);
	return below;
}

static void slabs_that_went_held_the_oldest(void **state)
{
	static const struct {
		unsigned slabs_left;
		uint64_t least, most; /* of the 128 oldest of 256 objects on 4 slabs; 128 are freed */
	} cases[] = {{2, 128, 128}, {1, 128, 128}, {3, 64 + 16, 127}, {4, 32, 96}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[1024] = "time: 1\n" VERSION;
		uint64_t frees;
		append_cache(text, sizeof(text), "a", 256);
		append(text, sizeof(text), "time: 2\n" VERSION "a 128 256 64 64 1 : tunables 0 0 0 : slabdata 1 %u 0\n",
		       cases[i].slabs_left);
		struct imported imported = import_text(text, &fewest);
		assert_in_range(freed_below(&imported, 128, &frees), cases[i].least, cases[i].most);
		assert_int_equal(frees, 128);
		close_imported(&imported);
	}
}

static void what_is_replaced_is_young(void **state)
{
	static const struct import_series_options asked = {.churn_per_s = 0.2};
	static const unsigned counts[] = {100, 100, 100, 100};
	char text[4096];
	uint64_t frees;

	(void)state;
	/* Two in each of three intervals of 10 s: the same two again and again. */
	series_of(text, sizeof(text), 10, counts, 4);
	struct imported imported = import_text(text, &asked);
	assert_int_equal(freed_below(&imported, 98, &frees), 0);
	assert_int_equal(frees, 6);
	close_imported(&imported);
}

static void an_empty_cache_replaces_nothing(void **state)
{
	static const struct import_series_options asked = {.churn_per_s = 5};
	static const unsigned counts[] = {0, 0, 0};
	struct books *books = books_of(counts, 3, &asked);

	(void)state;
	assert_int_equal(books->allocs[0] + books->frees[0], 0);
	free(books);
}

static void a_single_snapshot_is_a_start_and_its_churn(void **state)
{
	static const struct import_series_options asked = {.churn_per_s = 5, .seconds = 10};
	char text[4096] = VERSION;

	(void)state;
	append_cache(text, sizeof(text), "a", 100);
	struct imported imported = import_text(text, &fewest);
	struct books *books = walk(&imported, false);
	assert_int_equal(books->live[0], 100);
	assert_int_equal(kmt_reader_totals(imported.reader)->events, 100);
	assert_int_equal(kmt_reader_totals(imported.reader)->warm_events, 100);
	free(books);
	close_imported(&imported);
	imported = import_text(text, &asked);
	books = walk(&imported, true);
	assert_int_equal(books->live[0], 100);
	assert_int_equal(books->frees[0], 50);
	assert_int_equal(books->allocs[0], 50);
	assert_in_range(books->last_event_ns, 9000000000u, 10000000000u);
	free(books);
	close_imported(&imported);
}

static void same_bytes(const char *left, const char *right, bool same)
{
	struct kml_error error = {0};
	struct kmt_reader *a = kmt_open(left, &error), *b = kmt_open(right, &error);

	assert_true(a != NULL && b != NULL);
	char *hash = strdup(kmt_reader_hash(a, &error));
	assert_non_null(hash);
	if (same)
		assert_string_equal(hash, kmt_reader_hash(b, &error));
	else
		assert_string_not_equal(hash, kmt_reader_hash(b, &error));
	free(hash);
	kmt_close(a);
	kmt_close(b);
}

static void the_seed_decides_what_is_drawn(void **state)
{
	static const uint64_t seeds[] = {7, 7, 8};
	char kept[3][4200];

	(void)state;
	for (int i = 0; i < 3; i++) {
		const struct import_series_options series = {.churn_auto = true, .seed = seeds[i]};
		struct imported imported = import_fixture(FIXTURES "series/linux-6.18-slub.txt", &series);
		snprintf(kept[i], sizeof(kept[i]), "%s.%d", imported.path, i);
		assert_int_equal(rename(imported.path, kept[i]), 0);
		close_imported(&imported);
	}
	same_bytes(kept[0], kept[1], true);
	/* The note names the seed: the streams themselves must differ. */
	struct kml_error error = {0};
	struct kmt_item left, right;
	struct kmt_reader *a = kmt_open(kept[0], &error), *b = kmt_open(kept[2], &error);
	bool differ = false;
	do {
		assert_int_equal(kmt_next(a, &left, &error), kmt_next(b, &right, &error));
		assert_int_equal(left.event_count, right.event_count);
		for (uint32_t i = 0; i < left.event_count; i++)
			differ = differ || left.events[i].object != right.events[i].object;
	} while (left.kind != KMT_ITEM_END && left.kind != KMT_ITEM_ERROR);
	assert_true(differ);
	kmt_close(a);
	kmt_close(b);
	for (int i = 0; i < 3; i++)
		unlink(kept[i]);
}

static void objects_are_freed_where_they_were_allocated(void **state)
{
	const struct import_options options = {.quiet = true, .series = {.churn_auto = true}};
	const struct kmt_origin origin = {.cpu_count = 4, .kernel = "Linux 6.18"};
	struct kml_error error = {0};
	struct import *import = import_create(&options);
	struct imported imported = {.import = import};
	struct import_input *input = import_input_open(FIXTURES "series/linux-6.18-slub.txt", &error);

	(void)state;
	output_path(imported.path, sizeof(imported.path), "cpus.kmt");
	import_set_origin(import, &origin);
	assert_true(input != NULL && import_any(import, input, &error) && import_write(import, imported.path, &error));
	import_input_close(input);
	imported.reader = kmt_open(imported.path, &error);
	assert_int_equal(kmt_reader_origin(imported.reader)->cpu_count, 4);
	assert_string_equal(kmt_reader_origin(imported.reader)->source, "slabinfo series");
	struct books *books = walk(&imported, true); /* which holds the cpus against each other */
	bool seen[4] = {false};
	for (uint32_t id = 0; id < kmt_reader_totals(imported.reader)->objects; id++)
		seen[books->cpu_of[id]] = true;
	assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
	free(books);
	close_imported(&imported);
}

/* ---------------------------------------------------------------------------------------- other forms of it */

static void a_folder_of_snapshots_is_a_series_too(void **state)
{
	const struct import_options options = {.quiet = true};
	static const unsigned counts[] = {10, 14, 9};
	struct kml_error error = {0};
	char folder[3000], path[4096], meminfo[4096];
	struct imported imported;

	(void)state;
	output_path(folder, sizeof(folder), "folder");
	mkdir(folder, 0755);
	for (unsigned i = 0; i < 3; i++) {
		char text[512] = VERSION;
		append_cache(text, sizeof(text), "a", counts[i]);
		snprintf(path, sizeof(path), "%s/%04u-%u.slabinfo", folder, i, 5000000 + i * 1000000);
		write_whole(path, text, strlen(text));
	}
	/* Another view, in the middle of an interval: two of the four allocations stand before it. */
	snprintf(meminfo, sizeof(meminfo), "%s/0000-5500000.meminfo", folder);
	write_whole(meminfo, "Slab: 4 kB\n", 11);
	if (!import_file(&imported, folder, &options, true, &error))
		fail_msg("%s", error.text);
	struct books *books = walk(&imported, false);
	assert_int_equal(books->slabinfos, 3);
	assert_int_equal(books->allocs[0], 4);
	assert_int_equal(books->frees[0], 5);
	assert_int_equal(books->last_slabinfo_ns, 2000000);
	free(books);
	struct kmt_item item;
	assert_true(kmt_rewind(imported.reader, &error));
	do
		assert_true(kmt_next(imported.reader, &item, &error) <= KMT_ITEM_SNAPSHOT);
	while (item.kind != KMT_ITEM_SNAPSHOT || item.snapshot->kind != KMT_SNAPSHOT_MEMINFO);
	assert_int_equal(item.snapshot->event, 10 + 2);
	close_imported(&imported);
	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%04u-%u.slabinfo", folder, i, 5000000 + i * 1000000);
		unlink(path);
	}
	unlink(meminfo);
	/* Phases have no times, and here is no trace whose marks would tell. */
	snprintf(path, sizeof(path), "%s/04-steady.slabinfo", folder);
	write_whole(path, VERSION, strlen(VERSION));
	assert_false(import_file(&imported, folder, &options, true, &error));
	assert_non_null(strstr(error.text, "snapshot 04-steady.slabinfo has no time in its name"));
	close_imported(&imported);
	unlink(path);
	rmdir(folder);
}

static void what_info_prints_is_a_series(void **state)
{
	char text[4096] = "### 3.250000000 s, before event 17, slabinfo 0000\n" VERSION;

	(void)state;
	append_cache(text, sizeof(text), "a", 3);
	append(text, sizeof(text), "\n### 3.350000000 s, before event 93, slabinfo 0001\n" VERSION);
	append_cache(text, sizeof(text), "a", 5);
	struct imported imported = import_text(text, &fewest);
	struct books *books = walk(&imported, false);
	assert_int_equal(books->allocs[0], 2);
	assert_int_equal(books->last_slabinfo_ns, 100000000);
	free(books);
	close_imported(&imported);
}

/* Linux on arm64 with pages of 64 KiB: its slab of one page holds 1024 objects of 64 bytes. */
static void slabs_tell_the_page_size(void **state)
{
	static const struct {
		const char *line;
		uint32_t page_bytes;
	} cases[] = {{"a 10 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n", 4096},
		     {"a 10 256 64 256 1 : tunables 0 0 0 : slabdata 1 1 0\n", 16384},
		     {"a 10 1024 64 1024 1 : tunables 0 0 0 : slabdata 1 1 0\n", 65536}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[512] = VERSION;
		append(text, sizeof(text), "%s", cases[i].line);
		struct imported imported = import_text(text, &fewest);
		assert_int_equal(kmt_reader_origin(imported.reader)->page_bytes, cases[i].page_bytes);
		close_imported(&imported);
	}
}

/* ------------------------------------------------------------------------------------- caches come and go */

static void names_may_hold_blanks_repeat_and_be_long(void **state)
{
	char name[256], text[4096] = VERSION;

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memcpy(name, "dentry(7:", 9);
	append_cache(text, sizeof(text), "two words", 3);
	append_cache(text, sizeof(text), name, 2);
	append_cache(text, sizeof(text), "twice", 65);
	struct imported imported = import_text(text, &fewest);
	struct books *books = walk(&imported, false);
	assert_int_equal(books->live[cache_named(books, "two words")], 3);
	assert_int_equal(books->live[cache_named(books, name)], 2);
	free(books);
	close_imported(&imported);
	/* Two caches of one name are one. */
	append_cache(text, sizeof(text), "twice", 6);
	imported = import_text(text, &fewest);
	uint32_t count;
	const struct kmt_cache *caches = kmt_reader_caches(imported.reader, &count);
	assert_int_equal(count, 3);
	assert_int_equal(caches[2].objects_at_start, 71);
	assert_int_equal(caches[2].slabs_at_start, 3);
	assert_int_equal(kmt_reader_totals(imported.reader)->events, 3 + 2 + 71);
	close_imported(&imported);
}

static void a_cache_is_destroyed_and_created_again(void **state)
{
	static const int counts[] = {3, -1, 4, -1, 2};
	char text[4096] = "";

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		append(text, sizeof(text), "time: %u\n" VERSION, 1000 + i);
		append_cache(text, sizeof(text), "stays", 1);
		if (counts[i] >= 0)
			append_cache(text, sizeof(text), "comes", (unsigned)counts[i]);
	}
	struct imported imported = import_text(text, &fewest);
	struct books *books = walk(&imported, false);
	assert_int_equal(books->opened, 2);
	assert_int_equal(books->closed, 2);
	assert_int_equal(books->allocs[1], 4 + 2);
	assert_int_equal(books->frees[1], 3 + 4);
	free(books);
	close_imported(&imported);
}

/* The first snapshot is torn: whatever the second one shows may have been there. */
static void a_torn_first_snapshot_creates_no_caches(void **state)
{
	char text[4096] = "time: 1\n" VERSION;

	(void)state;
	append_cache(text, sizeof(text), "a", 3);
	append(text, sizeof(text), "b      5   64  6\ntime: 2\n" VERSION);
	append_cache(text, sizeof(text), "a", 3);
	append_cache(text, sizeof(text), "b", 5);
	append(text, sizeof(text), "time: 3\n" VERSION);
	append_cache(text, sizeof(text), "a", 3);
	append_cache(text, sizeof(text), "b", 6);
	append_cache(text, sizeof(text), "c", 1);
	struct imported imported = import_text(text, &fewest);
	const struct kmt_totals *totals = kmt_reader_totals(imported.reader);
	assert_int_equal(totals->warm_events, 8);
	assert_int_equal(totals->events, 8 + 2 + 1);
	assert_int_equal(totals->op_events[KMT_CACHE_OPEN], 1);
	assert_int_equal(totals->quirks[KMT_QUIRK_MALFORMED], 1);
	assert_true(warned(imported.import, "in.txt:4: 'b      5   64  6'"));
	close_imported(&imported);
}

/* ------------------------------------------------------------------------------------------------- damage */

static void damaged_lines_are_counted_and_named(void **state)
{
	static const char *const lines[] = {
		"a -5 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n",
		"a 5 64 64 -64 1 : tunables 0 0 0 : slabdata 1 1 0\n",
		"a 5 64 64 64 1 : tunables 0 0 0 : slabdata 1 -1 0\n",
		"a 10000000000000000000 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n",
		"a 5 99999999999999999999 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n",
		"a 65 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n",   /* more active than there are */
		"a 5 64 0 64 1 : tunables 0 0 0 : slabdata 1 1 0\n",     /* no size */
		"a 5 64 64 0 1 : tunables 0 0 0 : slabdata 1 1 0\n",     /* no objects in a slab */
		"a 5 64 64 64 0 : tunables 0 0 0 : slabdata 1 1 0\n",    /* no pages */
		"a 5 64 640 1000 1 : tunables 0 0 0 : slabdata 1 1 0\n", /* more than a slab holds */
		"a\n",
		"===== Mon Nov 30 20:00:00 UTC 2026\n",
	};
	const struct import_options strict = {.quiet = true, .strict = true};
	struct kml_error error = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char text[4096] = "time: 1\n" VERSION;
		append_cache(text, sizeof(text), "a", 5);
		append_cache(text, sizeof(text), "b", 5);
		append(text, sizeof(text), "time: 2\n" VERSION "%s", lines[i]);
		append_cache(text, sizeof(text), "b", 6);
		struct imported imported = import_text(text, &fewest);
		const struct kmt_totals *totals = kmt_reader_totals(imported.reader);
		assert_int_equal(totals->quirks[KMT_QUIRK_MALFORMED], 1);
		assert_int_equal(totals->events, 10 + 1); /* a keeps its count */
		assert_true(warned(imported.import, "in.txt:7: '"));
		close_imported(&imported);
		assert_false(try_bytes(&imported, text, strlen(text), &strict, &error));
		assert_non_null(strstr(error.text, "malformed 1"));
		close_imported(&imported);
	}
}

static void nul_bytes_end_a_line(void **state)
{
	static const char text[] = "time: 1\n" VERSION "a 5 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n"
				   "time: 2\n" VERSION "a 6 64 64 \0 64 1 : tunables 0 0 0 : slabdata 1 1 0\n"
				   "b 6 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n";
	const struct import_options options = {.quiet = true};
	struct kml_error error = {0};
	struct imported imported;

	(void)state;
	if (!try_bytes(&imported, text, sizeof(text) - 1, &options, &error))
		fail_msg("%s", error.text);
	assert_int_equal(kmt_reader_totals(imported.reader)->quirks[KMT_QUIRK_MALFORMED], 1);
	close_imported(&imported);
	expect_refused("\0slabinfo - version: 2.1\n", 25, "at byte 0");
}

/* cron ran as somebody else for a while: what was read then says nothing. */
static void snapshots_without_caches_are_left_out(void **state)
{
	char text[4096] = "time: 1\ntime: 2\n" VERSION;

	(void)state;
	append_cache(text, sizeof(text), "a", 5);
	append(text, sizeof(text),
	       "time: 3\n" VERSION "time: 4\ncat: /proc/slabinfo: Permission denied\ntime: 5\n" VERSION);
	append_cache(text, sizeof(text), "a", 7);
	struct imported imported = import_text(text, &fewest);
	const struct kmt_totals *totals = kmt_reader_totals(imported.reader);
	assert_int_equal(totals->snapshots, 2);
	assert_int_equal(totals->events, 7);
	assert_int_equal(totals->duration_ns, 3000000000u);
	assert_int_equal(totals->quirks[KMT_QUIRK_MALFORMED], 3);
	close_imported(&imported);
}

static void a_clock_that_goes_back_is_sorted(void **state)
{
	char text[4096] = "";
	static const unsigned times[] = {10, 30, 20}, counts[] = {1, 9, 4};

	(void)state;
	for (int i = 0; i < 3; i++) {
		append(text, sizeof(text), "time: %u\n" VERSION, times[i]);
		append_cache(text, sizeof(text), "a", counts[i]);
	}
	struct imported imported = import_text(text, &fewest);
	const struct kmt_totals *totals = kmt_reader_totals(imported.reader);
	assert_int_equal(totals->quirks[KMT_QUIRK_OUT_OF_ORDER], 1);
	assert_int_equal(totals->events, 9); /* 1, 4, 9 */
	assert_true(warned(imported.import, "in.txt:7: a time before"));
	close_imported(&imported);
}

static void an_interval_of_no_length_has_its_changes(void **state)
{
	static const struct import_series_options asked = {.churn_per_s = 100};
	static const unsigned counts[] = {3, 8, 2};
	char text[4096];

	(void)state;
	series_of(text, sizeof(text), 0, counts, 3);
	struct imported imported = import_text(text, &asked);
	struct books *books = walk(&imported, false);
	assert_int_equal(books->allocs[0] + books->frees[0], 5 + 6);
	assert_int_equal(books->last_event_ns, 0);
	free(books);
	close_imported(&imported);
}

static void files_that_are_no_series_are_refused(void **state)
{
	static const struct {
		const char *text, *fragment;
	} cases[] = {
		{"time: 1\n", "no cache in any of its snapshots"},
		{VERSION, "no cache in any of its snapshots"},
		{"slabinfo - version: 1.1\nkmem_cache 60 60 244 4 4 1\n",
		 "in.txt:1: slabinfo of version 1.1: read are 2.0 and 2.1"},
		{"time: soon\n" VERSION, "in.txt:1: 'time: soon' is no time"},
		{"time: -5\n" VERSION, "is no time"},
		{"time: 18446744073709551616\n" VERSION, "is no time"},
		{"time: 99999999999999999999999999999999\n" VERSION, "is no time"},
		{"time: 5 o'clock\n" VERSION, "is no time"},
		{"### 5 minutes\n" VERSION, "is no time"},
		{VERSION "a 5 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n" VERSION,
		 "in.txt:3: another snapshot begins without a time"},
		{VERSION "a 5 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\ntime: 5\n", "in.txt:3: the first time"},
		{VERSION "a 999999999 999999999 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n", "more than can be"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_refused(cases[i].text, strlen(cases[i].text), cases[i].fragment);
}

/* Two snapshots 500 years apart, and a churn for all that time. */
static void a_stream_without_end_is_refused(void **state)
{
	const struct import_options options = {.quiet = true, .series = {.churn_per_s = 1e6}};
	struct kml_error error = {0};
	struct imported imported;
	char text[4096] = "time: 1\n" VERSION;

	(void)state;
	append_cache(text, sizeof(text), "a", 5);
	append(text, sizeof(text), "time: 16000000000\n" VERSION);
	append_cache(text, sizeof(text), "a", 5);
	assert_false(try_bytes(&imported, text, strlen(text), &options, &error));
	assert_non_null(strstr(error.text, "ask for less --churn"));
	close_imported(&imported);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(live_objects_are_the_kernels_counts_at_every_snapshot),
		cmocka_unit_test(the_stream_is_the_smallest),
		cmocka_unit_test(churn_is_estimated_by_the_formula),
		cmocka_unit_test(churn_that_is_asked_for_is_shared_out),
		cmocka_unit_test(slabs_that_went_held_the_oldest),
		cmocka_unit_test(what_is_replaced_is_young),
		cmocka_unit_test(an_empty_cache_replaces_nothing),
		cmocka_unit_test(a_single_snapshot_is_a_start_and_its_churn),
		cmocka_unit_test(the_seed_decides_what_is_drawn),
		cmocka_unit_test(objects_are_freed_where_they_were_allocated),
		cmocka_unit_test(a_folder_of_snapshots_is_a_series_too),
		cmocka_unit_test(what_info_prints_is_a_series),
		cmocka_unit_test(slabs_tell_the_page_size),
		cmocka_unit_test(names_may_hold_blanks_repeat_and_be_long),
		cmocka_unit_test(a_cache_is_destroyed_and_created_again),
		cmocka_unit_test(a_torn_first_snapshot_creates_no_caches),
		cmocka_unit_test(damaged_lines_are_counted_and_named),
		cmocka_unit_test(nul_bytes_end_a_line),
		cmocka_unit_test(snapshots_without_caches_are_left_out),
		cmocka_unit_test(a_clock_that_goes_back_is_sorted),
		cmocka_unit_test(an_interval_of_no_length_has_its_changes),
		cmocka_unit_test(files_that_are_no_series_are_refused),
		cmocka_unit_test(a_stream_without_end_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
