/*
 * slab_kernel_test.c - SLAB held against Linux 6.1 with CONFIG_SLAB: every allocation since boot with the address that
 * the kernel chose, every drain of its reaper, and its own walk over all slabs and arrays at twelve moments.
 *
 * A free is logged before it happens and an allocation after it; what runs in between, an interrupt or the other cpu,
 * is then logged in the wrong order. Two objects of a stack change places, or two cpus that grow a cache at once get a
 * slab each, of which a replay in order takes one only. So there are bounds where else there would be equality:
 *
 *   alone    until the second cpu runs every object is on the kernel's own slab, at its own place
 *   drains   of each array the reaper drains as many objects as the kernel did, and as many slabs
 *   slabs    predicted pages, against those of every snapshot but the first
 *   walk     at every snapshot: arrays and their flags, free objects, limits, and each slab's objects and colour
 *
 * Skipped where the capture is not at hand.
 */
#include "allocators/slab/slab.c" /* NOLINT(bugprone-suspicious-include): looks into its arrays */

#include "allocators/registry.h"
#include "traces/import/capture_testing.h"
#include "workloads/testing.h"

static struct test_capture capture;

/* --------------------------------------------------------------------------------------------- the comparison */

enum { PAGE_SHIFT = 12, PAGE_BYTES = 1 << PAGE_SHIFT, ARENA_PAGES = 1 << 18 };

struct comparison {
	struct kmt_reader *reader;
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack stack;
	struct slab_heap *slab;
	uint64_t *objects;       /* address of each id; KML_NO_ADDRESS */
	uint64_t *kernel_slab;   /* by the kernel's pfn: address of the slab it lies in */
	struct slab **simulated; /* by that slab's pfn: ours, which may be gone */
	uint64_t pages;
	bool second_cpu;
	/* Found. */
	uint64_t placed, placed_alone, elsewhere, elsewhere_alone;
	uint64_t drains, drains_differ;
	uint64_t snapshots, wrong_pages, actual_pages;
	uint64_t caches, caches_differ, slabs, slabs_differ, objects_differ;
};

static void open_caches(struct comparison *comparison)
{
	uint32_t count;
	const struct kmt_cache *caches = kmt_reader_caches(comparison->reader, &count);
	for (uint32_t i = 0; i < count; i++) {
		const struct kml_cache cache = {
			.name = caches[i].name,
			.object_bytes = caches[i].object_bytes,
			.align_bytes = caches[i].align_bytes,
			.has_constructor = caches[i].flags & KMT_CACHE_CONSTRUCTOR,
			.typesafe_by_rcu = caches[i].flags & KMT_CACHE_TYPESAFE_BY_RCU,
			.reclaimable = caches[i].flags & KMT_CACHE_RECLAIMABLE,
		};
		assert_int_equal(object_cache_open(&comparison->slab->heap.heap, i, &cache), KML_OK);
	}
}

static void comparison_open(struct comparison *comparison)
{
	struct kml_error error = {{0}};
	*comparison = (struct comparison){.reader = test_capture_open(&capture)};
	if (!comparison->reader)
		fail_msg("%s", error.text);
	uint32_t cache_count;
	kmt_reader_caches(comparison->reader, &cache_count);
	const struct kmt_totals *totals = kmt_reader_totals(comparison->reader);
	comparison->pages = (totals->top_address >> PAGE_SHIFT) + 1;
	comparison->objects = malloc(totals->objects * sizeof(uint64_t));
	comparison->kernel_slab = calloc(comparison->pages, sizeof(uint64_t));
	comparison->simulated = calloc(comparison->pages, sizeof(struct slab *));
	assert_true(comparison->objects && comparison->kernel_slab && comparison->simulated);
	memset(comparison->objects, 0xff, totals->objects * sizeof(uint64_t));
	comparison->arena = kml_arena_create((uint64_t)ARENA_PAGES * PAGE_BYTES, PAGE_BYTES, true, &error);
	comparison->spec = kml_spec_parse("slab/binary", &error);
	assert_true(comparison->arena && comparison->spec);
	const struct kml_environment environment = {.arena = comparison->arena,
						    .page_bytes = PAGE_BYTES,
						    .cpu_count = kmt_reader_origin(comparison->reader)->cpu_count,
						    .cache_count = cache_count,
						    .reaps_told = true};
	if (!kml_stack_create(&comparison->stack, comparison->spec, &environment, &error))
		fail_msg("%s", error.text);
	comparison->slab = slab_heap_of(object_heap_of(kml_stack_top(&comparison->stack)));
	open_caches(comparison);
}

