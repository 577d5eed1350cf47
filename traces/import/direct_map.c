/*
 * direct_map.c - page size, and where the kernel maps physical address 0: ties object addresses to page frames.
 *
 * A kernel maps all memory linearly: pointer = base + pfn * page size. The base is random on most kernels (KASLR) and
 * no event tells it, but when a slab takes a block of pages the very next events of that cpu hand out an object of it.
 * Each such pair votes for the base that would put the object in the block; blocks are naturally aligned, so one pair
 * gives one candidate. Chance pairs give bases that are no multiple of 512 MiB (every architecture's linear map is,
 * arch/x86/mm/kaslr.c, arch/arm64/mm/init.c) with odds of 131071 in 131072. The base with most votes wins if it has
 * the majority. Cost: O(n), 4 KiB.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "traces/import/internal.h"

enum { EVENTS_LATER = 3, CANDIDATES = 64, SHIFTS = 3 };
#define BASE_ALIGN (1ull << 29)

static const uint32_t page_shifts[SHIFTS] = {12, 14, 16};

struct candidate {
	uint64_t base, votes;
};

struct election {
	struct candidate candidates[CANDIDATES];
	uint32_t count;
	uint64_t votes;
};

/* The latest block of pages each cpu was given, and how many of its events ago. */
struct recent {
	uint64_t pfn;
	uint32_t order, age;
};

static void vote(struct election *election, uint64_t pointer, const struct recent *block, uint32_t shift)
{
	uint64_t block_bytes = 1ull << (shift + block->order);
	uint64_t base = (pointer & ~(block_bytes - 1)) - (block->pfn << shift);

	if (base % BASE_ALIGN != 0 || base > pointer)
		return;
	election->votes++;
	for (uint32_t i = 0; i < election->count; i++) {
		if (election->candidates[i].base == base) {
			election->candidates[i].votes++;
			return;
		}
	}
	if (election->count < CANDIDATES)
		election->candidates[election->count++] = (struct candidate){base, 1};
}

static void hold_elections(const struct import *import, struct recent *recent, struct election *elections)
{
	for (uint32_t i = 0; i < import->events.count; i++) {
		const struct stored_event *event = &import->events.items[i];
		struct recent *block = &recent[event->cpu];

		if (event->kind == RAW_PAGE_ALLOC) {
			*block = (struct recent){event->place, event->order, 0};
			continue;
		}
		if (block->age++ >= EVENTS_LATER)
			continue;
		if ((event->kind != RAW_CACHE_ALLOC && event->kind != RAW_KMALLOC) ||
		    event->place <= IMPORT_ZERO_SIZE_PTR)
			continue;
		for (int shift = 0; shift < SHIFTS; shift++)
			vote(&elections[shift], event->place, block, page_shifts[shift]);
	}
}

static const struct candidate *winner(const struct election *election)
{
	const struct candidate *best = NULL;

	for (uint32_t i = 0; i < election->count; i++) {
		if (best == NULL || election->candidates[i].votes > best->votes)
			best = &election->candidates[i];
	}
	return best != NULL && best->votes * 2 > election->votes ? best : NULL;
}

/*
 * Without pages to tie them to, all that the base changes is where the lowest object lies: round down. Objects then
 * keep their distances and alignment.
 */
static uint64_t lowest_pointer_base(const struct import *import)
{
	uint64_t lowest = UINT64_MAX;

	for (uint32_t i = 0; i < import->events.count; i++) {
		const struct stored_event *event = &import->events.items[i];
		bool is_object = event->kind <= RAW_KFREE && event->place > IMPORT_ZERO_SIZE_PTR;
		if (is_object && event->place < lowest)
			lowest = event->place;
	}
	return lowest == UINT64_MAX ? 0 : lowest & ~(BASE_ALIGN - 1);
}

/* The sum of the numbers that follow `key` in a text of the kernel. */
static uint64_t sum_of(const char *text, const char *key)
{
	uint64_t sum = 0;

	for (const char *at = strstr(text, key); at != NULL; at = strstr(at + 1, key))
		sum += strtoull(at + strlen(key), NULL, 10);
	return sum;
}

/* /proc/meminfo's MemTotal in KiB and /proc/zoneinfo's managed pages are the same memory. */
void import_find_page_size(struct import *import)
{
	uint64_t total_bytes = 0, managed_pages = 0;

	for (uint32_t i = 0; i < import->snapshots.count; i++) {
		const struct stored_snapshot *snapshot = &import->snapshots.items[i];
		if (snapshot->kind == KMT_SNAPSHOT_MEMINFO && total_bytes == 0)
			total_bytes = sum_of(snapshot->text, "MemTotal:") << 10;
		if (snapshot->kind == KMT_SNAPSHOT_ZONEINFO && managed_pages == 0)
			managed_pages = sum_of(snapshot->text, "  managed ");
	}
	for (int i = 0; i < SHIFTS; i++) {
		uint64_t bytes = managed_pages << page_shifts[i];
		if (import->origin.page_bytes == 0 && bytes / 4 * 3 < total_bytes && total_bytes < bytes / 4 * 5)
			import->page_shift = page_shifts[i];
	}
	if (import->origin.page_bytes != 0)
		import->page_shift = (uint32_t)__builtin_ctz(import->origin.page_bytes);
}

void import_find_direct_map(struct import *import)
{
	struct recent *recent = malloc(import->origin.cpu_count * sizeof(*recent));
	struct election *elections = calloc(SHIFTS, sizeof(*elections));
	const struct candidate *best = NULL;
	const uint32_t known_shift = import->page_shift;

	for (uint32_t i = 0; recent != NULL && i < import->origin.cpu_count; i++)
		recent[i] = (struct recent){.age = EVENTS_LATER};
	if (recent != NULL && elections != NULL && !import->pointers_hashed)
		hold_elections(import, recent, elections);
	for (int i = 0; elections != NULL && i < SHIFTS; i++) {
		const struct candidate *candidate = winner(&elections[i]);
		if (known_shift != 0 && known_shift != page_shifts[i])
			continue;
		if (candidate != NULL && (best == NULL || candidate->votes > best->votes)) {
			best = candidate;
			import->page_shift = page_shifts[i];
		}
	}
	if (import->page_shift == 0)
		import->page_shift = page_shifts[0];
	import->origin.page_bytes = import_page_bytes(import);
	if (best != NULL && import->origin.direct_map_base == 0)
		import->origin.direct_map_base = best->base;
	free(recent);
	free(elections);
	if (import->origin.direct_map_base != 0 || import->pointers_hashed)
		return;
	if (!import->has_page_events)
		import->unanchored_base = lowest_pointer_base(import);
	else if (import->events.count > 0)
		import_warn(import,
			    "where the kernel maps physical memory could not be told from the trace (no slab took "
			    "pages while it ran): objects have no recorded address, and the slab allocator's own "
			    "pages are not told apart");
}

uint64_t import_physical(const struct import *import, uint64_t pointer)
{
	uint64_t base = import->origin.direct_map_base != 0 ? import->origin.direct_map_base : import->unanchored_base;

	if (base == 0 || pointer < base || pointer - base >= 1ull << 52)
		return KMT_NO_ADDRESS;
	return pointer - base;
}
