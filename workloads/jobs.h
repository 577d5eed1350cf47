/*
 * jobs.h - work in child processes: a crash of one costs only that one.
 */
#ifndef KMEMLAB_JOBS_H
#define KMEMLAB_JOBS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"

struct jobs {
	uint32_t count;
	uint32_t parallel; /* at a time, at least 1 */
	/* In the child; its return value is the exit status. Results go through shared memory or files. */
	int (*run)(void *context, uint32_t index);
	/* In the parent, as each ends: `fault` is NULL, or says how the child died ("signal 11 (Segmentation fault):
	 * ..."). */
	void (*ended)(void *context, uint32_t index, int exit_status, const char *fault);
	void *context;
	const char *stderr_directory;             /* what a child says before it dies is kept here meanwhile */
	const volatile sig_atomic_t *interrupted; /* non-zero: kill the children and return */
};

/* Memory that the children write and the parent reads, zeroed; NULL when there is none. */
void *jobs_share(size_t bytes);

/* Run all. false and *error when interrupted, or when no process can be made. */
bool jobs_run(const struct jobs *jobs, struct kml_error *error);

#endif
