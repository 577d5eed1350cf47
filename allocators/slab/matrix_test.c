/*
 * matrix_test.c - every strategy on every page allocator, replaying the beginnings of the shipped traces under the
 * shadow model: nothing may be reported, the waste adds up at every sample, and when what is left is freed - a checked
 * replay ends with that - the arena is whole. And the same trace, stack and seed give the same addresses.
 *
 * Every stack replays a small synthetic trace; each also the beginning of one of the shipped ones, in turn, so that
 * each strategy sees all of them.
 */
#include "allocators/slab/front_testing.h"
#include "kmemlab/support/poison.h"
#include "workloads/replay.h"
#include "workloads/testing.h"

enum {
	/* With sanitizers an event costs ten times as much; the whole length runs without. */
	RECORDED_EVENTS = KML_HAS_ADDRESS_SANITIZER ? 1200 : 3000,
	SYNTHETIC_EVENTS = RECORDED_EVENTS,
	SAMPLES = 3
};

static const char *const shipped[] = {"compile", "fork", "fs-scan", "reclaim", "sockets"};
enum { SHIPPED = sizeof(shipped) / sizeof(shipped[0]) };

/* ---------------------------------------------------------------------------------------------- what comes back,
 * hashed */

/* An allocator that passes everything on and keeps a hash of the answers (FNV-1a over words). */
static struct kml_allocator spy;
static const struct kml_allocator *spied;
static uint64_t spied_hash, spied_calls;

static void mix(uint64_t word)
{
	spied_hash = (spied_hash ^ word) * 0x100000001B3ull;
	spied_calls++;
}

static struct kml_grant spy_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	struct kml_grant grant = spied->alloc(heap, request);
	mix(grant.address);
	mix(grant.granted_bytes ^ (uint64_t)grant.status << 60);
	return grant;
}

static enum kml_status spy_free(struct kml_heap *heap, const struct kml_release *release)
{
	enum kml_status status = spied->free(heap, release);
	mix(status);
	return status;
}

static struct kml_heap *spy_create(const struct kml_environment *environment, const void *config,
				   struct kml_error *error)
{
	struct kml_heap *heap = spied->create(environment, config, error);
	if (heap != NULL)
		heap->allocator = &spy;
	return heap;
}

static void spy_on(struct kml_spec *spec)
{
	spied = spec->layer[0];
	spy = *spied;
	spy.alloc = spy_alloc;
	spy.free = spy_free;
	spy.create = spy_create;
	spec->layer[0] = &spy;
	spied_hash = 0xCBF29CE484222325ull;
	spied_calls = 0;
}

/* -------------------------------------------------------------------------------------------------------- the end */

struct watch {
	const char *name;
	uint64_t last_event; /* that of the last sample */
	uint64_t samples;
	bool ended;
	uint64_t arena_bytes, areas_left;
};

static bool count_areas(void *context, const struct kml_block *block)
{
	struct watch *watch = context;
	watch->areas_left += block->state == KML_BLOCK_GRANTED && block->address >= watch->arena_bytes;
	return true;
}

/* The runner compares its books too; this is the definition, once more. */
static bool observe(void *context, const struct replay_sample *sample, const struct kml_stack *stack,
		    const struct kml_arena *arena)
{
	struct watch *watch = context;
	uint64_t sum_bytes = sample->requested_bytes;
	for (unsigned kind = 0; kind < KML_WASTE_KINDS; kind++)
		sum_bytes += sample->stats.waste_bytes[kind];
	if (sum_bytes != sample->stats.held_bytes)
		fail_msg("%s: after event %llu requested and waste are %llu, held %llu", watch->name,
			 (unsigned long long)sample->event, (unsigned long long)sum_bytes,
			 (unsigned long long)sample->stats.held_bytes);
	watch->samples++;
	if (sample->event == watch->last_event) {
		watch->ended = true;
		watch->arena_bytes = arena->size_bytes;
		kml_stack_top(stack)->allocator->walk(kml_stack_top(stack), count_areas, watch);
	}
	return true;
}

/* ------------------------------------------------------------------------------------------------------ one replay */

static struct kmt_reader *small_trace;
enum { AREAS_LEFT = 3 }; /* of vmalloc, at its end */

/* The first `events` events after the warm start; the hash of the answers. */
static uint64_t replay_beginning(struct kmt_reader *reader, const char *spec_text, uint64_t events, uint64_t seed)
{
	struct kml_error error = {{0}};
	struct replay_result result;
	struct kml_spec *spec = kml_spec_parse(spec_text, &error);
	if (spec == NULL) {
		fail_msg("%s", error.text);
		return 0;
	}
	spy_on(spec);
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	uint64_t last = totals->warm_events + events < totals->events ? totals->warm_events + events : totals->events;
	uint64_t recorded = totals->events - totals->warm_events, fed = last - totals->warm_events;
	const struct replay_options options = {.level = REPLAY_ALL,
					       .check = true,
					       .samples = (uint32_t)(SAMPLES * recorded / fed),
					       .seed = seed,
					       .stop_after_events = last};
	struct watch watch = {.name = spec_text, .last_event = last};
	if (!replay_run(reader, spec, &options, observe, NULL, &watch, &result, &error))
		fail_msg("%s: %s: %s", kmt_reader_path(reader), spec_text, error.text);
	if (result.check_failed)
		fail_msg("%s: %s: %s", kmt_reader_path(reader), spec_text, result.check_error.text);
	assert_true(watch.ended);
	assert_int_equal(watch.areas_left, reader == small_trace ? AREAS_LEFT : 0);
	assert_true(watch.samples >= SAMPLES - 1);
	assert_true(result.allocations > 0 && result.events >= fed / 2);
	kml_spec_free(spec);
	return spied_hash;
}

