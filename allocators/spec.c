/*
 * spec.c - spec strings to configurations, and configurations to living stacks.
 */
#include <stdlib.h>
#include <string.h>

#include "allocators/params.h"
#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/nearest.h"

static const uint64_t OBJECT_UNIT_BYTES = 16; /* a PAGES allocator that serves objects itself */
static const char *const DEFAULT_BACKING = "binary";

static const struct kml_allocator *find_allocator(const char *name, struct kml_error *error)
{
	const struct kml_allocator *allocator = kml_registry_find(name);
	if (allocator)
		return allocator;
	size_t count;
	const struct kml_allocator *const *all = kml_registry(&count);
	struct kml_nearest nearest = kml_nearest_start(name);
	for (size_t i = 0; i < count; i++)
		kml_nearest_offer(&nearest, all[i]->name);
	kml_fail(error, "no allocator '%.64s'; the nearest is '%s' ('kmemlab list' shows all)", name,
		 kml_nearest_name(&nearest));
	return NULL;
}

/* One `name[:params]`; a ':' between parameters is accepted like ','. */
static bool parse_layer(struct kml_spec *spec, char *text, struct kml_error *error)
{
	uint32_t layer = spec->layer_count;
	char *params = strchr(text, ':');
	if (params)
		*params++ = '\0';
	const struct kml_allocator *allocator = find_allocator(text, error);
	if (!allocator)
		return false;
	spec->layer[layer] = allocator;
	spec->config[layer] = calloc(1, allocator->config_bytes ? allocator->config_bytes : 1);
	spec->layer_count++;
	if (!spec->config[layer])
		return kml_fail(error, "%s: out of memory", text);
	const struct kml_param_owner owner = {allocator->name, "list", allocator->params};
	return kml_params_parse(&owner, params, spec->config[layer], error);
}

static bool check_layers(struct kml_spec *spec, struct kml_error *error)
{
	if (spec->layer_count == 2 && spec->layer[0]->layer != KML_LAYER_OBJECTS)
		return kml_fail(error,
				"%s: '%s' manages pages and cannot stand on another: put an object allocator on top",
				spec->text, spec->layer[0]->name);
	if (spec->layer_count == 2 && spec->layer[1]->layer != KML_LAYER_PAGES)
		return kml_fail(error, "%s: '%s' hands out objects and cannot back another: put a page allocator below",
				spec->text, spec->layer[1]->name);
	if (spec->layer_count == 2 && (spec->layer[1]->traits & KML_TRAIT_NO_MEMORY))
		return kml_fail(error,
				"%s: '%s' hands out addresses without memory, in which no objects can lie: put another "
				"page allocator below",
				spec->text, spec->layer[1]->name);
	if (spec->layer_count == 1 && spec->layer[0]->layer == KML_LAYER_OBJECTS) {
		char backing[32];
		strcpy(backing, DEFAULT_BACKING);
		return parse_layer(spec, backing, error);
	}
	return true;
}

struct kml_spec *kml_spec_parse(const char *text, struct kml_error *error)
{
	struct kml_spec *spec = calloc(1, sizeof *spec);
	if (!spec) {
		kml_fail(error, "out of memory");
		return NULL;
	}
	char copy[sizeof spec->text];
	if (strlen(text) >= sizeof copy + KML_PLANTED(spec_text_off_by_one)) {
		kml_fail(error, "the spec '%.32s...' is longer than %zu bytes: shorten it", text, sizeof copy - 1);
		goto fail;
	}
	strcpy(spec->text, text);
	strcpy(copy, text);
	char *rest = copy;
	for (char *token; (token = strsep(&rest, "/"));) {
		if (spec->layer_count == KML_STACK_LAYERS + KML_PLANTED(spec_layers_off_by_one)) {
			kml_fail(error,
				 "%s: more than %u layers: an object allocator over a page allocator is the most", text,
				 KML_STACK_LAYERS);
			goto fail;
		}
		if (!parse_layer(spec, token, error))
			goto fail;
	}
	if (check_layers(spec, error))
		return spec;
fail:
	kml_spec_free(spec);
	return NULL;
}

void kml_spec_free(struct kml_spec *spec)
{
	if (!spec)
		return;
	for (uint32_t i = 0; i < spec->layer_count; i++)
		free(spec->config[i]);
	free(spec);
}

uint32_t kml_spec_traits(const struct kml_spec *spec)
{
	return spec->layer[0]->traits;
}

bool kml_stack_create(struct kml_stack *stack, const struct kml_spec *spec, const struct kml_environment *environment,
		      struct kml_error *error)
{
	memset(stack, 0, sizeof *stack);
	stack->layer_count = spec->layer_count;
	struct kml_environment below = *environment;
	below.backing = NULL;
	if (below.unit_bytes == 0)
		below.unit_bytes = spec->layer_count == 1 ? OBJECT_UNIT_BYTES : below.page_bytes;
	for (uint32_t i = spec->layer_count; i-- > 0;) {
		stack->layer[i] = spec->layer[i]->create(&below, spec->config[i], error);
		if (!stack->layer[i]) {
			kml_stack_destroy(stack);
			return false;
		}
		below.backing = stack->layer[i];
	}
	return true;
}

void kml_stack_destroy(struct kml_stack *stack)
{
	for (uint32_t i = 0; i < stack->layer_count; i++)
		if (stack->layer[i])
			stack->layer[i]->allocator->destroy(stack->layer[i]);
	memset(stack, 0, sizeof *stack);
}
