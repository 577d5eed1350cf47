/* fidelity_report.c - what `kmemlab fidelity` shows of a judged replay. */
#include "kmemlab/fidelity_report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "kmemlab/json.h"
#include "workloads/cell.h"

static const char *what_is_compared(enum fidelity_scale scale)
{
	static const char *const names[] = {"slabinfo", "walks over every slab page", "slab pages of the events"};
	return names[scale];
}

static uint64_t actual_pages(const struct fidelity_moment *moment)
{
	uint64_t pages = 0;
	for (uint32_t i = 0; i < moment->point_count; i++)
		pages += moment->points[i].actual_pages;
	return pages;
}

/* ------------------------------------------------------------------------------------------------- text */

/* A ratio in a column of seven, or - where it has no value. */
static void print_ratio(double ratio, double scale, int decimals, FILE *stream)
{
	if (isnan(ratio))
		fprintf(stream, " %8s", "-");
	else
		fprintf(stream, " %8.*f", decimals, ratio * scale);
}

static void print_head(const struct fidelity_report *report, FILE *stream)
{
	const struct fidelity *fidelity = report->fidelity;
	double skill = fidelity_skill(&fidelity->sums), wmape = fidelity_wmape(&fidelity->sums);
	fprintf(stream, "%s on %s, level %s\n", report->trace_path, report->spec_text,
		replay_level_name(report->options->replay.level));
	if (isnan(wmape))
		fputs("WMAPE - (the kernel has no slab pages)", stream);
	else
		fprintf(stream, "WMAPE %.4f %%", 100 * wmape);
	if (isnan(skill))
		fputs(", skill - (no slab of the kernel's moved)", stream);
	else
		fprintf(stream, ", skill %.4f", skill);
	fprintf(stream, ": %" PRIu64 " pages off of %" PRIu64 ", over %" PRIu32 " snapshots (%s) after the first\n",
		fidelity->sums.error, fidelity->sums.actual, fidelity->judged_moments,
		what_is_compared(fidelity->scale));
}

static void print_left_out(const struct fidelity_report *report, FILE *stream)
{
	const struct fidelity *fidelity = report->fidelity;
	for (uint32_t i = 0; i < fidelity->cache_count && !report->options->with_recorder; i++)
		if (fidelity->caches[i].is_recorder)
			fprintf(stream, "left out: %s, which belongs to the recording (--with-recorder keeps it)\n",
				fidelity->caches[i].name);
	if (replay_failures(&fidelity->result) > 0)
		fprintf(stream, "%" PRIu64 " allocations failed: their slabs are missing\n",
			replay_failures(&fidelity->result));
}

static void print_snapshots(const struct fidelity *fidelity, FILE *stream)
{
	fprintf(stream, "\n%-16s %11s %10s %10s %8s %8s %8s\n", "snapshot", "seconds", "predicted", "actual", "off",
		"WMAPE %", "skill");
	for (uint32_t i = 0; i < fidelity->moment_count; i++) {
		const struct fidelity_moment *moment = &fidelity->moments[i];
		if (!moment->has_slabs)
			continue;
		fprintf(stream, "%-16.16s %11.3f %10" PRIu64 " %10" PRIu64, moment->label[0] ? moment->label : "-",
			(double)moment->time_ns / 1e9, moment->predicted_pages, actual_pages(moment));
		if (!moment->judged) {
			fputs("  where the forecast begins\n", stream);
			continue;
		}
		fprintf(stream, " %8" PRIu64, moment->sums.error);
		print_ratio(fidelity_wmape(&moment->sums), 100, 3, stream);
		print_ratio(fidelity_skill(&moment->sums), 1, 4, stream);
		fputc('\n', stream);
	}
}

static void print_worst(const struct fidelity *fidelity, FILE *stream)
{
	uint32_t worst[FIDELITY_WORST];
	uint32_t count = fidelity_worst(fidelity, worst, FIDELITY_WORST);
	if (fidelity->scale != FIDELITY_SLABINFO)
		return;
	if (count == 0) {
		fputs("\nevery cache is as the kernel's at every snapshot\n", stream);
		return;
	}
	fprintf(stream, "\n%-24s %8s %8s %8s %9s  %s\n", "worst caches, pages", "off", "WMAPE %", "skill", "most at",
		"most off by; likely reason");
	for (uint32_t i = 0; i < count; i++) {
		const struct fidelity_cache *cache = &fidelity->caches[worst[i]];
		fprintf(stream, "%-24.24s %8" PRIu64, cache->name, cache->sums.error);
		print_ratio(fidelity_wmape(&cache->sums), 100, 2, stream);
		print_ratio(fidelity_skill(&cache->sums), 1, 3, stream);
		fprintf(stream, " %9.9s  %+" PRId64 "; %s\n", fidelity->moments[cache->worst_moment].label,
			cache->worst_error_pages, cache->reason);
	}
}

