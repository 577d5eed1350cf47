/*
 * differential.c - programs on two allocators that must agree. See differential.h.
 *
 * Only theorems are asked for; each row of `laws` and each function compare_... says why its law holds.
 */
#include "fuzz/differential.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "allocators/arena.h"
#include "allocators/check/textbook_rules.h"
#include "allocators/registry.h"
#include "fuzz/feedback.h"
#include "fuzz/target.h"
#include "kmemlab/support/error.h"

enum {
	PAGE_BYTES = 4096,
	IDS_MAX = 4096,
	UNITS_MAX = 512,     /* of an arena beside a textbook, whose operations cost O(blocks) */
	BLOCKS_OFTEN = 24,   /* up to so many blocks are compared after every operation, */
	BLOCKS_RARELY = 32,  /* else after one in so many, and at the end */
	KMALLOC_LEAST = 33,  /* SLAB has no smaller class than 32 bytes */
	KMALLOC_MOST = 8192, /* what is larger is pages */
	SPECS_KEPT = 512,
	SYSTEMS_MAX = 256,
	BLOCKS_MAX = 32768,
};

/* ------------------------------------------------------------------------------------------------------- one side */

/* A stack in an arena of its own, and where it put the program's objects. */
struct side {
	const struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack stack;
	struct kml_heap *heap;
	uint64_t address[IDS_MAX]; /* KML_NO_ADDRESS: not live */
};

/* A parsed spec of side 0 or 1; borrowed until the next call for this side. NULL: it is none. */
static const struct kml_spec *find_spec(uint32_t side, const char *text, struct kml_error *error)
{
	static struct kml_spec *kept[2][SPECS_KEPT];
	struct kml_spec **place = &kept[side][XXH3_64bits(text, strlen(text)) % SPECS_KEPT];
	if (*place != NULL && strcmp((*place)->text, text) == 0)
		return *place;
	feedback_hold();
	struct kml_spec *spec = kml_spec_parse(text, error);
	if (spec != NULL) {
		kml_spec_free(*place);
		*place = spec;
	}
	feedback_restore();
	return spec;
}

static void close_side(struct side *side)
{
	if (side->heap != NULL)
		kml_stack_destroy(&side->stack);
	kml_arena_destroy(side->arena);
	side->heap = NULL;
	side->arena = NULL;
}

/* False: no such stack in such an arena. Ids below `ids` are dead. */
static bool open_side(struct side *side, uint32_t number, const char *text, uint64_t arena_bytes, uint32_t cpu_count,
		      uint32_t ids)
{
	struct kml_error error;
	side->arena = NULL;
	side->heap = NULL;
	memset(side->address, 0xff, ids * sizeof(side->address[0]));
	side->spec = find_spec(number, text, &error);
	if (side->spec == NULL)
		return false;
	side->arena = kml_arena_create(arena_bytes, PAGE_BYTES, side->spec->layer_count > 1, &error);
	if (side->arena == NULL)
		return false;
	const struct kml_environment environment = {
		.arena = side->arena, .page_bytes = PAGE_BYTES, .cpu_count = cpu_count, .seed = 1};
	if (!kml_stack_create(&side->stack, side->spec, &environment, &error))
		return false;
	side->heap = kml_stack_top(&side->stack);
	return true;
}

static struct kml_grant side_alloc(struct side *side, const struct kmt_event *event, uint16_t flags)
{
	const struct kml_request request = {.size_bytes = event->size_bytes,
					    .recorded = KML_NO_ADDRESS,
					    .cache = KML_NO_CACHE,
					    .cpu = event->cpu,
					    .flags = flags};
	struct kml_grant grant = side->heap->allocator->alloc(side->heap, &request);
	side->address[event->object] = grant.status == KML_OK ? grant.address : KML_NO_ADDRESS;
	return grant;
}

/* The status; KML_OK also for what is not live. */
static enum kml_status side_free(struct side *side, const struct kmt_event *event)
{
	uint64_t address = side->address[event->object];
	if (address == KML_NO_ADDRESS)
		return KML_OK;
	const struct kml_release release = {.address = address, .cache = KML_NO_CACHE, .cpu = event->cpu};
	side->address[event->object] = KML_NO_ADDRESS;
	return side->heap->allocator->free(side->heap, &release);
}

