/*
 * steady.c - arrivals at a load: objects come as a Poisson process, whatever becomes of them, and live for a while.
 *
 * An open loop, the M/G/infinity queue. By Little's law (A proof for the queuing formula L = lambda W, Oper. Res. 9,
 * 1961) the mean of live bytes is rate x mean size x mean lifetime, so the rate follows from the load that is asked
 * for:
 *
 *   rate = load / (mean size x mean lifetime)
 *
 * It starts empty; after time t the mean is load x (1 - integral of P(L > u) from t on / mean lifetime), so a few mean
 * lifetimes fill it. The number of live objects is then Poisson distributed with mean load / mean size.
 *
 * Sizes become what they are asked as: a kmalloc of that size; an object of one of `caches` caches, whose sizes cut
 * the distribution in equal shares, at their middles; or the smallest block of 2^i pages that holds it. The load counts
 * what is asked for after that.
 *
 * Memory: O(live objects). Cost: O(log live) an event.
 */
#include <math.h>
#include <stdio.h>

#include "kmemlab/support/error.h"
#include "workloads/generate/generators.h"
#include "workloads/generate/lifetimes.h"
#include "workloads/generate/sizes.h"

enum { PAGE_SHIFT = 12, CACHES_MAX = 256, ORDERS = 64 - PAGE_SHIFT };
static const double NS_PER_S = 1e9;
static const double LIVE_OBJECTS_MAX = KMT_OBJECTS_MAX / 2.0; /* on average: at no time more than there are ids */
static const double END_NS = 0x1p62;                          /* of the clock, 146 years */

enum as { AS_KMALLOC, AS_OBJECTS, AS_PAGES };
static const char *const as_names[] = {"kmalloc", "objects", "pages", NULL};

struct steady_config {
	struct generate_common common;
	struct sizes_config sizes;
	struct lifetimes_config lifetimes;
	uint64_t load_bytes, events, caches;
	double duration_s, remote;
	uint32_t as; /* enum as */
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("4"),
	{.name = "load",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct steady_config, load_bytes),
	 .default_text = "1M",
	 .minimum = 1,
	 .maximum = SIZES_MAX_BYTES,
	 .help = "mean of live requested bytes"},
	SIZES_PARAMS(offsetof(struct steady_config, sizes), "exponential", "256"),
	LIFETIMES_PARAMS(offsetof(struct steady_config, lifetimes), "0.01"),
	{.name = "as",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct steady_config, as),
	 .default_text = "kmalloc",
	 .choices = as_names,
	 .help = "what is asked for: kmalloc by size, objects of caches, blocks of pages"},
	{.name = "caches",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct steady_config, caches),
	 .default_text = "16",
	 .minimum = 1,
	 .maximum = CACHES_MAX,
	 .help = "as=objects: how many"},
	{.name = "remote",
	 .type = KML_PARAM_REAL,
	 .offset = offsetof(struct steady_config, remote),
	 .default_text = "0.1",
	 .maximum = 1,
	 .help = "share of objects that another cpu frees"},
	{.name = "events",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct steady_config, events),
	 .default_text = "200000",
	 .minimum = 1,
	 .maximum = 1ull << 40,
	 .help = "it ends with the arrival that reaches so many"},
	{.name = "duration",
	 .type = KML_PARAM_REAL,
	 .offset = offsetof(struct steady_config, duration_s),
	 .default_text = "auto",
	 .maximum = 1000000000,
	 .help = "seconds after which it ends if not before; auto: the events alone decide"},
	{0},
};

struct steady {
	const struct steady_config *config;
	struct sizes sizes;
	struct lifetimes lifetimes;
	uint32_t caches[CACHES_MAX];
	double between_ns; /* mean time between arrivals */
	double next_ns;    /* the next arrival */
	double end_ns;
	uint64_t arrivals;
};

/* ------------------------------------------------------------------------------------------------ sizes as asked */

static uint8_t order_of(uint64_t size_bytes)
{
	uint64_t pages = (size_bytes - 1) >> PAGE_SHIFT;
	return pages ? (uint8_t)(64 - __builtin_clzll(pages)) : 0;
}

/* The middle one of the sizes of a cache's share. */
static uint64_t cache_bytes(const struct steady *steady, uint64_t index)
{
	return sizes_quantile(&steady->sizes, ((double)index + 0.5) / (double)steady->config->caches);
}

static double mean_of_caches(const struct steady *steady)
{
	double sum = 0;
	for (uint64_t i = 0; i < steady->config->caches; i++)
		sum += (double)cache_bytes(steady, i);
	return sum / (double)steady->config->caches;
}

static double mean_of_blocks(const struct steady *steady)
{
	double mean = 0, below = 0;
	for (uint32_t order = 0; order < ORDERS && below < 1; order++) {
		uint64_t block_bytes = 1ull << (PAGE_SHIFT + order);
		double up_to = sizes_cumulative(&steady->sizes, block_bytes);
		mean += (double)block_bytes * (up_to - below);
		below = up_to;
	}
	return mean;
}

