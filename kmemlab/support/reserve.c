/*
 * reserve.c - see reserve.h.
 *
 * Size classes are powers of two from a page to KEPT_MAX_BYTES; each keeps a stack of at most KEPT_PER_CLASS, linked
 * through their first words. Invariant: what is kept is poisoned but for those, so that AddressSanitizer catches a
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
	uint64_t zero_bytes; /* known to be zero, this header apart */
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
	uint64_t zero_bytes = sizeof(struct kept);
	uint8_t *memory = (uint8_t *)kept_of_class[shift].first;
	if (memory != NULL) {
		struct kept *kept = kept_of_class[shift].first;
		zero_bytes = kept->zero_bytes;
		kept_of_class[shift].first = kept->next;
		kept_of_class[shift].count--;
	} else {
		memory = malloc(1ull << shift);
		if (memory == NULL)
			return NULL;
		kml_poison(memory, 1ull << shift);
	}
	kml_unpoison(memory, size_bytes);
	memset(memory, 0, sizeof(struct kept) < size_bytes ? sizeof(struct kept) : size_bytes);
	if (size_bytes > zero_bytes)
		memset(memory + zero_bytes, 0, size_bytes - zero_bytes);
	if (size_bytes < sizeof(struct kept))
		kml_poison(memory + size_bytes, sizeof(struct kept) - size_bytes);
	return memory;
}

static void unreserve_small(void *memory, uint64_t size_bytes, uint64_t zero_bytes)
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
	kept->zero_bytes = zero_bytes > sizeof(*kept) ? zero_bytes : sizeof(*kept);
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
		unreserve_small(memory, size_bytes, 0);
	else
		munmap(memory, size_bytes);
}

void kml_unreserve_zero(void *memory, uint64_t size_bytes)
{
	if (memory != NULL && size_bytes <= KEPT_MAX_BYTES)
		unreserve_small(memory, size_bytes, size_bytes);
	else
		kml_unreserve(memory, size_bytes);
}
