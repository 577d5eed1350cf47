/* rows.c - figures judged. See validate.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "workloads/validate/validate.h"

static const double STANDARD_ERRORS = 3;

const char *validate_kind_name(enum validate_kind kind)
{
	static const char *const names[VALIDATE_KINDS] = {"exact",   "near",     "simulated",
							  "at most", "at least", "skipped"};
	return names[kind];
}

const char *validate_status_name(enum validate_status status)
{
	static const char *const names[] = {"ok", "OUT", "not run"};
	return names[status];
}

struct validate_row *validate_add(struct validate_rows *rows, const char *section)
{
	KML_CHECK(rows->count < rows->room, "%s: more than %u rows", section, rows->room);
	struct validate_row *row = &rows->rows[rows->count++];
	*row = (struct validate_row){0};
	snprintf(row->section, sizeof row->section, "%s", section);
	return row;
}

static bool is_within(const struct validate_row *row)
{
	double off = fabs(row->measured - row->expected);
	switch (row->kind) {
	case VALIDATE_AT_MOST:
		return row->measured <= row->expected;
	case VALIDATE_AT_LEAST:
		return row->measured >= row->expected;
	case VALIDATE_SIMULATED:
		return row->seeds >= 2 && off <= STANDARD_ERRORS * row->standard_error + row->tolerance;
	default:
		return off <= row->tolerance;
	}
}

void validate_judge(struct validate_row *row, double expected, double measured, int digits)
{
	row->expected = expected;
	row->measured = measured;
	snprintf(row->expected_text, sizeof row->expected_text, "%.*f", digits, expected);
	snprintf(row->measured_text, sizeof row->measured_text, "%.*f", digits, measured);
	row->status = is_within(row) ? VALIDATE_OK : VALIDATE_OUT; /* NaN is out */
}

void validate_judge_text(struct validate_row *row, const char *expected, const char *measured)
{
	row->kind = VALIDATE_EXACT;
	snprintf(row->expected_text, sizeof row->expected_text, "%s", expected);
	snprintf(row->measured_text, sizeof row->measured_text, "%s", measured);
	row->status = strcmp(expected, measured) == 0 ? VALIDATE_OK : VALIDATE_OUT;
}

void validate_judge_count(struct validate_row *row, uint64_t expected, uint64_t measured)
{
	row->kind = VALIDATE_EXACT;
	validate_judge(row, (double)expected, (double)measured, 0);
	row->status = expected == measured ? VALIDATE_OK : VALIDATE_OUT;
}

void validate_fail(struct validate_row *row, const struct kml_error *error)
{
	row->status = VALIDATE_OUT;
	snprintf(row->measured_text, sizeof row->measured_text, "-");
	snprintf(row->note, sizeof row->note, "%.*s", (int)sizeof row->note - 1, error->text);
}
