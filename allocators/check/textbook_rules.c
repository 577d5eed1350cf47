/*
 * textbook_rules.c - the rules from the papers. See textbook_rules.h.
 */
#include "allocators/check/textbook_rules.h"

#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"

/* ------------------------------------------------------------------------------------------------ specs as texts */

/* The text behind "name=" in a spec, up to the next comma; NULL. */
static const char *value_of(const char *spec, const char *name)
{
	size_t length = strlen(name);
	for (const char *at = strchr(spec, ':'); at != NULL; at = strchr(at + 1, ','))
		if (strncmp(at + 1, name, length) == 0 && at[1 + length] == '=')
			return at + length + 2;
	return NULL;
}

static bool value_is(const char *spec, const char *name, const char *wanted)
{
	const char *value = value_of(spec, name);
	return value != NULL && strncmp(value, wanted, strlen(wanted)) == 0 &&
	       strchr(",", value[strlen(wanted)]) != NULL;
}

static bool is_named(const char *spec, const char *name)
{
	size_t length = strlen(name);
	return strncmp(spec, name, length) == 0 && (spec[length] == '\0' || spec[length] == ':');
}

static uint64_t number_of(const char *spec, const char *name, uint64_t otherwise)
{
	const char *value = value_of(spec, name);
	return value == NULL ? otherwise : strtoull(value, NULL, 10);
}

/* The size at *text, up to `end`; *text goes on behind it. */
static uint64_t next_size(const char **text)
{
	char one[32] = {0};
	size_t length = strcspn(*text, "+,");
	uint64_t size_bytes = 0;
	if (length < sizeof(one)) {
		memcpy(one, *text, length);
		kml_parse_size(one, &size_bytes);
	}
	*text += length + ((*text)[length] == '+');
	return size_bytes;
}

uint64_t textbook_unit_of(const char *spec, uint64_t default_bytes)
{
	const char *text = value_of(spec, "sizes");
	if (text == NULL || value_is(spec, "sizes", "auto"))
		text = value_of(spec, "unit");
	if (text == NULL || strncmp(text, "auto", 4) == 0)
		return default_bytes;
	return next_size(&text);
}

enum textbook_policy textbook_policy_of(const char *spec)
{
	if (value_is(spec, "policy", "lowest"))
		return TEXTBOOK_LOWEST;
	return value_is(spec, "policy", "fifo") ? TEXTBOOK_FIFO : TEXTBOOK_LIFO;
}

/* --------------------------------------------------------------------------------------------------------- rules */

/* Knowlton 1965 and its generalisation: k^i into k equal parts. */
static void equal_parts(struct textbook_rule *rule, uint64_t k, uint64_t limit_units)
{
	uint64_t pieces[TEXTBOOK_CHILDREN_MAX];
	textbook_rule_add(rule, 1, 0, NULL);
	for (uint64_t size = k; size <= limit_units; size *= k) {
		for (uint64_t i = 0; i < k; i++)
			pieces[i] = size / k;
		textbook_rule_add(rule, size, (uint32_t)k, pieces);
	}
}

/* Hirschberg 1973: a(n) = a(n-1) + a(n-j), from j ones. The distinct sizes begin 1, 2, 3, ..., j + 1. */
static void hirschberg(struct textbook_rule *rule, uint64_t j, uint64_t limit_units)
{
	uint64_t a[256] = {0};
	uint64_t n = j;
	for (uint64_t i = 0; i < j; i++)
		a[i] = 1;
	textbook_rule_add(rule, 1, 0, NULL);
	for (; rule->class_count < TEXTBOOK_CLASSES_MAX && (a[n] = a[n - 1] + a[n - j]) <= limit_units; n++)
		textbook_rule_add(rule, a[n], 2, (const uint64_t[]){a[n - 1], a[n - j]});
}

/* Shen & Peterson 1974: 2^(r+2) = 3*2^r + 2^r, 3*2^r = 2^(r+1) + 2^r. */
static void shen_peterson(struct textbook_rule *rule, uint64_t limit_units)
{
	textbook_rule_add(rule, 1, 0, NULL);
	if (limit_units >= 2)
		textbook_rule_add(rule, 2, 2, (const uint64_t[]){1, 1});
	for (uint64_t size = 3; size <= limit_units; size++) {
		uint64_t low_bit = size & -size, r = size == low_bit ? size / 4 : low_bit;
		if (size == low_bit)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){3 * r, r});
		else if (size == 3 * low_bit)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){2 * r, r});
	}
}

/* Burton 1976 for a user's sizes: the next smaller one, then the largest that fit in the rest. False: too many parts.
 */
