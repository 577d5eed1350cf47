/* call_sites.c - see call_sites.h. */
#include <stdlib.h>

#include "kmemlab/support/error.h"
#include "traces/import/call_sites.h"

bool call_sites_vote(struct call_sites *sites, uint32_t site, uint16_t cache, struct kml_error *error)
{
	uint64_t key = (uint64_t)site << 16 | cache;

	if (site == 0)
		return true;
	uint32_t index = kml_hashmap_get(&sites->votes_of, key);
	if (index != KML_HASHMAP_NONE) {
		sites->votes.items[index].votes++;
		return true;
	}
	uint32_t first = kml_hashmap_get(&sites->first_of, site);
	index = sites->votes.count;
	if (!import_reserve(&sites->votes, error) || !kml_hashmap_set(&sites->first_of, site, index) ||
	    !kml_hashmap_set(&sites->votes_of, key, index))
		return kml_fail(error, "out of memory");
	sites->votes.items[sites->votes.count++] =
		(struct call_site_votes){1, first == KML_HASHMAP_NONE ? IMPORT_NONE : first, cache};
	return true;
}

uint32_t call_sites_list(const struct call_sites *sites, uint32_t site,
			 struct call_site_votes list[CALL_SITE_CACHES_MAX])
{
	uint32_t count = 0;
	uint32_t index = site == 0 ? KML_HASHMAP_NONE : kml_hashmap_get(&sites->first_of, site);

	for (; index != KML_HASHMAP_NONE && count < CALL_SITE_CACHES_MAX; index = list[count++].next)
		list[count] = sites->votes.items[index];
	return count;
}

uint16_t call_sites_favourite(const struct call_sites *sites, uint32_t site)
{
	struct call_site_votes list[CALL_SITE_CACHES_MAX];
	uint32_t count = call_sites_list(sites, site, list);
	uint32_t best = 0;

	for (uint32_t i = 1; i < count; i++)
		best = list[i].votes > list[best].votes ? i : best;
	return count == 0 ? KMT_NO_CACHE : list[best].cache;
}

void call_sites_destroy(struct call_sites *sites)
{
	kml_hashmap_free(&sites->first_of);
	kml_hashmap_free(&sites->votes_of);
	free(sites->votes.items);
}
