/*
 * engine.c - the parts of the buddy engine that need no specialisation; see engine.h.
 */
#include "allocators/buddy/engine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "kmemlab/support/reserve.h"

/* An aligned request looks at this many blocks of a class before it goes on to the next larger. */
static const uint32_t ALIGNED_PROBES = 8;

const char *const buddy_policy_names[] = {"lifo", "fifo", "lowest", NULL};

static struct buddy_heap *heap_of(struct kml_heap *heap)
{
	return (struct buddy_heap *)heap;
}

static const struct buddy_heap *const_heap_of(const struct kml_heap *heap)
{
	return (const struct buddy_heap *)heap;
}

static uint64_t class_bytes(const struct buddy_heap *heap, uint32_t class)
{
	return heap->table.size_units[class] * heap->unit_bytes;
}

/* ------------------------------------------------------------------------------------------ create and destroy */

static uint64_t descriptor_bytes(const struct buddy_heap *heap)
{
	return (heap->units + BUDDY_CLASSES_MAX) * sizeof(struct buddy_block);
}

/* The largest class of the family that fits in `units`; BUDDY_NONE. */
static uint32_t largest_class(const struct buddy_table *table, uint32_t family, uint64_t units)
{
	for (uint32_t class = table->class_count; class -- > 0;)
		if (table->family[class] == family && table->size_units[class] <= units)
			return class;
	return BUDDY_NONE;
}

static void add_run(struct buddy_heap *heap, uint32_t class, uint64_t first_unit, uint64_t roots)
{
	uint64_t size_units = heap->table.size_units[class];
	heap->run[heap->run_count] = (struct buddy_run){class, first_unit, first_unit, first_unit + roots * size_units};
	heap->run_of_class[class] = (uint8_t)heap->run_count++;
	heap->free_count[class] = roots;
	heap->nonempty.word[class / 64] |= 1ull << class % 64;
	heap->free_units += roots * size_units;
	if (heap->run_count == 1 || class > heap->top_class)
		heap->top_class = class;
}

/* Cover `units` from first_unit on, greedily, with the largest roots of the family. */
static void tile_family(struct buddy_heap *heap, uint32_t family, uint64_t first_unit, uint64_t units)
{
	uint32_t class;
	while ((class = largest_class(&heap->table, family, units)) != BUDDY_NONE) {
		uint64_t roots = (units / heap->table.size_units[class]);
		add_run(heap, class, first_unit, roots);
		first_unit += roots * heap->table.size_units[class];
		units -= roots * heap->table.size_units[class];
	}
	KML_CHECK(units == 0, "%llu units are too few for a block of family %u", (unsigned long long)units, family);
}

/* What the second family gets: its share in multiples of its smallest class. */
static uint64_t second_family_units(const struct buddy_heap *heap)
{
	const struct buddy_table *table = &heap->table;
	if (table->family_count == 1)
		return 0;
	uint32_t class = 0;
	while (class < table->class_count && table->family[class] == 0)
		class ++;
	if (class == table->class_count)
		return 0;
	uint64_t share = heap->units * table->family_share[1] / (table->family_share[0] + table->family_share[1]);
	return KML_PLANTED(buddy_share_not_whole) ? share : share - share % table->size_units[class];
}

/* The first family, which has the class of one unit, takes what the second leaves and lies below it. */
static void tile(struct buddy_heap *heap)
{
	uint64_t second_units = second_family_units(heap), first_units = heap->units - second_units;
	tile_family(heap, 0, 0, first_units);
	tile_family(heap, 1, first_units, second_units);
	KML_CHECK(heap->free_units == heap->units, "%" PRIu64 " of %" PRIu64 " units are tiled", heap->free_units,
		  heap->units);
}

