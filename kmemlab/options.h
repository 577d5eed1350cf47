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
/* auto (0 bytes), a size, or - where `smallest` is not NULL - min. */
void kml_option_arena(const char *text, uint64_t *arena_bytes, bool *smallest, struct argp_state *state);
enum replay_level kml_option_level(const char *text, struct argp_state *state);
/* Load a shared object of allocators. */
void kml_option_plugin(const char *path, struct argp_state *state);

#endif
