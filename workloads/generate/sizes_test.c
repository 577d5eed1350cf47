/*
 * sizes_test.c - request sizes: theory against sums term by term, draws against theory, files that are hostile.
 *
 * What is expected is written down here from the definitions in sizes.h, a probability for each size; the code under
 * test has closed forms and inversions instead. Draws have fixed seeds; the chi-square tests are at 0.1 %.
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
#include "workloads/generate/sizes.h"

static struct sizes prepare(const struct sizes_config *config)
{
	struct kml_error error;
	struct sizes sizes;
	if (!sizes_prepare(&sizes, config, "test", &error))
		fail_msg("%s", error.text);
	return sizes;
}

/* A file of this process in the folder for tests. */
static const char *write_file(const char *name, const char *text)
{
	static char path[3000];
	const char *folder = getenv("KMEMLAB_TEST_OUTPUT");
	snprintf(path, sizeof path, "%s/sizes-%ld-%s", folder && *folder ? folder : "/tmp", (long)getpid(), name);
	FILE *stream = fopen(path, "w");
	assert_non_null(stream);
	fputs(text, stream);
	fclose(stream);
	return path;
}

/* ------------------------------------------------------------------------------------------------ definitions */

static const char histogram_text[] = "# size weight\n8 1\n64 2.5 # often\n\n4k 0.5\n100 0\n64 1\n";

/* Weight of one size before it is divided by the sum over min to max. */
static double weight(const struct sizes_config *config, uint64_t size)
{
	double k = (double)size;
	switch (config->kind) {
	case SIZES_UNIFORM:
		return 1;
	case SIZES_EXPONENTIAL:
		return exp(-(k - 1) / config->mean) - exp(-k / config->mean);
	case SIZES_GEOMETRIC:
		return pow(1 - 1 / config->mean, k - 1) / config->mean;
	case SIZES_POWER:
		return pow(k, -config->alpha) - pow(k + 1, -config->alpha);
	case SIZES_BIMODAL:
		return size == config->min ? 1 - config->share : size == config->max ? config->share : 0;
	default:
		return size == 8 ? 1 : size == 64 ? 3.5 : size == 4096 ? 0.5 : 0;
	}
}

struct example {
	struct sizes_config config;
	uint64_t max; /* nothing to speak of lies beyond */
};

static const struct example examples[] = {
	{{.kind = SIZES_UNIFORM, .min = 1, .max = 100}, 100},
	{{.kind = SIZES_UNIFORM, .min = 10, .mean = 100}, 190},
	{{.kind = SIZES_UNIFORM, .min = 7, .max = 7}, 7},
	{{.kind = SIZES_EXPONENTIAL, .min = 1, .mean = 50}, 5000},
	{{.kind = SIZES_EXPONENTIAL, .min = 20, .max = 60, .mean = 50}, 60},
	{{.kind = SIZES_EXPONENTIAL, .min = 1, .max = 1000, .mean = 1000}, 1000},
	{{.kind = SIZES_GEOMETRIC, .min = 1, .mean = 50}, 5000},
	{{.kind = SIZES_GEOMETRIC, .min = 1, .mean = 1}, 10},
	{{.kind = SIZES_GEOMETRIC, .min = 30, .max = 90, .mean = 40}, 90},
	{{.kind = SIZES_POWER, .min = 1, .max = 4096, .alpha = 1}, 4096},
	{{.kind = SIZES_POWER, .min = 16, .max = 200000, .alpha = 0.5}, 200000},
	{{.kind = SIZES_POWER, .min = 3, .max = 150000, .alpha = 2.5}, 150000},
	{{.kind = SIZES_POWER, .min = 8, .max = 200, .alpha = 0.001}, 200},
	{{.kind = SIZES_BIMODAL, .min = 64, .max = 4096, .share = 0.25}, 4096},
	{{.kind = SIZES_EMPIRICAL, .min = 1}, 5000},
	{{.kind = SIZES_EMPIRICAL, .min = 9, .max = 4095}, 4095},
};
enum { EXAMPLES = sizeof examples / sizeof *examples };

