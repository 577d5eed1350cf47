/*
 * decode_size.c - sizes and orders: 12 bits of number and 4 of what to make of it.
 *
 * The modes are the bounds of size classes on both sides, pages and about, all and parts of the arena, and sizes that
 * overflow what is too narrow. A number counts only as far as the arena makes a difference.
 */
#include "fuzz/decode.h"

static uint64_t saturate(uint64_t value, uint64_t limit)
{
	return value < 1 ? 1 : value > limit ? limit : value;
}

/* What is made of the number. */
enum size_mode {
	SIZE_TINY,
	SIZE_ANY,
	SIZE_POWER,
	SIZE_BELOW_POWER,
	SIZE_ABOVE_POWER,
	SIZE_THREE,
	SIZE_NEAR_THREE,
	SIZE_PAGES,
	SIZE_NEAR_PAGES,
	SIZE_UNITS,
	SIZE_ARENA,
	SIZE_PART,
	SIZE_HUGE,
	SIZE_FIBONACCI,
	SIZE_TERNARY,
	SIZE_CACHE,
	SIZE_MODES
};
/* So many numbers make a difference. */
static const uint16_t size_numbers[SIZE_MODES] = {64,   4096, 20,  20, 20, 18, 36, 64,
						  1024, 4096, 256, 64, 16, 24, 12, 12};

static uint64_t fibonacci(unsigned n)
{
	uint64_t a = 1, b = 2;
	for (; n; n--) {
		uint64_t sum = a + b;
		a = b;
		b = sum;
	}
	return a;
}

static uint64_t huge_size(unsigned number)
{
	static const uint64_t sizes[16] = {
		(1ull << 32) + 16,   1ull << 44,          1ull << 32,        (1ull << 32) - 1,
		(1ull << 32) - 15,   1ull << 31,          (1ull << 31) + 1,  (1ull << 31) - 1,
		(1ull << 32) + 4096, (1ull << 33) - 8,    (1ull << 36) + 64, (1ull << 40) + 1,
		(1ull << 45) - 1,    (1ull << 45) - 4095, 1ull << 63,        UINT64_MAX};
	return sizes[number % 16];
}

/* As many as do not leave the arena far behind, or fill it at once; and one more. */
static unsigned numbers_of(const struct program_setup *setup, enum size_mode mode)
{
	uint64_t arena_bytes = setup->arena_bytes, all = size_numbers[mode], most = all;
	switch (mode) {
	case SIZE_ANY:
		most = arena_bytes / 4;
		break;
	case SIZE_POWER:
	case SIZE_BELOW_POWER:
	case SIZE_ABOVE_POWER:
	case SIZE_THREE:
	case SIZE_FIBONACCI:
		most = 64 - (uint64_t)__builtin_clzll(arena_bytes);
		break;
	case SIZE_NEAR_THREE:
		most = 2 * (64 - (uint64_t)__builtin_clzll(arena_bytes));
		break;
	case SIZE_PAGES:
		most = arena_bytes / DECODE_PAGE_BYTES / 2;
		break;
	case SIZE_NEAR_PAGES:
		most = (arena_bytes / DECODE_PAGE_BYTES / 2 + 1) * 64;
		break;
	case SIZE_UNITS:
		most = arena_bytes / DECODE_UNIT_BYTES / 4;
		break;
	default:
		break;
	}
	return (unsigned)(most + 1 < all ? most + 1 : all);
}

