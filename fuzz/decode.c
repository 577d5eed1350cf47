/*
 * decode.c - bytes to the program they mean, and back.
 *
 * The decoder keeps what an allocator's user would know: which ids are live, in which cache, and which caches are open.
 * So most frees hit something, no live id is allocated again and nothing is taken from a closed cache, whatever the
 * bytes. A setup's parameters come from the allocators' own tables; when no stack can be made with them, the defaults
 * stand. Setups decoded before are kept: cost O(operations), 10 ns each; a new setup costs the parsing of its spec and
 * a stack made on trial.
 *
 * Sizes are told by 12 bits of number and 4 of what to make of it (size_of): the bounds of size classes on both sides,
 * pages and about, all and parts of the arena, and sizes that overflow what is too narrow.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "allocators/arena.h"
#include "allocators/registry.h"
#include "fuzz/feedback.h"
#include "fuzz/program.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

_Static_assert(PROGRAM_OBJECTS == 64, "the live ids are the bits of a word");

enum {
	PAGE_BYTES = 4096,
	UNIT_BYTES = 16,   /* the smallest arena of a page allocator is one of these */
	LAYER_PARAMS = 32, /* parameters of a layer that bytes can tell */
	SETUPS_KEPT = 4096,
	PLANS_KEPT = 256,
	PARAMETER_BYTES = PROGRAM_SETUP_BYTES - PROGRAM_BYTE_PARAMETERS,
	PLACES = 64, /* where `recorded` may be told to put an object */
};

/* ------------------------------------------------------------------------------------------------ stacks */

/* A target's stack: layers and the parameters that its text fixes. */
struct stack_plan {
	char text[256];
	uint32_t layer_count;
	const struct kml_allocator *layer[KML_STACK_LAYERS]; /* NULL: of no such name */
	char given[KML_STACK_LAYERS][128];                   /* "order=2,fit=asked" */
	bool has_caches, is_recorded, is_objects;
	char plain[256]; /* the spec of defaults */
	size_t param_count;
	uint64_t number; /* of plans so far: tells setups of two stacks apart */
};

static bool plan_layer(struct stack_plan *plan, char *text)
{
	char *params = strchr(text, ':');
	if (params)
		*params++ = '\0';
	const struct kml_allocator *allocator = kml_registry_find(text);
	if (!allocator || plan->layer_count == KML_STACK_LAYERS)
		return false;
	snprintf(plan->given[plan->layer_count], sizeof plan->given[0], "%s", params ? params : "");
	plan->layer[plan->layer_count++] = allocator;
	return true;
}

/* ------------------------------------------------------------------------------------------------ parameters */

/* A parameter's byte: the lower half leaves the default. */
enum { PARAM_DEFAULTS = 128 };

/* In arenas this small a count of a thousand is as good as infinite, and tables of a million entries are slow. */
static unsigned shift_of(const struct kml_param *param, unsigned code)
{
	static const uint8_t shifts[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 8, 10};
	return param->type == KML_PARAM_SIZE ? code % 16 : shifts[code % 16];
}

static uint64_t number_value(const struct kml_param *param, unsigned code)
{
	uint64_t step = param->type == KML_PARAM_SIZE ? UNIT_BYTES : 1, value;
	if (code < 32)
		value = param->minimum + code * step;
	else if (code < 64)
		value = step << shift_of(param, code);
	else if (code < 96)
		value = (step << shift_of(param, code)) - 1;
	else if (code < 127)
		value = 3 * step << shift_of(param, code);
	else
		value = param->maximum;
	return value < param->minimum ? param->minimum : value > param->maximum ? param->maximum : value;
}

static void sizes_text(unsigned code, char *text, size_t room)
{
	static const char multiples[16][6] = {
		{1, 2}, {1, 2, 3},       {1, 2, 4}, {1, 3},    {1, 2, 3, 4}, {1, 2, 3, 5}, {1, 2, 6}, {2, 3},
		{1, 4}, {1, 2, 3, 4, 6}, {1, 3, 4}, {1, 2, 5}, {1},          {1, 7},       {2, 5, 7}, {1, 2, 4, 8, 9}};
	const char *multiple = multiples[code / 8];
	size_t used = 0;
	for (size_t i = 0; i < sizeof multiples[0] && multiple[i]; i++)
		used += (size_t)snprintf(text + used, room - used, "%s%u", i ? "+" : "",
					 (unsigned)multiple[i] * UNIT_BYTES << (code % 8));
}

static void param_text(const struct kml_param *param, uint8_t byte, char *text, size_t room)
{
	unsigned code = byte - PARAM_DEFAULTS, choices = 1;
	switch (param->type) {
	case KML_PARAM_CHOICE:
		while (param->choices[choices])
			choices++;
		snprintf(text, room, "%s", param->choices[code % choices]);
		return;
	case KML_PARAM_SIZES:
		sizes_text(code, text, room);
		return;
	default:
		snprintf(text, room, "%llu", (unsigned long long)number_value(param, code));
	}
}

static bool is_given(const char *given, const char *name)
{
	size_t length = strlen(name);
	for (const char *at = given; *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : "")
		if (strncmp(at, name, length) == 0 && at[length] == '=')
			return true;
	return false;
}

/* "slub:min_partial=5/binary" of the parameter bytes; `room` is that of a setup's stack. */
static void write_spec(const struct stack_plan *plan, const uint8_t *bytes, char *text, size_t room)
{
	size_t used = 0, at = 0;
	for (uint32_t i = 0; i < plan->layer_count; i++) {
		const char *given = plan->given[i];
		used += (size_t)snprintf(text + used, room - used, "%s%s%s%s", i ? "/" : "", plan->layer[i]->name,
					 *given ? ":" : "", given);
		bool first = !*given;
		/* The layers below need room too. */
		size_t reserved = plan->layer_count - i > 1
					  ? strlen(plan->layer[i + 1]->name) + 2 + strlen(plan->given[i + 1])
					  : 0;
		for (const struct kml_param *param = plan->layer[i]->params; param && param->name; param++, at++) {
			char value[64];
			uint8_t byte = at < PARAMETER_BYTES ? bytes[at] : 0;
			if (byte < PARAM_DEFAULTS || is_given(given, param->name))
				continue;
			param_text(param, byte, value, sizeof value);
			if (used + reserved + strlen(param->name) + strlen(value) + 3 > room)
				continue;
			used += (size_t)snprintf(text + used, room - used, "%c%s=%s", first ? ':' : ',', param->name,
						 value);
			first = false;
		}
	}
	if (plan->layer_count == 0)
		snprintf(text, room, "%s", plan->text);
}

