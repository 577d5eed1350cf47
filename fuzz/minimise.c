/*
 * minimise.c - delta debugging of programs and of bytes.
 *
 * One search: `best` fails as wanted; a change is made to `candidate`, a copy of it; candidates that fail as wanted
 * become the best. Every change makes the program smaller or one of its numbers lower, so that the search ends.
 */
#include "fuzz/minimise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kmemlab/support/error.h"

static uint64_t now_seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec;
}

/* What programs and bytes have in common. */
struct search {
	const struct fuzz_verdict *wanted;
	struct fuzz_effort *effort;
	uint64_t started_s;
	bool stopped; /* by the effort's limits, or by *error */
	bool broken;  /* *error is filled */
	struct kml_error *error;
	struct fuzz_verdict verdict; /* of the last try */
};

static void start_search(struct search *search, const struct fuzz_verdict *wanted, struct fuzz_effort *effort,
			 struct kml_error *error)
{
	*search = (struct search){.wanted = wanted, .effort = effort, .error = error, .started_s = now_seconds()};
	effort->tries = 0;
}

static bool fails_as_wanted(struct search *search, const struct fuzz_input *input)
{
	struct fuzz_effort *effort = search->effort;
	search->stopped = search->stopped || (effort->tries_max && effort->tries >= effort->tries_max) ||
			  (effort->seconds_max && now_seconds() - search->started_s >= effort->seconds_max);
	if (search->stopped)
		return false;
	effort->tries++;
	if (!fuzz_judge(input, &search->verdict, search->error)) {
		search->stopped = search->broken = true;
		return false;
	}
	return fuzz_same_find(&search->verdict, search->wanted);
}

/* The first try: what cannot be shown again cannot be made smaller. */
static bool is_shown(struct search *search, const struct fuzz_input *input)
{
	if (fails_as_wanted(search, input))
		return true;
	if (!search->broken)
		kml_fail(search->error, "it does not end with %s%s%s again, but with %s", search->wanted->oracle,
			 search->wanted->place[0] ? " in " : "", search->wanted->place,
			 search->verdict.failed ? search->verdict.oracle : "nothing wrong");
	return false;
}

/* ---------------------------------------------------------------------------------------------- programs */

struct program_search {
	struct search search;
	struct program *best;
	struct program candidate;
	bool improved; /* in this round */
};

/* False without memory. */
static bool copy_program(struct program *to, const struct program *from)
{
	to->event_count = 0;
	for (uint32_t i = 0; i < from->event_count; i++)
		if (!program_add(to, &from->events[i]))
			return false;
	/* program_add gives no event an earlier time than its predecessor: the times are taken as they are. */
	if (from->event_count)
		memcpy(to->events, from->events, from->event_count * sizeof *from->events);
	to->setup = from->setup;
	for (uint32_t i = 0; i < to->setup.cache_count; i++)
		to->setup.caches[i].name = to->setup.cache_names[i];
	return true;
}

static bool begin_candidate(struct program_search *search)
{
	if (copy_program(&search->candidate, search->best))
		return true;
	search->search.stopped = search->search.broken = true;
	return kml_fail(search->search.error, "out of memory for a copy of the program");
}

/* Keep the candidate when it still fails. */
static bool accept(struct program_search *search)
{
	const struct fuzz_input input = {.program = &search->candidate};
	if (!fails_as_wanted(&search->search, &input))
		return false;
	if (!copy_program(search->best, &search->candidate))
		search->search.stopped = true;
	search->improved = true;
	return true;
}

/* - - - operations */

static void drop_events(struct program *program, uint32_t first, uint32_t count)
{
	uint32_t after = program->event_count - first - count;
	memmove(program->events + first, program->events + first + count, after * sizeof *program->events);
	program->event_count -= count;
}

