/*
 * steady_test.c - the load that arrives is the load that was asked for, the rate is Little's, and a long stream needs
 * no more memory than a short one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workloads/generate/generate.h"

static struct kmt_reader *open_spec(const char *spec)
{
	struct kml_error error;
	struct kmt_reader *reader = workload_open(spec, NULL, &error);
	if (!reader)
		fail_msg("%s", error.text);
	return reader;
}

typedef void visit(void *context, const struct kmt_event *event);

static void each_event(const char *spec, visit *see, void *context)
{
	struct kml_error error;
	struct kmt_item item;
	enum kmt_item_kind kind;
	struct kmt_reader *reader = open_spec(spec);
	while ((kind = kmt_next(reader, &item, &error)) == KMT_ITEM_EVENTS)
		for (uint32_t i = 0; i < item.event_count; i++)
			see(context, &item.events[i]);
	if (kind != KMT_ITEM_END)
		fail_msg("%s", error.text);
	kmt_close(reader);
}

/* ------------------------------------------------------------------------------------------------ the load */

/* Live bytes, integrated over time from `from_ns` on; what arrives from then on. */
struct observed {
	uint64_t from_ns, now_ns;
	double live_bytes, byte_ns;
	uint64_t arrivals, frees, remote_frees;
	uint16_t cpu_of[1 << 16];
	uint64_t arrivals_on[4];
};

static void observe(void *context, const struct kmt_event *event)
{
	struct observed *observed = context;
	bool is_alloc = event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC;
	if (event->time_ns > observed->from_ns) {
		uint64_t since_ns = observed->now_ns > observed->from_ns ? observed->now_ns : observed->from_ns;
		observed->byte_ns += observed->live_bytes * (double)(event->time_ns - since_ns);
		observed->arrivals += is_alloc;
	}
	observed->now_ns = event->time_ns;
	observed->live_bytes += (is_alloc ? 1.0 : -1.0) * (double)event->size_bytes;
	assert_true(event->object < 1 << 16);
	if (is_alloc) {
		observed->cpu_of[event->object] = event->cpu;
		observed->arrivals_on[event->cpu]++;
	} else {
		observed->frees++;
		observed->remote_frees += observed->cpu_of[event->object] != event->cpu;
	}
}

/*
 * M/G/infinity: live bytes have the covariance rate E[B^2] times the integral of P(L > u) from t on, so their mean over
 * a time T has the variance rate E[B^2] E[L^2] / T, where T is long against L; arrivals in T are Poisson.
 */
static void the_mean_of_live_bytes_is_the_load(void **state)
{
	static const double load = 1 << 20, duration_ns = 1e9, warm_up_ns = 2e8, life_s = 0.01;
	static const struct {
		const char *params;
		double mean, square; /* of what is asked for */
		double life_square;  /* E[L^2] / E[L]^2 */
	} rows[] = {
		/* Exponential sizes rounded up: geometric with q = e^(-1/256): mean 1/(1-q), E[X^2] = (1+q)/(1-q)^2. */
		{"sizes=exponential,mean=256", 256.5003255, 131328.33, 2},
		{"sizes=uniform,min=100,max=100,lifetimes=uniform", 100, 10000, 4 / 3.0},
		/* p m1^2 + (1-p) m2^2 times 2, m1 = 1/10, m2 = (1 - 0.09)/0.1 = 9.1 means. */
		{"sizes=bimodal,min=64,max=4096,share=0.25,lifetimes=generational,young=0.9,young_lifetime=0.001", 1072,
		 0.75 * 64 * 64 + 0.25 * 4096 * 4096, 2 * (0.9 * 0.01 + 0.1 * 9.1 * 9.1)},
		/* U[1, 16384] in blocks of one, two and four pages: 1/4, 1/4, 1/2. */
		{"as=pages,sizes=uniform,max=16k", 4096 * (1 / 4.0 + 2 / 4.0 + 4 / 2.0),
		 4096.0 * 4096 * (1 / 4.0 + 4 / 4.0 + 16 / 2.0), 2},
		/* Four caches: 12.5 %, 37.5 % ... of U[1, 1000]. */
		{"as=objects,caches=4,sizes=uniform,max=1000", (126 + 376 + 626 + 876) / 4.0,
		 (126 * 126 + 376 * 376 + 626 * 626 + 876 * 876) / 4.0, 2},
	};
	static struct observed observed;
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char spec[256];
		snprintf(spec, sizeof spec, "steady:load=1M,lifetime=0.01,duration=1,events=100000000,%s",
			 rows[i].params);
		observed = (struct observed){.from_ns = (uint64_t)warm_up_ns};
		each_event(spec, observe, &observed);
		double time_ns = (double)(observed.now_ns - observed.from_ns);
		double rate = load / (rows[i].mean * life_s * 1e9), life_ns = life_s * 1e9;
		double error = sqrt(rate * rows[i].square * rows[i].life_square * life_ns * life_ns / time_ns);
		double mean = observed.byte_ns / time_ns;
		assert_float_equal(time_ns, duration_ns - warm_up_ns, 1e7);
		if (fabs(mean - load) > 3 * error)
			fail_msg("%s: %.0f live bytes, not %.0f +- %.0f", spec, mean, load, error);
		double expected = rate * time_ns;
		if (fabs((double)observed.arrivals - expected) > 3 * sqrt(expected))
			fail_msg("%s: %llu arrivals, not %.0f", spec, (unsigned long long)observed.arrivals, expected);
	}
}

