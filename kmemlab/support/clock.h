/*
 * clock.h - a clock in nanoseconds.
 */
#ifndef KMEMLAB_SUPPORT_CLOCK_H
#define KMEMLAB_SUPPORT_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Of CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID, ... */
static inline uint64_t kml_clock_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
