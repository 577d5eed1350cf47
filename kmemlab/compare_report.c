/* compare_report.c - what `kmemlab compare` shows of two workloads on a stack. */
#include "kmemlab/compare_report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "kmemlab/json.h"
#include "workloads/cell.h"

enum { WORST = 10 };

/* Caches that neither stack ever had anything in are passed over. */
static bool is_used(const struct comparison *comparison, uint32_t cache)
{
	for (int side = 0; side < COMPARE_SIDES; side++)
		if (comparison->cache[cache][COMPARE_SLABS].peak_bytes[side] > 0 ||
		    comparison->cache[cache][COMPARE_LIVE].peak_bytes[side] > 0)
			return true;
	return false;
}

static double mean_bytes(const struct compare_report *report, double sum)
{
	return sum / report->comparison->samples;
}

/* ------------------------------------------------------------------------------------------------- text */

static void print_wape(const struct compare_distance *distance, FILE *stream)
{
	double wape = compare_wape(distance);
	if (isfinite(wape))
		fprintf(stream, " %8.2f", 100 * wape);
	else
		fprintf(stream, " %8s", isnan(wape) ? "-" : "inf");
}

/* Kilobytes, which is what fits. */
static void print_distance(const struct compare_report *report, const char *name,
			   const struct compare_distance *distance, FILE *stream)
{
	fprintf(stream, "%-24.24s", name);
	print_wape(distance, stream);
	fprintf(stream, " %12.1f %+12.1f %+12.1f %12.1f %12.1f\n",
		mean_bytes(report, (double)distance->base_bytes) / 1024,
		mean_bytes(report, (double)distance->moved_bytes) / 1024, (double)distance->most_bytes / 1024,
		(double)distance->peak_bytes[COMPARE_A] / 1024, (double)distance->peak_bytes[COMPARE_B] / 1024);
}

static void print_heading(const char *what, FILE *stream)
{
	fprintf(stream, "%-24s %8s %12s %12s %12s %12s %12s\n", what, "WAPE %", "mean a", "mean b-a", "most b-a",
		"peak a", "peak b");
}

static void print_sides(const struct compare_report *report, FILE *stream)
{
	for (int side = 0; side < COMPARE_SIDES; side++) {
		const struct replay_result *result = &report->comparison->result[side];
		const struct compare_sample *end = &report->comparison->sample[side][report->comparison->samples - 1];
		fprintf(stream, "%c %s: %" PRIu64 " events in %.3f s, peak held %" PRIu64 ", peak requested %" PRIu64,
			"ab"[side], report -> path[side], result -> events, (double)end -> time_ns / 1e9,
			result -> peak_held_bytes, result -> peak_requested_bytes);
		if (replay_failures(result) > 0)
			fprintf(stream, "; %" PRIu64 " allocations failed", replay_failures(result));
		fputc('\n', stream);
	}
}

static void print_cache(const struct compare_report *report, uint32_t cache, FILE *stream)
{
	const struct compare_distance *curves = report->comparison->cache[cache];
	const struct compare_distance *slabs = &curves[COMPARE_SLABS];
	fprintf(stream, "%-24.24s", report->comparison->caches.name[cache]);
	print_wape(slabs, stream);
	fprintf(stream, " %10.1f %+10.1f %+10.1f", mean_bytes(report, (double)slabs->base_bytes) / 1024,
		mean_bytes(report, (double)slabs->moved_bytes) / 1024, (double)slabs->most_bytes / 1024);
	for (int curve = COMPARE_LIVE; curve <= COMPARE_SLACK; curve++) {
		print_wape(&curves[curve], stream);
		fprintf(stream, " %+10.1f", mean_bytes(report, (double)curves[curve].moved_bytes) / 1024);
	}
	fputc('\n', stream);
}

static void print_worst(const struct compare_report *report, FILE *stream)
{
	const struct comparison *comparison = report->comparison;
	uint32_t worst[WORST];
	uint32_t count = compare_worst(comparison, worst, WORST);
	if (comparison->caches.count == 0)
		return; /* a page allocator */
	fprintf(stream, "cache by cache: WAPE of slabs");
	print_wape(&comparison->by_cache[COMPARE_SLABS], stream);
	fputs(" %, of live bytes", stream);
	print_wape(&comparison->by_cache[COMPARE_LIVE], stream);
	fputs(" %, of their difference", stream);
	print_wape(&comparison->by_cache[COMPARE_SLACK], stream);
	fputs(" %\n", stream);
	if (count > 0)
		fprintf(stream, "\n%-24s %8s %10s %10s %10s %8s %10s %8s %10s\n", "worst caches, kB", "slabs, %",
			"mean a", "mean b-a", "most b-a", "live, %", "mean b-a", "slack, %", "mean b-a");
	for (uint32_t i = 0; i < count; i++)
		print_cache(report, worst[i], stream);
	if (count == 0)
		fputs("every cache is the same at every sample\n", stream);
}

