/*
 * mutate.c - changes of operation programs that keep operations whole.
 *
 * Swarm testing: Groce, Zhang, Eide, Chen & Regehr, Swarm testing, ISSTA 2012. A feature left out of a test makes room
 * for others, and some features suppress bugs (frees keep an arena from filling). Here the features are the kinds of
 * operation, how large, how old and on how many cpus they are, whether they come in phases or with pauses, and whether
 * they are a rush on one cache.
 */
#include "fuzz/mutate.h"

#include <stdbool.h>
#include <string.h>

#include "fuzz/program.h"
#include "kmemlab/support/random.h"

enum {
	RUN_MAX = 32,     /* operations inserted, repeated or spliced at once */
	STACKED_MAX = 5,  /* changes in one call */
	CPUS = 16,        /* that an operation's byte can name */
	FRESH_ONE_IN = 8, /* changes: a program of its own, for what no small change of an old one leads to */
	SIZES_OWN = 4,    /* sizes that a swarm prefers */
	PHASE_LEAST = 8,  /* operations of a phase; at most eight times as many */
	PAUSE_LEAST = 4,  /* operations between pauses; at most eight times as many */
	PHASE_TRIES = 16, /* draws of a kind that suits the phase */
	RUSH_ONE_IN = 4,  /* swarms */
	FLAGS_CACHE = 7,  /* of the flags' byte: which cache, or none */
};

struct mutation {
	uint8_t *bytes;
	size_t ops, ops_max; /* operations in `bytes` after the setup, and room for them */
	uint64_t state;      /* of the random numbers */
	uint8_t weight[PROGRAM_KINDS];
	unsigned weights;
	uint8_t object_mask, cpu_mask, flags_mask, flags_set;
	bool is_rush;           /* choose_rush */
	bool has_small_numbers; /* parameters */
	bool has_consumer;      /* frees have a cpu of their own */
	uint8_t consumer;
	size_t phase; /* operations that allocate, then as many that do not; 0: mixed */
	size_t pause; /* every so many operations time passes; 0: as it comes */
	uint16_t size[SIZES_OWN];
};

/* The high bit of a cache's second byte: closed at first; below it flags, then the alignment (decode_setup.c). */
enum { CACHE_BYTES = 2, CACHE_CLOSED = 0x80, CACHE_SMALL = 64, CACHE_STEP = 8 };

static uint64_t next_random(struct mutation *mutation)
{
	return random_next(&mutation->state);
}

/* 0 to count - 1; 0 of 0. */
static size_t below(struct mutation *mutation, size_t count)
{
	return count ? (size_t)(next_random(mutation) % count) : 0;
}

static bool one_in(struct mutation *mutation, size_t count)
{
	return below(mutation, count) == 0;
}

/* Short runs most of all. */
static size_t run_length(struct mutation *mutation, size_t most)
{
	size_t length = 1;
	while (length < RUN_MAX && !one_in(mutation, 3))
		length += 1 + below(mutation, length);
	return length < most ? length : most;
}

static uint8_t *op_at(const struct mutation *mutation, size_t op)
{
	return mutation->bytes + PROGRAM_SETUP_BYTES + op * PROGRAM_OP_BYTES;
}

static enum program_kind kind_of(const uint8_t *op)
{
	return (enum program_kind)(op[PROGRAM_BYTE_KIND] * PROGRAM_KINDS / 256);
}

/* The first byte value of a kind. */
static uint8_t kind_byte(enum program_kind kind)
{
	return (uint8_t)((kind * 256 + PROGRAM_KINDS - 1) / PROGRAM_KINDS);
}

/* ------------------------------------------------------------------------------------------------ the swarm */

/*
 * Allocations and frees are what a bug is made of most often, so they weigh more; any kind but the two may be off, and
 * of the two one may be rare. In a rush all are off but objects' and one that interrupts, seldom.
 */
