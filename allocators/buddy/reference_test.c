/*
 * reference_test.c - every system, block for block, against a buddy allocator as simple as a textbook's: a tree of
 * nodes, each free, granted or split, searched from end to end.
 *
 * The reference knows no classes, tables, lists or places: a system is a function from a size to its pieces, written
 * down here a second time from the papers.
 */
#include <stdio.h>
#include <string.h>

#include "allocators/buddy/testing.h"

enum { UNITS_MAX = 1000, NODES_MAX = 4 * UNITS_MAX, PIECES_MAX = 16, LIVE_MAX = 200 };

/* Fill the pieces of a block of `size` in address order; their number, 0: not split. -1: no size of the system. */
typedef int split_rule(uint32_t size, uint32_t *pieces);

static bool is_power(uint32_t size, uint32_t base)
{
	while (size % base == 0)
		size /= base;
	return size == 1;
}

static int equal_pieces(uint32_t size, uint32_t count, uint32_t *pieces)
{
	for (uint32_t i = 0; i < count; i++)
		pieces[i] = size / count;
	return (int)count;
}

static int split_powers(uint32_t size, uint32_t base, uint32_t *pieces)
{
	if (!is_power(size, base))
		return -1;
	return size == 1 ? 0 : equal_pieces(size, base, pieces);
}

static int split_binary(uint32_t size, uint32_t *pieces)
{
	return split_powers(size, 2, pieces);
}

static int split_binary_to_16(uint32_t size, uint32_t *pieces)
{
	return size > 16 ? -1 : split_powers(size, 2, pieces);
}

static int split_ternary(uint32_t size, uint32_t *pieces)
{
	return split_powers(size, 3, pieces);
}

static int split_quinary(uint32_t size, uint32_t *pieces)
{
	return split_powers(size, 5, pieces);
}

/* a(n) = a(n-1) + a(n-j), from j ones on. */
static int split_recurrence(uint32_t size, uint32_t j, uint32_t *pieces)
{
	uint32_t a[UNITS_MAX];
	for (uint32_t n = 0; n < j; n++)
		a[n] = 1;
	if (size == 1)
		return 0;
	for (uint32_t n = j; n < UNITS_MAX; n++) {
		a[n] = a[n - 1] + a[n - j];
		if (a[n] > size)
			return -1;
		if (a[n] == size) {
			pieces[0] = a[n - 1];
			pieces[1] = a[n - j];
			return 2;
		}
	}
	return -1;
}

static int split_fibonacci(uint32_t size, uint32_t *pieces)
{
	return split_recurrence(size, 2, pieces);
}

static int split_fibonacci_4(uint32_t size, uint32_t *pieces)
{
	return split_recurrence(size, 4, pieces);
}

static int two_pieces(uint32_t first, uint32_t second, uint32_t *pieces)
{
	pieces[0] = first;
	pieces[1] = second;
	return 2;
}

static int split_weighted(uint32_t size, uint32_t *pieces)
{
	if (size == 1)
		return 0;
	if (size == 2)
		return two_pieces(1, 1, pieces);
	if (is_power(size, 2))
		return two_pieces(size / 4 * 3, size / 4, pieces);
	if (size % 3 == 0 && is_power(size / 3, 2))
		return two_pieces(size / 3 * 2, size / 3, pieces);
	return -1;
}

static int split_tertiary(uint32_t size, uint32_t *pieces)
{
	if (size < 8 || !is_power(size, 2))
		return size == 4 ? two_pieces(2, 2, pieces) : split_weighted(size, pieces);
	pieces[0] = pieces[1] = size / 8 * 3;
	pieces[2] = size / 8 * 2;
	return 3;
}

static int split_dual(uint32_t size, uint32_t *pieces)
{
	if (size == 3)
		return 0;
	if (size % 3 == 0 && is_power(size / 3, 2))
		return equal_pieces(size, 2, pieces);
	return split_binary(size, pieces);
}

static int split_user(uint32_t size, uint32_t *pieces)
{
	switch (size) {
	case 1:
		return 0;
	case 2:
		return two_pieces(1, 1, pieces);
	case 3:
		return two_pieces(2, 1, pieces);
	case 7: /* 3 + 3 + 1 */
		pieces[0] = pieces[1] = 3;
		pieces[2] = 1;
		return 3;
	case 40: /* five times 7, 3, 2 */
		for (uint32_t i = 0; i < 5; i++)
			pieces[i] = 7;
		pieces[5] = 3;
		pieces[6] = 2;
		return 7;
	default:
		return -1;
	}
}

/* ---------------------------------------------------------------------------------------------- the reference */

enum node_state { NODE_FREE, NODE_GRANTED, NODE_SPLIT, NODE_GONE };
enum policy { LIFO, FIFO, LOWEST };

struct node {
	uint32_t start, size;
	int32_t parent;
	int64_t freed_at; /* order of becoming free */
	enum node_state state;
};