static bool is_alloc(const struct kmt_event *event)
{
	return event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC;
}

static bool is_free(const struct kmt_event *event)
{
	return event->op == KMT_FREE || event->op == KMT_PAGE_FREE;
}

/* One more than the largest id of an alloc or free, at most IDS_MAX: events of larger ids are left out. */
static uint32_t id_count(const struct program *program)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < program->event_count; i++)
		if (program->events[i].object >= count)
			count = program->events[i].object + 1;
	return count < IDS_MAX ? count : IDS_MAX;
}

/* ---------------------------------------------------------------------------------------------------- the textbook */

struct duel {
	struct side side;
	struct textbook_rule rule;
	struct textbook *textbook;
	uint64_t unit_bytes;
	uint32_t next; /* block of the textbook that the walk must show */
	struct kml_error *error;
};

static bool compare_block(void *context, const struct kml_block *block)
{
	struct duel *duel = context;
	const struct textbook *textbook = duel->textbook;
	if (duel->next >= textbook->count)
		return kml_fail(duel->error, "the walk has more than the textbook's %u blocks", textbook->count);
	const struct textbook_block *expected = &textbook->blocks[duel->next++];
	uint64_t address = expected->address_units * duel->unit_bytes;
	uint64_t size_bytes = duel->rule.size_units[expected->class] * duel->unit_bytes;
	bool is_free_block = block->state == KML_BLOCK_FREE;
	if (block->address == address && block->size_bytes == size_bytes && is_free_block == expected->is_free)
		return true;
	return kml_fail(duel->error,
			"a %s block at %" PRIu64 " of %" PRIu64 " bytes; the textbook has a %s one at %" PRIu64
			" of %" PRIu64,
			is_free_block ? "free" : "granted", block->address, block->size_bytes,
			expected->is_free ? "free" : "granted", address, size_bytes);
}

static bool compare_blocks(struct duel *duel)
{
	duel->next = 0;
	duel->error->text[0] = '\0';
	duel->side.heap->allocator->walk(duel->side.heap, compare_block, duel);
	if (duel->error->text[0] != '\0')
		return false;
	return duel->next == duel->textbook->count ||
	       kml_fail(duel->error, "the walk has %u blocks, the textbook %u", duel->next, duel->textbook->count);
}

static bool duel_alloc(struct duel *duel, const struct kmt_event *event)
{
	struct kml_grant grant = side_alloc(&duel->side, event, 0);
	uint64_t size_units = (event->size_bytes - 1) / duel->unit_bytes + 1;
	const struct textbook_block *block = textbook_alloc(duel->textbook, size_units);
	uint64_t address = block == NULL ? KML_NO_ADDRESS : block->address_units * duel->unit_bytes;
	uint64_t granted = block == NULL ? 0 : duel->rule.size_units[block->class] * duel->unit_bytes;
	if (grant.address == address && grant.granted_bytes == granted)
		return true;
	return kml_fail(duel->error,
			"%" PRIu64 " bytes: %" PRId64 " of %" PRIu64 " bytes (\"%s\"); the textbook says %" PRId64
			" of %" PRIu64,
			event->size_bytes, (int64_t)grant.address, grant.granted_bytes, kml_status_name(grant.status),
			(int64_t)address, granted);
}

static bool duel_free(struct duel *duel, const struct kmt_event *event)
{
	uint64_t address = duel->side.address[event->object];
	if (address == KML_NO_ADDRESS)
		return true;
	enum kml_status status = side_free(&duel->side, event);
	if (!textbook_free(duel->textbook, address / duel->unit_bytes))
		return kml_fail(duel->error, "the textbook has no granted block at %" PRIu64, address);
	return status == KML_OK ||
	       kml_fail(duel->error, "free of %" PRIu64 " was answered \"%s\"", address, kml_status_name(status));
}

