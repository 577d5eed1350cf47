/*
 * run_manifest.c - manifest.json: what a run was made with, on and of.
 */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmemlab/json.h"
#include "kmemlab/run.h"
#include "kmemlab/scripts.h"
#include "kmemlab/support/output.h"

/* First line of what a program prints; "" when it cannot be run. No shell takes part. */
static void ask_program(char *const argv[], char *line, size_t size)
{
	int ends[2];
	line[0] = '\0';
	if (pipe(ends) != 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		if (!freopen("/dev/null", "w", stderr))
			_exit(127);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(ends[1]);
	FILE *stream = pid > 0 ? fdopen(ends[0], "r") : NULL;
	if (stream) {
		if (!fgets(line, (int)size, stream))
			line[0] = '\0';
		fclose(stream);
	} else {
		close(ends[0]);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
	line[strcspn(line, "\n")] = '\0';
}

static void cpu_model(char *model, size_t size)
{
	char line[512];
	FILE *stream = fopen("/proc/cpuinfo", "r");
	snprintf(model, size, "unknown");
	while (stream && fgets(line, sizeof line, stream)) {
		char *colon = strchr(line, ':');
		if (strncmp(line, "model name", 10) != 0 || !colon)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(model, size, "%s", colon + 2);
		break;
	}
	if (stream)
		fclose(stream);
}

static void describe_program(cJSON *root)
{
	char revision[128], dirty[256], source[3072];
	snprintf(source, sizeof source, "%s", kml_source_directory());
	ask_program((char *[]){"git", "-C", source, "rev-parse", "HEAD", NULL}, revision, sizeof revision);
	ask_program((char *[]){"git", "-C", source, "status", "--porcelain", "-uno", NULL}, dirty, sizeof dirty);
	cJSON *program = cJSON_AddObjectToObject(root, "program");
	cJSON_AddStringToObject(program, "version", KML_VERSION);
	cJSON_AddStringToObject(program, "git_revision", revision[0] ? revision : "unknown");
	cJSON_AddBoolToObject(program, "git_modified", dirty[0] != '\0');
	cJSON_AddStringToObject(program, "compiler", KML_COMPILER);
	cJSON_AddStringToObject(program, "flags", KML_FLAGS);
	kml_json_add_u64(program, "abi_version", KML_ABI_VERSION);
}

static void describe_machine(cJSON *root)
{
	struct utsname kernel;
	char model[512];
	cJSON *machine = cJSON_AddObjectToObject(root, "machine");
	if (uname(&kernel) == 0) {
		cJSON_AddStringToObject(machine, "kernel", kernel.release);
		cJSON_AddStringToObject(machine, "architecture", kernel.machine);
	}
	cpu_model(model, sizeof model);
	cJSON_AddStringToObject(machine, "cpu", model);
	kml_json_add_u64(machine, "cpus", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
}

/* A shipped trace's path as everyone has it: from the top of the source. Others as they are. */
static const char *path_from_source(const char *path)
{
	size_t length = strlen(kml_source_directory());
	bool inside = strncmp(path, kml_source_directory(), length) == 0 && path[length] == '/';
	return inside ? path + length + 1 : path;
}

static void describe_cells(const struct run_plan *plan, cJSON *root)
{
	cJSON *traces = cJSON_AddArrayToObject(root, "traces");
	for (uint32_t i = 0; i < plan->arguments->trace_count; i++) {
		cJSON *trace = cJSON_CreateObject();
		cJSON_AddStringToObject(trace, "name", plan->traces[i].name);
		cJSON_AddStringToObject(trace, "path", path_from_source(plan->traces[i].path));
		cJSON_AddStringToObject(trace, "xxh64", plan->traces[i].hash);
		kml_json_add_u64(trace, "events", plan->traces[i].events);
		cJSON_AddItemToArray(traces, trace);
	}
	cJSON *cells = cJSON_AddArrayToObject(root, "cells");
	for (uint32_t i = 0; i < plan->cell_count; i++) {
		const struct cell *cell = &plan->cells[i];
		const char *fault = run_cell_fault(plan, i);
		cJSON *entry = cJSON_CreateObject();
		cJSON_AddStringToObject(entry, "trace", cell->trace_name);
		cJSON_AddStringToObject(entry, "allocator", cell->spec_text);
		cJSON_AddStringToObject(entry, "level", replay_level_name(cell->options.level));
		cJSON_AddStringToObject(entry, "status", fault ? "invalid" : "ok");
		if (fault)
			cJSON_AddStringToObject(entry, "reason", fault);
		else
			cJSON_AddNumberToObject(entry, "seconds", (double)plan->reports[i].elapsed_ns / 1e9);
		cJSON_AddItemToArray(cells, entry);
	}
}

static void describe_options(const struct run_plan *plan, cJSON *root)
{
	const struct run_arguments *arguments = plan->arguments;
	char text[64];
	cJSON *given = cJSON_AddObjectToObject(root, "options");
	snprintf(text, sizeof text, "%" PRIu64, arguments->options.arena_bytes);
	cJSON_AddStringToObject(given, "arena",
				arguments->in_smallest           ? "min"
				: arguments->options.arena_bytes ? text
								 : "auto");
	cJSON_AddBoolToObject(given, "smallest_arena", arguments->wants_smallest || arguments->in_smallest);
	kml_json_add_u64(given, "samples", arguments->options.samples);
	kml_json_add_u64(given, "seed", arguments->options.seed);
	cJSON_AddBoolToObject(given, "check", arguments->options.check);
	kml_json_add_u64(given, "timing_rounds", arguments->timing_rounds);
	kml_json_add_u64(given, "jobs", arguments->jobs);
}

bool run_manifest_write(const struct run_plan *plan, struct kml_error *error)
{
	char path[4000], when[64];
	struct tm started;
	struct kml_output output;
	snprintf(path, sizeof path, "%s/manifest.json", plan->partial);
	if (!kml_output_open(&output, path, error))
		return false;
	cJSON *root = cJSON_CreateObject();
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&plan->started, &started));
	cJSON_AddStringToObject(root, "started", when);
	kml_json_add_u64(root, "seconds", (uint64_t)(time(NULL) - plan->started));
	describe_program(root);
	describe_machine(root);
	describe_options(plan, root);
	describe_cells(plan, root);
	char *text = cJSON_Print(root);
	if (text)
		fprintf(output.stream, "%s\n", text);
	free(text);
	cJSON_Delete(root);
	return kml_output_commit(&output, error);
}