/* A few thousand events of objects and pages, and areas of vmalloc between them. */
static void write_synthetic(struct test_trace *trace)
{
	enum { IDS = 250, FIRST_AREA = IDS, AREAS = 2 * AREAS_LEFT };
	test_trace_begin(trace, "matrix");
	for (uint32_t round = 0; round < AREAS; round++) {
		test_trace_add(trace, (struct kmt_event){.op = KMT_ALLOC,
							 .object = FIRST_AREA + round,
							 .size_bytes = (round + 1) * 3000,
							 .cache = KMT_NO_CACHE,
							 .flags = KML_VMALLOC,
							 NO_PLACE});
		if (round % 2 == 1)
			free_object(trace, FIRST_AREA + round - 1);
	}
	for (uint32_t i = 0; i < 100; i++)
		test_trace_add(trace, (struct kmt_event){.op = KMT_ALLOC,
							 .object = FIRST_AREA + AREAS + i,
							 .size_bytes = i % 2 ? 1000 : 64,
							 .cache = i % 2,
							 .cpu = i % 2,
							 NO_PLACE});
	add_churn(trace, SYNTHETIC_EVENTS, IDS, 9000, 77);
	for (uint32_t i = 0; i < 100; i += 3)
		free_object(trace, FIRST_AREA + AREAS + i);
}

static struct kmt_reader *open_shipped(uint32_t index)
{
	char path[2048];
	struct kml_error error = {{0}};
	const char *source = getenv("KMEMLAB_SOURCE");
	snprintf(path, sizeof(path), "%s/traces/%s.kmt", source != NULL ? source : ".", shipped[index]);
	struct kmt_reader *reader = kmt_open(path, &error);
	if (reader == NULL)
		fail_msg("%s", error.text);
	return reader;
}

static uint32_t turn;

static void replay_both(const char *spec_text)
{
	uint32_t mine = turn++;
	replay_beginning(small_trace, spec_text, UINT32_MAX, 1);
	/* What was live at the start costs seconds with sanitizers: there every third stack, but each of the traces. */
	if (KML_HAS_ADDRESS_SANITIZER && mine % 3 != 0)
		return;
	struct kmt_reader *reader = open_shipped(mine % SHIPPED);
	replay_beginning(reader, spec_text, RECORDED_EVENTS, 1);
	kmt_close(reader);
}

/* ----------------------------------------------------------------------------------------------------------- tests */

static void every_stack_replays_without_a_report(void **state)
{
	(void)state;
	turn = 0;
	each_stack("", NULL, replay_both);
}

/* Each strategy on the kernel's own page allocator, on blocks that fit no page number, and in its other forms. */
static void other_forms_do_too(void **state)
{
	(void)state;
	static const char *const specs[] = {"slub:profile=linux-6.1/binary:linux=on",
					    "slub:debug=on/fibonacci",
					    "slub:fit=granted/weighted",
					    "slub:percpu=off/kary:k=3",
					    "slub:merge=on,random=on/tertiary",
					    "slab/binary:linux=on",
					    "slab:debug=on/dual",
					    "slab:fit=granted/fibonacci",
					    "slab:percpu=off/weighted",
					    "slob/binary:linux=on",
					    "solaris/binary:linux=on",
					    "solaris:debug=on/kary",
					    "solaris:fit=granted/kary:k=3",
					    "solaris:percpu=off/first_fit"};
	for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++)
		replay_both(specs[i]);
}

static void answers_the_same_twice(const char *spec_text)
{
	uint64_t first = replay_beginning(small_trace, spec_text, UINT32_MAX, 7), calls = spied_calls;
	assert_true(calls > SYNTHETIC_EVENTS);
	if (replay_beginning(small_trace, spec_text, UINT32_MAX, 7) != first || spied_calls != calls)
		fail_msg("%s: the same trace and seed gave other answers", spec_text);
}

static void the_same_seed_gives_the_same_addresses(void **state)
{
	(void)state;
	each_stack("", NULL, answers_the_same_twice);
	answers_the_same_twice("slub:random=on/binary");
	/* And the seed is what makes random lists random. */
	assert_int_not_equal(replay_beginning(small_trace, "slub:random=on/binary", UINT32_MAX, 7),
			     replay_beginning(small_trace, "slub:random=on/binary", UINT32_MAX, 8));
}

int main(void)
{
	struct test_trace trace;
	write_synthetic(&trace);
	small_trace = test_trace_end(&trace);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_stack_replays_without_a_report),
		cmocka_unit_test(other_forms_do_too),
		cmocka_unit_test(the_same_seed_gives_the_same_addresses),
	};
	int failures = cmocka_run_group_tests_name("matrix", tests, NULL, NULL);
	test_trace_close(&trace, small_trace);
	return failures;
}
