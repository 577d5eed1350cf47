/*
 * slob_kernel_test.c - SLOB held against Linux 6.1 with CONFIG_SLOB: every allocation since boot with the address that
 * the kernel chose, and its own walk over all SLOB pages at twelve moments.
 *
 * Two cpus race for the same list, and their trace does not tell who came first: a replay by the rules alone parts from
 * the kernel at the first such race. So three things are asked:
 *
 *   alone     until the second cpu runs, every placement is the kernel's own: page and offset
 *   freely    by the rules alone, the pages of all snapshots
 *   followed  where a race was decided otherwise, the block is put where the kernel put it. Then there must always be
 *             a free block there, each page must have the kernel's free units and lie on the kernel's list at every
 *             snapshot, and nearly all placements must need no help: what is left of them is races.
 *
 * Skipped where the capture is not at hand.
 */
#include "allocators/slab/slob.c" /* NOLINT(bugprone-suspicious-include): `followed` puts blocks where it wants */

#include "traces/import/capture_testing.h"
#include "workloads/replay.h"
#include "workloads/testing.h"

static struct test_capture capture;

/* ------------------------------------------------------------------------------------------- alone, followed */

enum { PAGE_SHIFT = 12, PAGE_BYTES = 1 << PAGE_SHIFT, ARENA_PAGES = 1 << 18, PFNS = 1 << 18, OBJECTS = 1 << 20 };

struct object {
	uint64_t address;
	bool is_live;
};

struct follower {
	struct kmt_reader *reader;
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack stack;
	struct slob_heap *slob;
	struct object *objects;
	struct slob_run **page_of; /* by the kernel's pfn */
	uint64_t placed, helped, snapshots, page_units_compared;
	bool follows; /* else: the first difference ends it */
	bool second_cpu;
};

static void open_caches(struct follower *follower)
{
	uint32_t count;
	const struct kmt_cache *caches = kmt_reader_caches(follower->reader, &count);
	for (uint32_t i = 0; i < count; i++) {
		const struct kml_cache cache = {
			.name = caches[i].name,
			.object_bytes = caches[i].object_bytes,
			.align_bytes = caches[i].align_bytes,
			.typesafe_by_rcu = caches[i].flags & KMT_CACHE_TYPESAFE_BY_RCU,
			.recorded_slot_bytes = caches[i].slot_bytes,
		};
		assert_int_equal(object_cache_open(&follower->slob->heap.heap, i, &cache), KML_OK);
	}
}

static void follower_open(struct follower *follower, bool follows)
{
	struct kml_error error = {{0}};
	*follower = (struct follower){.reader = test_capture_open(&capture), .follows = follows};
	follower->arena = kml_arena_create((uint64_t)ARENA_PAGES * PAGE_BYTES, PAGE_BYTES, true, &error);
	follower->spec = kml_spec_parse("slob/binary", &error);
	uint32_t cache_count;
	kmt_reader_caches(follower->reader, &cache_count);
	const struct kml_environment environment = {.arena = follower->arena,
						    .page_bytes = PAGE_BYTES,
						    .cpu_count = 2,
						    .cache_count = cache_count,
						    .rcu_told = true};
	if (!kml_stack_create(&follower->stack, follower->spec, &environment, &error))
		fail_msg("%s", error.text);
	follower->slob = slob_of(object_heap_of(kml_stack_top(&follower->stack)));
	follower->objects = calloc(OBJECTS, sizeof *follower->objects);
	follower->page_of = calloc(PFNS, sizeof(struct slob_run *));
	assert_true(follower->objects && follower->page_of);
	open_caches(follower);
}

static void follower_close(struct follower *follower)
{
	free(follower->objects);
	free(follower->page_of);
	kml_stack_destroy(&follower->stack);
	kml_spec_free(follower->spec);
	kml_arena_destroy(follower->arena);
	kmt_close(follower->reader);
}

