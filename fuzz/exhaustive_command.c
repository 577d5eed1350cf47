/*
 * exhaustive_command.c - which stacks are searched in which arenas, and `kmemlab fuzz --exhaustive`.
 *
 * The systems come from the registry: a new one is searched with no further work. Only what parameters make of a system
 * is listed here, and how small an object allocator can be made.
 */
#include "fuzz/exhaustive.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/check/textbook_rules.h"
#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "kmemlab/support/clock.h"
#include "kmemlab/support/output.h"

enum {
	PAGE_BYTES = 4096,
	OBJECT_BYTES = PAGE_BYTES / 2, /* two a slab */
	WALK_UNITS = 10,               /* of a second or less, where the walk tells all */
	LIST_UNITS = 6,                /* where the order of free lists is part of the state */
	SLAB_UNITS = 2,
	ZONE_UNITS = 4,
	SLAB_UNITS_MAX = 3, /* of minutes: their states multiply by 20 with every slab */
	ZONE_UNITS_MAX = 6,
};

struct list {
	struct exhaustive_setup *setups;
	size_t count, room;
};

static void add_setup(struct list *list, const struct exhaustive_setup *setup)
{
	if (list->count == list->room) {
		size_t room = list->room == 0 ? 256 : 2 * list->room;
		struct exhaustive_setup *setups = realloc(list->setups, room * sizeof(setups[0]));
		if (setups == NULL)
			return;
		list->setups = setups;
		list->room = room;
	}
	list->setups[list->count++] = *setup;
}

/* ---------------------------------------------------------------------------------------------- page allocators */

static bool has_value(const char *stack, const char *value)
{
	return strstr(stack, value) != NULL;
}

static bool is_fit(const char *stack)
{
	return strncmp(stack, "first_fit", 9) == 0 || strncmp(stack, "best_fit", 8) == 0;
}

/* In arenas of 1 to `units` units. */
static void add_page_setups(struct list *list, const char *stack, uint32_t units)
{
	struct textbook_rule rule;
	bool is_buddy = textbook_rule_of(&rule, stack, 1);
	struct exhaustive_setup setup = {.cpu_count = 1,
					 .walk_tells_all = is_fit(stack) ||
							   (is_buddy && textbook_policy_of(stack) == TEXTBOOK_LOWEST)};
	if (units == 0)
		units = setup.walk_tells_all ? WALK_UNITS : LIST_UNITS;
	setup.unit_bytes = (uint32_t)textbook_unit_of(stack, 16);
	snprintf(setup.stack, sizeof(setup.stack), "%s", stack);
	for (setup.units = 1; setup.units <= units; setup.units++) {
		/* What is left at the end is less than a unit, and nobody's. */
		setup.tail_bytes = setup.units % 2 * (setup.unit_bytes / 2);
		add_setup(list, &setup);
	}
}

/* What parameters make of a system, "" first. */
static const char *const *variants_of(const char *name)
{
	static const char *const plain[] = {"", NULL};
	static const struct {
		const char *name;
		const char *variants[8];
	} table[] = {
		{"binary", {"", "max_order=2,"}},
		{"fibonacci", {"", "j=1,", "j=3,", "j=4,"}},
		{"kary", {"k=2,", "k=3,", "k=4,", "k=5,", "k=16,"}},
		{"weighted", {"", "sizes=16+32+48,", "sizes=16+32+48+112+240,", "sizes=16+48+96,"}},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].name, name) == 0)
			return table[i].variants;
	return plain;
}

/* One page allocator: all its variants, and those under every policy when it is a buddy system. */
static void add_system(struct list *list, const struct kml_allocator *allocator, uint32_t units)
{
	static const char *const policies[] = {"lowest", "lifo", "fifo"};
	struct textbook_rule rule;
	char stack[128];
	if (!textbook_rule_of(&rule, allocator->name, 1)) {
		add_page_setups(list, allocator->name, units);
		return;
	}
	for (const char *const *variant = variants_of(allocator->name); *variant != NULL; variant++)
		for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
			snprintf(stack, sizeof(stack), "%s:%spolicy=%s", allocator->name, *variant, policies[i]);
			add_page_setups(list, stack, units);
		}
}

/* ------------------------------------------------------------------------------- Linux mode and object allocators */

