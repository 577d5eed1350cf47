/*
 * run_folder.c - the folder of a run: made under a temporary name, its CSV files joined from the rows of each cell, and
 * renamed at the end.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kmemlab/run.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/output.h"

/* Remove a folder of ours and what is in it: files, and folders one below the other. */
static void remove_tree(const char *path, int depth)
{
	DIR *directory = depth < 4 ? opendir(path) : NULL;
	if (directory) {
		for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
			char child[4200];
			if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
				continue;
			snprintf(child, sizeof child, "%.3600s/%.255s", path, entry->d_name);
			if (unlink(child) != 0)
				remove_tree(child, depth + 1);
		}
		closedir(directory);
	}
	rmdir(path);
}

static bool is_empty(const char *path)
{
	DIR *directory = opendir(path);
	int entries = 0;
	if (!directory)
		return false;
	while (readdir(directory))
		entries++;
	closedir(directory);
	return entries <= 2;
}

/* Only an earlier run, or an empty folder, may be replaced. */
static bool may_replace(const char *path, struct kml_error *error)
{
	struct stat status;
	char manifest[3200];
	if (lstat(path, &status) != 0)
		return errno == ENOENT ||
		       kml_fail(error, "%s: %s: choose a place you may write to", path, strerror(errno));
	snprintf(manifest, sizeof manifest, "%s/manifest.json", path);
	if (S_ISDIR(status.st_mode) && (access(manifest, F_OK) == 0 || is_empty(path)))
		return true;
	return kml_fail(error, "%s: is there, and no earlier run: remove it or name another --out", path);
}

bool run_folder_prepare(struct run_plan *plan, struct kml_error *error)
{
	const char *out = plan->arguments->answer.out;
	char automatic[128], parent[3072];
	if (!out) {
		struct tm now;
		strftime(automatic, sizeof automatic, "results/%Y%m%d-%H%M%S", localtime_r(&plan->started, &now));
		out = automatic;
	}
	size_t length = strlen(out);
	while (length > 1 && out[length - 1] == '/')
		length--;
	if (length == 0 || length >= 3000)
		return kml_fail(error, "--out '%.64s': name a folder of 1 to 3000 bytes", out);
	snprintf(plan->out, sizeof plan->out, "%.*s", (int)length, out);
	snprintf(plan->partial, sizeof plan->partial, "%s.partial-%ld", plan->out, (long)getpid());
	snprintf(plan->parts, sizeof plan->parts, "%s/cells", plan->partial);
	if (!may_replace(plan->out, error))
		return false;
	snprintf(parent, sizeof parent, "%s", plan->out);
	char *slash = strrchr(parent, '/');
	if (slash && slash != parent) {
		*slash = '\0';
		if (!kml_make_directory(parent, error))
			return false;
	}
	return kml_make_directory(plan->parts, error);
}

bool run_folder_publish(const struct run_plan *plan, struct kml_error *error)
{
	char old[3200];
	remove_tree(plan->parts, 0);
	snprintf(old, sizeof old, "%s.old-%ld", plan->out, (long)getpid());
	bool replaces = rename(plan->out, old) == 0;
	if (rename(plan->partial, plan->out) != 0) {
		int why = errno;
		if (replaces && rename(old, plan->out) != 0)
			return kml_fail(error, "%s: cannot be put in place: %s: the earlier run is in %s", plan->out,
					strerror(why), old);
		return kml_fail(error, "%s: cannot be put in place: %s: choose another --out", plan->out,
				strerror(why));
	}
	if (replaces)
		remove_tree(old, 0);
	return true;
}

void run_folder_discard(const struct run_plan *plan)
{
	if (plan->partial[0])
		remove_tree(plan->partial, 0);
}

/* ------------------------------------------------------------------------------------------- joining */

void run_part_path(const struct run_plan *plan, uint32_t index, enum cell_file file, char *path, size_t size)
{
	snprintf(path, size, "%s/%u.%s", plan->parts, index, cell_file_name(file));
}

static bool copy_part(const char *path, FILE *to, struct kml_error *error)
{
	char buffer[65536];
	FILE *from = fopen(path, "rb");
	if (!from)
		return kml_fail(error, "%s: %s", path, strerror(errno));
	for (size_t bytes; (bytes = fread(buffer, 1, sizeof buffer, from)) > 0;)
		if (fwrite(buffer, 1, bytes, to) != bytes)
			break; /* kml_output_commit reports it */
	bool good = !ferror(from);
	fclose(from);
	return good || kml_fail(error, "%s: cannot be read back", path);
}

static bool join_file(const struct run_plan *plan, enum cell_file file, struct kml_error *error)
{
	char path[4000];
	struct kml_output output;
	snprintf(path, sizeof path, "%s/%s", plan->partial, cell_file_name(file));
	if (!kml_output_open(&output, path, error))
		return false;
	fputs(cell_file_header(file), output.stream);
	for (uint32_t i = 0; i < plan->cell_count; i++) {
		const char *fault = run_cell_fault(plan, i);
		char part[4200];
		run_part_path(plan, i, file, part, sizeof part);
		if (fault) {
			if (file == CELL_SUMMARY)
				cell_write_invalid(&plan->cells[i], fault, output.stream);
		} else if (!copy_part(part, output.stream, error)) {
			kml_output_abandon(&output);
			return false;
		}
		unlink(part);
	}
	return kml_output_commit(&output, error);
}

static bool write_timing(const struct run_plan *plan, struct kml_error *error)
{
	char path[4000];
	struct kml_output output;
	snprintf(path, sizeof path, "%s/timing.csv", plan->partial);
	if (!kml_output_open(&output, path, error))
		return false;
	fputs("trace,allocator,level,events,elapsed_ns,ns_per_event\n", output.stream);
	for (uint32_t i = 0; i < plan->cell_count; i++) {
		const struct cell_report *report = &plan->reports[i];
		if (run_cell_fault(plan, i) || report->events == 0)
			continue;
		cell_write_key(&plan->cells[i], output.stream);
		fprintf(output.stream, ",%" PRIu64 ",%" PRIu64 ",%.3f\n", report->events, report->elapsed_ns,
			(double)report->elapsed_ns / (double)report->events);
	}
	return kml_output_commit(&output, error);
}

bool run_folder_join(const struct run_plan *plan, struct kml_error *error)
{
	for (int file = 0; file < CELL_FILES; file++)
		if (!join_file(plan, file, error))
			return false;
	return write_timing(plan, error);
}