struct reference {
	split_rule *split;
	enum policy policy;
	struct node node[NODES_MAX];
	int32_t node_count;
	int64_t clock;
	int8_t yields[UNITS_MAX + 1][UNITS_MAX + 1]; /* 0: not known yet, 1: yes, -1: no */
};

static int32_t add_node(struct reference *reference, uint32_t start, uint32_t size, int32_t parent)
{
	int32_t node = 0;
	while (node < reference->node_count && reference->node[node].state != NODE_GONE)
		node++;
	assert_true(node < NODES_MAX);
	if (node == reference->node_count)
		reference->node_count++;
	reference->node[node] = (struct node){start, size, parent, ++reference->clock, NODE_FREE};
	return node;
}

/* Does splitting a block of `size` give one of `target`? */
static bool yields(struct reference *reference, uint32_t size, uint32_t target)
{
	if (size <= target)
		return size == target;
	int8_t *known = &reference->yields[size][target];
	if (*known == 0) {
		uint32_t pieces[PIECES_MAX];
		int count = reference->split(size, pieces);
		*known = -1;
		for (int i = 0; i < count; i++)
			if (yields(reference, pieces[i], target))
				*known = 1;
	}
	return *known == 1;
}

static void tile_with_roots(struct reference *reference, uint32_t start, uint32_t end, uint32_t multiple)
{
	uint32_t pieces[PIECES_MAX];
	while (start < end) {
		uint32_t size = end - start;
		while (size % multiple != 0 || reference->split(size, pieces) < 0)
			size--;
		add_node(reference, start, size, -1);
		start += size;
	}
}

/* The dual system's two areas; a multiple of 3 is no power of two, so the second has its own sizes. */
static void tile_dual(struct reference *reference, uint32_t units)
{
	uint32_t triples = units * 3 / 7 / 3 * 3, powers = units - triples;
	while (reference->node_count == 0 ||
	       reference->node[reference->node_count - 1].start + reference->node[reference->node_count - 1].size <
		       powers) {
		uint32_t start = reference->node_count == 0 ? 0
							    : reference->node[reference->node_count - 1].start +
								      reference->node[reference->node_count - 1].size;
		uint32_t size = powers - start;
		while (!is_power(size, 2))
			size--;
		add_node(reference, start, size, -1);
	}
	tile_with_roots(reference, powers, units, 3);
}

static void start_reference(struct reference *reference, split_rule *split, enum policy policy, uint32_t units)
{
	memset(reference, 0, sizeof *reference);
	reference->split = split;
	reference->policy = policy;
	if (split == split_dual)
		tile_dual(reference, units);
	else
		tile_with_roots(reference, 0, units, 1);
	/* Lowest first, whatever the policy. */
	for (int32_t i = 0; policy == LIFO && i < reference->node_count; i++)
		reference->node[i].freed_at = -reference->node[i].freed_at;
}

static bool is_better(const struct reference *reference, const struct node *a, const struct node *b)
{
	switch (reference->policy) {
	case LIFO:
		return a->freed_at > b->freed_at;
	case FIFO:
		return a->freed_at < b->freed_at;
	default:
		return a->start < b->start;
	}
}

static int32_t find_free(struct reference *reference, uint32_t wanted, bool exactly)
{
	int32_t best = -1;
	for (int32_t i = 0; i < reference->node_count; i++) {
		const struct node *node = &reference->node[i], *best_node = best < 0 ? NULL : &reference->node[best];
		if (node->state != NODE_FREE || node->size < wanted ||
		    (exactly && !yields(reference, node->size, wanted)))
			continue;
		if (!best_node || node->size < best_node->size ||
		    (node->size == best_node->size && is_better(reference, node, best_node)))
			best = i;
	}
	return best;
}

static int choose_piece(struct reference *reference, const uint32_t *pieces, int count, uint32_t wanted)
{
	int best = -1;
	for (int pass = 0; pass < 2 && best < 0; pass++)
		for (int i = 0; i < count; i++)
			if (pieces[i] >= wanted && (pass == 1 || yields(reference, pieces[i], wanted)) &&
			    (best < 0 || pieces[i] < pieces[best]))
				best = i;
	return best;
}

static int32_t split_node(struct reference *reference, int32_t node, const uint32_t *pieces, int count, int chosen)
{
	uint32_t start[PIECES_MAX] = {reference->node[node].start};
	for (int i = 1; i < count; i++)
		start[i] = start[i - 1] + pieces[i - 1];
	int32_t kept = -1;
	reference->node[node].state = NODE_SPLIT;
	for (int n = 0; n < count; n++) {
		int i = reference->policy == LIFO ? count - 1 - n : n; /* the lowest is next in line */
		int32_t child = add_node(reference, start[i], pieces[i], node);
		if (i == chosen)
			kept = child;
	}
	return kept;
}

