/* output.c - output files that appear whole or not at all. */
#include "kmemlab/support/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kmemlab/support/error.h"

/* Partial files now open, so that a signal handler can remove them. A slot is in use while its first byte is set. */
enum { OPEN_MAX_FILES = 64 };
static char open_partials[OPEN_MAX_FILES][sizeof((struct kml_output *)0)->partial];

static void remember(const char *partial)
{
	for (int i = 0; i < OPEN_MAX_FILES; i++) {
		if (open_partials[i][0])
			continue;
		/* The first byte last: the handler must not see half a name. */
		strcpy(open_partials[i] + 1, partial + 1);
		((volatile char *)open_partials[i])[0] = partial[0];
		return;
	}
}

static void forget(const char *partial)
{
	for (int i = 0; i < OPEN_MAX_FILES; i++)
		if (strcmp(open_partials[i], partial) == 0)
			open_partials[i][0] = '\0';
}

static const char *mend_for(int error_number)
{
	switch (error_number) {
	case ENOSPC:
	case EDQUOT:
		return "free some space or write elsewhere";
	case EACCES:
	case EPERM:
	case EROFS:
		return "choose a place you may write to";
	case ENOENT:
		return "create the folder first";
	default:
		return "check the disk and the path";
	}
}

bool kml_output_open(struct kml_output *output, const char *path, struct kml_error *error)
{
	memset(output, 0, sizeof *output);
	if (strcmp(path, "-") == 0) {
		output->stream = stdout;
		return true;
	}
	if (strlen(path) >= sizeof output->path)
		return kml_fail(error, "%.64s...: the path is longer than %zu bytes: shorten it", path,
				sizeof output->path - 1);
	/* The rename at the end would put a file in the place of a folder, or of a device such as /dev/full. */
	struct stat status;
	if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
		return kml_fail(error, "%s: cannot write: is %s: name a file, or - for standard output", path,
				S_ISDIR(status.st_mode) ? "a folder" : "a device or pipe");
	strcpy(output->path, path);
	snprintf(output->partial, sizeof output->partial, "%s.partial-%ld", path, (long)getpid());
	output->stream = fopen(output->partial, "wb");
	if (!output->stream)
		return kml_fail(error, "%s: cannot write: %s: %s", path, strerror(errno), mend_for(errno));
	remember(output->partial);
	return true;
}

bool kml_output_commit(struct kml_output *output, struct kml_error *error)
{
	FILE *stream = output->stream;
	if (!stream)
		return kml_fail(error, "internal: an output that is not open was committed");
	errno = 0;
	bool written = fflush(stream) == 0 && !ferror(stream);
	/* An earlier failed write leaves only the stream's error flag: on a full disk that is the usual cause. */
	int error_number = written ? 0 : errno ? errno : ENOSPC;
	if (stream == stdout) {
		output->stream = NULL;
		if (!written)
			return kml_fail(error, "standard output: cannot write: %s", strerror(error_number));
		return true;
	}
	if (written && fsync(fileno(stream)) != 0 && errno != EINVAL && errno != ENOTSUP) {
		written = false;
		error_number = errno;
	}
	output->stream = NULL;
	if (fclose(stream) != 0 && written) {
		written = false;
		error_number = errno;
	}
	if (written && rename(output->partial, output->path) != 0) {
		written = false;
		error_number = errno;
	}
	if (!written)
		unlink(output->partial);
	forget(output->partial);
	if (!written)
		return kml_fail(error, "%s: cannot write: %s: %s", output->path, strerror(error_number),
				mend_for(error_number));
	return true;
}

void kml_output_abandon(struct kml_output *output)
{
	if (!output->stream)
		return;
	if (output->stream != stdout) {
		fclose(output->stream);
		unlink(output->partial);
		forget(output->partial);
	}
	output->stream = NULL;
}

void kml_output_abandon_all(void)
{
	for (int i = 0; i < OPEN_MAX_FILES; i++)
		if (open_partials[i][0])
			unlink(open_partials[i]);
}

bool kml_make_directory(const char *path, struct kml_error *error)
{
	char partial[4096];
	size_t length = strlen(path);
	if (length == 0 || length >= sizeof partial)
		return kml_fail(error, "'%.64s': no usable folder name: give one of 1 to %zu bytes", path,
				sizeof partial - 1);
	strcpy(partial, path);
	for (size_t i = 1; i <= length; i++) {
		if (partial[i] != '/' && partial[i] != '\0')
			continue;
		char kept = partial[i];
		partial[i] = '\0';
		if (mkdir(partial, 0777) != 0 && errno != EEXIST)
			return kml_fail(error, "%s: cannot create the folder: %s: %s", partial, strerror(errno),
					mend_for(errno));
		partial[i] = kept;
	}
	struct stat status;
	if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
		return kml_fail(error, "%s: is not a folder: remove it or name another", path);
	return true;
}
