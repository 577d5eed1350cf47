/*
 * purdom_stigler.c - the bottom level of a buddy system: equal blocks, Poisson arrivals, exponential lifetimes.
 *
 * P. W. Purdom & S. M. Stigler, Statistical properties of the buddy system, JACM 17(4), 1970, pp. 683-697. Blocks of
 * one unit arrive at rate lambda and live 1/mu in the mean; rho = lambda/mu. With n live blocks, k of them with a free
 * buddy (so that k blocks of the bottom level are available), the level is a Markov chain:
 *
 *     an arrival, k > 0     lambda       (n, k) -> (n + 1, k - 1)
 *     an arrival, k = 0     lambda       (n, 0) -> (n + 1, 1)      a block of two is asked of the next level
 *     a death, buddy free   k mu         (n, k) -> (n - 1, k - 1)  the two are given back to it
 *     a death, buddy live   (n - k) mu   (n, k) -> (n - 1, k + 1)
 *
 * Which of the k is granted changes nothing. What is asked of the next level is given back to it: in equilibrium
 * lambda P(k = 0) = mu E[k]. With T = 1/(lambda P(k = 0)), the mean time between two requests to the next level,
 *
 *     E[k] lambda T = rho,   and for large rho   E[k] = sqrt(rho)/1.880, about.
 *
 * The workload is this one; it needs no stack. It begins empty; after 20 mean lifetimes, when e^-20 of the beginning is
 * left, a phase `steady` begins. Cost: O(log rho) an event; memory: the live blocks.
 */
#include "workloads/generate/purdom_stigler.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "workloads/generate/generators.h"

enum { LIFETIME_NS = 1000000000, WARM_LIFETIMES = 20, PAGE_BYTES = 4096 };
static const char STEADY[] = "steady";

/* ------------------------------------------------------------------------------------------------ the workload */

struct config {
	struct generate_common common;
	double rate;
	uint64_t arrivals, unit_bytes;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("1"),
	{.name = "rate",
	 .type = KML_PARAM_REAL,
	 .offset = offsetof(struct config, rate),
	 .default_text = "100",
	 .minimum = 0,
	 .maximum = 1 << 24,
	 .help = "rho: arrivals in a mean lifetime, live blocks in the mean"},
	{.name = "arrivals",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct config, arrivals),
	 .default_text = "100000",
	 .minimum = 1,
	 .maximum = 1ull << 40,
	 .help = "after which it ends"},
	{.name = "unit",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct config, unit_bytes),
	 .default_text = "16",
	 .minimum = 1,
	 .maximum = 1 << 21,
	 .help = "of a block"},
	{0},
};

struct arrivals {
	const struct config *config;
	uint64_t done;
	bool is_steady;
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct arrivals *arrivals = state;
	(void)generate;
	arrivals->config = config;
	return arrivals->config->rate > 0 || kml_fail(error, "purdom_stigler: rate=0: nothing arrives; use more");
}

/* An arrival a step, and the deaths before it. */
static bool step(struct generate *generate, void *state)
{
	struct arrivals *arrivals = state;
	const struct generate_ask ask = {.size_bytes = arrivals->config->unit_bytes};
	double wait_ns = generate_exponential(generate, LIFETIME_NS / arrivals->config->rate);
	generate_advance_to(generate, generate_now(generate) + (uint64_t)llround(wait_ns));
	if (!arrivals->is_steady && generate_now(generate) >= (uint64_t)WARM_LIFETIMES * LIFETIME_NS) {
		arrivals->is_steady = true;
		generate_mark(generate, STEADY);
	}
	generate_id id = generate_alloc(generate, &ask);
	double life_ns = generate_exponential(generate, LIFETIME_NS);
	generate_free_at(generate, id, 0, generate_now(generate) + (uint64_t)llround(life_ns));
	return ++arrivals->done < arrivals->config->arrivals;
}