static struct sizes prepare_example(const struct example *example)
{
	struct sizes_config config = example->config;
	config.file = write_file("good.txt", histogram_text);
	struct sizes sizes = prepare(&config);
	unlink(config.file);
	return sizes;
}

/* P(X <= size) for size 0 to max. */
static double *sums(const struct example *example, double *mean)
{
	double *sum = calloc(example->max + 1, sizeof *sum);
	assert_non_null(sum);
	*mean = 0;
	for (uint64_t size = 1; size <= example->max; size++) {
		double here = size < example->config.min ? 0 : weight(&example->config, size);
		sum[size] = sum[size - 1] + here;
		*mean += here * (double)size;
	}
	*mean /= sum[example->max];
	for (uint64_t size = 1; size <= example->max; size++)
		sum[size] /= sum[example->max];
	return sum;
}

/* ------------------------------------------------------------------------------------------------ theory */

static void cumulative_and_mean_are_the_sums_of_the_definition(void **state)
{
	(void)state;
	for (size_t i = 0; i < EXAMPLES; i++) {
		double mean, *sum = sums(&examples[i], &mean);
		struct sizes sizes = prepare_example(&examples[i]);
		for (uint64_t size = 0; size < examples[i].max; size++)
			if (fabs(sizes_cumulative(&sizes, size) - sum[size]) > 1e-10)
				fail_msg("example %zu: P(X <= %llu) = %.15g, not %.15g", i, (unsigned long long)size,
					 sizes_cumulative(&sizes, size), sum[size]);
		if (fabs(sizes_mean(&sizes) / mean - 1) > 1e-9)
			fail_msg("example %zu: mean %.15g, not %.15g", i, sizes_mean(&sizes), mean);
		assert_true(sizes_cumulative(&sizes, UINT64_MAX) == 1);
		sizes_free(&sizes);
		free(sum);
	}
}

/* A published table: 1 - E[X]/E[B] of the binary system, uniform requests of 1 to N, in whole numbers. */
static void internal_fragmentation_of_the_binary_system_follows(void **state)
{
	static const struct {
		uint64_t most;
		double blocks, requests; /* E[B] / E[X] */
	} rows[] = {{64, 2731, 2080}, {100, 7339, 5050}, {1000, 26979, 20020}, {4096, 11184811, 8390656}};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct sizes_config config = {.kind = SIZES_UNIFORM, .min = 1, .max = rows[i].most};
		struct sizes sizes = prepare(&config);
		double blocks = 0, below = 0;
		for (uint64_t block = 1; below < 1; block *= 2) {
			double up_to = sizes_cumulative(&sizes, block);
			blocks += (double)block * (up_to - below);
			below = up_to;
		}
		assert_float_equal(blocks / sizes_mean(&sizes), rows[i].blocks / rows[i].requests, 1e-12);
	}
}

static void an_exponential_mean_is_that_of_its_ceiling(void **state)
{
	const struct sizes_config config = {.kind = SIZES_EXPONENTIAL, .min = 1, .mean = 500};
	(void)state;
	struct sizes sizes = prepare(&config);
	assert_float_equal(sizes_mean(&sizes), 1 / (1 - exp(-1.0 / 500)), 1e-9);
}

/* ------------------------------------------------------------------------------------------------ draws */

/* Wilson & Hilferty 1931; 3.0902 is the normal quantile of 0.1 %. */
static double chi_square_limit(double freedom)
{
	double third = 1 - 2 / (9 * freedom) + 3.0902 * sqrt(2 / (9 * freedom));
	return freedom * third * third * third;
}

static double next_uniform(uint64_t *random)
{
	return (double)(random_next(random) >> 11) * 0x1p-53;
}

enum { DRAWS = 200000, BINS = 64, LEAST_IN_BIN = DRAWS / BINS };

