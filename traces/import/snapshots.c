/*
 * snapshots.c - a folder, or a tar of one, of files named
 *
 *   NNNN-<nanoseconds>.KIND   taken at that time of the trace's clock: 0003-5358368700000.slabinfo
 *   NN-phase.KIND             taken at the mark of the trace that names it: 04-steady.slabinfo
 *
 * KIND is one of kmt_snapshot_name(). Other files are left alone. The tar is POSIX ustar (or GNU tar's old form), plain
 * or compressed; only regular files in it are read. Files are taken in the order of their names.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kmemlab/support/error.h"
#include "traces/import/snapshots.h"

/* zoneinfo and slab walks of large machines are a few MB. */
#define SNAPSHOT_BYTES_MAX (256u << 20)
enum { TAR_BLOCK_BYTES = 512, NAME_BYTES_MAX = 255 };

static bool kind_of(const char *suffix, enum kmt_snapshot_kind *kind)
{
	for (int i = 0; i < KMT_SNAPSHOT_MARK; i++) {
		if (strcmp(kmt_snapshot_name((enum kmt_snapshot_kind)i), suffix) == 0) {
			*kind = (enum kmt_snapshot_kind)i;
			return true;
		}
	}
	return false;
}

/* "0003-5358368700000.slabinfo" to kind, time (UINT64_MAX: by mark) and label ("0003", "04-steady"). */
static bool parse_name(const char *name, enum kmt_snapshot_kind *kind, uint64_t *time_ns, char *label,
		       size_t label_bytes)
{
	const char *dot = strrchr(name, '.');
	const char *dash = strchr(name, '-');

	if (dot == NULL || dash == NULL || dash > dot || !isdigit((unsigned char)name[0]) || !kind_of(dot + 1, kind))
		return false;
	size_t time_digits = strspn(dash + 1, "0123456789");
	bool by_time = time_digits > 0 && dash + 1 + time_digits == dot;
	size_t length = (size_t)((by_time ? dash : dot) - name);
	if (length >= label_bytes)
		return false;
	memcpy(label, name, length);
	label[length] = '\0';
	errno = 0;
	*time_ns = by_time ? strtoull(dash + 1, NULL, 10) : UINT64_MAX;
	return errno == 0;
}

static bool is_snapshot_name(const char *name)
{
	enum kmt_snapshot_kind kind;
	uint64_t time_ns;
	char label[NAME_BYTES_MAX];

	return parse_name(name, &kind, &time_ns, label, sizeof(label));
}

/* `text` holds what the file `name` held. */
static bool add(struct import *import, const char *name, const char *text, size_t text_bytes, struct kml_error *error)
{
	enum kmt_snapshot_kind kind;
	uint64_t time_ns;
	char label[NAME_BYTES_MAX];

	if (!parse_name(name, &kind, &time_ns, label, sizeof(label)))
		return true;
	if (memchr(text, '\0', text_bytes) != NULL)
		return kml_fail(error, "snapshot %s: holds a NUL byte, so it is no text of /proc: is it damaged?",
				name);
	return import_add_snapshot(import, kind, time_ns, label, text, text_bytes, error);
}

static bool nothing_found(const char *path, uint32_t found, struct kml_error *error)
{
	if (found > 0)
		return false;
	kml_fail(error,
		 "%s: holds no snapshot; wanted are files named NNNN-<monotonic ns>.slabinfo (.buddyinfo, .meminfo)",
		 path);
	return true;
}

/* ------------------------------------------------------------------------------------------------- folder */

static bool add_file(struct import *import, const char *folder, const char *name, struct kml_error *error)
{
	struct stat status;
	char path[4096];
	bool done = false;

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return kml_fail(error, "%s: the path is too long", folder);
	FILE *file = fopen(path, "re");
	if (file == NULL || fstat(fileno(file), &status) != 0) {
		kml_fail(error, "%s: cannot be opened: %s", path, strerror(errno));
		if (file != NULL)
			fclose(file);
		return false;
	}
	size_t size = S_ISREG(status.st_mode) ? (size_t)status.st_size : SIZE_MAX;
	char *text = size > SNAPSHOT_BYTES_MAX ? NULL : malloc(size + 1);
	if (text == NULL)
		kml_fail(error, "%s: is no regular file of at most %u MiB", path, SNAPSHOT_BYTES_MAX >> 20);
	else if (fread(text, 1, size, file) != size)
		kml_fail(error, "%s: cannot be read whole: %s", path, strerror(errno));
	else
		done = add(import, name, text, size, error);
	free(text);
	fclose(file);
	return done;
}