static void print(const void *context, FILE *stream)
{
	const struct compare_report *report = context;
	const struct comparison *comparison = report->comparison;
	fprintf(stream, "on %s, level %s, arena %" PRIu64 " bytes, %" PRIu32 " samples at equal fractions of time\n",
		report->spec_text, replay_level_name(report->options->level), comparison->result[COMPARE_A].arena_bytes,
		comparison->samples);
	print_sides(report, stream);
	fputc('\n', stream);
	print_heading("kB", stream);
	for (int curve = 0; curve < COMPARE_CURVES; curve++)
		if (comparison->curves[curve].base_bytes > 0 || comparison->curves[curve].error_bytes > 0)
			print_distance(report, compare_curve_name((enum compare_curve)curve),
				       &comparison->curves[curve], stream);
	print_worst(report, stream);
}

/* ------------------------------------------------------------------------------------------------- JSON */

static cJSON *distance_json(const struct compare_report *report, const struct compare_distance *distance)
{
	cJSON *object = cJSON_CreateObject();
	kml_json_add_ratio(object, "wape", compare_wape(distance));
	kml_json_add_u64(object, "error_bytes", distance->error_bytes);
	kml_json_add_u64(object, "base_bytes", distance->base_bytes);
	cJSON_AddNumberToObject(object, "mean_difference_bytes", mean_bytes(report, (double)distance->moved_bytes));
	cJSON_AddNumberToObject(object, "most_difference_bytes", (double)distance->most_bytes);
	cJSON_AddNumberToObject(object, "most_sample", distance->most_sample + 1);
	kml_json_add_u64(object, "a_peak_bytes", distance->peak_bytes[COMPARE_A]);
	kml_json_add_u64(object, "b_peak_bytes", distance->peak_bytes[COMPARE_B]);
	return object;
}

static cJSON *side_json(const struct compare_report *report, enum compare_side side)
{
	const struct replay_result *result = &report->comparison->result[side];
	const struct compare_sample *end = &report->comparison->sample[side][report->comparison->samples - 1];
	cJSON *object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "trace", report->path[side]);
	kml_json_add_u64(object, "events", result->events);
	kml_json_add_u64(object, "duration_ns", end->time_ns);
	kml_json_add_u64(object, "failed_allocations", replay_failures(result));
	kml_json_add_u64(object, "peak_requested_bytes", result->peak_requested_bytes);
	kml_json_add_u64(object, "peak_held_bytes", result->peak_held_bytes);
	return object;
}

static void add_caches(cJSON *root, const struct compare_report *report)
{
	const struct comparison *comparison = report->comparison;
	uint32_t worst[WORST];
	uint32_t count = compare_worst(comparison, worst, WORST);
	cJSON *by_cache = cJSON_AddObjectToObject(root, "by_cache");
	for (int curve = 0; curve < COMPARE_CACHE_CURVES; curve++)
		kml_json_add_ratio(by_cache, compare_cache_curve_name((enum compare_cache_curve)curve),
				   compare_wape(&comparison->by_cache[curve]));
	cJSON *names = cJSON_AddArrayToObject(root, "worst");
	for (uint32_t i = 0; i < count; i++)
		cJSON_AddItemToArray(names, cJSON_CreateString(comparison->caches.name[worst[i]]));
	cJSON *caches = cJSON_AddArrayToObject(root, "caches");
	for (uint32_t i = 0; i < comparison->caches.count; i++) {
		if (!is_used(comparison, i))
			continue;
		cJSON *cache = cJSON_CreateObject();
		cJSON_AddStringToObject(cache, "name", comparison->caches.name[i]);
		for (int curve = 0; curve < COMPARE_CACHE_CURVES; curve++)
			cJSON_AddItemToObject(cache, compare_cache_curve_name((enum compare_cache_curve)curve),
					      distance_json(report, &comparison->cache[i][curve]));
		cJSON_AddItemToArray(caches, cache);
	}
}

static cJSON *make_json(const void *context)
{
	const struct compare_report *report = context;
	cJSON *root = cJSON_CreateObject();
	cJSON_AddStringToObject(root, "allocator", report->spec_text);
	cJSON_AddStringToObject(root, "level", replay_level_name(report->options->level));
	kml_json_add_u64(root, "arena_bytes", report->comparison->result[COMPARE_A].arena_bytes);
	cJSON_AddNumberToObject(root, "samples", report->comparison->samples);
	cJSON_AddItemToObject(root, "a", side_json(report, COMPARE_A));
	cJSON_AddItemToObject(root, "b", side_json(report, COMPARE_B));
	cJSON *curves = cJSON_AddObjectToObject(root, "curves");
	for (int curve = 0; curve < COMPARE_CURVES; curve++)
		cJSON_AddItemToObject(curves, compare_curve_name((enum compare_curve)curve),
				      distance_json(report, &report->comparison->curves[curve]));
	add_caches(root, report);
	return root;
}

