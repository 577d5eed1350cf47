/*
 * lifetimes_test.c - lifetimes: draws against their formulas, Kaplan & Meier's estimate against the published table of
 * a clinical trial, hostile parameters and traces.
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
#include <unistd.h>

#include "kmemlab/support/random.h"
#include "traces/kmt/kmt.h"
#include "workloads/generate/lifetimes.h"

static struct lifetimes prepare(const struct lifetimes_config *config)
{
	struct kml_error error;
	struct lifetimes lifetimes;
	if (!lifetimes_prepare(&lifetimes, config, "test", &error))
		fail_msg("%s", error.text);
	return lifetimes;
}

/* ------------------------------------------------------------------------------------------------ draws */

/* P(L > t), as the header says it. */
static double beyond(const struct lifetimes_config *config, double t_s)
{
	double young = config->young, short_s = config->young_mean_s;
	switch (config->kind) {
	case LIFETIMES_EXPONENTIAL:
		return exp(-t_s / config->mean_s);
	case LIFETIMES_UNIFORM:
		return t_s < 2 * config->mean_s ? 1 - t_s / (2 * config->mean_s) : 0;
	default:
		return young * exp(-t_s / short_s) +
		       (1 - young) * exp(-t_s * (1 - young) / (config->mean_s - young * short_s));
	}
}

static int ascending(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;
	return (*left > *right) - (*left < *right);
}

enum { DRAWS = 100000 };

/* Kolmogorov & Smirnov: the greatest distance is above 1.95/sqrt(n) once in a thousand. */
static void draws_follow_the_formula(void **state)
{
	static const struct lifetimes_config configs[] = {
		{.kind = LIFETIMES_EXPONENTIAL, .mean_s = 0.01},
		{.kind = LIFETIMES_UNIFORM, .mean_s = 3},
		{.kind = LIFETIMES_GENERATIONAL, .mean_s = 1, .young = 0.9, .young_mean_s = 0.001},
		{.kind = LIFETIMES_GENERATIONAL, .mean_s = 1, .young = 0.5, .young_mean_s = 1},
		{.kind = LIFETIMES_GENERATIONAL, .mean_s = 1, .young = 0, .young_mean_s = 0.1},
	};
	static uint64_t drawn[DRAWS];
	(void)state;
	for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
		struct lifetimes lifetimes = prepare(&configs[i]);
		uint64_t random = 11 + i;
		double mean = 0, farthest = 0;
		for (uint32_t draw = 0; draw < DRAWS; draw++)
			drawn[draw] = lifetimes_draw(&lifetimes, (double)(random_next(&random) >> 11) * 0x1p-53);
		qsort(drawn, DRAWS, sizeof *drawn, ascending);
		for (uint32_t draw = 0; draw < DRAWS; draw++) {
			double life_s = (double)drawn[draw] / 1e9, died = 1 - beyond(&configs[i], life_s);
			farthest = fmax(farthest, fmax(fabs(died - draw / (double)DRAWS),
						       fabs(died - (draw + 1) / (double)DRAWS)));
			assert_float_equal(lifetimes_beyond(&lifetimes, life_s * 1e9), 1 - died, 1e-9);
			mean += life_s / DRAWS;
		}
		if (farthest > 1.95 / sqrt(DRAWS))
			fail_msg("example %zu: distance %g", i, farthest);
		/* The hyperexponential has the largest deviation, 4.4 means: five standard errors. */
		assert_float_equal(mean, configs[i].mean_s, 5 * 4.4 * configs[i].mean_s / sqrt(DRAWS));
		assert_float_equal(lifetimes_mean_ns(&lifetimes), configs[i].mean_s * 1e9, 1);
		lifetimes_free(&lifetimes);
	}
}

static void forever_has_no_end(void **state)
{
	(void)state;
	struct lifetimes lifetimes = prepare(&(struct lifetimes_config){.kind = LIFETIMES_FOREVER});
	assert_true(lifetimes_draw(&lifetimes, 0.5) == LIFETIMES_FOREVER_NS);
	assert_true(isinf(lifetimes_mean_ns(&lifetimes)));
	assert_true(lifetimes_beyond(&lifetimes, 1e300) == 1);
}

/* ------------------------------------------------------------------------------------------------ fitted */

/* What one object of a trace does; ids are by place. */
struct life {
	uint64_t born_ns, died_ns; /* 0: alive at the end */
	bool warm;
};

static const char *test_path(const char *name)
{
	static char path[3000];
	const char *folder = getenv("KMEMLAB_TEST_OUTPUT");
	snprintf(path, sizeof path, "%s/lifetimes-%ld-%s", folder && *folder ? folder : "/tmp", (long)getpid(), name);
	return path;
}

