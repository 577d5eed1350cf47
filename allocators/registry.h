/*
 * registry.h - the one table of allocators, spec strings and stacks.
 *
 * A spec is `name[:param=value[,param=value]...]`, layers joined by '/', the top one first:
 *   slub:profile=linux-6.18/binary:max_order=10     slab/fibonacci     binary:unit=16,policy=fifo
 * An OBJECTS allocator without a layer below it stands on `binary`.
 */
#ifndef KMEMLAB_REGISTRY_H
#define KMEMLAB_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"
#include "allocators/arena.h"

/* All allocators, built in (alphabetical) then plugins; *count is set. Borrowed. */
const struct kml_allocator *const *kml_registry(size_t *count);
/* NULL when there is none of that name. */
const struct kml_allocator *kml_registry_find(const char *name);
/* Load a shared object and register what it exports; false and *error when it cannot be. Never unloaded. */
bool kml_registry_load_plugin(const char *path, struct kml_error *error);

#define KML_STACK_LAYERS 2u

/* A parsed spec: allocators and their configurations, ready to be created any number of times. */
struct kml_spec {
	char text[256]; /* as the user wrote it: the name in every table and figure */
	uint32_t layer_count;
	const struct kml_allocator *layer[KML_STACK_LAYERS]; /* top first */
	void *config[KML_STACK_LAYERS];
};

/* NULL and *error, with the nearest known name, when the text is no spec. The caller frees it. */
struct kml_spec *kml_spec_parse(const char *text, struct kml_error *error);
void kml_spec_free(struct kml_spec *spec);
/* The traits of the top layer. */
uint32_t kml_spec_traits(const struct kml_spec *spec);

/* Sizes such as 4096, 64k, 1M, 2GiB (powers of 1024). false when the text is not wholly a size or overflows. */
bool kml_parse_size(const char *text, uint64_t *size_bytes);

/* A living stack over an arena that it does not own. */
struct kml_stack {
	struct kml_heap *layer[KML_STACK_LAYERS]; /* top first */
	uint32_t layer_count;
};

/*
 * Create every layer, the lowest first. environment.backing is filled in; environment.unit_bytes 0 means auto: 16 for
 * a PAGES allocator that stands alone, the page size below another. false and *error, nothing left, on failure.
 */
bool kml_stack_create(struct kml_stack *stack, const struct kml_spec *spec, const struct kml_environment *environment,
		      struct kml_error *error);
void kml_stack_destroy(struct kml_stack *stack);

/* The heap that callers use. */
static inline struct kml_heap *kml_stack_top(const struct kml_stack *stack)
{
	return stack->layer[0];
}

#endif
