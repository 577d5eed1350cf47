/*
 * run.c - checks in processes of their own: their jobs first, two or more at a time, then what is concluded from them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/progress.h"
#include "workloads/jobs.h"
#include "workloads/validate/validate.h"

enum { CHECKS_MAX = 64, REASON_BYTES = 160 };

const char *const validate_sections[] = {"rounding", "curves", "overflow", "worst", "table", "metrics", NULL};

static const struct validate_check *const tables[] = {validate_rounding, validate_curves, validate_overflow,
						      validate_worst,    validate_table,  validate_metrics};

/* A job of a check, or (job == its count) its conclusion. */
struct unit {
	const struct validate_check *check;
	uint32_t job;
	char reason[REASON_BYTES]; /* of failure; empty: none */
};

struct run {
	const struct validate_options *options;
	const struct validate_check *checks[CHECKS_MAX];
	uint32_t job_counts[CHECKS_MAX];
	double *values[CHECKS_MAX]; /* in shared memory */
	uint32_t check_count, first_conclusion;
	struct unit *units; /* in shared memory: jobs, then conclusions */
	uint32_t unit_count;
	struct validate_rows *concluded; /* of each check, rows in shared memory */
	struct kml_progress progress;
	uint32_t base; /* of the units that run now */
	uint64_t done;
};

static bool wants(const struct validate_plan *plan, const char *section)
{
	for (const char *const *name = plan->sections; name && *name; name++)
		if (strcmp(*name, section) == 0)
			return true;
	return plan->sections == NULL;
}

static bool sections_are_known(const struct validate_plan *plan, struct kml_error *error)
{
	for (const char *const *name = plan->sections; name && *name; name++) {
		bool known = false;
		for (const char *const *section = validate_sections; *section; section++)
			known |= strcmp(*section, *name) == 0;
		if (!known)
			return kml_fail(error,
					"no section '%.64s': use rounding, curves, overflow, worst, table or metrics",
					*name);
	}
	return true;
}

static void *share(size_t bytes)
{
	void *memory = jobs_share(bytes);
	KML_CHECK(memory, "no memory for %zu bytes of results", bytes);
	return memory;
}

static void collect_checks(struct run *run, const struct validate_plan *plan)
{
	for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
		for (const struct validate_check *check = tables[i]; check->name; check++) {
			if (!wants(plan, check->section))
				continue;
			KML_CHECK(run->check_count < CHECKS_MAX, "more than %d checks", CHECKS_MAX);
			uint32_t at = run->check_count++;
			run->checks[at] = check;
			run->job_counts[at] = check->job_count ? check->job_count(run->options) : 0;
			run->values[at] = share((size_t)run->job_counts[at] * check->values * sizeof(double));
			run->first_conclusion += run->job_counts[at];
		}
}

static void collect_units(struct run *run)
{
	run->unit_count = run->first_conclusion + run->check_count;
	run->units = share(run->unit_count * sizeof *run->units);
	run->concluded = share(run->check_count * sizeof *run->concluded);
	uint32_t at = 0;
	for (uint32_t i = 0; i < run->check_count; i++) {
		for (uint32_t job = 0; job < run->job_counts[i]; job++)
			run->units[at++] = (struct unit){.check = run->checks[i], .job = job};
		run->concluded[i].room = run->checks[i]->rows_max;
		run->concluded[i].rows = share(run->checks[i]->rows_max * sizeof(struct validate_row));
	}
	for (uint32_t i = 0; i < run->check_count; i++)
		run->units[at++] = (struct unit){.check = run->checks[i], .job = run->job_counts[i]};
}

/* Why its jobs, or one of them, did not come to an end; NULL. */
static const char *reason_of(const struct run *run, uint32_t check)
{
	for (uint32_t i = 0; i < run->first_conclusion; i++)
		if (run->units[i].check == run->checks[check] && run->units[i].reason[0])
			return run->units[i].reason;
	return NULL;
}

