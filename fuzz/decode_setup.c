/*
 * decode_setup.c - bytes to the setup of a program, and back.
 *
 * Parameters come from the allocators' own tables; when no stack can be made with them, the defaults stand. Setups
 * decoded before are kept.
 */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "allocators/arena.h"
#include "fuzz/decode.h"
#include "fuzz/feedback.h"
#include "kmemlab/support/error.h"

enum {
	SETUPS_KEPT = 4096,
	PLANS_KEPT = 256,
	PARAMETER_BYTES = PROGRAM_SETUP_BYTES - PROGRAM_BYTE_PARAMETERS,
};

/* ------------------------------------------------------------------------------------------------ stacks */

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
	uint64_t step = param->type == KML_PARAM_SIZE ? DECODE_UNIT_BYTES : 1, value;
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
					 (unsigned)multiple[i] * DECODE_UNIT_BYTES << (code % 8));
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

const struct stack_plan *decode_plan(const char *stack)
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
		return pages_of_objects(size) * DECODE_PAGE_BYTES + tail;
	if (code >= 248)
		return (24 + (code - 247) * 8) * DECODE_PAGE_BYTES + tail;
	if (code >= 208)
		return (1 + (code - 207) / 2) * DECODE_PAGE_BYTES + tail;
	if (code < 64)
		units = 1 + code;
	else if (code < 128)
		units = 64 + (code - 63) * 4;
	else
		units = 320 + (code - 127) * 24;
	return units * DECODE_UNIT_BYTES + tail;
}

static uint32_t cpu_count_of(uint8_t byte)
{
	return byte < 224 ? 1 + byte % 4 : 1 + byte % 16;
}

/* The deep checks walk everything, and they are code too: coverage would favour programs that do little else. So there
 * are few in a program, spread over it, beside the one at its end. */
uint32_t decode_check_every(uint8_t byte, uint32_t event_count)
{
	enum { CHECKS_MAX = 10 };
	static const uint8_t every[] = {0, 64, 0, 32, 0, 16, 4, 1};
	uint32_t asked = every[byte & PROGRAM_CHECK_BITS], least = (event_count + CHECKS_MAX - 1) / CHECKS_MAX;
	return asked > 0 && asked < least ? least : asked;
}

/* Areas of vmalloc cost system calls: one program in sixteen has any. */
enum { AREAS_BITS = 15 << 4 };

bool decode_has_areas(uint8_t byte)
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
	static const uint16_t aligns[8] = {0, 0, 8, 16, 64, 128, 1024, DECODE_PAGE_BYTES};
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

void decode_setup(struct program_setup *setup, const struct stack_plan *plan, const uint8_t *bytes)
{
	setup->arena_bytes = arena_bytes_of(plan, bytes[PROGRAM_BYTE_ARENA], bytes[PROGRAM_BYTE_ARENA_TAIL]);
	setup->page_bytes = DECODE_PAGE_BYTES;
	setup->cpu_count = cpu_count_of(bytes[PROGRAM_BYTE_CPUS]);
	setup->seed = 1u + bytes[PROGRAM_BYTE_SEED];
	decode_caches(setup, plan, bytes + PROGRAM_BYTE_CACHES);
	decode_stack(setup, plan, bytes + PROGRAM_BYTE_PARAMETERS);
}

/* ------------------------------------------------------------------------------------------------ encoding */

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

static bool encode_check(const struct program *program, uint8_t *byte)
{
	for (unsigned value = 0; value <= PROGRAM_CHECK_BITS; value++)
		if (decode_check_every((uint8_t)value, program->event_count) == program->setup.check_every) {
			*byte = (uint8_t)value;
			return true;
		}
	return false;
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

bool encode_setup(const struct program *program, const struct stack_plan *plan, uint8_t *bytes)
{
	const struct program_setup *setup = &program->setup;
	uint32_t caches = plan->has_caches || plan->is_recorded ? PROGRAM_CACHES : 0;
	memset(bytes, 0, PROGRAM_SETUP_BYTES);
	if (plan->layer_count == 0 || setup->page_bytes != DECODE_PAGE_BYTES || setup->cache_count != caches ||
	    setup->seed < 1 || setup->seed > 256 || !encode_arena(plan, setup->arena_bytes, bytes) ||
	    !find_byte(&bytes[PROGRAM_BYTE_CPUS], setup->cpu_count, cpus_meaning) ||
	    !encode_check(program, &bytes[PROGRAM_BYTE_CHECK]))
		return false;
	bytes[PROGRAM_BYTE_CHECK] |= has_areas(program) ? AREAS_BITS : 0;
	bytes[PROGRAM_BYTE_SEED] = (uint8_t)(setup->seed - 1);
	for (uint32_t i = 0; i < caches; i++)
		if (!encode_cache(program, i, &bytes[PROGRAM_BYTE_CACHES + 2 * i]))
			return false;
	return encode_parameters(plan, setup->stack, bytes + PROGRAM_BYTE_PARAMETERS);
}
