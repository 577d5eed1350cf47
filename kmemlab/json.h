/*
 * json.h - what the JSON of several commands has in common.
 */
#ifndef KMEMLAB_JSON_H
#define KMEMLAB_JSON_H

#include <cjson/cJSON.h>
#include <stdint.h>

/* To the last digit: cJSON keeps numbers as doubles, and beyond 2^53 digits would be lost. */
void kml_json_add_u64(cJSON *object, const char *name, uint64_t value);
/* null where a ratio has no value or is infinite. */
void kml_json_add_ratio(cJSON *object, const char *name, double ratio);
/* On standard output, with a newline; the object is freed. */
void kml_json_print(cJSON *object);

#endif
