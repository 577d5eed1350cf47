/*
 * input.c - bytes of a file or of standard input, decompressed when they begin like gzip or zstd.
 *
 * What a file is, its first bytes say, not its name: gzip 1f 8b (RFC 1952), zstd 28 b5 2f fd or a skippable frame
 * 50..5f 2a 4d 18 (RFC 8878). Several members or frames one after the other are one stream, as for zcat and zstdcat.
 * Constant memory. Damage and truncation give an error with the offset in the file as it lies on disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "kmemlab/support/error.h"
#include "traces/import/import.h"

enum { RAW_BUFFER_BYTES = 1 << 16, PEEK_BYTES = 4096 };

enum input_form { INPUT_PLAIN, INPUT_GZIP, INPUT_ZSTD };

struct import_input {
	char *name;
	int descriptor;
	enum input_form form;
	bool at_end;       /* of the descriptor */
	bool frame_open;   /* inside a gzip member or zstd frame: an end here is a truncation */
	uint64_t size;     /* of the file; 0: not known */
	uint64_t consumed; /* bytes of the file taken out of `raw` */
	size_t raw_begin, raw_end;
	size_t peek_begin, peek_end;
	z_stream gzip;
	ZSTD_DStream *zstd;
	uint8_t raw[RAW_BUFFER_BYTES];
	uint8_t peeked[PEEK_BYTES];
};

