/* params_text.c - see params_text.h. */
#include "kmemlab/params_text.h"

#include <stdio.h>

static void print_choices(const struct kml_param *param)
{
	for (uint32_t i = 0; param->choices[i]; i++)
		printf("%s%s", i ? "|" : "", param->choices[i]);
}

void kml_print_param(const struct kml_param *param)
{
	printf("    %s=", param->name);
	switch (param->type) {
	case KML_PARAM_SIZE:
		fputs("SIZE", stdout);
		break;
	case KML_PARAM_NUMBER:
		printf("%llu..%llu", (unsigned long long)param->minimum, (unsigned long long)param->maximum);
		break;
	case KML_PARAM_CHOICE:
		print_choices(param);
		break;
	case KML_PARAM_SIZES:
		fputs("SIZE+SIZE...", stdout);
		break;
	case KML_PARAM_REAL:
		printf("%llu..%llu, fractions too", (unsigned long long)param->minimum,
		       (unsigned long long)param->maximum);
		break;
	case KML_PARAM_TEXT:
		fputs("TEXT", stdout);
		break;
	}
	printf("  (default %s)  %s\n", *param->default_text ? param->default_text : "none", param->help);
}
