/*
 * histogram.c - reading a histogram. Bars are collected as they come and merged when the table is full.
 */
#include "workloads/generate/histogram.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "traces/kmt/kmt.h"
#include "workloads/generate/sizes.h"

static int by_size(const void *a, const void *b)
{
	const struct histogram_bar *left = a, *right = b;
	return (left->size_bytes > right->size_bytes) - (left->size_bytes < right->size_bytes);
}

/* Ascending, each size once. */
static void merge_bars(struct histogram *histogram)
{
	size_t merged = 0;
	qsort(histogram->bars, histogram->count, sizeof *histogram->bars, by_size);
	for (size_t i = 0; i < histogram->count; i++) {
		struct histogram_bar *last = merged > 0 ? &histogram->bars[merged - 1] : NULL;
		if (last && last->size_bytes == histogram->bars[i].size_bytes)
			last->weight += histogram->bars[i].weight;
		else
			histogram->bars[merged++] = histogram->bars[i];
	}
	histogram->count = merged;
}

/* Twice as large only when merging leaves it half full: the cost of sorting is spread over as many new bars. */
static bool make_room(struct histogram *histogram, struct kml_error *error)
{
	if (histogram->count < histogram->room)
		return true;
	if (histogram->count > 0)
		merge_bars(histogram);
	if (histogram->count < histogram->room / 2)
		return true;
	size_t room = histogram->room ? 2 * histogram->room : 1024;
	struct histogram_bar *larger = realloc(histogram->bars, room * sizeof *larger);
	if (!larger)
		return kml_fail(error, "no memory for its sizes");
	histogram->bars = larger;
	histogram->room = room;
	return true;
}

static bool add(struct histogram *histogram, uint64_t size_bytes, double weight, struct kml_error *error)
{
	if (weight == 0)
		return true;
	if (!make_room(histogram, error))
		return false;
	histogram->bars[histogram->count++] = (struct histogram_bar){size_bytes, weight};
	return true;
}

/* ------------------------------------------------------------------------------------------------ text */

static bool parse_weight(const char *text, double *weight)
{
	char *end;
	errno = 0;
	*weight = strtod(text, &end);
	return end != text && !*end && isfinite(*weight) && *weight >= 0;
}

/* "size weight", or nothing. The line is changed. */
static bool add_line(struct histogram *histogram, char *line, struct kml_error *error)
{
	static const char blanks[] = " \t\r\n";
	char *rest;
	line[strcspn(line, "#")] = '\0';
	const char *size_text = strtok_r(line, blanks, &rest), *weight_text = strtok_r(NULL, blanks, &rest);
	if (!size_text)
		return true;
	if (!weight_text || strtok_r(NULL, blanks, &rest))
		return kml_fail(error, "write a size and its weight, as in \"4k 12.5\"");
	uint64_t size_bytes;
	double weight;
	if (!kml_parse_size(size_text, &size_bytes) || size_bytes == 0 || size_bytes > SIZES_MAX_BYTES)
		return kml_fail(error, "size '%.32s': use a size such as 4096, 64k or 1M, from 1 to 64T", size_text);
	if (!parse_weight(weight_text, &weight))
		return kml_fail(error, "weight '%.32s': use a finite number such as 3 or 0.25, 0 or more", weight_text);
	return add(histogram, size_bytes, weight, error);
}

static bool read_text(struct histogram *histogram, const char *path, struct kml_error *error)
{
	struct kml_error reason = {{0}};
	FILE *stream = fopen(path, "re");
	if (!stream)
		return kml_fail(error, "%s: %s", path, strerror(errno));
	char *line = NULL;
	size_t room = 0;
	unsigned long long number = 0;
	bool good = true;
	while (good && getline(&line, &room, stream) >= 0) {
		number++;
		good = add_line(histogram, line, &reason);
	}
	if (!good)
		kml_fail(error, "%s: line %llu: %s", path, number, reason.text);
	else if (ferror(stream))
		good = kml_fail(error, "%s: it cannot be read", path);
	free(line);
	fclose(stream);
	return good;
}

/* ------------------------------------------------------------------------------------------------ a trace */

static bool add_events(struct histogram *histogram, const struct kmt_item *item, struct kml_error *error)
{
	for (uint32_t i = 0; i < item->event_count; i++) {
		const struct kmt_event *event = &item->events[i];
		if (event->op != KMT_ALLOC || event->flags & KMT_WARM || event->size_bytes > SIZES_MAX_BYTES)
			continue;
		if (!add(histogram, event->size_bytes, 1, error))
			return false;
	}
	return true;
}

static bool read_trace(struct histogram *histogram, const char *path, struct kml_error *error)
{
	struct kmt_reader *reader = kmt_open(path, error);
	struct kmt_item item;
	enum kmt_item_kind kind = KMT_ITEM_ERROR;
	if (!reader)
		return false;
	while ((kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT)
		if (kind == KMT_ITEM_EVENTS && !add_events(histogram, &item, error))
			break;
	kmt_close(reader);
	return kind == KMT_ITEM_END;
}

/* ------------------------------------------------------------------------------------------------ both */

static bool is_trace(const char *path)
{
	size_t length = strlen(path);
	return length > 4 && strcmp(path + length - 4, ".kmt") == 0;
}

bool histogram_read(struct histogram *histogram, const char *path, struct kml_error *error)
{
	*histogram = (struct histogram){0};
	bool done = is_trace(path) ? read_trace(histogram, path, error) : read_text(histogram, path, error);
	if (done && histogram->count == 0)
		done = kml_fail(error, "%s: no size in it with a weight above 0", path);
	if (done)
		merge_bars(histogram);
	else
		histogram_free(histogram);
	return done;
}

void histogram_free(struct histogram *histogram)
{
	free(histogram->bars);
	*histogram = (struct histogram){0};
}
