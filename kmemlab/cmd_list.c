/* cmd_list.c - `kmemlab list`: every allocator with its parameters, defaults and citation. */
#include <argp.h>
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/command.h"
#include "kmemlab/options.h"
#include "kmemlab/params_text.h"

struct arguments {
	const char *name; /* NULL: all */
	struct kml_answer answer;
};

static const struct argp_option options[] = {
	{"plugin", KML_OPTION_PLUGIN, "FILE.so", 0, "Load the allocators of a shared object too (may be repeated)", 0},
	{"json", KML_OPTION_JSON, NULL, 0, "Print JSON", 0},
	{0},
};

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case KML_OPTION_PLUGIN:
		kml_option_plugin(value, state);
		return 0;
	case ARGP_KEY_ARG:
		kml_option_once(&arguments->name, value, "allocator", "", state);
		return 0;
	default:
		return kml_option_answer(key, value, &arguments->answer) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	"[ALLOCATOR]",
	"List every allocator with its parameters, defaults and citation, or one of them.\v"
	"Examples:\n"
	"  kmemlab list\n"
	"  kmemlab list fibonacci\n"
	"  kmemlab list --plugin ./mine.so --json\n\n"
	"A spec is NAME[:PARAM=VALUE,...]; an object allocator stands on a page allocator with '/':\n"
	"  binary:unit=16,policy=fifo      slub:profile=linux-6.18/binary:max_order=10",
	NULL,
	NULL,
	NULL};

static void print_allocator(const struct kml_allocator *allocator)
{
	printf("%s - %s (%s)\n    %s\n    %s\n", allocator->name, allocator->title,
	       allocator->layer == KML_LAYER_PAGES ? "pages" : "objects", allocator->summary, allocator->citation);
	for (const struct kml_param *param = allocator->params; param && param->name; param++)
		kml_print_param(param);
	putchar('\n');
}

static cJSON *param_json(const struct kml_param *param)
{
	static const char *const types[] = {"size", "number", "choice", "sizes", "real", "text"};
	cJSON *object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "name", param->name);
	cJSON_AddStringToObject(object, "type", types[param->type]);
	cJSON_AddStringToObject(object, "default", param->default_text);
	cJSON_AddStringToObject(object, "help", param->help);
	if (param->type == KML_PARAM_CHOICE) {
		cJSON *choices = cJSON_AddArrayToObject(object, "choices");
		for (uint32_t i = 0; param->choices[i]; i++)
			cJSON_AddItemToArray(choices, cJSON_CreateString(param->choices[i]));
	} else {
		/* As numbers JSON would lose digits beyond 2^53. */
		char text[32];
		snprintf(text, sizeof text, "%llu", (unsigned long long)param->minimum);
		cJSON_AddRawToObject(object, "minimum", text);
		snprintf(text, sizeof text, "%llu", (unsigned long long)param->maximum);
		cJSON_AddRawToObject(object, "maximum", text);
	}
	return object;
}

static cJSON *allocator_json(const struct kml_allocator *allocator)
{
	cJSON *object = cJSON_CreateObject();
	cJSON_AddStringToObject(object, "name", allocator->name);
	cJSON_AddStringToObject(object, "title", allocator->title);
	cJSON_AddStringToObject(object, "layer", allocator->layer == KML_LAYER_PAGES ? "pages" : "objects");
	cJSON_AddStringToObject(object, "summary", allocator->summary);
	cJSON_AddStringToObject(object, "citation", allocator->citation);
	cJSON *params = cJSON_AddArrayToObject(object, "params");
	for (const struct kml_param *param = allocator->params; param && param->name; param++)
		cJSON_AddItemToArray(params, param_json(param));
	return object;
}

static void print_json(const struct kml_allocator *const *shown, size_t count)
{
	cJSON *list = cJSON_CreateArray();
	for (size_t i = 0; i < count; i++)
		cJSON_AddItemToArray(list, allocator_json(shown[i]));
	char *text = cJSON_Print(list);
	puts(text ? text : "[]");
	free(text);
	cJSON_Delete(list);
}

int cmd_list(int argc, char **argv)
{
	struct arguments arguments = {0};
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	size_t count;
	const struct kml_allocator *const *shown = kml_registry(&count);
	const struct kml_allocator *one;
	if (arguments.name) {
		/* The spec parser knows how to say that a name is unknown. */
		struct kml_error error;
		struct kml_spec *spec = kml_spec_parse(arguments.name, &error);
		if (!spec)
			return kml_report(&error, KML_EXIT_USAGE);
		one = spec->layer[0];
		kml_spec_free(spec);
		shown = &one;
		count = 1;
	}
	if (arguments.answer.json) {
		print_json(shown, count);
		return KML_EXIT_OK;
	}
	for (size_t i = 0; i < count; i++)
		print_allocator(shown[i]);
	return KML_EXIT_OK;
}