const struct generator generator_purdom_stigler = {
	.name = "purdom_stigler",
	.title = "The bottom level of a buddy system",
	.citation = "P. W. Purdom & S. M. Stigler, Statistical properties of the buddy system, JACM 17(4), 1970",
	.summary = "equal blocks, Poisson arrivals at rate rho, exponential lifetimes: E[k] lambda T = rho",
	.params = params,
	.config_bytes = sizeof(struct config),
	.state_bytes = sizeof(struct arrivals),
	.start = start,
	.step = step,
};

/* ------------------------------------------------------------------------------------------------ its measurement */

/* One seed's. */
struct level {
	struct kml_arena *arena;
	struct kml_stack stack;
	bool has_stack;
	uint64_t *addresses; /* by object */
	uint64_t block_bytes, available;
	bool is_steady;
	uint64_t last_ns, steady_ns;
	double available_ns; /* the integral of k over time */
	uint64_t arrivals, requests;
};

static bool level_open(struct level *level, const struct kml_spec *spec, uint64_t most_blocks, struct kml_error *error)
{
	uint64_t arena_bytes = PAGE_BYTES;
	while (arena_bytes < 4 * most_blocks * PAGE_BYTES)
		arena_bytes *= 2;
	level->addresses = calloc(most_blocks, sizeof *level->addresses);
	level->arena = kml_arena_create(arena_bytes, PAGE_BYTES, false, error);
	if (!level->addresses || !level->arena)
		return level->addresses || kml_fail(error, "out of memory");
	const struct kml_environment environment = {
		.arena = level->arena, .page_bytes = PAGE_BYTES, .cpu_count = 1, .seed = 1};
	level->has_stack = kml_stack_create(&level->stack, spec, &environment, error);
	return level->has_stack;
}

static void level_close(struct level *level)
{
	if (level->has_stack)
		kml_stack_destroy(&level->stack);
	kml_arena_destroy(level->arena);
	free(level->addresses);
}

/* Of the bottom level. */
static uint64_t count_available(const struct level *level)
{
	const struct kml_heap *heap = kml_stack_top(&level->stack);
	struct kml_free_area areas[KML_FREE_AREAS_MAX];
	uint32_t count = heap->allocator->free_areas(heap, areas);
	for (uint32_t i = 0; i < count; i++)
		if (areas[i].block_bytes == level->block_bytes)
			return areas[i].count;
	return 0;
}

static bool level_arrival(struct level *level, const struct kmt_event *event, struct kml_error *error)
{
	struct kml_heap *heap = kml_stack_top(&level->stack);
	const struct kml_request request = {
		.size_bytes = event->size_bytes, .recorded = KML_NO_ADDRESS, .cache = KML_NO_CACHE};
	const struct kml_grant grant = heap->allocator->alloc(heap, &request);
	if (grant.status != KML_OK)
		return kml_fail(error, "purdom_stigler: the stack refused a block: %s", kml_status_name(grant.status));
	level->addresses[event->object] = grant.address;
	level->block_bytes = grant.granted_bytes;
	level->arrivals += level->is_steady;
	level->requests += level->is_steady && level->available == 0;
	return true;
}

static bool level_death(struct level *level, const struct kmt_event *event, struct kml_error *error)
{
	struct kml_heap *heap = kml_stack_top(&level->stack);
	const struct kml_release release = {.address = level->addresses[event->object], .cache = KML_NO_CACHE};
	enum kml_status status = heap->allocator->free(heap, &release);
	return status == KML_OK ||
	       kml_fail(error, "purdom_stigler: the stack refused a free: %s", kml_status_name(status));
}

static bool level_feed(struct level *level, const struct kmt_item *item, struct kml_error *error)
{
	for (uint32_t i = 0; i < item->event_count; i++) {
		const struct kmt_event *event = &item->events[i];
		if (level->is_steady)
			level->available_ns += (double)level->available * (double)(event->time_ns - level->last_ns);
		level->last_ns = event->time_ns;
		if (event->op == KMT_ALLOC && !level_arrival(level, event, error))
			return false;
		if (event->op == KMT_FREE && !level_death(level, event, error))
			return false;
		level->available = count_available(level);
	}
	if (item->kind == KMT_ITEM_SNAPSHOT && !level->is_steady) {
		level->is_steady = true;
		level->steady_ns = level->last_ns = item->snapshot->time_ns;
	}
	return true;
}

