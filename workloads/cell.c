/*
 * cell.c - one cell of a run as rows of CSV. Everything printed here is the same on every run, machine and compiler:
 * whole numbers, and ratios of exact sums rounded to six decimals. Times are the caller's.
 */
#include "workloads/cell.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "workloads/figures.h"
#include "workloads/generate/generate.h"
#include "workloads/orders.h"

#define KEY "trace,allocator,level,"
#define WASTE                                                                                                          \
	"waste_class_rounding_bytes,waste_slab_tail_bytes,waste_management_bytes,waste_free_slots_bytes,"              \
	"waste_cpu_cached_bytes,waste_buddy_rounding_bytes,waste_external_bytes,"

static const struct {
	const char *name, *header;
} files[CELL_FILES] = {
	[CELL_SUMMARY] = {"summary.csv",
			  KEY "status,reason,arena_bytes,min_arena_bytes,events,allocations,frees,failed_no_memory,"
			      "failed_no_run,failed_impossible,peak_requested_bytes,peak_granted_bytes,"
			      "peak_held_bytes,peak_metadata_bytes,mean_requested_bytes,mean_granted_bytes,"
			      "mean_held_bytes,internal_fragmentation,slab_slack,jw1,jw2,jw3,jw4,"
			      "unusable_index_order4_mean," WASTE "splits,merges,steps\n"},
	[CELL_SAMPLES] = {"samples.csv",
			  KEY "sample,event,time_ns,live_blocks,requested_bytes,granted_bytes,held_bytes,"
			      "metadata_bytes,free_bytes,largest_free_bytes," WASTE "splits,merges,steps,caches,slabs,"
			      "slab_bytes,slab_objects,live_objects\n"},
	[CELL_ORDERS] = {"orders.csv",
			 KEY "sample,time_ns,order,block_bytes,free_blocks,unusable_index,extfrag_index\n"},
	[CELL_MAP] = {"map.csv", KEY "sample,time_ns,cell_bytes,occupancy\n"},
	[CELL_SLABS] = {"slabs.csv",
			KEY "snapshot,time_ns,label,fill_tenths,slabs,slab_bytes,live_objects,live_bytes\n"},
};

/* The order whose unusable index is averaged: 64 KiB, beyond what per-cpu lists and slabs ask for. */
enum { MEAN_ORDER = 4 };

const char *cell_file_name(enum cell_file file)
{
	return files[file].name;
}

const char *cell_file_header(enum cell_file file)
{
	return files[file].header;
}

void cell_write_text(const char *text, FILE *stream)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, stream);
		return;
	}
	fputc('"', stream);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', stream);
		fputc(*text == '\n' || *text == '\r' ? ' ' : *text, stream);
	}
	fputc('"', stream);
}

void cell_write_key(const struct cell *cell, FILE *stream)
{
	cell_write_text(cell->trace_name, stream);
	fputc(',', stream);
	cell_write_text(cell->spec_text, stream);
	fprintf(stream, ",%s", replay_level_name(cell->options.level));
}

void cell_write_invalid(const struct cell *cell, const char *reason, FILE *summary)
{
	cell_write_key(cell, summary);
	fputs(",invalid,", summary);
	cell_write_text(reason, summary);
	/* The figures that an invalid cell does not have. */
	const char *figures = strstr(files[CELL_SUMMARY].header, ",arena_bytes");
	for (; *figures; figures++)
		if (*figures == ',')
			fputc(',', summary);
	fputc('\n', summary);
}

/* ---------------------------------------------------------------------------------------- while it replays */

struct cell_run {
	const struct cell *cell;
	const struct kml_allocator *allocator;
	bool recorded;
	FILE *const *streams;
	uint32_t page_bytes;
	uint64_t samples, order_samples, slab_snapshots;
	int64_t unusable_sum; /* of MEAN_ORDER, in thousandths */
};

static FILE *begin_row(const struct cell_run *run, enum cell_file file, uint64_t sample)
{
	FILE *stream = run->streams[file];
	if (!stream)
		return NULL;
	cell_write_key(run->cell, stream);
	fprintf(stream, ",%" PRIu64, sample);
	return stream;
}

static void write_waste(const struct kml_stats *stats, FILE *stream)
{
	for (int kind = 0; kind < KML_WASTE_KINDS; kind++)
		fprintf(stream, ",%" PRIu64, stats->waste_bytes[kind]);
}

static void write_work(const struct kml_stats *stats, FILE *stream)
{
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, stats->splits, stats->merges, stats->steps);
}

/* The slabs of all caches together; zeros where the stack has none. A cache without slabs of its own is passed by: SLOB
 * tells its pages once, with the objects of all caches in them. */