static uint64_t size_of(const struct program_setup *setup, enum size_mode mode, unsigned number)
{
	const unsigned n = number % numbers_of(setup, mode);
	uint64_t ternary = DECODE_UNIT_BYTES;
	switch (mode) {
	case SIZE_TINY:
	case SIZE_ANY:
		return 1u + n;
	case SIZE_POWER:
		return 1ull << n;
	case SIZE_BELOW_POWER:
		return saturate((1ull << n) - 1, UINT64_MAX);
	case SIZE_ABOVE_POWER:
		return (1ull << n) + 1;
	case SIZE_THREE:
		return 3ull << n;
	case SIZE_NEAR_THREE:
		return (3ull << n / 2) + (n % 2 ? 1 : -1);
	case SIZE_PAGES:
		return (1ull + n) * DECODE_PAGE_BYTES;
	case SIZE_NEAR_PAGES:
		return (1ull + n / 64) * DECODE_PAGE_BYTES + n % 64 - 32;
	case SIZE_UNITS:
		return (1ull + n) * DECODE_UNIT_BYTES;
	case SIZE_ARENA:
		return saturate(setup->arena_bytes + 4 - n, UINT64_MAX);
	case SIZE_PART:
		return saturate(setup->arena_bytes / (2 + n / 4) + n % 4 - 1, UINT64_MAX);
	case SIZE_HUGE:
		return huge_size(n);
	case SIZE_FIBONACCI:
		return fibonacci(n) * DECODE_UNIT_BYTES;
	case SIZE_TERNARY:
		for (unsigned i = 0; i < n; i++)
			ternary *= 3;
		return ternary;
	default: /* as a cache's objects, and about */
		if (setup->cache_count == 0)
			return 1u + n;
		return saturate(setup->caches[n % PROGRAM_CACHES].object_bytes + n / PROGRAM_CACHES - 1, UINT64_MAX);
	}
}

/* `recorded` has no more room than the arena: the recorded machine is as large as its highest address says. */
uint64_t decode_size(const struct decoder *decoder, unsigned code)
{
	const struct program_setup *setup = &decoder->program->setup;
	uint64_t size_bytes = size_of(setup, code >> 12, code & 4095);
	return decoder->plan->is_recorded ? 1 + (size_bytes - 1) % setup->arena_bytes : size_bytes;
}

bool encode_size(const struct decoder *decoder, uint64_t size_bytes, uint8_t *op)
{
	for (unsigned mode = 0; mode < SIZE_MODES; mode++) {
		unsigned from = 0, to = numbers_of(&decoder->program->setup, mode);
		/* The two that are long and plain. */
		if (mode == SIZE_ANY || mode == SIZE_UNITS) {
			from = (unsigned)((mode == SIZE_ANY ? size_bytes : size_bytes / DECODE_UNIT_BYTES) - 1);
			to = from < to ? from + 1 : from;
		}
		for (unsigned number = from; number < to; number++) {
			unsigned code = mode << 12 | number;
			encode_code(code, op);
			if (decode_size(decoder, code) == size_bytes)
				return true;
		}
	}
	return false;
}

unsigned decode_order(const struct decoder *decoder, unsigned code)
{
	static const uint8_t orders[16] = {0, 0, 0, 1, 0, 2, 1, 3, 0, 4, 2, 5, 1, 6, 8, 10};
	unsigned order = orders[code % 16], largest = 0;
	while ((uint64_t)2 * DECODE_PAGE_BYTES << largest <= decoder->program->setup.arena_bytes)
		largest++;
	order = code >> 12 == SIZE_HUGE ? code % 33 : order < largest ? order : largest;
	return decoder->plan->is_recorded ? order % 4 : order;
}

bool encode_order(const struct decoder *decoder, unsigned order, uint8_t *op)
{
	for (unsigned number = 0; number < 33; number++)
		for (unsigned mode = 0; mode <= SIZE_HUGE; mode += SIZE_HUGE) {
			unsigned code = mode << 12 | number;
			encode_code(code, op);
			if (decode_order(decoder, code) == order)
				return true;
		}
	return false;
}

uint64_t decode_offset(unsigned code)
{
	return code >> 12 == SIZE_HUGE ? huge_size(code) : code % 4096;
}

bool encode_offset(uint64_t offset_bytes, uint8_t *op)
{
	encode_code((unsigned)offset_bytes & 4095, op);
	for (unsigned number = 0; offset_bytes > 4095 && number < size_numbers[SIZE_HUGE]; number++)
		if (huge_size(number) == offset_bytes)
			encode_code(SIZE_HUGE << 12 | number, op);
	return decode_offset(decode_code(op)) == offset_bytes;
}
