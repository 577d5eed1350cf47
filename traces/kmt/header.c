/*
 * header.c - the first and the last block of a .kmt: origin and cache table, and the totals.
 *
 * A compact binary of varints and texts; field order is the format (traces/README.md).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "traces/kmt/format.h"

static const uint32_t cache_flags_known =
	KMT_CACHE_CONSTRUCTOR | KMT_CACHE_TYPESAFE_BY_RCU | KMT_CACHE_RECLAIMABLE | KMT_CACHE_KMALLOC;

/* ------------------------------------------------------------------------------------------------ header */

static bool text_check(const char *what, const char *text, size_t limit, struct kml_error *error)
{
	if (!text)
		return kml_fail(error, "%s is missing: give \"\" where it is unknown", what);
	if (strnlen(text, limit + 1) > limit)
		return kml_fail(error, "%s is longer than %zu bytes: shorten it", what, limit);
	return true;
}

static bool cache_check(const struct kmt_cache *cache, uint32_t index, struct kml_error *error)
{
	char what[32];
	snprintf(what, sizeof what, "the name of cache %u", index);
	if (!text_check(what, cache->name, KMT_NAME_BYTES_MAX, error))
		return false;
	if (cache->flags & ~cache_flags_known)
		return kml_fail(error, "cache %u (%s) has unknown flags 0x%x", index, cache->name, cache->flags);
	return true;
}

bool kmt_header_check(const struct kmt_origin *origin, const struct kmt_cache *caches, uint32_t count,
		      struct kml_error *error)
{
	if (!text_check("the origin's source", origin->source, KMT_TEXT_BYTES_MAX, error) ||
	    !text_check("the origin's kernel", origin->kernel, KMT_TEXT_BYTES_MAX, error) ||
	    !text_check("the origin's command", origin->command, KMT_TEXT_BYTES_MAX, error) ||
	    !text_check("the origin's clock", origin->clock, KMT_TEXT_BYTES_MAX, error) ||
	    !text_check("the origin's note", origin->note, KMT_TEXT_BYTES_MAX, error))
		return false;
	if (origin->cpu_count < 1 || origin->cpu_count > KMT_CPUS_MAX)
		return kml_fail(error, "the origin has %u cpus: 1 to %u are possible", origin->cpu_count, KMT_CPUS_MAX);
	uint32_t page = origin->page_bytes;
	if (page < 4096 || page > 65536 || (page & (page - 1)))
		return kml_fail(error, "the origin has pages of %u bytes: a power of two from 4096 to 65536 is needed",
				page);
	if (count > KMT_CACHES_MAX)
		return kml_fail(error, "%u caches: at most %u are possible", count, KMT_CACHES_MAX);
	for (uint32_t i = 0; i < count; i++)
		if (!cache_check(&caches[i], i, error))
			return false;
	return true;
}

void kmt_header_encode(struct kmt_bytes *out, const struct kmt_origin *origin, const struct kmt_cache *caches,
		       uint32_t count)
{
	kmt_put_text(out, origin->source);
	kmt_put_text(out, origin->kernel);
	kmt_put_text(out, origin->command);
	kmt_put_text(out, origin->clock);
	kmt_put_text(out, origin->note);
	kmt_put_varint(out, origin->cpu_count);
	kmt_put_varint(out, origin->page_bytes);
	kmt_put_varint(out, origin->start_ns);
	kmt_put_varint(out, origin->direct_map_base);
	kmt_put_u8(out, origin->at_boot);
	kmt_put_varint(out, count);
	for (uint32_t i = 0; i < count; i++) {
		const struct kmt_cache *cache = &caches[i];
		kmt_put_text(out, cache->name);
		kmt_put_varint(out, cache->object_bytes);
		kmt_put_varint(out, cache->slot_bytes);
		kmt_put_varint(out, cache->align_bytes);
		kmt_put_varint(out, cache->objects_per_slab);
		kmt_put_varint(out, cache->pages_per_slab);
		kmt_put_varint(out, cache->slabs_at_start);
		kmt_put_varint(out, cache->objects_at_start);
		kmt_put_varint(out, cache->flags);
	}
	if (origin->arena_bytes)
		kmt_put_varint(out, origin->arena_bytes);
}

static uint32_t get_u32(struct kmt_bytes *in)
{
	uint64_t value = kmt_get_varint(in);
	if (value > UINT32_MAX)
		in->bad = true;
	return (uint32_t)value;
}

static void cache_decode(struct kmt_bytes *in, struct kmt_cache *cache)
{
	cache->name = kmt_get_text(in, KMT_NAME_BYTES_MAX);
	cache->object_bytes = kmt_get_varint(in);
	cache->slot_bytes = kmt_get_varint(in);
	cache->align_bytes = kmt_get_varint(in);
	cache->objects_per_slab = get_u32(in);
	cache->pages_per_slab = get_u32(in);
	cache->slabs_at_start = kmt_get_varint(in);
	cache->objects_at_start = kmt_get_varint(in);
	cache->flags = get_u32(in);
}

