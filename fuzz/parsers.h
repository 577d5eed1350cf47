/* parsers.h - the targets that read foreign bytes. */
#ifndef KMEMLAB_FUZZ_PARSERS_H
#define KMEMLAB_FUZZ_PARSERS_H

#include "fuzz/target.h"

struct fuzz_parser {
	const char *name;
	void (*run)(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count);
};
extern const struct fuzz_parser fuzz_parsers[]; /* ended by name == NULL */

#endif
