/*
 * judge.c - one input in one child, whose standard error says how it ended.
 *
 * The forms of a report: "kmemlab: ORACLE: TEXT" (target.h), "FILE:LINE: broken invariant: ..." (error.h),
 * "FILE:LINE:COLUMN: runtime error: ..." (UBSan), "ERROR: AddressSanitizer: KIND ..." with frames
 * "    #0 0x... in FUNCTION FILE:LINE:COLUMN" (compiler-rt, sanitizer_common).
 */
#include "fuzz/judge.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmemlab/support/error.h"

/* Of the sanitizers' runtime, where there is one (sanitizer/common_interface_defs.h, lsan_interface.h). */
void __sanitizer_symbolize_pc(void *pc, const char *format, char *out, size_t out_bytes) __attribute__((weak));
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

/* ----------------------------------------------------------------------------------------------- the report */

static bool copy_word(char *to, size_t room, const char *from, size_t length)
{
	snprintf(to, room, "%.*s", (int)length, from);
	return length > 0;
}

/* The line around `at`. */
static void copy_line(char *to, size_t room, const char *text, const char *at)
{
	while (at > text && at[-1] != '\n')
		at--;
	snprintf(to, room, "%.*s", (int)strcspn(at, "\n"), at);
}

static const char *const folders[] = {"/allocators/", "/traces/", "/workloads/", "/kmemlab/", "/fuzz/"};
/* Those that only report what others found, or hand an input on. */
static const char *const bystanders[] = {"/kmemlab/support/error.c", "/fuzz/judge.c", "/fuzz/target.c"};

static bool is_in_line(const char *line, size_t length, const char *word)
{
	return memmem(line, length, word, strlen(word)) != NULL;
}

static bool is_of_the_project(const char *line, size_t length)
{
	bool inside = false;
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		inside = inside || is_in_line(line, length, folders[i]);
	for (size_t i = 0; i < sizeof bystanders / sizeof *bystanders; i++)
		inside = inside && !is_in_line(line, length, bystanders[i]);
	return inside;
}

/* The first frame in a function of the project. */
static void find_frame(const char *printed, char *place, size_t room)
{
	for (const char *line = printed; *line;) {
		size_t length = strcspn(line, "\n");
		const char *in = memmem(line, length, " in ", 4);
		if (in && is_in_line(line, length, "#") && is_of_the_project(line, length)) {
			copy_word(place, room, in + 4, strcspn(in + 4, " \n"));
			return;
		}
		line += length + (line[length] == '\n');
	}
}

/* Without frames: the file, as "engine.c", of a line that begins with FILE:LINE. */
static void find_file(const char *line, char *place, size_t room)
{
	size_t length = strcspn(line, ":\n");
	size_t begin = length;
	while (begin > 0 && line[begin - 1] != '/')
		begin--;
	copy_word(place, room, line + begin, length - begin);
}

static void read_place(const char *printed, struct fuzz_verdict *verdict)
{
	find_frame(printed, verdict->place, sizeof verdict->place);
	bool has_file = strcmp(verdict->oracle, "check") == 0 || strcmp(verdict->oracle, "undefined") == 0;
	if (!verdict->place[0] && has_file)
		find_file(verdict->text, verdict->place, sizeof verdict->place);
}

/* "kmemlab: NAME: TEXT": the name is one word. */
static bool read_oracle(const char *printed, struct fuzz_verdict *verdict)
{
	static const char head[] = "kmemlab: ";
	const char *at = strstr(printed, head);
	if (!at)
		return false;
	const char *name = at + strlen(head);
	size_t length = strcspn(name, ": \n");
	if (name[length] != ':' || !copy_word(verdict->oracle, sizeof verdict->oracle, name, length))
		return false;
	copy_line(verdict->text, sizeof verdict->text, printed, name);
	memmove(verdict->text, verdict->text + strlen(head), strlen(verdict->text + strlen(head)) + 1);
	return true;
}

static bool read_phrase(const char *printed, const char *phrase, const char *oracle, struct fuzz_verdict *verdict)
{
	const char *at = strstr(printed, phrase);
	if (!at)
		return false;
	snprintf(verdict->oracle, sizeof verdict->oracle, "%s", oracle);
	copy_line(verdict->text, sizeof verdict->text, printed, at);
	return true;
}

