/*
 * worst.c - worst cases: played by the adversaries, held against what theory says of them
 * (workloads/generate/bounds.h).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "workloads/generate/adversary.h"
#include "workloads/generate/purdom_stigler.h"
#include "workloads/validate/validate.h"

static const char SECTION[] = "worst";

enum { UNIT_BYTES = 16, R_EXACT = 10, R_BOUND = 8, R_ROBSON = 6, ROBSON_TIMES = 16, ALLOCATORS_MAX = 64 };

static struct validate_row *new_row(struct validate_rows *rows, enum validate_kind kind, const char *subject,
				    const char *quantity, const char *source)
{
	struct validate_row *row = validate_add(rows, SECTION);
	row->kind = kind;
	snprintf(row->subject, sizeof row->subject, "%s", subject);
	snprintf(row->quantity, sizeof row->quantity, "%s", quantity);
	snprintf(row->source, sizeof row->source, "%s", source);
	return row;
}

static struct adversary knuth(uint64_t r)
{
	return (struct adversary){.name = "knuth", .r = r, .live_units = 2ull << r, .unit_bytes = UNIT_BYTES};
}

/* ------------------------------------------------------------------------------------------------ Knuth */

static void conclude_knuth(const struct validate_options *options, const double *values, struct validate_rows *rows)
{
	(void)options;
	(void)values;
	for (uint64_t r = 1; r <= R_EXACT; r++) {
		const struct adversary adversary = knuth(r);
		struct adversary_row played;
		struct kml_error error;
		char lowest[48]; /* the lowest address of all: the roots are the largest blocks asked for (knuth.c) */
		snprintf(lowest, sizeof lowest, "binary:policy=lowest,max_order=%llu", (unsigned long long)r);
		struct validate_row *row = new_row(rows, VALIDATE_EXACT, lowest, "units of n needed, knuth",
						   "Knuth TAOCP 1, 2.5 exercise 41: (1 + r/2) n, lowest address first");
		snprintf(row->workload, sizeof row->workload, "r = %llu, n = %llu", (unsigned long long)r,
			 (unsigned long long)adversary.live_units);
		if (adversary_measure(&adversary, lowest, 0, &played, &error))
			validate_judge_count(row, adversary.live_units + r * adversary.live_units / 2,
					     played.span_units);
		else
			validate_fail(row, &error);
	}
}

/* Whatever block is chosen: an area of (r+1) n is enough. */
static void conclude_enough(const struct validate_options *options, const double *values, struct validate_rows *rows)
{
	static const char *const policies[] = {"binary", "binary:policy=fifo", "binary:policy=lowest"};
	(void)options;
	(void)values;
	for (size_t i = 0; i < sizeof policies / sizeof *policies; i++)
		for (uint64_t r = 1; r <= R_BOUND; r++) {
			const struct adversary adversary = knuth(r);
			struct adversary_row played;
			struct kml_error error;
			struct validate_row *row =
				new_row(rows, VALIDATE_AT_MOST, policies[i], "smallest arena, units, knuth",
					"Knuth TAOCP 1, 2.5 exercise 41: (r+1) n is always enough");
			snprintf(row->workload, sizeof row->workload, "r = %llu, n = %llu", (unsigned long long)r,
				 (unsigned long long)adversary.live_units);
			if (!adversary_measure(&adversary, policies[i], 1, &played, &error))
				validate_fail(row, &error);
			else
				validate_judge(row, (double)((r + 1) * adversary.live_units),
					       played.needed_units > 0 ? (double)played.needed_units : INFINITY, 0);
		}
}

/* ------------------------------------------------------------------------------------------------ Robson */

/* Those that keep their blocks, and choose where themselves. */
static uint32_t page_allocators(const char *names[ALLOCATORS_MAX])
{
	size_t count;
	uint32_t chosen = 0;
	const struct kml_allocator *const *all = kml_registry(&count);
	for (size_t i = 0; i < count && chosen < ALLOCATORS_MAX; i++)
		if (all[i]->layer == KML_LAYER_PAGES &&
		    !(all[i]->traits & (KML_TRAIT_NO_MEMORY | KML_TRAIT_NO_REUSE | KML_TRAIT_RECORDED)))
			names[chosen++] = all[i]->name;
	return chosen;
}

