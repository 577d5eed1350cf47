/*
 * text_lines.h - a text into the import, line by line, whatever its lines say.
 *
 * Lines that are no event are counted and survived; with --strict the first one ends the import, named by its number.
 */
#ifndef KMEMLAB_IMPORT_TEXT_LINES_H
#define KMEMLAB_IMPORT_TEXT_LINES_H

#include "traces/import/trace_line.h"

struct text_lines {
	struct import *import;
	struct import_input *input;
	/*
	 * Gives what a line says to the import and cuts it up in place. With TRACE_LINE_MALFORMED it leaves what is
	 * wrong in `problem`, with TRACE_LINE_STOPPED in *error.
	 */
	enum trace_line_status (*take)(struct text_lines *text, char *line, struct kml_error *error);
	void *context;      /* take's own */
	const char *event;  /* what an event is called: "kmem event" */
	const char *wanted; /* what would have been one, for a file without any */
	const char *problem;

	/* What was read so far. */
	uint64_t lines, events, malformed;
	uint64_t first_malformed_line;
	const char *first_problem;
};

/* All of them. false and *error when the input is damaged, memory is exhausted, or strict and a line is no event. */
bool import_text_lines(struct text_lines *text, struct kml_error *error);

/* What the text as a whole was: one without an event is an error, malformed ones give a warning. */
bool import_text_judge(const struct text_lines *text, struct kml_error *error);

#endif
