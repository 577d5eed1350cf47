/*
 * arena_test.c - the page map against a model that knows every byte.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "allocators/arena.h"
#include "allocators/tests/faults.h"
#include "kmemlab/support/poison.h"
#include "kmemlab/support/random.h"

#define MODEL_MAX_BYTES 20000u
#define BLOCKS_MAX 400u
#define STEPS 4000u
#define TIB (1ull << 40)

/* ---------------------------------------------------------------------------------------------------- the model */

struct model {
	struct kml_arena *arena;
	bool taken[MODEL_MAX_BYTES];
	uint64_t address[BLOCKS_MAX], size_bytes[BLOCKS_MAX];
	uint32_t blocks;
};

static void compare(const struct model *model)
{
	const struct kml_arena *arena = model->arena;
	uint64_t held_pages = 0, taken_bytes = 0, cells[KML_ARENA_CELLS] = {0}, last_page = UINT64_MAX;
	for (uint64_t byte = 0; byte < arena->size_bytes; byte++) {
		if (!model->taken[byte])
			continue;
		taken_bytes++;
		cells[byte >> arena->cell_shift]++;
		held_pages += byte / arena->page_bytes != last_page;
		last_page = byte / arena->page_bytes;
	}
	assert_int_equal(arena->held_bytes, held_pages * arena->page_bytes);
	assert_int_equal(arena->taken_bytes, taken_bytes);
	assert_memory_equal(arena->cell_taken_bytes, cells, sizeof(cells));
}

static void mark(struct model *model, uint64_t address, uint64_t size_bytes, bool taken)
{
	for (uint64_t byte = address; byte < address + size_bytes; byte++)
		model->taken[byte] = taken;
}

static bool is_free(const struct model *model, uint64_t address, uint64_t size_bytes)
{
	for (uint64_t byte = address; byte < address + size_bytes; byte++)
		if (model->taken[byte])
			return false;
	return true;
}

static void take_at_random(struct model *model, uint64_t *random)
{
	uint64_t size_bytes = 1 + random_below(random, 1 + random_below(random, 5 * model->arena->page_bytes));
	if (size_bytes > model->arena->size_bytes || model->blocks == BLOCKS_MAX)
		return;
	/* Ends of the arena and of pages more often than chance would have it. */
	uint64_t address = random_below(random, model->arena->size_bytes - size_bytes + 1);
	if (random_below(random, 4) == 0)
		address -= address % model->arena->page_bytes;
	if (random_below(random, 8) == 0)
		address = model->arena->size_bytes - size_bytes;
	if (!is_free(model, address, size_bytes))
		return;
	kml_arena_take(model->arena, address, size_bytes);
	mark(model, address, size_bytes, true);
	model->address[model->blocks] = address;
	model->size_bytes[model->blocks++] = size_bytes;
}

static void give_at_random(struct model *model, uint64_t *random)
{
	if (model->blocks == 0)
		return;
	uint32_t index = (uint32_t)random_below(random, model->blocks);
	kml_arena_give(model->arena, model->address[index], model->size_bytes[index]);
	mark(model, model->address[index], model->size_bytes[index], false);
	model->blocks--;
	model->address[index] = model->address[model->blocks];
	model->size_bytes[index] = model->size_bytes[model->blocks];
}

static void agrees_with_a_byte_by_byte_model(void **state)
{
	(void)state;
	static const struct {
		uint64_t size_bytes;
		uint32_t page_bytes;
	} shapes[] = {{1, 1}, {1, 4096}, {100, 1}, {4096, 64}, {4097, 64}, {5000, 256}, {16384, 4096}, {19999, 4096}};
	static struct model model;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		memset(&model, 0, sizeof(model));
		model.arena = kml_arena_create(shapes[i].size_bytes, shapes[i].page_bytes, false, NULL);
		assert_non_null(model.arena);
		uint64_t random = i;
		for (uint32_t step = 0; step < STEPS; step++) {
			if (random_below(&random, 100) < 55)
				take_at_random(&model, &random);
			else
				give_at_random(&model, &random);
			if (step % 16 == 0)
				compare(&model);
		}
		while (model.blocks > 0)
			give_at_random(&model, &random);
		compare(&model);
		assert_int_equal(model.arena->held_bytes, 0);
		kml_arena_destroy(model.arena);
	}
}

