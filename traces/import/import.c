/*
 * import.c - the store of raw events that every source fills, and the order of the steps that resolve it.
 *
 * Cost: 48 bytes a raw event while reading, about 110 in all while resolving; O(n log n) only when events came out of
 * order, else O(n).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "traces/import/internal.h"
#include "traces/import/series.h"
#include "traces/kmt/format.h"

/* 52 bits of physical address less 12 of the page: beyond any architecture. */
#define PFN_MAX (1ull << 40)

struct import *import_create(const struct import_options *options)
{
	struct import *import = calloc(1, sizeof(*import));

	if (import == NULL)
		return NULL;
	if (options != NULL)
		import->options = *options;
	import->origin.source = import->origin.kernel = import->origin.command = NULL;
	return import;
}

static void free_texts(char **texts, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(texts[i]);
	free(texts);
}

void import_destroy(struct import *import)
{
	if (import == NULL)
		return;
	free((char *)import->origin.source);
	free((char *)import->origin.kernel);
	free((char *)import->origin.command);
	free((char *)import->origin.clock);
	free((char *)import->origin.note);
	free(import->events.items);
	for (uint32_t i = 0; i < import->snapshots.count; i++) {
		free(import->snapshots.items[i].label);
		free(import->snapshots.items[i].text);
	}
	free(import->snapshots.items);
	free_texts(import->warnings.items, import->warnings.count);
	free_texts(import->names.items, import->names.count);
	kml_hashmap_free(&import->name_of);
	free(import->caches.items);
	kml_hashmap_free(&import->cache_of_name);
	kml_hashmap_free(&import->cache_of_class);
	kml_hashmap_free(&import->cache_of_size);
	free(import->lifetimes.items);
	free(import->actions.items);
	free(import->warm.items);
	free(import->unseen);
	kml_hashmap_free(&import->lifetime_of_pointer);
	import_pages_destroy(&import->pages);
	series_destroy(import->series);
	free(import->series_file);
	free(import);
}

static void set_text(const char **text, const char *value)
{
	if (value == NULL)
		return;
	char *copy = strdup(value);
	if (copy == NULL)
		return;
	free((char *)*text);
	*text = copy;
}

void import_set_origin(struct import *import, const struct kmt_origin *origin)
{
	set_text(&import->origin.source, origin->source);
	set_text(&import->origin.kernel, origin->kernel);
	set_text(&import->origin.command, origin->command);
	set_text(&import->origin.clock, origin->clock);
	set_text(&import->origin.note, origin->note);
	if (origin->cpu_count != 0)
		import->origin.cpu_count = origin->cpu_count;
	if (origin->page_bytes != 0)
		import->origin.page_bytes = origin->page_bytes;
	if (origin->start_ns != 0)
		import->origin.start_ns = origin->start_ns;
	if (origin->direct_map_base != 0)
		import->origin.direct_map_base = origin->direct_map_base;
	import->origin.at_boot = import->origin.at_boot || origin->at_boot;
}

bool import_reserve_items(void **items, uint32_t count, uint32_t *capacity, size_t size, struct kml_error *error)
{
	if (count < *capacity)
		return true;
	if (*capacity >= 1u << 31)
		return kml_fail(error, "the trace has more than 2^31 items; split it and import the parts");
	uint32_t wanted = *capacity == 0 ? 64 : *capacity * 2;
	void *bigger = realloc(*items, wanted * size);
	if (bigger == NULL)
		return kml_fail(error, "out of memory at %u items of the trace; split it and import the parts", count);
	*items = bigger;
	*capacity = wanted;
	return true;
}

uint32_t import_name(struct import *import, const char *text, size_t length, struct kml_error *error)
{
	/* Texts whose hashes meet take the next keys. */
	for (uint64_t key = XXH3_64bits(text, length);; key++) {
		uint32_t index = kml_hashmap_get(&import->name_of, key);

		if (index == KML_HASHMAP_NONE) {
			char *copy = strndup(text, length);
			if (copy == NULL || !kml_hashmap_set(&import->name_of, key, import->names.count) ||
			    !import_reserve(&import->names, error)) {
				free(copy);
				kml_fail(error, "out of memory");
				return IMPORT_NONE;
			}
			import->names.items[import->names.count] = copy;
			return import->names.count++;
		}
		const char *known = import->names.items[index];
		if (strncmp(known, text, length) == 0 && known[length] == '\0')
			return index;
	}
}

bool import_name_is(const struct import *import, uint32_t name, const char *text)
{
	return name != IMPORT_NONE && strcmp(import->names.items[name], text) == 0;
}

static bool is_page_kind(enum raw_kind kind)
{
	return kind == RAW_PAGE_ALLOC || kind == RAW_PAGE_FREE || kind == RAW_SLAB_PAGE_ALLOC ||
	       kind == RAW_SLAB_PAGE_FREE;
}