static int choose(const struct dirent *entry)
{
	return is_snapshot_name(entry->d_name);
}

static bool import_folder(struct import *import, const char *path, uint32_t *found, struct kml_error *error)
{
	struct dirent **entries;
	int count = scandir(path, &entries, choose, alphasort);
	bool done = true;

	if (count < 0)
		return kml_fail(error, "%s: cannot be read: %s", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		done = done && add_file(import, path, entries[i]->d_name, error);
		free(entries[i]);
	}
	free(entries);
	*found += (uint32_t)count;
	return done;
}

bool import_snapshots(struct import *import, const char *path, struct kml_error *error)
{
	struct stat status;
	uint32_t found = 0;
	char inner[4096];

	if (stat(path, &status) == 0 && S_ISDIR(status.st_mode)) {
		if (!import_folder(import, path, &found, error))
			return false;
		snprintf(inner, sizeof(inner), "%s/snapshots", path);
		if (found == 0 && stat(inner, &status) == 0 && S_ISDIR(status.st_mode) &&
		    !import_folder(import, inner, &found, error))
			return false;
		return !nothing_found(path, found, error);
	}
	struct import_input *input = import_input_open(path, error);
	bool done = input != NULL && import_snapshots_tar(import, input, error);
	import_input_close(input);
	return done;
}

/* ---------------------------------------------------------------------------------------------------- tar */

/* The header block of pax.1 / tar(5): the members used. */
struct tar_header {
	char name[100], mode[8], owner[8], group[8], size[12], time[12], checksum[8], type, link[100], magic[8];
	char rest[TAR_BLOCK_BYTES - 265];
};

/* All of `size` bytes. false and *error when the tar ends before. */
static bool read_all(struct import_input *input, void *buffer, size_t size, struct kml_error *error)
{
	for (size_t there = 0; there < size;) {
		int64_t got = import_input_read(input, (char *)buffer + there, size - there, error);
		if (got < 0)
			return false;
		if (got == 0)
			return kml_fail(error, "%s: the tar ends in the middle of a file: it is truncated",
					import_input_name(input));
		there += (size_t)got;
	}
	return true;
}

static bool checksum_holds(const struct tar_header *header)
{
	const uint8_t *bytes = (const uint8_t *)header;
	char digits[9] = "";
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(*header); i++) {
		bool in_checksum = i >= offsetof(struct tar_header, checksum) && i < offsetof(struct tar_header, type);
		sum += in_checksum ? ' ' : bytes[i];
	}
	memcpy(digits, header->checksum, 8);
	return strtoull(digits, NULL, 8) == sum;
}

static bool take_member(struct import *import, struct import_input *input, const struct tar_header *header,
			uint32_t *found, struct kml_error *error)
{
	char name[sizeof(header->name) + 1] = "", digits[sizeof(header->size) + 1] = "";

	memcpy(name, header->name, sizeof(header->name));
	memcpy(digits, header->size, sizeof(header->size));
	uint64_t size = strtoull(digits, NULL, 8);
	const char *slash = strrchr(name, '/');
	const char *base = slash == NULL ? name : slash + 1;
	if (size > SNAPSHOT_BYTES_MAX)
		return kml_fail(error, "%s: %s of %" PRIu64 " bytes is no snapshot", import_input_name(input), name,
				size);
	uint64_t padded = (size + TAR_BLOCK_BYTES - 1) / TAR_BLOCK_BYTES * TAR_BLOCK_BYTES;
	char *text = malloc(padded + 1);
	if (text == NULL)
		return kml_fail(error, "out of memory");
	bool wanted = (header->type == '0' || header->type == '\0') && is_snapshot_name(base);
	bool done = read_all(input, text, padded, error) && (!wanted || add(import, base, text, size, error));
	*found += wanted;
	free(text);
	return done;
}

bool import_snapshots_tar(struct import *import, struct import_input *input, struct kml_error *error)
{
	struct tar_header header;
	uint32_t found = 0;

	_Static_assert(sizeof(header) == TAR_BLOCK_BYTES, "a tar header is one block");
	for (;;) {
		if (!read_all(input, &header, sizeof(header), error))
			return false;
		if (header.name[0] == '\0')
			return !nothing_found(import_input_name(input), found, error);
		if (!checksum_holds(&header))
			return kml_fail(error,
					"%s: is no tar of snapshots, or a damaged one (header checksum of %.100s)",
					import_input_name(input), header.name);
		if (!take_member(import, input, &header, &found, error))
			return false;
	}
}
