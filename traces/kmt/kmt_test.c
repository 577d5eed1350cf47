/*
 * kmt_test.c - the .kmt format: what is written is read back, and what is damaged is refused.
 *
 * The reference is always the list of events given to the writer, kept beside the file. Damage is done to the bytes of
 * finished files; where a checksum would catch it first, the test computes the checksum anew, as an attacker would.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "traces/kmt/model.h"

static char folder[3000];

static const char *in_folder(const char *name)
{
	static char path[4][4096];
	static unsigned next;
	char *out = path[next++ % 4];
	snprintf(out, sizeof path[0], "%s/%s", folder, name);
	return out;
}

static int make_folder(void **state)
{
	(void)state;
	/* In memory where there is such a place: each finished file is flushed to its disk. */
	const char *output = getenv("KMEMLAB_TEST_OUTPUT");
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : output ? output : "/tmp";
	snprintf(folder, sizeof folder, "%s/kmt-XXXXXX", base);
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder); /* fails, and with it the suite, when a test left a file behind */
}

static const struct kmt_origin plain_origin = {
	.source = "test", .kernel = "", .command = "", .clock = "mono", .note = "", .cpu_count = 4, .page_bytes = 4096};
static const struct kmt_cache two_caches[] = {{.name = "dentry", .object_bytes = 192}, {.name = "filp"}};

/* xorshift64*: Vigna 2016. */
static uint64_t random_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

/* ------------------------------------------------------------------------------------------------ helpers */

struct stream {
	struct kmt_event *events;
	uint32_t count, capacity;
};

static void add(struct stream *stream, struct kmt_event event)
{
	if (stream->count == stream->capacity) {
		stream->capacity = stream->capacity ? 2 * stream->capacity : 64;
		stream->events = realloc(stream->events, stream->capacity * sizeof event);
		assert_non_null(stream->events);
	}
	stream->events[stream->count++] = event;
}

static void write_stream_of(const char *path, const struct kmt_origin *origin, const struct kmt_cache *caches,
			    uint32_t cache_count, const struct stream *stream)
{
	struct kml_error error = {""};
	struct kmt_writer *writer = kmt_create(path, origin, caches, cache_count, &error);
	if (!writer)
		fail_msg("%s", error.text);
	for (uint32_t i = 0; i < stream->count; i++)
		if (!kmt_write_event(writer, &stream->events[i], &error))
			fail_msg("%s", error.text);
	if (!kmt_finish(writer, NULL, &error))
		fail_msg("%s", error.text);
}

static void write_stream(const char *path, const struct stream *stream)
{
	write_stream_of(path, &plain_origin, two_caches, 2, stream);
}

static struct kmt_reader *open_trace(const char *path)
{
	struct kml_error error = {""};
	struct kmt_reader *reader = kmt_open(path, &error);
	if (!reader)
		fail_msg("%s", error.text);
	return reader;
}

/* Reads to the end; every event must be the one written. */
static void expect_stream(struct kmt_reader *reader, const struct stream *stream)
{
	struct kmt_item item;
	struct kml_error error = {""};
	uint32_t at = 0;
	for (;;) {
		enum kmt_item_kind kind = kmt_next(reader, &item, &error);
		if (kind == KMT_ITEM_ERROR)
			fail_msg("%s", error.text);
		if (kind == KMT_ITEM_END)
			break;
		for (uint32_t i = 0; i < item.event_count; i++, at++)
			if (at >= stream->count || !kmt_same_event(&item.events[i], &stream->events[at]))
				fail_msg("event %u differs", at);
	}
	assert_int_equal(at, stream->count);
}

static void round_trip(const struct stream *stream)
{
	const char *path = in_folder("round.kmt");
	write_stream(path, stream);
	struct kmt_reader *reader = open_trace(path);
	expect_stream(reader, stream);
	assert_true(kmt_rewind(reader, NULL));
	expect_stream(reader, stream);
	assert_int_equal(kmt_reader_totals(reader)->events, stream->count);
	kmt_close(reader);
	unlink(path);
}

struct file {
	uint8_t *bytes;
	size_t size;
};

static struct file load(const char *path)
{
	struct file file;
	struct stat status;
	FILE *stream = fopen(path, "rb");
	assert_non_null(stream);
	assert_int_equal(fstat(fileno(stream), &status), 0);
	file.size = (size_t)status.st_size;
	file.bytes = malloc(file.size);
	assert_int_equal(fread(file.bytes, 1, file.size, stream), file.size);
	fclose(stream);
	return file;
}

static void store(const char *path, const uint8_t *bytes, size_t size)
{
	FILE *stream = fopen(path, "wb");
	assert_non_null(stream);
	assert_int_equal(fwrite(bytes, 1, size, stream), size);
	assert_int_equal(fclose(stream), 0);
}

/* Opens and reads all; true when it was read to its end without an error. *events: as many as were given out. */
static bool readable(const char *path, struct kml_error *error, struct stream *events)
{
	struct kmt_item item;
	struct kmt_reader *reader = kmt_open(path, error);
	if (!reader)
		return false;
	enum kmt_item_kind kind;
	while ((kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT)
		for (uint32_t i = 0; events && i < item.event_count; i++)
			add(events, item.events[i]);
	if (kind == KMT_ITEM_ERROR) {
		/* At its end: the same error again, and no event. */
		struct kml_error again = {""};
		assert_int_equal(kmt_next(reader, &item, &again), KMT_ITEM_ERROR);
		assert_string_equal(again.text, error->text);
	}
	kmt_close(reader);
	return kind == KMT_ITEM_END;
}

static void expect_refused(const char *path, const char *why)
{
	struct kml_error error = {""};
	assert_false(readable(path, &error, NULL));
	if (!strstr(error.text, why) || !strstr(error.text, path))
		fail_msg("\"%s\" does not say \"%s\" of %s", error.text, why, path);
}

static struct kmt_event alloc_event(uint32_t object, uint64_t time_ns)
{
	return (struct kmt_event){.time_ns = time_ns,
				  .address = UINT64_C(0x100000) + object * UINT64_C(64),
				  .size_bytes = 60,
				  .granted_bytes = 64,
				  .object = object,
				  .cache = KMT_NO_CACHE,
				  .flags = KML_KMALLOC,
				  .op = KMT_ALLOC};
}

static struct kmt_event free_event(uint32_t object, uint64_t time_ns)
{
	struct kmt_event event = alloc_event(object, time_ns);
	event.op = KMT_FREE;
	return event;
}

/* Some allocations and frees, a snapshot in the middle: every kind of block in a few hundred bytes. */
static struct stream small_trace(const char *path)
{
	struct stream stream = {0};
	struct kml_error error = {""};
	for (uint32_t i = 0; i < 20; i++)
		add(&stream, alloc_event(i, 1000 * i));
	for (uint32_t i = 0; i < 20; i++)
		add(&stream, free_event((7 * i) % 20, 20000 + 777 * i));
	struct kmt_writer *writer = kmt_create(path, &plain_origin, two_caches, 2, &error);
	assert_non_null(writer);
	for (uint32_t i = 0; i < stream.count; i++) {
		struct kmt_snapshot snapshot = {.kind = KMT_SNAPSHOT_MEMINFO,
						.time_ns = 20000,
						.label = "0001",
						.text = "MemFree: 17 kB\n",
						.text_bytes = 15};
		if (i == 20)
			assert_true(kmt_write_snapshot(writer, &snapshot, &error));
		assert_true(kmt_write_event(writer, &stream.events[i], &error));
	}
	assert_true(kmt_finish(writer, NULL, &error));
	return stream;
}

/* ------------------------------------------------------------------------------------------------ round trips */

static void test_no_event(void **state)
{
	(void)state;
	struct stream stream = {0};
	round_trip(&stream);
}

static void test_one_event(void **state)
{
	(void)state;
	struct stream stream = {0};
	add(&stream, alloc_event(0, 0));
	round_trip(&stream);
	free(stream.events);
}

static void test_every_op_and_flag(void **state)
{
	(void)state;
	struct stream stream = {0};
	for (unsigned op = 0; op < KMT_OP_COUNT; op++)
		for (unsigned bit = 0; bit <= 14; bit++) {
			struct kmt_event event = {
				.time_ns = stream.count, .size_bytes = 1, .cache = 1, .op = (uint8_t)op};
			event.address = bit % 2 ? KMT_NO_ADDRESS : 4096 * bit;
			event.flags = bit < 14 ? (uint16_t)(1u << bit) : 0x3fff;
			event.cpu = bit % 4;
			event.order = (uint8_t)(op == KMT_MISUSE    ? bit % KMT_MISUSE_KINDS
						: op == KMT_EXHAUST ? bit % 2
								    : bit);
			event.object = kmt_op_has_object(event.op) ? bit : 0;
			add(&stream, event);
		}
	round_trip(&stream);
	free(stream.events);
}

static void test_extreme_values(void **state)
{
	(void)state;
	static const struct kmt_event extremes[] = {
		{.op = KMT_ALLOC, .size_bytes = UINT64_MAX, .address = KMT_NO_ADDRESS, .cache = KMT_NO_CACHE},
		{.op = KMT_ALLOC, .size_bytes = 1, .granted_bytes = UINT64_MAX, .address = KMT_NO_ADDRESS, .object = 1},
		{.op = KMT_ALLOC, .size_bytes = 1, .address = UINT64_MAX - 2, .object = 65536 + 1, .align_log2 = 63},
		{.op = KMT_PAGE_ALLOC, .size_bytes = 1, .address = KMT_NO_ADDRESS, .order = 63, .object = 2},
		{.op = KMT_PAGE_ALLOC, .size_bytes = 1, .address = 0, .order = 50, .object = 3},
		{.op = KMT_FREE, .address = UINT64_MAX - 1, .object = 65536 + 4, .cpu = 3},
		{.op = KMT_FREE, .address = 0, .object = 0},
		{.op = KMT_REAP,
		 .size_bytes = UINT64_MAX,
		 .granted_bytes = UINT64_MAX,
		 .address = 0,
		 .order = 63,
		 .cpu = 3},
		{.op = KMT_PAGE_ADD,
		 .size_bytes = UINT64_MAX,
		 .address = KMT_NO_ADDRESS,
		 .order = 63,
		 .align_log2 = 63},
		{.op = KMT_MARK,
		 .time_ns = UINT64_MAX,
		 .address = KMT_NO_ADDRESS,
		 .cache = KMT_NO_CACHE,
		 .flags = 0x3fff},
		{.op = KMT_MARK, .time_ns = UINT64_MAX, .address = UINT64_MAX - 1},
	};
	struct stream stream = {0};
	for (size_t i = 0; i < sizeof extremes / sizeof *extremes; i++)
		add(&stream, extremes[i]);
	round_trip(&stream);
	free(stream.events);
}

static void test_block_boundaries(void **state)
{
	(void)state;
	static const uint32_t counts[] = {KMT_BLOCK_EVENTS - 1, KMT_BLOCK_EVENTS, KMT_BLOCK_EVENTS + 1,
					  3 * KMT_BLOCK_EVENTS};
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		struct stream stream = {0};
		for (uint32_t at = 0; at < counts[i]; at++)
			add(&stream, at % 3 == 2 ? free_event((at - 2) / 3, at)
						 : alloc_event(at / 3 + (at % 3 == 1 ? 40000 : 0), at));
		round_trip(&stream);
		free(stream.events);
	}
}