static void drop_operations(struct program_search *search)
{
	for (uint32_t chunk = (search->best->event_count + 1) / 2; chunk > 0; chunk /= 2) {
		/* From the end: what comes after the failure goes first, frees before their allocations. */
		uint32_t end = search->best->event_count;
		while (end > 0 && !search->search.stopped) {
			uint32_t count = chunk < end ? chunk : end;
			if (!begin_candidate(search))
				return;
			drop_events(&search->candidate, end - count, count);
			accept(search);
			end -= count;
		}
	}
}

/* - - - numbers */

enum field_kind {
	FIELD_ARENA,
	FIELD_CPUS,
	FIELD_CHECK,
	FIELD_SEED,
	SETUP_FIELDS,
	FIELD_CACHE_OBJECT = SETUP_FIELDS,
	FIELD_CACHE_ALIGN,
	FIELD_CACHE_FLAGS,
	CACHE_FIELDS,
	FIELD_GAP = CACHE_FIELDS, /* time since the event before */
	FIELD_ORDER,
	FIELD_SIZES_ALIKE, /* of all events that do the same with the same size: blocks of one class stay so */
	FIELD_SIZE,
	FIELD_ALIGN,
	FIELD_CPU,
	FIELD_FLAGS,
	EVENT_FIELDS
};

/* A number of the program; `index` of its cache or event. */
struct field {
	enum field_kind kind;
	uint32_t index;
};

static uint64_t read_field(const struct program *program, struct field field)
{
	const struct kmt_event *event = program->events + field.index;
	const struct kmt_cache *cache = program->setup.caches + field.index;
	switch (field.kind) {
	case FIELD_ARENA:
		return program->setup.arena_bytes;
	case FIELD_CPUS:
		return program->setup.cpu_count;
	case FIELD_CHECK:
		return program->setup.check_every;
	case FIELD_SEED:
		return program->setup.seed;
	case FIELD_CACHE_OBJECT:
		return cache->object_bytes;
	case FIELD_CACHE_ALIGN:
		return cache->align_bytes;
	case FIELD_CACHE_FLAGS:
		return cache->flags;
	case FIELD_GAP:
		return event->time_ns - (field.index ? event[-1].time_ns : 0);
	case FIELD_ORDER:
		return event->order;
	case FIELD_SIZES_ALIKE:
	case FIELD_SIZE:
		return event->size_bytes;
	case FIELD_ALIGN:
		return event->align_log2;
	case FIELD_CPU:
		return event->cpu;
	case FIELD_FLAGS:
	default:
		return event->flags;
	}
}

static void write_gap(struct program *program, uint32_t index, uint64_t gap)
{
	uint64_t less = read_field(program, (struct field){FIELD_GAP, index}) - gap;
	for (uint32_t i = index; i < program->event_count; i++)
		program->events[i].time_ns -= less;
}

static void write_sizes_alike(struct program *program, uint32_t index, uint64_t value)
{
	const struct kmt_event like = program->events[index];
	for (uint32_t i = 0; i < program->event_count; i++)
		if (program->events[i].op == like.op && program->events[i].size_bytes == like.size_bytes)
			program->events[i].size_bytes = value;
}

static void write_field(struct program *program, struct field field, uint64_t value)
{
	struct kmt_event *event = program->events + field.index;
	struct kmt_cache *cache = program->setup.caches + field.index;
	switch (field.kind) {
	case FIELD_ARENA:
		program->setup.arena_bytes = value;
		break;
	case FIELD_CPUS:
		program->setup.cpu_count = (uint32_t)value;
		break;
	case FIELD_CHECK:
		program->setup.check_every = (uint32_t)value;
		break;
	case FIELD_SEED:
		program->setup.seed = value;
		break;
	case FIELD_CACHE_OBJECT:
		cache->object_bytes = value;
		break;
	case FIELD_CACHE_ALIGN:
		cache->align_bytes = value;
		break;
	case FIELD_CACHE_FLAGS:
		cache->flags = (uint32_t)value;
		break;
	case FIELD_GAP:
		write_gap(program, field.index, value);
		break;
	case FIELD_ORDER:
		event->order = (uint8_t)value;
		if (event->op == KMT_PAGE_ALLOC)
			event->size_bytes = (uint64_t)program->setup.page_bytes << value;
		break;
	case FIELD_SIZES_ALIKE:
		write_sizes_alike(program, field.index, value);
		break;
	case FIELD_SIZE:
		event->size_bytes = value;
		break;
	case FIELD_ALIGN:
		event->align_log2 = (uint8_t)value;
		break;
	case FIELD_CPU:
		event->cpu = (uint16_t)value;
		break;
	case FIELD_FLAGS:
	default:
		event->flags = (uint16_t)value;
		break;
	}
}

