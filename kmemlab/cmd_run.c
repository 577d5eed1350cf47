/*
 * cmd_run.c - `kmemlab run`: many traces on many stacks, into a folder of results/ (its README.md tells the columns).
 *
 * Every cell runs in a process of its own. Its rows wait in files of their own until all cells are done; then they are
 * joined in the order of the plan, so that the bytes do not depend on how many ran at a time. The whole run is made
 * under a temporary name and renamed at its end: an interrupted run, or a full disk, leaves earlier results as they
 * were.
 */
#include <argp.h>
#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "kmemlab/json.h"
#include "kmemlab/options.h"
#include "kmemlab/scripts.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/output.h"
#include "kmemlab/support/progress.h"
#include "workloads/cell.h"
#include "workloads/figures.h"
#include "workloads/generate/generate.h"
#include "workloads/jobs.h"

enum { LISTS_MAX = 256, CHILD_OK = 0, CHILD_CANNOT_WRITE = 3 };

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

enum {
	OPTION_MIN = KML_OPTION_OWN,
	OPTION_NO_MIN,
	OPTION_SAMPLES,
	OPTION_TIMING,
};

struct arguments {
	const char *traces[LISTS_MAX];
	uint32_t trace_count;
	const char *specs[LISTS_MAX];
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

/* A shipped trace's path as everyone has it: from the top of the source. Others as they are. */
static const char *path_from_source(const char *path)
{
	size_t length = strlen(kml_source_directory());
	bool inside = strncmp(path, kml_source_directory(), length) == 0 && path[length] == '/';
	return inside ? path + length + 1 : path;
}

/* ---------------------------------------------------------------------------------------------- options */

static void parse_levels(const char *text, struct arguments *arguments, struct argp_state *state)
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
	if (*count == LISTS_MAX)
		argp_error(state, "more than %d %s: run them in parts", LISTS_MAX, what);
	else
		list[(*count)++] = value;
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
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

/* -------------------------------------------------------------------------------------------------- plan */

struct trace {
	const char *path;
	char name[256];
	char hash[32];
	struct replay_scan scan;
	bool is_whole; /* it was read to its end: the scan tells of it */
	uint64_t events;
};

struct plan {
	struct arguments *arguments;
	struct trace *traces;
	struct cell *cells;
	uint32_t cell_count;
	char (*stacks)[128]; /* specs of the registered object strategies on BACKING, by their place in the registry */
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
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	interrupted = number;
}

/* The shipped traces when none is named. */
static bool find_traces(struct plan *plan, struct kml_error *error)
{
	struct arguments *arguments = plan->arguments;
	char pattern[4096];
	if (arguments->trace_count > 0)
		return true;
	snprintf(pattern, sizeof pattern, "%s/traces/*.kmt", kml_source_directory());
	if (glob(pattern, 0, NULL, &plan->shipped) != 0)
		return kml_fail(error,
				"no trace given and none is shipped as %s: name a .kmt, or set KMEMLAB_SOURCE to the "
				"source folder",
				pattern);
	for (size_t i = 0; i < plan->shipped.gl_pathc && i < LISTS_MAX; i++)
		arguments->traces[arguments->trace_count++] = plan->shipped.gl_pathv[i];
	return true;
}

static bool scan_trace(struct trace *trace, struct kml_error *error)
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

static bool look_at_trace(struct plan *plan, uint32_t index, struct kml_error *error)
{
	struct trace *trace = &plan->traces[index];
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

static bool look_at_traces(struct plan *plan, struct kml_error *error)
{
	uint32_t count = plan->arguments->trace_count;
	plan->traces = calloc(count, sizeof *plan->traces);
	if (!plan->traces)
		return kml_fail(error, "out of memory for %u traces", count);
	for (uint32_t i = 0; i < count && !interrupted; i++)
		if (!look_at_trace(plan, i, error))
			return false;
	return true;
}

/* Specs named by the user must be right before anything runs. */
static bool check_specs(struct plan *plan, struct kml_error *error)
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

static void add_cell(struct plan *plan, const struct trace *trace, enum replay_level level, const char *spec_text)
{
	const struct arguments *arguments = plan->arguments;
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
static const char *on_backing(struct plan *plan, size_t index, const char *name)
{
	char *spec = plan->stacks[index];
	snprintf(spec, sizeof plan->stacks[index], "%s" BACKING, name);
	return spec;
}

/* What was not asked for is left out where the trace has no work for it: a workload without pages, or made, not
 * recorded. Of a damaged trace nothing is known; its cells tell why. */
static bool has_work(const struct plan *plan, const struct trace *trace, enum replay_level level)
{
	return plan->arguments->levels_given || !trace->is_whole || trace->scan.peak_requested_bytes[level] > 0;
}

static bool tells_places(const struct trace *trace, const struct kml_allocator *allocator)
{
	return !(allocator->traits & KML_TRAIT_RECORDED) || !trace->is_whole || trace->scan.recorded_addresses > 0;
}

/* Page allocators alone, where objects are fed: only on traces that they can serve in seconds. */
static bool is_served_alone(const struct trace *trace, enum replay_level level, const struct kml_allocator *allocator)
{
	bool counts = !(allocator->traits & (KML_TRAIT_RECORDED | KML_TRAIT_NO_REUSE));
	return !counts || level == REPLAY_PAGES || trace->scan.peak_requested_bytes[level] <= ALONE_PEAK_BYTES_MAX;
}

static void add_default_cells(struct plan *plan, const struct trace *trace, enum replay_level level)
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

static void *shared(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

static bool make_plan(struct plan *plan, struct kml_error *error)
{
	const struct arguments *arguments = plan->arguments;
	size_t registered;
	kml_registry(&registered);
	size_t specs = arguments->spec_count ? arguments->spec_count : registered + sizeof variants / sizeof *variants;
	size_t most = specs * arguments->trace_count * arguments->level_count;
	size_t rounds = arguments->timing_rounds ? arguments->timing_rounds : 1;
	plan->cells = calloc(most, sizeof *plan->cells);
	plan->faults = calloc(most, sizeof *plan->faults);
	plan->stacks = calloc(registered, sizeof *plan->stacks);
	plan->reports = shared(most * sizeof *plan->reports);
	plan->round_ns = shared(most * rounds * sizeof *plan->round_ns);
	if (!plan->cells || !plan->faults || !plan->stacks || !plan->reports || !plan->round_ns)
		return kml_fail(error, "out of memory for %zu cells", most);
	/* NOLINTBEGIN(clang-analyzer-unix.Malloc): free_plan frees the traces */
	for (uint32_t t = 0; t < arguments->trace_count; t++) {
		for (uint32_t l = 0; l < arguments->level_count; l++) {
			const struct trace *trace = &plan->traces[t];
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

/* --------------------------------------------------------------------------------------------- folders */

/* Remove a folder of ours and what is in it: files, and folders one below the other. */
static void remove_tree(const char *path, int depth)
{
	DIR *directory = depth < 4 ? opendir(path) : NULL;
	if (directory) {
		for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
			char child[4200];
			if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
				continue;
			snprintf(child, sizeof child, "%.3600s/%.255s", path, entry->d_name);
			if (unlink(child) != 0)
				remove_tree(child, depth + 1);
		}
		closedir(directory);
	}
	rmdir(path);
}

static bool is_empty(const char *path)
{
	DIR *directory = opendir(path);
	int entries = 0;
	if (!directory)
		return false;
	while (readdir(directory))
		entries++;
	closedir(directory);
	return entries <= 2;
}

/* Only an earlier run, or an empty folder, may be replaced. */
static bool may_replace(const char *path, struct kml_error *error)
{
	struct stat status;
	char manifest[3200];
	if (lstat(path, &status) != 0)
		return errno == ENOENT ||
		       kml_fail(error, "%s: %s: choose a place you may write to", path, strerror(errno));
	snprintf(manifest, sizeof manifest, "%s/manifest.json", path);
	if (S_ISDIR(status.st_mode) && (access(manifest, F_OK) == 0 || is_empty(path)))
		return true;
	return kml_fail(error, "%s: is there, and no earlier run: remove it or name another --out", path);
}

static bool prepare_folders(struct plan *plan, struct kml_error *error)
{
	const char *out = plan->arguments->answer.out;
	char automatic[128], parent[3072];
	if (!out) {
		struct tm now;
		strftime(automatic, sizeof automatic, "results/%Y%m%d-%H%M%S", localtime_r(&plan->started, &now));
		out = automatic;
	}
	size_t length = strlen(out);
	while (length > 1 && out[length - 1] == '/')
		length--;
	if (length == 0 || length >= 3000)
		return kml_fail(error, "--out '%.64s': name a folder of 1 to 3000 bytes", out);
	snprintf(plan->out, sizeof plan->out, "%.*s", (int)length, out);
	snprintf(plan->partial, sizeof plan->partial, "%s.partial-%ld", plan->out, (long)getpid());
	snprintf(plan->parts, sizeof plan->parts, "%s/cells", plan->partial);
	if (!may_replace(plan->out, error))
		return false;
	snprintf(parent, sizeof parent, "%s", plan->out);
	char *slash = strrchr(parent, '/');
	if (slash && slash != parent) {
		*slash = '\0';
		if (!kml_make_directory(parent, error))
			return false;
	}
	return kml_make_directory(plan->parts, error);
}

/* The finished run takes the place of an earlier one. */
static bool publish(const struct plan *plan, struct kml_error *error)
{
	char old[3200];
	snprintf(old, sizeof old, "%s.old-%ld", plan->out, (long)getpid());
	bool replaces = rename(plan->out, old) == 0;
	if (rename(plan->partial, plan->out) != 0) {
		int why = errno;
		if (replaces && rename(old, plan->out) != 0)
			return kml_fail(error, "%s: cannot be put in place: %s: the earlier run is in %s", plan->out,
					strerror(why), old);
		return kml_fail(error, "%s: cannot be put in place: %s: choose another --out", plan->out,
				strerror(why));
	}
	if (replaces)
		remove_tree(old, 0);
	return true;
}

/* ------------------------------------------------------------------------------------------------- cells */

static void part_path(const struct plan *plan, uint32_t index, enum cell_file file, char *path, size_t size)
{
	snprintf(path, size, "%s/%u.%s", plan->parts, index, cell_file_name(file));
}

/* In the child. */
static int run_one_cell(void *context, uint32_t index)
{
	struct plan *plan = context;
	FILE *streams[CELL_FILES] = {NULL};
	char path[4200];
	for (int file = 0; file < CELL_FILES; file++) {
		part_path(plan, index, file, path, sizeof path);
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
	struct plan *plan = context;
	if (exit_status == CHILD_CANNOT_WRITE)
		plan->write_error = plan->reports[index].write_error;
	else if (fault)
		snprintf(plan->faults[index], sizeof plan->faults[index], "%s", fault);
	else if (exit_status != CHILD_OK)
		snprintf(plan->faults[index], sizeof plan->faults[index], "stopped with exit status %d", exit_status);
	kml_progress_update(&plan->progress, ++plan->ended);
}

/* NULL when the cell is ok. */
static const char *cell_fault(const struct plan *plan, uint32_t index)
{
	if (plan->faults[index][0])
		return plan->faults[index];
	return plan->reports[index].reason[0] ? plan->reports[index].reason : NULL;
}

static bool run_jobs(struct plan *plan, const char *label, struct jobs *jobs, struct kml_error *error)
{
	jobs->context = plan;
	jobs->stderr_directory = plan->parts;
	jobs->interrupted = &interrupted;
	plan->ended = 0;
	kml_progress_start(&plan->progress, label, "cells", jobs->count);
	bool done = jobs_run(jobs, error);
	kml_progress_finish(&plan->progress);
	return done;
}

static bool run_cells(struct plan *plan, struct kml_error *error)
{
	struct jobs jobs = {
		.count = plan->cell_count, .parallel = plan->arguments->jobs, .run = run_one_cell, .ended = cell_ended};
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
	struct plan *plan;
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

static uint32_t plan_rounds(const struct plan *plan, struct timing *timing)
{
	uint32_t jobs = 0;
	for (uint32_t first = 0, end; first < plan->cell_count; first = end) {
		const struct cell *cell = &plan->cells[first];
		for (end = first; end < plan->cell_count && plan->cells[end].trace_name == cell->trace_name &&
				  plan->cells[end].options.level == cell->options.level;)
			end++;
		for (uint32_t round = 0; round < plan->arguments->timing_rounds; round++) {
			for (uint32_t i = first; i < end; i++) {
				if (cell_fault(plan, i))
					continue;
				timing->cell[jobs] = i;
				timing->round[jobs++] = round;
			}
		}
	}
	return jobs;
}

static bool run_timing(struct plan *plan, struct kml_error *error)
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
				    .context = &timing,
				    .stderr_directory = plan->parts,
				    .interrupted = &interrupted};
		plan->ended = 0;
		kml_progress_start(&plan->progress, "timing", "cells", jobs.count);
		done = jobs_run(&jobs, error);
		kml_progress_finish(&plan->progress);
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

/* ------------------------------------------------------------------------------------------- joining */

static bool copy_part(const char *path, FILE *to, struct kml_error *error)
{
	char buffer[65536];
	FILE *from = fopen(path, "rb");
	if (!from)
		return kml_fail(error, "%s: %s", path, strerror(errno));
	for (size_t bytes; (bytes = fread(buffer, 1, sizeof buffer, from)) > 0;)
		if (fwrite(buffer, 1, bytes, to) != bytes)
			break; /* kml_output_commit reports it */
	bool good = !ferror(from);
	fclose(from);
	return good || kml_fail(error, "%s: cannot be read back", path);
}

static bool join_file(const struct plan *plan, enum cell_file file, struct kml_error *error)
{
	char path[4000];
	struct kml_output output;
	snprintf(path, sizeof path, "%s/%s", plan->partial, cell_file_name(file));
	if (!kml_output_open(&output, path, error))
		return false;
	fputs(cell_file_header(file), output.stream);
	for (uint32_t i = 0; i < plan->cell_count; i++) {
		const char *fault = cell_fault(plan, i);
		char part[4200];
		part_path(plan, i, file, part, sizeof part);
		if (fault) {
			if (file == CELL_SUMMARY)
				cell_write_invalid(&plan->cells[i], fault, output.stream);
		} else if (!copy_part(part, output.stream, error)) {
			kml_output_abandon(&output);
			return false;
		}
		unlink(part);
	}
	return kml_output_commit(&output, error);
}

static bool write_timing(const struct plan *plan, struct kml_error *error)
{
	char path[4000];
	struct kml_output output;
	snprintf(path, sizeof path, "%s/timing.csv", plan->partial);
	if (!kml_output_open(&output, path, error))
		return false;
	fputs("trace,allocator,level,events,elapsed_ns,ns_per_event\n", output.stream);
	for (uint32_t i = 0; i < plan->cell_count; i++) {
		const struct cell_report *report = &plan->reports[i];
		if (cell_fault(plan, i) || report->events == 0)
			continue;
		cell_write_key(&plan->cells[i], output.stream);
		fprintf(output.stream, ",%" PRIu64 ",%" PRIu64 ",%.3f\n", report->events, report->elapsed_ns,
			(double)report->elapsed_ns / (double)report->events);
	}
	return kml_output_commit(&output, error);
}

/* ---------------------------------------------------------------------------------------------- manifest */

/* First line of what a program prints; "" when it cannot be run. No shell takes part. */
static void ask_program(char *const argv[], char *line, size_t size)
{
	int ends[2];
	line[0] = '\0';
	if (pipe(ends) != 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		if (!freopen("/dev/null", "w", stderr))
			_exit(127);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(ends[1]);
	FILE *stream = pid > 0 ? fdopen(ends[0], "r") : NULL;
	if (stream) {
		if (!fgets(line, (int)size, stream))
			line[0] = '\0';
		fclose(stream);
	} else {
		close(ends[0]);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	line[strcspn(line, "\n")] = '\0';
}

static void cpu_model(char *model, size_t size)
{
	char line[512];
	FILE *stream = fopen("/proc/cpuinfo", "r");
	snprintf(model, size, "unknown");
	while (stream && fgets(line, sizeof line, stream)) {
		char *colon = strchr(line, ':');
		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(model, size, "%s", colon + 2);
		break;
	}
	if (stream)
		fclose(stream);
}

static void describe_program(cJSON *root)
{
	char revision[128], dirty[256], source[3072];
	snprintf(source, sizeof source, "%s", kml_source_directory());
	ask_program((char *[]){"git", "-C", source, "rev-parse", "HEAD", NULL}, revision, sizeof revision);
	ask_program((char *[]){"git", "-C", source, "status", "--porcelain", "-uno", NULL}, dirty, sizeof dirty);
	cJSON *program = cJSON_AddObjectToObject(root, "program");
	cJSON_AddStringToObject(program, "version", KML_VERSION);
	cJSON_AddStringToObject(program, "git_revision", revision[0] ? revision : "unknown");
	cJSON_AddBoolToObject(program, "git_modified", dirty[0] != '\0');
	cJSON_AddStringToObject(program, "compiler", KML_COMPILER);
	cJSON_AddStringToObject(program, "flags", KML_FLAGS);
	kml_json_add_u64(program, "abi_version", KML_ABI_VERSION);
}

static void describe_machine(cJSON *root)
{
	struct utsname kernel;
	char model[512];
	cJSON *machine = cJSON_AddObjectToObject(root, "machine");
	if (uname(&kernel) == 0) {
		cJSON_AddStringToObject(machine, "kernel", kernel.release);
		cJSON_AddStringToObject(machine, "architecture", kernel.machine);
	}
	cpu_model(model, sizeof model);
	cJSON_AddStringToObject(machine, "cpu", model);
	kml_json_add_u64(machine, "cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
}

static void describe_cells(const struct plan *plan, cJSON *root)
{
	cJSON *traces = cJSON_AddArrayToObject(root, "traces");
	for (uint32_t i = 0; i < plan->arguments->trace_count; i++) {
		cJSON *trace = cJSON_CreateObject();
		cJSON_AddStringToObject(trace, "name", plan->traces[i].name);
		cJSON_AddStringToObject(trace, "path", path_from_source(plan->traces[i].path));
		cJSON_AddStringToObject(trace, "xxh64", plan->traces[i].hash);
		kml_json_add_u64(trace, "events", plan->traces[i].events);
		cJSON_AddItemToArray(traces, trace);
	}
	cJSON *cells = cJSON_AddArrayToObject(root, "cells");
	for (uint32_t i = 0; i < plan->cell_count; i++) {
		const struct cell *cell = &plan->cells[i];
		const char *fault = cell_fault(plan, i);
		cJSON *entry = cJSON_CreateObject();
		cJSON_AddStringToObject(entry, "trace", cell->trace_name);
		cJSON_AddStringToObject(entry, "allocator", cell->spec_text);
		cJSON_AddStringToObject(entry, "level", replay_level_name(cell->options.level));
		cJSON_AddStringToObject(entry, "status", fault ? "invalid" : "ok");
		if (fault)
			cJSON_AddStringToObject(entry, "reason", fault);
		else
			cJSON_AddNumberToObject(entry, "seconds", (double)plan->reports[i].elapsed_ns / 1e9);
		cJSON_AddItemToArray(cells, entry);
	}
}

static void describe_options(const struct plan *plan, cJSON *root)
{
	const struct arguments *arguments = plan->arguments;
	char text[64];
	cJSON *given = cJSON_AddObjectToObject(root, "options");
	snprintf(text, sizeof text, "%" PRIu64, arguments->options.arena_bytes);
	cJSON_AddStringToObject(given, "arena",
				arguments->in_smallest           ? "min"
				: arguments->options.arena_bytes ? text
								 : "auto");
	cJSON_AddBoolToObject(given, "smallest_arena", arguments->wants_smallest || arguments->in_smallest);
	kml_json_add_u64(given, "samples", arguments->options.samples);
	kml_json_add_u64(given, "seed", arguments->options.seed);
	cJSON_AddBoolToObject(given, "check", arguments->options.check);
	kml_json_add_u64(given, "timing_rounds", arguments->timing_rounds);
	kml_json_add_u64(given, "jobs", arguments->jobs);
}

static bool write_manifest(const struct plan *plan, struct kml_error *error)
{
	char path[4000], when[64];
	struct tm started;
	struct kml_output output;
	snprintf(path, sizeof path, "%s/manifest.json", plan->partial);
	if (!kml_output_open(&output, path, error))
		return false;
	cJSON *root = cJSON_CreateObject();
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&plan->started, &started));
	cJSON_AddStringToObject(root, "started", when);
	kml_json_add_u64(root, "seconds", (uint64_t)(time(NULL) - plan->started));
	describe_program(root);
	describe_machine(root);
	describe_options(plan, root);
	describe_cells(plan, root);
	char *text = cJSON_Print(root);
	if (text)
		fprintf(output.stream, "%s\n", text);
	free(text);
	cJSON_Delete(root);
	return kml_output_commit(&output, error);
}

/* ---------------------------------------------------------------------------------------------- analysis */

static void analyse(const struct plan *plan)
{
	if (!plan->arguments->answer.no_figures && kml_draw_figures("run", "figures.py", plan->out))
		kml_draw_figures("run", "classics.py", plan->out);
	if (!interrupted && kml_run_script("run", "summary.py", plan->out, false) != 0)
		fprintf(stderr, "kmemlab run: no summary table; the CSV files are in %s\n", plan->out);
}

/* ------------------------------------------------------------------------------------------------- whole */

static bool make_run(struct plan *plan, struct kml_error *error)
{
	if (!run_cells(plan, error) || !run_timing(plan, error))
		return false;
	for (int file = 0; file < CELL_FILES; file++)
		if (!join_file(plan, file, error))
			return false;
	if (!write_timing(plan, error) || !write_manifest(plan, error))
		return false;
	remove_tree(plan->parts, 0);
	if (interrupted)
		return kml_fail(error, "interrupted");
	return publish(plan, error);
}

/* The number of invalid cells, each named. */
static uint32_t report_invalid(const struct plan *plan)
{
	uint32_t invalid = 0;
	for (uint32_t i = 0; i < plan->cell_count; i++) {
		if (!cell_fault(plan, i))
			continue;
		invalid++;
		fprintf(stderr, "kmemlab run: %s on %s at level %s is invalid: %s\n", plan->cells[i].trace_name,
			plan->cells[i].spec_text, replay_level_name(plan->cells[i].options.level), cell_fault(plan, i));
	}
	return invalid;
}

static int run(struct plan *plan)
{
	struct kml_error error = {{0}};
	bool prepared = find_traces(plan, &error) && check_specs(plan, &error) && look_at_traces(plan, &error) &&
			make_plan(plan, &error) && prepare_folders(plan, &error);
	bool done = prepared && make_run(plan, &error);
	if (!done && plan->partial[0])
		remove_tree(plan->partial, 0);
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

static void free_plan(struct plan *plan)
{
	for (uint32_t i = 0; plan->traces && i < plan->arguments->trace_count; i++)
		replay_scan_free(&plan->traces[i].scan);
	free(plan->traces);
	free(plan->cells);
	free(plan->faults);
	free(plan->stacks);
	globfree(&plan->shipped);
}

int cmd_run(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct arguments arguments = {
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
	struct plan plan = {.arguments = &arguments, .started = time(NULL)};
	status = run(&plan);
	free_plan(&plan);
	return status;
}
