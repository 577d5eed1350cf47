/*
 * series_stream.c - the events that explain a series of slabinfo (series.h), written one by one.
 *
 * Between two snapshots the events of each cache stand evenly: the i-th of n in the middle of the i-th part of n of the
 * interval; those of all caches are merged by time, ties by the order of the caches. An event is a change of the count,
 * or a replacement (a free and an allocation at one time, on one cpu); which is drawn from what is left of both.
 *
 * Which object is freed, counts do not say, but the slabs beside them do a little:
 *   - where slabs went, whole slabs of objects went: of the frees of the interval as many as those slabs had objects
 *     are of the oldest ones, one after the other. Neighbours in time are neighbours in slabs, and what a kernel frees
 *     in numbers, its shrinkers take from the cold end of an LRU list;
 *   - the other frees left holes: each object is as likely;
 *   - what is replaced came and went between two snapshots: it is drawn from the youngest, as many as are replaced.
 * An object is freed by the cpu that allocated it, as nearly all are; that cpu is drawn. All draws are of one seed.
 *
 * A cache that comes is opened at the begin of the interval before the snapshot that first shows it; one that went is
 * closed at the end of the interval after the last one.
 *
 * Cost: O(log caches) an event; 8 bytes an object, of which at most half are dead, and 4 a free id.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/progress.h"
#include "kmemlab/support/random.h"
#include "traces/import/series.h"

enum { PROGRESS_EVENTS = 4096 };
#define NS_PER_S 1000000000ull

struct object {
	uint32_t id;
	uint16_t cpu;
	bool is_live;
};

/* A cache on its way through the series. */
struct flow {
	IMPORT_VECTOR(struct object) objects; /* in the order of their allocation; at most half of them are dead */
	uint32_t live;
	uint32_t oldest; /* all objects before this place are dead */
	uint64_t slabs;  /* at the begin of the interval */
	double owed;     /* replacements, the fraction that no interval had room for yet */
	/* The interval at hand. A unit is a change of the count or a replacement; some changes free the oldest. */
	uint64_t units, units_done, replacements, replacements_left, oldest_left;
	bool grows;
	uint64_t next_ns;
};

struct stream {
	struct import *import;
	struct kmt_writer *writer;
	struct flow *flows; /* by cache */
	/* Caches with units left, as a heap: the earliest first. */
	uint16_t *heap;
	uint32_t heap_count;
	uint64_t begin_ns, length_ns; /* of the interval, since the start of the trace */
	IMPORT_VECTOR(uint32_t) free_ids;
	uint32_t ids;
	uint64_t random;
	uint64_t events;
	struct kml_progress progress;
};

/* --------------------------------------------------------------------------------------------------- heap */

static bool is_earlier(const struct stream *stream, uint16_t a, uint16_t b)
{
	uint64_t left = stream->flows[a].next_ns, right = stream->flows[b].next_ns;

	return left != right ? left < right : a < b;
}

static void sift_down(struct stream *stream, uint32_t place)
{
	uint16_t cache = stream->heap[place];

	for (uint32_t child; (child = 2 * place + 1) < stream->heap_count; place = child) {
		if (child + 1 < stream->heap_count && is_earlier(stream, stream->heap[child + 1], stream->heap[child]))
			child++;
		if (!is_earlier(stream, stream->heap[child], cache))
			break;
		stream->heap[place] = stream->heap[child];
	}
	stream->heap[place] = cache;
}

static void order_heap(struct stream *stream)
{
	for (uint32_t place = stream->heap_count / 2; place-- > 0;)
		sift_down(stream, place);
}

/* ------------------------------------------------------------------------------------------------- events */

static bool write_event(struct stream *stream, const struct kmt_event *event, struct kml_error *error)
{
	if (++stream->events % PROGRESS_EVENTS == 0)
		kml_progress_update(&stream->progress, stream->events);
	return kmt_write_event(stream->writer, event, error);
}

static uint16_t draw_cpu(struct stream *stream)
{
	return (uint16_t)random_below(&stream->random, stream->import->origin.cpu_count);
}

