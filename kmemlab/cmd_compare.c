/* cmd_compare.c - `kmemlab compare`: how near are two workloads on the same stack? */
#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "kmemlab/compare_report.h"
#include "kmemlab/json.h"
#include "kmemlab/options.h"
#include "kmemlab/scripts.h"
#include "kmemlab/support/error.h"
#include "workloads/generate/generate.h"

enum {
	OPTION_SAMPLES = KML_OPTION_OWN,
	OPTION_MAX_WAPE,
	STACKS_MAX = 64,
};

struct arguments {
	const char *traces[COMPARE_SIDES];
	int trace_count;
	const char *stacks[STACKS_MAX];
	uint32_t stack_count;
	struct kml_answer answer;
	struct replay_options replay;
	double max_wape; /* NaN: not asked */
};

static const struct argp_option options[] = {
	{"allocator", 'a', "SPEC", 0, "A stack to replay both on; may be repeated", 0},
	{"samples", OPTION_SAMPLES, "N", 0, "Samples, at equal fractions of the time of each (default 100)", 0},
	{"out", 'o', "DIR", 0, "Write compare.csv, compare_curves.csv, compare_caches.csv and figures there", 0},
	{"max-wape", OPTION_MAX_WAPE, "X", 0,
	 "Exit status 1 when the WAPE of requested, held or wasted bytes is more, as in 0.1 or 10%", 0},
	{"level", KML_OPTION_LEVEL, "all|objects|pages", 0, "Which events to feed (default all)", 0},
	{"arena", KML_OPTION_ARENA, "auto|SIZE", 0,
	 "Size of the arena of both (default auto: twice the larger recorded peak)", 0},
	{"seed", KML_OPTION_SEED, "N", 0, "Seed of allocators that draw random numbers (default 1)", 0},
	{"check", KML_OPTION_CHECK, NULL, 0, "Check every answer against a shadow model too", 0},
	{"json", KML_OPTION_JSON, NULL, 0, "Print JSON", 0},
	{"no-figures", KML_OPTION_NO_FIGURES, NULL, 0, "With --out: the CSV files only", 0},
	{"plugin", KML_OPTION_PLUGIN, "FILE.so", 0, "Load the allocators of a shared object too (may be repeated)", 0},
	{0},
};

static void check_complete(const struct arguments *arguments, struct argp_state *state)
{
	if (arguments->trace_count < COMPARE_SIDES)
		argp_error(state, "which two workloads? Give two traces or specs, the original first");
	if (arguments->stack_count == 0)
		argp_error(state, "on which allocator? Give --allocator SPEC ('kmemlab list' shows all)");
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		if (arguments->trace_count == COMPARE_SIDES)
			argp_error(state, "two workloads at a time, '%s' is too many", value);
		arguments->traces[arguments->trace_count++] = value;
		return 0;
	case 'a':
		if (arguments->stack_count == STACKS_MAX)
			argp_error(state, "more than %d allocators", STACKS_MAX);
		arguments->stacks[arguments->stack_count++] = value;
		return 0;
	case OPTION_SAMPLES:
		arguments->replay.samples = (uint32_t)kml_option_number(value, 1, 100000, "samples", state);
		return 0;
	case OPTION_MAX_WAPE:
		arguments->max_wape = kml_option_ratio(value, "max-wape", state);
		return 0;
	case ARGP_KEY_END:
		check_complete(arguments, state);
		return 0;
	default:
		if (kml_option_replay(key, value, &arguments->replay, NULL, state) ||
		    kml_option_answer(key, value, &arguments->answer))
			return 0;
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	"A B",
	"Replay two workloads on the same stack and tell how near they are over time: a trace (A) and its twin (B), or "
	"a\n"
	"capture and the workload made of its slabinfo alone.\v"
	"Examples:\n"
	"  kmemlab compare traces/compile.kmt twin.kmt --allocator slub\n"
	"  kmemlab compare full.kmt series.kmt -a slub -a slab --out results/near --max-wape 10%\n"
	"  kmemlab compare a.kmt b.kmt -a binary --json | jq '.curves.waste.wape'\n\n"
	"Sample i of N stands at i/N of the time of each. WAPE = sum |a - b| / sum |a|, over samples, of requested, "
	"held,\n"
	"their difference (waste) and its terms, and of the slabs of every cache, matched by name. Both get the same "
	"arena.\n\n"
	"Exit status: 0 compared, 1 the limit was passed or the check failed, 2 usage or bad input.",
	NULL,
	NULL,
	NULL};