/* Event after event; *at is the one at which they part. */
static bool run_duel(struct duel *duel, const struct program *program, uint32_t *at)
{
	for (uint32_t i = 0; i < program->event_count; i++) {
		const struct kmt_event *event = &program->events[i];
		*at = i;
		if (event->object >= IDS_MAX || (!is_alloc(event) && !is_free(event)))
			continue;
		if (!(is_alloc(event) ? duel_alloc(duel, event) : duel_free(duel, event)))
			return false;
		bool due = duel->textbook->count <= BLOCKS_OFTEN || i % BLOCKS_RARELY == 0;
		if (due && !compare_blocks(duel))
			return false;
	}
	return compare_blocks(duel);
}

/* An arena that a textbook can follow. */
static uint64_t textbook_arena(const struct program *program, uint64_t unit_bytes)
{
	uint64_t bytes = program->setup.arena_bytes, most = UNITS_MAX * unit_bytes;
	return bytes <= most ? bytes : most + bytes % unit_bytes;
}

bool differential_textbook(const struct program *program, const char *stack, const char *spec, struct kml_error *error)
{
	static struct duel duel;
	duel.unit_bytes = textbook_unit_of(spec, 16);
	duel.error = error;
	uint64_t arena_bytes = textbook_arena(program, duel.unit_bytes);
	bool agree = true;
	if (open_side(&duel.side, 0, stack, arena_bytes, 1, id_count(program)) &&
	    textbook_rule_of(&duel.rule, spec, arena_bytes / duel.unit_bytes)) {
		duel.textbook = textbook_create(&duel.rule, textbook_policy_of(spec));
		textbook_lay(duel.textbook, spec, arena_bytes / duel.unit_bytes);
		uint32_t at = 0;
		agree = run_duel(&duel, program, &at);
		if (!agree) {
			struct kml_error how = *error;
			kml_fail(error, "%s in %" PRIu64 " bytes, event %u: %.300s", stack, arena_bytes, at, how.text);
		}
		textbook_destroy(duel.textbook);
	}
	close_side(&duel.side);
	duel.error = NULL;
	return agree;
}

/* --------------------------------------------------------------------------------------------- systems of textbooks */

static bool shapes_a_system(const struct kml_param *param)
{
	static const char *const names[] = {"j", "k", "max_order"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(param->name, names[i]) == 0)
			return true;
	return false;
}

struct system {
	char text[64];
};

static uint32_t add_variants(struct system *systems, uint32_t count, const struct kml_allocator *allocator)
{
	enum { LARGEST = 16 };
	static const char *const tables[] = {"16+32+48", "16+32+48+112+240", "16+48+96", "32+96+160+480",
					     "64+256+1024"};
	for (const struct kml_param *param = allocator->params; param->name != NULL; param++) {
		uint64_t last = param->maximum < LARGEST ? param->maximum : LARGEST;
		for (uint64_t value = param->minimum; shapes_a_system(param) && value <= last; value++)
			snprintf(systems[count++].text, sizeof(systems[0].text), "%s:%s=%" PRIu64, allocator->name,
				 param->name, value);
		for (size_t i = 0; param->type == KML_PARAM_SIZES && i < sizeof(tables) / sizeof(tables[0]); i++)
			snprintf(systems[count++].text, sizeof(systems[0].text), "%s:%s=%s", allocator->name,
				 param->name, tables[i]);
	}
	return count;
}

/* Made of the registry at the first call. */
static const struct system *all_systems(uint32_t *count)
{
	static struct system systems[SYSTEMS_MAX];
	static uint32_t made;
	struct textbook_rule rule;
	size_t allocators;
	const struct kml_allocator *const *all = kml_registry(&allocators);
	for (size_t i = made == 0 ? 0 : allocators; i < allocators; i++) {
		if (!textbook_rule_of(&rule, all[i]->name, 1))
			continue;
		snprintf(systems[made++].text, sizeof(systems[0].text), "%s", all[i]->name);
		made = add_variants(systems, made, all[i]);
		KML_CHECK(made < SYSTEMS_MAX / 2, "%u systems", made);
	}
	*count = made;
	return systems;
}

const char *differential_system(uint32_t number)
{
	uint32_t count;
	const struct system *systems = all_systems(&count);
	return number < count ? systems[number].text : "";
}