static void choose_kinds(struct mutation *mutation)
{
	static const uint8_t usual[PROGRAM_KINDS] = {
		[PROGRAM_ALLOC] = 12,      [PROGRAM_FREE] = 12,   [PROGRAM_PAGES] = 5,  [PROGRAM_ALLOC_AGAIN] = 8,
		[PROGRAM_FREE_OLDEST] = 4, [PROGRAM_MISUSE] = 2,  [PROGRAM_SHRINK] = 2, [PROGRAM_DRAIN] = 2,
		[PROGRAM_CACHE] = 2,       [PROGRAM_EXHAUST] = 1, [PROGRAM_WAIT] = 1,
	};
	int interruption = PROGRAM_MISUSE + (int)below(mutation, PROGRAM_KINDS - PROGRAM_MISUSE);

	mutation->weights = 0;
	for (int kind = 0; kind < PROGRAM_KINDS; kind++) {
		bool off = kind != PROGRAM_ALLOC && one_in(mutation, 3);
		mutation->weight[kind] = off ? 0 : (uint8_t)(usual[kind] << below(mutation, 3));
		if (mutation->is_rush && (kind == PROGRAM_PAGES || kind >= PROGRAM_MISUSE))
			mutation->weight[kind] = kind == interruption;
		mutation->weights += mutation->weight[kind];
	}
}

/*
 * A rush on one cache: its objects come and go by turns. What an allocator keeps for a cpu, and what its cpus share, is
 * full only after more frees of one cache on one cpu than come together when each operation is chosen for itself.
 */
static void choose_rush(struct mutation *mutation)
{
	mutation->flags_mask &= (uint8_t)~FLAGS_CACHE;
	mutation->flags_set = (uint8_t)((mutation->flags_set & ~FLAGS_CACHE) | below(mutation, PROGRAM_CACHES));
	mutation->object_mask = 0xff;
	mutation->has_consumer = one_in(mutation, 2);
	mutation->phase = PHASE_LEAST << below(mutation, 4);
	mutation->pause = one_in(mutation, 2) ? PAUSE_LEAST << below(mutation, 4) : 0;
}

static void choose_swarm(struct mutation *mutation)
{
	mutation->is_rush = one_in(mutation, RUSH_ONE_IN);
	choose_kinds(mutation);
	/* Few ids live and die often; many fill the arena. So with cpus. */
	mutation->object_mask = (uint8_t)((2u << below(mutation, 8)) - 1);
	mutation->cpu_mask = (uint8_t)((1u << below(mutation, 5)) - 1);
	mutation->has_consumer = one_in(mutation, 4);
	mutation->consumer = (uint8_t)below(mutation, CPUS);
	mutation->phase = one_in(mutation, 3) ? PHASE_LEAST << below(mutation, 4) : 0;
	mutation->pause = one_in(mutation, 4) ? PAUSE_LEAST << below(mutation, 4) : 0;
	mutation->flags_mask = one_in(mutation, 2) ? 0xff : (uint8_t)next_random(mutation);
	mutation->flags_set = (uint8_t)(next_random(mutation) & ~mutation->flags_mask);
	mutation->has_small_numbers = one_in(mutation, 2);
	for (int i = 0; i < SIZES_OWN; i++)
		mutation->size[i] = (uint16_t)next_random(mutation);
	if (mutation->is_rush)
		choose_rush(mutation);
}

static enum program_kind swarm_kind(struct mutation *mutation)
{
	size_t at = below(mutation, mutation->weights);
	int kind = 0;
	while (at >= mutation->weight[kind])
		at -= mutation->weight[kind++];
	return (enum program_kind)kind;
}

static void put_size(uint8_t *op, uint16_t size)
{
	op[PROGRAM_BYTE_SIZE] = (uint8_t)size;
	op[PROGRAM_BYTE_SIZE + 1] = (uint8_t)(size >> 8);
}

