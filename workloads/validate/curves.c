/*
 * curves.c - internal fragmentation against the distribution of requests: theory and measurement, for a figure.
 *
 * Objects come at a load and live whatever their size is (steady.c), so live bytes keep the ratio of one request:
 * IF = 1 - E[X]/E[B] (rounding.c). Measured is 1 - mean requested / mean granted of replays, over seeds. A mean over
 * about L live objects carries a bias of order 1/L, which is in the tolerance.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "workloads/figures.h"
#include "workloads/generate/generate.h"
#include "workloads/generate/sizes.h"
#include "workloads/validate/size_table.h"
#include "workloads/validate/validate.h"

static const char SECTION[] = "curves";

enum { SYSTEMS = 5, POINTS = 17, LIVE = 2000, EVENTS = 60000 };

static const char *const systems[SYSTEMS] = {"binary", "fibonacci", "weighted", "kary:k=3", "kary:k=4"};

/* Sizes in units: uniform from 1 to N, exponential of a mean. */
static const struct point {
	uint32_t kind; /* enum sizes_kind */
	uint32_t units;
} points[POINTS] = {
	{SIZES_UNIFORM, 16},      {SIZES_UNIFORM, 23},     {SIZES_UNIFORM, 32},      {SIZES_UNIFORM, 45},
	{SIZES_UNIFORM, 64},      {SIZES_UNIFORM, 100},    {SIZES_UNIFORM, 181},     {SIZES_UNIFORM, 256},
	{SIZES_UNIFORM, 512},     {SIZES_UNIFORM, 1000},   {SIZES_EXPONENTIAL, 8},   {SIZES_EXPONENTIAL, 16},
	{SIZES_EXPONENTIAL, 32},  {SIZES_EXPONENTIAL, 64}, {SIZES_EXPONENTIAL, 128}, {SIZES_EXPONENTIAL, 256},
	{SIZES_EXPONENTIAL, 500},
};

/* Sizes as the generator draws them. */
static bool prepare(struct sizes *sizes, const struct point *point, struct kml_error *error)
{
	const struct sizes_config config = {.kind = point->kind,
					    .min = 1,
					    .max = point->kind == SIZES_UNIFORM ? point->units : 0,
					    .mean = point->units};
	return sizes_prepare(sizes, &config, "curves", error);
}

/* ------------------------------------------------------------------------------------------------ measured */

static uint32_t job_count(const struct validate_options *options)
{
	return SYSTEMS * POINTS * options->seeds;
}

/* Units of a byte: what the generator asks for is what the system rounds. */
static void write_specs(uint32_t cell, uint32_t seed, char *workload, size_t workload_room, char *stack,
			size_t stack_room)
{
	const struct point *point = &points[cell % POINTS];
	const char *system = systems[cell / POINTS];
	bool uniform = point->kind == SIZES_UNIFORM;
	snprintf(workload, workload_room, "steady:sizes=%s,%s=%u,load=%u,events=%d,seed=%u", sizes_names[point->kind],
		 uniform ? "max" : "mean", point->units, LIVE * (uniform ? (point->units + 1) / 2 : point->units),
		 EVENTS, seed);
	snprintf(stack, stack_room, "%s%cunit=1", system, strchr(system, ':') ? ',' : ':');
}

static bool play(const struct validate_options *options, uint32_t job, double *values, struct kml_error *error)
{
	char workload[160], stack[64];
	const struct replay_options replay = {.arena_bytes = 64u << 20, .seed = 1};
	struct replay_result result;
	struct replay_figures figures;
	write_specs(job / options->seeds, 1 + job % options->seeds, workload, sizeof workload, stack, sizeof stack);
	struct kmt_reader *reader = workload_open(workload, NULL, error);
	struct kml_spec *spec = reader ? kml_spec_parse(stack, error) : NULL;
	bool done = spec && replay_run(reader, spec, &replay, NULL, NULL, NULL, &result, error);
	if (done) {
		replay_figures(&result, &figures);
		values[0] = 100 * figures.internal_fragmentation;
	}
	kml_spec_free(spec);
	kmt_close(reader);
	return done;
}

/* ------------------------------------------------------------------------------------------------ expected */

static double expected_percent(const struct size_table *table, const struct sizes *sizes)
{
	double blocks = 0, below = 0;
	for (uint32_t i = 0; i < table->size_count; i++) {
		double up_to = sizes_cumulative(sizes, table->size_units[i]);
		blocks += table->size_units[i] * (up_to - below);
		below = up_to;
	}
	return 100 * (1 - sizes_mean(sizes) / blocks);
}

static void judge_point(const struct validate_options *options, struct validate_row *row,
			const struct size_table *table, const struct point *point, const double *values)
{
	struct kml_error error;
	struct sizes sizes;
	double sum = 0, squares = 0;
	if (!prepare(&sizes, point, &error)) {
		validate_fail(row, &error);
		return;
	}
	for (uint32_t i = 0; i < options->seeds; i++)
		sum += values[i];
	double mean = sum / options->seeds;
	for (uint32_t i = 0; i < options->seeds; i++)
		squares += (values[i] - mean) * (values[i] - mean);
	row->kind = VALIDATE_SIMULATED;
	row->seeds = options->seeds;
	row->standard_error = sqrt(squares / (options->seeds - 1) / options->seeds);
	row->tolerance = 100.0 / LIVE;
	validate_judge(row, expected_percent(table, &sizes), mean, 3);
	sizes_free(&sizes);
}

static void conclude(const struct validate_options *options, const double *values, struct validate_rows *rows)
{
	for (uint32_t system = 0; system < SYSTEMS; system++) {
		struct kml_error error;
		struct size_table *table = size_table_of(systems[system], &error);
		for (uint32_t i = 0; i < POINTS; i++) {
			const struct point *point = &points[i];
			const double *measured = values + (size_t)(system * POINTS + i) * options->seeds;
			struct validate_row *row = validate_add(rows, SECTION);
			snprintf(row->subject, sizeof row->subject, "%s", systems[system]);
			snprintf(row->workload, sizeof row->workload,
				 point->kind == SIZES_UNIFORM ? "uniform 1..%u" : "exponential, mean %u", point->units);
			snprintf(row->quantity, sizeof row->quantity, "internal %%");
			snprintf(row->source, sizeof row->source, "1 - E[X]/E[B], E[B] = sum b_i (F(b_i) - F(b_i-1))");
			if (table)
				judge_point(options, row, table, point, measured);
			else
				validate_fail(row, &error);
		}
		free(table);
	}
}

const struct validate_check validate_curves[] = {
	{.section = SECTION,
	 .name = "steady",
	 .rows_max = SYSTEMS * POINTS,
	 .job_count = job_count,
	 .values = 1,
	 .job = play,
	 .conclude = conclude},
	{0},
};
