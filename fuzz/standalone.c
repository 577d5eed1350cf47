/*
 * standalone.c - a program of its own around the targets: run inputs, list targets, measure, and the blind baseline
 * that coverage-guided engines are compared with. In every build, whatever its engine: its words begin with "--".
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allocators/registry.h"
#include "fuzz/canary.h"
#include "fuzz/feedback.h"
#include "fuzz/differential.h"
#include "fuzz/harness.h"
#include "fuzz/naive.h"
#include "fuzz/program.h"
#include "fuzz/seeds.h"
#include "kmemlab/support/clock.h"
#include "kmemlab/support/output.h"
#include "kmemlab/support/random.h"

enum {
	EXIT_FOUND = 1,
	EXIT_USAGE = 2,
	PARSER_BYTES_MAX = 4096,    /* of a blind input; libFuzzer's own limit */
	INPUT_BYTES_MAX = 64 << 20, /* of a file */
	SPEED_INPUTS = 256,         /* different programs in a measurement */
	CLOCK_EVERY = 32,           /* executions between looks at the clock */
};

static const char usage[] =
	"kmemlab-fuzz [TARGET] ...       TARGET: as --list shows; else KML_FUZZ_TARGET, or the name of this file\n"
	"  FILE|FOLDER...                run inputs; ends as a fuzzer does at the first find\n"
	"  --program FILE...             run programs (.ops, .kmt), each on the stack that it names; by the target "
	"textbook:\n"
	"                                against its textbook\n"
	"  --keep-going FILE|FOLDER...   run each in a process of its own, tell all finds; exit status 1: there are "
	"some\n"
	"  --random SEED [--runs N] [--seconds S] [--artifact FILE]\n"
	"                                uniformly random bytes, no feedback: the blind baseline; exit status 1: "
	"found\n"
	"  --naive SEED ...              as --random, of a stack: uniformly random events, artifacts as .ops\n"
	"  --speed [SECONDS]             executions a second, by processor time, on random programs: of 1 to 128 "
	"operations,\n"
	"                                all numbers alike; and of 128 (parsers: on their seeds); of all targets "
	"without\n"
	"                                TARGET\n"
	"  --stable FILE|FOLDER...       run each input twice: it must cover the same (in a build for an engine)\n"
	"  --write-seeds FOLDER          the seed corpus of the target\n"
	"  --words                       a dictionary of spec strings, from the registry\n"
	"  --list                        targets: name, kind, stack\n";

/* What a child tells its parent, whose end it may not live to see. */
struct shared {
	volatile uint64_t executions;
	volatile size_t byte_count;
	volatile uint64_t elapsed_ns;
	volatile uint64_t state; /* the random numbers that the last naive program was drawn from */
	uint8_t bytes[PARSER_BYTES_MAX];
};

static void random_bytes(uint64_t *state, uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		bytes[i] = (uint8_t)(random_next(state) >> 32);
}

static int complain(const char *what, const char *which)
{
	fprintf(stderr, "kmemlab-fuzz: %s: %s\n%s", which, what, usage);
	return EXIT_USAGE;
}

static struct shared *share(void)
{
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared != MAP_FAILED)
		return shared;
	perror("kmemlab-fuzz: mmap");
	exit(EXIT_USAGE);
}

/* In the child 0. */
static pid_t start_child(void)
{
	fflush(NULL);
	pid_t child = fork();
	if (child >= 0)
		return child;
	perror("kmemlab-fuzz: fork");
	exit(EXIT_USAGE);
}