static void make_plan(struct stack_plan *plan, const char *stack)
{
	static uint64_t plans;
	static const uint8_t defaults[PARAMETER_BYTES];
	memset(plan, 0, sizeof *plan);
	plan->number = ++plans;
	snprintf(plan->text, sizeof plan->text, "%s", stack);
	char copy[sizeof plan->text], *rest = copy;
	memcpy(copy, plan->text, sizeof copy);
	bool known = true;
	for (char *token; known && (token = strsep(&rest, "/"));)
		known = plan_layer(plan, token);
	if (!known)
		plan->layer_count = 0;
	if (plan->layer_count > 0) {
		const struct kml_allocator *top = plan->layer[0];
		plan->is_objects = top->layer == KML_LAYER_OBJECTS;
		plan->has_caches = plan->is_objects || top->cache_open;
		plan->is_recorded = top->traits & KML_TRAIT_RECORDED;
		if (plan->is_objects && plan->layer_count == 1)
			plan->layer[plan->layer_count++] = kml_registry_find("binary");
	}
	for (uint32_t i = 0; i < plan->layer_count; i++)
		for (const struct kml_param *param = plan->layer[i]->params; param && param->name; param++)
			plan->param_count++;
	write_spec(plan, defaults, plan->plain, sizeof plan->plain);
}

/* The plan of a stack's text, made once. Unknown names leave a plan without layers. */
static const struct stack_plan *plan_stack(const char *stack)
{
	static struct stack_plan *kept[PLANS_KEPT];
	struct stack_plan **place = &kept[XXH3_64bits(stack, strlen(stack)) % PLANS_KEPT];
	if (*place && strcmp((*place)->text, stack) == 0)
		return *place;
	feedback_hold();
	if (!*place)
		*place = malloc(sizeof **place);
	KML_CHECK(*place, "no memory for the plan of %s", stack);
	make_plan(*place, stack);
	feedback_restore();
	return *place;
}

/* ------------------------------------------------------------------------------------------------ the setup */

/* Most are small: memory runs out often, and what is small is cheap to clean, to search and to exhaust. */
static uint64_t pages_of_objects(unsigned code)
{
	if (code < 160)
		return 2 + code * 15 / 160;
	return code < 224 ? 17 + (code - 160) / 4 : 33 + (code - 224);
}

/* Bytes of an arena. A page allocator counts in units, then in pages. */
static uint64_t arena_bytes_of(const struct stack_plan *plan, uint8_t size, uint8_t tail)
{
	uint64_t code = size, units;
	if (plan->is_objects)
		return pages_of_objects(size) * PAGE_BYTES + tail;
	if (code >= 248)
		return (24 + (code - 247) * 8) * PAGE_BYTES + tail;
	if (code >= 208)
		return (1 + (code - 207) / 2) * PAGE_BYTES + tail;
	if (code < 64)
		units = 1 + code;
	else if (code < 128)
		units = 64 + (code - 63) * 4;
	else
		units = 320 + (code - 127) * 24;
	return units * UNIT_BYTES + tail;
}

static uint32_t cpu_count_of(uint8_t byte)
{
	return byte < 224 ? 1 + byte % 4 : 1 + byte % 16;
}

static uint32_t check_every_of(uint8_t byte)
{
	static const uint8_t every[] = {0, 64, 0, 32, 0, 16, 4, 1};
	return every[byte & PROGRAM_CHECK_BITS];
}

/* Areas of vmalloc cost system calls: one program in sixteen has any. */
enum { AREAS_BITS = 15 << 4 };

static bool has_areas_of(uint8_t byte)
{
	return (byte & AREAS_BITS) == AREAS_BITS;
}

/* 1 to 16 KiB: every size up to 64, then powers of two, their neighbours and between. */
static uint64_t object_bytes_of(uint8_t code)
{
	if (code < 64)
		return 1u + code;
	uint64_t power = 64ull << ((code - 64) / 24), step = (code - 64) % 24;
	return step == 1 ? power + 1 : step == 23 ? 2 * power - 1 : power + power * step / 24 / 8 * 8;
}

static void decode_cache(struct kmt_cache *cache, uint8_t size, uint8_t kind)
{
	static const uint16_t aligns[8] = {0, 0, 8, 16, 64, 128, 1024, PAGE_BYTES};
	cache->object_bytes = object_bytes_of(size);
	cache->align_bytes = aligns[kind & 7];
	cache->slot_bytes = cache->slabs_at_start = cache->objects_at_start = 0;
	cache->objects_per_slab = cache->pages_per_slab = 0;
	/* The bits of the byte above the alignment are those of enum kmt_cache_flag. */
	cache->flags = kind >> 3 & 15;
	_Static_assert(KMT_CACHE_KMALLOC == 8, "the flags of a cache are four bits");
}

static void decode_caches(struct program_setup *setup, const struct stack_plan *plan, const uint8_t *bytes)
{
	/* The last has the name of a cache that has sheaves (slub, Linux 6.18). */
	static const char names[PROGRAM_CACHES][16] = {"c0", "c1", "c2", "vm_area_struct"};
	setup->cache_count = plan->has_caches || plan->is_recorded ? PROGRAM_CACHES : 0;
	for (uint32_t i = 0; i < setup->cache_count; i++) {
		memcpy(setup->cache_names[i], names[i], sizeof names[i]);
		setup->caches[i].name = setup->cache_names[i];
		decode_cache(&setup->caches[i], bytes[2 * i], bytes[2 * i + 1]);
	}
}

/* Can a stack be made of the setup? */
static bool can_be_created(const struct program_setup *setup)
{
	struct kml_error error;
	struct kml_spec *spec = kml_spec_parse(setup->stack, &error);
	if (!spec)
		return false;
	struct kml_environment environment = {.page_bytes = setup->page_bytes,
					      .cpu_count = setup->cpu_count,
					      .cache_count = setup->cache_count,
					      .seed = setup->seed};
	struct kml_stack stack;
	bool with_memory = !(spec->layer[0]->traits & KML_TRAIT_NO_MEMORY);
	environment.arena = kml_arena_create(setup->arena_bytes, setup->page_bytes, with_memory, &error);
	bool created = environment.arena && kml_stack_create(&stack, spec, &environment, &error);
	if (created)
		kml_stack_destroy(&stack);
	if (environment.arena)
		kml_arena_destroy(environment.arena);
	kml_spec_free(spec);
	return created;
}

/* What of a setup its spec depends on, once it must be possible. */
struct setup_key {
	uint64_t plan, arena_bytes, cpu_count;
	uint8_t parameters[(PARAMETER_BYTES + 7) / 8 * 8]; /* no padding: keys are compared as bytes */
};

/* Bytes that change something. */
static bool choose_parameters(const struct stack_plan *plan, const uint8_t *bytes, uint8_t *parameters)
{
	bool any = false;
	for (size_t i = 0; i < PARAMETER_BYTES; i++) {
		parameters[i] = i < plan->param_count && bytes[i] >= PARAM_DEFAULTS ? bytes[i] : 0;
		any |= parameters[i] != 0;
	}
	return any;
}

