/*
 * exhaustive.h - every reachable state of a stack in a small arena: not a sample, all.
 *
 * A search through the ABI alone: a node is a state of the stack, an edge one operation - an alloc of any class, the
 * free of any live block, and for object allocators each of them on each cpu, shrink and the drain of a cpu. In every
 * state the shadow, the deep checks and the completeness of allocation are asked; from every state a drain must make
 * the arena whole. What is wrong comes with the shortest program that shows it.
 *
 * What a state is, and why two with one hash behave alike, is said in exhaustive.c.
 */
#ifndef KMEMLAB_FUZZ_EXHAUSTIVE_H
#define KMEMLAB_FUZZ_EXHAUSTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuzz/program.h"

struct exhaustive_setup {
	char stack[256];
	uint32_t units, unit_bytes; /* the arena; 0 bytes: 16 */
	uint32_t tail_bytes;        /* of the arena, beyond its units */
	uint32_t cpu_count;         /* 1 for stacks that know no cpus */
	uint32_t cache_count;       /* of an object allocator: caches, all of objects of so many bytes */
	uint32_t object_bytes;
	bool has_kinds;       /* requests are unmovable, movable and reclaimable */
	bool walk_tells_all;  /* two states of the same blocks behave alike (exhaustive.c) */
	bool hides_state;     /* two states may look alike and differ: counted, no finding */
	uint64_t states_max;  /* 0: no limit */
	uint64_t deadline_ns; /* on CLOCK_MONOTONIC; 0: none */
	bool shows_progress;
};

struct exhaustive_result {
	uint64_t states, transitions;
	uint64_t layouts;                         /* states told apart by their walk alone */
	uint64_t expected_layouts;                /* counted from the split rule of the papers; 0: not known */
	uint64_t merges_verified, merges_refuted; /* how often two states of one hash were held against each other */
	uint32_t depth;                           /* operations on the shortest way to the farthest state */
	double seconds;
	bool complete;          /* all states were seen */
	bool failed;            /* something is wrong: */
	struct kml_error error; /* what; by operation */
	struct program program; /* the shortest way to it; program_free is the caller's */
};

/* Search. False and *error: the stack cannot be created, or the machine has not enough memory. O(states x operations x
 * depth) time, 32 bytes a state. */
bool exhaustive_search(const struct exhaustive_setup *setup, struct exhaustive_result *result, struct kml_error *error);

/*
 * How many layouts a buddy system has in an arena of so many units, from its textbook's split table; of first_fit and
 * best_fit from counting tilings. 0: no formula is known for this stack.
 */
uint64_t exhaustive_expected_layouts(const char *stack, uint32_t units);

/*
 * The searches of a stack in arenas of 1 to `units` units, of object allocators in one of `units` pages for two cpus
 * and a cache of two objects a page; of every stack when it is NULL: each page allocator of the registry, with the
 * parameters that make other systems of it, under each policy, and each object allocator in small configurations. units
 * 0: what takes seconds. Returns their number and the searches in *setups, which the caller frees; 0: no memory.
 */
size_t exhaustive_setups(const char *stack, uint32_t units, struct exhaustive_setup **setups);

/* The blocks that can be: the nodes of the trees that the roots of a textbook's rule span. With the count of layouts
 * they say that the layouts seen are those of the rule, one by one. NULL: no rule is known for this stack. */
struct exhaustive_rule;
struct exhaustive_rule *exhaustive_rule_create(const char *stack, uint32_t units);
void exhaustive_rule_destroy(struct exhaustive_rule *rule);
/* Can a block of so many units start there? True without a rule. O(1). */
bool exhaustive_rule_has(const struct exhaustive_rule *rule, uint64_t address_units, uint64_t size_units);

/* `kmemlab fuzz --exhaustive [STACK...]`. */
struct exhaustive_options {
	const char *const *stacks; /* specs; NULL with stack_count 0: every system and parameter of small scope */
	size_t stack_count;
	uint32_t units;         /* of the largest arena; 0: a size that takes seconds */
	uint32_t minutes;       /* in all; 0: no limit */
	const char *out_folder; /* where the programs of violations go; NULL: here */
};

/* A table on stdout, progress on a terminal. The exit status: 1 when something is wrong, 2 for bad specs, else 0. */
int fuzz_exhaustive_command(const struct exhaustive_options *options);

#endif
