/*
 * zone.h - the binary buddy system as Linux 6.1 runs it in a zone (mm/page_alloc.c): Linux mode of `binary`.
 *
 * Knowlton's system with four things around it, each of which can be had alone:
 *   - free lists: what a split leaves goes to the head of its list; what is freed goes to the tail when the buddy of
 *     the next larger block is free, so that it can go on merging (buddy_merge_likely);
 *   - percpu: blocks of order 0 to 3 are taken and given back in batches through lists of each cpu (struct
 *     per_cpu_pages; M. Gorman, "mm/page_alloc: Allow high-order pages to be stored on the per-cpu lists", Linux 5.14);
 *   - migrate: unmovable, movable and reclaimable blocks have lists of their own; page blocks belong to a type; an
 *     empty type steals from another, largest block first (M. Gorman & A. Whitcroft, The what, the why and the where
 *     to of anti-fragmentation, Linux Symposium 2006);
 *   - watermarks: a reserve of free pages that only atomic requests may dip into (__zone_watermark_ok).
 *
 * A "page" here is the unit of the buddy system.
 *
 * Cost: alloc and free O(orders), a batch of per-cpu pages now and then; stealing looks at one page block. 16 bytes a
 * page in reserved address space, touched at the first page of a block only, 16 a list head, 1 a page block. Whole
 * blocks of the largest order that were never used (`fresh`) have no descriptor; they stand at the tail of their list.
 *
 * Invariants (zone_validate): blocks tile the memory that was given; no two free buddies stay apart, unless one of them
 * is reserved for atomic requests; lists, counts and totals are those of a walk.
 */
#ifndef KMEMLAB_BUDDY_ZONE_H
#define KMEMLAB_BUDDY_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/allocator.h"
#include "allocators/arena.h"

enum {
	ZONE_ORDERS_MAX = 32,
	ZONE_COSTLY_ORDER = 3,           /* PAGE_ALLOC_COSTLY_ORDER: larger blocks bypass the cpu lists */
	ZONE_LINUX_MAX_ORDER = 10,       /* MAX_ORDER - 1 */
	ZONE_LINUX_PAGE_BLOCK_ORDER = 9, /* pageblock_order of x86-64: a huge page */
};

/* enum migratetype of include/linux/mmzone.h. */
enum zone_type {
	ZONE_UNMOVABLE,
	ZONE_MOVABLE,
	ZONE_RECLAIMABLE,
	ZONE_CPU_TYPES, /* MIGRATE_PCPTYPES: those above have lists on the cpus */
	ZONE_HIGHATOMIC = ZONE_CPU_TYPES,
	ZONE_TYPES
};

enum { ZONE_CPU_LISTS = ZONE_CPU_TYPES * (ZONE_COSTLY_ORDER + 1) };

/* Zero-filled memory reads as "no block starts here". */
enum zone_state { ZONE_INSIDE, ZONE_FREE, ZONE_GRANTED, ZONE_CACHED };

/* struct page: the first of each block is in use. */
struct zone_page {
	uint32_t next, prev; /* FREE, CACHED: on a list, circular through its head */
	uint8_t state;       /* enum zone_state */
	uint8_t order;
	uint8_t type;  /* FREE: of the list it is on; CACHED: of the list it goes back to */
	bool movable;  /* GRANTED: asked for as movable */
	uint16_t cpu;  /* CACHED */
	uint16_t list; /* CACHED: which of the cpu's */
};
_Static_assert(sizeof(struct zone_page) == 16, "a descriptor is 16 bytes");

/* struct per_cpu_pages; its lists have their heads behind the descriptors. */
struct zone_cpu {
	uint64_t pages; /* on all its lists */
	uint32_t free_factor;
};

enum zone_mark { ZONE_MARK_MIN, ZONE_MARK_LOW, ZONE_MARK_HIGH, ZONE_MARKS };

/* What the parameters say. */
struct zone_rules {
	uint64_t page_bytes;       /* a power of two */
	uint32_t max_order;        /* of the largest block */
	uint32_t page_block_order; /* at most max_order */
	bool linux_lists;          /* else last freed, first granted */
	bool percpu, migrate, watermarks;
	uint64_t boot_requests; /* starts empty: the cpu lists open after so many; 0: when memory comes late */
};

struct zone {
	struct kml_heap heap;
	struct kml_arena *arena;
	struct zone_rules rules;
	uint32_t page_shift;

	struct zone_page *pages; /* a descriptor a page, then the heads of the lists */
	uint64_t page_count;     /* descriptors of pages; the arena's last whole page ends them */
	uint64_t head_count;
	uint8_t *block_types;                             /* of each page block, XOR initial_type */
	uint64_t first_page, end_page;                    /* spanned by the memory given */
	uint64_t fresh_page, fresh_end;                   /* never used blocks of the largest order */
	uint32_t largest_order;                           /* any block of the whole memory has */
	enum zone_type initial_type;                      /* of every page block */
	bool grouping;                                    /* page_group_by_mobility_disabled is false */
	bool starts_empty;                                /* memory comes by zone_page_add */
	bool has_begun, is_up;                            /* the first request has come; the cpu lists are open */
	uint64_t boot_requests;                           /* requests and frees until then */
	uint64_t nonempty[ZONE_TYPES];                    /* a bit an order */
	uint64_t free_count[ZONE_ORDERS_MAX][ZONE_TYPES]; /* fresh ones included */

	struct zone_cpu *cpus;
	uint32_t cpu_count;
	uint64_t batch, high; /* struct per_cpu_pages: the same on every cpu */

