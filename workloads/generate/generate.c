/*
 * generate.c - a generator's calls become events, and a reactive generator's are made to a living stack first.
 *
 * Invariants: the ids in use are those of the live objects, handed out last freed first, so that they are dense; every
 * entry of the heap of deaths is a live object.
 * Cost: O(1) for an allocation or a free, O(log live) for a death, and a source's step.
 */
#include "workloads/generate/generate.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocators/params.h"
#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/random.h"

enum { PAGE_BYTES = 4096 };
static const char AGAINST[] = "against=";

struct live {
	uint64_t address, granted_bytes; /* of the living stack */
	struct kmt_event alloc;
};

struct death {
	uint64_t time_ns;
	uint64_t serial; /* of two at one time the one told first */
	generate_id id;
	uint16_t cpu;
};

struct generate {
	char *spec_text;  /* the name of the trace */
	char *param_text; /* the configuration points into it */
	const struct generator *generator;
	void *config; /* begins with struct generate_common */
	void *state;
	bool has_started, is_over;

	struct kmt_origin origin;
	char *note;
	struct kmt_cache *caches; /* names owned */
	uint32_t cache_count, caches_told;

	uint64_t random_state, time_ns;
	struct live *live; /* by id */
	generate_id *free_ids;
	uint32_t ids, room, free_count;
	uint64_t live_bytes;
	struct death *deaths; /* a binary heap, the next one first */
	uint32_t death_count, death_room;
	uint64_t serial;

	struct kmt_event *events; /* made by the last steps, and how many of them are handed out */
	uint32_t event_count, event_room, handed_out;
	char mark[64];
	char report[512];
	uint32_t mark_at; /* the text of a mark stands before its event */
	bool has_mark;
	struct kmt_snapshot snapshot;

	/* Reactive. */
	struct kml_spec *against;
	struct kml_arena *arena;
	struct kml_stack stack;
	bool has_stack;
	uint64_t lowest_address, highest_end; /* ever granted */
	struct workload_outcome outcome;
	void *kept; /* outlives a pass */

	bool failed;
	struct kml_error failure;
};

static struct generate_common *common_of(const struct generate *generate)
{
	return generate->config;
}

void generate_fail(struct generate *generate, const char *what)
{
	if (!generate->failed)
		kml_fail(&generate->failure, "%s: %s", generate->spec_text, what);
	generate->failed = true;
}

/* Room for one more of a growing table; false: memory exhausted. */
static bool reserve(void **table, uint32_t count, uint32_t *room, size_t item_bytes)
{
	if (count < *room)
		return true;
	uint32_t more = *room ? 2 * *room : 256;
	void *larger = more > *room ? realloc(*table, more * item_bytes) : NULL;
	if (!larger)
		return false;
	*table = larger;
	*room = more;
	return true;
}

/* ------------------------------------------------------------------------------------------------ random numbers */

double generate_uniform(struct generate *generate)
{
	return (double)(random_next(&generate->random_state) >> 11) * 0x1p-53;
}

/* Without the bias of a remainder: Lemire, Fast random integer generation in an interval, TOMACS 29 (2019). */
uint64_t generate_below(struct generate *generate, uint64_t limit)
{
	unsigned __int128 product;
	uint64_t floor = -limit % limit;
	do
		product = (unsigned __int128)random_next(&generate->random_state) * limit;
	while ((uint64_t)product < floor);
	return (uint64_t)(product >> 64);
}

uint16_t generate_cpu(struct generate *generate)
{
	return (uint16_t)generate_below(generate, common_of(generate)->cpus);
}

double generate_exponential(struct generate *generate, double mean)
{
	return -mean * log1p(-generate_uniform(generate));
}

/* ------------------------------------------------------------------------------------------------ the living stack */

