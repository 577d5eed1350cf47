/* cmd_replay.c - `kmemlab replay`: one trace on one allocator stack, its figures on the terminal. */
#include <argp.h>
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "fuzz/program.h"
#include "kmemlab/command.h"
#include "kmemlab/json.h"
#include "kmemlab/options.h"
#include "kmemlab/support/error.h"
#include "workloads/figures.h"
#include "workloads/generate/generate.h"
#include "workloads/replay.h"
#include "workloads/scan.h"

enum { OPTION_SAMPLES = KML_OPTION_OWN };

struct arguments {
	const char *trace;
	const char *allocator;
	bool seed_given, samples_given;
	struct replay_options options;
	bool smallest;
	struct kml_answer answer;
};

static const struct argp_option options[] = {
	{"trace", 't', "TRACE", 0, "The trace, a .kmt, or a program as .ops; may also be given without --trace", 0},
	{"allocator", 'a', "SPEC", 0, "The stack, as in binary or binary:policy=fifo ('kmemlab list' shows all)", 0},
	{"level", KML_OPTION_LEVEL, "all|objects|pages", 0, "Which events to feed (default all)", 0},
	{"arena", KML_OPTION_ARENA, "auto|SIZE|min", 0,
	 "Size of the arena: twice the recorded peak (default), a size such as 64M, or the smallest that does", 0},
	{"check", KML_OPTION_CHECK, NULL, 0, "Check every answer against a shadow model, and deeply at every sample",
	 0},
	{"samples", OPTION_SAMPLES, "N", 0, "Samples, evenly spaced in events (default 20; --check looks deep there)",
	 0},
	{"seed", KML_OPTION_SEED, "N", 0, "Seed of allocators that draw random numbers (default 1)", 0},
	{"json", KML_OPTION_JSON, NULL, 0, "Print JSON", 0},
	{"plugin", KML_OPTION_PLUGIN, "FILE.so", 0, "Load the allocators of a shared object too (may be repeated)", 0},
	{0},
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	static const char takes_many[] = " ('kmemlab run' takes many)";
	struct arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
	case 't':
		kml_option_once(&arguments->trace, value, "trace", takes_many, state);
		return 0;
	case 'a':
		kml_option_once(&arguments->allocator, value, "allocator", takes_many, state);
		return 0;
	case OPTION_SAMPLES:
		arguments->samples_given = true;
		arguments->options.samples = (uint32_t)kml_option_number(value, 0, 1000000, "samples", state);
		return 0;
	case ARGP_KEY_END:
		if (!arguments->trace)
			argp_error(state, "which trace? Give a .kmt (those of traces/, or your own: 'kmemlab import')");
		return 0;
	default:
		arguments->seed_given |= key == KML_OPTION_SEED;
		if (kml_option_replay(key, value, &arguments->options, &arguments->smallest, state) ||
		    kml_option_answer(key, value, &arguments->answer))
			return 0;
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	"TRACE",
	"Replay a trace on an allocator stack and print what it cost.\v"
	"Examples:\n"
	"  kmemlab replay traces/compile.kmt --allocator fibonacci\n"
	"  kmemlab replay traces/compile.kmt --allocator binary --arena min\n"
	"  kmemlab replay mine.kmt --allocator mine --plugin ./mine.so --check\n"
	"  kmemlab replay --check crash.kmt\n\n"
	"A program, as a fuzzer writes it (.kmt or .ops), says itself on which stack, in which arena and with which\n"
	"seed it runs; what is given beside it wins.\n"
	"Exit status: 0 done, 1 the check failed, 2 usage or bad input. A failed allocation is a result, not an error.",
	NULL,
	NULL,
	NULL};

/* ---------------------------------------------------------------------------------------------- printing */

