/*
 * metrics.c - the definitions of the kernel's metrics, held against what kernels themselves printed.
 *
 * mm/vmstat.c (unusable_free_index, __fragmentation_index), mm/slab_common.c (slabinfo), fs/proc/meminfo.c,
 * tools/perf/builtin-kmem.c; Johnstone & Wilson, The memory fragmentation problem: solved?, ISMM 1998, measures 1 to 4.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "traces/kmt/kmt.h"
#include "traces/proc/proc_text.h"
#include "workloads/figures.h"
#include "workloads/orders.h"
#include "workloads/validate/validate.h"

static const char SECTION[] = "metrics";

static struct validate_row *new_row(struct validate_rows *rows, const char *subject, const char *quantity,
				    const char *source)
{
	struct validate_row *row = validate_add(rows, SECTION);
	snprintf(row->subject, sizeof row->subject, "%s", subject);
	snprintf(row->quantity, sizeof row->quantity, "%s", quantity);
	snprintf(row->source, sizeof row->source, "%s", source);
	return row;
}

/* ------------------------------------------------------------------------------------------------ the indices */

typedef int32_t order_index(const struct free_orders *orders, uint32_t order);

struct indices {
	struct free_orders orders;
	uint64_t compared, different; /* of both indices, all orders */
};

/* "Node 0, zone    DMA32 -1.000 0.123 ...": the kernel's thousandths of each order against ours. */
static void compare_line(struct indices *indices, const char *line, order_index *index)
{
	const char *at = strstr(line, "zone");
	at = at ? at + strcspn(at, " ") : "";
	at += strspn(at, " ");
	at += strcspn(at, " ");
	for (uint32_t order = 0; order < KML_ORDERS; order++) {
		char *end;
		double told = strtod(at, &end);
		if (end == at)
			return;
		indices->compared++;
		indices->different += lround(1000 * told) != index(&indices->orders, order);
		at = end;
	}
}

/* The file: "== LABEL KIND", then the kernel's own line; buddyinfo comes first of each label. */
static bool read_indices(const char *path, struct indices *indices, struct kml_error *error)
{
	char line[512], kind[64] = "";
	FILE *file = fopen(path, "r");
	if (!file)
		return kml_fail(error, "%s: cannot be read", path);
	while (fgets(line, sizeof line, file)) {
		if (sscanf(line, "== %*s %63s", kind) == 1 || line[0] == '#')
			continue;
		if (strcmp(kind, "buddyinfo") == 0)
			free_orders_from_buddyinfo(&indices->orders, line);
		else if (strcmp(kind, "extfrag_index") == 0)
			compare_line(indices, line, free_orders_extfrag_index);
		else if (strcmp(kind, "unusable_index") == 0)
			compare_line(indices, line, free_orders_unusable_index);
	}
	fclose(file);
	return true;
}

static void conclude_indices(const struct validate_options *options, const double *values, struct validate_rows *rows)
{
	struct kml_error error;
	struct indices indices = {0};
	char path[4200];
	(void)values;
	snprintf(path, sizeof path, "%s/workloads/validate/data/indices-linux-6.1.txt", options->source);
	struct validate_row *row = new_row(rows, "unusable_index, extfrag_index", "figures of the kernel that differ",
					   "mm/vmstat.c: debugfs and buddyinfo of a Linux 6.1, read together");
	if (!read_indices(path, &indices, &error)) {
		validate_fail(row, &error);
		return;
	}
	snprintf(row->workload, sizeof row->workload, "%llu figures, 11 orders", (unsigned long long)indices.compared);
	validate_judge_count(row, 0, indices.compared == 0 ? 1 : indices.different);
}

/* ------------------------------------------------------------------------------------------------ /proc in the traces
 */

struct proc_counts {
	uint64_t caches, wrong_objects; /* num_objs != num_slabs * objperslab */
	uint64_t meminfos, wrong_sums;  /* Slab != SReclaimable + SUnreclaim */
};

