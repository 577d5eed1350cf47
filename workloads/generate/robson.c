/*
 * robson.c - Robson's adversary: what no allocator that moves nothing can avoid.
 *
 * J. M. Robson, An estimate of the store size necessary for dynamic storage allocation, JACM 18(3), 1971, pp. 416-423,
 * and Bounds for some functions concerning dynamic storage allocation, JACM 21(3), 1974, pp. 491-499; in the form in
 * which Cohen & Petrank state the program (Limitations of partial compaction, PLDI 2013). At most M units are live, in
 * blocks of 1, 2, ..., n = 2^r units. The adversary sees addresses:
 *
 *     take M blocks of one unit; f = 0
 *     for i = 1, ..., r:
 *         let f be f or f + 2^(i-1), whichever makes W larger: the sum of (2^i - size) over the blocks that hold an
 *             address that is f modulo 2^i
 *         free all other blocks, and take blocks of 2^i until M units are live
 *
 * However they were placed, the blocks then span at least M (r/2 + 1) - n + 1 units. Proof. A block of at most 2^i
 * units holds at most one address that is f modulo 2^i, and before round i every block holds exactly one that is f
 * modulo 2^(i-1); so the two choices part the blocks, and the better one has W >= half of the sum over all N blocks
 * of (2^i - size) = W' + L'/2, with W' and L' the waste and the live units before. M - (what stays) is W modulo 2^i,
 * for M is a multiple of 2^i and N 2^i = W + what stays; so after the round N 2^i = M + W - W mod 2^i. All of this
 * grows with W', and with the least W it gives, W = i M/2, nothing is rounded away when M is a multiple of 2n. At the
 * end N blocks hold N different addresses that are f modulo n: from the first to the last of them are (N - 1) n + 1
 * units.
 *
 * Where blocks do not begin at multiples of a unit the last unit of the bound is a byte; nothing else changes.
 *
 * The arena has room for an allocator that is much worse; in one smaller than the bound every allocator refuses
 * something. Events: M + at most M a round. Memory: the blocks.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "kmemlab/support/error.h"
#include "workloads/generate/blocks.h"
#include "workloads/generate/bounds.h"
#include "workloads/generate/generators.h"

struct robson_config {
	struct generate_common common;
	uint64_t r, live_units, unit_bytes;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("1"),
	GENERATE_PARAM_ARENA("auto"),
	{.name = "r",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct robson_config, r),
	 .default_text = "6",
	 .minimum = 1,
	 .maximum = 20,
	 .help = "the largest block is n = 2^r units"},
	{.name = "live",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct robson_config, live_units),
	 .default_text = "auto",
	 .minimum = 4,
	 .maximum = 1 << 24,
	 .help = "M, units live at most: a multiple of 2n; auto: 16n"},
	{.name = "unit",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct robson_config, unit_bytes),
	 .default_text = "16",
	 .minimum = 1,
	 .maximum = 1 << 21,
	 .help = "the smallest block"},
	{0},
};

struct robson {
	const struct robson_config *config;
	uint64_t live_units;
	struct blocks blocks;
	uint64_t round;
	uint64_t offset_units; /* f */
};

enum { ROOMY_BYTES = 1 << 20 }; /* slabs of every size on every cpu */

/* A power of two, so that a binary buddy system has one root and begins at address 0. */
static uint64_t roomy_arena(uint64_t live_bytes, uint64_t r)
{
	uint64_t arena_bytes = ROOMY_BYTES;
	while (arena_bytes < 2 * (r + 2) * live_bytes)
		arena_bytes *= 2;
	return arena_bytes;
}

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct robson *robson = state;
	robson->config = config;
	const uint64_t least = 2ull << robson->config->r;
	robson->live_units = robson->config->live_units ? robson->config->live_units : 8 * least;
	if (robson->live_units % least != 0)
		return kml_fail(error, "robson: live=%" PRIu64 ": with r=%" PRIu64 " use a multiple of %" PRIu64,
				robson->live_units, robson->config->r, least);
	generate_choose_arena(generate,
			      roomy_arena(robson->live_units * robson->config->unit_bytes, robson->config->r));
	return true;
}

static void end(void *state)
{
	struct robson *robson = state;
	free(robson->blocks.items);
}

/* W of an offset. */
static uint64_t waste_of(const struct robson *robson, uint64_t offset_bytes, uint64_t period_bytes)
{
	uint64_t waste_bytes = 0;
	for (uint64_t i = 0; i < robson->blocks.count; i++)
		if (block_covers(&robson->blocks.items[i], offset_bytes, period_bytes))
			waste_bytes += period_bytes - robson->blocks.items[i].size_bytes;
	return waste_bytes;
}

/* f or f + 2^(i-1). */
static void choose_offset(struct robson *robson)
{
	uint64_t unit_bytes = robson->config->unit_bytes, half_units = 1ull << (robson->round - 1);
	uint64_t here_bytes = robson->offset_units * unit_bytes, period_bytes = 2 * half_units * unit_bytes;
	if (waste_of(robson, here_bytes + half_units * unit_bytes, period_bytes) >=
	    waste_of(robson, here_bytes, period_bytes))
		robson->offset_units += half_units;
}

static void report(struct generate *generate, const struct robson *robson)
{
	const struct workload_outcome *outcome = generate_outcome(generate);
	double unit_bytes = (double)robson->config->unit_bytes;
	double span = (double)outcome->span_bytes / unit_bytes, live = (double)robson->live_units;
	double bound = (double)robson_needed(robson->live_units, robson->config->r);
	char text[256];
	snprintf(text, sizeof text,
		 "span %.3f M of M = %" PRIu64 " units, %" PRIu64 " refused; every allocator: at least %.3f M; "
		 "%.1f %% of that",
		 span / live, robson->live_units, outcome->refused, bound / live, 100 * span / bound);
	generate_report(generate, text);
}

/* A round a step. */
static bool step(struct generate *generate, void *state)
{
	struct robson *robson = state;
	if (robson->round > robson->config->r) {
		report(generate, robson);
		return false;
	}
	uint64_t unit_bytes = robson->config->unit_bytes, size_bytes = unit_bytes << robson->round;
	if (robson->round > 0) {
		choose_offset(robson);
		blocks_keep(&robson->blocks, generate, block_covers, robson->offset_units * unit_bytes, size_bytes);
	}
	robson->round++;
	return blocks_take(&robson->blocks, generate, size_bytes, robson->live_units * unit_bytes);
}

const struct generator generator_robson = {
	.name = "robson",
	.title = "Robson's adversary: the worst case of every allocator",
	.citation = "J. M. Robson, JACM 18(3), 1971, and 21(3), 1974; Cohen & Petrank, PLDI 2013",
	.summary = "M units live, blocks up to n = 2^r: no allocator serves it in less than M (r/2 + 1) - n + 1 units",
	.params = params,
	.config_bytes = sizeof(struct robson_config),
	.state_bytes = sizeof(struct robson),
	.is_reactive = true,
	.start = start,
	.step = step,
	.end = end,
};
