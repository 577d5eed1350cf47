/*
 * spec_test.c - spec strings: what parses, what each error says, and the stacks they make.
 *
 * Two layers are tested with an object allocator of this file, registered like any other, that keeps nothing but what
 * it was created with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "allocators/registry.h"
#include "allocators/registry_internal.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/random.h"

#define PAGE_BYTES 4096u

/* ------------------------------------------------------------------------------------ an object allocator to parse */

struct toy_config {
	uint64_t size_bytes, number;
	uint32_t profile;
	struct kml_sizes sizes;
};

struct toy_heap {
	struct kml_heap heap;
	struct kml_environment environment;
	struct toy_config config;
};

static const char *const toy_profiles[] = {"linux-6.18", "linux-6.1", "solaris", NULL};

static const struct kml_param toy_params[] = {
	{.name = "profile",
	 .type = KML_PARAM_CHOICE,
	 .offset = offsetof(struct toy_config, profile),
	 .default_text = "linux-6.1",
	 .choices = toy_profiles,
	 .help = "a choice"},
	{.name = "slab",
	 .type = KML_PARAM_SIZE,
	 .offset = offsetof(struct toy_config, size_bytes),
	 .default_text = "4k",
	 .minimum = 64,
	 .maximum = 1 << 20,
	 .help = "a size"},
	{.name = "min_partial",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct toy_config, number),
	 .default_text = "5",
	 .minimum = 0,
	 .maximum = 10,
	 .help = "a number"},
	{.name = "classes",
	 .type = KML_PARAM_SIZES,
	 .offset = offsetof(struct toy_config, sizes),
	 .default_text = "auto",
	 .minimum = 8,
	 .maximum = 8192,
	 .help = "sizes"},
	{.name = NULL},
};

static const struct kml_allocator toy;

/* Slabs of a mebibyte, to have something that cannot be created. */
static struct kml_heap *toy_create(const struct kml_environment *environment, const void *config,
				   struct kml_error *error)
{
	const struct toy_config *toy_config = config;
	if (toy_config->size_bytes == 1 << 20) {
		kml_fail(error, "toy: slabs of 1M: use smaller ones");
		return NULL;
	}
	struct toy_heap *heap = calloc(1, sizeof(*heap));
	assert_non_null(heap);
	heap->heap.allocator = &toy;
	heap->environment = *environment;
	heap->config = *toy_config;
	return &heap->heap;
}

static void toy_destroy(struct kml_heap *heap)
{
	free(heap);
}

static const struct kml_allocator toy = {
	.abi_version = KML_ABI_VERSION,
	.name = "toy_slub",
	.layer = KML_LAYER_OBJECTS,
	.traits = KML_TRAIT_MAY_WASTE_RUNS,
	.params = toy_params,
	.config_bytes = sizeof(struct toy_config),
	.create = toy_create,
	.destroy = toy_destroy,
};

/* --------------------------------------------------------------------------------------------------------- errors */

