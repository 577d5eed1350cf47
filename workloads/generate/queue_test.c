/*
 * queue_test.c - the queue at overflow: examples worked out by hand, the published procedure's figures, and the stream
 * against the figures that were taken without one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workloads/generate/generate.h"
#include "workloads/generate/queue.h"

static struct queue_result run(const char *spec, const char *against)
{
	struct kml_error error;
	struct queue_result result;
	if (!queue_run(spec, against, &result, &error))
		fail_msg("%s", error.text);
	return result;
}

/* ------------------------------------------------------------------------------------------------ by hand */

static void expect(const char *spec, uint64_t overflows, double internal, double external, double total)
{
	struct queue_result result = run(spec, "binary");
	assert_int_equal(result.overflows, overflows);
	assert_float_equal(result.internal, internal, 1e-12);
	assert_float_equal(result.external, external, 1e-12);
	assert_float_equal(result.total, total, 1e-12);
}

/*
 * Requests of one size: the arena is as full as it can be, and from then on each request overflows once and takes the
 * place of what departs. 100 units are tiled by roots of 64, 32 and 4 units.
 */
static void requests_of_one_size_by_hand(void **state)
{
	(void)state;
	expect("queue:requests=100,skip=0,arena=2k,sizes=uniform,min=64,max=64", 98, 0, 0, 0);
	expect("queue:requests=100,skip=0,arena=2k,sizes=uniform,min=33,max=33", 98, 1 - 33 / 64.0, 0, 1 - 66 / 128.0);
	expect("queue:requests=100,skip=10,arena=1600,sizes=uniform,min=33,max=33", 90, 1 - 33 / 64.0, 1 - 64 / 100.0,
	       1 - 33 / 100.0);
	expect("queue:requests=100,skip=99,arena=1,unit=1,sizes=uniform,min=1,max=1,against=binary:unit=1", 1, 0, 0, 0);
}

/* ------------------------------------------------------------------------------------------------ published */

/*
 * Internal, external and total fragmentation in percent, from a simulation of 1.2 million requests that was written
 * independently of this one, 0.2 million not counted, 65,536 units (Fibonacci 75,025).
 */
static const struct cell {
	const char *sizes, *against, *arena;
	double percent[3];
} cells[] = {
	{"sizes=uniform,max=100", "binary", "1M", {31.17, 1.71, 32.35}},
	{"sizes=uniform,max=100", "fibonacci", "1200400", {22.01, 3.31, 24.59}},
	{"sizes=uniform,max=100", "weighted", "1M", {15.47, 14.14, 27.42}},
	{"sizes=exponential,mean=500", "binary", "1M", {30.49, 5.63, 34.40}},
	{"sizes=exponential,mean=500", "fibonacci", "1200400", {22.03, 8.67, 28.79}},
	{"sizes=exponential,mean=500", "weighted", "1M", {16.71, 15.95, 29.99}},
};

enum { SEEDS = 5 };

/* Student's t of 4 degrees of freedom, 0.1 % on both sides; the other simulation counted ten times as many requests. */
static void judge(const struct cell *cell, uint32_t kind, const double *percent)
{
	static const double t = 8.610, rounding = 0.005;
	double mean = 0, square = 0;
	for (uint32_t i = 0; i < SEEDS; i++)
		mean += percent[i] / SEEDS;
	for (uint32_t i = 0; i < SEEDS; i++)
		square += (percent[i] - mean) * (percent[i] - mean) / (SEEDS - 1);
	double limit = t * sqrt(square * (1.0 / SEEDS + 0.1)) + rounding;
	if (fabs(mean - cell->percent[kind]) > limit)
		fail_msg("%s %s: figure %u is %.3f %%, not %.2f +- %.3f %%", cell->against, cell->sizes, kind, mean,
			 cell->percent[kind], limit);
}

static void the_reference_simulation_is_reproduced(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
		double percent[3][SEEDS];
		for (uint32_t seed = 0; seed < SEEDS; seed++) {
			char spec[256];
			snprintf(spec, sizeof spec, "queue:%s,arena=%s,requests=150000,skip=50000,seed=%u",
				 cells[i].sizes, cells[i].arena, seed);
			struct queue_result result = run(spec, cells[i].against);
			percent[0][seed] = 100 * result.internal;
			percent[1][seed] = 100 * result.external;
			percent[2][seed] = 100 * result.total;
		}
		for (uint32_t kind = 0; kind < 3; kind++)
			judge(&cells[i], kind, percent[kind]);
	}
}

/* ------------------------------------------------------------------------------------------------ the stream */

/* Read from the events alone. */
struct seen {
	uint64_t live_bytes, requests, overflows, last_ns, departed;
	double total; /* sum of 1 - X/M */
	bool overflowing;
	struct kmt_event alloc; /* the last event, if it was an allocation */
	bool has_alloc;
};

