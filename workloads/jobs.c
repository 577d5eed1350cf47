/*
 * jobs.c - a pool of forked children. Each job has a process of its own, so that a broken allocator cannot spoil the
 * figures of another; the last line it wrote to standard error becomes the reason.
 */
#include "workloads/jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmemlab/support/error.h"

struct running {
	pid_t pid; /* 0: free */
	uint32_t index;
};

static void stderr_path(const struct jobs *jobs, uint32_t index, char *path, size_t size)
{
	snprintf(path, size, "%s/%u.stderr", jobs->stderr_directory, index);
}

_Noreturn static void become_child(const struct jobs *jobs, uint32_t index, pid_t parent)
{
	signal(SIGINT, SIG_IGN); /* the parent decides */
	signal(SIGTERM, SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	char path[4200];
	stderr_path(jobs, index, path, sizeof path);
	int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (descriptor >= 0)
		dup2(descriptor, STDERR_FILENO);
	_exit(jobs->run(jobs->context, index));
}

static bool start(const struct jobs *jobs, struct running *slot, uint32_t index, struct kml_error *error)
{
	pid_t parent = getpid();
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		return kml_fail(error, "cannot start a process: %s: use fewer --jobs", strerror(errno));
	if (pid == 0)
		become_child(jobs, index, parent);
	*slot = (struct running){pid, index};
	return true;
}

/* The last line that says something: that of a failed check, or of a sanitizer. */
static void last_words(const char *path, char *words, size_t size)
{
	static const char broken[] = "broken invariant: ";
	char line[512];
	FILE *stream = fopen(path, "r");
	words[0] = '\0';
	if (!stream)
		return;
	while (fgets(line, sizeof line, stream)) {
		line[strcspn(line, "\r\n")] = '\0';
		/* The place in the source differs from build to build. */
		const char *from = strstr(line, broken);
		if (line[0])
			snprintf(words, size, "%.*s", (int)size - 1, from ? from : line);
		if (from)
			break;
	}
	fclose(stream);
}

static void conclude(const struct jobs *jobs, uint32_t index, int status)
{
	char path[4200], words[400], fault[512];
	stderr_path(jobs, index, path, sizeof path);
	last_words(path, words, sizeof words);
	unlink(path);
	if (WIFEXITED(status)) {
		snprintf(fault, sizeof fault, "stopped with exit status %d: %s", WEXITSTATUS(status), words);
		jobs->ended(jobs->context, index, WEXITSTATUS(status), WEXITSTATUS(status) && words[0] ? fault : NULL);
		return;
	}
	int number = WTERMSIG(status);
	snprintf(fault, sizeof fault, "died of signal %d (%s)%s%s", number, strsignal(number), words[0] ? ": " : "",
		 words);
	jobs->ended(jobs->context, index, -1, fault);
}

static void kill_all(struct running *running, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (running[i].pid)
			kill(running[i].pid, SIGKILL);
	for (uint32_t i = 0; i < count; i++)
		if (running[i].pid)
			waitpid(running[i].pid, NULL, 0);
}

/* Wait for one of ours to end; its slot becomes free. false when interrupted. */
static bool reap_one(const struct jobs *jobs, struct running *running)
{
	int status;
	pid_t pid = waitpid(-1, &status, 0);
	if (pid < 0)
		return errno == EINTR && !*jobs->interrupted;
	for (uint32_t i = 0; i < jobs->parallel; i++) {
		if (running[i].pid != pid)
			continue;
		uint32_t index = running[i].index;
		running[i].pid = 0;
		conclude(jobs, index, status);
	}
	return !*jobs->interrupted;
}

static bool run_all(const struct jobs *jobs, struct running *running, struct kml_error *error)
{
	uint32_t next = 0, active = 0, ended = 0;
	while (ended < jobs->count) {
		for (uint32_t i = 0; i < jobs->parallel && next < jobs->count; i++)
			if (running[i].pid == 0 && !start(jobs, &running[i], next++, error))
				return false;
		if (!reap_one(jobs, running))
			return kml_fail(error, "interrupted");
		active = 0;
		for (uint32_t i = 0; i < jobs->parallel; i++)
			active += running[i].pid != 0;
		ended = next - active;
	}
	return true;
}

void *jobs_share(size_t bytes)
{
	void *memory = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); /* not of 0 */
	return memory == MAP_FAILED ? NULL : memory;
}

bool jobs_run(const struct jobs *jobs, struct kml_error *error)
{
	struct running *running = calloc(jobs->parallel, sizeof *running);
	if (!running)
		return kml_fail(error, "out of memory for %u jobs", jobs->parallel);
	bool done = run_all(jobs, running, error);
	if (!done)
		kill_all(running, jobs->parallel);
	free(running);
	return done;
}
