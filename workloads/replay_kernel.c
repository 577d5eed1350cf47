/*
 * replay_kernel.c - what the recorded kernel did beside serving requests: it opened and closed caches, shrank, drained
 * and reaped them, gave back objects after a grace period, handed memory to its page allocator; what was there when the
 * recording began; and the time that passed. See replay_state.h.
 */
#include "workloads/replay_state.h"

#include <assert.h>
#include <stdlib.h>

#include "workloads/seeds.h"

static_assert((int)KMT_REAP_BEGIN == KML_NOTICE_REAP_BEGIN && (int)KMT_REAP_END == KML_NOTICE_REAP_END &&
		      (int)KMT_REAP_CPU == KML_NOTICE_REAP_CPU && (int)KMT_REAP_SHARED == KML_NOTICE_REAP_SHARED &&
		      (int)KMT_REAP_FREELIST == KML_NOTICE_REAP_FREELIST &&
		      (int)KMT_REAP_TUNE == KML_NOTICE_REAP_TUNE && (int)KMT_REAP_KINDS == KML_NOTICE_RCU_FREE,
	      "reaps are told under their own number");

/* Pages of the recorded slab allocator: held by the recorded kernel, asked for by nobody. */
static void feed_slab_page(struct replay *replay, const struct kmt_event *event)
{
	uint16_t flags = (uint16_t)((event->flags & replay->request_flags) | KML_PAGES | KML_SLAB_PAGE);
	uint32_t cache = event->cache == KMT_NO_CACHE ? KML_NO_CACHE : event->cache;
	if (event->op == KMT_PAGE_ALLOC) {
		struct kml_request request = {.size_bytes = event->size_bytes,
					      .align_bytes = replay->page_bytes,
					      .recorded = event->address,
					      .cache = cache,
					      .cpu = event->cpu,
					      .flags = flags};
		struct kml_grant grant = replay->allocator->alloc(replay->heap, &request);
		/* Asked for by nobody (requested 0), but there (granted). */
		if (grant.status == KML_OK)
			replay->slots[event->object] =
				(struct slot){.address = grant.address, .granted_bytes = request.size_bytes};
		return;
	}
	struct slot *slot = &replay->slots[event->object];
	struct kml_release release = {.address = slot->address, .cache = cache, .cpu = event->cpu, .flags = flags};
	if (slot->requested_bytes == 0 && slot->granted_bytes != 0)
		(void)replay->allocator->free(replay->heap, &release);
	slot->granted_bytes = 0;
}

void replay_free_slab_page(struct replay *replay, struct slot *slot)
{
	const struct kml_release release = {
		.address = slot->address, .cache = KML_NO_CACHE, .flags = KML_PAGES | KML_SLAB_PAGE};
	(void)replay->allocator->free(replay->heap, &release);
	slot->granted_bytes = 0;
}

/* ------------------------------------------------------------------------------------------ other events */

void replay_open_cache(struct replay *replay, uint16_t index, uint64_t slabs_at_start)
{
	const struct kmt_cache *from = &replay->caches[index];
	uint64_t objects_at_start = from->slabs_at_start * from->objects_per_slab;
	struct kml_cache cache = {
		.name = from->name,
		.object_bytes = from->object_bytes,
		.align_bytes = (from->align_bytes & (from->align_bytes - 1)) == 0 ? from->align_bytes : 0,
		.has_constructor = from->flags & KMT_CACHE_CONSTRUCTOR,
		.typesafe_by_rcu = from->flags & KMT_CACHE_TYPESAFE_BY_RCU,
		.reclaimable = from->flags & KMT_CACHE_RECLAIMABLE,
		.is_kmalloc = from->flags & KMT_CACHE_KMALLOC,
		.recorded_slot_bytes = from->slot_bytes,
		.recorded_objects_per_slab = from->objects_per_slab,
		.recorded_pages_per_slab = from->pages_per_slab,
		.recorded_slabs_at_start = slabs_at_start,
		.recorded_free_at_start =
			objects_at_start > from->objects_at_start ? objects_at_start - from->objects_at_start : 0,
	};
	replay->cache_open[index] = true;
	if (replay->allocator->cache_open)
		(void)replay->allocator->cache_open(replay->heap, index, &cache);
}