static bool measure(struct buddy_heap *heap, struct kml_error *error)
{
	uint64_t arena_bytes = heap->arena->size_bytes;
	uint64_t units = (arena_bytes + KML_PLANTED(buddy_last_unit_cut) * (heap->unit_bytes - 1)) / heap->unit_bytes;
	const char *name = heap->heap.allocator->name;
	if (units == 0)
		return kml_fail(
			error,
			"%s: the arena of %llu bytes is smaller than one unit of %llu bytes: use a larger arena or "
			"a smaller unit",
			name, (unsigned long long)heap->arena->size_bytes, (unsigned long long)heap->unit_bytes);
	KML_CHECK(units < (1ull << BUDDY_LINK_BITS) - BUDDY_CLASSES_MAX,
		  "%" PRIu64 " units are more than can be linked", units);
	heap->units = units;
	heap->end_bytes = units * heap->unit_bytes;
	heap->natural_align = heap->unit_bytes & -heap->unit_bytes;
	heap->unit_shift = (uint32_t)__builtin_ctzll(heap->unit_bytes);
	heap->unit_odd = heap->unit_bytes >> heap->unit_shift;
	return true;
}

static bool reserve(struct buddy_heap *heap, struct kml_error *error)
{
	heap->blocks = kml_reserve(descriptor_bytes(heap));
	bool reserved = heap->blocks != NULL;
	if (reserved && heap->policy == BUDDY_LOWEST) {
		heap->addresses = calloc(heap->table.class_count, sizeof *heap->addresses);
		reserved = heap->addresses != NULL;
	}
	for (uint32_t class = 0; reserved && heap->policy == BUDDY_LOWEST && class < heap->table.class_count; class ++)
		reserved = address_set_create(&heap->addresses[class], heap->units, &heap->address_words);
	return reserved || kml_fail(error,
				    "%s: cannot reserve address space for the descriptors of %" PRIu64
				    " units: %s: use a larger unit "
				    "or a smaller arena",
				    heap->heap.allocator->name, heap->units, strerror(errno));
}

static void release(struct buddy_heap *heap)
{
	for (uint32_t class = 0; heap->addresses && class < heap->table.class_count; class ++)
		address_set_destroy(&heap->addresses[class]);
	free(heap->addresses);
	kml_unreserve(heap->blocks, descriptor_bytes(heap));
	free(heap);
}

struct kml_heap *buddy_create(const struct kml_allocator *allocator, const struct kml_environment *environment,
			      const struct buddy_config *common, enum buddy_shape shape, buddy_build *build,
			      const void *config, struct kml_error *error)
{
	struct buddy_heap *heap = malloc(sizeof *heap);
	if (!heap) {
		kml_fail(error, "%s: out of memory", allocator->name);
		return NULL;
	}
	memset(heap, 0, offsetof(struct buddy_heap, table));
	buddy_table_start(&heap->table);
	heap->heap.allocator = allocator;
	heap->arena = environment->arena;
	heap->shape = shape;
	heap->policy = (enum buddy_policy)common->policy;
	heap->unit_bytes = common->unit_bytes ? common->unit_bytes : environment->unit_bytes;
	if (!measure(heap, error) || !build(&heap->table, heap->units, config, error) || !reserve(heap, error)) {
		release(heap);
		return NULL;
	}
	buddy_table_finish(&heap->table);
	tile(heap);
	memset(heap->run_of_class, (int)heap->run_count, sizeof heap->run_of_class);
	for (uint32_t i = 0; i < heap->run_count; i++)
		heap->run_of_class[heap->run[i].class] = (uint8_t)i;
	for (uint32_t class = 0; class < BUDDY_CLASSES_MAX; class ++) {
		uint64_t head = buddy_head(heap, class);
		buddy_link(heap, head, head, head);
	}
	return &heap->heap;
}

/* --------------------------------------------------------------------------------------------- all blocks in order */

struct cursor {
	uint32_t run;
	uint64_t unit;
};

struct seen_block {
	uint64_t unit;
	uint32_t class;
	enum buddy_state state;
	bool fresh; /* has no descriptor yet */
};

/* Step to the next block in address order; false at the end. A zeroed cursor stands before the first. */
static bool next_block(const struct buddy_heap *heap, struct cursor *cursor, struct seen_block *seen)
{
	if (cursor->run < heap->run_count && cursor->unit == heap->run[cursor->run].end_unit)
		cursor->run++;
	if (cursor->run == heap->run_count)
		return false;
	const struct buddy_run *run = &heap->run[cursor->run];
	const struct buddy_block *block = &heap->blocks[cursor->unit];
	bool fresh = cursor->unit >= run->fresh_unit;
	*seen = fresh ? (struct seen_block){cursor->unit, run->class, BUDDY_FREE, true}
		      : (struct seen_block){cursor->unit, block->class, (enum buddy_state)block->state, false};
	KML_CHECK(seen->class < heap->table.class_count, "the block at unit %" PRIu64 " is of class %u of %u",
		  seen->unit, seen->class, heap->table.class_count);
	cursor->unit += heap->table.size_units[seen->class];
	return true;
}