/* What __do_kmalloc_node and slob_alloc_node ask slob_alloc for; false: whole pages. */
static bool demand_of(const struct follower *follower, const struct kmt_event *event, struct slob_demand *demand)
{
	if (event->flags & KML_KMALLOC) {
		bool is_power = (event->size_bytes & (event->size_bytes - 1)) == 0;
		*demand = (struct slob_demand){.size_bytes = event->size_bytes + SLOB_MINALIGN,
					       .align_bytes = is_power && event->size_bytes > 8 ? event->size_bytes : 8,
					       .offset_bytes = SLOB_MINALIGN,
					       .cache = SLOB_KMALLOC};
		return event->size_bytes < PAGE_BYTES - SLOB_MINALIGN;
	}
	const struct slob_cache *cache = slob_cache_of(follower->slob->heap.caches[event->cache]);
	*demand = (struct slob_demand){
		.size_bytes = cache->size_bytes, .align_bytes = cache->align_bytes, .cache = event->cache};
	return cache->size_bytes < PAGE_BYTES;
}

/* Where the rules would put it, with nothing changed: the page, NULL for a new one, and *unit. */
static struct slob_run *foresee(const struct slob_heap *slob, const struct slob_demand *demand, uint32_t *unit)
{
	const struct slob_run *head = &slob->list[list_of(demand->size_bytes)];
	uint32_t units = units_of(slob, demand->size_bytes);
	for (struct slob_run *run = head->next; run != head; run = run->next) {
		if (run->largest_units < units)
			continue;
		for (uint32_t at = run->first_free; at != run->total_units; at = free_next(slob, run, at)) {
			*unit = at + units_to_align(slob, at, demand);
			if (at + free_units(slob, run, at) >= *unit + units)
				return run;
		}
	}
	*unit = units_to_align(slob, 0, demand);
	return NULL;
}

/* A block at this unit of this page, which must be free there; the list is turned as it would be. */
static void put_at(struct follower *follower, struct slob_run *run, uint32_t unit, const struct slob_demand *demand)
{
	struct slob_heap *slob = follower->slob;
	uint32_t units = units_of(slob, demand->size_bytes), previous = SLOB_NONE;
	uint32_t at = run->free_units > 0 ? run->first_free : run->total_units;
	while (at != run->total_units && at + free_units(slob, run, at) < unit + units) {
		previous = at;
		at = free_next(slob, run, at);
	}
	if (at > unit)
		fail_msg("the kernel put %u units where no free block is", units);
	assert_true(reserve_record(slob, run));
	cut_block(slob, run, previous, at, unit - at, units);
	if (run->free_units > 0)
		list_rotate(&slob->list[run->list], run);
	record_block(slob, run, unit, demand);
	if (demand->cache != SLOB_KMALLOC)
		slob->heap.caches[demand->cache]->live++;
}

static void follow_alloc(struct follower *follower, const struct kmt_event *event)
{
	struct slob_heap *slob = follower->slob;
	struct slob_demand demand;
	struct object *object = &follower->objects[event->object];
	object->is_live = demand_of(follower, event, &demand);
	if (!object->is_live)
		return;
	uint64_t pfn = event->address >> PAGE_SHIFT;
	uint32_t unit = (uint32_t)((event->address % PAGE_BYTES - demand.offset_bytes) / slob->unit_bytes), foreseen;
	struct slob_run *run = follower->page_of[pfn];
	bool is_as_foreseen = foresee(slob, &demand, &foreseen) == run && foreseen == unit;
	follower->placed++;
	if (is_as_foreseen) {
		const struct kml_request request = {.size_bytes = event->size_bytes,
						    .recorded = KML_NO_ADDRESS,
						    .cache = event->cache == KMT_NO_CACHE ? KML_NO_CACHE : event->cache,
						    .flags = event->flags};
		struct kml_grant grant = object_alloc(&slob->heap.heap, &request);
		assert_int_equal(grant.status, KML_OK);
		struct slob_run *taken = kml_arena_page(follower->arena, grant.address)->owner;
		assert_true(!run || taken == run);
		assert_int_equal(grant.address % PAGE_BYTES, event->address % PAGE_BYTES);
		follower->page_of[pfn] = taken;
		object->address = grant.address;
		return;
	}
	if (!follower->follows)
		fail_msg("after %lu placements as the kernel's, one is not", (unsigned long)follower->placed - 1);
	follower->helped++;
	if (!run) {
		const struct kml_request request = {.cpu = event->cpu};
		enum kml_status status;
		run = add_page(slob, list_of(demand.size_bytes), &request, &status);
		assert_non_null(run);
		follower->page_of[pfn] = run;
	}
	put_at(follower, run, unit, &demand);
	object->address = run->address + unit * slob->unit_bytes + demand.offset_bytes;
}