/* Did it end of itself? A find aborts; sanitizers may exit with a status of their own. */
static bool ended_well(pid_t child)
{
	int status;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ------------------------------------------------------------------------------------------------ files */

typedef bool visit_input(void *context, const char *path, const uint8_t *bytes, size_t byte_count);

static bool visit_file(const char *path, visit_input *visit, void *context)
{
	FILE *file = fopen(path, "rb");
	size_t room = 1 << 16, count = 0;
	uint8_t *bytes = malloc(room);

	while (file && bytes && !feof(file) && !ferror(file) && room < INPUT_BYTES_MAX) {
		count += fread(bytes + count, 1, room - count, file);
		if (count == room)
			bytes = realloc(bytes, room *= 2);
	}
	if (!file || !bytes || ferror(file)) {
		fprintf(stderr, "kmemlab-fuzz: %s: cannot be read: %s\n", path, strerror(errno));
		exit(EXIT_USAGE);
	}
	fclose(file);
	/* Exactly as long as it is: a read behind its end is seen. */
	uint8_t *exact = malloc(count ? count : 1);
	if (exact && count)
		memcpy(exact, bytes, count);
	free(bytes);
	bool going = exact && visit(context, path, exact, count);
	free(exact);
	return going;
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* A file, or those of a folder in the order of their names. False when the visitor is through. */
static bool visit_path(const char *path, visit_input *visit, void *context)
{
	struct stat status;
	if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
		return visit_file(path, visit, context);
	struct dirent **entries = NULL;
	int count = scandir(path, &entries, visible, alphasort);
	bool going = true;
	for (int i = 0; i < count; i++) {
		char inner[4096];
		int length = snprintf(inner, sizeof inner, "%s/%s", path, entries[i]->d_name);
		if (going && length > 0 && (size_t)length < sizeof inner && stat(inner, &status) == 0 &&
		    S_ISREG(status.st_mode))
			going = visit_file(inner, visit, context);
		free(entries[i]);
	}
	free(entries);
	return going;
}

struct runs {
	uint64_t inputs, finds;
};

static bool run_here(void *context, const char *path, const uint8_t *bytes, size_t byte_count)
{
	struct runs *runs = context;
	runs->inputs++;
	fprintf(stderr, "Running: %s (%zu bytes)\n", path, byte_count);
	LLVMFuzzerTestOneInput(bytes, byte_count);
	return true;
}

static bool run_apart(void *context, const char *path, const uint8_t *bytes, size_t byte_count)
{
	struct runs *runs = context;
	pid_t child = start_child();
	if (child == 0) {
		LLVMFuzzerTestOneInput(bytes, byte_count);
		_exit(0);
	}
	runs->inputs++;
	if (!ended_well(child)) {
		runs->finds++;
		printf("found: %s\n", path);
	}
	return true;
}

/* One that cannot be read, or has no stack, is no find. */
static bool run_program(const char *path, struct kml_error *error)
{
	static struct program program;
	static struct program_outcome outcome;
	if (!program_load(&program, path, error))
		return false;
	if (fuzz_chosen()->kind == FUZZ_DIFFERENTIAL) {
		struct kml_error difference;
		if (!differential_textbook(&program, program.setup.stack, program.setup.stack, &difference))
			fuzz_found(fuzz_chosen()->name, "%s", difference.text);
		return true;
	}
	if (!program_run(&program, &outcome, error))
		return false;
	if (outcome.failed)
		fuzz_found(outcome.oracle, "%s", outcome.error.text);
	return true;
}

static int run_programs(char **paths, int count)
{
	struct kml_error error;
	for (int i = 0; i < count; i++) {
		if (run_program(paths[i], &error))
			continue;
		fprintf(stderr, "kmemlab-fuzz: %s\n", error.text);
		return EXIT_USAGE;
	}
	return count > 0 ? 0 : complain("needs a file", "--program");
}

static int run_paths(char **paths, int count, visit_input *visit)
{
	struct runs runs = {0};
	fuzz_thorough = true;
	if (count == 0)
		return complain("no file or folder is named", fuzz_chosen()->name);
	for (int i = 0; i < count; i++)
		visit_path(paths[i], visit, &runs);
	printf("%s: %llu inputs, %llu finds\n", fuzz_chosen()->name, (unsigned long long)runs.inputs,
	       (unsigned long long)runs.finds);
	return runs.finds ? EXIT_FOUND : 0;
}

/* ------------------------------------------------------------------------------------------------ stability */

/* clang's runtimes have it; "%f %l": function and line. */
void __sanitizer_symbolize_pc(uintptr_t place, const char *format, char *text, size_t room) __attribute__((weak));

struct stability {
	uint64_t inputs, unstable;
	uint8_t *varies; /* a byte an edge */
};

/* The same input twice covers the same, as often. */
static bool run_twice(void *context, const char *path, const uint8_t *bytes, size_t byte_count)
{
	struct stability *stability = context;
	size_t count, before = stability->unstable;
	uint8_t *now = feedback_counters(&count), *kept = malloc(count);
	if (!stability->varies)
		stability->varies = calloc(count, 1);
	if (!kept || !stability->varies || !now)
		exit(complain("a build for an engine is needed", "--stable"));
	memset(now, 0, count);
	LLVMFuzzerTestOneInput(bytes, byte_count);
	memcpy(kept, now, count);
	memset(now, 0, count);
	LLVMFuzzerTestOneInput(bytes, byte_count);
	stability->inputs++;
	for (size_t i = 0; i < count; i++)
		if (kept[i] != now[i]) {
			stability->varies[i] = 1;
			stability->unstable = before + 1;
		}
	free(kept);
	if (stability->unstable > before)
		printf("unstable: %s\n", path);
	return true;
}

static void print_places(const struct stability *stability)
{
	size_t count;
	feedback_counters(&count);
	for (size_t i = 0; i < count; i++) {
		char text[512] = "?";
		if (!stability->varies[i])
			continue;
		if (__sanitizer_symbolize_pc && feedback_place(i))
			__sanitizer_symbolize_pc(feedback_place(i), "%f %s:%l", text, sizeof text);
		printf("  edge %zu: %s\n", i, text);
	}
}

static int run_stable(char **paths, int count)
{
	struct stability stability = {0};
	if (count == 0)
		return complain("no file or folder is named", "--stable");
	for (int i = 0; i < count; i++)
		visit_path(paths[i], run_twice, &stability);
	if (stability.unstable)
		print_places(&stability);
	printf("%s: %llu inputs, %llu not stable\n", fuzz_chosen()->name, (unsigned long long)stability.inputs,
	       (unsigned long long)stability.unstable);
	free(stability.varies);
	return stability.unstable ? EXIT_FOUND : 0;
}

/* ------------------------------------------------------------------------------------------------ the baseline */

struct baseline {
	bool is_naive;
	uint64_t seed, runs;
	double seconds;
	const char *artifact;
};

/* No structure: lengths and bytes are uniform. */
static void run_random_bytes(struct shared *shared, uint64_t *state)
{
	size_t byte_max = fuzz_target_takes_programs(fuzz_chosen()) ? PROGRAM_BYTES_MAX : PARSER_BYTES_MAX;
	shared->byte_count = random_below(state, byte_max + 1);
	random_bytes(state, shared->bytes, shared->byte_count);
	LLVMFuzzerTestOneInput(shared->bytes, shared->byte_count);
}

static void run_naive(struct shared *shared, uint64_t *state)
{
	static struct program program;
	static struct program_outcome outcome;
	struct kml_error error;
	shared->state = *state;
	naive_program(&program, fuzz_chosen()->stack, state);
	if (!program_run(&program, &outcome, &error))
		fuzz_found("naive", "a program that cannot be run: %s", error.text);
	if (outcome.failed)
		fuzz_found(outcome.oracle, "%s", outcome.error.text);
}

/* No feedback. The limit is processor time, as of --speed. */
static void run_blind(struct shared *shared, const struct baseline *baseline)
{
	uint64_t state = baseline->seed, start_ns = kml_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t limit_ns = baseline->seconds > 0 ? (uint64_t)(baseline->seconds * 1e9) : UINT64_MAX;

	while (shared->executions < baseline->runs && shared->elapsed_ns < limit_ns) {
		shared->executions++;
		if (baseline->is_naive)
			run_naive(shared, &state);
		else
			run_random_bytes(shared, &state);
		if (shared->executions % CLOCK_EVERY == 0)
			shared->elapsed_ns = kml_clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns;
	}
}

static bool write_file(const char *path, const uint8_t *bytes, size_t count)
{
	FILE *file = fopen(path, "wb");
	bool done = file && fwrite(bytes, 1, count, file) == count;
	if (file && fclose(file) != 0)
		done = false;
	if (!done)
		fprintf(stderr, "kmemlab-fuzz: %s: cannot be written: %s\n", path, strerror(errno));
	return done;
}

static bool write_naive(const char *path, uint64_t state)
{
	struct program program = {0};
	FILE *file = fopen(path, "w");
	naive_program(&program, fuzz_chosen()->stack, &state);
	bool done = file && program_print(&program, file);
	if (file && fclose(file) != 0)
		done = false;
	if (!done)
		fprintf(stderr, "kmemlab-fuzz: %s: cannot be written: %s\n", path, strerror(errno));
	program_free(&program);
	return done;
}

static bool write_found(const struct baseline *baseline, const struct shared *shared)
{
	return baseline->is_naive ? write_naive(baseline->artifact, shared->state)
				  : write_file(baseline->artifact, shared->bytes, shared->byte_count);
}

static int run_baseline(bool is_naive, char **words, int count)
{
	const char *name = is_naive ? "naive" : "random";
	struct baseline baseline = {.is_naive = is_naive, .runs = UINT64_MAX};
	struct shared *shared = share();

	if (count == 0)
		return complain("needs a seed", name);
	if (is_naive && fuzz_chosen()->kind != FUZZ_STACK)
		return complain("is for stacks", name);
	baseline.seed = strtoull(words[0], NULL, 0);
	for (int i = 1; i + 1 < count; i += 2) {
		if (strcmp(words[i], "--runs") == 0)
			baseline.runs = strtoull(words[i + 1], NULL, 0);
		else if (strcmp(words[i], "--seconds") == 0)
			baseline.seconds = strtod(words[i + 1], NULL);
		else if (strcmp(words[i], "--artifact") == 0)
			baseline.artifact = words[i + 1];
		else
			return complain("unknown option", words[i]);
	}
	if (count % 2 == 0)
		return complain("needs a value", words[count - 1]);
	if (baseline.runs == UINT64_MAX && baseline.seconds <= 0)
		return complain("needs --runs or --seconds", name);
	uint64_t start_ns = kml_clock_ns(CLOCK_MONOTONIC);
	pid_t child = start_child();
	if (child == 0) {
		run_blind(shared, &baseline);
		_exit(0);
	}
	bool found = !ended_well(child);
	printf("%s: %s: seed %llu: %llu executions in %.3f s: %s\n", fuzz_chosen()->name, name,
	       (unsigned long long)baseline.seed, (unsigned long long)shared->executions,
	       (double)(kml_clock_ns(CLOCK_MONOTONIC) - start_ns) / 1e9, found ? "found" : "nothing found");
	if (found && baseline.artifact && !write_found(&baseline, shared))
		return EXIT_USAGE;
	return found ? EXIT_FOUND : 0;
}

/* ------------------------------------------------------------------------------------------------ speed */

struct inputs {
	uint8_t *bytes[SPEED_INPUTS];
	size_t byte_count[SPEED_INPUTS];
	size_t count;
};

static bool keep_input(void *context, const char *name, const uint8_t *bytes, size_t byte_count)
{
	struct inputs *inputs = context;
	uint8_t *copy = malloc(byte_count ? byte_count : 1);
	(void)name;
	if (!copy || inputs->count == SPEED_INPUTS) {
		free(copy);
		return false;
	}
	if (byte_count)
		memcpy(copy, bytes, byte_count);
	inputs->bytes[inputs->count] = copy;
	inputs->byte_count[inputs->count++] = byte_count;
	return true;
}

/* Random programs of as many operations, or of a random number up to it; the deep checks run at their end alone, the
 * cheap ones always. */
static void speed_programs(struct inputs *inputs, bool up_to)
{
	uint8_t bytes[PROGRAM_BYTES_MAX];
	uint64_t state = 1;

	while (inputs->count < SPEED_INPUTS) {
		size_t ops = up_to ? 1 + random_below(&state, PROGRAM_OPS) : PROGRAM_OPS;
		size_t byte_count = PROGRAM_SETUP_BYTES + ops * PROGRAM_OP_BYTES;
		random_bytes(&state, bytes, byte_count);
		bytes[PROGRAM_BYTE_CHECK] &= (uint8_t)~PROGRAM_CHECK_BITS;
		keep_input(inputs, "", bytes, byte_count);
	}
}

/* By the processor's time: what else the machine does is not the target's. */
static void run_for(const struct fuzz_target *target, struct shared *shared, double seconds, bool up_to)
{
	struct inputs inputs = {0};
	if (fuzz_target_takes_programs(target))
		speed_programs(&inputs, up_to);
	else
		fuzz_seeds(target, keep_input, &inputs);
	uint64_t start_ns = kml_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	while (inputs.count > 0 && (double)shared->elapsed_ns < seconds * 1e9) {
		for (int i = 0; i < CLOCK_EVERY; i++) {
			size_t which = shared->executions++ % inputs.count;
			target->run(target, inputs.bytes[which], inputs.byte_count[which]);
		}
		shared->elapsed_ns = kml_clock_ns(CLOCK_PROCESS_CPUTIME_ID) - start_ns;
	}
}

/* Prints the rate; false: something was found. */
static bool measure(const struct fuzz_target *target, double seconds, bool up_to)
{
	struct shared *shared = share();
	pid_t child = start_child();
	if (child == 0) {
		run_for(target, shared, seconds, up_to);
		_exit(0);
	}
	bool well = ended_well(child);
	double rate = shared->elapsed_ns ? (double)shared->executions * 1e9 / (double)shared->elapsed_ns : 0;
	if (well)
		printf(" %15.0f", rate);
	else
		printf(" %15s", "found");
	fflush(stdout);
	munmap(shared, sizeof *shared);
	return well || target->kind == FUZZ_CANARY;
}

static bool measure_both(const struct fuzz_target *target, double seconds)
{
	printf("%-24s", target->name);
	bool well = measure(target, seconds, true);
	if (fuzz_target_takes_programs(target))
		well &= measure(target, seconds, false);
	printf("\n");
	return well;
}

static int run_speed(char **words, int count)
{
	double seconds = count > 0 ? strtod(words[0], NULL) : 1;
	bool well = true;
	size_t target_count;
	const struct fuzz_target *all = fuzz_targets(&target_count);

	if (seconds <= 0 || count > 1)
		return complain("takes a number of seconds", "--speed");
	printf("%-24s %15s %15s\n", "executions a second", "1-128 ops", "128 ops");
	if (fuzz_chosen())
		return measure_both(fuzz_chosen(), seconds) ? 0 : EXIT_FOUND;
	for (size_t i = 0; i < target_count; i++)
		well &= measure_both(&all[i], seconds);
	return well ? 0 : EXIT_FOUND;
}

/* ------------------------------------------------------------------------------------------------ the rest */

static int list(void)
{
	static const char *const kinds[] = {"stack", "differential", "parser", "canary"};
	size_t count;
	const struct fuzz_target *all = fuzz_targets(&count);

	for (size_t i = 0; i < count; i++)
		printf("%s\t%s\t%s\n", all[i].name, kinds[all[i].kind], all[i].stack[0] ? all[i].stack : "-");
	return 0;
}

/* Words of spec strings, as engines read them: fuzz/dictionaries/spec.dict. */
static int print_words(void)
{
	size_t count;
	const struct kml_allocator *const *all = kml_registry(&count);

	printf("# Words of spec strings: kmemlab-fuzz --words.\n");
	for (size_t i = 0; i < count; i++) {
		if (strcmp(all[i]->name, fuzz_canary_register()) == 0)
			continue;
		printf("\"%s\"\n", all[i]->name);
		for (const struct kml_param *param = all[i]->params; param && param->name; param++) {
			printf("\"%s=%s\"\n", param->name, param->default_text);
			for (const char *const *choice = param->choices;
			     param->type == KML_PARAM_CHOICE && choice && *choice; choice++)
				printf("\"%s=%s\"\n", param->name, *choice);
		}
	}
	return 0;
}

struct folder {
	const char *path;
	size_t written;
};

static bool write_seed(void *context, const char *name, const uint8_t *bytes, size_t byte_count)
{
	struct folder *folder = context;
	char path[4096];
	int length = snprintf(path, sizeof path, "%s/%s", folder->path, name);

	if (length < 0 || (size_t)length >= sizeof path || !write_file(path, bytes, byte_count))
		exit(EXIT_USAGE);
	folder->written++;
	return true;
}

static int write_seeds(char **words, int count)
{
	struct kml_error error;
	struct folder folder = {.path = count > 0 ? words[0] : NULL};

	if (count != 1)
		return complain("needs a folder", "--write-seeds");
	if (!kml_make_directory(folder.path, &error)) {
		fprintf(stderr, "kmemlab-fuzz: %s\n", error.text);
		return EXIT_USAGE;
	}
	fuzz_seeds(fuzz_chosen(), write_seed, &folder);
	printf("%s: %zu seeds\n", fuzz_chosen()->name, folder.written);
	return folder.written ? 0 : EXIT_USAGE;
}

int fuzz_standalone(int argument_count, char **arguments)
{
	const char *word = argument_count > 1 ? arguments[1] : "--help";
	char **rest = arguments + 2;
	int rest_count = argument_count - 2;

	if (strcmp(word, "--list") == 0)
		return list();
	if (strcmp(word, "--words") == 0)
		return print_words();
	if (strcmp(word, "--speed") == 0)
		return run_speed(rest, rest_count);
	if (strcmp(word, "--help") == 0)
		return fputs(usage, stdout) == EOF;
	if (!fuzz_chosen())
		return complain("no such target or option", word);
	if (strcmp(word, "--random") == 0 || strcmp(word, "--naive") == 0)
		return run_baseline(word[2] == 'n', rest, rest_count);
	if (strcmp(word, "--program") == 0)
		return run_programs(rest, rest_count);
	if (strcmp(word, "--keep-going") == 0)
		return run_paths(rest, rest_count, run_apart);
	if (strcmp(word, "--stable") == 0)
		return run_stable(rest, rest_count);
	if (strcmp(word, "--write-seeds") == 0)
		return write_seeds(rest, rest_count);
	if (strncmp(word, "--", 2) == 0)
		return complain("no such option", word);
	return run_paths(arguments + 1, argument_count - 1, run_here);
}

#ifndef KML_FUZZING_ENGINE
int main(int argument_count, char **arguments)
{
	fuzz_choose(&argument_count, &arguments);
	return fuzz_standalone(argument_count, arguments);
}
#endif