static double mean_asked(const struct steady *steady)
{
	switch ((enum as)steady->config->as) {
	case AS_OBJECTS:
		return mean_of_caches(steady);
	case AS_PAGES:
		return mean_of_blocks(steady);
	case AS_KMALLOC:
		break;
	}
	return sizes_mean(&steady->sizes);
}

static struct generate_ask draw_ask(struct generate *generate, const struct steady *steady)
{
	double uniform = generate_uniform(generate);
	struct generate_ask ask = {.cpu = generate_cpu(generate)};
	switch ((enum as)steady->config->as) {
	case AS_OBJECTS:
		ask.cache = steady->caches[(size_t)(uniform * (double)steady->config->caches)];
		break;
	case AS_PAGES:
		ask.is_pages = true;
		ask.order = order_of(sizes_quantile(&steady->sizes, uniform));
		break;
	case AS_KMALLOC:
		ask.flags = KML_KMALLOC;
		ask.size_bytes = sizes_quantile(&steady->sizes, uniform);
		break;
	}
	return ask;
}

/* ------------------------------------------------------------------------------------------------ start */

static void open_caches(struct generate *generate, struct steady *steady)
{
	for (uint64_t i = 0; i < steady->config->caches; i++) {
		char name[32];
		snprintf(name, sizeof name, "steady-%03u", (unsigned)i);
		const struct kmt_cache cache = {.name = name, .object_bytes = cache_bytes(steady, i)};
		steady->caches[i] = generate_cache(generate, &cache);
	}
}

static bool set_rate(struct steady *steady, struct kml_error *error)
{
	double load = (double)steady->config->load_bytes, size = mean_asked(steady);
	double life_ns = lifetimes_mean_ns(&steady->lifetimes);
	if (!isfinite(life_ns))
		return kml_fail(error,
				"steady: lifetimes=forever: no load is steady when nothing is freed: use another");
	if (load > size * LIVE_OBJECTS_MAX)
		return kml_fail(error,
				"steady: load=%.0f: more live objects of %.0f bytes than a trace has ids for: use a "
				"load from 1 to %.0f",
				load, size, size * LIVE_OBJECTS_MAX);
	steady->between_ns = size * life_ns / load;
	return true;
}

static void end(void *state)
{
	struct steady *steady = state;
	sizes_free(&steady->sizes);
	lifetimes_free(&steady->lifetimes);
}

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct steady *steady = state;
	steady->config = config;
	double duration_ns = steady->config->duration_s * NS_PER_S;
	steady->end_ns = duration_ns > 0 && duration_ns < END_NS ? duration_ns : END_NS;
	if (!sizes_prepare(&steady->sizes, &steady->config->sizes, "steady", error))
		return false;
	if (!lifetimes_prepare(&steady->lifetimes, &steady->config->lifetimes, "steady", error) ||
	    !set_rate(steady, error)) {
		end(steady);
		return false;
	}
	if (steady->config->as == AS_OBJECTS)
		open_caches(generate, steady);
	steady->next_ns = generate_exponential(generate, steady->between_ns);
	return true;
}

/* ------------------------------------------------------------------------------------------------ arrivals */

/* The cpu of the allocation, or any other. */
static uint16_t freeing_cpu(struct generate *generate, const struct steady *steady, uint16_t cpu)
{
	uint64_t cpus = steady->config->common.cpus;
	if (cpus == 1 || generate_uniform(generate) >= steady->config->remote)
		return cpu;
	return (uint16_t)((cpu + 1 + generate_below(generate, cpus - 1)) % cpus);
}

static void arrive(struct generate *generate, struct steady *steady)
{
	struct generate_ask ask = draw_ask(generate, steady);
	uint64_t life_ns = lifetimes_draw(&steady->lifetimes, generate_uniform(generate));
	uint16_t cpu = freeing_cpu(generate, steady, ask.cpu);
	generate_id id = generate_alloc(generate, &ask);
	if (life_ns != LIFETIMES_FOREVER_NS)
		generate_free_at(generate, id, cpu, generate_now(generate) + life_ns);
	steady->arrivals++;
}

/* An arrival a step, and the deaths before it. */
static bool step(struct generate *generate, void *state)
{
	struct steady *steady = state;
	if (steady->next_ns > steady->end_ns) {
		generate_advance_to(generate,
				    steady->end_ns < END_NS ? (uint64_t)steady->end_ns : generate_now(generate));
		return false;
	}
	generate_advance_to(generate, (uint64_t)steady->next_ns);
	arrive(generate, steady);
	steady->next_ns += generate_exponential(generate, steady->between_ns);
	return 2 * steady->arrivals - generate_live(generate) < steady->config->events;
}

const struct generator generator_steady = {
	.name = "steady",
	.title = "Arrivals at a load",
	.citation =
		"Poisson arrivals, M/G/infinity; Little, A proof for the queuing formula L = lambda W, Oper. Res. 9, "
		"1961",
	.summary = "rate = load / (mean size x mean lifetime); the mean of live bytes is the load",
	.params = params,
	.config_bytes = sizeof(struct steady_config),
	.state_bytes = sizeof(struct steady),
	.start = start,
	.step = step,
	.end = end,
};