static bool is_alloc(enum program_kind kind)
{
	return kind == PROGRAM_ALLOC || kind == PROGRAM_PAGES || kind == PROGRAM_ALLOC_AGAIN;
}

static bool is_free(enum program_kind kind)
{
	return kind == PROGRAM_FREE || kind == PROGRAM_FREE_OLDEST;
}

/* An operation in the swarm's manner. */
static void make_op(struct mutation *mutation, uint8_t *op)
{
	uint64_t random = next_random(mutation);
	enum program_kind kind = swarm_kind(mutation);

	op[PROGRAM_BYTE_KIND] = kind_byte(kind);
	op[PROGRAM_BYTE_OBJECT] = (uint8_t)random & mutation->object_mask;
	op[PROGRAM_BYTE_CPU] = (uint8_t)(random >> 8) & mutation->cpu_mask;
	if (mutation->has_consumer && is_free(kind))
		op[PROGRAM_BYTE_CPU] = mutation->consumer;
	if (random >> 16 & 1)
		op[PROGRAM_BYTE_CPU] |= (uint8_t)(random >> 17) & 0xf0;
	op[PROGRAM_BYTE_FLAGS] = ((uint8_t)(random >> 24) & mutation->flags_mask) | mutation->flags_set;
	put_size(op, random >> 32 & 3 ? mutation->size[random >> 34 & (SIZES_OWN - 1)] : (uint16_t)(random >> 40));
}

/* ------------------------------------------------------------------------------------------------ changes */

/* Make a hole of `count` operations at `at`; the last ones fall off a program that is full. Returns those made. */
static size_t open_hole(struct mutation *mutation, size_t at, size_t count)
{
	size_t room = mutation->ops_max - at;
	count = count < room ? count : room;
	size_t behind = mutation->ops - at, kept = room - count;
	kept = behind < kept ? behind : kept;
	memmove(op_at(mutation, at + count), op_at(mutation, at), kept * PROGRAM_OP_BYTES);
	mutation->ops = at + count + kept;
	return count;
}

static void change_insert(struct mutation *mutation)
{
	size_t at = below(mutation, mutation->ops + 1);
	size_t count = open_hole(mutation, at, run_length(mutation, RUN_MAX));
	for (size_t i = 0; i < count; i++)
		make_op(mutation, op_at(mutation, at + i));
}

static void change_drop(struct mutation *mutation)
{
	size_t at = below(mutation, mutation->ops), count = run_length(mutation, mutation->ops - at);
	memmove(op_at(mutation, at), op_at(mutation, at + count), (mutation->ops - at - count) * PROGRAM_OP_BYTES);
	mutation->ops -= count;
}

/* A run again somewhere: the same objects, or the same kinds of operation on the next ones. */
static void change_repeat(struct mutation *mutation)
{
	uint8_t run[RUN_MAX * PROGRAM_OP_BYTES];
	size_t from = below(mutation, mutation->ops), most = mutation->ops - from;
	size_t count = run_length(mutation, most < RUN_MAX ? most : RUN_MAX);
	memcpy(run, op_at(mutation, from), count * PROGRAM_OP_BYTES);
	size_t at = one_in(mutation, 2) ? from + count : below(mutation, mutation->ops + 1);
	uint8_t shift = one_in(mutation, 2) ? 0 : (uint8_t)count;
	count = open_hole(mutation, at, count);
	for (size_t i = 0; i < count; i++)
		run[i * PROGRAM_OP_BYTES + PROGRAM_BYTE_OBJECT] += shift;
	memcpy(op_at(mutation, at), run, count * PROGRAM_OP_BYTES);
}

static void change_swap(struct mutation *mutation)
{
	uint8_t kept[PROGRAM_OP_BYTES];
	size_t a = below(mutation, mutation->ops), b = below(mutation, mutation->ops);
	if (one_in(mutation, 2))
		b = a + 1 < mutation->ops ? a + 1 : a;
	memcpy(kept, op_at(mutation, a), sizeof kept);
	memmove(op_at(mutation, a), op_at(mutation, b), sizeof kept);
	memcpy(op_at(mutation, b), kept, sizeof kept);
}