void buddy_destroy(struct kml_heap *base)
{
	struct buddy_heap *heap = heap_of(base);
	struct cursor cursor = {0};
	struct seen_block seen;
	while (next_block(heap, &cursor, &seen))
		if (seen.state != BUDDY_FREE)
			kml_arena_give(heap->arena, seen.unit * heap->unit_bytes, class_bytes(heap, seen.class));
	release(heap);
}

static bool show(const struct buddy_heap *heap, kml_visit *visit, void *context, const struct seen_block *seen)
{
	struct kml_block block = {.address = seen->unit * heap->unit_bytes,
				  .size_bytes = class_bytes(heap, seen->class),
				  .state = seen->state == BUDDY_FREE ? KML_BLOCK_FREE : KML_BLOCK_GRANTED,
				  .size_class = seen->class,
				  .owner = KML_NO_CACHE};
	if (seen->state != BUDDY_GRANTED_PADDED)
		return visit(context, &block);
	struct kml_block padding = block;
	padding.state = KML_BLOCK_PADDING;
	padding.size_bytes = buddy_padding_of(heap, &heap->blocks[seen->unit]);
	block.address += padding.size_bytes;
	block.size_bytes -= padding.size_bytes;
	return visit(context, &padding) && visit(context, &block);
}

void buddy_walk(const struct kml_heap *base, kml_visit *visit, void *context)
{
	const struct buddy_heap *heap = const_heap_of(base);
	struct cursor cursor = {0};
	struct seen_block seen;
	while (next_block(heap, &cursor, &seen))
		if (!show(heap, visit, context, &seen))
			return;
}

/* ----------------------------------------------------------------------------------------------- cold allocation */

void buddy_touch_fresh(struct buddy_heap *heap, uint32_t class)
{
	struct buddy_run *run = &heap->run[heap->run_of_class[class]];
	uint64_t unit = run->fresh_unit;
	run->fresh_unit += heap->table.size_units[class];
	heap->blocks[unit].place = BUDDY_PLACE_ROOT;
	heap->block_count++;
	heap->free_count[class]--; /* it was counted; push counts it again */
	buddy_push(heap, unit, class);
}

uint64_t buddy_root_with_room(const struct buddy_heap *heap, const struct buddy_run *run, uint64_t from_unit,
			      const struct kml_request *request)
{
	uint64_t size_units = heap->table.size_units[run->class];
	uint64_t unit = from_unit;
	while (unit < run->end_unit) {
		if (buddy_has_room(heap, unit, size_units, request))
			return unit;
		/* On to the root that holds the next aligned address. */
		uint64_t padding_bytes = buddy_padding(heap, unit, request->align_bytes);
		uint64_t skipped_roots = padding_bytes / (size_units * heap->unit_bytes);
		unit += (skipped_roots > 0 ? skipped_roots : 1) * size_units;
	}
	return BUDDY_NO_UNIT;
}

/* Among the listed blocks of a class, at most `probes` of them. */
static uint64_t listed_with_room(const struct buddy_heap *heap, uint32_t class, const struct kml_request *request,
				 uint32_t probes)
{
	uint64_t unit = buddy_next_listed(heap, class, BUDDY_NO_UNIT);
	while (unit != BUDDY_NO_UNIT && probes-- > 0) {
		if (buddy_has_room(heap, unit, heap->table.size_units[class], request))
			return unit;
		unit = buddy_next_listed(heap, class, unit);
	}
	return BUDDY_NO_UNIT;
}

