/* cmd_import.c - `kmemlab import`: a recording of a real kernel, in whatever form, to a .kmt. */
#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kmemlab/command.h"
#include "kmemlab/options.h"
#include "kmemlab/support/error.h"
#include "traces/import/import.h"

enum {
	OPTION_SNAPSHOTS = KML_OPTION_OWN,
	OPTION_CACHES,
	OPTION_STRICT,
	OPTION_NOTE,
	OPTION_KERNEL,
	OPTION_COMMAND,
	OPTION_CHURN,
	OPTION_SECONDS,
	OPTION_CPUS
};

/* A year, and more than any machine does. */
enum { SECONDS_MAX = 366 * 24 * 3600 };
static const double CHURN_MAX_PER_S = 1e9;

struct arguments {
	const char *file, *snapshots, *caches;
	struct kml_answer answer;
	struct kmt_origin origin;
	struct import_options options;
	const char *series_option; /* one that only a series of slabinfo has; NULL: none was given */
};

static const struct argp_option options[] = {
	{"out", 'o', "OUT.kmt", 0, "Where to write the trace (needed)", 0},
	{"snapshots", OPTION_SNAPSHOTS, "DIR", 0,
	 "A folder, or a tar of one, of files NNNN-<nanoseconds of the trace's clock>.KIND (or NN-phase.KIND, placed "
	 "at "
	 "the mark of that name); KIND is slabinfo, buddyinfo, meminfo, vmstat, zoneinfo, ...",
	 0},
	{"caches", OPTION_CACHES, "FILE", 0,
	 "A table of caches with a heading line (name, object_size, align, ctor, ...), as from /sys/kernel/slab", 0},
	{"strict", OPTION_STRICT, NULL, 0, "Anything lost, malformed, unmatched or unknown is an error", 0},
	{"kernel", OPTION_KERNEL, "TEXT", 0, "The kernel it was recorded on (`uname -srm`)", 0},
	{"command", OPTION_COMMAND, "TEXT", 0, "What ran meanwhile", 0},
	{"note", OPTION_NOTE, "TEXT", 0, "How the recording was made, in a sentence", 0},
	{"quiet", 'q', NULL, 0, "No progress, no summary", 0},
	{NULL, 0, NULL, 0, "Of a series of /proc/slabinfo, for which events are made up:", 1},
	{"churn", OPTION_CHURN, "N", 0,
	 "Objects replaced a second beside what the counts show: a number (0: none), or auto: as many as the series "
	 "itself saw come and go (default auto)",
	 1},
	{"seed", KML_OPTION_SEED, "N", 0, "Of what is drawn: which objects are freed, on which cpu (default 1)", 1},
	{"seconds", OPTION_SECONDS, "N", 0, "How long the churn goes on after a single snapshot (default 60)", 1},
	{"cpus", OPTION_CPUS, "N", 0, "Of the machine; slabinfo does not tell (default 1)", 1},
	{0}};

static const char doc[] =
	"Turn a recording of kernel memory events, or of a program's malloc calls, into a .kmt trace.\n\n"
	"FILE is told by its content; plain, gzip or zstd; - is standard input:\n"
	"  the `trace` file of tracefs, the text of trace-cmd report or perf script\n"
	"  perf.data, trace.dat\n"
	"  the text of babeltrace2: kmem events of LTTng or perf, lttng_ust_libc\n"
	"  malloc calls: Android's memory_replay, glibc's mtrace, malloc labs\n"
	"  /proc/slabinfo, once or as a series; a folder (or tar) of snapshots\v"
	"Examples:\n"
	"  kmemlab import -o build.kmt trace.txt.zst\n"
	"  kmemlab import --snapshots snapshots/ -o build.kmt trace.txt.zst\n"
	"  perf script -i perf.data | kmemlab import -o build.kmt -\n"
	"  kmemlab import -o build.kmt trace.dat\n"
	"  babeltrace2 lttng-traces/SESSION | kmemlab import -o build.kmt -\n"
	"  kmemlab import -o program.kmt mtrace.txt\n\n"
	"Record with clock mono, pointers not hashed and these events:\n"
	"  cd /sys/kernel/tracing; echo 0 > options/hash-ptr; echo mono > trace_clock\n"
	"  echo 1 > events/kmem/enable; sleep 10; cat trace > /tmp/trace.txt\n\n"
	"Without tracing, from counts alone: a line `time: SECONDS` and /proc/slabinfo, again and again. As root's "
	"cron:\n"
	"  * * * * * (date +'time: \\%s'; cat /proc/slabinfo) >>/var/log/slabinfo.txt\n"
	"  kmemlab import --cpus 8 -o day.kmt /var/log/slabinfo.txt\n"
	"  kmemlab import --churn 5000 --seconds 30 -o now.kmt /proc/slabinfo\n"
	"What such a trace can tell: traces/README.md.\n\n"
	"Exit status: 0 done, 2 usage or bad input.";

static void parse_churn(const char *text, struct import_series_options *series, struct argp_state *state)
{
	char *end;

	series->churn_auto = strcmp(text, "auto") == 0;
	if (series->churn_auto)
		return;
	series->churn_per_s = strtod(text, &end);
	if (end == text || *end != '\0' || !(series->churn_per_s >= 0 && series->churn_per_s <= CHURN_MAX_PER_S))
		argp_error(state, "--churn %s: wanted is auto, or objects a second, 0 to %.0g", text, CHURN_MAX_PER_S);
}

