/* testing.h - small traces for the tests of this folder, written event by event. */
#ifndef KMEMLAB_WORKLOADS_TESTING_H
#define KMEMLAB_WORKLOADS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "traces/kmt/kmt.h"

enum { TEST_PAGE_BYTES = 4096 };

struct test_trace {
	char path[3000];
	struct kmt_writer *writer;
	uint64_t time_ns;
};

static inline const char *test_output(void)
{
	const char *directory = getenv("KMEMLAB_TEST_OUTPUT");
	return directory && *directory ? directory : "/tmp";
}

/* Slots of 64 bytes, 64 in a slab of one page, and of 1000 in 1024, 8 in a slab of two. */
static const struct kmt_cache test_caches[] = {
	{.name = "small", .object_bytes = 64, .slot_bytes = 64, .objects_per_slab = 64, .pages_per_slab = 1},
	{.name = "large", .object_bytes = 1000, .slot_bytes = 1024, .objects_per_slab = 8, .pages_per_slab = 2},
};
enum { TEST_CACHES = 2 };

static inline void test_trace_begin_with(struct test_trace *trace, const char *name, const struct kmt_cache *caches)
{
	struct kml_error error;
	const struct kmt_origin origin = {.source = "test",
					  .kernel = "",
					  .command = "",
					  .clock = "mono",
					  .note = "",
					  .cpu_count = 2,
					  .page_bytes = TEST_PAGE_BYTES};
	snprintf(trace->path, sizeof trace->path, "%s/%s-%ld.kmt", test_output(), name, (long)getpid());
	trace->time_ns = 0;
	trace->writer = kmt_create(trace->path, &origin, caches, TEST_CACHES, &error);
	if (!trace->writer)
		fail_msg("%s", error.text);
}

static inline void test_trace_begin(struct test_trace *trace, const char *name)
{
	test_trace_begin_with(trace, name, test_caches);
}

static inline void test_trace_add(struct test_trace *trace, struct kmt_event event)
{
	struct kml_error error;
	event.time_ns = trace->time_ns;
	trace->time_ns += 1000;
	if (!kmt_write_event(trace->writer, &event, &error))
		fail_msg("%s", error.text);
}

#define NO_PLACE .address = KMT_NO_ADDRESS

static inline void add_object(struct test_trace *trace, uint32_t id, uint64_t size_bytes)
{
	test_trace_add(trace, (struct kmt_event){.op = KMT_ALLOC,
						 .object = id,
						 .size_bytes = size_bytes,
						 .cache = KMT_NO_CACHE,
						 .flags = KML_KMALLOC,
						 NO_PLACE});
}

static inline void add_pages(struct test_trace *trace, uint32_t id, uint8_t order, uint16_t flags)
{
	test_trace_add(trace, (struct kmt_event){.op = KMT_PAGE_ALLOC,
						 .object = id,
						 .size_bytes = (uint64_t)TEST_PAGE_BYTES << order,
						 .order = order,
						 .cache = KMT_NO_CACHE,
						 .flags = KML_PAGES | flags,
						 NO_PLACE});
}

static inline void free_object(struct test_trace *trace, uint32_t id)
{
	test_trace_add(trace, (struct kmt_event){.op = KMT_FREE, .object = id, .cache = KMT_NO_CACHE, NO_PLACE});
}

static inline void free_pages(struct test_trace *trace, uint32_t id, uint8_t order, uint16_t flags)
{
	test_trace_add(trace, (struct kmt_event){.op = KMT_PAGE_FREE,
						 .object = id,
						 .order = order,
						 .size_bytes = (uint64_t)TEST_PAGE_BYTES << order,
						 .cache = KMT_NO_CACHE,
						 .flags = KML_PAGES | flags,
						 NO_PLACE});
}

static inline void test_trace_snapshot(struct test_trace *trace, enum kmt_snapshot_kind kind, const char *text)
{
	struct kml_error error;
	struct kmt_snapshot snapshot = {
		.kind = kind, .time_ns = trace->time_ns, .label = "", .text = text, .text_bytes = strlen(text)};
	if (!kmt_write_snapshot(trace->writer, &snapshot, &error))
		fail_msg("%s", error.text);
}

static inline void test_trace_write(struct test_trace *trace)
{
	struct kml_error error;
	const struct kmt_totals known = {0};
	if (!kmt_finish(trace->writer, &known, &error))
		fail_msg("%s", error.text);
}

static inline struct kmt_reader *test_trace_open(const struct test_trace *trace)
{
	struct kml_error error;
	struct kmt_reader *reader = kmt_open(trace->path, &error);
	if (!reader)
		fail_msg("%s", error.text);
	return reader;
}

static inline struct kmt_reader *test_trace_end(struct test_trace *trace)
{
	test_trace_write(trace);
	return test_trace_open(trace);
}

static inline void test_trace_close(struct test_trace *trace, struct kmt_reader *reader)
{
	kmt_close(reader);
	unlink(trace->path);
}

/* The same on every machine. */
static inline uint64_t test_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Objects and pages that come and go at random: ids below `ids`, objects of up to `most_bytes`. */
static inline void add_churn(struct test_trace *trace, uint32_t events, uint32_t ids, uint64_t most_bytes,
			     uint64_t seed)
{
	enum { DEAD, OBJECT, PAGES };
	uint8_t *state = calloc(ids, 1);
	assert_non_null(state);
	for (uint32_t i = 0; i < events; i++) {
		uint32_t id = (uint32_t)(test_random(&seed) % ids);
		uint8_t order = (uint8_t)(id % 3);
		if (state[id] == OBJECT) {
			free_object(trace, id);
			state[id] = DEAD;
		} else if (state[id] == PAGES) {
			free_pages(trace, id, order, 0);
			state[id] = DEAD;
		} else if (test_random(&seed) % 4 == 0) {
			add_pages(trace, id, order, 0);
			state[id] = PAGES;
		} else {
			add_object(trace, id, 1 + test_random(&seed) % most_bytes);
			state[id] = OBJECT;
		}
	}
	free(state);
}

#endif
