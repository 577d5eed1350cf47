/*
 * perf_script.c - the text of `perf script` over the kmem tracepoints.
 *
 * perf record silently misses frees that RCU runs in soft interrupts (about a third of those of sock_inode_cache on
 * Linux 6.18), so every such import warns.
 */
#include <ctype.h>
#include <string.h>

#include "traces/import/trace_text.h"

/* "# ..." of --header; frames of a call chain ("\tffffffff81 symbol+0x.. ([kernel.kallsyms])"). */
static bool notice(struct import *import, const char *line, struct kmt_origin *origin)
{
	static const char release[] = "# os release : ";

	if (strncmp(line, release, sizeof(release) - 1) == 0)
		import_set_origin(import, &(struct kmt_origin){.kernel = line + sizeof(release) - 1});
	if (line[0] == '#')
		return true;
	(void)origin;
	while (*line == ' ' || *line == '\t')
		line++;
	if (*line == '\0')
		return true;
	size_t digits = strspn(line, "0123456789abcdef");
	return digits >= 8 && line[digits] == ' ' && strchr(line, '[') != NULL && strstr(line, ": ") == NULL;
}

bool import_perf_script(struct import *import, struct import_input *input, struct kml_error *error)
{
	struct kmt_origin origin = {.source = "perf script"};

	if (!import_trace_text(import, input, notice, &origin, error))
		return false;
	import_warn(import, "perf record misses frees in silence (those RCU runs in soft interrupts): objects whose "
			    "address is never used again seem to live for ever; ftrace or `kmemlab capture` sees them "
			    "all");
	return true;
}
