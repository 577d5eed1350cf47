/*
 * fidelity_report.h - what `kmemlab fidelity` shows of a judged replay: text, JSON, CSV (results/README.md).
 */
#ifndef KMEMLAB_FIDELITY_REPORT_H
#define KMEMLAB_FIDELITY_REPORT_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "workloads/fidelity.h"

enum { FIDELITY_WORST = 10 };

struct fidelity_report {
	const char *trace_path;
	const char *trace_name; /* without folder and suffix */
	const char *spec_text;
	const struct fidelity_options *options;
	const struct fidelity *fidelity;
};

void fidelity_print(const struct fidelity_report *report, FILE *stream);
/* wmape and skill first; NULL without memory. */
cJSON *fidelity_json(const struct fidelity_report *report);

/* The files of --out, their names and headings. */
enum fidelity_file { FIDELITY_CACHES_CSV, FIDELITY_TOTALS_CSV, FIDELITY_ORDERS_CSV, FIDELITY_FILES };
const char *fidelity_file_name(enum fidelity_file file);
const char *fidelity_file_header(enum fidelity_file file);
void fidelity_write(const struct fidelity_report *report, enum fidelity_file file, FILE *stream);

#endif
