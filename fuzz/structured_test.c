/* structured_test.c - what engines do to inputs whose structure is known: programs of their own, .kmt by block, part
 * and field, specs by their grammar. Always within bounds, the same for the same seed, and whole. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocators/allocator.h"
#include "fuzz/mutate.h"
#include "fuzz/mutate_kmt.h"
#include "fuzz/mutate_spec.h"
#include "fuzz/naive.h"
#include "fuzz/program.h"
#include "fuzz/repair.h"
#include "fuzz/seeds.h"
#include "fuzz/structured.h"
#include "fuzz/target.h"
#include "traces/kmt/format.h"

enum { SEEDS = 4000, FILE_BYTES_MAX = 1 << 16 };

static size_t leave(uint8_t *bytes, size_t byte_count, size_t byte_max)
{
	(void)bytes;
	(void)byte_max;
	return byte_count;
}

/* ------------------------------------------------------------------------------------------------ programs */

static void test_generated_programs(void **state)
{
	(void)state;
	unsigned alike = 0;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		uint8_t first[PROGRAM_BYTES_MAX] = {0}, second[PROGRAM_BYTES_MAX];
		memset(second, 0xa5, sizeof second);
		size_t room = PROGRAM_SETUP_BYTES + seed % (sizeof first - PROGRAM_SETUP_BYTES + 1);
		size_t count = program_generate(first, room, seed);
		assert_true(count >= PROGRAM_SETUP_BYTES && count <= room);
		assert_int_equal((count - PROGRAM_SETUP_BYTES) % PROGRAM_OP_BYTES, 0);
		assert_int_equal(program_generate(second, room, seed), count); /* whatever was there */
		assert_memory_equal(first, second, count);
		static struct program program;
		program_decode(&program, "slub/binary", first, count);
		const struct kmt_cache *caches = program.setup.caches;
		for (unsigned i = 1; i < PROGRAM_CACHES; i++)
			if (caches[i].flags == caches[0].flags && caches[i].object_bytes != caches[0].object_bytes &&
			    (caches[i].object_bytes + 7) / 8 == (caches[0].object_bytes + 7) / 8) {
				alike++;
				break;
			}
	}
	assert_int_equal(program_generate(NULL, PROGRAM_SETUP_BYTES - 1, 1), 0);
	/* Uniform bytes: three chances of 1/16 for the flags and less than 1/64 for the size. */
	assert_true(alike > SEEDS / 32);
}

/* Frees of objects of one cache on one cpu, where there are most of them. */
static unsigned most_frees_together(const struct program *program)
{
	enum { CPUS = 16 };
	unsigned frees[PROGRAM_CACHES][CPUS] = {{0}}, most = 0;
	uint16_t cache_of[PROGRAM_OBJECTS] = {0};
	for (uint32_t i = 0; i < program->event_count; i++) {
		const struct kmt_event *event = &program->events[i];
		if (event->op == KMT_ALLOC)
			cache_of[event->object] = event->cache;
		if (event->op != KMT_FREE || cache_of[event->object] == KMT_NO_CACHE)
			continue;
		unsigned now = ++frees[cache_of[event->object]][event->cpu];
		most = now > most ? now : most;
	}
	return most;
}

/* What a cpu keeps of a cache is full in some programs, whatever its usual limit: 32 objects of a sheaf, twice. */
static void test_rushes(void **state)
{
	(void)state;
	enum { MANY = 32 };
	static struct program program;
	unsigned rushes = 0;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		uint8_t bytes[PROGRAM_BYTES_MAX];
		size_t count = program_generate(bytes, sizeof bytes, seed);
		program_decode(&program, "slub/binary", bytes, count);
		rushes += most_frees_together(&program) >= MANY;
	}
	program_free(&program);
	assert_true(rushes > SEEDS / 64);
}

