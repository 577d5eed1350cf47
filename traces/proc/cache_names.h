/*
 * cache_names.h - what the name of a kernel's cache tells of it (mm/slab_common.c: kmalloc_info, new_kmalloc_cache).
 */
#ifndef KMEMLAB_PROC_CACHE_NAMES_H
#define KMEMLAB_PROC_CACHE_NAMES_H

#include <stdbool.h>

/* A size class of kmalloc: "kmalloc-64", "kmalloc-cg-1k", "dma-kmalloc-8"; "size-64", "size-64(DMA)" of SLAB
 * before 3.9. */
bool cache_name_is_kmalloc(const char *name);

/* A size class of kmalloc for reclaimable memory: "kmalloc-rcl-64". */
bool cache_name_is_kmalloc_reclaimable(const char *name);

#endif