static void print_meminfo(const struct fidelity *fidelity, FILE *stream)
{
	bool headed = false;
	for (uint32_t i = 0; i < fidelity->moment_count; i++) {
		const struct fidelity_moment *moment = &fidelity->moments[i];
		if (!moment->has_meminfo)
			continue;
		if (!headed)
			fprintf(stream, "\n%-16s %21s %21s %21s %12s\n", "meminfo, kB", "Slab: ours, kernel",
				"SReclaimable", "SUnreclaim", "KernelStack");
		headed = true;
		fprintf(stream,
			"%-16.16s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRIu64
			" %12" PRIu64 "\n",
			moment->label[0] ? moment->label : "-", moment->predicted_slab_kb, moment->slab_kb,
			moment->predicted_reclaimable_kb, moment->reclaimable_kb, moment->predicted_unreclaimable_kb,
			moment->unreclaimable_kb, moment->kernel_stack_kb);
	}
	if (headed)
		fputs("Slab is slabs and large kmallocs; kernel stacks are not slab and stand apart.\n", stream);
}

static void print_order_line(const char *label, const char *whose, const struct free_orders *orders, FILE *stream)
{
	fprintf(stream, "%-16.16s %-6s", label, whose);
	for (uint32_t order = 0; order < KML_ORDERS; order++)
		fprintf(stream, " %6" PRIu64, orders->free_blocks[order]);
	fprintf(stream, " %9" PRIu64 "\n", orders->free_pages);
}

static void print_orders(const struct fidelity *fidelity, FILE *stream)
{
	bool headed = false;
	for (uint32_t i = 0; i < fidelity->moment_count; i++) {
		const struct fidelity_moment *moment = &fidelity->moments[i];
		if (!moment->has_orders)
			continue;
		if (!headed)
			fprintf(stream, "\n%-23s %6d %6d %6d %6d %6d %6d %6d %6d %6d %6d %6d %9s\n",
				"free blocks by order", 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "pages");
		headed = true;
		print_order_line(moment->label, "ours", &moment->predicted_orders, stream);
		print_order_line("", "kernel", &moment->orders, stream);
	}
}

static void print(const void *context, FILE *stream)
{
	const struct fidelity_report *report = context;
	print_head(report, stream);
	print_left_out(report, stream);
	print_snapshots(report->fidelity, stream);
	print_worst(report->fidelity, stream);
	print_meminfo(report->fidelity, stream);
	print_orders(report->fidelity, stream);
}

/* ------------------------------------------------------------------------------------------------- JSON */

static void add_sums(cJSON *object, const struct fidelity_sums *sums)
{
	kml_json_add_ratio(object, "wmape", fidelity_wmape(sums));
	kml_json_add_ratio(object, "skill", fidelity_skill(sums));
	kml_json_add_u64(object, "error_pages", sums->error);
	kml_json_add_u64(object, "actual_pages", sums->actual);
	kml_json_add_u64(object, "moved_pages", sums->moved);
}

static cJSON *orders_json(const struct free_orders *orders)
{
	cJSON *array = cJSON_CreateArray();
	for (uint32_t order = 0; order < KML_ORDERS; order++)
		cJSON_AddItemToArray(array, cJSON_CreateNumber((double)orders->free_blocks[order]));
	return array;
}

