/*
 * twin_test.c - what is fitted to a trace of known arrivals and lifetimes is those; what the model says, the twin does.
 *
 * The traces are of an M/M/infinity queue: births are a Poisson process of rate r, lifetimes exponential of mean m, so
 * that in the long run Poisson(r m) are alive. Bounds are standard errors of those laws, times 4.5: one false alarm in
 * 150,000.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kmemlab/support/random.h"
#include "workloads/generate/generate.h"
#include "workloads/generate/twin_fit.h"
#include "workloads/replay.h"

static const double SIGMAS = 4.5;
enum { PAGE_BYTES = 4096, MODEL_BYTES = 8192 };

static const struct kmt_cache caches[] = {
	{.name = "inode", .object_bytes = 600, .slot_bytes = 608, .objects_per_slab = 13, .pages_per_slab = 2},
	{.name = "kmalloc-64",
	 .object_bytes = 64,
	 .slot_bytes = 64,
	 .objects_per_slab = 64,
	 .pages_per_slab = 1,
	 .flags = KMT_CACHE_KMALLOC},
};

/* ------------------------------------------------------------------------------------------------ traces */

struct stream {
	struct kmt_event *events;
	uint64_t count, room;
	uint32_t ids;
	uint64_t random;
};

static double uniform(struct stream *stream)
{
	return ((double)(random_next(&stream->random) >> 11) + 0.5) * 0x1p-53;
}

static double exponential(struct stream *stream, double mean)
{
	return -mean * log(uniform(stream));
}

static void put(struct stream *stream, struct kmt_event event)
{
	if (stream->count == stream->room) {
		stream->room = stream->room ? 2 * stream->room : 1024;
		stream->events = realloc(stream->events, stream->room * sizeof *stream->events);
		assert_non_null(stream->events);
	}
	event.address = KMT_NO_ADDRESS;
	stream->events[stream->count++] = event;
}

/* One life of a cache, from its birth on; over after the end of the trace: it is not freed. */
static void live(struct stream *stream, uint16_t cache, uint64_t size_bytes, double birth_ns, double life_ns,
		 uint64_t end_ns, bool is_warm)
{
	uint16_t cpu = uniform(stream) < 0.3, flags = KML_CONTIGUOUS | (is_warm ? KMT_WARM : 0);
	struct kmt_event event = {.op = KMT_ALLOC,
				  .time_ns = (uint64_t)birth_ns,
				  .object = stream->ids++,
				  .cache = cache,
				  .cpu = cpu,
				  .size_bytes = size_bytes,
				  .flags = flags};
	put(stream, event);
	event.op = KMT_FREE;
	event.time_ns = (uint64_t)(birth_ns + life_ns) + 1;
	event.cpu = uniform(stream) < 0.2 ? !cpu : cpu;
	event.flags = KML_CONTIGUOUS;
	if (birth_ns + life_ns < (double)end_ns)
		put(stream, event);
}

/* A free comes after the allocation of its object, which has the lower time or the same id's allocation before it. */
static int by_time(const void *a, const void *b)
{
	const struct kmt_event *x = a, *y = b;
	bool warm_x = x->flags & KMT_WARM, warm_y = y->flags & KMT_WARM;
	if (warm_x != warm_y)
		return warm_x ? -1 : 1;
	if (x->time_ns != y->time_ns)
		return x->time_ns < y->time_ns ? -1 : 1;
	if (x->object != y->object)
		return x->object < y->object ? -1 : 1;
	return x->op < y->op ? -1 : x->op > y->op;
}

static struct kmt_reader *open_stream(struct stream *stream)
{
	static const struct kmt_origin origin = {.source = "test",
						 .kernel = "",
						 .command = "secret-command",
						 .clock = "",
						 .note = "",
						 .cpu_count = 2,
						 .page_bytes = PAGE_BYTES};
	struct kml_error error;
	if (stream->count > 1)
		qsort(stream->events, stream->count, sizeof *stream->events, by_time);
	struct kmt_reader *reader = kmt_open_events(&origin, caches, 2, stream->events, stream->count, &error);
	if (!reader)
		fail_msg("%s", error.text);
	return reader;
}

