/*
 * validate.h - the figures of the literature recomputed: expected beside measured.
 *
 * A *check* belongs to a section (rounding, curves, overflow, worst, table, metrics) and gives rows. What is expected
 * is a formula in the check's own code or a constant with its source, never an output of this program. Exact figures
 * must be equal to the last digit, bounds must hold, simulated figures lie within three standard errors over the seeds.
 *
 * Adding a check: one function in its section's file and one line in that file's table.
 */
#ifndef KMEMLAB_VALIDATE_H
#define KMEMLAB_VALIDATE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"

enum validate_kind {
	VALIDATE_EXACT,     /* measured == expected, as texts (fractions, counts) */
	VALIDATE_NEAR,      /* |measured - expected| <= tolerance; the tolerance follows from a bound that is told */
	VALIDATE_SIMULATED, /* |measured - expected| <= 3 standard errors + the last digit of the source */
	VALIDATE_AT_MOST,   /* measured <= expected: a bound */
	VALIDATE_AT_LEAST,
	VALIDATE_SKIPPED, /* not run: `note` says what it needs */
	VALIDATE_KINDS
};
const char *validate_kind_name(enum validate_kind kind);

enum validate_status { VALIDATE_OK, VALIDATE_OUT, VALIDATE_NOT_RUN };
const char *validate_status_name(enum validate_status status);

/* One figure. Texts are stored in it, so that a row can cross from one process to another. */
struct validate_row {
	enum validate_kind kind;
	enum validate_status status;
	char section[16];
	char subject[48];       /* a system, a stack */
	char workload[40];      /* distribution, N, r, rho */
	char quantity[40];      /* what is measured: "OA", "internal %" */
	char expected_text[32]; /* as in the source */
	char measured_text[32];
	double expected, measured, tolerance;
	double standard_error; /* of simulated ones */
	uint32_t seeds;
	char source[96];
	char note[128];
};

struct validate_options {
	uint32_t seeds;     /* of simulated figures; at least 2 */
	const char *logs;   /* a folder of the public kernel logs, or NULL */
	const char *source; /* the source folder: shipped traces, captures of our own */
};

/* Where a check puts its rows. */
struct validate_rows {
	struct validate_row *rows; /* room for `room` */
	uint32_t count, room;
};
/* A new row, zeroed but for the section; the caller fills it in and judges it. */
struct validate_row *validate_add(struct validate_rows *rows, const char *section);
/* Fill in numbers and status by the row's kind. `digits` behind the point in both texts. */
void validate_judge(struct validate_row *row, double expected, double measured, int digits);
void validate_judge_text(struct validate_row *row, const char *expected, const char *measured);
/* Counts: equal, to the last digit. */
void validate_judge_count(struct validate_row *row, uint64_t expected, uint64_t measured);
/* It could not be: the row is out. */
void validate_fail(struct validate_row *row, const struct kml_error *error);

/* A check. Its jobs run beside each other, each in a process of its own, and leave a few numbers each. */
struct validate_check {
	const char *section; /* "rounding" */
	const char *name;
	uint32_t rows_max;
	uint32_t values; /* doubles that a job leaves */
	/* 0 jobs: `conclude` does it all, in a process of its own. */
	uint32_t (*job_count)(const struct validate_options *options);
	bool (*job)(const struct validate_options *options, uint32_t job, double *values, struct kml_error *error);
	/* `values`: job after job. */
	void (*conclude)(const struct validate_options *options, const double *values, struct validate_rows *rows);
};

/* The checks of a section, ended by name == NULL. */
extern const struct validate_check validate_rounding[], validate_curves[], validate_overflow[], validate_worst[],
	validate_table[], validate_metrics[];

struct validate_plan {
	const char *const *sections; /* NULL at the end; NULL: all */
	uint32_t jobs;               /* processes at a time */
	bool quiet;
	const volatile sig_atomic_t *interrupted;
};

/*
 * Run the checks of the plan; *rows is allocated and the caller's. A job that dies or fails makes the rows of its check
 * out, with the reason. false and *error: an unknown section, no processes, interrupted.
 */
bool validate_run(const struct validate_plan *plan, const struct validate_options *options, struct validate_rows *rows,
		  struct kml_error *error);
/* Names, NULL at the end. */
extern const char *const validate_sections[];

#endif
