/*
 * malloc_calls.h - what the tracers of a C library's malloc have in common: calls of malloc, realloc and free to
 * raw events.
 *
 *   malloc, calloc, memalign   a request by size, of no cache (calloc: zeroed; memalign: aligned)
 *   free                       of NULL nothing happened [null_free]
 *   realloc                    the new block is allocated, then the old one is freed - also where the pointer stayed:
 *                              who cannot grow a block in place must hold both while it copies (the kernel's
 *                              krealloc, mm/slab_common.c). Of NULL it is a malloc; to size 0, when NULL came
 *                              back, a free; one that failed leaves the old block as it was
 *   a call that gave NULL      allocated nothing [failed_alloc]
 *
 * Pointers are a process's own: they tell blocks apart and are no addresses of physical memory.
 */
#ifndef KMEMLAB_IMPORT_MALLOC_CALLS_H
#define KMEMLAB_IMPORT_MALLOC_CALLS_H

#include "kmemlab/support/hashmap.h"
#include "traces/import/import.h"

/* 2^47: beyond what any program maps on most machines, and a size with its sign wrong. */
#define MALLOC_BYTES_MAX (1ull << 47)

/* Zero-initialised but for the import. */
struct malloc_calls {
	struct import *import;
	struct kml_hashmap moved; /* pointers whose block was reallocated in place, an odd number of times */
};

struct malloc_call {
	uint64_t time_ns;
	uint64_t pointer;     /* 0: it failed */
	uint64_t size_bytes;  /* below MALLOC_BYTES_MAX */
	uint64_t align_bytes; /* at most MALLOC_BYTES_MAX, rounded up to a power of two as memalign does; 0: none */
	uint16_t cpu;
	bool zeroed;
};

/* false and *error when memory is exhausted. */
bool malloc_calls_alloc(struct malloc_calls *calls, const struct malloc_call *call, struct kml_error *error);
bool malloc_calls_free(struct malloc_calls *calls, uint64_t time_ns, uint16_t cpu, uint64_t pointer,
		       struct kml_error *error);
bool malloc_calls_realloc(struct malloc_calls *calls, const struct malloc_call *call, uint64_t old_pointer,
			  struct kml_error *error);
void malloc_calls_destroy(struct malloc_calls *calls);

/* count * size, below MALLOC_BYTES_MAX; false when it is not. */
bool malloc_calls_product(uint64_t count, uint64_t size_bytes, uint64_t *bytes);

#endif
