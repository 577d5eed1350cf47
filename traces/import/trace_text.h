/* trace_text.h - what ftrace text and perf script share: a file of trace lines into the import. */
#ifndef KMEMLAB_TRACE_TEXT_H
#define KMEMLAB_TRACE_TEXT_H

#include "traces/import/import.h"

/*
 * A line that is no event: a header, a notice of lost events. true when the source knows it; may fill the origin and
 * count. Called before the line is parsed.
 */
typedef bool trace_text_notice(struct import *import, const char *line, struct kmt_origin *origin);

bool import_trace_text(struct import *import, struct import_input *input, trace_text_notice *notice,
		       struct kmt_origin *origin, struct kml_error *error);

#endif
