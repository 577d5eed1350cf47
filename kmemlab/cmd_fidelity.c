/* cmd_fidelity.c - `kmemlab fidelity`: does a stack end where the recorded kernel ended? */
#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "kmemlab/fidelity_report.h"
#include "kmemlab/json.h"
#include "kmemlab/options.h"
#include "kmemlab/scripts.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/progress.h"
#include "traces/proc/proc_text.h"

enum {
	OPTION_RECORDER = KML_OPTION_OWN,
	OPTION_MAX_WMAPE,
	OPTION_MIN_SKILL,
	TRACES_MAX = 256,
};

struct arguments {
	const char *traces[TRACES_MAX];
	uint32_t trace_count;
	const char *allocator; /* NULL: by the kernel of the trace */
	struct kml_answer answer;
	struct fidelity_options options;
	double max_wmape, min_skill; /* NaN: not asked */
};

static const struct argp_option options[] = {
	{"trace", 't', "TRACE", 0, "A trace, a .kmt; may be repeated, and given without --trace", 0},
	{"allocator", 'a', "SPEC", 0,
	 "The stack to judge (default: slub with the profile of the trace's kernel, where that is known)", 0},
	{"out", 'o', "DIR", 0, "Write fidelity.csv, fidelity_totals.csv, fidelity_orders.csv and figures there", 0},
	{"level", KML_OPTION_LEVEL, "all|objects", 0, "Which events to feed (default all)", 0},
	{"arena", KML_OPTION_ARENA, "auto|SIZE", 0,
	 "Size of the arena (default auto: the recorded machine where the stream begins at boot and the page "
	 "allocator can start empty, else twice the recorded peak)",
	 0},
	{"seed", KML_OPTION_SEED, "N", 0, "Seed of allocators that draw random numbers (default 1)", 0},
	{"with-recorder", OPTION_RECORDER, NULL, 0, "Judge the caches of the recording itself (gt_rb_page) too", 0},
	{"max-wmape", OPTION_MAX_WMAPE, "X", 0, "Exit status 1 when WMAPE is more, as in 0.01 or 1%", 0},
	{"min-skill", OPTION_MIN_SKILL, "X", 0, "Exit status 1 when skill is less, or has no value", 0},
	{"check", KML_OPTION_CHECK, NULL, 0, "Check every answer against a shadow model too", 0},
	{"json", KML_OPTION_JSON, NULL, 0, "Print JSON", 0},
	{"no-figures", KML_OPTION_NO_FIGURES, NULL, 0, "With --out: the CSV files only", 0},
	{"plugin", KML_OPTION_PLUGIN, "FILE.so", 0, "Load the allocators of a shared object too (may be repeated)", 0},
	{0},
};

