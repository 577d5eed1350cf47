/* demo_objects.c - the examples of `kmemlab demo` about object allocators: slabs and vmalloc. */
#include <stdio.h>
#include <string.h>

#include "kmemlab/demo.h"
#include "kmemlab/support/clock.h"
#include "kmemlab/support/error.h"

/* ------------------------------------------------------------------------------------------ a line of slabinfo */

/* "inode_cache 54321 55000 656 12 2" */
enum { LINE_ACTIVE = 54321, LINE_OBJECTS = 55000, LINE_OBJECT_BYTES = 656, LINE_PER_SLAB = 12, LINE_PAGES = 2 };

static double mib_of_pages(uint64_t pages)
{
	return (double)(pages * STAGE_PAGE_BYTES) / (double)MIB;
}

/* LINE_OBJECTS objects, of which LINE_ACTIVE stay: the frees are spread over the slabs. */
static bool fill_cache(const struct stage *stage, struct kml_error *error)
{
	static uint64_t address[LINE_OBJECTS];
	const struct kml_cache cache = {.name = "inode_cache", .object_bytes = LINE_OBJECT_BYTES, .reclaimable = true};
	enum { FREES = LINE_OBJECTS - LINE_ACTIVE, STEP = LINE_OBJECTS / FREES };
	if (stage->heap->allocator->cache_open(stage->heap, 0, &cache) != KML_OK)
		return kml_fail(error, "demo: no cache of %d bytes can be opened", LINE_OBJECT_BYTES);
	struct kml_request request = {
		.size_bytes = LINE_OBJECT_BYTES, .recorded = KML_NO_ADDRESS, .flags = KML_CONTIGUOUS};
	for (uint32_t i = 0; i < LINE_OBJECTS; i++) {
		struct kml_grant grant = stage->heap->allocator->alloc(stage->heap, &request);
		KML_CHECK(grant.status == KML_OK, "object %u: %s", i, kml_status_name(grant.status));
		address[i] = grant.address;
	}
	for (uint32_t i = 0; i < FREES; i++) {
		struct kml_release release = {.address = address[i * STEP], .flags = KML_CONTIGUOUS};
		enum kml_status status = stage->heap->allocator->free(stage->heap, &release);
		KML_CHECK(status == KML_OK, "object %u: %s", i * STEP, kml_status_name(status));
	}
	return true;
}

bool demo_slabinfo(struct kml_error *error)
{
	const uint64_t slabs = (LINE_OBJECTS + LINE_PER_SLAB - 1) / LINE_PER_SLAB, pages = slabs * LINE_PAGES;
	struct stage stage;
	struct kml_cache_stats stats;
	printf("  %-14s %9s %9s %9s %9s %9s\n", "name", "active", "objects", "bytes", "a slab", "pages");
	printf("  %-14s %9d %9d %9d %9d %9d\n\n", "inode_cache", LINE_ACTIVE, LINE_OBJECTS, LINE_OBJECT_BYTES,
	       LINE_PER_SLAB, LINE_PAGES);
	printf("  %d objects / %d in a slab = %.1f: %llu slabs.\n", LINE_OBJECTS, LINE_PER_SLAB,
	       (double)LINE_OBJECTS / LINE_PER_SLAB, (unsigned long long)slabs);
	printf("  %llu slabs * %d pages = %llu pages, * 4 KiB = %.1f MiB.\n\n", (unsigned long long)slabs, LINE_PAGES,
	       (unsigned long long)pages, mib_of_pages(pages));
	printf("  A widely copied text says 9200 slabs and 72 MiB. Its 9200 is the number of pages, %llu, rounded and\n"
	       "  taken for slabs; times %d pages a slab once more that is %.1f MiB: every page is counted twice.\n"
	       "  (A page of 4096 bytes holds 6 objects of %d, and %d / 6 = %d: right for slabs of one page, and the\n"
	       "  last column says that these have two.)\n\n",
	       (unsigned long long)pages, LINE_PAGES, mib_of_pages(pages * LINE_PAGES), LINE_OBJECT_BYTES, LINE_OBJECTS,
	       (LINE_OBJECTS + 5) / 6);
	if (!stage_open(&stage, "slub/binary", 64 * MIB, error))
		return false;
	bool done = fill_cache(&stage, error);
	if (done) {
		stage.heap->allocator->cache_stats(stage.heap, 0, &stats);
		KML_CHECK(stats.slabs == slabs && stats.slab_bytes == pages * STAGE_PAGE_BYTES &&
				  stats.live_objects == LINE_ACTIVE && stats.objects_per_slab == LINE_PER_SLAB,
			  "%llu slabs of %u objects in %llu bytes, %llu live", (unsigned long long)stats.slabs,
			  stats.objects_per_slab, (unsigned long long)stats.slab_bytes,
			  (unsigned long long)stats.live_objects);
		printf("  The same cache in the allocator, after %d allocations and %d frees, by cache_stats: %llu "
		       "live\n"
		       "  objects of %llu on %llu slabs, %llu pages, %.1f MiB held for %.1f MiB of live objects. (A\n"
		       "  kernel would print %llu objects: whole slabs of %d.)\n",
		       LINE_OBJECTS, LINE_OBJECTS - LINE_ACTIVE, (unsigned long long)stats.live_objects,
		       (unsigned long long)stats.total_objects, (unsigned long long)stats.slabs,
		       (unsigned long long)(stats.slab_bytes / STAGE_PAGE_BYTES),
		       (double)stats.slab_bytes / (double)MIB,
		       (double)(stats.live_objects * LINE_OBJECT_BYTES) / (double)MIB,
		       (unsigned long long)stats.total_objects, LINE_PER_SLAB);
	}
	stage_close(&stage);
	return done;
}