/* Among the fresh roots of a class; it and those before it get descriptors. */
static uint64_t fresh_with_room(struct buddy_heap *heap, uint32_t class, const struct kml_request *request)
{
	const struct buddy_run *run = &heap->run[heap->run_of_class[class]];
	uint64_t unit = buddy_root_with_room(heap, run, run->fresh_unit, request);
	while (unit != BUDDY_NO_UNIT && run->fresh_unit <= unit)
		buddy_touch_fresh(heap, class);
	return unit;
}

static bool find_aligned(struct buddy_heap *heap, uint32_t smallest_class, const struct kml_request *request,
			 uint32_t probes, uint64_t *unit, uint32_t *class)
{
	for (*class = smallest_class; *class <= heap->top_class; ++*class) {
		*unit = listed_with_room(heap, *class, request, probes);
		if (*unit == BUDDY_NO_UNIT)
			*unit = fresh_with_room(heap, *class, request);
		if (*unit != BUDDY_NO_UNIT)
			return true;
	}
	return false;
}

bool buddy_find_aligned(struct buddy_heap *heap, uint32_t smallest_class, const struct kml_request *request,
			uint64_t *unit, uint32_t *class)
{
	return find_aligned(heap, smallest_class, request, ALIGNED_PROBES, unit, class) ||
	       find_aligned(heap, smallest_class, request, UINT32_MAX, unit, class);
}

/* The smallest root of an empty arena that alloc would take for the request; false: none will do. */
static bool root_for(const struct buddy_heap *heap, uint32_t wanted_class, const struct kml_request *request,
		     uint64_t *unit, uint32_t *class)
{
	struct buddy_class_set roots = {{0}};
	for (uint32_t i = 0; i < heap->run_count; i++) {
		const struct buddy_run *run = &heap->run[i];
		if (buddy_root_with_room(heap, run, run->first_unit, request) != BUDDY_NO_UNIT)
			roots.word[run->class / 64] |= 1ull << run->class % 64;
	}
	*class = BUDDY_NONE;
	if (request->align_bytes <= heap->natural_align)
		*class = buddy_lowest_class(&roots, &heap->table.sources[wanted_class], wanted_class);
	if (*class == BUDDY_NONE)
		*class = buddy_lowest_class(&roots, &roots, wanted_class);
	if (*class == BUDDY_NONE)
		return false;
	const struct buddy_run *run = &heap->run[heap->run_of_class[*class]];
	*unit = buddy_root_with_room(heap, run, run->first_unit, request);
	return true;
}

enum kml_status buddy_refusal(const struct buddy_heap *heap, uint32_t smallest_class, const struct kml_request *request)
{
	uint64_t unit;
	uint32_t class, child;
	bool aligned = request->align_bytes > heap->natural_align;
	if (!root_for(heap, smallest_class, request, &unit, &class))
		return KML_IMPOSSIBLE;
	while ((child = buddy_choose_child(heap, unit, class, smallest_class, request, aligned, BUDDY_PLACES)) !=
	       BUDDY_NONE) {
		unit += heap->table.split[class].offset_units[child];
		class = heap->table.split[class].child[child];
	}
	return heap->free_units < heap->table.size_units[class] ? KML_NO_MEMORY : KML_NO_RUN;
}

/* ----------------------------------------------------------------------------------------------- from address to block
 */

static const struct buddy_run *run_at(const struct buddy_heap *heap, uint64_t unit)
{
	uint32_t i = 0;
	while (heap->run[i].end_unit <= unit)
		i++;
	return &heap->run[i];
}

/* The child of a split block that the unit lies in. */
static uint32_t child_at(const struct buddy_split *split, uint64_t offset_units)
{
	uint32_t child = split->child_count - 1;
	while (split->offset_units[child] > offset_units)
		child--;
	return child;
}

/*
 * The state of the block that a unit lies in, by descent from its root. A node of the tree is a block when the
 * descriptor at its start has its class; when it is split, its first child or a descendant of that starts there.
 */
static enum buddy_state state_at(const struct buddy_heap *heap, uint64_t unit)
{
	const struct buddy_run *run = run_at(heap, unit);
	if (unit >= run->fresh_unit)
		return BUDDY_FREE;
	uint32_t class = run->class;
	uint64_t start = unit - (unit - run->first_unit) % heap->table.size_units[class];
	while (heap->blocks[start].class != class) {
		const struct buddy_split *split = &heap->table.split[class];
		KML_CHECK(split->child_count > 0, "unit %" PRIu64 " lies in no block", unit);
		uint32_t child = child_at(split, unit - start);
		start += split->offset_units[child];
		class = split->child[child];
	}
	return (enum buddy_state)heap->blocks[start].state;
}