static void decode_stack(struct program_setup *setup, const struct stack_plan *plan, const uint8_t *parameters)
{
	static struct {
		struct setup_key key;
		char spec[sizeof setup->stack];
	} kept[SETUPS_KEPT], *place;
	struct setup_key key;
	memset(&key, 0, sizeof key);
	if (!choose_parameters(plan, parameters, key.parameters)) {
		memcpy(setup->stack, plan->plain, sizeof setup->stack);
		return;
	}
	key.plan = plan->number;
	key.arena_bytes = setup->arena_bytes;
	key.cpu_count = setup->cpu_count;
	place = &kept[XXH3_64bits(&key, sizeof key) % SETUPS_KEPT];
	if (memcmp(&place->key, &key, sizeof key) != 0) {
		feedback_hold();
		write_spec(plan, parameters, setup->stack, sizeof setup->stack);
		if (!can_be_created(setup))
			memcpy(setup->stack, plan->plain, sizeof setup->stack);
		memcpy(place->spec, setup->stack, sizeof place->spec);
		place->key = key;
		feedback_restore();
	}
	memcpy(setup->stack, place->spec, sizeof setup->stack);
}

static void decode_setup(struct program_setup *setup, const struct stack_plan *plan, const uint8_t *bytes)
{
	setup->arena_bytes = arena_bytes_of(plan, bytes[PROGRAM_BYTE_ARENA], bytes[PROGRAM_BYTE_ARENA_TAIL]);
	setup->page_bytes = PAGE_BYTES;
	setup->cpu_count = cpu_count_of(bytes[PROGRAM_BYTE_CPUS]);
	setup->seed = 1u + bytes[PROGRAM_BYTE_SEED];
	setup->check_every = check_every_of(bytes[PROGRAM_BYTE_CHECK]);
	decode_caches(setup, plan, bytes + PROGRAM_BYTE_CACHES);
	decode_stack(setup, plan, bytes + PROGRAM_BYTE_PARAMETERS);
}

/* ------------------------------------------------------------------------------------------------ operations */

/* What a free needs to know of the alloc. */
struct decoded_alloc {
	uint16_t cache;
	uint8_t op, order;
};

/* What is known while operations are decoded. */
struct decoder {
	struct program *program;
	const struct stack_plan *plan;
	uint64_t live, dead;                          /* bits of ids that are live; that were, and are not */
	struct decoded_alloc object[PROGRAM_OBJECTS]; /* of a live id */
	struct kmt_event last;                        /* alloc; op KMT_OP_COUNT before the first */
	uint32_t birth[PROGRAM_OBJECTS];
	uint32_t births;
	uint8_t open; /* bits of caches that are surely open */
	bool has_areas;
	bool is_exhausted;
	uint64_t time_ns;
	uint64_t place_bytes; /* of `recorded`: from place to place; 0: none */
};

/* The first id of a set from `id` on, round and round; -1: it is empty. */
static int next_of(uint64_t set, unsigned id)
{
	if (set == 0)
		return -1;
	uint64_t turned = set >> id | (id ? set << (PROGRAM_OBJECTS - id) : 0);
	return (int)((id + (unsigned)__builtin_ctzll(turned)) % PROGRAM_OBJECTS);
}

static uint64_t saturate(uint64_t value, uint64_t limit)
{
	return value < 1 ? 1 : value > limit ? limit : value;
}

/* What a size's two bytes mean. `near`: a size to be near to (the arena, a cache's object). */
enum size_mode {
	SIZE_TINY,
	SIZE_ANY,
	SIZE_POWER,
	SIZE_BELOW_POWER,
	SIZE_ABOVE_POWER,
	SIZE_THREE,
	SIZE_NEAR_THREE,
	SIZE_PAGES,
	SIZE_NEAR_PAGES,
	SIZE_UNITS,
	SIZE_ARENA,
	SIZE_PART,
	SIZE_HUGE,
	SIZE_FIBONACCI,
	SIZE_TERNARY,
	SIZE_CACHE,
	SIZE_MODES
};
/* So many numbers make a difference. */
static const uint16_t size_numbers[SIZE_MODES] = {64,   4096, 20,  20, 20, 18, 36, 64,
						  1024, 4096, 256, 64, 16, 24, 12, 12};

static uint64_t fibonacci(unsigned n)
{
	uint64_t a = 1, b = 2;
	for (; n; n--) {
		uint64_t sum = a + b;
		a = b;
		b = sum;
	}
	return a;
}

static uint64_t huge_size(unsigned number)
{
	static const uint64_t sizes[16] = {
		(1ull << 32) + 16,   1ull << 44,          1ull << 32,        (1ull << 32) - 1,
		(1ull << 32) - 15,   1ull << 31,          (1ull << 31) + 1,  (1ull << 31) - 1,
		(1ull << 32) + 4096, (1ull << 33) - 8,    (1ull << 36) + 64, (1ull << 40) + 1,
		(1ull << 45) - 1,    (1ull << 45) - 4095, 1ull << 63,        UINT64_MAX};
	return sizes[number % 16];
}

/* As many as do not leave the arena far behind, or fill it at once; and one more. */
static unsigned numbers_of(const struct program_setup *setup, enum size_mode mode)
{
	uint64_t arena_bytes = setup->arena_bytes, all = size_numbers[mode], most = all;
	switch (mode) {
	case SIZE_ANY:
		most = arena_bytes / 4;
		break;
	case SIZE_POWER:
	case SIZE_BELOW_POWER:
	case SIZE_ABOVE_POWER:
	case SIZE_THREE:
	case SIZE_FIBONACCI:
		most = 64 - (uint64_t)__builtin_clzll(arena_bytes);
		break;
	case SIZE_NEAR_THREE:
		most = 2 * (64 - (uint64_t)__builtin_clzll(arena_bytes));
		break;
	case SIZE_PAGES:
		most = arena_bytes / PAGE_BYTES / 2;
		break;
	case SIZE_NEAR_PAGES:
		most = (arena_bytes / PAGE_BYTES / 2 + 1) * 64;
		break;
	case SIZE_UNITS:
		most = arena_bytes / UNIT_BYTES / 4;
		break;
	default:
		break;
	}
	return (unsigned)(most + 1 < all ? most + 1 : all);
}