static bool open_living_caches(struct generate *generate, struct kml_heap *heap)
{
	for (uint32_t i = 0; heap->allocator->cache_open && i < generate->cache_count; i++) {
		const struct kmt_cache *told = &generate->caches[i];
		const struct kml_cache cache = {.name = told->name,
						.object_bytes = told->object_bytes,
						.align_bytes = told->align_bytes,
						.has_constructor = told->flags & KMT_CACHE_CONSTRUCTOR,
						.typesafe_by_rcu = told->flags & KMT_CACHE_TYPESAFE_BY_RCU,
						.reclaimable = told->flags & KMT_CACHE_RECLAIMABLE,
						.is_kmalloc = told->flags & KMT_CACHE_KMALLOC};
		if (heap->allocator->cache_open(heap, i, &cache) != KML_OK)
			return false;
	}
	return true;
}

/* As a replay makes it: replay.c, start(). */
static bool create_stack(struct generate *generate, struct kml_error *error)
{
	uint64_t arena_bytes = generate->origin.arena_bytes;
	bool with_memory = !(kml_spec_traits(generate->against) & KML_TRAIT_NO_MEMORY) &&
			   generate->against->layer[0]->layer == KML_LAYER_OBJECTS;
	generate->arena = kml_arena_create(arena_bytes, PAGE_BYTES, with_memory, error);
	if (!generate->arena)
		return false;
	const struct kml_environment environment = {.arena = generate->arena,
						    .page_bytes = PAGE_BYTES,
						    .cpu_count = generate->origin.cpu_count,
						    .cache_count = generate->cache_count,
						    .seed = 1};
	if (!kml_stack_create(&generate->stack, generate->against, &environment, error))
		return false;
	generate->has_stack = true;
	return open_living_caches(generate, kml_stack_top(&generate->stack)) ||
	       kml_fail(error, "%s: no memory for its caches in %" PRIu64 " bytes: give it a larger arena",
			generate->spec_text, arena_bytes);
}

static void destroy_stack(struct generate *generate)
{
	if (generate->has_stack)
		kml_stack_destroy(&generate->stack);
	kml_arena_destroy(generate->arena);
	generate->arena = NULL;
	generate->has_stack = false;
}

/* Only what a cache's own table does not say is asked of the stack: alignment, as in replay.c. */
static struct kml_grant ask_stack(struct generate *generate, const struct kmt_event *event)
{
	struct kml_heap *heap = kml_stack_top(&generate->stack);
	struct kml_request request = {.size_bytes = event->size_bytes,
				      .align_bytes = event->align_log2 ? 1ull << event->align_log2 : 0,
				      .recorded = KML_NO_ADDRESS,
				      .cache = KML_NO_CACHE,
				      .cpu = event->cpu,
				      .flags = event->flags};
	if (event->op == KMT_PAGE_ALLOC) {
		request.align_bytes = PAGE_BYTES;
		request.flags |= KML_PAGES;
	} else if (event->cache != KMT_NO_CACHE) {
		request.cache = event->cache;
		if (request.align_bytes == 0)
			request.align_bytes = generate->caches[event->cache].align_bytes;
	}
	return heap->allocator->alloc(heap, &request);
}

static void free_of_stack(struct generate *generate, const struct live *live, uint16_t cpu)
{
	struct kml_heap *heap = kml_stack_top(&generate->stack);
	const struct kmt_event *alloc = &live->alloc;
	bool has_cache = alloc->op == KMT_ALLOC && alloc->cache != KMT_NO_CACHE;
	const struct kml_release release = {
		.address = live->address,
		.cache = has_cache ? alloc->cache : KML_NO_CACHE,
		.cpu = cpu,
		.flags = (uint16_t)(alloc->flags | (alloc->op == KMT_PAGE_ALLOC ? KML_PAGES : 0)),
	};
	enum kml_status status = heap->allocator->free(heap, &release);
	if (status != KML_OK)
		generate_fail(generate, kml_status_name(status));
}

/* ------------------------------------------------------------------------------------------------ events */

static void emit(struct generate *generate, const struct kmt_event *event)
{
	if (!reserve((void **)&generate->events, generate->event_count, &generate->event_room, sizeof *event)) {
		generate_fail(generate, "out of memory for its events");
		return;
	}
	generate->events[generate->event_count++] = *event;
}