/* Two blocks of 10 bytes that share a page hold one page; a block over its border holds two. */
static void shared_pages_count_once(void **state)
{
	(void)state;
	struct kml_arena *arena = kml_arena_create(16384, 4096, true, NULL);
	kml_arena_take(arena, 0, 10);
	kml_arena_take(arena, 100, 10);
	assert_int_equal(arena->held_bytes, 4096);
	kml_arena_take(arena, 4090, 10);
	assert_int_equal(arena->held_bytes, 8192);
	assert_int_equal(arena->taken_bytes, 30);
	kml_arena_give(arena, 0, 10);
	kml_arena_give(arena, 4090, 10);
	assert_int_equal(arena->held_bytes, 4096);
	kml_arena_give(arena, 100, 10);
	assert_int_equal(arena->held_bytes, 0);
	kml_arena_destroy(arena);
}

/* ------------------------------------------------------------------------------------------------- large arenas */

static void a_tebibyte_costs_what_is_touched(void **state)
{
	(void)state;
	struct kml_error error = {{0}};
	struct kml_arena *arena = kml_arena_create(TIB + 5, 4096, true, &error);
	if (arena == NULL) {
		fail_msg("%s", error.text);
		return;
	}
	kml_arena_take(arena, 0, 1);
	kml_arena_take(arena, TIB - 4096, 4096);
	kml_arena_take(arena, TIB, 5); /* the short last page */
	kml_arena_take(arena, 1ull << 39, 1ull << 38);
	assert_int_equal(arena->held_bytes, 3 * 4096 + (1ull << 38));
	arena->base[0] = 1;
	arena->base[TIB + 4] = 2;
	assert_int_equal(arena->base[1ull << 39], 0);
	kml_arena_give(arena, 1ull << 39, 1ull << 38);
	kml_arena_give(arena, TIB, 5);
	kml_arena_give(arena, TIB - 4096, 4096);
	kml_arena_give(arena, 0, 1);
	assert_int_equal(arena->held_bytes, 0);
	for (uint32_t cell = 0; cell < arena->cell_count; cell++)
		assert_int_equal(arena->cell_taken_bytes[cell], 0);
	kml_arena_destroy(arena);
}

static void cells_are_powers_of_two_and_at_most_256(void **state)
{
	(void)state;
	static const struct {
		uint64_t size_bytes;
		uint32_t shift, count;
	} expected[] = {{1, 0, 1},
			{256, 0, 256},
			{257, 1, 129},
			{512, 1, 256},
			{1 << 20, 12, 256},
			{(1 << 20) + 1, 13, 129},
			{200 * 1024, 10, 200},
			{TIB, 32, 256}};
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		struct kml_arena *arena = kml_arena_create(expected[i].size_bytes, 4096, false, NULL);
		assert_int_equal(arena->cell_shift, expected[i].shift);
		assert_int_equal(arena->cell_count, expected[i].count);
		assert_null(arena->base);
		kml_arena_take(arena, 0, expected[i].size_bytes);
		uint64_t sum_bytes = 0;
		for (uint32_t cell = 0; cell < arena->cell_count; cell++)
			sum_bytes += arena->cell_taken_bytes[cell];
		assert_int_equal(sum_bytes, expected[i].size_bytes);
		kml_arena_destroy(arena);
	}
}

static void a_page_is_found_by_address(void **state)
{
	(void)state;
	struct kml_arena *arena = kml_arena_create(10 * 4096, 4096, false, NULL);
	assert_ptr_equal(kml_arena_page(arena, 0), &arena->pages[0]);
	assert_ptr_equal(kml_arena_page(arena, 4095), &arena->pages[0]);
	assert_ptr_equal(kml_arena_page(arena, 4096), &arena->pages[1]);
	assert_null(kml_arena_page(arena, 4096)->owner);
	kml_arena_destroy(arena);
	kml_arena_destroy(NULL);
}

/* ------------------------------------------------------------------------------------------------------- window */

enum { WINDOW_PAGE = 4096, WINDOW_ARENA = 16 * WINDOW_PAGE + 100 };

