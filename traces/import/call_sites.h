/*
 * call_sites.h - which caches the frees (or allocations) of each call site were seen to use, and how often.
 *
 * A real site uses few caches, a size class each at most. Voting is O(1) however many there are; those who look at a
 * site's votes look at CALL_SITE_CACHES_MAX of them.
 */
#ifndef KMEMLAB_CALL_SITES_H
#define KMEMLAB_CALL_SITES_H

#include "traces/import/internal.h"

enum { CALL_SITE_CACHES_MAX = 64 };

struct call_site_votes {
	uint32_t votes;
	uint32_t next; /* of the same site; IMPORT_NONE */
	uint16_t cache;
};

/* Zero-initialised: empty. */
struct call_sites {
	struct kml_hashmap first_of; /* site -> index */
	struct kml_hashmap votes_of; /* site and cache -> index */
	IMPORT_VECTOR(struct call_site_votes) votes;
};

bool call_sites_vote(struct call_sites *sites, uint32_t site, uint16_t cache, struct kml_error *error);
/* The votes of a site, CALL_SITE_CACHES_MAX at most; their number. */
uint32_t call_sites_list(const struct call_sites *sites, uint32_t site,
			 struct call_site_votes list[CALL_SITE_CACHES_MAX]);
/* The cache most votes of the site named, or KMT_NO_CACHE. */
uint16_t call_sites_favourite(const struct call_sites *sites, uint32_t site);
void call_sites_destroy(struct call_sites *sites);

#endif
