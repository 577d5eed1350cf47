/*
 * target.h - what can be fuzzed: one target for every allocator stack of the registry, the differential ones, the
 * parsers of foreign bytes, and a canary that must fail. One table for libFuzzer, AFL++, the runner of tests and
 * `kmemlab fuzz`.
 */
#ifndef KMEMLAB_FUZZ_TARGET_H
#define KMEMLAB_FUZZ_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fuzz_kind {
	FUZZ_STACK,        /* bytes are a program on one stack */
	FUZZ_DIFFERENTIAL, /* bytes are a program on several */
	FUZZ_PARSER,       /* bytes are bytes */
	FUZZ_CANARY        /* a program on an allocator that is wrong on purpose: must be found */
};

struct fuzz_target {
	char name[64];  /* a file name: "binary", "slub-fibonacci", "textbook", "stacks", "kmt", ..., "canary" */
	char stack[64]; /* of FUZZ_STACK: "slub/fibonacci" */
	enum fuzz_kind kind;
	/*
	 * One input. Returns when nothing is wrong; else prints "kmemlab: ORACLE: ..." on stderr and aborts. Every
	 * call starts from the same state: what it does depends on the bytes alone.
	 */
	void (*run)(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count);
};

/*
 * Every target: first the stacks (each PAGES allocator alone, each OBJECTS allocator on each PAGES allocator that can
 * back it), then the rest. Made from the registry at the first call; borrowed.
 */
const struct fuzz_target *fuzz_targets(size_t *count);
/* NULL when there is none of that name. */
const struct fuzz_target *fuzz_target_find(const char *name);
/* Do the engines change its inputs as operations (mutate.h), or as bytes? */
static inline bool fuzz_target_takes_programs(const struct fuzz_target *target)
{
	return target->kind != FUZZ_PARSER;
}

/*
 * False in an engine's loop, where a check that costs as much as all the others is left out for most inputs; true where
 * an input is run for itself. The choice is by the input's bytes, so what is found stays found.
 */
extern bool fuzz_thorough;

/* End the process as a find: "kmemlab: ORACLE: TEXT" on stderr, abort. */
_Noreturn void fuzz_found(const char *oracle, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The differential targets (differential.c): a program against the textbook; a program on all stacks. */
void fuzz_textbook(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count);
void fuzz_stacks(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count);

#endif