/* -------------------------------------------------------------------------------------------------- CSV */

static void write_key(const struct compare_report *report, FILE *stream)
{
	const struct cell cell = {
		.trace_name = report->name[COMPARE_B], .spec_text = report->spec_text, .options = *report->options};
	cell_write_text(report->name[COMPARE_A], stream);
	fputc(',', stream);
	cell_write_key(&cell, stream);
	fputc(',', stream);
}

static void write_distance(const struct compare_report *report, const char *cache, const char *curve,
			   const struct compare_distance *distance, FILE *stream)
{
	double wape = compare_wape(distance);
	write_key(report, stream);
	cell_write_text(cache, stream);
	fprintf(stream, ",%s,", curve);
	if (isfinite(wape))
		fprintf(stream, "%.6f", wape);
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%.0f,%" PRId64 ",%" PRIu32 ",%" PRIu64 ",%" PRIu64 "\n",
		distance->error_bytes, distance->base_bytes, mean_bytes(report, (double)distance->moved_bytes),
		distance->most_bytes, distance->most_sample + 1, distance->peak_bytes[COMPARE_A],
		distance->peak_bytes[COMPARE_B]);
}

static void write_summary(const void *context, FILE *stream)
{
	const struct compare_report *report = context;
	const struct comparison *comparison = report->comparison;
	for (int curve = 0; curve < COMPARE_CURVES; curve++)
		write_distance(report, "", compare_curve_name((enum compare_curve)curve), &comparison->curves[curve],
			       stream);
	for (uint32_t i = 0; i < comparison->caches.count; i++)
		for (int curve = 0; curve < COMPARE_CACHE_CURVES && is_used(comparison, i); curve++)
			write_distance(report, comparison->caches.name[i],
				       compare_cache_curve_name((enum compare_cache_curve)curve),
				       &comparison->cache[i][curve], stream);
}

static void write_curves(const void *context, FILE *stream)
{
	const struct compare_report *report = context;
	const struct comparison *comparison = report->comparison;
	for (uint32_t i = 0; i < comparison->samples; i++) {
		const struct compare_sample *a = &comparison->sample[COMPARE_A][i];
		const struct compare_sample *b = &comparison->sample[COMPARE_B][i];
		for (int curve = 0; curve < COMPARE_CURVES; curve++) {
			write_key(report, stream);
			fprintf(stream,
				"%" PRIu32 ",%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
				"\n",
				i + 1, compare_curve_name((enum compare_curve)curve), a->event, b->event, a->time_ns,
				b->time_ns, a->bytes[curve], b->bytes[curve]);
		}
	}
}

static void write_cache(const struct compare_report *report, uint32_t index, uint32_t cache, FILE *stream)
{
	const struct compare_sample *a = &report->comparison->sample[COMPARE_A][index];
	const struct compare_sample *b = &report->comparison->sample[COMPARE_B][index];
	write_key(report, stream);
	fprintf(stream, "%" PRIu32 ",", index + 1);
	cell_write_text(report->comparison->caches.name[cache], stream);
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "\n", a->time_ns,
		b->time_ns, compare_cache_bytes(a, cache, COMPARE_SLABS), compare_cache_bytes(b, cache, COMPARE_SLABS),
		compare_cache_bytes(a, cache, COMPARE_LIVE), compare_cache_bytes(b, cache, COMPARE_LIVE));
}

static void write_caches(const void *context, FILE *stream)
{
	const struct compare_report *report = context;
	for (uint32_t i = 0; i < report->comparison->samples; i++)
		for (uint32_t cache = 0; cache < report->comparison->caches.count; cache++)
			if (is_used(report->comparison, cache))
				write_cache(report, i, cache, stream);
}

#define KEY "a,b,allocator,level,"

const struct report_kind compare_reports = {
	.print = print,
	.json = make_json,
	.files = {
		{"compare.csv",
		 KEY "cache,curve,wape,error_bytes,base_bytes,mean_difference_bytes,most_difference_bytes,most_sample,"
		     "a_peak_bytes,b_peak_bytes",
		 write_summary},
		{"compare_curves.csv", KEY "sample,curve,a_event,b_event,a_time_ns,b_time_ns,a_bytes,b_bytes",
		 write_curves},
		{"compare_caches.csv",
		 KEY "sample,cache,a_time_ns,b_time_ns,a_slab_bytes,b_slab_bytes,a_live_bytes,b_live_bytes",
		 write_caches},
	}};