/* The lowest that may be. Numbers that are no amount stay: a page's size follows its order, a misuse's order is its
 * kind. */
static uint64_t lowest(const struct program *program, struct field field)
{
	const struct kmt_event *event = program->events + field.index;
	switch (field.kind) {
	case FIELD_ARENA:
		return program->setup.page_bytes;
	case FIELD_CPUS:
	case FIELD_SEED:
	case FIELD_CACHE_OBJECT:
		return 1;
	case FIELD_SIZES_ALIKE:
	case FIELD_SIZE:
		if (event->op == KMT_ALLOC)
			return 1;
		return event->op == KMT_PAGE_ALLOC ? event->size_bytes : 0;
	case FIELD_ORDER:
		return event->op == KMT_PAGE_ALLOC ? 0 : event->order;
	default:
		return 0;
	}
}

/* The sizes of an arena and of alignments are multiples of something: odd values only where even ones will not do. */
static uint64_t step_of(const struct program *program, struct field field)
{
	uint64_t value = read_field(program, field);
	if (field.kind == FIELD_ARENA && value % program->setup.page_bytes == 0)
		return program->setup.page_bytes;
	bool is_size = field.kind == FIELD_SIZE || field.kind == FIELD_SIZES_ALIKE;
	return is_size && value % 16 == 0 && value > 16 ? 16 : 1;
}

static bool try_value(struct program_search *search, struct field field, uint64_t value)
{
	if (search->search.stopped || !begin_candidate(search))
		return false;
	if (field.kind == FIELD_CACHE_OBJECT) /* its allocations ask for what it has */
		for (uint32_t i = 0; i < search->candidate.event_count; i++) {
			struct kmt_event *event = &search->candidate.events[i];
			if (event->op == KMT_ALLOC && event->cache == field.index)
				event->size_bytes = value;
		}
	write_field(&search->candidate, field, value);
	return accept(search);
}

/* Sets of bits: one after the other. */
static void clear_bits(struct program_search *search, struct field field)
{
	for (uint32_t bit = 0; bit < 32; bit++)
		if (read_field(search->best, field) >> bit & 1)
			try_value(search, field, read_field(search->best, field) & ~(1ull << bit));
}

/* Alignments are powers of two. */
static void halve(struct program_search *search, struct field field)
{
	for (uint64_t value = read_field(search->best, field); value > 1; value /= 2)
		if (!try_value(search, field, value / 2))
			return;
}

/* Lower by bisection: exact where small values pass and large ones fail, good elsewhere. */
static void bisect(struct program_search *search, struct field field, uint64_t low)
{
	uint64_t step = step_of(search->best, field);
	uint64_t fails = read_field(search->best, field) / step, passes = low / step;
	while (fails - passes > 1 && fails > passes && !search->search.stopped) {
		uint64_t middle = passes + (fails - passes) / 2;
		if (try_value(search, field, middle * step))
			fails = middle;
		else
			passes = middle;
	}
}

static void shrink_field(struct program_search *search, struct field field)
{
	uint64_t low = lowest(search->best, field);
	if (read_field(search->best, field) <= low || try_value(search, field, low))
		return;
	if (field.kind == FIELD_FLAGS || field.kind == FIELD_CACHE_FLAGS)
		clear_bits(search, field);
	else if (field.kind == FIELD_CACHE_ALIGN)
		halve(search, field);
	else
		bisect(search, field, low);
}