static void comparison_close(struct comparison *comparison)
{
	kml_stack_destroy(&comparison->stack);
	kml_spec_free(comparison->spec);
	kml_arena_destroy(comparison->arena);
	kmt_close(comparison->reader);
	free(comparison->objects);
	free(comparison->kernel_slab);
	free(comparison->simulated);
}

static struct kmem_cache *cache_at(const struct comparison *comparison, uint32_t index)
{
	return kmem_cache_of(comparison->slab->heap.caches[index]);
}

static struct kmem_cache *cache_named(const struct comparison *comparison, const char *name)
{
	for (uint32_t i = 0; i < comparison->slab->heap.cache_count; i++)
		if (strcmp(name_of(cache_at(comparison, i)), name) == 0)
			return cache_at(comparison, i);
	return NULL;
}

/* ------------------------------------------------------------------------------------------------ event by event */

static void take_slab_page(struct comparison *comparison, const struct kmt_event *event)
{
	for (uint64_t page = 0; page < 1ull << event->order; page++)
		comparison->kernel_slab[(event->address >> PAGE_SHIFT) + page] = event->address;
	comparison->simulated[event->address >> PAGE_SHIFT] = NULL;
}

/* The first object that both put on a new slab ties the two slabs to each other. */
static void compare_place(struct comparison *comparison, const struct kmt_event *event, uint64_t address)
{
	struct slab *slab = slab_of(&comparison->slab->heap, address);
	uint64_t theirs = comparison->kernel_slab[event->address >> PAGE_SHIFT];
	if (slab->recorded == KML_NO_ADDRESS) {
		slab->recorded = theirs;
		comparison->simulated[theirs >> PAGE_SHIFT] = slab;
	}
	bool same_slab = slab->recorded == theirs;
	bool same_place = same_slab && address - slab->address == event->address - theirs;
	comparison->placed++;
	comparison->elsewhere += !same_slab;
	if (!comparison->second_cpu) {
		comparison->placed_alone++;
		comparison->elsewhere_alone += !same_place;
	}
}

static void replay_alloc(struct comparison *comparison, const struct kmt_event *event)
{
	const struct kml_request request = {.size_bytes = event->size_bytes,
					    .cache = event->cache,
					    .cpu = event->cpu,
					    .flags = event->flags & KML_KMALLOC,
					    .recorded = KML_NO_ADDRESS};
	struct kml_grant grant = object_alloc(&comparison->slab->heap.heap, &request);
	assert_int_equal(grant.status, KML_OK);
	comparison->objects[event->object] = grant.address;
	compare_place(comparison, event, grant.address);
}

static void replay_free(struct comparison *comparison, const struct kmt_event *event)
{
	const struct kml_release release = {
		.address = comparison->objects[event->object], .cache = event->cache, .cpu = event->cpu};
	assert_int_equal(object_free(&comparison->slab->heap.heap, &release), KML_OK);
}

/* As many as the kernel's? The number that left an array or a list. */
static void replay_reap(struct comparison *comparison, const struct kmt_event *event)
{
	const struct kml_notice notice = {.kind = (enum kml_notice_kind)event->order,
					  .cache = event->cache == KMT_NO_CACHE ? KML_NO_CACHE : event->cache,
					  .cpu = event->cpu,
					  .count = event->size_bytes,
					  .batchcount = event->granted_bytes};
	bool drains =
		event->order == KMT_REAP_CPU || event->order == KMT_REAP_SHARED || event->order == KMT_REAP_FREELIST;
	const struct kmem_cache *cache = drains ? cache_at(comparison, event->cache) : NULL;
	uint64_t before = !drains                             ? 0
			  : event->order == KMT_REAP_FREELIST ? cache->slabs.slabs
							      : cache->slabs.total_objects - cache->slabs.free_objects;
	object_notice(&comparison->slab->heap.heap, &notice);
	if (!drains)
		return;
	uint64_t after = event->order == KMT_REAP_FREELIST ? cache->slabs.slabs
							   : cache->slabs.total_objects - cache->slabs.free_objects;
	comparison->drains++;
	comparison->drains_differ += before - after != event->size_bytes;
}