/* Neighbouring sizes are put together until a bin expects enough draws; the last bin takes what is left. */
static void judge(size_t example, const double *sum, const uint32_t *drawn, uint64_t max)
{
	double chi_square = 0, below = 0;
	uint64_t bins = 0, in_bin = 0;
	for (uint64_t size = 0; size <= max; size++) {
		in_bin += drawn[size];
		double expected = (sum[size] - below) * DRAWS, left = (1 - sum[size]) * DRAWS;
		if (size < max && (expected < LEAST_IN_BIN || left < LEAST_IN_BIN))
			continue;
		if (expected > 0)
			chi_square += ((double)in_bin - expected) * ((double)in_bin - expected) / expected;
		else
			assert_int_equal(in_bin, 0);
		bins += expected > 0;
		below = sum[size];
		in_bin = 0;
	}
	if (bins > 1 && chi_square > chi_square_limit((double)bins - 1))
		fail_msg("example %zu: chi-square %.1f of %llu bins", example, chi_square, (unsigned long long)bins);
}

static void draws_follow_the_definition(void **state)
{
	(void)state;
	for (size_t i = 0; i < EXAMPLES; i++) {
		double mean, square = 0, drawn_mean = 0, *sum = sums(&examples[i], &mean);
		struct sizes sizes = prepare_example(&examples[i]);
		uint32_t *drawn = calloc(examples[i].max + 1, sizeof *drawn);
		uint64_t random = 7 + i;
		assert_non_null(drawn);
		for (uint32_t draw = 0; draw < DRAWS; draw++) {
			uint64_t size = sizes_quantile(&sizes, next_uniform(&random));
			if (size < examples[i].config.min || size > examples[i].max)
				fail_msg("example %zu: drew %llu", i, (unsigned long long)size);
			drawn[size]++;
			drawn_mean += (double)size / DRAWS;
			square += (double)size * (double)size / DRAWS;
		}
		double deviation = sqrt(fmax(square - drawn_mean * drawn_mean, 0) / DRAWS);
		if (fabs(drawn_mean - mean) > 4 * deviation + 1e-9 * mean)
			fail_msg("example %zu: mean %g of %d draws, not %g", i, drawn_mean, DRAWS, mean);
		judge(i, sum, drawn, examples[i].max);
		sizes_free(&sizes);
		free(drawn);
		free(sum);
	}
}

/* The ends of the range, and as far out as numbers go. */
static void the_quantile_stays_inside(void **state)
{
	static const struct sizes_config configs[] = {
		{.kind = SIZES_UNIFORM, .min = 1, .max = SIZES_MAX_BYTES},
		{.kind = SIZES_EXPONENTIAL, .min = 1, .mean = SIZES_MAX_BYTES},
		{.kind = SIZES_EXPONENTIAL, .min = 5, .max = 6, .mean = 5},
		{.kind = SIZES_GEOMETRIC, .min = 1, .mean = 1.0000001},
		{.kind = SIZES_POWER, .min = 1, .max = SIZES_MAX_BYTES, .alpha = 0.001},
		{.kind = SIZES_POWER, .min = 1ull << 45, .max = SIZES_MAX_BYTES, .alpha = 100},
		{.kind = SIZES_BIMODAL, .min = 1, .max = 2, .share = 1},
	};
	static const double uniforms[] = {0, 0x1p-53, 0.5, 1 - 0x1p-53};
	(void)state;
	for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
		struct sizes sizes = prepare(&configs[i]);
		uint64_t before = 0;
		for (size_t j = 0; j < sizeof uniforms / sizeof *uniforms; j++) {
			uint64_t size = sizes_quantile(&sizes, uniforms[j]);
			assert_true(size >= sizes.min && size <= sizes.max && size >= before);
			before = size;
		}
		double mean = sizes_mean(&sizes);
		assert_true(mean >= (double)sizes.min && mean <= (double)sizes.max);
	}
}

/* ------------------------------------------------------------------------------------------------ refusals */

