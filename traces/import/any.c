/* any.c - tell a source by its first bytes, never by its name. */
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/import.h"
#include "traces/import/snapshots.h"

enum { LOOK_BYTES = 4096, USTAR_MAGIC_OFFSET = 257 };

static bool begins(const char *head, int64_t length, const char *magic, size_t magic_bytes)
{
	return length >= (int64_t)magic_bytes && memcmp(head, magic, magic_bytes) == 0;
}

bool import_any(struct import *import, struct import_input *input, struct kml_error *error)
{
	char head[LOOK_BYTES + 1];
	int64_t length = import_input_peek(input, head, LOOK_BYTES, error);
	const char *name = import_input_name(input);

	if (length < 0)
		return false;
	head[length] = '\0';
	if (length == 0)
		return kml_fail(error, "%s: is empty; wanted is a trace", name);
	if (begins(head, length, "PERFILE2", 8) || begins(head, length, "2ELIFREP", 8))
		return import_perf_data(import, input, error);
	if (begins(head, length, "\x17\x08\x44tracing", 10))
		return import_trace_dat(import, input, error);
	if (length > USTAR_MAGIC_OFFSET + 5 && memcmp(head + USTAR_MAGIC_OFFSET, "ustar", 5) == 0)
		return import_snapshots_tar(import, input, error);
	if (begins(head, length, "slabinfo - version", 18) || begins(head, length, "time:", 5) ||
	    begins(head, length, "### ", 4))
		return import_slabinfo_series(import, input, error);
	if (begins(head, length, "\x89KMT", 4))
		return kml_fail(error, "%s: is a .kmt trace already; `kmemlab info %s` shows what it holds", name,
				name);
	if (memchr(head, '\0', (size_t)length) != NULL)
		return kml_fail(
			error,
			"%s: at byte %zu: is neither trace text nor perf.data nor trace.dat nor a tar of snapshots",
			name, strlen(head));
	if (import_is_malloc_trace(head))
		return import_malloc_trace(import, input, error);
	if (import_is_babeltrace(head))
		return import_babeltrace(import, input, error);
	if (strstr(head, " kmem:") != NULL)
		return import_perf_script(import, input, error);
	return import_ftrace_text(import, input, error);
}
