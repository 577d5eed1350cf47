/*
 * layout.c - what neither slabinfo nor a table tells of a cache, told by what they do tell.
 *
 * slabinfo gives the slot (object and padding), events the object; between the two lie the alignment and, where SLUB's
 * free pointer may not overlay the object, a word for it (mm/slub.c: calculate_sizes):
 *
 *     slot = ALIGN(ALIGN(object, 8) [+ 8 with a constructor or type-safety by RCU], align)
 *
 * Where the flags and the alignment known do not make up the slot, the smallest change that does is taken: a
 * constructor; cache lines (SLAB_HWCACHE_ALIGN); both; a larger power of two; else the object is taken to fill its
 * slot. Where there are no slabs (SLOB) the addresses of a cache's objects tell its alignment, and objects given back
 * after a grace period that it is type-safe by RCU. A cache whose slabs are taken from reclaimable pages is reclaimable
 * (SLAB_RECLAIM_ACCOUNT); so are those that the kernel's source creates so.
 */
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/round.h"
#include "traces/import/internal.h"
#include "traces/proc/cache_names.h"

/* Caches with SLAB_RECLAIM_ACCOUNT in Linux 6.1 to 6.18: their slabs of before the recording tell no pages. */
static const char *const reclaimable_names[] = {
	"bdev_cache",           /* block/bdev.c */
	"btrfs_inode",          /* fs/btrfs/inode.c */
	"buffer_head",          /* fs/buffer.c */
	"dentry",               /* fs/dcache.c */
	"ext4_extent_status",   /* fs/ext4/extents_status.c */
	"ext4_inode_cache",     /* fs/ext4/super.c */
	"fuse_inode",           /* fs/fuse/inode.c */
	"inode_cache",          /* fs/inode.c */
	"nfs_inode_cache",      /* fs/nfs/inode.c */
	"ovl_inode",            /* fs/overlayfs/super.c */
	"proc_inode_cache",     /* fs/proc/inode.c */
	"radix_tree_node",      /* lib/radix-tree.c */
	"sock_inode_cache",     /* net/socket.c */
	"squashfs_inode_cache", /* fs/squashfs/super.c */
	"xfs_inode",            /* fs/xfs/xfs_super.c */
};

static bool is_reclaimable(const char *name)
{
	for (size_t i = 0; i < sizeof(reclaimable_names) / sizeof(reclaimable_names[0]); i++)
		if (strcmp(name, reclaimable_names[i]) == 0)
			return true;
	return cache_name_is_kmalloc_reclaimable(name);
}

enum { WORD_BYTES = 8, CACHE_LINE_BYTES = 64 };

static uint64_t slot_of(uint64_t object_bytes, uint64_t align_bytes, bool has_word)
{
	uint64_t bytes = kml_round_up(object_bytes, WORD_BYTES) + (has_word ? WORD_BYTES : 0);

	return kml_round_up(bytes, align_bytes > WORD_BYTES ? align_bytes : WORD_BYTES);
}

static bool has_word(const struct kmt_cache *cache)
{
	return (cache->flags & (KMT_CACHE_CONSTRUCTOR | KMT_CACHE_TYPESAFE_BY_RCU)) != 0;
}

/* SLAB keeps no free pointer: its slots have no word, whatever the flags. */
static bool is_explained(const struct kmt_cache *cache)
{
	return slot_of(cache->object_bytes, cache->align_bytes, false) == cache->slot_bytes ||
	       (has_word(cache) && slot_of(cache->object_bytes, cache->align_bytes, true) == cache->slot_bytes);
}

static void explain(struct kmt_cache *cache)
{
	for (uint64_t align = cache->align_bytes;; align = CACHE_LINE_BYTES) {
		for (int word = 0; word <= 1; word++) {
			if (slot_of(cache->object_bytes, align, word) != cache->slot_bytes)
				continue;
			cache->align_bytes = align;
			cache->flags |= word ? KMT_CACHE_CONSTRUCTOR : 0;
			return;
		}
		if (align >= CACHE_LINE_BYTES)
			break;
	}
	for (uint64_t align = 2 * WORD_BYTES; align <= cache->slot_bytes / 2; align *= 2) {
		if (slot_of(cache->object_bytes, align, false) != cache->slot_bytes)
			continue;
		cache->align_bytes = align;
		return;
	}
	cache->object_bytes = cache->slot_bytes;
}

/* By chance this many objects share one more bit of alignment once in 65536 caches. */
enum { OBJECTS_THAT_TELL = 16 };

/* The bits that the addresses of a cache's objects have, and how many tell them. */
struct places {
	uint64_t bits;
	uint32_t count;
};

/* mm/slab_common.c, calculate_alignment: at most a cache line unless the cache asked for more by itself. */
static void align_by_places(struct kmt_cache *cache, const struct places *places)
{
	if (cache->align_bytes != 0 || places->count < OBJECTS_THAT_TELL)
		return;
	uint64_t shared = places->bits & -places->bits;
	cache->align_bytes = shared < CACHE_LINE_BYTES ? shared : CACHE_LINE_BYTES;
}

/* Caches without slabs, of a kernel whose objects' places are known. */
static bool lay_out_by_places(struct import *import, struct kml_error *error)
{
	struct places *places = calloc(import->caches.count + 1, sizeof(*places));
	if (places == NULL)
		return kml_fail(error, "out of memory for %u caches", import->caches.count);
	for (uint32_t i = 0; i < import->lifetimes.count; i++) {
		const struct lifetime *object = &import->lifetimes.items[i];
		if (object->is_page || object->cache >= import->caches.count)
			continue;
		places[object->cache].bits |= object->place;
		places[object->cache].count++;
		if (object->rcu_delayed)
			import->caches.items[object->cache].flags |= KMT_CACHE_TYPESAFE_BY_RCU;
	}
	for (uint32_t i = 0; i < import->caches.count; i++)
		if (import->caches.items[i].objects_per_slab == 0 && !import->pointers_hashed)
			align_by_places(&import->caches.items[i], &places[i]);
	free(places);
	return true;
}

bool import_complete_caches(struct import *import, struct kml_error *error)
{
	if (!lay_out_by_places(import, error))
		return false;
	for (uint32_t i = 0; i < import->caches.count; i++) {
		struct kmt_cache *cache = &import->caches.items[i];
		/* SLOB has no slabs: its sizes are requests. */
		bool known = cache->objects_per_slab > 0 && cache->slot_bytes > 0 && cache->object_bytes > 0;
		if (known && cache->object_bytes <= cache->slot_bytes && !is_explained(cache))
			explain(cache);
		cache->flags |= is_reclaimable(cache->name) ? KMT_CACHE_RECLAIMABLE : 0;
	}
	for (uint32_t i = 0; i < import->lifetimes.count; i++) {
		const struct lifetime *block = &import->lifetimes.items[i];
		bool is_slab = block->is_page && (block->flags & KMT_SLAB_PAGE) != 0;
		if (is_slab && (block->flags & KML_RECLAIMABLE) != 0 && block->cache < import->caches.count)
			import->caches.items[block->cache].flags |= KMT_CACHE_RECLAIMABLE;
	}
	return true;
}