bool kmt_header_decode(struct kmt_bytes *in, struct kmt_origin *origin, struct kmt_cache **caches, uint32_t *count,
		       struct kml_error *error)
{
	*caches = NULL;
	*count = 0;
	origin->source = kmt_get_text(in, KMT_TEXT_BYTES_MAX);
	origin->kernel = kmt_get_text(in, KMT_TEXT_BYTES_MAX);
	origin->command = kmt_get_text(in, KMT_TEXT_BYTES_MAX);
	origin->clock = kmt_get_text(in, KMT_TEXT_BYTES_MAX);
	origin->note = kmt_get_text(in, KMT_TEXT_BYTES_MAX);
	origin->cpu_count = get_u32(in);
	origin->page_bytes = get_u32(in);
	origin->start_ns = kmt_get_varint(in);
	origin->direct_map_base = kmt_get_varint(in);
	uint8_t at_boot = kmt_get_u8(in);
	origin->at_boot = at_boot == 1;
	uint32_t cache_count = get_u32(in);
	if (in->bad || at_boot > 1)
		return kml_fail(error, "the origin is damaged");
	if (!KML_PLANTED(kmt_cache_count_unchecked) && cache_count > KMT_CACHES_MAX)
		return kml_fail(error, "%u caches: at most %u are possible", cache_count, KMT_CACHES_MAX);
	*caches = calloc(cache_count + 1, sizeof **caches);
	if (!*caches)
		return kml_fail(error, "memory exhausted");
	for (; *count < cache_count && !in->bad; (*count)++)
		cache_decode(in, &(*caches)[*count]);
	if (in->bad)
		return kml_fail(error, "the cache table is damaged at cache %u of %u", *count - 1, cache_count);
	origin->arena_bytes = in->at < in->used ? kmt_get_varint(in) : 0;
	if (in->bad || in->at != in->used)
		return kml_fail(error, "%zu bytes too many behind the cache table", in->used - in->at);
	return kmt_header_check(origin, *caches, *count, error);
}

void kmt_header_free(struct kmt_origin *origin, struct kmt_cache *caches, uint32_t count)
{
	free((char *)origin->source);
	free((char *)origin->kernel);
	free((char *)origin->command);
	free((char *)origin->clock);
	free((char *)origin->note);
	for (uint32_t i = 0; i < count; i++)
		free((char *)caches[i].name);
	free(caches);
}

/* ------------------------------------------------------------------------------------------------ footer */

/* The members of the totals in the order of the file; counts of ops and quirks go before them. */
static size_t totals_members(struct kmt_totals *totals, uint64_t ops, uint64_t quirks, uint64_t **members)
{
	uint64_t *const single[] = {
		&totals->events,
		&totals->warm_events,
		&totals->objects,
		&totals->duration_ns,
		&totals->snapshots,
		&totals->top_address,
		&totals->perf_requested_bytes,
		&totals->perf_allocated_bytes,
		&totals->perf_freed_bytes,
		&totals->perf_allocations,
		&totals->perf_cross_cpu,
	};
	size_t count = 0;
	for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
		members[count++] = single[i];
	for (size_t i = 0; i < ops; i++)
		members[count++] = &totals->op_events[i];
	for (size_t i = 0; i < quirks; i++)
		members[count++] = &totals->quirks[i];
	return count;
}

void kmt_footer_encode(struct kmt_bytes *out, const struct kmt_totals *totals)
{
	struct kmt_totals copy = *totals;
	uint64_t *members[sizeof copy / sizeof(uint64_t)];
	size_t count = totals_members(&copy, KMT_OP_COUNT, KMT_QUIRK_COUNT, members);
	kmt_put_varint(out, KMT_OP_COUNT);
	kmt_put_varint(out, KMT_QUIRK_COUNT);
	for (size_t i = 0; i < count; i++)
		kmt_put_varint(out, *members[i]);
}

bool kmt_footer_decode(struct kmt_bytes *in, struct kmt_totals *totals, struct kml_error *error)
{
	uint64_t *members[sizeof *totals / sizeof(uint64_t)];
	uint64_t ops = kmt_get_varint(in), quirks = kmt_get_varint(in);
	if (in->bad || ops > KMT_OP_COUNT || quirks > KMT_QUIRK_COUNT)
		return kml_fail(error, "the totals count other operations or quirks than this version knows");
	/* An older file knows fewer of both: of the others it has none. */
	memset(totals->op_events, 0, sizeof totals->op_events);
	memset(totals->quirks, 0, sizeof totals->quirks);
	size_t count = totals_members(totals, ops, quirks, members);
	for (size_t i = 0; i < count; i++)
		*members[i] = kmt_get_varint(in);
	if (in->bad || in->at != in->used)
		return kml_fail(error, "the totals are damaged");
	return true;
}
