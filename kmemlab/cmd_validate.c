/* cmd_validate.c - `kmemlab validate`: figures of the literature recomputed, expected beside measured. */
#include <argp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kmemlab/command.h"
#include "kmemlab/options.h"
#include "kmemlab/scripts.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/output.h"
#include "workloads/cell.h"
#include "workloads/validate/validate.h"

enum { OPTION_SEEDS = KML_OPTION_OWN, OPTION_LOGS };
enum { SECTIONS_MAX = 8, SEEDS_LEAST = 10 };

struct arguments {
	const char *sections[SECTIONS_MAX + 1];
	uint32_t section_count;
	struct kml_answer answer;
	struct validate_plan plan;
	struct validate_options options;
};

static const struct argp_option options[] = {
	{"section", 's', "NAME", 0,
	 "rounding, curves, overflow, worst, table or metrics (may be repeated; default all)", 0},
	{"seeds", OPTION_SEEDS, "N", 0,
	 "Of each simulated figure (default 10, at least 10: fewer tell no standard error)", 0},
	{"logs", OPTION_LOGS, "FOLDER", 0,
	 "kmem_SLAB.log, kmem_SLUB.log and kmem_SLOB.log of the public kmem-probe-framework, for the section table", 0},
	{"out", 'o', "FOLDER", 0, "Write validate.csv, tables/validate.tex and figures there", 0},
	{"no-figures", KML_OPTION_NO_FIGURES, NULL, 0, "With --out: validate.csv alone", 0},
	{"jobs", 'j', "N", 0, "Processes at a time (default: one a cpu)", 0},
	{"quiet", 'q', NULL, 0, "Only what is out, and the count", 0},
	{0},
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case 's':
		if (arguments->section_count == SECTIONS_MAX)
			argp_error(state, "more than %d sections", SECTIONS_MAX);
		arguments->sections[arguments->section_count++] = value;
		return 0;
	case OPTION_SEEDS:
		arguments->options.seeds = (uint32_t)kml_option_number(value, SEEDS_LEAST, 10000, "seeds", state);
		return 0;
	case OPTION_LOGS:
		arguments->options.logs = value;
		return 0;
	case 'j':
		arguments->plan.jobs = (uint32_t)kml_option_number(value, 1, 1024, "jobs", state);
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': sections are given with --section", value);
		return 0;
	default:
		return kml_option_answer(key, value, &arguments->answer) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	NULL,
	"Recompute the figures of the literature and show them beside what the papers, the formulas and real kernels "
	"say. "
	"Exact figures must be equal to the last digit, bounds must hold, simulated figures lie within three standard "
	"errors over the seeds.\v"
	"Examples:\n"
	"  kmemlab validate\n"
	"  kmemlab validate --section rounding --section worst\n"
	"  kmemlab validate --seeds 30 --out results/validate\n"
	"  kmemlab validate --section table --logs kmem-probe-framework/Logs/slab_compare\n\n"
	"Exit status: 0 done, 1 a figure is out, 2 usage or bad input.",
	NULL,
	NULL,
	NULL};

/* ------------------------------------------------------------------------------------------------ telling */

static void print_row(const struct validate_row *row)
{
	char tolerance[32] = "";
	if (row->kind == VALIDATE_SIMULATED)
		snprintf(tolerance, sizeof tolerance, "3 x %.3f", row->standard_error);
	else if (row->kind == VALIDATE_NEAR)
		snprintf(tolerance, sizeof tolerance, "%.2g", row->tolerance);
	printf("%-7s  %-34s %-33s %-30s %17s %17s  %-9s %s\n", validate_status_name(row->status), row->subject,
	       row->workload, row->quantity, row->expected_text, row->measured_text, validate_kind_name(row->kind),
	       tolerance);
	if (row->note[0])
		printf("         %s\n", row->note);
}