static const char *shown_name(const char *path)
{
	return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* More of the file into `raw` when it is empty. */
static bool fill(struct import_input *input, struct kml_error *error)
{
	while (input->raw_begin == input->raw_end && !input->at_end) {
		ssize_t got = read(input->descriptor, input->raw, sizeof(input->raw));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return kml_fail(error, "%s: cannot be read at byte %llu: %s", input->name,
					(unsigned long long)input->consumed, strerror(errno));
		input->at_end = got == 0;
		input->raw_begin = 0;
		input->raw_end = (size_t)got;
	}
	return true;
}

static void consume(struct import_input *input, size_t bytes)
{
	input->raw_begin += bytes;
	input->consumed += bytes;
}

static int64_t damaged(const struct import_input *input, const char *what, struct kml_error *error)
{
	kml_fail(error, "%s: damaged %s data at byte %llu%s%s; copy or record the file again", input->name,
		 input->form == INPUT_GZIP ? "gzip" : "zstd", (unsigned long long)input->consumed,
		 what == NULL ? "" : ": ", what == NULL ? "" : what);
	return -1;
}

static int64_t truncated(const struct import_input *input, struct kml_error *error)
{
	kml_fail(error, "%s: the %s data ends too early, at byte %llu: the file is truncated; copy it again",
		 input->name, input->form == INPUT_GZIP ? "gzip" : "zstd", (unsigned long long)input->consumed);
	return -1;
}

static int64_t read_plain(struct import_input *input, void *buffer, size_t size, struct kml_error *error)
{
	if (!fill(input, error))
		return -1;
	size_t there = input->raw_end - input->raw_begin;
	size_t taken = there < size ? there : size;
	memcpy(buffer, input->raw + input->raw_begin, taken);
	consume(input, taken);
	return (int64_t)taken;
}

static int64_t read_gzip(struct import_input *input, void *buffer, size_t size, struct kml_error *error)
{
	z_stream *gzip = &input->gzip;

	gzip->next_out = buffer;
	gzip->avail_out = size > INT32_MAX ? INT32_MAX : (uInt)size;
	uInt wanted = gzip->avail_out;
	while (gzip->avail_out == wanted) {
		if (!fill(input, error))
			return -1;
		size_t there = input->raw_end - input->raw_begin;
		if (there == 0 && input->frame_open)
			return truncated(input, error);
		if (there == 0)
			return 0;
		if (!input->frame_open && inflateReset(gzip) != Z_OK)
			return damaged(input, gzip->msg, error);
		input->frame_open = true;
		gzip->next_in = input->raw + input->raw_begin;
		gzip->avail_in = (uInt)there;
		int status = inflate(gzip, Z_NO_FLUSH);
		consume(input, there - gzip->avail_in);
		if (status == Z_STREAM_END)
			input->frame_open = false;
		else if (status != Z_OK && status != Z_BUF_ERROR)
			return damaged(input, gzip->msg, error);
	}
	return (int64_t)(wanted - gzip->avail_out);
}

static int64_t read_zstd(struct import_input *input, void *buffer, size_t size, struct kml_error *error)
{
	ZSTD_outBuffer out = {.dst = buffer, .size = size};

	while (out.pos == 0) {
		if (!fill(input, error))
			return -1;
		ZSTD_inBuffer in = {.src = input->raw + input->raw_begin, .size = input->raw_end - input->raw_begin};
		if (in.size == 0 && input->frame_open) {
			/* What the decoder still holds of the last frame. */
			size_t left = ZSTD_decompressStream(input->zstd, &out, &in);
			if (ZSTD_isError(left))
				return damaged(input, ZSTD_getErrorName(left), error);
			input->frame_open = left != 0;
			if (out.pos == 0 && left != 0)
				return truncated(input, error);
			continue;
		}
		if (in.size == 0)
			return 0;
		size_t left = ZSTD_decompressStream(input->zstd, &out, &in);
		consume(input, in.pos);
		if (ZSTD_isError(left))
			return damaged(input, ZSTD_getErrorName(left), error);
		input->frame_open = left != 0;
	}
	return (int64_t)out.pos;
}

/* Decompressed bytes, before those peeked at. */
static int64_t read_stream(struct import_input *input, void *buffer, size_t size, struct kml_error *error)
{
	switch (input->form) {
	case INPUT_GZIP:
		return read_gzip(input, buffer, size, error);
	case INPUT_ZSTD:
		return read_zstd(input, buffer, size, error);
	default:
		return read_plain(input, buffer, size, error);
	}
}

static bool choose_form(struct import_input *input, struct kml_error *error)
{
	if (!fill(input, error))
		return false;
	const uint8_t *first = input->raw;
	size_t there = input->raw_end;

	/* A pipe may give its first bytes one by one. */
	while (there > 0 && there < 4 && !input->at_end) {
		ssize_t got = read(input->descriptor, input->raw + there, sizeof(input->raw) - there);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return kml_fail(error, "%s: cannot be read: %s", input->name, strerror(errno));
		input->at_end = got == 0;
		there += (size_t)got;
		input->raw_end = there;
	}
	if (there >= 2 && first[0] == 0x1f && first[1] == 0x8b)
		input->form = INPUT_GZIP;
	if (there >= 4 && (memcmp(first, "\x28\xb5\x2f\xfd", 4) == 0 ||
			   ((first[0] & 0xf0) == 0x50 && memcmp(first + 1, "\x2a\x4d\x18", 3) == 0)))
		input->form = INPUT_ZSTD;
	if (input->form == INPUT_GZIP && inflateInit2(&input->gzip, 16 + MAX_WBITS) != Z_OK)
		return kml_fail(error, "%s: out of memory", input->name);
	if (input->form == INPUT_ZSTD && (input->zstd = ZSTD_createDStream()) == NULL)
		return kml_fail(error, "%s: out of memory", input->name);
	return true;
}

struct import_input *import_input_open(const char *path, struct kml_error *error)
{
	struct import_input *input = calloc(1, sizeof(*input));
	struct stat status;

	if (input == NULL || (input->name = strdup(shown_name(path))) == NULL) {
		free(input);
		kml_fail(error, "%s: out of memory", shown_name(path));
		return NULL;
	}
	input->descriptor = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (input->descriptor < 0) {
		kml_fail(error, "%s: cannot be opened: %s", path, strerror(errno));
		import_input_close(input);
		return NULL;
	}
	if (fstat(input->descriptor, &status) != 0)
		memset(&status, 0, sizeof(status));
	if (S_ISDIR(status.st_mode)) {
		kml_fail(error, "%s: is a folder where a file is wanted", path);
		import_input_close(input);
		return NULL;
	}
	if (S_ISREG(status.st_mode))
		input->size = (uint64_t)status.st_size;
	if (!choose_form(input, error)) {
		import_input_close(input);
		return NULL;
	}
	return input;
}

int64_t import_input_read(struct import_input *input, void *buffer, size_t size, struct kml_error *error)
{
	size_t held = input->peek_end - input->peek_begin;

	if (held == 0)
		return read_stream(input, buffer, size, error);
	size_t taken = held < size ? held : size;
	memcpy(buffer, input->peeked + input->peek_begin, taken);
	input->peek_begin += taken;
	return (int64_t)taken;
}

int64_t import_input_peek(struct import_input *input, void *buffer, size_t size, struct kml_error *error)
{
	size_t wanted = size < PEEK_BYTES ? size : PEEK_BYTES;

	KML_CHECK(input->peek_begin == 0, "peek after read of %s", input->name);
	while (input->peek_end < wanted) {
		int64_t got = read_stream(input, input->peeked + input->peek_end, PEEK_BYTES - input->peek_end, error);
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		input->peek_end += (size_t)got;
	}
	size_t there = input->peek_end < wanted ? input->peek_end : wanted;
	memcpy(buffer, input->peeked, there);
	return (int64_t)there;
}

const char *import_input_name(const struct import_input *input)
{
	return input->name;
}

uint64_t import_input_position(const struct import_input *input)
{
	return input->consumed;
}

uint64_t import_input_size(const struct import_input *input)
{
	return input->size;
}

void import_input_close(struct import_input *input)
{
	if (input == NULL)
		return;
	if (input->form == INPUT_GZIP)
		inflateEnd(&input->gzip);
	ZSTD_freeDStream(input->zstd);
	if (input->descriptor > STDIN_FILENO)
		close(input->descriptor);
	free(input->name);
	free(input);
}
