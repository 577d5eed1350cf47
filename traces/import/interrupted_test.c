/*
 * interrupted_test.c - a boot stream of SLUB, line by line: which allocations are put back in front of the interrupt
 * that is traced before them. Slabs of one page with two objects of 2048 bytes.
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

#include "kmemlab/support/error.h"
#include "traces/import/import.h"

#define BASE UINT64_C(0xffff888000000000)
enum { TASK, SOFT };

static char text[16384];
static int lines;

static void line(int context, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void line(int context, const char *format, ...)
{
	size_t used = strlen(text);
	va_list arguments;

	used += (size_t)snprintf(text + used, sizeof(text) - used,
				 " task-47  [000] %s  1.%06d: ", context == TASK ? "....." : "..s..", ++lines);
	va_start(arguments, format);
	used += (size_t)vsnprintf(text + used, sizeof(text) - used, format, arguments);
	va_end(arguments);
	snprintf(text + used, sizeof(text) - used, "\n");
}

static void begin(void)
{
	snprintf(text, sizeof(text),
		 "# tracer: nop\n<early>-0  [000] d....  0.000001: mm_page_free: page=ffffea0000000000 pfn=0x100 "
		 "order=8\n");
	lines = 0;
}

static void slab(int context, unsigned pfn)
{
	line(context, "mm_page_alloc: page=ffffea0000000000 pfn=0x%x order=0 migratetype=0 gfp_flags=GFP_KERNEL", pfn);
	line(context, "slab_page_alloc: pfn=0x%x order=0 objects=2 size=2048 off=0 name=c", pfn);
}

static void alloc(int context, unsigned pfn, unsigned slot)
{
	line(context,
	     "kmem_cache_alloc: call_site=f+0x1/0x2 ptr=%" PRIx64
	     " bytes_req=2048 bytes_alloc=2048 gfp_flags=GFP_KERNEL node=-1 accounted=false name=c",
	     BASE + pfn * UINT64_C(4096) + slot * UINT64_C(2048));
}

static void release(int context, unsigned pfn, unsigned slot)
{
	line(context, "kmem_cache_free: call_site=f+0x1/0x2 ptr=%" PRIx64 " name=c",
	     BASE + pfn * UINT64_C(4096) + slot * UINT64_C(2048));
}

/* "A<pfn>.<slot> F..." of the objects' events in the order of the .kmt. */
static const char *imported(void)
{
	static char order[1024];
	static const char slabinfo[] =
		"slabinfo - version: 2.1\n# name\nc 0 0 2048 2 1 : tunables 0 0 0 : slabdata 0 0 0\n";
	struct kml_error error = {{0}};
	char source[] = "/tmp/interrupted-XXXXXX", target[64];
	const struct import_options options = {.quiet = true, .strict = true};
	struct import *import = import_create(&options);
	int file = mkstemp(source);

	assert_true(file >= 0);
	assert_int_equal(write(file, text, strlen(text)), (ssize_t)strlen(text));
	close(file);
	snprintf(target, sizeof(target), "%s.kmt", source);
	struct import_input *input = import_input_open(source, &error);
	if (import == NULL || input == NULL || !import_any(import, input, &error) ||
	    !import_add_snapshot(import, KMT_SNAPSHOT_SLABINFO, 2000000000u, "0000", slabinfo, strlen(slabinfo),
				 &error) ||
	    !import_write(import, target, &error))
		fail_msg("%s", error.text);
	import_input_close(input);
	import_destroy(import);
	struct kmt_reader *reader = kmt_open(target, &error);
	struct kmt_item item;
	order[0] = '\0';
	while (kmt_next(reader, &item, &error) == KMT_ITEM_EVENTS || item.kind == KMT_ITEM_SNAPSHOT)
		for (uint32_t i = 0; item.kind == KMT_ITEM_EVENTS && i < item.event_count; i++) {
			const struct kmt_event *event = &item.events[i];
			if (event->op != KMT_ALLOC && event->op != KMT_FREE)
				continue;
			size_t used = strlen(order);
			snprintf(order + used, sizeof(order) - used, "%s%c%" PRIx64 ".%" PRIu64, used ? " " : "",
				 event->op == KMT_ALLOC ? 'A' : 'F', event->address / 4096,
				 event->address % 4096 / 2048);
		}
	kmt_close(reader);
	unlink(source);
	unlink(target);
	return order;
}

/* Two full slabs, 110 and 111. */
static void begin_with_two_slabs(void)
{
	begin();
	for (unsigned pfn = 0x110; pfn < 0x112; pfn++) {
		slab(TASK, pfn);
		alloc(TASK, pfn, 0);
		alloc(TASK, pfn, 1);
	}
}

/* A new slab was taken, so the allocation had found nothing free: before the interrupt freed something. */
static void an_allocation_that_took_a_page_comes_first(void **state)
{
	(void)state;
	begin_with_two_slabs();
	slab(TASK, 0x112);
	release(SOFT, 0x110, 0);
	alloc(TASK, 0x112, 0);
	assert_string_equal(imported(), "A110.0 A110.1 A111.0 A111.1 A112.0 F110.0");
}

/* The interrupt made 110 the newest partial slab; an allocation after it could not change to 111. */
static void an_allocation_that_passes_by_the_newest_partial_slab_comes_first(void **state)
{
	(void)state;
	begin_with_two_slabs();
	slab(TASK, 0x112);
	alloc(TASK, 0x112, 0);
	alloc(TASK, 0x112, 1);
	release(TASK, 0x111, 0);
	line(TASK, "mm_page_alloc: page=ffffea0000000000 pfn=0x113 order=0 migratetype=0 gfp_flags=GFP_KERNEL");
	release(SOFT, 0x110, 0);
	release(SOFT, 0x110, 1);
	alloc(TASK, 0x111, 0);
	assert_string_equal(imported(), "A110.0 A110.1 A111.0 A111.1 A112.0 A112.1 F111.0 A111.0 F110.0 F110.1");
}

/* 111 is the cpu's slab: what the interrupt freed there comes before its other free objects. Of two allocations each
 * is judged by itself. */
static void an_allocation_that_passes_by_what_was_freed_last_comes_first(void **state)
{
	(void)state;
	begin();
	slab(TASK, 0x110);
	alloc(TASK, 0x110, 0);
	release(SOFT, 0x110, 0);
	alloc(TASK, 0x110, 1);
	alloc(TASK, 0x110, 0);
	assert_string_equal(imported(), "A110.0 A110.1 F110.0 A110.0");
}

/* What agrees with the order of the trace stays, and so does what another task does. */
static void what_is_not_proven_stays(void **state)
{
	(void)state;
	begin_with_two_slabs();
	release(SOFT, 0x110, 0);
	alloc(TASK, 0x110, 0); /* the newest partial slab */
	release(SOFT, 0x111, 1);
	alloc(TASK, 0x111, 1); /* freed just now */
	assert_string_equal(imported(), "A110.0 A110.1 A111.0 A111.1 F110.0 A110.0 F111.1 A111.1");
	begin_with_two_slabs();
	slab(TASK, 0x112);
	release(TASK, 0x110, 0); /* no interrupt */
	alloc(TASK, 0x112, 0);
	assert_string_equal(imported(), "A110.0 A110.1 A111.0 A111.1 F110.0 A112.0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_allocation_that_took_a_page_comes_first),
		cmocka_unit_test(an_allocation_that_passes_by_the_newest_partial_slab_comes_first),
		cmocka_unit_test(an_allocation_that_passes_by_what_was_freed_last_comes_first),
		cmocka_unit_test(what_is_not_proven_stays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