/* A free names another address, another size, another cache than its allocation: all kept, as fuzz programs need. */
static void test_foreign_frees(void **state)
{
	(void)state;
	struct stream stream = {0};
	add(&stream, alloc_event(0, 0));
	struct kmt_event event = free_event(0, 1);
	event.address += 8;
	add(&stream, event);
	add(&stream, event); /* a double free */
	event.address = KMT_NO_ADDRESS;
	event.size_bytes = 0;
	event.granted_bytes = 0;
	event.cache = 1;
	event.flags = 0;
	add(&stream, event);
	event.object = 77; /* never allocated */
	add(&stream, event);
	event = alloc_event(0, 2); /* twice allocated */
	add(&stream, event);
	event.cache = 1;
	add(&stream, event);
	event.op = KMT_FREE;
	event.cache = 0; /* of another cache */
	add(&stream, event);
	round_trip(&stream);
	free(stream.events);
}

/* Any valid event, however senseless; `live` bounds the ids so that walks, reuse and double frees all happen. */
static struct kmt_event random_event(uint64_t *seed, uint64_t time_ns, uint32_t ids)
{
	uint64_t bits = random_next(seed);
	struct kmt_event event = {.time_ns = time_ns};
	event.op = (uint8_t)(bits % 5 < 4 ? bits / 5 % 4 : bits / 5 % KMT_OP_COUNT);
	event.object = kmt_op_has_object(event.op) ? (uint32_t)(random_next(seed) % ids) : 0;
	event.cache = (uint16_t)(bits >> 20 & 3);
	event.cache = event.cache >= 2 ? KMT_NO_CACHE : event.cache;
	event.cpu = bits >> 22 & 3;
	event.order = event.op == KMT_EXHAUST ? bits >> 24 & 1 : bits >> 24 & 3;
	event.flags = bits >> 26 & 7 ? 0 : (uint16_t)(bits >> 32 & 0x3fff);
	event.align_log2 = bits >> 45 & 7 ? 0 : 12;
	event.size_bytes = 1 + (bits >> 48 & 7);
	event.granted_bytes = bits >> 51 & 1 ? 8 : 0;
	event.address = bits >> 52 & 7 ? random_next(seed) % 4096 * 64 : KMT_NO_ADDRESS;
	if (bits >> 55 == 0)
		event.size_bytes = random_next(seed) | 1, event.address = KMT_NO_ADDRESS;
	return event;
}

static void test_random_streams(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		uint64_t random = seed;
		struct stream stream = {0};
		uint64_t time_ns = 0;
		uint32_t ids = (uint32_t)(1 + random_next(&random) % (seed % 3 ? 40 : 5000));
		uint32_t count = (uint32_t)(random_next(&random) % (seed % 10 ? 3000 : 40000));
		for (uint32_t i = 0; i < count; i++) {
			time_ns +=
				random_next(&random) % 4 ? 0 : random_next(&random) >> (20 + random_next(&random) % 44);
			add(&stream, random_event(&random, time_ns, ids));
		}
		round_trip(&stream);
		free(stream.events);
	}
}

/* The same events from memory: the same stream, totals and refusals as through a file. */
static void test_events_in_memory(void **state)
{
	(void)state;
	struct kml_error error = {""};
	struct stream stream = {0};
	uint64_t random = 3;
	const char *path = in_folder("memory.kmt");
	for (uint32_t i = 0; i < KMT_BLOCK_EVENTS + 1000; i++)
		add(&stream, random_event(&random, i, 300));
	write_stream(path, &stream);
	struct kmt_reader *file = open_trace(path);
	struct kmt_reader *memory = kmt_open_events(&plain_origin, two_caches, 2, stream.events, stream.count, &error);
	assert_non_null(memory);
	assert_memory_equal(kmt_reader_totals(memory), kmt_reader_totals(file), sizeof(struct kmt_totals));
	assert_string_equal(kmt_reader_path(memory), "program");
	assert_int_equal(kmt_reader_origin(memory)->cpu_count, 4);
	uint32_t caches;
	assert_ptr_equal(kmt_reader_caches(memory, &caches), two_caches);
	assert_int_equal(caches, 2);
	assert_null(kmt_reader_hash(memory, &error));
	for (int pass = 0; pass < 2; pass++) {
		struct kmt_item item;
		assert_true(kmt_rewind(memory, &error));
		assert_int_equal(kmt_next(memory, &item, &error), KMT_ITEM_EVENTS);
		assert_ptr_equal(item.events, stream.events); /* nothing is copied */
		assert_true(kmt_rewind(memory, &error));
		expect_stream(memory, &stream);
	}
	kmt_close(memory);
	kmt_close(file);
	unlink(path);
	stream.events[700].cpu = 4;
	assert_null(kmt_open_events(&plain_origin, two_caches, 2, stream.events, stream.count, &error));
	assert_non_null(strstr(error.text, "program: event 700: "));
	assert_non_null(strstr(error.text, "the trace has 4 cpus"));
	struct kmt_origin origin = plain_origin;
	origin.cpu_count = 0;
	assert_null(kmt_open_events(&origin, two_caches, 2, stream.events, 0, &error));
	assert_non_null(strstr(error.text, "has 0 cpus"));
	free(stream.events);
}

/* A program without operations, the first that a fuzzer runs: NULL + 0 is undefined (clang's UBSan says so, not gcc's).
 */
static void test_no_events_in_memory(void **state)
{
	(void)state;
	struct kml_error error = {""};
	struct kmt_item item;
	struct kmt_reader *memory = kmt_open_events(&plain_origin, NULL, 0, NULL, 0, &error);
	assert_non_null(memory);
	assert_int_equal(kmt_reader_totals(memory)->events, 0);
	for (int pass = 0; pass < 2; pass++) {
		assert_int_equal(kmt_next(memory, &item, &error), KMT_ITEM_END);
		assert_true(kmt_rewind(memory, &error));
	}
	kmt_close(memory);
}

