/*
 * progress.h - one progress bar with rate and ETA on a terminal (stderr); silent otherwise.
 */
#ifndef KMEMLAB_PROGRESS_H
#define KMEMLAB_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct kml_progress {
	const char *label; /* borrowed */
	const char *unit;  /* plural noun: "events", "cells"; borrowed */
	uint64_t total;    /* 0: unknown */
	uint64_t done;
	uint64_t started_ns, drawn_ns;
	bool visible;
};

void kml_progress_start(struct kml_progress *progress, const char *label, const char *unit, uint64_t total);
/* Cheap to call often: draws at most ten times a second. */
void kml_progress_update(struct kml_progress *progress, uint64_t done);
void kml_progress_finish(struct kml_progress *progress);

#endif