/* The naive stress test runs to its end and finds nothing in what is right; and some of what it asks for is granted. */
static void test_naive_programs(void **state)
{
	(void)state;
	static const char *const stacks[] = {"binary", "slub/binary", "slab/fibonacci", "solaris/binary", "recorded"};
	static struct program program;
	static struct program_outcome outcome;
	struct kml_error error = {""};
	uint64_t random = 1;
	for (size_t i = 0; i < sizeof stacks / sizeof stacks[0]; i++) {
		uint64_t served = 0;
		for (int run = 0; run < 100; run++) {
			naive_program(&program, stacks[i], &random);
			if (!program_run(&program, &outcome, &error) || outcome.failed)
				fail_msg("%s: %s%s", stacks[i], error.text, outcome.error.text);
			served += outcome.result.allocations;
			for (int status = 0; status < KML_STATUS_COUNT; status++)
				served -= outcome.result.failures[status];
		}
		assert_true(served > 100);
	}
	program_free(&program);
}

/* ------------------------------------------------------------------------------------------------ .kmt */

struct loose {
	uint8_t bytes[FILE_BYTES_MAX];
	size_t byte_count;
};

static bool keep_largest(void *context, const char *name, const uint8_t *bytes, size_t byte_count)
{
	struct loose *loose = context;
	(void)name;
	if (byte_count > loose->byte_count && byte_count < sizeof loose->bytes / 2 && bytes[0] == KMT_LOOSE) {
		memcpy(loose->bytes, bytes, byte_count);
		loose->byte_count = byte_count;
	}
	return true;
}

/* Blocks lie one behind the other to the end. */
static bool is_whole_file(const uint8_t *bytes, size_t byte_count)
{
	size_t at = KMT_PREAMBLE_BYTES;
	while (at + KMT_BLOCK_HEADER_BYTES <= byte_count) {
		struct kmt_block_header header;
		uint64_t checksum;
		kmt_block_header_decode(&header, &checksum, bytes + at);
		if (header.stored_bytes > byte_count - at - KMT_BLOCK_HEADER_BYTES)
			return false;
		at += KMT_BLOCK_HEADER_BYTES + header.stored_bytes;
	}
	return at == byte_count;
}

static void test_kmt_stays_whole(void **state)
{
	(void)state;
	static struct loose original, first, second;
	unsigned changed = 0, longer = 0, shorter = 0;
	fuzz_seeds(fuzz_target_find("kmt"), keep_largest, &original);
	assert_true(original.byte_count > 0 && is_whole_file(original.bytes, original.byte_count));
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		size_t room = original.byte_count + seed % 512;
		first = second = original;
		first.byte_count = kmt_mutate(first.bytes, first.byte_count, room, seed, leave);
		second.byte_count = kmt_mutate(second.bytes, second.byte_count, room, seed, leave);
		assert_int_equal(first.byte_count, second.byte_count);
		assert_memory_equal(first.bytes, second.bytes, first.byte_count);
		assert_true(first.byte_count <= room && is_whole_file(first.bytes, first.byte_count));
		longer += first.byte_count > original.byte_count;
		shorter += first.byte_count < original.byte_count;
		changed += first.byte_count != original.byte_count ||
			   memcmp(first.bytes, original.bytes, first.byte_count) != 0;
	}
	assert_true(changed > SEEDS / 3 && longer > SEEDS / 16 && shorter > SEEDS / 16);
}

static unsigned event_blocks(const struct loose *loose)
{
	unsigned count = 0;
	size_t at = KMT_PREAMBLE_BYTES;
	while (at + KMT_BLOCK_HEADER_BYTES <= loose->byte_count) {
		struct kmt_block_header header;
		uint64_t checksum;
		kmt_block_header_decode(&header, &checksum, loose->bytes + at);
		count += header.kind == KMT_BLOCK_EVENT;
		at += KMT_BLOCK_HEADER_BYTES + header.stored_bytes;
	}
	return count;
}

/* Traces become long in one change, where there is room. */
static void test_kmt_becomes_long(void **state)
{
	(void)state;
	static struct loose original, changed;
	unsigned many = 0;
	fuzz_seeds(fuzz_target_find("kmt"), keep_largest, &original);
	unsigned blocks = event_blocks(&original);
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		changed = original;
		changed.byte_count = kmt_mutate(changed.bytes, changed.byte_count, sizeof changed.bytes, seed, leave);
		many += event_blocks(&changed) >= blocks + 16;
	}
	assert_true(blocks > 0 && many > SEEDS / 1000);
}

