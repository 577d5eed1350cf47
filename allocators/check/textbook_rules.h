/*
 * textbook_rules.h - the split rules of the buddy systems, written a second time, from the papers, for the textbook.
 *
 * Specs are read here as texts: nothing is shared with the systems under test.
 */
#ifndef KMEMLAB_CHECK_TEXTBOOK_RULES_H
#define KMEMLAB_CHECK_TEXTBOOK_RULES_H

#include "allocators/check/textbook.h"

/*
 * The rule of the system that a spec names ("fibonacci:j=3", "weighted:sizes=16+32+48"), with the classes that an arena
 * of limit_units can have. False: no buddy system whose rule is known, or one with rules beside it (binary with any of
 * linux, percpu, migrate, watermarks, policy=linux, max_order).
 */
bool textbook_rule_of(struct textbook_rule *rule, const char *spec, uint64_t limit_units);

/* What `policy` says; without it last freed first. */
enum textbook_policy textbook_policy_of(const char *spec);

/*
 * Roots of an empty textbook as the system shares an arena out: greedily (textbook_tile); of `dual` a 3/7 of the
 * arena, in whole blocks of 3 units, to the sizes 3 * 2^i behind the rest.
 */
void textbook_lay(struct textbook *textbook, const char *spec, uint64_t arena_units);

/* Bytes of a unit: of `unit`, or the smallest of `sizes`; otherwise default_bytes. */
uint64_t textbook_unit_of(const char *spec, uint64_t default_bytes);

#endif