static bool level_play(struct level *level, struct kmt_reader *reader, struct kml_error *error)
{
	struct kmt_item item;
	enum kmt_item_kind kind;
	while ((kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT)
		if (!level_feed(level, &item, error))
			return false;
	return kind == KMT_ITEM_END;
}

/* Of a number that was measured several times. */
struct sums {
	double sum, squares;
};

static void sums_add(struct sums *sums, double value)
{
	sums->sum += value;
	sums->squares += value * value;
}

static double sums_mean(const struct sums *sums, uint32_t count)
{
	return sums->sum / count;
}

/* Standard error of the mean. */
static double sums_error(const struct sums *sums, uint32_t count)
{
	double mean = sums->sum / count, variance = (sums->squares - count * mean * mean) / (count - 1);
	return sqrt(fmax(variance, 0) / count);
}

struct measurement {
	struct sums available, per_request, identity;
	uint64_t arrivals;
};

static bool measure_level(struct level *level, struct kmt_reader *reader, double rate, struct measurement *measurement,
			  struct kml_error *error)
{
	if (!level_play(level, reader, error))
		return false;
	if (level->requests == 0)
		return kml_fail(error, "purdom_stigler: too few arrivals to begin after %d mean lifetimes: use more",
				WARM_LIFETIMES);
	double available = level->available_ns / (double)(level->last_ns - level->steady_ns);
	double per_request = (double)level->arrivals / (double)level->requests;
	sums_add(&measurement->available, available);
	sums_add(&measurement->per_request, per_request);
	sums_add(&measurement->identity, available * per_request / rate);
	measurement->arrivals += level->arrivals;
	return true;
}

static bool measure_seed(const struct kml_spec *spec, double rate, uint64_t arrivals, uint32_t seed,
			 struct measurement *measurement, struct kml_error *error)
{
	struct level level = {0};
	char text[128];
	snprintf(text, sizeof text, "purdom_stigler:rate=%.17g,arrivals=%" PRIu64 ",seed=%" PRIu32, rate, arrivals,
		 seed);
	struct kmt_reader *reader = workload_open(text, NULL, error);
	if (!reader)
		return false;
	bool done = level_open(&level, spec, kmt_reader_totals(reader)->objects, error) &&
		    measure_level(&level, reader, rate, measurement, error);
	level_close(&level);
	kmt_close(reader);
	return done;
}

bool purdom_stigler_measure(const char *stack, double rate, uint64_t arrivals, uint32_t seeds,
			    struct purdom_stigler *result, struct kml_error *error)
{
	struct measurement measurement = {0};
	if (seeds < 2)
		return kml_fail(error, "purdom_stigler: a standard error needs two seeds at least");
	struct kml_spec *spec = kml_spec_parse(stack, error);
	if (!spec)
		return false;
	bool done = true;
	for (uint32_t seed = 1; done && seed <= seeds; seed++)
		done = measure_seed(spec, rate, arrivals, seed, &measurement, error);
	kml_spec_free(spec);
	if (!done)
		return false;
	*result = (struct purdom_stigler){
		.rate = rate,
		.available = sums_mean(&measurement.available, seeds),
		.available_error = sums_error(&measurement.available, seeds),
		.per_request = sums_mean(&measurement.per_request, seeds),
		.per_request_error = sums_error(&measurement.per_request, seeds),
		.identity = sums_mean(&measurement.identity, seeds),
		.identity_error = sums_error(&measurement.identity, seeds),
		.arrivals = measurement.arrivals,
		.seeds = seeds,
	};
	return true;
}
