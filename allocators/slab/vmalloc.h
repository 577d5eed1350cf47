/*
 * vmalloc.h - memory page by page, made contiguous by mapping: the front end for KML_VMALLOC.
 *
 * Pages are taken from the backing one at a time, wherever they lie, and mapped into one run of addresses in the window
 * behind the arena (arena.h), so that base + address works over the whole area; after each area a page is left without
 * access, so that a stray access faults (mm/vmalloc.c: __vmalloc_node_range, VM_AREA with its guard page). It needs
 * free pages, never a free run.
 *
 *      arena   | p2 |    | p0 |   | p1 |     |     window    guard | p0 p1 p2 | guard | ...
 *                                            ^ arena.size_bytes  ^ the area's address
 *
 * Areas lie at the lowest address where they and their guard page fit, as in the kernel (find_vmap_lowest_match).
 *
 * For object_heap.c:
 *   - a request with KML_VMALLOC goes to vmalloc_alloc, whatever else it names;
 *   - an address from arena.size_bytes on belongs here: vmalloc_free, vmalloc_usable (KML_FOREIGN, 0 for all others);
 *   - pages of areas carry the owner VMALLOC_OWNER in the page map, so that they are not taken for the caller's or for
 *     a strategy's: a free there is KML_INTERIOR, usable 0, and a walk leaves them out of the arena and shows the
 *     areas, in address order, after it: vmalloc_walk;
 *   - the books are kept here; all pages of an area are granted to the caller;
 *   - vmalloc_validate and vmalloc_destroy, which may be called when nothing was ever asked.
 *
 * Cost: O(pages of the area + areas) per alloc, O(pages of the area + areas) per free; 16 bytes a page beside the
 * arena; two mappings of the process a run of pages that are apart.
 */
#ifndef KMEMLAB_SLAB_VMALLOC_H
#define KMEMLAB_SLAB_VMALLOC_H

#include "allocators/slab/object_heap.h"

/* The owner in the page map of a page that is mapped into an area. */
#define VMALLOC_OWNER ((void *)(uintptr_t)&vmalloc_owner)
extern const char vmalloc_owner;

static inline bool vmalloc_owns(const struct object_heap *heap, uint64_t address)
{
	return address >= heap->arena->size_bytes;
}

/* On failure everything taken is given back. KML_IMPOSSIBLE: more pages than the arena has, an alignment the window
 * cannot have, or no window (arena.h). */
struct kml_grant vmalloc_alloc(struct object_heap *heap, const struct kml_request *request);
/* Every page goes back to the backing; the addresses have no memory from here on. */
enum kml_status vmalloc_free(struct object_heap *heap, const struct kml_release *release);
uint64_t vmalloc_usable(const struct object_heap *heap, uint64_t address);

/* The areas in address order, granted; false when the visitor stopped. */
bool vmalloc_walk(const struct object_heap *heap, kml_visit *visit, void *context);
bool vmalloc_validate(const struct object_heap *heap, struct kml_error *error);
/* The pages are left to the backing, which is destroyed next; the arena's mapping is as it was. */
void vmalloc_destroy(struct object_heap *heap);

#endif
