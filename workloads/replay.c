/*
 * replay.c - the runner: feeds the events of a trace to one stack and keeps the books.
 *
 * The books are the runner's own: what was asked for (requested) and what came back (granted), by id. The allocator
 * tells what it holds and wastes. At every sample the two must agree, to the byte:
 *
 *     requested + sum(waste) == held        the allocator's granted == the runner's granted
 *
 * Cost: O(1) per event: an id is an index, so there is no hashing, and nothing is allocated on the way.
 */
#include "workloads/replay.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/check/invariants.h"
#include "kmemlab/support/clock.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/reserve.h"
#include "workloads/replay_state.h"

/* Sizes from here on fit no arena (32 TiB), and no slot. */
static const uint64_t ABSURD_BYTES = 1ull << 45;

/* What is given to every allocator; the rest of the flags is for some. */
static const uint16_t COMMON_FLAGS = 0xff | KML_ACCOUNTED | KML_VMALLOC;

/* Processor time: other work on the machine does not count. */
static uint64_t now_ns(const struct replay *replay)
{
	/* Bare: nobody reads it, and it costs a system call. */
	return replay->bare ? 0 : kml_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void replay_fail(struct replay *replay, const struct kmt_event *event, const char *format, ...)
{
	struct replay_result *result = replay->result;
	replay->stop = true;
	if (result->check_failed)
		return;
	result->check_failed = true;
	struct kml_error seen;
	char message[384];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	/* What the shadow saw has the name of an invariant. */
	if (replay->shadow && !kml_shadow_ok(replay->shadow, &seen))
		snprintf(message, sizeof message, "%.*s", (int)sizeof message - 1, seen.text);
	if (event)
		kml_fail(&result->check_error, "event %" PRIu64 " (%s of id %" PRIu32 "): %s", replay->position,
			 kmt_op_name(event->op), event->object, message);
	else
		kml_fail(&result->check_error, "after event %" PRIu64 ": %s", replay->position, message);
}

void replay_fail_free(struct replay *replay, const struct kmt_event *event, uint64_t granted_bytes, uint64_t address,
		      enum kml_status status)
{
	replay_fail(replay, event, "status: %s refused to free its block of %" PRIu64 " bytes at %" PRIu64 "%s: %s",
		    replay->allocator->name, granted_bytes, address, event ? "" : " at the end",
		    kml_status_name(status));
}

/* ---------------------------------------------------------------------------------------------- the books */

static inline uint64_t requested_now(const struct replay *replay)
{
	return replay->requested_bytes[0] + replay->requested_bytes[1];
}

static inline uint64_t granted_now(const struct replay *replay)
{
	return replay->granted_bytes[0] + replay->granted_bytes[1];
}

static void fill_sample(const struct replay *replay, struct replay_sample *sample)
{
	sample->event = replay->position;
	sample->time_ns = replay->time_ns;
	sample->live_blocks = replay->live_blocks;
	sample->requested_bytes = requested_now(replay);
	sample->stats = replay->stats;
	uint64_t object_rounding = replay->granted_bytes[0] - replay->requested_bytes[0];
	uint64_t page_rounding = replay->granted_bytes[1] - replay->requested_bytes[1];
	uint64_t *waste = sample->stats.waste_bytes;
	waste[replay->takes_objects ? KML_WASTE_CLASS_ROUNDING : KML_WASTE_BUDDY_ROUNDING] += object_rounding;
	waste[KML_WASTE_BUDDY_ROUNDING] += page_rounding;
}

/* An allocator that keeps nothing keeps no figures either: it is taken to hold what it granted. */
static inline void ask_stats(struct replay *replay)
{
	replay->allocator->stats(replay->heap, &replay->stats);
	if (replay->keeps_blocks)
		return;
	replay->stats.granted_bytes = granted_now(replay);
	replay->stats.held_bytes = granted_now(replay);
}

/* After every event that was fed: peaks, and sums for the means. The warm start only builds up what is there. */
static inline void account(struct replay *replay, bool warm)
{
	struct replay_result *result = replay->result;
	result->events++;
	if (replay->bare)
		return;
	ask_stats(replay);
	uint64_t requested = requested_now(replay), granted = granted_now(replay), held = replay->stats.held_bytes;
	if (!warm) {
		replay->mean_count++;
		replay->requested_sum += requested;
		replay->granted_sum += granted;
		replay->held_sum += held;
		replay->ratio_sum += requested > 0 ? (double)held / (double)requested : 0;
		replay->ratio_count += requested > 0;
	}
	if (granted > result->peak_granted_bytes)
		result->peak_granted_bytes = granted;
	if (replay->stats.metadata_bytes > result->peak_metadata_bytes)
		result->peak_metadata_bytes = replay->stats.metadata_bytes;
	if (requested > result->peak_requested_bytes) {
		result->peak_requested_bytes = requested;
		fill_sample(replay, &result->at_peak_requested);
	}
	if (held > result->peak_held_bytes) {
		result->peak_held_bytes = held;
		fill_sample(replay, &result->at_peak_held);
	}
}

/* The two books, and the split of the waste. */
static void check_books(struct replay *replay, const struct replay_sample *sample)
{
	uint64_t sum = sample->requested_bytes;
	for (int i = 0; i < KML_WASTE_KINDS; i++)
		sum += sample->stats.waste_bytes[i];
	if (sum != sample->stats.held_bytes)
		replay_fail(replay, NULL,
			    "%s: requested %" PRIu64 " + waste %" PRIu64 " is %" PRIu64 ", but %" PRIu64
			    " bytes are held: its stats() leave something out",
			    replay->allocator->name, sample->requested_bytes, sum - sample->requested_bytes, sum,
			    sample->stats.held_bytes);
	if (sample->stats.granted_bytes != granted_now(replay))
		replay_fail(replay, NULL, "%s: stats() say %" PRIu64 " bytes are granted, it granted %" PRIu64,
			    replay->allocator->name, sample->stats.granted_bytes, granted_now(replay));
}

static void check_deep(struct replay *replay)
{
	struct kml_error error;
	if (!replay->shadow)
		return;
	kml_check_deep(replay->shadow);
	if (!kml_shadow_ok(replay->shadow, &error))
		replay_fail(replay, NULL, "%s", error.text);
}

/* ---------------------------------------------------------------------------------- allocations and frees */

/* What an allocator without a shadow must not get wrong either: it would spoil the books. */
static bool grant_is_sound(struct replay *replay, const struct kmt_event *event, const struct kml_request *request,
			   const struct kml_grant *grant)
{
	if (grant->granted_bytes >= request->size_bytes && grant->granted_bytes < ABSURD_BYTES &&
	    (request->align_bytes <= 1 || (grant->address & (request->align_bytes - 1)) == 0))
		return true;
	replay_fail(replay, event, "%s granted %" PRIu64 " bytes at %" PRIu64 " for %" PRIu64 " aligned to %" PRIu64,
		    replay->allocator->name, grant->granted_bytes, grant->address, request->size_bytes,
		    request->align_bytes);
	return false;
}

struct kml_grant replay_call_alloc(struct replay *replay, const struct kml_request *request)
{
	if (request->size_bytes >= ABSURD_BYTES)
		return kml_refuse(KML_IMPOSSIBLE);
	return replay->shadow ? kml_shadow_alloc(replay->shadow, request)
			      : replay->allocator->alloc(replay->heap, request);
}

enum kml_status replay_call_free(struct replay *replay, const struct kml_release *release)
{
	return replay->shadow ? kml_shadow_free(replay->shadow, release)
			      : replay->allocator->free(replay->heap, release);
}

/* A cache's alignment is used where the kernel told it and it is one. */
static uint64_t alignment_of(const struct replay *replay, const struct kmt_event *event)
{
	if (replay->recorded && event->address != KMT_NO_ADDRESS)
		return 0; /* where the kernel put it is a fact */
	if (event->align_log2 > 0)
		return event->align_log2 < 63 ? 1ull << event->align_log2 : 1ull << 63;
	if (event->cache == KMT_NO_CACHE)
		return 0;
	uint64_t align_bytes = replay->caches[event->cache].align_bytes;
	return (align_bytes & (align_bytes - 1)) == 0 ? align_bytes : 0;
}

/* Caches exist for objects; the page level knows none. */
static bool name_cache(const struct replay *replay, const struct kmt_event *event, uint32_t *cache)
{
	*cache = KML_NO_CACHE;
	if (event->cache == KMT_NO_CACHE || !replay->cache_open)
		return true;
	*cache = event->cache;
	return replay->cache_open[event->cache];
}

static bool feed_alloc(struct replay *replay, const struct kmt_event *event, enum replay_kind kind,
		       struct kml_error *error)
{
	struct slot *slot = &replay->slots[event->object];
	if (slot->requested_bytes != 0)
		return kml_fail(error,
				"%s: event %" PRIu64 " allocates id %" PRIu32
				", which is live: a trace frees an id before it uses it again",
				kmt_reader_path(replay->reader), replay->position, event->object);
	struct kml_request request = {
		.size_bytes = event->size_bytes,
		.recorded = event->address,
		.recorded_granted_bytes = event->granted_bytes,
		.cpu = event->cpu,
		.flags = (uint16_t)(event->flags & replay->request_flags),
	};
	if (!name_cache(replay, event, &request.cache))
		return kml_fail(error, "%s: event %" PRIu64 " allocates from cache %u, which is closed",
				kmt_reader_path(replay->reader), replay->position, event->cache);
	if (kind == REPLAY_PAGE) {
		/* A large kmalloc at the page level: the pages that serve it. */
		if (event->op == KMT_ALLOC)
			request.size_bytes = replay_page_bytes(replay->page_bytes, event->size_bytes);
		request.size_bytes = request.size_bytes ? request.size_bytes : ABSURD_BYTES;
		request.align_bytes = replay->page_bytes;
		request.flags = (uint16_t)((request.flags | KML_PAGES) & ~KML_SLAB_PAGE);
		request.cache = KML_NO_CACHE;
	} else {
		request.align_bytes = alignment_of(replay, event);
	}
	struct kml_grant grant = replay_call_alloc(replay, &request);
	replay->result->allocations++;
	slot->recorded = event->address;
	slot->is_page = kind == REPLAY_PAGE;
	slot->is_freed = 0;
	slot->is_orphan = 0;
	slot->cache = event->cache;
	slot->flags = request.flags;
	slot->address = grant.address;
	slot->requested_bytes = request.size_bytes < ABSURD_BYTES ? request.size_bytes : ABSURD_BYTES;
	slot->granted_bytes = 0;
	if (grant.status != KML_OK) {
		replay->result->failures[(unsigned)grant.status < KML_STATUS_COUNT ? grant.status : KML_IMPOSSIBLE]++;
		replay->stop |= replay->options->stop_at_failure;
		return true;
	}
	if (!grant_is_sound(replay, event, &request, &grant))
		return true;
	slot->granted_bytes = grant.granted_bytes;
	replay->live_blocks++;
	replay->requested_bytes[slot->is_page] += request.size_bytes;
	replay->granted_bytes[slot->is_page] += grant.granted_bytes;
	if (event->op == KMT_ALLOC && !(event->flags & KMT_WARM)) {
		replay->result->perf_requested_bytes += request.size_bytes;
		replay->result->perf_allocated_bytes += grant.granted_bytes;
	}
	return true;
}

/* A free with an address of its own: a fuzzer's misuse. The allocator must name it, and must not obey. */
static void feed_wrong_address(struct replay *replay, const struct kmt_event *event, struct kml_release *release)
{
	if (!replay->keeps_blocks) {
		replay->result->dead_frees++;
		return;
	}
	release->address = event->address;
	enum kml_status status = replay_call_free(replay, release);
	if (status == KML_OK)
		replay_fail(replay, event, "%s obeyed a free of %" PRIu64 ", which is not where the block is",
			    replay->allocator->name, event->address);
	else
		replay->result->refused_frees++;
}

void replay_count_free(struct replay *replay, struct slot *slot)
{
	replay->live_blocks--;
	replay->requested_bytes[slot->is_page] -= slot->requested_bytes;
	replay->granted_bytes[slot->is_page] -= slot->granted_bytes;
	slot->requested_bytes = 0;
	slot->granted_bytes = 0;
	slot->is_freed = 1;
}

static void feed_free(struct replay *replay, const struct kmt_event *event)
{
	struct slot *slot = &replay->slots[event->object];
	struct kml_release release = {
		.address = slot->address,
		.cache = KML_NO_CACHE,
		.cpu = event->cpu,
		.flags = slot->flags,
	};
	if (!slot->is_page && event->cache != KMT_NO_CACHE && replay->cache_open)
		release.cache = replay_named_cache(slot);
	bool misuse =
		event->address != KMT_NO_ADDRESS && (slot->requested_bytes == 0 || event->address != slot->recorded);
	if (misuse) {
		feed_wrong_address(replay, event, &release);
		return;
	}
	if (slot->requested_bytes == 0) {
		replay->result->dead_frees++;
		return;
	}
	if (slot->granted_bytes == 0) {
		replay->result->skipped_frees++;
		slot->requested_bytes = 0;
		return;
	}
	enum kml_status status = replay_call_free(replay, &release);
	if (status != KML_OK) {
		replay_fail_free(replay, event, slot->granted_bytes, slot->address, status);
		return;
	}
	replay->result->frees++;
	replay_count_free(replay, slot);
}

/* --------------------------------------------------------------------------------------------- one event */

static bool is_warm(const struct kmt_event *event)
{
	return (event->flags & KMT_WARM) && (event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC);
}

/* What slabinfo counts as live at the start, and the addresses of the trace show to have been free. */
static bool is_surplus(struct replay *replay, const struct kmt_event *event)
{
	if (!replay->surplus || event->op != KMT_ALLOC || event->address != KMT_NO_ADDRESS ||
	    event->cache == KMT_NO_CACHE || replay->surplus[event->cache] == 0)
		return false;
	replay->surplus[event->cache]--;
	return true;
}

static bool feed(struct replay *replay, const struct kmt_event *event, struct kml_error *error)
{
	enum replay_kind kind = replay_event_kind(replay->options->level, event);
	if (event->op == KMT_MISUSE) {
		replay_feed_misuse(replay, event);
		account(replay, false);
	} else if (event->op == KMT_EXHAUST) {
		replay_feed_exhaust(replay, event);
		account(replay, false);
	} else if (kind == REPLAY_NOT_FED) {
		replay_feed_other(replay, event);
	} else if (replay->has_settled || !is_surplus(replay, event)) {
		if (event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC) {
			if (!feed_alloc(replay, event, kind, error))
				return false;
		} else {
			feed_free(replay, event);
		}
		account(replay, event->flags & KMT_WARM);
	}
	replay->position++;
	replay->stop |= replay->position == replay->options->stop_after_events;
	if (replay->shadow && !kml_shadow_ok(replay->shadow, NULL)) {
		struct kml_error broken;
		kml_shadow_ok(replay->shadow, &broken);
		replay->position--;
		replay_fail(replay, event, "%s", broken.text);
		replay->position++;
	}
	if (replay->position >= replay->next_check && !replay->stop) {
		check_deep(replay);
		replay->next_check = replay->position + replay->options->check_every;
	}
	return true;
}

/* ---------------------------------------------------------------------------------------------- samples */

/*
 * Sample i of n stands after event warm + (total - warm) * i / n: none in the warm start. In time it stands after the
 * last event that is not later than duration * i / n.
 */
static void plan_next_sample(struct replay *replay)
{
	const struct kmt_totals *totals = kmt_reader_totals(replay->reader);
	uint64_t warm = totals->warm_events < totals->events ? totals->warm_events : 0;
	uint64_t span = totals->events - warm, count = replay->options->samples;
	replay->next_sample = UINT64_MAX;
	replay->next_sample_ns = UINT64_MAX;
	if (replay->options->samples_in_time && replay->samples_taken < count)
		replay->next_sample_ns =
			(uint64_t)((unsigned __int128)totals->duration_ns * (replay->samples_taken + 1) / count);
	if (replay->options->samples_in_time)
		return;
	if (count > span)
		count = span;
	if (replay->samples_taken < count)
		replay->next_sample = warm + (uint64_t)((unsigned __int128)span * (replay->samples_taken + 1) / count);
}

static bool take_sample(struct replay *replay)
{
	struct replay_sample sample;
	ask_stats(replay);
	fill_sample(replay, &sample);
	replay->result->at_end = sample;
	check_books(replay, &sample);
	check_deep(replay);
	replay->samples_taken++;
	plan_next_sample(replay);
	return !replay->observer || replay->observer(replay->context, &sample, &replay->stack, replay->arena);
}

/* The events of which something comes among [from, to) of a block, as indices. */
static uint32_t select_events(const struct replay *replay, const struct kmt_event *events, uint32_t from, uint32_t to,
			      uint16_t *selected)
{
	uint32_t count = 0;
	for (uint32_t i = from; i < to; i++)
		if (replay_event_belongs(replay->options->level, &events[i]) || replay_tells(replay, &events[i]) ||
		    replay_is_recorded_slab_page(replay, &events[i]))
			selected[count++] = (uint16_t)i;
	return count;
}

/* The first of [from, to) that is no warm object, or that is not before a time. */
static uint32_t end_of_warm(const struct kmt_event *events, uint32_t from, uint32_t to)
{
	while (from < to && is_warm(&events[from]))
		from++;
	return from;
}

static uint32_t end_before(uint64_t time_ns, const struct kmt_event *events, uint32_t from, uint32_t to)
{
	if (events[to - 1].time_ns < time_ns)
		return to;
	while (from < to) {
		uint32_t middle = from + (to - from) / 2;
		if (events[middle].time_ns < time_ns)
			from = middle + 1;
		else
			to = middle;
	}
	return to;
}

/* Where the run from `next` on ends: at the next sample, with the warm start, before the next tick, at the last event
 * asked for, or with the block. Its first event has been caught up with: it is not later than a sample planned in time.
 */
static uint32_t end_of_run(const struct replay *replay, const struct kmt_event *events, uint32_t next,
			   uint32_t event_count)
{
	uint32_t end = replay->has_settled ? event_count : end_of_warm(events, next, event_count);
	end = end_before(replay->next_tick_ns, events, next, end);
	if (replay->next_sample_ns < UINT64_MAX)
		end = end_before(replay->next_sample_ns + 1, events, next, end);
	uint64_t length = end - next;
	uint64_t until_sample = replay->next_sample - replay->position;
	uint64_t until_stop = replay->options->stop_after_events - replay->position;
	if (until_sample < length)
		length = until_sample;
	if (replay->options->stop_after_events > replay->position && until_stop < length)
		length = until_stop;
	return next + (uint32_t)length;
}

static bool stopped_by_observer(const struct replay *replay, struct kml_error *error)
{
	return kml_fail(error, "%s: the replay was stopped by its observer", kmt_reader_path(replay->reader));
}

static bool feed_run(struct replay *replay, const struct kmt_event *events, const uint16_t *selected, uint32_t count,
		     uint64_t block_position, struct kml_error *error)
{
	uint64_t started_ns = now_ns(replay);
	for (uint32_t i = 0; i < count && !replay->stop; i++) {
		const struct kmt_event *event = &events[selected[i]];
		replay->position = block_position + selected[i];
		replay->time_ns = event->time_ns;
		if (!feed(replay, event, error))
			return false;
	}
	replay->result->elapsed_ns += now_ns(replay) - started_ns;
	return true;
}

static void tick_until(struct replay *replay, uint64_t time_ns)
{
	if (replay->next_tick_ns > time_ns)
		return;
	uint64_t started_ns = now_ns(replay);
	replay_tick_until(replay, time_ns);
	replay->result->elapsed_ns += now_ns(replay) - started_ns;
}

/* The samples planned in time whose time comes before this one. False when the observer stops the replay. */
static bool take_samples_before(struct replay *replay, uint64_t time_ns)
{
	while (replay->next_sample_ns < time_ns && !replay->stop) {
		replay_settle(replay);
		replay->time_ns = replay->next_sample_ns;
		tick_until(replay, replay->time_ns);
		if (!take_sample(replay))
			return false;
	}
	return true;
}

/* Settle, samples and ticks, as they fall due before this event. */
static bool catch_up(struct replay *replay, const struct kmt_event *event)
{
	if (!replay->has_settled && !is_warm(event))
		replay_settle(replay);
	if (!take_samples_before(replay, event->time_ns))
		return false;
	tick_until(replay, event->time_ns);
	return true;
}

/*
 * A block of events, in runs from sample to sample. What the level leaves out is passed over before the clock starts,
 * so that the time per event is that of the events fed.
 */
static bool feed_block(struct replay *replay, const struct kmt_item *item, struct kml_error *error)
{
	_Static_assert(KMT_BLOCK_EVENTS <= UINT16_MAX + 1u, "an index in a block fits 16 bits");
	uint16_t selected[KMT_BLOCK_EVENTS];
	uint32_t next = 0;
	while (next < item->event_count && !replay->stop) {
		if (!catch_up(replay, &item->events[next]))
			return stopped_by_observer(replay, error);
		if (replay->stop)
			return true; /* a check failed at a sample */
		uint32_t end = end_of_run(replay, item->events, next, item->event_count);
		uint32_t count = select_events(replay, item->events, next, end, selected);
		uint64_t block_position = replay->position - next;
		if (!feed_run(replay, item->events, selected, count, block_position, error))
			return false;
		if (replay->stop && replay->position < block_position + end)
			return true; /* stopped inside the run, at the event fed last */
		replay->position = block_position + end;
		replay->time_ns = item->events[end - 1].time_ns;
		next = end;
		replay->stop |= replay->position == replay->options->stop_after_events;
		if (replay->position == replay->next_sample && !replay->stop && !take_sample(replay))
			return stopped_by_observer(replay, error);
	}
	return true;
}

static bool feed_tape(struct replay *replay, struct kml_error *error)
{
	replay->next_sample = replay->next_sample_ns = UINT64_MAX;
	for (uint64_t i = 0; i < replay->tape->count && !replay->stop; i++) {
		const struct kmt_event *event = &replay->tape->events[i];
		(void)catch_up(replay, event); /* no samples, no observer */
		if (!feed(replay, event, error))
			return false;
	}
	return true;
}

/* The stack as it stands at a snapshot of the kernel's. */
static bool show_snapshot(struct replay *replay, const struct kmt_snapshot *snapshot, struct kml_error *error)
{
	replay_settle(replay);
	replay_tick_until(replay, snapshot->time_ns);
	if (!replay->snapshot_observer ||
	    replay->snapshot_observer(replay->context, snapshot, &replay->stack, replay->arena))
		return true;
	return stopped_by_observer(replay, error);
}

static bool feed_stream(struct replay *replay, struct kml_error *error)
{
	struct kmt_item item;
	if (replay->tape && replay->tape->events)
		return feed_tape(replay, error);
	if (!kmt_rewind(replay->reader, error))
		return false;
	plan_next_sample(replay);
	while (!replay->stop) {
		switch (kmt_next(replay->reader, &item, error)) {
		case KMT_ITEM_EVENTS:
			if (!feed_block(replay, &item, error))
				return false;
			break;
		case KMT_ITEM_SNAPSHOT:
			if (!show_snapshot(replay, item.snapshot, error))
				return false;
			break;
		case KMT_ITEM_END:
			return true;
		case KMT_ITEM_ERROR:
			return false;
		}
	}
	return true;
}

/* ---------------------------------------------------------------------------------------- start and end */

static bool prepare_slots(struct replay *replay, struct kml_error *error)
{
	uint64_t objects = kmt_reader_totals(replay->reader)->objects;
	replay->slots = kml_reserve((objects + 1) * sizeof *replay->slots);
	if (!replay->slots)
		return kml_fail(error,
				"%s: no memory for the %" PRIu64
				" object ids of the trace: replay it on a larger machine",
				kmt_reader_path(replay->reader), objects);
	return true;
}

/* A recorded replay is laid out on the recorded machine, with room above it for what has no recorded place; so is one
 * whose memory comes as it came there; all others on the arena of the experiment. */
static uint64_t choose_arena(const struct replay *replay, const struct replay_scan *scan)
{
	if (replay->options->add_pages && !replay->recorded) {
		uint64_t top = kmt_reader_totals(replay->reader)->top_address, page = replay->page_bytes;
		return top > UINT64_MAX / 4 ? UINT64_MAX : (top + page - 1) / page * page;
	}
	if (replay->recorded) {
		uint64_t top = kmt_reader_totals(replay->reader)->top_address, page = replay->page_bytes;
		if (top > UINT64_MAX / 4 || scan->unplaced_bytes > UINT64_MAX / 4)
			return UINT64_MAX; /* the arena refuses it with an error */
		return (top + scan->unplaced_bytes + 2 * page - 1) / page * page;
	}
	if (replay->options->arena_bytes != 0)
		return replay->options->arena_bytes;
	return replay_auto_arena(kmt_reader_origin(replay->reader), scan->peak_granted_bytes[replay->options->level]);
}

static bool open_caches(struct replay *replay, const struct replay_scan *scan, struct kml_error *error)
{
	uint32_t count;
	kmt_reader_caches(replay->reader, &count);
	if (replay->options->level == REPLAY_PAGES)
		return true;
	replay->cache_open = calloc(count + 1, sizeof *replay->cache_open);
	if (!replay->cache_open)
		return kml_fail(error, "out of memory for %u caches", count);
	for (uint32_t i = 0; i < count; i++)
		if (!scan->first_told || scan->first_told[i] != REPLAY_OPENED_LATER)
			replay_open_cache(replay, (uint16_t)i,
					  scan->slabs_at_start ? scan->slabs_at_start[i]
							       : replay->caches[i].slabs_at_start);
	return true;
}

/* Only what needs it pays for a pass over the trace. */
static bool scan_if_needed(const struct replay *replay, struct replay_scan *scan, struct kml_error *error)
{
	*scan = (struct replay_scan){0};
	const struct kmt_totals *totals = kmt_reader_totals(replay->reader);
	bool wants_arena = replay->options->arena_bytes == 0 || replay->recorded;
	bool wants_slabs = replay->allocator->settle && totals->snapshots > 0;
	if (wants_arena || wants_slabs)
		return replay_scan(replay->reader, scan, error);
	return totals->op_events[KMT_CACHE_OPEN] == 0 || replay_scan_caches(replay->reader, scan, error);
}

/* What the trace tells beyond requests, and who in the stack listens. */
static bool arrange_notices(struct replay *replay, const struct kml_spec *spec, struct kml_environment *environment,
			    struct kml_error *error)
{
	const struct kmt_totals *totals = kmt_reader_totals(replay->reader);
	const struct kml_allocator *lowest = spec->layer[spec->layer_count - 1];
	if (replay->options->level != REPLAY_PAGES && replay->allocator->notice) {
		environment->reaps_told = totals->op_events[KMT_REAP] > 0;
		environment->rcu_told = totals->op_events[KMT_RCU_FREE] > 0;
		replay->told_ops |= 1u << KMT_REAP | 1u << KMT_RCU_FREE;
	}
	if (!replay->options->add_pages)
		return true;
	if (totals->op_events[KMT_PAGE_ADD] == 0)
		return kml_fail(error,
				"%s: no event tells how memory came to the page allocator: only a stream from boot "
				"does; let the arena begin full",
				kmt_reader_path(replay->reader));
	if (!lowest->page_add)
		return kml_fail(error, "%s cannot begin empty: take binary as the page allocator", lowest->name);
	environment->starts_empty = true;
	replay->told_ops |= 1u << KMT_PAGE_ADD;
	return true;
}

static bool start(struct replay *replay, const struct kml_spec *spec, const struct replay_scan *scan,
		  struct kml_error *error)
{
	const struct kmt_origin *origin = kmt_reader_origin(replay->reader);
	uint32_t cache_count;
	replay->caches = kmt_reader_caches(replay->reader, &cache_count);
	struct kml_environment environment = {
		/* Pages alone: no sense in units below the page. */
		.unit_bytes = replay->options->level == REPLAY_PAGES ? origin->page_bytes : 0,
		.page_bytes = origin->page_bytes,
		.cpu_count = origin->cpu_count,
		.cache_count = cache_count,
		.seed = replay->options->seed,
	};
	if (!arrange_notices(replay, spec, &environment, error))
		return false;
	uint64_t arena_bytes = choose_arena(replay, scan);
	/* Page allocators keep their books outside the arena: without memory behind it a replay measures them, not the
	   clearing of pages. The shadow model writes to every block, and slabs live in their pages. */
	bool needs_memory = replay->options->check || replay->takes_objects;
	bool with_memory = needs_memory && !(replay->allocator->traits & KML_TRAIT_NO_MEMORY);
	replay->arena = kml_arena_create(arena_bytes, origin->page_bytes, with_memory, error);
	if (!replay->arena)
		return false;
	replay->result->arena_bytes = arena_bytes;
	environment.arena = replay->arena;
	if (!kml_stack_create(&replay->stack, spec, &environment, error))
		return false;
	replay->heap = kml_stack_top(&replay->stack);
	replay->allocator = replay->heap->allocator; /* may be another table than the registered one */
	if (replay->options->check) {
		replay->shadow = kml_shadow_create(&replay->stack, replay->arena, error);
		if (!replay->shadow)
			return false;
	}
	if (!prepare_slots(replay, error) || !open_caches(replay, scan, error) || !replay_give_seeds(replay, error))
		return false;
	replay_start_clock(replay);
	return true;
}

static double mean(unsigned __int128 sum, uint64_t count)
{
	return count ? (double)sum / (double)count : 0;
}

static void conclude(struct replay *replay)
{
	struct replay_result *result = replay->result;
	result->mean_requested_bytes = mean(replay->requested_sum, replay->mean_count);
	result->mean_granted_bytes = mean(replay->granted_sum, replay->mean_count);
	result->mean_held_bytes = mean(replay->held_sum, replay->mean_count);
	result->mean_held_over_requested = replay->ratio_count ? replay->ratio_sum / (double)replay->ratio_count : 0;
}

/* A stack that failed a check may be too broken to be taken down, which would hide what was found: it stays. */
struct broken {
	struct kml_stack stack;
	struct broken *next;
};

static void keep_broken(const struct kml_stack *stack)
{
	static struct broken *kept;
	struct broken *broken = malloc(sizeof *broken);
	if (!broken)
		return;
	*broken = (struct broken){*stack, kept};
	kept = broken;
}

static void clean_up(struct replay *replay)
{
	if (replay->shadow)
		kml_shadow_destroy(replay->shadow);
	if (replay->heap && replay->result->check_failed)
		keep_broken(&replay->stack);
	else if (replay->heap)
		kml_stack_destroy(&replay->stack);
	kml_arena_destroy(replay->arena);
	kml_unreserve(replay->slots, (kmt_reader_totals(replay->reader)->objects + 1) * sizeof *replay->slots);
	free(replay->cache_open);
	free(replay->surplus);
	free(replay->exhausted.grants);
}

/* Those planned in time that no event came after; and the end is always a sample. */
static bool take_last_samples(struct replay *replay)
{
	if (!take_samples_before(replay, UINT64_MAX))
		return false;
	bool at_sample = replay->samples_taken > 0 && replay->result->at_end.event == replay->position;
	return at_sample || replay->result->check_failed || take_sample(replay);
}

static bool replay_stream(struct replay *replay, const struct kml_spec *spec, struct kml_error *error)
{
	struct replay_scan scan;
	if (!scan_if_needed(replay, &scan, error))
		return false;
	bool started = start(replay, spec, &scan, error);
	replay_scan_free(&scan);
	if (!started || !feed_stream(replay, error))
		return false;
	replay_settle(replay);
	if (replay->bare && !replay->shadow)
		return true;
	if (!take_last_samples(replay))
		return stopped_by_observer(replay, error);
	if (!replay->bare)
		conclude(replay);
	replay_check_end(replay);
	return true;
}

static bool replay_whole(struct replay *replay, const struct kml_spec *spec, struct replay_result *result,
			 struct kml_error *error)
{
	const struct kml_allocator *allocator = spec->layer[0];
	memset(result, 0, sizeof *result);
	replay->result = result;
	replay->next_check = UINT64_MAX;
	if (replay->options->check && replay->options->check_every > 0)
		replay->next_check = replay->options->check_every;
	replay->page_bytes = kmt_reader_origin(replay->reader)->page_bytes;
	replay->allocator = allocator;
	replay->recorded = allocator->traits & KML_TRAIT_RECORDED;
	replay->keeps_blocks = !(allocator->traits & KML_TRAIT_NO_REUSE);
	replay->takes_objects = allocator->layer == KML_LAYER_OBJECTS || replay->recorded;
	replay->request_flags = replay->recorded ? UINT16_MAX : COMMON_FLAGS;
	if (allocator->settle)
		replay->request_flags |= KML_WARM;
	bool done = replay_stream(replay, spec, error);
	clean_up(replay);
	return done;
}

uint64_t replay_failures(const struct replay_result *result)
{
	uint64_t failures = 0;
	for (int status = KML_OK + 1; status < KML_STATUS_COUNT; status++)
		failures += result->failures[status];
	return failures;
}

bool replay_run(struct kmt_reader *reader, const struct kml_spec *spec, const struct replay_options *options,
		replay_observer *observer, replay_snapshot_observer *snapshot_observer, void *context,
		struct replay_result *result, struct kml_error *error)
{
	struct replay replay = {
		.reader = reader,
		.options = options,
		.observer = observer,
		.snapshot_observer = snapshot_observer,
		.context = context,
	};
	return replay_whole(&replay, spec, result, error);
}

bool replay_may_add_pages(struct kmt_reader *reader, const struct kml_spec *spec, const struct replay_options *options)
{
	return options->level == REPLAY_ALL && options->arena_bytes == 0 &&
	       kmt_reader_totals(reader)->op_events[KMT_PAGE_ADD] > 0 &&
	       spec->layer[spec->layer_count - 1]->page_add != NULL;
}

bool replay_run_bare(struct kmt_reader *reader, const struct replay_tape *tape, const struct kml_spec *spec,
		     const struct replay_options *options, struct replay_result *result, struct kml_error *error)
{
	struct replay replay = {.reader = reader, .tape = tape, .bare = true, .options = options};
	return replay_whole(&replay, spec, result, error);
}
