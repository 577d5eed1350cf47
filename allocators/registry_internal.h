/* registry_internal.h - how plugin.c puts what it loaded into the table of registry.c. */
#ifndef KMEMLAB_REGISTRY_INTERNAL_H
#define KMEMLAB_REGISTRY_INTERNAL_H

#include <stdbool.h>

#include "allocators/allocator.h"

/* Append; false when the table is full. The caller has checked that the name is new. */
bool kml_registry_add(const struct kml_allocator *allocator);

#endif
