/*
 * cmd_run.c - `kmemlab run`: many traces on many stacks, into a folder of results/ (its README.md tells the columns).
 *
 * Every cell runs in a process of its own. Its rows wait in files of their own until all cells are done; then they are
 * joined in the order of the plan, so that the bytes do not depend on how many ran at a time. The whole run is made
 * under a temporary name and renamed at its end: an interrupted run, or a full disk, leaves earlier results as they
 * were.
 */
#include <argp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kmemlab/command.h"
#include "kmemlab/run.h"
#include "kmemlab/scripts.h"
#include "kmemlab/support/error.h"

enum {
	OPTION_MIN = KML_OPTION_OWN,
	OPTION_NO_MIN,
	OPTION_SAMPLES,
	OPTION_TIMING,
};

static const struct argp_option options[] = {
	{"trace", 't', "TRACE", 0, "A trace (may be repeated, or given without --trace; default: the shipped ones)", 0},
	{"allocator", 'a', "SPEC", 0, "A stack (may be repeated; default: every registered allocator)", 0},
	{"level", KML_OPTION_LEVEL, "LEVEL,...", 0, "Which events to feed: all, objects, pages (default all,pages)", 0},
	{"out", 'o', "FOLDER", 0, "Where the results go (default results/TIME); an earlier run there is replaced", 0},
	{"arena", KML_OPTION_ARENA, "auto|SIZE|min", 0,
	 "Size of the arena: twice the recorded peak (default), a size such as 64M, or the smallest that does", 0},
	{"min", OPTION_MIN, NULL, 0, "Look for the smallest arena of each cell (the default)", 0},
	{"no-min", OPTION_NO_MIN, NULL, 0, "Do not: some ten times faster", 0},
	{"samples", OPTION_SAMPLES, "N", 0, "Samples of each cell, evenly spaced in events (default 100)", 0},
	{"seed", KML_OPTION_SEED, "N", 0, "Seed of allocators that draw random numbers (default 1)", 0},
	{"check", KML_OPTION_CHECK, NULL, 0,
	 "Check every answer against a shadow model: a failure makes the cell invalid", 0},
	{"timing", OPTION_TIMING, "N", OPTION_ARG_OPTIONAL,
	 "Afterwards measure times alone and in N rounds (default 5), one stack after the other in each; the median "
	 "counts",
	 0},
	{"jobs", 'j', "N", 0, "Cells at a time (default: one a cpu)", 0},
	{"no-figures", KML_OPTION_NO_FIGURES, NULL, 0, "CSV files and the summary table only", 0},
	{"plugin", KML_OPTION_PLUGIN, "FILE.so", 0, "Load the allocators of a shared object too (may be repeated)", 0},
	{0},
};

/* ---------------------------------------------------------------------------------------------- options */

static void parse_levels(const char *text, struct run_arguments *arguments, struct argp_state *state)
{
	char copy[64], *rest = copy;
	snprintf(copy, sizeof copy, "%s", text);
	arguments->level_count = 0;
	arguments->levels_given = true;
	for (char *word; (word = strsep(&rest, ",")) != NULL;) {
		enum replay_level level;
		bool known = replay_level_parse(word, &level);
		for (uint32_t i = 0; known && i < arguments->level_count; i++)
			known = arguments->levels[i] != level;
		if (!known)
			argp_error(state, "level '%s': give some of all, objects, pages, joined by commas, each once",
				   text);
		else
			arguments->levels[arguments->level_count++] = level;
	}
}

