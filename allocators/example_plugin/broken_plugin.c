/*
 * broken_plugin.c - plugins that must be refused, one fault each; BROKEN_... chooses it at build time. See
 * plugin_test.c.
 */
#include <stddef.h>

#include "allocators/allocator.h"

static struct kml_heap *never_create(const struct kml_environment *environment, const void *config,
				     struct kml_error *error)
{
	(void)environment;
	(void)config;
	(void)error;
	return NULL;
}

static void never_destroy(struct kml_heap *heap)
{
	(void)heap;
}

static struct kml_grant never_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	(void)heap;
	(void)request;
	return (struct kml_grant){.status = KML_IMPOSSIBLE, .address = KML_NO_ADDRESS};
}

static enum kml_status never_free(struct kml_heap *heap, const struct kml_release *release)
{
	(void)heap;
	(void)release;
	return KML_FOREIGN;
}

static uint64_t never_usable(const struct kml_heap *heap, uint64_t address)
{
	(void)heap;
	(void)address;
	return 0;
}

static void never_stats(const struct kml_heap *heap, struct kml_stats *stats)
{
	(void)heap;
	(void)stats;
}

static uint32_t never_free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	(void)heap;
	(void)areas;
	return 0;
}

static bool never_validate(const struct kml_heap *heap, struct kml_error *error)
{
	(void)heap;
	(void)error;
	return true;
}

#ifndef BROKEN_OPERATION
static void never_walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	(void)heap;
	(void)visit;
	(void)context;
}
#endif

static const struct kml_allocator broken = {
#ifdef BROKEN_VERSION
	.abi_version = KML_ABI_VERSION + 1,
#else
	.abi_version = KML_ABI_VERSION,
#endif
#if defined(BROKEN_DUPLICATE)
	.name = "first_fit",
#elif defined(BROKEN_NAME)
	.name = "Has Blanks",
#else
	.name = "broken",
#endif
	.title = "Never anything",
#ifndef BROKEN_DESCRIPTION
	.citation = "nobody",
#endif
	.summary = "grants nothing",
	.layer = KML_LAYER_PAGES,
	.create = never_create,
	.destroy = never_destroy,
	.alloc = never_alloc,
	.free = never_free,
	.usable = never_usable,
	.stats = never_stats,
	.free_areas = never_free_areas,
#ifndef BROKEN_OPERATION
	.walk = never_walk,
#endif
	.validate = never_validate,
};

#ifdef BROKEN_SYMBOL
#define EXPORTED some_other_name
#else
#define EXPORTED kml_plugin_allocators
#endif
extern const struct kml_allocator *const EXPORTED[];
const struct kml_allocator *const EXPORTED[] = {
#ifdef BROKEN_EMPTY
	NULL,
#endif
	&broken,
#ifdef BROKEN_TWICE
	&broken,
#endif
	NULL};
