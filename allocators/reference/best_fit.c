/*
 * best_fit.c - best fit: the smallest free block that is big enough, the lowest of equals.
 *
 * Knuth, TAOCP 1, section 2.5 (the best-fit method). Heap, cost and invariants: heap.c.
 */
#include "allocators/reference/heap.h"

extern const struct kml_allocator kml_best_fit;

static struct kml_heap *best_fit_create(const struct kml_environment *environment, const void *config,
					struct kml_error *error)
{
	struct kml_heap *heap = fit_create(environment, config, FIT_BY_SIZE, error);
	if (heap != NULL)
		heap->allocator = &kml_best_fit;
	return heap;
}

const struct kml_allocator kml_best_fit = {
	.abi_version = KML_ABI_VERSION,
	.name = "best_fit",
	.title = "Best fit, address-ordered",
	.citation = "Knuth, The Art of Computer Programming, volume 1, section 2.5, 1968",
	.summary = "the smallest free block that is big enough, the lowest of equals; immediate coalescing; O(log n)",
	.layer = KML_LAYER_PAGES,
	.params = fit_params,
	.config_bytes = sizeof(struct fit_config),
	.create = best_fit_create,
	.destroy = fit_destroy,
	.alloc = fit_alloc,
	.free = fit_free,
	.usable = fit_usable,
	.stats = fit_stats,
	.free_areas = fit_free_areas,
	.walk = fit_walk,
	.validate = fit_validate,
};
