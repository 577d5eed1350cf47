/* progress.c - one progress bar with rate and ETA, on a terminal only. */
#include "kmemlab/support/clock.h"
#include "kmemlab/support/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const uint64_t REDRAW_NS = 100000000;

static void draw(struct kml_progress *progress, uint64_t at_ns)
{
	enum { WIDTH = 30 };
	double elapsed_s = (double)(at_ns - progress->started_ns) / 1e9;
	double rate = elapsed_s > 0 ? (double)progress->done / elapsed_s : 0;
	if (progress->total == 0) {
		fprintf(stderr, "\r\033[K%s: %" PRIu64 " %s, %.0f/s", progress->label, progress->done, progress->unit,
			rate);
		return;
	}
	double share = (double)progress->done / (double)progress->total;
	if (share > 1)
		share = 1;
	char bar[WIDTH + 1];
	int filled = (int)(share * WIDTH);
	memset(bar, '.', WIDTH);
	memset(bar, '#', (size_t)filled);
	bar[WIDTH] = '\0';
	double eta_s = rate > 0 ? (double)(progress->total - progress->done) / rate : 0;
	fprintf(stderr, "\r\033[K%s [%s] %3.0f %%  %" PRIu64 "/%" PRIu64 " %s, %.*f/s, ETA %.0f s", progress->label,
		bar, share * 100, progress->done, progress->total, progress->unit, rate < 10 ? 1 : 0, rate, eta_s);
}

void kml_progress_start(struct kml_progress *progress, const char *label, const char *unit, uint64_t total)
{
	*progress =
		(struct kml_progress){.label = label, .unit = unit, .total = total, .visible = isatty(STDERR_FILENO)};
	progress->started_ns = kml_clock_ns(CLOCK_MONOTONIC);
}

void kml_progress_update(struct kml_progress *progress, uint64_t done)
{
	progress->done = done;
	if (!progress->visible)
		return;
	uint64_t at_ns = kml_clock_ns(CLOCK_MONOTONIC);
	if (at_ns - progress->drawn_ns < REDRAW_NS)
		return;
	progress->drawn_ns = at_ns;
	draw(progress, at_ns);
}

void kml_progress_finish(struct kml_progress *progress)
{
	if (!progress->visible)
		return;
	fputs("\r\033[K", stderr);
	progress->visible = false;
}
