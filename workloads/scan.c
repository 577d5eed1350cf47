/*
 * scan.c - one pass over a trace, before any replay.
 *
 * The recorded peak sets the size of the arena.
 */
#include "workloads/scan.h"

#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/round.h"
#include "workloads/slabs_at_start.h"

static const uint64_t ARENA_STEP_BYTES = 4u << 20;
static const uint64_t UNPLACED_ALIGN_BYTES = 64; /* a cache line: no kmem cache is aligned to more by default */

/* What is live of one id. */
struct live {
	uint64_t granted_bytes;
	uint64_t requested_bytes;
};

struct scanner {
	struct replay_scan *scan;
	struct live *live[REPLAY_LEVELS];
	uint64_t requested_bytes[REPLAY_LEVELS];
	uint64_t granted_bytes[REPLAY_LEVELS];
	struct slabs_at_start slabs;
	uint32_t page_bytes;
};

uint64_t replay_page_bytes(uint32_t page_bytes, uint64_t size_bytes)
{
	uint64_t bytes = page_bytes;
	while (bytes < size_bytes && bytes < 1ull << 63)
		bytes <<= 1;
	return bytes < size_bytes ? 0 : bytes;
}

uint64_t replay_auto_arena(const struct kmt_origin *origin, uint64_t peak_granted_bytes)
{
	if (origin->arena_bytes != 0)
		return origin->arena_bytes;
	if (peak_granted_bytes == 0)
		return ARENA_STEP_BYTES;
	if (peak_granted_bytes > UINT64_MAX / 4)
		return UINT64_MAX; /* the arena will refuse it with an error */
	return kml_round_up(2 * peak_granted_bytes, ARENA_STEP_BYTES);
}

/* Absurd sizes of a hostile trace end at the ceiling instead of wrapping. */
static uint64_t add_capped(uint64_t sum, uint64_t addend)
{
	return sum > UINT64_MAX - addend ? UINT64_MAX : sum + addend;
}

static void grow(struct scanner *scanner, enum replay_level level, const struct kmt_event *event)
{
	uint64_t requested = event->size_bytes;
	if (level == REPLAY_PAGES)
		requested = replay_page_bytes(scanner->page_bytes, requested);
	uint64_t granted = event->granted_bytes > requested ? event->granted_bytes : requested;
	struct live *live = &scanner->live[level][event->object];
	live->requested_bytes = requested;
	live->granted_bytes = granted;
	scanner->requested_bytes[level] = add_capped(scanner->requested_bytes[level], requested);
	scanner->granted_bytes[level] = add_capped(scanner->granted_bytes[level], granted);
	struct replay_scan *scan = scanner->scan;
	if (scanner->requested_bytes[level] > scan->peak_requested_bytes[level])
		scan->peak_requested_bytes[level] = scanner->requested_bytes[level];
	if (scanner->granted_bytes[level] > scan->peak_granted_bytes[level])
		scan->peak_granted_bytes[level] = scanner->granted_bytes[level];
}

static void shrink(struct scanner *scanner, enum replay_level level, const struct kmt_event *event)
{
	struct live *live = &scanner->live[level][event->object];
	scanner->requested_bytes[level] -= live->requested_bytes;
	scanner->granted_bytes[level] -= live->granted_bytes;
	*live = (struct live){0};
}

static void count_place(struct scanner *scanner, const struct kmt_event *event)
{
	struct replay_scan *scan = scanner->scan;
	uint64_t granted = event->granted_bytes > event->size_bytes ? event->granted_bytes : event->size_bytes;
	bool pages = event->op == KMT_PAGE_ALLOC || (event->flags & KMT_LARGE);
	if (event->address != KMT_NO_ADDRESS) {
		scan->recorded_addresses++;
		return;
	}
	scan->unplaced_bytes = add_capped(scan->unplaced_bytes, granted);
	scan->unplaced_bytes = add_capped(scan->unplaced_bytes, pages ? scanner->page_bytes : UNPLACED_ALIGN_BYTES);
}

/* What is told of a cache first says how it was before. */
static void note_first_told(struct replay_scan *scan, const struct kmt_event *event)
{
	bool tells = event->op == KMT_CACHE_OPEN || event->op == KMT_CACHE_CLOSE;
	if (tells && event->cache != KMT_NO_CACHE && scan->first_told[event->cache] == REPLAY_NOT_TOLD)
		scan->first_told[event->cache] =
			event->op == KMT_CACHE_OPEN ? REPLAY_OPENED_LATER : REPLAY_CLOSED_LATER;
}

