/*
 * ftrace_text.c - the `trace` file of tracefs (Documentation/trace/ftrace.rst), and the like text of trace-cmd report.
 *
 * Around the events stand headers and notices; those that tell of cpus and lost events are read:
 *   # entries-in-buffer/entries-written: 1371312/1371312   #P:2
 *   CPU:0 [LOST 123 EVENTS]
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "traces/import/trace_text.h"

static void read_entries(struct import *import, const char *line, struct kmt_origin *origin)
{
	const char *numbers = strstr(line, "entries-written:");
	const char *cpus = strstr(line, "#P:");
	char *end;

	if (numbers == NULL)
		return;
	uint64_t kept = strtoull(numbers + strlen("entries-written:"), &end, 10);
	uint64_t written = *end == '/' ? strtoull(end + 1, NULL, 10) : 0;
	if (written > kept)
		import_count(import, KMT_QUIRK_LOST, written - kept);
	uint64_t count = cpus == NULL ? 0 : strtoull(cpus + 3, NULL, 10);
	if (count >= 1 && count <= KMT_CPUS_MAX)
		origin->cpu_count = (uint32_t)count;
}

/* "CPU:0 [LOST 123 EVENTS]"; older kernels: "CPU:0 [LOST EVENTS]" */
static bool read_lost(struct import *import, const char *line)
{
	const char *lost = strstr(line, "[LOST ");

	if (lost == NULL || strncmp(line, "CPU:", 4) != 0)
		return false;
	uint64_t count = strtoull(lost + strlen("[LOST "), NULL, 10);
	import_count(import, KMT_QUIRK_LOST, count == 0 ? 1 : count);
	return true;
}

static bool notice(struct import *import, const char *line, struct kmt_origin *origin)
{
	while (*line == ' ')
		line++;
	if (*line == '#') {
		read_entries(import, line, origin);
		return true;
	}
	if (strncmp(line, "cpus=", 5) == 0) {
		uint64_t count = strtoull(line + 5, NULL, 10);
		if (count >= 1 && count <= KMT_CPUS_MAX)
			origin->cpu_count = (uint32_t)count;
		return true;
	}
	if (read_lost(import, line))
		return true;
	return *line == '\0' || strncmp(line, "version = ", 10) == 0 ||
	       (strncmp(line, "CPU ", 4) == 0 && strstr(line, "is empty") != NULL);
}

bool import_ftrace_text(struct import *import, struct import_input *input, struct kml_error *error)
{
	struct kmt_origin origin = {.source = "ftrace text"};

	return import_trace_text(import, input, notice, &origin, error);
}