static double share(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static void print_waste(const struct replay_sample *sample)
{
	uint64_t held = sample->stats.held_bytes, waste = held - sample->requested_bytes;
	printf("waste at the peak of held bytes: %" PRIu64 " bytes, %.2f %% of held\n", waste, share(waste, held));
	for (int kind = 0; kind < KML_WASTE_KINDS; kind++)
		if (sample->stats.waste_bytes[kind] > 0)
			printf("  %-16s %16" PRIu64 "  %6.2f %%\n", kml_waste_name(kind),
			       sample->stats.waste_bytes[kind], share(sample->stats.waste_bytes[kind], held));
}

static void print_failures(const struct replay_result *result)
{
	printf("failed allocations: %" PRIu64 "\n", replay_failures(result));
	for (int status = KML_OK + 1; status < KML_STATUS_COUNT; status++)
		if (result->failures[status] > 0)
			printf("  %-18s %14" PRIu64 "\n", kml_status_name(status), result->failures[status]);
	if (result->skipped_frees > 0)
		printf("  frees of these, skipped %9" PRIu64 "\n", result->skipped_frees);
	if (result->dead_frees > 0)
		printf("frees of what is not live, skipped: %" PRIu64 "\n", result->dead_frees);
	if (result->refused_frees > 0)
		printf("misuse in the trace, refused: %" PRIu64 "\n", result->refused_frees);
	if (result->unserved_closes > 0)
		printf("caches closed with live objects, refused: %" PRIu64 "\n", result->unserved_closes);
}

static void print_text(const struct arguments *arguments, const struct replay_result *result, uint64_t smallest_bytes)
{
	struct replay_figures figures;
	replay_figures(result, &figures);
	printf("%s on %s, level %s\n", arguments->trace, arguments->allocator,
	       replay_level_name(arguments->options.level));
	printf("arena %" PRIu64 " bytes", result->arena_bytes);
	if (arguments->smallest)
		printf(smallest_bytes ? ", the smallest that does" : ", none up to 64 times the requested peak does");
	printf("; %" PRIu64 " events, %" PRIu64 " allocations, %" PRIu64 " frees\n", result->events,
	       result->allocations, result->frees);
	printf("%-12s %16s %16s\n", "bytes", "peak", "mean");
	printf("%-12s %16" PRIu64 " %16.0f\n", "requested", result->peak_requested_bytes, result->mean_requested_bytes);
	printf("%-12s %16" PRIu64 " %16.0f\n", "granted", result->peak_granted_bytes, result->mean_granted_bytes);
	printf("%-12s %16" PRIu64 " %16.0f\n", "held", result->peak_held_bytes, result->mean_held_bytes);
	printf("%-12s %16" PRIu64 "\n", "metadata", result->peak_metadata_bytes);
	print_waste(&result->at_peak_held);
	printf("internal fragmentation %.2f %%, slab slack %.2f %%, peak held / peak requested %.4f\n",
	       100 * figures.internal_fragmentation, 100 * figures.slab_slack, figures.johnstone_wilson[3]);
	printf("Johnstone-Wilson %.4f %.4f %.4f %.4f; as perf kmem: %.6f %%\n", figures.johnstone_wilson[0],
	       figures.johnstone_wilson[1], figures.johnstone_wilson[2], figures.johnstone_wilson[3],
	       figures.perf_fragmentation_percent);
	print_failures(result);
	if (result->events > 0)
		printf("%.1f ns per event\n", (double)result->elapsed_ns / (double)result->events);
}

static cJSON *result_json(const struct arguments *arguments, const struct replay_result *result,
			  uint64_t smallest_bytes)
{
	struct replay_figures figures;
	replay_figures(result, &figures);
	cJSON *root = cJSON_CreateObject();
	cJSON_AddStringToObject(root, "trace", arguments->trace);
	cJSON_AddStringToObject(root, "allocator", arguments->allocator);
	cJSON_AddStringToObject(root, "level", replay_level_name(arguments->options.level));
	kml_json_add_u64(root, "arena_bytes", result->arena_bytes);
	if (arguments->smallest)
		kml_json_add_u64(root, "min_arena_bytes", smallest_bytes);
	kml_json_add_u64(root, "events", result->events);
	kml_json_add_u64(root, "allocations", result->allocations);
	kml_json_add_u64(root, "frees", result->frees);
	cJSON *failures = cJSON_AddObjectToObject(root, "failures");
	for (int status = KML_OK + 1; status < KML_STATUS_COUNT; status++)
		if (result->failures[status] > 0)
			kml_json_add_u64(failures, kml_status_name(status), result->failures[status]);
	kml_json_add_u64(root, "skipped_frees", result->skipped_frees);
	kml_json_add_u64(root, "dead_frees", result->dead_frees);
	kml_json_add_u64(root, "refused_frees", result->refused_frees);
	kml_json_add_u64(root, "peak_requested_bytes", result->peak_requested_bytes);
	kml_json_add_u64(root, "peak_granted_bytes", result->peak_granted_bytes);
	kml_json_add_u64(root, "peak_held_bytes", result->peak_held_bytes);
	kml_json_add_u64(root, "peak_metadata_bytes", result->peak_metadata_bytes);
	cJSON_AddNumberToObject(root, "mean_requested_bytes", result->mean_requested_bytes);
	cJSON_AddNumberToObject(root, "mean_granted_bytes", result->mean_granted_bytes);
	cJSON_AddNumberToObject(root, "mean_held_bytes", result->mean_held_bytes);
	cJSON *waste = cJSON_AddObjectToObject(root, "waste_bytes_at_peak_held");
	for (int kind = 0; kind < KML_WASTE_KINDS; kind++)
		kml_json_add_u64(waste, kml_waste_name(kind), result->at_peak_held.stats.waste_bytes[kind]);
	cJSON_AddNumberToObject(root, "internal_fragmentation", figures.internal_fragmentation);
	cJSON_AddNumberToObject(root, "slab_slack", figures.slab_slack);
	cJSON_AddItemToObject(root, "johnstone_wilson", cJSON_CreateDoubleArray(figures.johnstone_wilson, 4));
	cJSON_AddNumberToObject(root, "perf_fragmentation_percent", figures.perf_fragmentation_percent);
	kml_json_add_u64(root, "perf_requested_bytes", result->perf_requested_bytes);
	kml_json_add_u64(root, "perf_allocated_bytes", result->perf_allocated_bytes);
	kml_json_add_u64(root, "elapsed_ns", result->elapsed_ns);
	cJSON_AddStringToObject(root, "check", result->check_failed ? result->check_error.text : "ok");
	return root;
}

static void print_json(const struct arguments *arguments, const struct replay_result *result, uint64_t smallest_bytes)
{
	kml_json_print(result_json(arguments, result, smallest_bytes));
}

/* ----------------------------------------------------------------------------------------------- running */

/* The smallest arena becomes the arena of the replay; where there is none, the automatic one stays. */
static bool find_arena(struct kmt_reader *reader, const struct kml_spec *spec, struct arguments *arguments,
		       uint64_t *smallest_bytes, struct kml_error *error)
{
	*smallest_bytes = 0;
	if (!arguments->smallest)
		return true;
	if (!replay_smallest_arena(reader, spec, &arguments->options, smallest_bytes, error))
		return false;
	arguments->options.arena_bytes = *smallest_bytes;
	return true;
}

static int replay_one(struct arguments *arguments, struct kmt_reader *reader, const struct kml_spec *spec)
{
	struct kml_error error;
	struct replay_result result;
	uint64_t smallest_bytes;
	if (!find_arena(reader, spec, arguments, &smallest_bytes, &error) ||
	    !replay_run(reader, spec, &arguments->options, NULL, NULL, NULL, &result, &error))
		return kml_report(&error, KML_EXIT_USAGE);
	if (arguments->answer.json)
		print_json(arguments, &result, smallest_bytes);
	else if (!result.check_failed)
		print_text(arguments, &result, smallest_bytes);
	if (!result.check_failed) {
		if (arguments->options.check && !arguments->answer.json)
			puts("check: ok");
		return KML_EXIT_OK;
	}
	kml_fail(&error, "%s on %s: %s", arguments->trace, arguments->allocator, result.check_error.text);
	return kml_report(&error, KML_EXIT_CHECK_FAILED);
}

static int replay_on(struct arguments *arguments, struct kmt_reader *reader)
{
	struct kml_error error;
	struct kml_spec *spec = kml_spec_parse(arguments->allocator, &error);
	if (!spec)
		return kml_report(&error, KML_EXIT_USAGE);
	int status = replay_one(arguments, reader, spec);
	kml_spec_free(spec);
	return status;
}

/* What the command line leaves open the program says; it is checked as the fuzzer checked it. */
static int replay_program(struct arguments *arguments)
{
	static struct program program;
	struct kml_error error;
	if (!program_load(&program, arguments->trace, &error))
		return kml_report(&error, KML_EXIT_USAGE);
	const struct program_setup *setup = &program.setup;
	if (!arguments->allocator)
		arguments->allocator = setup->stack;
	if (arguments->options.arena_bytes == 0 && !arguments->smallest)
		arguments->options.arena_bytes = setup->arena_bytes;
	if (!arguments->seed_given)
		arguments->options.seed = setup->seed;
	if (!arguments->samples_given)
		arguments->options.samples = 0;
	arguments->options.check_every = setup->check_every;
	struct kmt_reader *reader = program_reader(&program, &error);
	int status = reader ? replay_on(arguments, reader) : kml_report(&error, KML_EXIT_USAGE);
	kmt_close(reader);
	program_free(&program);
	return status;
}

static int replay_trace(struct arguments *arguments)
{
	struct kml_error error;
	struct kmt_reader *reader = workload_open(arguments->trace, arguments->allocator, &error);
	if (!reader)
		return kml_report(&error, KML_EXIT_USAGE);
	kml_fail(&error, "which allocator? Give --allocator SPEC ('kmemlab list' shows all)");
	int status = arguments->allocator ? replay_on(arguments, reader) : kml_report(&error, KML_EXIT_USAGE);
	kmt_close(reader);
	return status;
}

int cmd_replay(int argc, char **argv)
{
	struct arguments arguments = {.options = {.samples = 20, .seed = 1}};
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	return program_is(arguments.trace) ? replay_program(&arguments) : replay_trace(&arguments);
}
