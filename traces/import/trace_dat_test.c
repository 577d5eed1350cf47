/*
 * trace_dat_test.c - files of trace-cmd against the kernel's own text of the same buffer, and damaged ones.
 *
 * fixtures/README.md tells how the fixtures were recorded: the `trace` file of tracefs was read before trace-cmd
 * extracted the buffer, so both hold the same events; the text has microseconds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "traces/import/import.h"

#define FIXTURES "traces/import/fixtures/"

static void output_path(char *path, size_t size, const char *name)
{
	const char *folder = getenv("KMEMLAB_TEST_OUTPUT");
	snprintf(path, size, "%s/trace_dat_%d_%s", folder ? folder : "/tmp", (int)getpid(), name);
}

static bool import_file(const char *path, const char *out, bool strict, struct kmt_totals *totals,
			struct kml_error *error)
{
	struct import *import = import_create(&(struct import_options){.quiet = true, .strict = strict});
	struct import_input *input = import_input_open(path, error);
	bool done = input && import_any(import, input, error) && import_write(import, out, error);

	if (done && totals)
		*totals = *import_totals(import);
	import_input_close(input);
	import_destroy(import);
	return done;
}

/* Imported and opened; the file itself is gone. */
static struct kmt_reader *open_fixture(const char *name)
{
	struct kml_error error = {{0}};
	char path[256], out[4096];

	snprintf(path, sizeof path, FIXTURES "%s", name);
	output_path(out, sizeof out, "fixture.kmt");
	if (!import_file(path, out, false, NULL, &error))
		fail_msg("%s: %s", name, error.text);
	struct kmt_reader *reader = kmt_open(out, &error);
	if (!reader)
		fail_msg("%s", error.text);
	unlink(out);
	return reader;
}

static const char *cache_name(const struct kmt_reader *reader, uint16_t cache)
{
	uint32_t count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &count);
	return cache < count ? caches[cache].name : "-";
}

static void assert_same_event(const struct kmt_reader *a, const struct kmt_event *x, const struct kmt_reader *b,
			      const struct kmt_event *y)
{
	assert_int_equal(x->op, y->op);
	assert_int_equal(x->cpu, y->cpu);
	assert_int_equal(x->object, y->object);
	assert_int_equal(x->size_bytes, y->size_bytes);
	assert_int_equal(x->granted_bytes, y->granted_bytes);
	assert_int_equal(x->address, y->address);
	assert_int_equal(x->order, y->order);
	assert_int_equal(x->flags, y->flags);
	assert_string_equal(cache_name(a, x->cache), cache_name(b, y->cache));
	/* Both begin at an event whose microseconds the text rounded down. */
	assert_in_range(x->time_ns + 1000 - y->time_ns, 0, 2000);
}

static void expect_the_kernels_text(const char *name)
{
	struct kmt_reader *text = open_fixture("trace-cmd.ftrace.zst"), *dat = open_fixture(name);
	struct kmt_item from_text, from_dat;
	struct kml_error error = {{0}};

	assert_int_equal(kmt_next(text, &from_text, &error), KMT_ITEM_EVENTS);
	assert_int_equal(kmt_next(dat, &from_dat, &error), KMT_ITEM_EVENTS);
	assert_int_equal(from_text.event_count, from_dat.event_count);
	assert_in_range(from_text.event_count, 400, 600);
	for (uint32_t i = 0; i < from_text.event_count; i++)
		assert_same_event(text, &from_text.events[i], dat, &from_dat.events[i]);
	assert_int_equal(kmt_next(dat, &from_dat, &error), KMT_ITEM_END);
	assert_memory_equal(kmt_reader_totals(text)->quirks, kmt_reader_totals(dat)->quirks,
			    sizeof kmt_reader_totals(dat)->quirks);
	assert_int_equal(kmt_reader_origin(dat)->cpu_count, 2);
	assert_string_equal(kmt_reader_origin(dat)->source, "trace.dat");
	kmt_close(text);
	kmt_close(dat);
}

static void version_7_holds_what_the_kernel_printed(void **state)
{
	(void)state;
	expect_the_kernels_text("trace-cmd-7.dat.zst");
}

static void version_6_holds_what_the_kernel_printed(void **state)
{
	(void)state;
	expect_the_kernels_text("trace-cmd-6.dat.zst");
}

/* ------------------------------------------------------------------------------------------------- damage */