/* Those of a series of slabinfo. */
static error_t parse_series_option(int key, const char *value, struct arguments *arguments, struct argp_state *state)
{
	struct import_series_options *series = &arguments->options.series;

	switch (key) {
	case OPTION_CHURN:
		arguments->series_option = "--churn";
		parse_churn(value, series, state);
		return 0;
	case KML_OPTION_SEED:
		arguments->series_option = "--seed";
		series->seed = kml_option_number(value, 0, UINT64_MAX, "--seed", state);
		return 0;
	case OPTION_SECONDS:
		arguments->series_option = "--seconds";
		series->seconds = kml_option_number(value, 0, SECONDS_MAX, "--seconds", state);
		return 0;
	case OPTION_CPUS:
		arguments->series_option = "--cpus";
		arguments->origin.cpu_count = (uint32_t)kml_option_number(value, 1, KMT_CPUS_MAX, "--cpus", state);
		return 0;
	default:
		return kml_option_answer(key, value, &arguments->answer) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case OPTION_SNAPSHOTS:
		arguments->snapshots = value;
		return 0;
	case OPTION_CACHES:
		arguments->caches = value;
		return 0;
	case OPTION_STRICT:
		arguments->options.strict = true;
		return 0;
	case OPTION_NOTE:
		arguments->origin.note = value;
		return 0;
	case OPTION_KERNEL:
		arguments->origin.kernel = value;
		return 0;
	case OPTION_COMMAND:
		arguments->origin.command = value;
		return 0;
	case ARGP_KEY_ARG:
		kml_option_once(&arguments->file, value, "FILE", "", state);
		return 0;
	case ARGP_KEY_END:
		if (arguments->file == NULL)
			argp_error(state, "name the recording: kmemlab import -o OUT.kmt FILE");
		if (arguments->answer.out == NULL)
			argp_error(state, "say where to write: -o OUT.kmt");
		return 0;
	default:
		return parse_series_option(key, value, arguments, state);
	}
}

static bool is_folder(const char *path)
{
	struct stat status;

	return strcmp(path, "-") != 0 && stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool read_file(struct import *import, const char *path, struct kml_error *error)
{
	if (is_folder(path))
		return import_snapshots(import, path, error);
	struct import_input *input = import_input_open(path, error);
	bool done = input != NULL && import_any(import, input, error);
	import_input_close(input);
	return done;
}

static void print_summary(const struct import *import, const char *path)
{
	const struct kmt_totals *totals = import_totals(import);

	fprintf(stderr,
		"%s: %" PRIu64 " events (%" PRIu64 " of them warm), %" PRIu64 " snapshots, %.3f s; at most %" PRIu64
		" objects at once\n",
		path, totals->events, totals->warm_events, totals->snapshots, (double)totals->duration_ns / 1e9,
		totals->objects);
	for (int i = 0; i < KMT_QUIRK_COUNT; i++) {
		if (totals->quirks[i] != 0)
			fprintf(stderr, "  %-20s %10" PRIu64 "  %s\n", kmt_quirk_name((enum kmt_quirk)i),
				totals->quirks[i], kmt_quirk_help((enum kmt_quirk)i));
	}
}

static bool check_series(const struct import *import, const struct arguments *arguments, struct kml_error *error)
{
	if (arguments->series_option == NULL || import_is_series(import))
		return true;
	return kml_fail(error, "%s: is no series of /proc/slabinfo, and %s is of those alone: leave it away",
			arguments->file, arguments->series_option);
}

static bool import_all(struct import *import, const struct arguments *arguments, struct kml_error *error)
{
	import_set_origin(import, &arguments->origin);
	return read_file(import, arguments->file, error) &&
	       (arguments->snapshots == NULL || import_snapshots(import, arguments->snapshots, error)) &&
	       (arguments->caches == NULL || import_cache_table(import, arguments->caches, error)) &&
	       check_series(import, arguments, error) && import_write(import, arguments->answer.out, error);
}

int cmd_import(int argc, char **argv)
{
	static const struct argp argp = {options, parse_option, "FILE", doc, NULL, NULL, NULL};
	struct arguments arguments = {.options.series = {.churn_auto = true, .seed = 1, .seconds = 60}};
	struct kml_error error = {0};

	if (kml_parse_arguments(&argp, argc, argv, &arguments) != 0)
		return KML_EXIT_USAGE;
	if (strcmp(arguments.file, "-") == 0 && isatty(STDIN_FILENO)) {
		fputs("kmemlab: standard input is a terminal; pipe a trace into it\n", stderr);
		return KML_EXIT_USAGE;
	}
	arguments.options.quiet = arguments.answer.quiet;
	struct import *import = import_create(&arguments.options);
	if (import == NULL) {
		kml_fail(&error, "out of memory");
		return kml_report(&error, KML_EXIT_USAGE);
	}
	bool done = import_all(import, &arguments, &error);
	const char *warning;
	for (uint32_t i = 0; (warning = import_warning(import, i)) != NULL; i++)
		fprintf(stderr, "kmemlab: warning: %s\n", warning);
	if (done && !arguments.answer.quiet)
		print_summary(import, arguments.answer.out);
	import_destroy(import);
	return done ? KML_EXIT_OK : kml_report(&error, KML_EXIT_USAGE);
}