static void write_caches(const struct kml_heap *heap, FILE *stream)
{
	uint64_t caches = 0, slabs = 0, slab_bytes = 0, slab_objects = 0, live_objects = 0;
	struct kml_cache_stats stats;
	for (uint32_t i = 0; heap->allocator->cache_stats && heap->allocator->cache_stats(heap, i, &stats); i++) {
		if (stats.slabs == 0)
			continue;
		caches++;
		slabs += stats.slabs;
		slab_bytes += stats.slab_bytes;
		slab_objects += stats.total_objects;
		live_objects += stats.live_objects;
	}
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", caches, slabs, slab_bytes,
		slab_objects, live_objects);
}

static void write_sample(struct cell_run *run, const struct replay_sample *sample, const struct kml_heap *heap)
{
	const struct kml_stats *stats = &sample->stats;
	FILE *stream = begin_row(run, CELL_SAMPLES, run->samples);
	if (!stream)
		return;
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, sample->event, sample->time_ns, sample->live_blocks);
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, sample->requested_bytes, stats->granted_bytes,
		stats->held_bytes);
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, stats->metadata_bytes, stats->free_bytes,
		stats->largest_free_bytes);
	write_waste(stats, stream);
	write_work(stats, stream);
	write_caches(heap, stream);
}

/* Thousandths as the kernel prints them, truncated already. */
static void write_index(int32_t thousandths, FILE *stream)
{
	int32_t size = thousandths < 0 ? -thousandths : thousandths;
	fprintf(stream, ",%s%d.%03d", thousandths < 0 ? "-" : "", size / 1000, size % 1000);
}

static void write_orders(struct cell_run *run, const struct free_orders *orders, uint64_t time_ns)
{
	for (uint32_t order = 0; order < KML_ORDERS; order++) {
		FILE *stream = begin_row(run, CELL_ORDERS, run->order_samples);
		if (!stream)
			break;
		fprintf(stream, ",%" PRIu64 ",%u,%" PRIu64 ",%" PRIu64, time_ns, order,
			(uint64_t)run->page_bytes << order, orders->free_blocks[order]);
		write_index(free_orders_unusable_index(orders, order), stream);
		write_index(free_orders_extfrag_index(orders, order), stream);
		fputc('\n', stream);
	}
	run->unusable_sum += free_orders_unusable_index(orders, MEAN_ORDER);
	run->order_samples++;
}

static void write_map(struct cell_run *run, const struct replay_sample *sample, const struct kml_arena *arena)
{
	static const char digits[] = "0123456789abcdef";
	FILE *stream = begin_row(run, CELL_MAP, run->samples);
	if (!stream)
		return;
	uint64_t cell_bytes = 1ull << arena->cell_shift;
	char text[2 * KML_ARENA_CELLS + 1];
	for (uint32_t i = 0; i < arena->cell_count; i++) {
		uint64_t left = arena->size_bytes - i * cell_bytes;
		uint64_t size = left < cell_bytes ? left : cell_bytes;
		uint32_t share = (uint32_t)((unsigned __int128)arena->cell_taken_bytes[i] * 255 / size);
		text[2 * i] = digits[share >> 4 & 15];
		text[2 * i + 1] = digits[share & 15];
	}
	text[2 * arena->cell_count] = '\0';
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%s\n", sample->time_ns, cell_bytes, text);
}

static bool observe(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
		    const struct kml_arena *arena)
{
	struct cell_run *run = context;
	struct kml_heap *heap = kml_stack_top(stack);
	write_sample(run, sample, heap);
	write_map(run, sample, arena);
	if (!run->recorded) {
		struct kml_free_area areas[KML_FREE_AREAS_MAX];
		struct free_orders orders;
		uint32_t count = heap->allocator->free_areas(heap, areas);
		free_orders_from_areas(&orders, areas, count, run->page_bytes);
		write_orders(run, &orders, sample->time_ns);
	}
	run->samples++;
	return true;
}

/* ------------------------------------------------------------------------------------- how full the slabs are */

enum { FILL_TENTHS = 10 };

struct fill {
	const struct kml_arena *arena;
	const void *run; /* the slab whose blocks are passing, NULL: none */
	uint64_t run_bytes, run_block_bytes, run_live_bytes, run_live_objects;
	struct {
		uint64_t slabs, slab_bytes, live_objects, live_bytes;
	} tenths[FILL_TENTHS + 1];
};

