/* cmd_view.c - `kmemlab view`: a replay seen as the kernel's own /proc files, at any moment of the trace. */
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
#include "workloads/generate/generate.h"
#include "workloads/orders.h"
#include "workloads/replay.h"
#include "workloads/survey.h"
#include "workloads/views.h"

enum { OPTION_AT = KML_OPTION_OWN, OPTION_ACTIVE };

/* Where in the trace to look. */
struct moment {
	enum { AT_END, AT_EVENT, AT_TIME, AT_LABEL } kind;
	uint64_t event;
	uint64_t time_ns;
	const char *label;
};

/* The files there are. */
static const struct view {
	const char *name;
	enum kmt_snapshot_kind kind;
} views[] = {
	{"slabinfo", KMT_SNAPSHOT_SLABINFO}, {"buddyinfo", KMT_SNAPSHOT_BUDDYINFO}, {"meminfo", KMT_SNAPSHOT_MEMINFO}};
enum { VIEW_COUNT = sizeof views / sizeof *views };

struct arguments {
	const struct view *view;
	const char *trace;
	const char *allocator;
	struct moment at;
	enum view_active active;
	struct replay_options options;
};

static const struct argp_option options[] = {
	{"trace", 't', "TRACE", 0, "The trace, a .kmt; may also be given without --trace", 0},
	{"allocator", 'a', "SPEC", 0, "The stack; recorded shows the kernel's own file as it stood then", 0},
	{"at", OPTION_AT, "EVENT|SECONDS|LABEL|end", 0,
	 "When: after so many events, at a time such as 1.5s, at the snapshot of that label (0003, 05-steady), or at "
	 "the end (default)",
	 0},
	{"active", OPTION_ACTIVE, "kernel|true", 0,
	 "slabinfo: active objects as the kernel counts them (default), free ones parked per cpu among them, or those "
	 "that callers truly have",
	 0},
	{"level", KML_OPTION_LEVEL, "all|objects|pages", 0, "Which events to feed (default all)", 0},
	{"arena", KML_OPTION_ARENA, "auto|SIZE", 0,
	 "Size of the arena (default auto: the recorded machine where the stream begins at boot and the page allocator "
	 "can start empty, else twice the recorded peak)",
	 0},
	{"seed", KML_OPTION_SEED, "N", 0, "Seed of allocators that draw random numbers (default 1)", 0},
	{"plugin", KML_OPTION_PLUGIN, "FILE.so", 0, "Load the allocators of a shared object too (may be repeated)", 0},
	{0},
};

/* A whole number; those with a leading zero are labels of snapshots. */
static bool is_event_number(const char *text, uint64_t *number)
{
	char *end;
	*number = strtoull(text, &end, 10);
	return *text >= '1' && *text <= '9' && *end == '\0';
}

static bool is_time(const char *text, uint64_t *time_ns)
{
	char *end;
	double seconds = strtod(text, &end);
	bool is = *text >= '0' && *text <= '9' && strcmp(end, "s") == 0 && seconds < 1e9;
	*time_ns = is ? (uint64_t)llround(seconds * 1e9) : 0;
	return is;
}

static void parse_moment(const char *text, struct moment *at, struct argp_state *state)
{
	*at = (struct moment){.kind = AT_END};
	if (strcmp(text, "end") == 0)
		return;
	if (is_event_number(text, &at->event))
		at->kind = AT_EVENT;
	else if (is_time(text, &at->time_ns))
		at->kind = AT_TIME;
	else
		*at = (struct moment){.kind = AT_LABEL, .label = text};
	if (*text == '\0' || *text == '-' || strcmp(text, "0") == 0)
		argp_error(
			state,
			"--at '%s': give a number of events from 1 on, a time such as 1.5s, the label of a snapshot, "
			"or end",
			text);
}

static enum view_active parse_active(const char *text, struct argp_state *state)
{
	if (strcmp(text, "kernel") != 0 && strcmp(text, "true") != 0)
		argp_error(state, "--active '%s': give kernel or true", text);
	return strcmp(text, "true") == 0 ? VIEW_ACTIVE_TRUE : VIEW_ACTIVE_KERNEL;
}

static void take_operand(const char *value, struct arguments *arguments, struct argp_state *state)
{
	for (int i = 0; i < VIEW_COUNT && !arguments->view; i++)
		if (strcmp(value, views[i].name) == 0) {
			arguments->view = &views[i];
			return;
		}
	if (!arguments->view)
		argp_error(state, "no view '%s'; there are slabinfo, buddyinfo and meminfo", value);
	else
		kml_option_once(&arguments->trace, value, "trace", "", state);
}

