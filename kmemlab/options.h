/*
 * options.h - options that several commands have, parsed and refused in the same words.
 *
 * A bad value ends in argp_error, which does not return.
 */
#ifndef KMEMLAB_OPTIONS_H
#define KMEMLAB_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stdint.h>

#include "workloads/replay.h"

/* A number from minimum to maximum. `what` is the option's name. */
uint64_t kml_option_number(const char *text, uint64_t minimum, uint64_t maximum, const char *what,
			   struct argp_state *state);
/* A fraction as in 0.01, or a percentage as in 1%. */
double kml_option_ratio(const char *text, const char *what, struct argp_state *state);
/* The name of a trace in results, part of the names of files: its path without folder and .kmt; of a workload's spec
 * the punctuation is not. */
void kml_option_trace_name(const char *path, char *name, size_t size);
/* auto (0 bytes), a size, or - where `smallest` is not NULL - min. */
void kml_option_arena(const char *text, uint64_t *arena_bytes, bool *smallest, struct argp_state *state);
enum replay_level kml_option_level(const char *text, struct argp_state *state);
/* Keys of the options below; a command's own begin at KML_OPTION_OWN. */
enum kml_option {
	KML_OPTION_LEVEL = 256,
	KML_OPTION_ARENA,
	KML_OPTION_CHECK,
	KML_OPTION_SEED,
	KML_OPTION_PLUGIN,
	KML_OPTION_JSON,
	KML_OPTION_NO_FIGURES,
	KML_OPTION_OWN
};

/* --level, --arena (with `min` where `smallest` is not NULL), --check, --seed, --plugin: false for any other key. */
bool kml_option_replay(int key, const char *value, struct replay_options *options, bool *smallest,
		       struct argp_state *state);
/* Where a command's answer goes, and in what form. */
struct kml_answer {
	const char *out; /* a file or a folder; NULL: not given */
	bool quiet, json, no_figures;
};
/* -o, -q, --json, --no-figures: false for any other key. */
bool kml_option_answer(int key, const char *value, struct kml_answer *answer);
/* Set *given, once: a second value is refused. `what` it is; `hint` ends the refusal, or is "". */
void kml_option_once(const char **given, const char *value, const char *what, const char *hint,
		     struct argp_state *state);
/* Load a shared object of allocators. */
void kml_option_plugin(const char *path, struct argp_state *state);

#endif