/* The last page of the arena is short; one page without access; the window. */
static void the_window_lies_behind_the_memory(void **state)
{
	(void)state;
	struct kml_arena *arena = kml_arena_create(WINDOW_ARENA, WINDOW_PAGE, true, NULL);
	assert_int_equal(arena->window_address, 18 * WINDOW_PAGE);
	assert_int_equal(arena->window_bytes, 4 * 17 * WINDOW_PAGE);
	kml_arena_destroy(arena);
	/* Pages that the machine cannot map one by one. */
	arena = kml_arena_create(WINDOW_ARENA, 64, true, NULL);
	assert_int_equal(arena->window_bytes, 0);
	kml_arena_destroy(arena);
	/* The largest arena has one too. */
	arena = kml_arena_create(1ull << 46, WINDOW_PAGE, true, NULL);
	assert_non_null(arena);
	assert_int_equal(arena->window_bytes, TIB);
	arena->base[(1ull << 46) - 1] = 1;
	kml_arena_destroy(arena);
}

/* Pages 9, 3 and 4 as one run: what is written on one side is read on the other. */
static void pages_shown_twice_are_one_memory(void **state)
{
	(void)state;
	struct kml_arena *arena = kml_arena_create(WINDOW_ARENA, WINDOW_PAGE, true, NULL);
	uint64_t at = arena->window_address + WINDOW_PAGE;
	kml_arena_take(arena, 0, WINDOW_ARENA);
	memset(arena->base, 0x11, WINDOW_ARENA);
	assert_true(kml_arena_show(arena, at, 3 * WINDOW_PAGE));
	assert_true(kml_arena_share(arena, at, 9 * WINDOW_PAGE, WINDOW_PAGE));
	assert_true(kml_arena_share(arena, at + WINDOW_PAGE, 3 * WINDOW_PAGE, 2 * WINDOW_PAGE));
	for (uint64_t i = 0; i < 3 * WINDOW_PAGE; i++)
		assert_int_equal(arena->base[at + i], 0);
	for (uint64_t i = 0; i < 3 * WINDOW_PAGE; i++)
		arena->base[at + i] = (uint8_t)(i / 7);
	assert_memory_equal(arena->base + at, arena->base + 9 * WINDOW_PAGE, WINDOW_PAGE);
	assert_memory_equal(arena->base + at + WINDOW_PAGE, arena->base + 3 * WINDOW_PAGE, 2 * WINDOW_PAGE);
	arena->base[4 * WINDOW_PAGE + 5] = 0xee;
	assert_int_equal(arena->base[at + 2 * WINDOW_PAGE + 5], 0xee);
	/* Their neighbours are as they were. */
	assert_int_equal(arena->base[3 * WINDOW_PAGE - 1], 0x11);
	assert_int_equal(arena->base[5 * WINDOW_PAGE], 0x11);
	assert_int_equal(arena->base[8 * WINDOW_PAGE], 0x11);

	kml_arena_unshare(arena, 9 * WINDOW_PAGE, WINDOW_PAGE);
	kml_arena_unshare(arena, 3 * WINDOW_PAGE, 2 * WINDOW_PAGE);
	assert_int_equal(arena->base[4 * WINDOW_PAGE + 5], 0);
	arena->base[4 * WINDOW_PAGE + 5] = 0x22;
	assert_int_equal(arena->base[at + 2 * WINDOW_PAGE + 5], 0xee);
	kml_arena_hide(arena, at, 3 * WINDOW_PAGE);
	assert_int_equal(arena->base[4 * WINDOW_PAGE + 5], 0x22);
	assert_int_equal(arena->base[3 * WINDOW_PAGE - 1], 0x11);
	kml_arena_give(arena, 0, WINDOW_ARENA);
	kml_arena_destroy(arena);
}

/* Without memory there is nothing to map, but the addresses are there. */
static void a_window_without_memory(void **state)
{
	(void)state;
	struct kml_arena *arena = kml_arena_create(WINDOW_ARENA, WINDOW_PAGE, false, NULL);
	uint64_t at = arena->window_address;
	assert_true(kml_arena_show(arena, at, WINDOW_PAGE));
	assert_true(kml_arena_share(arena, at, 0, WINDOW_PAGE));
	kml_arena_unshare(arena, 0, WINDOW_PAGE);
	kml_arena_hide(arena, at, WINDOW_PAGE);
	kml_arena_destroy(arena);
}

static bool access_is_caught(const struct kml_arena *arena, uint64_t address)
{
	return faults(touch_byte, arena->base + address);
}

/* Where nothing is shown, in front of the window, before and behind a run: a stray access faults. Also in an arena that
 * takes over the mapping of a larger one, or of a smaller one. */