static uint64_t size_of(const struct program_setup *setup, enum size_mode mode, unsigned number)
{
	const unsigned n = number % numbers_of(setup, mode);
	uint64_t ternary = UNIT_BYTES;
	switch (mode) {
	case SIZE_TINY:
	case SIZE_ANY:
		return 1u + n;
	case SIZE_POWER:
		return 1ull << n;
	case SIZE_BELOW_POWER:
		return saturate((1ull << n) - 1, UINT64_MAX);
	case SIZE_ABOVE_POWER:
		return (1ull << n) + 1;
	case SIZE_THREE:
		return 3ull << n;
	case SIZE_NEAR_THREE:
		return (3ull << n / 2) + (n % 2 ? 1 : -1);
	case SIZE_PAGES:
		return (1ull + n) * PAGE_BYTES;
	case SIZE_NEAR_PAGES:
		return (1ull + n / 64) * PAGE_BYTES + n % 64 - 32;
	case SIZE_UNITS:
		return (1ull + n) * UNIT_BYTES;
	case SIZE_ARENA:
		return saturate(setup->arena_bytes + 4 - n, UINT64_MAX);
	case SIZE_PART:
		return saturate(setup->arena_bytes / (2 + n / 4) + n % 4 - 1, UINT64_MAX);
	case SIZE_HUGE:
		return huge_size(n);
	case SIZE_FIBONACCI:
		return fibonacci(n) * UNIT_BYTES;
	case SIZE_TERNARY:
		for (unsigned i = 0; i < n; i++)
			ternary *= 3;
		return ternary;
	default: /* as a cache's objects, and about */
		if (setup->cache_count == 0)
			return 1u + n;
		return saturate(setup->caches[n % PROGRAM_CACHES].object_bytes + n / PROGRAM_CACHES - 1, UINT64_MAX);
	}
}

static unsigned size_code(const uint8_t *op)
{
	return op[PROGRAM_BYTE_SIZE] | (unsigned)op[PROGRAM_BYTE_SIZE + 1] << 8;
}

static unsigned order_of(const struct program_setup *setup, unsigned code)
{
	static const uint8_t orders[16] = {0, 0, 0, 1, 0, 2, 1, 3, 0, 4, 2, 5, 1, 6, 8, 10};
	unsigned order = orders[code % 16], largest = 0;
	while ((uint64_t)2 * PAGE_BYTES << largest <= setup->arena_bytes)
		largest++;
	return code >> 12 == SIZE_HUGE ? code % 33 : order < largest ? order : largest;
}

/* Most want no alignment of their own; few more than the arena has. */
static uint8_t alignment_of(const struct program_setup *setup, uint8_t cpu_byte)
{
	static const uint8_t log2[16] = {0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 5, 6, 7, 9, 12, 13};
	uint8_t wanted = log2[cpu_byte >> 4];
	return 1ull << wanted < setup->arena_bytes || wanted == 13 ? wanted : 4;
}

/* Flag byte: cache 0-3 or none, zeroed, atomic, and one of eight. */
enum { FLAGS_NO_CACHE = 4, FLAGS_ZEROED = 8, FLAGS_ATOMIC = 16 };

static uint16_t common_flags(uint8_t byte)
{
	return (uint16_t)((byte & FLAGS_ZEROED ? KML_ZEROED : 0) | (byte & FLAGS_ATOMIC ? KML_ATOMIC : 0));
}

/* Large blocks are zeroed where the object's byte has both bits that name no id; `recorded` has them for its places. */
enum { LARGE_BYTES = 2 * PAGE_BYTES, OBJECT_ZEROED = 3 << 6 };

static bool may_be_zeroed(const struct stack_plan *plan, const struct kmt_event *event, const uint8_t *op)
{
	return event->size_bytes <= LARGE_BYTES || plan->is_recorded ||
	       (op[PROGRAM_BYTE_OBJECT] & OBJECT_ZEROED) == OBJECT_ZEROED;
}

static uint16_t page_flags(uint8_t byte)
{
	static const uint16_t kinds[8] = {0,           KML_MOVABLE,    KML_RECLAIMABLE, KML_MOVABLE,
					  KML_MOVABLE, KML_CONTIGUOUS, KML_DMA,         KML_ACCOUNTED};
	return common_flags(byte) | kinds[byte >> 5];
}

static uint16_t size_flags(uint8_t byte, bool has_areas)
{
	static const uint16_t kinds[8] = {KML_KMALLOC,
					  KML_KMALLOC,
					  KML_KMALLOC | KML_RECLAIMABLE,
					  KML_KMALLOC | KML_ACCOUNTED,
					  0,
					  KML_KMALLOC | KML_CONTIGUOUS,
					  KML_KMALLOC | KML_DMA,
					  KML_MOVABLE};
	if (has_areas && byte >> 5 == 7 && (byte & FLAGS_ATOMIC))
		return (uint16_t)(KML_VMALLOC | (byte & FLAGS_ZEROED ? KML_ZEROED : 0));
	return common_flags(byte) | kinds[byte >> 5];
}

static uint16_t cache_flags(uint8_t byte, const struct kmt_cache *cache)
{
	uint16_t flags = common_flags(byte) | (byte >> 5 == 4 ? KML_ACCOUNTED : 0);
	return flags | (cache->flags & KMT_CACHE_KMALLOC ? KML_KMALLOC : 0);
}

static struct kmt_event event_of(const struct decoder *decoder, enum kmt_op op, const uint8_t *bytes)
{
	return (struct kmt_event){
		.time_ns = decoder->time_ns,
		.address = KMT_NO_ADDRESS,
		.cache = KMT_NO_CACHE,
		.cpu = (uint16_t)((bytes[PROGRAM_BYTE_CPU] & 15) % decoder->program->setup.cpu_count),
		.op = (uint8_t)op,
	};
}

static void emit(struct decoder *decoder, const struct kmt_event *event)
{
	decoder->program->events[decoder->program->event_count++] = *event;
}

static void emit_alloc(struct decoder *decoder, struct kmt_event *event, unsigned id)
{
	event->object = (uint32_t)id;
	decoder->live |= 1ull << id;
	decoder->dead &= ~(1ull << id);
	decoder->object[id] = (struct decoded_alloc){event->cache, event->op, event->order};
	decoder->birth[id] = decoder->births++;
	/* What never fits is not asked for again. */
	if (event->size_bytes <= decoder->program->setup.arena_bytes)
		decoder->last = *event;
	emit(decoder, event);
}

static void emit_free(struct decoder *decoder, unsigned id, const uint8_t *bytes)
{
	const struct decoded_alloc *alloc = &decoder->object[id];
	bool is_page = alloc->op == KMT_PAGE_ALLOC;
	struct kmt_event event = event_of(decoder, is_page ? KMT_PAGE_FREE : KMT_FREE, bytes);
	event.object = (uint32_t)id;
	event.order = alloc->order;
	event.cache = bytes[PROGRAM_BYTE_FLAGS] & 1 ? KMT_NO_CACHE : alloc->cache;
	decoder->live &= ~(1ull << id);
	decoder->dead |= 1ull << id;
	emit(decoder, &event);
}

/* Where `recorded` is told to put it: one of PLACES, or nowhere. */
static uint64_t place_of(const struct decoder *decoder, const uint8_t *bytes)
{
	unsigned place = bytes[PROGRAM_BYTE_CPU] >> 4 << 2 | bytes[PROGRAM_BYTE_OBJECT] >> 6;
	return place >= PLACES - 4 ? KMT_NO_ADDRESS : place * decoder->place_bytes;
}

