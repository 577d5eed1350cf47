/*
 * nop.c - hands out the next addresses, round and round, and keeps nothing: the cost of the harness itself.
 *
 * Cost: O(1), one cursor. It holds no block, so it takes nothing from the arena, its figures stay those of an empty
 * arena, and blocks overlap once the cursor has come round (traits NO_MEMORY and NO_REUSE).
 */
#include <inttypes.h>
#include <stdlib.h>

#include "allocators/allocator.h"
#include "allocators/arena.h"
#include "kmemlab/support/error.h"

#define NOP_UNIT_BYTES 16u

extern const struct kml_allocator kml_nop;

struct nop_heap {
	struct kml_heap heap;
	uint64_t size_bytes; /* of the arena, in whole units */
	uint64_t cursor;
};

static struct kml_heap *nop_create(const struct kml_environment *environment, const void *config,
				   struct kml_error *error)
{
	(void)config;
	uint64_t size_bytes = environment->arena->size_bytes & ~(uint64_t)(NOP_UNIT_BYTES - 1);
	struct nop_heap *nop = size_bytes == 0 ? NULL : calloc(1, sizeof(*nop));
	if (nop == NULL) {
		kml_fail(error, "an arena of %" PRIu64 " bytes: use at least %u", environment->arena->size_bytes,
			 NOP_UNIT_BYTES);
		return NULL;
	}
	nop->heap.allocator = &kml_nop;
	nop->size_bytes = size_bytes;
	return &nop->heap;
}

static void nop_destroy(struct kml_heap *heap)
{
	free(heap);
}

static struct kml_grant nop_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	struct nop_heap *nop = (struct nop_heap *)heap;
	uint64_t align_bytes = request->align_bytes > NOP_UNIT_BYTES ? request->align_bytes : NOP_UNIT_BYTES;
	bool is_power_of_two = (align_bytes & (align_bytes - 1)) == 0;
	if (request->size_bytes == 0 || request->size_bytes > nop->size_bytes || !is_power_of_two)
		return kml_refuse(KML_IMPOSSIBLE);

	uint64_t granted_bytes = (request->size_bytes + NOP_UNIT_BYTES - 1) & ~(uint64_t)(NOP_UNIT_BYTES - 1);
	uint64_t past_bytes = nop->cursor & (align_bytes - 1);
	uint64_t gap_bytes = past_bytes == 0 ? 0 : align_bytes - past_bytes;
	uint64_t left_bytes = nop->size_bytes - nop->cursor;
	uint64_t address =
		gap_bytes > left_bytes || granted_bytes > left_bytes - gap_bytes ? 0 : nop->cursor + gap_bytes;
	nop->cursor = address + granted_bytes;
	return (struct kml_grant){.address = address, .granted_bytes = granted_bytes};
}

static enum kml_status nop_free(struct kml_heap *heap, const struct kml_release *release)
{
	const struct nop_heap *nop = (const struct nop_heap *)heap;
	return release->address < nop->size_bytes ? KML_OK : KML_FOREIGN;
}

static uint64_t nop_usable(const struct kml_heap *heap, uint64_t address)
{
	(void)heap;
	(void)address;
	return 0;
}

static void nop_stats(const struct kml_heap *heap, struct kml_stats *stats)
{
	const struct nop_heap *nop = (const struct nop_heap *)heap;
	*stats = (struct kml_stats){
		.free_bytes = nop->size_bytes, .largest_free_bytes = nop->size_bytes, .metadata_bytes = sizeof(*nop)};
}

static uint32_t nop_free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	const struct nop_heap *nop = (const struct nop_heap *)heap;
	areas[0] = (struct kml_free_area){.block_bytes = nop->size_bytes, .count = 1};
	return 1;
}

static void nop_walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	const struct nop_heap *nop = (const struct nop_heap *)heap;
	const struct kml_block whole = {.size_bytes = nop->size_bytes, .state = KML_BLOCK_FREE, .owner = KML_NO_CACHE};
	visit(context, &whole);
}

static bool nop_validate(const struct kml_heap *heap, struct kml_error *error)
{
	const struct nop_heap *nop = (const struct nop_heap *)heap;
	if (nop->cursor > nop->size_bytes)
		return kml_fail(error, "cursor %" PRIu64 " is outside the arena of %" PRIu64, nop->cursor,
				nop->size_bytes);
	return true;
}

const struct kml_allocator kml_nop = {
	.abi_version = KML_ABI_VERSION,
	.name = "nop",
	.title = "No allocator",
	.citation = "kmemlab: the floor of every timing table",
	.summary = "hands out the next address and keeps nothing; O(1)",
	.layer = KML_LAYER_PAGES,
	.traits = KML_TRAIT_NO_MEMORY | KML_TRAIT_NO_REUSE,
	.create = nop_create,
	.destroy = nop_destroy,
	.alloc = nop_alloc,
	.free = nop_free,
	.usable = nop_usable,
	.stats = nop_stats,
	.free_areas = nop_free_areas,
	.walk = nop_walk,
	.validate = nop_validate,
};