/* A merged cache may be closed under one name while objects of that name live; no other may. */
static bool may_leave_objects(const struct replay *replay, uint16_t index)
{
	struct kml_cache_stats stats = {0};
	bool has_figures = replay->allocator->cache_stats &&
			   replay->allocator->cache_stats(replay->heap, index, &stats) && stats.name;
	return replay->live_blocks > 0 && (!has_figures || stats.live_objects > 0);
}

/* O(ids of the trace). Slots that were never used stay untouched: their memory is reserved only. */
static void orphan_objects(struct replay *replay, uint16_t index)
{
	uint64_t count = kmt_reader_totals(replay->reader)->objects;
	for (uint64_t i = 0; i < count; i++) {
		struct slot *slot = &replay->slots[i];
		if (slot->cache == index && (slot->requested_bytes > 0 || slot->is_freed))
			slot->is_orphan = 1;
	}
}

static void close_cache(struct replay *replay, uint16_t index)
{
	if (!replay->cache_open[index])
		return;
	bool leaves_objects = may_leave_objects(replay, index);
	enum kml_status status =
		replay->allocator->cache_close ? replay->allocator->cache_close(replay->heap, index) : KML_OK;
	if (status != KML_OK) {
		replay->result->unserved_closes++;
		return;
	}
	replay->cache_open[index] = false;
	if (leaves_objects)
		orphan_objects(replay, index);
}

/* Every layer caches for itself: the top first, what it gives back the next one may give back too. */
static void shrink_all(struct replay *replay)
{
	for (uint32_t i = 0; i < replay->stack.layer_count; i++) {
		struct kml_heap *heap = replay->stack.layer[i];
		if (heap->allocator->shrink)
			heap->allocator->shrink(heap);
	}
}

static void shrink_cache(struct replay *replay, uint16_t index)
{
	if (replay->allocator->cache_shrink && replay->cache_open && replay->cache_open[index])
		replay->allocator->cache_shrink(replay->heap, index);
}

static void drain_all(struct replay *replay, uint16_t cpu)
{
	for (uint32_t i = 0; i < replay->stack.layer_count; i++) {
		struct kml_heap *heap = replay->stack.layer[i];
		if (heap->allocator->drain)
			heap->allocator->drain(heap, cpu);
	}
}

/* ------------------------------------------------------------------- what the recorded kernel did by itself */

static void tell_reap(struct replay *replay, const struct kmt_event *event)
{
	struct kml_notice notice = {
		.kind = (enum kml_notice_kind)event->order,
		.cache = event->cache == KMT_NO_CACHE ? KML_NO_CACHE : event->cache,
		.cpu = event->cpu,
		.count = event->size_bytes,
		.batchcount = event->granted_bytes,
		.address = KML_NO_ADDRESS,
	};
	if (event->order < KMT_REAP_KINDS)
		replay->allocator->notice(replay->heap, &notice);
}

static void tell_rcu_free(struct replay *replay, struct slot *slot, uint16_t cpu)
{
	if (!slot->is_freed || slot->is_page)
		return; /* its allocation failed, or the trace repeats itself */
	slot->is_freed = 0;
	struct kml_notice notice = {
		.kind = KML_NOTICE_RCU_FREE,
		.cache = replay_named_cache(slot),
		.cpu = cpu,
		.count = 1,
		.address = slot->address,
	};
	replay->allocator->notice(replay->heap, &notice);
}

void replay_end_grace_period(struct replay *replay, struct slot *slot)
{
	if (replay->told_ops >> KMT_RCU_FREE & 1)
		tell_rcu_free(replay, slot, 0);
}

/* Memory as the recorded kernel gave it to its page allocator: to the lowest layer. */
static void add_pages(struct replay *replay, const struct kmt_event *event)
{
	struct kml_heap *heap = replay->stack.layer[replay->stack.layer_count - 1];
	uint64_t size_bytes = (uint64_t)replay->page_bytes << event->order;
	bool inside = event->order < 32 && event->address <= replay->arena->size_bytes &&
		      size_bytes <= replay->arena->size_bytes - event->address;
	if (!inside || heap->allocator->page_add(heap, event->address, size_bytes, event->cpu) != KML_OK)
		replay->result->refused_page_adds++;
}

