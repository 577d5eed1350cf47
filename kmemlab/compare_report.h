/*
 * compare_report.h - what `kmemlab compare` shows of two workloads on a stack: text, JSON, CSV (results/README.md).
 */
#ifndef KMEMLAB_COMPARE_REPORT_H
#define KMEMLAB_COMPARE_REPORT_H

#include "kmemlab/reports.h"
#include "workloads/compare.h"

struct compare_report {
	const char *path[COMPARE_SIDES];
	const char *name[COMPARE_SIDES]; /* without folder and suffix */
	const char *spec_text;
	const struct replay_options *options;
	const struct comparison *comparison;
};

extern const struct report_kind compare_reports;

#endif