static void stray_accesses_fault(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {WINDOW_ARENA, 40 * WINDOW_PAGE, WINDOW_ARENA, WINDOW_PAGE};
	for (size_t round = 0; round < sizeof(sizes) / sizeof(sizes[0]); round++) {
		struct kml_arena *arena = kml_arena_create(sizes[round], WINDOW_PAGE, true, NULL);
		uint64_t at = arena->window_address + WINDOW_PAGE, end = arena->window_address + arena->window_bytes;
		assert_true(kml_arena_show(arena, at, 2 * WINDOW_PAGE));
		const uint64_t stray[] = {arena->window_address - 1, arena->window_address, at - 1,
					  at + 2 * WINDOW_PAGE, end - 1};
		for (size_t i = 0; i < sizeof(stray) / sizeof(stray[0]); i++)
			if (!access_is_caught(arena, stray[i]))
				fail_msg("a write to address %llu went unnoticed", (unsigned long long)stray[i]);
		arena->base[at] = arena->base[at + 2 * WINDOW_PAGE - 1] = 1;
		kml_arena_hide(arena, at, 2 * WINDOW_PAGE);
		assert_true(access_is_caught(arena, at));
		kml_arena_destroy(arena);
	}
}

/* What was not taken, what was given back, and what a window hides: AddressSanitizer knows it. */
static void free_memory_is_poisoned(void **state)
{
	(void)state;
#if KML_HAS_ADDRESS_SANITIZER
	for (int round = 0; round < 2; round++) {
		struct kml_arena *arena = kml_arena_create(WINDOW_ARENA, WINDOW_PAGE, true, NULL);
		assert_true(access_is_caught(arena, 0));
		assert_true(access_is_caught(arena, WINDOW_ARENA - 1));
		kml_arena_take(arena, 64, 128);
		kml_arena_take(arena, 512, 20);
		assert_false(access_is_caught(arena, 64));
		assert_false(access_is_caught(arena, 64 + 127));
		assert_false(access_is_caught(arena, 512 + 19));
		assert_true(access_is_caught(arena, 63));
		assert_true(access_is_caught(arena, 64 + 128));
		assert_true(access_is_caught(arena, 512 + 20));
		kml_arena_give(arena, 64, 128);
		assert_true(access_is_caught(arena, 64));
		assert_true(access_is_caught(arena, 64 + 127));
		assert_false(access_is_caught(arena, 512));
		kml_arena_give(arena, 512, 20);
		assert_true(access_is_caught(arena, 512));
		kml_arena_destroy(arena);
	}
#else
	print_message("needs AddressSanitizer\n");
	skip();
#endif
}

/* Arenas of many sizes after each other, written to all over: each begins as zero. */
static void a_new_arena_reads_as_zero(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {65536, 100, 1 << 20, 65536, 5000, (1 << 20) + 1, 12345, 1 << 20};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct kml_arena *arena = kml_arena_create(sizes[i], 4096, true, NULL);
		uint64_t half = sizes[i] / 2;
		kml_arena_take(arena, half, sizes[i] - half);
		kml_arena_take(arena, 0, half);
		for (uint64_t at = 0; at < sizes[i]; at++)
			if (arena->base[at] != 0)
				fail_msg("byte %llu of %llu", (unsigned long long)at, (unsigned long long)sizes[i]);
		memset(arena->base, 0xff, sizes[i]);
		kml_arena_give(arena, 0, half);
		kml_arena_give(arena, half, sizes[i] - half);
		kml_arena_destroy(arena);
	}
}

/* One whose blocks are still taken, or whose window still shows something, is not kept: nothing of it comes back. */
static void what_is_left_behind_does_not_come_back(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		struct kml_arena *arena = kml_arena_create(WINDOW_ARENA, WINDOW_PAGE, true, NULL);
		uint64_t at = arena->window_address;
		kml_arena_take(arena, 0, WINDOW_ARENA);
		assert_int_equal(arena->base[WINDOW_PAGE], 0);
		assert_true(kml_arena_show(arena, at, WINDOW_PAGE));
		assert_true(kml_arena_share(arena, at, WINDOW_PAGE, WINDOW_PAGE));
		arena->base[at] = 0x77;
		assert_int_equal(arena->base[WINDOW_PAGE], 0x77);
		if (round == 1) {
			kml_arena_unshare(arena, WINDOW_PAGE, WINDOW_PAGE);
			kml_arena_hide(arena, at, WINDOW_PAGE);
		}
		if (round != 0)
			kml_arena_give(arena, 0, WINDOW_ARENA);
		kml_arena_destroy(arena);
	}
}

