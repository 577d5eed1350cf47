/* pending.c - stands in until differential.c and the encoder are there; goes then. */
#include "fuzz/program.h"
#include "fuzz/target.h"

__attribute__((weak)) bool program_encode(const struct program *program, uint8_t *bytes, size_t *byte_count)
{
	(void)program;
	(void)bytes;
	(void)byte_count;
	return false;
}
