/* cmd_view.c - `kmemlab view`: a replay seen as the kernel's own /proc files. */
#include <argp.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "kmemlab/options.h"
#include "kmemlab/support/error.h"
#include "workloads/figures.h"
#include "workloads/orders.h"
#include "workloads/replay.h"

enum { OPTION_LEVEL = 256, OPTION_AT, OPTION_ARENA, OPTION_SEED, OPTION_PLUGIN };

/* Where in the trace to look. */
struct moment {
	enum { AT_END, AT_EVENT, AT_TIME } kind;
	uint64_t event;
	uint64_t time_ns;
};

struct arguments {
	const char *view;
	const char *trace;
	const char *allocator;
	struct moment at;
	struct replay_options options;
};

static const struct argp_option options[] = {
	{"trace", 't', "TRACE", 0, "The trace, a .kmt; may also be given without --trace", 0},
	{"allocator", 'a', "SPEC", 0, "The stack; recorded shows the kernel's own file as it stood then", 0},
	{"at", OPTION_AT, "EVENT|SECONDS|end", 0,
	 "When: after so many events, a time such as 1.5s, or the end (default)", 0},
	{"level", OPTION_LEVEL, "all|objects|pages", 0, "Which events to feed (default all)", 0},
	{"arena", OPTION_ARENA, "auto|SIZE", 0, "Size of the arena (default auto: twice the recorded peak)", 0},
	{"seed", OPTION_SEED, "N", 0, "Seed of allocators that draw random numbers (default 1)", 0},
	{"plugin", OPTION_PLUGIN, "FILE.so", 0, "Load the allocators of a shared object too (may be repeated)", 0},
	{0},
};

static void parse_moment(const char *text, struct moment *at, struct argp_state *state)
{
	char *end;
	*at = (struct moment){.kind = AT_END};
	if (strcmp(text, "end") == 0)
		return;
	at->kind = AT_EVENT;
	at->event = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && *end == '\0' && at->event > 0)
		return;
	at->kind = AT_TIME;
	double seconds = strtod(text, &end);
	if (*text < '0' || *text > '9' || strcmp(end, "s") != 0 || !(seconds < 1e9))
		argp_error(state, "--at '%s': give a number of events from 1 on, a time such as 1.5s, or end", text);
	at->time_ns = (uint64_t)llround(seconds * 1e9);
}

static void take_operand(const char *value, struct arguments *arguments, struct argp_state *state)
{
	if (!arguments->view)
		arguments->view = value;
	else if (!arguments->trace)
		arguments->trace = value;
	else
		argp_error(state, "one trace at a time, '%s' is too many", value);
}

