/*
 * figures.h - what follows from a replay's result: ratios of its peaks and means. Definitions: workloads/README.md.
 */
#ifndef KMEMLAB_FIGURES_H
#define KMEMLAB_FIGURES_H

#include <stdbool.h>

#include "workloads/replay.h"

struct replay_figures {
	double internal_fragmentation; /* 1 - mean requested / mean granted */
	double slab_slack;             /* 1 - mean granted / mean held */
	double johnstone_wilson[4];    /* held / requested: mean; at peak requested; at peak held; peak / peak */
	double perf_fragmentation_percent;
};

/* A ratio without a denominator is 0. */
void replay_figures(const struct replay_result *result, struct replay_figures *figures);

#endif