/* More different requests than the table of shapes holds. */
static void test_more_shapes_than_fit(void **state)
{
	(void)state;
	struct stream stream = {0};
	for (uint32_t i = 0; i < KMT_SHAPES_MAX + 5000; i++) {
		struct kmt_event event = alloc_event(i % 50000, i);
		event.size_bytes = 1 + i;
		add(&stream, event);
	}
	for (uint32_t i = 0; i < 6000; i++)
		add(&stream, stream.events[KMT_SHAPES_MAX - 1000 + i]);
	for (uint32_t i = 0; i < 6000; i++)
		stream.events[KMT_SHAPES_MAX + 5000 + i].time_ns = 1000000;
	round_trip(&stream);
	free(stream.events);
}

/* ------------------------------------------------------------------------------------------------ header */

static void test_origin_and_caches(void **state)
{
	(void)state;
	enum { COUNT = KMT_CACHES_MAX };
	struct kmt_cache *caches = calloc(COUNT, sizeof *caches);
	char(*names)[KMT_NAME_BYTES_MAX + 1] = calloc(COUNT, sizeof *names);
	char *long_text = malloc(KMT_TEXT_BYTES_MAX + 1);
	memset(long_text, 'x', KMT_TEXT_BYTES_MAX);
	long_text[KMT_TEXT_BYTES_MAX] = '\0';
	for (uint32_t i = 0; i < COUNT; i++) {
		snprintf(names[i], sizeof names[i], "cache-%u", i);
		caches[i] =
			(struct kmt_cache){names[i], i, UINT64_MAX - i, i % 64, i, UINT32_MAX, i, UINT64_MAX, i % 16};
	}
	memset(names[7], 'n', KMT_NAME_BYTES_MAX);
	strcpy(names[8], "\x01\x1b[31m\t\n\"\\, \xc3\xa4\xe2\x82\xac\xff");
	names[9][0] = '\0';
	struct kmt_origin origin = {
		"ftrace text", "Linux \xf0\x9f\x90\xa7",     long_text, "mono",    "a\nb\x7f", KMT_CPUS_MAX, 65536,
		UINT64_MAX,    UINT64_C(0xffff888000000000), true,      UINT64_MAX};
	struct stream stream = {0};
	struct kmt_event event = alloc_event(0, 0);
	event.cpu = KMT_CPUS_MAX - 1;
	event.cache = COUNT - 1;
	add(&stream, event);
	const char *path = in_folder("header.kmt");
	write_stream_of(path, &origin, caches, COUNT, &stream);

	struct kmt_reader *reader = open_trace(path);
	uint32_t count;
	const struct kmt_cache *got = kmt_reader_caches(reader, &count);
	const struct kmt_origin *from = kmt_reader_origin(reader);
	assert_int_equal(count, COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		assert_string_equal(got[i].name, caches[i].name);
		assert_true(got[i].object_bytes == caches[i].object_bytes &&
			    got[i].slot_bytes == caches[i].slot_bytes && got[i].align_bytes == caches[i].align_bytes &&
			    got[i].objects_per_slab == caches[i].objects_per_slab &&
			    got[i].pages_per_slab == caches[i].pages_per_slab &&
			    got[i].slabs_at_start == caches[i].slabs_at_start &&
			    got[i].objects_at_start == caches[i].objects_at_start && got[i].flags == caches[i].flags);
	}
	assert_string_equal(from->source, origin.source);
	assert_string_equal(from->kernel, origin.kernel);
	assert_string_equal(from->command, origin.command);
	assert_string_equal(from->clock, origin.clock);
	assert_string_equal(from->note, origin.note);
	assert_int_equal(from->cpu_count, origin.cpu_count);
	assert_int_equal(from->page_bytes, origin.page_bytes);
	assert_true(from->start_ns == origin.start_ns && from->direct_map_base == origin.direct_map_base);
	assert_true(from->at_boot && from->arena_bytes == origin.arena_bytes);
	assert_string_equal(kmt_reader_path(reader), path);
	expect_stream(reader, &stream);
	kmt_close(reader);
	unlink(path);
	free(stream.events);
	free(long_text);
	free(names);
	free(caches);
}

static void expect_origin_refused(struct kmt_origin origin, struct kmt_cache cache, uint32_t count, const char *why)
{
	struct kml_error error = {""};
	assert_null(kmt_create(in_folder("never.kmt"), &origin, &cache, count, &error));
	if (!strstr(error.text, why))
		fail_msg("\"%s\" does not say \"%s\"", error.text, why);
	assert_int_equal(access(in_folder("never.kmt"), F_OK), -1);
}

static void test_bad_header_refused_by_writer(void **state)
{
	(void)state;
	struct kmt_origin origin = plain_origin;
	struct kmt_cache cache = {.name = "c"};
	char name[KMT_NAME_BYTES_MAX + 2];
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	origin.cpu_count = 0;
	expect_origin_refused(origin, cache, 1, "0 cpus");
	origin.cpu_count = KMT_CPUS_MAX + 1;
	expect_origin_refused(origin, cache, 1, "4097 cpus");
	origin = plain_origin;
	origin.page_bytes = 5000;
	expect_origin_refused(origin, cache, 1, "pages of 5000 bytes");
	origin.page_bytes = 1 << 20;
	expect_origin_refused(origin, cache, 1, "pages of 1048576 bytes");
	origin = plain_origin;
	origin.note = NULL;
	expect_origin_refused(origin, cache, 1, "note is missing");
	cache.name = name;
	expect_origin_refused(plain_origin, cache, 1, "longer than 255 bytes");
	cache = (struct kmt_cache){.name = "c", .flags = 1u << 20};
	expect_origin_refused(plain_origin, cache, 1, "unknown flags 0x100000");
	expect_origin_refused(plain_origin, cache, KMT_CACHES_MAX + 1, "65536 caches");
}

/* ------------------------------------------------------------------------------------------------ totals */

static void test_totals(void **state)
{
	(void)state;
	struct stream stream = {0};
	struct kml_error error = {""};
	const char *path = in_folder("totals.kmt");
	struct kmt_event warm = alloc_event(4, 0);
	warm.flags |= KMT_WARM;
	add(&stream, warm);
	add(&stream, alloc_event(1, 5));
	add(&stream, free_event(1, 9));
	add(&stream, (struct kmt_event){.time_ns = 10, .op = KMT_PAGE_ADD, .order = 3, .address = 0x200000});
	struct kmt_writer *writer = kmt_create(path, &plain_origin, two_caches, 2, &error);
	for (uint32_t i = 0; i < stream.count; i++)
		assert_true(kmt_write_event(writer, &stream.events[i], &error));
	struct kmt_totals known = {.perf_requested_bytes = 1,
				   .perf_allocated_bytes = UINT64_MAX,
				   .perf_freed_bytes = 3,
				   .perf_allocations = 4,
				   .perf_cross_cpu = 5,
				   .events = 99};
	for (uint32_t i = 0; i < KMT_QUIRK_COUNT; i++)
		known.quirks[i] = 1000 + i;
	assert_true(kmt_finish(writer, &known, &error));
	struct kmt_reader *reader = open_trace(path);
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	assert_int_equal(totals->events, 4);
	assert_int_equal(totals->op_events[KMT_ALLOC], 2);
	assert_int_equal(totals->op_events[KMT_FREE], 1);
	assert_int_equal(totals->op_events[KMT_PAGE_ADD], 1);
	assert_int_equal(totals->warm_events, 1);
	assert_int_equal(totals->objects, 5);
	assert_int_equal(totals->duration_ns, 10);
	assert_int_equal(totals->snapshots, 0);
	assert_int_equal(totals->top_address, 0x200000 + 8 * 4096);
	assert_true(totals->perf_allocated_bytes == UINT64_MAX);
	assert_int_equal(totals->perf_requested_bytes, 1);
	assert_int_equal(totals->perf_freed_bytes, 3);
	assert_int_equal(totals->perf_allocations, 4);
	assert_int_equal(totals->perf_cross_cpu, 5);
	for (uint32_t i = 0; i < KMT_QUIRK_COUNT; i++)
		assert_int_equal(totals->quirks[i], 1000 + i);
	expect_stream(reader, &stream);
	kmt_close(reader);
	unlink(path);
	free(stream.events);
}

