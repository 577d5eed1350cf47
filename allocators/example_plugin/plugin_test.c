/*
 * plugin_test.c - loading plugins: a good one joins the registry, each broken one is refused with its reason and leaves
 * the registry as it was. That the good one conforms is tested by conformance_test --plugin.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "allocators/registry.h"

static void plugin_path(char *path, size_t room, const char *file)
{
	const char *folder = getenv("KMEMLAB_TEST_OUTPUT");
	assert_non_null(folder);
	snprintf(path, room, "%s/plugins/%s", folder, file);
}

static void assert_refused(const char *path, const char *reason)
{
	size_t before, after;
	struct kml_error error = {{0}};
	kml_registry(&before);
	assert_false(kml_registry_load_plugin(path, &error));
	kml_registry(&after);
	assert_int_equal(before, after);
	if (strstr(error.text, reason) == NULL)
		fail_msg("%s: refused with \"%s\", which lacks \"%s\"", path, error.text, reason);
	if (strstr(error.text, strrchr(path, '/')) == NULL)
		fail_msg("\"%s\" does not name the file", error.text);
}

static void broken_plugins_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *file, *reason;
	} broken[] = {
		{"broken_version.so", "ABI 3"},
		{"broken_symbol.so", KML_PLUGIN_SYMBOL},
		{"broken_empty.so", KML_PLUGIN_SYMBOL},
		{"broken_duplicate.so", "'first_fit'"},
		{"broken_name.so", "[a-z0-9_]"},
		{"broken_description.so", "citation"},
		{"broken_operation.so", "'walk'"},
		{"no_such_file.so", "no_such_file.so"},
		/* Regression: the first of its two allocators stayed registered when the second was refused. */
		{"broken_twice.so", "'broken'"},
	};
	_Static_assert(KML_ABI_VERSION + 1 == 3, "the version that broken_version.so claims");
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		char path[4096];
		plugin_path(path, sizeof(path), broken[i].file);
		assert_refused(path, broken[i].reason);
	}
}

static void a_file_that_is_no_shared_object_is_refused(void **state)
{
	(void)state;
	char path[4096];
	plugin_path(path, sizeof(path), "text.so");
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs("this is text\n", file);
	fclose(file);
	assert_refused(path, "text.so");
	unlink(path);
	plugin_path(path, sizeof(path), "");
	assert_refused(path, "");
}

static void a_plugin_joins_the_registry_once(void **state)
{
	(void)state;
	char path[4096];
	struct kml_error error = {{0}};
	size_t before, after;
	plugin_path(path, sizeof(path), "cells.so");
	assert_null(kml_registry_find("cells"));
	kml_registry(&before);
	if (!kml_registry_load_plugin(path, &error))
		fail_msg("%s", error.text);
	const struct kml_allocator *const *registry = kml_registry(&after);
	assert_int_equal(after, before + 1);
	assert_ptr_equal(registry[before], kml_registry_find("cells"));
	assert_null(registry[after]);

	struct kml_spec *spec = kml_spec_parse("cells:cell=64k", &error);
	assert_non_null(spec);
	assert_string_equal(spec->text, "cells:cell=64k");
	kml_spec_free(spec);
	assert_refused(path, "'cells'");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(broken_plugins_are_refused),
		cmocka_unit_test(a_file_that_is_no_shared_object_is_refused),
		cmocka_unit_test(a_plugin_joins_the_registry_once),
	};
	return cmocka_run_group_tests_name("plugin", tests, NULL, NULL);
}