/* By its size: no cache, or one that may be closed. */
static void fill_sized(const struct decoder *decoder, struct kmt_event *event, const uint8_t *bytes,
		       uint64_t size_bytes)
{
	event->size_bytes = size_bytes;
	event->flags = size_flags(bytes[PROGRAM_BYTE_FLAGS], decoder->has_areas);
	if (!decoder->plan->is_recorded) {
		event->align_log2 = alignment_of(&decoder->program->setup, bytes[PROGRAM_BYTE_CPU]);
		return;
	}
	event->address = place_of(decoder, bytes);
	/* The recorded machine is as large as its highest address says. */
	event->size_bytes = 1 + (size_bytes - 1) % decoder->program->setup.arena_bytes;
}

static void fill_object(const struct decoder *decoder, struct kmt_event *event, const uint8_t *bytes)
{
	const struct program_setup *setup = &decoder->program->setup;
	unsigned code = size_code(bytes), index = bytes[PROGRAM_BYTE_FLAGS] & (PROGRAM_CACHES - 1);
	uint64_t size_bytes = size_of(setup, code >> 12, code & 4095);
	bool wants_cache = setup->cache_count && !(bytes[PROGRAM_BYTE_FLAGS] & FLAGS_NO_CACHE);
	if (!wants_cache || !(decoder->open >> index & 1)) {
		fill_sized(decoder, event, bytes, size_bytes);
		return;
	}
	const struct kmt_cache *cache = &setup->caches[index];
	event->cache = (uint16_t)index;
	event->flags = cache_flags(bytes[PROGRAM_BYTE_FLAGS], cache);
	event->size_bytes = cache->flags & KMT_CACHE_KMALLOC ? 1 + code % cache->object_bytes : cache->object_bytes;
	if (decoder->plan->is_recorded)
		event->address = place_of(decoder, bytes);
}

static void fill_pages(const struct decoder *decoder, struct kmt_event *event, const uint8_t *bytes)
{
	event->op = KMT_PAGE_ALLOC;
	event->order = (uint8_t)order_of(&decoder->program->setup, size_code(bytes));
	event->flags = page_flags(bytes[PROGRAM_BYTE_FLAGS]);
	if (decoder->plan->is_recorded) {
		event->order %= 4;
		event->address = place_of(decoder, bytes);
	}
	event->size_bytes = (uint64_t)PAGE_BYTES << event->order;
}

/* The like of the last one, if that can still be had. */
static bool fill_again(const struct decoder *decoder, struct kmt_event *event)
{
	const struct kmt_event *last = &decoder->last;
	if (last->op == KMT_OP_COUNT || (last->cache != KMT_NO_CACHE && !(decoder->open >> last->cache & 1)))
		return false;
	uint64_t address = event->address, time_ns = event->time_ns;
	uint16_t cpu = event->cpu;
	*event = *last;
	event->address = address;
	event->time_ns = time_ns;
	event->cpu = cpu;
	return true;
}

static void decode_alloc(struct decoder *decoder, enum program_kind kind, const uint8_t *bytes)
{
	int id = next_of(~decoder->live, bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS);
	if (id < 0) {
		emit_free(decoder, bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS, bytes);
		return;
	}
	struct kmt_event event = event_of(decoder, KMT_ALLOC, bytes);
	if (decoder->plan->is_recorded)
		event.address = place_of(decoder, bytes);
	/* An arena may be smaller than a page. */
	if (kind == PROGRAM_PAGES && decoder->program->setup.arena_bytes >= PAGE_BYTES)
		fill_pages(decoder, &event, bytes);
	else if (kind != PROGRAM_ALLOC_AGAIN || !fill_again(decoder, &event))
		fill_object(decoder, &event, bytes);
	if (!may_be_zeroed(decoder->plan, &event, bytes))
		event.flags &= (uint16_t)~KML_ZEROED;
	emit_alloc(decoder, &event, (unsigned)id);
}

static void decode_free(struct decoder *decoder, const uint8_t *bytes)
{
	int id = next_of(decoder->live, bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS);
	if (id >= 0)
		emit_free(decoder, (unsigned)id, bytes);
}

static void decode_free_oldest(struct decoder *decoder, const uint8_t *bytes)
{
	int oldest = -1;
	for (uint64_t left = decoder->live; left; left &= left - 1) {
		int id = __builtin_ctzll(left);
		if (oldest < 0 || decoder->birth[id] < decoder->birth[oldest])
			oldest = id;
	}
	if (oldest >= 0)
		emit_free(decoder, (unsigned)oldest, bytes);
}

static void decode_misuse(struct decoder *decoder, const uint8_t *bytes)
{
	struct kmt_event event = event_of(decoder, KMT_MISUSE, bytes);
	unsigned code = size_code(bytes);
	event.order = bytes[PROGRAM_BYTE_FLAGS] % KMT_MISUSE_KINDS;
	int id = next_of(event.order == KMT_MISUSE_DOUBLE ? decoder->dead : decoder->live,
			 bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS);
	if (event.order == KMT_MISUSE_FOREIGN)
		id = bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_OBJECTS;
	if (id < 0)
		return;
	event.object = (uint32_t)id;
	if (event.order != KMT_MISUSE_DOUBLE && event.order != KMT_MISUSE_CACHE)
		event.size_bytes = code >> 12 == SIZE_HUGE ? huge_size(code) : code % 4096;
	if (event.order == KMT_MISUSE_CACHE) {
		if (decoder->program->setup.cache_count == 0 || decoder->object[id].op != KMT_ALLOC)
			return;
		event.cache = (uint16_t)(code % PROGRAM_CACHES);
		if (event.cache == decoder->object[id].cache)
			event.cache = (event.cache + 1) % PROGRAM_CACHES;
	}
	emit(decoder, &event);
}

static void decode_shrink(struct decoder *decoder, const uint8_t *bytes)
{
	struct kmt_event event = event_of(decoder, KMT_SHRINK, bytes);
	uint8_t flags = bytes[PROGRAM_BYTE_FLAGS];
	event.cpu = 0;
	if (decoder->program->setup.cache_count && !(flags & FLAGS_NO_CACHE))
		event.cache = flags & (PROGRAM_CACHES - 1);
	emit(decoder, &event);
}

/* An open cache closes, a closed one opens. It may have stayed open for its objects: then nothing comes of it. */
static void decode_cache_event(struct decoder *decoder, const uint8_t *bytes)
{
	unsigned index = bytes[PROGRAM_BYTE_OBJECT] % PROGRAM_CACHES;
	if (decoder->program->setup.cache_count == 0)
		return;
	bool is_open = decoder->open >> index & 1;
	struct kmt_event event = event_of(decoder, is_open ? KMT_CACHE_CLOSE : KMT_CACHE_OPEN, bytes);
	event.cpu = 0;
	event.cache = (uint16_t)index;
	decoder->open ^= (uint8_t)(1u << index);
	emit(decoder, &event);
}

