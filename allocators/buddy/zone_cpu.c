/*
 * zone_cpu.c - the per-cpu page lists of Linux mode; see zone.h. Functions name the one of mm/page_alloc.c (Linux 6.1)
 * whose rule they follow.
 *
 * A cpu has a list for each order up to 3 and each type. An empty list is filled with a batch from the free lists; when
 * a cpu holds more than `high` pages, a batch goes back, the longer the cpu only frees the more at a time; and a cpu
 * that frees blocks of order 1 to 3 without allocating gives back everything.
 */
#include "allocators/buddy/zone.h"
#include "kmemlab/support/planted.h"

#define MIB_BYTES (1ull << 20)

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* zone_batchsize: a 1024th of the zone, at most 1 MiB, a quarter of it; then the 2^n - 1 that is next. */
static uint64_t batch_size(const struct zone *zone)
{
	uint64_t batch = min_u64(zone->managed_pages >> 10, MIB_BYTES / zone->rules.page_bytes) / 4;
	batch = max_u64(batch, 1);
	batch += batch / 2;
	return (1ull << (63 - __builtin_clzll(batch))) - 1;
}

/* zone_highsize: what the zone holds below its low mark, split among the cpus, at least four batches. */
void zone_size_cpu_lists(struct zone *zone, uint32_t online_cpus)
{
	/* pageset_set_high_and_batch: never less than one page. */
	zone->batch = max_u64(1, batch_size(zone));
	zone->high = max_u64(zone->mark[ZONE_MARK_LOW] / online_cpus, zone->batch * 4);
}

/* order_to_pindex */
static uint32_t list_index(uint32_t order, enum zone_type type)
{
	return order * ZONE_CPU_TYPES + type;
}

static void list_block(struct zone *zone, uint32_t cpu, uint64_t page, uint32_t list, bool at_tail)
{
	struct zone_page *first = &zone->pages[page];
	first->state = ZONE_CACHED;
	first->cpu = (uint16_t)cpu;
	first->list = (uint16_t)list;
	if (at_tail)
		zone_list_add_tail(zone, page, zone_cpu_list(zone, cpu, list));
	else
		zone_list_add(zone, page, zone_cpu_list(zone, cpu, list));
	zone->cpus[cpu].pages += 1ull << first->order;
	zone->cached_pages += KML_PLANTED(zone_cached_counts_blocks) ? 1 : 1ull << first->order;
}

static void unlist_block(struct zone *zone, uint32_t cpu, uint64_t page)
{
	struct zone_page *first = &zone->pages[page];
	zone_list_remove(zone, page);
	first->state = ZONE_INSIDE;
	zone->cpus[cpu].pages -= 1ull << first->order;
	zone->cached_pages -= 1ull << first->order;
}

static bool list_is_empty(const struct zone *zone, uint64_t head)
{
	return zone->pages[head].next == head;
}

/* rmqueue_bulk: `count` blocks to the tail of the list. */
static void fill(struct zone *zone, uint32_t cpu, uint32_t order, enum zone_type type, uint64_t count)
{
	while (count-- > 0) {
		uint64_t page = zone_take_block(zone, order, type);
		if (page == ZONE_NO_PAGE)
			return;
		list_block(zone, cpu, page, list_index(order, type), true);
	}
}

uint64_t zone_cpu_take(struct zone *zone, uint32_t cpu, uint32_t order, enum zone_type type)
{
	uint64_t head = zone_cpu_list(zone, cpu, list_index(order, type));
	zone->cpus[cpu].free_factor >>= 1;
	if (list_is_empty(zone, head)) {
		uint64_t batch = zone->batch;
		if (batch > 1)
			batch = max_u64(batch >> order, 2);
		fill(zone, cpu, order, type, batch);
	}
	if (list_is_empty(zone, head))
		return ZONE_NO_PAGE;
	uint64_t page = zone->pages[head].next;
	unlist_block(zone, cpu, page);
	return page;
}

/* free_pcppages_bulk: oldest blocks of a list until it is empty, then of the next list, beginning with `list`. */
static void give_back(struct zone *zone, uint32_t cpu, uint64_t count, uint32_t list)
{
	count = min_u64(count, zone->cpus[cpu].pages);
	while (count > 0) {
		uint64_t head = zone_cpu_list(zone, cpu, list);
		while (count > 0 && !list_is_empty(zone, head)) {
			uint64_t page = zone->pages[head].prev, pages = 1ull << zone->pages[page].order;
			/* A reserve for atomic requests may have been given up since. */
			enum zone_type type = (enum zone_type)zone->pages[page].type;
			if (type == ZONE_HIGHATOMIC)
				type = zone_block_type(zone, page);
			unlist_block(zone, cpu, page);
			zone_free_block(zone, page, zone->pages[page].order, type, false);
			count -= min_u64(pages, count);
		}
		list = (list + 1) % ZONE_CPU_LISTS;
	}
}

/* nr_pcp_free: twice as many each time a cpu frees without having allocated. */
static uint64_t pages_to_give_back(const struct zone *zone, struct zone_cpu *cpu, bool everything)
{
	if (everything)
		return cpu->pages;
	if (zone->high < zone->batch)
		return 1;
	uint64_t least = zone->batch, most = zone->high - zone->batch, batch = zone->batch << cpu->free_factor;
	if (batch < most)
		cpu->free_factor++;
	return max_u64(least, min_u64(batch, most));
}

/* free_unref_page and free_unref_page_commit. */
void zone_cpu_give(struct zone *zone, uint32_t cpu, uint64_t page, uint32_t order)
{
	enum zone_type type = zone_block_type(zone, page);
	zone->pages[page].type = (uint8_t)type;
	uint32_t list = list_index(order, type < ZONE_CPU_TYPES ? type : ZONE_MOVABLE);
	list_block(zone, cpu, page, list, false);
	struct zone_cpu *pages = &zone->cpus[cpu];
	bool everything = pages->free_factor > 0 && order > 0;
	if (everything || pages->pages >= zone->high)
		give_back(zone, cpu, pages_to_give_back(zone, pages, everything), list);
}

void zone_cpu_drain(struct zone *zone, uint32_t cpu)
{
	give_back(zone, cpu, zone->cpus[cpu].pages, 0);
}