static void refuse(const struct sizes_config *config, const char *expected)
{
	struct kml_error error = {{0}};
	struct sizes sizes;
	if (sizes_prepare(&sizes, config, "test", &error))
		fail_msg("taken, not refused with '%s'", expected);
	if (!strstr(error.text, expected))
		fail_msg("refused with '%s', not '%s'", error.text, expected);
}

static void parameters_that_contradict_each_other_are_named(void **state)
{
	(void)state;
	refuse(&(struct sizes_config){.kind = SIZES_UNIFORM, .min = 0, .max = 5}, "test: min=0: use a size from 1 to");
	refuse(&(struct sizes_config){.kind = SIZES_UNIFORM, .min = 9, .max = 5},
	       "test: max=5: use a size from 9 (min) to 64T");
	refuse(&(struct sizes_config){.kind = SIZES_UNIFORM, .min = 9, .mean = 5}, "mean=5: use a mean from 9 (min)");
	refuse(&(struct sizes_config){.kind = SIZES_EXPONENTIAL, .min = 1, .mean = 0}, "mean=0: use a mean from 1");
	refuse(&(struct sizes_config){.kind = SIZES_EXPONENTIAL, .min = 1, .mean = -3}, "mean=-3: use a mean from 1");
	refuse(&(struct sizes_config){.kind = SIZES_EXPONENTIAL, .min = 1, .mean = NAN}, "nan: use a mean from 1");
	refuse(&(struct sizes_config){.kind = SIZES_EXPONENTIAL, .min = 1, .mean = INFINITY}, "inf: use a mean from 1");
	refuse(&(struct sizes_config){.kind = SIZES_GEOMETRIC, .min = 1, .max = 9, .mean = 10},
	       "mean=10: use a mean from 1 (min) to 9 (max)");
	refuse(&(struct sizes_config){.kind = SIZES_POWER, .min = 1, .alpha = 1}, "max: power sizes need the largest");
	refuse(&(struct sizes_config){.kind = SIZES_POWER, .min = 1, .max = 9}, "alpha=0: use an exponent from 0.001");
	refuse(&(struct sizes_config){.kind = SIZES_POWER, .min = 1, .max = 9, .alpha = NAN},
	       "nan: use an exponent from");
	refuse(&(struct sizes_config){.kind = SIZES_BIMODAL, .min = 1}, "max: bimodal sizes need the largest");
	refuse(&(struct sizes_config){.kind = SIZES_BIMODAL, .min = 1, .max = 2, .share = 1.5},
	       "share=1.5: use a share from 0 to 1");
	refuse(&(struct sizes_config){.kind = SIZES_BIMODAL, .min = 1, .max = 2, .share = NAN}, "nan: use a share");
	refuse(&(struct sizes_config){.kind = SIZES_EMPIRICAL, .min = 1}, "file: empirical sizes need a text");
}