static void conclude_robson(const struct validate_options *options, const double *values, struct validate_rows *rows)
{
	const char *names[ALLOCATORS_MAX];
	uint32_t count = page_allocators(names);
	(void)options;
	(void)values;
	for (uint32_t i = 0; i < count; i++)
		for (uint64_t r = 1; r <= R_ROBSON; r++) {
			const uint64_t live = ROBSON_TIMES << r;
			const struct adversary adversary = {
				.name = "robson", .r = r, .live_units = live, .unit_bytes = UNIT_BYTES};
			struct adversary_row played;
			struct kml_error error;
			struct validate_row *row = new_row(rows, VALIDATE_AT_LEAST, names[i], "units spanned, robson",
							   "Robson 1974: M (r/2 + 1) - 2^r + 1, of every allocator");
			snprintf(row->workload, sizeof row->workload, "r = %llu, M = %llu", (unsigned long long)r,
				 (unsigned long long)live);
			if (adversary_measure(&adversary, names[i], 0, &played, &error))
				validate_judge(row, (double)(live * r) / 2 + (double)live - (double)(1ull << r) + 1,
					       (double)played.span_units, 0);
			else
				validate_fail(row, &error);
		}
	/* Sizes 1 and 2: N(n, 2) = floor((3n - 1)/2); N(16, 2) = 23. */
	validate_judge_count(new_row(rows, VALIDATE_EXACT, "every allocator", "N(16, 2), by the bound above",
				     "Robson 1974: floor((3n - 1)/2)"),
			     23, robson_needed(16, 1));
}

/* ------------------------------------------------------------------------------------------------ Purdom-Stigler */

/* The level forgets in a lifetime: so many of them whatever the rate, and a hundred thousand arrivals. */
enum { RATES = 4, LIFETIMES = 2000, ARRIVALS_LEAST = 100000 };
/* E[k]/sqrt(rho) by a simulation apart, to so many digits. */
static const struct {
	double rate, expected;
	int digits;
} reference[RATES] = {{1, 0.5235, 4}, {10, 0.5487, 4}, {100, 0.5394, 4}, {1000, 0.535, 3}};

enum { PS_AVAILABLE, PS_ERROR, PS_IDENTITY, PS_IDENTITY_ERROR, PS_VALUES };

static uint32_t rates(const struct validate_options *options)
{
	(void)options;
	return RATES;
}

static bool measure_rate(const struct validate_options *options, uint32_t job, double *values, struct kml_error *error)
{
	struct purdom_stigler result;
	uint64_t arrivals = (uint64_t)(LIFETIMES * reference[job].rate);
	arrivals = arrivals > ARRIVALS_LEAST ? arrivals : ARRIVALS_LEAST;
	if (!purdom_stigler_measure("binary", reference[job].rate, arrivals, options->seeds, &result, error))
		return false;
	values[PS_AVAILABLE] = result.available;
	values[PS_ERROR] = result.available_error;
	values[PS_IDENTITY] = result.identity;
	values[PS_IDENTITY_ERROR] = result.identity_error;
	return true;
}

static void conclude_purdom_stigler(const struct validate_options *options, const double *values,
				    struct validate_rows *rows)
{
	for (int i = 0; i < RATES; i++) {
		const double *measured = values + (size_t)i * PS_VALUES;
		double root = sqrt(reference[i].rate);
		struct validate_row *row =
			new_row(rows, VALIDATE_SIMULATED, "binary", "E[k]/sqrt(rho)",
				"Purdom & Stigler 1970, bottom level; reference simulation, one run");
		snprintf(row->workload, sizeof row->workload, "rho = %g", reference[i].rate);
		row->seeds = options->seeds;
		/* The reference is one run: as one seed here. */
		row->standard_error = measured[PS_ERROR] / root * sqrt(1 + (double)options->seeds);
		row->tolerance = 0.5 * pow(10, -reference[i].digits);
		validate_judge(row, reference[i].expected, measured[PS_AVAILABLE] / root, 4);
		row = new_row(rows, VALIDATE_SIMULATED, "binary", "E[k] lambda T / rho",
			      "Purdom & Stigler 1970: exact identity");
		snprintf(row->workload, sizeof row->workload, "rho = %g", reference[i].rate);
		row->seeds = options->seeds;
		row->standard_error = measured[PS_IDENTITY_ERROR];
		validate_judge(row, 1, measured[PS_IDENTITY], 5);
	}
}

/* ------------------------------------------------------------------------------------------------ Bonwick */

enum { SIZE_STEP = 8, SIZE_MAX_BYTES = 8192, PAGE_BYTES = 4096 };

struct slab_waste {
	uint32_t sizes, beyond_nth, beyond_eighth; /* tail over 1/n; over 1/8 in slabs of one page */
};