static void test_hash_is_of_the_bytes(void **state)
{
	(void)state;
	struct kml_error error;
	const char *a = in_folder("a.kmt"), *b = in_folder("b.kmt");
	struct stream stream = small_trace(a), same = small_trace(b);
	struct kmt_reader *first = open_trace(a), *second = open_trace(b);
	assert_int_equal(strlen(kmt_reader_hash(first, &error)), 16);
	assert_string_equal(kmt_reader_hash(first, &error), kmt_reader_hash(second, &error));
	kmt_close(second);
	/* XXH64 of the file as the library computes it at once. */
	struct file file = load(a);
	char expected[17];
	snprintf(expected, sizeof expected, "%016llx", (unsigned long long)XXH64(file.bytes, file.size, 0));
	assert_string_equal(kmt_reader_hash(first, &error), expected);
	kmt_close(first);
	free(file.bytes);
	same.events[3].size_bytes++;
	write_stream(b, &same);
	second = open_trace(b);
	assert_string_not_equal(kmt_reader_hash(second, &error), expected);
	kmt_close(second);
	unlink(a);
	unlink(b);
	free(stream.events);
	free(same.events);
}

/* ------------------------------------------------------------------------------------------------ snapshots */

static void test_snapshots_in_their_place(void **state)
{
	(void)state;
	struct kml_error error = {""};
	const char *path = in_folder("snapshots.kmt");
	struct kmt_writer *writer = kmt_create(path, &plain_origin, two_caches, 2, &error);
	char text[3][20000];
	for (int i = 0; i < 3; i++)
		for (size_t at = 0; at < sizeof text[0]; at++)
			text[i][at] = (char)(at % 7 == (size_t)i ? (size_t)i
								 : at * at % 251); /* NULs too: kept, like every byte */
	uint64_t places[] = {0, 5, 5, KMT_BLOCK_EVENTS, KMT_BLOCK_EVENTS + 3};
	uint32_t events = KMT_BLOCK_EVENTS + 3, place = 0;
	for (uint32_t at = 0; at <= events; at++) {
		for (; place < 5 && places[place] == at; place++) {
			struct kmt_snapshot snapshot = {.kind = place % 2 ? KMT_SNAPSHOT_SLABS : KMT_SNAPSHOT_SLABINFO,
							.time_ns = at * UINT64_C(10),
							.event = 12345,
							.label = place ? "00-\xc3\xa4" : "",
							.text = text[place % 3],
							.text_bytes = place == 3 ? 0 : sizeof text[0] - place};
			assert_true(kmt_write_snapshot(writer, &snapshot, &error));
		}
		struct kmt_event event = alloc_event(at, at);
		if (at < events)
			assert_true(kmt_write_event(writer, &event, &error));
	}
	assert_true(kmt_finish(writer, NULL, &error));

	struct kmt_reader *reader = open_trace(path);
	assert_int_equal(kmt_reader_totals(reader)->snapshots, 5);
	assert_int_equal(kmt_reader_totals(reader)->duration_ns, events * 10);
	for (int round = 0; round < 2; round++, kmt_rewind(reader, NULL)) {
		struct kmt_item item;
		uint64_t seen = 0;
		place = 0;
		enum kmt_item_kind kind;
		while ((kind = kmt_next(reader, &item, &error)) != KMT_ITEM_END) {
			assert_int_not_equal(kind, KMT_ITEM_ERROR);
			seen += item.event_count;
			if (kind != KMT_ITEM_SNAPSHOT)
				continue;
			assert_int_equal(item.snapshot->event, places[place]);
			assert_int_equal(item.snapshot->event, seen);
			assert_int_equal(item.snapshot->time_ns, places[place] * 10);
			assert_int_equal(item.snapshot->kind, place % 2 ? KMT_SNAPSHOT_SLABS : KMT_SNAPSHOT_SLABINFO);
			assert_string_equal(item.snapshot->label, place ? "00-\xc3\xa4" : "");
			assert_int_equal(item.snapshot->text_bytes, place == 3 ? (size_t)0 : sizeof text[0] - place);
			assert_memory_equal(item.snapshot->text, text[place % 3], item.snapshot->text_bytes);
			assert_int_equal(item.snapshot->text[item.snapshot->text_bytes], 0);
			place++;
		}
		assert_int_equal(place, 5);
		assert_int_equal(seen, events);
	}
	kmt_close(reader);
	unlink(path);
}

static void test_bad_snapshots_refused_by_writer(void **state)
{
	(void)state;
	struct kml_error error = {""};
	char label[KMT_NAME_BYTES_MAX + 2];
	memset(label, 'l', sizeof label - 1);
	label[sizeof label - 1] = '\0';
	const struct kmt_snapshot bad[] = {
		{.kind = KMT_SNAPSHOT_KINDS, .label = "", .text = ""},
		{.kind = KMT_SNAPSHOT_VMSTAT, .label = label, .text = ""},
		{.kind = KMT_SNAPSHOT_VMSTAT, .label = "", .text = "", .text_bytes = KMT_SNAPSHOT_BYTES_MAX},
	};
	static const char *const why[] = {"unknown kind", "label is longer", "at most"};
	for (size_t i = 0; i < 3; i++) {
		struct kmt_writer *writer = kmt_create(in_folder("never.kmt"), &plain_origin, NULL, 0, &error);
		assert_false(kmt_write_snapshot(writer, &bad[i], &error));
		assert_non_null(strstr(error.text, why[i]));
		assert_false(kmt_finish(writer, NULL, &error));
		assert_int_equal(access(in_folder("never.kmt"), F_OK), -1);
	}
}

/* ------------------------------------------------------------------------------------------------ the writer refuses
 */

static void test_bad_events_refused_by_writer(void **state)
{
	(void)state;
	struct kmt_event good = alloc_event(0, 100);
	struct {
		struct kmt_event event;
		const char *why;
	} bad[] = {
		{good, "unknown operation 14"},
		{good, "before its predecessor"},
		{good, "the trace has 4 cpus"},
		{good, "the trace has 2 caches"},
		{good, "of order 64"},
		{good, "2^64"},
		{good, "unknown flags 0x4000"},
		{good, "of 0 bytes"},
		{good, "beyond the end of memory"},
		{good, "ids must be dense"},
		{good, "ids must be dense"},
		{good, "it has none"},
		{good, "misuse of unknown kind 5"},
		{good, "no cache is named"},
		{good, "exhaust of order 2"},
		{good, "it has none"},
	};
	bad[0].event.op = KMT_OP_COUNT;
	bad[1].event.time_ns = 99;
	bad[2].event.cpu = 4;
	bad[3].event.cache = 2;
	bad[4].event.order = 64;
	bad[5].event.align_log2 = 64;
	bad[6].event.flags = 1u << 14;
	bad[7].event.size_bytes = 0;
	bad[8].event.address = UINT64_MAX - 20;
	bad[9].event.object = 65536 + 1;
	bad[10].event.object = KMT_OBJECTS_MAX;
	bad[11].event.op = KMT_DRAIN;
	bad[11].event.object = 3;
	bad[12].event.op = bad[13].event.op = KMT_MISUSE;
	bad[12].event.order = KMT_MISUSE_KINDS;
	bad[13].event.order = KMT_MISUSE_CACHE;
	bad[13].event.cache = KMT_NO_CACHE;
	bad[14].event.op = bad[15].event.op = KMT_EXHAUST;
	bad[14].event.order = 2;
	bad[15].event.object = 1;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct kml_error error = {""};
		const char *path = in_folder("never.kmt");
		struct kmt_writer *writer = kmt_create(path, &plain_origin, two_caches, 2, &error);
		assert_true(kmt_write_event(writer, &good, &error));
		assert_false(kmt_write_event(writer, &bad[i].event, &error));
		if (!strstr(error.text, bad[i].why) || !strstr(error.text, "event 1:"))
			fail_msg("\"%s\" does not say \"%s\"", error.text, bad[i].why);
		assert_false(kmt_finish(writer, NULL, &error));
		assert_int_equal(access(path, F_OK), -1);
	}
}

static void test_abandon_leaves_nothing(void **state)
{
	(void)state;
	struct kml_error error = {""};
	const char *path = in_folder("abandoned.kmt");
	struct kmt_writer *writer = kmt_create(path, &plain_origin, two_caches, 2, &error);
	for (uint32_t i = 0; i < 20000; i++) {
		struct kmt_event event = alloc_event(i, i);
		assert_true(kmt_write_event(writer, &event, &error));
	}
	kmt_abandon(writer); /* remove_folder() finds what would be left */
	kmt_abandon(NULL);
	assert_int_equal(access(path, F_OK), -1);
}

