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
#include "kmemlab/support/planted.h"

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

/* What a parameter's value needs in the configuration; 0: no such type. */
static size_t value_bytes(enum kml_param_type type, size_t *align_bytes)
{
	*align_bytes = type == KML_PARAM_CHOICE ? _Alignof(uint32_t) : _Alignof(uint64_t);
	switch (type) {
	case KML_PARAM_SIZE:
	case KML_PARAM_NUMBER:
		return sizeof(uint64_t);
	case KML_PARAM_CHOICE:
		return sizeof(uint32_t);
	case KML_PARAM_SIZES:
		return sizeof(struct kml_sizes);
	case KML_PARAM_REAL:
		return sizeof(double);
	case KML_PARAM_TEXT: /* a stack's texts do not outlive its parsing */
		break;
	}
	return 0;
}

static const char *fault_of_param(const struct kml_allocator *allocator, const struct kml_param *param)
{
	size_t align_bytes, bytes = value_bytes(param->type, &align_bytes);
	if (!valid_name(param->name))
		return "has a name that is not of [a-z0-9_]";
	if (bytes == 0)
		return "is of an unknown type";
	if ((!KML_PLANTED(plugin_config_underflow) && bytes > allocator->config_bytes) ||
	    (!KML_PLANTED(plugin_offset_unchecked) && param->offset > allocator->config_bytes - bytes))
		return "lies outside the configuration";
	if (param->offset % align_bytes)
		return "is not aligned in the configuration";
	if (!param->default_text || !param->help)
		return "has no default or no help";
	if (param->type == KML_PARAM_CHOICE &&
	    ((!KML_PLANTED(plugin_choices_missing) && !param->choices) || !param->choices[0]))
		return "has no choices";
	if (param->type != KML_PARAM_CHOICE && param->minimum > param->maximum)
		return "has a minimum above its maximum";
	for (const struct kml_param *before = allocator->params; before != param; before++)
		if (strcmp(before->name, param->name) == 0)
			return "is there twice";
	return NULL;
}

static bool check_params(const char *path, const struct kml_allocator *allocator, struct kml_error *error)
{
	for (const struct kml_param *param = allocator->params; param && param->name; param++) {
		const char *fault = fault_of_param(allocator, param);
		if (fault)
			return kml_fail(error, "%s: allocator '%s': parameter %zu ('%.64s') %s: mend its table", path,
					allocator->name, (size_t)(param - allocator->params), param->name, fault);
	}
	return true;
}

bool kml_plugin_check(const char *path, const struct kml_allocator *const *exported, size_t place,
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
	return check_params(path, allocator, error);
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
		if (!kml_plugin_check(path, exported, i, error)) {
			dlclose(handle);
			return false;
		}
	for (size_t i = 0; exported[i]; i++)
		if (!kml_registry_add(exported[i]))
			return kml_fail(error, "%s: too many allocators: load fewer plugins", path);
	return true;
}