static bool judge_slab(struct kml_heap *heap, struct slab_waste *waste)
{
	struct kml_cache_stats cache = {0};
	struct kml_stats stats;
	heap->allocator->stats(heap, &stats);
	if (!heap->allocator->cache_stats(heap, 0, &cache) || cache.slabs != 1)
		return false;
	uint64_t slab_bytes = cache.slab_bytes, tail_bytes = stats.waste_bytes[KML_WASTE_SLAB_TAIL];
	waste->sizes++;
	waste->beyond_nth += tail_bytes * cache.objects_per_slab > slab_bytes;
	waste->beyond_eighth += slab_bytes == PAGE_BYTES && tail_bytes * 8 > slab_bytes;
	return true;
}

/* A cache with one object, so one slab: what of it is no object, no colour and no management is its tail. */
static bool look_at_size(struct kml_heap *heap, uint64_t size_bytes, struct slab_waste *waste)
{
	const struct kml_cache cache = {.name = "validate", .object_bytes = size_bytes};
	const struct kml_request request = {.size_bytes = size_bytes, .recorded = KML_NO_ADDRESS};
	if (heap->allocator->cache_open(heap, 0, &cache) != KML_OK)
		return false;
	struct kml_grant grant = heap->allocator->alloc(heap, &request);
	if (grant.status != KML_OK || !judge_slab(heap, waste))
		return false;
	const struct kml_release release = {.address = grant.address};
	return heap->allocator->free(heap, &release) == KML_OK && heap->allocator->cache_close(heap, 0) == KML_OK;
}

static bool look_at_slabs(struct slab_waste *waste, struct kml_error *error)
{
	struct kml_stack stack;
	struct kml_spec *spec = kml_spec_parse("slab/binary", error);
	struct kml_arena *arena = spec ? kml_arena_create(64 << 20, PAGE_BYTES, true, error) : NULL;
	const struct kml_environment environment = {
		.arena = arena, .page_bytes = PAGE_BYTES, .cpu_count = 2, .cache_count = 1};
	bool done = arena && kml_stack_create(&stack, spec, &environment, error);
	if (done) {
		for (uint64_t bytes = SIZE_STEP; done && bytes <= SIZE_MAX_BYTES; bytes += SIZE_STEP)
			if (!look_at_size(kml_stack_top(&stack), bytes, waste))
				done = kml_fail(error, "slab/binary: no cache of objects of %llu bytes",
						(unsigned long long)bytes);
		kml_stack_destroy(&stack);
	}
	kml_arena_destroy(arena);
	kml_spec_free(spec);
	return done;
}

static void conclude_bonwick(const struct validate_options *options, const double *values, struct validate_rows *rows)
{
	struct slab_waste waste = {0};
	struct kml_error error;
	(void)options;
	(void)values;
	bool done = look_at_slabs(&waste, &error);
	struct validate_row *row = new_row(rows, VALIDATE_EXACT, "slab/binary", "sizes that waste over 1/n",
					   "Bonwick 1994: with n objects a slab at most 1/n");
	snprintf(row->workload, sizeof row->workload, "%u sizes to 8 KiB", waste.sizes);
	if (done)
		validate_judge_count(row, 0, waste.beyond_nth);
	else
		validate_fail(row, &error);
	row = new_row(rows, VALIDATE_EXACT, "slab/binary", "sizes in one page that waste over 1/8",
		      "mm/slab.c: order 0 is taken when the rest is at most an eighth");
	snprintf(row->workload, sizeof row->workload, "%u sizes to 8 KiB", waste.sizes);
	if (done)
		validate_judge_count(row, 0, waste.beyond_eighth);
	else
		validate_fail(row, &error);
}

const struct validate_check validate_worst[] = {
	{.section = SECTION, .name = "knuth", .rows_max = R_EXACT, .conclude = conclude_knuth},
	{.section = SECTION, .name = "enough", .rows_max = 3 * R_BOUND, .conclude = conclude_enough},
	{.section = SECTION, .name = "robson", .rows_max = ALLOCATORS_MAX * R_ROBSON + 1, .conclude = conclude_robson},
	{.section = SECTION,
	 .name = "purdom_stigler",
	 .rows_max = 2 * RATES,
	 .job_count = rates,
	 .values = PS_VALUES,
	 .job = measure_rate,
	 .conclude = conclude_purdom_stigler},
	{.section = SECTION, .name = "bonwick", .rows_max = 2, .conclude = conclude_bonwick},
	{0},
};