/* The kernel's page is no more when the free gave ours back. */
static void forget_page(struct follower *follower, uint64_t recorded, uint64_t pages_before)
{
	if (follower->slob->pages < pages_before)
		follower->page_of[recorded >> PAGE_SHIFT] = NULL;
}

static void follow_free(struct follower *follower, const struct kmt_event *event)
{
	struct object *object = &follower->objects[event->object];
	uint64_t pages = follower->slob->pages;
	if (!object->is_live)
		return;
	if (event->op == KMT_RCU_FREE) {
		const struct kml_notice notice = {
			.kind = KML_NOTICE_RCU_FREE, .cache = KML_NO_CACHE, .address = object->address};
		object_notice(&follower->slob->heap.heap, &notice);
	} else {
		const struct kml_release release = {.address = object->address,
						    .cache = event->cache == KMT_NO_CACHE ? KML_NO_CACHE : event->cache,
						    .flags = event->flags};
		assert_int_equal(object_free(&follower->slob->heap.heap, &release), KML_OK);
	}
	forget_page(follower, event->address, pages);
}

/* The kernel's walk: lines `S pfn 0 slob units=free on_list=1` and, for each list, `L slob-small pfn=...`. */
static void compare_pages(struct follower *follower, const struct kmt_snapshot *snapshot)
{
	uint64_t pages = 0, listed = 0, ours_listed = 0;
	const char *const names[SLOB_LISTS] = {"slob-small", "slob-medium", "slob-large"};
	char *text = strdup(snapshot->text), *rest = text, name[32];
	unsigned long pfn;
	unsigned units;
	for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
		if (sscanf(line, "S 0x%lx 0 slob units=%u", &pfn, &units) == 2) {
			const struct slob_run *run = pfn < PFNS ? follower->page_of[pfn] : NULL;
			if (!run || run->free_units != units)
				fail_msg("%s: page 0x%lx has %u free units, here %d", snapshot->label, pfn, units,
					 run ? (int)run->free_units : -1);
			pages++;
		} else if (sscanf(line, "L %31s pfn=0x%lx", name, &pfn) == 2) {
			const struct slob_run *run = pfn < PFNS ? follower->page_of[pfn] : NULL;
			if (!run || run->free_units == 0 || strcmp(names[run->list], name) != 0)
				fail_msg("%s: page 0x%lx is not on %s here", snapshot->label, pfn, name);
			listed++;
		}
	}
	free(text);
	for (const struct slob_run *run = follower->slob->all.all_next; run != &follower->slob->all;
	     run = run->all_next)
		ours_listed += run->free_units > 0;
	assert_int_equal(pages, follower->slob->pages);
	assert_int_equal(listed, ours_listed);
	follower->snapshots++;
	follower->page_units_compared += pages;
}

