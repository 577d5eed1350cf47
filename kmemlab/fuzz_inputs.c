/* fuzz_inputs.c - single inputs of the fuzzers: bytes of a target, programs as .ops or .kmt. */
#include "kmemlab/fuzz_inputs.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/judge.h"
#include "fuzz/minimise.h"
#include "fuzz/program.h"
#include "fuzz/regression.h"
#include "fuzz/seeds.h"
#include "kmemlab/command.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/output.h"
#include "traces/kmt/format.h"

enum { INPUT_BYTES_MAX = 64 << 20 };

static const char *const kind_names[] = {"stack", "differential", "parser", "canary"};

static void print_json(cJSON *root)
{
	char *text = cJSON_Print(root);
	puts(text ? text : "{}");
	free(text);
	cJSON_Delete(root);
}

int fuzz_list_targets(bool json)
{
	size_t count;
	const struct fuzz_target *targets = fuzz_targets(&count);
	cJSON *list = json ? cJSON_CreateArray() : NULL;
	for (size_t i = 0; i < count; i++) {
		const struct fuzz_target *target = &targets[i];
		if (!json) {
			printf("%-24s %-12s %s\n", target->name, kind_names[target->kind], target->stack);
			continue;
		}
		cJSON *object = cJSON_CreateObject();
		cJSON_AddStringToObject(object, "name", target->name);
		cJSON_AddStringToObject(object, "kind", kind_names[target->kind]);
		cJSON_AddStringToObject(object, "stack", target->stack);
		/* 0: the engines' own limit. */
		cJSON_AddNumberToObject(object, "bytes_max",
					fuzz_target_takes_programs(target) ? PROGRAM_BYTES_MAX : 0);
		cJSON_AddItemToArray(list, object);
	}
	if (json)
		print_json(list);
	return KML_EXIT_OK;
}

/* ---------------------------------------------------------------------------------------------- inputs */

/* An input as a file holds it: a program, or bytes for a target. */
struct loaded {
	bool is_program;
	struct program program;
	const struct fuzz_target *target;
	uint8_t *bytes;
	size_t byte_count;
};

static void free_loaded(struct loaded *loaded)
{
	program_free(&loaded->program);
	free(loaded->bytes);
	loaded->bytes = NULL;
}

const struct fuzz_target *fuzz_target_of(const char *path, const char *named)
{
	char copy[4096];
	if (named)
		return fuzz_target_find(named);
	snprintf(copy, sizeof copy, "%s", path);
	for (char *slash; (slash = strrchr(copy, '/')) != NULL;) {
		*slash = '\0';
		char *above = strrchr(copy, '/');
		const struct fuzz_target *target = fuzz_target_find(above ? above + 1 : copy);
		if (target)
			return target;
	}
	return NULL;
}

static bool read_bytes(const char *path, struct loaded *loaded, struct kml_error *error)
{
	FILE *stream = fopen(path, "rb");
	size_t room = 1 << 16;
	if (!stream)
		return kml_fail(error, "%s: %s: name a file that can be read", path, strerror(errno));
	loaded->bytes = malloc(room);
	while (loaded->bytes && room <= INPUT_BYTES_MAX) {
		loaded->byte_count += fread(loaded->bytes + loaded->byte_count, 1, room - loaded->byte_count, stream);
		if (loaded->byte_count < room)
			break;
		uint8_t *grown = realloc(loaded->bytes, room *= 2);
		if (!grown)
			free(loaded->bytes);
		loaded->bytes = grown;
	}
	bool failed = ferror(stream) != 0;
	fclose(stream);
	if (failed || !loaded->bytes || room > INPUT_BYTES_MAX)
		return kml_fail(error, "%s: cannot be read whole: inputs have at most %d bytes", path, INPUT_BYTES_MAX);
	return true;
}

static bool begins_like(const struct loaded *loaded, const void *magic, size_t magic_bytes)
{
	return loaded->byte_count >= magic_bytes && memcmp(loaded->bytes, magic, magic_bytes) == 0;
}

static bool holds_program(const struct loaded *loaded)
{
	static const char text_magic[] = "kmemlab program";
	return begins_like(loaded, text_magic, sizeof text_magic - 1) ||
	       begins_like(loaded, kmt_magic, KMT_MAGIC_BYTES);
}