static void write_event(struct kmt_writer *writer, enum kmt_op op, uint32_t object, uint64_t time_ns, bool warm)
{
	struct kml_error error;
	const struct kmt_event event = {.time_ns = time_ns,
					.address = KMT_NO_ADDRESS,
					.size_bytes = 64,
					.object = object,
					.cache = KMT_NO_CACHE,
					.flags = warm ? KMT_WARM : 0,
					.op = (uint8_t)op};
	if (!kmt_write_event(writer, &event, &error))
		fail_msg("%s", error.text);
}

static void write_instant(struct kmt_writer *writer, const struct life *lives, uint32_t count, uint64_t now_ns)
{
	for (uint32_t i = 0; i < count; i++)
		if (lives[i].died_ns == now_ns && now_ns > 0)
			write_event(writer, KMT_FREE, i, now_ns, false);
	for (uint32_t i = 0; i < count; i++)
		if (lives[i].born_ns == now_ns)
			write_event(writer, KMT_ALLOC, i, now_ns, lives[i].warm);
}

/* The recording ends at end_ns. */
static const char *write_lives(const struct life *lives, uint32_t count, uint64_t end_ns)
{
	struct kml_error error;
	const char *path = test_path("fit.kmt");
	const struct kmt_origin origin = {.source = "test",
					  .kernel = "",
					  .command = "",
					  .clock = "",
					  .note = "",
					  .cpu_count = 1,
					  .page_bytes = 4096};
	struct kmt_writer *writer = kmt_create(path, &origin, NULL, 0, &error);
	if (!writer)
		fail_msg("%s", error.text);
	for (uint64_t now_ns = 0; now_ns <= end_ns; now_ns++)
		write_instant(writer, lives, count, now_ns);
	const struct kmt_event end = {
		.time_ns = end_ns, .address = KMT_NO_ADDRESS, .cache = KMT_NO_CACHE, .op = KMT_SHRINK};
	assert_true(kmt_write_event(writer, &end, &error));
	if (!kmt_finish(writer, NULL, &error))
		fail_msg("%s", error.text);
	return path;
}

/*
 * Freireich et al., Blood 21 (1963): weeks of remission of 21 children treated with 6-mercaptopurine, 12 of them
 * censored. The estimate is the table of every textbook of survival analysis.
 */
static void kaplan_and_meier_of_the_remissions(void **state)
{
	enum { END = 100 };
	static const uint64_t died[] = {6, 6, 6, 7, 10, 13, 16, 22, 23};
	static const uint64_t censored[] = {6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35};
	static const struct {
		double week, beyond;
	} table[] = {{0, 1},       {5.9, 1},     {6, 0.8571},  {7, 0.8067},  {9.9, 0.8067}, {10, 0.7529},
		     {13, 0.6902}, {16, 0.6275}, {22, 0.5378}, {23, 0.4482}, {35, 0.4482}};
	struct life lives[32];
	uint32_t count = 0;
	(void)state;
	for (size_t i = 0; i < sizeof died / sizeof *died; i++, count++)
		lives[count] = (struct life){.born_ns = 3 * i, .died_ns = 3 * i + died[i]};
	for (size_t i = 0; i < sizeof censored / sizeof *censored; i++, count++)
		lives[count] = (struct life){.born_ns = END - censored[i]};
	/* Those of before the recording say nothing. */
	for (uint32_t i = 0; i < 5; i++, count++)
		lives[count] = (struct life){.born_ns = 0, .died_ns = i < 3 ? 40 + i : 0, .warm = true};
	const char *path = write_lives(lives, count, END);
	struct lifetimes lifetimes = prepare(&(struct lifetimes_config){.kind = LIFETIMES_FITTED, .trace_path = path});
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		assert_float_equal(lifetimes_beyond(&lifetimes, table[i].week), table[i].beyond, 0.00006);
	/* Beyond the last observation an exponential goes through it: at twice the time the square. */
	assert_float_equal(lifetimes_beyond(&lifetimes, 70), 0.4482 * 0.4482, 0.0001);
	/* Draws at the ends and on both sides of steps. */
	assert_int_equal(lifetimes_draw(&lifetimes, 0), 6);
	assert_int_equal(lifetimes_draw(&lifetimes, 0.142), 6);
	assert_int_equal(lifetimes_draw(&lifetimes, 0.144), 7);
	assert_int_equal(lifetimes_draw(&lifetimes, 0.551), 23);
	assert_int_equal(lifetimes_draw(&lifetimes, 1 - 0.4482 * 0.4482), 70);
	/* The mean is the integral of P(L > t): the steps, then the tail. */
	double mean = 6 + 0.8571 * 1 + 0.8067 * 3 + 0.7529 * 3 + 0.6902 * 3 + 0.6275 * 6 + 0.5378 * 1 + 0.4482 * 12 -
		      0.4482 * 35 / log(0.4482);
	assert_float_equal(lifetimes_mean_ns(&lifetimes), mean, 0.01);
	lifetimes_free(&lifetimes);
	unlink(path);
}

