/* search_program.c - programs of allocations and frees: at random, changed, played. */
#include "workloads/generate/search_program.h"

#include <stdlib.h>
#include <string.h>

enum { STEP_NS = 1000, CHANGES_MAX = 3, RUN_MAX = 16, RANKS = 65536, SKIP_MAX = 7 };

static struct search_op random_op(const struct search_rules *rules, struct generate *generate)
{
	return (struct search_op){
		.rank = (uint16_t)generate_below(generate, RANKS),
		.skip = (uint8_t)generate_below(generate, SKIP_MAX + 1),
		.size = (uint8_t)generate_below(generate, rules->sizes->count),
		.kind = (uint8_t)(generate_below(generate, 2) ? SEARCH_ALLOC : 1 + generate_below(generate, 2))};
}

void search_program_random(struct search_op *ops, const struct search_rules *rules, struct generate *generate)
{
	for (uint32_t i = 0; i < rules->length; i++)
		ops[i] = random_op(rules, generate);
}

/* ------------------------------------------------------------------------------------------------ changes */

static uint32_t random_place(const struct search_rules *rules, struct generate *generate)
{
	return (uint32_t)generate_below(generate, rules->length);
}

/* Put `op` at one place and take another away: all between them move by one. */
static void move(struct search_op *ops, uint32_t from, uint32_t to, struct search_op op)
{
	if (from < to)
		memmove(ops + from, ops + from + 1, (to - from) * sizeof *ops);
	else
		memmove(ops + to + 1, ops + to, (from - to) * sizeof *ops);
	ops[to] = op;
}

static void repeat_run(struct search_op *ops, const struct search_rules *rules, struct generate *generate)
{
	uint32_t from = random_place(rules, generate), to = random_place(rules, generate);
	uint32_t most = rules->length - (from > to ? from : to);
	uint32_t run = 1 + (uint32_t)generate_below(generate, RUN_MAX);
	memmove(ops + to, ops + from, (run < most ? run : most) * sizeof *ops);
}

static void repeat_one(struct search_op *ops, const struct search_rules *rules, struct generate *generate)
{
	uint32_t from = random_place(rules, generate), most = rules->length - from;
	uint32_t run = 1 + (uint32_t)generate_below(generate, RUN_MAX);
	for (uint32_t i = 1; i < run && i < most; i++)
		ops[from + i] = ops[from];
}

static void change(struct search_op *ops, const struct search_rules *rules, struct generate *generate)
{
	enum { ANEW, INSERT, MOVE, SWAP, REPEAT_ONE, REPEAT_RUN, KINDS };
	uint32_t a = random_place(rules, generate), b = random_place(rules, generate);
	struct search_op kept = ops[a];
	switch (generate_below(generate, KINDS)) {
	case ANEW:
		ops[a] = random_op(rules, generate);
		return;
	case INSERT:
		move(ops, a, b, random_op(rules, generate));
		return;
	case MOVE:
		move(ops, a, b, kept);
		return;
	case SWAP:
		ops[a] = ops[b];
		ops[b] = kept;
		return;
	case REPEAT_ONE:
		repeat_one(ops, rules, generate);
		return;
	default:
		repeat_run(ops, rules, generate);
	}
}

void search_program_change(struct search_op *ops, const struct search_rules *rules, struct generate *generate)
{
	uint64_t changes = 1 + generate_below(generate, CHANGES_MAX);
	for (uint64_t i = 0; i < changes; i++)
		change(ops, rules, generate);
}

/* ------------------------------------------------------------------------------------------------ playing */

/* The live blocks by address. */
struct row {
	uint64_t address, granted_bytes;
	generate_id id;
};

struct board {
	struct row *rows;
	uint32_t count;
	uint64_t freed_address; /* the last one */
};

