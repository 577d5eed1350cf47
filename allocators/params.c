/*
 * params.c - parameters of spec strings: name=value, joined by ','.
 */
#include "allocators/params.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/nearest.h"
#include "kmemlab/support/planted.h"

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

static bool bad_value(const struct kml_param_owner *owner, const struct kml_param *param, const char *text,
		      struct kml_error *error)
{
	static const char *const wanted[] = {
		[KML_PARAM_SIZE] = "a size such as 4096, 64k or 1M,",
		[KML_PARAM_NUMBER] = "a number",
		[KML_PARAM_SIZES] = "ascending sizes joined by '+' such as 64k+128k, each",
		[KML_PARAM_REAL] = "a number such as 2 or 0.5",
	};
	return kml_fail(error, "%s: %s=%.64s: use %s from %llu to %llu", owner->name, param->name, text,
			wanted[param->type], (unsigned long long)param->minimum, (unsigned long long)param->maximum);
}

static bool parse_number(const char *text, uint64_t *value)
{
	char *end;
	errno = 0;
	*value = strtoull(text, &end, 10);
	return isdigit((unsigned char)text[0]) && !*end && !errno;
}

/* Plain decimals alone: no NaN, no infinity, no sign, no hexadecimal. */
static bool parse_real(const struct kml_param *param, const char *text, double *value)
{
	char *end;
	if (text[strspn(text, "0123456789.eE-")] || !isdigit((unsigned char)text[0]))
		return false;
	*value = strtod(text, &end);
	return !*end && *value >= (double)param->minimum && *value <= (double)param->maximum;
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

static bool parse_choice(const struct kml_param_owner *owner, const struct kml_param *param, const char *text,
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
	return kml_fail(error, "%s: %s=%.64s: no such choice; the nearest is '%s' ('kmemlab %s %s' shows all)",
			owner->name, param->name, text, kml_nearest_name(&nearest), owner->list_command, owner->name);
}

/* The one place where a parameter's text becomes its value. */
static bool parse_value(const struct kml_param_owner *owner, const struct kml_param *param, const char *text,
			void *config, struct kml_error *error)
{
	void *place = (char *)config + param->offset;
	uint64_t value;
	switch (param->type) {
	case KML_PARAM_SIZE:
	case KML_PARAM_NUMBER:
		if (!(param->type == KML_PARAM_SIZE ? kml_parse_size(text, &value) : parse_number(text, &value)) ||
		    !in_range(param, value))
			return bad_value(owner, param, text, error);
		memcpy(place, &value, sizeof value);
		return true;
	case KML_PARAM_SIZES:
		return parse_sizes(param, text, place) || bad_value(owner, param, text, error);
	case KML_PARAM_REAL:
		return parse_real(param, text, place) || bad_value(owner, param, text, error);
	case KML_PARAM_TEXT:
		memcpy(place, &text, sizeof text);
		return true;
	case KML_PARAM_CHOICE:
		return parse_choice(owner, param, text, place, error);
	}
	return kml_fail(error, "%s: %s: unknown parameter type %d", owner->name, param->name, (int)param->type);
}

/* Defaults that the user may leave alone but not write: "auto" stands for 0. */
static bool parse_default(const struct kml_param_owner *owner, const struct kml_param *param, void *config,
			  struct kml_error *error)
{
	if (strcmp(param->default_text, "auto") == 0)
		return true; /* the configuration is zeroed */
	return parse_value(owner, param, param->default_text, config, error);
}

static const struct kml_param *find_param(const struct kml_param_owner *owner, const char *name,
					  struct kml_error *error)
{
	for (const struct kml_param *param = owner->params; param && param->name; param++)
		if (strcmp(param->name, name) == 0)
			return param;
	struct kml_nearest nearest = kml_nearest_start(name);
	for (const struct kml_param *param = owner->params; param && param->name; param++)
		kml_nearest_offer(&nearest, param->name);
	if (!kml_nearest_name(&nearest))
		kml_fail(error, "%s: takes no parameters, '%.64s' was given", owner->name, name);
	else
		kml_fail(error, "%s: no parameter '%.64s'; the nearest is '%s' ('kmemlab %s %s' shows all)",
			 owner->name, name, kml_nearest_name(&nearest), owner->list_command, owner->name);
	return NULL;
}

bool kml_params_parse(const struct kml_param_owner *owner, char *text, void *config, struct kml_error *error)
{
	bool given[64] = {false};
	for (const struct kml_param *param = owner->params; param && param->name; param++)
		if (!parse_default(owner, param, config, error))
			return false;
	for (char *token; (token = strsep(&text, ","));) {
		char *value = strchr(token, '=');
		if (!value)
			return kml_fail(error, "%s: '%.64s' is no parameter: write name=value, joined by ','",
					owner->name, token);
		*value++ = '\0';
		const struct kml_param *param = find_param(owner, token, error);
		if (!param)
			return false;
		size_t index = (size_t)(param - owner->params);
		if (index < sizeof given && given[index])
			return kml_fail(error, "%s: %s is given twice: keep one", owner->name, param->name);
		if (index < sizeof given)
			given[index] = true;
		if (strcmp(value, "auto") == 0 && strcmp(param->default_text, "auto") == 0)
			continue;
		if (!parse_value(owner, param, value, config, error))
			return false;
	}
	return true;
}
