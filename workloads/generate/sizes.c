/*
 * sizes.c - distributions of request sizes: parameters, inversion, and what theory says of them.
 */
#include "workloads/generate/sizes.h"

#include <math.h>
#include <stdlib.h>

#include "kmemlab/support/error.h"

const char *const sizes_names[] = {"uniform", "exponential", "geometric", "power", "bimodal", "empirical", NULL};

static const double ALPHA_MIN = 0.001, ALPHA_MAX = 100;

/* ------------------------------------------------------------------------------------------------ preparing */

static bool has_mean(const struct sizes_config *config)
{
	return config->kind == SIZES_EXPONENTIAL || config->kind == SIZES_GEOMETRIC ||
	       (config->kind == SIZES_UNIFORM && config->max == 0);
}

static bool check_mean(const struct sizes_config *config, const char *workload, struct kml_error *error)
{
	double most = config->max ? (double)config->max : (double)SIZES_MAX_BYTES;
	if (!has_mean(config) || (config->mean >= (double)config->min && config->mean <= most))
		return true;
	return kml_fail(error, "%s: mean=%g: use a mean from %llu (min) to %.0f%s", workload, config->mean,
			(unsigned long long)config->min, most, config->max ? " (max)" : "");
}

static bool check(const struct sizes_config *config, const char *workload, struct kml_error *error)
{
	if (config->min < 1 || config->min > SIZES_MAX_BYTES)
		return kml_fail(error, "%s: min=%llu: use a size from 1 to 64T", workload,
				(unsigned long long)config->min);
	if (config->max == 0 && (config->kind == SIZES_POWER || config->kind == SIZES_BIMODAL))
		return kml_fail(error, "%s: max: %s sizes need the largest, from %llu (min) to 64T", workload,
				sizes_names[config->kind], (unsigned long long)config->min);
	if (config->max != 0 && (config->max < config->min || config->max > SIZES_MAX_BYTES))
		return kml_fail(error, "%s: max=%llu: use a size from %llu (min) to 64T", workload,
				(unsigned long long)config->max, (unsigned long long)config->min);
	if (config->kind == SIZES_POWER && !(config->alpha >= ALPHA_MIN && config->alpha <= ALPHA_MAX))
		return kml_fail(error, "%s: alpha=%g: use an exponent from %g to %g", workload, config->alpha,
				ALPHA_MIN, ALPHA_MAX);
	if (config->kind == SIZES_BIMODAL && !(config->share >= 0 && config->share <= 1))
		return kml_fail(error, "%s: share=%g: use a share from 0 to 1", workload, config->share);
	if (config->kind == SIZES_EMPIRICAL && (!config->file || !*config->file))
		return kml_fail(error, "%s: file: empirical sizes need a text of lines \"size weight\", or a .kmt",
				workload);
	return check_mean(config, workload, error);
}

static uint64_t largest(const struct sizes_config *config)
{
	if (config->max != 0)
		return config->max;
	if (config->kind != SIZES_UNIFORM)
		return SIZES_MAX_BYTES;
	double max = 2 * config->mean - (double)config->min;
	return max < (double)SIZES_MAX_BYTES ? (uint64_t)max : SIZES_MAX_BYTES;
}

/* Keep the bars from min to max. */
static void cut(struct sizes *sizes)
{
	struct histogram *histogram = &sizes->histogram;
	size_t kept = 0;
	for (size_t i = 0; i < histogram->count; i++)
		if (histogram->bars[i].size_bytes >= sizes->min && histogram->bars[i].size_bytes <= sizes->max)
			histogram->bars[kept++] = histogram->bars[i];
	histogram->count = kept;
}

/* Weights are scaled by the largest first: their sum cannot overflow. */
static bool accumulate(struct sizes *sizes)
{
	const struct histogram *histogram = &sizes->histogram;
	double most = 0, sum = 0;
	sizes->cumulative = calloc(histogram->count, sizeof *sizes->cumulative);
	if (!sizes->cumulative)
		return false;
	for (size_t i = 0; i < histogram->count; i++)
		most = fmax(most, histogram->bars[i].weight);
	for (size_t i = 0; i < histogram->count; i++)
		sizes->cumulative[i] = sum += histogram->bars[i].weight / most;
	for (size_t i = 0; i < histogram->count; i++)
		sizes->cumulative[i] /= sum;
	return true;
}