/* The granted block of an address inside the heap that was handed out. O(1). */
static bool is_handed_out(const struct buddy_heap *heap, uint64_t address, uint64_t *unit)
{
	*unit = buddy_unit_of(heap, address);
	if (heap->blocks[*unit].state == BUDDY_HANDED_OUT)
		*unit = buddy_next(&heap->blocks[*unit]);
	const struct buddy_block *block = &heap->blocks[*unit];
	uint64_t handed_out = *unit * heap->unit_bytes + buddy_padding_of(heap, block);
	return (block->state == BUDDY_GRANTED || block->state == BUDDY_GRANTED_PADDED) && handed_out == address;
}

enum kml_status buddy_resolve_slowly(const struct buddy_heap *heap, uint64_t address, uint64_t *unit)
{
	if (address >= heap->end_bytes)
		return KML_FOREIGN;
	if (is_handed_out(heap, address, unit))
		return KML_OK;
	return state_at(heap, buddy_unit_of(heap, address)) == BUDDY_FREE ? KML_DOUBLE_FREE : KML_INTERIOR;
}

uint64_t buddy_usable(const struct kml_heap *base, uint64_t address)
{
	const struct buddy_heap *heap = const_heap_of(base);
	uint64_t unit;
	if (address >= heap->end_bytes || !is_handed_out(heap, address, &unit))
		return 0;
	uint64_t padding_bytes = address - unit * heap->unit_bytes;
	return class_bytes(heap, heap->blocks[unit].class) - padding_bytes;
}

/* -------------------------------------------------------------------------------------------------------- figures */

static uint32_t highest_class(const struct buddy_class_set *set)
{
	for (uint32_t i = BUDDY_CLASS_WORDS; i-- > 0;)
		if (set->word[i])
			return i * 64 + 63 - (uint32_t)__builtin_clzll(set->word[i]);
	return BUDDY_NONE;
}

/* Descriptors of blocks that exist, the heads of the free lists, and the words of address sets that are not zero. */
static uint64_t metadata_bytes(const struct buddy_heap *heap)
{
	uint64_t descriptors = heap->block_count + heap->table.class_count;
	return descriptors * sizeof(struct buddy_block) + heap->address_words * sizeof(uint64_t);
}

void buddy_stats(const struct kml_heap *base, struct kml_stats *stats)
{
	const struct buddy_heap *heap = const_heap_of(base);
	uint32_t largest = highest_class(&heap->nonempty);
	*stats = (struct kml_stats){.granted_bytes = heap->granted_bytes,
				    .held_bytes = heap->arena->held_bytes,
				    .free_bytes = heap->free_units * heap->unit_bytes,
				    .largest_free_bytes = largest == BUDDY_NONE ? 0 : class_bytes(heap, largest),
				    .metadata_bytes = metadata_bytes(heap),
				    .splits = heap->splits,
				    .merges = heap->merges};
	stats->waste_bytes[KML_WASTE_MANAGEMENT] = heap->padding_bytes;
	stats->waste_bytes[KML_WASTE_EXTERNAL] = heap->arena->held_bytes - heap->arena->taken_bytes;
}

uint32_t buddy_free_areas(const struct kml_heap *base, struct kml_free_area *areas)
{
	const struct buddy_heap *heap = const_heap_of(base);
	for (uint32_t class = 0; class <= heap->top_class; class ++)
		areas[class] = (struct kml_free_area){class_bytes(heap, class), heap->free_count[class]};
	return heap->top_class + 1;
}

/* ----------------------------------------------------------------------------------------------------- self-check */

/* What a walk over the trees found. */
struct census {
	uint64_t free_count[BUDDY_CLASSES_MAX];
	uint64_t free_units, granted_bytes, padding_bytes, block_count;
};

/* A node of a tree, with the places its block must remember. */
struct node {
	uint64_t unit;
	uint32_t class;
	uint32_t place, kept;
};

