/*
 * run_plan.c - which cells `kmemlab run` has: traces, levels and stacks, those named or those by default.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "kmemlab/run.h"
#include "kmemlab/scripts.h"
#include "kmemlab/support/error.h"
#include "workloads/generate/generate.h"
#include "workloads/jobs.h"

#define ANY_LEVEL (1u << REPLAY_ALL | 1u << REPLAY_OBJECTS | 1u << REPLAY_PAGES)
#define OBJECT_LEVELS (1u << REPLAY_ALL | 1u << REPLAY_OBJECTS)

/*
 * A page allocator alone serves objects in units of 16 bytes, and some (first fit, Fibonacci) search for minutes in
 * large arenas: where more than this is asked for at once, page allocators alone are left to --allocator.
 */
static const uint64_t ALONE_PEAK_BYTES_MAX = 256u << 20;

/*
 * What runs when no --allocator is given: every page allocator alone, every object strategy on BACKING where there are
 * objects, and these.
 */
#define BACKING "/binary"
static const struct {
	const char *spec;
	uint32_t levels; /* a bit for each */
} variants[] = {
	{"binary:policy=fifo", ANY_LEVEL},
	{"binary:policy=lowest", ANY_LEVEL},
	{"binary:max_order=10", 1u << REPLAY_PAGES}, /* mm/page_alloc.c: blocks of at most 2^10 pages */
	{"binary:linux=on", 1u << REPLAY_PAGES},
	{"kary:k=4", ANY_LEVEL},
	{"slub:profile=linux-6.1/binary", OBJECT_LEVELS},
	{"slub:merge=on/binary", OBJECT_LEVELS},
	{"slub:percpu=off/binary", OBJECT_LEVELS},
	{"slub/fibonacci", OBJECT_LEVELS},
	{"slub/weighted", OBJECT_LEVELS},
	{"slub/best_fit", OBJECT_LEVELS},
	{"slub/binary:linux=on", OBJECT_LEVELS},
};

/* The shipped traces when none is named. */
static bool find_traces(struct run_plan *plan, struct kml_error *error)
{
	struct run_arguments *arguments = plan->arguments;
	char pattern[4096];
	if (arguments->trace_count > 0)
		return true;
	snprintf(pattern, sizeof pattern, "%s/traces/*.kmt", kml_source_directory());
	if (glob(pattern, 0, NULL, &plan->shipped) != 0)
		return kml_fail(error,
				"no trace given and none is shipped as %s: name a .kmt, or set KMEMLAB_SOURCE to the "
				"source folder",
				pattern);
	for (size_t i = 0; i < plan->shipped.gl_pathc && i < RUN_LIST_MAX; i++)
		arguments->traces[arguments->trace_count++] = plan->shipped.gl_pathv[i];
	return true;
}

static bool scan_trace(struct run_trace *trace, struct kml_error *error)
{
	struct kmt_reader *reader = workload_open(trace->path, NULL, error);
	if (!reader)
		return false;
	const char *hash = kmt_reader_hash(reader, error);
	trace->is_whole = hash && replay_scan(reader, &trace->scan, error);
	if (hash)
		snprintf(trace->hash, sizeof trace->hash, "%s", hash);
	trace->events = kmt_reader_totals(reader)->events;
	kmt_close(reader);
	return trace->is_whole;
}

static bool look_at_trace(struct run_plan *plan, uint32_t index, struct kml_error *error)
{
	struct run_trace *trace = &plan->traces[index];
	trace->path = plan->arguments->traces[index];
	kml_option_trace_name(trace->path, trace->name, sizeof trace->name);
	for (uint32_t i = 0; i < index; i++)
		if (strcmp(plan->traces[i].name, trace->name) == 0)
			return kml_fail(error, "%s and %s would both be called %s: rename one", plan->traces[i].path,
					trace->path, trace->name);
	struct kml_error damage;
	if (scan_trace(trace, &damage))
		return true;
	/* Its cells will be invalid with this reason; the other traces' are not lost. */
	kml_report(&damage, KML_EXIT_USAGE);
	if (++plan->damaged_traces == plan->arguments->trace_count)
		return kml_fail(error, "no trace could be read: nothing was run");
	return true;
}

static bool look_at_traces(struct run_plan *plan, struct kml_error *error)
{
	uint32_t count = plan->arguments->trace_count;
	plan->traces = calloc(count, sizeof *plan->traces);
	if (!plan->traces)
		return kml_fail(error, "out of memory for %u traces", count);
	for (uint32_t i = 0; i < count && !*plan->interrupted; i++)
		if (!look_at_trace(plan, i, error))
			return false;
	return true;
}

/* Specs named by the user must be right before anything runs. */
static bool check_specs(struct run_plan *plan, struct kml_error *error)
{
	for (uint32_t i = 0; i < plan->arguments->spec_count; i++) {
		struct kml_spec *spec = kml_spec_parse(plan->arguments->specs[i], error);
		if (!spec)
			return false;
		kml_spec_free(spec);
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(plan->arguments->specs[i], plan->arguments->specs[j]) == 0)
				return kml_fail(error, "allocator %s is named twice: once will do",
						plan->arguments->specs[i]);
	}
	return true;
}