static void scan_event(struct scanner *scanner, const struct kmt_event *event)
{
	bool alloc = event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC;
	for (int level = 0; level < REPLAY_LEVELS; level++) {
		if (replay_event_kind(level, event) == REPLAY_NOT_FED)
			continue;
		if (alloc)
			grow(scanner, level, event);
		else
			shrink(scanner, level, event);
	}
	if (alloc)
		count_place(scanner, event);
	slabs_at_start_event(&scanner->slabs, event);
	note_first_told(scanner->scan, event);
}

static bool scan_stream(struct scanner *scanner, struct kmt_reader *reader, struct kml_error *error)
{
	struct kmt_item item;
	if (!kmt_rewind(reader, error))
		return false;
	for (;;) {
		switch (kmt_next(reader, &item, error)) {
		case KMT_ITEM_EVENTS:
			for (uint32_t i = 0; i < item.event_count; i++)
				scan_event(scanner, &item.events[i]);
			break;
		case KMT_ITEM_SNAPSHOT:
			slabs_at_start_snapshot(&scanner->slabs, item.snapshot);
			break;
		case KMT_ITEM_END:
			return true;
		case KMT_ITEM_ERROR:
			return false;
		}
	}
}

bool replay_scan(struct kmt_reader *reader, struct replay_scan *scan, struct kml_error *error)
{
	*scan = (struct replay_scan){0};
	struct scanner scanner = {.scan = scan, .page_bytes = kmt_reader_origin(reader)->page_bytes};
	const struct kmt_cache *caches = kmt_reader_caches(reader, &scan->cache_count);
	uint64_t objects = kmt_reader_totals(reader)->objects;
	scan->first_told = calloc(scan->cache_count + 1, sizeof *scan->first_told);
	scan->slabs_at_start = calloc(scan->cache_count + 1, sizeof *scan->slabs_at_start);
	bool ready = scan->first_told && scan->slabs_at_start;
	ready = slabs_at_start_init(&scanner.slabs, caches, scan->cache_count) && ready;
	for (int level = 0; level < REPLAY_LEVELS; level++) {
		scanner.live[level] = calloc(objects + 1, sizeof *scanner.live[level]);
		ready = ready && scanner.live[level];
	}
	bool done = false;
	if (!ready)
		kml_fail(error, "%s: no memory for the %llu object ids of the trace: replay it on a larger machine",
			 kmt_reader_path(reader), (unsigned long long)objects);
	else if (scan_stream(&scanner, reader, error))
		done = true;
	for (uint32_t i = 0; done && i < scan->cache_count; i++)
		scan->slabs_at_start[i] = slabs_at_start_of(&scanner.slabs, i);
	for (int level = 0; level < REPLAY_LEVELS; level++)
		free(scanner.live[level]);
	slabs_at_start_free(&scanner.slabs);
	if (!done)
		replay_scan_free(scan);
	return done;
}

bool replay_scan_caches(struct kmt_reader *reader, struct replay_scan *scan, struct kml_error *error)
{
	struct kmt_item item;
	enum kmt_item_kind kind;
	*scan = (struct replay_scan){0};
	kmt_reader_caches(reader, &scan->cache_count);
	scan->first_told = calloc(scan->cache_count + 1, sizeof *scan->first_told);
	if (!scan->first_told)
		return kml_fail(error, "out of memory for %u caches", scan->cache_count);
	if (!kmt_rewind(reader, error))
		return false;
	while ((kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT)
		for (uint32_t i = 0; i < item.event_count; i++)
			note_first_told(scan, &item.events[i]);
	if (kind == KMT_ITEM_ERROR)
		replay_scan_free(scan);
	return kind == KMT_ITEM_END;
}

bool replay_event_belongs(enum replay_level level, const struct kmt_event *event)
{
	switch (event->op) {
	case KMT_CACHE_OPEN:
	case KMT_CACHE_CLOSE:
	case KMT_SHRINK:
	case KMT_DRAIN:
	case KMT_MISUSE:
	case KMT_EXHAUST:
		return true;
	default:
		return replay_event_kind(level, event) != REPLAY_NOT_FED;
	}
}

void replay_scan_free(struct replay_scan *scan)
{
	free(scan->first_told);
	free(scan->slabs_at_start);
	*scan = (struct replay_scan){0};
}