static void each_error_names_the_fault_and_the_mend(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *says[3];
	} wrong[] = {
		{"", {"allocator"}},
		{"binari", {"'binari'", "nearest is 'binary'"}},
		{"fibonaci", {"nearest is 'fibonacci'"}},
		{"firstfit", {"nearest is 'first_fit'"}},
		{"BINARY", {"'BINARY'"}},
		{"binary ", {"nearest is 'binary'"}},
		{" binary", {"nearest is 'binary'"}},
		{"/", {"allocator"}},
		{"binary/", {"allocator"}},
		{"/binary", {"allocator"}},
		{"toy_slub/", {"allocator"}},
		{"toy_slub//binary", {"allocator"}},
		{"toy_slub/binary/binary", {"layers"}},
		{"binary/first_fit", {"'binary'", "cannot stand on"}},
		{"toy_slub/toy_slub", {"'toy_slub'", "cannot back"}},
		/* Found by a fuzzer: an object allocator writes into its pages, and nop has none. */
		{"toy_slub/nop", {"'nop'", "without memory", "below"}},
		{"toy_slub/recorded", {"'recorded'", "without memory"}},
		{"nop:x=1", {"nop", "no parameters"}},
		{"binary:", {"name=value"}},
		{"binary:unit", {"'unit'", "name=value"}},
		{"binary:unit=16,", {"name=value"}},
		{"binary:,unit=16", {"name=value"}},
		{"binary:=16", {"no parameter"}},
		{"binary:unitt=16", {"'unitt'", "nearest is 'unit'", "kmemlab list binary"}},
		{"binary:polcy=lifo", {"nearest is 'policy'"}},
		{"binary:policy=lowst", {"lowst", "nearest is 'lowest'"}},
		{"binary:policy=", {"nearest is"}},
		{"binary:unit=16,unit=32", {"unit is given twice"}},
		{"binary:unit=", {"unit="}},
		{"binary:unit=x", {"unit=x"}},
		{"binary:unit=-1", {"unit=-1"}},
		{"binary:unit=+16", {"unit=+16"}},
		{"binary:unit= 16", {"unit= 16"}},
		{"binary:unit=16q", {"unit=16q"}},
		{"binary:unit=0x10", {"unit=0x10"}},
		{"binary:unit=1e3", {"unit=1e3"}},
		{"binary:unit=18446744073709551616", {"unit=18446744073709551616"}},
		{"binary:unit=16777216T", {"unit=16777216T"}},
		{"binary:unit=99999999999999999999999T", {"unit=9999"}},
		{"toy_slub:slab=63", {"slab=63", "from 64 to 1048576"}},
		{"toy_slub:slab=1048577", {"slab=1048577", "from 64 to 1048576"}},
		{"toy_slub:min_partial=11", {"a number from 0 to 10"}},
		{"toy_slub:min_partial=1k", {"a number from 0 to 10"}},
		{"toy_slub:min_partial=auto", {"a number from 0 to 10"}},
		{"toy_slub:min_partial=99999999999999999999", {"a number from 0 to 10"}},
		{"toy_slub:classes=", {"ascending"}},
		{"toy_slub:classes=8+", {"ascending"}},
		{"toy_slub:classes=+8", {"ascending"}},
		{"toy_slub:classes=8+8", {"ascending"}},
		{"toy_slub:classes=16+8", {"ascending"}},
		{"toy_slub:classes=4+8", {"from 8 to 8192"}},
		{"toy_slub:classes=8+16k", {"from 8 to 8192"}},
		{"toy_slub:profile=linux-6.28", {"nearest is 'linux-6.18'"}},
		{"toy_slub/binary:unit=16,profile=solaris", {"binary: no parameter 'profile'"}},
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct kml_error error = {{0}};
		struct kml_spec *spec = kml_spec_parse(wrong[i].text, &error);
		if (spec != NULL)
			fail_msg("'%s' parsed", wrong[i].text);
		for (unsigned k = 0; k < 3 && wrong[i].says[k] != NULL; k++)
			if (strstr(error.text, wrong[i].says[k]) == NULL)
				fail_msg("'%s': \"%s\" lacks \"%s\"", wrong[i].text, error.text, wrong[i].says[k]);
		assert_null(kml_spec_parse(wrong[i].text, NULL));
	}
}