static bool check_free_block(const struct buddy_heap *heap, const struct node *node, struct census *census)
{
	(void)heap;
	census->free_count[node->class]++;
	census->free_units += heap->table.size_units[node->class];
	return true;
}

static bool check_granted_block(const struct buddy_heap *heap, const struct node *node, struct census *census,
				struct kml_error *error)
{
	const struct buddy_block *block = &heap->blocks[node->unit];
	uint64_t padding_bytes = buddy_padding_of(heap, block);
	uint64_t block_bytes = class_bytes(heap, node->class);
	if (padding_bytes >= block_bytes)
		return kml_fail(error, "the block at unit %" PRIu64 " of %llu bytes is padded by %llu", node->unit,
				(unsigned long long)block_bytes, (unsigned long long)padding_bytes);
	uint64_t handed_out = buddy_unit_of(heap, node->unit * heap->unit_bytes + padding_bytes);
	const struct buddy_block *mark = &heap->blocks[handed_out];
	if (handed_out != node->unit && (mark->state != BUDDY_HANDED_OUT || buddy_next(mark) != node->unit))
		return kml_fail(error,
				"the padded block at unit %" PRIu64 " is not marked at unit %" PRIu64
				", where it was handed out",
				node->unit, handed_out);
	census->granted_bytes += block_bytes - padding_bytes;
	census->padding_bytes += padding_bytes;
	return true;
}

static bool check_block(const struct buddy_heap *heap, const struct node *node, struct census *census,
			struct kml_error *error)
{
	const struct buddy_block *block = &heap->blocks[node->unit];
	census->block_count++;
	if (heap->shape == BUDDY_PLACES && (block->place != node->place || block->kept != node->kept))
		return kml_fail(
			error, "the block at unit %" PRIu64 " remembers place %u and keeps %u; its tree says %u and %u",
			node->unit, block->place, block->kept, node->place, node->kept);
	switch (block->state) {
	case BUDDY_FREE:
		return check_free_block(heap, node, census);
	case BUDDY_GRANTED:
	case BUDDY_GRANTED_PADDED:
		return check_granted_block(heap, node, census, error);
	default:
		return kml_fail(error, "unit %" PRIu64 ", where a block of class %u starts, has state %u", node->unit,
				node->class, block->state);
	}
}

static bool all_children_free(const struct buddy_heap *heap, const struct node *node)
{
	const struct buddy_split *split = &heap->table.split[node->class];
	for (uint32_t i = 0; i < split->child_count; i++) {
		const struct buddy_block *child = &heap->blocks[node->unit + split->offset_units[i]];
		if (child->state != BUDDY_FREE || child->class != split->child[i])
			return false;
	}
	return true;
}

static bool check_tree(const struct buddy_heap *heap, struct node root, struct census *census, struct kml_error *error)
{
	struct node stack[BUDDY_CLASSES_MAX * BUDDY_CHILDREN_MAX];
	uint32_t depth = 0;
	stack[depth++] = root;
	while (depth > 0) {
		struct node node = stack[--depth];
		if (heap->blocks[node.unit].class == node.class) {
			if (!check_block(heap, &node, census, error))
				return false;
			continue;
		}
		const struct buddy_split *split = &heap->table.split[node.class];
		if (heap->blocks[node.unit].class > node.class || split->child_count == 0)
			return kml_fail(error,
					"at unit %" PRIu64
					" starts a block of class %u, where the tree has one of class %u",
					node.unit, heap->blocks[node.unit].class, node.class);
		if (all_children_free(heap, &node))
			return kml_fail(error,
					"all children of the block of class %u at unit %" PRIu64
					" are free and not merged",
					node.class, node.unit);
		for (uint32_t i = split->child_count; i-- > 0;)
			stack[depth++] = (struct node){node.unit + split->offset_units[i], split->child[i],
						       node.class * BUDDY_CHILDREN_MAX + i,
						       i == 0                        ? node.place
						       : i == split->child_count - 1 ? node.kept
										     : 0};
	}
	return true;
}

