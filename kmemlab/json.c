/* json.c - what the JSON of several commands has in common. */
#include "kmemlab/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void kml_json_add_u64(cJSON *object, const char *name, uint64_t value)
{
	char text[24];
	snprintf(text, sizeof text, "%" PRIu64, value);
	cJSON_AddRawToObject(object, name, text);
}

void kml_json_add_ratio(cJSON *object, const char *name, double ratio)
{
	if (isfinite(ratio))
		cJSON_AddNumberToObject(object, name, ratio);
	else
		cJSON_AddNullToObject(object, name);
}

void kml_json_print(cJSON *object)
{
	char *text = cJSON_Print(object);
	puts(text ? text : "{}");
	free(text);
	cJSON_Delete(object);
}