static void print_rows(const struct validate_rows *rows, bool quiet)
{
	const char *section = "", *source = "";
	for (uint32_t i = 0; i < rows->count; i++) {
		const struct validate_row *row = &rows->rows[i];
		if (quiet && row->status != VALIDATE_OUT)
			continue;
		if (strcmp(section, row->section) != 0)
			printf("%s%s\n%-7s  %-34s %-33s %-30s %17s %17s  %-9s %s\n", *section ? "\n" : "", row->section,
			       "", "of", "with", "figure", "expected", "measured", "kind", "within");
		if (strcmp(section, row->section) != 0 || strcmp(source, row->source) != 0)
			printf("  -- %s\n", row->source);
		section = row->section;
		source = row->source;
		print_row(row);
	}
}

static uint32_t count_status(const struct validate_rows *rows, enum validate_status status)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < rows->count; i++)
		count += rows->rows[i].status == status;
	return count;
}

/* ------------------------------------------------------------------------------------------------ files */

static void write_number(double value, bool has_value, FILE *stream)
{
	if (has_value)
		fprintf(stream, "%.9g", value);
	fputc(',', stream);
}

static void write_row(const struct validate_row *row, FILE *stream)
{
	const char *const texts[] = {
		row->section,       row->subject,      row->workload, row->quantity, validate_kind_name(row->kind),
		row->expected_text, row->measured_text};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		cell_write_text(texts[i], stream);
		fputc(',', stream);
	}
	write_number(row->tolerance, row->kind == VALIDATE_NEAR || row->kind == VALIDATE_SIMULATED, stream);
	write_number(row->standard_error, row->kind == VALIDATE_SIMULATED, stream);
	write_number(row->seeds, row->seeds > 0, stream);
	cell_write_text(validate_status_name(row->status), stream);
	fputc(',', stream);
	cell_write_text(row->source, stream);
	fputc(',', stream);
	cell_write_text(row->note, stream);
	fputc('\n', stream);
}

static bool write_csv(const struct validate_rows *rows, const char *folder, struct kml_error *error)
{
	struct kml_output output;
	char path[4096];
	int length = snprintf(path, sizeof path, "%s/validate.csv", folder);
	if (length < 0 || (size_t)length >= sizeof path)
		return kml_fail(error, "%s: the name is too long", folder);
	if (!kml_make_directory(folder, error) || !kml_output_open(&output, path, error))
		return false;
	fputs("section,subject,workload,quantity,kind,expected,measured,tolerance,standard_error,seeds,status,source,"
	      "note\n",
	      output.stream);
	for (uint32_t i = 0; i < rows->count; i++)
		write_row(&rows->rows[i], output.stream);
	return kml_output_commit(&output, error);
}

/* ------------------------------------------------------------------------------------------------ the command */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	interrupted = number;
}

static int tell(const struct arguments *arguments, const struct validate_rows *rows)
{
	struct kml_error error;
	uint32_t out = count_status(rows, VALIDATE_OUT), skipped = count_status(rows, VALIDATE_NOT_RUN);
	print_rows(rows, arguments->answer.quiet);
	printf("\n%" PRIu32 " figures: %" PRIu32 " ok, %" PRIu32 " out, %" PRIu32 " not run\n", rows->count,
	       rows->count - out - skipped, out, skipped);
	fflush(stdout);
	if (arguments->answer.out && !write_csv(rows, arguments->answer.out, &error))
		return kml_report(&error, KML_EXIT_USAGE);
	if (arguments->answer.out && !arguments->answer.no_figures)
		kml_run_script("validate", "validate.py", arguments->answer.out, arguments->answer.quiet);
	return out ? KML_EXIT_CHECK_FAILED : KML_EXIT_OK;
}

int cmd_validate(int argc, char **argv)
{
	struct arguments arguments = {
		.plan = {.jobs = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN), .interrupted = &interrupted},
		.options = {.seeds = SEEDS_LEAST, .source = kml_source_directory()},
	};
	struct validate_rows rows;
	struct kml_error error;
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	arguments.plan.quiet = arguments.answer.quiet;
	if (arguments.section_count > 0)
		arguments.plan.sections = arguments.sections;
	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
	if (!validate_run(&arguments.plan, &arguments.options, &rows, &error))
		return kml_report(&error, KML_EXIT_USAGE);
	status = tell(&arguments, &rows);
	free(rows.rows);
	return status;
}
