/*
 * heap.c - a heap with immediate coalescing for first fit and best fit.
 *
 * Knuth, The Art of Computer Programming, volume 1, section 2.5, algorithms A (first fit) and C (boundary tags); the
 * list of free blocks is a treap (Seidel & Aragon 1996) whose nodes know the largest block below them, so that the
 * first sufficient block in tree order is found without looking at the others.
 *
 * Cost: alloc and free O(log free blocks) expected; an alignment above the unit may look at several sufficient blocks;
 * a misused address costs a walk. 56 bytes of descriptor per block, outside the arena, indexed by the block's first
 * unit in address space that is touched on demand: no allocation on the path.
 *
 * Invariants: blocks tile the arena up to its last whole unit; no two neighbours are free; the treap holds the free
 * blocks, each once; descriptors of units that start no block have size 0 and are not granted.
 */
#include "allocators/reference/heap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/arena.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/random.h"
#include "kmemlab/support/reserve.h"

#define BIN_COUNT 64u /* bin k: free blocks of 2^k to 2^(k+1) - 1 bytes */

/* A link is the first unit of a block plus 1; 0 is no block. So untouched memory reads as an empty descriptor. */
typedef uint64_t fit_link;

struct fit_block {
	uint64_t size_units;     /* 0: no block starts here */
	uint64_t previous_units; /* size of the block before this one; 0 for the first */
	fit_link left, right, parent;
	uint64_t largest_units; /* in the subtree; meaningful while free */
	bool is_granted;
};

struct fit_heap {
	struct kml_heap heap;
	enum fit_order order;
	struct kml_arena *arena;
	uint64_t unit_bytes;
	uint64_t unit_count;
	struct fit_block *blocks; /* one per unit */
	fit_link root;            /* of the free blocks */
	uint64_t block_count;
	uint64_t granted_units;
	uint64_t bins[BIN_COUNT];
	uint64_t splits, merges;
};

const struct kml_param fit_params[] = {
	{.name = "unit",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct fit_config, unit_bytes),
	 .default_text = "auto",
	 .minimum = 1,
	 .maximum = 1ull << 30,
	 .help = "granularity, a power of two; auto: 16 bytes alone, the page size below another allocator"},
	{.name = NULL},
};

/* ------------------------------------------------------------------------------------------- tree of free blocks */

static struct fit_block *at(const struct fit_heap *fit, fit_link link)
{
	return &fit->blocks[link - 1];
}

/* The treap's heap order: as good as random, and a function of the address, so that runs repeat. */
static uint64_t priority(fit_link link)
{
	return random_mix(link * RANDOM_STEP);
}

static bool precedes(const struct fit_heap *fit, fit_link a, fit_link b)
{
	uint64_t size_a = at(fit, a)->size_units, size_b = at(fit, b)->size_units;
	if (fit->order == FIT_BY_SIZE && size_a != size_b)
		return size_a < size_b;
	return a < b;
}

static uint64_t largest_below(const struct fit_heap *fit, fit_link link)
{
	return link == 0 ? 0 : at(fit, link)->largest_units;
}

static uint64_t largest_of(const struct fit_heap *fit, const struct fit_block *block)
{
	uint64_t largest = block->size_units;
	uint64_t left = largest_below(fit, block->left), right = largest_below(fit, block->right);
	if (left > largest)
		largest = left;
	return right > largest ? right : largest;
}

/* The link that points to this node: its parent's, or the root. */
static fit_link *link_to(struct fit_heap *fit, fit_link link)
{
	fit_link parent = at(fit, link)->parent;
	if (parent == 0)
		return &fit->root;
	return at(fit, parent)->left == link ? &at(fit, parent)->left : &at(fit, parent)->right;
}

static void set_child(struct fit_heap *fit, fit_link parent, fit_link *place, fit_link child)
{
	*place = child;
	if (child != 0)
		at(fit, child)->parent = parent;
}

/* The node takes its parent's place; the order of the tree stays. */
static void rotate_up(struct fit_heap *fit, fit_link link)
{
	struct fit_block *node = at(fit, link);
	fit_link parent_link = node->parent;
	struct fit_block *parent = at(fit, parent_link);
	bool was_left = parent->left == link;

	*link_to(fit, parent_link) = link;
	node->parent = parent->parent;
	if (was_left) {
		set_child(fit, parent_link, &parent->left, node->right);
		set_child(fit, link, &node->right, parent_link);
	} else {
		set_child(fit, parent_link, &parent->right, node->left);
		set_child(fit, link, &node->left, parent_link);
	}
	parent->largest_units = largest_of(fit, parent);
	node->largest_units = largest_of(fit, node);
}