/* ------------------------------------------------------------------------------------------------------- two stacks */

/*
 * Pairs that agree whatever the program; %s is the policy.
 *
 * k = 2 equal parts, a(n) = a(n-1) + a(n-1), and a table of powers of two are Knowlton's rule in three other forms: one
 * split tree, one order of free lists, so one behaviour.
 * First fit and best fit both round to the unit. They part when there are two free blocks, so not before the first
 * free. The size classes of kmalloc are those of mm/slab_common.c in each of the three strategies.
 */
static const struct differential_pair laws[] = {
	{"binary:policy=%s", "kary:k=2,policy=%s", DIFFERENTIAL_BLOCKS},
	{"binary:policy=%s", "fibonacci:j=1,policy=%s", DIFFERENTIAL_BLOCKS},
	{"kary:k=2,policy=%s", "fibonacci:j=1,policy=%s", DIFFERENTIAL_BLOCKS},
	{"binary:policy=%s", "weighted:sizes=16+32+64+128+256+512+1k+2k+4k+8k+16k+32k+64k+128k+256k+512k,policy=%s",
	 DIFFERENTIAL_BLOCKS},
	{"first_fit", "best_fit", DIFFERENTIAL_FITS},
	{"slub", "slab", DIFFERENTIAL_KMALLOC},
	{"slub", "solaris", DIFFERENTIAL_KMALLOC},
	{"slab", "solaris", DIFFERENTIAL_KMALLOC},
};

static bool can_back(const struct kml_allocator *allocator)
{
	return allocator->layer == KML_LAYER_PAGES &&
	       !(allocator->traits & (KML_TRAIT_NO_MEMORY | KML_TRAIT_NO_REUSE | KML_TRAIT_RECORDED));
}

/* An object allocator without objects hands page requests on as they are: it is its page allocator. */
static bool pages_pair(uint32_t number, struct differential_pair *pair)
{
	size_t count;
	const struct kml_allocator *const *all = kml_registry(&count);
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count && all[i]->layer == KML_LAYER_OBJECTS; j++) {
			if (!can_back(all[j]) || number-- > 0)
				continue;
			snprintf(pair->first, sizeof(pair->first), "%s:unit=4096", all[j]->name);
			snprintf(pair->second, sizeof(pair->second), "%s/%s:unit=4096", all[i]->name, all[j]->name);
			pair->law = DIFFERENTIAL_PAGES;
			return true;
		}
	return false;
}

static const char *policy_name(enum textbook_policy policy)
{
	static const char *const names[] = {"lowest", "lifo", "fifo"}; /* as enum textbook_policy */
	return names[policy];
}

/* The text with the policy in the place of its %s. */
static void write_spec(char *out, size_t room, const char *text, enum textbook_policy policy)
{
	const char *gap = strstr(text, "%s");
	if (gap == NULL)
		snprintf(out, room, "%s", text);
	else
		snprintf(out, room, "%.*s%s%s", (int)(gap - text), text, policy_name(policy), gap + 2);
}

bool differential_pair(uint32_t number, enum textbook_policy policy, struct differential_pair *pair)
{
	enum { LAWS = sizeof(laws) / sizeof(laws[0]) };
	if (number >= LAWS)
		return pages_pair(number - LAWS, pair);
	write_spec(pair->first, sizeof(pair->first), laws[number].first, policy);
	write_spec(pair->second, sizeof(pair->second), laws[number].second, policy);
	pair->law = laws[number].law;
	return true;
}

struct match {
	struct side first, second;
	enum differential_law law;
	bool has_freed;
	struct kml_error *error;
};

/* The event as the law wants it: sizes of classes, whole pages. */
static struct kmt_event adapt(enum differential_law law, const struct kmt_event *event, uint16_t *flags)
{
	struct kmt_event adapted = *event;
	*flags = 0;
	if (law == DIFFERENTIAL_KMALLOC) {
		*flags = KML_KMALLOC;
		if (event->size_bytes < KMALLOC_LEAST || event->size_bytes > KMALLOC_MOST)
			adapted.size_bytes = KMALLOC_LEAST + event->size_bytes % (KMALLOC_MOST - KMALLOC_LEAST + 1);
	} else if (law == DIFFERENTIAL_PAGES) {
		*flags = KML_PAGES;
		adapted.size_bytes = (uint64_t)PAGE_BYTES
				     << (event->op == KMT_PAGE_ALLOC ? event->order % 12 : event->size_bytes % 4);
	}
	return adapted;
}