	uint64_t mark[ZONE_MARKS];
	uint64_t managed_pages;
	uint64_t free_pages, cached_pages, granted_pages; /* in blocks of each state */
	uint64_t highatomic_pages;                        /* reserved for atomic requests (nr_reserved_highatomic) */
	uint64_t block_count;                             /* descriptors in use */
	uint64_t splits, merges;
};

#define ZONE_NO_PAGE UINT64_MAX

/* ------------------------------------------------------------------------------------ free lists (zone.c) */

/* The list of a free area; of a cpu. */
uint64_t zone_free_list(const struct zone *zone, uint32_t order, enum zone_type type);
uint64_t zone_cpu_list(const struct zone *zone, uint32_t cpu, uint32_t list);
void zone_list_add(struct zone *zone, uint64_t page, uint64_t head);
void zone_list_add_tail(struct zone *zone, uint64_t page, uint64_t head);
void zone_list_remove(struct zone *zone, uint64_t page);

enum zone_type zone_block_type(const struct zone *zone, uint64_t page);
/* set_pageblock_migratetype */
void zone_set_block_type(struct zone *zone, uint64_t page, enum zone_type type);
/* Put a block that is on no list on a free list; at_tail or at the head. */
void zone_add_free(struct zone *zone, uint64_t page, uint32_t order, enum zone_type type, bool at_tail);
/* __free_one_page: merge, then to the list of the type; to_tail: at boot. Gives the pages back to the arena. */
void zone_free_block(struct zone *zone, uint64_t page, uint32_t order, enum zone_type type, bool to_tail);
/* __rmqueue: from the type's own lists, else from another's. Takes the pages from the arena. ZONE_NO_PAGE: none. */
uint64_t zone_take_block(struct zone *zone, uint32_t order, enum zone_type type);
/* __rmqueue_smallest: from the type's own lists only. */
uint64_t zone_take_smallest(struct zone *zone, uint32_t order, enum zone_type type);
/* move_freepages_block: the free pages of the page block go to the lists of the type; their number. *movable is that of
 * granted pages that can be migrated. */
uint64_t zone_move_free_pages(struct zone *zone, uint64_t page, enum zone_type type, uint64_t *movable);
/* A page block whose type has changed: if it is one free block, it may merge with its buddy now. */
void zone_merge_again(struct zone *zone, uint64_t page);

/* ---------------------------------------------------------------------------------- cpu lists (zone_cpu.c) */

/* zone_batchsize, zone_highsize: once the memory and the marks are known. */
void zone_size_cpu_lists(struct zone *zone, uint32_t online_cpus);
/* rmqueue_pcplist; ZONE_NO_PAGE: none. The order is at most ZONE_COSTLY_ORDER. */
uint64_t zone_cpu_take(struct zone *zone, uint32_t cpu, uint32_t order, enum zone_type type);
/* free_unref_page */
void zone_cpu_give(struct zone *zone, uint32_t cpu, uint64_t page, uint32_t order);
/* drain_pages_zone */
void zone_cpu_drain(struct zone *zone, uint32_t cpu);

/* -------------------------------------------------------------------- watermarks, requests (zone_request.c) */

/* init_per_zone_wmark_min, __setup_per_zone_wmarks */
void zone_set_marks(struct zone *zone);
/* get_page_from_freelist and __alloc_pages_slowpath; ZONE_NO_PAGE: refused. */
uint64_t zone_request(struct zone *zone, uint32_t order, enum zone_type type, bool atomic, uint32_t cpu);
/* Would the empty zone grant a block of this order? */
bool zone_could_grant(const struct zone *zone, uint32_t order, bool atomic);
/* May a request dip this far? (__zone_watermark_ok with the mark that decides in the end) */
bool zone_mark_allows(const struct zone *zone, uint64_t free_pages, uint32_t order, bool atomic);
/* Give up every reserve for atomic requests; its free blocks merge with others again. */
void zone_release_reserves(struct zone *zone);

/* ------------------------------------------------------------------------------------ the ABI (zone_heap.c) */

/* For the ABI's create; `allocator` is the table to name in the heap. */
struct kml_heap *zone_create(const struct kml_allocator *allocator, const struct kml_environment *environment,
			     const struct zone_rules *rules, struct kml_error *error);
void zone_destroy(struct kml_heap *heap);
struct kml_grant zone_alloc(struct kml_heap *heap, const struct kml_request *request);
enum kml_status zone_free(struct kml_heap *heap, const struct kml_release *release);
uint64_t zone_usable(const struct kml_heap *heap, uint64_t address);
void zone_shrink(struct kml_heap *heap);
void zone_drain(struct kml_heap *heap, uint16_t cpu);
void zone_stats(const struct kml_heap *heap, struct kml_stats *stats);
uint32_t zone_free_areas(const struct kml_heap *heap, struct kml_free_area *areas);
void zone_walk(const struct kml_heap *heap, kml_visit *visit, void *context);
bool zone_validate(const struct kml_heap *heap, struct kml_error *error);
enum kml_status zone_page_add(struct kml_heap *heap, uint64_t address, uint64_t size_bytes, uint16_t cpu);
#define ZONE_OPERATIONS                                                                                                \
	.destroy = zone_destroy, .alloc = zone_alloc, .free = zone_free, .usable = zone_usable, .shrink = zone_shrink, \
	.drain = zone_drain, .stats = zone_stats, .free_areas = zone_free_areas, .walk = zone_walk,                    \
	.validate = zone_validate, .page_add = zone_page_add

#endif
