/*
 * cmd_demo.c - `kmemlab demo`: the examples of textbooks and lectures as memory maps, run on the real allocators.
 */
#include <argp.h>
#include <stdio.h>
#include <string.h>

#include "kmemlab/command.h"
#include "kmemlab/demo.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/nearest.h"

enum { OPTION_TIME = 256 };

struct example {
	const char *name;
	const char *title;
	bool (*run)(struct kml_error *error);
	bool (*time)(struct kml_error *error); /* NULL: nothing to measure */
};

static const struct example examples[] = {
	{"binary", "1024k: A = 70k, B = 61k, C = 100k; free A; D = 33k; free B, D, C", demo_binary, NULL},
	{"rounding", "128 bytes: a request of 10 gets a block of 16", demo_rounding, NULL},
	{"fibonacci", "Fibonacci system, 144 units: 70 gets 89, its buddy is 55", demo_fibonacci, NULL},
	{"weights", "a table of weights on 200k: 90k gets weight 2, 128k", demo_weights, NULL},
	{"ternary", "ternary system, 81k: 20k gets 27k", demo_ternary, NULL},
	{"pages", "16 MiB in pages of 4 KiB: a request of 8 KiB and its free", demo_pages, NULL},
	{"order", "9 pages get order 4: 7 pages wasted", demo_order, NULL},
	{"fragmentation", "1 MiB contiguous fails while most memory is free", demo_fragmentation, NULL},
	{"vmalloc", "kmalloc of 1 MiB fails, vmalloc of 1 MiB succeeds, page by page", demo_vmalloc, demo_vmalloc_time},
	{"slabinfo", "inode_cache 54321 55000 656 12 2: a line of /proc/slabinfo is 35.8 MiB, not 72", demo_slabinfo,
	 NULL},
};
enum { EXAMPLES = sizeof examples / sizeof examples[0] };

/* --------------------------------------------------------------------------------------------------- the command */

struct arguments {
	bool chosen[EXAMPLES];
	bool any_chosen;
	bool list, time;
};

static bool choose(struct arguments *arguments, const char *name, struct kml_error *error)
{
	struct kml_nearest nearest = kml_nearest_start(name);
	for (uint32_t i = 0; i < EXAMPLES; i++) {
		if (strcmp(examples[i].name, name) == 0) {
			arguments->chosen[i] = arguments->any_chosen = true;
			return true;
		}
		kml_nearest_offer(&nearest, examples[i].name);
	}
	return kml_fail(error, "no example '%.64s'; the nearest is '%s' (--list shows all)", name,
			kml_nearest_name(&nearest));
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	struct kml_error error;
	switch (key) {
	case 'l':
		arguments->list = true;
		return 0;
	case OPTION_TIME:
		arguments->time = true;
		return 0;
	case ARGP_KEY_ARG:
		if (!choose(arguments, value, &error))
			argp_error(state, "%s", error.text);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"list", 'l', NULL, 0, "List the examples", 0},
	{"time", OPTION_TIME, NULL, 0, "Measure too, where an example can (vmalloc); never the same twice", 0},
	{0},
};

static const struct argp argp = {
	options,
	parse_option,
	"[EXAMPLE...]",
	"Show textbook examples as memory maps and sums: all of them, or those named.\v"
	"Examples:\n"
	"  kmemlab demo\n"
	"  kmemlab demo binary fragmentation\n"
	"  kmemlab demo vmalloc --time\n"
	"  kmemlab demo --list\n\n"
	"In a map '|' starts a block, '#' is granted, a number is the size of a free block, '.' is too small for a "
	"block.",
	NULL,
	NULL,
	NULL};

int cmd_demo(int argc, char **argv)
{
	struct arguments arguments = {0};
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	bool first = true;
	for (uint32_t i = 0; i < EXAMPLES; i++) {
		struct kml_error error;
		if (arguments.list) {
			printf("%-14s %s\n", examples[i].name, examples[i].title);
			continue;
		}
		if (arguments.any_chosen && !arguments.chosen[i])
			continue;
		printf("%s%s: %s\n", first ? "" : "\n", examples[i].name, examples[i].title);
		first = false;
		if (!examples[i].run(&error) || (arguments.time && examples[i].time && !examples[i].time(&error)))
			return kml_report(&error, KML_EXIT_USAGE);
	}
	return KML_EXIT_OK;
}