static bool same_granted(struct match *match, const struct kmt_event *event, const struct kml_grant *a,
			 const struct kml_grant *b)
{
	if (a->status != KML_OK || b->status != KML_OK)
		return true;
	uint64_t rounded = (event->size_bytes + 15) / 16 * 16;
	if (match->law == DIFFERENTIAL_FITS && a->granted_bytes != rounded)
		return kml_fail(match->error, "%" PRIu64 " bytes: %" PRIu64 " are granted, not %" PRIu64,
				event->size_bytes, a->granted_bytes, rounded);
	return a->granted_bytes == b->granted_bytes ||
	       kml_fail(match->error, "%" PRIu64 " bytes: %" PRIu64 " are granted by one, %" PRIu64 " by the other",
			event->size_bytes, a->granted_bytes, b->granted_bytes);
}

static bool same_place(struct match *match, const struct kmt_event *event, const struct kml_grant *a,
		       const struct kml_grant *b)
{
	return (a->status == b->status && a->address == b->address) ||
	       kml_fail(match->error,
			"%" PRIu64 " bytes: at %" PRId64 " (\"%s\") by one, at %" PRId64 " (\"%s\") by the other",
			event->size_bytes, (int64_t)a->address, kml_status_name(a->status), (int64_t)b->address,
			kml_status_name(b->status));
}

static bool match_alloc(struct match *match, const struct kmt_event *event)
{
	uint16_t flags;
	const struct kmt_event adapted = adapt(match->law, event, &flags);
	struct kml_grant a = side_alloc(&match->first, &adapted, flags);
	struct kml_grant b = side_alloc(&match->second, &adapted, flags);
	bool has_one_place = match->law == DIFFERENTIAL_BLOCKS || match->law == DIFFERENTIAL_PAGES ||
			     (match->law == DIFFERENTIAL_FITS && !match->has_freed);
	if (has_one_place && !same_place(match, &adapted, &a, &b))
		return false;
	return same_granted(match, &adapted, &a, &b);
}

static bool match_free(struct match *match, const struct kmt_event *event)
{
	enum kml_status a = side_free(&match->first, event), b = side_free(&match->second, event);
	match->has_freed = true;
	return (a == KML_OK && b == KML_OK) ||
	       kml_fail(match->error, "free of id %u is answered \"%s\" by one, \"%s\" by the other", event->object,
			kml_status_name(a), kml_status_name(b));
}

/* Blocks of the first walk, then those of the second against them. */
struct blocks {
	struct kml_block block[BLOCKS_MAX];
	uint32_t count, next;
	bool differ;
};

static bool keep_block(void *context, const struct kml_block *block)
{
	struct blocks *blocks = context;
	if (blocks->count == BLOCKS_MAX)
		return false;
	blocks->block[blocks->count++] = *block;
	return true;
}

static bool hold_block(void *context, const struct kml_block *block)
{
	struct blocks *blocks = context;
	if (blocks->next == blocks->count) {
		blocks->differ = blocks->count < BLOCKS_MAX;
		return false;
	}
	const struct kml_block *other = &blocks->block[blocks->next++];
	blocks->differ |= block->address != other->address || block->size_bytes != other->size_bytes ||
			  block->state != other->state;
	return !blocks->differ;
}

static bool same_walks(struct match *match)
{
	static struct blocks blocks;
	blocks.count = blocks.next = 0;
	blocks.differ = false;
	match->first.heap->allocator->walk(match->first.heap, keep_block, &blocks);
	match->second.heap->allocator->walk(match->second.heap, hold_block, &blocks);
	if (!blocks.differ && blocks.next == blocks.count)
		return true;
	return kml_fail(match->error, "the walks differ at block %u", blocks.next);
}

