/* mutate_file.c - a file that is being changed. */
#include "fuzz/mutate_file.h"

#include <string.h>

#include "fuzz/bounds.h"

size_t mutation_below(struct mutation *mutation, size_t count)
{
	return (size_t)random_below(&mutation->state, count);
}

uint64_t mutation_number(struct mutation *mutation, uint64_t value)
{
	switch (mutation_below(mutation, 8)) {
	case 0:
		return value + 1 + mutation_below(mutation, 4);
	case 1:
		return value - 1 - mutation_below(mutation, 4);
	case 2:
		return value ^ 1ull << mutation_below(mutation, 64);
	default:
		return number_at_bound(&mutation->state);
	}
}

bool mutation_splice(struct mutation *mutation, size_t at, size_t end, const uint8_t *out, size_t out_bytes)
{
	size_t behind = mutation->byte_count - end;
	if (out_bytes > mutation->byte_max || at + behind > mutation->byte_max - out_bytes)
		return false;
	memmove(mutation->bytes + at + out_bytes, mutation->bytes + end, behind);
	if (out && out_bytes)
		memcpy(mutation->bytes + at, out, out_bytes);
	mutation->byte_count = at + out_bytes + behind;
	return true;
}

uint64_t get_little_endian(const uint8_t *bytes, size_t width)
{
	uint64_t value = 0;
	for (size_t i = width; i-- > 0;)
		value = value << 8 | bytes[i];
	return value;
}

void put_little_endian(uint8_t *bytes, size_t width, uint64_t value)
{
	for (size_t i = 0; i < width; i++)
		bytes[i] = (uint8_t)(value >> 8 * i);
}
