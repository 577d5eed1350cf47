/*
 * interrupted.c - allocations that came before the interrupt which is traced before them.
 *
 * An allocation is traced after it happened. An interrupt in between may run soft interrupts, in which RCU frees many
 * objects: their events then stand before that of the allocation, and a replay would allocate from what was not free
 * yet. The longer path of an allocation works with interrupts off, so one that was waiting comes just then.
 *
 * Only what the addresses prove is put back, in front of the events of the interrupt. Proofs, by mm/slub.c:
 *   page     the slab was taken by the event right before the interrupt: slab_page_alloc is a step of the allocation
 *   cpu slab the interrupt freed on the slab from which this cpu was allocating, and the allocation gets none of the
 *            objects freed there: they are the first on the cpu's list
 *   partial  the interrupt freed of a full slab, which put this slab at the head of the cpu's partial list, and the
 *            allocation takes another new slab
 * Only for streams that name every slab page and every free, from boot on, of kernels with SLUB. O(n), 9 bytes an
 * event.
 */
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/internal.h"

/* Events of one interrupt that are looked through: more than RCU runs callbacks in one go, and a bound for damage. */
enum { LOOK_BACK_MAX = 4096 };

struct known_slab {
	uint32_t name; /* of its cache */
	uint32_t live;
	uint64_t size_bytes, slot_bytes;
};

/* What interrupts a task on a cpu. */
struct burst {
	uint32_t begin; /* IMPORT_NONE: nothing does */
	uint32_t before, last;
	uint8_t task;
};

struct move {
	uint32_t event, to;
};

struct reorder {
	struct import *import;
	struct kml_hashmap slab_of_pfn;
	struct kml_hashmap cpu_slab; /* cpu and cache -> slab last allocated from */
	IMPORT_VECTOR(struct known_slab) slabs;
	IMPORT_VECTOR(struct move) moves;
	uint32_t *slab_of, *before_on_cpu; /* by event */
	bool *was_full;                    /* frees: the slab was */
	uint32_t *last_on_cpu;
	struct burst *bursts; /* by cpu */
};

static bool is_alloc(const struct stored_event *event)
{
	return event->kind == RAW_KMALLOC || event->kind == RAW_CACHE_ALLOC;
}

static bool is_free(const struct stored_event *event)
{
	return event->kind == RAW_KFREE || event->kind == RAW_CACHE_FREE;
}

static bool out_of_memory(struct kml_error *error)
{
	return kml_fail(error, "out of memory while looking for interrupted allocations");
}

/* SLOB has no slabinfo; SLAB tells of its drains. */
static bool applies(const struct import *import)
{
	bool has_slab_pages = false, has_slabinfo = false;

	for (uint32_t i = 0; i < import->events.count; i++) {
		if (import->events.items[i].kind == RAW_SLAB_DRAIN)
			return false;
		has_slab_pages = has_slab_pages || import->events.items[i].kind == RAW_SLAB_PAGE_ALLOC;
	}
	for (uint32_t i = 0; i < import->snapshots.count; i++)
		has_slabinfo = has_slabinfo || import->snapshots.items[i].kind == KMT_SNAPSHOT_SLABINFO;
	return has_slab_pages && has_slabinfo && import->origin.at_boot && import->origin.direct_map_base != 0;
}

/* ---------------------------------------------------------------------------------------------- slabs */

static bool see_slab(struct reorder *reorder, uint32_t index, struct kml_error *error)
{
	const struct stored_event *event = &reorder->import->events.items[index];
	uint64_t pages = 1ull << event->order;

	if (!import_reserve(&reorder->slabs, error))
		return false;
	reorder->slab_of[index] = reorder->slabs.count;
	for (uint64_t page = 0; page < pages; page++) {
		if (!kml_hashmap_set(&reorder->slab_of_pfn, event->place + page, reorder->slabs.count))
			return out_of_memory(error);
	}
	reorder->slabs.items[reorder->slabs.count++] = (struct known_slab){
		.name = event->name,
		.size_bytes = pages * import_page_bytes(reorder->import),
	};
	return true;
}

static uint32_t slab_at(const struct reorder *reorder, uint64_t pointer)
{
	return kml_hashmap_get(&reorder->slab_of_pfn, import_pfn(reorder->import, pointer));
}

