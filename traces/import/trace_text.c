/*
 * trace_text.c - a file of trace lines into the import, whatever wrote it.
 *
 * A file without a single kmem event is an error: most likely it is no trace at all.
 */
#include <inttypes.h>

#include "kmemlab/support/error.h"
#include "traces/import/text_lines.h"
#include "traces/import/trace_text.h"

struct text_import {
	struct trace_line_parser parser;
	trace_text_notice *notice;
	struct kmt_origin *origin;
};

static enum trace_line_status take(struct text_lines *text, char *line, struct kml_error *error)
{
	struct text_import *own = text->context;
	struct raw_event event;

	if (own->notice(text->import, line, own->origin))
		return TRACE_LINE_IGNORED;
	enum trace_line_status status = trace_line_parse(&own->parser, line, &event);
	text->problem = own->parser.problem;
	if (status == TRACE_LINE_EVENT && !import_add_event(text->import, &event, error))
		return TRACE_LINE_STOPPED;
	return status;
}

/* What the file as a whole was. */
static bool judge(const struct text_lines *text, const struct trace_line_parser *parser, struct kml_error *error)
{
	if (parser->hidden_pointers > 0 && parser->hidden_pointers >= text->events)
		return kml_fail(error,
				"%s:%" PRIu64 ": the kernel hid the pointers, ptr=(____ptrval____), so frees "
				"cannot be matched; record with `echo 0 > options/hash-ptr` in tracefs, or boot "
				"with no_hash_pointers",
				import_input_name(text->input), text->first_malformed_line);
	if (parser->hidden_pointers > 0)
		import_warn(text->import,
			    "%" PRIu64 " events without a pointer, ptr=(____ptrval____), were skipped: "
			    "record with `echo 0 > options/hash-ptr` in tracefs, or boot with "
			    "no_hash_pointers",
			    parser->hidden_pointers);
	if (!import_text_judge(text, error))
		return false;
	/* Hashes are 32 bits wide; a few could be small numbers by chance, so all but a few must be. */
	if (parser->hashed_pointers > text->events / 2)
		import_pointers_are_hashed(text->import);
	return true;
}

bool import_trace_text(struct import *import, struct import_input *input, trace_text_notice *notice,
		       struct kmt_origin *origin, struct kml_error *error)
{
	struct text_import own = {.notice = notice, .origin = origin};
	struct text_lines text = {
		.import = import,
		.input = input,
		.take = take,
		.context = &own,
		.event = "kmem event",
		.wanted = "the `trace` file of tracefs, trace-cmd report, perf script, perf.data, trace.dat, the text "
			  "of babeltrace2, a trace of malloc or a folder of snapshots",
	};

	bool done = import_text_lines(&text, error) && judge(&text, &own.parser, error);
	origin->at_boot = own.parser.early_lines > 0;
	trace_line_parser_free(&own.parser);
	if (done)
		import_set_origin(import, origin);
	return done;
}