static struct kmt_event event_of(const struct generate *generate, enum kmt_op op, uint16_t cpu)
{
	return (struct kmt_event){.time_ns = generate->time_ns,
				  .address = KMT_NO_ADDRESS,
				  .cache = KMT_NO_CACHE,
				  .cpu = (uint16_t)(cpu % generate->origin.cpu_count),
				  .op = (uint8_t)op};
}

static struct kmt_event alloc_event(const struct generate *generate, const struct generate_ask *ask)
{
	struct kmt_event event = event_of(generate, ask->is_pages ? KMT_PAGE_ALLOC : KMT_ALLOC, ask->cpu);
	event.flags = ask->flags;
	event.align_log2 = ask->align_log2;
	event.size_bytes = ask->size_bytes;
	if (ask->is_pages) {
		event.order = ask->order;
		event.size_bytes = (uint64_t)PAGE_BYTES << ask->order;
	} else if (ask->cache > 0) {
		event.cache = (uint16_t)(ask->cache - 1);
		if (event.size_bytes == 0)
			event.size_bytes = generate->caches[event.cache].object_bytes;
	}
	return event;
}

static bool new_id(struct generate *generate, generate_id *id)
{
	if (generate->free_count > 0) {
		*id = generate->free_ids[--generate->free_count];
		return true;
	}
	uint32_t room = generate->room;
	if (generate->ids == KMT_OBJECTS_MAX ||
	    !reserve((void **)&generate->live, generate->ids, &generate->room, sizeof *generate->live))
		return false;
	if (room != generate->room) {
		generate_id *larger = realloc(generate->free_ids, generate->room * sizeof *larger);
		if (!larger)
			return false;
		generate->free_ids = larger;
	}
	*id = generate->ids++;
	return true;
}

static void emit_free(struct generate *generate, generate_id id, uint16_t cpu)
{
	const struct kmt_event *alloc = &generate->live[id].alloc;
	struct kmt_event event = event_of(generate, alloc->op == KMT_PAGE_ALLOC ? KMT_PAGE_FREE : KMT_FREE, cpu);
	event.object = id;
	event.cache = alloc->cache;
	event.order = alloc->order;
	event.size_bytes = alloc->size_bytes;
	event.flags = alloc->flags & (uint16_t)~KMT_WARM;
	emit(generate, &event);
	generate->free_ids[generate->free_count++] = id;
}

static void raise_to(uint64_t *peak, uint64_t value)
{
	if (value > *peak)
		*peak = value;
}

/* After an allocation, where alone peaks are reached. */
static void note_outcome(struct generate *generate, const struct live *live)
{
	struct workload_outcome *outcome = &generate->outcome;
	if (live->address < generate->lowest_address)
		generate->lowest_address = live->address;
	raise_to(&generate->highest_end, live->address + live->granted_bytes);
	outcome->span_bytes = generate->highest_end - generate->lowest_address;
	raise_to(&outcome->peak_live_bytes, generate->live_bytes);
	raise_to(&outcome->peak_held_bytes, generate->arena->held_bytes);
}

generate_id generate_alloc(struct generate *generate, const struct generate_ask *ask)
{
	generate_id id;
	struct kmt_event event = alloc_event(generate, ask);
	if (generate->failed || !new_id(generate, &id)) {
		generate_fail(generate,
			      "more live objects than memory, or than a trace has ids for: ask for a smaller load");
		return GENERATE_REFUSED;
	}
	event.object = id;
	struct live *live = &generate->live[id];
	*live = (struct live){.alloc = event};
	emit(generate, &event);
	if (generate->has_stack) {
		struct kml_grant grant = ask_stack(generate, &event);
		live->address = grant.address;
		live->granted_bytes = grant.granted_bytes;
		if (grant.status != KML_OK) {
			generate->outcome.refused++;
			emit_free(generate, id, ask->cpu); /* a replay knows that there is nothing to free */
			return GENERATE_REFUSED;
		}
	}
	generate->live_bytes += event.size_bytes;
	if (generate->has_stack)
		note_outcome(generate, live);
	return id;
}