static void replay_event(struct comparison *comparison, const struct kmt_event *event)
{
	comparison->second_cpu |= event->cpu > 0;
	bool has_slab = event->cache != KMT_NO_CACHE;
	if (event->op == KMT_PAGE_ALLOC && (event->flags & KMT_SLAB_PAGE))
		take_slab_page(comparison, event);
	else if (event->op == KMT_ALLOC && has_slab)
		replay_alloc(comparison, event);
	else if (event->op == KMT_FREE && has_slab)
		replay_free(comparison, event);
	else if (event->op == KMT_REAP)
		replay_reap(comparison, event);
}

/* ----------------------------------------------------------------------------------------- snapshot by snapshot */

static uint64_t number_after(const char *line, const char *key)
{
	const char *at = strstr(line, key);
	assert_non_null(at);
	return strtoull(at + strlen(key), NULL, 10);
}

/* "C name ... total_slabs= free_slabs= free_objects= free_limit= colour_next= shared_avail= cpu0=avail:n,touched:n" */
static void compare_cache(struct comparison *comparison, const char *line)
{
	char name[256];
	assert_int_equal(sscanf(line, "C %255s", name), 1);
	const struct kmem_cache *cache = cache_named(comparison, name);
	if (!cache)
		return; /* nothing was ever allocated there */
	const struct array_cache *shared = shared_array(cache);
	bool same = number_after(line, "total_slabs=") == cache->slabs.slabs &&
		    number_after(line, "free_slabs=") == cache->lists[LIST_FREE].count &&
		    number_after(line, "free_objects=") == cache->slabs.free_objects &&
		    number_after(line, "free_limit=") == cache->free_limit &&
		    number_after(line, "colour_next=") == cache->colour_next &&
		    number_after(line, "shared_avail=") == (shared ? shared->avail : 0);
	for (uint32_t cpu = 0; cpu < comparison->slab->heap.cpu_count; cpu++) {
		char key[32];
		snprintf(key, sizeof key, "cpu%u=avail:", cpu);
		const char *array = strstr(line, key);
		assert_non_null(array);
		same = same && number_after(array, "avail:") == cache->arrays[cpu].avail &&
		       number_after(array, "touched:") == cache->arrays[cpu].touched;
	}
	comparison->caches++;
	comparison->caches_differ += !same;
}

/* "S pfn order cache active=n objects=n off=n": the slab that we tied to it. */
static void compare_slab(struct comparison *comparison, const char *line)
{
	unsigned long pfn;
	unsigned order, active, objects, off;
	char name[256];
	assert_int_equal(
		sscanf(line, "S %lx %u %255s active=%u objects=%u off=%u", &pfn, &order, name, &active, &objects, &off),
		6);
	assert_true(pfn < comparison->pages);
	const struct slab *slab = comparison->simulated[pfn];
	comparison->slabs++;
	bool same = slab && strcmp(slab->cache->cache.description.name, name) == 0 && slab->objects == objects &&
		    slab->first - slab->address == off && slab->in_use == active;
	comparison->slabs_differ += !same;
	if (slab && slab->in_use != active)
		comparison->objects_differ += slab->in_use > active ? slab->in_use - active : active - slab->in_use;
}

static void compare_walk(struct comparison *comparison, const char *text)
{
	for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		char copy[2048];
		snprintf(copy, sizeof copy, "%.*s", (int)strcspn(line, "\n"), line);
		if (copy[0] == 'C')
			compare_cache(comparison, copy);
		else if (copy[0] == 'S')
			compare_slab(comparison, copy);
	}
}

