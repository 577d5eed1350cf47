/*
 * capture.h - record the running kernel's allocation events, with its own /proc views of the same seconds.
 */
#ifndef KMEMLAB_CAPTURE_H
#define KMEMLAB_CAPTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/allocator.h"

struct capture_options {
	const char *output;     /* the .kmt to write */
	char **command;         /* NULL-terminated, run meanwhile; NULL: none */
	const char *note;       /* how it was made, for the trace's origin; NULL: "" */
	uint64_t duration_ns;   /* 0: until the command ends or the user interrupts */
	uint64_t interval_ns;   /* between snapshots */
	uint64_t buffer_bytes;  /* of the kernel's trace buffers, all cpus together */
	uint64_t reserve_bytes; /* end when writing the trace would leave the machine less memory than this */
	bool quiet;
};

struct capture_result {
	uint64_t events;    /* taken from the kernel */
	uint64_t lost;      /* as the kernel counts them */
	uint32_t snapshots; /* moments at which /proc was read */
	uint32_t cpus;
	uint64_t duration_ns;
	bool interrupted;   /* by SIGINT or SIGTERM: a normal end of a capture */
	bool timed_out;     /* by duration_ns */
	bool out_of_memory; /* ended early: what is left is needed to write the trace */
	int command_status; /* of waitpid; 0 without a command */
};

/*
 * Blocks SIGINT, SIGTERM, SIGHUP and SIGCHLD while it runs. The command is sent SIGTERM when the time is over, and the
 * user's own signal when it is interrupted. Nothing is left of the output file when this fails.
 * false and *error: no root, no tracefs, no slabinfo, a command that cannot run, memory exhausted, unwritable output.
 */
bool capture_run(const struct capture_options *options, struct capture_result *result, struct kml_error *error);

#endif
