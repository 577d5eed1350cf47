/* registry_internal.h - how plugin.c puts what it loaded into the table of registry.c. */
#ifndef KMEMLAB_REGISTRY_INTERNAL_H
#define KMEMLAB_REGISTRY_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "allocators/allocator.h"

/* Append; false when the table is full. The caller has checked that the name is new. */
bool kml_registry_add(const struct kml_allocator *allocator);

/* Is the allocator at this place of a plugin's list, those before it being sound, fit to be added? Its parameters too:
 * what the parser of specs does with them stays inside the configuration. */
bool kml_plugin_check(const char *path, const struct kml_allocator *const *exported, size_t place,
		      struct kml_error *error);

#endif
