/*
 * fidelity.c - does a stack end where the kernel ended?
 *
 * Rules of the comparison:
 *   - a cache's prediction is slab_bytes of cache_stats, over all caches of the stack that bear its name;
 *   - a cache of slabinfo that no event of the recording touches keeps the slabs of the first snapshot: there is
 *     nothing to predict it from. `recorded`, which sees the pages of slabs too, is asked all the same;
 *   - a cache of the stack that slabinfo does not have counts with 0 actual pages;
 *   - caches of the recording itself are left out.
 * What is predicted at the first snapshot is shown and not judged.
 */
#include "workloads/fidelity.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "workloads/fidelity_reasons.h"
#include "traces/proc/proc_text.h"
#include "workloads/survey.h"

/* Progress is told so many times. */
enum { PROGRESS_STEPS = 200 };

struct judge {
	struct fidelity *fidelity;
	const struct fidelity_options *options;
	struct survey survey;
	uint64_t snapshots_passed;
	bool recorded;
	uint32_t trace_caches;
	struct kml_error error; /* why the observer stopped the replay; "" */
};

/* --------------------------------------------------------------------------------------------- figures */

double fidelity_wmape(const struct fidelity_sums *sums)
{
	return sums->actual > 0 ? (double)sums->error / (double)sums->actual : (double)NAN;
}

double fidelity_skill(const struct fidelity_sums *sums)
{
	return sums->moved > 0 ? 1 - (double)sums->error / (double)sums->moved : (double)NAN;
}

