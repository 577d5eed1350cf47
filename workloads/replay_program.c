/*
 * replay_program.c - what only programs written for a test do: frees that must be refused, and taking all memory that
 * is left. And the end of every checked replay: all is freed and the arena must be whole again. See replay_state.h.
 */
#include "workloads/replay_state.h"

#include <inttypes.h>
#include <stdlib.h>

#include "allocators/check/invariants.h"

/* ------------------------------------------------------------------------------------------------ misuse */

static bool is_live(const struct slot *slot)
{
	return slot->requested_bytes > 0 && slot->granted_bytes > 0;
}

/* Does a live block start there? The shadow knows best. */
static bool starts_block(const struct replay *replay, uint64_t address)
{
	struct kml_live live;
	if (replay->shadow)
		return kml_shadow_next(replay->shadow, address, &live) && live.address == address;
	return replay->allocator->usable(replay->heap, address) != 0;
}

/* An offset inside a block but not its start; the block has 2 bytes at least. */
static uint64_t offset_inside(const struct slot *slot, uint64_t offset)
{
	return offset > 0 && offset < slot->granted_bytes ? offset : 1 + offset % (slot->granted_bytes - 1);
}

/* No byte of the arena, nor of the window behind it. */
static uint64_t foreign_address(const struct kml_arena *arena, uint64_t offset)
{
	uint64_t address, end = arena->size_bytes;
	if (arena->window_bytes > 0 && offset >= arena->window_address - end)
		end = arena->window_address + arena->window_bytes;
	return __builtin_add_overflow(end, offset, &address) ? UINT64_MAX : address;
}

/* Another cache than the block's, of an allocator that knows caches. */
static bool has_wrong_cache(const struct replay *replay, const struct slot *slot, const struct kmt_event *event)
{
	return is_live(slot) && !slot->is_page && !slot->is_orphan && replay->allocator->cache_open &&
	       replay->cache_open && event->cache != slot->cache;
}

/* Where the free goes; false: there is nothing to misuse. */
static bool aim_misuse(const struct replay *replay, const struct kmt_event *event, struct kml_release *release)
{
	const struct slot *slot = &replay->slots[event->object];
	bool has_inside = is_live(slot) && slot->granted_bytes > 1;
	release->address = slot->address;
	switch ((enum kmt_misuse)event->order) {
	case KMT_MISUSE_DOUBLE:
		return slot->requested_bytes == 0 && slot->is_freed && !starts_block(replay, slot->address);
	case KMT_MISUSE_INTERIOR:
		if (has_inside)
			release->address += offset_inside(slot, event->size_bytes);
		return has_inside;
	case KMT_MISUSE_MISALIGNED:
		if (has_inside)
			release->address += offset_inside(slot, (event->size_bytes + 1) | 1);
		return has_inside;
	case KMT_MISUSE_FOREIGN:
		release->address = foreign_address(replay->arena, event->size_bytes);
		return true;
	default:
		release->cache = event->cache;
		release->flags &= (uint16_t)~KML_KMALLOC; /* kfree() names no cache */
		return has_wrong_cache(replay, slot, event);
	}
}

void replay_feed_misuse(struct replay *replay, const struct kmt_event *event)
{
	struct slot *slot = &replay->slots[event->object];
	struct kml_release release = {.cache = KML_NO_CACHE, .cpu = event->cpu, .flags = slot->flags};
	if (!replay->keeps_blocks || !aim_misuse(replay, event, &release)) {
		replay->result->dead_frees++;
		return;
	}
	enum kml_status status = replay_call_free(replay, &release);
	if (status != KML_OK) {
		replay->result->refused_frees++;
		return;
	}
	bool may_be_merged =
		event->order == KMT_MISUSE_CACHE && kml_shadow_may_be_merged(replay->heap, event->cache, slot->cache);
	if (may_be_merged) {
		replay->result->frees++;
		replay_count_free(replay, slot);
	} else if (!replay->shadow) /* the shadow has said so otherwise */
		replay_fail(replay, event, "status: %s obeyed a %s free of %" PRIu64, replay->allocator->name,
			    kmt_misuse_name((enum kmt_misuse)event->order), release.address);
}

/* ------------------------------------------------------------------------------------------------ exhaustion */

/* Nobody asks for more blocks than this: an allocator that never runs out ends here. */
enum { GRANTS_MAX = 1 << 16 };

static bool keep_grant(struct replay *replay, const struct replay_grant *grant)
{
	struct replay_grants *grants = &replay->exhausted;
	if (grants->count == grants->room) {
		uint32_t room = grants->room ? 2 * grants->room : 64;
		struct replay_grant *larger = realloc(grants->grants, room * sizeof *larger);
		if (!larger)
			return false;
		grants->grants = larger;
		grants->room = room;
	}
	grants->grants[grants->count++] = *grant;
	return true;
}