static void follow(struct follower *follower)
{
	struct kmt_item item;
	struct kml_error error = {{0}};
	enum kmt_item_kind kind;
	while ((kind = kmt_next(follower->reader, &item, &error)) != KMT_ITEM_END) {
		if (kind == KMT_ITEM_ERROR)
			fail_msg("%s", error.text);
		if (kind == KMT_ITEM_SNAPSHOT && item.snapshot->kind == KMT_SNAPSHOT_SLABS)
			compare_pages(follower, item.snapshot);
		for (uint32_t i = 0; kind == KMT_ITEM_EVENTS && i < item.event_count; i++) {
			const struct kmt_event *event = &item.events[i];
			if (event->op != KMT_ALLOC && event->op != KMT_FREE && event->op != KMT_RCU_FREE)
				continue;
			assert_true(event->object < OBJECTS);
			if (event->cpu > 0 && !follower->follows)
				return;
			if (event->op == KMT_ALLOC)
				follow_alloc(follower, event);
			else
				follow_free(follower, event);
		}
	}
}

static void alone_every_placement_is_the_kernels(void **state)
{
	struct follower follower;
	(void)state;
	follower_open(&follower, false);
	follow(&follower);
	print_message("%lu placements until the second cpu runs: all as the kernel's\n",
		      (unsigned long)follower.placed);
	assert_true(follower.placed > 50000);
	follower_close(&follower);
}

static void followed_every_page_is_the_kernels(void **state)
{
	struct follower follower;
	(void)state;
	follower_open(&follower, true);
	follow(&follower);
	print_message("%lu placements, %lu decided otherwise by a race (%.2f %%); free units of %lu pages in %lu "
		      "snapshots equal\n",
		      (unsigned long)follower.placed, (unsigned long)follower.helped,
		      100.0 * (double)follower.helped / (double)follower.placed,
		      (unsigned long)follower.page_units_compared, (unsigned long)follower.snapshots);
	assert_true(follower.snapshots >= 12);
	assert_true(follower.helped * 40 <= follower.placed);
	follower_close(&follower);
}

/* ------------------------------------------------------------------------------------------------------ freely */

struct sums {
	uint64_t snapshots, pages, error_pages;
};

static bool compare_page_counts(void *context, const struct kmt_snapshot *snapshot, const struct kml_stack *stack,
				const struct kml_arena *arena)
{
	struct sums *sums = context;
	(void)arena;
	if (snapshot->kind != KMT_SNAPSHOT_SLABS)
		return true;
	const struct slob_heap *slob = slob_of(object_heap_of(kml_stack_top(stack)));
	uint64_t pages = 0;
	for (const char *at = snapshot->text; (at = strstr(at, " 0 slob units=")) != NULL; at++)
		pages++;
	uint64_t error_pages = pages > slob->pages ? pages - slob->pages : slob->pages - pages;
	print_message("%-14s %6lu pages, here %6lu: %.2f %%\n", snapshot->label, (unsigned long)pages,
		      (unsigned long)slob->pages, 100.0 * (double)error_pages / (double)pages);
	assert_true(error_pages * 50 <= pages);
	if (sums->snapshots++ > 0) {
		sums->pages += pages;
		sums->error_pages += error_pages;
	}
	return true;
}

static void freely_the_pages_are_within_half_a_percent(void **state)
{
	struct kml_error error = {{0}};
	struct sums sums = {0};
	struct replay_result result;
	(void)state;
	struct kmt_reader *reader = test_capture_open(&capture);
	struct kml_spec *spec = kml_spec_parse("slob/binary", &error);
	const struct replay_options options = {.level = REPLAY_OBJECTS, .seed = 1};
	if (!replay_run(reader, spec, &options, NULL, compare_page_counts, &sums, &result, &error))
		fail_msg("%s", error.text);
	print_message("all snapshots but the first: %.3f %% of pages\n",
		      100.0 * (double)sums.error_pages / (double)sums.pages);
	assert_true(sums.snapshots >= 12);
	assert_true(sums.error_pages * 200 <= sums.pages);
	kml_spec_free(spec);
	kmt_close(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(alone_every_placement_is_the_kernels),
		cmocka_unit_test(followed_every_page_is_the_kernels),
		cmocka_unit_test(freely_the_pages_are_within_half_a_percent),
	};
	return test_capture_run(tests, &capture, "linux-6.1-slob", "cache_params.tsv");
}
