/* error.c - filling the one error type, and stopping on broken internal state. */
#include "kmemlab/support/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool kml_fail(struct kml_error *error, const char *format, ...)
{
	if (!error)
		return false;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(error->text, sizeof error->text, format, arguments);
	va_end(arguments);
	return false;
}

void kml_check_failed(const char *file, int line, const char *condition, const char *format, ...)
{
	fprintf(stderr, "%s:%d: broken invariant: %s: ", file, line, condition);
	va_list arguments;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	abort();
}