static void decode_exhaust(struct decoder *decoder, const uint8_t *bytes)
{
	struct kmt_event event = event_of(decoder, KMT_EXHAUST, bytes);
	/* Most of what happens needs memory: seldom on, soon off. */
	if (!decoder->is_exhausted && bytes[PROGRAM_BYTE_FLAGS] >> 5 != 0)
		return;
	decoder->is_exhausted = !decoder->is_exhausted;
	event.order = decoder->is_exhausted;
	if (event.order)
		event.flags = bytes[PROGRAM_BYTE_FLAGS] & FLAGS_ATOMIC ? KML_ATOMIC : 0;
	else
		event.cpu = 0;
	emit(decoder, &event);
}

/* A millisecond to 16 seconds: the longest timer of an allocator's own fires every 15. */
static void decode_wait(struct decoder *decoder, const uint8_t *bytes)
{
	decoder->time_ns += 1000000ull << size_code(bytes) % 15;
	struct kmt_event event = event_of(decoder, KMT_MARK, bytes);
	event.cpu = 0;
	emit(decoder, &event);
}

static void decode_op(struct decoder *decoder, const uint8_t *bytes)
{
	enum program_kind kind = (enum program_kind)(bytes[PROGRAM_BYTE_KIND] * PROGRAM_KINDS / 256);
	switch (kind) {
	case PROGRAM_ALLOC:
	case PROGRAM_PAGES:
	case PROGRAM_ALLOC_AGAIN:
		decode_alloc(decoder, kind, bytes);
		return;
	case PROGRAM_FREE:
		decode_free(decoder, bytes);
		return;
	case PROGRAM_FREE_OLDEST:
		decode_free_oldest(decoder, bytes);
		return;
	case PROGRAM_MISUSE:
		decode_misuse(decoder, bytes);
		return;
	case PROGRAM_SHRINK:
		decode_shrink(decoder, bytes);
		return;
	case PROGRAM_DRAIN: {
		struct kmt_event event = event_of(decoder, KMT_DRAIN, bytes);
		emit(decoder, &event);
		return;
	}
	case PROGRAM_CACHE:
		decode_cache_event(decoder, bytes);
		return;
	case PROGRAM_EXHAUST:
		decode_exhaust(decoder, bytes);
		return;
	default:
		decode_wait(decoder, bytes);
	}
}

/* ------------------------------------------------------------------------------------------------ decoding */

static void start_decoder(struct decoder *decoder, struct program *program, const struct stack_plan *plan,
			  const uint8_t *setup)
{
	decoder->program = program;
	decoder->plan = plan;
	decoder->live = decoder->dead = 0;
	decoder->last.op = KMT_OP_COUNT;
	decoder->births = 0;
	decoder->is_exhausted = false;
	decoder->has_areas = has_areas_of(setup[PROGRAM_BYTE_CHECK]);
	decoder->time_ns = 0;
	decoder->place_bytes = program->setup.arena_bytes / PLACES / 8 * 8;
	decoder->open = 0;
	for (unsigned i = 0; i < PROGRAM_CACHES; i++)
		decoder->open |= (uint8_t)(!(setup[PROGRAM_BYTE_CACHES + 2 * i + 1] >> 7) << i);
}

void program_decode(struct program *program, const char *stack, const uint8_t *bytes, size_t byte_count)
{
	uint8_t setup[PROGRAM_SETUP_BYTES] = {0}, last[PROGRAM_OP_BYTES] = {0};
	const struct stack_plan *plan = plan_stack(stack);
	struct decoder decoder;
	if (byte_count)
		memcpy(setup, bytes, byte_count < sizeof setup ? byte_count : sizeof setup);
	decode_setup(&program->setup, plan, setup);
	start_decoder(&decoder, program, plan, setup);

	size_t left = byte_count > sizeof setup ? byte_count - sizeof setup : 0;
	size_t ops = (left + PROGRAM_OP_BYTES - 1) / PROGRAM_OP_BYTES;
	ops = ops < PROGRAM_EVENTS_MAX ? ops : PROGRAM_EVENTS_MAX;
	ops = KML_PLANTED(program_rejects_all) ? 0 : ops; /* a fuzzer that does no work must be told: fuzz/smoke.py */
	program->event_count = 0;
	if (program->event_room < ops) {
		free(program->events);
		program->events = malloc(ops * sizeof *program->events);
		KML_CHECK(program->events, "no memory for %zu events", ops);
		program->event_room = (uint32_t)ops;
	}
	for (size_t i = 0; i < ops; i++, left -= PROGRAM_OP_BYTES) {
		const uint8_t *at = bytes + sizeof setup + i * PROGRAM_OP_BYTES;
		if (left < PROGRAM_OP_BYTES) {
			memcpy(last, at, left);
			decode_op(&decoder, last);
			return;
		}
		decode_op(&decoder, at);
	}
}

/* ------------------------------------------------------------------------------------------------ encoding */

static bool same_event(const struct kmt_event *a, const struct kmt_event *b)
{
	return a->time_ns == b->time_ns && a->address == b->address && a->size_bytes == b->size_bytes &&
	       a->granted_bytes == b->granted_bytes && a->object == b->object && a->cache == b->cache &&
	       a->cpu == b->cpu && a->flags == b->flags && a->op == b->op && a->order == b->order &&
	       a->align_log2 == b->align_log2;
}

static void put_code(uint8_t *op, unsigned code)
{
	op[PROGRAM_BYTE_SIZE] = (uint8_t)code;
	op[PROGRAM_BYTE_SIZE + 1] = (uint8_t)(code >> 8);
}

/* What the decoder makes of a size's code, where `recorded` has no more room than the arena. */
static uint64_t decoded_size(const struct decoder *decoder, unsigned code)
{
	const struct program_setup *setup = &decoder->program->setup;
	uint64_t size_bytes = size_of(setup, code >> 12, code & 4095);
	return decoder->plan->is_recorded ? 1 + (size_bytes - 1) % setup->arena_bytes : size_bytes;
}

static bool encode_size(const struct decoder *decoder, uint64_t size_bytes, uint8_t *op)
{
	for (unsigned mode = 0; mode < SIZE_MODES; mode++) {
		unsigned from = 0, to = numbers_of(&decoder->program->setup, mode);
		/* The two that are long and plain. */
		if (mode == SIZE_ANY || mode == SIZE_UNITS) {
			from = (unsigned)((mode == SIZE_ANY ? size_bytes : size_bytes / UNIT_BYTES) - 1);
			to = from < to ? from + 1 : from;
		}
		for (unsigned number = from; number < to; number++) {
			unsigned code = mode << 12 | number;
			put_code(op, code);
			if (decoded_size(decoder, code) == size_bytes)
				return true;
		}
	}
	return false;
}