static void shrink_numbers(struct program_search *search)
{
	for (int kind = 0; kind < SETUP_FIELDS; kind++)
		shrink_field(search, (struct field){kind, 0});
	for (int kind = SETUP_FIELDS; kind < CACHE_FIELDS; kind++)
		for (uint32_t i = 0; i < search->best->setup.cache_count; i++)
			shrink_field(search, (struct field){kind, i});
	for (int kind = CACHE_FIELDS; kind < EVENT_FIELDS; kind++)
		for (uint32_t i = 0; i < search->best->event_count; i++)
			shrink_field(search, (struct field){kind, i});
}

/* - - - caches */

static bool has_cache(const struct kmt_event *event)
{
	return event->cache != KMT_NO_CACHE;
}

/* Its events go to no cache; opening and closing go altogether. */
static void drop_cache(struct program *program, uint32_t index)
{
	struct program_setup *setup = &program->setup;
	for (uint32_t i = 0; i < program->event_count; i++) {
		struct kmt_event *event = &program->events[i];
		bool is_its = event->cache == index;
		if (has_cache(event) && event->cache > index)
			event->cache--;
		else if (is_its)
			event->cache = KMT_NO_CACHE;
		if (is_its && (event->op == KMT_CACHE_OPEN || event->op == KMT_CACHE_CLOSE))
			drop_events(program, i--, 1);
	}
	for (uint32_t i = index; i + 1 < setup->cache_count; i++) {
		setup->caches[i] = setup->caches[i + 1];
		memcpy(setup->cache_names[i], setup->cache_names[i + 1], sizeof setup->cache_names[i]);
		setup->caches[i].name = setup->cache_names[i];
	}
	setup->cache_count--;
}

static void drop_caches(struct program_search *search)
{
	for (uint32_t index = search->best->setup.cache_count; index-- > 0;) {
		if (search->search.stopped || !begin_candidate(search))
			return;
		drop_cache(&search->candidate, index);
		accept(search);
	}
}

/* Objects of caches that could do without. */
static void leave_caches(struct program_search *search)
{
	for (uint32_t i = 0; i < search->best->event_count; i++) {
		const struct kmt_event *event = &search->best->events[i];
		if (!has_cache(event) || event->op == KMT_CACHE_OPEN || event->op == KMT_CACHE_CLOSE)
			continue;
		if (search->search.stopped || !begin_candidate(search))
			return;
		search->candidate.events[i].cache = KMT_NO_CACHE;
		accept(search);
	}
}

/* - - - parameters of the stack */

/* The n-th NAME=VALUE and its comma, or the colon when it was alone. False when there are fewer. */
static bool drop_parameter(char *stack, uint32_t n)
{
	char *at = stack;
	while ((at = strpbrk(at, ":,")) != NULL && n > 0) {
		at++;
		n--;
	}
	if (!at)
		return false;
	size_t length = 1 + strcspn(at + 1, ",/");
	if (*at == ':' && at[length] == ',') /* the colon stays, the comma after it goes */
		at++;
	memmove(at, at + length, strlen(at + length) + 1);
	return true;
}

static void drop_parameters(struct program_search *search)
{
	for (uint32_t n = 0; !search->search.stopped;) {
		if (!begin_candidate(search) || !drop_parameter(search->candidate.setup.stack, n))
			return;
		n += !accept(search);
	}
}

/* - - - names */

static bool names_object(const struct kmt_event *event)
{
	switch (event->op) {
	case KMT_ALLOC:
	case KMT_FREE:
	case KMT_PAGE_ALLOC:
	case KMT_PAGE_FREE:
	case KMT_RCU_FREE:
	case KMT_MISUSE:
		return true;
	default:
		return false;
	}
}

/* Ids in the order of their first use. O(events x ids). */
static void renumber_ids(struct program_search *search)
{
	uint32_t ids = 0;
	if (search->search.stopped || !begin_candidate(search))
		return;
	uint32_t *old = calloc(search->best->event_count + 1, sizeof *old);
	for (uint32_t i = 0; old && i < search->candidate.event_count; i++) {
		struct kmt_event *event = &search->candidate.events[i];
		uint32_t id = 0;
		if (!names_object(event))
			continue;
		while (id < ids && old[id] != event->object)
			id++;
		old[id] = event->object;
		ids += id == ids;
		event->object = id;
	}
	free(old);
	bool improved = search->improved;
	accept(search);
	search->improved = improved; /* other names are no progress */
}

