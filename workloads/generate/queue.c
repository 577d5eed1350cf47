/*
 * queue.c - a queue of requests that is never empty, and what an arena wastes each time the next one does not fit.
 *
 * Shen & Peterson (1974) and Peterson & Norman (1977) compared buddy systems so. Requests come without a pause; each
 * that is granted lives for an exponential time of mean 1. When one fails, the overflow, live requested bytes X, live
 * granted bytes A and the arena M are written down; then objects depart one by one until the request fits:
 *
 *   internal = 1 - X/A     external = 1 - A/M     total = 1 - X/M     means over the overflows
 *
 * Lifetimes have no memory: whichever object departs next is any of the live ones, each as likely, after a time of
 * mean 1/live (Feller, An Introduction to Probability Theory and Its Applications 2, I.6). So no departure needs to be
 * planned, and a request costs O(1) beside the stack's work.
 *
 * Sizes are counted in units: a size of k asks for k units. With the granularity of the stack as unit the figures
 * are those of the papers, which count in units too. As a stream the refused request is an allocation that fails, and
 * so is every try until it fits.
 */
#include "workloads/generate/queue.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "workloads/generate/generators.h"
#include "workloads/generate/ids.h"
#include "workloads/generate/sizes.h"

enum { ARENA_UNITS = 65536 };
static const double LIFETIME_NS = 1e9;

struct queue_config {
	struct generate_common common;
	struct sizes_config sizes;
	uint64_t unit_bytes, requests, skip;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("1"),
	GENERATE_PARAM_ARENA("auto"),
	SIZES_PARAMS(offsetof(struct queue_config, sizes), "exponential", "50"),
	{.name = "unit",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct queue_config, unit_bytes),
	 .default_text = "16",
	 .minimum = 1,
	 .maximum = 1 << 16,
	 .help = "sizes are multiples of it; 16 is the granularity of a page allocator that stands alone"},
	{.name = "requests",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct queue_config, requests),
	 .default_text = "1200000",
	 .minimum = 1,
	 .maximum = 1ull << 40,
	 .help = "granted in all"},
	{.name = "skip",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct queue_config, skip),
	 .default_text = "200000",
	 .maximum = 1ull << 40,
	 .help = "of them before overflows count"},
	{0},
};

struct queue {
	const struct queue_config *config;
	struct sizes sizes;
	struct ids live;
	uint64_t requests, departures;
	struct queue_result sums;
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct queue *queue = state;
	queue->config = config;
	if (queue->config->skip >= queue->config->requests)
		return kml_fail(error, "queue: skip=%llu: use 0 to %llu (requests - 1)",
				(unsigned long long)queue->config->skip,
				(unsigned long long)queue->config->requests - 1);
	generate_choose_arena(generate, ARENA_UNITS * queue->config->unit_bytes);
	return sizes_prepare(&queue->sizes, &queue->config->sizes, "queue", error);
}

static void end(void *state)
{
	struct queue *queue = state;
	sizes_free(&queue->sizes);
	ids_free(&queue->live);
}

static void record_overflow(const struct generate *generate, struct queue *queue)
{
	struct kml_stats stats;
	generate_stats(generate, &stats);
	double requested = (double)generate_live_bytes(generate), granted = (double)stats.granted_bytes;
	double arena = (double)generate_arena_bytes(generate);
	queue->sums.overflows++;
	queue->sums.internal += granted > 0 ? 1 - requested / granted : 0;
	queue->sums.external += 1 - granted / arena;
	queue->sums.total += 1 - requested / arena;
}

/* Any of the live objects; false when there is none. */
static bool depart(struct generate *generate, struct queue *queue)
{
	if (queue->live.count == 0)
		return false;
	double wait_ns = generate_exponential(generate, LIFETIME_NS / (double)queue->live.count);
	generate_advance_to(generate, generate_now(generate) + (uint64_t)wait_ns);
	generate_free(generate, ids_take_any(generate, &queue->live), (uint16_t)queue->departures++);
	return true;
}

static generate_id request(struct generate *generate, struct queue *queue)
{
	uint64_t units = sizes_quantile(&queue->sizes, generate_uniform(generate));
	const struct generate_ask ask = {.size_bytes = units * queue->config->unit_bytes,
					 .cpu = (uint16_t)queue->requests};
	generate_id id = generate_alloc(generate, &ask);
	if (id == GENERATE_REFUSED && queue->requests >= queue->config->skip)
		record_overflow(generate, queue);
	while (id == GENERATE_REFUSED && depart(generate, queue))
		id = generate_alloc(generate, &ask);
	return id;
}

static struct queue_result means(const struct queue *queue)
{
	struct queue_result result = queue->sums;
	double count = result.overflows > 0 ? (double)result.overflows : 1;
	result.internal /= count;
	result.external /= count;
	result.total /= count;
	return result;
}

static void report(struct generate *generate, const struct queue *queue)
{
	struct queue_result result = means(queue);
	char text[192];
	snprintf(text, sizeof text,
		 "%" PRIu64 " overflows: internal fragmentation %.2f %%, external %.2f %%, total %.2f %% in the mean",
		 result.overflows, 100 * result.internal, 100 * result.external, 100 * result.total);
	generate_report(generate, text);
}

/* A request a step. */
static bool step(struct generate *generate, void *state)
{
	struct queue *queue = state;
	generate_id id = request(generate, queue);
	if (id == GENERATE_REFUSED)
		generate_fail(generate,
			      "a request fails although nothing is live: give a smaller max, or a larger arena");
	ids_add(&queue->live, id);
	if (++queue->requests < queue->config->requests)
		return true;
	report(generate, queue);
	return false;
}

const struct generator generator_queue = {
	.name = "queue",
	.title = "A queue that is never empty, at overflow",
	.citation = "Shen & Peterson, CACM 17(10), 1974; Peterson & Norman, Buddy systems, CACM 20(6), 1977",
	.summary = "no time between requests, lifetimes Exp(1); at each failure objects depart until it fits",
	.params = params,
	.config_bytes = sizeof(struct queue_config),
	.state_bytes = sizeof(struct queue),
	.is_reactive = true,
	.start = start,
	.step = step,
	.end = end,
};

/* ------------------------------------------------------------------------------------------------ figures */

static void take_means(void *context, const struct generate *generate, const void *state)
{
	(void)generate;
	*(struct queue_result *)context = means(state);
}

bool queue_run(const char *spec, const char *against, struct queue_result *result, struct kml_error *error)
{
	size_t length = strlen(generator_queue.name);
	if (strncmp(spec, generator_queue.name, length) != 0 || (spec[length] && spec[length] != ':'))
		return kml_fail(error, "%s: give the spec of a queue, such as queue:sizes=uniform,max=100", spec);
	if (!generate_play(spec, against, take_means, result, error))
		return false;
	return result->overflows > 0 ||
	       kml_fail(error, "%s: no overflow: ask for more requests than skip + what the arena holds", spec);
}