static void update_ancestors(struct fit_heap *fit, fit_link link)
{
	while (link != 0) {
		struct fit_block *node = at(fit, link);
		uint64_t largest = largest_of(fit, node);
		if (largest == node->largest_units)
			return;
		node->largest_units = largest;
		link = node->parent;
	}
}

static void tree_insert(struct fit_heap *fit, fit_link link)
{
	fit_link parent = 0, *place = &fit->root;
	while (*place != 0) {
		parent = *place;
		place = precedes(fit, link, parent) ? &at(fit, parent)->left : &at(fit, parent)->right;
	}
	*place = link;

	struct fit_block *node = at(fit, link);
	node->left = node->right = 0;
	node->parent = parent;
	node->largest_units = node->size_units;
	update_ancestors(fit, parent);
	while (node->parent != 0 && priority(node->parent) < priority(link))
		rotate_up(fit, link);
}

static void tree_remove(struct fit_heap *fit, fit_link link)
{
	struct fit_block *node = at(fit, link);
	while (node->left != 0 || node->right != 0) {
		bool left_rises = node->right == 0 || (node->left != 0 && priority(node->left) > priority(node->right));
		rotate_up(fit, left_rises ? node->left : node->right);
	}
	fit_link parent = node->parent;
	*link_to(fit, link) = 0;
	if (!KML_PLANTED(fit_largest_stale))
		update_ancestors(fit, parent);
}

/* The first sufficient block of a subtree that has one. */
static fit_link first_sufficient(const struct fit_heap *fit, fit_link link, uint64_t size_units)
{
	for (;;) {
		const struct fit_block *node = at(fit, link);
		if (largest_below(fit, node->left) >= size_units)
			link = node->left;
		else if (node->size_units >= size_units)
			return link;
		else
			link = node->right;
	}
}

