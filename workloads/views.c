/* views.c - slabinfo and meminfo of a living stack. */
#include "workloads/views.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/proc/cache_names.h"

/* ------------------------------------------------------------------------------------------------ slabinfo */

void slabinfo_print_heading(FILE *stream)
{
	fputs("slabinfo - version: 2.1\n"
	      "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
	      " : tunables <limit> <batchcount> <sharedfactor>"
	      " : slabdata <active_slabs> <num_slabs> <sharedavail>\n",
	      stream);
}

void slabinfo_print_line(const struct slabinfo_line *line, FILE *stream)
{
	fprintf(stream, "%-17s %6" PRIu64 " %6" PRIu64 " %6" PRIu64 " %4" PRIu32 " %4" PRIu32, line->name,
		line->active_objects, line->total_objects, line->slot_bytes, line->objects_per_slab,
		line->pages_per_slab);
	fprintf(stream, " : tunables %4" PRIu32 " %4" PRIu32 " %4" PRIu32, line->limit, line->batchcount,
		line->shared_factor);
	fprintf(stream, " : slabdata %6" PRIu64 " %6" PRIu64 " %6" PRIu64 "\n", line->active_slabs, line->slabs,
		line->shared_available);
}

static void line_of(const struct kml_cache_stats *stats, enum view_active active, struct slabinfo_line *line)
{
	*line = (struct slabinfo_line){
		.active_objects = active == VIEW_ACTIVE_TRUE ? stats->live_objects : stats->active_objects,
		.total_objects = stats->total_objects,
		.slot_bytes = stats->slot_bytes,
		.objects_per_slab = stats->objects_per_slab,
		.pages_per_slab = stats->pages_per_slab,
		.limit = stats->limit,
		.batchcount = stats->batchcount,
		.shared_factor = stats->shared_factor,
		.active_slabs = stats->active_slabs,
		.slabs = stats->slabs,
		.shared_available = stats->shared_available,
	};
	snprintf(line->name, sizeof line->name, "%s", stats->name);
}

/* A name stands once: a stack that serves kmalloc from caches of the trace and from its own has two of a class. */
static void add_line(struct slabinfo_line *lines, uint32_t *count, const struct slabinfo_line *line)
{
	for (uint32_t i = 0; i < *count; i++) {
		if (strcmp(lines[i].name, line->name) != 0)
			continue;
		lines[i].active_objects += line->active_objects;
		lines[i].total_objects += line->total_objects;
		lines[i].active_slabs += line->active_slabs;
		lines[i].slabs += line->slabs;
		lines[i].shared_available += line->shared_available;
		return;
	}
	lines[(*count)++] = *line;
}

static uint32_t count_caches(const struct kml_heap *heap)
{
	struct kml_cache_stats stats;
	uint32_t count = 0;
	while (heap->allocator->cache_stats(heap, count, &stats))
		count++;
	return count;
}

bool view_slabinfo(const struct kml_stack *stack, enum view_active active, FILE *stream)
{
	const struct kml_heap *heap = kml_stack_top(stack);
	struct kml_cache_stats stats;
	if (!heap->allocator->cache_stats)
		return false;
	struct slabinfo_line *lines = calloc(count_caches(heap) + 1u, sizeof *lines);
	KML_CHECK(lines, "out of memory for %" PRIu32 " caches", count_caches(heap));
	uint32_t count = 0;
	for (uint32_t i = 0; heap->allocator->cache_stats(heap, i, &stats); i++) {
		struct slabinfo_line line;
		if (!stats.name)
			continue;
		line_of(&stats, active, &line);
		add_line(lines, &count, &line);
	}
	slabinfo_print_heading(stream);
	for (uint32_t i = 0; i < count; i++)
		slabinfo_print_line(&lines[i], stream);
	free(lines);
	return true;
}

/* ------------------------------------------------------------------------------------------------- meminfo */

/* fs/proc/meminfo.c: show_val_kb; the name and its blanks take 16 columns, the number 8. */
static void print_kilobytes(const char *name, uint64_t bytes, FILE *stream)
{
	int blanks = 15 - (int)strlen(name);
	fprintf(stream, "%s:%*s%8" PRIu64 " kB\n", name, blanks > 0 ? blanks : 0, "", bytes / 1024);
}

static bool add_block(void *context, const struct kml_block *block)
{
	*(uint64_t *)context += block->size_bytes;
	return true;
}

static bool is_reclaimable(const struct view_memory *memory, uint32_t index, const char *name)
{
	return index < memory->cache_count ? memory->reclaimable[index] : cache_name_is_kmalloc_reclaimable(name);
}

static void print_slab(const struct kml_heap *heap, const struct view_memory *memory, FILE *stream)
{
	struct kml_cache_stats stats;
	uint64_t reclaimable = 0, all = memory->large_pages * memory->page_bytes;
	for (uint32_t i = 0; heap->allocator->cache_stats(heap, i, &stats); i++) {
		all += stats.slab_bytes;
		if (stats.name && is_reclaimable(memory, i, stats.name))
			reclaimable += stats.slab_bytes;
	}
	print_kilobytes("KReclaimable", reclaimable, stream);
	print_kilobytes("Slab", all, stream);
	print_kilobytes("SReclaimable", reclaimable, stream);
	print_kilobytes("SUnreclaim", all - reclaimable, stream);
}

void view_meminfo(const struct kml_stack *stack, const struct view_memory *memory, FILE *stream)
{
	const struct kml_heap *top = kml_stack_top(stack), *lowest = stack->layer[stack->layer_count - 1];
	struct kml_stats stats;
	uint64_t total = 0;
	lowest->allocator->walk(lowest, add_block, &total);
	top->allocator->stats(top, &stats);
	print_kilobytes("MemTotal", total, stream);
	print_kilobytes("MemFree", stats.free_bytes, stream);
	if (top->allocator->cache_stats)
		print_slab(top, memory, stream);
}