static bool allocate(struct stream *stream, uint16_t cache, uint16_t cpu, uint64_t time_ns, uint16_t flags,
		     struct kml_error *error)
{
	struct flow *flow = &stream->flows[cache];
	struct kmt_event event = import_counted_alloc(stream->import, cache);

	if (!import_reserve(&flow->objects, error))
		return false;
	if (stream->free_ids.count == 0 && stream->ids >= KMT_OBJECTS_MAX)
		return kml_fail(error, "more than %u objects live at once; cut the series", KMT_OBJECTS_MAX);
	event.object = stream->free_ids.count > 0 ? stream->free_ids.items[--stream->free_ids.count] : stream->ids++;
	event.cpu = cpu;
	event.flags |= flags;
	event.time_ns = time_ns;
	flow->objects.items[flow->objects.count++] = (struct object){event.object, event.cpu, true};
	flow->live++;
	return write_event(stream, &event, error);
}

/* The dead leave, the others keep their order. */
static void close_ranks(struct flow *flow)
{
	uint32_t kept = 0;

	for (uint32_t i = flow->oldest; i < flow->objects.count; i++) {
		if (flow->objects.items[i].is_live)
			flow->objects.items[kept++] = flow->objects.items[i];
	}
	flow->objects.count = kept;
	flow->oldest = 0;
}

static bool release(struct stream *stream, uint16_t cache, uint32_t place, uint64_t time_ns, struct kml_error *error)
{
	struct flow *flow = &stream->flows[cache];
	struct object *object = &flow->objects.items[place];
	struct kmt_event event = import_counted_alloc(stream->import, cache);

	if (!import_reserve(&stream->free_ids, error))
		return false;
	event.op = KMT_FREE;
	event.object = object->id;
	event.cpu = object->cpu;
	event.time_ns = time_ns;
	object->is_live = false;
	if (--flow->live < flow->objects.count / 2)
		close_ranks(flow);
	stream->free_ids.items[stream->free_ids.count++] = event.object;
	return write_event(stream, &event, error);
}

/* Places of live objects; there must be one. */
static uint32_t oldest_object(struct flow *flow)
{
	while (!flow->objects.items[flow->oldest].is_live)
		flow->oldest++;
	return flow->oldest;
}

static uint32_t any_object(struct stream *stream, const struct flow *flow)
{
	uint32_t place;

	do
		place = (uint32_t)random_below(&stream->random, flow->objects.count);
	while (!flow->objects.items[place].is_live);
	return place;
}

/* Of the youngest `count` places, or what lived before a dead one of them. */
static uint32_t young_object(struct stream *stream, const struct flow *flow, uint64_t count)
{
	uint64_t places = count < flow->objects.count ? count : flow->objects.count;
	uint32_t place = flow->objects.count - 1 - (uint32_t)random_below(&stream->random, places);

	while (!flow->objects.items[place].is_live)
		place = place > 0 ? place - 1 : flow->objects.count - 1;
	return place;
}

static bool tell_cache(struct stream *stream, uint16_t cache, enum kmt_op op, uint64_t time_ns, struct kml_error *error)
{
	struct kmt_event event = {.time_ns = time_ns, .address = KMT_NO_ADDRESS, .cache = cache, .op = (uint8_t)op};

	return write_event(stream, &event, error);
}

static bool write_warm(struct stream *stream, struct kml_error *error)
{
	struct series *series = stream->import->series;

	for (uint32_t i = 0; i < series->caches.count; i++) {
		struct series_cache *cache = &series->caches.items[i];
		cache->exists = cache->exists_at_start;
		cache->count = cache->at_start;
		stream->flows[i].slabs = stream->import->caches.items[i].slabs_at_start;
		for (uint64_t n = 0; n < cache->at_start; n++) {
			if (!allocate(stream, (uint16_t)i, draw_cpu(stream), 0, KMT_WARM, error))
				return false;
		}
	}
	return true;
}

/* ---------------------------------------------------------------------------------------------- intervals */

/* In the middle of its part of the interval; whole numbers, so that it is the same everywhere. Units are below 2^32. */
static uint64_t time_of_unit(const struct stream *stream, const struct flow *flow)
{
	uint64_t part_ns = stream->length_ns / flow->units, rest_ns = stream->length_ns % flow->units;

	return stream->begin_ns + part_ns * flow->units_done + rest_ns * flow->units_done / flow->units + part_ns / 2;
}

