/*
 * error.h - filling the one error type, and stopping on broken internal state.
 *
 * Bad input is answered with an error (kml_fail); broken internal state stops the program with its values
 * (KML_CHECK), in every build.
 */
#ifndef KMEMLAB_ERROR_H
#define KMEMLAB_ERROR_H

#include <stdbool.h>

#include "allocators/allocator.h"

/* Fill *error (may be NULL) like printf and return false, so that `return kml_fail(...)` reads well. */
bool kml_fail(struct kml_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Print "FILE:LINE: broken invariant: CONDITION: message" and abort. */
_Noreturn void kml_check_failed(const char *file, int line, const char *condition, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#define KML_CHECK(condition, ...)                                                                                      \
	do {                                                                                                           \
		if (__builtin_expect(!(condition), 0))                                                                 \
			kml_check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__);                                 \
	} while (0)

#endif
