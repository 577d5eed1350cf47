/*
 * params.h - parameters of spec strings: what allocators and workloads have in common.
 */
#ifndef KMEMLAB_PARAMS_H
#define KMEMLAB_PARAMS_H

#include <stdbool.h>

#include "allocators/allocator.h"

/* Whose parameters they are. */
struct kml_param_owner {
	const char *name;               /* of the spec */
	const char *list_command;       /* `kmemlab THIS NAME` shows them all */
	const struct kml_param *params; /* ended by name == NULL; NULL: none */
};

/*
 * Fill a zeroed configuration with the defaults, then with what the text says: "name=value,name=value"; NULL: nothing.
 * The text is changed, and values of KML_PARAM_TEXT point into it. false and *error, with the range or the nearest
 * name. O(text x parameters).
 */
bool kml_params_parse(const struct kml_param_owner *owner, char *text, void *config, struct kml_error *error);

#endif