static uint32_t number_of(const struct run *run, const struct validate_check *check)
{
	uint32_t at = 0;
	while (run->checks[at] != check)
		at++;
	return at;
}

static void tell_failure(struct validate_rows *rows, const struct validate_check *check, const char *reason)
{
	struct kml_error error;
	rows->count = 0;
	struct validate_row *row = validate_add(rows, check->section);
	snprintf(row->subject, sizeof row->subject, "%s", check->name);
	kml_fail(&error, "%s", reason);
	validate_fail(row, &error);
}

/* In a child. */
static int run_unit(void *context, uint32_t index)
{
	struct run *run = context;
	struct unit *unit = &run->units[run->base + index];
	uint32_t at = number_of(run, unit->check);
	struct kml_error error;
	if (unit->job < run->job_counts[at]) {
		double *values = run->values[at] + (size_t)unit->job * unit->check->values;
		if (!unit->check->job(run->options, unit->job, values, &error))
			snprintf(unit->reason, sizeof unit->reason, "%.*s", REASON_BYTES - 1, error.text);
		return 0;
	}
	if (reason_of(run, at))
		tell_failure(&run->concluded[at], unit->check, reason_of(run, at));
	else
		unit->check->conclude(run->options, run->values[at], &run->concluded[at]);
	return 0;
}

static void unit_ended(void *context, uint32_t index, int exit_status, const char *fault)
{
	struct run *run = context;
	struct unit *unit = &run->units[run->base + index];
	uint32_t at = number_of(run, unit->check);
	if (fault)
		snprintf(unit->reason, sizeof unit->reason, "%s", fault);
	else if (exit_status != 0)
		snprintf(unit->reason, sizeof unit->reason, "it ended with status %d", exit_status);
	if (unit->reason[0] && unit->job == run->job_counts[at])
		tell_failure(&run->concluded[at], unit->check, unit->reason);
	kml_progress_update(&run->progress, ++run->done);
}

static bool run_units(struct run *run, uint32_t from, uint32_t to, const struct validate_plan *plan,
		      const char *stderr_directory, struct kml_error *error)
{
	run->base = from;
	const struct jobs jobs = {.count = to - from,
				  .parallel = plan->jobs,
				  .run = run_unit,
				  .ended = unit_ended,
				  .context = run,
				  .stderr_directory = stderr_directory,
				  .interrupted = plan->interrupted};
	return to == from || jobs_run(&jobs, error);
}

static bool run_all(struct run *run, const struct validate_plan *plan, struct kml_error *error)
{
	char directory[] = "/tmp/kmemlab-validate-XXXXXX";
	if (!mkdtemp(directory))
		return kml_fail(error, "/tmp: no folder can be made there for what the jobs say");
	kml_progress_start(&run->progress, "validate", "jobs", run->unit_count);
	run->progress.visible &= !plan->quiet;
	bool done = run_units(run, 0, run->first_conclusion, plan, directory, error) &&
		    run_units(run, run->first_conclusion, run->unit_count, plan, directory, error);
	kml_progress_finish(&run->progress);
	rmdir(directory);
	return done;
}

bool validate_run(const struct validate_plan *plan, const struct validate_options *options, struct validate_rows *rows,
		  struct kml_error *error)
{
	struct run run = {.options = options};
	*rows = (struct validate_rows){0};
	if (!sections_are_known(plan, error))
		return false;
	collect_checks(&run, plan);
	collect_units(&run);
	if (!run_all(&run, plan, error))
		return false;
	for (uint32_t i = 0; i < run.check_count; i++)
		rows->room += run.concluded[i].count;
	rows->rows = calloc(rows->room + 1, sizeof *rows->rows);
	if (!rows->rows)
		return kml_fail(error, "out of memory for %u rows", rows->room);
	for (uint32_t i = 0; i < run.check_count; i++)
		for (uint32_t j = 0; j < run.concluded[i].count; j++)
			rows->rows[rows->count++] = run.concluded[i].rows[j];
	return true;
}
