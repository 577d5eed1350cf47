/*
 * slab_run.h - a slab: a run of pages cut into equal slots, for the strategies that have slabs (slub, slab, solaris).
 *
 *      |<--------------------------- pages asked (and granted) ----------------------------->|
 *      | colour, management | slot 0 | slot 1 | ... | slot n-1 | tail | granted beyond asked |
 *                             object, padding
 *
 * Which slots are granted is a bitmap beside the descriptor, outside the arena, so that misuse is found whatever was
 * written to the memory. A slot that is not granted is on the slab's own free list, or parked with the strategy (cpu
 * slab, array, magazine): in_use counts slots off the slab's own list, as the kernel's does.
 *
 * The free list of SLUB and Solaris is a chain through the free objects (slab_push, slab_pop); SLAB keeps indices of
 * its own and tells only the numbers (slab_count).
 *
 * Invariants: live <= in_use <= objects, live as many as are granted, all slots on its pages (slab_check); the chain
 * has objects - in_use slots, none granted, none twice (slab_chain_slots).
 */
#ifndef KMEMLAB_SLAB_SLAB_RUN_H
#define KMEMLAB_SLAB_SLAB_RUN_H

#include "allocators/slab/object_heap.h"
#include "kmemlab/support/error.h"

struct slab_cache;
struct seed;

struct slab_link {
	struct slab_link *next, *prev;
};

struct slab {
	struct slab_link link; /* on one list of the strategy's, or none */
	struct slab_cache *cache;
	uint64_t address;                    /* of the pages */
	uint64_t asked_bytes, granted_bytes; /* of pages */
	uint64_t used_bytes;                 /* of those, cut into slots: asked, or with fit=granted all whole pages */
	uint64_t first;                      /* address of slot 0 */
	uint64_t free_head;                  /* address of the first free object, or KML_NO_ADDRESS */
	uint64_t recorded;                   /* in mid-life: address of the recorded kernel's slab, or KML_NO_ADDRESS */
	uint32_t objects, in_use, live;
	uint16_t cpu; /* for the strategy */
	uint8_t list; /* for the strategy: which list it is on */
	uint8_t mark; /* for the strategy */
	uint64_t management_bytes;
	void *index;        /* for the strategy: free index kept outside the slab */
	uint64_t granted[]; /* a bit a slot */
};

/* A circular list through its head. Zero-filled memory is not an empty list: slab_list_clear. */
struct slab_list {
	struct slab_link head;
	uint64_t count;
};

/* A cache of a strategy with slabs; first in the strategy's own. The strategy's cache_open fills the geometry. */
struct slab_cache {
	struct object_cache cache;
	uint64_t align_bytes;
	uint64_t slot_bytes;     /* object, padding, link */
	uint64_t object_offset;  /* of the object in its slot (left red zone) */
	uint64_t link_offset;    /* of the chain's link in the object */
	uint64_t reserved_bytes; /* of each slab, not for slots: management on the slab */
	uint64_t trailer_bytes;  /* the same, at its end */
	bool has_own_index;      /* the strategy keeps which slots are free: no chain */
	uint32_t index_bytes;    /* of each slot, behind the last one: such an index on the slab */
	uint32_t objects_max;    /* of a slab larger than asked; 0: SLAB_OBJECTS_MAX */
	uint32_t order;          /* as asked first */
	uint32_t fallback_order; /* when that fails; equal: none */
	uint32_t objects;        /* per slab of that order */
	uint8_t guards;          /* enum guard; the next two are for guard.c */
	bool has_poison;
	uint64_t zone_end;                                       /* of the right red zone, from the object on */
	uint64_t slabs, slab_bytes, total_objects, free_objects; /* free: on the slabs' own lists */
	struct seed *seed;                                       /* of a start in mid-life, until it is settled */
};

#define SLAB_OBJECTS_MAX 32767u /* mm/slab.h: what struct slab counts in 15 bits */

/* How many of the granted bytes a slab uses. Parameter `fit`. */
enum slab_fit { SLAB_FIT_ASKED, SLAB_FIT_GRANTED };
extern const char *const slab_fit_names[];

static inline struct slab_cache *slab_cache_of(const struct object_cache *cache)
{
	return (struct slab_cache *)(uintptr_t)cache;
}

/* --------------------------------------------------------------------------------------------------- slabs */

/*
 * A new slab of the order, all slots free and chained in address order; in_use 0. colour_bytes lie before
 * reserved_bytes before slot 0. NULL and *status when the backing has none. O(objects).
 */
struct slab *slab_create(struct slab_cache *cache, uint32_t order, enum slab_fit fit, uint64_t colour_bytes,
			 const struct kml_request *request, enum kml_status *status);
/* The same of any number of whole pages. */
struct slab *slab_create_sized(struct slab_cache *cache, uint64_t asked_bytes, enum slab_fit fit, uint64_t colour_bytes,
			       const struct kml_request *request, enum kml_status *status);
/* A slab without granted and parked slots goes back to the backing. Not on a list. */
void slab_destroy(struct slab *slab, uint16_t cpu);