/* A queue in its steady state: as many there at the start as are alive on average, which is all the same to who has no
 * memory. */
static void put_queue(struct stream *stream, uint16_t cache, uint64_t size_bytes, double births, double mean_ns,
		      uint64_t end_ns)
{
	double gap_ns = (double)end_ns / births;
	for (uint64_t i = 0; i < (uint64_t)(mean_ns / gap_ns); i++)
		live(stream, cache, size_bytes, 0, exponential(stream, mean_ns), end_ns, true);
	double at_ns = exponential(stream, gap_ns);
	while (at_ns < (double)end_ns) {
		live(stream, cache, size_bytes, at_ns, exponential(stream, mean_ns), end_ns, false);
		at_ns += exponential(stream, gap_ns);
	}
}

static struct twin_model fit(struct kmt_reader *reader, uint64_t model_bytes)
{
	struct twin_model model;
	struct kml_error error;
	if (!twin_fit(reader, model_bytes, &model, &error))
		fail_msg("%s", error.text);
	return model;
}

static const struct twin_kind *kind_of(const struct twin_model *model, const char *cache)
{
	for (uint32_t i = 0; i < model->kind_count; i++)
		if (model->kinds[i].cache >= 0 && strcmp(model->caches[model->kinds[i].cache].name, cache) == 0)
			return &model->kinds[i];
	fail_msg("no kind of %s", cache);
	return NULL;
}

static char *text_of(const struct twin_model *model)
{
	char *text = NULL;
	size_t bytes;
	FILE *stream = open_memstream(&text, &bytes);
	assert_non_null(stream);
	assert_true(twin_model_write(model, stream));
	assert_int_equal(fclose(stream), 0);
	return text;
}

/* As a file of its own, and the spec of its twin. */
static void write_file(const struct twin_model *model, char *path, size_t path_bytes, char *spec, size_t spec_bytes,
		       const char *params)
{
	const char *folder = getenv("KMEMLAB_TEST_OUTPUT");
	snprintf(path, path_bytes, "%s/twin-%ld.json", folder && *folder ? folder : "/tmp", (long)getpid());
	snprintf(spec, spec_bytes, "twin:model=%s%s", path, params);
	FILE *stream = fopen(path, "w");
	assert_non_null(stream);
	assert_true(twin_model_write(model, stream));
	assert_int_equal(fclose(stream), 0);
}

static struct kmt_reader *open_twin(const struct twin_model *model, const char *params)
{
	char path[3000], spec[4000];
	struct kml_error error;
	write_file(model, path, sizeof path, spec, sizeof spec, params);
	struct kmt_reader *reader = workload_open(spec, NULL, &error);
	if (!reader)
		fail_msg("%s", error.text);
	return reader;
}

static void close_twin(struct kmt_reader *reader)
{
	char path[3000];
	sscanf(kmt_reader_path(reader), "twin:model=%2999[^,]", path);
	kmt_close(reader);
	unlink(path);
}

/* Live objects of a cache at `count` equal steps of the trace, and its allocations by cpu. */
struct seen {
	uint64_t live[101], born, of_cpu[2], freed, crossed;
};

