/*
 * systems.h - the buddy systems, for the files that define them; the registry declares them for everybody else.
 */
#ifndef KMEMLAB_BUDDY_SYSTEMS_H
#define KMEMLAB_BUDDY_SYSTEMS_H

#include "allocators/allocator.h"

extern const struct kml_allocator kml_binary;
extern const struct kml_allocator kml_dual;
extern const struct kml_allocator kml_fibonacci;
extern const struct kml_allocator kml_kary;
extern const struct kml_allocator kml_tertiary;
extern const struct kml_allocator kml_weighted;

#endif
