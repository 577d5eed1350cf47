/*
 * target.c - the table of targets, made from the registry.
 *
 * Which stacks there are, traits say: an allocator that keeps nothing, follows a recording or has no memory behind its
 * addresses backs no other. A new line in the registry is a new row here.
 */
#include "fuzz/target.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "fuzz/canary.h"
#include "fuzz/feedback.h"
#include "fuzz/parsers.h"
#include "fuzz/program.h"
#include "kmemlab/support/error.h"

enum { TARGETS_MAX = 1024 };

bool fuzz_thorough;

static struct fuzz_target targets[TARGETS_MAX];
static size_t target_count;

void fuzz_found(const char *oracle, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fflush(stdout);
	fprintf(stderr, "kmemlab: %s: ", oracle);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	abort();
}

/* What a program does is judged where every replay is judged; a setup that no stack can be made of is no find. */
static void run_program(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	static struct program program;
	static struct program_outcome outcome;
	struct kml_error error;

	feedback_hold();
	program_decode(&program, target->stack, bytes, byte_count);
	feedback_restore();
	if (program_run(&program, &outcome, &error) && outcome.failed)
		fuzz_found(outcome.oracle, "%s", outcome.error.text);
}

static void run_canary(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	run_program(target, bytes, byte_count);
}

static struct fuzz_target *add(const char *name, enum fuzz_kind kind,
			       void (*run)(const struct fuzz_target *, const uint8_t *, size_t))
{
	KML_CHECK(target_count < TARGETS_MAX, "%zu targets", target_count);
	struct fuzz_target *target = &targets[target_count++];
	snprintf(target->name, sizeof target->name, "%s", name);
	target->kind = kind;
	target->run = run;
	return target;
}

/* "slub/fibonacci", and "slub-fibonacci" for files. */
static void add_stack(const char *top, const char *backing)
{
	char stack[sizeof((struct fuzz_target *)0)->stack];
	int length = snprintf(stack, sizeof stack, "%s%s%s", top, backing ? "/" : "", backing ? backing : "");
	KML_CHECK(length > 0 && (size_t)length < sizeof stack, "a stack's name of %d bytes", length);
	struct fuzz_target *target = add(stack, FUZZ_STACK, run_program);
	memcpy(target->stack, stack, sizeof stack);
	for (char *at = target->name; *at; at++)
		if (*at == '/')
			*at = '-';
}

static bool can_back(const struct kml_allocator *allocator)
{
	return allocator->layer == KML_LAYER_PAGES &&
	       !(allocator->traits & (KML_TRAIT_NO_MEMORY | KML_TRAIT_NO_REUSE | KML_TRAIT_RECORDED));
}

static void add_stacks(void)
{
	size_t count;
	const struct kml_allocator *const *all = kml_registry(&count);

	for (size_t i = 0; i < count; i++)
		if (all[i]->layer == KML_LAYER_PAGES)
			add_stack(all[i]->name, NULL);
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count && all[i]->layer == KML_LAYER_OBJECTS; j++)
			if (can_back(all[j]))
				add_stack(all[i]->name, all[j]->name);
}

const struct fuzz_target *fuzz_targets(size_t *count)
{
	if (target_count == 0) {
		add_stacks();
		add("textbook", FUZZ_DIFFERENTIAL, fuzz_textbook);
		add("stacks", FUZZ_DIFFERENTIAL, fuzz_stacks);
		for (const struct fuzz_parser *parser = fuzz_parsers; parser->name; parser++)
			add(parser->name, FUZZ_PARSER, parser->run);
		struct fuzz_target *canary = add("canary", FUZZ_CANARY, run_canary);
		strcpy(canary->stack, fuzz_canary_register());
	}
	*count = target_count;
	return targets;
}

const struct fuzz_target *fuzz_target_find(const char *name)
{
	size_t count;
	const struct fuzz_target *all = fuzz_targets(&count);

	for (size_t i = 0; i < count; i++)
		if (strcmp(all[i].name, name) == 0)
			return &all[i];
	return NULL;
}
