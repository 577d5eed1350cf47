/* survey.c - one pass over a trace, for fidelity. */
#include "workloads/survey.h"

#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/proc/cache_names.h"
#include "workloads/scan.h"

struct surveyor {
	struct survey *survey;
	const struct kmt_cache *caches;
	uint32_t page_bytes;
	uint32_t *large_pages; /* by object: of a live large kmalloc */
	uint32_t *whole_pages; /* by object: of a live object of a cache, of a page or more */
	bool *is_recorder;     /* by cache */
	struct survey_snapshot now;
	uint64_t events_left; /* to look at */
};

bool survey_is_recorder(const char *cache_name)
{
	/* Pages and descriptors of the ring buffer that the instrumented 6.1 kernels log into. */
	return strcmp(cache_name, "gt_rb_page") == 0;
}

/* An object that takes whole pages comes, or goes. */
static void count_pages(const struct surveyor *surveyor, const struct kmt_event *event, bool counts,
			uint32_t *of_object, uint64_t *sum)
{
	*sum -= *of_object;
	*of_object = 0;
	if (event->op != KMT_ALLOC || !counts)
		return;
	uint64_t pages = replay_page_bytes(surveyor->page_bytes, event->size_bytes) / surveyor->page_bytes;
	*of_object = pages <= UINT32_MAX ? (uint32_t)pages : 0;
	*sum += *of_object;
}

static void count_large(struct surveyor *surveyor, const struct kmt_event *event)
{
	bool large = event->flags & KMT_LARGE;
	bool whole = !large && event->cache != KMT_NO_CACHE && event->size_bytes >= surveyor->page_bytes;
	count_pages(surveyor, event, large, &surveyor->large_pages[event->object], &surveyor->now.large_pages);
	count_pages(surveyor, event, whole, &surveyor->whole_pages[event->object], &surveyor->now.whole_pages);
}

static void count_object(struct surveyor *surveyor, const struct kmt_event *event)
{
	struct fidelity_evidence *evidence = &surveyor->survey->evidence[event->cache];
	bool alloc = event->op == KMT_ALLOC;
	if (alloc && (event->flags & KMT_WARM)) {
		evidence->warm++;
		evidence->unseen += event->address == KMT_NO_ADDRESS;
	} else {
		evidence->events++;
		evidence->implicit_frees += (event->flags & KMT_IMPLICIT) != 0;
	}
	if (surveyor->is_recorder[event->cache])
		surveyor->now.recorder_bytes += (alloc ? 1 : -1ull) * surveyor->caches[event->cache].object_bytes;
}

static void count_slab_page(struct surveyor *surveyor, const struct kmt_event *event)
{
	struct survey *survey = surveyor->survey;
	uint64_t pages = event->order < 32 ? 1ull << event->order : 0;
	bool alloc = event->op == KMT_PAGE_ALLOC;
	surveyor->now.slab_pages += alloc ? pages : -pages;
	if (!alloc || event->cache == KMT_NO_CACHE)
		return;
	uint32_t usual = surveyor->caches[event->cache].pages_per_slab;
	survey->evidence[event->cache].odd_slabs += usual != 0 && usual != pages;
	survey->reclaimable[event->cache] |= (event->flags & KML_RECLAIMABLE) != 0;
}

static void survey_event(struct surveyor *surveyor, const struct kmt_event *event)
{
	if (event->op == KMT_ALLOC || event->op == KMT_FREE) {
		count_large(surveyor, event);
		if (event->cache != KMT_NO_CACHE)
			count_object(surveyor, event);
	} else if ((event->op == KMT_PAGE_ALLOC || event->op == KMT_PAGE_FREE) && (event->flags & KMT_SLAB_PAGE)) {
		count_slab_page(surveyor, event);
	}
}

static void survey_snapshot_of(struct surveyor *surveyor, const struct kmt_snapshot *snapshot, uint64_t snapshots)
{
	struct survey *survey = surveyor->survey;
	survey->slabinfos += snapshot->kind == KMT_SNAPSHOT_SLABINFO;
	survey->walks += snapshot->kind == KMT_SNAPSHOT_SLABS;
	survey->meminfos += snapshot->kind == KMT_SNAPSHOT_MEMINFO;
	if (survey->snapshot_count < snapshots)
		survey->snapshots[survey->snapshot_count++] = surveyor->now;
}

