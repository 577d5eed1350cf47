/*
 * search.c - an adversary that is not told how: simulated annealing over short programs against one stack.
 *
 * S. Kirkpatrick, C. D. Gelatt & M. P. Vecchi, Optimization by simulated annealing, Science 220 (1983). From a random
 * program a few changes at a time; what is better or as good is kept, what is worse with probability e^(-loss/T), T
 * falling from one unit to a twentieth of one. Few programs differ in what they reach, so what a program promises
 * counts too (search_program.h), and that it reaches the same sooner: it has operations to spare. The best of all, by
 * what it reached alone, is what comes out. method=random draws every program anew: what the search is to be held
 * against.
 *
 * How near it came: for sizes 1, 2, ..., 2^r units the report names the bounds of bounds.h. The same seed finds the
 * same program; `tries` bounds the work. Cost: tries x (a new stack + length operations), once for each workload
 * opened.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/progress.h"
#include "workloads/generate/bounds.h"
#include "workloads/generate/generators.h"
#include "workloads/generate/search_program.h"

static const double PROMISE_SHARE = 0.75, SOONER_SHARE = 0.5;
static const double HOTTEST = 1, COLDEST = 0.05; /* in units, pages or refusals */
enum { ROOMY_BYTES = 1 << 16, PAGE_BYTES = 4096 };

enum objective { OBJECTIVE_SPAN, OBJECTIVE_HELD, OBJECTIVE_FAILURES };
static const char *const objectives[] = {"span", "held", "failures", NULL};

enum method { METHOD_ANNEAL, METHOD_RANDOM };
static const char *const methods[] = {"anneal", "random", NULL};

struct search_config {
	struct generate_common common;
	uint64_t length, live_bytes, tries, restarts;
	struct kml_sizes sizes;
	uint32_t objective, method;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("1"),
	GENERATE_PARAM_ARENA("auto"),
	{.name = "length",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct search_config, length),
	 .default_text = "120",
	 .minimum = 1,
	 .maximum = SEARCH_LENGTH_MAX,
	 .help = "operations of a program"},
	{.name = "sizes",
	 .type = KML_PARAM_SIZES,
	 .offset = offsetof(struct search_config, sizes),
	 .default_text = "16+32+64+128",
	 .minimum = 1,
	 .maximum = 1ull << 30,
	 .help = "that it may ask for"},
	{.name = "live",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct search_config, live_bytes),
	 .default_text = "256",
	 .minimum = 1,
	 .maximum = 1ull << 40,
	 .help = "at most, at any moment"},
	{.name = "objective",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct search_config, objective),
	 .default_text = "span",
	 .choices = objectives,
	 .help = "what is made large: span of addresses, held pages, or refusals in the arena"},
	{.name = "method",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct search_config, method),
	 .default_text = "anneal",
	 .choices = methods,
	 .help = "anneal, or every program at random"},
	{.name = "tries",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct search_config, tries),
	 .default_text = "100000",
	 .minimum = 1,
	 .maximum = 1ull << 32,
	 .help = "programs that are played"},
	{.name = "restarts",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct search_config, restarts),
	 .default_text = "1",
	 .minimum = 1,
	 .maximum = 1 << 20,
	 .help = "from a random program, with an equal share of the tries each"},
	{0},
};

/* What outlives the pass. */
struct found {
	bool is_there;
	struct search_op best[]; /* `length` */
};

struct search {
	const struct search_config *config;
	struct search_rules rules;
	search_measure *measure;
	uint64_t unit; /* of the measure, for the temperature */
	struct search_op *current, *next;
	struct found *found;
	struct search_score current_score, best_score;
};

/* ------------------------------------------------------------------------------------------------ objectives */

static uint64_t span_of(const struct workload_outcome *outcome)
{
	return outcome->span_bytes;
}

static uint64_t held_of(const struct workload_outcome *outcome)
{
	return outcome->peak_held_bytes;
}

static uint64_t failures_of(const struct workload_outcome *outcome)
{
	return outcome->refused;
}

