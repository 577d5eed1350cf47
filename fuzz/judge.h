/*
 * judge.h - how one input ends, told from a process of its own: passed, an oracle broke, or the process died of it.
 *
 * Two ends are the same find when the same oracle broke; where the process died, when it died in the same way in the
 * same function of the project.
 */
#ifndef KMEMLAB_FUZZ_JUDGE_H
#define KMEMLAB_FUZZ_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fuzz/program.h"
#include "fuzz/target.h"

/* Bytes for a target, or a program, which runs on the stack that it names. */
struct fuzz_input {
	const struct fuzz_target *target;
	const uint8_t *bytes;
	size_t byte_count;
	const struct program *program; /* not NULL: this, and not the bytes */
};

enum { FUZZ_TRACE_BYTES = 8192, FUZZ_CPU_SECONDS = 5 };

struct fuzz_verdict {
	bool failed;
	/*
	 * "overlap" and the like; of a process that died: "check" (a broken invariant inside), "undefined" (UBSan),
	 * AddressSanitizer's words ("heap-use-after-free", "SEGV"), "leak", "signal-11", "timeout".
	 */
	char oracle[64];
	char place[96];               /* where the process died: the innermost function of the project, or its file */
	char text[1024];              /* the line that says what is wrong */
	char trace[FUZZ_TRACE_BYTES]; /* all that it printed, cut to this */
};

/*
 * Run it in a child. False and *error only when there is no child to be had. A child that needs more than
 * FUZZ_CPU_SECONDS of cpu is a "timeout". O(input) and a fork.
 */
bool fuzz_judge(const struct fuzz_input *input, struct fuzz_verdict *verdict, struct kml_error *error);

/* Are they one find? */
bool fuzz_same_find(const struct fuzz_verdict *first, const struct fuzz_verdict *second);

/* What a process printed and how it ended (wait's status), as a verdict. For the logs of the engines too. */
void fuzz_read_verdict(const char *printed, int status, struct fuzz_verdict *verdict);

#endif
