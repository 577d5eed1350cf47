/*
 * harness.c - one input to one target: what libFuzzer, AFL++'s driver, OSS-Fuzz's engines and standalone.c all call.
 *
 * The target is told by the name of the executable (links named after targets), by the environment (KML_FUZZ_TARGET) or
 * by the first argument, which is then taken away; words that begin with "--" are for standalone.c.
 */
#include "fuzz/harness.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "allocators/registry.h"
#include "fuzz/structured.h"

static const struct fuzz_target *chosen;

/* Freed memory is kept from reuse a while, to catch its users: a megabyte, many times what a program frees (60 KiB in
 * the mean on SLAB, the most). 256 MiB, the default, would make big buffers slow, more than a processor's cache all of
 * them, and so would long stacks of every malloc. No answer of malloc is too large to be asked for: NULL is handled. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "quarantine_size_mb=1:malloc_context_size=4:allocator_may_return_null=1:"
	       "detect_stack_use_after_return=0:abort_on_error=1:handle_abort=0";
}
const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
	return "print_stacktrace=1:abort_on_error=1";
}

static void load_plugins(void)
{
	const char *path = getenv("KML_FUZZ_PLUGIN");
	struct kml_error error;

	if (path && *path && !kml_registry_load_plugin(path, &error)) {
		fprintf(stderr, "kmemlab-fuzz: %s\n", error.text);
		exit(2);
	}
}

/* What an input gives back the next one takes again: going through the kernel would cost more than all the checks. */
static void keep_memory(void)
{
	enum { KEPT_BYTES_MAX = 64 << 20 };
	mallopt(M_TRIM_THRESHOLD, KEPT_BYTES_MAX);
	mallopt(M_MMAP_THRESHOLD, KEPT_BYTES_MAX / 2);
}

const struct fuzz_target *fuzz_chosen(void)
{
	return chosen;
}

static const struct fuzz_target *by_executable(const char *path)
{
	const char *slash = strrchr(path, '/');
	return fuzz_target_find(slash ? slash + 1 : path);
}

bool fuzz_choose(int *argument_count, char ***arguments)
{
	const char *named = getenv("KML_FUZZ_TARGET");
	int count = *argument_count;

	keep_memory();
	load_plugins();
	chosen = count > 0 ? by_executable((*arguments)[0]) : NULL;
	if (chosen)
		return true;
	if (count > 1 && (chosen = fuzz_target_find((*arguments)[1]))) {
		/* Engines start themselves again with what is left. */
		setenv("KML_FUZZ_TARGET", chosen->name, 1);
		memmove(*arguments + 1, *arguments + 2, (size_t)(count - 1) * sizeof **arguments);
		*argument_count = count - 1;
		return true;
	}
	chosen = named ? fuzz_target_find(named) : NULL;
	return chosen != NULL;
}

/* An engine that is given files runs each for itself. */
static bool names_a_file(int count, char **words)
{
	struct stat status;
	for (int i = 1; i < count; i++)
		if (words[i][0] != '-' && stat(words[i], &status) == 0 && S_ISREG(status.st_mode))
			return true;
	return false;
}

int LLVMFuzzerInitialize(int *argument_count, char ***arguments)
{
	bool found = fuzz_choose(argument_count, arguments);

	if (*argument_count > 1 && strncmp((*arguments)[1], "--", 2) == 0 && (*arguments)[1][2])
		exit(fuzz_standalone(*argument_count, *arguments));
	if (!found) {
		fprintf(stderr,
			"kmemlab-fuzz: no target: name one as first argument or in KML_FUZZ_TARGET (--list shows "
			"all)\n");
		exit(2);
	}
	fuzz_thorough = names_a_file(*argument_count, *arguments);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t byte_count)
{
	chosen->run(chosen, bytes, byte_count);
	return 0;
}

#ifdef KML_FUZZING_ENGINE
/* libFuzzer's; AFL++'s driver has none and never calls what needs it. */
size_t LLVMFuzzerMutate(uint8_t *bytes, size_t byte_count, size_t byte_max) __attribute__((weak));

static uint64_t age;

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t byte_count, size_t byte_max, unsigned seed)
{
	enum structure structure = structure_of(chosen->name, fuzz_target_takes_programs(chosen));
	return structured_mutate(structure, bytes, byte_count, byte_max, NULL, 0, age++, seed, LLVMFuzzerMutate);
}

/* 0: the engine does something else. */
size_t LLVMFuzzerCustomCrossOver(const uint8_t *first, size_t first_count, const uint8_t *second, size_t second_count,
				 uint8_t *out, size_t out_max, unsigned seed)
{
	enum structure structure = structure_of(chosen->name, fuzz_target_takes_programs(chosen));
	if (structure == STRUCTURE_KMT || structure == STRUCTURE_PERF || first_count > out_max)
		return 0;
	if (first_count)
		memcpy(out, first, first_count);
	return structured_mutate(structure, out, first_count, out_max, second, second_count, age++, seed,
				 LLVMFuzzerMutate);
}
#endif
