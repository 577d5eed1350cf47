/*
 * long_lists.c - free lists as long as they get: every other one of many equal blocks is freed, again and again.
 *
 * 2n blocks of one size are taken, then every second one is freed: n blocks lie in a free list, and not one can be
 * merged, because each has a live neighbour. An allocator that searches its list, for a buddy or for a fit, pays O(n)
 * for each request; one that does not, O(1). Each round takes n blocks again and frees them again, in the order in
 * which they were taken, reversed, or shuffled. Events: 2n, then rounds x 2n, then the frees of all that is left.
 */
#include <stdlib.h>

#include "kmemlab/support/error.h"
#include "workloads/generate/generators.h"

enum order { ORDER_SAME, ORDER_REVERSED, ORDER_SHUFFLED };
static const char *const orders[] = {"same", "reversed", "shuffled", NULL};

struct long_lists_config {
	struct generate_common common;
	uint64_t pairs, rounds, size_bytes;
	uint32_t order;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("1"),
	{.name = "pairs",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct long_lists_config, pairs),
	 .default_text = "5000",
	 .minimum = 1,
	 .maximum = 1 << 24,
	 .help = "of a block that stays and one that is freed"},
	{.name = "rounds",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct long_lists_config, rounds),
	 .default_text = "4",
	 .maximum = 1 << 20,
	 .help = "how often the free ones are taken again"},
	{.name = "size",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct long_lists_config, size_bytes),
	 .default_text = "64",
	 .minimum = 1,
	 .maximum = 1ull << 32,
	 .help = "of a block"},
	{.name = "order",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct long_lists_config, order),
	 .default_text = "same",
	 .choices = orders,
	 .help = "in which blocks are freed: as they were taken, reversed, shuffled"},
	{0},
};

struct long_lists {
	const struct long_lists_config *config;
	generate_id *stays, *goes; /* of the pairs */
	uint64_t round;
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct long_lists *lists = state;
	(void)generate;
	lists->config = config;
	lists->stays = calloc(lists->config->pairs, sizeof *lists->stays);
	lists->goes = calloc(lists->config->pairs, sizeof *lists->goes);
	if (lists->stays && lists->goes)
		return true;
	free(lists->stays);
	free(lists->goes);
	return kml_fail(error, "long_lists: pairs: no memory for %llu: ask for fewer",
			(unsigned long long)lists->config->pairs);
}

static void end(void *state)
{
	struct long_lists *lists = state;
	free(lists->stays);
	free(lists->goes);
}

static generate_id take(struct generate *generate, const struct long_lists *lists, uint64_t pair)
{
	const struct generate_ask ask = {.size_bytes = lists->config->size_bytes, .cpu = (uint16_t)pair};
	return generate_alloc(generate, &ask);
}

/* Fisher & Yates; Durstenfeld, Algorithm 235, CACM 7 (1964). */
static void arrange(struct generate *generate, const struct long_lists *lists, generate_id *ids)
{
	uint64_t count = lists->config->pairs;
	for (uint64_t i = count; lists->config->order != ORDER_SAME && i > 1; i--) {
		bool shuffles = lists->config->order == ORDER_SHUFFLED;
		if (!shuffles && i <= count - count / 2)
			return;
		uint64_t other = shuffles ? generate_below(generate, i) : count - i;
		generate_id kept = ids[i - 1];
		ids[i - 1] = ids[other];
		ids[other] = kept;
	}
}

static void free_all(struct generate *generate, const struct long_lists *lists, generate_id *ids)
{
	arrange(generate, lists, ids);
	for (uint64_t i = 0; i < lists->config->pairs; i++)
		generate_free(generate, ids[i], (uint16_t)i);
}

/* A round a step. */
static bool step(struct generate *generate, void *state)
{
	struct long_lists *lists = state;
	uint64_t pairs = lists->config->pairs;
	generate_advance_to(generate, generate_now(generate) + 1000000);
	for (uint64_t i = 0; i < pairs; i++) {
		lists->goes[i] = take(generate, lists, i);
		if (lists->round == 0)
			lists->stays[i] = take(generate, lists, i);
	}
	free_all(generate, lists, lists->goes);
	if (lists->round++ < lists->config->rounds)
		return true;
	free_all(generate, lists, lists->stays);
	return false;
}

const struct generator generator_long_lists = {
	.name = "long_lists",
	.title = "Long free lists that nothing merges",
	.citation = "after the fragmentation tests of Linux's GPU buddy allocator (gpu_buddy_test.c)",
	.summary = "2n equal blocks, every other one freed and taken again: n blocks in a list, none with a free buddy",
	.params = params,
	.config_bytes = sizeof(struct long_lists_config),
	.state_bytes = sizeof(struct long_lists),
	.start = start,
	.step = step,
	.end = end,
};