/* Of that many frees, those that emptied the slabs that went. */
static uint64_t count_oldest(const struct stream *stream, uint16_t index, uint64_t frees)
{
	uint64_t before = stream->flows[index].slabs, after = stream->import->series->caches.items[index].slabs;
	uint64_t objects = before > after ? (before - after) * stream->import->caches.items[index].objects_per_slab : 0;

	return objects < frees ? objects : frees;
}

/* From `cache->count` objects to `count`. */
static void plan_cache(struct stream *stream, uint16_t index, uint64_t count)
{
	const struct series_cache *cache = &stream->import->series->caches.items[index];
	struct flow *flow = &stream->flows[index];

	flow->owed += cache->churn_per_s * ((double)stream->length_ns / (double)NS_PER_S);
	flow->replacements = flow->replacements_left = (uint64_t)flow->owed;
	flow->owed -= floor(flow->owed);
	flow->grows = count > cache->count;
	flow->units = flow->replacements + (flow->grows ? count - cache->count : cache->count - count);
	flow->units_done = 0;
	flow->oldest_left = flow->grows ? 0 : count_oldest(stream, index, cache->count - count);
	if (flow->units == 0)
		return;
	flow->next_ns = time_of_unit(stream, flow);
	stream->heap[stream->heap_count++] = index;
}

/* From begin_ns to the snapshot `next`; NULL: for length_ns, with the same counts. */
static bool plan_interval(struct stream *stream, const struct stored_snapshot *next, struct kml_error *error)
{
	struct series *series = stream->import->series;

	if (next != NULL && !series_read(stream->import, next, error))
		return false;
	for (uint32_t i = 0; i < series->caches.count; i++) {
		struct series_cache *cache = &series->caches.items[i];
		bool comes = next != NULL && !cache->exists && series_exists(series, cache);
		if (comes && !tell_cache(stream, (uint16_t)i, KMT_CACHE_OPEN, stream->begin_ns, error))
			return false;
		plan_cache(stream, (uint16_t)i, next != NULL ? series_count(series, cache) : cache->count);
	}
	order_heap(stream);
	return true;
}

/* Whether one of the units that are `left` is one of `some` of them: drawn, so that all come out in the end. */
static bool draw(struct stream *stream, uint64_t left, uint64_t *some)
{
	bool is_drawn = random_below(&stream->random, left) < *some;

	*some -= is_drawn;
	return is_drawn;
}

static bool replace(struct stream *stream, uint16_t cache, uint64_t time_ns, struct kml_error *error)
{
	struct flow *flow = &stream->flows[cache];

	if (flow->live == 0)
		return true; /* nothing to replace */
	uint32_t place = young_object(stream, flow, flow->replacements);
	uint16_t cpu = flow->objects.items[place].cpu;
	return release(stream, cache, place, time_ns, error) && allocate(stream, cache, cpu, time_ns, 0, error);
}

static bool do_unit(struct stream *stream, uint16_t cache, struct kml_error *error)
{
	struct flow *flow = &stream->flows[cache];
	uint64_t time_ns = flow->next_ns, left = flow->units - flow->units_done++;

	if (draw(stream, left, &flow->replacements_left))
		return replace(stream, cache, time_ns, error);
	if (flow->grows)
		return allocate(stream, cache, draw_cpu(stream), time_ns, 0, error);
	uint64_t changes_left = left - flow->replacements_left;
	uint32_t place =
		draw(stream, changes_left, &flow->oldest_left) ? oldest_object(flow) : any_object(stream, flow);
	return release(stream, cache, place, time_ns, error);
}

/* The events of the interval up to that time. */
static bool run_until(struct stream *stream, uint64_t time_ns, struct kml_error *error)
{
	while (stream->heap_count > 0) {
		uint16_t cache = stream->heap[0];
		struct flow *flow = &stream->flows[cache];
		if (flow->next_ns > time_ns)
			return true;
		if (!do_unit(stream, cache, error))
			return false;
		if (flow->units_done == flow->units)
			stream->heap[0] = stream->heap[--stream->heap_count];
		else
			flow->next_ns = time_of_unit(stream, flow);
		if (stream->heap_count > 0)
			sift_down(stream, 0);
	}
	return true;
}

