/* child.c - the command a capture is made around; see child.h. */
#include "traces/capture/child.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kmemlab/support/error.h"

enum { STOP_PATIENCE_MS = 2000, STOP_STEP_MS = 10, EXIT_NOT_EXECUTED = 127 };

static _Noreturn void run_child(const int go[2], const int outcome[2], char **command, const sigset_t *mask)
{
	char byte;
	close(go[1]);
	close(outcome[0]);
	if (read(go[0], &byte, 1) != 1)
		_exit(EXIT_NOT_EXECUTED); /* the capture was given up */
	sigprocmask(SIG_SETMASK, mask, NULL);
	execvp(command[0], command);
	int reason = errno;
	ssize_t written = write(outcome[1], &reason, sizeof reason);
	(void)written;
	_exit(EXIT_NOT_EXECUTED);
}

bool child_prepare(struct child *child, char **command, const sigset_t *mask, struct kml_error *error)
{
	*child = (struct child){.go = -1, .outcome = -1};
	int go[2], outcome[2];
	if (pipe2(go, O_CLOEXEC) != 0)
		return kml_fail(error, "cannot start %s: %s", command[0], strerror(errno));
	if (pipe2(outcome, O_CLOEXEC) != 0) {
		kml_fail(error, "cannot start %s: %s", command[0], strerror(errno));
		close(go[0]);
		close(go[1]);
		return false;
	}
	pid_t pid = fork();
	if (pid == 0)
		run_child(go, outcome, command, mask);
	close(go[0]);
	close(outcome[1]);
	child->go = go[1];
	child->outcome = outcome[0];
	if (pid > 0) {
		child->pid = pid;
		return true;
	}
	kml_fail(error, "cannot start %s: %s", command[0], strerror(errno));
	child_stop(child, SIGTERM);
	return false;
}

bool child_release(struct child *child, const char *name, struct kml_error *error)
{
	int reason = 0;
	ssize_t got = write(child->go, "g", 1) == 1 ? read(child->outcome, &reason, sizeof reason) : -1;
	close(child->go);
	child->go = -1;
	if (got == 0)
		return true;
	return kml_fail(error, "cannot run '%s': %s", name,
			got == (ssize_t)sizeof reason ? strerror(reason) : "it vanished");
}

bool child_ended(struct child *child)
{
	if (child->pid > 0 && waitpid(child->pid, &child->status, WNOHANG) == child->pid)
		child->pid = 0;
	return child->pid == 0;
}

void child_stop(struct child *child, int signal)
{
	if (child->go >= 0)
		close(child->go);
	if (child->outcome >= 0)
		close(child->outcome);
	child->go = child->outcome = -1;
	if (child->pid > 0)
		kill(child->pid, signal);
	for (int waited_ms = 0; !child_ended(child); waited_ms += STOP_STEP_MS) {
		if (waited_ms == STOP_PATIENCE_MS)
			kill(child->pid, SIGKILL);
		nanosleep(&(struct timespec){.tv_nsec = STOP_STEP_MS * 1000000L}, NULL);
	}
}
