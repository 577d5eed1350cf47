/* seeds.c - first inputs, read from the source folder. */
#include "fuzz/seeds.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz/program.h"
#include "fuzz/repair.h"
#include "traces/import/import.h"

enum { SEED_BYTES_MAX = 1 << 16 };

/* Where else the files of a parser lie: those in the folder whose names end so. */
static const struct {
	const char *target, *folder, *end;
} sources[] = {
	{"perf-data", "traces/import/fixtures", ".data.zst"},
	{"perf-script", "traces/import/fixtures", "perf_script.txt"},
	{"ftrace-text", "traces/import/fixtures", ".txt"},
	{"babeltrace", "traces/import/fixtures", "_babeltrace.txt"},
	{"malloc-trace", "traces/import/fixtures", "_malloc.txt"},
	{"series", "traces/import/fixtures/series", ".txt"},
	{"series", "traces/import/fixtures", "_slab.txt"},
	{"series", "traces/import/fixtures", "_cgroup.txt"},
	{"ops", "fuzz/seeds", ".ops"},
	{"ops", "fuzz/regressions", ".ops"},
	{"snapshots", "traces/import/fixtures", ".tar"},
};

static const char *source_folder(void)
{
	const char *told = getenv("KMEMLAB_SOURCE");
	return told && *told ? told : KML_SOURCE_DIR;
}

static bool ends_so(const char *name, const char *end)
{
	size_t length = strlen(name), wanted = strlen(end);
	return length >= wanted && strcmp(name + length - wanted, end) == 0;
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

typedef bool visit_path(void *context, const char *path, const char *name);

/* Files of a folder below the source folder in the order of their names; one that is not there is empty. */
static bool each_file(const char *folder, const char *end, visit_path *visit, void *context)
{
	char path[4096];
	struct dirent **entries = NULL;
	snprintf(path, sizeof path, "%s/%s", source_folder(), folder);
	int count = scandir(path, &entries, visible, alphasort);
	bool going = true;
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;
		struct stat status;
		snprintf(path, sizeof path, "%s/%s/%s", source_folder(), folder, name);
		if (going && ends_so(name, end) && stat(path, &status) == 0 && S_ISREG(status.st_mode))
			going = visit(context, path, name);
		free(entries[i]);
	}
	free(entries);
	return going;
}

struct giving {
	const struct fuzz_target *target;
	fuzz_seed_visit *visit;
	void *context;
	struct program program;
};

/* A file's bytes, decompressed; 0 when there are none, or too many. */
static size_t read_seed(const char *path, uint8_t *bytes, size_t room)
{
	struct kml_error error;
	struct import_input *input = import_input_open(path, &error);
	size_t count = 0;
	int64_t got = 1;
	while (input && got > 0 && count < room) {
		got = import_input_read(input, bytes + count, room - count, &error);
		count += got > 0 ? (size_t)got : 0;
	}
	import_input_close(input);
	return got == 0 ? count : 0;
}

static bool give_file(void *context, const char *path, const char *name)
{
	struct giving *giving = context;
	uint8_t *bytes = malloc(SEED_BYTES_MAX);
	size_t count = bytes ? read_seed(path, bytes, SEED_BYTES_MAX) : 0;
	bool going = count == 0 || giving->visit(giving->context, name, bytes, count);
	free(bytes);
	return going;
}

/* A program as a trace; loose, so that mutations reach into it. */
static bool give_trace(void *context, const char *path, const char *name)
{
	struct giving *giving = context;
	char folder[] = "/tmp/kmemlab-seed-XXXXXX", file[sizeof folder + 8];
	uint8_t *bytes = malloc(SEED_BYTES_MAX);
	struct kml_error error;
	bool going = true;

	if (!bytes || !mkdtemp(folder)) {
		free(bytes);
		return true;
	}
	snprintf(file, sizeof file, "%s/a.kmt", folder);
	if (program_load(&giving->program, path, &error) && program_save(&giving->program, file, &error)) {
		size_t count = read_seed(file, bytes, SEED_BYTES_MAX);
		struct repaired loose = kmt_loosen(bytes, count);
		going = loose.byte_count == 0 || giving->visit(giving->context, name, loose.bytes, loose.byte_count);
	} else {
		fprintf(stderr, "kmemlab-fuzz: %s\n", error.text);
	}
	unlink(file);
	rmdir(folder);
	free(bytes);
	return going;
}

