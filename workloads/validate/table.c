/*
 * table.c - a published table of a kernel's allocations, recomputed from the logs it was made from.
 *
 * E. Garcia, Kernel dynamic memory analysis, 2012 (elinux.org, LKML): boots of a small x86-32 kernel with SLAB, SLUB
 * and SLOB, recorded as ftrace text. The logs are public (kmem-probe-framework, Logs/slab_compare) but have no licence,
 * so they are not shipped: --logs names the folder that has them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kmemlab/support/error.h"
#include "traces/import/import.h"
#include "workloads/validate/validate.h"

static const char SECTION[] = "table";
static const char SOURCE_NAME[] = "E. Garcia 2012, trace_analyze";

enum { ALLOCATORS = 3, PAGE_BYTES = 4096, SLOB_HEADER_BYTES = 8 };

static const struct {
	const char *name;
	const char *all, *kmalloc; /* fragmentation in percent, as printed there */
} published[ALLOCATORS] = {{"SLAB", "1.199", "33.67"}, {"SLUB", "0.929", "25.93"}, {"SLOB", "0.840", "26.56"}};

/* Sums over a log. */
struct sums {
	uint64_t allocations, matched_frees;
	uint64_t requested_bytes, granted_bytes; /* of all allocations */
	uint64_t kmalloc_requested_bytes, kmalloc_granted_bytes;
	uint64_t live_requested_bytes, live_granted_bytes; /* at the end */
	uint64_t small_kmallocs, small_with_header;        /* below a page; granted is requested + 8 */
};

/* What is live of an id; `requested` 0: nothing. */
struct live {
	uint64_t requested_bytes, granted_bytes;
};

static void count_alloc(struct sums *sums, struct live *live, const struct kmt_event *event)
{
	*live = (struct live){event->size_bytes, event->granted_bytes};
	sums->allocations++;
	sums->requested_bytes += event->size_bytes;
	sums->granted_bytes += event->granted_bytes;
	sums->live_requested_bytes += event->size_bytes;
	sums->live_granted_bytes += event->granted_bytes;
	if (!(event->flags & KML_KMALLOC))
		return;
	sums->kmalloc_requested_bytes += event->size_bytes;
	sums->kmalloc_granted_bytes += event->granted_bytes;
	sums->small_kmallocs += event->size_bytes < PAGE_BYTES;
	sums->small_with_header +=
		event->size_bytes < PAGE_BYTES && event->granted_bytes == event->size_bytes + SLOB_HEADER_BYTES;
}

static void count_free(struct sums *sums, struct live *live)
{
	if (live->requested_bytes == 0)
		return; /* of what was there before */
	sums->matched_frees++;
	sums->live_requested_bytes -= live->requested_bytes;
	sums->live_granted_bytes -= live->granted_bytes;
	*live = (struct live){0};
}

