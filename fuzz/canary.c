/*
 * canary.c - the Fibonacci buddy system with a bug: after two frees of equal blocks, with no allocation between, a
 * third one is answered with "ok" and forgotten. Three right operations in a row are needed before it, as in real bugs;
 * the shadow model or the final drain sees it.
 */
#include "fuzz/canary.h"

#include "allocators/registry.h"
#include "allocators/registry_internal.h"
#include "kmemlab/support/error.h"

enum { FREES_REMEMBERED = 2 };

static const struct kml_allocator *right; /* the allocator in which the bug is */
static struct kml_allocator canary;
static uint64_t last_bytes; /* of the blocks freed since the last allocation */
static uint32_t frees;

static struct kml_heap *canary_create(const struct kml_environment *environment, const void *config,
				      struct kml_error *error)
{
	struct kml_heap *heap = right->create(environment, config, error);
	if (heap)
		heap->allocator = &canary;
	frees = 0;
	return heap;
}

static struct kml_grant canary_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	frees = 0;
	return right->alloc(heap, request);
}

static enum kml_status canary_free(struct kml_heap *heap, const struct kml_release *release)
{
	uint64_t bytes = right->usable(heap, release->address);
	frees = bytes && bytes == last_bytes ? frees + 1 : 1;
	last_bytes = bytes;
	return bytes && frees > FREES_REMEMBERED ? KML_OK : right->free(heap, release);
}

const char *fuzz_canary_register(void)
{
	if (right)
		return canary.name;
	right = kml_registry_find("fibonacci");
	KML_CHECK(right, "no allocator 'fibonacci' to put the bug in");
	canary = *right;
	canary.name = "canary";
	canary.title = "An allocator with a bug";
	canary.create = canary_create;
	canary.alloc = canary_alloc;
	canary.free = canary_free;
	KML_CHECK(kml_registry_add(&canary), "the registry is full");
	return canary.name;
}