static uint64_t cpu_slab_key(const struct reorder *reorder, const struct stored_event *event, uint32_t slab)
{
	return (uint64_t)event->cpu << 32 | reorder->slabs.items[slab].name;
}

/* -------------------------------------------------------------------------------------------- proofs */

static bool is_of_cache(const struct reorder *reorder, uint32_t index, uint32_t name)
{
	uint32_t slab = reorder->slab_of[index];

	return slab != KML_HASHMAP_NONE && reorder->slabs.items[slab].name == name;
}

/* What the interrupt did to the cache on this cpu contradicts the allocation. Looked through from its end. */
static bool is_contradicted(const struct reorder *reorder, const struct burst *burst, uint32_t index, uint32_t slab)
{
	const struct stored_event *events = reorder->import->events.items;
	uint32_t name = reorder->slabs.items[slab].name;
	uint32_t cpu_slab = kml_hashmap_get(&reorder->cpu_slab, cpu_slab_key(reorder, &events[index], slab));
	bool freed_on_cpu_slab = false, freed_of_full = false;
	uint32_t newest_partial = KML_HASHMAP_NONE, i = burst->last;

	for (uint32_t steps = 0; steps < LOOK_BACK_MAX; steps++) {
		if (is_of_cache(reorder, i, name)) {
			/* The interrupt allocated too, so the cpu's slab is another one; or freed this very object. */
			if (!is_free(&events[i]) || events[i].place == events[index].place)
				return false;
			freed_on_cpu_slab = freed_on_cpu_slab || reorder->slab_of[i] == cpu_slab;
			if (!freed_of_full && reorder->was_full[i])
				newest_partial = reorder->slab_of[i];
			freed_of_full = freed_of_full || reorder->was_full[i];
		}
		if (i == burst->begin)
			return freed_on_cpu_slab || (freed_of_full && slab != cpu_slab && slab != newest_partial);
		i = reorder->before_on_cpu[i];
	}
	return false;
}

static bool took_the_page_before(const struct reorder *reorder, const struct burst *burst, uint32_t slab)
{
	const struct stored_event *events = reorder->import->events.items;
	uint32_t before = burst->before;

	return before != IMPORT_NONE && events[before].kind == RAW_SLAB_PAGE_ALLOC && events[before].depth == 0 &&
	       events[before].task == burst->task && reorder->slab_of[before] == slab;
}

/* ------------------------------------------------------------------------------------------ one pass */

/* The events of an interrupt go on, or a task's event ends them. *moved: it belongs before them. */
static bool follow_interrupts(struct reorder *reorder, uint32_t index, bool *moved, struct kml_error *error)
{
	const struct stored_event *event = &reorder->import->events.items[index];
	struct burst *burst = &reorder->bursts[event->cpu];

	*moved = false;
	if (event->depth > 0) {
		if (burst->begin == IMPORT_NONE || burst->task != event->task)
			*burst = (struct burst){
				.begin = index, .before = reorder->last_on_cpu[event->cpu], .task = event->task};
		burst->last = index;
		return true;
	}
	uint32_t slab = reorder->slab_of[index];
	*moved = burst->begin != IMPORT_NONE && burst->task == event->task && is_alloc(event) &&
		 slab != KML_HASHMAP_NONE &&
		 (took_the_page_before(reorder, burst, slab) || is_contradicted(reorder, burst, index, slab));
	if (!*moved) {
		burst->begin = IMPORT_NONE;
		return true;
	}
	if (!import_reserve(&reorder->moves, error))
		return false;
	reorder->moves.items[reorder->moves.count++] = (struct move){index, burst->begin};
	return true;
}

static bool follow_object(struct reorder *reorder, uint32_t index, struct kml_error *error)
{
	const struct stored_event *event = &reorder->import->events.items[index];
	uint32_t slab = reorder->slab_of[index];

	if (slab == KML_HASHMAP_NONE)
		return true;
	struct known_slab *known = &reorder->slabs.items[slab];
	if (is_free(event)) {
		reorder->was_full[index] = (known->live + 1) * known->slot_bytes > known->size_bytes;
		known->live -= known->live > 0;
		return true;
	}
	known->live++;
	known->slot_bytes = event->bytes_allocated; /* of SLUB: with the padding */
	return kml_hashmap_set(&reorder->cpu_slab, cpu_slab_key(reorder, event, slab), slab) || out_of_memory(error);
}