static bool run_match(struct match *match, const struct program *program, uint32_t *at)
{
	bool compares_walks = match->law == DIFFERENTIAL_BLOCKS;
	for (uint32_t i = 0; i < program->event_count; i++) {
		const struct kmt_event *event = &program->events[i];
		*at = i;
		if (event->object >= IDS_MAX || (!is_alloc(event) && !is_free(event)))
			continue;
		if (!(is_alloc(event) ? match_alloc(match, event) : match_free(match, event)))
			return false;
		if (compares_walks && i % BLOCKS_RARELY == 0 && !same_walks(match))
			return false;
	}
	return !compares_walks || same_walks(match);
}

bool differential_stacks(const struct program *program, const struct differential_pair *pair, struct kml_error *error)
{
	static struct match match;
	const struct program_setup *setup = &program->setup;
	uint32_t ids = id_count(program), at = 0;
	match.law = pair->law;
	match.has_freed = false;
	match.error = error;
	bool opened = open_side(&match.first, 0, pair->first, setup->arena_bytes, setup->cpu_count, ids);
	opened = open_side(&match.second, 1, pair->second, setup->arena_bytes, setup->cpu_count, ids) && opened;
	bool agree = !opened || run_match(&match, program, &at);
	if (!agree) {
		struct kml_error how = *error;
		kml_fail(error, "%s and %s in %" PRIu64 " bytes, event %u: %.200s", pair->first, pair->second,
			 setup->arena_bytes, at, how.text);
	}
	close_side(&match.first);
	close_side(&match.second);
	match.error = NULL;
	return agree;
}

/* ------------------------------------------------------------------------------------------------------ the targets */

/* What a setup byte says; engines write all of its values. */
static uint32_t byte_of(const uint8_t *bytes, size_t byte_count, uint32_t at)
{
	return at < byte_count ? bytes[at] : 0;
}

enum { CHOICE_BYTE = PROGRAM_BYTE_SEED, POLICY_BYTE = PROGRAM_BYTE_PARAMETERS + 4, UNIT_BYTE };

/* The program of the bytes, on a stack of which nothing is used but the arena. */
static const struct program *decode(const uint8_t *bytes, size_t byte_count, const char *stack)
{
	static struct program program;
	feedback_hold();
	program_decode(&program, stack, bytes, byte_count);
	feedback_restore();
	return &program;
}

void fuzz_textbook(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	static const char *const units[] = {"", "", ",unit=4096", ",unit=48", ",unit=1"};
	uint32_t count, policy = byte_of(bytes, byte_count, POLICY_BYTE) % 3;
	const struct system *system = all_systems(&count);
	struct kml_error error = {{0}};
	char spec[128];
	(void)target;
	KML_CHECK(count > 0, "no buddy system is registered");
	system += byte_of(bytes, byte_count, CHOICE_BYTE) % count;
	bool has_unit = strstr(system->text, "sizes=") != NULL;
	uint32_t unit = byte_of(bytes, byte_count, UNIT_BYTE) % (sizeof(units) / sizeof(units[0]));
	snprintf(spec, sizeof(spec), "%s%cpolicy=%s%s", system->text, strchr(system->text, ':') != NULL ? ',' : ':',
		 policy_name((enum textbook_policy)policy), has_unit ? "" : units[unit]);
	if (!differential_textbook(decode(bytes, byte_count, "best_fit"), spec, spec, &error))
		fuzz_found("textbook", "%s", error.text);
}

/* How many pairs there are. */
static uint32_t pair_count(void)
{
	static uint32_t count;
	struct differential_pair pair;
	while (differential_pair(count, TEXTBOOK_LOWEST, &pair))
		count++;
	return count;
}

void fuzz_stacks(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	struct differential_pair pair = {.law = DIFFERENTIAL_BLOCKS};
	struct kml_error error = {{0}};
	(void)target;
	differential_pair(byte_of(bytes, byte_count, CHOICE_BYTE) % pair_count(),
			  (enum textbook_policy)(byte_of(bytes, byte_count, POLICY_BYTE) % 3), &pair);
	if (!differential_stacks(decode(bytes, byte_count, "best_fit"), &pair, &error))
		fuzz_found("stacks", "%s", error.text);
}
