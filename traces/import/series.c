/*
 * series.c - what the counts of a series of /proc/slabinfo say: caches, what is live at the start, how much came and
 * went, and how many objects to replace beside it.
 *
 * active_objs is taken for live objects, as the kernel counts them: SLUB counts free objects of cpu slabs and of cpu
 * partial slabs as active, SLAB those parked in its per-cpu and shared arrays.
 *
 * A cache that a snapshot does not show does not exist then. Not so where the snapshot holds a damaged line, which may
 * be that cache's: then its count stays. Lines of one name are one cache.
 *
 * Churn. Objects that come and go between two snapshots leave no trace in any count. What a series does show are those
 * whose coming and going it straddles. Of counts a_0 .. a_n, taken over T seconds,
 *
 *     replaced = (sum |a_i - a_(i-1)| - |a_n - a_0|) / 2
 *
 * objects came and went in any case; they are in the fewest events already. The estimate is that as many again came and
 * went unseen: replaced / T a second. Counts that stay, or only grow, or only shrink, give 0. It is a cautious figure:
 * recorded streams replace more. The variance of the differences, which would tell the rate of single independent
 * arrivals (Skellam 1946), is no estimate here: objects come in batches, and a batch of n counts n^2 times.
 */
#include "traces/import/series.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"

/* Slabs are at most 2^10 pages of 64 KiB (include/linux/mmzone.h, MAX_PAGE_ORDER 10). */
#define PAGE_BYTES_MAX (64u << 10)
#define PAGE_BYTES_MIN (4u << 10)
/* 16 GB of trace; a series of real counts stays far below, unless the churn asked for is absurd. */
#define EVENTS_MAX 4e9
#define NS_PER_S 1e9

/* ------------------------------------------------------------------------------------------- one snapshot */

struct place {
	const struct import *import;
	const struct stored_snapshot *snapshot;
	uint32_t line; /* of its text, from 1 */
};

/* "busy.txt:17", or "0003.slabinfo:17" of a folder. */
static void name_place(const struct place *place, char *text, size_t text_bytes)
{
	const struct stored_snapshot *snapshot = place->snapshot;

	if (place->import->series_file != NULL)
		snprintf(text, text_bytes, "%s:%" PRIu64, place->import->series_file,
			 (uint64_t)snapshot->line + place->line);
	else
		snprintf(text, text_bytes, "%s.slabinfo:%" PRIu32, snapshot->label, place->line);
}

/* Whether a kernel can have printed these numbers. */
static bool is_plausible(const struct slabinfo_line *line)
{
	return line->active_objects <= line->total_objects && line->total_objects <= KMT_OBJECTS_MAX &&
	       line->slot_bytes >= 1 && line->objects_per_slab >= 1 && line->pages_per_slab >= 1 &&
	       line->slot_bytes <= (uint64_t)line->pages_per_slab * PAGE_BYTES_MAX / line->objects_per_slab;
}

/* "slabinfo - version: 1.1" is of Linux 2.4, whose columns are others. */
static bool check_version(const struct place *place, const char *line, struct kml_error *error)
{
	char where[512];

	if (strncmp(line, "slabinfo - version: ", 20) != 0 || strncmp(line + 20, "2.", 2) == 0)
		return true;
	name_place(place, where, sizeof(where));
	return kml_fail(error, "%s: slabinfo of version %.*s: read are 2.0 and 2.1 (Linux 2.6 and later)", where,
			(int)strcspn(line + 20, " \n"), line + 20);
}

static void pass_over(struct import *import, const struct place *place, const char *line)
{
	char where[512];

	import->series->torn = true;
	if (import->series->is_counted)
		return;
	import_count(import, KMT_QUIRK_MALFORMED, 1);
	if (import->totals.quirks[KMT_QUIRK_MALFORMED] > 1)
		return;
	name_place(place, where, sizeof(where));
	int length = (int)strcspn(line, "\n");
	import_warn(import,
		    "%s: '%.*s' is no line of slabinfo: such lines are passed over, and a cache that is missing in "
		    "their snapshot keeps its count",
		    where, length < 40 ? length : 40, line);
}