/* Events that ask for nothing and give nothing back. */
void replay_feed_other(struct replay *replay, const struct kmt_event *event)
{
	bool named = event->cache != KMT_NO_CACHE && replay->cache_open;
	switch (event->op) {
	case KMT_PAGE_ALLOC:
	case KMT_PAGE_FREE:
		if (replay_is_recorded_slab_page(replay, event) && replay->options->level != REPLAY_PAGES)
			feed_slab_page(replay, event);
		return;
	case KMT_CACHE_OPEN:
		if (named && !replay->cache_open[event->cache])
			replay_open_cache(replay, event->cache, 0);
		return;
	case KMT_CACHE_CLOSE:
		if (named)
			close_cache(replay, event->cache);
		return;
	case KMT_SHRINK:
		if (event->cache == KMT_NO_CACHE)
			shrink_all(replay);
		else
			shrink_cache(replay, event->cache);
		return;
	case KMT_DRAIN:
		drain_all(replay, event->cpu);
		return;
	case KMT_PAGE_ADD:
		if (replay_tells(replay, event))
			add_pages(replay, event);
		return;
	case KMT_REAP:
		if (replay_tells(replay, event))
			tell_reap(replay, event);
		return;
	case KMT_RCU_FREE:
		if (replay_tells(replay, event))
			tell_rcu_free(replay, &replay->slots[event->object], event->cpu);
		return;
	default: /* MARK */
		return;
	}
}

/* --------------------------------------------------------------------------------- the start in mid-life */

void replay_settle(struct replay *replay)
{
	if (replay->has_settled)
		return;
	replay->has_settled = true;
	if (!replay->recorded)
		replay->request_flags &= (uint16_t)~KML_WARM; /* whatever a trace says further on */
	for (uint32_t i = 0; i < replay->stack.layer_count; i++) {
		struct kml_heap *heap = replay->stack.layer[i];
		if (heap->allocator->settle)
			heap->allocator->settle(heap);
	}
}

/* ---------------------------------------------------------------------------------------- the trace's clock */

static void find_next_tick(struct replay *replay)
{
	replay->next_tick_ns = UINT64_MAX;
	for (uint32_t i = 0; i < replay->stack.layer_count; i++)
		if (replay->tick_ns[i] < replay->next_tick_ns)
			replay->next_tick_ns = replay->tick_ns[i];
}

/* Each layer that asked for it is told the time. */
static void tick(struct replay *replay, uint64_t time_ns)
{
	for (uint32_t i = 0; i < replay->stack.layer_count; i++) {
		struct kml_heap *heap = replay->stack.layer[i];
		if (!heap->allocator->tick || replay->tick_ns[i] > time_ns)
			continue;
		uint64_t next_ns = heap->allocator->tick(heap, time_ns);
		replay->tick_ns[i] = next_ns > time_ns ? next_ns : time_ns + 1;
	}
	find_next_tick(replay);
}

/* The clock has come to time_ns. */
void replay_tick_until(struct replay *replay, uint64_t time_ns)
{
	if (replay->next_tick_ns <= time_ns)
		tick(replay, time_ns);
}

void replay_start_clock(struct replay *replay)
{
	for (uint32_t i = 0; i < replay->stack.layer_count; i++)
		replay->tick_ns[i] = replay->stack.layer[i]->allocator->tick ? 0 : UINT64_MAX;
	find_next_tick(replay);
	replay_tick_until(replay, 0);
}

/* The free slots of a start in mid-life, before anything that was live. What was counted too much is left out for
 * every allocator: all serve the same requests. */
bool replay_give_seeds(struct replay *replay, struct kml_error *error)
{
	struct replay_seeds seeds;
	if (replay->options->level == REPLAY_PAGES || kmt_reader_totals(replay->reader)->warm_events == 0)
		return true;
	if (!replay_seeds_collect(replay->reader, &seeds, error))
		return false;
	for (uint64_t i = 0; replay->allocator->seed && i < seeds.count; i++)
		if (replay->cache_open[seeds.seeds[i].cache])
			replay->allocator->seed(replay->heap, &seeds.seeds[i]);
	replay->surplus = seeds.surplus;
	seeds.surplus = NULL;
	replay_seeds_free(&seeds);
	return true;
}
