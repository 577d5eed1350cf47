/*
 * run_cells.c - the cells of a run, each in a process of its own, and the times of --timing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/run.h"
#include "kmemlab/support/error.h"
#include "workloads/jobs.h"

enum { CHILD_OK = 0, CHILD_CANNOT_WRITE = 3 };

/* In the child. */
static int run_one_cell(void *context, uint32_t index)
{
	struct run_plan *plan = context;
	FILE *streams[CELL_FILES] = {NULL};
	char path[4200];
	for (int file = 0; file < CELL_FILES; file++) {
		run_part_path(plan, index, file, path, sizeof path);
		streams[file] = fopen(path, "wb");
		if (!streams[file]) {
			plan->reports[index].write_error = errno;
			return CHILD_CANNOT_WRITE;
		}
	}
	struct cell_report report;
	cell_run(&plan->cells[index], streams, &report);
	for (int file = 0; file < CELL_FILES; file++)
		if (fclose(streams[file]) != 0 && !report.write_error)
			report.write_error = errno;
	plan->reports[index] = report;
	return report.write_error ? CHILD_CANNOT_WRITE : CHILD_OK;
}

static void cell_ended(void *context, uint32_t index, int exit_status, const char *fault)
{
	struct run_plan *plan = context;
	if (exit_status == CHILD_CANNOT_WRITE)
		plan->write_error = plan->reports[index].write_error;
	else if (fault)
		snprintf(plan->faults[index], sizeof plan->faults[index], "%s", fault);
	else if (exit_status != CHILD_OK)
		snprintf(plan->faults[index], sizeof plan->faults[index], "stopped with exit status %d", exit_status);
	kml_progress_update(&plan->progress, ++plan->ended);
}

const char *run_cell_fault(const struct run_plan *plan, uint32_t index)
{
	if (plan->faults[index][0])
		return plan->faults[index];
	return plan->reports[index].reason[0] ? plan->reports[index].reason : NULL;
}

static bool run_jobs(struct run_plan *plan, const char *label, struct jobs *jobs, struct kml_error *error)
{
	jobs->stderr_directory = plan->parts;
	jobs->interrupted = plan->interrupted;
	plan->ended = 0;
	kml_progress_start(&plan->progress, label, "cells", jobs->count);
	bool done = jobs_run(jobs, error);
	kml_progress_finish(&plan->progress);
	return done;
}

bool run_cells(struct run_plan *plan, struct kml_error *error)
{
	struct jobs jobs = {.count = plan->cell_count,
			    .parallel = plan->arguments->jobs,
			    .context = plan,
			    .run = run_one_cell,
			    .ended = cell_ended};
	if (!run_jobs(plan, "replay", &jobs, error))
		return false;
	if (plan->write_error)
		return kml_fail(error, "%s: cannot write the results: %s: free some space or choose another --out",
				plan->out, strerror(plan->write_error));
	return true;
}

/* ------------------------------------------------------------------------------------------------ timing */

/* Jobs of the timing: in each round every stack of a trace and level in turn. */
struct timing {
	struct run_plan *plan;
	uint32_t *cell; /* by job */
	uint32_t *round;
};

static int time_one_cell(void *context, uint32_t job)
{
	struct timing *timing = context;
	uint32_t index = timing->cell[job];
	struct cell cell = timing->plan->cells[index];
	FILE *const none[CELL_FILES] = {NULL};
	struct cell_report report;
	cell.wants_smallest = false;
	cell.options.check = false;
	cell_run(&cell, none, &report);
	timing->plan->round_ns[(size_t)index * timing->plan->arguments->timing_rounds + timing->round[job]] =
		report.elapsed_ns;
	return CHILD_OK;
}

static void time_ended(void *context, uint32_t job, int exit_status, const char *fault)
{
	struct timing *timing = context;
	(void)job;
	(void)exit_status;
	(void)fault;
	kml_progress_update(&timing->plan->progress, ++timing->plan->ended);
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
	return (left > right) - (left < right);
}

static uint32_t plan_rounds(const struct run_plan *plan, struct timing *timing)
{
	uint32_t jobs = 0;
	for (uint32_t first = 0, end; first < plan->cell_count; first = end) {
		const struct cell *cell = &plan->cells[first];
		for (end = first; end < plan->cell_count && plan->cells[end].trace_name == cell->trace_name &&
				  plan->cells[end].options.level == cell->options.level;)
			end++;
		for (uint32_t round = 0; round < plan->arguments->timing_rounds; round++) {
			for (uint32_t i = first; i < end; i++) {
				if (run_cell_fault(plan, i))
					continue;
				timing->cell[jobs] = i;
				timing->round[jobs++] = round;
			}
		}
	}
	return jobs;
}

bool run_timing(struct run_plan *plan, struct kml_error *error)
{
	uint32_t rounds = plan->arguments->timing_rounds;
	if (rounds == 0)
		return true;
	struct timing timing = {.plan = plan,
				.cell = calloc((size_t)plan->cell_count * rounds, sizeof *timing.cell),
				.round = calloc((size_t)plan->cell_count * rounds, sizeof *timing.round)};
	bool done = timing.cell && timing.round;
	if (done) {
		struct jobs jobs = {.count = plan_rounds(plan, &timing),
				    .parallel = 1,
				    .run = time_one_cell,
				    .ended = time_ended,
				    .context = &timing};
		done = run_jobs(plan, "timing", &jobs, error);
	} else {
		kml_fail(error, "out of memory for %u rounds", rounds);
	}
	for (uint32_t i = 0; done && i < plan->cell_count; i++) {
		uint64_t *times = &plan->round_ns[(size_t)i * rounds];
		qsort(times, rounds, sizeof *times, compare_u64);
		if (times[rounds / 2] > 0)
			plan->reports[i].elapsed_ns = times[rounds / 2];
	}
	free(timing.cell);
	free(timing.round);
	return done;
}