/* Units are pages. */
static void add_zone_setup(struct list *list, const char *stack, uint32_t units)
{
	struct exhaustive_setup setup = {.units = units > 0 ? units : ZONE_UNITS,
					 .unit_bytes = PAGE_BYTES,
					 .cpu_count =
						 has_value(stack, "percpu=on") || has_value(stack, "linux=on") ? 2 : 1,
					 .has_kinds = has_value(stack, "migrate=on") || has_value(stack, "linux=on"),
					 .hides_state = true};
	snprintf(setup.stack, sizeof(setup.stack), "%s", stack);
	add_setup(list, &setup);
}

static void add_object_setup(struct list *list, const char *stack, uint32_t units)
{
	bool has_cpu_partials = strncmp(stack, "slub", 4) == 0 && !has_value(stack, "percpu=");
	struct exhaustive_setup setup = {.units = units > 0 ? units : SLAB_UNITS,
					 .unit_bytes = PAGE_BYTES,
					 .cpu_count = 2,
					 .cache_count = 1,
					 .object_bytes = OBJECT_BYTES,
					 .hides_state = has_cpu_partials};
	snprintf(setup.stack, sizeof(setup.stack), "%s%s", stack,
		 strchr(stack, '/') == NULL ? "/binary:policy=lowest" : "");
	add_setup(list, &setup);
}

static const char *const zones[] = {
	"binary:policy=linux,max_order=2",
	"binary:percpu=on,max_order=2",
	"binary:migrate=on,page_block_order=1,max_order=2",
	"binary:linux=on,page_block_order=1,max_order=2,watermarks=off",
	NULL,
};
/* Slabs of a page, arrays and magazines of an object or two: all that moves, moves. */
static const char *const tiny[] = {
	"slub:profile=linux-6.1,min_partial=1",
	"slub:min_partial=1,cpu_partial=1",
	"slub:percpu=slab,min_partial=1",
	"slub:percpu=off,min_partial=1",
	"slab:limit=2,batchcount=1,shared=1,max_order=0",
	"slab:percpu=off,max_order=0",
	"solaris:magazine=1",
	"slob",
	NULL,
};

static bool can_be_searched(const struct kml_allocator *allocator)
{
	return allocator->layer == KML_LAYER_PAGES &&
	       (allocator->traits & (KML_TRAIT_NO_REUSE | KML_TRAIT_RECORDED)) == 0;
}

static bool add_stack(struct list *list, const char *stack, uint32_t units)
{
	struct kml_error error;
	struct kml_spec *spec = kml_spec_parse(stack, &error);
	if (spec == NULL)
		return false;
	bool is_zone = has_value(stack, "linux") || has_value(stack, "percpu=on") || has_value(stack, "migrate=on");
	if (spec->layer[0]->layer == KML_LAYER_OBJECTS)
		add_object_setup(list, stack, units);
	else if (is_zone)
		add_zone_setup(list, stack, units);
	else
		add_page_setups(list, stack, units);
	kml_spec_free(spec);
	return true;
}

size_t exhaustive_setups(const char *stack, uint32_t units, struct exhaustive_setup **setups)
{
	struct list list = {0};
	if (stack != NULL) {
		add_stack(&list, stack, units);
		*setups = list.setups;
		return list.count;
	}
	size_t count;
	const struct kml_allocator *const *allocators = kml_registry(&count);
	for (size_t i = 0; i < count; i++)
		if (can_be_searched(allocators[i]))
			add_system(&list, allocators[i], units);
	for (const char *const *zone = zones; *zone != NULL; zone++)
		add_stack(&list, *zone, units < ZONE_UNITS_MAX ? units : ZONE_UNITS_MAX);
	for (const char *const *slabs = tiny; *slabs != NULL; slabs++)
		add_stack(&list, *slabs, units < SLAB_UNITS_MAX ? units : SLAB_UNITS_MAX);
	*setups = list.setups;
	return list.count;
}

/* ----------------------------------------------------------------------------------------------------- the command */

struct table {
	const struct exhaustive_options *options;
	uint64_t deadline_ns;
	uint64_t states, transitions;
	uint32_t findings;
};