void generate_free(struct generate *generate, generate_id id, uint16_t cpu)
{
	if (generate->failed || id == GENERATE_REFUSED)
		return;
	const struct live *live = &generate->live[id];
	if (generate->has_stack)
		free_of_stack(generate, live, (uint16_t)(cpu % generate->origin.cpu_count));
	generate->live_bytes -= live->alloc.size_bytes;
	emit_free(generate, id, cpu);
}

void generate_shrink(struct generate *generate)
{
	struct kmt_event event = event_of(generate, KMT_SHRINK, 0);
	for (uint32_t i = 0; generate->has_stack && i < generate->stack.layer_count; i++)
		if (generate->stack.layer[i]->allocator->shrink)
			generate->stack.layer[i]->allocator->shrink(generate->stack.layer[i]);
	emit(generate, &event);
}

static void mark(struct generate *generate, const char *label, const char *text)
{
	struct kmt_event event = event_of(generate, KMT_MARK, 0);
	generate->has_mark = true;
	generate->mark_at = generate->event_count;
	generate->snapshot = (struct kmt_snapshot){.kind = KMT_SNAPSHOT_MARK,
						   .time_ns = generate->time_ns,
						   .label = label,
						   .text = text,
						   .text_bytes = strlen(text)};
	emit(generate, &event);
}

void generate_mark(struct generate *generate, const char *phase)
{
	snprintf(generate->mark, sizeof generate->mark, "%s", phase);
	mark(generate, generate->mark, generate->mark);
}

void generate_report(struct generate *generate, const char *text)
{
	snprintf(generate->report, sizeof generate->report, "%s", text);
	mark(generate, GENERATE_REPORT, generate->report);
}

/* ------------------------------------------------------------------------------------------------ deaths */

static bool dies_before(const struct death *a, const struct death *b)
{
	return a->time_ns < b->time_ns || (a->time_ns == b->time_ns && a->serial < b->serial);
}

void generate_free_at(struct generate *generate, generate_id id, uint16_t cpu, uint64_t time_ns)
{
	if (id == GENERATE_REFUSED)
		return;
	if (!reserve((void **)&generate->deaths, generate->death_count, &generate->death_room,
		     sizeof *generate->deaths)) {
		generate_fail(generate, "out of memory for its live objects");
		return;
	}
	const struct death death = {.time_ns = time_ns, .serial = generate->serial++, .id = id, .cpu = cpu};
	uint32_t at = generate->death_count++;
	for (; at > 0 && dies_before(&death, &generate->deaths[(at - 1) / 2]); at = (at - 1) / 2)
		generate->deaths[at] = generate->deaths[(at - 1) / 2];
	generate->deaths[at] = death;
}

static struct death take_next_death(struct generate *generate)
{
	struct death *deaths = generate->deaths, next = deaths[0], last = deaths[--generate->death_count];
	uint32_t at = 0, count = generate->death_count;
	for (uint32_t child = 1; child < count; child = 2 * at + 1) {
		child += child + 1 < count && dies_before(&deaths[child + 1], &deaths[child]);
		if (!dies_before(&deaths[child], &last))
			break;
		deaths[at] = deaths[child];
		at = child;
	}
	deaths[at] = last;
	return next;
}

bool generate_advance_to_death(struct generate *generate)
{
	if (generate->death_count == 0)
		return false;
	struct death death = take_next_death(generate);
	if (death.time_ns > generate->time_ns)
		generate->time_ns = death.time_ns;
	generate_free(generate, death.id, death.cpu);
	return true;
}

void generate_advance_to(struct generate *generate, uint64_t time_ns)
{
	while (generate->death_count > 0 && generate->deaths[0].time_ns <= time_ns && !generate->failed)
		generate_advance_to_death(generate);
	if (time_ns > generate->time_ns)
		generate->time_ns = time_ns;
}

