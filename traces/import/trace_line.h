/*
 * trace_line.h - one line of kernel trace text to a raw event: ftrace's `trace` file, trace-cmd report, perf script.
 *
 *   ftrace      TASK-PID [TGID] [CPU] [FLAGS] TIME: EVENT: field=value ...
 *   trace-cmd   the same, EVENT padded with blanks
 *   perf script TASK PID[/TID] [CPU] TIME: kmem:EVENT: field=value ...
 *
 * Fields are found by name, never by position: kmem_cache_alloc alone has had three layouts. Cost: one pass over the
 * line, no allocation.
 */
#ifndef KMEMLAB_TRACE_LINE_H
#define KMEMLAB_TRACE_LINE_H

#include <stdbool.h>
#include <stddef.h>

#include "kmemlab/support/hashmap.h"
#include "traces/import/import.h"

enum trace_line_status {
	TRACE_LINE_EVENT,
	TRACE_LINE_UNKNOWN,   /* no trace line, or no event of use here */
	TRACE_LINE_MALFORMED, /* a kmem event without a field it needs, or with an absurd one */
	TRACE_LINE_IGNORED,   /* nothing happened: a failed page allocation */
	TRACE_LINE_STOPPED,   /* no memory to keep it: the import ends */
};

/* Fields of any kmem event. */
enum trace_field {
	TRACE_FIELD_CALL_SITE,
	TRACE_FIELD_PTR,
	TRACE_FIELD_BYTES_REQ,
	TRACE_FIELD_BYTES_ALLOC,
	TRACE_FIELD_GFP,
	TRACE_FIELD_ACCOUNTED,
	TRACE_FIELD_NAME,
	TRACE_FIELD_PAGE,
	TRACE_FIELD_PFN,
	TRACE_FIELD_ORDER,
	TRACE_FIELD_MIGRATETYPE,
	TRACE_FIELD_KIND,
	TRACE_FIELD_AVAIL,
	TRACE_FIELD_TOFREE,
	TRACE_FIELDS
};
/* enum trace_field of a field's name; -1: none of use here. */
int trace_field_find(const char *key, size_t length);

struct trace_line_parser {
	struct kml_hashmap gfp_of; /* hash of a gfp_flags text -> enum raw_gfp */
	uint64_t hidden_pointers;  /* "(____ptrval____)" */
	uint64_t hashed_pointers;  /* 16 digits, the upper 8 all 0: no 64-bit kernel has such an address */
	uint64_t early_lines;      /* of a log from before ftrace was up: the stream begins at boot */
	const char *problem;       /* of the last malformed line */
};

/*
 * `line` is NUL-terminated, without its newline, and is cut up in place: event->name points into it.
 */
enum trace_line_status trace_line_parse(struct trace_line_parser *parser, char *line, struct raw_event *event);
/*
 * Of an event whose name and fields somebody else found: the texts of its fields, NULL where absent. Time, cpu and
 * where it ran are left as they are.
 */
enum trace_line_status trace_event_parse(struct trace_line_parser *parser, const char *event_name,
					 char *const values[TRACE_FIELDS], struct raw_event *event);
void trace_line_parser_free(struct trace_line_parser *parser);

/*
 * The lines of an input, one after the other, in a buffer of the reader's own. false at the end, or with *failed set
 * on damage or a line longer than 64 KiB.
 */
struct line_reader;
struct line_reader *line_reader_create(struct import_input *input, struct kml_error *error);
bool line_reader_next(struct line_reader *reader, char **line, bool *failed, struct kml_error *error);
uint64_t line_reader_number(const struct line_reader *reader);
void line_reader_destroy(struct line_reader *reader);

#endif