/* Events that the resolving needs not see are counted and not stored. */
static bool only_counted(struct import *import, const struct raw_event *event)
{
	switch (event->kind) {
	case RAW_PAGE_FREE_BATCHED:
		import_count(import, KMT_QUIRK_BATCHED_FREE, 1);
		return true;
	case RAW_LOST:
		import_count(import, KMT_QUIRK_LOST, event->bytes_requested);
		return true;
	case RAW_OTHER:
		return true;
	default:
		return false;
	}
}

/* The buddy system hands out naturally aligned blocks only. */
static bool is_aligned(uint64_t pfn, uint32_t order)
{
	return (pfn & ((1ull << order) - 1)) == 0;
}

/* A mark's text is no name. */
static bool has_long_name(const struct raw_event *event)
{
	return event->kind != RAW_MARK && event->name &&
	       strnlen(event->name, KMT_NAME_BYTES_MAX + 1) > KMT_NAME_BYTES_MAX;
}

/* A block of pages that the buddy system can give; an object that ends before addresses do; a name that a trace holds,
 * which is ten times as long as any of the kernel's. */
static bool is_possible(const struct raw_event *event)
{
	if (has_long_name(event))
		return false;
	if (is_page_kind(event->kind))
		return (KML_PLANTED(import_order_unchecked) || event->order <= IMPORT_ORDER_MAX) &&
		       event->pfn < PFN_MAX && is_aligned(event->pfn, event->order);
	if (event->kind != RAW_CACHE_ALLOC && event->kind != RAW_KMALLOC)
		return true;
	uint64_t room_bytes = UINT64_MAX - event->pointer;
	return event->bytes_requested <= room_bytes && event->bytes_allocated <= room_bytes;
}

bool import_add_event(struct import *import, const struct raw_event *event, struct kml_error *error)
{
	if (only_counted(import, event))
		return true;
	bool is_page = is_page_kind(event->kind);
	if (event->cpu >= KMT_CPUS_MAX || !is_possible(event)) {
		import_count(import, KMT_QUIRK_MALFORMED, 1);
		return true;
	}
	if (!import_reserve(&import->events, error))
		return false;
	uint32_t name = IMPORT_NONE;
	if (event->name != NULL) {
		name = import_name(import, event->name, strlen(event->name), error);
		if (name == IMPORT_NONE)
			return false;
	}
	import->events.items[import->events.count++] = (struct stored_event){
		.time_ns = event->time_ns,
		.place = is_page ? event->pfn : event->pointer,
		.bytes_requested = event->bytes_requested,
		.bytes_allocated = event->bytes_allocated,
		.call_site = event->call_site == 0 ? 0 : (uint32_t)kml_hash64(event->call_site) | 1u,
		.name = name,
		.cpu = event->cpu,
		.kind = (uint8_t)event->kind,
		.order = (uint8_t)event->order,
		.gfp = (uint8_t)event->gfp,
		.migrate_type = event->migrate_type > INT8_MAX ? INT8_MAX : (int8_t)event->migrate_type,
		.accounted = event->accounted,
		.cross_node = event->cross_node,
		.depth = event->depth,
		.task = event->task,
	};
	import->has_page_events = import->has_page_events || is_page;
	return true;
}

bool import_add_cache(struct import *import, const struct kmt_cache *cache, struct kml_error *error)
{
	uint32_t name = import_name(import, cache->name, strlen(cache->name), error);
	uint16_t index;

	if (name == IMPORT_NONE || !import_cache_named(import, name, &index, error))
		return false;
	const char *kept = import->caches.items[index].name;
	import->caches.items[index] = *cache;
	import->caches.items[index].name = kept;
	return true;
}

bool import_add_snapshot(struct import *import, enum kmt_snapshot_kind kind, uint64_t time_ns, const char *label,
			 const char *text, size_t text_bytes, struct kml_error *error)
{
	if (!import_reserve(&import->snapshots, error))
		return false;
	struct stored_snapshot snapshot = {
		.kind = kind,
		.time_ns = time_ns,
		.order = import->snapshots.count,
		.label = strdup(label),
		.text = malloc(text_bytes + 1),
		.text_bytes = text_bytes,
	};
	if (snapshot.label == NULL || snapshot.text == NULL) {
		free(snapshot.label);
		free(snapshot.text);
		return kml_fail(error, "out of memory");
	}
	memcpy(snapshot.text, text, text_bytes);
	snapshot.text[text_bytes] = '\0';
	import->snapshots.items[import->snapshots.count++] = snapshot;
	return true;
}

void import_count(struct import *import, enum kmt_quirk quirk, uint64_t count)
{
	import->totals.quirks[quirk] += count;
}

bool import_is_strict(const struct import *import)
{
	return import->options.strict;
}

bool import_is_quiet(const struct import *import)
{
	return import->options.quiet;
}