/* Binomial: within four standard deviations. */
static void near_share(uint64_t count, uint64_t of, double share)
{
	double expected = share * (double)of;
	assert_float_equal((double)count, expected, 4 * sqrt(expected * (1 - share)) + 1e-9);
}

static void cpus_share_the_arrivals_and_some_frees_are_remote(void **state)
{
	static struct observed observed;
	static const double shares[] = {0, 0.3, 1};
	(void)state;
	for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
		char spec[128];
		snprintf(spec, sizeof spec, "steady:cpus=4,remote=%g,events=50000", shares[i]);
		observed = (struct observed){0};
		each_event(spec, observe, &observed);
		for (uint32_t cpu = 0; cpu < 4; cpu++)
			near_share(observed.arrivals_on[cpu], observed.arrivals, 0.25);
		near_share(observed.remote_frees, observed.frees, shares[i]);
	}
	observed = (struct observed){0};
	each_event("steady:cpus=1,remote=1,events=2000", observe, &observed);
	assert_int_equal(observed.remote_frees, 0);
}

/* ------------------------------------------------------------------------------------------------ its end */

static void it_ends_where_it_is_told(void **state)
{
	(void)state;
	for (uint64_t events = 1; events <= 10000; events *= 10) {
		char spec[64];
		snprintf(spec, sizeof spec, "steady:events=%llu", (unsigned long long)events);
		struct kmt_reader *reader = open_spec(spec);
		const struct kmt_totals *totals = kmt_reader_totals(reader);
		/* The arrival that reaches it, and the deaths just before that one. */
		assert_in_range(totals->events, events, events + 20);
		kmt_close(reader);
	}
	struct kmt_reader *reader = open_spec("steady:duration=0.05,events=1000000");
	assert_in_range(kmt_reader_totals(reader)->duration_ns, 49000000, 50000000);
	kmt_close(reader);
}

/* ------------------------------------------------------------------------------------------------ memory */

/* Bytes of the heap in use when the stream is over, read to its end with its tables at their largest. */
static uint64_t heap_bytes(uint64_t events)
{
	char spec[128];
	struct kml_error error;
	struct kmt_item item;
	enum kmt_item_kind kind;
	snprintf(spec, sizeof spec, "steady:load=64k,lifetime=0.001,events=%08llu", (unsigned long long)events);
	struct mallinfo2 before = mallinfo2();
	struct kmt_reader *reader = open_spec(spec);
	while ((kind = kmt_next(reader, &item, &error)) == KMT_ITEM_EVENTS)
		;
	assert_int_equal(kind, KMT_ITEM_END);
	struct mallinfo2 after = mallinfo2();
	kmt_close(reader);
	return after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
}

static void forty_times_the_events_need_no_more_memory(void **state)
{
	(void)state;
	uint64_t few = heap_bytes(50000), many = heap_bytes(2000000);
	if (few == 0)
		skip(); /* AddressSanitizer's malloc counts nothing */
	assert_in_range(few, 1000, 4 << 20);
	/* One byte for each hundred of the events that came more would be 20 KB; chunks are rounded differently. */
	assert_in_range(many, 0, few + 1024);
}

/* ------------------------------------------------------------------------------------------------ refusals */

static void refuse(const char *spec, const char *expected)
{
	struct kml_error error = {{0}};
	if (workload_open(spec, NULL, &error))
		fail_msg("%s: taken, not refused with '%s'", spec, expected);
	if (!strstr(error.text, expected))
		fail_msg("%s: refused with '%s', not '%s'", spec, error.text, expected);
}

static void loads_that_cannot_be_are_refused_by_name(void **state)
{
	(void)state;
	refuse("steady:load=0", "steady: load=0: use a size such as 4096, 64k or 1M, from 1 to 70368744177664");
	refuse("steady:load=65T", "steady: load=65T: use a size");
	refuse("steady:load=-1M", "steady: load=-1M: use a size");
	refuse("steady:load=nan", "steady: load=nan: use a size");
	refuse("steady:load=64T,sizes=uniform,max=64", "steady: load=70368744177664: more live objects of 32 bytes");
	refuse("steady:lifetimes=forever", "steady: lifetimes=forever: no load is steady");
	refuse("steady:lifetime=0", "steady: lifetime=0: use seconds from 1e-09 to 1e+06");
	refuse("steady:lifetime=-1", "steady: lifetime=-1: use a number");
	refuse("steady:lifetimes=generational,young_lifetime=1", "steady: young_lifetime=1: use seconds from");
	refuse("steady:sizes=empirical", "steady: file: empirical sizes need");
	refuse("steady:sizes=empirical,file=/no/such", "steady: file=/no/such: No such file");
	refuse("steady:sizes=power", "steady: max: power sizes need the largest");
	refuse("steady:remote=2", "steady: remote=2: use a number");
	refuse("steady:cpus=0", "steady: cpus=0: use a number from 1 to 1024");
	refuse("steady:events=0", "steady: events=0: use a number from 1");
	refuse("steady:against=binary", "steady: against: it plays against no stack");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_mean_of_live_bytes_is_the_load),
		cmocka_unit_test(cpus_share_the_arrivals_and_some_frees_are_remote),
		cmocka_unit_test(it_ends_where_it_is_told),
		cmocka_unit_test(forty_times_the_events_need_no_more_memory),
		cmocka_unit_test(loads_that_cannot_be_are_refused_by_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
