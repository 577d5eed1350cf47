/*
 * output.h - the one writer of output files: nothing partial is ever left under the final name.
 *
 * A file is written as NAME.partial-PID beside its final name, flushed to disk and renamed when complete. Errors
 * (disk full, no permission) are remembered and reported once, by kml_output_commit.
 */
#ifndef KMEMLAB_OUTPUT_H
#define KMEMLAB_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "allocators/allocator.h"

struct kml_output {
	FILE *stream; /* write here with stdio */
	char path[4096];
	char partial[4128];
};

/* false and *error when the file cannot be created. "-" writes to standard output. */
bool kml_output_open(struct kml_output *output, const char *path, struct kml_error *error);
/* Flush, sync, rename. false and *error (with the mend) when any write failed; the partial file is then removed. */
bool kml_output_commit(struct kml_output *output, struct kml_error *error);
/* Give up: remove the partial file. Harmless after commit. */
void kml_output_abandon(struct kml_output *output);
/* Remove every partial file now open; async-signal-safe, for SIGINT and SIGTERM handlers. */
void kml_output_abandon_all(void);

/* mkdir -p. false and *error when it cannot be. */
bool kml_make_directory(const char *path, struct kml_error *error);

#endif