static void close_run(struct fill *fill)
{
	if (!fill->run)
		return;
	uint64_t blocks = fill->run_block_bytes ? fill->run_block_bytes : 1;
	uint64_t tenth = (fill->run_live_bytes * FILL_TENTHS + blocks - 1) / blocks;
	fill->tenths[tenth].slabs++;
	fill->tenths[tenth].slab_bytes += fill->run_bytes;
	fill->tenths[tenth].live_objects += fill->run_live_objects;
	fill->tenths[tenth].live_bytes += fill->run_live_bytes;
	fill->run = NULL;
}

/* Bytes of the pages about this one that have the same owner. */
static uint64_t run_bytes_at(const struct kml_arena *arena, uint64_t address)
{
	uint64_t pages = arena->size_bytes >> arena->page_shift;
	uint64_t first = address >> arena->page_shift, end = first + 1;
	const void *owner = arena->pages[first].owner;
	while (first > 0 && arena->pages[first - 1].owner == owner)
		first--;
	while (end < pages && arena->pages[end].owner == owner)
		end++;
	return (end - first) << arena->page_shift;
}

static bool visit_fill(void *context, const struct kml_block *block)
{
	struct fill *fill = context;
	const struct kml_arena *arena = fill->arena;
	bool inside = kml_arena_has(arena, block->address, block->size_bytes);
	const void *owner = inside ? arena->pages[block->address >> arena->page_shift].owner : NULL;
	if (owner != fill->run) {
		close_run(fill);
		fill->run = owner;
		fill->run_bytes = owner ? run_bytes_at(arena, block->address) : 0;
		fill->run_block_bytes = fill->run_live_bytes = fill->run_live_objects = 0;
	}
	if (!owner || block->state == KML_BLOCK_PADDING)
		return true;
	fill->run_block_bytes += block->size_bytes;
	if (block->state == KML_BLOCK_GRANTED) {
		fill->run_live_bytes += block->size_bytes;
		fill->run_live_objects++;
	}
	return true;
}

/* How many slabs are how full: a look at every block, at the recorded kernel's own snapshots only. */
static void write_fill(struct cell_run *run, const struct kmt_snapshot *snapshot, const struct kml_heap *heap,
		       const struct kml_arena *arena)
{
	struct fill fill = {.arena = arena};
	heap->allocator->walk(heap, visit_fill, &fill);
	close_run(&fill);
	for (int tenth = 0; tenth <= FILL_TENTHS; tenth++) {
		FILE *stream = fill.tenths[tenth].slabs > 0 ? begin_row(run, CELL_SLABS, run->slab_snapshots) : NULL;
		if (!stream)
			continue;
		fprintf(stream, ",%" PRIu64 ",", snapshot->time_ns);
		cell_write_text(snapshot->label ? snapshot->label : "", stream);
		fprintf(stream, ",%d,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", tenth,
			fill.tenths[tenth].slabs, fill.tenths[tenth].slab_bytes, fill.tenths[tenth].live_objects,
			fill.tenths[tenth].live_bytes);
	}
	run->slab_snapshots++;
}

/* What the recorded kernel had free, it has told itself. */
static bool observe_snapshot(void *context, const struct kmt_snapshot *snapshot, const struct kml_stack *stack,
			     const struct kml_arena *arena)
{
	struct cell_run *run = context;
	struct free_orders orders;
	if (snapshot->kind == KMT_SNAPSHOT_SLABINFO && run->allocator->layer == KML_LAYER_OBJECTS)
		write_fill(run, snapshot, kml_stack_top(stack), arena);
	if (run->recorded && snapshot->kind == KMT_SNAPSHOT_BUDDYINFO &&
	    free_orders_from_buddyinfo(&orders, snapshot->text))
		write_orders(run, &orders, snapshot->time_ns);
	return true;
}

/* -------------------------------------------------------------------------------------------- at its end */

static void write_summary(const struct cell_run *run, const struct replay_result *result, bool smallest_known,
			  uint64_t smallest_bytes, FILE *stream)
{
	struct replay_figures figures;
	replay_figures(result, &figures);
	cell_write_key(run->cell, stream);
	fprintf(stream, ",ok,,%" PRIu64 ",", result->arena_bytes);
	if (smallest_known)
		fprintf(stream, "%" PRIu64, smallest_bytes);
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, result->events, result->allocations, result->frees);
	fprintf(stream, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64, result->failures[KML_NO_MEMORY],
		result->failures[KML_NO_RUN], result->failures[KML_IMPOSSIBLE]);
	fprintf(stream, ",%" PRIu64 ",%" PRIu64, result->peak_requested_bytes, result->peak_granted_bytes);
	fprintf(stream, ",%" PRIu64 ",%" PRIu64, result->peak_held_bytes, result->peak_metadata_bytes);
	fprintf(stream, ",%.0f,%.0f,%.0f", result->mean_requested_bytes, result->mean_granted_bytes,
		result->mean_held_bytes);
	fprintf(stream, ",%.6f,%.6f", figures.internal_fragmentation, figures.slab_slack);
	for (int i = 0; i < 4; i++)
		fprintf(stream, ",%.6f", figures.johnstone_wilson[i]);
	if (run->order_samples > 0) {
		int64_t count = (int64_t)run->order_samples;
		write_index((int32_t)((2 * run->unusable_sum + count) / (2 * count)), stream);
	} else {
		fputc(',', stream);
	}
	write_waste(&result->at_peak_held.stats, stream);
	write_work(&result->at_end.stats, stream);
	fputc('\n', stream);
}