/* in_use changes by so many slots; for strategies with an index of their own. */
static inline void slab_count(struct slab *slab, int32_t change)
{
	struct slab_cache *cache = slab->cache;
	slab->in_use = (uint32_t)((int32_t)slab->in_use + change);
	cache->cache.heap->books.steps += (uint32_t)(change < 0 ? -change : change);
	cache->free_objects = (uint64_t)((int64_t)cache->free_objects - change);
	cache->cache.heap->books.free_slot_bytes =
		(uint64_t)((int64_t)cache->cache.heap->books.free_slot_bytes - change * (int64_t)cache->slot_bytes);
}

static inline uint64_t *slab_link(const struct slab *slab, uint64_t object)
{
	return (uint64_t *)(void *)(slab->cache->cache.heap->arena->base + object + slab->cache->link_offset);
}

/* First off the chain; there must be one. */
static inline uint64_t slab_pop(struct slab *slab)
{
	uint64_t object = slab->free_head;
	slab->free_head = *slab_link(slab, object);
	slab_count(slab, 1);
	return object;
}

static inline void slab_push(struct slab *slab, uint64_t object)
{
	*slab_link(slab, object) = slab->free_head;
	slab->free_head = object;
	slab_count(slab, -1);
}

static inline uint64_t slab_object(const struct slab *slab, uint32_t slot)
{
	return slab->first + slot * slab->cache->slot_bytes + slab->cache->object_offset;
}

static inline uint32_t slab_slot(const struct slab *slab, uint64_t object)
{
	return (uint32_t)((object - slab->first) / slab->cache->slot_bytes);
}

/* Is it the address of an object of this slab's? */
static inline bool slab_has_object(const struct slab *slab, uint64_t address)
{
	return address >= slab->first && slab_slot(slab, address) < slab->objects &&
	       slab_object(slab, slab_slot(slab, address)) == address;
}

static inline struct slab *slab_of(const struct object_heap *heap, uint64_t address)
{
	return kml_arena_page(heap->arena, address)->owner;
}

static inline bool slab_is_granted(const struct slab *slab, uint32_t slot)
{
	return slab->granted[slot / 64] >> slot % 64 & 1;
}

/* The object goes to the caller; place is filled and the books are kept. */
void slab_grant(struct slab *slab, uint64_t object, struct object_place *place);
/* And comes back, to be parked or pushed by the strategy. */
void slab_ungrant(const struct object_place *place);

/* --------------------------------------------------------------------------------------------------- lists */

static inline void slab_list_clear(struct slab_list *list)
{
	list->head.next = list->head.prev = &list->head;
	list->count = 0;
}

static inline void slab_list_insert(struct slab_list *list, struct slab *slab, struct slab_link *after)
{
	slab->link.next = after->next;
	slab->link.prev = after;
	after->next->prev = &slab->link;
	after->next = &slab->link;
	list->count++;
}

static inline void slab_list_add_head(struct slab_list *list, struct slab *slab)
{
	slab_list_insert(list, slab, &list->head);
}

static inline void slab_list_add_tail(struct slab_list *list, struct slab *slab)
{
	slab_list_insert(list, slab, list->head.prev);
}

static inline void slab_list_remove(struct slab_list *list, struct slab *slab)
{
	slab->link.prev->next = slab->link.next;
	slab->link.next->prev = slab->link.prev;
	slab->link.next = slab->link.prev = NULL;
	list->count--;
}

/* NULL when empty, or past the last: for (slab = slab_list_first(l); slab; slab = slab_list_next(l, slab)). */
static inline struct slab *slab_list_at(const struct slab_list *list, struct slab_link *link)
{
	_Static_assert(offsetof(struct slab, link) == 0, "a link is its slab");
	return link == &list->head ? NULL : (struct slab *)link;
}

static inline struct slab *slab_list_first(const struct slab_list *list)
{
	return slab_list_at(list, list->head.next);
}

static inline struct slab *slab_list_last(const struct slab_list *list)
{
	return slab_list_at(list, list->head.prev);
}

static inline struct slab *slab_list_next(const struct slab_list *list, const struct slab *slab)
{
	return slab_list_at(list, slab->link.next);
}

/* --------------------------------------------------------- for the strategy's table: the same in all with slabs */

enum kml_status slab_resolve(const struct object_heap *heap, void *run, uint64_t address, struct object_place *place);
bool slab_walk_run(const struct object_heap *heap, void *run, kml_visit *visit, void *context);
/* As slab_walk_run, for a strategy with an index of its own: a bit for each slot on the slab's free list. */
bool slab_walk_slots(const struct slab *slab, const uint64_t *free_slots, kml_visit *visit, void *context);

/* run_release. */
void slab_release(void *run);

/* The numbers and the place of one slab; *error names what is broken. O(objects). */
bool slab_check(const struct slab *slab, struct kml_error *error);
/* A bit for each slot on the slab's chain, in a new bitmap; NULL and *error without memory or when the chain is
 * damaged. O(objects). */
uint64_t *slab_chain_slots(const struct slab *slab, struct kml_error *error);
/* The list's links back and its counter agree with its links, and no slab is on it after `most` others. O(slabs). */
bool slab_list_check(const struct slab_list *list, uint64_t most, const char *name, struct kml_error *error);

#endif