/* A program unless a target is named that takes bytes as they are: the parsers' inputs begin like programs, too. */
static bool load(const char *path, const char *named, struct loaded *loaded, struct kml_error *error)
{
	*loaded = (struct loaded){0};
	if (named && !fuzz_target_find(named))
		return kml_fail(error, "no target '%s': 'kmemlab fuzz --list' shows all", named);
	if (!read_bytes(path, loaded, error))
		return false;
	loaded->target = fuzz_target_of(path, named);
	bool as_bytes = loaded->target && loaded->target->kind == FUZZ_PARSER;
	if (!as_bytes && holds_program(loaded)) {
		loaded->is_program = true;
		return program_load(&loaded->program, path, error);
	}
	if (loaded->target)
		return true;
	return kml_fail(error, "%s: bytes of which target? Give --target NAME ('kmemlab fuzz --list' shows all)", path);
}

static struct fuzz_input input_of(const struct loaded *loaded)
{
	struct fuzz_input input = {.target = loaded->target, .bytes = loaded->bytes, .byte_count = loaded->byte_count};
	if (loaded->is_program)
		input.program = &loaded->program;
	return input;
}

/* Bytes of a target that is one stack mean a program; others' stay bytes. */
static bool become_program(struct loaded *loaded)
{
	if (!loaded->is_program && loaded->target && loaded->target->stack[0]) {
		program_decode(&loaded->program, loaded->target->stack, loaded->bytes, loaded->byte_count);
		loaded->is_program = true;
	}
	return loaded->is_program;
}

/* ------------------------------------------------------------------------------------------- show and run */

int fuzz_show(const char *path, const char *target)
{
	struct loaded loaded;
	struct kml_error error;
	int status = KML_EXIT_OK;
	if (!load(path, target, &loaded, &error))
		status = kml_report(&error, KML_EXIT_USAGE);
	else if (become_program(&loaded))
		program_print(&loaded.program, stdout);
	else {
		kml_fail(&error, "%s: inputs of %s are no program of one stack: look at the bytes themselves", path,
			 loaded.target->name);
		status = kml_report(&error, KML_EXIT_USAGE);
	}
	free_loaded(&loaded);
	return status;
}

