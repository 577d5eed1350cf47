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
__attribute__((weak)) void fuzz_textbook(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	(void)target;
	(void)bytes;
	(void)byte_count;
}
__attribute__((weak)) void fuzz_stacks(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	(void)target;
	(void)bytes;
	(void)byte_count;
}