/*
 * A seed whose stack line has no parameters is one for every stack: programs know nothing of what they run on. One with
 * parameters is for its own.
 */
static bool is_for(const struct program *program, const struct fuzz_target *target)
{
	const char *stack = program->setup.stack;
	if (!strchr(stack, ':'))
		return true;
	char bare[sizeof program->setup.stack];
	size_t used = 0;
	bool in_name = true;
	for (; *stack; stack++) {
		in_name = *stack == '/' || (in_name && *stack != ':');
		if (in_name)
			bare[used++] = *stack;
	}
	bare[used] = '\0';
	return strcmp(bare, target->stack) == 0;
}

static bool names_a_cache(const struct kmt_event *event)
{
	return event->op == KMT_CACHE_OPEN || event->op == KMT_CACHE_CLOSE ||
	       (event->op == KMT_MISUSE && event->order == KMT_MISUSE_CACHE) ||
	       (event->op == KMT_SHRINK && event->cache != KMT_NO_CACHE);
}

/*
 * A seed on another stack than it was written for: with as many caches as bytes can tell there, or without any; its
 * objects are then asked for by size.
 */
static void adapt(struct program *program, const char *stack)
{
	static struct program plain;
	struct program_setup *setup = &program->setup;

	if (!strchr(setup->stack, ':'))
		snprintf(setup->stack, sizeof setup->stack, "%s", stack);
	program_decode(&plain, stack, NULL, 0);
	for (uint32_t i = 0; i < plain.setup.cache_count; i++) {
		if (i >= setup->cache_count)
			setup->caches[i] = plain.setup.caches[i];
		/* Bytes tell no names. */
		memcpy(setup->cache_names[i], plain.setup.cache_names[i], sizeof setup->cache_names[i]);
		setup->caches[i].name = setup->cache_names[i];
	}
	setup->cache_count = plain.setup.cache_count;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < program->event_count; i++) {
		struct kmt_event *event = &program->events[i];
		if (setup->cache_count == 0 && names_a_cache(event))
			continue;
		if (setup->cache_count == 0 && event->op == KMT_ALLOC && event->cache != KMT_NO_CACHE)
			event->flags |= KML_KMALLOC;
		if (setup->cache_count == 0)
			event->cache = KMT_NO_CACHE;
		program->events[kept++] = *event;
	}
	program->event_count = kept;
}

static bool give_program(void *context, const char *path, const char *name)
{
	struct giving *giving = context;
	struct program *program = &giving->program;
	struct kml_error error;
	size_t byte_count = 0;

	if (!program_load(program, path, &error)) {
		fprintf(stderr, "kmemlab-fuzz: %s\n", error.text);
		exit(2);
	}
	if (!is_for(program, giving->target))
		return true;
	/* The differential targets decode for several stacks: what they share, a page allocator has. */
	adapt(program, giving->target->stack[0] ? giving->target->stack : "binary");
	uint8_t *bytes = malloc(PROGRAM_SETUP_BYTES + (size_t)program->event_count * PROGRAM_OP_BYTES);
	bool going = true;
	/* A stack without alignment or areas has no bytes for them: the seed is left out there. */
	if (bytes && program_encode(program, bytes, &byte_count))
		going = giving->visit(giving->context, name, bytes, byte_count);
	free(bytes);
	return going;
}

void fuzz_seeds(const struct fuzz_target *target, fuzz_seed_visit *visit, void *context)
{
	struct giving giving = {.target = target, .visit = visit, .context = context};
	char folder[128];

	/* The canary is to be found, not to be given. */
	if (target->kind == FUZZ_CANARY) {
		static const uint8_t empty[PROGRAM_SETUP_BYTES];
		visit(context, "empty", empty, sizeof empty);
		return;
	}
	if (fuzz_target_takes_programs(target)) {
		each_file("fuzz/seeds", ".ops", give_program, &giving);
		program_free(&giving.program);
		return;
	}
	snprintf(folder, sizeof folder, "fuzz/seeds/%s", target->name);
	bool going = each_file(folder, "", give_file, &giving);
	if (going && strcmp(target->name, "kmt") == 0)
		going = each_file("fuzz/seeds", ".ops", give_trace, &giving);
	for (size_t i = 0; going && i < sizeof sources / sizeof sources[0]; i++)
		if (strcmp(sources[i].target, target->name) == 0)
			going = each_file(sources[i].folder, sources[i].end, give_file, &giving);
	program_free(&giving.program);
}