static void look(struct kmt_reader *reader, uint16_t cache, uint64_t duration_ns, uint32_t count, struct seen *seen)
{
	struct kmt_item item;
	struct kml_error error;
	uint16_t *cpu_of = calloc(kmt_reader_totals(reader)->objects + 1, sizeof *cpu_of);
	uint64_t live_now = 0;
	uint32_t next = 0;
	enum kmt_item_kind kind;
	memset(seen, 0, sizeof *seen);
	assert_non_null(cpu_of);
	assert_true(kmt_rewind(reader, &error));
	while ((kind = kmt_next(reader, &item, &error)) == KMT_ITEM_EVENTS)
		for (uint32_t i = 0; i < item.event_count; i++) {
			const struct kmt_event *event = &item.events[i];
			bool is_warm = event->flags & KMT_WARM;
			while (next < count && (event->time_ns > duration_ns * next / count) && !is_warm)
				seen->live[next++] = live_now;
			if (event->cache != cache)
				continue;
			live_now += event->op == KMT_ALLOC ? 1 : UINT64_MAX;
			if (event->op == KMT_ALLOC && !is_warm) {
				seen->born++;
				seen->of_cpu[event->cpu]++;
			} else if (event->op == KMT_FREE) {
				seen->freed++;
				seen->crossed += cpu_of[event->object] != event->cpu;
			}
			if (event->op == KMT_ALLOC)
				cpu_of[event->object] = event->cpu;
		}
	assert_int_equal(kind, KMT_ITEM_END);
	while (next <= count)
		seen->live[next++] = live_now;
	free(cpu_of);
}

/* ------------------------------------------------------------------------------------------------ the fit */

/* The standard error of the quantile p of n exponential lifetimes of mean m is sqrt(p (1 - p) / n) m / (1 - p). */
static void check_quantiles(const struct twin_life *life, double mean_ns, double lives, double most_share)
{
	assert_true(life->is_known);
	for (int i = 1; i < TWIN_QUANTILES && twin_shares[i] <= most_share; i++) {
		double share = twin_shares[i], expected_ns = -mean_ns * log(1 - share);
		double error_ns = sqrt(share * (1 - share) / lives) * mean_ns / (1 - share);
		if (fabs(life->quantile_ns[i] - expected_ns) > SIGMAS * error_ns)
			fail_msg("quantile %g is %g ns, not %g within %g", share, life->quantile_ns[i], expected_ns,
				 SIGMAS * error_ns);
	}
}