static void change_move(struct mutation *mutation)
{
	uint8_t kept[PROGRAM_OP_BYTES];
	size_t from = below(mutation, mutation->ops), to = below(mutation, mutation->ops);
	memcpy(kept, op_at(mutation, from), sizeof kept);
	if (from < to)
		memmove(op_at(mutation, from), op_at(mutation, from + 1), (to - from) * PROGRAM_OP_BYTES);
	else
		memmove(op_at(mutation, to + 1), op_at(mutation, to), (from - to) * PROGRAM_OP_BYTES);
	memcpy(op_at(mutation, to), kept, sizeof kept);
}

static void change_size(struct mutation *mutation, uint8_t *op)
{
	uint16_t size = (uint16_t)(op[PROGRAM_BYTE_SIZE] | op[PROGRAM_BYTE_SIZE + 1] << 8);
	switch (below(mutation, 6)) {
	case 0:
		size++;
		break;
	case 1:
		size--;
		break;
	case 2:
		size ^= (uint16_t)(1u << below(mutation, 16));
		break;
	case 3: /* as another operation's: the same class */
		memcpy(op + PROGRAM_BYTE_SIZE, op_at(mutation, below(mutation, mutation->ops)) + PROGRAM_BYTE_SIZE, 2);
		return;
	case 4:
		size = mutation->size[below(mutation, SIZES_OWN)];
		break;
	default:
		size = (uint16_t)next_random(mutation);
	}
	put_size(op, size);
}

static void change_field(struct mutation *mutation)
{
	uint8_t *op = op_at(mutation, below(mutation, mutation->ops));
	switch (below(mutation, 6)) {
	case 0:
		op[PROGRAM_BYTE_KIND] = kind_byte(swarm_kind(mutation));
		break;
	case 1:
		op[PROGRAM_BYTE_OBJECT] = (uint8_t)below(mutation, PROGRAM_OBJECTS);
		break;
	case 2:
		op[PROGRAM_BYTE_CPU] = (op[PROGRAM_BYTE_CPU] & 0xf0) | (uint8_t)below(mutation, CPUS);
		break;
	case 3:
		op[PROGRAM_BYTE_CPU] = (op[PROGRAM_BYTE_CPU] & 0x0f) | (uint8_t)(below(mutation, 16) << 4);
		break;
	case 4:
		op[PROGRAM_BYTE_FLAGS] ^= (uint8_t)(1u << below(mutation, 8));
		break;
	default:
		change_size(mutation, op);
	}
}

/* A free, or a misuse, of an object that is allocated somewhere before it. */
static void change_target(struct mutation *mutation)
{
	size_t at = below(mutation, mutation->ops);
	for (size_t i = 0; i < mutation->ops && is_alloc(kind_of(op_at(mutation, at))); i++)
		at = (at + 1) % mutation->ops;
	uint8_t *op = op_at(mutation, at);
	if (is_alloc(kind_of(op)) || at == 0)
		op[PROGRAM_BYTE_KIND] = kind_byte(PROGRAM_FREE);
	for (size_t tries = 0; tries < RUN_MAX && at > 0; tries++) {
		const uint8_t *alloc = op_at(mutation, below(mutation, at));
		if (!is_alloc(kind_of(alloc)))
			continue;
		op[PROGRAM_BYTE_OBJECT] = alloc[PROGRAM_BYTE_OBJECT];
		if (one_in(mutation, 2))
			op[PROGRAM_BYTE_FLAGS] = alloc[PROGRAM_BYTE_FLAGS];
		return;
	}
}

