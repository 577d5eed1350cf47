/*
 * vmalloc.c - memory in which no run is left: kmalloc() of a large size fails, vmalloc() of the same size succeeds.
 *
 * All pages are taken, then all are freed but every `pinned`-th: most memory is free, in runs below `pinned`
 * pages where the allocator handed them out in order. Each round asks for `size` bytes as one run, which must fail for
 * want of a run, not of memory; then for an area of vmalloc() of the same size, page by page and mapped (mm/vmalloc.c),
 * which must succeed and lives until as many areas as half of the free memory holds came after it.
 * On a page allocator alone both are the same request, and fail alike.
 */
#include "kmemlab/support/error.h"
#include "workloads/generate/generators.h"
#include "workloads/generate/ids.h"
#include "workloads/generate/kernel_caches.h"

enum { PAGE_BYTES = 4096 };

struct vmalloc_config {
	struct generate_common common;
	uint64_t size_bytes, pinned, rounds;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("2"),
	GENERATE_PARAM_ARENA("64M"),
	{.name = "size",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct vmalloc_config, size_bytes),
	 .default_text = "1M",
	 .minimum = 2 * PAGE_BYTES,
	 .maximum = 1ull << 40,
	 .help = "of a request"},
	{.name = "pinned",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct vmalloc_config, pinned),
	 .default_text = "16",
	 .minimum = 2,
	 .maximum = 1 << 20,
	 .help = "one page in so many stays"},
	{.name = "rounds",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct vmalloc_config, rounds),
	 .default_text = "64",
	 .maximum = 1ull << 32,
	 .help = "of one request each"},
	{0},
};

struct vmalloc {
	const struct vmalloc_config *config;
	struct ids pinned, areas;
	uint64_t areas_most, round;
	bool is_pinned;
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct vmalloc *vmalloc = state;
	vmalloc->config = config;
	uint64_t arena_bytes = vmalloc->config->common.arena_bytes, size_bytes = vmalloc->config->size_bytes;
	uint64_t free_bytes = arena_bytes - arena_bytes / vmalloc->config->pinned;
	(void)generate;
	if (vmalloc->config->pinned * PAGE_BYTES > size_bytes)
		return kml_fail(error,
				"vmalloc: pinned=%llu leaves runs of %llu bytes: use at most %llu, or a larger size",
				(unsigned long long)vmalloc->config->pinned,
				(unsigned long long)(vmalloc->config->pinned - 1) * PAGE_BYTES,
				(unsigned long long)(size_bytes / PAGE_BYTES));
	if (size_bytes > free_bytes / 2)
		return kml_fail(error, "vmalloc: size=%llu is more than half of what is free: use at most %llu",
				(unsigned long long)size_bytes, (unsigned long long)free_bytes / 2);
	vmalloc->areas_most = free_bytes / 2 / size_bytes;
	return true;
}

static void end(void *state)
{
	struct vmalloc *vmalloc = state;
	ids_free(&vmalloc->pinned);
	ids_free(&vmalloc->areas);
}

static void pin(struct generate *generate, struct vmalloc *vmalloc)
{
	uint64_t pages = vmalloc->config->common.arena_bytes / PAGE_BYTES;
	struct ids passing = {0};
	generate_mark(generate, "pin");
	for (uint64_t page = 0; page < pages; page++)
		ids_add(page % vmalloc->config->pinned == 0 ? &vmalloc->pinned : &passing,
			kernel_pages(generate, 0, 0, 0));
	while (passing.count > 0)
		generate_free(generate, ids_take_oldest(&passing), 0);
	ids_free(&passing);
	vmalloc->is_pinned = true;
}

static void ask(struct generate *generate, struct vmalloc *vmalloc)
{
	struct generate_ask ask = {.size_bytes = vmalloc->config->size_bytes,
				   .cpu = generate_cpu(generate),
				   .flags = KML_KMALLOC | KML_CONTIGUOUS | KMT_LARGE};
	generate_advance_to(generate, generate_now(generate) + 1000000);
	generate_free(generate, generate_alloc(generate, &ask), ask.cpu);
	if (vmalloc->areas.count == vmalloc->areas_most)
		generate_free(generate, ids_take_oldest(&vmalloc->areas), ask.cpu);
	ask.flags = KMT_VMALLOC;
	ids_add(&vmalloc->areas, generate_alloc(generate, &ask));
}

static bool step(struct generate *generate, void *state)
{
	struct vmalloc *vmalloc = state;
	if (!vmalloc->is_pinned) {
		pin(generate, vmalloc);
		return true;
	}
	if (vmalloc->round == 0)
		generate_mark(generate, "ask");
	if (vmalloc->round++ < vmalloc->config->rounds) {
		ask(generate, vmalloc);
		return true;
	}
	while (vmalloc->areas.count > 0)
		generate_free(generate, ids_take_oldest(&vmalloc->areas), 0);
	while (vmalloc->pinned.count > 0)
		generate_free(generate, ids_take_oldest(&vmalloc->pinned), 0);
	return false;
}

const struct generator generator_vmalloc = {
	.name = "vmalloc",
	.title = "No run is left: kmalloc fails, vmalloc does not",
	.citation = "mm/vmalloc.c, kvmalloc() of mm/util.c (Linux)",
	.summary = "every `pinned`-th page stays; `size` bytes are asked for as one run, then page by page",
	.params = params,
	.config_bytes = sizeof(struct vmalloc_config),
	.state_bytes = sizeof(struct vmalloc),
	.start = start,
	.step = step,
	.end = end,
};
