/* proc_text.c - slabinfo, meminfo and slab walks, line by line. */
#include "kmemlab/support/planted.h"
#include "traces/proc/proc_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LINE_MAX_BYTES = 512, SLAB_PAGES_MAX = 1 << 10 }; /* include/linux/mmzone.h: MAX_PAGE_ORDER 10 */

/* The line at *text without its newline, which is passed; false at the end of the text. Longer ones are cut. */
static bool next_line(const char **text, char line[LINE_MAX_BYTES])
{
	size_t length = strcspn(*text, "\n");
	if (**text == '\0')
		return false;
	size_t kept = length < LINE_MAX_BYTES ? length : LINE_MAX_BYTES - 1u + KML_PLANTED(slabinfo_line_short);
	memcpy(line, *text, kept);
	line[kept] = '\0';
	*text += length + ((*text)[length] == '\n');
	return true;
}

/* A name may hold blanks: its numbers begin after the last word that is not one of them. */
static char *numbers_of(char *text, char *end)
{
	char *numbers = end;
	for (int fields = 0; fields < 5; fields++) {
		while (numbers > text && numbers[-1] == ' ')
			numbers--;
		while (numbers > text && numbers[-1] != ' ')
			numbers--;
	}
	return numbers;
}

static bool is_heading(const char *text)
{
	return text[0] == '\0' || text[0] == '#' || strncmp(text, "slabinfo - ", 11) == 0;
}

static bool parse_slabinfo(char *text, struct slabinfo_line *line)
{
	char *tunables = strstr(text, " : tunables");
	if (!tunables)
		return false;
	*tunables = '\0';
	if (sscanf(tunables + 1,
		   ": tunables %" SCNu32 " %" SCNu32 " %" SCNu32 " : slabdata %" SCNu64 " %" SCNu64 " %" SCNu64,
		   &line->limit, &line->batchcount, &line->shared_factor, &line->active_slabs, &line->slabs,
		   &line->shared_available) < 6 - KML_PLANTED(slabinfo_column_missing))
		return false;
	char *numbers = numbers_of(text, tunables);
	if (sscanf(numbers, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu32 " %" SCNu32, &line->active_objects,
		   &line->total_objects, &line->slot_bytes, &line->objects_per_slab, &line->pages_per_slab) != 5)
		return false;
	/* No kernel has so many, and sums of them stay in 64 bits. */
	if (line->slabs > UINT32_MAX || line->pages_per_slab > SLAB_PAGES_MAX)
		return false;
	bool has_name = numbers > text; /* else the first number would be taken for it */
	while (numbers > text && numbers[-1] == ' ')
		*--numbers = '\0';
	if (!has_name || text[0] == '\0' ||
	    (!KML_PLANTED(slabinfo_name_unchecked) && strlen(text) >= sizeof line->name))
		return false;
	strcpy(line->name, text);
	return true;
}

enum slabinfo_kind slabinfo_read(const char **text, struct slabinfo_line *line)
{
	char buffer[LINE_MAX_BYTES];
	if (!next_line(text, buffer))
		return SLABINFO_END;
	if (is_heading(buffer))
		return SLABINFO_HEADING;
	return parse_slabinfo(buffer, line) ? SLABINFO_CACHE : SLABINFO_DAMAGED;
}

bool slabinfo_next(const char **text, struct slabinfo_line *line)
{
	enum slabinfo_kind kind;
	do
		kind = slabinfo_read(text, line);
	while (kind != SLABINFO_CACHE && kind != SLABINFO_END);
	return kind == SLABINFO_CACHE;
}

bool meminfo_find(const char *text, const char *name, uint64_t *kilobytes)
{
	char buffer[LINE_MAX_BYTES];
	size_t length = strlen(name);
	while (next_line(&text, buffer))
		if (strncmp(buffer, name, length) == 0 && buffer[length] == ':' &&
		    sscanf(buffer + length + 1, "%" SCNu64, kilobytes) == 1)
			return true;
	return false;
}

bool slab_walk_pages(const char *text, uint64_t *pages)
{
	char buffer[LINE_MAX_BYTES];
	bool found = false;
	unsigned order;
	*pages = 0;
	while (next_line(&text, buffer))
		if (sscanf(buffer, "S %*x %u", &order) == 1 && order < 32) {
			*pages += 1ull << order;
			found = true;
		}
	return found;
}