/* ------------------------------------------------------------------------------------------------------- misuse */

static void absurd_arenas_are_refused(void **state)
{
	(void)state;
	static const struct {
		uint64_t size_bytes;
		uint32_t page_bytes;
		const char *reason;
	} absurd[] = {{0, 4096, "0 bytes"},
		      {4096, 0, "page of 0"},
		      {4096, 3, "power of two"},
		      {(1ull << 46) + 1, 4096, "64 TiB"},
		      {UINT64_MAX, 4096, "64 TiB"}};
	for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++) {
		struct kml_error error = {{0}};
		assert_null(kml_arena_create(absurd[i].size_bytes, absurd[i].page_bytes, true, &error));
		if (strstr(error.text, absurd[i].reason) == NULL)
			fail_msg("\"%s\" lacks \"%s\"", error.text, absurd[i].reason);
		assert_null(kml_arena_create(absurd[i].size_bytes, absurd[i].page_bytes, true, NULL));
	}
}

enum misuse {
	GIVE_UNTAKEN,
	GIVE_TOO_MUCH,
	TAKE_OUTSIDE,
	TAKE_NOTHING,
	TAKE_ROUND_THE_END,
	SHOW_IN_THE_MEMORY,
	SHOW_PAST_THE_WINDOW,
	SHOW_PARTS_OF_PAGES,
	SHARE_BEHIND_THE_MEMORY,
	MISUSES
};

static void commit_misuse(struct kml_arena *arena, enum misuse misuse)
{
	kml_arena_take(arena, 4096 + 16, 100);
	switch (misuse) {
	case GIVE_UNTAKEN:
		kml_arena_give(arena, 16, 16);
		break;
	case GIVE_TOO_MUCH:
		kml_arena_give(arena, 4096 + 16, 101);
		break;
	case TAKE_OUTSIDE:
		kml_arena_take(arena, 16384 - 10, 11);
		break;
	case TAKE_NOTHING:
		kml_arena_take(arena, 0, 0);
		break;
	case TAKE_ROUND_THE_END:
		kml_arena_take(arena, UINT64_MAX - 10, 20);
		break;
	case SHOW_IN_THE_MEMORY:
		kml_arena_show(arena, 4096, 4096);
		break;
	case SHOW_PAST_THE_WINDOW:
		kml_arena_show(arena, arena->window_address + 4096, arena->window_bytes);
		break;
	case SHOW_PARTS_OF_PAGES:
		kml_arena_show(arena, arena->window_address, 4000);
		break;
	case SHARE_BEHIND_THE_MEMORY:
		kml_arena_share(arena, arena->window_address, 12288, 8192);
		break;
	case MISUSES:
		break;
	}
}

/* An allocator that takes or gives what it cannot is broken: the program stops there. */
static void misuse_stops_the_program(void **state)
{
	(void)state;
	for (unsigned misuse = 0; misuse < MISUSES; misuse++) {
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			/* cmocka would catch the signal. */
			signal(SIGABRT, SIG_DFL);
			if (freopen("/dev/null", "w", stderr) == NULL)
				_exit(1);
			commit_misuse(kml_arena_create(16384, 4096, false, NULL), misuse);
			_exit(0);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
			fail_msg("misuse %u went unnoticed", misuse);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_a_byte_by_byte_model),
		cmocka_unit_test(shared_pages_count_once),
		cmocka_unit_test(a_tebibyte_costs_what_is_touched),
		cmocka_unit_test(cells_are_powers_of_two_and_at_most_256),
		cmocka_unit_test(a_page_is_found_by_address),
		cmocka_unit_test(the_window_lies_behind_the_memory),
		cmocka_unit_test(pages_shown_twice_are_one_memory),
		cmocka_unit_test(a_window_without_memory),
		cmocka_unit_test(stray_accesses_fault),
		cmocka_unit_test(free_memory_is_poisoned),
		cmocka_unit_test(a_new_arena_reads_as_zero),
		cmocka_unit_test(what_is_left_behind_does_not_come_back),
		cmocka_unit_test(absurd_arenas_are_refused),
		cmocka_unit_test(misuse_stops_the_program),
	};
	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