static bool follow(struct reorder *reorder, uint32_t index, struct kml_error *error)
{
	const struct stored_event *event = &reorder->import->events.items[index];
	bool moved;

	reorder->slab_of[index] = KML_HASHMAP_NONE;
	if (event->kind == RAW_SLAB_PAGE_ALLOC && !see_slab(reorder, index, error))
		return false;
	if (is_alloc(event) || is_free(event))
		reorder->slab_of[index] = slab_at(reorder, event->place);
	if (!follow_interrupts(reorder, index, &moved, error))
		return false;
	if (!moved) {
		reorder->before_on_cpu[index] = reorder->last_on_cpu[event->cpu];
		reorder->last_on_cpu[event->cpu] = index;
	}
	return event->kind == RAW_SLAB_PAGE_ALLOC || follow_object(reorder, index, error);
}

/* ------------------------------------------------------------------------------------------- the order */

static int by_place(const void *a, const void *b)
{
	const struct move *left = a, *right = b;

	if (left->to != right->to)
		return left->to < right->to ? -1 : 1;
	return left->event < right->event ? -1 : left->event > right->event;
}

/* Every moved event to its place, with the time of the event that it now comes before. */
static bool apply(struct reorder *reorder, struct kml_error *error)
{
	struct import *import = reorder->import;
	uint32_t count = import->events.count, filled = 0, move = 0;
	struct stored_event *from = import->events.items, *to = calloc(count, sizeof(*to));

	if (to == NULL)
		return out_of_memory(error);
	qsort(reorder->moves.items, reorder->moves.count, sizeof(struct move), by_place);
	bool *moved = reorder->was_full; /* no longer needed */
	memset(moved, 0, count * sizeof(*moved));
	for (uint32_t i = 0; i < reorder->moves.count; i++)
		moved[reorder->moves.items[i].event] = true;
	for (uint32_t i = 0; i < count; i++) {
		for (; move < reorder->moves.count && reorder->moves.items[move].to == i; move++) {
			to[filled] = from[reorder->moves.items[move].event];
			to[filled++].time_ns = from[i].time_ns;
		}
		if (!moved[i])
			to[filled++] = from[i];
	}
	KML_CHECK(filled == count, "%u events of %u have a place", filled, count);
	free(from);
	import->events.items = to;
	import->events.capacity = count;
	import_count(import, KMT_QUIRK_OUT_OF_ORDER, reorder->moves.count);
	return true;
}

static bool start(struct reorder *reorder, struct kml_error *error)
{
	uint32_t count = reorder->import->events.count, cpus = reorder->import->origin.cpu_count;

	reorder->slab_of = calloc(count, sizeof(*reorder->slab_of));
	reorder->before_on_cpu = calloc(count, sizeof(*reorder->before_on_cpu));
	reorder->was_full = calloc(count, sizeof(*reorder->was_full));
	reorder->last_on_cpu = calloc(cpus, sizeof(*reorder->last_on_cpu));
	reorder->bursts = calloc(cpus, sizeof(*reorder->bursts));
	if (reorder->slab_of == NULL || reorder->before_on_cpu == NULL || reorder->was_full == NULL ||
	    reorder->last_on_cpu == NULL || reorder->bursts == NULL)
		return out_of_memory(error);
	for (uint32_t cpu = 0; cpu < cpus; cpu++) {
		reorder->last_on_cpu[cpu] = IMPORT_NONE;
		reorder->bursts[cpu].begin = IMPORT_NONE;
	}
	return true;
}

bool import_order_interrupted(struct import *import, struct kml_error *error)
{
	struct reorder reorder = {.import = import};

	if (!applies(import))
		return true;
	bool done = start(&reorder, error);
	for (uint32_t i = 0; done && i < import->events.count; i++)
		done = follow(&reorder, i, error);
	if (done && reorder.moves.count > 0)
		done = apply(&reorder, error);
	kml_hashmap_free(&reorder.slab_of_pfn);
	kml_hashmap_free(&reorder.cpu_slab);
	free(reorder.slabs.items);
	free(reorder.moves.items);
	free(reorder.slab_of);
	free(reorder.before_on_cpu);
	free(reorder.was_full);
	free(reorder.last_on_cpu);
	free(reorder.bursts);
	return done;
}
