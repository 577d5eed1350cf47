/*
 * mutate_perf_test.c - changes of perf.data: within bounds, the same for the same seed, of all kinds; lengths and
 * offsets around a change lead where they led before, as read here by hand and by the import.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuzz/mutate_perf.h"
#include "fuzz/seeds.h"
#include "fuzz/target.h"
#include "traces/import/import.h"

enum {
	SEEDS = 8000,
	FILE_BYTES_MAX = 1 << 13,
	ROOM_BYTES = 700, /* for a file to grow */
	RECORDS_MAX = 64,
	/* tools/perf/Documentation/perf.data-file-format.txt */
	HEADER_BYTES = 104,
	PIPE_HEADER_BYTES = 16,
	SECTIONS = 24,
	FEATURES = 72,
	OSRELEASE = 4,
	NUMA_TOPOLOGY = 14,
	RECORD_HEADER_ATTR = 64,
	RECORD_TRACING_DATA = 66,
	SAMPLE_TYPE = 24, /* in struct perf_event_attr */
};

struct bytes {
	uint8_t bytes[FILE_BYTES_MAX];
	size_t count;
	const char *name;
};

static size_t leave(uint8_t *bytes, size_t byte_count, size_t byte_max)
{
	(void)bytes;
	(void)byte_max;
	return byte_count;
}

static bool keep_named(void *context, const char *name, const uint8_t *bytes, size_t byte_count)
{
	struct bytes *kept = context;
	if (strcmp(name, kept->name) == 0) {
		assert_true(byte_count + ROOM_BYTES <= sizeof kept->bytes);
		memcpy(kept->bytes, bytes, byte_count);
		kept->count = byte_count;
	}
	return true;
}

static void load(struct bytes *file, const char *name)
{
	*file = (struct bytes){.name = name};
	fuzz_seeds(fuzz_target_find("perf-data"), keep_named, file);
	assert_true(file->count > 0);
}

/* ------------------------------------------------------------------------------------------------ read by hand */

static uint64_t number(const struct bytes *file, uint64_t at, size_t width)
{
	uint64_t value = 0;
	if (at <= file->count && width <= file->count - at)
		memcpy(&value, file->bytes + at, width);
	return value;
}

struct records {
	size_t count;
	bool whole; /* they end where they should */
	uint32_t types[RECORDS_MAX];
	size_t starts[RECORDS_MAX], bytes[RECORDS_MAX];
};

static struct records read_records(const struct bytes *file)
{
	struct records records = {0};
	bool is_stream = number(file, 8, 8) == PIPE_HEADER_BYTES;
	uint64_t at = is_stream ? PIPE_HEADER_BYTES : number(file, SECTIONS + 16, 8);
	uint64_t end = is_stream ? file->count : at + number(file, SECTIONS + 24, 8);
	while (end <= file->count && at < end && end - at >= 8 && records.count < RECORDS_MAX) {
		size_t bytes = number(file, at + 6, 2);
		if (bytes < 8)
			break;
		records.types[records.count] = (uint32_t)number(file, at, 4);
		records.starts[records.count] = at;
		records.bytes[records.count++] = bytes;
		if (records.types[records.count - 1] == RECORD_TRACING_DATA)
			bytes += number(file, at + 8, 4);
		at += bytes;
	}
	records.whole = at == end;
	return records;
}

/* Where a feature's data begins, by way of the table behind the records; 0: the file has none. */
static size_t find_feature(const struct bytes *file, unsigned wanted)
{
	uint64_t at = number(file, SECTIONS + 16, 8) + number(file, SECTIONS + 24, 8);
	for (unsigned feature = 0; feature < wanted; feature++)
		at += number(file, FEATURES + feature / 8, 1) >> feature % 8 & 1 ? 16 : 0;
	return number(file, FEATURES + wanted / 8, 1) >> wanted % 8 & 1 ? number(file, at, 8) : 0;
}

static bool has_release(const struct bytes *file)
{
	size_t at = find_feature(file, OSRELEASE);
	return at && at + 11 <= file->count && memcmp(file->bytes + at + 4, "6.18.0", 7) == 0;
}

static void mutate_again(struct bytes *file, const struct bytes *original, uint64_t seed)
{
	*file = *original;
	file->count = perf_mutate(file->bytes, file->count, original->count + ROOM_BYTES, seed, leave);
}

/* ------------------------------------------------------------------------------------------------ the tests */