static void test_unwritable_place(void **state)
{
	(void)state;
	struct kml_error error = {""};
	assert_null(kmt_create(in_folder("no/such/folder/x.kmt"), &plain_origin, NULL, 0, &error));
	assert_non_null(strstr(error.text, "no/such/folder"));
}

/* A file system of 64 KiB: what does not fit is reported and nothing is left. Needs root to mount. */
static void test_disk_full(void **state)
{
	(void)state;
	struct kml_error error = {""};
	const char *small = in_folder("small");
	assert_int_equal(mkdir(small, 0700), 0);
	if (mount("tmpfs", small, "tmpfs", 0, "size=64k") != 0) {
		print_message("skipped: no small file system can be mounted here: %s\n", strerror(errno));
		rmdir(small);
		skip();
	}
	const char *path = in_folder("small/full.kmt");
	struct kmt_writer *writer = kmt_create(path, &plain_origin, NULL, 0, &error);
	assert_non_null(writer);
	uint64_t random = 1;
	bool ok = true;
	for (uint32_t i = 0; i < 200000 && ok; i++) {
		struct kmt_event event = alloc_event(i % 60000, i);
		event.address = random_next(&random) >> 8;
		ok = kmt_write_event(writer, &event, &error);
	}
	bool finished = kmt_finish(writer, NULL, ok ? &error : NULL);
	bool left = access(path, F_OK) == 0;
	assert_int_equal(umount(small), 0);
	rmdir(small);
	assert_false(finished);
	assert_false(left);
	assert_non_null(strstr(error.text, path));
	assert_non_null(strstr(error.text, strerror(ENOSPC)));
}

/* ------------------------------------------------------------------------------------------------ damage */

static void test_truncated_anywhere(void **state)
{
	(void)state;
	const char *path = in_folder("cut.kmt");
	struct stream stream = small_trace(path);
	struct file file = load(path);
	for (size_t size = 0; size < file.size; size++) {
		store(path, file.bytes, size);
		expect_refused(path, "re-import or copy the file again");
	}
	store(path, file.bytes, file.size);
	assert_true(readable(path, NULL, NULL));
	unlink(path);
	free(file.bytes);
	free(stream.events);
}

static void test_trailing_garbage(void **state)
{
	(void)state;
	const char *path = in_folder("tail.kmt");
	struct stream stream = small_trace(path);
	struct file file = load(path);
	uint8_t *twice = malloc(2 * file.size);
	memcpy(twice, file.bytes, file.size);
	memcpy(twice + file.size, file.bytes, file.size);
	store(path, twice, file.size + 1);
	expect_refused(path, "something follows the trace");
	store(path, twice, 2 * file.size);
	expect_refused(path, "bytes, but");
	unlink(path);
	free(twice);
	free(file.bytes);
	free(stream.events);
}

static void test_every_bit_flipped(void **state)
{
	(void)state;
	const char *path = in_folder("flip.kmt");
	struct stream stream = small_trace(path);
	struct file file = load(path);
	assert_in_range(file.size, 300, 3000);
	for (size_t bit = 0; bit < 8 * file.size; bit++) {
		struct kml_error error = {""};
		struct stream got = {0};
		file.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		store(path, file.bytes, file.size);
		if (readable(path, &error, &got))
			fail_msg("bit %zu of byte %zu flipped, and nobody noticed", bit % 8, bit / 8);
		if (!strstr(error.text, path))
			fail_msg("\"%s\" does not name the file", error.text);
		/* What was given out before the damage was found is still what was written. */
		assert_true(got.count <= stream.count);
		for (uint32_t i = 0; i < got.count; i++)
			assert_true(kmt_same_event(&got.events[i], &stream.events[i]));
		free(got.events);
		file.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	unlink(path);
	free(file.bytes);
	free(stream.events);
}

static void test_blocks_moved(void **state)
{
	(void)state;
	const char *path = in_folder("moved.kmt");
	struct stream stream = {0};
	/* Two blocks of equal stored size: the same events but for the ids. */
	for (uint32_t i = 0; i < 2 * KMT_BLOCK_EVENTS; i++)
		add(&stream, (struct kmt_event){.op = KMT_DRAIN, .address = KMT_NO_ADDRESS, .cache = KMT_NO_CACHE});
	write_stream(path, &stream);
	struct file file = load(path);
	struct kmt_block_header header;
	uint64_t checksum;
	size_t at[5] = {KMT_PREAMBLE_BYTES};
	for (int i = 0; i < 4; i++) {
		kmt_block_header_decode(&header, &checksum, file.bytes + at[i]);
		at[i + 1] = at[i] + KMT_BLOCK_HEADER_BYTES + header.stored_bytes;
	}
	/* The second events block alone, in the place of both. */
	uint8_t *moved = malloc(file.size);
	memcpy(moved, file.bytes, at[1]);
	memcpy(moved + at[1], file.bytes + at[2], file.size - at[2]);
	size_t gap = at[2] - at[1], size = file.size - gap;
	kmt_trailer_encode(moved + size - KMT_TRAILER_BYTES, at[3] - gap, size);
	store(path, moved, size);
	expect_refused(path, "block 1 (events): out of sequence");
	unlink(path);
	free(moved);
	free(file.bytes);
	free(stream.events);
}

static void test_not_a_trace(void **state)
{
	(void)state;
	const char *path = in_folder("other");
	expect_refused(path, strerror(ENOENT));
	store(path, (const uint8_t *)"", 0);
	expect_refused(path, "empty");
	static const char text[] = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 478481/478481   #P:2\n";
	store(path, (const uint8_t *)text, sizeof text);
	expect_refused(path, "not a .kmt trace");
	struct stream stream = small_trace(path);
	struct file file = load(path);
	file.bytes[8] = 2;
	store(path, file.bytes, file.size);
	expect_refused(path, "format version 2, this program reads version 1: use a newer kmemlab");
	unlink(path);
	free(file.bytes);
	free(stream.events);
	expect_refused(folder, "not a regular file");
	expect_refused("/dev/zero", "not a regular file");
	const char *pipe_path = in_folder("pipe");
	assert_int_equal(mkfifo(pipe_path, 0600), 0);
	expect_refused(pipe_path, "not a regular file"); /* and does not wait for a writer */
	unlink(pipe_path);
}

static void test_no_permission(void **state)
{
	(void)state;
	const char *path = in_folder("secret.kmt");
	struct stream stream = small_trace(path);
	assert_int_equal(chmod(path, 0), 0);
	bool is_root = geteuid() == 0;
	/* Root reads everything: be nobody for a moment; the folder itself must let nobody through. */
	assert_int_equal(chmod(folder, 0711), 0);
	if (is_root)
		assert_int_equal(seteuid(65534), 0);
	struct kml_error error = {""};
	bool ok = readable(path, &error, NULL);
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	unlink(path);
	free(stream.events);
	assert_false(ok);
	assert_non_null(strstr(error.text, strerror(EACCES)));
	assert_non_null(strstr(error.text, path));
}

/* ------------------------------------------------------------------------------------------------ hostile */

/* A file of the given blocks with valid numbers, checksums and trailer, whatever they hold. */
struct forged {
	struct kmt_bytes file;
	size_t last;
	uint64_t blocks;
};

static void forge_begin(struct forged *forged)
{
	uint8_t preamble[KMT_PREAMBLE_BYTES];
	*forged = (struct forged){0};
	kmt_preamble_encode(preamble);
	kmt_put(&forged->file, preamble, sizeof preamble);
}

static void forge_block(struct forged *forged, uint32_t kind, uint32_t detail, const struct kmt_bytes *payload)
{
	uint8_t bytes[KMT_BLOCK_HEADER_BYTES];
	struct kmt_block_header header = {kind, detail, (uint32_t)payload->used, forged->blocks++};
	static const uint8_t nothing;
	kmt_block_header_encode(bytes, &header, payload->used ? payload->data : &nothing);
	forged->last = forged->file.used;
	kmt_put(&forged->file, bytes, sizeof bytes);
	kmt_put(&forged->file, payload->data, payload->used);
}

static void forge_packed(struct forged *forged, uint32_t kind, uint32_t detail, struct kmt_bytes *raw)
{
	struct kmt_bytes payload = {0};
	ZSTD_CCtx *context = ZSTD_createCCtx();
	assert_true(kmt_pack(&payload, raw, NULL, context));
	forge_block(forged, kind, detail, &payload);
	ZSTD_freeCCtx(context);
	kmt_bytes_free(&payload);
	kmt_bytes_free(raw);
}

/* Possible, and wide enough for what the forged blocks below hold, so that something else must refuse them. */
static const struct kmt_totals wide_totals = {.events = KMT_BLOCK_EVENTS,
					      .op_events = {[KMT_MARK] = KMT_BLOCK_EVENTS},
					      .objects = KMT_ID_SLACK,
					      .duration_ns = UINT64_MAX,
					      .top_address = UINT64_MAX,
					      .snapshots = 1};

static void forge_header(struct forged *forged)
{
	struct kmt_bytes raw = {0};
	kmt_header_encode(&raw, &plain_origin, two_caches, 2);
	forge_packed(forged, KMT_BLOCK_HEADER, 0, &raw);
}

static void forge_end(struct forged *forged, const struct kmt_totals *totals, const char *path)
{
	static const struct kmt_totals none;
	struct kmt_bytes raw = {0};
	kmt_footer_encode(&raw, totals ? totals : &none);
	forge_packed(forged, KMT_BLOCK_FOOTER, 0, &raw);
	uint8_t trailer[KMT_TRAILER_BYTES];
	kmt_trailer_encode(trailer, forged->last, forged->file.used + sizeof trailer);
	kmt_put(&forged->file, trailer, sizeof trailer);
	store(path, forged->file.data, forged->file.used);
	kmt_bytes_free(&forged->file);
}

static void expect_refused_block(uint32_t kind, uint32_t detail, const struct kmt_bytes *payload, const char *why)
{
	const char *path = in_folder("forged.kmt");
	struct forged forged;
	forge_begin(&forged);
	forge_header(&forged);
	forge_block(&forged, kind, detail, payload);
	forge_end(&forged, &wide_totals, path);
	expect_refused(path, why);
	struct kml_error error = {""};
	readable(path, &error, NULL);
	assert_non_null(strstr(error.text, "block 1 ("));
	assert_non_null(strstr(error.text, "re-import or copy the file again"));
	unlink(path);
}

/* The forger itself makes a file that is read, or the refusals below would mean nothing. */
static void test_forged_file_is_read(void **state)
{
	(void)state;
	const char *path = in_folder("forged.kmt");
	struct forged forged;
	struct kml_error error = {""};
	forge_begin(&forged);
	forge_header(&forged);
	forge_end(&forged, NULL, path);
	if (!readable(path, &error, NULL))
		fail_msg("%s", error.text);
	unlink(path);
}

enum { MODE_RAW, MODE_ZSTD, MODE_ZEROS };

static void put_part(struct kmt_bytes *payload, uint64_t size, uint8_t mode, uint64_t stored)
{
	kmt_put_varint(payload, size);
	kmt_put_u8(payload, mode);
	if (mode != MODE_ZEROS)
		kmt_put_varint(payload, stored);
}

static void test_absurd_lengths(void **state)
{
	(void)state;
	static const struct {
		uint64_t size, stored;
		uint8_t mode;
		const char *why;
	} parts[] = {
		{UINT64_MAX, 0, MODE_ZEROS, "longer than the format allows"},
		{UINT64_C(1) << 40, 10, MODE_ZSTD, "longer than the format allows"},
		{KMT_COLUMN_BYTES_MAX + 1, 0, MODE_ZEROS, "longer than the format allows"},
		{100, UINT64_MAX, MODE_RAW, "cut short"},
		{100, UINT64_C(1) << 63, MODE_ZSTD, "cut short"},
		{100, 99, MODE_RAW, "cut short"},
		{100, 0, MODE_RAW, "another length than it states"},
		{100, 0, MODE_ZSTD, "another length than it states"},
		{100, 0, 3, "unknown way"},
		{100, 0, 255, "unknown way"},
	};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		struct kmt_bytes payload = {0};
		put_part(&payload, parts[i].size, parts[i].mode, parts[i].stored);
		expect_refused_block(KMT_BLOCK_EVENT, 1, &payload, parts[i].why);
		kmt_bytes_free(&payload);
	}
	struct kmt_bytes snapshot = {0};
	put_part(&snapshot, KMT_SNAPSHOT_BYTES_MAX + 1, MODE_ZEROS, 0);
	expect_refused_block(KMT_BLOCK_SNAPSHOT, KMT_SNAPSHOT_SLABINFO, &snapshot, "longer than the format allows");
	expect_refused_block(KMT_BLOCK_SNAPSHOT, KMT_SNAPSHOT_KINDS, &snapshot, "unknown kind");
	kmt_bytes_free(&snapshot);
	struct kmt_bytes empty = {0};
	expect_refused_block(KMT_BLOCK_EVENT, 1, &empty, "cut short");
	expect_refused_block(KMT_BLOCK_EVENT, 0, &empty, "impossible number of events");
	expect_refused_block(KMT_BLOCK_EVENT, KMT_BLOCK_EVENTS + 1, &empty, "impossible number of events");
	expect_refused_block(KMT_BLOCK_EVENT, UINT32_MAX, &empty, "impossible number of events");
	expect_refused_block(KMT_BLOCK_HEADER, 0, &empty, "a second header");
	expect_refused_block(KMT_BLOCK_KINDS, 0, &empty, "unknown kind of block");
	expect_refused_block(KMT_BLOCK_FOOTER, 0, &empty, "not where the trailer says");
}