/* Without censored objects it is the plain share, and nobody lives longer than the last. */
static void without_censoring_it_is_the_share(void **state)
{
	enum { LIVES = 500 };
	static struct life lives[LIVES];
	(void)state;
	for (uint32_t i = 0; i < LIVES; i++)
		lives[i] = (struct life){.born_ns = i, .died_ns = i + 1 + 20 * (uint64_t)i};
	const char *path = write_lives(lives, LIVES, 11000);
	struct lifetimes lifetimes = prepare(&(struct lifetimes_config){.kind = LIFETIMES_FITTED, .trace_path = path});
	for (uint32_t i = 0; i < LIVES; i++) {
		/* 0.1 % beside it: what the lifetimes are kept to. */
		double life_ns = (1 + 20 * i) * 1.001 + 0.5;
		assert_float_equal(lifetimes_beyond(&lifetimes, life_ns), 1 - (i + 1) / (double)LIVES, 1e-9);
		uint64_t drawn = lifetimes_draw(&lifetimes, (i + 0.5) / LIVES);
		assert_float_equal((double)drawn, 1 + 20 * i, 0.001 * (1 + 20 * i) + 0.5);
	}
	assert_float_equal(lifetimes_mean_ns(&lifetimes), 1 + 20 * (LIVES - 1) / 2.0, 5);
	assert_true(lifetimes_beyond(&lifetimes, 1e6) == 0);
	lifetimes_free(&lifetimes);
	unlink(path);
}

/* A recorded kernel's: as long as the trace at most while it is observed, most objects young. */
static void a_recorded_trace_is_fitted(void **state)
{
	(void)state;
	struct lifetimes lifetimes =
		prepare(&(struct lifetimes_config){.kind = LIFETIMES_FITTED, .trace_path = "traces/sockets.kmt"});
	double before = 1;
	for (int tenths = 0; tenths < 120; tenths++) {
		double now = lifetimes_beyond(&lifetimes, pow(10, tenths / 10.0));
		assert_true(now <= before && now >= 0);
		before = now;
	}
	assert_true(lifetimes_mean_ns(&lifetimes) > (double)lifetimes_draw(&lifetimes, 0.5));
	lifetimes_free(&lifetimes);
}

/* ------------------------------------------------------------------------------------------------ refusals */

static void refuse(const struct lifetimes_config *config, const char *expected)
{
	struct kml_error error = {{0}};
	struct lifetimes lifetimes;
	if (lifetimes_prepare(&lifetimes, config, "test", &error))
		fail_msg("taken, not refused with '%s'", expected);
	if (!strstr(error.text, expected))
		fail_msg("refused with '%s', not '%s'", error.text, expected);
}

static void parameters_that_contradict_each_other_are_named(void **state)
{
	(void)state;
	refuse(&(struct lifetimes_config){.kind = LIFETIMES_EXPONENTIAL},
	       "test: lifetime=0: use seconds from 1e-09 to");
	refuse(&(struct lifetimes_config){.kind = LIFETIMES_EXPONENTIAL, .mean_s = NAN}, "nan: use seconds from 1e-09");
	refuse(&(struct lifetimes_config){.kind = LIFETIMES_UNIFORM, .mean_s = -1}, "lifetime=-1: use seconds from");
	refuse(&(struct lifetimes_config){.kind = LIFETIMES_UNIFORM, .mean_s = INFINITY}, "inf: use seconds from");
	refuse(&(struct lifetimes_config){.kind = LIFETIMES_GENERATIONAL, .mean_s = 1, .young = 1, .young_mean_s = 0.1},
	       "young=1: use a share from 0 to below 1");
	refuse(
		&(struct lifetimes_config){
			.kind = LIFETIMES_GENERATIONAL, .mean_s = 1, .young = NAN, .young_mean_s = 0.1},
		"nan: use a share");
	refuse(&(struct lifetimes_config){.kind = LIFETIMES_GENERATIONAL, .mean_s = 1, .young = 0.5, .young_mean_s = 2},
	       "young_lifetime=2: use seconds from 1e-09 to 1");
	refuse(&(struct lifetimes_config){.kind = LIFETIMES_FITTED}, "lifetime_trace: fitted lifetimes need a .kmt");
	refuse(&(struct lifetimes_config){.kind = LIFETIMES_FITTED, .trace_path = "/no/such.kmt"},
	       "lifetime_trace=/no/such.kmt");
	const struct life immortal[] = {{.born_ns = 1}, {.born_ns = 0, .died_ns = 5, .warm = true}};
	const char *path = write_lives(immortal, 2, 10);
	refuse(&(struct lifetimes_config){.kind = LIFETIMES_FITTED, .trace_path = path},
	       "no object is seen to be born and to die");
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(draws_follow_the_formula),
		cmocka_unit_test(forever_has_no_end),
		cmocka_unit_test(kaplan_and_meier_of_the_remissions),
		cmocka_unit_test(without_censoring_it_is_the_share),
		cmocka_unit_test(a_recorded_trace_is_fitted),
		cmocka_unit_test(parameters_that_contradict_each_other_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
