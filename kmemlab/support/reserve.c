/*
 * reserve.c - see reserve.h.
 *
 * Size classes are powers of two from a page to KEPT_MAX_BYTES; each keeps a stack of at most KEPT_PER_CLASS, linked
 * through their first word. Invariant: what is kept is poisoned but for that word, so that AddressSanitizer catches a
 * use after the end; of what is in use the slack behind size_bytes is poisoned.
 */
#include "kmemlab/support/reserve.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kmemlab/support/poison.h"

enum { KEPT_MIN_SHIFT = 9, KEPT_MAX_SHIFT = 18, KEPT_PER_CLASS = 8 };
#define KEPT_MAX_BYTES (1ull << KEPT_MAX_SHIFT)

struct kept {
	struct kept *next;
};

static struct {
	struct kept *first;
	uint32_t count;
} kept_of_class[KEPT_MAX_SHIFT + 1];

static uint32_t shift_for(uint64_t size_bytes)
{
	if (size_bytes <= 1ull << KEPT_MIN_SHIFT)
		return KEPT_MIN_SHIFT;
	return 64 - (uint32_t)__builtin_clzll(size_bytes - 1);
}

static void *reserve_small(uint64_t size_bytes)
{
	uint32_t shift = shift_for(size_bytes);
	struct kept *memory = kept_of_class[shift].first;
	if (memory != NULL) {
		kept_of_class[shift].first = memory->next;
		kept_of_class[shift].count--;
	} else {
		memory = malloc(1ull << shift);
		if (memory == NULL)
			return NULL;
		kml_poison(memory, 1ull << shift);
	}
	kml_unpoison(memory, size_bytes);
	return memset(memory, 0, size_bytes);
}

static void unreserve_small(void *memory, uint64_t size_bytes)
{
	uint32_t shift = shift_for(size_bytes);
	if (kept_of_class[shift].count == KEPT_PER_CLASS) {
		free(memory);
		return;
	}
	struct kept *kept = memory;
	kml_poison(memory, size_bytes);
	kml_unpoison(kept, sizeof(*kept));
	kept->next = kept_of_class[shift].first;
	kept_of_class[shift].first = kept;
	kept_of_class[shift].count++;
}

void *kml_reserve(uint64_t size_bytes)
{
	if (size_bytes <= KEPT_MAX_BYTES)
		return reserve_small(size_bytes);
	void *memory =
		mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return memory == MAP_FAILED ? NULL : memory;
}

void kml_unreserve(void *memory, uint64_t size_bytes)
{
	if (memory == NULL)
		return;
	if (size_bytes <= KEPT_MAX_BYTES)
		unreserve_small(memory, size_bytes);
	else
		munmap(memory, size_bytes);
}