/* A zstd frame that would grow to gigabytes: refused without growing. */
static void test_compression_bomb(void **state)
{
	(void)state;
	size_t size = 64u << 20;
	void *zeros = calloc(1, size);
	size_t bound = ZSTD_compressBound(size);
	void *packed = malloc(bound);
	size_t stored = ZSTD_compress(packed, bound, zeros, size, 3);
	struct kmt_bytes payload = {0};
	put_part(&payload, 1000, MODE_ZSTD, stored);
	kmt_put(&payload, packed, stored);
	expect_refused_block(KMT_BLOCK_EVENT, 1, &payload, "another length than it states");
	kmt_bytes_free(&payload);
	free(packed);
	free(zeros);
}

/* One events block of given columns. */
static void expect_refused_columns(struct kmt_columns *columns, uint32_t events, const char *why)
{
	struct kmt_bytes payload = {0};
	ZSTD_CCtx *context = ZSTD_createCCtx();
	for (enum kmt_column column = 0; column < KMT_COLUMNS; column++) {
		assert_true(kmt_pack(&payload, &columns->column[column], NULL, context));
		kmt_bytes_free(&columns->column[column]);
	}
	ZSTD_freeCCtx(context);
	expect_refused_block(KMT_BLOCK_EVENT, events, &payload, why);
	kmt_bytes_free(&payload);
}

/* The columns of one allocation, with one column replaced by the bytes given. */
static void expect_refused_column(enum kmt_column column, const void *bytes, size_t size, const char *why)
{
	struct kmt_model model;
	struct kmt_columns columns = {0};
	struct kmt_event event = alloc_event(0, 7);
	assert_true(kmt_model_init(&model, 2, true));
	assert_true(kmt_columns_encode(&model, &columns, &event, 1));
	kmt_model_free(&model);
	columns.column[column].used = 0;
	kmt_put(&columns.column[column], bytes, size);
	expect_refused_columns(&columns, 1, why);
}

#define REFUSED(column, bytes, why) expect_refused_column(column, bytes, sizeof(bytes) - 1, why)

