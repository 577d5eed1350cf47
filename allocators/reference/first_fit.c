/*
 * first_fit.c - address-ordered first fit: the lowest free block that is big enough.
 *
 * Knuth, TAOCP 1, section 2.5, algorithm A, with the rest left in place. Heap, cost and invariants: heap.c.
 */
#include "allocators/reference/heap.h"

extern const struct kml_allocator kml_first_fit;

static struct kml_heap *first_fit_create(const struct kml_environment *environment, const void *config,
					 struct kml_error *error)
{
	struct kml_heap *heap = fit_create(environment, config, FIT_BY_ADDRESS, error);
	if (heap != NULL)
		heap->allocator = &kml_first_fit;
	return heap;
}

const struct kml_allocator kml_first_fit = {
	.abi_version = KML_ABI_VERSION,
	.name = "first_fit",
	.title = "First fit, address-ordered",
	.citation = "Knuth, The Art of Computer Programming, volume 1, section 2.5, 1968",
	.summary = "the lowest free block that is big enough; immediate coalescing; O(log n)",
	.layer = KML_LAYER_PAGES,
	.params = fit_params,
	.config_bytes = sizeof(struct fit_config),
	.create = first_fit_create,
	.destroy = fit_destroy,
	.alloc = fit_alloc,
	.free = fit_free,
	.usable = fit_usable,
	.stats = fit_stats,
	.free_areas = fit_free_areas,
	.walk = fit_walk,
	.validate = fit_validate,
};