static void check_complete(const struct arguments *arguments, struct argp_state *state)
{
	if (!arguments->view)
		argp_error(state, "which view? There are slabinfo, buddyinfo and meminfo");
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
	case OPTION_ACTIVE:
		arguments->active = parse_active(value, state);
		return 0;
	case ARGP_KEY_END:
		check_complete(arguments, state);
		return 0;
	default:
		return kml_option_replay(key, value, &arguments->options, NULL, state) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	"slabinfo|buddyinfo|meminfo TRACE",
	"Replay a trace up to a moment and print what the kernel's own file of that name would say then.\v"
	"Examples:\n"
	"  kmemlab view slabinfo traces/reclaim.kmt --allocator slub --at 0003\n"
	"  kmemlab view slabinfo traces/reclaim.kmt --allocator slab --active true\n"
	"  kmemlab view buddyinfo traces/compile.kmt --allocator binary\n"
	"  kmemlab view meminfo traces/compile.kmt --allocator recorded --at 1.5s\n\n"
	"slabinfo is version 2.1, to the letter: slabtop and vmstat -m read it. Tunables are filled by SLAB, zero in "
	"SLUB.\n"
	"buddyinfo: one column an order, free blocks of 1, 2, 4, ... 1024 pages; a free block counts in the highest "
	"order\n"
	"that fits into it.\n"
	"meminfo has the lines that a replay knows: MemTotal, MemFree, KReclaimable, Slab, SReclaimable, SUnreclaim; "
	"the\n"
	"others (page cache, user memory, swap, ...) are left out.\n"
	"For recorded it is the kernel's own file, of the last snapshot up to then.",
	NULL,
	NULL,
	NULL};

/* ------------------------------------------------------------------------------------------------- views */

struct viewer {
	const struct arguments *arguments;
	uint32_t page_bytes;
	struct view_memory memory;
	char *text; /* what is to be printed */
	size_t text_bytes;
	bool seen; /* the wanted snapshot, AT_LABEL */
	struct kml_error error;
};

static void print_buddyinfo(const struct kml_stack *stack, uint32_t page_bytes, FILE *stream)
{
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	struct free_orders orders;
	struct kml_heap *heap = kml_stack_top(stack);
	uint32_t count = heap->allocator->free_areas(heap, areas);
	free_orders_from_areas(&orders, areas, count, page_bytes);
	free_orders_print(&orders, "Normal", stream);
}

static bool render(struct viewer *viewer, const struct kml_stack *stack)
{
	const struct arguments *arguments = viewer->arguments;
	free(viewer->text);
	viewer->text = NULL;
	FILE *stream = open_memstream(&viewer->text, &viewer->text_bytes);
	if (!stream)
		return kml_fail(&viewer->error, "out of memory");
	bool done = true;
	if (arguments->view->kind == KMT_SNAPSHOT_BUDDYINFO)
		print_buddyinfo(stack, viewer->page_bytes, stream);
	else if (arguments->view->kind == KMT_SNAPSHOT_MEMINFO)
		view_meminfo(stack, &viewer->memory, stream);
	else
		done = view_slabinfo(stack, arguments->active, stream);
	fclose(stream);
	return done || kml_fail(&viewer->error,
				"%s has no caches, and so no slabinfo: give --allocator a stack of objects ('kmemlab "
				"list' shows all)",
				arguments->allocator);
}

/* Samples stand only at the end. */
static bool observe_end(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
			const struct kml_arena *arena)
{
	struct viewer *viewer = context;
	(void)sample;
	(void)arena;
	return viewer->arguments->at.kind == AT_LABEL || render(viewer, stack);
}

static bool observe_snapshot(void *context, const struct kmt_snapshot *snapshot, const struct kml_stack *stack,
			     const struct kml_arena *arena)
{
	struct viewer *viewer = context;
	const struct moment *at = &viewer->arguments->at;
	(void)arena;
	if (at->kind != AT_LABEL || strcmp(at->label, snapshot->label) != 0)
		return true;
	if (viewer->seen && snapshot->kind != viewer->arguments->view->kind)
		return true;
	viewer->seen = true;
	return render(viewer, stack);
}

/* ------------------------------------------------------------------------------------- which moment it is */

static bool is_past(const struct moment *at, const struct kmt_snapshot *snapshot)
{
	switch (at->kind) {
	case AT_EVENT:
		return snapshot->event > at->event;
	case AT_TIME:
		return snapshot->time_ns > at->time_ns;
	case AT_LABEL:
		return strcmp(snapshot->label, at->label) != 0;
	default:
		return false;
	}
}

