/*
 * plugin.c - allocators from outside the tree: a shared object that exports KML_PLUGIN_SYMBOL.
 *
 * A plugin is built against allocator.h (and arena.h, whose functions the program exports) and nothing else:
 *   cc -shared -fPIC -I KMEMLAB_SOURCE my_allocator.c -o my_allocator.so
 * Loading runs its code: a plugin is trusted as the program itself is.
 */
#include <dlfcn.h>
#include <string.h>

#include "allocators/registry.h"
#include "allocators/registry_internal.h"
#include "kmemlab/support/error.h"

static const char *missing_operation(const struct kml_allocator *allocator)
{
	if (!allocator->create)
		return "create";
	if (!allocator->destroy)
		return "destroy";
	if (!allocator->alloc)
		return "alloc";
	if (!allocator->free)
		return "free";
	if (!allocator->usable)
		return "usable";
	if (!allocator->stats)
		return "stats";
	if (!allocator->free_areas)
		return "free_areas";
	if (!allocator->walk)
		return "walk";
	if (!allocator->validate)
		return "validate";
	return NULL;
}

static bool valid_name(const char *name)
{
	return name && *name && name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

/* The allocator at this place of the plugin's list; those before it are sound. */
static bool check_allocator(const char *path, const struct kml_allocator *const *exported, size_t place,
			    struct kml_error *error)
{
	const struct kml_allocator *allocator = exported[place];
	if (allocator->abi_version != KML_ABI_VERSION)
		return kml_fail(error, "%s: built for allocator ABI %u, this program speaks %u: rebuild the plugin",
				path, allocator->abi_version, KML_ABI_VERSION);
	if (!valid_name(allocator->name) || !allocator->title || !allocator->citation || !allocator->summary)
		return kml_fail(
			error, "%s: an allocator without a name of [a-z0-9_], title, citation or summary: fill them in",
			path);
	const char *missing = missing_operation(allocator);
	if (missing)
		return kml_fail(error,
				"%s: allocator '%s' has no operation '%s': only those marked optional may be NULL",
				path, allocator->name, missing);
	bool known = kml_registry_find(allocator->name) != NULL;
	for (size_t i = 0; i < place; i++)
		known |= strcmp(exported[i]->name, allocator->name) == 0;
	if (known)
		return kml_fail(error, "%s: allocator '%s' is known already: rename it", path, allocator->name);
	return true;
}

bool kml_registry_load_plugin(const char *path, struct kml_error *error)
{
	/* Without a slash dlopen would search the system's folders instead of the current one. */
	char local[4096];
	if (!strchr(path, '/') && strlen(path) < sizeof local - 2) {
		strcpy(local, "./");
		strcat(local, path);
		path = local;
	}
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!handle)
		return kml_fail(error, "cannot load the plugin: %s", dlerror());
	const struct kml_allocator *const *exported = dlsym(handle, KML_PLUGIN_SYMBOL);
	if (!exported || !exported[0]) {
		dlclose(handle);
		return kml_fail(error, "%s: exports no allocators: define %s as in allocators/allocator.h", path,
				KML_PLUGIN_SYMBOL);
	}
	/* All or none: a plugin refused halfway must not leave its first allocators behind. */
	for (size_t i = 0; exported[i]; i++)
		if (!check_allocator(path, exported, i, error)) {
			dlclose(handle);
			return false;
		}
	for (size_t i = 0; exported[i]; i++)
		if (!kml_registry_add(exported[i]))
			return kml_fail(error, "%s: too many allocators: load fewer plugins", path);
	return true;
}
