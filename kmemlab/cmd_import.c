/* cmd_import.c - `kmemlab import`: a recording of a real kernel, in whatever form, to a .kmt. */
#include <argp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kmemlab/command.h"
#include "kmemlab/support/error.h"
#include "traces/import/import.h"

enum { OPTION_SNAPSHOTS = 256, OPTION_CACHES, OPTION_STRICT, OPTION_NOTE, OPTION_KERNEL, OPTION_COMMAND };

struct arguments {
	const char *file, *out, *snapshots, *caches;
	struct kmt_origin origin;
	struct import_options options;
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
	{0}};

static const char doc[] =
	"Turn a recording of kernel memory events, or of a program's malloc calls, into a .kmt trace.\n\n"
	"FILE is told by its content; plain, gzip or zstd; - is standard input:\n"
	"  the `trace` file of tracefs, the text of trace-cmd report or perf script\n"
	"  perf.data, trace.dat\n"
	"  the text of babeltrace2: kmem events of LTTng or perf, lttng_ust_libc\n"
	"  malloc calls: Android's memory_replay, glibc's mtrace, malloc labs\n"
	"  a folder (or tar) of snapshots\v"
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
	"Exit status: 0 done, 2 usage or bad input.";

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'o':
		arguments->out = value;
		return 0;
	case 'q':
		arguments->options.quiet = true;
		return 0;
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
		if (arguments->file != NULL)
			argp_error(state, "one FILE at a time ('%s' is the second)", value);
		arguments->file = value;
		return 0;
	case ARGP_KEY_END:
		if (arguments->file == NULL)
			argp_error(state, "name the recording: kmemlab import -o OUT.kmt FILE");
		if (arguments->out == NULL)
			argp_error(state, "say where to write: -o OUT.kmt");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
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

static bool import_all(struct import *import, const struct arguments *arguments, struct kml_error *error)
{
	import_set_origin(import, &arguments->origin);
	return read_file(import, arguments->file, error) &&
	       (arguments->snapshots == NULL || import_snapshots(import, arguments->snapshots, error)) &&
	       (arguments->caches == NULL || import_cache_table(import, arguments->caches, error)) &&
	       import_write(import, arguments->out, error);
}

int cmd_import(int argc, char **argv)
{
	static const struct argp argp = {options, parse_option, "FILE", doc, NULL, NULL, NULL};
	struct arguments arguments = {0};
	struct kml_error error = {0};

	if (kml_parse_arguments(&argp, argc, argv, &arguments) != 0)
		return KML_EXIT_USAGE;
	if (strcmp(arguments.file, "-") == 0 && isatty(STDIN_FILENO)) {
		fputs("kmemlab: standard input is a terminal; pipe a trace into it\n", stderr);
		return KML_EXIT_USAGE;
	}
	struct import *import = import_create(&arguments.options);
	if (import == NULL) {
		kml_fail(&error, "out of memory");
		return kml_report(&error, KML_EXIT_USAGE);
	}
	bool done = import_all(import, &arguments, &error);
	const char *warning;
	for (uint32_t i = 0; (warning = import_warning(import, i)) != NULL; i++)
		fprintf(stderr, "kmemlab: warning: %s\n", warning);
	if (done && !arguments.options.quiet)
		print_summary(import, arguments.out);
	import_destroy(import);
	return done ? KML_EXIT_OK : kml_report(&error, KML_EXIT_USAGE);
}
