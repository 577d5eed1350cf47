/* cache_names.c - the prefixes of the kernel's size classes. */
#include "traces/proc/cache_names.h"

#include <string.h>

static bool begins(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

bool cache_name_is_kmalloc(const char *name)
{
	return begins(name, "kmalloc-") || begins(name, "dma-kmalloc-") || begins(name, "size-");
}

bool cache_name_is_kmalloc_reclaimable(const char *name)
{
	return begins(name, "kmalloc-rcl-");
}
