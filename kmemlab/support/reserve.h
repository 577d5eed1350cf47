/*
 * reserve.h - zeroed memory of which only touched pages cost: tables as large as the arena they describe.
 *
 * A large reservation is address space from the kernel: O(1) whatever its size, a page fault for each page touched. A
 * small one is memory of this process that is kept for the next reservation of its size class, so that a test or a
 * fuzzer that makes and destroys a small heap thousands of times a second needs no system call and no page fault for
 * it: it costs the zeroing, about a microsecond for 32 KiB. What is kept is bounded.
 *
 * Threads: none, like the rest of the project.
 */
#ifndef KMEMLAB_RESERVE_H
#define KMEMLAB_RESERVE_H

#include <stdint.h>

/* Memory of size_bytes (at least 1), all zero, aligned for every type. NULL and errno when it is not to be had. */
void *kml_reserve(uint64_t size_bytes);
/* Its end; size_bytes as it was reserved. NULL is nothing. */
void kml_unreserve(void *memory, uint64_t size_bytes);
/* The same for memory that the user left all zero: the next to get it is spared the zeroing. */
void kml_unreserve_zero(void *memory, uint64_t size_bytes);

#endif
