/*
 * child.h - the command a capture is made around: held back until the recording runs, signalled when it shall end.
 */
#ifndef KMEMLAB_CAPTURE_CHILD_H
#define KMEMLAB_CAPTURE_CHILD_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "allocators/allocator.h"

struct child {
	pid_t pid;   /* 0: none, or gone */
	int go;      /* write end: closing it without a byte makes the child leave */
	int outcome; /* read end: errno of a failed exec, or the end of file */
	int status;  /* of waitpid, once pid is 0 */
};

/* Fork; the child waits for child_release. It runs with the signal mask `mask`. */
bool child_prepare(struct child *child, char **command, const sigset_t *mask, struct kml_error *error);
/* Let it run. false and *error when the command cannot be executed. */
bool child_release(struct child *child, const char *name, struct kml_error *error);
/* Without waiting: has it ended? */
bool child_ended(struct child *child);
/* End it: by `signal`, and after two seconds by SIGKILL. Waits for its end. Harmless when it has ended. */
void child_stop(struct child *child, int signal);

#endif
