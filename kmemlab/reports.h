/*
 * reports.h - reports of one kind, one after the other: text or JSON on standard output, CSV files in a folder.
 *
 * A command fills in the kind (how a report is printed and written) and adds its reports; the files appear together,
 * when all is done.
 */
#ifndef KMEMLAB_REPORTS_H
#define KMEMLAB_REPORTS_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>

#include "kmemlab/options.h"
#include "kmemlab/support/output.h"

enum { REPORT_FILES = 3 };

struct report_kind {
	void (*print)(const void *report, FILE *stream);
	cJSON *(*json)(const void *report); /* NULL without memory */
	struct {
		const char *name, *header;
		void (*write)(const void *report, FILE *stream); /* its rows */
	} files[REPORT_FILES];
};

struct reports {
	const struct report_kind *kind;
	const struct kml_answer *answer;
	cJSON *list; /* with --json */
	bool any;
	struct kml_output files[REPORT_FILES]; /* with --out */
};

/* False and *error when a file cannot be made. Call reports_close in any case. */
bool reports_open(struct reports *reports, const struct report_kind *kind, const struct kml_answer *answer,
		  struct kml_error *error);
/* `of` names the report in an error. */
bool reports_add(struct reports *reports, const void *report, const char *of, struct kml_error *error);
/* The files come to be; when not `done`, none does. False and *error: not done, or they could not be written. */
bool reports_close(struct reports *reports, bool done, struct kml_error *error);
/* Of one report its own object, of several a list; the caller's. NULL without --json. */
cJSON *reports_take_json(struct reports *reports);

#endif
