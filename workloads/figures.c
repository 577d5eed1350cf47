/*
 * figures.c - ratios of a replay. Johnstone and Wilson, "The memory fragmentation problem: solved?", ISMM 1998, give
 * the four; the last is the fragmentation that `perf kmem stat` prints (tools/perf/builtin-kmem.c).
 */
#include "workloads/figures.h"

#include <string.h>

static double ratio(double part, double whole)
{
	return whole > 0 ? part / whole : 0;
}

static double held_over_requested(const struct replay_sample *sample)
{
	return ratio((double)sample->stats.held_bytes, (double)sample->requested_bytes);
}

void replay_figures(const struct replay_result *result, struct replay_figures *figures)
{
	*figures = (struct replay_figures){0};
	if (result->mean_granted_bytes > 0)
		figures->internal_fragmentation = 1 - result->mean_requested_bytes / result->mean_granted_bytes;
	if (result->mean_held_bytes > 0)
		figures->slab_slack = 1 - result->mean_granted_bytes / result->mean_held_bytes;
	figures->johnstone_wilson[0] = result->mean_held_over_requested;
	figures->johnstone_wilson[1] = held_over_requested(&result->at_peak_requested);
	figures->johnstone_wilson[2] = held_over_requested(&result->at_peak_held);
	figures->johnstone_wilson[3] = ratio((double)result->peak_held_bytes, (double)result->peak_requested_bytes);
	if (result->perf_allocated_bytes > 0)
		figures->perf_fragmentation_percent =
			100.0 - 100.0 * (double)result->perf_requested_bytes / (double)result->perf_allocated_bytes;
}
