/*
 * registry.c - the one table of allocators. A new allocator is one file and one line here; conformance tests, fuzzers,
 * benchmarks, `kmemlab list` and the figures then have it with no further work.
 */
#include "allocators/registry.h"

#include <string.h>

#include "allocators/registry_internal.h"

/* X(name): the allocator's file defines `const struct kml_allocator kml_NAME`. Alphabetical. */
/* clang-format off */
#define KML_ALLOCATORS(X) \
	X(best_fit) X(binary) X(dual) X(fibonacci) X(first_fit) X(kary) X(nop) X(recorded) X(slab) X(slob) X(slub) \
	X(solaris) X(tertiary) X(weighted)
/* clang-format on */

#define DECLARE(name) extern const struct kml_allocator kml_##name;
KML_ALLOCATORS(DECLARE)
#define ENTRY(name) &kml_##name,

enum { ALLOCATORS_MAX = 256 };
static const struct kml_allocator *allocators[ALLOCATORS_MAX] = {KML_ALLOCATORS(ENTRY) NULL};

const struct kml_allocator *const *kml_registry(size_t *count)
{
	size_t n = 0;
	while (allocators[n])
		n++;
	*count = n;
	return allocators;
}

const struct kml_allocator *kml_registry_find(const char *name)
{
	for (size_t i = 0; allocators[i]; i++)
		if (strcmp(allocators[i]->name, name) == 0)
			return allocators[i];
	return NULL;
}

bool kml_registry_add(const struct kml_allocator *allocator)
{
	size_t count;
	kml_registry(&count);
	if (count + 1 >= ALLOCATORS_MAX)
		return false;
	allocators[count] = allocator;
	return true;
}