/* ------------------------------------------------------------------------------------------------ questions */

uint64_t generate_now(const struct generate *generate)
{
	return generate->time_ns;
}

uint64_t generate_live(const struct generate *generate)
{
	return generate->ids - generate->free_count;
}

uint64_t generate_live_bytes(const struct generate *generate)
{
	return generate->live_bytes;
}

uint64_t generate_arena_bytes(const struct generate *generate)
{
	return generate->origin.arena_bytes;
}

void generate_choose_cpus(struct generate *generate, uint32_t cpu_count)
{
	if (common_of(generate)->cpus == 0)
		generate->origin.cpu_count = cpu_count;
}

void generate_choose_arena(struct generate *generate, uint64_t arena_bytes)
{
	if (common_of(generate)->arena_bytes == 0)
		generate->origin.arena_bytes = arena_bytes;
}

uint64_t generate_address(const struct generate *generate, generate_id id)
{
	return generate->live[id].address;
}

uint64_t generate_granted_bytes(const struct generate *generate, generate_id id)
{
	return generate->live[id].granted_bytes;
}

void generate_stats(const struct generate *generate, struct kml_stats *stats)
{
	const struct kml_heap *heap = kml_stack_top(&generate->stack);
	heap->allocator->stats(heap, stats);
}

static bool shows_progress;

void workload_show_progress(bool shows)
{
	shows_progress = shows;
}

bool generate_shows_progress(void)
{
	return shows_progress;
}

const struct workload_outcome *generate_outcome(const struct generate *generate)
{
	return &generate->outcome;
}

void *generate_keep(struct generate *generate, size_t size_bytes)
{
	if (!generate->kept)
		generate->kept = calloc(1, size_bytes);
	if (!generate->kept)
		generate_fail(generate, "out of memory");
	return generate->kept;
}

uint32_t generate_cache(struct generate *generate, const struct kmt_cache *cache)
{
	/* At a later pass the table is there. */
	if (generate->caches_told++ < generate->cache_count)
		return generate->caches_told;
	struct kmt_cache *larger = realloc(generate->caches, (generate->cache_count + 1) * sizeof *generate->caches);
	char *name = strdup(cache->name);
	if (larger)
		generate->caches = larger;
	if (!larger || !name) {
		free(name);
		generate_fail(generate, "out of memory for its caches");
		return 0;
	}
	generate->caches[generate->cache_count] = *cache;
	generate->caches[generate->cache_count].name = name;
	return ++generate->cache_count;
}

/* ------------------------------------------------------------------------------------------------ the source */

/* No objects, no events, the clock at 0. */
static void forget(struct generate *generate)
{
	destroy_stack(generate);
	generate->ids = generate->free_count = generate->death_count = 0;
	generate->event_count = generate->handed_out = 0;
	generate->has_mark = false;
	generate->live_bytes = generate->time_ns = generate->serial = 0;
	generate->lowest_address = UINT64_MAX;
	generate->highest_end = 0;
	generate->outcome = (struct workload_outcome){0};
}

/* The stack of a reactive one, which by now has an arena. */
static bool bring_to_life(struct generate *generate, struct kml_error *error)
{
	if (!generate->generator->is_reactive)
		return true;
	if (generate->origin.arena_bytes == 0)
		return kml_fail(error, "%s: arena: give its size, such as arena=1M", generate->spec_text);
	generate->outcome.arena_bytes = generate->origin.arena_bytes;
	return create_stack(generate, error);
}

bool generate_take_back(struct generate *generate)
{
	struct kml_error why;
	forget(generate);
	if (bring_to_life(generate, &why))
		return true;
	generate_fail(generate, why.text);
	return false;
}

