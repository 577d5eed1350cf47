/*
 * compare_report.h - what `kmemlab compare` shows of two workloads on a stack: text, JSON, CSV (results/README.md).
 */
#ifndef KMEMLAB_COMPARE_REPORT_H
#define KMEMLAB_COMPARE_REPORT_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "workloads/compare.h"

struct compare_report {
	const char *path[COMPARE_SIDES];
	const char *name[COMPARE_SIDES]; /* without folder and suffix */
	const char *spec_text;
	const struct replay_options *options;
	const struct comparison *comparison;
};

void compare_print(const struct compare_report *report, FILE *stream);
/* NULL without memory. */
cJSON *compare_json(const struct compare_report *report);

/* The files of --out, their names and headings. */
enum compare_file { COMPARE_SUMMARY_CSV, COMPARE_CURVES_CSV, COMPARE_CACHES_CSV, COMPARE_FILES };
const char *compare_file_name(enum compare_file file);
const char *compare_file_header(enum compare_file file);
void compare_write(const struct compare_report *report, enum compare_file file, FILE *stream);

#endif
