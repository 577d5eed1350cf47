/* support_test.c - outputs that appear whole or not at all, the nearest name, errors, the hash map, reservations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/hashmap.h"
#include "kmemlab/support/nearest.h"
#include "kmemlab/support/output.h"
#include "kmemlab/support/reserve.h"

static char folder[4096];

static int make_folder(void **state)
{
	(void)state;
	const char *parent = getenv("KMEMLAB_TEST_OUTPUT");
	snprintf(folder, sizeof folder, "%s/support-XXXXXX", parent ? parent : "/tmp");
	return mkdtemp(folder) ? 0 : -1;
}

static const char *in_folder(const char *name)
{
	static char path[sizeof folder + 64];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static int files_in(const char *path)
{
	char command[sizeof folder + 128], count[16] = "";
	snprintf(command, sizeof command, "ls -A '%s' | wc -l", path);
	FILE *pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(count, sizeof count, pipe));
	pclose(pipe);
	return atoi(count);
}

static void test_output_appears_only_at_commit(void **state)
{
	(void)state;
	struct kml_error error;
	struct kml_output output;
	const char *path = in_folder("whole.csv");
	assert_true(kml_output_open(&output, path, &error));
	fputs("a,b\n", output.stream);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_true(kml_output_commit(&output, &error));
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_size, 4);
	assert_int_equal(files_in(folder), 1);
	unlink(path);
}

static void test_abandoned_output_leaves_nothing(void **state)
{
	(void)state;
	struct kml_error error;
	struct kml_output output;
	assert_true(kml_output_open(&output, in_folder("gone.csv"), &error));
	fputs("half", output.stream);
	kml_output_abandon(&output);
	kml_output_abandon(&output); /* harmless twice */
	assert_int_equal(files_in(folder), 0);
}

static void test_signal_removes_every_partial(void **state)
{
	(void)state;
	struct kml_error error;
	struct kml_output first, second;
	assert_true(kml_output_open(&first, in_folder("one"), &error));
	assert_true(kml_output_open(&second, in_folder("two"), &error));
	assert_int_equal(files_in(folder), 2);
	kml_output_abandon_all();
	assert_int_equal(files_in(folder), 0);
	kml_output_abandon(&first);
	kml_output_abandon(&second);
}

static void test_earlier_file_survives_a_failed_write(void **state)
{
	(void)state;
	struct kml_error error;
	if (geteuid() != 0 || mount("tmpfs", folder, "tmpfs", 0, "size=64k") != 0) {
		print_message("skipped: a small tmpfs needs root and CAP_SYS_ADMIN\n");
		skip();
	}
	struct kml_output output;
	const char *path = in_folder("kept");
	assert_true(kml_output_open(&output, path, &error));
	fputs("old", output.stream);
	assert_true(kml_output_commit(&output, &error));
	assert_true(kml_output_open(&output, path, &error));
	for (int i = 0; i < 200000; i++)
		fputs("too much\n", output.stream);
	bool written = kml_output_commit(&output, &error);
	int files = files_in(folder);
	struct stat status;
	int stat_failed = stat(path, &status);
	umount(folder);
	assert_false(written);
	assert_non_null(strstr(error.text, "No space left"));
	assert_non_null(strstr(error.text, "free some space"));
	assert_int_equal(files, 1);
	assert_int_equal(stat_failed, 0);
	assert_int_equal(status.st_size, 3);
}

static void test_unwritable_places_name_the_mend(void **state)
{
	(void)state;
	struct kml_error error;
	struct kml_output output;
	assert_false(kml_output_open(&output, in_folder("no/such/file"), &error));
	assert_non_null(strstr(error.text, "create the folder first"));
	assert_false(kml_output_open(&output, folder, &error));
	assert_non_null(strstr(error.text, "name a file"));
	char path_too_long[5000];
	memset(path_too_long, 'x', sizeof path_too_long - 1);
	path_too_long[sizeof path_too_long - 1] = '\0';
	assert_false(kml_output_open(&output, path_too_long, &error));
	assert_non_null(strstr(error.text, "shorten it"));
}

/* Regression: a run as root with the output /dev/full replaced the device by a file. */
static void test_a_device_is_not_replaced(void **state)
{
	(void)state;
	struct kml_error error;
	struct kml_output output;
	char path[sizeof folder + 16];
	snprintf(path, sizeof path, "%s/pipe", folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(kml_output_open(&output, path, &error));
	assert_non_null(strstr(error.text, "a device or pipe"));
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	assert_true(S_ISFIFO(status.st_mode));
	unlink(path);
}

static void test_make_directory(void **state)
{
	(void)state;
	struct kml_error error;
	char path[sizeof folder + 16];
	snprintf(path, sizeof path, "%s/a/b/c", folder);
	assert_true(kml_make_directory(path, &error));
	assert_true(kml_make_directory(path, &error)); /* there already */
	struct stat status;
	assert_int_equal(stat(path, &status), 0);
	assert_true(S_ISDIR(status.st_mode));
	snprintf(path, sizeof path, "%s/file", folder);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	assert_false(kml_make_directory(path, &error));
	assert_non_null(strstr(error.text, "not a folder"));
	assert_false(kml_make_directory("", &error));
}

static void test_nearest_name(void **state)
{
	(void)state;
	struct kml_nearest nearest = kml_nearest_start("fibonaci");
	assert_null(kml_nearest_name(&nearest));
	kml_nearest_offer(&nearest, "binary");
	kml_nearest_offer(&nearest, "fibonacci");
	kml_nearest_offer(&nearest, "weighted");
	assert_string_equal(kml_nearest_name(&nearest), "fibonacci");
	/* kitten -> sitting is 3 edits, the textbook distance: nearer than "mitt" + 4 */
	nearest = kml_nearest_start("kitten");
	kml_nearest_offer(&nearest, "sitting");
	kml_nearest_offer(&nearest, "abcdef");
	assert_string_equal(kml_nearest_name(&nearest), "sitting");
	assert_int_equal(nearest.best_distance, 3);
}

static void test_error_is_cut_not_overrun(void **state)
{
	(void)state;
	struct kml_error error;
	char name[2000];
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	assert_false(kml_fail(&error, "%s", name));
	assert_int_equal(strlen(error.text), sizeof error.text - 1);
	assert_false(kml_fail(NULL, "nobody wants to know"));
}

static void test_status_and_waste_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < KML_STATUS_COUNT; i++)
		assert_string_not_equal(kml_status_name((enum kml_status)i), "unknown status");
	assert_string_equal(kml_status_name(KML_STATUS_COUNT), "unknown status");
	for (int i = 0; i < KML_WASTE_KINDS; i++)
		assert_string_not_equal(kml_waste_name((enum kml_waste)i), "unknown waste");
	assert_string_equal(kml_waste_name(KML_WASTE_KINDS), "unknown waste");
}