static bool burton(struct textbook_rule *rule, const char *sizes, uint64_t limit_units)
{
	uint64_t unit_bytes = next_size(&sizes), pieces[TEXTBOOK_CHILDREN_MAX];
	if (unit_bytes == 0)
		return false;
	textbook_rule_add(rule, 1, 0, NULL);
	while (*sizes != '\0' && *sizes != ',') {
		uint64_t size = next_size(&sizes) / unit_bytes, rest = size;
		uint32_t count = 0;
		if (size > limit_units)
			return true;
		for (uint32_t class = rule->class_count; class -- > 0;)
			for (; rest >= rule->size_units[class]; rest -= rule->size_units[class]) {
				if (count == TEXTBOOK_CHILDREN_MAX)
					return false;
				pieces[count++] = rule->size_units[class];
			}
		textbook_rule_add(rule, size, count, pieces);
	}
	return true;
}

/* Page & Hagins 1986: 2^i and 3*2^i, each into halves. */
static void page_hagins(struct textbook_rule *rule, uint64_t limit_units)
{
	for (uint64_t size = 1; size <= limit_units; size++) {
		uint64_t low_bit = size & -size;
		if (size == 1 || size == 3)
			textbook_rule_add(rule, size, 0, NULL);
		else if (size == low_bit || size == 3 * low_bit)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){size / 2, size / 2});
	}
}

/* Yadav & Sharma 2010: 2^i = 3/8 + 3/8 + 2/8; here 3*2^i = 2^(i+1) + 2^i, and 4 = 2 + 2, 2 = 1 + 1. */
static void yadav_sharma(struct textbook_rule *rule, uint64_t limit_units)
{
	textbook_rule_add(rule, 1, 0, NULL);
	for (uint64_t size = 2; size <= limit_units; size++) {
		uint64_t low_bit = size & -size;
		if (size == low_bit && size < 8)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){size / 2, size / 2});
		else if (size == low_bit)
			textbook_rule_add(rule, size, 3, (const uint64_t[]){size / 8 * 3, size / 8 * 3, size / 4});
		else if (size == 3 * low_bit)
			textbook_rule_add(rule, size, 2, (const uint64_t[]){2 * low_bit, low_bit});
	}
}

bool textbook_rule_of(struct textbook_rule *rule, const char *spec, uint64_t limit_units)
{
	static const char *const beside[] = {"linux", "percpu", "migrate", "watermarks"};
	memset(rule, 0, sizeof(*rule));
	if (strchr(spec, '/') != NULL || limit_units == 0)
		return false;
	if (is_named(spec, "binary")) {
		for (unsigned i = 0; i < sizeof(beside) / sizeof(beside[0]); i++)
			if (value_of(spec, beside[i]) != NULL && !value_is(spec, beside[i], "off"))
				return false;
		if (value_is(spec, "policy", "linux"))
			return false;
		uint64_t order = number_of(spec, "max_order", 0);
		bool is_limited = order > 0 && order < 64 && limit_units >> order != 0;
		equal_parts(rule, 2, is_limited ? 1ull << order : limit_units);
	} else if (is_named(spec, "kary")) {
		equal_parts(rule, number_of(spec, "k", 3), limit_units);
	} else if (is_named(spec, "fibonacci")) {
		hirschberg(rule, number_of(spec, "j", 2), limit_units);
	} else if (is_named(spec, "weighted")) {
		if (value_of(spec, "sizes") != NULL && !value_is(spec, "sizes", "auto"))
			return burton(rule, value_of(spec, "sizes"), limit_units);
		else
			shen_peterson(rule, limit_units);
	} else if (is_named(spec, "dual")) {
		page_hagins(rule, limit_units);
	} else if (is_named(spec, "tertiary")) {
		yadav_sharma(rule, limit_units);
	} else {
		return false;
	}
	return true;
}

/* Greedily, with the classes that are, or are not, multiples of 3. */
static void lay_family(struct textbook *textbook, bool triples, uint64_t units)
{
	const struct textbook_rule *rule = textbook->rule;
	for (uint32_t class = rule->class_count; class -- > 0;) {
		if ((rule->size_units[class] % 3 == 0) != triples)
			continue;
		for (; units >= rule->size_units[class]; units -= rule->size_units[class])
			textbook_add_root(textbook, class);
	}
}

void textbook_lay(struct textbook *textbook, const char *spec, uint64_t arena_units)
{
	if (!is_named(spec, "dual")) {
		textbook_tile(textbook, arena_units);
		return;
	}
	uint64_t of_triples = arena_units * 3 / 7 / 3 * 3;
	lay_family(textbook, false, arena_units - of_triples);
	lay_family(textbook, true, of_triples);
}
