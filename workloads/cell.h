/*
 * cell.h - one cell of a run: a trace replayed on a stack at a level, told as rows of the CSV files of
 * results/README.md.
 */
#ifndef KMEMLAB_CELL_H
#define KMEMLAB_CELL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "workloads/replay.h"
#include "workloads/scan.h"

enum cell_file { CELL_SUMMARY, CELL_SAMPLES, CELL_ORDERS, CELL_MAP, CELL_SLABS, CELL_FILES };
/* "summary.csv", ... */
const char *cell_file_name(enum cell_file file);
/* The header line, with its newline. */
const char *cell_file_header(enum cell_file file);

struct cell {
	const char *trace_path;
	const char *trace_name; /* without folder and suffix */
	const char *spec_text;
	struct replay_options options;                     /* arena_bytes 0: auto */
	bool wants_smallest;                               /* look for the smallest arena */
	bool in_smallest;                                  /* and replay in it */
	uint64_t peak_requested_bytes, peak_granted_bytes; /* of the trace at this level: struct replay_scan */
	uint64_t recorded_addresses;
};

/* What became of it. */
struct cell_report {
	char reason[512]; /* why the cell is invalid; empty: it is ok */
	uint64_t events, elapsed_ns;
	int write_error; /* errno of a row that did not go to its stream; 0: all did */
};

/*
 * Run the cell. Rows go to the streams (NULL: not written); a cell without work, with a failed check or bad input gets
 * a reason instead. Rows may have been written before the reason was found: the caller drops them.
 */
void cell_run(const struct cell *cell, FILE *const streams[CELL_FILES], struct cell_report *report);

/* The row of summary.csv for a cell without figures. */
void cell_write_invalid(const struct cell *cell, const char *reason, FILE *summary);
/* A field of a CSV file, quoted as RFC 4180 wants it. */
void cell_write_text(const char *text, FILE *stream);
/* "trace,allocator,level", quoted where needed. */
void cell_write_key(const struct cell *cell, FILE *stream);

#endif