/* ------------------------------------------------------------------------------------------------------ vmalloc */

enum { VMALLOC_PAGES = 256, VMALLOC_STAGE_PAGES = 4096, VMALLOC_PINNED_EVERY = 16, TIMED_CALLS = 2000 };
#define VMALLOC_BYTES ((uint64_t)VMALLOC_PAGES * STAGE_PAGE_BYTES)

/* All pages are taken, then all are freed but every so many-th. */
static void pin_pages(const struct stage *stage)
{
	static uint64_t address[VMALLOC_STAGE_PAGES];
	uint32_t taken = 0;
	for (struct kml_grant grant; taken < VMALLOC_STAGE_PAGES; address[taken++] = grant.address) {
		grant = stage_ask(stage, STAGE_PAGE_BYTES, KML_PAGES);
		if (grant.status != KML_OK)
			break;
	}
	for (uint32_t i = 0; i < taken; i++)
		if (address[i] / STAGE_PAGE_BYTES % VMALLOC_PINNED_EVERY != 0)
			stage_give_back(stage, address[i], KML_PAGES);
}

static uint64_t mark_of(uint64_t page)
{
	return 0x6b6d656d6c616221 + page;
}

/* Where in the arena the pages of an area are: each page is written through the area, and looked for. */
static uint64_t count_runs(const struct stage *stage, uint64_t area, uint64_t *found)
{
	uint8_t *memory = stage->arena->base;
	uint64_t runs = 0, mark;
	for (uint64_t page = 0; page < VMALLOC_PAGES; page++) {
		mark = mark_of(page);
		memcpy(memory + area + page * STAGE_PAGE_BYTES, &mark, sizeof mark);
	}
	*found = 0;
	for (uint64_t at = 0, before = 0; at < stage->arena->size_bytes; at += STAGE_PAGE_BYTES) {
		if (stage->arena->pages[at / STAGE_PAGE_BYTES].owner == NULL)
			continue; /* free memory is not looked at */
		memcpy(&mark, memory + at, sizeof mark);
		if (mark - mark_of(0) >= VMALLOC_PAGES)
			continue;
		runs += *found == 0 || at != before + STAGE_PAGE_BYTES;
		before = at;
		++*found;
	}
	return runs;
}

static bool show_area(const struct stage *stage)
{
	struct kml_stats before = stage_stats(stage);
	struct kml_grant refused = stage_ask(stage, VMALLOC_BYTES, KML_KMALLOC | KML_CONTIGUOUS);
	printf("  %s free, the largest block %s. kmalloc(1024k) fails: %s.\n", size_text(before.free_bytes).text,
	       size_text(before.largest_free_bytes).text, kml_status_name(refused.status));
	struct kml_grant area = stage_ask(stage, VMALLOC_BYTES, KML_VMALLOC);
	struct kml_stats after = stage_stats(stage);
	if (refused.status == KML_OK || area.status != KML_OK)
		return false;
	uint64_t found, runs = count_runs(stage, area.address, &found);
	printf("  vmalloc(1024k) succeeds: %llu bytes in a row at %llu, behind the arena. A word written to each of "
	       "its\n"
	       "  pages is read back in the arena, in %llu pages that lie in %llu runs.\n\n",
	       (unsigned long long)area.granted_bytes, (unsigned long long)area.address, (unsigned long long)found,
	       (unsigned long long)runs);
	printf("  Cost of the area: %llu requests to the page allocator instead of one, %llu splits, %llu bytes of "
	       "books,\n"
	       "  and a page of addresses that stays empty behind it.\n",
	       (unsigned long long)found, (unsigned long long)(after.splits - before.splits),
	       (unsigned long long)(after.metadata_bytes - before.metadata_bytes));
	stage_give_back(stage, area.address, KML_VMALLOC);
	return true;
}

bool demo_vmalloc(struct kml_error *error)
{
	struct stage stage;
	if (!stage_open(&stage, "slub/binary", (uint64_t)VMALLOC_STAGE_PAGES * STAGE_PAGE_BYTES, error))
		return false;
	printf("  All pages of 16 MiB are granted, then all are freed but every %dth:\n\n", VMALLOC_PINNED_EVERY);
	pin_pages(&stage);
	stage_draw_density(&stage);
	bool shown = show_area(&stage);
	stage_close(&stage);
	return shown || kml_fail(error, "vmalloc: it did not come as foretold");
}

static double mean_ns(const struct stage *stage, uint16_t flags)
{
	uint64_t begin_ns = kml_clock_ns(CLOCK_THREAD_CPUTIME_ID);
	for (int i = 0; i < TIMED_CALLS; i++)
		stage_give_back(stage, stage_ask(stage, VMALLOC_BYTES, flags).address, flags);
	return (double)(kml_clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin_ns) / TIMED_CALLS;
}

/* On an empty arena, where both succeed; what whoever uses the memory pays is not in it. */
bool demo_vmalloc_time(struct kml_error *error)
{
	struct stage stage;
	if (!stage_open(&stage, "slub/binary", (uint64_t)VMALLOC_STAGE_PAGES * STAGE_PAGE_BYTES, error))
		return false;
	double contiguous_ns = mean_ns(&stage, KML_KMALLOC | KML_CONTIGUOUS), area_ns = mean_ns(&stage, KML_VMALLOC);
	printf("  Alloc and free of 1024k on an empty arena, mean of %d: kmalloc %.0f ns, vmalloc %.0f ns, %.0f times "
	       "as\n"
	       "  much, %.0f ns a page. (A process pays system calls where a kernel writes page tables.)\n",
	       TIMED_CALLS, contiguous_ns, area_ns, area_ns / contiguous_ns, area_ns / VMALLOC_PAGES);
	stage_close(&stage);
	return true;
}