static void test_hostile_columns(void **state)
{
	(void)state;
#define HUGE "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
	REFUSED(KMT_COLUMN_TIME, "\x02" HUGE, "the time overflows");
	REFUSED(KMT_COLUMN_TIME, "", "\"time\" is cut short");
	REFUSED(KMT_COLUMN_TIME, "\x01\x01\x01", "\"time\" is too long");
	REFUSED(KMT_COLUMN_TIME, "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "\"time\" is cut short"); /* 70 bits */
	REFUSED(KMT_COLUMN_CPU, "\x04", "the trace has 4 cpus");
	REFUSED(KMT_COLUMN_CPU, HUGE, "the trace has 4 cpus");
	REFUSED(KMT_COLUMN_CPU, "", "\"cpu\" is cut short");
	REFUSED(KMT_COLUMN_SHAPE, "\x01", "shape 1 of 0");
	REFUSED(KMT_COLUMN_SHAPE, HUGE, "shape 18446744073709551615 of 0");
	REFUSED(KMT_COLUMN_ALLOC_ID, "\x00", "beyond the end of its list"); /* the newest of an empty list */
	REFUSED(KMT_COLUMN_ALLOC_ID, "\x01", "beyond the end of its list");
	REFUSED(KMT_COLUMN_ALLOC_ID, "\x02", "beyond the end of its list");
	REFUSED(KMT_COLUMN_ALLOC_ID, "\xf7", "beyond the end of its list");
	REFUSED(KMT_COLUMN_ALLOC_ID, "", "cut short");
	REFUSED(KMT_COLUMN_ADDRESS, "\x00", "recent address 0 of 0");
	REFUSED(KMT_COLUMN_ADDRESS_NEW, "", "\"new address\" is cut short");
	REFUSED(KMT_COLUMN_ADDRESS_NEW, "\x01", "recorded as not recorded");
	REFUSED(KMT_COLUMN_ADDRESS_NEW, "\x03", "beyond the end of memory");
	REFUSED(KMT_COLUMN_ID, "\x01", "\"id\" is too long");
	/* op, implied, cache + 1, size, granted, flags, order, alignment */
	REFUSED(KMT_COLUMN_SHAPE_NEW, "", "cut short");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x0e\x00\x00\x01\x00\x00\x00\x00", "unknown operation");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\xff\x00\x00\x01\x00\x00\x00\x00", "unknown operation");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x00\x01\x00\x01\x00\x00\x00\x00", "implies what it cannot");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x01\x30\x00\x01\x00\x00\x00\x00", "implies what it cannot");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x01\x40\x00\x01\x00\x00\x00\x00", "implies what it cannot");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x00\x00\x03\x01\x00\x00\x00\x00", "unknown operation, cache");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x00\x00\x00\x01\x00\x80\x80\x04\x00\x00", "unknown operation, cache, flag");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x02\x00\x00\x01\x00\x00\x40\x00", "unknown operation, cache, flag or order");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x02\x00\x00\x01\x00\x00\xff\x00", "unknown operation, cache, flag or order");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x00\x00\x00\x00\x00\x00\x00\x00", "of 0 bytes");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x00\x00\x00\x01\x00\x80\x80\x01\x00\x00", "unknown flags 0x4000");
	REFUSED(KMT_COLUMN_SHAPE_NEW, "\x00\x00\x00\x01\x00\x00\x00\x40", "2^64");
}

static void test_hostile_ids(void **state)
{
	(void)state;
	static const uint64_t ids[] = {65536, KMT_OBJECTS_MAX, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX};
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		struct kmt_model model;
		struct kmt_columns columns = {0};
		struct kmt_event event = alloc_event(5, 0);
		assert_true(kmt_model_init(&model, 2, true));
		assert_true(kmt_columns_encode(&model, &columns, &event, 1));
		kmt_model_free(&model);
		columns.column[KMT_COLUMN_ID].used = 0;
		kmt_put_varint(&columns.column[KMT_COLUMN_ID], ids[i]);
		expect_refused_columns(&columns, 1, "ids must be dense");
	}
}

static void test_wrong_totals(void **state)
{
	(void)state;
	const char *path = in_folder("totals.kmt");
	static const struct {
		struct kmt_totals totals;
		const char *why;
	} lies[] = {
		{{.events = 1}, "its totals are impossible"},
		{{.warm_events = 1}, "its totals are impossible"},
		{{.snapshots = 1000}, "its totals are impossible"},
		{{.events = UINT64_MAX, .op_events = {[KMT_MARK] = UINT64_MAX}}, "its totals are impossible"},
		{{.events = 9, .op_events = {[KMT_MARK] = UINT64_MAX, [KMT_REAP] = 10}}, "its totals are impossible"},
		{{.objects = KMT_ID_SLACK + 1}, "its totals are impossible"},
		{{.objects = UINT64_MAX}, "its totals are impossible"},
		{{.op_events = {[KMT_MARK] = 1}}, "its totals are impossible"},
		{{.events = 1, .op_events = {[KMT_MARK] = 1}}, "its totals are not those of the events"},
		{{.objects = 1}, "its totals are not those of the events"},
		{{.duration_ns = 1}, "its totals are not those of the events"},
		{{.snapshots = 1}, "its totals are not those of the events"},
		{{.top_address = 1}, "its totals are not those of the events"},
	};
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		struct forged forged;
		forge_begin(&forged);
		forge_header(&forged);
		forge_end(&forged, &lies[i].totals, path);
		expect_refused(path, lies[i].why);
	}
	unlink(path);
}

/* Callers size their tables by the footer: an event beyond what it states must not reach them. */
static void test_events_beyond_the_totals(void **state)
{
	(void)state;
	const char *path = in_folder("beyond.kmt");
	const struct kmt_totals right = {.events = 2,
					 .op_events = {[KMT_ALLOC] = 2},
					 .objects = 2,
					 .duration_ns = 9,
					 .top_address = 0x100000 + 2 * 64};
	for (int lie = 0; lie < 5; lie++) {
		struct kmt_model model;
		struct kmt_columns columns = {0};
		const struct kmt_event events[] = {alloc_event(0, 3), alloc_event(1, 9)};
		assert_true(kmt_model_init(&model, 2, true));
		assert_true(kmt_columns_encode(&model, &columns, events, 2));
		kmt_model_free(&model);
		struct kmt_bytes payload = {0};
		ZSTD_CCtx *context = ZSTD_createCCtx();
		for (enum kmt_column column = 0; column < KMT_COLUMNS; column++) {
			assert_true(kmt_pack(&payload, &columns.column[column], NULL, context));
			kmt_bytes_free(&columns.column[column]);
		}
		ZSTD_freeCCtx(context);
		struct kmt_totals totals = right;
		totals.events -= lie == 1;
		totals.op_events[KMT_ALLOC] -= lie == 1;
		totals.objects -= lie == 2;
		totals.duration_ns -= lie == 3;
		totals.top_address -= lie == 4;
		struct forged forged;
		forge_begin(&forged);
		forge_header(&forged);
		forge_block(&forged, KMT_BLOCK_EVENT, 2, &payload);
		forge_end(&forged, &totals, path);
		kmt_bytes_free(&payload);
		struct kml_error error = {""};
		struct stream got = {0};
		assert_int_equal(readable(path, &error, &got), lie == 0);
		assert_int_equal(got.count, lie == 0 ? 2 : 0);
		if (lie && !strstr(error.text, "than the footer states"))
			fail_msg("\"%s\"", error.text);
		free(got.events);
	}
	unlink(path);
}

/* Header and footer blocks of random bytes, and good ones with bytes changed; checksums are right. */
static void test_random_header_and_footer(void **state)
{
	(void)state;
	const char *path = in_folder("random.kmt");
	uint64_t random = 42;
	for (int round = 0; round < 3000; round++) {
		struct forged forged;
		struct kml_error error = {""};
		struct kmt_bytes header = {0}, footer = {0};
		static const struct kmt_totals none;
		kmt_header_encode(&header, &plain_origin, two_caches, 2);
		kmt_footer_encode(&footer, &none);
		struct kmt_bytes *victim = round % 2 ? &header : &footer;
		for (uint64_t changes = 1 + random_next(&random) % 3; changes; changes--)
			victim->data[random_next(&random) % victim->used] = (uint8_t)random_next(&random);
		if (round % 5 == 0)
			victim->used = random_next(&random) % victim->used;
		forge_begin(&forged);
		forge_packed(&forged, KMT_BLOCK_HEADER, 0, &header);
		forge_packed(&forged, KMT_BLOCK_FOOTER, 0, &footer);
		uint8_t trailer[KMT_TRAILER_BYTES];
		kmt_trailer_encode(trailer, forged.last, forged.file.used + sizeof trailer);
		kmt_put(&forged.file, trailer, sizeof trailer);
		store(path, forged.file.data, forged.file.used);
		kmt_bytes_free(&forged.file);
		if (!readable(path, &error, NULL))
			assert_non_null(strstr(error.text, path));
	}
	unlink(path);
}

/* A footer of a version that counted fewer operations or quirks: those it does not know are none. Of one that counts
 * more: refused. */
static void expect_footer(uint64_t ops, uint64_t quirks)
{
	enum { MEMBERS_BEFORE_OPS = 11 };
	struct kmt_bytes footer = {0};
	struct kmt_totals totals;
	struct kml_error error = {""};
	memset(&totals, 0xff, sizeof totals);
	kmt_put_varint(&footer, ops);
	kmt_put_varint(&footer, quirks);
	for (uint64_t i = 0; i < MEMBERS_BEFORE_OPS; i++)
		kmt_put_varint(&footer, i);
	for (uint64_t i = 0; i < ops; i++)
		kmt_put_varint(&footer, 500 + i);
	for (uint64_t i = 0; i < quirks; i++)
		kmt_put_varint(&footer, 1000 + i);
	bool known = kmt_footer_decode(&footer, &totals, &error);
	assert_int_equal(known, ops <= KMT_OP_COUNT && quirks <= KMT_QUIRK_COUNT);
	for (uint64_t i = 0; known && i < KMT_OP_COUNT; i++)
		assert_int_equal(totals.op_events[i], i < ops ? 500 + i : 0);
	for (uint64_t i = 0; known && i < KMT_QUIRK_COUNT; i++)
		assert_int_equal(totals.quirks[i], i < quirks ? 1000 + i : 0);
	kmt_bytes_free(&footer);
}

