/*
 * textbook_test.c - what the textbook cases ask is answered as their own descriptions say, by every binary buddy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>

#include "allocators/registry.h"
#include "workloads/generate/generate.h"
#include "workloads/replay.h"

static struct replay_result play(const char *workload, const char *stack)
{
	struct kml_error error;
	struct replay_result result;
	const struct replay_options options = {.check = true, .check_every = 1, .seed = 1};
	struct kmt_reader *reader = workload_open(workload, NULL, &error);
	struct kml_spec *spec = kml_spec_parse(stack, &error);
	if (!reader || !spec)
		fail_msg("%s", error.text);
	if (!replay_run(reader, spec, &options, NULL, NULL, NULL, &result, &error))
		fail_msg("%s", error.text);
	if (result.check_failed)
		fail_msg("%s on %s: %s", workload, stack, result.check_error.text);
	kml_spec_free(spec);
	kmt_close(reader);
	return result;
}

static uint64_t refusals(const struct replay_result *result)
{
	return result->failures[KML_NO_MEMORY] + result->failures[KML_NO_RUN] + result->failures[KML_IMPOSSIBLE];
}

static const char *const binaries[] = {"binary",           "binary:policy=fifo", "binary:policy=lowest",
				       "binary:unit=4096", "kary:k=2",           "slub/binary:unit=4096"};

/* Granted is all but the refusals, whose number each case states. */
static void every_binary_buddy_refuses_as_often_as_the_case_says(void **state)
{
	(void)state;
	for (uint64_t order = 1; order <= 8; order++) {
		const struct {
			const char *name;
			uint64_t refusals, allocations, arena_pages;
		} cases[] = {
			{"limit", 1, 2, 1ull << order},
			{"optimistic", 1, order + 2, (2ull << order) - 1},
			/* one of each order and a page; every order in vain; one more of each order 1..order */
			{"pessimistic", order, order + 1 + order + order, 1ull << order},
			/* round `top` takes top + 1 blocks and asks for one in vain; then every order from 1 */
			{"pathological", 2 * order, order * (order + 1) / 2 + order + order + order, 1ull << order},
			{"fragmentation", order, (1ull << order) + order + 1, 1ull << order},
		};
		for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
			for (size_t j = 0; j < sizeof binaries / sizeof *binaries; j++) {
				char workload[64];
				snprintf(workload, sizeof workload, "%s:order=%llu", cases[i].name,
					 (unsigned long long)order);
				struct replay_result result = play(workload, binaries[j]);
				assert_int_equal(refusals(&result), cases[i].refusals);
				assert_int_equal(result.allocations, cases[i].allocations);
				assert_int_equal(result.arena_bytes, cases[i].arena_pages * 4096);
				assert_int_equal(result.frees, result.allocations - refusals(&result));
			}
		}
	}
}

/* Why a request fails: a page of memory is left, but not in one run. */
static void fragmentation_has_its_own_reason(void **state)
{
	(void)state;
	struct replay_result result = play("fragmentation:order=6", "binary");
	assert_int_equal(result.failures[KML_NO_RUN], 5);    /* orders 1 to 5: half of memory is free */
	assert_int_equal(result.failures[KML_NO_MEMORY], 1); /* order 6: all of it */
	result = play("optimistic:order=6", "binary");
	assert_int_equal(result.failures[KML_NO_MEMORY], 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_binary_buddy_refuses_as_often_as_the_case_says),
		cmocka_unit_test(fragmentation_has_its_own_reason),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