/* gt_rb_page belongs to the recording. */
static void compare_slabinfo(struct comparison *comparison, const char *text)
{
	bool judged = comparison->snapshots++ > 0;
	for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		char name[256];
		unsigned long pages, slabs;
		if (sscanf(line, "%255s %*u %*u %*u %*u %lu : tunables %*u %*u %*u : slabdata %*u %lu", name, &pages,
			   &slabs) != 3 ||
		    strcmp(name, "gt_rb_page") == 0)
			continue;
		const struct kmem_cache *cache = cache_named(comparison, name);
		uint64_t ours = cache ? cache->slabs.slabs : 0;
		comparison->wrong_pages += judged ? (ours > slabs ? ours - slabs : slabs - ours) * pages : 0;
		comparison->actual_pages += judged ? slabs * pages : 0;
	}
}

/* Slabs that are gone are tied to nothing. */
static void forget_gone_slabs(struct comparison *comparison)
{
	struct slab **simulated = comparison->simulated;
	memset(simulated, 0, comparison->pages * sizeof(struct slab *));
	for (uint32_t i = 0; i < comparison->slab->heap.cache_count; i++)
		for (uint32_t list = 0; list < LISTS; list++) {
			const struct slab_list *slabs = &cache_at(comparison, i)->lists[list];
			for (struct slab *slab = slab_list_first(slabs); slab; slab = slab_list_next(slabs, slab))
				if (slab->recorded != KML_NO_ADDRESS)
					simulated[slab->recorded >> PAGE_SHIFT] = slab;
		}
}

static void run(struct comparison *comparison)
{
	struct kmt_item item;
	struct kml_error error = {{0}};
	enum kmt_item_kind kind;
	while ((kind = kmt_next(comparison->reader, &item, &error)) != KMT_ITEM_END) {
		if (kind == KMT_ITEM_ERROR)
			fail_msg("%s", error.text);
		if (kind == KMT_ITEM_EVENTS)
			for (uint32_t i = 0; i < item.event_count; i++)
				replay_event(comparison, &item.events[i]);
		else if (item.snapshot->kind == KMT_SNAPSHOT_SLABINFO)
			compare_slabinfo(comparison, item.snapshot->text);
		else if (item.snapshot->kind == KMT_SNAPSHOT_SLABS) {
			forget_gone_slabs(comparison);
			compare_walk(comparison, item.snapshot->text);
			if (!object_validate(&comparison->slab->heap.heap, &error))
				fail_msg("%s", error.text);
		}
	}
}

static void slabs_are_those_of_the_kernel(void **state)
{
	(void)state;
	struct comparison found;
	comparison_open(&found);
	run(&found);
	comparison_close(&found);
	print_message("alone: %" PRIu64 " objects, %" PRIu64 " not at the kernel's place\n", found.placed_alone,
		      found.elsewhere_alone);
	print_message("all: %" PRIu64 " objects, %" PRIu64 " not on the kernel's slab\n", found.placed,
		      found.elsewhere);
	print_message("drains: %" PRIu64 ", %" PRIu64 " of another number\n", found.drains, found.drains_differ);
	print_message("slabs of %" PRIu64 " snapshots: %" PRIu64 " pages off of %" PRIu64 "\n", found.snapshots - 1,
		      found.wrong_pages, found.actual_pages);
	print_message("walk: %" PRIu64 " caches, %" PRIu64 " with other numbers; %" PRIu64 " slabs, %" PRIu64
		      " not alike, by %" PRIu64 " objects\n",
		      found.caches, found.caches_differ, found.slabs, found.slabs_differ, found.objects_differ);
	assert_true(found.placed_alone > 0 && found.drains > 0 && found.snapshots > 1 && found.slabs > 0);
	assert_int_equal(found.elsewhere_alone, 0);
	assert_int_equal(found.drains_differ, 0);
	assert_true(found.wrong_pages * 1000 <= found.actual_pages * 5); /* 0.5 % */
	assert_true(found.elsewhere * 10 <= found.placed);               /* one in ten: races */
	assert_true(found.caches_differ * 20 <= found.caches);
	assert_true(found.slabs_differ * 100 <= found.slabs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(slabs_are_those_of_the_kernel)};
	return test_capture_run(tests, &capture, "linux-6.1-slab", "cache_params.tsv");
}
