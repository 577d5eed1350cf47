/* cmd_compare.c - `kmemlab compare`: how near are two workloads on the same stack? */
#include <argp.h>
#include <cjson/cJSON.h>
#include <inttypes.h>
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
#include "kmemlab/support/output.h"
#include "workloads/generate/generate.h"

enum {
	OPTION_SAMPLES = KML_OPTION_OWN,
	OPTION_JSON,
	OPTION_MAX_WAPE,
	OPTION_NO_FIGURES,
	STACKS_MAX = 64,
};

struct arguments {
	const char *traces[COMPARE_SIDES];
	int trace_count;
	const char *stacks[STACKS_MAX];
	uint32_t stack_count;
	const char *out;
	struct replay_options replay;
	bool json, no_figures;
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
	{"json", OPTION_JSON, NULL, 0, "Print JSON", 0},
	{"no-figures", OPTION_NO_FIGURES, NULL, 0, "With --out: the CSV files only", 0},
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
	case 'o':
		arguments->out = value;
		return 0;
	case OPTION_SAMPLES:
		arguments->replay.samples = (uint32_t)kml_option_number(value, 1, 100000, "samples", state);
		return 0;
	case OPTION_MAX_WAPE:
		arguments->max_wape = kml_option_ratio(value, "max-wape", state);
		return 0;
	case OPTION_JSON:
		arguments->json = true;
		return 0;
	case OPTION_NO_FIGURES:
		arguments->no_figures = true;
		return 0;
	case ARGP_KEY_END:
		check_complete(arguments, state);
		return 0;
	default:
		return kml_option_replay(key, value, &arguments->replay, NULL, state) ? 0 : ARGP_ERR_UNKNOWN;
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
	struct kml_output outputs[COMPARE_FILES];
	bool writes;
	cJSON *list;
	bool check_failed, limit_passed;
};

static bool open_all(struct session *session, struct kml_error *error)
{
	const struct arguments *arguments = session->arguments;
	for (int side = 0; side < COMPARE_SIDES; side++) {
		const char *path = arguments->traces[side];
		kml_option_trace_name(path, session->names[side], sizeof session->names[side]);
		session->readers[side] = workload_open(path, arguments->stacks[0], error);
		if (!session->readers[side])
			return false;
	}
	if (!arguments->out)
		return true;
	if (!kml_make_directory(arguments->out, error))
		return false;
	session->writes = true;
	for (int file = 0; file < COMPARE_FILES; file++) {
		char path[4000];
		snprintf(path, sizeof path, "%.3900s/%s", arguments->out, compare_file_name(file));
		if (!kml_output_open(&session->outputs[file], path, error))
			return false;
		fprintf(session->outputs[file].stream, "%s\n", compare_file_header(file));
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

static bool report_one(struct session *session, const struct compare_report *report, struct kml_error *error)
{
	for (int file = 0; session->writes && file < COMPARE_FILES; file++)
		compare_write(report, file, session->outputs[file].stream);
	check_limit(session, report);
	if (!session->arguments->json) {
		compare_print(report, stdout);
		return true;
	}
	cJSON *json = compare_json(report);
	if (!json || !cJSON_AddItemToArray(session->list, json))
		return kml_fail(error, "out of memory for the JSON of %s", report->spec_text);
	return true;
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
	done = done && report_one(session, &report, error);
	compare_free(&comparison);
	kml_spec_free(spec);
	return done;
}

static bool compare_all(struct session *session, struct kml_error *error)
{
	const struct arguments *arguments = session->arguments;
	if (!open_all(session, error))
		return false;
	for (uint32_t i = 0; i < arguments->stack_count; i++) {
		if (i > 0 && !arguments->json)
			putchar('\n');
		if (!compare_on(session, arguments->stacks[i], error))
			return false;
	}
	for (int file = 0; session->writes && file < COMPARE_FILES; file++)
		if (!kml_output_commit(&session->outputs[file], error))
			return false;
	return true;
}

static void close_all(struct session *session, bool done)
{
	for (int file = 0; session->writes && !done && file < COMPARE_FILES; file++)
		kml_output_abandon(&session->outputs[file]);
	for (int side = 0; side < COMPARE_SIDES; side++)
		kmt_close(session->readers[side]);
}

/* One stack: its own object. Several: a list. */
static void print_json(struct session *session)
{
	if (cJSON_GetArraySize(session->list) == 1) {
		kml_json_print(cJSON_DetachItemFromArray(session->list, 0));
		cJSON_Delete(session->list);
	} else {
		kml_json_print(session->list);
	}
}

static void draw_figures(const struct arguments *arguments)
{
	if (!arguments->out || arguments->no_figures)
		return;
	if (kml_run_script("compare", "compare.py", arguments->out, true) != 0)
		fprintf(stderr,
			"kmemlab compare: no figures (python3-matplotlib and python3-pandas make them); the CSV files "
			"are in %s\n",
			arguments->out);
}

int cmd_compare(int argc, char **argv)
{
	struct arguments arguments = {.replay = {.samples = 100, .seed = 1}, .max_wape = (double)NAN};
	struct kml_error error;
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	struct session session = {.arguments = &arguments, .list = cJSON_CreateArray()};
	bool done = compare_all(&session, &error);
	close_all(&session, done);
	if (!done) {
		cJSON_Delete(session.list);
		return kml_report(&error, session.check_failed ? KML_EXIT_CHECK_FAILED : KML_EXIT_USAGE);
	}
	if (arguments.json)
		print_json(&session);
	else
		cJSON_Delete(session.list);
	draw_figures(&arguments);
	return session.limit_passed ? KML_EXIT_CHECK_FAILED : KML_EXIT_OK;
}
