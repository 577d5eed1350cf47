/* call_sites.c - see call_sites.h. A site uses few caches (a size class each at most), so they are a list. */
#include <stdlib.h>

#include "kmemlab/support/error.h"
#include "traces/import/call_sites.h"

uint32_t call_sites_first(const struct call_sites *sites, uint32_t site)
{
	uint32_t first = site == 0 ? KML_HASHMAP_NONE : kml_hashmap_get(&sites->first_of, site);

	return first == KML_HASHMAP_NONE ? IMPORT_NONE : first;
}

bool call_sites_vote(struct call_sites *sites, uint32_t site, uint16_t cache, struct kml_error *error)
{
	uint32_t first = call_sites_first(sites, site);

	if (site == 0)
		return true;
	for (uint32_t i = first; i != IMPORT_NONE; i = sites->votes.items[i].next) {
		if (sites->votes.items[i].cache == cache) {
			sites->votes.items[i].votes++;
			return true;
		}
	}
	if (!import_reserve(&sites->votes, error) || !kml_hashmap_set(&sites->first_of, site, sites->votes.count))
		return kml_fail(error, "out of memory");
	sites->votes.items[sites->votes.count++] = (struct call_site_votes){1, first, cache};
	return true;
}

uint16_t call_sites_favourite(const struct call_sites *sites, uint32_t site)
{
	uint16_t cache = KMT_NO_CACHE;
	uint32_t most = 0;

	for (uint32_t i = call_sites_first(sites, site); i != IMPORT_NONE; i = sites->votes.items[i].next) {
		if (sites->votes.items[i].votes >= most) {
			most = sites->votes.items[i].votes;
			cache = sites->votes.items[i].cache;
		}
	}
	return cache;
}

void call_sites_destroy(struct call_sites *sites)
{
	kml_hashmap_free(&sites->first_of);
	free(sites->votes.items);
}
