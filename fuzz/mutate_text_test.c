/* mutate_text_test.c - changes of texts: within their room, the same for the same seed, and of all kinds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <string.h>

#include "fuzz/mutate_text.h"

enum { SEEDS = 4000, ROOM = 8192 };

static const char text[] = "# tracer: nop\n"
			   "x [000] 1.5: mm_page_alloc: pfn=0x10 order=3\n"
			   "x [001] 1.6: kfree: ptr=ffff888100001000\n";
static const char other[] = "slabinfo - version: 2.1\ndentry 12 21 192\n";

static size_t mutate(char *out, size_t room, const char *from, uint64_t seed)
{
	size_t size = sizeof text - 1;
	memset(out, 0, ROOM + 1);
	memcpy(out, text, sizeof text);
	return text_mutate((uint8_t *)out, size, room, (const uint8_t *)from, from ? strlen(from) : 0, seed);
}

static void test_stays_in_its_room(void **state)
{
	(void)state;
	for (size_t size = 0; size < sizeof text; size++)
		for (uint64_t seed = 0; seed < 200; seed++) {
			uint8_t bytes[sizeof text + 64];
			size_t room = size + seed % 64;
			memset(bytes, 0xa5, sizeof bytes);
			memcpy(bytes, text, size);
			assert_true(text_mutate(bytes, size, room, NULL, 0, seed) <= room);
			for (size_t i = room; i < sizeof bytes; i++)
				assert_int_equal(bytes[i], 0xa5);
		}
}

/* Bytes that are no text are changed as well as they can be. */
static void test_any_bytes(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		uint8_t bytes[512];
		for (size_t i = 0; i < sizeof bytes; i++)
			bytes[i] = (uint8_t)(i * (seed + 1) >> (seed & 7));
		assert_true(text_mutate(bytes, 256, sizeof bytes, NULL, 0, seed) <= sizeof bytes);
	}
}

static void test_same_seed_same_text(void **state)
{
	static char first[ROOM + 1], second[ROOM + 1];
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		size_t size = mutate(first, ROOM, seed & 1 ? other : NULL, seed);
		assert_int_equal(mutate(second, ROOM, seed & 1 ? other : NULL, seed), size);
		assert_memory_equal(first, second, size);
	}
}

static size_t lines_in(const char *bytes)
{
	size_t lines = 0;
	for (; *bytes; bytes++)
		lines += *bytes == '\n';
	return lines;
}

static size_t longest_word(const char *bytes)
{
	size_t most = 0, now = 0;
	for (; *bytes; bytes++) {
		now = isalnum((unsigned char)*bytes) ? now + 1 : 0;
		most = now > most ? now : most;
	}
	return most;
}

/* Each share would be 0 if its kind of change were gone. */
static void test_all_kinds(void **state)
{
	static char out[ROOM + 1];
	size_t at_bounds = 0, hexadecimal = 0, longer = 0, dropped = 0, repeated = 0, taken = 0, joined = 0;
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		mutate(out, ROOM, seed & 1 ? other : NULL, seed);
		at_bounds += strstr(out, "order=64\n") || strstr(out, "order=18446744073709551615\n");
		hexadecimal += strstr(out, "pfn=0xffffffffffffffff") || strstr(out, "ptr=ffffffffffffffff");
		longer += longest_word(out) >= 255;
		dropped += lines_in(out) < lines_in(text);
		repeated += !(seed & 1) && lines_in(out) > lines_in(text);
		taken += strstr(out, "dentry 12 21 192") != NULL;
		joined += strstr(out, "order=3 x [001]") != NULL;
	}
	assert_true(at_bounds > 0 && hexadecimal > 0);
	assert_true(longer > SEEDS / 64 && dropped > SEEDS / 64 && repeated > SEEDS / 64 && taken > SEEDS / 64);
	assert_true(joined > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stays_in_its_room),
		cmocka_unit_test(test_any_bytes),
		cmocka_unit_test(test_same_seed_same_text),
		cmocka_unit_test(test_all_kinds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