static void choose_objective(struct search *search)
{
	static search_measure *const measures[] = {span_of, held_of, failures_of};
	const uint64_t units[] = {search->config->sizes.size_bytes[0], PAGE_BYTES, 1};
	search->measure = measures[search->config->objective];
	search->unit = units[search->config->objective];
}

/* ------------------------------------------------------------------------------------------------ bounds */

/* r of sizes 1, 2, 4, ..., 2^r units; 0: they are others. */
static uint64_t powers_of_two(const struct kml_sizes *sizes)
{
	uint64_t r = 0;
	while (r + 1 < sizes->count && sizes->size_bytes[r + 1] == sizes->size_bytes[0] << (r + 1))
		r++;
	return r + 1 == sizes->count ? r : 0;
}

/* A power of two, so that a binary buddy system has one root. With failures as much as the best possible allocator
 * needs, so that every refusal is the stack's own doing; of sizes for which that is not known, what is live. */
static uint64_t own_arena(const struct search_config *config)
{
	uint64_t unit_bytes = config->sizes.size_bytes[0], live_units = config->live_bytes / unit_bytes;
	uint64_t r = powers_of_two(&config->sizes), arena_bytes = ROOMY_BYTES;
	if (config->objective == OBJECTIVE_FAILURES)
		return robson_needed(live_units, r) * unit_bytes;
	while (arena_bytes < 4 * (config->sizes.count + 1) * config->live_bytes)
		arena_bytes *= 2;
	return arena_bytes;
}

static bool start(struct generate *generate, void *state, const void *config_of, struct kml_error *error)
{
	const struct search_config *config = config_of;
	struct search *search = state;
	const struct kml_sizes *sizes = &config->sizes;
	uint64_t largest_bytes = sizes->size_bytes[sizes->count - 1];
	search->config = config;
	if (config->live_bytes < largest_bytes)
		return kml_fail(error, "search: live=%" PRIu64 ": use at least the largest size, %" PRIu64,
				config->live_bytes, largest_bytes);
	search->rules = (struct search_rules){sizes, config->live_bytes, (uint32_t)config->length};
	choose_objective(search);
	size_t program_bytes = config->length * sizeof(struct search_op);
	search->found = generate_keep(generate, sizeof *search->found + program_bytes);
	search->current = malloc(program_bytes);
	search->next = malloc(program_bytes);
	generate_choose_arena(generate, own_arena(config));
	return (search->found && search->current && search->next) || kml_fail(error, "search: out of memory");
}

static void end(void *state)
{
	struct search *search = state;
	free(search->current);
	free(search->next);
}

/* ------------------------------------------------------------------------------------------------ annealing */

/*
 * In units of the measure. What is promised counts a little less than what is there, so that a promise is worth
 * keeping; that the same came sooner less than anything.
 */
static double gain(const struct search *search, struct search_score from, struct search_score to)
{
	double value = ((double)to.value - (double)from.value) / (double)search->unit;
	double promise =
		((double)to.promise_bytes - (double)from.promise_bytes) / (double)search->config->sizes.size_bytes[0];
	double sooner = ((double)from.reached - (double)to.reached) / (double)search->rules.length;
	return value + PROMISE_SHARE * promise + SOONER_SHARE * sooner;
}

static bool try_next(struct search *search, struct generate *generate, struct search_score *score)
{
	if (!generate_take_back(generate) ||
	    !search_program_play(search->next, &search->rules, generate, search->measure, score))
		return false;
	if (!search->found->is_there || score->value > search->best_score.value) {
		search->best_score = *score;
		search->found->is_there = true;
		memcpy(search->found->best, search->next, search->rules.length * sizeof *search->next);
	}
	return true;
}

static void accept(struct search *search, struct search_score score)
{
	struct search_op *old = search->current;
	search->current = search->next;
	search->next = old;
	search->current_score = score;
}