static void test_same_seed_same_change(void **state)
{
	static const char *const names[] = {"small-file.data", "small-stream.data", "two-events-stream.data",
					    "small-compressed.data", "nodes.data"};
	static struct bytes original, first, second;
	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		unsigned changed = 0;
		load(&original, names[i]);
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			size_t room = original.count + seed % ROOM_BYTES;
			first = second = original;
			first.count = perf_mutate(first.bytes, first.count, room, seed, leave);
			second.count = perf_mutate(second.bytes, second.count, room, seed, leave);
			assert_true(first.count <= room);
			assert_int_equal(first.count, second.count);
			/* Also what is behind the room stays. */
			assert_memory_equal(first.bytes, second.bytes, first.count);
			assert_memory_equal(first.bytes + room, original.bytes + room, sizeof first.bytes - room);
			changed +=
				first.count != original.count || memcmp(first.bytes, original.bytes, first.count) != 0;
		}
		assert_true(changed > SEEDS / 2);
	}
}

/* Nothing is read behind the end of a file that is cut anywhere, or that has anything in it. */
static void test_any_bytes(void **state)
{
	static struct bytes original;
	(void)state;
	for (int form = 0; form < 2; form++) {
		load(&original, form ? "two-events-stream.data" : "small-file.data");
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			size_t count = seed % (original.count + 1), room = count + seed % 7;
			uint8_t *bytes = malloc(room + 1);
			assert_non_null(bytes);
			memcpy(bytes, original.bytes, count);
			for (size_t i = PIPE_HEADER_BYTES; i < count; i++)
				if ((i * 31 + seed) % 97 == 0)
					bytes[i] = (uint8_t)(i * seed);
			assert_true(perf_mutate(bytes, count, room, seed, leave) <= room);
			free(bytes);
		}
	}
}

/* Where the file became longer or shorter, what leads to the rest of it leads there still: the records of a stream lie
 * one behind the other to its end; a text behind all sections is found. But for the few where it is what changed. */
static void test_lengths_are_set_right(void **state)
{
	static struct bytes original, file;
	unsigned resized = 0, found = 0;
	(void)state;
	load(&original, "two-events-stream.data");
	assert_true(read_records(&original).whole);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		mutate_again(&file, &original, seed);
		resized += file.count != original.count;
		found += file.count != original.count && read_records(&file).whole;
	}
	assert_true(resized > SEEDS / 4 && found > resized * 3 / 4);
	resized = found = 0;
	load(&original, "small-file.data");
	assert_true(has_release(&original) && read_records(&original).whole);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		mutate_again(&file, &original, seed);
		resized += file.count != original.count;
		found += file.count != original.count && has_release(&file);
	}
	assert_true(resized > SEEDS / 4 && found > resized * 3 / 4);
}

/* As far as its records, or to its end. */
static bool is_read(const struct bytes *file)
{
	struct kml_error error = {""};
	char path[64];
	int descriptor = memfd_create("perf-data", MFD_CLOEXEC);
	assert_true(descriptor >= 0 && write(descriptor, file->bytes, file->count) == (ssize_t)file->count);
	snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
	struct import_input *input = import_input_open(path, &error);
	struct import *import = import_create(&(struct import_options){.quiet = true});
	assert_non_null(input);
	assert_non_null(import);
	bool whole = import_perf_data(import, input, &error);
	import_input_close(input);
	import_destroy(import);
	close(descriptor);
	return whole || strstr(error.text, ": offset ") || strstr(error.text, "holds no samples") ||
	       strstr(error.text, "carry no time");
}

/* Most changes reach past what is read first: the header of a file with its sections, attributes and features, of a
 * stream the records in front of its samples. */
static void test_the_import_reads_on(void **state)
{
	static struct bytes original, file;
	(void)state;
	for (int form = 0; form < 2; form++) {
		unsigned changed = 0, read = 0;
		load(&original, form ? "small-stream.data" : "small-file.data");
		assert_true(is_read(&original));
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			mutate_again(&file, &original, seed);
			if (file.count == original.count && memcmp(file.bytes, original.bytes, file.count) == 0)
				continue;
			changed++;
			read += is_read(&file);
		}
		print_message("%s: the import reads on in %u of %u\n", original.name, read, changed);
		assert_true(read > changed * 3 / 5);
	}
}

