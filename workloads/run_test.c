/*
 * run_test.c - `kmemlab run`, `replay` and `view` as their users meet them: the same bytes whatever the number of jobs,
 * a bad cell that costs only itself, and nothing lost or left behind.
 */
#include "workloads/testing.h"

#include <sys/stat.h>
#include <sys/wait.h>

static char folder[2048], first[3000], second[3000];
static char text[1 << 20];

__attribute__((format(printf, 1, 2))) static int kmemlab(const char *format, ...)
{
	char arguments[8192], command[16384];
	va_list list;
	va_start(list, format);
	vsnprintf(arguments, sizeof arguments, format, list);
	va_end(list);
	const char *program = getenv("KMEMLAB");
	snprintf(command, sizeof command, "'%s' %s > '%s/out' 2> '%s/err'", program ? program : "kmemlab", arguments,
		 folder, folder);
	int status = system(command);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static const char *read_text(const char *name)
{
	char path[4200];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	FILE *stream = fopen(path, "rb");
	if (!stream)
		fail_msg("%s is not there", path);
	size_t bytes = fread(text, 1, sizeof text - 1, stream);
	fclose(stream);
	text[bytes] = '\0';
	return text;
}

static int prepare(void **state)
{
	struct test_trace trace;
	(void)state;
	snprintf(folder, sizeof folder, "%s/run-%ld", test_output(), (long)getpid());
	if (mkdir(folder, 0777) != 0)
		return -1;
	test_trace_begin(&trace, "first");
	add_churn(&trace, 2000, 200, 3000, 7);
	test_trace_snapshot(&trace, KMT_SNAPSHOT_BUDDYINFO,
			    "Node 0, zone   Normal      1      2      3      0      0      0      0      0      0      "
			    "0      4 \n");
	test_trace_write(&trace);
	strcpy(first, trace.path);
	test_trace_begin(&trace, "second");
	add_churn(&trace, 1000, 50, 9000, 8);
	test_trace_write(&trace);
	strcpy(second, trace.path);
	return 0;
}

static int clean_up(void **state)
{
	char command[4096];
	(void)state;
	unlink(first);
	unlink(second);
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

static bool same_file(const char *left, const char *right)
{
	char command[8400];
	snprintf(command, sizeof command, "cmp -s '%s/%s' '%s/%s'", folder, left, folder, right);
	return system(command) == 0;
}

static uint32_t lines_with(const char *content, const char *word)
{
	uint32_t count = 0;
	for (const char *at = content; (at = strstr(at, word)) != NULL; at += strlen(word))
		count++;
	return count;
}

static void same_bytes_whatever_the_number_of_jobs(void **state)
{
	static const char *const files[] = {"summary.csv", "samples.csv", "orders.csv", "map.csv"};
	const char *specs = "-a binary -a fibonacci -a kary:k=4 -a binary:unit=16,policy=fifo -a first_fit -a nop";
	(void)state;
	for (int jobs = 1; jobs <= 5; jobs += 4)
		assert_int_equal(kmemlab("run '%s' '%s' %s --out '%s/jobs%d' --jobs %d --samples 7 --no-figures", first,
					 second, specs, folder, jobs, jobs),
				 0);
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		char left[64], right[64];
		snprintf(left, sizeof left, "jobs1/%s", files[i]);
		snprintf(right, sizeof right, "jobs5/%s", files[i]);
		assert_true(same_file(left, right));
	}
	/* 2 traces, 6 stacks, 2 levels; 7 samples; 11 orders. */
	assert_int_equal(lines_with(read_text("jobs1/summary.csv"), "\n"), 1 + 24);
	assert_int_equal(lines_with(read_text("jobs1/summary.csv"), ",ok,"), 24);
	assert_int_equal(lines_with(read_text("jobs1/summary.csv"), "\"binary:unit=16,policy=fifo\""), 4);
	assert_int_equal(lines_with(read_text("jobs1/samples.csv"), "\n"), 1 + 24 * 7);
	assert_int_equal(lines_with(read_text("jobs1/orders.csv"), "\n"), 1 + 24 * 7 * 11);
	assert_int_equal(lines_with(read_text("jobs1/map.csv"), "\n"), 1 + 24 * 7);
	assert_int_equal(lines_with(read_text("jobs1/timing.csv"), "\n"), 1 + 24);
	assert_int_equal(lines_with(read_text("jobs1/manifest.json"), "\"xxh64\""), 2);
}

/* A crash, a lie, no work and a kernel that is not in the trace: rows with a reason; the good cell is there. */
static void a_bad_cell_costs_only_itself(void **state)
{
	(void)state;
	assert_int_equal(
		kmemlab("run '%s' --plugin '%s' -a crasher -a liar -a refuser -a recorded -a binary --level all "
			"--no-min --no-figures --out '%s/bad'",
			first, BROKEN_PLUGIN, folder),
		1);
	const char *summary = read_text("bad/summary.csv");
	assert_int_equal(lines_with(summary, ",invalid,"), 4);
	assert_int_equal(lines_with(summary, ",ok,"), 1);
	assert_non_null(strstr(summary, "crasher,all,invalid,died of signal 9"));
	assert_non_null(strstr(summary, "liar,all,invalid,\"check failed: after event"));
	assert_non_null(strstr(summary, "refuser,all,invalid,no work: all "));
	assert_non_null(strstr(summary, "recorded,all,invalid,no work: the trace does not tell"));
	/* Every row has the columns of the header. */
	uint32_t columns = 0, commas = 0;
	bool quoted = false;
	for (const char *at = summary; *at; at++) {
		quoted ^= *at == '"';
		commas += *at == ',' && !quoted;
		if (*at != '\n')
			continue;
		columns = columns ? columns : commas;
		assert_int_equal(commas, columns);
		commas = 0;
	}
	assert_null(strstr(read_text("bad/samples.csv"), "crasher"));
	assert_null(strstr(read_text("bad/timing.csv"), "liar"));
}

static void earlier_results_stay_when_a_run_fails(void **state)
{
	char path[3200];
	(void)state;
	assert_int_equal(kmemlab("run '%s' -a binary --no-min --no-figures --out '%s/kept'", first, folder), 0);
	snprintf(path, sizeof path, "%s/kept.csv", folder);
	assert_int_equal(kmemlab("run /nowhere.kmt -a binary --no-figures --out '%s/kept'", folder), 2);
	assert_non_null(strstr(read_text("err"), "/nowhere.kmt"));
	assert_int_equal(kmemlab("run '%s' -a binray --no-figures --out '%s/kept'", first, folder), 2);
	assert_non_null(strstr(read_text("err"), "binary"));
	assert_int_equal(kmemlab("run '%s' -a binary -a binary --no-figures --out '%s/kept'", first, folder), 2);
	assert_int_equal(lines_with(read_text("kept/summary.csv"), ",ok,"), 2);
	/* A full disk: the cells cannot write. */
	char command[20000];
	snprintf(command, sizeof command,
		 "ulimit -f 8; trap '' XFSZ; '%s' run '%s' -a binary --no-min --no-figures --out '%s/kept' 2> '%s/err'",
		 getenv("KMEMLAB"), first, folder, folder);
	int status = system(command);
	assert_int_equal(WEXITSTATUS(status), 2);
	assert_non_null(strstr(read_text("err"), "cannot write"));
	assert_int_equal(lines_with(read_text("kept/summary.csv"), ",ok,"), 2);
	snprintf(command, sizeof command, "ls '%s' | grep -c partial", folder);
	assert_int_not_equal(system(command), 0);
	/* The same name again: replaced. Another kind of folder: left alone. */
	assert_int_equal(kmemlab("run '%s' -a fibonacci --no-min --no-figures --out '%s/kept/'", first, folder), 0);
	assert_null(strstr(read_text("kept/summary.csv"), "binary"));
	assert_int_equal(kmemlab("run '%s' -a binary --no-min --no-figures --out '%s'", first, folder), 2);
	assert_non_null(strstr(read_text("err"), "no earlier run"));
}

static void the_arena_can_be_the_smallest_or_given(void **state)
{
	(void)state;
	assert_int_equal(
		kmemlab("run '%s' -a binary --level all --arena min --no-figures --out '%s/min'", first, folder), 0);
	unsigned long arena_bytes, smallest_bytes;
	const char *row = strstr(read_text("min/summary.csv"), "binary,all,ok,,");
	assert_non_null(row);
	assert_int_equal(sscanf(row, "binary,all,ok,,%lu,%lu", &arena_bytes, &smallest_bytes), 2);
	assert_int_equal(arena_bytes, smallest_bytes);
	assert_int_equal(arena_bytes % TEST_PAGE_BYTES, 0);
	assert_int_equal(kmemlab("replay '%s' -a binary --arena %lu --json", first, arena_bytes), 0);
	assert_non_null(strstr(read_text("out"), "\"failures\":\t{\n\t}"));
	assert_int_equal(kmemlab("replay '%s' -a binary --arena %lu --json", first, arena_bytes - TEST_PAGE_BYTES), 0);
	assert_null(strstr(read_text("out"), "\"failures\":\t{\n\t}"));
}

static void replay_checks_and_reports(void **state)
{
	(void)state;
	assert_int_equal(kmemlab("replay '%s' --allocator fibonacci --check", first), 0);
	assert_non_null(strstr(read_text("out"), "check: ok"));
	assert_int_equal(kmemlab("replay '%s' --allocator liar --plugin '%s' --check", first, BROKEN_PLUGIN), 1);
	assert_non_null(strstr(read_text("err"), "event"));
	assert_int_equal(kmemlab("replay '%s' --allocator binary --level nonsense", first), 2);
	assert_int_equal(kmemlab("replay '%s'", first), 2);
	assert_int_equal(kmemlab("replay --allocator binary"), 2);
	assert_int_equal(kmemlab("replay '%s' --allocator binary --arena 0", first), 2);
	assert_int_equal(kmemlab("replay '%s' --allocator binary --arena 9999T", first), 2);
}

static void views_are_in_the_kernels_format(void **state)
{
	(void)state;
	/* The arena of 16 MiB, of which nothing is used at the first event but one block. */
	assert_int_equal(kmemlab("view buddyinfo '%s' --allocator binary --level pages --arena 16M", first), 0);
	unsigned long count;
	int length = 0;
	char zone[32];
	const char *line = read_text("out");
	assert_int_equal(sscanf(line, "Node 0, zone %8s%n", zone, &length), 1);
	assert_string_equal(zone, "Normal");
	assert_memory_equal(line, "Node 0, zone   Normal ", 22);
	for (int order = 0; order < 11; order++) {
		assert_int_equal(sscanf(line + 22 + 7 * order, "%6lu ", &count), 1);
		assert_int_equal(line[22 + 7 * order + 6], ' ');
	}
	assert_string_equal(line + 22 + 7 * 11, "\n");
	assert_int_equal(kmemlab("view buddyinfo '%s' --allocator recorded", first), 0);
	assert_string_equal(read_text("out"), "Node 0, zone   Normal      1      2      3      0      0      0      0  "
					      "    0      0      0      4 \n");
	assert_int_equal(kmemlab("view buddyinfo '%s' --allocator recorded", second), 2);
	assert_int_equal(kmemlab("view buddyinfo '%s' --allocator recorded --at 10", first), 2);
	assert_int_equal(kmemlab("view slabtop '%s' --allocator binary", first), 2);
	assert_int_equal(kmemlab("view buddyinfo '%s' --allocator binary --at 1", first), 0);
	assert_int_equal(kmemlab("view buddyinfo '%s' --allocator binary --at 0.001s", first), 0);
	assert_int_equal(kmemlab("view buddyinfo '%s' --allocator binary --at soon", first), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_bytes_whatever_the_number_of_jobs),
		cmocka_unit_test(a_bad_cell_costs_only_itself),
		cmocka_unit_test(earlier_results_stay_when_a_run_fails),
		cmocka_unit_test(the_arena_can_be_the_smallest_or_given),
		cmocka_unit_test(replay_checks_and_reports),
		cmocka_unit_test(views_are_in_the_kernels_format),
	};
	return cmocka_run_group_tests(tests, prepare, clean_up);
}