/* Entries come and go at random over few keys, so that runs of slots grow together and are cut; a table tells what
 * must be there. */
static void test_hash_map_against_a_table(void **state)
{
	(void)state;
	enum { KEYS = 200 };
	struct kml_hashmap map = {0};
	uint32_t expected[KEYS];
	memset(expected, 0xff, sizeof expected);
	uint64_t random = 1, count = 0;
	kml_hashmap_remove(&map, 3); /* of an empty map */
	for (uint32_t step = 0; step < 200000; step++) {
		uint64_t key = random_below(&random, KEYS);
		bool grows = random_below(&random, 10) < (step / 2000 % 2 ? 3u : 7u);
		count += (uint64_t)grows - (expected[key] != KML_HASHMAP_NONE);
		expected[key] = grows ? step : KML_HASHMAP_NONE;
		if (grows)
			assert_true(kml_hashmap_set(&map, key * 8, step));
		else
			kml_hashmap_remove(&map, key * 8);
		assert_int_equal(map.count, count);
		uint64_t other = random_below(&random, KEYS);
		assert_int_equal(kml_hashmap_get(&map, other * 8), expected[other]);
	}
	for (uint64_t key = 0; key < KEYS; key++)
		assert_int_equal(kml_hashmap_get(&map, key * 8), expected[key]);
	kml_hashmap_free(&map);
}

static void test_splitmix_numbers(void **state)
{
	(void)state;
	/* The generator's published first numbers for seed 1234567. */
	static const uint64_t published[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
					     4593380528125082431u, 16408922859458223821u};
	uint64_t random = 1234567;
	for (size_t i = 0; i < sizeof published / sizeof *published; i++)
		assert_true(random_next(&random) == published[i]);
}

static void assert_zero(const uint8_t *memory, uint64_t size_bytes)
{
	for (uint64_t i = 0; i < size_bytes; i++)
		assert_int_equal(memory[i], 0);
}

/* Of every size around the classes: zero, also where a used one is taken again. */
static void test_reservations_read_as_zero(void **state)
{
	(void)state;
	static const uint64_t sizes[] = {1, 511, 512, 513, 4096, 65535, 262144, 262145, 1u << 20};
	for (int round = 0; round < 3; round++) {
		uint8_t *memory[sizeof sizes / sizeof *sizes][3];
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			for (size_t k = 0; k < 3; k++) {
				memory[i][k] = kml_reserve(sizes[i]);
				assert_non_null(memory[i][k]);
				assert_zero(memory[i][k], sizes[i]);
				memset(memory[i][k], 0xa5, sizes[i]);
			}
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
			for (size_t k = 0; k < 3; k++) {
				assert_int_equal(memory[i][k][sizes[i] - 1], 0xa5);
				kml_unreserve(memory[i][k], sizes[i]);
			}
	}
	kml_unreserve(NULL, 4096);
	/* Left zero by one that is smaller than the next. */
	uint8_t *small = kml_reserve(40000);
	small[39999] = 1;
	small[0] = 1;
	small[39999] = small[0] = 0;
	kml_unreserve_zero(small, 40000);
	uint8_t *large = kml_reserve(60000);
	assert_zero(large, 60000);
	large[20] = 1;
	kml_unreserve(large, 60000);
	large = kml_reserve(60000);
	assert_zero(large, 60000);
	kml_unreserve(large, 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output_appears_only_at_commit),
		cmocka_unit_test(test_abandoned_output_leaves_nothing),
		cmocka_unit_test(test_signal_removes_every_partial),
		cmocka_unit_test(test_earlier_file_survives_a_failed_write),
		cmocka_unit_test(test_unwritable_places_name_the_mend),
		cmocka_unit_test(test_a_device_is_not_replaced),
		cmocka_unit_test(test_make_directory),
		cmocka_unit_test(test_nearest_name),
		cmocka_unit_test(test_error_is_cut_not_overrun),
		cmocka_unit_test(test_status_and_waste_have_names),
		cmocka_unit_test(test_hash_map_against_a_table),
		cmocka_unit_test(test_splitmix_numbers),
		cmocka_unit_test(test_reservations_read_as_zero),
	};
	return cmocka_run_group_tests(tests, make_folder, NULL);
}
