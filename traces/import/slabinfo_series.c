/*
 * slabinfo_series.c - the text form of a series of /proc/slabinfo, one snapshot after the other, as cron collects it:
 *
 *   time: 1796070464                a line before each; seconds, with or without a fraction (`date +%s.%N`)
 *   slabinfo - version: 2.1         and what /proc/slabinfo held then
 *   ...
 *
 * What `kmemlab info --snapshots=slabinfo` prints is read too: its lines "### SECONDS s, before event N, ..." are the
 * times. A text without any time is one snapshot. Only times are looked at here; what snapshots hold, series.c reads.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/internal.h"
#include "traces/import/trace_line.h"

enum { SNAPSHOT_BYTES_MAX = 16 << 20, FRACTION_DIGITS = 9 }; /* of a .kmt's snapshot; of a nanosecond */
#define NS_PER_S 1000000000ull
#define SECONDS_MAX (UINT64_MAX / NS_PER_S - 1)

struct slabinfo_text {
	struct import *import;
	const char *name;
	struct line_reader *reader;
	struct {
		char *bytes;
		size_t length, capacity;
		uint64_t time_ns;
		uint32_t line; /* lines of the file before it */
		bool has_time, has_heading;
	} snapshot;
	uint32_t snapshots;
};

/* "1796070464.5" and what follows it to nanoseconds. */
static bool parse_seconds(const char *text, const char **end, uint64_t *time_ns)
{
	uint64_t seconds = 0, fraction = 0;
	int digits = 0;

	if (!isdigit((unsigned char)*text))
		return false;
	for (; isdigit((unsigned char)*text); text++) {
		seconds = seconds * 10 + (uint64_t)(*text - '0');
		if (seconds > SECONDS_MAX)
			return false;
	}
	if (*text == '.') {
		for (text++; isdigit((unsigned char)*text); text++) {
			if (digits++ < FRACTION_DIGITS)
				fraction = fraction * 10 + (uint64_t)(*text - '0');
		}
	}
	for (; digits < FRACTION_DIGITS; digits++)
		fraction *= 10;
	*end = text;
	*time_ns = seconds * NS_PER_S + fraction;
	return true;
}

enum time_line { TIME_NONE, TIME_TOLD, TIME_DAMAGED };

/* Whether the line tells the time of the snapshot that follows. */
static enum time_line parse_time(const char *line, uint64_t *time_ns)
{
	bool printed = strncmp(line, "### ", 4) == 0;
	const char *end;

	if (!printed && strncmp(line, "time:", 5) != 0)
		return TIME_NONE;
	line += printed ? 4 : 5;
	line += strspn(line, " \t");
	if (!parse_seconds(line, &end, time_ns))
		return TIME_DAMAGED;
	if (printed)
		return strncmp(end, " s,", 3) == 0 ? TIME_TOLD : TIME_DAMAGED;
	return end[strspn(end, " \t")] == '\0' ? TIME_TOLD : TIME_DAMAGED;
}

static uint64_t line_number(const struct slabinfo_text *text)
{
	return line_reader_number(text->reader);
}

static bool append(struct slabinfo_text *text, const char *line, struct kml_error *error)
{
	size_t length = strlen(line), wanted = text->snapshot.length + length + 2;

	if (wanted > SNAPSHOT_BYTES_MAX)
		return kml_fail(error,
				"%s:%" PRIu64
				": a snapshot of more than %d MiB: is a line `time: $(date +%%s)` missing "
				"before the next one?",
				text->name, line_number(text), SNAPSHOT_BYTES_MAX >> 20);
	if (wanted > text->snapshot.capacity) {
		char *bigger = realloc(text->snapshot.bytes, 2 * wanted);
		if (bigger == NULL)
			return kml_fail(error, "out of memory");
		text->snapshot.bytes = bigger;
		text->snapshot.capacity = 2 * wanted;
	}
	memcpy(text->snapshot.bytes + text->snapshot.length, line, length);
	text->snapshot.length += length;
	text->snapshot.bytes[text->snapshot.length++] = '\n';
	return true;
}

/* What was read since the last time line is a snapshot. */
static bool finish_snapshot(struct slabinfo_text *text, struct kml_error *error)
{
	char label[16];

	if (!text->snapshot.has_time && text->snapshot.length == 0)
		return true;
	snprintf(label, sizeof(label), "%04" PRIu32, text->snapshots++);
	if (!import_add_snapshot(text->import, KMT_SNAPSHOT_SLABINFO, text->snapshot.time_ns, label,
				 text->snapshot.length == 0 ? "" : text->snapshot.bytes, text->snapshot.length, error))
		return false;
	text->import->snapshots.items[text->import->snapshots.count - 1].line = text->snapshot.line;
	text->snapshot.length = 0;
	return true;
}

static bool begin_snapshot(struct slabinfo_text *text, uint64_t time_ns, struct kml_error *error)
{
	if (!text->snapshot.has_time && text->snapshot.length > 0)
		return kml_fail(error,
				"%s:%" PRIu64
				": the first time of the series, but lines of slabinfo came before it: give "
				"them a line `time: SECONDS` too, or cut them off",
				text->name, line_number(text));
	if (!finish_snapshot(text, error))
		return false;
	text->snapshot.time_ns = time_ns;
	text->snapshot.line = (uint32_t)line_number(text);
	text->snapshot.has_time = true;
	text->snapshot.has_heading = false;
	return true;
}

static bool take_line(struct slabinfo_text *text, const char *line, struct kml_error *error)
{
	bool heading = strncmp(line, "slabinfo - version", 18) == 0;
	uint64_t time_ns;

	switch (parse_time(line, &time_ns)) {
	case TIME_TOLD:
		return begin_snapshot(text, time_ns, error);
	case TIME_DAMAGED:
		return kml_fail(error,
				"%s:%" PRIu64 ": '%.40s' is no time: wanted are seconds, as `echo time: $(date +%%s)` "
				"writes them",
				text->name, line_number(text), line);
	default:
		break;
	}
	if (heading && text->snapshot.has_heading)
		return kml_fail(error,
				"%s:%" PRIu64 ": another snapshot begins without a time: put a line `time: SECONDS` "
				"before each",
				text->name, line_number(text));
	text->snapshot.has_heading = text->snapshot.has_heading || heading;
	return append(text, line, error);
}

bool import_slabinfo_series(struct import *import, struct import_input *input, struct kml_error *error)
{
	struct slabinfo_text text = {.import = import, .name = import_input_name(input)};
	bool failed = false, taken = true;
	char *line;

	text.reader = line_reader_create(input, error);
	free(import->series_file);
	import->series_file = strdup(text.name);
	if (text.reader == NULL || import->series_file == NULL) {
		line_reader_destroy(text.reader);
		return kml_fail(error, "out of memory");
	}
	while (taken && line_reader_next(text.reader, &line, &failed, error))
		taken = take_line(&text, line, error);
	bool done = taken && !failed && finish_snapshot(&text, error);
	free(text.snapshot.bytes);
	line_reader_destroy(text.reader);
	return done;
}
