/*
 * spec.c - spec strings to configurations, and configurations to living stacks.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "kmemlab/support/nearest.h"

static const uint64_t OBJECT_UNIT_BYTES = 16; /* a PAGES allocator that serves objects itself */
static const char *const DEFAULT_BACKING = "binary";

bool kml_parse_size(const char *text, uint64_t *size_bytes)
{
	if (!isdigit((unsigned char)text[0]))
		return false;
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno)
		return false;
	static const char suffixes[] = "kmgt";
	unsigned shift = 0;
	if (*end) {
		const char *suffix = strchr(suffixes, tolower((unsigned char)*end));
		if (!suffix)
			return false;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
		end++;
		if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0)
			end += strlen(end);
	}
	if (*end || (!KML_PLANTED(spec_size_overflow) && value > UINT64_MAX >> shift))
		return false;
	*size_bytes = (uint64_t)value << shift;
	return true;
}

static bool in_range(const struct kml_param *param, uint64_t value)
{
	return value >= param->minimum && value <= param->maximum;
}

static bool bad_value(const struct kml_allocator *allocator, const struct kml_param *param, const char *text,
		      struct kml_error *error)
{
	return kml_fail(error, "%s: %s=%.64s: use %s from %llu to %llu", allocator->name, param->name, text,
			param->type == KML_PARAM_NUMBER ? "a number"
			: param->type == KML_PARAM_SIZE ? "a size such as 4096, 64k or 1M,"
							: "ascending sizes joined by '+' such as 64k+128k, each",
			(unsigned long long)param->minimum, (unsigned long long)param->maximum);
}

static bool parse_number(const char *text, uint64_t *value)
{
	char *end;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return isdigit((unsigned char)text[0]) && !*end && !errno;
}

static bool parse_sizes(const struct kml_param *param, const char *text, struct kml_sizes *sizes)
{
	char copy[256];
	if (strlen(text) >= sizeof copy)
		return false;
	strcpy(copy, text);
	sizes->count = 0;
	char *rest = copy;
	for (char *token; (token = strsep(&rest, "+"));) {
		uint64_t value;
		if ((!KML_PLANTED(spec_sizes_unchecked) && sizes->count == KML_SIZES_MAX) ||
		    !kml_parse_size(token, &value) || !in_range(param, value))
			return false;
		if (sizes->count > 0 && value <= sizes->size_bytes[sizes->count - 1])
			return false;
		sizes->size_bytes[sizes->count++] = value;
	}
	return true;
}

static bool parse_choice(const struct kml_allocator *allocator, const struct kml_param *param, const char *text,
			 uint32_t *index, struct kml_error *error)
{
	for (uint32_t i = 0; param->choices[i]; i++) {
		if (strcmp(param->choices[i], text) == 0) {
			*index = i;
			return true;
		}
	}
	struct kml_nearest nearest = kml_nearest_start(text);
	for (uint32_t i = 0; param->choices[i]; i++)
		kml_nearest_offer(&nearest, param->choices[i]);
	return kml_fail(error, "%s: %s=%.64s: no such choice; the nearest is '%s' ('kmemlab list %s' shows all)",
			allocator->name, param->name, text, kml_nearest_name(&nearest), allocator->name);
}

/* The one place where a parameter's text becomes its value. */
static bool parse_value(const struct kml_allocator *allocator, const struct kml_param *param, const char *text,
			void *config, struct kml_error *error)
{
	void *place = (char *)config + param->offset;
	uint64_t value;
	switch (param->type) {
	case KML_PARAM_SIZE:
	case KML_PARAM_NUMBER:
		if (!(param->type == KML_PARAM_SIZE ? kml_parse_size(text, &value) : parse_number(text, &value)) ||
		    !in_range(param, value))
			return bad_value(allocator, param, text, error);
		memcpy(place, &value, sizeof value);
		return true;
	case KML_PARAM_SIZES:
		return parse_sizes(param, text, place) || bad_value(allocator, param, text, error);
	case KML_PARAM_CHOICE:
		return parse_choice(allocator, param, text, place, error);
	}
	return kml_fail(error, "%s: %s: unknown parameter type %d", allocator->name, param->name, (int)param->type);
}

/* Defaults that the user may leave alone but not write: "auto" stands for 0. */
static bool parse_default(const struct kml_allocator *allocator, const struct kml_param *param, void *config,
			  struct kml_error *error)
{
	if (strcmp(param->default_text, "auto") == 0)
		return true; /* the configuration is zeroed */
	return parse_value(allocator, param, param->default_text, config, error);
}

static const struct kml_param *find_param(const struct kml_allocator *allocator, const char *name,
					  struct kml_error *error)
{
	for (const struct kml_param *param = allocator->params; param && param->name; param++)
		if (strcmp(param->name, name) == 0)
			return param;
	struct kml_nearest nearest = kml_nearest_start(name);
	for (const struct kml_param *param = allocator->params; param && param->name; param++)
		kml_nearest_offer(&nearest, param->name);
	if (!kml_nearest_name(&nearest))
		kml_fail(error, "%s: takes no parameters, '%.64s' was given", allocator->name, name);
	else
		kml_fail(error, "%s: no parameter '%.64s'; the nearest is '%s' ('kmemlab list %s' shows all)",
			 allocator->name, name, kml_nearest_name(&nearest), allocator->name);
	return NULL;
}

static bool parse_params(const struct kml_allocator *allocator, char *text, void *config, struct kml_error *error)
{
	bool given[64] = {false};
	for (const struct kml_param *param = allocator->params; param && param->name; param++)
		if (!parse_default(allocator, param, config, error))
			return false;
	for (char *token; (token = strsep(&text, ","));) {
		char *value = strchr(token, '=');
		if (!value)
			return kml_fail(error, "%s: '%.64s' is no parameter: write name=value, joined by ','",
					allocator->name, token);
		*value++ = '\0';
		const struct kml_param *param = find_param(allocator, token, error);
		if (!param)
			return false;
		size_t index = (size_t)(param - allocator->params);
		if (index < sizeof given && given[index])
			return kml_fail(error, "%s: %s is given twice: keep one", allocator->name, param->name);
		if (index < sizeof given)
			given[index] = true;
		if (strcmp(value, "auto") == 0 && strcmp(param->default_text, "auto") == 0)
			continue;
		if (!parse_value(allocator, param, value, config, error))
			return false;
	}
	return true;
}

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
	return parse_params(allocator, params, spec->config[layer], error);
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
