/*
 * survey.h - one pass over a trace, for fidelity: what it tells beside the slabs, to judge predictions by.
 *
 * Cost: O(events) time, one word per object id.
 */
#ifndef KMEMLAB_SURVEY_H
#define KMEMLAB_SURVEY_H

#include "workloads/fidelity.h"

struct survey_snapshot {
	uint64_t large_pages;    /* of live large kmallocs of the trace */
	uint64_t whole_pages;    /* of live objects of caches, of a page or more each */
	uint64_t slab_pages;     /* that the slab allocator holds, as the events show */
	uint64_t recorder_bytes; /* of the live objects of the recording itself */
};

struct survey {
	uint32_t cache_count;
	struct fidelity_evidence *evidence; /* by cache of the trace */
	bool *reclaimable;                  /* by cache: by its flags, or those of its slabs' pages */
	uint64_t slabinfos, walks, meminfos;
	struct survey_snapshot *snapshots; /* every snapshot of the trace, of whatever kind, in stream order */
	uint64_t snapshot_count;
};

/* The caller frees it, whatever is returned. */
bool survey_take(struct kmt_reader *reader, struct survey *survey, struct kml_error *error);
void survey_free(struct survey *survey);

/* Pages of the large kmallocs that are live after so many events. *reclaimable, by cache, is allocated. */
bool survey_memory(struct kmt_reader *reader, uint64_t events, uint64_t *large_pages, bool **reclaimable,
		   struct kml_error *error);

/* A cache of the recording itself (the ring buffer of instrumented kernels). */
bool survey_is_recorder(const char *cache_name);

#endif