static void add_meminfo(cJSON *object, const struct fidelity_moment *moment)
{
	cJSON *meminfo = cJSON_AddObjectToObject(object, "meminfo");
	kml_json_add_u64(meminfo, "predicted_slab_kb", moment->predicted_slab_kb);
	kml_json_add_u64(meminfo, "slab_kb", moment->slab_kb);
	kml_json_add_u64(meminfo, "predicted_sreclaimable_kb", moment->predicted_reclaimable_kb);
	kml_json_add_u64(meminfo, "sreclaimable_kb", moment->reclaimable_kb);
	kml_json_add_u64(meminfo, "predicted_sunreclaim_kb", moment->predicted_unreclaimable_kb);
	kml_json_add_u64(meminfo, "sunreclaim_kb", moment->unreclaimable_kb);
	kml_json_add_u64(meminfo, "kernel_stack_kb", moment->kernel_stack_kb);
}

static cJSON *moment_json(const struct fidelity_moment *moment)
{
	cJSON *object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "label", moment->label);
	kml_json_add_u64(object, "time_ns", moment->time_ns);
	kml_json_add_u64(object, "event", moment->event);
	cJSON_AddBoolToObject(object, "judged", moment->judged);
	add_sums(object, &moment->sums);
	kml_json_add_u64(object, "all_predicted_pages", moment->predicted_pages);
	kml_json_add_u64(object, "all_actual_pages", actual_pages(moment));
	if (moment->has_meminfo)
		add_meminfo(object, moment);
	if (moment->has_orders) {
		cJSON *buddyinfo = cJSON_AddObjectToObject(object, "buddyinfo");
		cJSON_AddItemToObject(buddyinfo, "predicted_free_blocks", orders_json(&moment->predicted_orders));
		cJSON_AddItemToObject(buddyinfo, "free_blocks", orders_json(&moment->orders));
	}
	return object;
}

static cJSON *cache_json(const struct fidelity *fidelity, uint32_t index)
{
	const struct fidelity_cache *cache = &fidelity->caches[index];
	cJSON *object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "name", cache->name);
	add_sums(object, &cache->sums);
	cJSON_AddNumberToObject(object, "worst_error_pages", (double)cache->worst_error_pages);
	if (cache->sums.error > 0)
		cJSON_AddStringToObject(object, "worst_snapshot", fidelity->moments[cache->worst_moment].label);
	kml_json_add_u64(object, "events", cache->evidence.events);
	cJSON_AddStringToObject(object, "reason", cache->reason);
	return object;
}

static void add_caches(cJSON *root, const struct fidelity *fidelity)
{
	uint32_t worst[FIDELITY_WORST];
	uint32_t count = fidelity_worst(fidelity, worst, FIDELITY_WORST);
	cJSON *names = cJSON_AddArrayToObject(root, "worst");
	for (uint32_t i = 0; i < count; i++)
		cJSON_AddItemToArray(names, cJSON_CreateString(fidelity->caches[worst[i]].name));
	cJSON *caches = cJSON_AddArrayToObject(root, "caches");
	for (uint32_t i = 0; i < fidelity->cache_count; i++)
		if (fidelity->caches[i].in_slabinfo || fidelity->caches[i].sums.error > 0)
			cJSON_AddItemToArray(caches, cache_json(fidelity, i));
}

/* wmape and skill first. */
static cJSON *make_json(const void *context)
{
	const struct fidelity_report *report = context;
	const struct fidelity *fidelity = report->fidelity;
	cJSON *root = cJSON_CreateObject();
	add_sums(root, &fidelity->sums);
	cJSON_AddStringToObject(root, "trace", report->trace_path);
	cJSON_AddStringToObject(root, "allocator", report->spec_text);
	cJSON_AddStringToObject(root, "level", replay_level_name(report->options->replay.level));
	cJSON_AddStringToObject(root, "compared", what_is_compared(fidelity->scale));
	cJSON_AddNumberToObject(root, "judged_snapshots", fidelity->judged_moments);
	kml_json_add_u64(root, "failed_allocations", replay_failures(&fidelity->result));
	cJSON *left_out = cJSON_AddArrayToObject(root, "left_out");
	for (uint32_t i = 0; i < fidelity->cache_count && !report->options->with_recorder; i++)
		if (fidelity->caches[i].is_recorder)
			cJSON_AddItemToArray(left_out, cJSON_CreateString(fidelity->caches[i].name));
	cJSON *snapshots = cJSON_AddArrayToObject(root, "snapshots");
	for (uint32_t i = 0; i < fidelity->moment_count; i++)
		if (fidelity->moments[i].has_slabs)
			cJSON_AddItemToArray(snapshots, moment_json(&fidelity->moments[i]));
	add_caches(root, fidelity);
	return root;
}

