/*
 * run.h - the parts of `kmemlab run` (cmd_run.c): which cells there are (run_plan.c), running them (run_cells.c), the
 * folder they come into (run_folder.c) and what it says of itself (run_manifest.c).
 */
#ifndef KMEMLAB_RUN_H
#define KMEMLAB_RUN_H

#include <glob.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "kmemlab/options.h"
#include "kmemlab/support/progress.h"
#include "workloads/cell.h"
#include "workloads/scan.h"

enum { RUN_LIST_MAX = 256 };

struct run_arguments {
	const char *traces[RUN_LIST_MAX];
	uint32_t trace_count;
	const char *specs[RUN_LIST_MAX];
	uint32_t spec_count;
	enum replay_level levels[REPLAY_LEVELS];
	uint32_t level_count;
	bool levels_given;
	uint32_t jobs;
	uint32_t timing_rounds;
	struct replay_options options;
	bool wants_smallest, in_smallest;
	struct kml_answer answer;
};

struct run_trace {
	const char *path;
	char name[256];
	char hash[32];
	struct replay_scan scan;
	bool is_whole; /* it was read to its end: the scan tells of it */
	uint64_t events;
};

struct run_plan {
	struct run_arguments *arguments;
	struct run_trace *traces;
	struct cell *cells;
	uint32_t cell_count;
	char (*stacks)[128]; /* specs of the object strategies on their page allocator, by place in the registry */
	char out[3072];      /* the final folder */
	char partial[3200];  /* the folder while the run is made */
	char parts[3300];    /* the rows of each cell, while they wait */
	glob_t shipped;
	/* Shared with the children. */
	struct cell_report *reports;
	uint64_t *round_ns; /* timing_rounds for each cell */
	char (*faults)[512];
	struct kml_progress progress;
	uint32_t ended;
	int write_error; /* errno; 0: every row was written */
	uint32_t damaged_traces;
	time_t started;
	volatile sig_atomic_t *interrupted; /* the signal; 0: none */
};

/*
 * Fill in traces and cells. False and *error: a spec is wrong, no trace could be read, or memory is short; a trace that
 * is damaged keeps its cells, which tell why. Free it in any case.
 */
bool run_plan_make(struct run_plan *plan, struct kml_error *error);
void run_plan_free(struct run_plan *plan);

/* Make the temporary folder. False and *error: what is there may not be replaced, or no folder can be made. */
bool run_folder_prepare(struct run_plan *plan, struct kml_error *error);
/* Where a cell's rows wait. */
void run_part_path(const struct run_plan *plan, uint32_t index, enum cell_file file, char *path, size_t size);
/* The CSV files, of the rows of all cells in the plan's order; the waiting ones are removed. */
bool run_folder_join(const struct run_plan *plan, struct kml_error *error);
/* The finished run takes the place of an earlier one. */
bool run_folder_publish(const struct run_plan *plan, struct kml_error *error);
/* Remove the temporary folder, if there is one. */
void run_folder_discard(const struct run_plan *plan);

/* Every cell in a process of its own, arguments->jobs at a time. False and *error: the rows could not be written. */
bool run_cells(struct run_plan *plan, struct kml_error *error);
/* The times of --timing, one cell at a time; nothing without it. */
bool run_timing(struct run_plan *plan, struct kml_error *error);
/* NULL when the cell is ok. */
const char *run_cell_fault(const struct run_plan *plan, uint32_t index);

/* manifest.json: program, machine, options, traces and cells. */
bool run_manifest_write(const struct run_plan *plan, struct kml_error *error);

#endif
