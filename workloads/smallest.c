/*
 * smallest.c - the smallest arena in which a stack finishes a trace: what fragmentation costs, in one number.
 *
 * From the peak of requested bytes (no arena below it can do) the size is doubled until the trace succeeds; then the
 * gap between the last failure and that success is halved down to one page. Theory does not promise that a larger arena
 * is always better (a different arena means different addresses and different splits), so the answer is a size that
 * works while one page less does not. The steps depend on nothing but trace, level and stack.
 */
#include "kmemlab/support/error.h"
#include "workloads/replay.h"
#include "workloads/scan.h"

enum { DOUBLINGS_MAX = 6 }; /* 64 times the peak */

struct search {
	struct kmt_reader *reader;
	const struct kml_spec *spec;
	struct replay_options options;
	uint64_t page_bytes;
};

/* Does the stack finish the trace in this many pages? An arena that cannot be laid out (too small for one block) is a
 * failure like another. */
static bool try_pages(const struct search *search, uint64_t pages, bool *succeeds, struct kml_error *error)
{
	struct replay_options options = search->options;
	struct replay_result result;
	struct kml_error why;
	options.arena_bytes = pages * search->page_bytes;
	*succeeds = false;
	if (!replay_run(search->reader, search->spec, &options, NULL, NULL, NULL, &result, &why)) {
		if (result.arena_bytes != 0 && result.events == 0)
			return true;
		return kml_fail(error, "%s", why.text);
	}
	if (result.check_failed)
		return kml_fail(error, "%s", result.check_error.text);
	for (int status = KML_OK + 1; status < KML_STATUS_COUNT; status++)
		if (result.failures[status] > 0)
			return true;
	*succeeds = true;
	return true;
}

/* Between a size that fails (or is below the bound) and one that succeeds. */
static bool bisect(const struct search *search, uint64_t fails, uint64_t works, uint64_t *pages,
		   struct kml_error *error)
{
	while (works - fails > 1) {
		uint64_t middle = fails + (works - fails) / 2;
		bool succeeds;
		if (!try_pages(search, middle, &succeeds, error))
			return false;
		*(succeeds ? &works : &fails) = middle;
	}
	*pages = works;
	return true;
}

bool replay_smallest_arena_from(struct kmt_reader *reader, const struct kml_spec *spec,
				const struct replay_options *options, uint64_t peak_requested_bytes,
				uint64_t *arena_bytes, struct kml_error *error)
{
	struct search search = {reader, spec, *options, kmt_reader_origin(reader)->page_bytes};
	search.options.check = false;
	search.options.samples = 0;
	search.options.stop_at_failure = true;
	*arena_bytes = 0;
	if (spec->layer[0]->traits & (KML_TRAIT_RECORDED | KML_TRAIT_NO_REUSE))
		return kml_fail(error, "%s: the size of its arena means nothing: choose another allocator", spec->text);
	if (peak_requested_bytes > UINT64_MAX / 128)
		return true;
	uint64_t pages = (peak_requested_bytes + search.page_bytes - 1) / search.page_bytes;
	pages = pages ? pages : 1;
	uint64_t fails = pages - 1; /* fewer pages cannot hold what is asked for */
	for (int doubling = 0; doubling <= DOUBLINGS_MAX; doubling++, pages *= 2) {
		bool succeeds;
		if (!try_pages(&search, pages, &succeeds, error))
			return false;
		if (!succeeds) {
			fails = pages;
			continue;
		}
		if (!bisect(&search, fails, pages, &pages, error))
			return false;
		*arena_bytes = pages * search.page_bytes;
		return true;
	}
	return true;
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