/* CPU and object bytes of an alloc: with its alignment, or the place it was recorded at. */
static bool encode_place(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op)
{
	if (!decoder->plan->is_recorded) {
		for (unsigned high = 0; high < 16; high++) {
			op[PROGRAM_BYTE_CPU] = (uint8_t)(event->cpu | high << 4);
			if (alignment_of(&decoder->program->setup, op[PROGRAM_BYTE_CPU]) == event->align_log2)
				return true;
		}
		return false;
	}
	for (unsigned place = 0; place < PLACES; place++) {
		op[PROGRAM_BYTE_CPU] = (uint8_t)(event->cpu | place >> 2 << 4);
		op[PROGRAM_BYTE_OBJECT] = (uint8_t)(event->object | (place & 3) << 6);
		if (place_of(decoder, op) == event->address)
			return true;
	}
	return false;
}

/* By trial: there are 256 flag bytes, and the decoder knows what they mean. */
static bool encode_flags(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op)
{
	const struct program_setup *setup = &decoder->program->setup;
	for (unsigned flags = 0; flags < 256; flags++) {
		bool is_cached = setup->cache_count && !(flags & FLAGS_NO_CACHE);
		uint16_t cache = is_cached ? flags & (PROGRAM_CACHES - 1) : KMT_NO_CACHE;
		uint16_t meant = event->op == KMT_PAGE_ALLOC ? page_flags((uint8_t)flags)
				 : is_cached                 ? cache_flags((uint8_t)flags, &setup->caches[cache])
							     : size_flags((uint8_t)flags, decoder->has_areas);
		op[PROGRAM_BYTE_FLAGS] = (uint8_t)flags;
		if (meant == event->flags && (event->op == KMT_PAGE_ALLOC || cache == event->cache))
			return true;
	}
	return false;
}

static bool encode_order(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op)
{
	for (unsigned code = 0; code < 33; code++)
		for (unsigned mode = 0; mode <= SIZE_HUGE; mode += SIZE_HUGE) {
			unsigned order = order_of(&decoder->program->setup, mode << 12 | code);
			put_code(op, mode << 12 | code);
			if ((decoder->plan->is_recorded ? order % 4 : order) == event->order)
				return true;
		}
	return false;
}

static bool encode_alloc(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op)
{
	if (event->size_bytes > LARGE_BYTES && (event->flags & KML_ZEROED) && !decoder->plan->is_recorded)
		op[PROGRAM_BYTE_OBJECT] |= OBJECT_ZEROED;
	if (event->object >= PROGRAM_OBJECTS || !encode_place(decoder, event, op) || !encode_flags(decoder, event, op))
		return false;
	if (event->op == KMT_PAGE_ALLOC)
		return encode_order(decoder, event, op);
	if (event->cache == KMT_NO_CACHE)
		return encode_size(decoder, event->size_bytes, op);
	put_code(op, (unsigned)(event->size_bytes - 1) & UINT16_MAX);
	return true;
}

static bool encode_misuse(const struct kmt_event *event, uint8_t *op)
{
	op[PROGRAM_BYTE_FLAGS] = event->order;
	put_code(op, event->order == KMT_MISUSE_CACHE ? event->cache : (unsigned)event->size_bytes & 4095);
	for (unsigned i = 0; event->size_bytes > 4095 && i < 16; i++)
		if (huge_size(i) == event->size_bytes)
			put_code(op, SIZE_HUGE << 12 | i);
	return true;
}

/* The bytes that may mean this event; whether they do, decoding them tells. */
static bool guess_op(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op)
{
	static const uint8_t kinds[KMT_OP_COUNT] = {
		[KMT_ALLOC] = PROGRAM_ALLOC,     [KMT_FREE] = PROGRAM_FREE,        [KMT_PAGE_ALLOC] = PROGRAM_PAGES,
		[KMT_PAGE_FREE] = PROGRAM_FREE,  [KMT_CACHE_OPEN] = PROGRAM_CACHE, [KMT_CACHE_CLOSE] = PROGRAM_CACHE,
		[KMT_SHRINK] = PROGRAM_SHRINK,   [KMT_DRAIN] = PROGRAM_DRAIN,      [KMT_MISUSE] = PROGRAM_MISUSE,
		[KMT_EXHAUST] = PROGRAM_EXHAUST, [KMT_MARK] = PROGRAM_WAIT,
	};
	unsigned waits = 0;
	memset(op, 0, PROGRAM_OP_BYTES);
	op[PROGRAM_BYTE_KIND] = (uint8_t)((kinds[event->op] * 256 + PROGRAM_KINDS - 1) / PROGRAM_KINDS);
	op[PROGRAM_BYTE_OBJECT] = (uint8_t)event->object;
	op[PROGRAM_BYTE_CPU] = (uint8_t)event->cpu;
	switch ((enum kmt_op)event->op) {
	case KMT_ALLOC:
	case KMT_PAGE_ALLOC:
		return encode_alloc(decoder, event, op);
	case KMT_MISUSE:
		return encode_misuse(event, op);
	case KMT_FREE:
		op[PROGRAM_BYTE_FLAGS] = event->cache == KMT_NO_CACHE;
		return true;
	case KMT_SHRINK:
		op[PROGRAM_BYTE_FLAGS] = event->cache == KMT_NO_CACHE ? FLAGS_NO_CACHE : (uint8_t)event->cache;
		return true;
	case KMT_CACHE_OPEN:
	case KMT_CACHE_CLOSE:
		op[PROGRAM_BYTE_OBJECT] = (uint8_t)event->cache;
		return true;
	case KMT_EXHAUST:
		op[PROGRAM_BYTE_FLAGS] = event->flags & KML_ATOMIC ? FLAGS_ATOMIC : 0;
		return true;
	case KMT_MARK:
		while (waits < 16 && decoder->time_ns + (1000000ull << waits) < event->time_ns)
			waits++;
		put_code(op, waits);
		return true;
	default:
		return true;
	}
}

static uint8_t *find_byte(uint8_t *byte, uint64_t wanted, uint64_t (*meaning)(uint8_t))
{
	for (unsigned value = 0; value < 256; value++)
		if (meaning((uint8_t)value) == wanted) {
			*byte = (uint8_t)value;
			return byte;
		}
	return NULL;
}

static uint64_t cpus_meaning(uint8_t byte)
{
	return cpu_count_of(byte);
}

static uint64_t check_meaning(uint8_t byte)
{
	return check_every_of(byte);
}

static uint64_t object_meaning(uint8_t byte)
{
	return object_bytes_of(byte);
}

