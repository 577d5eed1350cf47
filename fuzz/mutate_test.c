/* mutate_test.c - changes of programs: always whole, always within bounds, the same for the same seed, and of all
 * kinds. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fuzz/mutate.h"
#include "fuzz/program.h"

enum { SEEDS = 4000 };

static bool is_whole(size_t byte_count)
{
	return byte_count >= PROGRAM_SETUP_BYTES && (byte_count - PROGRAM_SETUP_BYTES) % PROGRAM_OP_BYTES == 0;
}

/* Programs grow out of nothing and never leave their room, whatever it is; the bytes behind it stay. */
static void test_within_bounds(void **state)
{
	(void)state;
	for (size_t room = 0; room <= PROGRAM_BYTES_MAX; room += room < 64 ? 1 : 31) {
		uint8_t bytes[PROGRAM_BYTES_MAX + 16];
		size_t count = 0;
		memset(bytes, 0xa5, sizeof bytes);
		for (uint64_t seed = 0; seed < 200; seed++) {
			count = program_mutate(bytes, count, room, seed);
			assert_true(count <= room);
			assert_true(room < PROGRAM_SETUP_BYTES || is_whole(count));
		}
		for (size_t i = room; i < sizeof bytes; i++)
			assert_int_equal(bytes[i], 0xa5);
	}
}

static void test_same_seed_same_result(void **state)
{
	(void)state;
	uint8_t first[PROGRAM_BYTES_MAX] = {0}, second[PROGRAM_BYTES_MAX] = {0};
	size_t first_count = 0, second_count = 0;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		first_count = program_mutate(first, first_count, sizeof first, seed);
		second_count = program_mutate(second, second_count, sizeof second, seed);
		assert_int_equal(first_count, second_count);
		assert_memory_equal(first, second, first_count);
	}
}

static unsigned kind_at(const uint8_t *bytes, size_t op)
{
	return bytes[PROGRAM_SETUP_BYTES + op * PROGRAM_OP_BYTES + PROGRAM_BYTE_KIND] * PROGRAM_KINDS / 256u;
}

/* Every kind of operation is written; in a swarm some programs lack a kind altogether: each is lacking somewhere. */
static void test_swarm(void **state)
{
	(void)state;
	unsigned written[PROGRAM_KINDS] = {0}, lacking[PROGRAM_KINDS] = {0};
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		uint8_t bytes[PROGRAM_BYTES_MAX] = {0};
		unsigned here[PROGRAM_KINDS] = {0};
		size_t count = program_mutate(bytes, 0, sizeof bytes, seed),
		       ops = (count - PROGRAM_SETUP_BYTES) / PROGRAM_OP_BYTES;
		for (size_t op = 0; op < ops; op++)
			here[kind_at(bytes, op)]++;
		for (unsigned kind = 0; kind < PROGRAM_KINDS; kind++) {
			written[kind] += here[kind] > 0;
			lacking[kind] += here[kind] == 0 && ops > PROGRAM_OPS / 2;
		}
	}
	for (unsigned kind = 0; kind < PROGRAM_KINDS; kind++) {
		assert_true(written[kind] > SEEDS / 16);
		assert_true(kind == PROGRAM_ALLOC || lacking[kind] > SEEDS / 64);
	}
}

/* What comes out is a neighbour of a long program: seldom another one, seldom the same. */
static void test_neighbours(void **state)
{
	(void)state;
	unsigned near = 0, same = 0;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		uint8_t before[PROGRAM_BYTES_MAX], after[PROGRAM_BYTES_MAX];
		unsigned kept = 0;
		for (size_t i = 0; i < sizeof before; i++)
			before[i] = (uint8_t)(i * 167 + i / 256);
		memcpy(after, before, sizeof before);
		size_t count = program_mutate(after, sizeof after / 2, sizeof after, seed);
		size_t ops = (count - PROGRAM_SETUP_BYTES) / PROGRAM_OP_BYTES,
		       was = (sizeof after / 2 - PROGRAM_SETUP_BYTES) / PROGRAM_OP_BYTES;
		/* An operation is kept when it stands anywhere in what came out. */
		for (size_t i = 0; i < was; i++)
			for (size_t j = 0; j < ops; j++)
				if (memcmp(before + PROGRAM_SETUP_BYTES + i * PROGRAM_OP_BYTES,
					   after + PROGRAM_SETUP_BYTES + j * PROGRAM_OP_BYTES, PROGRAM_OP_BYTES) == 0) {
					kept++;
					break;
				}
		near += kept * 4 >= was * 3;
		same += count == sizeof after / 2 && memcmp(before, after, count) == 0;
	}
	assert_true(near > SEEDS * 3 / 4);
	assert_true(same < SEEDS / 8);
}

/* What a crossover writes is the setup of the one or the other, and operations of both. */
static void test_crossover(void **state)
{
	(void)state;
	uint8_t first[PROGRAM_BYTES_MAX], second[PROGRAM_BYTES_MAX], out[PROGRAM_BYTES_MAX];
	unsigned mixed = 0;
	memset(first, 1, sizeof first);
	memset(second, 2, sizeof second);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		bool seen[3] = {false};
		size_t room = PROGRAM_SETUP_BYTES + seed % (sizeof out - PROGRAM_SETUP_BYTES + 1);
		size_t count =
			program_crossover(first, sizeof first / (1 + seed % 3), second, sizeof second, out, room, seed);
		assert_true(count <= room && is_whole(count));
		for (size_t i = PROGRAM_SETUP_BYTES; i < count; i++) {
			assert_in_range(out[i], 1, 2);
			seen[out[i]] = true;
		}
		mixed += seen[1] && seen[2];
	}
	assert_true(mixed > SEEDS / 2);
	assert_int_equal(program_crossover(first, sizeof first, second, sizeof second, out, PROGRAM_SETUP_BYTES - 1, 1),
			 0);
	assert_int_equal(program_crossover(NULL, 0, NULL, 0, out, sizeof out, 1), PROGRAM_SETUP_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_within_bounds), cmocka_unit_test(test_same_seed_same_result),
		cmocka_unit_test(test_swarm),         cmocka_unit_test(test_neighbours),
		cmocka_unit_test(test_crossover),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
