/*
 * recorded.h - what `recorded` knows of each cache, to be held against the kernel's own /proc/slabinfo.
 */
#ifndef KMEMLAB_RECORDED_H
#define KMEMLAB_RECORDED_H

#include <stdint.h>

#include "allocators/allocator.h"

/* Pages of the slabs of one cache now; KML_NO_CACHE: slabs and objects of unknown geometry. The heap is a `recorded`.
 */
uint64_t recorded_slab_pages(const struct kml_heap *heap, uint32_t cache);
/* Objects and blocks that lie in the annex: their recorded place was unknown or taken. */
uint64_t recorded_annex_blocks(const struct kml_heap *heap);

#endif