/* The granted node, or -1. */
static int32_t reference_alloc(struct reference *reference, uint32_t size)
{
	uint32_t wanted = size, pieces[PIECES_MAX];
	while (wanted <= UNITS_MAX && reference->split(wanted, pieces) < 0)
		wanted++;
	int32_t node = find_free(reference, wanted, true);
	if (node < 0)
		node = find_free(reference, wanted, false);
	if (node < 0)
		return -1;
	for (;;) {
		int count = reference->split(reference->node[node].size, pieces);
		int chosen = choose_piece(reference, pieces, count, wanted);
		if (chosen < 0)
			break;
		node = split_node(reference, node, pieces, count, chosen);
	}
	reference->node[node].state = NODE_GRANTED;
	return node;
}

static void reference_free(struct reference *reference, int32_t node)
{
	reference->node[node].state = NODE_FREE;
	reference->node[node].freed_at = ++reference->clock;
	for (int32_t parent; (parent = reference->node[node].parent) >= 0; node = parent) {
		for (int32_t i = 0; i < reference->node_count; i++)
			if (reference->node[i].parent == parent && reference->node[i].state != NODE_FREE &&
			    reference->node[i].state != NODE_GONE)
				return;
		for (int32_t i = 0; i < reference->node_count; i++)
			if (reference->node[i].parent == parent)
				reference->node[i].state = NODE_GONE;
		reference->node[parent].state = NODE_FREE;
		reference->node[parent].freed_at = reference->clock;
	}
}

/* ---------------------------------------------------------------------------------------------- side by side */

static bool same_block(void *context, const struct kml_block *block)
{
	const struct reference *reference = context;
	for (int32_t i = 0; i < reference->node_count; i++) {
		const struct node *node = &reference->node[i];
		if ((node->state == NODE_FREE || node->state == NODE_GRANTED) && node->start == block->address &&
		    node->size == block->size_bytes) {
			assert_int_equal(block->state, node->state == NODE_FREE ? KML_BLOCK_FREE : KML_BLOCK_GRANTED);
			return true;
		}
	}
	fail_msg("the reference has no block of %llu at %llu", (unsigned long long)block->size_bytes,
		 (unsigned long long)block->address);
	return false;
}

static void run_side_by_side(const char *spec, split_rule *split, enum policy policy, uint32_t units)
{
	static struct reference reference;
	struct bench bench;
	bench_open(&bench, spec, units);
	start_reference(&reference, split, policy, units);
	int32_t live[LIVE_MAX];
	uint32_t live_count = 0;
	uint64_t seed = units, refused = 0;
	for (uint32_t step = 0; step < 1500; step++) {
		if (live_count == LIVE_MAX || (live_count > 0 && bench_random(&seed) % 100 < 45)) {
			uint32_t victim = (uint32_t)(bench_random(&seed) % live_count);
			assert_int_equal(bench_free(&bench, reference.node[live[victim]].start), KML_OK);
			reference_free(&reference, live[victim]);
			live[victim] = live[--live_count];
		} else {
			uint32_t size = 1 + (uint32_t)(bench_random(&seed) % (1u << (1 + bench_random(&seed) % 7)));
			int32_t node = reference_alloc(&reference, size);
			struct kml_grant grant = bench_alloc(&bench, size, 0);
			assert_int_equal(grant.status == KML_OK, node >= 0);
			refused += node < 0;
			if (node < 0)
				continue;
			assert_int_equal(grant.address, reference.node[node].start);
			assert_int_equal(grant.granted_bytes, reference.node[node].size);
			live[live_count++] = node;
		}
		bench.heap->allocator->walk(bench.heap, same_block, &reference);
	}
	assert_true(refused > 0); /* the arena was full at times */
	bench_close(&bench);
}

static void every_system_is_its_reference_block_for_block(void **state)
{
	(void)state;
	static const struct {
		const char *spec;
		split_rule *split;
	} systems[] = {{"binary:unit=1", split_binary},       {"binary:unit=1,max_order=4", split_binary_to_16},
		       {"kary:unit=1,k=2", split_binary},     {"fibonacci:unit=1,j=1", split_binary},
		       {"fibonacci:unit=1", split_fibonacci}, {"fibonacci:unit=1,j=4", split_fibonacci_4},
		       {"kary:unit=1,k=3", split_ternary},    {"kary:unit=1,k=5", split_quinary},
		       {"weighted:unit=1", split_weighted},   {"weighted:sizes=1+2+3+7+40", split_user},
		       {"tertiary:unit=1", split_tertiary},   {"dual:unit=1", split_dual}};
	static const char *const policies[] = {"lifo", "fifo", "lowest"};
	static const uint32_t arenas[] = {256, 200, 377, 729, 999};
	for (size_t i = 0; i < sizeof systems / sizeof systems[0]; i++)
		for (uint32_t policy = LIFO; policy <= LOWEST; policy++)
			for (size_t j = 0; j < sizeof arenas / sizeof arenas[0]; j++) {
				char spec[128];
				snprintf(spec, sizeof spec, "%s,policy=%s", systems[i].spec, policies[policy]);
				run_side_by_side(spec, systems[i].split, (enum policy)policy, arenas[j]);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_system_is_its_reference_block_for_block),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