void import_warn(struct import *import, const char *format, ...)
{
	struct kml_error ignored = {0};
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	for (uint32_t i = 0; i < import->warnings.count; i++) {
		if (strcmp(import->warnings.items[i], text) == 0)
			return;
	}
	char *copy = strdup(text);
	if (copy == NULL || !import_reserve(&import->warnings, &ignored)) {
		free(copy);
		return;
	}
	import->warnings.items[import->warnings.count++] = copy;
}

const char *import_warning(const struct import *import, uint32_t index)
{
	return index < import->warnings.count ? import->warnings.items[index] : NULL;
}

void import_pointers_are_names(struct import *import)
{
	import->pointers_hashed = true;
}

void import_pointers_are_hashed(struct import *import)
{
	import_pointers_are_names(import);
	import_warn(import,
		    "the trace holds hashes in place of pointers: objects are told apart, but where they lay is "
		    "not known; record with `echo 0 > options/hash-ptr` in tracefs, or boot with "
		    "no_hash_pointers");
}

/* Strict: the trace must be complete, so each of these is an error. */
static bool check_strict(const struct import *import, struct kml_error *error)
{
	static const enum kmt_quirk missing[] = {
		KMT_QUIRK_LOST,          KMT_QUIRK_UNMATCHED_FREE, KMT_QUIRK_IMPLICIT_FREE, KMT_QUIRK_CACHE_UNKNOWN,
		KMT_QUIRK_UNKNOWN_EVENT, KMT_QUIRK_MALFORMED,      KMT_QUIRK_UNTRACED_ALLOC};
	char counts[256] = "";
	size_t used = 0;

	if (!import->options.strict)
		return true;
	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
		uint64_t count = import->totals.quirks[missing[i]];
		if (count != 0 && used < sizeof(counts))
			used += (size_t)snprintf(counts + used, sizeof(counts) - used, "%s%s %llu",
						 used == 0 ? "" : ", ", kmt_quirk_name(missing[i]),
						 (unsigned long long)count);
	}
	if (used == 0)
		return true;
	return kml_fail(error,
			"the trace is not complete (%s); without --strict it is imported with these handled by "
			"rule",
			counts);
}

/* Texts that no source knew. */
static void complete_origin(struct import *import)
{
	struct kmt_origin *origin = &import->origin;
	uint32_t cpus = origin->cpu_count;

	for (uint32_t i = 0; i < import->events.count; i++) {
		if (import->events.items[i].cpu >= cpus)
			cpus = import->events.items[i].cpu + 1u;
	}
	origin->cpu_count = cpus == 0 ? 1 : cpus > KMT_CPUS_MAX ? KMT_CPUS_MAX : cpus;
	const char **texts[] = {&origin->source, &origin->kernel, &origin->command, &origin->clock, &origin->note};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (*texts[i] == NULL)
			set_text(texts[i], "");
	}
}

/* The writer counts; what it counted is in the file. */
static bool read_totals(struct import *import, const char *path, struct kml_error *error)
{
	struct kmt_reader *reader = kmt_open(path, error);

	if (reader == NULL)
		return false;
	import->totals = *kmt_reader_totals(reader);
	kmt_close(reader);
	return true;
}

bool import_is_series(const struct import *import)
{
	for (uint32_t i = 0; i < import->snapshots.count && import->events.count == 0; i++) {
		if (import->snapshots.items[i].kind == KMT_SNAPSHOT_SLABINFO)
			return true;
	}
	return false;
}

bool import_resolve(struct import *import, struct kml_error *error)
{
	if (import->events.count == 0 && import->snapshots.count == 0)
		return kml_fail(error, "nothing to import: no kmem event and no snapshot was found; record the events "
				       "kmem:kmalloc, kfree, kmem_cache_alloc, kmem_cache_free, mm_page_alloc and "
				       "mm_page_free");
	if (!import_sort(import, error))
		return false;
	if (import_is_series(import))
		set_text(&import->origin.source, "slabinfo series");
	complete_origin(import);
	import_find_page_size(import);
	if (import_is_series(import))
		return series_resolve(import, error) && check_strict(import, error);
	import_find_direct_map(import);
	bool settled = import_order_interrupted(import, error) && import_place_snapshots(import, error) &&
		       import_caches_from_slabinfo(import, error) && import_pair(import, error) &&
		       import_settle_caches(import, error) && import_complete_caches(import, error);
	return settled && import_warm_unseen(import, error) && import_perf_sums(import, error) &&
	       check_strict(import, error);
}

bool import_write(struct import *import, const char *path, struct kml_error *error)
{
	return import_resolve(import, error) && import_write_kmt(import, path, error) &&
	       read_totals(import, path, error);
}

const struct kmt_totals *import_totals(const struct import *import)
{
	return &import->totals;
}