static size_t read_fixture(const char *name, uint8_t *bytes, size_t room)
{
	struct kml_error error = {{0}};
	char path[256];
	size_t count = 0;
	int64_t got;

	snprintf(path, sizeof path, FIXTURES "%s", name);
	struct import_input *input = import_input_open(path, &error);
	assert_non_null(input);
	while ((got = import_input_read(input, bytes + count, room - count, &error)) > 0)
		count += (size_t)got;
	assert_int_equal(got, 0);
	import_input_close(input);
	return count;
}

static bool import_bytes(const uint8_t *bytes, size_t count, bool strict, struct kmt_totals *totals,
			 struct kml_error *error)
{
	char path[4096], out[4096];

	output_path(path, sizeof path, "bytes.dat");
	output_path(out, sizeof out, "bytes.kmt");
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, count, file), count);
	assert_int_equal(fclose(file), 0);
	bool done = import_file(path, out, strict, totals, error);
	assert_int_equal(access(out, F_OK) == 0, done);
	unlink(path);
	unlink(out);
	return done;
}

static uint8_t bytes[1 << 17];

/* Bit 31 of a page's commit word: events were lost before it (kernel/trace/ring_buffer.c, RB_MISSED_EVENTS). */
static void lost_events_are_counted(void **state)
{
	enum { DATA_OFFSET = 0x6000, PAGE_BYTES = 4096, COMMIT_OFFSET = 8 };
	struct kmt_totals totals = {0};
	struct kml_error error = {{0}};
	size_t count = read_fixture("trace-cmd-6.dat.zst", bytes, sizeof bytes);

	(void)state;
	assert_true(count > DATA_OFFSET + 2 * PAGE_BYTES);
	bytes[DATA_OFFSET + PAGE_BYTES + COMMIT_OFFSET + 3] |= 0x80;
	if (!import_bytes(bytes, count, false, &totals, &error))
		fail_msg("%s", error.text);
	assert_int_equal(totals.quirks[KMT_QUIRK_LOST], 1);
	assert_false(import_bytes(bytes, count, true, &totals, &error));
	assert_non_null(strstr(error.text, "lost 1"));
}

static void truncated_files_are_refused_or_shorter(void **state)
{
	struct kml_error error;
	struct kmt_totals totals;
	size_t count = read_fixture("trace-cmd-7.dat.zst", bytes, sizeof bytes), refused = 0;

	(void)state;
	for (size_t length = 10; length < count; length += count / 20) {
		memset(&error, 0, sizeof error);
		if (import_bytes(bytes, length, false, &totals, &error))
			continue;
		refused++;
		assert_string_not_equal(error.text, "");
	}
	assert_in_range(refused, 10, 100);
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* libtracecmd 3.1.6 crashes on about one in ten such files: an error then, not a crash of ours. */
static void damaged_files_never_crash(void **state)
{
	enum { ROUNDS = 60, HEAD_BYTES = 400 };
	static uint8_t original[sizeof bytes];
	struct kml_error error;
	uint64_t random = 20250101, imported = 0, broken = 0;
	size_t count = read_fixture("trace-cmd-6.dat.zst", original, sizeof original);

	(void)state;
	if (count <= HEAD_BYTES) {
		fail_msg("a fixture of %zu bytes", count);
		return;
	}
	for (int round = 0; round < ROUNDS; round++) {
		memcpy(bytes, original, count);
		for (uint64_t changes = 1 + next_random(&random) % 5; changes > 0; changes--)
			bytes[next_random(&random) % (changes % 2 ? count : HEAD_BYTES)] =
				(uint8_t)next_random(&random);
		memset(&error, 0, sizeof error);
		bool done = import_bytes(bytes, count, false, NULL, &error);
		imported += done;
		broken += strstr(error.text, "broke down") != NULL;
		assert_true(done || error.text[0] != '\0');
	}
	/* Were none imported, or had libtracecmd borne all, the test would test nothing. */
	assert_in_range(imported, 10, ROUNDS);
	print_message("%" PRIu64 " of %d imported, libtracecmd broke down on %" PRIu64 "\n", imported, ROUNDS, broken);
}

static void what_is_no_trace_dat_is_refused(void **state)
{
	static const uint8_t head[] = "\x17\x08\x44tracing6";
	struct kml_error error = {{0}};

	(void)state;
	assert_false(import_bytes(head, sizeof head, false, NULL, &error));
	assert_non_null(strstr(error.text, "libtracecmd cannot read it"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_7_holds_what_the_kernel_printed),
		cmocka_unit_test(version_6_holds_what_the_kernel_printed),
		cmocka_unit_test(lost_events_are_counted),
		cmocka_unit_test(truncated_files_are_refused_or_shorter),
		cmocka_unit_test(damaged_files_never_crash),
		cmocka_unit_test(what_is_no_trace_dat_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