static bool check_trees(const struct buddy_heap *heap, struct census *census, struct kml_error *error)
{
	for (uint32_t i = 0; i < heap->run_count; i++) {
		const struct buddy_run *run = &heap->run[i];
		uint64_t size_units = heap->table.size_units[run->class];
		for (uint64_t unit = run->first_unit; unit < run->fresh_unit; unit += size_units)
			if (!check_tree(heap, (struct node){unit, run->class, BUDDY_PLACE_ROOT, 0}, census, error))
				return false;
		uint64_t fresh_roots = (run->end_unit - run->fresh_unit) / size_units;
		census->free_count[run->class] += fresh_roots;
		census->free_units += fresh_roots * size_units;
	}
	return true;
}

/* As many as the walk found, all free and of this class: then they are the same, for none can be listed twice. */
static bool check_list(const struct buddy_heap *heap, uint32_t class, uint64_t expected, struct kml_error *error)
{
	uint64_t listed = 0, last = buddy_head(heap, class);
	for (uint64_t unit = buddy_next_listed(heap, class, BUDDY_NO_UNIT); unit != BUDDY_NO_UNIT;
	     unit = buddy_next_listed(heap, class, unit)) {
		const struct buddy_block *block = &heap->blocks[unit];
		if (unit >= heap->units || block->state != BUDDY_FREE || block->class != class)
			return kml_fail(error,
					"unit %" PRIu64 " on the free list of class %u is not a free block of it", unit,
					class);
		if (++listed > expected)
			return kml_fail(error,
					"the free list of class %u has more blocks than the %" PRIu64 " that are free",
					class, expected);
		if (heap->policy != BUDDY_LOWEST && buddy_prev(block) != last)
			return kml_fail(error,
					"unit %" PRIu64 " on the free list of class %u points back to %" PRIu64
					", not %" PRIu64,
					unit, class, buddy_prev(block), last);
		last = unit;
	}
	return listed == expected ||
	       kml_fail(error, "the free list of class %u has %" PRIu64 " blocks, %" PRIu64 " are free", class, listed,
			expected);
}

static bool check_lists(const struct buddy_heap *heap, const struct census *census, struct kml_error *error)
{
	for (uint32_t class = 0; class < heap->table.class_count; class ++) {
		uint64_t count = census->free_count[class];
		if (heap->free_count[class] != count)
			return kml_fail(error,
					"%" PRIu64 " free blocks of class %u are counted, the walk finds %" PRIu64,
					heap->free_count[class], class, count);
		if (buddy_class_in(&heap->nonempty, class) != (count > 0))
			return kml_fail(error, "class %u has %" PRIu64 " free blocks and its bit says otherwise", class,
					count);
		const struct buddy_run *run = &heap->run[heap->run_of_class[class]];
		uint64_t fresh_roots = (run->end_unit - run->fresh_unit) / heap->table.size_units[class];
		if (!check_list(heap, class, count - fresh_roots, error))
			return false;
	}
	return true;
}

static bool check_total(const char *what, uint64_t counted, uint64_t found, struct kml_error *error)
{
	return counted == found || kml_fail(error, "%s: %llu counted, the walk finds %llu", what,
					    (unsigned long long)counted, (unsigned long long)found);
}

bool buddy_validate(const struct kml_heap *base, struct kml_error *error)
{
	const struct buddy_heap *heap = const_heap_of(base);
	struct census census = {0};
	return check_trees(heap, &census, error) && check_lists(heap, &census, error) &&
	       check_total("free units", heap->free_units, census.free_units, error) &&
	       check_total("granted bytes", heap->granted_bytes, census.granted_bytes, error) &&
	       check_total("padding bytes", heap->padding_bytes, census.padding_bytes, error) &&
	       check_total("blocks", heap->block_count, census.block_count, error) &&
	       check_total("taken bytes of the arena", heap->arena->taken_bytes,
			   census.granted_bytes + census.padding_bytes, error);
}

/* ------------------------------------------------------------------------------------- the systems with places */

struct kml_grant buddy_alloc_by_places(struct kml_heap *heap, const struct kml_request *request)
{
	return buddy_alloc(heap_of(heap), request, BUDDY_PLACES);
}

enum kml_status buddy_free_by_places(struct kml_heap *heap, const struct kml_release *release)
{
	return buddy_free(heap_of(heap), release, BUDDY_PLACES);
}