/* The end of the interval that was planned with the snapshot read last. */
static bool finish_interval(struct stream *stream, uint64_t time_ns, struct kml_error *error)
{
	struct series *series = stream->import->series;

	if (!run_until(stream, UINT64_MAX, error))
		return false;
	for (uint32_t i = 0; i < series->caches.count; i++) {
		struct series_cache *cache = &series->caches.items[i];
		bool existed = cache->exists;
		cache->count = series_count(series, cache);
		cache->exists = series_exists(series, cache);
		stream->flows[i].slabs = cache->slabs;
		KML_CHECK(stream->flows[i].live == cache->count, "%u live objects, slabinfo counts %llu",
			  stream->flows[i].live, (unsigned long long)cache->count);
		if (existed && !cache->exists && !tell_cache(stream, (uint16_t)i, KMT_CACHE_CLOSE, time_ns, error))
			return false;
	}
	return true;
}

/* ----------------------------------------------------------------------------------------------- the whole */

static const struct stored_snapshot *next_slabinfo(const struct import *import, uint32_t after)
{
	for (uint32_t i = after + 1; i < import->snapshots.count; i++) {
		if (import->snapshots.items[i].kind == KMT_SNAPSHOT_SLABINFO)
			return &import->snapshots.items[i];
	}
	return NULL;
}

/* What follows a slabinfo: the way to the next; after a single one, its churn. */
static bool begin_interval(struct stream *stream, uint64_t begin_ns, const struct stored_snapshot *next, bool is_first,
			   struct kml_error *error)
{
	stream->begin_ns = begin_ns;
	stream->length_ns = 0;
	if (next != NULL)
		stream->length_ns = next->time_ns - stream->import->origin.start_ns - begin_ns;
	else if (is_first)
		stream->length_ns = stream->import->options.series.seconds * NS_PER_S;
	else
		return true;
	return plan_interval(stream, next, error);
}

static bool write_stream(struct stream *stream, struct kml_error *error)
{
	const struct import *import = stream->import;
	bool is_first = true;

	if (!write_warm(stream, error))
		return false;
	for (uint32_t i = 0; i < import->snapshots.count; i++) {
		const struct stored_snapshot *snapshot = &import->snapshots.items[i];
		uint64_t time_ns = snapshot->time_ns - import->origin.start_ns;
		bool is_slabinfo = snapshot->kind == KMT_SNAPSHOT_SLABINFO;
		bool reached = is_slabinfo && !is_first ? finish_interval(stream, time_ns, error)
							: run_until(stream, time_ns, error);
		if (!reached || !import_write_snapshot(import, stream->writer, snapshot, error))
			return false;
		if (!is_slabinfo)
			continue;
		if (!begin_interval(stream, time_ns, next_slabinfo(import, i), is_first, error))
			return false;
		is_first = false;
	}
	return run_until(stream, UINT64_MAX, error);
}

bool series_write(struct import *import, struct kmt_writer *writer, struct kml_error *error)
{
	uint32_t caches = import->series->caches.count;
	struct stream stream = {.import = import, .writer = writer, .random = import->options.series.seed};
	bool done = false;

	stream.flows = calloc(caches + 1u, sizeof(*stream.flows));
	stream.heap = calloc(caches + 1u, sizeof(*stream.heap));
	if (!import->options.quiet)
		kml_progress_start(&stream.progress, "writing", "events", 0);
	if (stream.flows == NULL || stream.heap == NULL)
		kml_fail(error, "out of memory");
	else
		done = write_stream(&stream, error);
	if (!import->options.quiet)
		kml_progress_finish(&stream.progress);
	for (uint32_t i = 0; stream.flows != NULL && i < caches; i++)
		free(stream.flows[i].objects.items);
	free(stream.flows);
	free(stream.heap);
	free(stream.free_ids.items);
	return done;
}