/* The sufficient block after this one in tree order; 0: none. */
static fit_link next_sufficient(const struct fit_heap *fit, fit_link link, uint64_t size_units)
{
	if (largest_below(fit, at(fit, link)->right) >= size_units)
		return first_sufficient(fit, at(fit, link)->right, size_units);
	for (fit_link parent = at(fit, link)->parent; parent != 0; link = parent, parent = at(fit, link)->parent) {
		if (at(fit, parent)->right == link)
			continue;
		if (at(fit, parent)->size_units >= size_units)
			return parent;
		if (largest_below(fit, at(fit, parent)->right) >= size_units)
			return first_sufficient(fit, at(fit, parent)->right, size_units);
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- blocks */

static unsigned bin_of(const struct fit_heap *fit, uint64_t size_units)
{
	return 63u - (unsigned)__builtin_clzll(size_units * fit->unit_bytes);
}

static void free_block_appears(struct fit_heap *fit, uint64_t unit)
{
	tree_insert(fit, unit + 1);
	fit->bins[bin_of(fit, fit->blocks[unit].size_units)]++;
}

static void free_block_goes(struct fit_heap *fit, uint64_t unit)
{
	tree_remove(fit, unit + 1);
	fit->bins[bin_of(fit, fit->blocks[unit].size_units)]--;
}

/* Set the size of the block that starts here, and tell its right neighbour. */
static void resize_block(struct fit_heap *fit, uint64_t unit, uint64_t size_units)
{
	fit->blocks[unit].size_units = size_units;
	if (unit + size_units < fit->unit_count)
		fit->blocks[unit + size_units].previous_units = size_units;
}

/* Cut a block that is in no tree: [unit, unit + size) and the rest, a new block. */
static void split_block(struct fit_heap *fit, uint64_t unit, uint64_t size_units)
{
	uint64_t rest_units = fit->blocks[unit].size_units - size_units;
	resize_block(fit, unit + size_units, rest_units);
	resize_block(fit, unit, size_units);
	fit->block_count++;
	fit->splits++;
}

/* Join a block that is in no tree with its right neighbour, likewise. */
static void merge_right(struct fit_heap *fit, uint64_t unit)
{
	struct fit_block *right = &fit->blocks[unit + fit->blocks[unit].size_units];
	uint64_t right_units = right->size_units;
	right->size_units = 0;
	if (KML_PLANTED(fit_boundary_tag_stale))
		fit->blocks[unit].size_units += right_units;
	else
		resize_block(fit, unit, fit->blocks[unit].size_units + right_units);
	fit->block_count--;
	fit->merges++;
}

/* The start of the block that this unit lies in. Only misuse needs it. O(blocks). */
static uint64_t block_around(const struct fit_heap *fit, uint64_t unit)
{
	uint64_t start = 0;
	while (start + fit->blocks[start].size_units <= unit)
		start += fit->blocks[start].size_units;
	return start;
}

/* ------------------------------------------------------------------------------------------------ create, destroy */

struct kml_heap *fit_create(const struct kml_environment *environment, const void *config, enum fit_order order,
			    struct kml_error *error)
{
	const struct fit_config *fit_config = config;
	uint64_t unit_bytes = fit_config->unit_bytes != 0 ? fit_config->unit_bytes : environment->unit_bytes;
	uint64_t unit_count = unit_bytes == 0 ? 0 : environment->arena->size_bytes / unit_bytes;
	if (unit_bytes == 0 || (unit_bytes & (unit_bytes - 1)) != 0) {
		kml_fail(error, "unit=%" PRIu64 " is not a power of two", unit_bytes);
		return NULL;
	}
	if (unit_count == 0) {
		kml_fail(error,
			 "an arena of %" PRIu64 " bytes has no unit of %" PRIu64
			 ": use a larger arena or a smaller unit",
			 environment->arena->size_bytes, unit_bytes);
		return NULL;
	}

	struct fit_heap *fit = calloc(1, sizeof(*fit));
	struct fit_block *blocks = kml_reserve(unit_count * sizeof(*blocks));
	if (fit == NULL || blocks == NULL) {
		free(fit);
		kml_unreserve(blocks, unit_count * sizeof(*blocks));
		kml_fail(error,
			 "no address space for %" PRIu64 " block descriptors: use a smaller arena or a larger unit",
			 unit_count);
		return NULL;
	}
	fit->order = order;
	fit->arena = environment->arena;
	fit->unit_bytes = unit_bytes;
	fit->unit_count = unit_count;
	fit->blocks = blocks;
	fit->block_count = 1;
	resize_block(fit, 0, unit_count);
	free_block_appears(fit, 0);
	return &fit->heap;
}

static bool give_block(void *context, const struct kml_block *block)
{
	if (block->state == KML_BLOCK_GRANTED)
		kml_arena_give(context, block->address, block->size_bytes);
	return true;
}

void fit_destroy(struct kml_heap *heap)
{
	struct fit_heap *fit = (struct fit_heap *)heap;
	fit_walk(heap, give_block, fit->arena);
	kml_unreserve(fit->blocks, fit->unit_count * sizeof(*fit->blocks));
	free(fit);
}

/* -------------------------------------------------------------------------------------------------- alloc, free */

/* The first unit at or after `unit` whose address is aligned. */
static uint64_t align_unit(const struct fit_heap *fit, uint64_t unit, uint64_t align_bytes)
{
	uint64_t align_units = align_bytes / fit->unit_bytes;
	return align_units <= 1 ? unit : (unit + align_units - 1) / align_units * align_units;
}

/* The first block in tree order that the request fits into, aligned; *start is where. 0: none. */
static fit_link choose(const struct fit_heap *fit, uint64_t size_units, uint64_t align_bytes, uint64_t *start)
{
	if (largest_below(fit, fit->root) < size_units)
		return 0;
	fit_link link = first_sufficient(fit, fit->root, size_units);
	for (; link != 0; link = next_sufficient(fit, link, size_units)) {
		uint64_t end = link - 1 + at(fit, link)->size_units;
		*start = align_unit(fit, link - 1, align_bytes);
		if (*start < end && end - *start >= size_units)
			return link;
	}
	return 0;
}

/* Cut [start, start + size) out of a free block and grant it. */
static void carve(struct fit_heap *fit, uint64_t unit, uint64_t start, uint64_t size_units)
{
	free_block_goes(fit, unit);
	if (start > unit) {
		split_block(fit, unit, start - unit);
		if (!KML_PLANTED(fit_front_lost))
			free_block_appears(fit, unit);
	}
	if (fit->blocks[start].size_units > size_units) {
		split_block(fit, start, size_units);
		free_block_appears(fit, start + size_units);
	}
	fit->blocks[start].is_granted = true;
	fit->granted_units += size_units;
}

struct kml_grant fit_alloc(struct kml_heap *heap, const struct kml_request *request)
{
	struct fit_heap *fit = (struct fit_heap *)heap;
	bool is_power_of_two = (request->align_bytes & (request->align_bytes - 1)) == 0;
	if (request->size_bytes == 0 || request->size_bytes > fit->unit_count * fit->unit_bytes || !is_power_of_two)
		return kml_refuse(KML_IMPOSSIBLE);
	uint64_t size_units = (request->size_bytes + fit->unit_bytes - 1) / fit->unit_bytes;
	if (size_units > fit->unit_count - fit->granted_units)
		return kml_refuse(KML_NO_MEMORY);

	uint64_t start;
	fit_link link = choose(fit, size_units, request->align_bytes, &start);
	if (link == 0)
		return kml_refuse(KML_NO_RUN);
	carve(fit, link - 1, start, size_units);

	struct kml_grant grant = {.address = start * fit->unit_bytes, .granted_bytes = size_units * fit->unit_bytes};
	kml_arena_take(fit->arena, grant.address, grant.granted_bytes);
	if ((request->flags & KML_ZEROED) != 0 && fit->arena->base != NULL)
		memset(fit->arena->base + grant.address, 0, grant.granted_bytes);
	return grant;
}

/* OK when a granted block starts at the address; else what is wrong with it. */
static enum kml_status judge(const struct fit_heap *fit, uint64_t address)
{
	uint64_t unit = address / fit->unit_bytes;
	if (unit >= fit->unit_count)
		return KML_FOREIGN;
	bool is_aligned = address % fit->unit_bytes == 0 || KML_PLANTED(fit_frees_misaligned);
	bool is_start = is_aligned && fit->blocks[unit].size_units != 0;
	if (is_start)
		return fit->blocks[unit].is_granted ? KML_OK : KML_DOUBLE_FREE;
	return fit->blocks[block_around(fit, unit)].is_granted ? KML_INTERIOR : KML_DOUBLE_FREE;
}

enum kml_status fit_free(struct kml_heap *heap, const struct kml_release *release)
{
	struct fit_heap *fit = (struct fit_heap *)heap;
	enum kml_status status = judge(fit, release->address);
	if (status != KML_OK)
		return status;

	uint64_t unit = release->address / fit->unit_bytes;
	uint64_t size_units = fit->blocks[unit].size_units;
	kml_arena_give(fit->arena, release->address, size_units * fit->unit_bytes);
	fit->granted_units -= size_units;
	fit->blocks[unit].is_granted = false;

	uint64_t right = unit + size_units;
	if (right < fit->unit_count && !fit->blocks[right].is_granted) {
		free_block_goes(fit, right);
		merge_right(fit, unit);
	}
	uint64_t left = unit - fit->blocks[unit].previous_units;
	if (left < unit && !fit->blocks[left].is_granted) {
		free_block_goes(fit, left);
		merge_right(fit, left);
		unit = left;
	}
	free_block_appears(fit, unit);
	return KML_OK;
}

uint64_t fit_usable(const struct kml_heap *heap, uint64_t address)
{
	const struct fit_heap *fit = (const struct fit_heap *)heap;
	uint64_t unit = address / fit->unit_bytes;
	if (unit >= fit->unit_count || address % fit->unit_bytes != 0 || !fit->blocks[unit].is_granted)
		return 0;
	return fit->blocks[unit].size_units * fit->unit_bytes;
}

/* ------------------------------------------------------------------------------------------------------- figures */

void fit_stats(const struct kml_heap *heap, struct kml_stats *stats)
{
	const struct fit_heap *fit = (const struct fit_heap *)heap;
	uint64_t granted_bytes = fit->granted_units * fit->unit_bytes;
	*stats = (struct kml_stats){
		.granted_bytes = granted_bytes,
		.held_bytes = fit->arena->held_bytes,
		.free_bytes = (fit->unit_count - fit->granted_units) * fit->unit_bytes,
		.largest_free_bytes = largest_below(fit, fit->root) * fit->unit_bytes,
		.metadata_bytes = sizeof(*fit) + fit->block_count * sizeof(*fit->blocks),
		.waste_bytes = {[KML_WASTE_EXTERNAL] = fit->arena->held_bytes - granted_bytes},
		.splits = fit->splits,
		.merges = fit->merges,
	};
}

uint32_t fit_free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	const struct fit_heap *fit = (const struct fit_heap *)heap;
	uint32_t count = 0;
	for (unsigned bin = 0; bin < BIN_COUNT; bin++)
		if (fit->bins[bin] != 0)
			areas[count++] = (struct kml_free_area){.block_bytes = 1ull << bin, .count = fit->bins[bin]};
	return count;
}

void fit_walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	const struct fit_heap *fit = (const struct fit_heap *)heap;
	for (uint64_t unit = 0; unit < fit->unit_count; unit += fit->blocks[unit].size_units) {
		const struct fit_block *block = &fit->blocks[unit];
		const struct kml_block shown = {.address = unit * fit->unit_bytes,
						.size_bytes = block->size_units * fit->unit_bytes,
						.state = block->is_granted ? KML_BLOCK_GRANTED : KML_BLOCK_FREE,
						.size_class = bin_of(fit, block->size_units),
						.owner = KML_NO_CACHE};
		if (!visit(context, &shown))
			return;
	}
}