static struct series_cache *cache_at(struct series *series, uint16_t index, struct kml_error *error)
{
	while (series->caches.count <= index) {
		if (!import_reserve(&series->caches, error))
			return NULL;
		series->caches.items[series->caches.count++] = (struct series_cache){0};
	}
	return &series->caches.items[index];
}

/* The geometry is that of the first line which shows the cache. */
static bool take_geometry(struct import *import, const struct slabinfo_line *line, bool is_known, uint16_t index,
			  struct kml_error *error)
{
	const struct kmt_cache *cache = &import->caches.items[index];

	if (!is_known)
		return import_cache_of_slabinfo(import, line, &index, error);
	if (cache->slot_bytes != line->slot_bytes)
		import_warn(import,
			    "%s has objects of %" PRIu64 " bytes, later of %" PRIu64
			    "; the first are kept: is this one machine with one kernel?",
			    line->name, cache->slot_bytes, line->slot_bytes);
	return true;
}

static bool take_cache(struct import *import, const struct slabinfo_line *line, struct kml_error *error)
{
	struct series *series = import->series;
	uint32_t name = import_name(import, line->name, strlen(line->name), error);
	uint16_t index;

	if (name == IMPORT_NONE || !import_cache_named(import, name, &index, error))
		return false;
	struct series_cache *cache = cache_at(series, index, error);
	if (cache == NULL || !take_geometry(import, line, cache->seen != 0, index, error))
		return false;
	bool again = cache->seen == series->readings;
	cache->active = line->active_objects + (again ? cache->active : 0);
	cache->slabs = line->slabs + (again ? cache->slabs : 0);
	cache->seen = series->readings;
	return true;
}

bool series_read(struct import *import, const struct stored_snapshot *snapshot, struct kml_error *error)
{
	struct place place = {import, snapshot, 1};
	struct slabinfo_line line;
	const char *at = snapshot->text, *begin = at;
	enum slabinfo_kind kind;

	import->series->torn = false;
	import->series->readings++;
	for (; (kind = slabinfo_read(&at, &line)) != SLABINFO_END; begin = at, place.line++) {
		if (!check_version(&place, begin, error))
			return false;
		if (kind == SLABINFO_DAMAGED || (kind == SLABINFO_CACHE && !is_plausible(&line)))
			pass_over(import, &place, begin);
		else if (kind == SLABINFO_CACHE && !take_cache(import, &line, error))
			return false;
	}
	return true;
}

uint64_t series_count(const struct series *series, const struct series_cache *cache)
{
	if (cache->seen == series->readings)
		return cache->active;
	return series->torn ? cache->count : 0;
}

bool series_exists(const struct series *series, const struct series_cache *cache)
{
	return cache->seen == series->readings || (series->torn && cache->exists);
}

/* ------------------------------------------------------------------------------------------ the whole series */

static bool check_times(struct import *import, struct kml_error *error)
{
	struct place place = {.import = import};
	char where[512];

	for (uint32_t i = 0; i < import->snapshots.count; i++) {
		const struct stored_snapshot *snapshot = &import->snapshots.items[i];
		if (snapshot->time_ns == UINT64_MAX)
			return kml_fail(
				error,
				"snapshot %s.%s has no time in its name, and there is no trace with a mark of that "
				"name; name it NNNN-<nanoseconds>.%s",
				snapshot->label, kmt_snapshot_name(snapshot->kind), kmt_snapshot_name(snapshot->kind));
		/* The files of a folder come in the order of their names. */
		if (import->series_file == NULL || i == 0 || snapshot->time_ns >= snapshot[-1].time_ns)
			continue;
		if (import->totals.quirks[KMT_QUIRK_OUT_OF_ORDER] == 0) {
			place.snapshot = snapshot;
			name_place(&place, where, sizeof(where));
			import_warn(import, "%s: a time before that of the snapshot above: they are sorted", where);
		}
		import_count(import, KMT_QUIRK_OUT_OF_ORDER, 1);
	}
	return true;
}

