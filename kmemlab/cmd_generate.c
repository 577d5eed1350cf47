/* cmd_generate.c - `kmemlab generate`: a workload that is made, as a .kmt. */
#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "kmemlab/options.h"
#include "kmemlab/params_text.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/nearest.h"
#include "kmemlab/support/output.h"
#include "kmemlab/support/progress.h"
#include "workloads/generate/generate.h"
#include "workloads/generate/twin_fit.h"

enum { OPTION_LIST = KML_OPTION_OWN, OPTION_AGAINST, OPTION_FIT, OPTION_MODEL_SIZE };

struct arguments {
	const char *workload, *against, *fit;
	uint64_t model_bytes;
	bool list;
	struct kml_answer answer;
};

static const struct argp_option options[] = {
	{"out", 'o', "OUT.kmt", 0, "Where to write the trace", 0},
	{"against", OPTION_AGAINST, "STACK", 0,
	 "Of a workload that plays against a stack: which (default binary); as against=STACK at the end of its spec",
	 0},
	{"list", OPTION_LIST, NULL, 0, "All workloads with their parameters, or the one that is named", 0},
	{"fit", OPTION_FIT, "TRACE", 0,
	 "Fit a model to a trace and write that to OUT.json: a few kilobytes of which twin:model=OUT.json makes its "
	 "twin",
	 0},
	{"model-size", OPTION_MODEL_SIZE, "SIZE", 0,
	 "With --fit: about how large the model may be (default 16k); more is nearer in time", 0},
	{"quiet", 'q', NULL, 0, "No progress, no summary", 0},
	{0},
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case OPTION_AGAINST:
		arguments->against = value;
		return 0;
	case OPTION_LIST:
		arguments->list = true;
		return 0;
	case OPTION_FIT:
		arguments->fit = value;
		return 0;
	case OPTION_MODEL_SIZE:
		if (!kml_parse_size(value, &arguments->model_bytes) || arguments->model_bytes > 1 << 30)
			argp_error(state, "model-size '%s': give a size such as 16k, up to 1G", value);
		return 0;
	case ARGP_KEY_ARG:
		kml_option_once(&arguments->workload, value, "workload", "", state);
		return 0;
	case ARGP_KEY_END:
		if (arguments->fit && arguments->workload)
			argp_error(state, "fit %s, or make '%s': one at a time", arguments->fit, arguments->workload);
		if (arguments->fit && !arguments->answer.out)
			argp_error(state, "say where to write the model: -o OUT.json");
		if (!arguments->list && !arguments->fit && !arguments->workload)
			argp_error(state, "which workload? 'kmemlab generate --list' shows all");
		if (!arguments->list && !arguments->answer.out)
			argp_error(state, "say where to write: -o OUT.kmt (or give the workload to 'kmemlab replay' as "
					  "it is)");
		return 0;
	default:
		return kml_option_answer(key, value, &arguments->answer) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {options,
				 parse_option,
				 "NAME[:PARAMETER=VALUE,...]",
				 "Make a workload and write it as a .kmt. Wherever a command takes a trace it takes a "
				 "workload too; it is then made "
				 "as it is replayed, in memory for its live objects alone.\v"
				 "Examples:\n"
				 "  kmemlab generate --list\n"
				 "  kmemlab generate long_lists:pairs=5000,order=shuffled -o lists.kmt\n"
				 "  kmemlab generate --fit mine.kmt -o twin.json      a private trace stays private\n"
				 "  kmemlab compare mine.kmt twin:model=twin.json --allocator slub\n"
				 "  kmemlab replay long_lists --allocator first_fit\n"
				 "  kmemlab run long_lists traces/compile.kmt --out results/mine\n\n"
				 "The same spec gives the same bytes; another seed another workload of its kind.\n"
				 "Exit status: 0 done, 2 usage or bad input.",
				 NULL,
				 NULL,
				 NULL};

/* ------------------------------------------------------------------------------------------------ the list */

static void print_generator(const struct generator *generator)
{
	printf("%s - %s%s\n    %s\n    %s\n", generator->name, generator->title,
	       generator->is_reactive ? " (plays against a stack: against=STACK)" : "", generator->summary,
	       generator->citation);
	for (const struct kml_param *param = generator->params; param && param->name; param++)
		kml_print_param(param);
	putchar('\n');
}

/* Of "NAME:..." the name. */
static int list(const char *workload)
{
	size_t count, length = workload ? strcspn(workload, ":") : 0;
	const struct generator *const *all = generators(&count);
	struct kml_nearest nearest = kml_nearest_start(workload ? workload : "");
	bool found = false;
	for (size_t i = 0; i < count; i++) {
		bool wanted = !workload || (strncmp(all[i]->name, workload, length) == 0 && !all[i]->name[length]);
		if (wanted)
			print_generator(all[i]);
		found |= wanted;
		kml_nearest_offer(&nearest, all[i]->name);
	}
	if (found)
		return KML_EXIT_OK;
	fprintf(stderr, "kmemlab: no workload '%s'; the nearest is '%s' ('kmemlab generate --list' shows all)\n",
		workload, kml_nearest_name(&nearest));
	return KML_EXIT_USAGE;
}

/* ------------------------------------------------------------------------------------------------ writing */

/* What the workload says of itself at its end. */
static void print_report(const struct kmt_snapshot *snapshot, bool quiet)
{
	if (!quiet && strcmp(snapshot->label, GENERATE_REPORT) == 0)
		fprintf(stderr, "%s\n", snapshot->text);
}

static bool copy_items(struct kmt_reader *reader, struct kmt_writer *writer, bool quiet, struct kml_error *error)
{
	struct kml_progress progress;
	struct kmt_item item;
	enum kmt_item_kind kind;
	uint64_t done = 0;
	kml_progress_start(&progress, "generate", "events", kmt_reader_totals(reader)->events);
	progress.visible &= !quiet;
	while ((kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT) {
		if (kind == KMT_ITEM_SNAPSHOT)
			print_report(item.snapshot, quiet);
		if (!kmt_write_item(writer, &item, error))
			break;
		done += item.event_count;
		kml_progress_update(&progress, done);
	}
	kml_progress_finish(&progress);
	return kind == KMT_ITEM_END;
}

static bool write_trace(struct kmt_reader *reader, const struct arguments *arguments, struct kml_error *error)
{
	uint32_t cache_count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &cache_count);
	struct kmt_writer *writer =
		kmt_create(arguments->answer.out, kmt_reader_origin(reader), caches, cache_count, error);
	if (!writer)
		return false;
	if (copy_items(reader, writer, arguments->answer.quiet, error))
		return kmt_finish(writer, NULL, error);
	kmt_abandon(writer);
	return false;
}

/* ------------------------------------------------------------------------------------------------ fitting */

static bool write_model(const struct twin_model *model, const struct arguments *arguments, struct kml_error *error)
{
	struct kml_output output;
	if (!kml_output_open(&output, arguments->answer.out, error))
		return false;
	if (!twin_model_write(model, output.stream)) {
		kml_output_abandon(&output);
		return kml_fail(error, "%s: out of memory", arguments->answer.out);
	}
	long bytes = ftell(output.stream);
	if (!kml_output_commit(&output, error))
		return false;
	if (!arguments->answer.quiet)
		fprintf(stderr, "%s: %ld bytes; %" PRIu32 " caches, %" PRIu32 " kinds of allocations\n",
			arguments->answer.out, bytes, model->cache_count, model->kind_count);
	return true;
}

static int fit(const struct arguments *arguments)
{
	struct kml_error error;
	struct twin_model model;
	struct kmt_reader *reader = workload_open(arguments->fit, arguments->against, &error);
	if (!reader)
		return kml_report(&error, KML_EXIT_USAGE);
	bool done = twin_fit(reader, arguments->model_bytes, &model, &error) && write_model(&model, arguments, &error);
	twin_model_free(&model);
	kmt_close(reader);
	return done ? KML_EXIT_OK : kml_report(&error, KML_EXIT_USAGE);
}

int cmd_generate(int argc, char **argv)
{
	struct arguments arguments = {.model_bytes = 16 << 10};
	struct kml_error error;
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	if (arguments.fit)
		return fit(&arguments);
	if (arguments.list)
		return list(arguments.workload);
	if (!workload_is_spec(arguments.workload))
		return list(arguments.workload); /* says that there is none */
	workload_show_progress(!arguments.answer.quiet);
	struct kmt_reader *reader = workload_open(arguments.workload, arguments.against, &error);
	if (!reader)
		return kml_report(&error, KML_EXIT_USAGE);
	bool done = write_trace(reader, &arguments, &error);
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	if (done && !arguments.answer.quiet)
		fprintf(stderr, "%s: %" PRIu64 " events, %.3f s; at most %" PRIu64 " objects at once\n",
			arguments.answer.out, totals->events, (double)totals->duration_ns / 1e9, totals->objects);
	kmt_close(reader);
	return done ? KML_EXIT_OK : kml_report(&error, KML_EXIT_USAGE);
}