/* Does a try replace where the walk stands? */
static bool is_accepted(struct search *search, struct generate *generate, struct search_score score, double heat)
{
	double better = gain(search, search->current_score, score);
	double temperature = HOTTEST * pow(COLDEST / HOTTEST, heat);
	return better >= 0 || generate_uniform(generate) < exp(better / temperature);
}

static bool look_for_best(struct search *search, struct generate *generate, struct kml_progress *progress)
{
	const struct search_config *config = search->config;
	uint64_t walk = config->method == METHOD_RANDOM ? 1 : (config->tries + config->restarts - 1) / config->restarts;
	for (uint64_t i = 0; i < config->tries; i++) {
		struct search_score score;
		bool begins = i % walk == 0;
		if (begins) {
			search_program_random(search->next, &search->rules, generate);
		} else {
			memcpy(search->next, search->current, search->rules.length * sizeof *search->next);
			search_program_change(search->next, &search->rules, generate);
		}
		if (!try_next(search, generate, &score))
			return false;
		if (begins || is_accepted(search, generate, score, (double)(i % walk) / (double)walk))
			accept(search, score);
		kml_progress_update(progress, i + 1);
	}
	return true;
}

static bool find(struct search *search, struct generate *generate)
{
	struct kml_progress progress;
	kml_progress_start(&progress, "search", "programs", search->config->tries);
	progress.visible &= generate_shows_progress();
	bool done = look_for_best(search, generate, &progress);
	kml_progress_finish(&progress);
	return done && generate_take_back(generate);
}

/* ------------------------------------------------------------------------------------------------ what was found */

static void report_bounds(const struct search *search, double span_units, double live_units, char *text, size_t room)
{
	uint64_t r = powers_of_two(&search->config->sizes);
	if (r == 0 || search->config->live_bytes % (search->config->sizes.size_bytes[0] << (r + 1)) != 0) {
		snprintf(text, room, "no bound is known for these sizes and live=");
		return;
	}
	double needed = (double)knuth_needed((uint64_t)live_units, r);
	double enough = (double)knuth_enough((uint64_t)live_units, r);
	double robson = (double)robson_needed((uint64_t)live_units, r);
	snprintf(text, room,
		 "the span is %.1f %% of the %.3f n that lowest-first binary needs, %.1f %% of the %.3f n that suffice "
		 "for any binary (Knuth), %.1f %% of the %.3f n that every allocator needs (Robson)",
		 100 * span_units / needed, needed / live_units, 100 * span_units / enough, enough / live_units,
		 100 * span_units / robson, robson / live_units);
}

static void report(struct generate *generate, const struct search *search)
{
	const struct workload_outcome *outcome = generate_outcome(generate);
	double unit_bytes = (double)search->config->sizes.size_bytes[0];
	double live_units = (double)search->config->live_bytes / unit_bytes;
	double span_units = (double)outcome->span_bytes / unit_bytes;
	char text[512], bounds[320];
	report_bounds(search, span_units, live_units, bounds, sizeof bounds);
	snprintf(text, sizeof text,
		 "best %s of %" PRIu64 " programs: span %.3f n of n = %.0f units, held at most %" PRIu64
		 " bytes, %" PRIu64 " refused; %s",
		 objectives[search->config->objective], search->config->tries, span_units / live_units, live_units,
		 outcome->peak_held_bytes, outcome->refused, bounds);
	generate_report(generate, text);
}

static bool step(struct generate *generate, void *state)
{
	struct search *search = state;
	struct search_score score;
	if (!search->found->is_there && !find(search, generate))
		return false;
	if (search_program_play(search->found->best, &search->rules, generate, search->measure, &score))
		report(generate, search);
	return false;
}

const struct generator generator_search = {
	.name = "search",
	.title = "A worst case that is searched for",
	.citation = "Kirkpatrick, Gelatt & Vecchi, Optimization by simulated annealing, Science 220 (1983)",
	.summary = "the program of so many operations that makes a stack's span, held pages or refusals largest",
	.params = params,
	.config_bytes = sizeof(struct search_config),
	.state_bytes = sizeof(struct search),
	.is_reactive = true,
	.start = start,
	.step = step,
	.end = end,
};
