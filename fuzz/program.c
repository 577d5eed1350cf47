/*
 * program.c - operation programs in memory, and their run: a replay with every check.
 *
 * A fuzzer runs tens of thousands of programs a second, few of them with a new stack: parsed specs are kept, in a table
 * in which a new one takes the place of an old one of the same hash. Cost of a run: that of the replay, O(events).
 */
#include "fuzz/feedback.h"
#include "fuzz/program.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "allocators/check/report.h"
#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "workloads/tape.h"

enum { SPECS_KEPT = 512 };

void program_free(struct program *program)
{
	free(program->events);
	program->events = NULL;
	program->event_count = program->event_room = 0;
}

bool program_add(struct program *program, const struct kmt_event *event)
{
	uint32_t count = program->event_count;
	if (count == PROGRAM_EVENTS_MAX)
		return false;
	if (count == program->event_room) {
		uint32_t room = count ? 2 * count : PROGRAM_OPS;
		struct kmt_event *events = realloc(program->events, room * sizeof *events);
		if (!events)
			return false;
		program->events = events;
		program->event_room = room;
	}
	program->events[count] = *event;
	program->events[count].time_ns = count ? program->events[count - 1].time_ns : 0;
	program->event_count++;
	return true;
}

/* The parsed spec of a stack; borrowed until the next call. NULL and *error: it is none. */
static const struct kml_spec *find_spec(const char *stack, struct kml_error *error)
{
	static struct kml_spec *kept[SPECS_KEPT];
	struct kml_spec **place = &kept[XXH3_64bits(stack, strlen(stack)) % SPECS_KEPT];
	if (*place && strcmp((*place)->text, stack) == 0)
		return *place;
	feedback_hold();
	struct kml_spec *spec = kml_spec_parse(stack, error);
	if (spec) {
		kml_spec_free(*place);
		*place = spec;
	}
	feedback_restore();
	return spec;
}

/* "after event 7: overlap: block at ..." breaks "overlap"; a text without a name of that kind is the replay's own. */
static void name_oracle(struct program_outcome *outcome)
{
	bool at_an_event = strncmp(outcome->error.text, "event ", 6) == 0;
	const char *separator = at_an_event ? "): " : ": ";
	const char *text = strstr(outcome->error.text, separator);
	text = text ? text + strlen(separator) : NULL;
	strcpy(outcome->oracle, "replay");
	for (enum kml_invariant invariant = 0; text && invariant < KML_INVARIANT_COUNT; invariant++) {
		const char *name = kml_invariant_name(invariant);
		size_t length = strlen(name);
		if (strncmp(text, name, length) == 0 && text[length] == ':')
			memcpy(outcome->oracle, name, length + 1);
	}
}

struct kmt_reader *program_reader(const struct program *program, struct kml_error *error)
{
	const struct program_setup *setup = &program->setup;
	const struct kmt_origin origin = {.source = "program",
					  .kernel = "",
					  .command = "",
					  .clock = "",
					  .note = "",
					  .cpu_count = setup->cpu_count,
					  .page_bytes = setup->page_bytes};
	return kmt_open_events(&origin, setup->caches, setup->cache_count, program->events, program->event_count,
			       error);
}

bool program_run(const struct program *program, struct program_outcome *outcome, struct kml_error *error)
{
	const struct program_setup *setup = &program->setup;
	const struct replay_options options = {.arena_bytes = setup->arena_bytes,
					       .seed = setup->seed,
					       .check = true,
					       .check_every = setup->check_every};
	outcome->failed = false;
	const struct kml_spec *spec = find_spec(setup->stack, error);
	struct kmt_reader *reader = spec ? program_reader(program, error) : NULL;
	if (!reader)
		return false;
	const struct replay_tape tape = {program->events, program->event_count};
	bool ran = replay_run_bare(reader, &tape, spec, &options, &outcome->result, error);
	kmt_close(reader);
	if (!ran || !outcome->result.check_failed)
		return ran;
	outcome->failed = true;
	outcome->error = outcome->result.check_error;
	name_oracle(outcome);
	return true;
}