/* -------------------------------------------------------------------------------------------------- CSV */

static void write_key(const struct fidelity_report *report, const struct fidelity_moment *moment, FILE *stream)
{
	const struct cell cell = {
		.trace_name = report->trace_name, .spec_text = report->spec_text, .options = report->options->replay};
	cell_write_key(&cell, stream);
	fputc(',', stream);
	cell_write_text(moment->label, stream);
	fprintf(stream, ",%" PRIu64, moment->time_ns);
}

static void write_moment_caches(const struct fidelity_report *report, const struct fidelity_moment *moment,
				FILE *stream)
{
	const struct fidelity *fidelity = report->fidelity;
	for (uint32_t i = 0; i < fidelity->cache_count && moment->has_slabs; i++) {
		const struct fidelity_cache *cache = &fidelity->caches[i];
		struct fidelity_point point = fidelity_point(moment, i);
		if (!cache->in_slabinfo && point.predicted_pages == 0)
			continue;
		write_key(report, moment, stream);
		fprintf(stream, ",%" PRIu64 ",%d,", moment->event, moment->judged);
		cell_write_text(cache->name, stream);
		fprintf(stream,
			",%d,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
			",%" PRIu64 "\n",
			cache->is_recorder && !report->options->with_recorder, point.predicted_pages,
			point.actual_pages, point.predicted_slabs, point.actual_slabs, point.predicted_live,
			point.predicted_active, point.active_objects, point.total_objects);
	}
}

static void write_moment_totals(const struct fidelity_report *report, const struct fidelity_moment *moment,
				FILE *stream)
{
	if (!moment->has_slabs)
		return;
	write_key(report, moment, stream);
	fprintf(stream, ",%" PRIu64 ",%d,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, moment->event, moment->judged,
		moment->predicted_pages, actual_pages(moment), moment->sums.error, moment->sums.moved);
	if (!moment->has_meminfo) {
		fputs(",,,,,,,\n", stream);
		return;
	}
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n",
		moment->predicted_slab_kb, moment->slab_kb, moment->predicted_reclaimable_kb, moment->reclaimable_kb,
		moment->predicted_unreclaimable_kb, moment->unreclaimable_kb, moment->kernel_stack_kb);
}

static void write_moment_orders(const struct fidelity_report *report, const struct fidelity_moment *moment,
				FILE *stream)
{
	for (uint32_t order = 0; order < KML_ORDERS && moment->has_orders; order++) {
		write_key(report, moment, stream);
		fprintf(stream, ",%" PRIu32 ",%" PRIu64 ",%" PRIu64 "\n", order,
			moment->predicted_orders.free_blocks[order], moment->orders.free_blocks[order]);
	}
}

typedef void write_moment(const struct fidelity_report *report, const struct fidelity_moment *moment, FILE *stream);

static void write_moments(const struct fidelity_report *report, write_moment *write, FILE *stream)
{
	for (uint32_t i = 0; i < report->fidelity->moment_count; i++)
		write(report, &report->fidelity->moments[i], stream);
}

static void write_caches(const void *report, FILE *stream)
{
	write_moments(report, write_moment_caches, stream);
}

static void write_totals(const void *report, FILE *stream)
{
	write_moments(report, write_moment_totals, stream);
}

static void write_orders(const void *report, FILE *stream)
{
	write_moments(report, write_moment_orders, stream);
}

#define KEY "trace,allocator,level,snapshot,time_ns,"

const struct report_kind fidelity_reports = {
	.print = print,
	.json = make_json,
	.files = {
		{"fidelity.csv",
		 KEY "event,judged,cache,left_out,predicted_pages,actual_pages,predicted_slabs,actual_slabs,"
		     "predicted_live_objects,predicted_active_objects,actual_active_objects,actual_total_objects",
		 write_caches},
		{"fidelity_totals.csv",
		 KEY "event,judged,predicted_pages,actual_pages,error_pages,moved_pages,predicted_slab_kb,slab_kb,"
		     "predicted_sreclaimable_kb,sreclaimable_kb,predicted_sunreclaim_kb,sunreclaim_kb,kernel_stack_kb",
		 write_totals},
		{"fidelity_orders.csv", KEY "order,predicted_free_blocks,actual_free_blocks", write_orders},
	}};