static void long_texts_are_refused_not_cut(void **state)
{
	(void)state;
	static char text[100000];
	for (size_t length = 200; length < sizeof(text); length = length * 3 / 2) {
		struct kml_error error = {{0}};
		memset(text, 'b', length);
		text[length] = '\0';
		assert_null(kml_spec_parse(text, &error));
		assert_true(strlen(error.text) > 0);
		memcpy(text, "binary:policy=", 14);
		assert_null(kml_spec_parse(text, &error));
		memcpy(text, "toy_slub:classes=8+", 19);
		assert_null(kml_spec_parse(text, &error));
	}
	/* One size too many. */
	struct kml_error error = {{0}};
	size_t length = (size_t)snprintf(text, sizeof(text), "toy_slub:classes=8");
	for (unsigned i = 1; i <= KML_SIZES_MAX; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "+%u", 8 + i);
	assert_true(length < 256);
	assert_null(kml_spec_parse(text, &error));
	*strrchr(text, '+') = '\0';
	struct kml_spec *spec = kml_spec_parse(text, &error);
	assert_non_null(spec);
	assert_int_equal(((struct toy_config *)spec->config[0])->sizes.count, KML_SIZES_MAX);
	kml_spec_free(spec);
}

/* Nothing of a random text is a crash; what parses is kept as written. */
static void random_texts_parse_or_fail(void **state)
{
	(void)state;
	static const char *const pieces[] = {
		"binary", "toy_slub", "first_fit", "weighted", ":",     ",",    "=",     "/",
		"unit",   "sizes",    "classes",   "+",        "auto",  "64k",  "16",    "8",
		"lifo",   "policy",   "profile",   "solaris",  "\xff",  "%s%n", "  ",    "-",
		"1T",     "slab",     "0",         "nop",      "64kiB", "\t",   "4096B", "k"};
	uint64_t random = 5;
	uint32_t parsed = 0;
	for (uint32_t i = 0; i < 30000; i++) {
		char text[300] = "";
		uint64_t count = random_below(&random, 12);
		for (uint64_t k = 0; k < count; k++)
			strcat(text, pieces[random_below(&random, sizeof(pieces) / sizeof(pieces[0]))]);
		struct kml_error error = {{0}};
		struct kml_spec *spec = kml_spec_parse(text, &error);
		assert_true((spec != NULL) == (error.text[0] == '\0'));
		if (spec != NULL) {
			assert_string_equal(spec->text, text);
			parsed++;
		}
		kml_spec_free(spec);
	}
	assert_true(parsed > 100);
}

/* ------------------------------------------------------------------------------------------------------- what parses
 */

static struct kml_spec *parse(const char *text)
{
	struct kml_error error = {{0}};
	struct kml_spec *spec = kml_spec_parse(text, &error);
	if (spec == NULL)
		fail_msg("%s: %s", text, error.text);
	assert_string_equal(spec->text, text);
	return spec;
}

static void a_name_alone_has_the_defaults(void **state)
{
	(void)state;
	struct kml_spec *spec = parse("toy_slub/first_fit");
	assert_int_equal(spec->layer_count, 2);
	assert_ptr_equal(spec->layer[0], &toy);
	assert_string_equal(spec->layer[1]->name, "first_fit");
	const struct toy_config *config = spec->config[0];
	assert_int_equal(config->size_bytes, 4096);
	assert_int_equal(config->number, 5);
	assert_int_equal(config->profile, 1);
	assert_int_equal(config->sizes.count, 0);
	assert_int_equal(kml_spec_traits(spec), KML_TRAIT_MAY_WASTE_RUNS);
	kml_spec_free(spec);
}

static void every_type_of_parameter_is_read(void **state)
{
	(void)state;
	struct kml_spec *spec =
		parse("toy_slub:profile=linux-6.18,slab=64KiB,min_partial=0,classes=8+1k+8192/binary:max_order=10");
	const struct toy_config *config = spec->config[0];
	assert_int_equal(config->profile, 0);
	assert_int_equal(config->size_bytes, 65536);
	assert_int_equal(config->number, 0);
	assert_int_equal(config->sizes.count, 3);
	assert_int_equal(config->sizes.size_bytes[0], 8);
	assert_int_equal(config->sizes.size_bytes[1], 1024);
	assert_int_equal(config->sizes.size_bytes[2], 8192);
	assert_string_equal(spec->layer[1]->name, "binary");
	kml_spec_free(spec);
	kml_spec_free(parse("toy_slub:classes=auto"));
	kml_spec_free(parse("weighted:sizes=64k+128k+256k"));
	kml_spec_free(parse("binary:unit=16,policy=fifo"));
	kml_spec_free(parse("binary:unit=auto"));
	kml_spec_free(NULL);
}

