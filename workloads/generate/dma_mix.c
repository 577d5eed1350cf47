/*
 * dma_mix.c - buffers for devices, each one contiguous run, among small allocations that never rest.
 *
 * Small kmallocs (the sizes of a kernel: most below 256 bytes, a tail to 8 KiB) hold `load` bytes on the average, with
 * lifetimes of two kinds, ten milliseconds and two seconds; pages of processes and of the page cache, movable, hold as
 * much. All of it is there from the start, as if it had gone on for ever: exponential lifetimes have no memory. Every
 * `period` a driver asks for `buffer` bytes in one run (kmalloc() beyond the size classes: the page allocator), keeps
 * it for a while and gives it back. What an allocator does to large free blocks decides how often it can
 * (Documentation/core-api/dma-api.rst says why such buffers are taken at boot).
 */
#include "workloads/generate/generators.h"
#include "workloads/generate/kernel_caches.h"

static const double SHORT_NS = 1e7, LONG_NS = 2e9, LONG_SHARE = 0.2; /* of the small ones */
static const double PAGE_NS = 5e8;

/* kmalloc sizes and their share in 1/256: after the requests of traces/compile.kmt, rounded. */
static const struct {
	uint32_t size_bytes, share;
} small_sizes[] = {{16, 40},  {32, 48},  {64, 56},  {96, 28},  {128, 24}, {192, 18},
		   {256, 14}, {512, 12}, {1024, 8}, {2048, 4}, {4096, 3}, {8192, 1}};
enum { SMALL_SIZES = sizeof small_sizes / sizeof *small_sizes, SHARES = 256 };

struct dma_mix_config {
	struct generate_common common;
	uint64_t load_bytes, buffer_bytes, buffers;
	double period;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("2"),
	{.name = "load",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct dma_mix_config, load_bytes),
	 .default_text = "8M",
	 .minimum = 1 << 16,
	 .maximum = 1ull << 40,
	 .help = "mean bytes of small objects that are live; and of pages"},
	{.name = "buffer",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct dma_mix_config, buffer_bytes),
	 .default_text = "1M",
	 .minimum = 1 << 14,
	 .maximum = 1ull << 30,
	 .help = "of a device: one contiguous run"},
	{.name = "buffers",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct dma_mix_config, buffers),
	 .default_text = "64",
	 .minimum = 1,
	 .maximum = 1 << 20,
	 .help = "asked for in all"},
	{.name = "period",
	 .type = KML_PARAM_REAL,
	 .offset = offsetof(struct dma_mix_config, period),
	 .default_text = "0.05",
	 .maximum = 3600,
	 .help = "seconds between them; each is kept for two on the average"},
	{0},
};

struct dma_mix {
	const struct dma_mix_config *config;
	double small_rate, page_rate; /* arrivals per ns */
	uint64_t buffers;             /* so far */
	uint64_t next_buffer_ns;
	bool is_filled;
};

static double mean_small_bytes(void)
{
	double sum = 0;
	for (int i = 0; i < SMALL_SIZES; i++)
		sum += (double)small_sizes[i].size_bytes * small_sizes[i].share / SHARES;
	return sum;
}

/* Little: live = rate x mean lifetime. */
static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct dma_mix *mix = state;
	(void)generate;
	(void)error;
	mix->config = config;
	double mean_ns = LONG_SHARE * LONG_NS + (1 - LONG_SHARE) * SHORT_NS;
	mix->small_rate = (double)mix->config->load_bytes / mean_small_bytes() / mean_ns;
	mix->page_rate = (double)mix->config->load_bytes / 4096 / PAGE_NS;
	return true;
}

static uint64_t some_size(struct generate *generate)
{
	uint64_t ticket = generate_below(generate, SHARES);
	int i = 0;
	for (; ticket >= small_sizes[i].share; i++)
		ticket -= small_sizes[i].share;
	return small_sizes[i].size_bytes;
}

static void live_for(struct generate *generate, generate_id id, double mean_ns)
{
	uint64_t end_ns = generate_now(generate) + (uint64_t)generate_exponential(generate, mean_ns);
	generate_free_at(generate, id, generate_cpu(generate), end_ns);
}

static void take_small(struct generate *generate, bool is_long)
{
	generate_id id = kernel_kmalloc(generate, some_size(generate), generate_cpu(generate));
	live_for(generate, id, is_long ? LONG_NS : SHORT_NS);
}

static void take_page(struct generate *generate)
{
	live_for(generate, kernel_pages(generate, 0, KML_MOVABLE, generate_cpu(generate)), PAGE_NS);
}

static void take_buffer(struct generate *generate, const struct dma_mix *mix)
{
	const struct generate_ask ask = {.size_bytes = mix->config->buffer_bytes,
					 .cpu = generate_cpu(generate),
					 .flags = KML_KMALLOC | KML_CONTIGUOUS | KMT_LARGE};
	live_for(generate, generate_alloc(generate, &ask), 2e9 * mix->config->period);
}

/* What is live at any moment; of the small ones those that live long are overrepresented by their lifetime. */
static void fill(struct generate *generate, struct dma_mix *mix)
{
	double long_live = LONG_SHARE * LONG_NS / (LONG_SHARE * LONG_NS + (1 - LONG_SHARE) * SHORT_NS);
	while (generate_live_bytes(generate) < mix->config->load_bytes)
		take_small(generate, generate_uniform(generate) < long_live);
	for (uint64_t bytes = 0; bytes < mix->config->load_bytes; bytes += 4096)
		take_page(generate);
	mix->is_filled = true;
}

static bool step(struct generate *generate, void *state)
{
	struct dma_mix *mix = state;
	double rate = mix->small_rate + mix->page_rate;
	if (!mix->is_filled) {
		fill(generate, mix);
		return true;
	}
	generate_advance_to(generate, generate_now(generate) + (uint64_t)generate_exponential(generate, 1 / rate));
	if (generate_now(generate) >= mix->next_buffer_ns) {
		take_buffer(generate, mix);
		mix->next_buffer_ns = generate_now(generate) + (uint64_t)(1e9 * mix->config->period);
		return ++mix->buffers < mix->config->buffers;
	}
	if (generate_uniform(generate) * rate < mix->page_rate)
		take_page(generate);
	else
		take_small(generate, generate_uniform(generate) < LONG_SHARE);
	return true;
}

const struct generator generator_dma_mix = {
	.name = "dma_mix",
	.title = "Contiguous buffers among small allocations",
	.citation = "the case for CMA: Nazarewicz, A deep dive into CMA, LWN 2012; sizes as in traces/compile.kmt",
	.summary = "kmallocs and pages in equilibrium at `load`; every `period` one run of `buffer` bytes",
	.params = params,
	.config_bytes = sizeof(struct dma_mix_config),
	.state_bytes = sizeof(struct dma_mix),
	.start = start,
	.step = step,
};