/* Links, order, priority and the largest size around one node of the tree. */
static bool validate_node(const struct fit_heap *fit, fit_link link, struct kml_error *error)
{
	const struct fit_block *node = at(fit, link);
	fit_link parent = node->parent;
	bool hangs = parent == 0 ? fit->root == link : at(fit, parent)->left == link || at(fit, parent)->right == link;
	if (!hangs)
		return kml_fail(error, "free block at unit %" PRIu64 " is not linked from its parent", link - 1);
	if (parent != 0 && precedes(fit, link, parent) != (at(fit, parent)->left == link))
		return kml_fail(error, "free block at unit %" PRIu64 " is on the wrong side of its parent", link - 1);
	if (parent != 0 && priority(parent) < priority(link))
		return kml_fail(error, "free block at unit %" PRIu64 " is below a node of lower priority", link - 1);
	if (node->largest_units != largest_of(fit, node))
		return kml_fail(error, "free block at unit %" PRIu64 " says largest %" PRIu64 ", not %" PRIu64,
				link - 1, node->largest_units, largest_of(fit, node));
	return true;
}

bool fit_validate(const struct kml_heap *heap, struct kml_error *error)
{
	const struct fit_heap *fit = (const struct fit_heap *)heap;
	uint64_t granted_units = 0, blocks = 0, previous_units = 0, bins[BIN_COUNT] = {0};
	bool previous_free = false;
	uint64_t unit = 0;
	while (unit < fit->unit_count) {
		const struct fit_block *block = &fit->blocks[unit];
		if (block->size_units == 0 || block->size_units > fit->unit_count - unit)
			return kml_fail(error, "block at unit %" PRIu64 " has a size of %" PRIu64 " units", unit,
					block->size_units);
		if (block->previous_units != previous_units)
			return kml_fail(error,
					"block at unit %" PRIu64 " says %" PRIu64 " units before it, not %" PRIu64,
					unit, block->previous_units, previous_units);
		if (!block->is_granted && previous_free)
			return kml_fail(error, "block at unit %" PRIu64 " and the one before it are both free", unit);
		if (!block->is_granted && !validate_node(fit, unit + 1, error))
			return false;
		if (block->is_granted)
			granted_units += block->size_units;
		else
			bins[bin_of(fit, block->size_units)]++;
		previous_free = !block->is_granted;
		previous_units = block->size_units;
		unit += block->size_units;
		blocks++;
	}
	if (blocks != fit->block_count || granted_units != fit->granted_units)
		return kml_fail(error,
				"%" PRIu64 " blocks with %" PRIu64 " units granted, the counters say %" PRIu64
				" and %" PRIu64,
				blocks, granted_units, fit->block_count, fit->granted_units);
	if (memcmp(bins, fit->bins, sizeof(bins)) != 0)
		return kml_fail(error, "the bins do not count the free blocks");
	return true;
}