static bool prepare_empirical(struct sizes *sizes, const char *file, const char *workload, struct kml_error *error)
{
	struct kml_error reason;
	if (!histogram_read(&sizes->histogram, file, &reason))
		return kml_fail(error, "%s: file=%s", workload, reason.text);
	cut(sizes);
	if (sizes->histogram.count > 0 && accumulate(sizes))
		return true;
	if (sizes->histogram.count > 0)
		kml_fail(error, "%s: file=%s: no memory for its sizes", workload, file);
	else
		kml_fail(error, "%s: file=%s: no size in it from %llu (min) to %llu (max)", workload, file,
			 (unsigned long long)sizes->min, (unsigned long long)sizes->max);
	histogram_free(&sizes->histogram);
	return false;
}

bool sizes_prepare(struct sizes *sizes, const struct sizes_config *config, const char *workload,
		   struct kml_error *error)
{
	if (!check(config, workload, error))
		return false;
	*sizes = (struct sizes){.kind = config->kind,
				.min = config->min,
				.max = largest(config),
				.alpha = config->alpha,
				.share = config->share};
	sizes->count = (double)(sizes->max - sizes->min + 1);
	switch (sizes->kind) {
	case SIZES_UNIFORM:
	case SIZES_BIMODAL:
		return true;
	case SIZES_EXPONENTIAL:
	case SIZES_GEOMETRIC:
		sizes->rate = config->kind == SIZES_GEOMETRIC ? -log1p(-1 / config->mean) : 1 / config->mean;
		sizes->inside = -expm1(-sizes->rate * sizes->count);
		return true;
	case SIZES_POWER:
		sizes->inside = -expm1(-sizes->alpha * log1p(sizes->count / (double)sizes->min));
		return true;
	case SIZES_EMPIRICAL:
		return prepare_empirical(sizes, config->file, workload, error);
	}
	return kml_fail(error, "%s: sizes=%u: no such distribution", workload, config->kind);
}

void sizes_free(struct sizes *sizes)
{
	histogram_free(&sizes->histogram);
	free(sizes->cumulative);
	sizes->cumulative = NULL;
}

/* ------------------------------------------------------------------------------------------------ inversion */

/* min + offset, where rounding may have left the range. */
static uint64_t at_offset(const struct sizes *sizes, double offset)
{
	return offset < sizes->count ? sizes->min + (uint64_t)offset : sizes->max;
}

/* Without memory: beyond min it is the same distribution again. P(offset >= n) = e^(-rate n). */
static double memoryless_offset(const struct sizes *sizes, double uniform)
{
	double beyond = -log1p(-uniform * sizes->inside) / sizes->rate;
	return beyond > 1 ? ceil(beyond) - 1 : 0;
}

/* min (1 - uniform inside)^(-1/alpha), rounded down. */
static double power_offset(const struct sizes *sizes, double uniform)
{
	double growth = expm1(-log1p(-uniform * sizes->inside) / sizes->alpha);
	return floor((double)sizes->min * growth);
}

/* The first bar whose cumulative probability is above `uniform`. */
static uint64_t empirical_quantile(const struct sizes *sizes, double uniform)
{
	size_t low = 0, high = sizes->histogram.count - 1;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (sizes->cumulative[middle] > uniform)
			high = middle;
		else
			low = middle + 1;
	}
	return sizes->histogram.bars[low].size_bytes;
}

uint64_t sizes_quantile(const struct sizes *sizes, double uniform)
{
	switch (sizes->kind) {
	case SIZES_UNIFORM:
		return at_offset(sizes, uniform * sizes->count);
	case SIZES_EXPONENTIAL:
	case SIZES_GEOMETRIC:
		return at_offset(sizes, memoryless_offset(sizes, uniform));
	case SIZES_POWER:
		return at_offset(sizes, power_offset(sizes, uniform));
	case SIZES_BIMODAL:
		return uniform < 1 - sizes->share ? sizes->min : sizes->max;
	case SIZES_EMPIRICAL:
		break;
	}
	return empirical_quantile(sizes, uniform);
}