/* From the beginning; everything as at the first time. */
static bool start_pass(struct generate *generate, struct kml_error *error)
{
	const struct generator *generator = generate->generator;
	if (generate->has_started && generator->end)
		generator->end(generate->state);
	forget(generate);
	generate->has_started = generate->is_over = generate->failed = false;
	generate->caches_told = 0;
	generate->random_state = random_mix(common_of(generate)->seed);
	memset(generate->state, 0, generator->state_bytes);
	if (!generator->start(generate, generate->state, generate->config, error))
		return false;
	generate->has_started = true;
	if (generate->failed) {
		*error = generate->failure;
		return false;
	}
	return bring_to_life(generate, error);
}

static bool rewind_generator(void *context, struct kml_error *error)
{
	return start_pass(context, error);
}

/* Steps until there is a block, or a phase begins. */
static void make_events(struct generate *generate)
{
	generate->event_count = generate->handed_out = 0;
	while (generate->event_count < KMT_BLOCK_EVENTS / 2 && !generate->has_mark && !generate->failed &&
	       !generate->is_over)
		generate->is_over = !generate->generator->step(generate, generate->state);
}

static enum kmt_item_kind next_item(void *context, struct kmt_item *item, struct kml_error *error)
{
	struct generate *generate = context;
	if (generate->handed_out == generate->event_count && !generate->has_mark && !generate->is_over)
		make_events(generate);
	if (generate->failed) {
		*error = generate->failure;
		return KMT_ITEM_ERROR;
	}
	uint32_t until = generate->has_mark ? generate->mark_at : generate->event_count;
	uint32_t left = until - generate->handed_out;
	if (left > 0) {
		item->events = generate->events + generate->handed_out;
		item->event_count = left < KMT_BLOCK_EVENTS ? left : KMT_BLOCK_EVENTS;
		generate->handed_out += item->event_count;
		return KMT_ITEM_EVENTS;
	}
	if (!generate->has_mark)
		return KMT_ITEM_END;
	generate->has_mark = false;
	item->snapshot = &generate->snapshot;
	return KMT_ITEM_SNAPSHOT;
}

static void close_generator(void *context)
{
	struct generate *generate = context;
	if (generate->has_started && generate->generator->end)
		generate->generator->end(generate->state);
	destroy_stack(generate);
	kml_spec_free(generate->against);
	for (uint32_t i = 0; i < generate->cache_count; i++)
		free((char *)generate->caches[i].name);
	free(generate->caches);
	free(generate->live);
	free(generate->free_ids);
	free(generate->deaths);
	free(generate->events);
	free(generate->state);
	free(generate->config);
	free(generate->param_text);
	free(generate->spec_text);
	free(generate->note);
	free(generate->kept);
	free(generate);
}

/* ------------------------------------------------------------------------------------------------ opening */

static size_t name_bytes(const char *text)
{
	return strcspn(text, ":");
}

static const struct generator *generator_of(const char *text)
{
	char name[64];
	size_t length = name_bytes(text);
	if (length >= sizeof name)
		return NULL;
	memcpy(name, text, length);
	name[length] = '\0';
	return generator_find(name);
}

bool workload_is_spec(const char *text)
{
	return generator_of(text) != NULL && access(text, F_OK) != 0;
}

/* Where ",against=STACK" (or ":against=") begins in the parameters; NULL: it is not there. */
static char *find_against(char *params)
{
	char *at = strstr(params, AGAINST);
	while (at && at != params && at[-1] != ',')
		at = strstr(at + 1, AGAINST);
	return at;
}

/* "name:a=1,against=slub/binary:order=2": what comes behind `against` is all of it, commas too. */
static bool parse_workload(struct generate *generate, const char *text, const char *against, struct kml_error *error)
{
	const struct generator *generator = generate->generator;
	const struct kml_param_owner owner = {generator->name, "generate --list", generator->params};
	size_t length = name_bytes(text);
	char *params = text[length] ? strdup(text + length + 1) : strdup("");
	generate->param_text = params;
	generate->config = calloc(1, generator->config_bytes);
	generate->state = calloc(1, generator->state_bytes ? generator->state_bytes : 1);
	if (!params || !generate->config || !generate->state)
		return kml_fail(error, "out of memory");
	char *named = find_against(params);
	if (named && !generator->is_reactive)
		return kml_fail(error, "%s: against: it plays against no stack: leave it out", generator->name);
	if (named) {
		against = named + strlen(AGAINST);
		named[named == params ? 0 : -1] = '\0';
	}
	if (generator->is_reactive) {
		generate->against = kml_spec_parse(against ? against : "binary", error);
		if (!generate->against)
			return false;
	}
	return kml_params_parse(&owner, *params ? params : NULL, generate->config, error);
}