/* Whether the snapshot read last shows any cache. */
static bool shows_caches(const struct series *series)
{
	for (uint32_t i = 0; i < series->caches.count; i++) {
		if (series->caches.items[i].seen == series->readings)
			return true;
	}
	return false;
}

/* A cache that a whole snapshot lacked before came later; else it was there from the start. */
static void start_cache(struct import *import, uint32_t index, bool from_start)
{
	struct series_cache *cache = &import->series->caches.items[index];

	cache->is_started = true;
	cache->exists_at_start = from_start;
	cache->at_start = cache->count = from_start ? cache->active : 0;
	import->caches.items[index].objects_at_start = cache->at_start;
	import->caches.items[index].slabs_at_start = from_start ? cache->slabs : 0;
}

static void take_counts(struct import *import, bool from_start)
{
	struct series *series = import->series;

	for (uint32_t i = 0; i < series->caches.count; i++) {
		struct series_cache *cache = &series->caches.items[i];
		if (cache->seen == series->readings && !cache->is_started)
			start_cache(import, i, from_start);
		uint64_t count = series_count(series, cache);
		cache->variation += count > cache->count ? count - cache->count : cache->count - count;
		cache->count = count;
		cache->exists = series_exists(series, cache);
	}
}

/* Its events would say that every cache was destroyed. */
static void empty_snapshot(struct import *import, struct stored_snapshot *snapshot)
{
	if (!import->series->torn)
		import_count(import, KMT_QUIRK_MALFORMED, 1);
	import_warn(import, "snapshots without any cache are left out: /proc/slabinfo is read by root");
	free(snapshot->label);
	free(snapshot->text);
	snapshot->label = snapshot->text = NULL;
}

static void close_gaps(struct import *import)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < import->snapshots.count; i++) {
		if (import->snapshots.items[i].text != NULL)
			import->snapshots.items[kept++] = import->snapshots.items[i];
	}
	import->snapshots.count = kept;
}

/* Reads every slabinfo, in the order of time. */
static bool take_snapshots(struct import *import, struct kml_error *error)
{
	struct series *series = import->series;
	const struct stored_snapshot *first = NULL, *last = NULL;
	bool whole_seen = false;

	for (uint32_t i = 0; i < import->snapshots.count; i++) {
		struct stored_snapshot *snapshot = &import->snapshots.items[i];
		if (snapshot->kind != KMT_SNAPSHOT_SLABINFO)
			continue;
		if (!series_read(import, snapshot, error))
			return false;
		if (!shows_caches(series)) {
			empty_snapshot(import, snapshot);
			continue;
		}
		take_counts(import, !whole_seen);
		whole_seen = whole_seen || !series->torn;
		first = first == NULL ? snapshot : first;
		last = snapshot;
	}
	if (first == NULL)
		return kml_fail(error,
				"%s: no cache in any of its snapshots of slabinfo; wanted is what root reads from "
				"/proc/slabinfo",
				import->series_file == NULL ? "the folder" : import->series_file);
	series->seconds = (double)(last->time_ns - first->time_ns) / NS_PER_S;
	series->is_counted = true;
	close_gaps(import);
	return true;
}

/* The smallest page on which every slab holds its objects: the kernel fills slabs to more than a half. */
static void find_page_size(struct import *import)
{
	uint64_t page_bytes = PAGE_BYTES_MIN;

	for (uint32_t i = 0; i < import->caches.count; i++) {
		const struct kmt_cache *cache = &import->caches.items[i];
		uint64_t used_bytes = cache->slot_bytes * cache->objects_per_slab;
		while (page_bytes < PAGE_BYTES_MAX && used_bytes > page_bytes * cache->pages_per_slab)
			page_bytes *= 2;
	}
	if (import->page_shift == 0)
		import->page_shift = (uint32_t)__builtin_ctzll(page_bytes);
	import->origin.page_bytes = import_page_bytes(import);
}