static bool same_multiset(const struct records *a, const struct records *b)
{
	size_t sum_a = 0, sum_b = 0;
	for (size_t i = 0; i < a->count; i++)
		sum_a += a->types[i] * a->bytes[i];
	for (size_t i = 0; i < b->count; i++)
		sum_b += b->types[i] * b->bytes[i];
	return a->count == b->count && sum_a == sum_b;
}

/* Of a stream: what happens to its records and attributes. */
static void test_kinds_of_change_in_streams(void **state)
{
	enum { ATTRS = 2 };
	static struct bytes original, file;
	unsigned fewer = 0, more = 0, moved = 0, heads = 0, longer = 0, types = 0, sizes = 0, layouts = 0, ids = 0;
	(void)state;
	load(&original, "two-events-stream.data");
	struct records before = read_records(&original);
	assert_int_equal(before.types[0], RECORD_HEADER_ATTR);
	assert_int_equal(before.types[1], RECORD_HEADER_ATTR);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		mutate_again(&file, &original, seed);
		struct records after = read_records(&file);
		fewer += after.whole && after.count < before.count;
		more += after.whole && after.count > before.count;
		moved += after.whole && same_multiset(&before, &after) &&
			 memcmp(before.starts, after.starts, sizeof before.starts) != 0;
		sizes += !after.whole && file.count == original.count;
		if (!after.whole || after.count != before.count)
			continue;
		unsigned changed_layouts = 0;
		for (size_t i = 0; i < after.count; i++) {
			heads += after.bytes[i] == 8 && before.bytes[i] > 8;
			longer += after.bytes[i] > before.bytes[i];
			types += after.types[i] != before.types[i] && after.bytes[i] == before.bytes[i];
		}
		for (size_t i = 0; i < ATTRS; i++) {
			size_t was = before.starts[i] + 8, is = after.starts[i] + 8;
			changed_layouts +=
				number(&original, was + SAMPLE_TYPE, 8) != number(&file, is + SAMPLE_TYPE, 8);
			ids += number(&original, was + 64, 8) != number(&file, is + 64, 8) &&
			       before.bytes[i] == after.bytes[i];
		}
		layouts += changed_layouts == 1;
	}
	unsigned least = SEEDS / 400;
	assert_true(fewer > least && more > least && moved > least && heads > least && longer > least);
	assert_true(types > least && sizes > least && layouts > least && ids > least);
}

/* The first digits of a node's list of cpus; UINT64_MAX: none. */
static uint64_t first_cpu(const struct bytes *file)
{
	enum { COUNT_BYTES = 4, NODE_BYTES = 20, LENGTH_BYTES = 4 };
	size_t at = find_feature(file, NUMA_TOPOLOGY);
	at += COUNT_BYTES + NODE_BYTES + LENGTH_BYTES;
	return at < file->count && file->bytes[at] >= '0' && file->bytes[at] <= '9'
		       ? strtoull((const char *)file->bytes + at, NULL, 10)
		       : UINT64_MAX;
}

static unsigned bits_of(const struct bytes *file)
{
	return (unsigned)__builtin_popcountll(number(file, FEATURES, 8));
}

/* Of a file: what happens to its sections and features. */
static void test_kinds_of_change_in_files(void **state)
{
	static struct bytes original, file;
	unsigned set = 0, cleared = 0, cpus = 0, outside = 0, wraps = 0, lengths = 0;
	(void)state;
	load(&original, "small-file.data");
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		mutate_again(&file, &original, seed);
		set += bits_of(&file) > bits_of(&original) && has_release(&file) && read_records(&file).whole;
		cleared += bits_of(&file) < bits_of(&original) && has_release(&file) && read_records(&file).whole;
		uint64_t cpu = first_cpu(&file);
		cpus += has_release(&file) && cpu != UINT64_MAX && cpu > 0xffff;
		for (size_t at = SECTIONS; at < FEATURES; at += 16) {
			uint64_t offset = number(&file, at, 8), bytes = number(&file, at + 8, 8);
			outside += offset > file.count || bytes > file.count;
			wraps += offset + bytes < offset && offset + bytes < file.count;
			lengths += bytes != number(&original, at + 8, 8) && file.count == original.count;
		}
	}
	unsigned least = SEEDS / 400;
	assert_true(set > least && cleared > least && cpus > least / 4); /* of 14 texts it is one */
	assert_true(outside > least && lengths > least && wraps > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_seed_same_change),      cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_lengths_are_set_right),      cmocka_unit_test(test_the_import_reads_on),
		cmocka_unit_test(test_kinds_of_change_in_streams), cmocka_unit_test(test_kinds_of_change_in_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
