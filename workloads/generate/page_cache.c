/*
 * page_cache.c - the page cache against the slabs: both want all memory, and one is always reclaimed for the other.
 *
 * Phases in turn. *read*: files are read; each costs its dentry and inode once and a page (now and then a larger folio)
 * for each piece, with a radix_tree_node (XArray) for every 64 of them. *stat*: files are looked at; dentries and
 * inodes alone. Memory in use is held at `memory`: what is older than all else goes first (mm/vmscan.c: two LRU lists;
 * here one of each kind), pages in the read phase's favour, objects in the other's. Slabs hollowed out by the reads of
 * yesterday keep pages that the cache could use.
 */
#include "workloads/generate/generators.h"
#include "workloads/generate/ids.h"
#include "workloads/generate/kernel_caches.h"

static const uint64_t READ_NS = 2000, STAT_NS = 5000;
enum { PAGES_A_FILE = 8, PAGES_A_NODE = 64, FOLIO_ONE_IN = 16, FOLIO_ORDER = 2, CHURN_PER_PHASE = 2 };

struct page_cache_config {
	struct generate_common common;
	uint64_t memory_bytes, phases;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("2"),
	{.name = "memory",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct page_cache_config, memory_bytes),
	 .default_text = "32M",
	 .minimum = 1 << 20,
	 .maximum = 1ull << 40,
	 .help = "that page cache and objects share"},
	{.name = "phases",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct page_cache_config, phases),
	 .default_text = "6",
	 .minimum = 1,
	 .maximum = 1 << 20,
	 .help = "read and stat in turn; each takes twice the memory anew"},
	{0},
};

struct page_cache {
	const struct page_cache_config *config;
	struct ids pages, objects; /* oldest first */
	uint64_t phase, taken_bytes, pages_read;
	bool has_begun; /* the phase */
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct page_cache *cache = state;
	(void)error;
	cache->config = config;
	kernel_caches_tell(generate);
	return true;
}

static void end(void *state)
{
	struct page_cache *cache = state;
	ids_free(&cache->pages);
	ids_free(&cache->objects);
}

static bool reads(const struct page_cache *cache)
{
	return cache->phase % 2 == 0;
}

/* Of the kind that the phase does not use, as long as there is any. */
static void reclaim(struct generate *generate, struct page_cache *cache)
{
	struct ids *first = reads(cache) ? &cache->objects : &cache->pages;
	struct ids *second = reads(cache) ? &cache->pages : &cache->objects;
	while (generate_live_bytes(generate) > cache->config->memory_bytes) {
		struct ids *from = first->count > 0 && generate_below(generate, 4) > 0 ? first : second;
		from = from->count > 0 ? from : first;
		if (from->count == 0)
			return;
		generate_free(generate, ids_take_oldest(from), 0);
	}
}

static void look_at_file(struct generate *generate, struct page_cache *cache, uint16_t cpu)
{
	generate_advance_to(generate, generate_now(generate) + STAT_NS);
	ids_add(&cache->objects, kernel_alloc(generate, KERNEL_DENTRY, cpu));
	ids_add(&cache->objects, kernel_alloc(generate, KERNEL_EXT4_INODE, cpu));
	ids_add(&cache->objects, kernel_alloc(generate, KERNEL_LSM_INODE, cpu));
}

static void read_file(struct generate *generate, struct page_cache *cache, uint16_t cpu)
{
	for (int i = 0; i < PAGES_A_FILE; i++) {
		bool is_folio = generate_below(generate, FOLIO_ONE_IN) == 0;
		generate_advance_to(generate, generate_now(generate) + READ_NS);
		ids_add(&cache->pages, kernel_pages(generate, is_folio ? FOLIO_ORDER : 0, KML_MOVABLE, cpu));
		if (cache->pages_read++ % PAGES_A_NODE == 0)
			ids_add(&cache->objects, kernel_alloc(generate, KERNEL_RADIX_TREE_NODE, cpu));
	}
}

static void drop_all(struct generate *generate, struct page_cache *cache)
{
	while (cache->pages.count > 0)
		generate_free(generate, ids_take_oldest(&cache->pages), 0);
	while (cache->objects.count > 0)
		generate_free(generate, ids_take_oldest(&cache->objects), 0);
}

/* A file a step. */
static bool step(struct generate *generate, void *state)
{
	struct page_cache *cache = state;
	uint16_t cpu = generate_cpu(generate);
	if (!cache->has_begun)
		generate_mark(generate, reads(cache) ? "read" : "stat");
	cache->has_begun = true;
	uint64_t before_bytes = generate_live_bytes(generate);
	look_at_file(generate, cache, cpu);
	if (reads(cache))
		read_file(generate, cache, cpu);
	cache->taken_bytes += generate_live_bytes(generate) - before_bytes;
	reclaim(generate, cache);
	if (cache->taken_bytes < CHURN_PER_PHASE * cache->config->memory_bytes)
		return true;
	cache->taken_bytes = 0;
	cache->has_begun = false;
	if (++cache->phase < cache->config->phases)
		return true;
	drop_all(generate, cache);
	return false;
}

const struct generator generator_page_cache = {
	.name = "page_cache",
	.title = "Page cache against slabs",
	.citation = "mm/vmscan.c, mm/filemap.c, fs/dcache.c (Linux 6.18)",
	.summary =
		"reads fill memory with pages, stats with dentries and inodes; the oldest of the other kind make room",
	.params = params,
	.config_bytes = sizeof(struct page_cache_config),
	.state_bytes = sizeof(struct page_cache),
	.start = start,
	.step = step,
	.end = end,
};
