/* npz.c - see npz.h. */
#include "kmemlab/npz.h"

#include <endian.h>
#include <limits.h>
#include <minizip/zip.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"

enum { HEADER_ALIGN_BYTES = 64, HEADER_BYTES_MAX = 256, NAME_BYTES_MAX = 64 };

/* From this size on a member needs zip64; minizip wants to know before. */
#define ZIP64_BYTES UINT32_MAX

struct npz {
	zipFile zip;
	uint64_t left_bytes; /* of the array begun */
};

/* minizip writes through our stream, which is not its own to open or close. */
static voidpf stream_open(voidpf opaque, const void *name, int mode)
{
	(void)name;
	(void)mode;
	return opaque;
}

static int stream_close(voidpf opaque, voidpf stream)
{
	(void)opaque;
	return fflush(stream);
}

struct npz *npz_create(FILE *stream, struct kml_error *error)
{
	zlib_filefunc64_def functions;
	struct npz *npz = calloc(1, sizeof *npz);

	fill_fopen64_filefunc(&functions);
	functions.zopen64_file = stream_open;
	functions.zclose_file = stream_close;
	functions.opaque = stream;
	if (npz)
		npz->zip = zipOpen2_64("", APPEND_STATUS_CREATE, NULL, &functions);
	if (!npz || !npz->zip) {
		free(npz);
		kml_fail(error, "memory exhausted");
		return NULL;
	}
	return npz;
}

static bool failed(const char *name, struct kml_error *error)
{
	return kml_fail(error, "the array %s cannot be written: is the disk full?", name);
}

/* The magic, the version, and a Python dictionary filled up with blanks; its length. */
static size_t npy_header(char header[HEADER_BYTES_MAX], const char *type, uint64_t count)
{
	static const char magic[] = "\x93NUMPY\x01";
	size_t prefix_bytes = sizeof magic + 2;
	/* Texts have no byte order. */
	char order = type[0] == 'S' ? '|' : __BYTE_ORDER == __LITTLE_ENDIAN ? '<' : '>';

	memcpy(header, magic, sizeof magic);
	int used = snprintf(header + prefix_bytes, HEADER_BYTES_MAX - prefix_bytes,
			    "{'descr': '%c%s', 'fortran_order': False, 'shape': (%llu,), }", order, type,
			    (unsigned long long)count);
	size_t bytes = prefix_bytes + (size_t)used + 1;
	bytes = (bytes + HEADER_ALIGN_BYTES - 1) / HEADER_ALIGN_BYTES * HEADER_ALIGN_BYTES;
	memset(header + prefix_bytes + used, ' ', bytes - prefix_bytes - (size_t)used);
	header[bytes - 1] = '\n';
	header[prefix_bytes - 2] = (char)((bytes - prefix_bytes) & 0xff);
	header[prefix_bytes - 1] = (char)((bytes - prefix_bytes) >> 8);
	return bytes;
}

bool npz_begin(struct npz *npz, const char *name, const char *type, size_t item_bytes, uint64_t count,
	       struct kml_error *error)
{
	/* The oldest time there is in a zip archive. */
	const zip_fileinfo info = {.tmz_date = {.tm_mday = 1, .tm_year = 1980}};
	char header[HEADER_BYTES_MAX], member[NAME_BYTES_MAX];
	size_t header_bytes = npy_header(header, type, count);

	snprintf(member, sizeof member, "%s.npy", name);
	npz->left_bytes = count * item_bytes;
	int zip64 = header_bytes + npz->left_bytes >= ZIP64_BYTES;
	if (zipOpenNewFileInZip64(npz->zip, member, &info, NULL, 0, NULL, 0, NULL, 0, 0, zip64) != ZIP_OK ||
	    zipWriteInFileInZip(npz->zip, header, (unsigned)header_bytes) != ZIP_OK)
		return failed(name, error);
	return true;
}

bool npz_write(struct npz *npz, const void *items, size_t bytes, struct kml_error *error)
{
	KML_CHECK(bytes <= npz->left_bytes && bytes <= UINT_MAX, "%zu bytes for an array that lacks %llu", bytes,
		  (unsigned long long)npz->left_bytes);
	npz->left_bytes -= bytes;
	return zipWriteInFileInZip(npz->zip, items, (unsigned)bytes) == ZIP_OK || failed("begun", error);
}

bool npz_end(struct npz *npz, struct kml_error *error)
{
	KML_CHECK(npz->left_bytes == 0, "an array that lacks %llu bytes is ended", (unsigned long long)npz->left_bytes);
	return zipCloseFileInZip(npz->zip) == ZIP_OK || failed("ended", error);
}

bool npz_finish(struct npz *npz, struct kml_error *error)
{
	bool done = zipClose(npz->zip, NULL) == ZIP_OK;

	free(npz);
	return done || failed("of the directory", error);
}

void npz_abandon(struct npz *npz)
{
	if (!npz)
		return;
	zipClose(npz->zip, NULL);
	free(npz);
}