static void test_footers_of_other_versions(void **state)
{
	(void)state;
	for (uint64_t ops = KMT_OP_COUNT - 2; ops <= KMT_OP_COUNT + 1; ops++)
		for (uint64_t quirks = KMT_QUIRK_COUNT - 2; quirks <= KMT_QUIRK_COUNT + 1; quirks++)
			expect_footer(ops, quirks);
}

/* Columns of a good trace with bytes changed, checksums right: an error, or events that are all valid. */
static void test_random_columns(void **state)
{
	(void)state;
	const char *path = in_folder("random.kmt");
	uint64_t random = 7, given_out = 0;
	for (int round = 0; round < 4000; round++) {
		struct kmt_model model;
		struct kmt_columns columns = {0};
		struct kmt_event events[60];
		uint64_t time_ns = 0;
		uint32_t count = (uint32_t)(1 + random_next(&random) % 60);
		for (uint32_t i = 0; i < count; i++)
			events[i] = random_event(&random, time_ns += random_next(&random) % 100, 8);
		assert_true(kmt_model_init(&model, 2, true));
		assert_true(kmt_columns_encode(&model, &columns, events, count));
		kmt_model_free(&model);
		for (uint64_t changes = 1 + random_next(&random) % 4; changes; changes--) {
			struct kmt_bytes *victim = &columns.column[random_next(&random) % KMT_COLUMNS];
			if (victim->used)
				victim->data[random_next(&random) % victim->used] = (uint8_t)random_next(&random);
		}
		struct kmt_bytes payload = {0};
		ZSTD_CCtx *context = ZSTD_createCCtx();
		for (enum kmt_column column = 0; column < KMT_COLUMNS; column++) {
			assert_true(kmt_pack(&payload, &columns.column[column], NULL, context));
			kmt_bytes_free(&columns.column[column]);
		}
		ZSTD_freeCCtx(context);
		struct forged forged;
		forge_begin(&forged);
		forge_header(&forged);
		forge_block(&forged, KMT_BLOCK_EVENT, count, &payload);
		forge_end(&forged, &wide_totals, path);
		kmt_bytes_free(&payload);

		struct kml_error error = {""};
		struct stream got = {0};
		assert_false(readable(path, &error, &got)); /* the footer's totals are others */
		struct kmt_tally tally = {.origin = &plain_origin, .cache_count = 2};
		given_out += got.count;
		for (uint32_t i = 0; i < got.count; i++) {
			if (!kmt_event_check(&tally, &got.events[i], &error))
				fail_msg("an invalid event was given out: %s", error.text);
			kmt_tally_count(&tally, &got.events[i]);
		}
		free(got.events);
	}
	assert_true(given_out > 1000); /* not all were refused */
	unlink(path);
}

/* Reading stays within a few megabytes, however long the trace. */
static void test_constant_memory(void **state)
{
	(void)state;
	struct kml_error error = {""};
	const char *path = in_folder("long.kmt");
	struct kmt_writer *writer = kmt_create(path, &plain_origin, NULL, 0, &error);
	for (uint32_t i = 0; i < 2000000; i++) {
		struct kmt_event event = i % 2 ? free_event(i / 2 % 100, i) : alloc_event(i / 2 % 100, i);
		assert_true(kmt_write_event(writer, &event, &error));
	}
	assert_true(kmt_finish(writer, NULL, &error));
	struct rusage before, after;
	getrusage(RUSAGE_SELF, &before);
	assert_true(readable(path, &error, NULL));
	getrusage(RUSAGE_SELF, &after);
	unlink(path);
	assert_true(after.ru_maxrss - before.ru_maxrss < 16 * 1024);
}

typedef const char *(*name_of)(unsigned value);

static const char *misuse_name(unsigned misuse)
{
	return kmt_misuse_name(misuse);
}

static const char *op_name(unsigned op)
{
	return kmt_op_name(op);
}

static const char *quirk_name(unsigned quirk)
{
	return kmt_quirk_name(quirk);
}

static const char *snapshot_name(unsigned kind)
{
	return kmt_snapshot_name(kind);
}

/* Every value has a name of its own; beyond them there is none. */
static void test_names(void **state)
{
	(void)state;
	static const struct {
		name_of name;
		unsigned count;
	} words[] = {{op_name, KMT_OP_COUNT},
		     {quirk_name, KMT_QUIRK_COUNT},
		     {snapshot_name, KMT_SNAPSHOT_KINDS},
		     {misuse_name, KMT_MISUSE_KINDS}};
	for (size_t word = 0; word < 4; word++) {
		for (unsigned i = 0; i < words[word].count; i++) {
			assert_string_not_equal(words[word].name(i), "unknown");
			for (unsigned other = 0; other < i; other++)
				assert_string_not_equal(words[word].name(i), words[word].name(other));
		}
		assert_string_equal(words[word].name(words[word].count), "unknown");
	}
	for (enum kmt_quirk quirk = 0; quirk < KMT_QUIRK_COUNT; quirk++)
		assert_true(strlen(kmt_quirk_help(quirk)) > 10);
}

/* The traces that come with the source: readable to the end, at most 4 bytes a recorded event, at most 1.5 MB. */
static void test_shipped_traces(void **state)
{
	(void)state;
	char pattern[4096];
	const char *source = getenv("KMEMLAB_SOURCE");
	glob_t found;
	snprintf(pattern, sizeof pattern, "%s/traces/*.kmt", source ? source : ".");
	if (glob(pattern, 0, NULL, &found) != 0) {
		print_message("skipped: no %s\n", pattern);
		skip();
	}
	for (size_t i = 0; i < found.gl_pathc; i++) {
		struct kml_error error = {""};
		struct stat status;
		const char *path = found.gl_pathv[i];
		if (!readable(path, &error, NULL))
			fail_msg("%s", error.text);
		assert_int_equal(stat(path, &status), 0);
		struct kmt_reader *reader = open_trace(path);
		const struct kmt_totals *totals = kmt_reader_totals(reader);
		assert_true((uint64_t)status.st_size <= 4 * (totals->events - totals->warm_events));
		assert_true(status.st_size <= 1500000);
		kmt_close(reader);
	}
	globfree(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_no_event),
		cmocka_unit_test(test_one_event),
		cmocka_unit_test(test_every_op_and_flag),
		cmocka_unit_test(test_extreme_values),
		cmocka_unit_test(test_block_boundaries),
		cmocka_unit_test(test_foreign_frees),
		cmocka_unit_test(test_random_streams),
		cmocka_unit_test(test_events_in_memory),
		cmocka_unit_test(test_no_events_in_memory),
		cmocka_unit_test(test_more_shapes_than_fit),
		cmocka_unit_test(test_origin_and_caches),
		cmocka_unit_test(test_bad_header_refused_by_writer),
		cmocka_unit_test(test_totals),
		cmocka_unit_test(test_hash_is_of_the_bytes),
		cmocka_unit_test(test_snapshots_in_their_place),
		cmocka_unit_test(test_bad_snapshots_refused_by_writer),
		cmocka_unit_test(test_bad_events_refused_by_writer),
		cmocka_unit_test(test_abandon_leaves_nothing),
		cmocka_unit_test(test_unwritable_place),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_truncated_anywhere),
		cmocka_unit_test(test_trailing_garbage),
		cmocka_unit_test(test_every_bit_flipped),
		cmocka_unit_test(test_blocks_moved),
		cmocka_unit_test(test_not_a_trace),
		cmocka_unit_test(test_no_permission),
		cmocka_unit_test(test_forged_file_is_read),
		cmocka_unit_test(test_absurd_lengths),
		cmocka_unit_test(test_compression_bomb),
		cmocka_unit_test(test_hostile_columns),
		cmocka_unit_test(test_hostile_ids),
		cmocka_unit_test(test_wrong_totals),
		cmocka_unit_test(test_footers_of_other_versions),
		cmocka_unit_test(test_events_beyond_the_totals),
		cmocka_unit_test(test_random_header_and_footer),
		cmocka_unit_test(test_random_columns),
		cmocka_unit_test(test_constant_memory),
		cmocka_unit_test(test_shipped_traces),
	};
	return cmocka_run_group_tests_name("kmt", tests, make_folder, remove_folder);
}