static bool count_events(const char *path, struct sums *sums, struct kml_error *error)
{
	struct kmt_item item;
	enum kmt_item_kind kind = KMT_ITEM_ERROR;
	struct kmt_reader *reader = kmt_open(path, error);
	if (!reader)
		return false;
	struct live *live = calloc(kmt_reader_totals(reader)->objects + 1, sizeof *live);
	if (!live)
		kml_fail(error, "out of memory");
	while (live && (kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS)
		for (uint32_t i = 0; i < item.event_count; i++) {
			const struct kmt_event *event = &item.events[i];
			if (event->op == KMT_ALLOC && !(event->flags & KMT_WARM))
				count_alloc(sums, &live[event->object], event);
			else if (event->op == KMT_FREE)
				count_free(sums, &live[event->object]);
		}
	free(live);
	kmt_close(reader);
	return kind == KMT_ITEM_END;
}

/* Through the importer, as any ftrace text. */
static bool read_log(const char *log, struct sums *sums, struct kml_error *error)
{
	const struct import_options options = {.quiet = true};
	char path[] = "/tmp/kmemlab-log-XXXXXX";
	int file = mkstemp(path);
	if (file < 0)
		return kml_fail(error, "/tmp: no file can be made there");
	close(file);
	struct import *import = import_create(&options);
	struct import_input *input = import ? import_input_open(log, error) : NULL;
	bool done = input && import_any(import, input, error) && import_write(import, path, error) &&
		    count_events(path, sums, error);
	import_input_close(input);
	import_destroy(import);
	unlink(path);
	return done;
}

static struct validate_row *new_row(struct validate_rows *rows, const char *subject, const char *workload,
				    const char *quantity)
{
	struct validate_row *row = validate_add(rows, SECTION);
	snprintf(row->subject, sizeof row->subject, "%s", subject);
	snprintf(row->workload, sizeof row->workload, "%s", workload);
	snprintf(row->quantity, sizeof row->quantity, "%s", quantity);
	snprintf(row->source, sizeof row->source, "%s", SOURCE_NAME);
	return row;
}

static void percent_row(struct validate_rows *rows, const char *subject, const char *workload, const char *expected,
			uint64_t requested_bytes, uint64_t granted_bytes, int digits)
{
	char measured[32];
	double percent = granted_bytes ? 100 - 100 * (double)requested_bytes / (double)granted_bytes : 0;
	snprintf(measured, sizeof measured, "%.*f", digits, percent);
	validate_judge_text(new_row(rows, subject, workload, "fragmentation %"), expected, measured);
}

static void slab_rows(struct validate_rows *rows, const struct sums *sums)
{
	static const char BOOT[] = "boot, x86-32";
	validate_judge_count(new_row(rows, "SLAB", BOOT, "allocations"), 7649, sums->allocations);
	validate_judge_count(new_row(rows, "SLAB", BOOT, "matched frees"), 2563, sums->matched_frees);
	validate_judge_count(new_row(rows, "SLAB", BOOT, "requested bytes at the end"), 618823,
			     sums->live_requested_bytes);
	validate_judge_count(new_row(rows, "SLAB", BOOT, "allocated bytes at the end"), 669696,
			     sums->live_granted_bytes);
	validate_judge_count(new_row(rows, "SLAB", BOOT, "wasted bytes at the end"), 50873,
			     sums->live_granted_bytes - sums->live_requested_bytes);
}

static void conclude(const struct validate_options *options, const double *values, struct validate_rows *rows)
{
	(void)values;
	if (!options->logs) {
		struct validate_row *row = new_row(rows, "SLAB, SLUB, SLOB", "boot, x86-32", "fragmentation %");
		row->kind = VALIDATE_SKIPPED;
		row->status = VALIDATE_NOT_RUN;
		snprintf(row->note, sizeof row->note,
			 "needs the public logs kmem_SLAB.log, kmem_SLUB.log, kmem_SLOB.log: --logs FOLDER");
		return;
	}
	for (int i = 0; i < ALLOCATORS; i++) {
		char path[4200];
		struct kml_error error;
		struct sums sums = {0};
		const char *name = published[i].name;
		snprintf(path, sizeof path, "%s/kmem_%s.log", options->logs, name);
		if (!read_log(path, &sums, &error)) {
			validate_fail(new_row(rows, name, "boot, x86-32", "all"), &error);
			continue;
		}
		percent_row(rows, name, "all allocations", published[i].all, sums.requested_bytes, sums.granted_bytes,
			    3);
		percent_row(rows, name, "kmalloc", published[i].kmalloc, sums.kmalloc_requested_bytes,
			    sums.kmalloc_granted_bytes, 2);
		if (strcmp(name, "SLAB") == 0)
			slab_rows(rows, &sums);
		if (strcmp(name, "SLOB") == 0) {
			validate_judge_count(new_row(rows, name, "kmalloc below a page", "allocations"), 2089,
					     sums.small_kmallocs);
			validate_judge_count(new_row(rows, name, "kmalloc below a page", "with a header of 8 bytes"),
					     2089, sums.small_with_header);
		}
	}
}

const struct validate_check validate_table[] = {
	{.section = SECTION, .name = "garcia", .rows_max = 2 * ALLOCATORS + 8, .conclude = conclude},
	{0},
};
