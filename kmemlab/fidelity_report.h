/*
 * fidelity_report.h - what `kmemlab fidelity` shows of a judged replay: text, JSON, CSV (results/README.md).
 */
#ifndef KMEMLAB_FIDELITY_REPORT_H
#define KMEMLAB_FIDELITY_REPORT_H

#include "kmemlab/reports.h"
#include "workloads/fidelity.h"

enum { FIDELITY_WORST = 10 };

struct fidelity_report {
	const char *trace_path;
	const char *trace_name; /* without folder and suffix */
	const char *spec_text;
	const struct fidelity_options *options;
	const struct fidelity *fidelity;
};

extern const struct report_kind fidelity_reports;

#endif
