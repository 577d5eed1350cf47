/*
 * knuth.c - Knuth's bad sequence for the binary buddy system.
 *
 * D. E. Knuth, The Art of Computer Programming 1, 2.5, exercise 41. At most n units are live, in blocks of 1, 2, ...,
 * 2^r units. The sequence takes n blocks of one unit; then, for k = 1, ..., r, it frees every block that does not begin
 * at a multiple of 2^k and takes blocks of 2^k until n units are live again. What stays begins where no two of it share
 * a block of 2^k, so the n/2 units of holes serve nothing, and the new blocks, n/2 units, go behind them:
 *
 *     k = 0   1111 1111                        n units
 *     k = 1   1.1. 1.1. 22 22                  n/2 more
 *     k = 2   1... 1... 22 .. 4444             n/2 more
 *
 * A buddy system that grants the lowest address needs exactly (1 + r/2) n units for it; none needs more than (r + 1) n
 * for any sequence, which is the arena to play in. So that the choice is the lowest address of all, the largest block
 * must be 2^r: binary:policy=lowest,max_order=r.
 *
 * Other allocators are asked for the same, by where they put things. Events: n + at most n a round. Memory: the blocks.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "kmemlab/support/error.h"
#include "workloads/generate/blocks.h"
#include "workloads/generate/bounds.h"
#include "workloads/generate/generators.h"

struct knuth_config {
	struct generate_common common;
	uint64_t r, live_units, unit_bytes;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("1"),
	GENERATE_PARAM_ARENA("auto"),
	{.name = "r",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct knuth_config, r),
	 .default_text = "10",
	 .minimum = 1,
	 .maximum = 20,
	 .help = "the largest block is 2^r units"},
	{.name = "live",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct knuth_config, live_units),
	 .default_text = "auto",
	 .minimum = 4,
	 .maximum = 1 << 24,
	 .help = "n, units live at most: a multiple of 2^(r+1), which is auto"},
	{.name = "unit",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct knuth_config, unit_bytes),
	 .default_text = "16",
	 .minimum = 1,
	 .maximum = 1 << 21,
	 .help = "the smallest block"},
	{0},
};

struct knuth {
	const struct knuth_config *config;
	uint64_t live_units;
	struct blocks blocks;
	uint64_t round;
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct knuth *knuth = state;
	knuth->config = config;
	const uint64_t least = 2ull << knuth->config->r;
	knuth->live_units = knuth->config->live_units ? knuth->config->live_units : least;
	if (knuth->live_units % least != 0)
		return kml_fail(error, "knuth: live=%" PRIu64 ": with r=%" PRIu64 " use a multiple of %" PRIu64,
				knuth->live_units, knuth->config->r, least);
	generate_choose_arena(generate, knuth_enough(knuth->live_units, knuth->config->r) * knuth->config->unit_bytes);
	return true;
}

static void end(void *state)
{
	struct knuth *knuth = state;
	free(knuth->blocks.items);
}

static void report(struct generate *generate, const struct knuth *knuth)
{
	const struct workload_outcome *outcome = generate_outcome(generate);
	double live = (double)knuth->live_units;
	char text[256];
	snprintf(text, sizeof text,
		 "span %.3f n of n = %" PRIu64 " units, %" PRIu64 " refused; binary, lowest address first: %.3f n; "
		 "never more than %.3f n",
		 (double)outcome->span_bytes / (double)knuth->config->unit_bytes / live, knuth->live_units,
		 outcome->refused, (double)knuth_needed(knuth->live_units, knuth->config->r) / live,
		 (double)knuth_enough(knuth->live_units, knuth->config->r) / live);
	generate_report(generate, text);
}

/* A round a step. */
static bool step(struct generate *generate, void *state)
{
	struct knuth *knuth = state;
	if (knuth->round > knuth->config->r) {
		report(generate, knuth);
		return false;
	}
	uint64_t size_bytes = knuth->config->unit_bytes << knuth->round;
	if (knuth->round > 0)
		blocks_keep(&knuth->blocks, generate, block_begins, 0, size_bytes);
	knuth->round++;
	return blocks_take(&knuth->blocks, generate, size_bytes, knuth->live_units * knuth->config->unit_bytes);
}

const struct generator generator_knuth = {
	.name = "knuth",
	.title = "Knuth's bad sequence for the binary buddy system",
	.citation = "D. E. Knuth, The Art of Computer Programming 1, 2.5 exercise 41",
	.summary = "n units live, blocks up to 2^r: binary with policy=lowest,max_order=r needs (1 + r/2) n units",
	.params = params,
	.config_bytes = sizeof(struct knuth_config),
	.state_bytes = sizeof(struct knuth),
	.is_reactive = true,
	.start = start,
	.step = step,
	.end = end,
};
