/* line_reader.c - lines of an input. A NUL byte inside a line ends it there: no trace text has one. */
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/trace_line.h"

enum { LINE_BYTES_MAX = 1 << 16, BUFFER_BYTES = 3 << 15 };

struct line_reader {
	struct import_input *input;
	uint64_t number;
	size_t begin, end;
	bool at_end;
	char buffer[BUFFER_BYTES + 1];
};

struct line_reader *line_reader_create(struct import_input *input, struct kml_error *error)
{
	struct line_reader *reader = malloc(sizeof(*reader));

	if (reader == NULL) {
		kml_fail(error, "out of memory");
		return NULL;
	}
	reader->input = input;
	reader->number = 0;
	reader->begin = reader->end = 0;
	reader->at_end = false;
	return reader;
}

/* Move what is left to the front and read more behind it. */
static bool refill(struct line_reader *reader, struct kml_error *error)
{
	memmove(reader->buffer, reader->buffer + reader->begin, reader->end - reader->begin);
	reader->end -= reader->begin;
	reader->begin = 0;
	int64_t got = import_input_read(reader->input, reader->buffer + reader->end, BUFFER_BYTES - reader->end, error);
	if (got < 0)
		return false;
	reader->at_end = got == 0;
	reader->end += (size_t)got;
	return true;
}

bool line_reader_next(struct line_reader *reader, char **line, bool *failed, struct kml_error *error)
{
	size_t searched = 0;

	*failed = false;
	for (;;) {
		char *start = reader->buffer + reader->begin;
		size_t there = reader->end - reader->begin;
		char *newline = memchr(start + searched, '\n', there - searched);
		if (newline == NULL && there <= LINE_BYTES_MAX && !reader->at_end) {
			searched = there;
			*failed = !refill(reader, error);
			if (*failed)
				return false;
			continue;
		}
		if (newline == NULL && there == 0)
			return false;
		size_t length = newline != NULL ? (size_t)(newline - start) : there;
		reader->number++;
		if (length > LINE_BYTES_MAX) {
			*failed = true;
			return kml_fail(error, "%s:%llu: a line longer than %d bytes: this is no trace text",
					import_input_name(reader->input), (unsigned long long)reader->number,
					LINE_BYTES_MAX);
		}
		reader->begin += length + (newline != NULL);
		start[length] = '\0';
		if (length > 0 && start[length - 1] == '\r')
			start[length - 1] = '\0';
		*line = start;
		return true;
	}
}

uint64_t line_reader_number(const struct line_reader *reader)
{
	return reader->number;
}

void line_reader_destroy(struct line_reader *reader)
{
	free(reader);
}