static bool read_sanitizer(const char *printed, struct fuzz_verdict *verdict)
{
	static const char head[] = "ERROR: AddressSanitizer: ";
	const char *at = strstr(printed, head);
	if (!at)
		return false;
	const char *kind = at + strlen(head);
	if (strncmp(kind, "attempting ", 11) == 0) /* "attempting double-free on", "attempting free on" */
		kind += 11;
	copy_word(verdict->oracle, sizeof verdict->oracle, kind, strcspn(kind, ": \n"));
	copy_line(verdict->text, sizeof verdict->text, printed, at);
	return true;
}

/* No words of its own: how it ended. */
static void read_status(int status, struct fuzz_verdict *verdict)
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
		snprintf(verdict->oracle, sizeof verdict->oracle, "timeout");
	else if (WIFSIGNALED(status))
		snprintf(verdict->oracle, sizeof verdict->oracle, "signal-%d", WTERMSIG(status));
	else
		snprintf(verdict->oracle, sizeof verdict->oracle, "exit-%d", WEXITSTATUS(status));
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
		snprintf(verdict->text, sizeof verdict->text, "not through after %d seconds of cpu", FUZZ_CPU_SECONDS);
	else
		snprintf(verdict->text, sizeof verdict->text, "the process ended with %s %d, without a word",
			 WIFSIGNALED(status) ? "signal" : "status",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

void fuzz_read_verdict(const char *printed, int status, struct fuzz_verdict *verdict)
{
	*verdict = (struct fuzz_verdict){.failed = !(WIFEXITED(status) && WEXITSTATUS(status) == 0)};
	snprintf(verdict->trace, sizeof verdict->trace, "%s", printed);
	if (!verdict->failed || read_oracle(printed, verdict))
		return;
	if (read_phrase(printed, ": broken invariant: ", "check", verdict) ||
	    read_phrase(printed, ": runtime error: ", "undefined", verdict) ||
	    read_phrase(printed, "LeakSanitizer: detected memory leaks", "leak", verdict) ||
	    read_sanitizer(printed, verdict))
		read_place(printed, verdict);
	else
		read_status(status, verdict);
}

bool fuzz_same_find(const struct fuzz_verdict *first, const struct fuzz_verdict *second)
{
	return first->failed && second->failed && strcmp(first->oracle, second->oracle) == 0 &&
	       strcmp(first->place, second->place) == 0;
}

/* ------------------------------------------------------------------------------------------------- the child */

/* A stack that cannot be created is no find: bad words are answered with an error, as they must be. */
static void run_program(const struct program *program)
{
	static struct program_outcome outcome;
	struct kml_error error;
	if (program_run(program, &outcome, &error) && outcome.failed)
		fuzz_found(outcome.oracle, "%s", outcome.error.text);
}

static void limit_child(void)
{
	const struct rlimit no_core = {0, 0};
	const struct itimerval cpu_time = {.it_value = {.tv_sec = FUZZ_CPU_SECONDS}};
	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGPROF, SIG_DFL);
	setitimer(ITIMER_PROF, &cpu_time, NULL);
}

static _Noreturn void run_child(const struct fuzz_input *input, int report)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(report, STDERR_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(null, STDIN_FILENO) < 0)
		_exit(127);
	limit_child();
	/* Oracles abort; of how, nobody but the parent shall hear. */
	if (input->program)
		run_program(input->program);
	else
		input->target->run(input->target, input->bytes, input->byte_count);
	if (__lsan_do_recoverable_leak_check && getenv("KML_FUZZ_LEAKS") && __lsan_do_recoverable_leak_check())
		_exit(1);
	_exit(0);
}

/* A symbolizer is started by the first report of a process; its children share one that is there already. */
static void start_symbolizer(void)
{
	static bool started;
	char line[256];
	if (started || !__sanitizer_symbolize_pc)
		return;
	started = true;
	__sanitizer_symbolize_pc(__builtin_return_address(0), "%f", line, sizeof line);
}

static void read_report(int report, char *printed, size_t room)
{
	ssize_t length = pread(report, printed, room - 1, 0);
	printed[length > 0 ? length : 0] = '\0';
}

bool fuzz_judge(const struct fuzz_input *input, struct fuzz_verdict *verdict, struct kml_error *error)
{
	static char printed[1 << 16];
	int status = 0;
	start_symbolizer();
	int report = memfd_create("report", MFD_CLOEXEC);
	if (report < 0)
		return kml_fail(error, "no file for the report of a run: %s: close other programs", strerror(errno));
	fflush(NULL);
	pid_t child = fork();
	if (child == 0)
		run_child(input, report);
	if (child < 0) {
		close(report);
		return kml_fail(error, "no process for a run: %s: close other programs", strerror(errno));
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	read_report(report, printed, sizeof printed);
	close(report);
	fuzz_read_verdict(printed, status, verdict);
	return true;
}