struct fidelity_point fidelity_point(const struct fidelity_moment *moment, uint32_t cache)
{
	return cache < moment->point_count ? moment->points[cache] : (struct fidelity_point){0};
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

static const struct fidelity_moment *first_moment(const struct fidelity *fidelity)
{
	for (uint32_t i = 0; i < fidelity->moment_count; i++)
		if (fidelity->moments[i].has_slabs)
			return &fidelity->moments[i];
	return NULL;
}

/* ------------------------------------------------------------------------------------------------ caches */

static bool grow_caches(struct fidelity *fidelity)
{
	if (fidelity->cache_count < fidelity->cache_capacity)
		return true;
	uint32_t capacity = fidelity->cache_capacity ? fidelity->cache_capacity * 2 : 256;
	struct fidelity_cache *caches = realloc(fidelity->caches, capacity * sizeof *caches);
	if (!caches)
		return false;
	fidelity->caches = caches;
	fidelity->cache_capacity = capacity;
	return true;
}

/* Index of the cache of that name, new or known; false without memory. */
static bool find_cache(struct fidelity *fidelity, const char *name, uint32_t *index)
{
	if (!grow_caches(fidelity) || !names_find(&fidelity->names, name, index))
		return false;
	if (*index == fidelity->cache_count)
		fidelity->caches[fidelity->cache_count++] = (struct fidelity_cache){
			.name = fidelity->names.name[*index], .is_recorder = survey_is_recorder(name)};
	return true;
}

static void add_evidence(struct fidelity_evidence *sum, const struct fidelity_evidence *part)
{
	sum->events += part->events;
	sum->implicit_frees += part->implicit_frees;
	sum->warm += part->warm;
	sum->unseen += part->unseen;
	sum->odd_slabs += part->odd_slabs;
}

static bool start_caches(struct judge *judge, struct kmt_reader *reader)
{
	const struct kmt_cache *caches = kmt_reader_caches(reader, &judge->trace_caches);
	for (uint32_t i = 0; i < judge->trace_caches; i++) {
		uint32_t index;
		if (!find_cache(judge->fidelity, caches[i].name, &index))
			return false;
		add_evidence(&judge->fidelity->caches[index].evidence, &judge->survey.evidence[i]);
		judge->fidelity->caches[index].reclaimable |= judge->survey.reclaimable[i];
	}
	return true;
}

/* ------------------------------------------------------------------------------------------- one snapshot */

static bool same_group(const struct fidelity_moment *moment, const struct kmt_snapshot *snapshot)
{
	if (strcmp(moment->label, snapshot->label) != 0)
		return false;
	return snapshot->label[0] != '\0' || (moment->time_ns == snapshot->time_ns && moment->event == snapshot->event);
}

/* The moment a snapshot belongs to: files taken together bear one label. NULL without memory. */
static struct fidelity_moment *moment_of(struct fidelity *fidelity, const struct kmt_snapshot *snapshot)
{
	if (fidelity->moment_count > 0 && same_group(&fidelity->moments[fidelity->moment_count - 1], snapshot))
		return &fidelity->moments[fidelity->moment_count - 1];
	if (fidelity->moment_count == fidelity->moment_capacity) {
		uint32_t capacity = fidelity->moment_capacity ? fidelity->moment_capacity * 2 : 32;
		struct fidelity_moment *moments = realloc(fidelity->moments, capacity * sizeof *moments);
		if (!moments)
			return NULL;
		fidelity->moments = moments;
		fidelity->moment_capacity = capacity;
	}
	char *label = strdup(snapshot->label);
	if (!label)
		return NULL;
	struct fidelity_moment *moment = &fidelity->moments[fidelity->moment_count++];
	*moment = (struct fidelity_moment){.label = label, .time_ns = snapshot->time_ns, .event = snapshot->event};
	return moment;
}

/* Room for the points of all caches known by now. */
static bool extend_points(const struct fidelity *fidelity, struct fidelity_moment *moment)
{
	struct fidelity_point *points = realloc(moment->points, fidelity->cache_capacity * sizeof *points);
	if (!points)
		return false;
	memset(points + moment->point_count, 0, (fidelity->cache_capacity - moment->point_count) * sizeof *points);
	moment->points = points;
	moment->point_count = fidelity->cache_capacity;
	return true;
}

static struct fidelity_point *point_of(struct fidelity *fidelity, struct fidelity_moment *moment, const char *name,
				       uint32_t *index)
{
	if (!find_cache(fidelity, name, index))
		return NULL;
	if (*index >= moment->point_count && !extend_points(fidelity, moment))
		return NULL;
	return &moment->points[*index];
}

static bool take_slabinfo(struct judge *judge, struct fidelity_moment *moment, const char *text)
{
	struct slabinfo_line line;
	while (slabinfo_next(&text, &line)) {
		uint32_t index;
		struct fidelity_point *point = point_of(judge->fidelity, moment, line.name, &index);
		if (!point)
			return false;
		struct fidelity_cache *cache = &judge->fidelity->caches[index];
		cache->in_slabinfo = true;
		cache->objects_per_slab = line.objects_per_slab;
		cache->pages_per_slab = line.pages_per_slab;
		cache->slot_bytes = line.slot_bytes;
		point->actual_slabs += line.slabs;
		point->actual_pages += line.slabs * line.pages_per_slab;
		point->active_objects += line.active_objects;
		point->total_objects += line.total_objects;
	}
	return true;
}

static bool take_cache(struct judge *judge, struct fidelity_moment *moment, const struct kml_cache_stats *stats)
{
	uint32_t index;
	struct fidelity_point *point = point_of(judge->fidelity, moment, stats->name, &index);
	if (!point)
		return false;
	struct fidelity_cache *cache = &judge->fidelity->caches[index];
	cache->in_stack = true;
	if (stats->objects_per_slab > 0) {
		cache->predicted_objects_per_slab = stats->objects_per_slab;
		cache->predicted_pages_per_slab = stats->pages_per_slab;
	}
	point->predicted_pages += stats->slab_bytes / judge->fidelity->page_bytes;
	point->predicted_slabs += stats->slabs;
	point->predicted_live += stats->live_objects;
	point->predicted_active += stats->active_objects;
	return true;
}

/* What belongs to no cache of `recorded` lies on slabs that are counted already. */
static bool take_stack(struct judge *judge, struct fidelity_moment *moment, const struct kml_heap *heap)
{
	struct kml_cache_stats stats;
	for (uint32_t i = 0; heap->allocator->cache_stats(heap, i, &stats); i++) {
		if (!stats.name || (judge->recorded && i >= judge->trace_caches))
			continue;
		if (!take_cache(judge, moment, &stats))
			return false;
	}
	return true;
}

/* A cache without events keeps its slabs. */
static void keep_untouched(struct judge *judge, struct fidelity_moment *moment)
{
	const struct fidelity_moment *first = first_moment(judge->fidelity);
	for (uint32_t i = 0; i < judge->fidelity->cache_count; i++) {
		const struct fidelity_cache *cache = &judge->fidelity->caches[i];
		if (cache->evidence.events > 0 || !cache->in_slabinfo || judge->recorded)
			continue;
		struct fidelity_point kept = fidelity_point(first, i);
		if (i >= moment->point_count)
			continue;
		moment->points[i].predicted_pages = kept.actual_pages;
		moment->points[i].predicted_slabs = kept.actual_slabs;
	}
}

static bool judge_slabinfo(struct judge *judge, struct fidelity_moment *moment, const struct kmt_snapshot *snapshot,
			   const struct kml_heap *heap)
{
	if (moment->has_slabs)
		return true; /* a second slabinfo under the same label */
	moment->has_slabs = true;
	moment->time_ns = snapshot->time_ns;
	moment->event = snapshot->event;
	if (!take_slabinfo(judge, moment, snapshot->text) || !take_stack(judge, moment, heap))
		return kml_fail(&judge->error, "out of memory for the caches of snapshot %s", snapshot->label);
	keep_untouched(judge, moment);
	return true;
}

/* Pages that belong to the objects' allocator. */
static uint64_t owned_pages(const struct judge *judge, const struct kml_stack *stack, const struct kml_arena *arena)
{
	const struct kml_heap *heap = kml_stack_top(stack);
	struct kml_cache_stats stats;
	uint64_t pages = 0;
	if (judge->recorded) {
		for (uint32_t i = 0; heap->allocator->cache_stats(heap, i, &stats); i++)
			pages += stats.slab_bytes >> arena->page_shift;
		return pages;
	}
	for (uint64_t page = 0; page < arena->size_bytes >> arena->page_shift; page++)
		pages += arena->pages[page].owner != NULL;
	return pages;
}

/* All slab pages as one row. */
static bool judge_pages(struct judge *judge, struct fidelity_moment *moment, uint64_t actual_pages,
			const struct kml_stack *stack, const struct kml_arena *arena)
{
	uint32_t index;
	if (moment->has_slabs)
		return true;
	struct fidelity_point *point = point_of(judge->fidelity, moment, "(all slab pages)", &index);
	if (!point)
		return kml_fail(&judge->error, "out of memory");
	struct fidelity_cache *cache = &judge->fidelity->caches[index];
	cache->in_slabinfo = cache->in_stack = true;
	moment->has_slabs = true;
	moment->recorder_pages =
		judge->survey.snapshots[judge->snapshots_passed - 1].recorder_bytes / judge->fidelity->page_bytes;
	uint64_t recorder = judge->options->with_recorder ? 0 : moment->recorder_pages;
	uint64_t predicted = owned_pages(judge, stack, arena);
	point->predicted_pages = predicted > recorder ? predicted - recorder : 0;
	point->actual_pages = actual_pages > recorder ? actual_pages - recorder : 0;
	return true;
}

static void take_meminfo(struct fidelity_moment *moment, const char *text)
{
	if (!meminfo_find(text, "Slab", &moment->slab_kb))
		return;
	moment->has_meminfo = true;
	(void)meminfo_find(text, "SReclaimable", &moment->reclaimable_kb);
	(void)meminfo_find(text, "SUnreclaim", &moment->unreclaimable_kb);
	(void)meminfo_find(text, "KernelStack", &moment->kernel_stack_kb);
}

static void take_orders(struct judge *judge, struct fidelity_moment *moment, const char *text,
			const struct kml_heap *heap)
{
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	if (!judge->options->replay.add_pages || !free_orders_from_buddyinfo(&moment->orders, text))
		return;
	uint32_t count = heap->allocator->free_areas(heap, areas);
	free_orders_from_areas(&moment->predicted_orders, areas, count, judge->fidelity->page_bytes);
	moment->has_orders = true;
}

static bool take_snapshot(struct judge *judge, struct fidelity_moment *moment, const struct kmt_snapshot *snapshot,
			  const struct kml_stack *stack, const struct kml_arena *arena)
{
	enum fidelity_scale scale = judge->fidelity->scale;
	const struct survey_snapshot *known = &judge->survey.snapshots[judge->snapshots_passed - 1];
	uint64_t pages;
	switch (snapshot->kind) {
	case KMT_SNAPSHOT_SLABINFO:
		moment->large_pages = known->large_pages;
		return scale != FIDELITY_SLABINFO || judge_slabinfo(judge, moment, snapshot, kml_stack_top(stack));
	case KMT_SNAPSHOT_SLABS:
		moment->large_pages = known->large_pages;
		/* mm/slob.c gives objects of a page or more pages of their own, which are not marked as slab pages. */
		return scale != FIDELITY_WALK || !slab_walk_pages(snapshot->text, &pages) ||
		       judge_pages(judge, moment, pages + known->whole_pages, stack, arena);
	case KMT_SNAPSHOT_MEMINFO:
		moment->large_pages = known->large_pages;
		take_meminfo(moment, snapshot->text);
		return scale != FIDELITY_EVENTS || judge_pages(judge, moment, known->slab_pages, stack, arena);
	case KMT_SNAPSHOT_BUDDYINFO:
		take_orders(judge, moment, snapshot->text, kml_stack_top(stack));
		return true;
	default:
		return true;
	}
}

static bool is_of_use(enum kmt_snapshot_kind kind)
{
	return kind == KMT_SNAPSHOT_SLABINFO || kind == KMT_SNAPSHOT_SLABS || kind == KMT_SNAPSHOT_MEMINFO ||
	       kind == KMT_SNAPSHOT_BUDDYINFO;
}

static bool observe_snapshot(void *context, const struct kmt_snapshot *snapshot, const struct kml_stack *stack,
			     const struct kml_arena *arena)
{
	struct judge *judge = context;
	judge->snapshots_passed++;
	if (!is_of_use(snapshot->kind))
		return true;
	struct fidelity_moment *moment = moment_of(judge->fidelity, snapshot);
	if (!moment)
		return kml_fail(&judge->error, "out of memory for snapshot %s", snapshot->label);
	return take_snapshot(judge, moment, snapshot, stack, arena);
}

static bool observe_sample(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
			   const struct kml_arena *arena)
{
	struct judge *judge = context;
	(void)stack;
	(void)arena;
	if (judge->options->progress)
		judge->options->progress(judge->options->context, sample->event);
	return true;
}

/* ----------------------------------------------------------------------------------------------- the sums */

static void add_sums(struct fidelity_sums *sums, const struct fidelity_sums *part)
{
	sums->error += part->error;
	sums->actual += part->actual;
	sums->moved += part->moved;
}

static void sum_point(struct fidelity *fidelity, struct fidelity_moment *moment, uint32_t index,
		      const struct fidelity_moment *first, bool with_recorder)
{
	struct fidelity_cache *cache = &fidelity->caches[index];
	struct fidelity_point point = fidelity_point(moment, index);
	struct fidelity_sums part = {
		.error = distance(point.predicted_pages, point.actual_pages),
		.actual = point.actual_pages,
		.moved = distance(point.actual_pages, fidelity_point(first, index).actual_pages),
	};
	add_sums(&cache->sums, &part);
	int64_t error = (int64_t)(point.predicted_pages - point.actual_pages);
	if (part.error > (uint64_t)llabs(cache->worst_error_pages)) {
		cache->worst_error_pages = error;
		cache->worst_moment = (uint32_t)(moment - fidelity->moments);
	}
	if (cache->is_recorder && !with_recorder)
		return;
	add_sums(&moment->sums, &part);
	add_sums(&fidelity->sums, &part);
}

static void sum_moments(struct judge *judge)
{
	struct fidelity *fidelity = judge->fidelity;
	const struct fidelity_moment *first = first_moment(fidelity);
	for (uint32_t i = 0; i < fidelity->moment_count; i++) {
		struct fidelity_moment *moment = &fidelity->moments[i];
		for (uint32_t c = 0; c < moment->point_count; c++)
			moment->predicted_pages += moment->points[c].predicted_pages;
		moment->judged = moment->has_slabs && moment != first;
		fidelity->judged_moments += moment->judged;
		for (uint32_t c = 0; c < fidelity->cache_count && moment->judged; c++)
			sum_point(fidelity, moment, c, first, judge->options->with_recorder);
	}
}

/* Slab pages as meminfo counts them: slabs and large kmallocs (NR_SLAB_*, mm/slab_common.c: kmalloc_large). */
static void predict_meminfo(const struct fidelity *fidelity, struct fidelity_moment *moment)
{
	uint64_t page_kb = fidelity->page_bytes / 1024, reclaimable = 0;
	for (uint32_t c = 0; c < fidelity->cache_count; c++)
		if (fidelity->caches[c].reclaimable)
			reclaimable += fidelity_point(moment, c).predicted_pages;
	uint64_t all = moment->predicted_pages + moment->large_pages + fidelity->unseen_large_pages;
	if (fidelity->scale != FIDELITY_SLABINFO)
		all += moment->recorder_pages;
	moment->predicted_slab_kb = all * page_kb;
	moment->predicted_reclaimable_kb = reclaimable * page_kb;
	moment->predicted_unreclaimable_kb = (all - reclaimable) * page_kb;
}

/* In mid-life: what the first meminfo counts beyond slabinfo's slabs and the large kmallocs of the trace. */
static uint64_t unseen_large(const struct fidelity *fidelity, const struct fidelity_moment *moment)
{
	uint64_t slabs = moment->large_pages;
	for (uint32_t c = 0; c < moment->point_count; c++)
		slabs += moment->points[c].actual_pages;
	uint64_t counted = moment->slab_kb / (fidelity->page_bytes / 1024);
	return counted > slabs ? counted - slabs : 0;
}

static void compare_meminfo(struct fidelity *fidelity, bool at_boot)
{
	bool first = true;
	for (uint32_t i = 0; i < fidelity->moment_count; i++) {
		struct fidelity_moment *moment = &fidelity->moments[i];
		moment->has_meminfo &= moment->has_slabs;
		if (!moment->has_meminfo)
			continue;
		if (first && !at_boot)
			fidelity->unseen_large_pages = unseen_large(fidelity, moment);
		first = false;
		predict_meminfo(fidelity, moment);
	}
}

/* ---------------------------------------------------------------------------------------------- the whole */

static bool choose_scale(struct judge *judge, struct kmt_reader *reader, struct kml_error *error)
{
	const struct survey *survey = &judge->survey;
	const char *path = kmt_reader_path(reader);
	bool at_boot = kmt_reader_origin(reader)->at_boot;
	bool held_is_known =
		at_boot && survey->snapshot_count > 0 && survey->snapshots[survey->snapshot_count - 1].slab_pages > 0;
	uint64_t count = survey->slabinfos;
	judge->fidelity->scale = FIDELITY_SLABINFO;
	if (count == 0 && survey->walks > 0) {
		count = survey->walks;
		judge->fidelity->scale = FIDELITY_WALK;
	} else if (count == 0 && held_is_known && survey->meminfos > 0) {
		count = survey->meminfos;
		judge->fidelity->scale = FIDELITY_EVENTS;
	}
	if (count == 0)
		return kml_fail(error,
				"%s: no snapshot of the kernel's slabs to judge by: import the trace with --snapshots, "
				"or record one with 'kmemlab capture'",
				path);
	if (count == 1)
		return kml_fail(error,
				"%s: only one snapshot of the kernel's slabs, and the first is where the forecast "
				"begins: record longer, two or more are needed",
				path);
	return true;
}

/* A page allocator has no caches; whatever has none of its own figures cannot be judged. */
static bool can_judge(const struct judge *judge, const struct kml_spec *spec, struct kml_error *error)
{
	const struct kml_allocator *top = spec->layer[0];
	bool by_cache = judge->fidelity->scale == FIDELITY_SLABINFO || judge->recorded;
	if ((by_cache && top->cache_stats) || (!by_cache && top->layer == KML_LAYER_OBJECTS))
		return true;
	return kml_fail(error,
			"%s has no slabs to compare: give --allocator a stack of objects ('kmemlab list' shows all)",
			spec->text);
}

static bool replay_and_judge(struct judge *judge, struct kmt_reader *reader, const struct kml_spec *spec,
			     struct kml_error *error)
{
	struct fidelity *fidelity = judge->fidelity;
	struct replay_options options = judge->options->replay;
	options.samples = PROGRESS_STEPS;
	if (!replay_run(reader, spec, &options, observe_sample, observe_snapshot, judge, &fidelity->result, error))
		return judge->error.text[0] ? kml_fail(error, "%s", judge->error.text) : false;
	if (fidelity->result.check_failed)
		return kml_fail(error, "%s on %s: %s", kmt_reader_path(reader), spec->text,
				fidelity->result.check_error.text); /* and result says so */
	sum_moments(judge);
	compare_meminfo(fidelity, kmt_reader_origin(reader)->at_boot);
	for (uint32_t i = 0; i < fidelity->cache_count; i++)
		fidelity_explain(fidelity, i, kmt_reader_origin(reader)->cpu_count);
	return true;
}

bool fidelity_run(struct kmt_reader *reader, const struct kml_spec *spec, const struct fidelity_options *options,
		  struct fidelity *fidelity, struct kml_error *error)
{
	*fidelity = (struct fidelity){.page_bytes = kmt_reader_origin(reader)->page_bytes};
	struct judge judge = {
		.fidelity = fidelity,
		.options = options,
		.recorded = kml_spec_traits(spec) & KML_TRAIT_RECORDED,
	};
	bool done = survey_take(reader, &judge.survey, error) && choose_scale(&judge, reader, error) &&
		    can_judge(&judge, spec, error);
	if (done && !start_caches(&judge, reader))
		done = kml_fail(error, "out of memory for the caches of %s", kmt_reader_path(reader));
	done = done && replay_and_judge(&judge, reader, spec, error);
	survey_free(&judge.survey);
	return done;
}

void fidelity_free(struct fidelity *fidelity)
{
	for (uint32_t i = 0; i < fidelity->moment_count; i++) {
		free(fidelity->moments[i].label);
		free(fidelity->moments[i].points);
	}
	free(fidelity->caches);
	names_free(&fidelity->names);
	free(fidelity->moments);
	*fidelity = (struct fidelity){0};
}

static bool is_worse(const struct fidelity *fidelity, uint32_t a, uint32_t b)
{
	uint64_t error_a = fidelity->caches[a].sums.error, error_b = fidelity->caches[b].sums.error;
	if (error_a != error_b)
		return error_a > error_b;
	return strcmp(fidelity->caches[a].name, fidelity->caches[b].name) < 0;
}

uint32_t fidelity_worst(const struct fidelity *fidelity, uint32_t *worst, uint32_t count)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < fidelity->cache_count && count > 0; i++) {
		if (fidelity->caches[i].sums.error == 0)
			continue;
		if (found == count && !is_worse(fidelity, i, worst[found - 1]))
			continue;
		uint32_t place = found < count ? found++ : count - 1;
		for (; place > 0 && is_worse(fidelity, i, worst[place - 1]); place--)
			worst[place] = worst[place - 1];
		worst[place] = i;
	}
	return found;
}
