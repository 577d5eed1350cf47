/*
 * decode.c - bytes to the program they mean, and back.
 *
 * A program is a setup (decode_setup.c) and operations (decode_op.c). Cost O(operations), 10 ns each; a setup that was
 * not decoded before costs the parsing of its spec and a stack made on trial.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/decode.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

void program_decode(struct program *program, const char *stack, const uint8_t *bytes, size_t byte_count)
{
	uint8_t setup[PROGRAM_SETUP_BYTES] = {0}, last[PROGRAM_OP_BYTES] = {0};
	const struct stack_plan *plan = decode_plan(stack);
	struct decoder decoder;
	if (byte_count)
		memcpy(setup, bytes, byte_count < sizeof setup ? byte_count : sizeof setup);
	size_t left = byte_count > sizeof setup ? byte_count - sizeof setup : 0;
	size_t ops = (left + PROGRAM_OP_BYTES - 1) / PROGRAM_OP_BYTES;
	ops = ops < PROGRAM_EVENTS_MAX ? ops : PROGRAM_EVENTS_MAX;
	ops = KML_PLANTED(program_rejects_all) ? 0 : ops; /* a fuzzer that does no work must be told: fuzz/smoke.py */
	decode_setup(&program->setup, plan, setup);
	decode_start(&decoder, program, plan, setup);
	program->event_count = 0;
	if (program->event_room < ops) {
		free(program->events);
		program->events = malloc(ops * sizeof *program->events);
		KML_CHECK(program->events, "no memory for %zu events", ops);
		program->event_room = (uint32_t)ops;
	}
	for (size_t i = 0; i < ops; i++, left -= PROGRAM_OP_BYTES) {
		const uint8_t *at = bytes + sizeof setup + i * PROGRAM_OP_BYTES;
		if (left < PROGRAM_OP_BYTES)
			at = memcpy(last, at, left);
		decode_op(&decoder, at);
	}
	program->setup.check_every = decode_check_every(setup[PROGRAM_BYTE_CHECK], program->event_count);
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
	const struct stack_plan *plan = decode_plan(names);
	if (!encode_setup(program, plan, bytes))
		return false;
	decode_setup(&trial.setup, plan, bytes);
	trial.setup.check_every = decode_check_every(bytes[PROGRAM_BYTE_CHECK], program->event_count);
	if (!same_setup(&trial.setup, &program->setup))
		return false;
	decode_start(&decoder, &trial, plan, bytes);
	uint8_t *op = bytes + PROGRAM_SETUP_BYTES;
	for (uint32_t i = 0; i < program->event_count; i++, op += PROGRAM_OP_BYTES) {
		struct kmt_event meant[2];
		trial.events = meant;
		trial.event_count = 0;
		bool guessed = encode_op(&decoder, &program->events[i], op);
		if (guessed)
			decode_op(&decoder, op);
		trial.events = NULL;
		if (!guessed || trial.event_count != 1 || !kmt_same_event(&meant[0], &program->events[i]))
			return false;
	}
	*byte_count = (size_t)(op - bytes);
	return true;
}
