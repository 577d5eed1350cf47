/* text_lines.c - see text_lines.h. */
#include <inttypes.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/progress.h"
#include "traces/import/text_lines.h"

enum { PROGRESS_LINES = 4096 };

static bool take_line(struct text_lines *text, char *line, struct kml_error *error)
{
	const char *name = import_input_name(text->input);

	switch (text->take(text, line, error)) {
	case TRACE_LINE_EVENT:
		text->events++;
		return true;
	case TRACE_LINE_UNKNOWN:
		if (import_is_strict(text->import))
			return kml_fail(error, "%s:%" PRIu64 ": no %s; without --strict it is skipped", name,
					text->lines, text->event);
		import_count(text->import, KMT_QUIRK_UNKNOWN_EVENT, 1);
		return true;
	case TRACE_LINE_MALFORMED:
		if (text->malformed++ == 0) {
			text->first_malformed_line = text->lines;
			text->first_problem = text->problem;
		}
		if (import_is_strict(text->import))
			return kml_fail(error, "%s:%" PRIu64 ": %s; without --strict the event is skipped", name,
					text->lines, text->problem);
		import_count(text->import, KMT_QUIRK_MALFORMED, 1);
		return true;
	case TRACE_LINE_IGNORED:
		return true;
	case TRACE_LINE_STOPPED:
		return false;
	}
	return true;
}

static bool take_lines(struct text_lines *text, struct line_reader *reader, struct kml_error *error)
{
	struct kml_progress progress = {0};
	bool failed = false, taken = true;
	char *line;

	if (!import_is_quiet(text->import))
		kml_progress_start(&progress, "reading", "KiB", import_input_size(text->input) >> 10);
	while (taken && line_reader_next(reader, &line, &failed, error)) {
		text->lines = line_reader_number(reader);
		if (text->lines % PROGRESS_LINES == 0)
			kml_progress_update(&progress, import_input_position(text->input) >> 10);
		if (line[0] != '\0')
			taken = take_line(text, line, error);
	}
	if (!import_is_quiet(text->import))
		kml_progress_finish(&progress);
	return taken && !failed;
}

bool import_text_lines(struct text_lines *text, struct kml_error *error)
{
	struct line_reader *reader = line_reader_create(text->input, error);
	bool done = reader != NULL && take_lines(text, reader, error);

	line_reader_destroy(reader);
	return done;
}

bool import_text_judge(const struct text_lines *text, struct kml_error *error)
{
	const char *name = import_input_name(text->input);

	if (text->malformed > 0 && text->events == 0)
		return kml_fail(error, "%s:%" PRIu64 ": %s, and no line of the file is a whole %s: is it damaged?",
				name, text->first_malformed_line, text->first_problem, text->event);
	if (text->events == 0)
		return kml_fail(error, "%s: no %s in its %" PRIu64 " lines; wanted is %s", name, text->event,
				text->lines, text->wanted);
	if (text->malformed > 0)
		import_warn(text->import, "%s:%" PRIu64 ": %s; %" PRIu64 " such events were skipped", name,
			    text->first_malformed_line, text->first_problem, text->malformed);
	return true;
}