static void objects_stand_on_binary_unless_told(void **state)
{
	(void)state;
	struct kml_spec *spec = parse("toy_slub:slab=8k");
	assert_int_equal(spec->layer_count, 2);
	assert_string_equal(spec->layer[1]->name, "binary");
	kml_spec_free(spec);
	spec = parse("first_fit");
	assert_int_equal(spec->layer_count, 1);
	kml_spec_free(spec);
}

static void sizes_are_powers_of_1024(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t size_bytes;
	} good[] = {{"0", 0},
		    {"1", 1},
		    {"4096", 4096},
		    {"0016", 16},
		    {"64k", 65536},
		    {"64K", 65536},
		    {"64kB", 65536},
		    {"64KiB", 65536},
		    {"1M", 1 << 20},
		    {"2GiB", 2ull << 30},
		    {"1t", 1ull << 40},
		    {"16777215T", 16777215ull << 40},
		    {"18446744073709551615", UINT64_MAX}};
	static const char *const bad[] = {"",
					  " ",
					  "k",
					  "-1",
					  "+1",
					  " 1",
					  "1 ",
					  "1 k",
					  "1kk",
					  "1ki",
					  "1kIB",
					  "1.5k",
					  "0x1",
					  "1e3",
					  "1KBs",
					  "1P",
					  "1_000",
					  "16777216T",
					  "18446744073709551616",
					  "17179869184G"};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		uint64_t size_bytes = 77;
		if (!kml_parse_size(good[i].text, &size_bytes) || size_bytes != good[i].size_bytes)
			fail_msg("'%s' is not %llu", good[i].text, (unsigned long long)good[i].size_bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t size_bytes;
		if (kml_parse_size(bad[i], &size_bytes))
			fail_msg("'%s' is %llu", bad[i], (unsigned long long)size_bytes);
	}
}

/* --------------------------------------------------------------------------------------------------------- stacks */

static struct kml_environment environment_of(struct kml_arena *arena)
{
	return (struct kml_environment){.arena = arena, .page_bytes = PAGE_BYTES, .cpu_count = 1, .cache_count = 1};
}

static void a_stack_is_created_from_below(void **state)
{
	(void)state;
	struct kml_arena *arena = kml_arena_create(1 << 20, PAGE_BYTES, false, NULL);
	struct kml_environment environment = environment_of(arena);
	struct kml_spec *spec = parse("toy_slub:slab=8k/first_fit");
	struct kml_stack stack;
	assert_true(kml_stack_create(&stack, spec, &environment, NULL));
	assert_int_equal(stack.layer_count, 2);
	const struct toy_heap *top = (const struct toy_heap *)kml_stack_top(&stack);
	assert_int_equal(top->config.size_bytes, 8192);
	assert_ptr_equal(top->environment.backing, stack.layer[1]);
	assert_ptr_equal(top->environment.arena, arena);
	assert_string_equal(stack.layer[1]->allocator->name, "first_fit");
	kml_stack_destroy(&stack);
	kml_spec_free(spec);
	kml_arena_destroy(arena);
}