/* Of a run of operations one field becomes the same in all. */
static void change_alike(struct mutation *mutation)
{
	size_t from = below(mutation, mutation->ops), count = run_length(mutation, mutation->ops - from);
	const uint8_t *model = op_at(mutation, from);
	size_t field = below(mutation, PROGRAM_BYTE_SIZE + 1), bytes = field == PROGRAM_BYTE_SIZE ? 2 : 1;
	for (size_t i = 1; i < count; i++)
		memcpy(op_at(mutation, from + i) + field, model + field, bytes);
}

/* Allocate a run, then free it in some order: what drains and merges is made of. */
static void change_wave(struct mutation *mutation)
{
	size_t count = 1 + below(mutation, RUN_MAX / 2), at = below(mutation, mutation->ops + 1);
	size_t made = open_hole(mutation, at, 2 * count), first = next_random(mutation) & (PROGRAM_OBJECTS - 1);
	bool reversed = one_in(mutation, 2), alike = one_in(mutation, 2);
	size_t stride = one_in(mutation, 2) ? 1 : 2 * below(mutation, count) + 1;
	for (size_t i = 0; i < made; i++) {
		uint8_t *op = op_at(mutation, at + i);
		make_op(mutation, op);
		size_t place = i < count ? i : (i - count) * stride % count;
		if (i >= count && reversed)
			place = count - 1 - place;
		op[PROGRAM_BYTE_KIND] = kind_byte(i >= count            ? PROGRAM_FREE
						  : one_in(mutation, 8) ? PROGRAM_PAGES
									: PROGRAM_ALLOC);
		op[PROGRAM_BYTE_OBJECT] = (uint8_t)((first + place) % PROGRAM_OBJECTS);
		if (alike && i > 0)
			memcpy(op + PROGRAM_BYTE_CPU, op_at(mutation, at) + PROGRAM_BYTE_CPU,
			       PROGRAM_OP_BYTES - PROGRAM_BYTE_CPU);
	}
}

static uint8_t *cache_at(const struct mutation *mutation, size_t cache)
{
	return mutation->bytes + PROGRAM_BYTE_CACHES + CACHE_BYTES * cache;
}

/* One as another, or nearly so: of the same slab size and kind, but for whether it is open. Caches that could share
 * slabs are else one in a thousand. */
static void change_cache_alike(struct mutation *mutation)
{
	const uint8_t *model = cache_at(mutation, below(mutation, PROGRAM_CACHES));
	uint8_t *cache = cache_at(mutation, below(mutation, PROGRAM_CACHES)),
		step = (uint8_t)below(mutation, CACHE_STEP);
	cache[0] = one_in(mutation, 2) ? model[0] + step : model[0] - step;
	cache[1] = (uint8_t)((model[1] & ~CACHE_CLOSED) | (one_in(mutation, 2) ? CACHE_CLOSED : 0));
}

/* The allocators' parameters come first in their bytes, and most have few. Below 128 a byte leaves the default. */
enum { PARAMETERS = PROGRAM_SETUP_BYTES - PROGRAM_BYTE_PARAMETERS, PARAMETER_TOLD = 128, SMALL_NUMBERS = 8 };

/* Of a small number, or of any value. Limits are reached where they are small: a program has few operations. */
static uint8_t parameter_byte(struct mutation *mutation)
{
	return (uint8_t)(PARAMETER_TOLD +
			 below(mutation, mutation->has_small_numbers ? SMALL_NUMBERS : 256 - PARAMETER_TOLD));
}

static void change_parameter(struct mutation *mutation)
{
	size_t at = below(mutation, 1 + below(mutation, PARAMETERS));
	mutation->bytes[PROGRAM_BYTE_PARAMETERS + at] = one_in(mutation, 4) ? 0 : parameter_byte(mutation);
}

/*
 * All parameters anew: half of them, or all, up to one of the first. Of many some contradict each other, and then the
 * defaults stand for all; those of the upper layer, which come first, belong together.
 */