/* The trace is called after its spec, with the stack it plays against. */
static bool name_workload(struct generate *generate, const char *text, struct kml_error *error)
{
	bool tells = !generate->against || strstr(text, AGAINST);
	int done = tells ? asprintf(&generate->spec_text, "%s", text)
			 : asprintf(&generate->spec_text, "%s%c%s%s", text, text[name_bytes(text)] ? ',' : ':', AGAINST,
				    generate->against->text);
	if (done < 0) {
		generate->spec_text = NULL;
		return kml_fail(error, "out of memory");
	}
	done = asprintf(&generate->note, "%s (%s)", generate->generator->title, generate->generator->citation);
	if (done < 0) {
		generate->note = NULL;
		return kml_fail(error, "out of memory");
	}
	generate->origin = (struct kmt_origin){.source = "generate",
					       .kernel = "",
					       .command = generate->spec_text,
					       .clock = "",
					       .note = generate->note,
					       .cpu_count = (uint32_t)common_of(generate)->cpus,
					       .page_bytes = PAGE_BYTES,
					       .arena_bytes = common_of(generate)->arena_bytes};
	return true;
}

/* At the beginning of its first pass. */
static struct generate *create_generate(const char *text, const char *against, struct kml_error *error)
{
	struct generate *generate = calloc(1, sizeof *generate);
	if (!generate) {
		kml_fail(error, "out of memory");
		return NULL;
	}
	generate->generator = generator_of(text);
	if (parse_workload(generate, text, against, error) && name_workload(generate, text, error) &&
	    start_pass(generate, error))
		return generate;
	close_generator(generate);
	return NULL;
}

static struct kmt_reader *open_generator(const char *text, const char *against, struct kml_error *error)
{
	struct generate *generate = create_generate(text, against, error);
	if (!generate)
		return NULL;
	const struct kmt_source source = {.name = generate->spec_text,
					  .origin = &generate->origin,
					  .caches = generate->caches,
					  .cache_count = generate->cache_count,
					  .next = next_item,
					  .rewind = rewind_generator,
					  .close = close_generator,
					  .context = generate};
	return kmt_open_source(&source, error);
}

bool generate_play(const char *text, const char *against, generate_observer *see, void *context,
		   struct kml_error *error)
{
	struct generate *generate = create_generate(text, against, error);
	if (!generate)
		return false;
	while (!generate->is_over && !generate->failed) {
		generate->event_count = 0;
		generate->is_over = !generate->generator->step(generate, generate->state);
	}
	bool done = !generate->failed;
	if (done)
		see(context, generate, generate->state);
	else
		*error = generate->failure;
	close_generator(generate);
	return done;
}

struct kmt_reader *workload_open(const char *text, const char *against, struct kml_error *error)
{
	return workload_is_spec(text) ? open_generator(text, against, error) : kmt_open(text, error);
}

static void keep_outcome(void *context, const struct generate *generate, const void *state)
{
	(void)state;
	*(struct workload_outcome *)context = generate->outcome;
}

bool workload_play(const char *text, const char *against, struct workload_outcome *outcome, struct kml_error *error)
{
	const struct generator *generator = generator_of(text);
	if (!generator || !generator->is_reactive)
		return kml_fail(error, "%s: %s ('kmemlab generate --list' shows which do)", text,
				generator ? "it plays against no stack" : "no such workload");
	return generate_play(text, against, keep_outcome, outcome, error);
}
