/* round.h - sizes and addresses rounded up. */
#ifndef KMEMLAB_SUPPORT_ROUND_H
#define KMEMLAB_SUPPORT_ROUND_H

#include <stdint.h>

/* The least multiple of `multiple` (not 0, any number) that is not below `value`; that must fit in 64 bits. */
static inline uint64_t kml_round_up(uint64_t value, uint64_t multiple)
{
	return (value + multiple - 1) / multiple * multiple;
}

#endif
