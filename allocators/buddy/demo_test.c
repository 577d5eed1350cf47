/*
 * demo_test.c - what `kmemlab demo` prints: whole pages against golden/, and the figures of each example by themselves,
 * so that golden files made anew from a wrong program are noticed.
 *
 * Golden files are made by: for e in $(build/kmemlab demo --list | cut -d' ' -f1); do
 *     build/kmemlab demo $e > allocators/buddy/golden/$e.txt; done
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { TEXT_MAX = 1 << 16, FIGURES_MAX = 12 };

struct text {
	char text[TEXT_MAX];
	int exit_status;
};

static void read_all(FILE *stream, struct text *text)
{
	size_t length = fread(text->text, 1, sizeof text->text - 1, stream);
	text->text[length] = '\0';
}

/* Run `kmemlab demo ARGUMENTS`, standard error included. */
static void demo(const char *arguments, struct text *text)
{
	const char *program = getenv("KMEMLAB");
	assert_non_null(program);
	char command[4096];
	snprintf(command, sizeof command, "'%s' demo %s 2>&1", program, arguments);
	FILE *pipe = popen(command, "r"); // NOLINT(bugprone-command-processor,cert-env33-c): the test's own program
	assert_non_null(pipe);
	read_all(pipe, text);
	int status = pclose(pipe);
	assert_true(WIFEXITED(status));
	text->exit_status = WEXITSTATUS(status);
}

static void read_golden(const char *example, struct text *text)
{
	const char *source = getenv("KMEMLAB_SOURCE");
	char path[4096];
	snprintf(path, sizeof path, "%s/allocators/buddy/golden/%s.txt", source ? source : ".", example);
	FILE *file = fopen(path, "r");
	if (!file) {
		fail_msg("cannot read %s", path);
		return;
	}
	read_all(file, text);
	fclose(file);
}

/* Figures worked out by hand; each must be in the text, in this order. */
struct expectation {
	const char *example;
	const char *figures[FIGURES_MAX];
};

static const struct expectation expectations[] = {
	{"binary",
	 {"A = 70k", "128k granted at 0, 58k", "B = 61k", "64k granted at 128k, 3k", "C = 100k",
	  "128k granted at 256k, 28k", "D = 33k", "64k granted at 192k, 31k", "free B", "merges: 0", "merges: 2",
	  "largest free block 1024k"}},
	{"rounding", {"16 granted at 0, 6 of it", "splits: 3", "1 of 16, 1 of 32, 1 of 64"}},
	{"fibonacci", {"89 granted at 0, 19 of it", "splits: 1", "its buddy: 1 of 55", "largest free block 144"}},
	{"weights", {"1 of 64k, 1 of 128k", "128k granted at 0, 38k", "the smallest weight that fits is 2"}},
	{"ternary", {"27k granted at 0, 7k", "2 of 27k", "largest free block 81k"}},
	{"pages",
	 {"8k granted at 0, 0 of it", "splits: 9",
	  "Node 0, zone   Normal      0      1      1      1      1      1      1      1      1      1      3 \n",
	  "merges: 9", "4             3               4", "1 of 8192k", "1 of 16384k"}},
	{"order", {"A = 36k", "64k granted at 0, 28k", "order 4: 16 pages, 7 of them wasted"}},
	{"fragmentation",
	 {"16256k of 16384k are free (99.2 %)", "largest free block is 256k", "no contiguous run",
	  "Node 0, zone   Normal     32     32     32     32     32     32     32      0      0      0      0 \n",
	  /* (1000 - (1000 + 4064*1000/256)/224)/1000, mm/vmstat.c */
	  "unusable_index 1.000", "extfrag_index 0.925"}},
	{"vmalloc",
	 /* 4096 pages less one in 16 are free; a run between two of them has 15: no block of more than 8 */
	 {"15360k free, the largest block 32k", "kmalloc(1024k) fails: no contiguous run", "vmalloc(1024k) succeeds",
	  "1048576 bytes in a row", "in 256 pages", "256 requests to the page allocator"}},
	{"slabinfo",
	 {"54321     55000       656        12         2", "4584 slabs", "9168 pages", "35.8 MiB",
	  "9200 slabs and 72 MiB", "71.6 MiB", "55000 / 6 = 9167", "54321 live",
	  "55008 on 4584 slabs, 9168 pages, 35.8 MiB"}},
};
enum { EXPECTATIONS = sizeof expectations / sizeof expectations[0] };

static void every_example_shows_its_figures(void **state)
{
	(void)state;
	static struct text shown;
	for (uint32_t i = 0; i < EXPECTATIONS; i++) {
		demo(expectations[i].example, &shown);
		assert_int_equal(shown.exit_status, 0);
		const char *at = shown.text;
		for (uint32_t j = 0; j < FIGURES_MAX && expectations[i].figures[j]; j++) {
			at = strstr(at, expectations[i].figures[j]);
			if (!at) {
				fail_msg("%s: no '%s' where it should be", expectations[i].example,
					 expectations[i].figures[j]);
				return;
			}
		}
	}
}

static void every_example_is_its_golden_text(void **state)
{
	(void)state;
	static struct text shown, golden, all, list;
	static char joined[TEXT_MAX];
	joined[0] = '\0';
	for (uint32_t i = 0; i < EXPECTATIONS; i++) {
		demo(expectations[i].example, &shown);
		read_golden(expectations[i].example, &golden);
		assert_string_equal(shown.text, golden.text);
		assert_true(strlen(joined) + strlen(golden.text) + 2 < sizeof joined);
		if (i > 0)
			strcat(joined, "\n");
		strcat(joined, golden.text);
	}
	demo("", &all);
	assert_string_equal(all.text, joined);
	demo("--list", &list);
	uint32_t lines = 0;
	for (const char *c = list.text; *c; c++)
		lines += *c == '\n';
	assert_int_equal(lines, EXPECTATIONS); /* none is without a test */
}

static void unknown_example_names_the_nearest(void **state)
{
	(void)state;
	static struct text shown;
	demo("fibonaci", &shown);
	assert_int_equal(shown.exit_status, 2);
	assert_non_null(strstr(shown.text, "the nearest is 'fibonacci'"));
}

static void full_disk_is_an_error(void **state)
{
	(void)state;
	static struct text shown;
	demo(">/dev/full", &shown);
	assert_int_equal(shown.exit_status, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_example_shows_its_figures),
		cmocka_unit_test(every_example_is_its_golden_text),
		cmocka_unit_test(unknown_example_names_the_nearest),
		cmocka_unit_test(full_disk_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
