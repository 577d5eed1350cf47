/* options.c - options that several commands have. */
#include "kmemlab/options.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "workloads/generate/generate.h"

uint64_t kml_option_number(const char *text, uint64_t minimum, uint64_t maximum, const char *what,
			   struct argp_state *state)
{
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || number < minimum || number > maximum)
		argp_error(state, "%s '%s': give a number from %" PRIu64 " to %" PRIu64, what, text, minimum, maximum);
	return number;
}

double kml_option_ratio(const char *text, const char *what, struct argp_state *state)
{
	char *end;
	double ratio = strtod(text, &end);
	if (end != text && *end == '%' && end[1] == '\0')
		ratio /= 100;
	else if (end == text || *end != '\0')
		ratio = (double)NAN;
	if (!isfinite(ratio))
		argp_error(state, "%s '%s': give a fraction such as 0.01, or 1%%", what, text);
	return ratio;
}

void kml_option_trace_name(const char *path, char *name, size_t size)
{
	if (workload_is_spec(path)) {
		snprintf(name, size, "%s", path);
		for (char *at = name; (at = strpbrk(at, ":,/=")); at++)
			*at = '-';
		return;
	}
	const char *base = strrchr(path, '/');
	snprintf(name, size, "%s", base ? base + 1 : path);
	char *suffix = strrchr(name, '.');
	if (suffix && suffix != name && strcmp(suffix, ".kmt") == 0)
		*suffix = '\0';
}

void kml_option_arena(const char *text, uint64_t *arena_bytes, bool *smallest, struct argp_state *state)
{
	bool is_smallest = smallest && strcmp(text, "min") == 0;
	if (smallest)
		*smallest = is_smallest;
	*arena_bytes = 0;
	if (is_smallest || strcmp(text, "auto") == 0)
		return;
	if (!kml_parse_size(text, arena_bytes) || *arena_bytes == 0)
		argp_error(state, "arena '%s': give auto%s or a size such as 64M", text, smallest ? ", min" : "");
}

enum replay_level kml_option_level(const char *text, struct argp_state *state)
{
	enum replay_level level = REPLAY_ALL;
	if (!replay_level_parse(text, &level))
		argp_error(state, "level '%s': give all, objects or pages", text);
	return level;
}

void kml_option_plugin(const char *path, struct argp_state *state)
{
	struct kml_error error;
	if (!kml_registry_load_plugin(path, &error))
		argp_error(state, "%s", error.text);
}

bool kml_option_replay(int key, const char *value, struct replay_options *options, bool *smallest,
		       struct argp_state *state)
{
	switch (key) {
	case KML_OPTION_LEVEL:
		options->level = kml_option_level(value, state);
		return true;
	case KML_OPTION_ARENA:
		kml_option_arena(value, &options->arena_bytes, smallest, state);
		return true;
	case KML_OPTION_CHECK:
		options->check = true;
		return true;
	case KML_OPTION_SEED:
		options->seed = kml_option_number(value, 0, UINT64_MAX, "seed", state);
		return true;
	case KML_OPTION_PLUGIN:
		kml_option_plugin(value, state);
		return true;
	default:
		return false;
	}
}

bool kml_option_answer(int key, const char *value, struct kml_answer *answer)
{
	switch (key) {
	case 'o':
		answer->out = value;
		return true;
	case 'q':
		answer->quiet = true;
		return true;
	case KML_OPTION_JSON:
		answer->json = true;
		return true;
	case KML_OPTION_NO_FIGURES:
		answer->no_figures = true;
		return true;
	default:
		return false;
	}
}

void kml_option_once(const char **given, const char *value, const char *what, const char *hint,
		     struct argp_state *state)
{
	if (*given)
		argp_error(state, "one %s at a time, '%s' is too many%s", what, value, hint);
	*given = value;
}