static bool survey_stream(struct surveyor *surveyor, struct kmt_reader *reader, struct kml_error *error)
{
	struct kmt_item item;
	uint64_t snapshots = kmt_reader_totals(reader)->snapshots;
	if (!kmt_rewind(reader, error))
		return false;
	for (;;) {
		switch (kmt_next(reader, &item, error)) {
		case KMT_ITEM_EVENTS:
			for (uint32_t i = 0; i < item.event_count && surveyor->events_left > 0; i++) {
				survey_event(surveyor, &item.events[i]);
				surveyor->events_left--;
			}
			break;
		case KMT_ITEM_SNAPSHOT:
			survey_snapshot_of(surveyor, item.snapshot, snapshots);
			break;
		case KMT_ITEM_END:
			return true;
		case KMT_ITEM_ERROR:
			return false;
		}
	}
}

/* kmalloc-rcl-* are reclaimable by name (mm/slab_common.c: new_kmalloc_cache); the others where a table, or the pages
 * of their slabs, say so. */
static void start_caches(struct surveyor *surveyor)
{
	for (uint32_t i = 0; i < surveyor->survey->cache_count; i++) {
		const struct kmt_cache *cache = &surveyor->caches[i];
		surveyor->is_recorder[i] = survey_is_recorder(cache->name);
		surveyor->survey->reclaimable[i] =
			(cache->flags & KMT_CACHE_RECLAIMABLE) || cache_name_is_kmalloc_reclaimable(cache->name);
	}
}

static bool survey_until(struct kmt_reader *reader, uint64_t events, struct survey *survey,
			 struct survey_snapshot *at_end, struct kml_error *error)
{
	*survey = (struct survey){0};
	struct surveyor surveyor = {
		.survey = survey, .page_bytes = kmt_reader_origin(reader)->page_bytes, .events_left = events};
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	surveyor.caches = kmt_reader_caches(reader, &survey->cache_count);
	survey->evidence = calloc(survey->cache_count + 1u, sizeof *survey->evidence);
	survey->reclaimable = calloc(survey->cache_count + 1u, sizeof *survey->reclaimable);
	survey->snapshots = calloc(totals->snapshots + 1, sizeof *survey->snapshots);
	surveyor.is_recorder = calloc(survey->cache_count + 1u, sizeof *surveyor.is_recorder);
	surveyor.large_pages = calloc(totals->objects + 1, sizeof *surveyor.large_pages);
	surveyor.whole_pages = calloc(totals->objects + 1, sizeof *surveyor.whole_pages);
	bool done = false;
	if (survey->evidence && survey->reclaimable && survey->snapshots && surveyor.is_recorder &&
	    surveyor.large_pages && surveyor.whole_pages) {
		start_caches(&surveyor);
		done = survey_stream(&surveyor, reader, error);
	} else {
		kml_fail(error, "%s: no memory for the object ids of the trace: judge it on a larger machine",
			 kmt_reader_path(reader));
	}
	*at_end = surveyor.now;
	free(surveyor.is_recorder);
	free(surveyor.large_pages);
	free(surveyor.whole_pages);
	return done;
}

bool survey_take(struct kmt_reader *reader, struct survey *survey, struct kml_error *error)
{
	struct survey_snapshot at_end;
	return survey_until(reader, UINT64_MAX, survey, &at_end, error);
}

bool survey_memory(struct kmt_reader *reader, uint64_t events, uint64_t *large_pages, bool **reclaimable,
		   struct kml_error *error)
{
	struct survey survey;
	struct survey_snapshot at_end;
	bool done = survey_until(reader, events, &survey, &at_end, error);
	*large_pages = at_end.large_pages;
	*reclaimable = survey.reclaimable;
	survey.reclaimable = NULL;
	survey_free(&survey);
	return done;
}

void survey_free(struct survey *survey)
{
	free(survey->evidence);
	free(survey->reclaimable);
	free(survey->snapshots);
	*survey = (struct survey){0};
}