static void histograms_that_are_hostile_are_refused_with_their_line(void **state)
{
	static const struct {
		const char *text, *expected;
	} cases[] = {
		{"", "no size in it with a weight above 0"},
		{"# nothing\n\n", "no size in it with a weight above 0"},
		{"8 0\n16 0\n", "no size in it with a weight above 0"},
		{"8 1\n16 -1\n", "line 2: weight '-1': use a finite number"},
		{"8 nan\n", "line 1: weight 'nan': use a finite number"},
		{"8 inf\n", "line 1: weight 'inf': use a finite number"},
		{"8 1e999\n", "line 1: weight '1e999': use a finite number"},
		{"8 1x\n", "line 1: weight '1x': use a finite number"},
		{"0 1\n", "line 1: size '0': use a size such as"},
		{"-8 1\n", "line 1: size '-8': use a size such as"},
		{"65T 1\n", "line 1: size '65T': use a size such as"},
		{"99999999999999999999 1\n", "line 1: size '99999999999999999999': use a size"},
		{"8\n", "line 1: write a size and its weight"},
		{"8 1 1\n", "line 1: write a size and its weight"},
		{"\x01\xff\xfe 1\n", "line 1: size '"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct sizes_config config = {
			.kind = SIZES_EMPIRICAL, .min = 1, .file = write_file("bad.txt", cases[i].text)};
		refuse(&config, cases[i].expected);
		refuse(&config, "test: file=");
		unlink(config.file);
	}
	struct sizes_config config = {.kind = SIZES_EMPIRICAL, .min = 1, .file = "/no/such/file"};
	refuse(&config, "file=/no/such/file: No such file");
	config.file = "/no/such/file.kmt";
	refuse(&config, "/no/such/file.kmt");
	config.file = write_file("no.kmt", "8 1\n");
	refuse(&config, "no.kmt");
	unlink(config.file);
	config = (struct sizes_config){
		.kind = SIZES_EMPIRICAL, .min = 65, .max = 4095, .file = write_file("cut.txt", histogram_text)};
	refuse(&config, "no size in it from 65 (min) to 4095 (max)");
	unlink(config.file);
}

/* Weights that overflow when they are added. */
static void large_weights_are_weights(void **state)
{
	const struct sizes_config config = {
		.kind = SIZES_EMPIRICAL, .min = 1, .file = write_file("large.txt", "10 1.5e308\n30 1.5e308\n")};
	(void)state;
	struct sizes sizes = prepare(&config);
	assert_float_equal(sizes_mean(&sizes), 20, 1e-12);
	sizes_free(&sizes);
	unlink(config.file);
}

/* Far more lines than sizes, and more sizes than the table begins with. */
static void a_long_histogram_is_merged_as_it_is_read(void **state)
{
	enum { SIZES = 3000, LINES = 50000 };
	const char *path = write_file("long.txt", "");
	FILE *stream = fopen(path, "w");
	(void)state;
	for (uint32_t i = 0; i < LINES; i++)
		fprintf(stream, "%u 1\n", 1 + i * 7 % SIZES);
	fclose(stream);
	const struct sizes_config config = {.kind = SIZES_EMPIRICAL, .min = 1, .file = path};
	struct sizes sizes = prepare(&config);
	assert_int_equal(sizes.histogram.count, SIZES);
	double weight_sum = 0;
	for (size_t i = 0; i < sizes.histogram.count; i++) {
		assert_int_equal(sizes.histogram.bars[i].size_bytes, i + 1);
		weight_sum += sizes.histogram.bars[i].weight;
	}
	assert_float_equal(weight_sum, LINES, 1e-6);
	sizes_free(&sizes);
	unlink(path);
}

/* The kernel's own histogram: `perf kmem`'s sum over the objects of a shipped trace, and how many there are. */
static void a_trace_is_the_histogram_of_what_it_asks_for(void **state)
{
	const struct sizes_config config = {.kind = SIZES_EMPIRICAL, .min = 1, .file = "traces/sockets.kmt"};
	struct kml_error error;
	(void)state;
	struct kmt_reader *reader = kmt_open(config.file, &error);
	assert_non_null(reader);
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	double mean = (double)totals->perf_requested_bytes / (double)totals->perf_allocations;
	struct sizes sizes = prepare(&config);
	assert_float_equal(sizes_mean(&sizes), mean, 1e-6 * mean);
	sizes_free(&sizes);
	kmt_close(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cumulative_and_mean_are_the_sums_of_the_definition),
		cmocka_unit_test(internal_fragmentation_of_the_binary_system_follows),
		cmocka_unit_test(an_exponential_mean_is_that_of_its_ceiling),
		cmocka_unit_test(draws_follow_the_definition),
		cmocka_unit_test(the_quantile_stays_inside),
		cmocka_unit_test(parameters_that_contradict_each_other_are_named),
		cmocka_unit_test(histograms_that_are_hostile_are_refused_with_their_line),
		cmocka_unit_test(large_weights_are_weights),
		cmocka_unit_test(a_long_histogram_is_merged_as_it_is_read),
		cmocka_unit_test(a_trace_is_the_histogram_of_what_it_asks_for),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