static void add_cell(struct run_plan *plan, const struct run_trace *trace, enum replay_level level,
		     const char *spec_text)
{
	const struct run_arguments *arguments = plan->arguments;
	struct cell *cell = &plan->cells[plan->cell_count++];
	*cell = (struct cell){
		.trace_path = trace->path,
		.trace_name = trace->name,
		.spec_text = spec_text,
		.options = arguments->options,
		.wants_smallest = arguments->wants_smallest || arguments->in_smallest,
		.in_smallest = arguments->in_smallest,
		.peak_requested_bytes = trace->scan.peak_requested_bytes[level],
		.peak_granted_bytes = trace->scan.peak_granted_bytes[level],
		.recorded_addresses = trace->scan.recorded_addresses,
	};
	cell->options.level = level;
}

/* The spec of an object strategy on the page allocator that all are compared on; the plan keeps it. */
static const char *on_backing(struct run_plan *plan, size_t index, const char *name)
{
	char *spec = plan->stacks[index];
	snprintf(spec, sizeof plan->stacks[index], "%s" BACKING, name);
	return spec;
}

/* What was not asked for is left out where the trace has no work for it: a workload without pages, or made, not
 * recorded. Of a damaged trace nothing is known; its cells tell why. */
static bool has_work(const struct run_plan *plan, const struct run_trace *trace, enum replay_level level)
{
	return plan->arguments->levels_given || !trace->is_whole || trace->scan.peak_requested_bytes[level] > 0;
}

static bool tells_places(const struct run_trace *trace, const struct kml_allocator *allocator)
{
	return !(allocator->traits & KML_TRAIT_RECORDED) || !trace->is_whole || trace->scan.recorded_addresses > 0;
}

/* Page allocators alone, where objects are fed: only on traces that they can serve in seconds. */
static bool is_served_alone(const struct run_trace *trace, enum replay_level level,
			    const struct kml_allocator *allocator)
{
	bool counts = !(allocator->traits & (KML_TRAIT_RECORDED | KML_TRAIT_NO_REUSE));
	return !counts || level == REPLAY_PAGES || trace->scan.peak_requested_bytes[level] <= ALONE_PEAK_BYTES_MAX;
}

static void add_default_cells(struct run_plan *plan, const struct run_trace *trace, enum replay_level level)
{
	size_t count;
	const struct kml_allocator *const *registry = kml_registry(&count);
	for (size_t i = 0; i < count; i++) {
		bool of_objects = registry[i]->layer == KML_LAYER_OBJECTS;
		if (of_objects && (OBJECT_LEVELS & (1u << level)))
			add_cell(plan, trace, level, on_backing(plan, i, registry[i]->name));
		else if (!of_objects && is_served_alone(trace, level, registry[i]) && tells_places(trace, registry[i]))
			add_cell(plan, trace, level, registry[i]->name);
	}
	for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
		bool is_stack = strchr(variants[i].spec, '/') != NULL;
		bool is_served = is_stack || is_served_alone(trace, level, kml_registry_find("binary"));
		if ((variants[i].levels & (1u << level)) && is_served)
			add_cell(plan, trace, level, variants[i].spec);
	}
}

static bool make_cells(struct run_plan *plan, struct kml_error *error)
{
	const struct run_arguments *arguments = plan->arguments;
	size_t registered;
	kml_registry(&registered);
	size_t specs = arguments->spec_count ? arguments->spec_count : registered + sizeof variants / sizeof *variants;
	size_t most = specs * arguments->trace_count * arguments->level_count;
	size_t rounds = arguments->timing_rounds ? arguments->timing_rounds : 1;
	plan->cells = calloc(most, sizeof *plan->cells);
	plan->faults = calloc(most, sizeof *plan->faults);
	plan->stacks = calloc(registered, sizeof *plan->stacks);
	plan->reports = jobs_share(most * sizeof *plan->reports);
	plan->round_ns = jobs_share(most * rounds * sizeof *plan->round_ns);
	if (!plan->cells || !plan->faults || !plan->stacks || !plan->reports || !plan->round_ns)
		return kml_fail(error, "out of memory for %zu cells", most);
	/* NOLINTBEGIN(clang-analyzer-unix.Malloc): run_plan_free frees the traces */
	for (uint32_t t = 0; t < arguments->trace_count; t++) {
		for (uint32_t l = 0; l < arguments->level_count; l++) {
			const struct run_trace *trace = &plan->traces[t];
			if (!has_work(plan, trace, arguments->levels[l]))
				continue;
			if (arguments->spec_count == 0)
				add_default_cells(plan, trace, arguments->levels[l]);
			for (uint32_t s = 0; s < arguments->spec_count; s++)
				add_cell(plan, trace, arguments->levels[l], arguments->specs[s]);
		}
	}
	/* NOLINTEND(clang-analyzer-unix.Malloc) */
	return true;
}

bool run_plan_make(struct run_plan *plan, struct kml_error *error)
{
	return find_traces(plan, error) && check_specs(plan, error) && look_at_traces(plan, error) &&
	       make_cells(plan, error);
}

void run_plan_free(struct run_plan *plan)
{
	for (uint32_t i = 0; plan->traces && i < plan->arguments->trace_count; i++)
		replay_scan_free(&plan->traces[i].scan);
	free(plan->traces);
	free(plan->cells);
	free(plan->faults);
	free(plan->stacks);
	globfree(&plan->shipped);
}
