/*
 * heap.h - the heap that first fit and best fit share: they differ in the order of the tree of free blocks only.
 */
#ifndef KMEMLAB_REFERENCE_HEAP_H
#define KMEMLAB_REFERENCE_HEAP_H

#include "allocators/allocator.h"

/* A request takes the first sufficient block in this order. */
enum fit_order {
	FIT_BY_ADDRESS, /* first fit */
	FIT_BY_SIZE,    /* best fit; the lowest address among equals */
};

struct fit_config {
	uint64_t unit_bytes; /* 0 (auto): environment.unit_bytes */
};
extern const struct kml_param fit_params[];

/* The operations of struct kml_allocator; fit_create is wrapped with the order. */
struct kml_heap *fit_create(const struct kml_environment *environment, const void *config, enum fit_order order,
			    struct kml_error *error);
void fit_destroy(struct kml_heap *heap);
struct kml_grant fit_alloc(struct kml_heap *heap, const struct kml_request *request);
enum kml_status fit_free(struct kml_heap *heap, const struct kml_release *release);
uint64_t fit_usable(const struct kml_heap *heap, uint64_t address);
void fit_stats(const struct kml_heap *heap, struct kml_stats *stats);
uint32_t fit_free_areas(const struct kml_heap *heap, struct kml_free_area *areas);
void fit_walk(const struct kml_heap *heap, kml_visit *visit, void *context);
bool fit_validate(const struct kml_heap *heap, struct kml_error *error);

#endif