static void print_row(const struct exhaustive_setup *setup, const struct exhaustive_result *result)
{
	char expected[32] = "-";
	if (result->expected_layouts > 0)
		snprintf(expected, sizeof(expected), "%" PRIu64, result->expected_layouts);
	printf("%-62s %5u %10" PRIu64 " %12" PRIu64 " %5u %10" PRIu64 " %10s %8" PRIu64 " %7" PRIu64 " %8.2f%s\n",
	       setup->stack, setup->units, result->states, result->transitions, result->depth, result->layouts,
	       expected, result->merges_verified, result->merges_refuted, result->seconds,
	       result->failed     ? "  FAILED"
	       : result->complete ? ""
				  : "  stopped by its limit");
	fflush(stdout);
}

/* The program of a finding, as a file. */
static bool save_finding(struct table *table, const struct exhaustive_result *result, struct kml_error *error)
{
	const char *folder = table->options->out_folder != NULL ? table->options->out_folder : ".";
	char path[4096];
	struct kml_output output;
	snprintf(path, sizeof(path), "%s/exhaustive-%u.ops", folder, ++table->findings);
	if (!kml_make_directory(folder, error) || !kml_output_open(&output, path, error))
		return false;
	program_print(&result->program, output.stream);
	fprintf(stderr, "kmemlab: %s: %s (%u operations)\n", path, result->error.text, result->program.event_count);
	return kml_output_commit(&output, error);
}

/* The exit status of one search. */
static int search_one(struct table *table, struct exhaustive_setup *setup)
{
	struct exhaustive_result result;
	struct kml_error error = {{0}};
	setup->deadline_ns = table->deadline_ns;
	setup->shows_progress = true;
	if (!exhaustive_search(setup, &result, &error)) {
		fprintf(stderr, "kmemlab: %s in %u units: %s\n", setup->stack, setup->units, error.text);
		return KML_EXIT_USAGE;
	}
	bool miscounted = result.complete && result.expected_layouts > 0 && result.expected_layouts != result.layouts;
	print_row(setup, &result);
	table->states += result.states;
	table->transitions += result.transitions;
	if (miscounted)
		fprintf(stderr, "kmemlab: %s in %u units has %" PRIu64 " layouts; its rule has %" PRIu64 "\n",
			setup->stack, setup->units, result.layouts, result.expected_layouts);
	if (result.failed && !save_finding(table, &result, &error))
		fprintf(stderr, "kmemlab: %s\n", error.text);
	bool failed = result.failed;
	program_free(&result.program);
	return failed || miscounted ? KML_EXIT_CHECK_FAILED : KML_EXIT_OK;
}

static int search_all(struct table *table, const char *stack)
{
	struct exhaustive_setup *setups = NULL;
	size_t count = exhaustive_setups(stack, table->options->units, &setups);
	int worst = KML_EXIT_OK;
	for (size_t i = 0; i < count && (table->deadline_ns == 0 || kml_clock_ns(CLOCK_MONOTONIC) < table->deadline_ns);
	     i++) {
		int status = search_one(table, &setups[i]);
		worst = status > worst ? status : worst;
	}
	free(setups);
	return worst;
}

/* 2 for a spec that is none, before anything is searched. */
static int check_specs(const struct exhaustive_options *options)
{
	for (size_t i = 0; i < options->stack_count; i++) {
		struct kml_error error = {{0}};
		struct kml_spec *spec = kml_spec_parse(options->stacks[i], &error);
		if (spec == NULL) {
			fprintf(stderr, "kmemlab: %s\n", error.text);
			return KML_EXIT_USAGE;
		}
		kml_spec_free(spec);
	}
	return KML_EXIT_OK;
}

int fuzz_exhaustive_command(const struct exhaustive_options *options)
{
	struct table table = {.options = options};
	if (check_specs(options) != KML_EXIT_OK)
		return KML_EXIT_USAGE;
	if (options->minutes > 0)
		table.deadline_ns = kml_clock_ns(CLOCK_MONOTONIC) + options->minutes * 60ull * 1000000000u;
	printf("%-62s %5s %10s %12s %5s %10s %10s %8s %7s %8s\n", "stack", "units", "states", "transitions", "depth",
	       "layouts", "expected", "verified", "refuted", "seconds");
	int worst = KML_EXIT_OK;
	for (size_t i = 0; i < options->stack_count; i++) {
		int status = search_all(&table, options->stacks[i]);
		worst = status > worst ? status : worst;
	}
	if (options->stack_count == 0)
		worst = search_all(&table, NULL);
	printf("%" PRIu64 " states, %" PRIu64 " transitions\n", table.states, table.transitions);
	return worst;
}
