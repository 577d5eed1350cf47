/*
 * report.c - counting reports by invariant. O(1).
 */
#include "allocators/check/report.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const invariant_names[KML_INVARIANT_COUNT] = {
	[KML_INVARIANT_STATUS] = "status",
	[KML_INVARIANT_INSIDE] = "inside",
	[KML_INVARIANT_OVERLAP] = "overlap",
	[KML_INVARIANT_ALIGNMENT] = "alignment",
	[KML_INVARIANT_SHORT_GRANT] = "short_grant",
	[KML_INVARIANT_USABLE] = "usable",
	[KML_INVARIANT_CONTENTS] = "contents",
	[KML_INVARIANT_ZEROED] = "zeroed",
	[KML_INVARIANT_FALSE_FAILURE] = "false_failure",
	[KML_INVARIANT_GRANTED_BYTES] = "granted_bytes",
	[KML_INVARIANT_HELD_BYTES] = "held_bytes",
	[KML_INVARIANT_WASTE] = "waste",
	[KML_INVARIANT_TILING] = "tiling",
	[KML_INVARIANT_LIVE] = "live",
	[KML_INVARIANT_FREE_BYTES] = "free_bytes",
	[KML_INVARIANT_LARGEST_FREE] = "largest_free",
	[KML_INVARIANT_FREE_AREAS] = "free_areas",
	[KML_INVARIANT_VALIDATE] = "validate",
	[KML_INVARIANT_WHOLE] = "whole",
};

const char *kml_invariant_name(enum kml_invariant invariant)
{
	return (unsigned)invariant < KML_INVARIANT_COUNT ? invariant_names[invariant] : "unknown";
}

void kml_reports_add(struct kml_reports *reports, enum kml_invariant invariant, const char *format, ...)
{
	reports->of[invariant]++;
	if (reports->count++ > 0)
		return;

	char message[sizeof(reports->first.text) - 32];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	snprintf(reports->first.text, sizeof(reports->first.text), "%s: %s", kml_invariant_name(invariant), message);
}