/* One block more. */
static bool take_block(struct replay *replay, const struct kmt_event *event, uint64_t size_bytes, bool pages)
{
	const struct kml_request request = {
		.size_bytes = size_bytes,
		.align_bytes = pages ? replay->page_bytes : 0,
		.recorded = KML_NO_ADDRESS,
		.cache = KML_NO_CACHE,
		.cpu = event->cpu,
		.flags = (uint16_t)((event->flags & replay->request_flags) | (pages ? KML_PAGES : 0)),
	};
	if (replay->exhausted.count == GRANTS_MAX)
		return false;
	struct kml_grant grant = replay_call_alloc(replay, &request);
	if (grant.status != KML_OK)
		return false;
	struct replay_grant kept = {.address = grant.address,
				    .requested_bytes = size_bytes,
				    .granted_bytes = grant.granted_bytes,
				    .cpu = event->cpu,
				    .flags = request.flags};
	if (!keep_grant(replay, &kept)) {
		replay_fail(replay, event, "no memory for the list of %" PRIu32 " blocks", replay->exhausted.count);
		return false;
	}
	replay->live_blocks++;
	replay->requested_bytes[1] += size_bytes;
	replay->granted_bytes[1] += grant.granted_bytes;
	return !replay->stop && (!replay->shadow || kml_shadow_ok(replay->shadow, NULL));
}

static uint64_t largest_free(const struct replay *replay)
{
	struct kml_stats stats;
	replay->allocator->stats(replay->heap, &stats);
	return stats.largest_free_bytes;
}

/* Runs of pages from the largest on, halved when there is none; what is left of a page allocator's own units after. */
static void take_all(struct replay *replay, const struct kmt_event *event)
{
	uint64_t largest_bytes = largest_free(replay), size_bytes = replay->page_bytes;
	while (size_bytes <= largest_bytes / 2)
		size_bytes *= 2;
	for (; size_bytes >= replay->page_bytes; size_bytes /= 2)
		while (take_block(replay, event, size_bytes, true))
			;
	if (replay->allocator->layer != KML_LAYER_PAGES)
		return;
	do
		largest_bytes = largest_free(replay);
	while (largest_bytes > 0 && take_block(replay, event, largest_bytes, false));
}

static void give_all_back(struct replay *replay, const struct kmt_event *event)
{
	struct replay_grants *grants = &replay->exhausted;
	while (grants->count > 0) {
		const struct replay_grant *grant = &grants->grants[--grants->count];
		const struct kml_release release = {
			.address = grant->address, .cache = KML_NO_CACHE, .cpu = grant->cpu, .flags = grant->flags};
		enum kml_status status = replay_call_free(replay, &release);
		if (status != KML_OK) {
			replay_fail_free(replay, event, grant->granted_bytes, grant->address, status);
			return;
		}
		replay->live_blocks--;
		replay->requested_bytes[1] -= grant->requested_bytes;
		replay->granted_bytes[1] -= grant->granted_bytes;
	}
}

void replay_feed_exhaust(struct replay *replay, const struct kmt_event *event)
{
	if (!replay->keeps_blocks)
		return;
	if (event->order == 0)
		give_all_back(replay, event);
	else
		take_all(replay, event);
}

/* ------------------------------------------------------------------------------------------------ the end */

static void free_slot(struct replay *replay, struct slot *slot)
{
	const struct kml_release release = {
		.address = slot->address,
		.cache = slot->is_page || !replay->cache_open ? KML_NO_CACHE : replay_named_cache(slot),
		.flags = slot->flags,
	};
	enum kml_status status = replay_call_free(replay, &release);
	if (status == KML_OK)
		replay_count_free(replay, slot);
	else
		replay_fail_free(replay, NULL, slot->granted_bytes, slot->address, status);
}

static void free_all(struct replay *replay)
{
	uint64_t objects = kmt_reader_totals(replay->reader)->objects;
	give_all_back(replay, NULL);
	for (uint64_t id = 0; id < objects && !replay->result->check_failed; id++) {
		struct slot *slot = &replay->slots[id];
		if (is_live(slot))
			free_slot(replay, slot);
		else if (slot->requested_bytes == 0 && slot->granted_bytes > 0)
			replay_free_slab_page(replay, slot);
		replay_end_grace_period(replay, slot);
	}
}

void replay_check_end(struct replay *replay)
{
	if (!replay->shadow || !replay->keeps_blocks || replay->result->check_failed)
		return;
	free_all(replay);
	if (replay->result->check_failed)
		return;
	/* The recorded kernel holds its slabs until it gave them back itself. */
	if (kml_shadow_ok(replay->shadow, NULL) && !replay->recorded)
		kml_check_whole(replay->shadow);
	if (kml_shadow_ok(replay->shadow, NULL))
		kml_check_deep(replay->shadow);
	struct kml_error error;
	if (!kml_shadow_ok(replay->shadow, &error))
		replay_fail(replay, NULL, "%s", error.text);
}
