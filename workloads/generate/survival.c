/*
 * survival.c - Kaplan & Meier's estimate from the events of a trace.
 */
#include "workloads/generate/survival.h"

#include <math.h>
#include <stdlib.h>

#include "kmemlab/support/error.h"
#include "traces/kmt/kmt.h"

/* Lifetimes are counted by their ten leading bits: one bin for each value below 2^10, 512 for each doubling above. */
enum { EXACT_BITS = 10, HALF = 1 << (EXACT_BITS - 1), BINS = (1 << EXACT_BITS) + (64 - EXACT_BITS) * HALF };

struct bin {
	uint64_t died, censored;
};

struct fit {
	struct bin *bins;
	uint64_t *born; /* by object: 1 + time in ns; 0: not live, or live before the recording */
	uint64_t observed, deaths, last_ns;
};

static uint32_t bin_of(uint64_t life_ns)
{
	if (life_ns < 1u << EXACT_BITS)
		return (uint32_t)life_ns;
	uint32_t shift = 64 - EXACT_BITS - (uint32_t)__builtin_clzll(life_ns);
	return (shift << (EXACT_BITS - 1)) + (uint32_t)(life_ns >> shift);
}

/* The middle of a bin. */
static double life_of(uint32_t bin)
{
	if (bin < 1u << EXACT_BITS)
		return bin;
	uint32_t shift = (bin >> (EXACT_BITS - 1)) - 1;
	uint64_t leading = bin - ((uint64_t)shift << (EXACT_BITS - 1));
	return ldexp((double)leading + 0.5, (int)shift);
}

/* ------------------------------------------------------------------------------------------------ observing */

static void observe(struct fit *fit, uint32_t object, uint64_t now_ns, bool died)
{
	if (fit->born[object] == 0)
		return;
	uint64_t life_ns = now_ns - (fit->born[object] - 1);
	struct bin *bin = &fit->bins[bin_of(life_ns)];
	bin->died += died;
	bin->censored += !died;
	fit->observed++;
	fit->deaths += died;
	fit->last_ns = life_ns > fit->last_ns ? life_ns : fit->last_ns;
	fit->born[object] = 0;
}

static void observe_event(struct fit *fit, const struct kmt_event *event)
{
	if (event->op == KMT_ALLOC)
		fit->born[event->object] = event->flags & KMT_WARM ? 0 : event->time_ns + 1;
	else if (event->op == KMT_FREE)
		observe(fit, event->object, event->time_ns, true);
}

static bool observe_trace(struct fit *fit, struct kmt_reader *reader, struct kml_error *error)
{
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	struct kmt_item item;
	enum kmt_item_kind kind;
	while ((kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT)
		for (uint32_t i = 0; kind == KMT_ITEM_EVENTS && i < item.event_count; i++)
			observe_event(fit, &item.events[i]);
	for (uint32_t object = 0; kind == KMT_ITEM_END && object < totals->objects; object++)
		observe(fit, object, totals->duration_ns, false);
	return kind == KMT_ITEM_END;
}

/* ------------------------------------------------------------------------------------------------ estimating */

/*
 * S(t) = product over deaths up to t of (1 - died / at risk). Who is censored at the time of a death was at risk.
 * Within a bin all die before any is censored.
 */
static bool estimate(struct survival *survival, const struct fit *fit)
{
	uint64_t at_risk = fit->observed;
	size_t steps = 0;
	for (uint32_t bin = 0; bin < BINS; bin++)
		steps += fit->bins[bin].died > 0;
	*survival = (struct survival){.steps = calloc(steps, sizeof *survival->steps),
				      .last_ns = life_of(bin_of(fit->last_ns)),
				      .survivors = 1};
	if (!survival->steps)
		return false;
	for (uint32_t bin = 0; bin < BINS && at_risk > 0; bin++) {
		const struct bin *here = &fit->bins[bin];
		survival->survivors *= (double)(at_risk - here->died) / (double)at_risk;
		if (here->died > 0)
			survival->steps[survival->count++] =
				(struct survival_step){life_of(bin), 1 - survival->survivors};
		at_risk -= here->died + here->censored;
	}
	return true;
}

static bool fit_reader(struct survival *survival, struct kmt_reader *reader, struct fit *fit, struct kml_error *error)
{
	uint64_t objects = kmt_reader_totals(reader)->objects;
	const char *path = kmt_reader_path(reader);
	fit->bins = calloc(BINS, sizeof *fit->bins);
	fit->born = calloc(objects + 1, sizeof *fit->born);
	if (!fit->bins || !fit->born)
		return kml_fail(error, "%s: no memory for its objects", path);
	if (!observe_trace(fit, reader, error))
		return false;
	if (fit->deaths == 0 || fit->last_ns == 0)
		return kml_fail(error, "%s: no object is seen to be born and to die later: use another trace", path);
	return estimate(survival, fit) || kml_fail(error, "%s: no memory for its lifetimes", path);
}

bool survival_fit(struct survival *survival, const char *path, struct kml_error *error)
{
	struct fit fit = {0};
	struct kmt_reader *reader = kmt_open(path, error);
	if (!reader)
		return false;
	bool done = fit_reader(survival, reader, &fit, error);
	free(fit.bins);
	free(fit.born);
	kmt_close(reader);
	return done;
}

void survival_free(struct survival *survival)
{
	free(survival->steps);
	*survival = (struct survival){0};
}

/* ------------------------------------------------------------------------------------------------ using */

double survival_quantile(const struct survival *survival, double uniform)
{
	if (uniform >= 1 - survival->survivors && survival->survivors > 0)
		return survival->last_ns * (log1p(-uniform) / log(survival->survivors));
	size_t low = 0, high = survival->count - 1;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (survival->steps[middle].died > uniform)
			high = middle;
		else
			low = middle + 1;
	}
	return survival->steps[low].life_ns;
}

double survival_beyond(const struct survival *survival, double life_ns)
{
	if (life_ns > survival->last_ns)
		return survival->survivors > 0 ? pow(survival->survivors, life_ns / survival->last_ns) : 0;
	size_t low = 0, high = survival->count; /* steps not above life */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (survival->steps[middle].life_ns > life_ns)
			high = middle;
		else
			low = middle + 1;
	}
	return low > 0 ? 1 - survival->steps[low - 1].died : 1;
}

double survival_mean(const struct survival *survival)
{
	double mean = 0, below = 0;
	for (size_t i = 0; i < survival->count; i++) {
		mean += survival->steps[i].life_ns * (survival->steps[i].died - below);
		below = survival->steps[i].died;
	}
	if (survival->survivors > 0)
		mean += survival->survivors * survival->last_ns * (1 - 1 / log(survival->survivors));
	return mean;
}
