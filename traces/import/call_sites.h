/* call_sites.h - which caches the frees (or allocations) of each call site were seen to use, and how often. */
#ifndef KMEMLAB_CALL_SITES_H
#define KMEMLAB_CALL_SITES_H

#include "traces/import/internal.h"

struct call_site_votes {
	uint32_t votes;
	uint32_t next; /* of the same site; IMPORT_NONE */
	uint16_t cache;
};

/* Zero-initialised: empty. */
struct call_sites {
	struct kml_hashmap first_of; /* site -> index */
	IMPORT_VECTOR(struct call_site_votes) votes;
};

bool call_sites_vote(struct call_sites *sites, uint32_t site, uint16_t cache, struct kml_error *error);
/* The cache most votes of the site named, or KMT_NO_CACHE. */
uint16_t call_sites_favourite(const struct call_sites *sites, uint32_t site);
/* Index of the first of the site's votes, or IMPORT_NONE. */
uint32_t call_sites_first(const struct call_sites *sites, uint32_t site);
void call_sites_destroy(struct call_sites *sites);

#endif
