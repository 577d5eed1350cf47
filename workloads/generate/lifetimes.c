/*
 * lifetimes.c - distributions of lifetimes: parameters, drawing, and what theory says of them.
 */
#include "workloads/generate/lifetimes.h"

#include <math.h>

#include "kmemlab/support/error.h"

const char *const lifetimes_names[] = {"exponential", "uniform", "generational", "fitted", "forever", NULL};

static const double NS_PER_S = 1e9, MEAN_MIN_S = 1e-9, MEAN_MAX_S = 1e6;

/* ------------------------------------------------------------------------------------------------ preparing */

static bool check_mean(const char *workload, const char *name, double mean_s, double most_s, struct kml_error *error)
{
	return (mean_s >= MEAN_MIN_S && mean_s <= most_s) ||
	       kml_fail(error, "%s: %s=%g: use seconds from %g to %g", workload, name, mean_s, MEAN_MIN_S, most_s);
}

static bool check_generations(const struct lifetimes_config *config, const char *workload, struct kml_error *error)
{
	if (!(config->young >= 0 && config->young < 1))
		return kml_fail(error, "%s: young=%g: use a share from 0 to below 1", workload, config->young);
	return check_mean(workload, "young_lifetime", config->young_mean_s, config->mean_s, error);
}

static bool fit(struct lifetimes *lifetimes, const char *path, const char *workload, struct kml_error *error)
{
	struct kml_error reason;
	if (!path || !*path)
		return kml_fail(error, "%s: lifetime_trace: fitted lifetimes need a .kmt", workload);
	if (!survival_fit(&lifetimes->survival, path, &reason))
		return kml_fail(error, "%s: lifetime_trace=%s", workload, reason.text);
	lifetimes->mean_ns = survival_mean(&lifetimes->survival);
	return true;
}

bool lifetimes_prepare(struct lifetimes *lifetimes, const struct lifetimes_config *config, const char *workload,
		       struct kml_error *error)
{
	*lifetimes = (struct lifetimes){.kind = config->kind,
					.mean_ns = config->mean_s * NS_PER_S,
					.young = config->young,
					.young_mean_ns = config->young_mean_s * NS_PER_S};
	switch (lifetimes->kind) {
	case LIFETIMES_EXPONENTIAL:
	case LIFETIMES_UNIFORM:
		return check_mean(workload, "lifetime", config->mean_s, MEAN_MAX_S, error);
	case LIFETIMES_GENERATIONAL:
		lifetimes->old_mean_ns =
			(lifetimes->mean_ns - config->young * lifetimes->young_mean_ns) / (1 - config->young);
		return check_mean(workload, "lifetime", config->mean_s, MEAN_MAX_S, error) &&
		       check_generations(config, workload, error);
	case LIFETIMES_FITTED:
		return fit(lifetimes, config->trace_path, workload, error);
	case LIFETIMES_FOREVER:
		lifetimes->mean_ns = INFINITY;
		return true;
	}
	return kml_fail(error, "%s: lifetimes=%u: no such distribution", workload, config->kind);
}

void lifetimes_free(struct lifetimes *lifetimes)
{
	survival_free(&lifetimes->survival);
}

/* ------------------------------------------------------------------------------------------------ drawing */

static double exponential(double mean, double uniform)
{
	return -mean * log1p(-uniform);
}

/* Which of the two the uniform number decides, and what is left of it is uniform again. */
static double generational(const struct lifetimes *lifetimes, double uniform)
{
	double young = lifetimes->young;
	return uniform < young ? exponential(lifetimes->young_mean_ns, uniform / young)
			       : exponential(lifetimes->old_mean_ns, (uniform - young) / (1 - young));
}

uint64_t lifetimes_draw(const struct lifetimes *lifetimes, double uniform)
{
	double life_ns = 0;
	switch (lifetimes->kind) {
	case LIFETIMES_EXPONENTIAL:
		life_ns = exponential(lifetimes->mean_ns, uniform);
		break;
	case LIFETIMES_UNIFORM:
		life_ns = 2 * lifetimes->mean_ns * uniform;
		break;
	case LIFETIMES_GENERATIONAL:
		life_ns = generational(lifetimes, uniform);
		break;
	case LIFETIMES_FITTED:
		life_ns = survival_quantile(&lifetimes->survival, uniform);
		break;
	case LIFETIMES_FOREVER:
		return LIFETIMES_FOREVER_NS;
	}
	return life_ns < 0x1p62 ? (uint64_t)(life_ns + 0.5) : LIFETIMES_FOREVER_NS;
}

/* ------------------------------------------------------------------------------------------------ theory */

double lifetimes_beyond(const struct lifetimes *lifetimes, double life_ns)
{
	switch (lifetimes->kind) {
	case LIFETIMES_EXPONENTIAL:
		return exp(-life_ns / lifetimes->mean_ns);
	case LIFETIMES_UNIFORM:
		return fmax(0, 1 - life_ns / (2 * lifetimes->mean_ns));
	case LIFETIMES_GENERATIONAL:
		return lifetimes->young * exp(-life_ns / lifetimes->young_mean_ns) +
		       (1 - lifetimes->young) * exp(-life_ns / lifetimes->old_mean_ns);
	case LIFETIMES_FITTED:
		return survival_beyond(&lifetimes->survival, life_ns);
	case LIFETIMES_FOREVER:
		break;
	}
	return 1;
}

double lifetimes_mean_ns(const struct lifetimes *lifetimes)
{
	return lifetimes->mean_ns;
}
