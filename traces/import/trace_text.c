/*
 * trace_text.c - a file of trace lines into the import, whatever wrote it.
 *
 * Lines that are no kmem event are counted and survived; with --strict the first one ends the import. A file without a
 * single kmem event is an error: most likely it is no trace at all.
 */
#include <inttypes.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/progress.h"
#include "traces/import/trace_line.h"
#include "traces/import/trace_text.h"

enum { PROGRESS_LINES = 4096 };

struct text_import {
	struct import *import;
	struct import_input *input;
	struct line_reader *reader;
	struct trace_line_parser parser;
	const char *name;
	uint64_t events, unknown, malformed;
	uint64_t first_malformed_line;
	const char *first_problem;
};

static bool take_line(struct text_import *text, char *line, struct kml_error *error)
{
	struct raw_event event;
	uint64_t number = line_reader_number(text->reader);

	switch (trace_line_parse(&text->parser, line, &event)) {
	case TRACE_LINE_EVENT:
		text->events++;
		return import_add_event(text->import, &event, error);
	case TRACE_LINE_UNKNOWN:
		text->unknown++;
		if (import_is_strict(text->import))
			return kml_fail(error, "%s:%" PRIu64 ": no kmem event; without --strict it is skipped",
					text->name, number);
		import_count(text->import, KMT_QUIRK_UNKNOWN_EVENT, 1);
		return true;
	case TRACE_LINE_MALFORMED:
		if (text->malformed++ == 0) {
			text->first_malformed_line = number;
			text->first_problem = text->parser.problem;
		}
		if (import_is_strict(text->import))
			return kml_fail(error, "%s:%" PRIu64 ": %s; without --strict the event is skipped", text->name,
					number, text->parser.problem);
		import_count(text->import, KMT_QUIRK_MALFORMED, 1);
		return true;
	default:
		return true;
	}
}

static bool take_lines(struct text_import *text, trace_text_notice *notice, struct kmt_origin *origin,
		       struct kml_error *error)
{
	struct kml_progress progress = {0};
	bool failed = false, taken = true;
	char *line;

	if (!import_is_quiet(text->import))
		kml_progress_start(&progress, "reading", "KiB", import_input_size(text->input) >> 10);
	while (taken && line_reader_next(text->reader, &line, &failed, error)) {
		if (line_reader_number(text->reader) % PROGRESS_LINES == 0)
			kml_progress_update(&progress, import_input_position(text->input) >> 10);
		if (line[0] != '\0' && !notice(text->import, line, origin))
			taken = take_line(text, line, error);
	}
	if (!import_is_quiet(text->import))
		kml_progress_finish(&progress);
	return taken && !failed;
}

/* What the file as a whole was. */
static bool judge(struct text_import *text, struct kml_error *error)
{
	const struct trace_line_parser *parser = &text->parser;

	if (parser->hidden_pointers > 0 && parser->hidden_pointers >= text->events)
		return kml_fail(error,
				"%s:%" PRIu64 ": the kernel hid the pointers, ptr=(____ptrval____), so frees "
				"cannot be matched; record with `echo 0 > options/hash-ptr` in tracefs, or boot "
				"with no_hash_pointers",
				text->name, text->first_malformed_line);
	if (parser->hidden_pointers > 0)
		import_warn(text->import,
			    "%" PRIu64 " events without a pointer, ptr=(____ptrval____), were skipped: "
			    "record with `echo 0 > options/hash-ptr` in tracefs, or boot with "
			    "no_hash_pointers",
			    parser->hidden_pointers);
	if (text->malformed > 0 && text->events == 0)
		return kml_fail(error,
				"%s:%" PRIu64 ": %s, and no line of the file is a whole kmem event: is it damaged?",
				text->name, text->first_malformed_line, text->first_problem);
	if (text->events == 0)
		return kml_fail(error,
				"%s: no kmem event in its %" PRIu64 " lines; wanted is the `trace` file of tracefs, "
				"trace-cmd report, perf script, perf.data or a folder of snapshots",
				text->name, line_reader_number(text->reader));
	if (text->malformed > 0)
		import_warn(text->import, "%s:%" PRIu64 ": %s; %" PRIu64 " such events were skipped", text->name,
			    text->first_malformed_line, text->first_problem, text->malformed);
	/* Hashes are 32 bits wide; a few could be small numbers by chance, so all but a few must be. */
	if (parser->hashed_pointers > text->events / 2)
		import_pointers_are_hashed(text->import);
	return true;
}

bool import_trace_text(struct import *import, struct import_input *input, trace_text_notice *notice,
		       struct kmt_origin *origin, struct kml_error *error)
{
	struct text_import text = {.import = import, .input = input, .name = import_input_name(input)};

	text.reader = line_reader_create(input, error);
	if (text.reader == NULL)
		return false;
	bool done = take_lines(&text, notice, origin, error) && judge(&text, error);
	origin->at_boot = text.parser.early_lines > 0;
	trace_line_parser_free(&text.parser);
	line_reader_destroy(text.reader);
	if (done)
		import_set_origin(import, origin);
	return done;
}