/* What is no loose file is the byte mutator's, and nothing is read behind its end. */
static void test_kmt_of_any_bytes(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		size_t count = seed % 256, room = count + seed % 7;
		uint8_t *bytes = malloc(room + 1);
		assert_non_null(bytes);
		for (size_t i = 0; i < count; i++)
			bytes[i] = (uint8_t)(i * seed);
		if (count)
			bytes[0] = KMT_LOOSE;
		assert_true(kmt_mutate(bytes, count, room, seed, leave) <= room);
		free(bytes);
	}
}

/* ------------------------------------------------------------------------------------------------ specs */

static unsigned count_of(const uint8_t *bytes, size_t byte_count, char what)
{
	unsigned count = 0;
	for (size_t i = 0; i < byte_count; i++)
		count += bytes[i] == (uint8_t)what;
	return count;
}

/* Lists longer than their table, more layers than there can be, numbers of 20 digits: each from a plain spec. */
static void test_specs(void **state)
{
	(void)state;
	static const char spec[] = "weighted:sizes=16+32", other[] = "slub:min_partial=5/binary:unit=4k";
	unsigned long_lists = 0, layers = 0, long_numbers = 0, taken = 0;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		uint8_t first[512], second[512];
		size_t length = sizeof spec - 1, room = length + seed % (sizeof first - length + 1);
		memcpy(first, spec, length);
		memcpy(second, spec, length);
		size_t count = spec_mutate(first, length, room, (const uint8_t *)other, sizeof other - 1, seed);
		assert_int_equal(spec_mutate(second, length, room, (const uint8_t *)other, sizeof other - 1, seed),
				 count);
		assert_true(count <= room);
		assert_memory_equal(first, second, count);
		long_lists += count_of(first, count, '+') >= KML_SIZES_MAX;
		layers += count_of(first, count, '/') >= KML_STACK_LAYERS;
		taken += memmem(first, count, "min_partial", 11) != NULL;
		unsigned digits = 0, most = 0;
		for (size_t i = 0; i < count; i++) {
			digits = first[i] >= '0' && first[i] <= '9' ? digits + 1 : 0;
			most = digits > most ? digits : most;
		}
		long_numbers += most >= 19;
	}
	assert_true(long_lists > SEEDS / 64 && layers > 0 && taken > SEEDS / 64 && long_numbers > SEEDS / 64);
}

/* ------------------------------------------------------------------------------------------------ the policy */

static void test_policy(void **state)
{
	(void)state;
	assert_int_equal(structure_of("slub-binary", true), STRUCTURE_PROGRAM);
	assert_int_equal(structure_of("kmt", false), STRUCTURE_KMT);
	assert_int_equal(structure_of("perf-data", false), STRUCTURE_PERF);
	assert_int_equal(structure_of("spec", false), STRUCTURE_SPEC);
	assert_int_equal(structure_of("slabinfo", false), STRUCTURE_TEXT);
	uint8_t bytes[PROGRAM_BYTES_MAX] = {0}, fresh[PROGRAM_BYTES_MAX];
	/* The first of all inputs are programs of their own, whatever they were made from. */
	for (uint64_t seed = 0; seed < 64; seed++) {
		uint8_t other[PROGRAM_BYTES_MAX];
		memset(other, (int)seed, sizeof other);
		size_t count =
			structured_mutate(STRUCTURE_PROGRAM, bytes, seed, sizeof bytes, other, seed, seed, seed, leave);
		size_t again = structured_mutate(STRUCTURE_PROGRAM, fresh, 0, sizeof fresh, NULL, 0, seed, seed, leave);
		assert_int_equal(count, again);
		assert_memory_equal(bytes, fresh, count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_generated_programs),
		cmocka_unit_test(test_rushes),
		cmocka_unit_test(test_naive_programs),
		cmocka_unit_test(test_kmt_stays_whole),
		cmocka_unit_test(test_kmt_becomes_long),
		cmocka_unit_test(test_kmt_of_any_bytes),
		cmocka_unit_test(test_specs),
		cmocka_unit_test(test_policy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