static void rates_and_lifetimes_are_recovered(void **state)
{
	const double births = 20000, mean_ns = 2e6;
	const uint64_t end_ns = 1000000000;
	struct stream stream = {.random = 11};
	(void)state;
	put_queue(&stream, 0, 600, births, mean_ns, end_ns);
	struct kmt_reader *reader = open_stream(&stream);
	struct twin_model model = fit(reader, MODEL_BYTES);
	const struct twin_kind *kind = kind_of(&model, "inode");
	double born = 0;
	for (uint32_t phase = 0, from = 0; phase < kind->phases; from = kind->until[phase++]) {
		/* A Poisson count: its variance is its mean. */
		double expected = births * (kind->until[phase] - from) / TWIN_TICKS;
		assert_true(fabs((double)kind->born[phase] - expected) <= SIGMAS * sqrt(expected) + 3);
		born += (double)kind->born[phase];
	}
	assert_true(fabs(born - births) <= SIGMAS * sqrt(births));
	check_quantiles(&kind->life, mean_ns, born, 0.99);
	assert_true(fabs(kind->cpu_share[1] - 0.3) <= SIGMAS * sqrt(0.3 * 0.7 / born));
	assert_true(fabs(kind->cross - 0.2) <= SIGMAS * sqrt(0.2 * 0.8 / born));
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

/*
 * Lives half as long as the trace: of those born, about 43 % are alive at its end. Were they left out, the median would
 * come out a third too short; who is born in the last tenth tells nothing of it, so nine tenths count.
 */
static void who_never_died_is_counted_as_that(void **state)
{
	const uint64_t end_ns = 1000000000;
	const double births = 20000, mean_ns = 0.5e9;
	struct stream stream = {.random = 12};
	(void)state;
	put_queue(&stream, 0, 600, births, mean_ns, end_ns);
	struct kmt_reader *reader = open_stream(&stream);
	struct twin_model model = fit(reader, MODEL_BYTES);
	const struct twin_kind *kind = kind_of(&model, "inode");
	/* Greenwood's error at the median, with half of the births still at risk at that age, is less than twice this.
	 */
	check_quantiles(&kind->life, mean_ns, births / 4, 0.5);
	/* All those there at the start are watched from then on, and an exponential life has no memory. */
	check_quantiles(&kind->warm_life, mean_ns, mean_ns * births / (double)end_ns, 0.75);
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

static void sizes_and_stages_are_kept(void **state)
{
	const uint64_t end_ns = 1000000000;
	struct stream stream = {.random = 13};
	(void)state;
	for (uint32_t i = 0; i < 300; i++)
		live(&stream, 1, 40, 0, 2e9, end_ns, true);
	for (uint32_t i = 0; i < 900; i++)
		live(&stream, 1, 64, 1e6 * i, i % 4 == 0 ? 5e7 : 1e3, end_ns, false);
	struct kmt_reader *reader = open_stream(&stream);
	struct twin_model model = fit(reader, MODEL_BYTES);
	const struct twin_kind *kind = kind_of(&model, "kmalloc-64");
	assert_int_equal(kind->size_count, 2);
	assert_int_equal(kind->sizes[0].size_bytes, 40);
	assert_int_equal(kind->sizes[0].weight[TWIN_WARM], 300);
	assert_int_equal(kind->sizes[1].size_bytes, 64);
	assert_int_equal(kind->sizes[1].weight[TWIN_LONG], 225);
	assert_int_equal(kind->sizes[1].weight[TWIN_SHORT], 675);
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

/* A step up at 0.3 and down at 0.7 of the time: change points stand there, and between them nothing is off. */
static void change_points_stand_where_the_steps_are(void **state)
{
	const uint64_t end_ns = 1024000000;
	struct stream stream = {.random = 14};
	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		live(&stream, 0, 600, 0, 2e9, end_ns, true);
	for (uint32_t i = 0; i < 5000; i++)
		live(&stream, 0, 600, 300.2e6 + i, 400e6, end_ns, false);
	live(&stream, 0, 600, (double)end_ns - 1, 2, end_ns, false);
	struct kmt_reader *reader = open_stream(&stream);
	struct twin_model model = fit(reader, MODEL_BYTES);
	const struct twin_kind *kind = kind_of(&model, "inode");
	uint64_t live_at[TWIN_TICKS + 1] = {0};
	for (uint32_t phase = 0, from = 0; phase < kind->phases; from = kind->until[phase++])
		for (uint32_t tick = from; tick <= kind->until[phase]; tick++)
			live_at[tick] = kind->live[phase] + (kind->live[phase + 1] - kind->live[phase]) *
								    (tick - from) / (kind->until[phase] - from);
	assert_int_equal(live_at[0], 100);
	assert_int_equal(live_at[300], 100);
	assert_int_equal(live_at[301], 5100);
	assert_int_equal(live_at[700], 5100);
	assert_int_equal(live_at[701], 100);
	assert_in_range(kind->phases, 5, 7);
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

static void nothing_private_is_written(void **state)
{
	struct stream stream = {.random = 15};
	(void)state;
	put_queue(&stream, 0, 600, 500, 1e6, 100000000);
	struct kmt_reader *reader = open_stream(&stream);
	struct twin_model model = fit(reader, MODEL_BYTES);
	char *text = text_of(&model);
	assert_null(strstr(text, "secret"));
	assert_true(strlen(text) <= MODEL_BYTES);
	free(text);
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

/* ------------------------------------------------------------------------------------------------ the twin */

static struct twin_model two_queues(uint64_t seed, struct kmt_reader **reader, struct stream *stream)
{
	*stream = (struct stream){.random = seed};
	put_queue(stream, 0, 600, 8000, 40e6, 1000000000);
	put_queue(stream, 1, 48, 20000, 1e6, 1000000000);
	*reader = open_stream(stream);
	return fit(*reader, MODEL_BYTES);
}

static void a_model_comes_back_as_it_was_written(void **state)
{
	struct stream stream;
	struct kmt_reader *reader;
	struct twin_model again;
	struct kml_error error;
	(void)state;
	struct twin_model model = two_queues(21, &reader, &stream);
	char *text = text_of(&model);
	if (!twin_model_parse(text, "model", &again, &error))
		fail_msg("%s", error.text);
	char *twice = text_of(&again);
	assert_string_equal(text, twice);
	assert_int_equal(again.kind_count, model.kind_count);
	free(text);
	free(twice);
	twin_model_free(&again);
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

/*
 * Poisson(r m) objects are alive in the original and in the twin: their difference has the variance 2 r m. 320 and 20
 * of the two caches.
 */
static void as_many_live_over_time(void **state)
{
	static const double expected[] = {320, 20};
	struct stream stream;
	struct kmt_reader *reader;
	(void)state;
	struct twin_model model = two_queues(22, &reader, &stream);
	struct kmt_reader *twin = open_twin(&model, "");
	for (uint16_t cache = 0; cache < 2; cache++) {
		struct seen one, other;
		int32_t own = kind_of(&model, caches[cache].name)->cache;
		look(reader, cache, model.duration_ns, 100, &one);
		look(twin, (uint16_t)own, model.duration_ns, 100, &other);
		assert_int_equal(one.born, other.born);
		assert_int_equal(one.live[0], other.live[0]);
		assert_int_equal(one.live[100], other.live[100]);
		for (int i = 0; i <= 100; i++)
			if (fabs((double)one.live[i] - (double)other.live[i]) > SIGMAS * sqrt(2 * expected[cache]))
				fail_msg("%s at %d %%: %d live in the trace, %d in its twin", caches[cache].name, i,
					 (int)one.live[i], (int)other.live[i]);
		/* Shares of the original are known to their own error, the twin's to its. */
		double share = (double)other.of_cpu[1] / (double)other.born;
		assert_true(fabs(share - 0.3) <= SIGMAS * sqrt(2 * 0.3 * 0.7 / (double)other.born) + 0.005);
		double crossed = (double)other.crossed / (double)other.freed;
		assert_true(fabs(crossed - 0.2) <= SIGMAS * sqrt(2 * 0.2 * 0.8 / (double)other.freed) + 0.005);
	}
	close_twin(twin);
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

static uint64_t digest(struct kmt_reader *reader)
{
	struct kmt_item item;
	struct kml_error error;
	uint64_t sum = 0;
	assert_true(kmt_rewind(reader, &error));
	while (kmt_next(reader, &item, &error) == KMT_ITEM_EVENTS)
		for (uint32_t i = 0; i < item.event_count; i++)
			sum = random_mix(sum ^ item.events[i].time_ns ^ (uint64_t)item.events[i].object << 40 ^
					 item.events[i].size_bytes << 20 ^ item.events[i].cpu);
	return sum;
}

static void the_seed_is_the_twin(void **state)
{
	struct stream stream;
	struct kmt_reader *reader;
	(void)state;
	struct twin_model model = two_queues(23, &reader, &stream);
	uint64_t sums[3];
	static const char *const params[] = {"", ",seed=1", ",seed=2"};
	for (int i = 0; i < 3; i++) {
		struct kmt_reader *twin = open_twin(&model, params[i]);
		sums[i] = digest(twin);
		assert_int_equal(sums[i], digest(twin));
		close_twin(twin);
	}
	assert_int_equal(sums[0], sums[1]);
	assert_int_not_equal(sums[0], sums[2]);
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

static void scale_and_stretch_are_exact(void **state)
{
	struct stream stream;
	struct kmt_reader *reader;
	(void)state;
	struct twin_model model = two_queues(24, &reader, &stream);
	struct kmt_reader *twin = open_twin(&model, ",scale=3,stretch=2,cpus=1");
	const struct twin_kind *kind = kind_of(&model, "inode");
	struct seen seen;
	look(twin, (uint16_t)kind->cache, 2 * model.duration_ns, 100, &seen);
	assert_int_equal(seen.live[0], 3 * kind->live[0]);
	assert_int_equal(seen.live[100], 3 * kind->live[kind->phases]);
	assert_int_equal(seen.of_cpu[1], 0);
	assert_true(kmt_reader_totals(twin)->duration_ns <= 2 * model.duration_ns);
	assert_true((double)kmt_reader_totals(twin)->duration_ns >= 1.99 * (double)model.duration_ns);
	close_twin(twin);
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

/* Every answer against the shadow model; at the end the arena is whole again. */
static void a_twin_replays_checked(void **state)
{
	struct stream stream;
	struct kmt_reader *reader;
	struct kml_error error;
	(void)state;
	struct twin_model model = two_queues(25, &reader, &stream);
	struct kmt_reader *twin = open_twin(&model, "");
	static const char *const stacks[] = {"slub", "slab", "slob", "binary"};
	for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++) {
		const struct replay_options options = {.seed = 1, .check = true, .samples = 4};
		struct replay_result result;
		struct kml_spec *spec = kml_spec_parse(stacks[i], &error);
		assert_non_null(spec);
		if (!replay_run(twin, spec, &options, NULL, NULL, NULL, &result, &error))
			fail_msg("%s", error.text);
		if (result.check_failed)
			fail_msg("%s", result.check_error.text);
		assert_int_equal(result.dead_frees, 0);
		assert_int_equal(result.events, kmt_reader_totals(twin)->events);
		kml_spec_free(spec);
	}
	close_twin(twin);
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

/* ------------------------------------------------------------------------------------------------ refusals */

#define HEAD                                                                                                           \
	"{\"format\":\"kmemlab-twin\",\"version\":1,\"page_bytes\":4096,\"cpu_count\":2,\"duration_ns\":1000,\"long_"  \
	"ns\":4,"
#define ROW "\"a\",64,64,8,64,1,0,0,0"
#define KIND(fields) HEAD "\"caches\":[[" ROW ",{" fields "}]],\"kinds\":[]}"

static const struct {
	const char *text, *needle;
} hostile[] = {
	{"", "line 1"},
	{"{\"format\":\"kmemlab-twin\",\n\"version\":NaN}", "line 2"},
	{"{}", "format"},
	{"{\"format\":\"kmemlab-twin\"}", "version"},
	{"{\"format\":\"kmemlab-twin\",\"version\":2}", "version"},
	{HEAD "\"kinds\":[]}", "caches"},
	{HEAD "\"caches\":[]}", "kinds"},
	{HEAD "\"caches\":[],\"kinds\":[]}", "kinds"},
	{HEAD "\"caches\":[7],\"kinds\":[]}", "caches[0]"},
	{HEAD "\"caches\":[[" ROW "],[\"b\",0,64,8,64,1,0,0,0]],\"kinds\":[]}", "caches[1].object_bytes"},
	{HEAD "\"caches\":[[\"a\",64,64,3,64,1,0,0,0]],\"kinds\":[]}", "caches[0].align_bytes"},
	{HEAD "\"caches\":[[\"a\",64,64,8,64,1,-1,0,0]],\"kinds\":[]}", "caches[0].slabs"},
	{KIND("\"live\":[1]"), "caches[0][9].flags"},
	{KIND("\"flags\":512,\"live\":[1]"), "flags"},
	{KIND("\"flags\":1.5,\"live\":[1]"), "flags"},
	{KIND("\"flags\":16"), "caches[0][9].live"},
	{KIND("\"flags\":16,\"live\":[-1]"), "live[0]"},
	{KIND("\"flags\":16,\"live\":[1e999]"), "live[0]"},
	{KIND("\"flags\":16,\"live\":[268435457]"), "live[0]"},
	{KIND("\"flags\":16,\"live\":[1,2]"), "born"},
	{KIND("\"flags\":16,\"live\":[1,2],\"born\":[0]"), "live"},
	{KIND("\"flags\":16,\"live\":[1,2],\"born\":[\"2\"]"), "born[0]"},
	{KIND("\"flags\":16,\"live\":[1,2,3],\"born\":[1,1]"), "until"},
	{KIND("\"flags\":16,\"until\":[9,9],\"live\":[1,2,3],\"born\":[1,1]"), "until"},
	{KIND("\"flags\":16,\"until\":[9,10],\"live\":[1,2,3],\"born\":[1,1]"), "until"},
	{KIND("\"flags\":16,\"live\":[1],\"life\":[3,2]"), "life"},
	{KIND("\"flags\":16,\"live\":[1],\"life\":[17]"), "life"},
	{KIND("\"flags\":16,\"live\":[1],\"life\":[null]"), "life"},
	{KIND("\"flags\":16,\"live\":[1],\"warm_life\":[]"), "warm_life"},
	{KIND("\"flags\":16,\"live\":[1],\"together\":1.01"), "together"},
	{KIND("\"flags\":16,\"live\":[1],\"cross\":-0.1"), "cross"},
	{KIND("\"flags\":16,\"live\":[1],\"cpus\":[1]"), "cpus"},
	{KIND("\"flags\":16,\"live\":[1],\"cpus\":[0,0]"), "cpus"},
	{KIND("\"flags\":16,\"live\":[1],\"sizes\":[[65,1,0,0]]"), "sizes"},
	{KIND("\"flags\":16,\"live\":[1],\"sizes\":[[64,0,0,0]]"), "sizes"},
	{KIND("\"flags\":16,\"order\":0,\"live\":[1]"), "order"},
	{HEAD "\"caches\":[],\"kinds\":[{\"flags\":16,\"live\":[1]}]}", "kinds[0].sizes"},
	{HEAD "\"caches\":[],\"kinds\":[{\"flags\":16,\"order\":21,\"live\":[1]}]}", "kinds[0].order"},
	{HEAD "\"caches\":[],\"kinds\":[3]}", "kinds[0]"},
};

static void hostile_models_are_refused_by_the_name_of_the_field(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
		struct twin_model model;
		struct kml_error error = {{0}};
		if (twin_model_parse(hostile[i].text, "bad.json", &model, &error))
			fail_msg("accepted: %s", hostile[i].text);
		if (!strstr(error.text, "bad.json") || !strstr(error.text, hostile[i].needle))
			fail_msg("'%s' does not name %s of %s", error.text, hostile[i].needle, hostile[i].text);
		twin_model_free(&model);
	}
	struct twin_model good;
	struct kml_error error;
	if (!twin_model_parse(KIND("\"flags\":16,\"live\":[1]"), "good", &good, &error))
		fail_msg("%s", error.text);
	twin_model_free(&good);
}

static void traces_that_cannot_be_fitted_are_refused(void **state)
{
	struct stream stream = {.random = 31};
	struct twin_model model;
	struct kml_error error;
	(void)state;
	live(&stream, 0, 600, 0, 2e9, 1000, true);
	struct kmt_reader *reader = open_stream(&stream);
	assert_false(twin_fit(reader, MODEL_BYTES, &model, &error));
	assert_non_null(strstr(error.text, "one instant"));
	twin_model_free(&model);
	kmt_close(reader);
	stream.count = 0;
	put(&stream, (struct kmt_event){.op = KMT_SHRINK, .cache = KMT_NO_CACHE, .time_ns = 5});
	reader = open_stream(&stream);
	assert_false(twin_fit(reader, MODEL_BYTES, &model, &error));
	assert_non_null(strstr(error.text, "no allocation"));
	twin_model_free(&model);
	kmt_close(reader);
	free(stream.events);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_and_lifetimes_are_recovered),
		cmocka_unit_test(who_never_died_is_counted_as_that),
		cmocka_unit_test(sizes_and_stages_are_kept),
		cmocka_unit_test(change_points_stand_where_the_steps_are),
		cmocka_unit_test(nothing_private_is_written),
		cmocka_unit_test(a_model_comes_back_as_it_was_written),
		cmocka_unit_test(as_many_live_over_time),
		cmocka_unit_test(the_seed_is_the_twin),
		cmocka_unit_test(scale_and_stretch_are_exact),
		cmocka_unit_test(a_twin_replays_checked),
		cmocka_unit_test(hostile_models_are_refused_by_the_name_of_the_field),
		cmocka_unit_test(traces_that_cannot_be_fitted_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
