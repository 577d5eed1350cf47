/*
 * smallest.c - the smallest arena in which a stack finishes a trace: what fragmentation costs, in one number.
 *
 * A replay in the automatic arena tells how much the stack holds at most; the answer is close to that. From there the
 * search steps away, by twice as much each time, until it has a size that works and one that does not, and halves the
 * gap between them down to its resolution: one page, or 1/1024 of the requested peak where that is more. Theory does
 * not promise that a larger arena is always better (other addresses, other splits), so the answer is a size that works
 * while one a resolution below does not. The steps depend on nothing but trace, level and stack.
 */
#include "kmemlab/support/error.h"
#include "workloads/replay.h"
#include "workloads/scan.h"
#include "workloads/tape.h"

/* The smallest arena is not looked for beyond this many times the requested peak. */
static const uint64_t PEAK_TIMES_MAX = 64;
static const uint64_t RESOLUTION_DIVISOR = 1024;
static const uint64_t FIRST_STEP_DIVISOR = 64;

struct search {
	struct kmt_reader *reader;
	const struct kml_spec *spec;
	struct replay_options options;
	uint64_t page_bytes;
	struct replay_tape tape;
	/* In pages. */
	uint64_t resolution;
	uint64_t fails; /* a size that does not do: at first one page less than the requested peak, which no arena can
			   hold */
	uint64_t works; /* a size that does */
};

static bool failed_any(const struct replay_result *result)
{
	for (int status = KML_OK + 1; status < KML_STATUS_COUNT; status++)
		if (result->failures[status] > 0)
			return true;
	return false;
}

/* Does the stack finish the trace in this many pages? An arena that cannot be laid out (too small for one block) is a
 * failure like another. */
static bool try_pages(const struct search *search, uint64_t pages, bool *succeeds, struct kml_error *error)
{
	struct replay_options options = search->options;
	struct replay_result result;
	struct kml_error why;
	options.arena_bytes = pages * search->page_bytes;
	*succeeds = false;
	if (!replay_run_bare(search->reader, &search->tape, search->spec, &options, &result, &why)) {
		if (result.arena_bytes != 0 && result.events == 0)
			return true;
		return kml_fail(error, "%s", why.text);
	}
	if (result.check_failed)
		return kml_fail(error, "%s", result.check_error.text);
	*succeeds = !failed_any(&result);
	return true;
}

/* Try a size between the two and move one of them there. */
static bool narrow(struct search *search, uint64_t pages, bool *succeeds, struct kml_error *error)
{
	if (!try_pages(search, pages, succeeds, error))
		return false;
	*(*succeeds ? &search->works : &search->fails) = pages;
	return true;
}

/* A size that works: the automatic arena, or one 2, 4, ... times as large. 0 pages held: none works. */
static bool find_roomy(struct search *search, uint64_t peak_requested_bytes, uint64_t *held_pages,
		       struct kml_error *error)
{
	struct replay_options options = search->options;
	struct replay_result result;
	uint64_t most_bytes = (search->fails + 1) * search->page_bytes * PEAK_TIMES_MAX;
	options.stop_at_failure = false;
	options.arena_bytes = replay_auto_arena(kmt_reader_origin(search->reader), peak_requested_bytes);
	if (options.arena_bytes > most_bytes)
		options.arena_bytes = most_bytes;
	for (*held_pages = 0; options.arena_bytes <= most_bytes; options.arena_bytes *= 2) {
		if (!replay_run(search->reader, search->spec, &options, NULL, NULL, NULL, &result, error))
			return false;
		if (result.check_failed)
			return kml_fail(error, "%s", result.check_error.text);
		if (failed_any(&result))
			continue;
		search->works = options.arena_bytes / search->page_bytes;
		*held_pages = (result.peak_held_bytes + search->page_bytes - 1) / search->page_bytes;
		return true;
	}
	return true;
}

/* From what is held at most, up to a size that works or down to one that does not. */
static bool bracket(struct search *search, uint64_t held_pages, struct kml_error *error)
{
	uint64_t step = held_pages / FIRST_STEP_DIVISOR + 1, pages = held_pages;
	bool succeeds = false;
	if (pages <= search->fails || pages >= search->works)
		return true;
	if (!narrow(search, pages, &succeeds, error))
		return false;
	bool upwards = !succeeds;
	for (; succeeds != upwards; step *= 2) {
		if (upwards ? step >= search->works - pages : step >= pages - search->fails)
			return true;
		pages = upwards ? pages + step : pages - step;
		if (!narrow(search, pages, &succeeds, error))
			return false;
	}
	return true;
}

static bool find_pages(struct search *search, uint64_t peak_requested_bytes, struct kml_error *error)
{
	uint64_t held_pages;
	bool succeeds;
	uint64_t peak_pages = (peak_requested_bytes + search->page_bytes - 1) / search->page_bytes;
	search->fails = peak_pages ? peak_pages - 1 : 0;
	search->resolution = peak_pages / RESOLUTION_DIVISOR + 1;
	if (!find_roomy(search, peak_requested_bytes, &held_pages, error))
		return false;
	if (search->works == 0)
		return true;
	if (!bracket(search, held_pages, error))
		return false;
	while (search->works - search->fails > search->resolution)
		if (!narrow(search, search->fails + (search->works - search->fails) / 2, &succeeds, error))
			return false;
	return true;
}

bool replay_smallest_arena_from(struct kmt_reader *reader, const struct kml_spec *spec,
				const struct replay_options *options, uint64_t peak_requested_bytes,
				uint64_t *arena_bytes, struct kml_error *error)
{
	struct search search = {
		.reader = reader,
		.spec = spec,
		.options = *options,
		.page_bytes = kmt_reader_origin(reader)->page_bytes,
	};
	search.options.check = false;
	search.options.samples = 0;
	search.options.stop_at_failure = true;
	*arena_bytes = 0;
	if (spec->layer[0]->traits & (KML_TRAIT_RECORDED | KML_TRAIT_NO_REUSE))
		return kml_fail(error, "%s: the size of its arena means nothing: choose another allocator", spec->text);
	if (peak_requested_bytes > UINT64_MAX / 128)
		return true;
	bool done = replay_tape_read(reader, options->level, &search.tape, error) &&
		    find_pages(&search, peak_requested_bytes, error);
	replay_tape_free(&search.tape);
	*arena_bytes = done ? search.works * search.page_bytes : 0;
	return done;
}

bool replay_smallest_arena(struct kmt_reader *reader, const struct kml_spec *spec, const struct replay_options *options,
			   uint64_t *arena_bytes, struct kml_error *error)
{
	struct replay_scan scan;
	if (!replay_scan(reader, &scan, error))
		return false;
	uint64_t peak = scan.peak_requested_bytes[options->level];
	replay_scan_free(&scan);
	return replay_smallest_arena_from(reader, spec, options, peak, arena_bytes, error);
}