static void append(const char **list, uint32_t *count, const char *value, const char *what, struct argp_state *state)
{
	if (*count == RUN_LIST_MAX)
		argp_error(state, "more than %d %s: run them in parts", RUN_LIST_MAX, what);
	else
		list[(*count)++] = value;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct run_arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
	case 't':
		append(arguments->traces, &arguments->trace_count, value, "traces", state);
		return 0;
	case 'a':
		append(arguments->specs, &arguments->spec_count, value, "allocators", state);
		return 0;
	case 'j':
		arguments->jobs = (uint32_t)kml_option_number(value, 1, 1024, "jobs", state);
		return 0;
	case KML_OPTION_LEVEL:
		parse_levels(value, arguments, state);
		return 0;
	case OPTION_MIN:
	case OPTION_NO_MIN:
		arguments->wants_smallest = key == OPTION_MIN;
		return 0;
	case OPTION_SAMPLES:
		arguments->options.samples = (uint32_t)kml_option_number(value, 1, 1000000, "samples", state);
		return 0;
	case OPTION_TIMING:
		arguments->timing_rounds = value ? (uint32_t)kml_option_number(value, 1, 99, "timing", state) : 5;
		return 0;
	default:
		if (kml_option_replay(key, value, &arguments->options, &arguments->in_smallest, state) ||
		    kml_option_answer(key, value, &arguments->answer))
			return 0;
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	"[TRACE...]",
	"Replay traces on allocator stacks and write CSV files, figures and a summary table.\v"
	"Examples:\n"
	"  kmemlab run                                        every shipped trace on every allocator\n"
	"  kmemlab run mine.kmt -a binary -a fibonacci -a recorded --out results/mine\n"
	"  kmemlab run mine.kmt -a binary -a mine --plugin ./mine.so --timing --no-min\n\n"
	"A cell that fails is a row `invalid` with its reason and loses no other. Exit status: 0 all cells are ok, 1 "
	"some "
	"are invalid, 2 usage, a trace that could not be read, or no place to write.",
	NULL,
	NULL,
	NULL};

/* ------------------------------------------------------------------------------------------------- whole */

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

static void analyse(const struct run_plan *plan)
{
	if (!plan->arguments->answer.no_figures && kml_draw_figures("run", "figures.py", plan->out))
		kml_draw_figures("run", "classics.py", plan->out);
	if (!interrupted && kml_run_script("run", "summary.py", plan->out, false) != 0)
		fprintf(stderr, "kmemlab run: no summary table; the CSV files are in %s\n", plan->out);
}

static bool make_run(struct run_plan *plan, struct kml_error *error)
{
	if (!run_cells(plan, error) || !run_timing(plan, error))
		return false;
	if (!run_folder_join(plan, error) || !run_manifest_write(plan, error))
		return false;
	if (interrupted)
		return kml_fail(error, "interrupted");
	return run_folder_publish(plan, error);
}

/* The number of invalid cells, each named. */
static uint32_t report_invalid(const struct run_plan *plan)
{
	uint32_t invalid = 0;
	for (uint32_t i = 0; i < plan->cell_count; i++) {
		if (!run_cell_fault(plan, i))
			continue;
		invalid++;
		fprintf(stderr, "kmemlab run: %s on %s at level %s is invalid: %s\n", plan->cells[i].trace_name,
			plan->cells[i].spec_text, replay_level_name(plan->cells[i].options.level),
			run_cell_fault(plan, i));
	}
	return invalid;
}

static int run(struct run_plan *plan)
{
	struct kml_error error = {{0}};
	bool done = run_plan_make(plan, &error) && run_folder_prepare(plan, &error) && make_run(plan, &error);
	if (!done)
		run_folder_discard(plan);
	if (interrupted) {
		signal(interrupted, SIG_DFL);
		raise(interrupted);
	}
	if (!done)
		return kml_report(&error, KML_EXIT_USAGE);
	uint32_t invalid = report_invalid(plan);
	analyse(plan);
	printf("results: %s\n", plan->out);
	if (plan->damaged_traces > 0)
		return KML_EXIT_USAGE;
	return invalid > 0 ? KML_EXIT_CHECK_FAILED : KML_EXIT_OK;
}

int cmd_run(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct run_arguments arguments = {
		.levels = {REPLAY_ALL, REPLAY_PAGES},
		.level_count = 2,
		.jobs = cpus > 0 ? (uint32_t)cpus : 1,
		.wants_smallest = true,
		.options = {.samples = 100, .seed = 1},
	};
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	struct sigaction action = {.sa_handler = on_signal};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	struct run_plan plan = {.arguments = &arguments, .started = time(NULL), .interrupted = &interrupted};
	status = run(&plan);
	run_plan_free(&plan);
	return status;
}