/* Bytes that are no UTF-8 have no place in JSON. */
static void add_text(cJSON *object, const char *name, const char *text)
{
	char *copy = strdup(text);
	for (char *at = copy; at && *at; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	cJSON_AddStringToObject(object, name, copy ? copy : "");
	free(copy);
}

static cJSON *verdict_json(const char *path, const struct fuzz_verdict *verdict)
{
	cJSON *object = cJSON_CreateObject();
	add_text(object, "file", path);
	cJSON_AddBoolToObject(object, "failed", verdict->failed);
	add_text(object, "oracle", verdict->oracle);
	add_text(object, "place", verdict->place);
	add_text(object, "text", verdict->text);
	add_text(object, "trace", verdict->trace);
	return object;
}

int fuzz_run_files(char *const *paths, int count, const char *target, bool json)
{
	static struct fuzz_verdict verdict;
	cJSON *list = json ? cJSON_CreateArray() : NULL;
	int status = KML_EXIT_OK;
	for (int i = 0; i < count && status != KML_EXIT_USAGE; i++) {
		struct loaded loaded;
		struct kml_error error;
		bool ran = load(paths[i], target, &loaded, &error);
		if (ran) {
			const struct fuzz_input input = input_of(&loaded);
			ran = fuzz_judge(&input, &verdict, &error);
		}
		free_loaded(&loaded);
		if (!ran) {
			status = kml_report(&error, KML_EXIT_USAGE);
			continue;
		}
		if (verdict.failed)
			status = KML_EXIT_CHECK_FAILED;
		if (json)
			cJSON_AddItemToArray(list, verdict_json(paths[i], &verdict));
		else if (verdict.failed)
			printf("%s: %s%s%s: %s\n", paths[i], verdict.oracle, verdict.place[0] ? " in " : "",
			       verdict.place, verdict.text);
		else
			printf("%s: passed\n", paths[i]);
	}
	if (json)
		print_json(list);
	return status;
}

/* --------------------------------------------------------------------------------------------- minimising */

static bool minimise(struct loaded *loaded, struct fuzz_verdict *wanted, struct fuzz_effort *effort,
		     struct kml_error *error)
{
	static struct fuzz_verdict as_program;
	struct fuzz_input input = input_of(loaded);
	if (!fuzz_judge(&input, wanted, error))
		return false;
	if (!wanted->failed)
		return kml_fail(error, "it passes: there is nothing to minimise");
	/* As a program where that fails alike, else as the bytes that they are. */
	if (!loaded->is_program && become_program(loaded)) {
		input.program = &loaded->program;
		if (!fuzz_judge(&input, &as_program, error))
			return false;
		loaded->is_program = fuzz_same_find(&as_program, wanted);
	}
	if (loaded->is_program)
		return fuzz_minimise_program(&loaded->program, wanted, effort, error);
	return fuzz_minimise_bytes(loaded->target, loaded->bytes, &loaded->byte_count, wanted, effort, error);
}

/* The smallest one's own words. */
static bool judge_again(const struct loaded *loaded, struct fuzz_verdict *verdict, struct kml_error *error)
{
	const struct fuzz_input input = input_of(loaded);
	return fuzz_judge(&input, verdict, error);
}

static void tell_minimised(const char *path, const struct loaded *loaded, const struct fuzz_verdict *verdict,
			   const struct fuzz_effort *effort, bool json)
{
	if (!json) {
		fprintf(stderr, "%s: %s: %" PRIu64 " %s after %u tries\n", path, verdict->text,
			loaded->is_program ? loaded->program.event_count : (uint64_t)loaded->byte_count,
			loaded->is_program ? "operations" : "bytes", effort->tries);
		return;
	}
	cJSON *object = verdict_json(path, verdict);
	cJSON_AddStringToObject(object, "form", loaded->is_program ? "program" : "bytes");
	cJSON_AddNumberToObject(object, "operations", loaded->is_program ? loaded->program.event_count : 0);
	cJSON_AddNumberToObject(object, "bytes", loaded->is_program ? 0 : (double)loaded->byte_count);
	cJSON_AddNumberToObject(object, "tries", effort->tries);
	print_json(object);
}

static bool write_minimised(const struct loaded *loaded, const char *prefix, const struct fuzz_verdict *verdict,
			    struct kml_error *error)
{
	const struct fuzz_input input = input_of(loaded);
	if (prefix)
		return fuzz_write_find(prefix, &input, verdict, error);
	if (loaded->is_program)
		return program_print(&loaded->program, stdout) || kml_fail(error, "out of memory for a text");
	return fwrite(loaded->bytes, 1, loaded->byte_count, stdout) == loaded->byte_count ||
	       kml_fail(error, "standard output: cannot write: %s", strerror(errno));
}

int fuzz_minimise_file(const char *path, const char *target, const char *prefix, unsigned seconds, bool json)
{
	static struct fuzz_verdict verdict;
	struct fuzz_effort effort = {.seconds_max = seconds};
	struct loaded loaded;
	struct kml_error error, why;
	bool good = load(path, target, &loaded, &error);
	if (good && !minimise(&loaded, &verdict, &effort, &why))
		good = kml_fail(&error, "%s: %.400s", path, why.text);
	good = good && judge_again(&loaded, &verdict, &error) && write_minimised(&loaded, prefix, &verdict, &error);
	if (good && (prefix || !json))
		tell_minimised(path, &loaded, &verdict, &effort, json);
	free_loaded(&loaded);
	return good ? KML_EXIT_OK : kml_report(&error, KML_EXIT_USAGE);
}

/* ---------------------------------------------------------------------------------------- first inputs */

struct corpus {
	const char *folder;
	size_t written;
	struct kml_error *error;
	bool failed;
};

static bool write_seed(void *context, const char *name, const uint8_t *bytes, size_t byte_count)
{
	struct corpus *corpus = context;
	struct kml_output output;
	char path[4096];
	snprintf(path, sizeof path, "%.3800s/%.255s", corpus->folder, name);
	corpus->failed = !kml_output_open(&output, path, corpus->error);
	if (corpus->failed)
		return false;
	fwrite(bytes, 1, byte_count, output.stream);
	corpus->failed = !kml_output_commit(&output, corpus->error);
	corpus->written++;
	return !corpus->failed;
}

int fuzz_write_corpus(const char *folder, const char *name)
{
	struct kml_error error;
	struct corpus corpus = {.folder = folder, .error = &error};
	const struct fuzz_target *target = fuzz_target_find(name);
	if (!target) {
		kml_fail(&error, "no target '%s': 'kmemlab fuzz --list' shows all", name);
		return kml_report(&error, KML_EXIT_USAGE);
	}
	if (!kml_make_directory(folder, &error))
		return kml_report(&error, KML_EXIT_USAGE);
	fuzz_seeds(target, write_seed, &corpus);
	return corpus.failed ? kml_report(&error, KML_EXIT_USAGE) : KML_EXIT_OK;
}
