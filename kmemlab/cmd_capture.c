/* cmd_capture.c - `kmemlab capture`: record the running kernel's allocations into a .kmt. */
#include <argp.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "traces/capture/capture.h"

enum { OPTION_DURATION = 256, OPTION_INTERVAL, OPTION_BUFFER, OPTION_RESERVE, OPTION_NOTE, OPTION_QUIET };

#define INTERVAL_NS_MIN UINT64_C(10000000)

static const struct argp_option options[] = {
	{"out", 'o', "OUT.kmt", 0, "The trace to write", 0},
	{"duration", OPTION_DURATION, "TIME", 0, "Record for so long (5s, 500ms, 2m; a bare number is seconds)", 0},
	{"interval", OPTION_INTERVAL, "TIME", 0, "Time between snapshots of /proc/slabinfo and the like (default 1s)",
	 0},
	{"buffer", OPTION_BUFFER, "SIZE", 0, "The kernel's trace buffers, all cpus together (default 64M)", 0},
	{"reserve", OPTION_RESERVE, "SIZE", 0, "End early rather than leave the machine less memory (default 256M)", 0},
	{"note", OPTION_NOTE, "TEXT", 0, "How the trace was made, kept in it", 0},
	{"quiet", OPTION_QUIET, NULL, 0, "Say nothing when all is well", 0},
	{0},
};

static bool parse_time(const char *text, uint64_t *time_ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"m", 60e9}, {"h", 3600e9}};
	char *unit;
	double number = strtod(text, &unit);
	if (unit == text || !isfinite(number) || number < 0)
		return false;
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (strcmp(unit, units[i].unit) != 0)
			continue;
		if (number * units[i].ns > 1e18)
			return false;
		*time_ns = (uint64_t)(number * units[i].ns);
		return true;
	}
	return false;
}

static void parse_time_option(struct argp_state *state, const char *name, const char *value, uint64_t least_ns,
			      uint64_t *time_ns)
{
	if (!parse_time(value, time_ns) || *time_ns < least_ns)
		argp_error(state, "--%s: '%s' is no time of at least %" PRIu64 " ms, such as 5s, 500ms or 2m", name,
			   value, least_ns / 1000000);
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct capture_options *capture = state->input;
	switch (key) {
	case 'o':
		if (strcmp(value, "-") == 0)
			argp_error(
				state,
				"a trace is a regular file and cannot go to standard output: name it with -o OUT.kmt");
		capture->output = value;
		return 0;
	case OPTION_DURATION:
		parse_time_option(state, "duration", value, 1000000, &capture->duration_ns);
		return 0;
	case OPTION_INTERVAL:
		parse_time_option(state, "interval", value, INTERVAL_NS_MIN, &capture->interval_ns);
		return 0;
	case OPTION_BUFFER:
		if (!kml_parse_size(value, &capture->buffer_bytes) || capture->buffer_bytes == 0)
			argp_error(state, "--buffer: '%s' is no size such as 64M", value);
		return 0;
	case OPTION_RESERVE:
		if (!kml_parse_size(value, &capture->reserve_bytes))
			argp_error(state, "--reserve: '%s' is no size such as 256M", value);
		return 0;
	case OPTION_NOTE:
		capture->note = value;
		return 0;
	case OPTION_QUIET:
		capture->quiet = true;
		return 0;
	case ARGP_KEY_ARGS:
		capture->command = state->argv + state->next;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_END:
		if (!capture->output)
			argp_error(state, "where to? Name the trace with -o OUT.kmt");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	"-o OUT.kmt [-- COMMAND ARGUMENT...]",
	"Record every allocation and free of the running kernel, with snapshots of its own /proc views, while COMMAND "
	"runs, for a time, or until Ctrl-C.\v"
	"Examples:\n"
	"  sudo kmemlab capture -o make.kmt -- make -j2\n"
	"  sudo kmemlab capture -o idle.kmt --duration 10s\n\n"
	"Needs root: the kernel's tracepoints and /proc/slabinfo are closed to others. The whole machine is recorded, "
	"not "
	"COMMAND alone, the recorder's own few allocations included. When the time is over COMMAND is sent SIGTERM; "
	"Ctrl-C "
	"ends both, and the trace is written all the same. Exit status 1: COMMAND failed (the trace is written).",
	NULL,
	NULL,
	NULL};

static int report_command(const struct capture_options *capture, const struct capture_result *result)
{
	int status = result->command_status;
	if (!capture->command || result->interrupted || result->timed_out || result->out_of_memory || status == 0)
		return KML_EXIT_OK;
	if (WIFSIGNALED(status))
		fprintf(stderr, "kmemlab capture: %s was killed by signal %d\n", capture->command[0], WTERMSIG(status));
	else
		fprintf(stderr, "kmemlab capture: %s ended with status %d\n", capture->command[0], WEXITSTATUS(status));
	return KML_EXIT_CHECK_FAILED;
}

int cmd_capture(int argc, char **argv)
{
	struct capture_options capture = {
		.interval_ns = 1000000000, .buffer_bytes = 64 << 20, .reserve_bytes = 256 << 20};
	struct capture_result result;
	struct kml_error error = {0};
	int status = kml_parse_arguments(&argp, argc, argv, &capture);
	if (status != KML_EXIT_OK)
		return status;
	if (!capture_run(&capture, &result, &error))
		return kml_report(&error, KML_EXIT_USAGE);
	if (!capture.quiet)
		fprintf(stderr, "%s: %" PRIu64 " events in %.2f s on %u cpus, %" PRIu64 " lost, %u snapshots\n",
			capture.output, result.events, (double)result.duration_ns / 1e9, result.cpus, result.lost,
			result.snapshots);
	if (result.lost)
		fprintf(stderr,
			"kmemlab capture: %" PRIu64
			" events were lost because the buffers were full: use a larger --buffer\n",
			result.lost);
	if (result.out_of_memory)
		fputs("kmemlab capture: ended early because memory runs short; the trace holds what came before\n",
		      stderr);
	return report_command(&capture, &result);
}