/* Slabs show slots; what is asked for is not known. */
static bool complete_caches(struct import *import, struct kml_error *error)
{
	for (uint32_t i = 0; i < import->caches.count; i++) {
		struct kmt_cache *cache = &import->caches.items[i];
		cache->object_bytes = cache->object_bytes == 0 ? cache->slot_bytes : cache->object_bytes;
	}
	return import_complete_caches(import, error);
}

/* -------------------------------------------------------------------------------------------------- churn */

static double estimate_churn(const struct series *series, const struct series_cache *cache)
{
	uint64_t change =
		cache->count > cache->at_start ? cache->count - cache->at_start : cache->at_start - cache->count;

	return series->seconds > 0 ? (double)(cache->variation - change) / 2 / series->seconds : 0;
}

/* Of all caches together. */
static double sum_churn(const struct series *series)
{
	double sum = 0;

	for (uint32_t i = 0; i < series->caches.count; i++)
		sum += series->caches.items[i].churn_per_s;
	return sum;
}

/* What is asked for is shared out as the estimates are, or the live objects where no object was seen to be replaced. */
static void share_churn(struct series *series, double asked_per_s)
{
	double estimated = sum_churn(series), live = 0;

	for (uint32_t i = 0; i < series->caches.count; i++)
		live += (double)series->caches.items[i].at_start;
	for (uint32_t i = 0; i < series->caches.count; i++) {
		struct series_cache *cache = &series->caches.items[i];
		if (estimated > 0)
			cache->churn_per_s *= asked_per_s / estimated;
		else
			cache->churn_per_s = live > 0 ? asked_per_s * (double)cache->at_start / live : 0;
	}
}

static bool check_size(const struct import *import, struct kml_error *error)
{
	const struct series *series = import->series;
	double seconds = series->seconds > 0 ? series->seconds : (double)import->options.series.seconds;
	double events = 2 * sum_churn(series) * seconds;
	uint64_t live = 0;

	for (uint32_t i = 0; i < series->caches.count; i++) {
		events += (double)series->caches.items[i].variation;
		live += series->caches.items[i].at_start;
	}
	if (live > KMT_OBJECTS_MAX / 4)
		return kml_fail(error,
				"%s: %" PRIu64 " active objects in the first snapshot, more than can be: it is damaged",
				import->series_file == NULL ? "the folder" : import->series_file, live);
	if (events > EVENTS_MAX)
		return kml_fail(error, "the series makes %.3g events, more than %.0g: ask for less --churn, or cut it",
				events, EVENTS_MAX);
	return true;
}

static bool set_note(struct import *import, struct kml_error *error)
{
	const struct import_series_options *asked = &import->options.series;
	const char *given = import->origin.note;
	char *note;

	if (asprintf(&note,
		     "the fewest events that explain the counts; churn of %.6g objects/s (%s), seed %" PRIu64 "%s%s",
		     sum_churn(import->series), asked->churn_auto ? "estimated" : "asked for", asked->seed,
		     given[0] == '\0' ? "" : "; ", given) < 0)
		return kml_fail(error, "out of memory");
	free((char *)given);
	import->origin.note = note;
	return true;
}

bool series_resolve(struct import *import, struct kml_error *error)
{
	const struct import_series_options *asked = &import->options.series;

	import->series = calloc(1, sizeof(*import->series));
	if (import->series == NULL)
		return kml_fail(error, "out of memory");
	if (!check_times(import, error) || !import_place_snapshots(import, error) || !take_snapshots(import, error))
		return false;
	find_page_size(import);
	if (!complete_caches(import, error))
		return false;
	for (uint32_t i = 0; i < import->series->caches.count; i++) {
		struct series_cache *cache = &import->series->caches.items[i];
		cache->churn_per_s = estimate_churn(import->series, cache);
	}
	if (!asked->churn_auto)
		share_churn(import->series, asked->churn_per_s);
	return check_size(import, error) && set_note(import, error);
}

void series_destroy(struct series *series)
{
	if (series == NULL)
		return;
	free(series->caches.items);
	free(series);
}