/* ------------------------------------------------------------------------------------------------ theory */

static double empirical_cumulative(const struct sizes *sizes, uint64_t size)
{
	const struct histogram *histogram = &sizes->histogram;
	size_t low = 0, high = histogram->count; /* bars not above `size` */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (histogram->bars[middle].size_bytes > size)
			high = middle;
		else
			low = middle + 1;
	}
	return low > 0 ? sizes->cumulative[low - 1] : 0;
}

double sizes_cumulative(const struct sizes *sizes, uint64_t size)
{
	if (size < sizes->min)
		return 0;
	if (size >= sizes->max)
		return 1;
	double up_to = (double)(size - sizes->min + 1);
	switch (sizes->kind) {
	case SIZES_UNIFORM:
		return up_to / sizes->count;
	case SIZES_EXPONENTIAL:
	case SIZES_GEOMETRIC:
		return -expm1(-sizes->rate * up_to) / sizes->inside;
	case SIZES_POWER:
		return -expm1(-sizes->alpha * log1p(up_to / (double)sizes->min)) / sizes->inside;
	case SIZES_BIMODAL:
		return 1 - sizes->share;
	case SIZES_EMPIRICAL:
		break;
	}
	return empirical_cumulative(sizes, size);
}

/* Sum over n of P(offset > n): 1/(1 - q) - count q^count / (1 - q^count), q = e^-rate. */
static double memoryless_mean(const struct sizes *sizes)
{
	double beyond = sizes->count / expm1(sizes->rate * sizes->count);
	return (double)sizes->min - 1 - 1 / expm1(-sizes->rate) - beyond;
}

/* The integral of x^-alpha from `from` to `to`. */
static double power_integral(double alpha, double from, double to)
{
	double exponent = 1 - alpha, ratio = log(to / from);
	if (fabs(exponent * ratio) < 1e-9)
		return ratio * pow(from, exponent);
	return pow(from, exponent) * expm1(exponent * ratio) / exponent;
}

/*
 * E[X] = min + sum over k = min + 1 ... max of P(X >= k), P(X >= k) = ((k/min)^-alpha - cut) / inside. The first terms
 * one by one, the rest by Euler & Maclaurin's formula to the first derivative: what it leaves out is below k^-3.
 */
static double power_mean(const struct sizes *sizes)
{
	enum { ONE_BY_ONE = 1 << 16 };
	double alpha = sizes->alpha, min = (double)sizes->min, cut = 1 - sizes->inside, sum = 0;
	uint64_t until = sizes->max - sizes->min > ONE_BY_ONE ? sizes->min + ONE_BY_ONE : sizes->max;
	for (uint64_t k = sizes->min + 1; k <= until; k++)
		sum += 1 - sizes_cumulative(sizes, k - 1);
	if (until < sizes->max) {
		double from = ((double)until + 1) / min, to = (double)sizes->max / min;
		double first = pow(from, -alpha), last = pow(to, -alpha);
		double rest = min * power_integral(alpha, from, to) + (first + last) / 2 +
			      alpha * (first / from - last / to) / (12 * min);
		sum += (rest - cut * (double)(sizes->max - until)) / sizes->inside;
	}
	return min + sum;
}

static double empirical_mean(const struct sizes *sizes)
{
	double mean = 0, below = 0;
	for (size_t i = 0; i < sizes->histogram.count; i++) {
		mean += (sizes->cumulative[i] - below) * (double)sizes->histogram.bars[i].size_bytes;
		below = sizes->cumulative[i];
	}
	return mean;
}

double sizes_mean(const struct sizes *sizes)
{
	switch (sizes->kind) {
	case SIZES_UNIFORM:
		return ((double)sizes->min + (double)sizes->max) / 2;
	case SIZES_EXPONENTIAL:
	case SIZES_GEOMETRIC:
		return memoryless_mean(sizes);
	case SIZES_POWER:
		return power_mean(sizes);
	case SIZES_BIMODAL:
		return (1 - sizes->share) * (double)sizes->min + sizes->share * (double)sizes->max;
	case SIZES_EMPIRICAL:
		break;
	}
	return empirical_mean(sizes);
}