/* Granularity: 16 bytes alone, the page below another, or what the environment or the spec says. */
static void a_unit_left_to_the_stack_fits_its_use(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t environment_unit_bytes, granted_bytes;
	} units[] = {{"first_fit", 0, 16},
		     {"toy_slub/first_fit", 0, PAGE_BYTES},
		     {"first_fit", 64, 64},
		     {"first_fit:unit=128", 64, 128},
		     {"toy_slub/first_fit:unit=256", 0, 256},
		     {"binary", 0, 16},
		     {"toy_slub", 0, PAGE_BYTES}};
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		struct kml_arena *arena = kml_arena_create(1 << 20, PAGE_BYTES, false, NULL);
		struct kml_environment environment = environment_of(arena);
		environment.unit_bytes = units[i].environment_unit_bytes;
		struct kml_spec *spec = parse(units[i].text);
		struct kml_stack stack;
		assert_true(kml_stack_create(&stack, spec, &environment, NULL));
		struct kml_heap *pages = stack.layer[stack.layer_count - 1];
		const struct kml_request request = {.size_bytes = 1, .cache = KML_NO_CACHE};
		assert_int_equal(pages->allocator->alloc(pages, &request).granted_bytes, units[i].granted_bytes);
		kml_stack_destroy(&stack);
		assert_int_equal(arena->held_bytes, 0);
		kml_spec_free(spec);
		kml_arena_destroy(arena);
	}
}

static void a_failed_stack_leaves_nothing(void **state)
{
	(void)state;
	struct kml_arena *arena = kml_arena_create(1 << 20, PAGE_BYTES, false, NULL);
	struct kml_environment environment = environment_of(arena);
	struct kml_error error = {{0}};
	struct kml_stack stack;
	struct kml_spec *spec = parse("toy_slub:slab=1M/first_fit");
	assert_false(kml_stack_create(&stack, spec, &environment, &error));
	assert_non_null(strstr(error.text, "slabs of 1M"));
	assert_null(stack.layer[0]);
	assert_null(stack.layer[1]);
	kml_spec_free(spec);

	spec = parse("first_fit:unit=2M");
	assert_false(kml_stack_create(&stack, spec, &environment, &error));
	assert_non_null(strstr(error.text, "2097152"));
	kml_spec_free(spec);
	spec = parse("best_fit:unit=48");
	assert_false(kml_stack_create(&stack, spec, &environment, &error));
	assert_non_null(strstr(error.text, "power of two"));
	kml_spec_free(spec);
	kml_arena_destroy(arena);
}

static void the_registry_finds_by_whole_name(void **state)
{
	(void)state;
	size_t count;
	const struct kml_allocator *const *registry = kml_registry(&count);
	for (size_t i = 0; i < count; i++)
		assert_ptr_equal(kml_registry_find(registry[i]->name), registry[i]);
	assert_null(registry[count]);
	assert_null(kml_registry_find(""));
	assert_null(kml_registry_find("binar"));
	assert_null(kml_registry_find("binaryy"));
}

/* Last: it leaves the table full. */
static void a_full_registry_says_so(void **state)
{
	(void)state;
	size_t before, after;
	kml_registry(&before);
	unsigned added = 0;
	while (added < 100000 && kml_registry_add(&toy))
		added++;
	assert_true(added > 100 && added < 100000);
	kml_registry(&after);
	assert_int_equal(after, before + added);
	assert_false(kml_registry_add(&toy));
}

int main(void)
{
	if (!kml_registry_add(&toy))
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_error_names_the_fault_and_the_mend),
		cmocka_unit_test(long_texts_are_refused_not_cut),
		cmocka_unit_test(random_texts_parse_or_fail),
		cmocka_unit_test(a_name_alone_has_the_defaults),
		cmocka_unit_test(every_type_of_parameter_is_read),
		cmocka_unit_test(objects_stand_on_binary_unless_told),
		cmocka_unit_test(sizes_are_powers_of_1024),
		cmocka_unit_test(a_stack_is_created_from_below),
		cmocka_unit_test(a_unit_left_to_the_stack_fits_its_use),
		cmocka_unit_test(a_failed_stack_leaves_nothing),
		cmocka_unit_test(the_registry_finds_by_whole_name),
		cmocka_unit_test(a_full_registry_says_so),
	};
	return cmocka_run_group_tests_name("spec", tests, NULL, NULL);
}