static void make_parameters(struct mutation *mutation)
{
	uint8_t *parameter = mutation->bytes + PROGRAM_BYTE_PARAMETERS;
	size_t told = one_in(mutation, 4) ? PARAMETERS : 1 + below(mutation, 1 + below(mutation, PARAMETERS));
	bool all = one_in(mutation, 4);
	memset(parameter, 0, PARAMETERS);
	for (size_t i = 0; i < told; i++)
		parameter[i] = all || one_in(mutation, 2) ? parameter_byte(mutation) : 0;
}

static void change_setup(struct mutation *mutation)
{
	uint8_t *at = mutation->bytes + below(mutation, PROGRAM_BYTE_PARAMETERS);
	switch (below(mutation, 6)) {
	case 0:
		*at += one_in(mutation, 2) ? 1 : -1;
		return;
	case 1:
		*at = (uint8_t)next_random(mutation);
		return;
	case 2:
		change_cache_alike(mutation);
		return;
	case 3:
		make_parameters(mutation);
		return;
	default:
		change_parameter(mutation);
	}
}

/*
 * In a swarm of setups half have caches without flags, as most of a kernel's are, half caches that are open from the
 * start, some small ones, half caches that are alike: rules that ask two things of two caches at once are else out of
 * reach.
 */
static void make_caches(struct mutation *mutation)
{
	bool plain = one_in(mutation, 2), open = one_in(mutation, 2),
	     small = one_in(mutation, mutation->is_rush ? 2 : 4);
	for (size_t i = 0; i < PROGRAM_CACHES; i++) {
		cache_at(mutation, i)[0] %= small ? CACHE_SMALL : 256;
		cache_at(mutation, i)[1] &= plain ? CACHE_CLOSED : 0xff;
	}
	for (size_t left = one_in(mutation, 2) ? PROGRAM_CACHES : 0; left > 0; left--)
		change_cache_alike(mutation);
	for (size_t i = 0; open && i < PROGRAM_CACHES; i++)
		cache_at(mutation, i)[1] &= (uint8_t)~CACHE_CLOSED;
}

static void make_setup(struct mutation *mutation)
{
	for (size_t i = 0; i < PROGRAM_SETUP_BYTES; i++)
		mutation->bytes[i] = (uint8_t)next_random(mutation);
	make_parameters(mutation);
	make_caches(mutation);
}

/* Of a phase, which fills and empties by turns: what is batched, cached or shared is seen at its limits only so. */
static void make_op_of_phase(struct mutation *mutation, uint8_t *op, size_t place)
{
	bool allocates = place / mutation->phase % 2 == 0;
	make_op(mutation, op);
	for (int tries = 0; tries < PHASE_TRIES && is_alloc(kind_of(op)) != allocates; tries++)
		make_op(mutation, op);
}

/* All operations anew, all of one swarm. */
static void make_ops(struct mutation *mutation)
{
	mutation->ops = mutation->ops_max ? 1 + below(mutation, mutation->ops_max) : 0;
	if (mutation->is_rush && mutation->ops < 2 * mutation->phase) /* it comes and goes */
		mutation->ops = 2 * mutation->phase < mutation->ops_max ? 2 * mutation->phase : mutation->ops_max;
	for (size_t i = 0; i < mutation->ops; i++)
		if (mutation->phase)
			make_op_of_phase(mutation, op_at(mutation, i), i);
		else
			make_op(mutation, op_at(mutation, i));
	for (size_t i = mutation->pause; mutation->pause && i < mutation->ops; i += mutation->pause)
		op_at(mutation, i)[PROGRAM_BYTE_KIND] = kind_byte(PROGRAM_WAIT);
}

/* Half of the time the setup is new as well. */
static void change_all(struct mutation *mutation)
{
	if (one_in(mutation, 2))
		make_setup(mutation);
	make_ops(mutation);
}

typedef void change(struct mutation *mutation);

