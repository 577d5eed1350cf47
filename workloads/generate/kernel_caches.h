/*
 * kernel_caches.h - caches of a real kernel, for the scenarios: geometry of Linux 6.18 x86-64 (SLUB, two cpus), from
 * its /sys/kernel/slab.
 */
#ifndef KMEMLAB_KERNEL_CACHES_H
#define KMEMLAB_KERNEL_CACHES_H

#include "workloads/generate/generate.h"

enum kernel_cache {
	KERNEL_ANON_VMA,
	KERNEL_ANON_VMA_CHAIN,
	KERNEL_BUFFER_HEAD,
	KERNEL_CRED,
	KERNEL_DENTRY,
	KERNEL_EXT4_INODE,
	KERNEL_FILES,
	KERNEL_FILP,
	KERNEL_FS,
	KERNEL_LSM_FILE,
	KERNEL_LSM_INODE,
	KERNEL_MAPLE_NODE,
	KERNEL_MM,
	KERNEL_NAMES,
	KERNEL_PID,
	KERNEL_RADIX_TREE_NODE,
	KERNEL_REQUEST_SOCK_TCP,
	KERNEL_SIGHAND,
	KERNEL_SIGNAL,
	KERNEL_SKBUFF_HEAD,
	KERNEL_SKBUFF_SMALL_HEAD,
	KERNEL_SOCK_INODE,
	KERNEL_TASK,
	KERNEL_TCP,
	KERNEL_TW_SOCK_TCP,
	KERNEL_VMA,
	KERNEL_CACHES
};

/* In `start`: all of them, in the order of the enumeration, so that a cache is 1 + its number in generate_ask. */
void kernel_caches_tell(struct generate *generate);

/* An object of a cache. */
static inline generate_id kernel_alloc(struct generate *generate, enum kernel_cache cache, uint16_t cpu)
{
	const struct generate_ask ask = {.cache = 1 + (uint32_t)cache, .cpu = cpu};
	return generate_alloc(generate, &ask);
}

/* 2^order pages; of the page cache and of processes KML_MOVABLE. */
static inline generate_id kernel_pages(struct generate *generate, uint8_t order, uint16_t flags, uint16_t cpu)
{
	const struct generate_ask ask = {.is_pages = true, .order = order, .flags = flags, .cpu = cpu};
	return generate_alloc(generate, &ask);
}

/* kmalloc() of a size. */
static inline generate_id kernel_kmalloc(struct generate *generate, uint64_t size_bytes, uint16_t cpu)
{
	const struct generate_ask ask = {.size_bytes = size_bytes, .flags = KML_KMALLOC, .cpu = cpu};
	return generate_alloc(generate, &ask);
}

#endif