static void count_slabinfo(struct proc_counts *counts, const char *text)
{
	struct slabinfo_line line;
	while (slabinfo_next(&text, &line)) {
		counts->caches++;
		counts->wrong_objects += line.total_objects != line.slabs * line.objects_per_slab;
	}
}

static void count_meminfo(struct proc_counts *counts, const char *text)
{
	uint64_t slab_kb, reclaimable_kb, unreclaimable_kb;
	if (!meminfo_find(text, "Slab", &slab_kb) || !meminfo_find(text, "SReclaimable", &reclaimable_kb) ||
	    !meminfo_find(text, "SUnreclaim", &unreclaimable_kb))
		return;
	counts->meminfos++;
	counts->wrong_sums += slab_kb != reclaimable_kb + unreclaimable_kb;
}

static bool count_trace(struct proc_counts *counts, const char *path, struct kml_error *error)
{
	struct kmt_item item;
	enum kmt_item_kind kind;
	struct kmt_reader *reader = kmt_open(path, error);
	if (!reader)
		return false;
	while ((kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT) {
		if (kind == KMT_ITEM_SNAPSHOT && item.snapshot->kind == KMT_SNAPSHOT_SLABINFO)
			count_slabinfo(counts, item.snapshot->text);
		else if (kind == KMT_ITEM_SNAPSHOT && item.snapshot->kind == KMT_SNAPSHOT_MEMINFO)
			count_meminfo(counts, item.snapshot->text);
	}
	kmt_close(reader);
	return kind == KMT_ITEM_END;
}

static void conclude_proc(const struct validate_options *options, const double *values, struct validate_rows *rows)
{
	static const char *const traces[] = {"boot", "compile", "fork", "fs-scan", "reclaim", "sockets"};
	struct proc_counts counts = {0};
	struct kml_error error;
	bool read = true;
	(void)values;
	for (size_t i = 0; i < sizeof traces / sizeof *traces && read; i++) {
		char path[4200];
		snprintf(path, sizeof path, "%s/traces/%s.kmt", options->source, traces[i]);
		read = count_trace(&counts, path, &error);
	}
	struct validate_row *row = new_row(rows, "slabinfo: num_objs", "lines that are not slabs * objperslab",
					   "mm/slub.c: Linux 6.1 and 6.18, the shipped traces");
	snprintf(row->workload, sizeof row->workload, "%llu lines", (unsigned long long)counts.caches);
	if (read)
		validate_judge_count(row, 0, counts.caches == 0 ? 1 : counts.wrong_objects);
	else
		validate_fail(row, &error);
	row = new_row(rows, "meminfo: Slab", "files that are not the sum of its two",
		      "fs/proc/meminfo.c: Slab = SReclaimable + SUnreclaim");
	snprintf(row->workload, sizeof row->workload, "%llu files", (unsigned long long)counts.meminfos);
	if (read)
		validate_judge_count(row, 0, counts.meminfos == 0 ? 1 : counts.wrong_sums);
	else
		validate_fail(row, &error);
}

/* ------------------------------------------------------------------------------------------------ perf, slabinfo */

/* What perf itself printed of a recording of Linux 6.18: bytes requested and allocated, and its percentage. */
static const uint64_t PERF_REQUESTED = 230302687, PERF_ALLOCATED = 230510184;
static const char PERF_PRINTED[] = "0.090016";

static void conclude_perf(const struct validate_options *options, const double *values, struct validate_rows *rows)
{
	const struct replay_result result = {.perf_requested_bytes = PERF_REQUESTED,
					     .perf_allocated_bytes = PERF_ALLOCATED};
	struct replay_figures figures;
	char text[32];
	(void)options;
	(void)values;
	replay_figures(&result, &figures);
	snprintf(text, sizeof text, "%.6f", figures.perf_fragmentation_percent);
	struct validate_row *row = new_row(rows, "perf kmem stat", "internal fragmentation %",
					   "tools/perf/builtin-kmem.c: as perf printed it of the same sums");
	snprintf(row->workload, sizeof row->workload, "446,608 events of Linux 6.18");
	validate_judge_text(row, PERF_PRINTED, text);
}

/* ------------------------------------------------------------------------------------------------ Johnstone-Wilson */

#define PAGES(n) ((n)*UINT64_C(4096))
static const struct {
	uint32_t id;
	uint64_t pages; /* 0: freed */
} worked[] = {{0, 7}, {0, 0}, {0, 5}, {1, 1}};

/*
 * In pages, blocks of 2^k: 7 takes 8; freed; 5 takes 8, then 1 takes 1. Requested 7, 0, 5, 6; held 8, 0, 8, 9.
 *   1: mean of held/requested where something is: (8/7 + 8/5 + 9/6)/3    2: where requested is most: 8/7
 *   3: where held is most: 9/6                                            4: 9/7
 */
static bool replay_worked(struct replay_figures *figures, struct kml_error *error)
{
	enum { EVENTS = sizeof worked / sizeof *worked };
	struct kmt_event events[EVENTS];
	const struct kmt_origin origin = {
		.source = "", .kernel = "", .command = "", .clock = "", .note = "", .cpu_count = 1, .page_bytes = 4096};
	for (int i = 0; i < EVENTS; i++)
		events[i] = (struct kmt_event){.time_ns = (uint64_t)i,
					       .op = worked[i].pages ? KMT_ALLOC : KMT_FREE,
					       .object = worked[i].id,
					       .size_bytes = PAGES(worked[i].pages),
					       .cache = KMT_NO_CACHE,
					       .address = KMT_NO_ADDRESS};
	const struct replay_options options = {.arena_bytes = PAGES(64), .seed = 1};
	struct replay_result result;
	struct kmt_reader *reader = kmt_open_events(&origin, NULL, 0, events, EVENTS, error);
	struct kml_spec *spec = kml_spec_parse("binary:unit=4096", error);
	bool done = reader && spec && replay_run(reader, spec, &options, NULL, NULL, NULL, &result, error);
	if (done)
		replay_figures(&result, figures);
	kml_spec_free(spec);
	kmt_close(reader);
	return done;
}

static void conclude_johnstone_wilson(const struct validate_options *options, const double *values,
				      struct validate_rows *rows)
{
	static const double expected[4] = {(8.0 / 7 + 8.0 / 5 + 9.0 / 6) / 3, 8.0 / 7, 9.0 / 6, 9.0 / 7};
	struct replay_figures figures;
	struct kml_error error;
	(void)options;
	(void)values;
	bool done = replay_worked(&figures, &error);
	for (int i = 0; i < 4; i++) {
		char quantity[40];
		snprintf(quantity, sizeof quantity, "measure %d", i + 1);
		struct validate_row *row = new_row(rows, "Johnstone-Wilson", quantity,
						   "Johnstone & Wilson 1998, worked by hand in metrics.c");
		row->kind = VALIDATE_NEAR;
		row->tolerance = 1e-12;
		snprintf(row->workload, sizeof row->workload, "7, free, 5, 1 pages on binary");
		if (done)
			validate_judge(row, expected[i], figures.johnstone_wilson[i], 6);
		else
			validate_fail(row, &error);
	}
}

const struct validate_check validate_metrics[] = {
	{.section = SECTION, .name = "indices", .rows_max = 1, .conclude = conclude_indices},
	{.section = SECTION, .name = "proc", .rows_max = 2, .conclude = conclude_proc},
	{.section = SECTION, .name = "perf", .rows_max = 1, .conclude = conclude_perf},
	{.section = SECTION, .name = "johnstone_wilson", .rows_max = 4, .conclude = conclude_johnstone_wilson},
	{0},
};