static void change_once(struct mutation *mutation)
{
	/* A change named twice is twice as likely. */
	static change *const changes[] = {change_field,  change_field, change_field,  change_insert, change_insert,
					  change_insert, change_drop,  change_drop,   change_repeat, change_repeat,
					  change_swap,   change_move,  change_target, change_target, change_alike,
					  change_wave,   change_setup, change_setup};
	enum { CHANGES = sizeof changes / sizeof changes[0] };

	if (mutation->ops_max == 0)
		change_setup(mutation);
	else if (mutation->ops == 0 || one_in(mutation, FRESH_ONE_IN))
		change_all(mutation);
	else
		changes[below(mutation, CHANGES)](mutation);
}

/* ------------------------------------------------------------------------------------------------ entry points */

static size_t ops_in(size_t byte_count)
{
	return byte_count > PROGRAM_SETUP_BYTES ? (byte_count - PROGRAM_SETUP_BYTES) / PROGRAM_OP_BYTES : 0;
}

size_t program_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, uint64_t seed)
{
	if (byte_max < PROGRAM_SETUP_BYTES)
		return byte_count < byte_max ? byte_count : byte_max;
	if (byte_count < PROGRAM_SETUP_BYTES)
		memset(bytes + byte_count, 0, PROGRAM_SETUP_BYTES - byte_count);
	struct mutation mutation = {.bytes = bytes, .ops_max = ops_in(byte_max), .state = seed};
	size_t ops = ops_in(byte_count);
	mutation.ops = ops < mutation.ops_max ? ops : mutation.ops_max;
	choose_swarm(&mutation);
	size_t changes = 1;
	while (changes < STACKED_MAX && one_in(&mutation, 2))
		changes++;
	while (changes--)
		change_once(&mutation);
	return PROGRAM_SETUP_BYTES + mutation.ops * PROGRAM_OP_BYTES;
}

size_t program_generate(uint8_t *bytes, size_t byte_max, uint64_t seed)
{
	if (byte_max < PROGRAM_SETUP_BYTES)
		return 0;
	struct mutation mutation = {.bytes = bytes, .ops_max = ops_in(byte_max), .state = seed};
	choose_swarm(&mutation);
	make_setup(&mutation);
	make_ops(&mutation);
	return PROGRAM_SETUP_BYTES + mutation.ops * PROGRAM_OP_BYTES;
}

/* Runs of the one and the other in turn, each where it stood or, now and then, from anywhere. */
size_t program_crossover(const uint8_t *first, size_t first_count, const uint8_t *second, size_t second_count,
			 uint8_t *out, size_t out_max, uint64_t seed)
{
	if (out_max < PROGRAM_SETUP_BYTES)
		return 0;
	struct mutation mutation = {.bytes = out, .ops_max = ops_in(out_max), .state = seed};
	const uint8_t *parent[] = {first, second};
	size_t count[] = {first_count, second_count};
	size_t now = below(&mutation, 2), from = 0;

	size_t setup = count[now] < PROGRAM_SETUP_BYTES ? count[now] : PROGRAM_SETUP_BYTES;
	memset(out, 0, PROGRAM_SETUP_BYTES);
	if (setup)
		memcpy(out, parent[now], setup);
	while (mutation.ops < mutation.ops_max && from < ops_in(count[now])) {
		size_t most = ops_in(count[now]) - from, room = mutation.ops_max - mutation.ops;
		size_t run = 1 + below(&mutation, most < room ? most : room);
		memcpy(op_at(&mutation, mutation.ops), parent[now] + PROGRAM_SETUP_BYTES + from * PROGRAM_OP_BYTES,
		       run * PROGRAM_OP_BYTES);
		mutation.ops += run;
		now = !now;
		from = one_in(&mutation, 3) ? below(&mutation, ops_in(count[now])) : mutation.ops;
	}
	return PROGRAM_SETUP_BYTES + mutation.ops * PROGRAM_OP_BYTES;
}