bool fuzz_minimise_program(struct program *program, const struct fuzz_verdict *wanted, struct fuzz_effort *effort,
			   struct kml_error *error)
{
	struct program_search search = {.best = program};
	const struct fuzz_input input = {.program = program};
	start_search(&search.search, wanted, effort, error);
	if (!is_shown(&search.search, &input))
		return false;
	do {
		search.improved = false;
		drop_operations(&search);
		drop_parameters(&search);
		drop_caches(&search);
		leave_caches(&search);
		shrink_numbers(&search);
	} while (search.improved && !search.search.stopped);
	renumber_ids(&search);
	program_free(&search.candidate);
	return !search.search.broken;
}

/* ------------------------------------------------------------------------------------------------- bytes */

struct byte_search {
	struct search search;
	const struct fuzz_target *target;
	uint8_t *best, *candidate;
	size_t count;
	bool improved;
};

static bool accept_bytes(struct byte_search *search, size_t count)
{
	const struct fuzz_input input = {.target = search->target, .bytes = search->candidate, .byte_count = count};
	if (!fails_as_wanted(&search->search, &input))
		return false;
	memcpy(search->best, search->candidate, count);
	search->count = count;
	search->improved = true;
	return true;
}

/* Whole units behind a head that stays. */
static void drop_bytes(struct byte_search *search, size_t head, size_t unit)
{
	size_t units = search->count > head ? (search->count - head + unit - 1) / unit : 0;
	for (size_t chunk = (units + 1) / 2; chunk > 0; chunk /= 2) {
		size_t end = search->count > head ? (search->count - head + unit - 1) / unit : 0;
		while (end > 0 && !search->search.stopped) {
			size_t first = end > chunk ? end - chunk : 0;
			size_t from = head + first * unit, to = head + end * unit;
			to = to < search->count ? to : search->count;
			memcpy(search->candidate, search->best, from);
			memcpy(search->candidate + from, search->best + to, search->count - to);
			accept_bytes(search, search->count - (to - from));
			end = first;
		}
	}
}

static bool try_byte(struct byte_search *search, size_t at, uint8_t value)
{
	memcpy(search->candidate, search->best, search->count);
	search->candidate[at] = value;
	return accept_bytes(search, search->count);
}

/* The setup of a program may not be shortened but its end may be 0, which is the same. */
static void lower_bytes(struct byte_search *search)
{
	for (size_t i = 0; i < search->count && !search->search.stopped; i++)
		if (search->best[i] != 0 && !try_byte(search, i, 0) && search->best[i] > 1)
			try_byte(search, i, search->best[i] / 2);
}

bool fuzz_minimise_bytes(const struct fuzz_target *target, uint8_t *bytes, size_t *byte_count,
			 const struct fuzz_verdict *wanted, struct fuzz_effort *effort, struct kml_error *error)
{
	bool is_program = fuzz_target_takes_programs(target);
	struct byte_search search = {.target = target, .best = bytes, .count = *byte_count};
	const struct fuzz_input input = {.target = target, .bytes = bytes, .byte_count = *byte_count};
	start_search(&search.search, wanted, effort, error);
	if (!is_shown(&search.search, &input))
		return false;
	search.candidate = malloc(*byte_count + 1);
	if (!search.candidate)
		return kml_fail(error, "out of memory for %zu bytes", *byte_count);
	do {
		search.improved = false;
		drop_bytes(&search, is_program ? PROGRAM_SETUP_BYTES : 0, is_program ? PROGRAM_OP_BYTES : 1);
		/* In texts and file formats a byte means what it is; in programs lower is simpler. */
		if (is_program)
			lower_bytes(&search);
	} while (search.improved && !search.search.stopped);
	*byte_count = search.count;
	free(search.candidate);
	return !search.search.broken;
}