static void add_trace(const char *path, struct arguments *arguments, struct argp_state *state)
{
	if (arguments->trace_count == TRACES_MAX)
		argp_error(state, "more than %d traces", TRACES_MAX);
	arguments->traces[arguments->trace_count++] = path;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	struct replay_options *replay = &arguments->options.replay;
	switch (key) {
	case ARGP_KEY_ARG:
	case 't':
		add_trace(value, arguments, state);
		return 0;
	case 'a':
		kml_option_once(&arguments->allocator, value, "allocator", "", state);
		return 0;
	case KML_OPTION_LEVEL:
		replay->level = kml_option_level(value, state);
		if (replay->level == REPLAY_PAGES)
			argp_error(state, "level pages has no objects, and so no slabs to judge: take all or objects");
		return 0;
	case OPTION_RECORDER:
		arguments->options.with_recorder = true;
		return 0;
	case OPTION_MAX_WMAPE:
		arguments->max_wmape = kml_option_ratio(value, "max-wmape", state);
		return 0;
	case OPTION_MIN_SKILL:
		arguments->min_skill = kml_option_ratio(value, "min-skill", state);
		return 0;
	case ARGP_KEY_END:
		if (arguments->trace_count == 0)
			argp_error(state, "which trace? Give a .kmt (those of traces/, or your own: 'kmemlab import')");
		return 0;
	default:
		if (kml_option_replay(key, value, replay, NULL, state) ||
		    kml_option_answer(key, value, &arguments->answer))
			return 0;
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	"TRACE...",
	"Replay a trace, and at every snapshot of /proc/slabinfo in it hold the stack's slabs against the kernel's.\v"
	"Examples:\n"
	"  kmemlab fidelity traces/reclaim.kmt\n"
	"  kmemlab fidelity boot.kmt --allocator slab --out results/boot\n"
	"  kmemlab fidelity traces/*.kmt --allocator recorded --json | jq '.wmape, .skill'\n"
	"  kmemlab fidelity mine.kmt --max-wmape 1% --min-skill 0.95\n\n"
	"WMAPE = sum |predicted - actual| / sum actual, in slab pages, over caches and the snapshots after the first.\n"
	"skill = 1 - sum |predicted - actual| / sum |actual - first snapshot|: 0 forecasts that nothing changes.\n"
	"Caches of slabinfo without events keep their slabs. A stream without slabinfo (SLOB) is judged by the pages\n"
	"in its walks over every slab page, or by its own slab page events.\n\n"
	"Exit status: 0 computed, 1 a limit was passed or the check failed, 2 usage or bad input.",
	NULL,
	NULL,
	NULL};

/* --------------------------------------------------------------------------------------- which allocator */

/* Tunables are filled by SLAB and zero in SLUB. */
static bool is_slab_kernel(struct kmt_reader *reader, bool *is_slab, struct kml_error *error)
{
	struct kmt_item item;
	enum kmt_item_kind kind = KMT_ITEM_EVENTS;
	*is_slab = false;
	if (!kmt_rewind(reader, error))
		return false;
	while ((kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT) {
		struct slabinfo_line line;
		if (kind != KMT_ITEM_SNAPSHOT || item.snapshot->kind != KMT_SNAPSHOT_SLABINFO)
			continue;
		for (const char *text = item.snapshot->text; slabinfo_next(&text, &line);)
			*is_slab |= line.limit > 0;
		return true;
	}
	return kind != KMT_ITEM_ERROR;
}

static const char *const *slub_profiles(void)
{
	const struct kml_allocator *slub = kml_registry_find("slub");
	for (const struct kml_param *param = slub ? slub->params : NULL; param && param->name; param++)
		if (strcmp(param->name, "profile") == 0)
			return param->choices;
	return NULL;
}

/* "slub:profile=linux-6.18" for "Linux 6.18.44 x86_64"; false when no profile is of that version. */
static bool choose_profile(const char *kernel, char *spec, size_t size)
{
	unsigned major, minor, profile_major, profile_minor;
	if (sscanf(kernel, "%*[^0-9]%u.%u", &major, &minor) != 2)
		return false;
	for (const char *const *profile = slub_profiles(); profile && *profile; profile++) {
		if (sscanf(*profile, "linux-%u.%u", &profile_major, &profile_minor) != 2 || profile_major != major ||
		    profile_minor != minor)
			continue;
		snprintf(spec, size, "slub:profile=%s", *profile);
		return true;
	}
	return false;
}

static struct kml_spec *choose_spec(const struct arguments *arguments, struct kmt_reader *reader,
				    struct kml_error *error)
{
	const char *kernel = kmt_reader_origin(reader)->kernel, *path = kmt_reader_path(reader);
	char text[64];
	bool is_slab;
	if (arguments->allocator)
		return kml_spec_parse(arguments->allocator, error);
	if (!is_slab_kernel(reader, &is_slab, error))
		return NULL;
	if (is_slab)
		kml_fail(error, "%s: its kernel had SLAB (slabinfo shows tunables): say --allocator slab", path);
	else if (choose_profile(kernel, text, sizeof text))
		return kml_spec_parse(text, error);
	else
		kml_fail(error, "%s: no profile of slub is known to fit its kernel (%s): say --allocator SPEC", path,
			 *kernel ? kernel : "which it does not name");
	return NULL;
}

/* ----------------------------------------------------------------------------------------------- running */

/* All traces, and what is written of them. */
struct session {
	const struct arguments *arguments;
	struct reports reports;
	struct fidelity_sums sums;
	bool check_failed;
};

static void show_progress(void *context, uint64_t events)
{
	kml_progress_update(context, events);
}

static bool judge_one(struct session *session, const char *path, struct kmt_reader *reader, const struct kml_spec *spec,
		      struct kml_error *error)
{
	struct kml_progress progress;
	struct fidelity fidelity;
	struct fidelity_options judged = session->arguments->options;
	char name[256];
	kml_option_trace_name(path, name, sizeof name);
	judged.replay.add_pages = replay_may_add_pages(reader, spec, &judged.replay);
	judged.progress = show_progress;
	judged.context = &progress;
	kml_progress_start(&progress, name, "events", kmt_reader_totals(reader)->events);
	bool done = fidelity_run(reader, spec, &judged, &fidelity, error);
	kml_progress_finish(&progress);
	const struct fidelity_report report = {.trace_path = path,
					       .trace_name = name,
					       .spec_text = spec->text,
					       .options = &judged,
					       .fidelity = &fidelity};
	session->check_failed |= fidelity.result.check_failed;
	if (done) {
		session->sums.error += fidelity.sums.error;
		session->sums.actual += fidelity.sums.actual;
		session->sums.moved += fidelity.sums.moved;
	}
	done = done && reports_add(&session->reports, &report, path, error);
	fidelity_free(&fidelity);
	return done;
}

static bool judge_trace(struct session *session, const char *path, struct kml_error *error)
{
	struct kmt_reader *reader = kmt_open(path, error);
	if (!reader)
		return false;
	struct kml_spec *spec = choose_spec(session->arguments, reader, error);
	bool done = spec && judge_one(session, path, reader, spec, error);
	kml_spec_free(spec);
	kmt_close(reader);
	return done;
}

/* One trace: its own object. Several: the ratios over all, and a list. */
static void print_json(struct session *session)
{
	cJSON *json = reports_take_json(&session->reports), *root = json;
	if (cJSON_IsArray(json)) {
		root = cJSON_CreateObject();
		kml_json_add_ratio(root, "wmape", fidelity_wmape(&session->sums));
		kml_json_add_ratio(root, "skill", fidelity_skill(&session->sums));
		cJSON_AddItemToObject(root, "traces", json);
	}
	kml_json_print(root);
}

/* The limits asked for; over all traces. */
static int check_limits(const struct session *session)
{
	const struct arguments *arguments = session->arguments;
	double wmape = fidelity_wmape(&session->sums), skill = fidelity_skill(&session->sums);
	int status = KML_EXIT_OK;
	if (!isnan(arguments->max_wmape) && !(wmape <= arguments->max_wmape)) {
		fprintf(stderr, "kmemlab fidelity: WMAPE %.6f is more than %.6f\n", wmape, arguments->max_wmape);
		status = KML_EXIT_CHECK_FAILED;
	}
	if (!isnan(arguments->min_skill) && !(skill >= arguments->min_skill)) {
		if (isnan(skill))
			fputs("kmemlab fidelity: skill has no value: no slab of the kernel's moved\n", stderr);
		else
			fprintf(stderr, "kmemlab fidelity: skill %.6f is less than %.6f\n", skill,
				arguments->min_skill);
		status = KML_EXIT_CHECK_FAILED;
	}
	return status;
}

static bool judge_all(struct session *session, struct kml_error *error)
{
	const struct arguments *arguments = session->arguments;
	bool done = reports_open(&session->reports, &fidelity_reports, &arguments->answer, error);
	for (uint32_t i = 0; done && i < arguments->trace_count; i++)
		done = judge_trace(session, arguments->traces[i], error);
	return reports_close(&session->reports, done, error);
}

int cmd_fidelity(int argc, char **argv)
{
	struct arguments arguments = {
		.options = {.replay = {.seed = 1}}, .max_wmape = (double)NAN, .min_skill = (double)NAN};
	struct kml_error error;
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	struct session session = {.arguments = &arguments};
	if (!judge_all(&session, &error))
		return kml_report(&error, session.check_failed ? KML_EXIT_CHECK_FAILED : KML_EXIT_USAGE);
	if (arguments.answer.json)
		print_json(&session);
	if (arguments.answer.out && !arguments.answer.no_figures)
		kml_draw_figures("fidelity", "fidelity.py", arguments.answer.out);
	return check_limits(&session);
}