static void allocate(struct board *board, struct generate *generate, uint64_t size_bytes)
{
	const struct generate_ask ask = {.size_bytes = size_bytes};
	generate_id id = generate_alloc(generate, &ask);
	if (id == GENERATE_REFUSED)
		return;
	const struct row row = {generate_address(generate, id), generate_granted_bytes(generate, id), id};
	uint32_t at = board->count++;
	for (; at > 0 && board->rows[at - 1].address > row.address; at--)
		board->rows[at] = board->rows[at - 1];
	board->rows[at] = row;
}

/* Of the first live block behind an address; count: none. */
static uint32_t first_behind(const struct board *board, uint64_t address)
{
	uint32_t at = 0;
	while (at < board->count && board->rows[at].address <= address)
		at++;
	return at;
}

static void release(struct board *board, struct generate *generate, const struct search_op *op)
{
	uint32_t at = (uint32_t)((uint64_t)op->rank * board->count / RANKS);
	if (op->kind == SEARCH_FREE_ONWARD)
		at = (first_behind(board, board->freed_address) + op->skip) % board->count;
	generate_free(generate, board->rows[at].id, 0);
	board->freed_address = board->rows[at].address;
	board->count--;
	memmove(board->rows + at, board->rows + at + 1, (board->count - at) * sizeof *board->rows);
}

static void play_op(struct board *board, const struct search_op *op, const struct search_rules *rules,
		    struct generate *generate)
{
	uint64_t size_bytes = rules->sizes->size_bytes[op->size];
	bool fits = generate_live_bytes(generate) + size_bytes <= rules->live_max_bytes;
	generate_advance_to(generate, generate_now(generate) + STEP_NS);
	/* Nothing live: everything fits. */
	if (board->count > 0 && (op->kind != SEARCH_ALLOC || !fits))
		release(board, generate, op);
	else
		allocate(board, generate, size_bytes);
}

/* Aligned places of a size in [from, to). */
static uint64_t places_between(uint64_t from, uint64_t to, uint64_t size_bytes)
{
	uint64_t first = (from + size_bytes - 1) / size_bytes, end = to / size_bytes;
	return end > first ? end - first : 0;
}

/* How many of a size the gaps could serve, and behind them what is left of the span. */
static uint64_t count_places(const struct board *board, uint64_t span_bytes, uint64_t size_bytes)
{
	uint64_t places = 0, end = board->rows[0].address, begin = end;
	for (uint32_t i = 0; i < board->count; i++) {
		places += places_between(end, board->rows[i].address, size_bytes);
		end = board->rows[i].address + board->rows[i].granted_bytes;
	}
	return places + places_between(end, begin + span_bytes, size_bytes);
}

static uint64_t promise_of(const struct board *board, const struct search_rules *rules, const struct generate *generate)
{
	uint64_t span_bytes = generate_outcome(generate)->span_bytes, best_bytes = span_bytes;
	uint64_t left_bytes = rules->live_max_bytes - generate_live_bytes(generate);
	for (uint32_t i = 0; board->count > 0 && i < rules->sizes->count; i++) {
		uint64_t size_bytes = rules->sizes->size_bytes[i], wanted = left_bytes / size_bytes;
		uint64_t places = count_places(board, span_bytes, size_bytes);
		if (wanted > places && span_bytes + (wanted - places) * size_bytes > best_bytes)
			best_bytes = span_bytes + (wanted - places) * size_bytes;
	}
	return best_bytes;
}

bool search_program_play(const struct search_op *ops, const struct search_rules *rules, struct generate *generate,
			 search_measure *measure, struct search_score *score)
{
	struct board board = {.rows = malloc(rules->length * sizeof *board.rows)};
	*score = (struct search_score){0};
	if (!board.rows) {
		generate_fail(generate, "out of memory for its live blocks");
		return false;
	}
	for (uint32_t i = 0; i < rules->length; i++) {
		play_op(&board, &ops[i], rules, generate);
		uint64_t value = measure(generate_outcome(generate)),
			 promise_bytes = promise_of(&board, rules, generate);
		if (value > score->value) {
			score->value = value;
			score->reached = i + 1;
		}
		if (promise_bytes > score->promise_bytes)
			score->promise_bytes = promise_bytes;
	}
	free(board.rows);
	return true;
}