/* A cell that did no work is no result. */
static bool did_work(const struct cell *cell, const struct replay_result *result, struct kml_error *error)
{
	const char *level = replay_level_name(cell->options.level);
	uint64_t failed = 0;
	if (result->allocations == 0)
		return kml_fail(error, "no work: the trace has no allocation at level %s", level);
	for (int status = KML_OK + 1; status < KML_STATUS_COUNT; status++)
		failed += result->failures[status];
	if (failed == result->allocations)
		return kml_fail(error, "no work: all %" PRIu64 " allocations failed (%s)", failed,
				result->failures[KML_IMPOSSIBLE] == failed ? "impossible for this allocator"
									   : "the arena is too small");
	return true;
}

/* The size means nothing where the kernel has placed the blocks, or where nothing is kept. */
static bool has_smallest(const struct cell *cell, const struct kml_spec *spec)
{
	return cell->wants_smallest && !(kml_spec_traits(spec) & (KML_TRAIT_RECORDED | KML_TRAIT_NO_REUSE));
}

static bool run_stack(struct cell_run *run, struct kmt_reader *reader, const struct kml_spec *spec,
		      struct cell_report *report, struct kml_error *error)
{
	const struct cell *cell = run->cell;
	struct replay_options options = cell->options;
	struct replay_result result;
	uint64_t smallest_bytes = 0;
	bool looks = has_smallest(cell, spec);
	if (run->recorded && cell->recorded_addresses == 0)
		return kml_fail(error, "no work: the trace does not tell where the kernel put anything");
	if (looks &&
	    !replay_smallest_arena_from(reader, spec, &options, cell->peak_requested_bytes, &smallest_bytes, error))
		return false;
	if (options.arena_bytes == 0)
		options.arena_bytes = replay_auto_arena(kmt_reader_origin(reader), cell->peak_granted_bytes);
	if (looks && cell->in_smallest && smallest_bytes > 0)
		options.arena_bytes = smallest_bytes;
	if (!replay_run(reader, spec, &options, observe, observe_snapshot, run, &result, error))
		return false;
	if (result.check_failed)
		return kml_fail(error, "check failed: %s", result.check_error.text);
	if (!did_work(cell, &result, error))
		return false;
	if (run->streams[CELL_SUMMARY])
		write_summary(run, &result, looks, smallest_bytes, run->streams[CELL_SUMMARY]);
	report->events = result.events;
	report->elapsed_ns = result.elapsed_ns;
	return true;
}

static bool run_cell(const struct cell *cell, FILE *const streams[CELL_FILES], struct cell_report *report,
		     struct kml_error *error)
{
	struct kml_spec *spec = kml_spec_parse(cell->spec_text, error);
	if (!spec)
		return false;
	struct kmt_reader *reader = workload_open(cell->trace_path, cell->spec_text, error);
	bool done = false;
	if (reader) {
		struct cell_run run = {
			.cell = cell,
			.allocator = spec->layer[0],
			.recorded = kml_spec_traits(spec) & KML_TRAIT_RECORDED,
			.streams = streams,
			.page_bytes = kmt_reader_origin(reader)->page_bytes,
		};
		done = run_stack(&run, reader, spec, report, error);
		kmt_close(reader);
	}
	kml_spec_free(spec);
	return done;
}

void cell_run(const struct cell *cell, FILE *const streams[CELL_FILES], struct cell_report *report)
{
	struct kml_error error = {{0}};
	memset(report, 0, sizeof *report);
	if (!run_cell(cell, streams, report, &error))
		snprintf(report->reason, sizeof report->reason, "%s", error.text[0] ? error.text : "failed");
	for (int file = 0; file < CELL_FILES; file++) {
		errno = 0;
		/* An earlier failed write leaves only the stream's flag: a full disk is the usual cause. */
		if (streams[file] && (fflush(streams[file]) != 0 || ferror(streams[file])))
			report->write_error = errno ? errno : ENOSPC;
	}
}
