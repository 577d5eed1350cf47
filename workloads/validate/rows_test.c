/*
 * rows_test.c - a figure that is out is told: each kind of figure on both sides of its limit, and checks that fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "workloads/validate/validate.h"

static enum validate_status judged(struct validate_row row, double expected, double measured)
{
	validate_judge(&row, expected, measured, 3);
	return row.status;
}

static void each_kind_has_its_limit(void **state)
{
	const struct validate_row near = {.kind = VALIDATE_NEAR, .tolerance = 0.5};
	const struct validate_row most = {.kind = VALIDATE_AT_MOST}, least = {.kind = VALIDATE_AT_LEAST};
	(void)state;
	assert_int_equal(judged(near, 10, 10.5), VALIDATE_OK);
	assert_int_equal(judged(near, 10, 10.51), VALIDATE_OUT);
	assert_int_equal(judged(near, 10, 9.49), VALIDATE_OUT);
	assert_int_equal(judged(near, 10, NAN), VALIDATE_OUT);
	assert_int_equal(judged(most, 10, 10), VALIDATE_OK);
	assert_int_equal(judged(most, 10, 10.001), VALIDATE_OUT);
	assert_int_equal(judged(most, 10, INFINITY), VALIDATE_OUT);
	assert_int_equal(judged(least, 10, 10), VALIDATE_OK);
	assert_int_equal(judged(least, 10, 9.999), VALIDATE_OUT);
	assert_int_equal(judged(least, 10, NAN), VALIDATE_OUT);
}

static void simulated_figures_lie_within_three_standard_errors(void **state)
{
	struct validate_row row = {.kind = VALIDATE_SIMULATED, .seeds = 10, .standard_error = 0.1, .tolerance = 0.005};
	(void)state;
	assert_int_equal(judged(row, 10, 10.304), VALIDATE_OK);
	assert_int_equal(judged(row, 10, 10.306), VALIDATE_OUT);
	assert_int_equal(judged(row, 10, 9.694), VALIDATE_OUT);
	row.seeds = 1; /* tells no error */
	assert_int_equal(judged(row, 10, 10), VALIDATE_OUT);
}

static void exact_figures_are_equal_to_the_last_digit(void **state)
{
	struct validate_row row = {0};
	(void)state;
	validate_judge_text(&row, "2731/2080", "2731/2080");
	assert_int_equal(row.status, VALIDATE_OK);
	validate_judge_text(&row, "2731/2080", "2731/2081");
	assert_int_equal(row.status, VALIDATE_OUT);
	/* Beyond the precision of a double. */
	validate_judge_count(&row, (1ull << 60) + 1, 1ull << 60);
	assert_int_equal(row.status, VALIDATE_OUT);
	validate_judge_count(&row, (1ull << 60) + 1, (1ull << 60) + 1);
	assert_int_equal(row.status, VALIDATE_OK);
}

static volatile sig_atomic_t interrupted;

static void unknown_sections_are_named(void **state)
{
	const char *const sections[] = {"rounding", "roundings", NULL};
	const struct validate_plan plan = {.sections = sections, .jobs = 1, .quiet = true, .interrupted = &interrupted};
	const struct validate_options options = {.seeds = 10, .source = "."};
	struct validate_rows rows;
	struct kml_error error;
	(void)state;
	assert_false(validate_run(&plan, &options, &rows, &error));
	assert_non_null(strstr(error.text, "roundings"));
}

/* Without the files that a section needs its rows are out, and say what is missing. */
static void missing_captures_are_out(void **state)
{
	const char *const sections[] = {"metrics", NULL};
	const struct validate_plan plan = {.sections = sections, .jobs = 2, .quiet = true, .interrupted = &interrupted};
	const struct validate_options options = {.seeds = 10, .source = "/nonexistent"};
	struct validate_rows rows;
	struct kml_error error;
	uint32_t out = 0;
	(void)state;
	assert_true(validate_run(&plan, &options, &rows, &error));
	for (uint32_t i = 0; i < rows.count; i++)
		if (rows.rows[i].status == VALIDATE_OUT) {
			assert_non_null(strstr(rows.rows[i].note, "/nonexistent"));
			out++;
		}
	assert_int_equal(out, 3); /* indices, slabinfo, meminfo */
	free(rows.rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_has_its_limit),
		cmocka_unit_test(simulated_figures_lie_within_three_standard_errors),
		cmocka_unit_test(exact_figures_are_equal_to_the_last_digit),
		cmocka_unit_test(unknown_sections_are_named),
		cmocka_unit_test(missing_captures_are_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