static void check_complete(const struct arguments *arguments, struct argp_state *state)
{
	if (!arguments->view || strcmp(arguments->view, "buddyinfo") != 0)
		argp_error(state, "which view? There is: buddyinfo");
	if (!arguments->trace)
		argp_error(state, "which trace? Give a .kmt (those of traces/, or your own: 'kmemlab import')");
	if (!arguments->allocator)
		argp_error(state, "which allocator? Give --allocator SPEC ('kmemlab list' shows all)");
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		take_operand(value, arguments, state);
		return 0;
	case 't':
		arguments->trace = value;
		return 0;
	case 'a':
		arguments->allocator = value;
		return 0;
	case OPTION_AT:
		parse_moment(value, &arguments->at, state);
		return 0;
	case OPTION_LEVEL:
		arguments->options.level = kml_option_level(value, state);
		return 0;
	case OPTION_ARENA:
		kml_option_arena(value, &arguments->options.arena_bytes, NULL, state);
		return 0;
	case OPTION_SEED:
		arguments->options.seed = kml_option_number(value, 0, UINT64_MAX, "seed", state);
		return 0;
	case OPTION_PLUGIN:
		kml_option_plugin(value, state);
		return 0;
	case ARGP_KEY_END:
		check_complete(arguments, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	"buddyinfo TRACE",
	"Replay a trace up to a moment and print the allocator's free memory as /proc/buddyinfo does.\v"
	"Examples:\n"
	"  kmemlab view buddyinfo traces/compile.kmt --allocator binary\n"
	"  kmemlab view buddyinfo traces/compile.kmt --allocator recorded --at 1.5s\n\n"
	"One column an order: free blocks of 1, 2, 4, ... 1024 pages. A free block counts in the highest order that "
	"fits\n"
	"into it. For recorded it is the kernel's own file, of the last snapshot up to then.",
	NULL,
	NULL,
	NULL};

/* ------------------------------------------------------------------------------------------------- views */

struct viewer {
	const struct moment *at;
	uint32_t page_bytes;
	char *recorded; /* the last buddyinfo up to the moment */
	struct free_orders orders;
};

static bool remember_orders(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
			    const struct kml_arena *arena)
{
	struct viewer *viewer = context;
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	struct kml_heap *heap = kml_stack_top(stack);
	uint32_t count = heap->allocator->free_areas(heap, areas);
	(void)sample;
	(void)arena;
	free_orders_from_areas(&viewer->orders, areas, count, viewer->page_bytes);
	return true;
}

static bool is_past(const struct moment *at, uint64_t event, uint64_t time_ns)
{
	return (at->kind == AT_EVENT && event > at->event) || (at->kind == AT_TIME && time_ns > at->time_ns);
}

static bool find_recorded(struct kmt_reader *reader, struct viewer *viewer, struct kml_error *error)
{
	struct kmt_item item;
	if (!kmt_rewind(reader, error))
		return false;
	for (;;) {
		switch (kmt_next(reader, &item, error)) {
		case KMT_ITEM_SNAPSHOT:
			if (item.snapshot->kind != KMT_SNAPSHOT_BUDDYINFO ||
			    is_past(viewer->at, item.snapshot->event, item.snapshot->time_ns))
				break;
			free(viewer->recorded);
			viewer->recorded = strdup(item.snapshot->text);
			break;
		case KMT_ITEM_EVENTS:
			break;
		case KMT_ITEM_END:
			return viewer->recorded || kml_fail(error,
							    "%s: no buddyinfo of the kernel up to then: import it with "
							    "--snapshots, or look later",
							    kmt_reader_path(reader));
		case KMT_ITEM_ERROR:
			return false;
		}
	}
}

/* The number of events up to the moment. */
static bool events_until(struct kmt_reader *reader, const struct moment *at, uint64_t *events, struct kml_error *error)
{
	struct kmt_item item;
	*events = at->kind == AT_EVENT ? at->event : UINT64_MAX;
	if (at->kind != AT_TIME)
		return true;
	if (!kmt_rewind(reader, error))
		return false;
	for (uint64_t before = 0;;) {
		switch (kmt_next(reader, &item, error)) {
		case KMT_ITEM_EVENTS:
			for (uint32_t i = 0; i < item.event_count; i++, before++) {
				*events = before ? before : 1;
				if (item.events[i].time_ns > at->time_ns)
					return true;
			}
			break;
		case KMT_ITEM_SNAPSHOT:
			break;
		case KMT_ITEM_END:
			*events = UINT64_MAX;
			return true;
		case KMT_ITEM_ERROR:
			return false;
		}
	}
}

static bool view_stack(struct arguments *arguments, struct kmt_reader *reader, const struct kml_spec *spec,
		       struct viewer *viewer, struct kml_error *error)
{
	struct replay_result result;
	if (!events_until(reader, &arguments->at, &arguments->options.stop_after_events, error) ||
	    !replay_run(reader, spec, &arguments->options, remember_orders, NULL, viewer, &result, error))
		return false;
	if (result.check_failed)
		return kml_fail(error, "%s on %s: %s", arguments->trace, arguments->allocator, result.check_error.text);
	return true;
}

static int view(struct arguments *arguments, struct kmt_reader *reader, const struct kml_spec *spec)
{
	struct viewer viewer = {.at = &arguments->at, .page_bytes = kmt_reader_origin(reader)->page_bytes};
	struct kml_error error;
	bool recorded = kml_spec_traits(spec) & KML_TRAIT_RECORDED;
	bool done = recorded ? find_recorded(reader, &viewer, &error)
			     : view_stack(arguments, reader, spec, &viewer, &error);
	if (done && viewer.recorded)
		printf("%s%s", viewer.recorded,
		       viewer.recorded[0] && strchr(viewer.recorded, '\0')[-1] != '\n' ? "\n" : "");
	else if (done && !recorded)
		free_orders_print(&viewer.orders, "Normal", stdout);
	free(viewer.recorded);
	return done ? KML_EXIT_OK : kml_report(&error, KML_EXIT_USAGE);
}

int cmd_view(int argc, char **argv)
{
	struct arguments arguments = {.options = {.seed = 1}};
	struct kml_error error;
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	struct kml_spec *spec = kml_spec_parse(arguments.allocator, &error);
	if (!spec)
		return kml_report(&error, KML_EXIT_USAGE);
	struct kmt_reader *reader = kmt_open(arguments.trace, &error);
	status = reader ? view(&arguments, reader, spec) : kml_report(&error, KML_EXIT_USAGE);
	kmt_close(reader);
	kml_spec_free(spec);
	return status;
}
