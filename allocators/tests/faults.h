/* faults.h - does an access end the process? For tests of memory that nobody may touch. */
#ifndef KMEMLAB_TESTS_FAULTS_H
#define KMEMLAB_TESTS_FAULTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kmemlab/support/poison.h"

/* True when a child that runs `stray` dies of SIGSEGV, or is ended by AddressSanitizer. */
static inline bool faults(void (*stray)(void *context), void *context)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(0);
		stray(context);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) ||
	       (KML_HAS_ADDRESS_SANITIZER && (WIFSIGNALED(status) || WEXITSTATUS(status) != 0));
}

/* A stray access: one byte, read and written back; memory that parent and child share keeps what is in it. */
static inline void touch_byte(void *byte)
{
	volatile uint8_t *touched = byte;
	*touched = *touched;
}

#endif