/* Both workloads, and what is written of them. */
struct session {
	const struct arguments *arguments;
	struct kmt_reader *readers[COMPARE_SIDES];
	char names[COMPARE_SIDES][256];
	struct reports reports;
	bool check_failed, limit_passed;
};

static bool open_both(struct session *session, struct kml_error *error)
{
	const struct arguments *arguments = session->arguments;
	for (int side = 0; side < COMPARE_SIDES; side++) {
		const char *path = arguments->traces[side];
		kml_option_trace_name(path, session->names[side], sizeof session->names[side]);
		session->readers[side] = workload_open(path, arguments->stacks[0], error);
		if (!session->readers[side])
			return false;
	}
	return true;
}

/* Requested, held and waste: the curves that a limit is for. */
static void check_limit(struct session *session, const struct compare_report *report)
{
	static const enum compare_curve limited[] = {COMPARE_REQUESTED, COMPARE_HELD, COMPARE_WASTE};
	double limit = session->arguments->max_wape;
	for (size_t i = 0; i < sizeof limited / sizeof *limited && !isnan(limit); i++) {
		double wape = compare_wape(&report->comparison->curves[limited[i]]);
		if (isnan(wape) || wape <= limit)
			continue; /* nothing on either side is near */
		fprintf(stderr, "kmemlab compare: on %s the WAPE of %s, %.6f, is more than %.6f\n", report->spec_text,
			compare_curve_name(limited[i]), wape, limit);
		session->limit_passed = true;
	}
}

static bool compare_on(struct session *session, const char *stack, struct kml_error *error)
{
	const struct arguments *arguments = session->arguments;
	struct comparison comparison;
	struct kml_spec *spec = kml_spec_parse(stack, error);
	if (!spec)
		return false;
	bool done = compare_run(session->readers, spec, &arguments->replay, &comparison, error);
	const struct compare_report report = {
		.path = {arguments->traces[COMPARE_A], arguments->traces[COMPARE_B]},
		.name = {session->names[COMPARE_A], session->names[COMPARE_B]},
		.spec_text = spec->text,
		.options = &arguments->replay,
		.comparison = &comparison,
	};
	for (int side = 0; side < COMPARE_SIDES; side++)
		session->check_failed |= comparison.result[side].check_failed;
	if (done)
		check_limit(session, &report);
	done = done && reports_add(&session->reports, &report, spec->text, error);
	compare_free(&comparison);
	kml_spec_free(spec);
	return done;
}

static bool compare_all(struct session *session, struct kml_error *error)
{
	const struct arguments *arguments = session->arguments;
	bool done = open_both(session, error) &&
		    reports_open(&session->reports, &compare_reports, &arguments->answer, error);
	for (uint32_t i = 0; done && i < arguments->stack_count; i++)
		done = compare_on(session, arguments->stacks[i], error);
	for (int side = 0; side < COMPARE_SIDES; side++)
		kmt_close(session->readers[side]);
	return reports_close(&session->reports, done, error);
}

int cmd_compare(int argc, char **argv)
{
	struct arguments arguments = {.replay = {.samples = 100, .seed = 1}, .max_wape = (double)NAN};
	struct kml_error error;
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	struct session session = {.arguments = &arguments};
	if (!compare_all(&session, &error))
		return kml_report(&error, session.check_failed ? KML_EXIT_CHECK_FAILED : KML_EXIT_USAGE);
	if (arguments.answer.json)
		kml_json_print(reports_take_json(&session.reports));
	if (arguments.answer.out && !arguments.answer.no_figures)
		kml_draw_figures("compare", "compare.py", arguments.answer.out);
	return session.limit_passed ? KML_EXIT_CHECK_FAILED : KML_EXIT_OK;
}