/* What is freed at once by the next event was refused. */
static void see(struct seen *seen, const struct kmt_event *event, double arena_bytes)
{
	if (seen->has_alloc && event->op == KMT_FREE && event->object == seen->alloc.object) {
		seen->overflows += !seen->overflowing;
		seen->total += seen->overflowing ? 0 : 1 - (double)seen->live_bytes / arena_bytes;
		seen->overflowing = true;
		seen->has_alloc = false;
		return;
	}
	if (seen->has_alloc) {
		seen->live_bytes += seen->alloc.size_bytes;
		seen->requests++;
		seen->overflowing = false;
	}
	seen->has_alloc = event->op == KMT_ALLOC;
	seen->alloc = *event;
	if (!seen->has_alloc) {
		seen->live_bytes -= event->size_bytes;
		seen->departed++;
	}
	seen->last_ns = event->time_ns;
}

static void the_stream_tells_the_same_figures(void **state)
{
	static const char spec[] = "queue:requests=20000,skip=0,arena=64k,sizes=exponential,mean=50,seed=9";
	struct kml_error error;
	struct kmt_item item;
	enum kmt_item_kind kind;
	struct seen seen = {0};
	(void)state;
	struct kmt_reader *reader = workload_open(spec, "fibonacci", &error);
	if (!reader)
		fail_msg("%s", error.text);
	assert_int_equal(kmt_reader_origin(reader)->arena_bytes, 65536);
	while ((kind = kmt_next(reader, &item, &error)) == KMT_ITEM_EVENTS)
		for (uint32_t i = 0; i < item.event_count; i++)
			see(&seen, &item.events[i], 65536);
	assert_int_equal(kind, KMT_ITEM_SNAPSHOT);
	struct queue_result result = run(spec, "fibonacci");
	char report[192];
	snprintf(report, sizeof report,
		 "%llu overflows: internal fragmentation %.2f %%, external %.2f %%, total %.2f %% in the mean",
		 (unsigned long long)result.overflows, 100 * result.internal, 100 * result.external,
		 100 * result.total);
	assert_string_equal(item.snapshot->text, report);
	kmt_close(reader);
	assert_int_equal(seen.requests + seen.has_alloc, 20000);
	assert_int_equal(seen.overflows, result.overflows);
	assert_float_equal(seen.total / (double)seen.overflows, result.total, 1e-9);
	/* Departures come at a rate of one a second for each live object: the time between two has mean 1/live. */
	double live = (double)(seen.requests - seen.departed);
	assert_true((double)seen.last_ns > 0.5e9 * (double)seen.departed / live &&
		    (double)seen.last_ns < 2e9 * (double)seen.departed / live);
}

/* ------------------------------------------------------------------------------------------------ refusals */

static void refuse(const char *spec, const char *against, const char *expected)
{
	struct kml_error error = {{0}};
	struct queue_result result;
	if (queue_run(spec, against, &result, &error))
		fail_msg("%s: taken, not refused with '%s'", spec, expected);
	if (!strstr(error.text, expected))
		fail_msg("%s: refused with '%s', not '%s'", spec, error.text, expected);
}

static void queues_that_cannot_be_are_refused_by_name(void **state)
{
	(void)state;
	refuse("long_lists", NULL, "long_lists: give the spec of a queue");
	refuse("queues:seed=1", NULL, "give the spec of a queue");
	refuse("queue:skip=100,requests=100", NULL, "queue: skip=100: use 0 to 99 (requests - 1)");
	refuse("queue:requests=0", NULL, "queue: requests=0: use a number from 1");
	refuse("queue:mean=nan", NULL, "queue: mean=nan: use a number such as 2 or 0.5 from 1");
	refuse("queue:mean=-5", NULL, "queue: mean=-5: use a number");
	refuse("queue:sizes=normal", NULL, "queue: sizes=normal: no such choice; the nearest is");
	refuse("queue:sizes=uniform,min=9,max=5", NULL, "queue: max=5: use a size from 9 (min)");
	refuse("queue:arena=0", NULL, "queue: arena=0: use a size");
	refuse("queue:unit=0", NULL, "queue: unit=0: use a size");
	refuse("queue:arena=1600,sizes=uniform,min=65,max=65", NULL,
	       "a request fails although nothing is live: give a smaller max, or a larger arena");
	refuse("queue:requests=1000,skip=0", "nop", "no overflow: ask for more requests");
	refuse("queue:seed=1", "bynary", "binary");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_of_one_size_by_hand),
		cmocka_unit_test(the_reference_simulation_is_reproduced),
		cmocka_unit_test(the_stream_tells_the_same_figures),
		cmocka_unit_test(queues_that_cannot_be_are_refused_by_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
