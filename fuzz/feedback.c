/*
 * feedback.c - coverage counters kept and put back: those of clang's inline-8bit-counters (SanitizerCoverage: a section
 * of a byte an edge) and AFL++'s shared map (afl-compiler-rt.o.c). Both are there only in a build for that engine.
 */
#include "fuzz/feedback.h"

#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"

extern uint8_t __start___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
extern uint8_t __stop___sancov_cntrs[] __attribute__((weak, visibility("hidden")));
extern const uintptr_t __start___sancov_pcs[] __attribute__((weak, visibility("hidden")));
extern uint8_t *__afl_area_ptr __attribute__((weak));
extern uint32_t __afl_map_size __attribute__((weak));

static uint8_t *held;
static size_t held_room;

uint8_t *feedback_counters(size_t *count)
{
	if (&__afl_area_ptr && &__afl_map_size) {
		*count = __afl_map_size;
		return __afl_area_ptr;
	}
	*count = __start___sancov_cntrs ? (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs) : 0;
	return __start___sancov_cntrs;
}

uintptr_t feedback_place(size_t counter)
{
	/* Pairs: an address and flags. */
	return __start___sancov_pcs ? __start___sancov_pcs[2 * counter] : 0;
}

void feedback_hold(void)
{
	size_t count;
	const uint8_t *now = feedback_counters(&count);
	if (count > held_room) {
		free(held);
		held = malloc(count);
		KML_CHECK(held, "no memory for %zu counters", count);
		held_room = count;
	}
	if (count)
		memcpy(held, now, count);
}

void feedback_restore(void)
{
	size_t count;
	uint8_t *now = feedback_counters(&count);
	if (count)
		memcpy(now, held, count <= held_room ? count : held_room);
}