static bool find_recorded(struct kmt_reader *reader, struct viewer *viewer, struct kml_error *error)
{
	const struct view *view = viewer->arguments->view;
	struct kmt_item item;
	if (!kmt_rewind(reader, error))
		return false;
	for (;;) {
		switch (kmt_next(reader, &item, error)) {
		case KMT_ITEM_SNAPSHOT:
			if (item.snapshot->kind != view->kind || is_past(&viewer->arguments->at, item.snapshot))
				break;
			free(viewer->text);
			viewer->text = strdup(item.snapshot->text);
			break;
		case KMT_ITEM_EVENTS:
			break;
		case KMT_ITEM_END:
			return viewer->text || kml_fail(error,
							"%s: no %s of the kernel then: import it with --snapshots, or "
							"look at another moment",
							kmt_reader_path(reader), view->name);
		case KMT_ITEM_ERROR:
			return false;
		}
	}
}

/* The number of events up to the first that is later than the time. */
static bool events_until_time(struct kmt_reader *reader, uint64_t time_ns, uint64_t *events, struct kml_error *error)
{
	struct kmt_item item;
	if (!kmt_rewind(reader, error))
		return false;
	for (uint64_t before = 0;;) {
		switch (kmt_next(reader, &item, error)) {
		case KMT_ITEM_EVENTS:
			for (uint32_t i = 0; i < item.event_count; i++, before++) {
				*events = before ? before : 1;
				if (item.events[i].time_ns > time_ns)
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

/* The number of events before the snapshot of that label. */
static bool events_until_label(struct kmt_reader *reader, const char *label, uint64_t *events, struct kml_error *error)
{
	struct kmt_item item;
	if (!kmt_rewind(reader, error))
		return false;
	for (;;) {
		switch (kmt_next(reader, &item, error)) {
		case KMT_ITEM_SNAPSHOT:
			if (strcmp(item.snapshot->label, label) != 0)
				break;
			*events = item.snapshot->event;
			return true;
		case KMT_ITEM_EVENTS:
			break;
		case KMT_ITEM_END:
			return kml_fail(error,
					"%s: no snapshot is labelled '%s': give a number of events, a time such as "
					"1.5s, or a label that 'kmemlab info --snapshots' lists",
					kmt_reader_path(reader), label);
		case KMT_ITEM_ERROR:
			return false;
		}
	}
}

static bool events_until(struct kmt_reader *reader, const struct moment *at, uint64_t *events, struct kml_error *error)
{
	*events = at->kind == AT_EVENT ? at->event : UINT64_MAX;
	if (at->kind == AT_TIME)
		return events_until_time(reader, at->time_ns, events, error);
	return at->kind != AT_LABEL || events_until_label(reader, at->label, events, error);
}

/* ----------------------------------------------------------------------------------------------- the whole */

static bool view_stack(struct viewer *viewer, struct kmt_reader *reader, const struct kml_spec *spec,
		       struct kml_error *error)
{
	const struct arguments *arguments = viewer->arguments;
	struct replay_options replay = arguments->options;
	struct replay_result result;
	bool *reclaimable = NULL;
	uint64_t events;
	bool done = events_until(reader, &arguments->at, &events, error);
	if (done && arguments->view->kind == KMT_SNAPSHOT_MEMINFO)
		done = survey_memory(reader, events, &viewer->memory.large_pages, &reclaimable, error);
	viewer->memory.reclaimable = reclaimable;
	/* A snapshot stands before the event after it: that one is still fed. */
	replay.stop_after_events = events + (arguments->at.kind == AT_LABEL);
	replay.add_pages = replay_may_add_pages(reader, spec, &replay);
	if (done && !replay_run(reader, spec, &replay, observe_end, observe_snapshot, viewer, &result, error))
		done = viewer->error.text[0] ? kml_fail(error, "%s", viewer->error.text) : false;
	else if (done && result.check_failed)
		done = kml_fail(error, "%s on %s: %s", arguments->trace, arguments->allocator, result.check_error.text);
	free(reclaimable);
	return done;
}

static int view(const struct arguments *arguments, struct kmt_reader *reader, const struct kml_spec *spec)
{
	struct viewer viewer = {.arguments = arguments, .page_bytes = kmt_reader_origin(reader)->page_bytes};
	struct kml_error error;
	viewer.memory.page_bytes = viewer.page_bytes;
	kmt_reader_caches(reader, &viewer.memory.cache_count);
	bool recorded = kml_spec_traits(spec) & KML_TRAIT_RECORDED;
	bool done = recorded ? find_recorded(reader, &viewer, &error) : view_stack(&viewer, reader, spec, &error);
	if (done && viewer.text)
		printf("%s%s", viewer.text, viewer.text[0] && strchr(viewer.text, '\0')[-1] != '\n' ? "\n" : "");
	free(viewer.text);
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
	struct kmt_reader *reader = workload_open(arguments.trace, arguments.allocator, &error);
	status = reader ? view(&arguments, reader, spec) : kml_report(&error, KML_EXIT_USAGE);
	kmt_close(reader);
	kml_spec_free(spec);
	return status;
}