static bool encode_arena(const struct stack_plan *plan, uint64_t arena_bytes, uint8_t *bytes)
{
	for (unsigned size = 0; size < 256; size++) {
		uint64_t least = arena_bytes_of(plan, (uint8_t)size, 0);
		if (arena_bytes < least || arena_bytes - least > UINT8_MAX)
			continue;
		bytes[PROGRAM_BYTE_ARENA] = (uint8_t)size;
		bytes[PROGRAM_BYTE_ARENA_TAIL] = (uint8_t)(arena_bytes - least);
		return true;
	}
	return false;
}

static bool encode_cache(const struct program *program, uint32_t index, uint8_t *bytes)
{
	const struct kmt_cache *cache = &program->setup.caches[index];
	if (!find_byte(&bytes[0], cache->object_bytes, object_meaning) || cache->flags > 15)
		return false;
	bool closed = false;
	for (uint32_t i = program->event_count; i-- > 0;) {
		const struct kmt_event *event = &program->events[i];
		if (event->cache == index && (event->op == KMT_CACHE_OPEN || event->op == KMT_CACHE_CLOSE))
			closed = event->op == KMT_CACHE_OPEN;
	}
	for (unsigned align = 0; align < 8; align++) {
		struct kmt_cache decoded;
		bytes[1] = (uint8_t)(align | cache->flags << 3 | (unsigned)closed << 7);
		decode_cache(&decoded, bytes[0], bytes[1]);
		if (decoded.align_bytes == cache->align_bytes)
			return true;
	}
	return false;
}

/* The byte of one parameter whose value stands in a layer's text. */
static bool encode_parameter(const struct kml_param *param, const char *layer_text, uint8_t *byte)
{
	char wanted[300], meant[80];
	size_t length = strlen(param->name);
	const char *at = strchr(layer_text, ':');
	for (; at; at = strchr(at + 1, ','))
		if (strncmp(at + 1, param->name, length) == 0 && at[1 + length] == '=')
			break;
	*byte = 0;
	if (!at)
		return true;
	snprintf(wanted, sizeof wanted, "%s", at + 2 + length);
	wanted[strcspn(wanted, ",")] = '\0';
	for (unsigned value = PARAM_DEFAULTS; value < 256; value++) {
		param_text(param, (uint8_t)value, meant, sizeof meant);
		*byte = (uint8_t)value;
		if (strcmp(meant, wanted) == 0)
			return true;
	}
	return false;
}

static bool encode_parameters(const struct stack_plan *plan, const char *stack, uint8_t *bytes)
{
	char copy[sizeof plan->text], *rest = copy;
	size_t at = 0;
	snprintf(copy, sizeof copy, "%s", stack);
	for (uint32_t i = 0; i < plan->layer_count; i++) {
		const char *layer_text = rest ? strsep(&rest, "/") : "";
		for (const struct kml_param *param = plan->layer[i]->params; param && param->name; param++, at++)
			if (at < PARAMETER_BYTES && !encode_parameter(param, layer_text, &bytes[at]))
				return false;
	}
	return true;
}

static bool has_areas(const struct program *program)
{
	for (uint32_t i = 0; i < program->event_count; i++)
		if (program->events[i].op == KMT_ALLOC && (program->events[i].flags & KML_VMALLOC))
			return true;
	return false;
}

static bool encode_setup(const struct program *program, const struct stack_plan *plan, uint8_t *bytes)
{
	const struct program_setup *setup = &program->setup;
	uint32_t caches = plan->has_caches || plan->is_recorded ? PROGRAM_CACHES : 0;
	memset(bytes, 0, PROGRAM_SETUP_BYTES);
	if (plan->layer_count == 0 || setup->page_bytes != PAGE_BYTES || setup->cache_count != caches ||
	    setup->seed < 1 || setup->seed > 256 || !encode_arena(plan, setup->arena_bytes, bytes) ||
	    !find_byte(&bytes[PROGRAM_BYTE_CPUS], setup->cpu_count, cpus_meaning) ||
	    !find_byte(&bytes[PROGRAM_BYTE_CHECK], setup->check_every, check_meaning))
		return false;
	bytes[PROGRAM_BYTE_CHECK] |= has_areas(program) ? AREAS_BITS : 0;
	bytes[PROGRAM_BYTE_SEED] = (uint8_t)(setup->seed - 1);
	for (uint32_t i = 0; i < caches; i++)
		if (!encode_cache(program, i, &bytes[PROGRAM_BYTE_CACHES + 2 * i]))
			return false;
	return encode_parameters(plan, setup->stack, bytes + PROGRAM_BYTE_PARAMETERS);
}

/* The stack's layers, without parameters. */
static void name_layers(const char *stack, char *names, size_t room)
{
	size_t used = 0;
	bool in_parameters = false;
	for (; *stack && used + 1 < room; stack++) {
		in_parameters = *stack == ':' || (in_parameters && *stack != '/');
		if (!in_parameters)
			names[used++] = *stack;
	}
	names[used] = '\0';
}

static bool same_cache(const struct kmt_cache *a, const struct kmt_cache *b)
{
	return strcmp(a->name, b->name) == 0 && a->object_bytes == b->object_bytes &&
	       a->align_bytes == b->align_bytes && a->flags == b->flags;
}

static bool same_setup(const struct program_setup *a, const struct program_setup *b)
{
	for (uint32_t i = 0; i < a->cache_count && i < b->cache_count; i++)
		if (!same_cache(&a->caches[i], &b->caches[i]))
			return false;
	return strcmp(a->stack, b->stack) == 0 && a->arena_bytes == b->arena_bytes && a->page_bytes == b->page_bytes &&
	       a->cpu_count == b->cpu_count && a->seed == b->seed && a->check_every == b->check_every &&
	       a->cache_count == b->cache_count;
}

bool program_encode(const struct program *program, uint8_t *bytes, size_t *byte_count)
{
	static struct program trial; /* what the bytes so far mean */
	char names[sizeof program->setup.stack];
	struct decoder decoder;
	name_layers(program->setup.stack, names, sizeof names);
	const struct stack_plan *plan = plan_stack(names);
	if (!encode_setup(program, plan, bytes))
		return false;
	program_decode(&trial, names, bytes, PROGRAM_SETUP_BYTES);
	if (!same_setup(&trial.setup, &program->setup))
		return false;
	start_decoder(&decoder, &trial, plan, bytes);
	uint8_t *op = bytes + PROGRAM_SETUP_BYTES;
	for (uint32_t i = 0; i < program->event_count; i++, op += PROGRAM_OP_BYTES) {
		struct kmt_event meant[2];
		trial.events = meant;
		trial.event_count = 0;
		bool guessed = guess_op(&decoder, &program->events[i], op);
		if (guessed)
			decode_op(&decoder, op);
		trial.events = NULL;
		if (!guessed || trial.event_count != 1 || !same_event(&meant[0], &program->events[i]))
			return false;
	}
	*byte_count = (size_t)(op - bytes);
	return true;
}
