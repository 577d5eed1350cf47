/*
 * cache_table.c - geometry of caches from a table with a heading line: what /proc/slabinfo does not tell (alignment,
 * constructors, type-safety by RCU).
 *
 * Columns are found by their headings, separated by blanks or tabs: name, object_size, size or slab_size, order, objs
 * or objs_per_slab, align, flags, ctor, alias_of. Those are the names of /sys/kernel/slab's files and of struct
 * kmem_cache.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/import.h"
#include "traces/import/trace_line.h"

/* include/linux/slab.h; the same values from 2.6 to 6.8. */
#define SLAB_RECLAIM_ACCOUNT 0x20000u
#define SLAB_TYPESAFE_BY_RCU 0x80000u

enum { COLUMNS_MAX = 64 };
enum column { NAME, OBJECT_SIZE, SLOT_SIZE, ORDER, OBJECTS, ALIGN, FLAGS, CONSTRUCTOR, ALIAS, COLUMNS };

static enum column column_of(const char *heading)
{
	static const struct {
		const char *heading;
		enum column column;
	} headings[] = {{"name", NAME},
			{"object_size", OBJECT_SIZE},
			{"size", SLOT_SIZE},
			{"slab_size", SLOT_SIZE},
			{"order", ORDER},
			{"objs", OBJECTS},
			{"objs_per_slab", OBJECTS},
			{"align", ALIGN},
			{"flags", FLAGS},
			{"ctor", CONSTRUCTOR},
			{"alias_of", ALIAS}};

	for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++) {
		if (strcmp(headings[i].heading, heading) == 0)
			return headings[i].column;
	}
	return COLUMNS;
}

static uint32_t split(char *line, char *words[COLUMNS_MAX])
{
	uint32_t count = 0;
	char *state;

	for (char *word = strtok_r(line, " \t#", &state); word != NULL && count < COLUMNS_MAX;
	     word = strtok_r(NULL, " \t", &state))
		words[count++] = word;
	return count;
}

static uint64_t number_of(const char *text)
{
	return text == NULL ? 0 : strtoull(text, NULL, 0);
}

static bool add_row(struct import *import, char *const values[COLUMNS], struct kml_error *error)
{
	uint64_t order = number_of(values[ORDER]), flags = number_of(values[FLAGS]), align = number_of(values[ALIGN]);
	const char *constructor = values[CONSTRUCTOR];

	/* An alias shares the cache it was merged into; events carry that one's name. */
	if (values[NAME] == NULL || (values[ALIAS] != NULL && strcmp(values[ALIAS], "-") != 0))
		return true;
	struct kmt_cache cache = {
		.name = values[NAME],
		.object_bytes = number_of(values[OBJECT_SIZE]),
		.slot_bytes = number_of(values[SLOT_SIZE]),
		.align_bytes = (align & (align - 1)) == 0 && align <= 1u << 20 ? align : 0,
		.objects_per_slab = (uint32_t)number_of(values[OBJECTS]),
		.pages_per_slab = order < 16 ? 1u << order : 0,
	};
	if (constructor != NULL && strcmp(constructor, "0") != 0 && strcmp(constructor, "-") != 0)
		cache.flags |= KMT_CACHE_CONSTRUCTOR;
	if ((flags & SLAB_TYPESAFE_BY_RCU) != 0)
		cache.flags |= KMT_CACHE_TYPESAFE_BY_RCU;
	if ((flags & SLAB_RECLAIM_ACCOUNT) != 0)
		cache.flags |= KMT_CACHE_RECLAIMABLE;
	if (strncmp(cache.name, "kmalloc-", 8) == 0 || strncmp(cache.name, "dma-kmalloc-", 12) == 0)
		cache.flags |= KMT_CACHE_KMALLOC;
	return import_add_cache(import, &cache, error);
}

static bool read_rows(struct import *import, struct line_reader *reader, const char *path, struct kml_error *error)
{
	enum column columns[COLUMNS_MAX];
	char *words[COLUMNS_MAX], *line;
	bool failed, has_name = false;

	if (!line_reader_next(reader, &line, &failed, error))
		return failed ? false : kml_fail(error, "%s: is empty; wanted is a table of caches", path);
	uint32_t count = split(line, words);
	for (uint32_t i = 0; i < count; i++) {
		columns[i] = column_of(words[i]);
		has_name = has_name || columns[i] == NAME;
	}
	if (!has_name)
		return kml_fail(error,
				"%s:1: no column `name` in the heading line; wanted are name, object_size, size, "
				"order, objs, align, flags, ctor",
				path);
	while (line_reader_next(reader, &line, &failed, error)) {
		char *values[COLUMNS] = {NULL};
		uint32_t there = split(line, words);
		for (uint32_t i = 0; i < there && i < count; i++) {
			if (columns[i] != COLUMNS)
				values[columns[i]] = words[i];
		}
		if (!add_row(import, values, error))
			return false;
	}
	return !failed;
}

bool import_cache_table(struct import *import, const char *path, struct kml_error *error)
{
	struct import_input *input = import_input_open(path, error);
	struct line_reader *reader = input == NULL ? NULL : line_reader_create(input, error);
	bool done = reader != NULL && read_rows(import, reader, path, error);

	line_reader_destroy(reader);
	import_input_close(input);
	return done;
}
