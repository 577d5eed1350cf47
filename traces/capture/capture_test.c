/*
 * capture_test.c - captures of the kernel the tests run on: complete, bounded, interrupted, refused.
 *
 * Needs root, tracefs and /proc/slabinfo; where they are missing, the tests that need them say so and are skipped. The
 * rest of the machine is recorded too, so counts are held against what the test's own child is known to do at least.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <tracefs/tracefs.h>

#include "traces/capture/capture.h"
#include "traces/capture/ring.h"
#include "traces/capture/store.h"
#include "traces/kmt/kmt.h"

enum { SOCKETS = 500, NOBODY = 65534 };

static char folder[4096];
static char self[4096];

static int make_folder(void **state)
{
	(void)state;
	const char *parent = getenv("KMEMLAB_TEST_OUTPUT");
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	snprintf(folder, sizeof folder, "%s/capture-XXXXXX", parent ? parent : "/tmp");
	return length > 0 && mkdtemp(folder) ? 0 : -1;
}

static const char *in_folder(const char *name)
{
	static char path[sizeof folder + 64];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(in_folder("out.kmt"));
	return rmdir(folder); /* fails when a test left something behind */
}

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void skip_unless_available(void)
{
	struct kml_error error;
	if (access("/proc/slabinfo", R_OK) == 0 && ring_is_available(&error))
		return;
	print_message("skipped: %s\n",
		      access("/proc/slabinfo", R_OK) == 0 ? error.text : "/proc/slabinfo is not readable");
	skip();
}

static struct capture_options options_for(const char *output, char **command)
{
	return (struct capture_options){.output = output,
					.command = command,
					.interval_ns = 100000000,
					.buffer_bytes = 32 << 20,
					.quiet = true};
}

/* The child: sockets opened and closed one by one, then time for RCU to free the last of them. */
static int open_sockets(int count, int rest_ms)
{
	for (int i = 0; i < count; i++) {
		int file = socket(AF_UNIX, SOCK_STREAM, 0);
		if (file < 0)
			return 1;
		close(file);
	}
	sleep_ms(rest_ms);
	return 0;
}

struct counts {
	uint64_t allocs, frees; /* of the cache, as events tell */
	uint64_t slabinfos;
	uint64_t first_slabinfo, last_slabinfo; /* events before them */
	uint64_t lost;
	uint64_t events;
};

static struct counts count_trace(const char *path, const char *cache_name)
{
	struct kml_error error;
	struct counts counts = {0};
	struct kmt_reader *reader = kmt_open(path, &error);
	assert_non_null(reader);
	uint32_t cache_count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &cache_count);
	struct kmt_item item;
	enum kmt_item_kind kind;
	while ((kind = kmt_next(reader, &item, &error)) != KMT_ITEM_END) {
		assert_int_not_equal(kind, KMT_ITEM_ERROR);
		if (kind == KMT_ITEM_SNAPSHOT && item.snapshot->kind == KMT_SNAPSHOT_SLABINFO) {
			assert_memory_equal(item.snapshot->text, "slabinfo - version: 2.1\n", 24);
			counts.last_slabinfo = item.snapshot->event;
			if (counts.slabinfos++ == 0)
				counts.first_slabinfo = item.snapshot->event;
		}
		for (uint32_t i = 0; kind == KMT_ITEM_EVENTS && i < item.event_count; i++) {
			const struct kmt_event *event = &item.events[i];
			if (event->cache >= cache_count || strcmp(caches[event->cache].name, cache_name) != 0 ||
			    (event->flags & (KMT_WARM | KMT_IMPLICIT)))
				continue;
			counts.allocs += event->op == KMT_ALLOC;
			counts.frees += event->op == KMT_FREE;
		}
	}
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	counts.lost = totals->quirks[KMT_QUIRK_LOST];
	counts.events = totals->events - totals->warm_events;
	kmt_close(reader);
	return counts;
}

static void assert_no_instance_left(void)
{
	char name[32];
	snprintf(name, sizeof name, "kmemlab-%d", (int)getpid());
	assert_false(tracefs_instance_exists(name));
}

static void test_every_socket_is_seen(void **state)
{
	(void)state;
	skip_unless_available();
	char *command[] = {self, "--open-sockets", "500", "600", NULL};
	struct capture_options options = options_for(in_folder("out.kmt"), command);
	struct capture_result result;
	struct kml_error error = {0};
	if (!capture_run(&options, &result, &error))
		fail_msg("%s", error.text);
	assert_int_equal(result.command_status, 0);
	assert_int_equal(result.lost, 0);
	assert_false(result.interrupted);
	assert_true(result.snapshots >= 4); /* 0.6 s and more, one each 0.1 s */
	struct counts counts = count_trace(in_folder("out.kmt"), "sock_inode_cache");
	assert_true(counts.allocs >= SOCKETS);
	/* Sockets of other programs that live across the start or the end may differ by a few. */
	assert_true(counts.frees + 10 >= counts.allocs && counts.frees <= counts.allocs + 10);
	assert_int_equal(counts.lost, 0);
	assert_int_equal(counts.slabinfos, result.snapshots);
	assert_true(counts.last_slabinfo >= counts.first_slabinfo + counts.allocs + counts.frees - 20);
	assert_no_instance_left();
}

static void test_origin_and_caches(void **state)
{
	(void)state;
	skip_unless_available();
	char *command[] = {"/bin/true", NULL};
	struct capture_options options = options_for(in_folder("out.kmt"), command);
	options.note = "a test";
	struct capture_result result;
	struct kml_error error = {0};
	if (!capture_run(&options, &result, &error))
		fail_msg("%s", error.text);
	struct kmt_reader *reader = kmt_open(in_folder("out.kmt"), &error);
	assert_non_null(reader);
	const struct kmt_origin *origin = kmt_reader_origin(reader);
	assert_string_equal(origin->source, "capture");
	assert_string_equal(origin->command, "/bin/true");
	assert_string_equal(origin->clock, "mono");
	assert_string_equal(origin->note, "a test");
	assert_int_equal(origin->cpu_count, sysconf(_SC_NPROCESSORS_CONF));
	assert_int_equal(origin->page_bytes, sysconf(_SC_PAGESIZE));
	uint32_t cache_count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &cache_count);
	uint32_t seen = 0;
	for (uint32_t i = 0; i < cache_count; i++) {
		const struct kmt_cache *cache = &caches[i];
		if (cache->objects_per_slab == 0)
			continue;
		seen++;
		assert_true(cache->object_bytes <= cache->slot_bytes);
		assert_true(cache->slot_bytes * cache->objects_per_slab <=
			    (uint64_t)cache->pages_per_slab * origin->page_bytes);
	}
	assert_true(seen > 50); /* any kernel has more caches */
	kmt_close(reader);
}

static void test_for_a_time(void **state)
{
	(void)state;
	skip_unless_available();
	char *command[] = {"sleep", "60", NULL};
	struct capture_options options = options_for(in_folder("out.kmt"), command);
	struct capture_result result;
	struct kml_error error = {0};
	options.duration_ns = 250000000;
	if (!capture_run(&options, &result, &error))
		fail_msg("%s", error.text);
	assert_true(result.timed_out);
	assert_true(WIFSIGNALED(result.command_status) && WTERMSIG(result.command_status) == SIGTERM);
	assert_true(result.duration_ns >= 250000000);
	assert_true(result.snapshots >= 2);
	assert_int_equal(count_trace(in_folder("out.kmt"), "").lost, 0);
}

/* More than any machine has is to be left: the capture ends at once, in good order. */
static void test_memory_runs_short(void **state)
{
	(void)state;
	skip_unless_available();
	char *command[] = {"sleep", "60", NULL};
	struct capture_options options = options_for(in_folder("out.kmt"), command);
	struct capture_result result;
	struct kml_error error = {0};
	options.reserve_bytes = UINT64_C(1) << 60;
	if (!capture_run(&options, &result, &error))
		fail_msg("%s", error.text);
	assert_true(result.out_of_memory);
	assert_true(result.duration_ns < 30000000000);
	assert_true(count_trace(in_folder("out.kmt"), "").slabinfos >= 2);
}

/* A buffer far too small for 50 ms of this: what the kernel overwrites is counted, in the result and in the trace. */
static void test_lost_events_are_counted(void **state)
{
	(void)state;
	skip_unless_available();
	char *command[] = {self, "--open-sockets", "60000", "0", NULL};
	struct capture_options options = options_for(in_folder("out.kmt"), command);
	struct capture_result result;
	struct kml_error error = {0};
	options.buffer_bytes = 1;
	if (!capture_run(&options, &result, &error))
		fail_msg("%s", error.text);
	assert_true(result.lost > 0);
	assert_int_equal(count_trace(in_folder("out.kmt"), "").lost, result.lost);
}

static void test_stale_instances_are_removed(void **state)
{
	(void)state;
	skip_unless_available();
	char name[32];
	pid_t dead = fork();
	if (dead == 0)
		_exit(0);
	waitpid(dead, NULL, 0);
	snprintf(name, sizeof name, "kmemlab-%d", (int)dead);
	struct tracefs_instance *stale = tracefs_instance_create(name);
	assert_non_null(stale);
	tracefs_instance_free(stale);
	assert_true(tracefs_instance_exists(name));
	struct kml_error error = {0};
	struct ring *ring = ring_open(1 << 20, &error);
	assert_non_null(ring);
	assert_false(tracefs_instance_exists(name));
	ring_close(ring);
	assert_no_instance_left();
}

/* Each refusal leaves no file, no instance and no child behind. */
static void assert_refused(const char *output, char **command, const char *words)
{
	struct capture_options options = options_for(output, command);
	struct capture_result result;
	struct kml_error error = {0};
	assert_false(capture_run(&options, &result, &error));
	if (!strstr(error.text, words))
		fail_msg("'%s' does not say '%s'", error.text, words);
	assert_int_not_equal(access(output, F_OK), 0);
	assert_no_instance_left();
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void test_refusals(void **state)
{
	(void)state;
	skip_unless_available();
	unlink(in_folder("out.kmt"));
	assert_refused(in_folder("out.kmt"), (char *[]){"/no/such/program", NULL}, "/no/such/program");
	assert_refused(in_folder("no-folder/out.kmt"), (char *[]){"/bin/true", NULL}, "no-folder/out.kmt");
}

static void test_full_disk(void **state)
{
	(void)state;
	skip_unless_available();
	char disk[sizeof folder + 64];
	snprintf(disk, sizeof disk, "%s", in_folder("disk"));
	assert_int_equal(mkdir(disk, 0755), 0);
	if (mount("none", disk, "tmpfs", 0, "size=8k") != 0) {
		rmdir(disk);
		print_message("skipped: cannot mount a small disk: %s\n", strerror(errno));
		skip();
	}
	assert_refused(in_folder("disk/out.kmt"), (char *[]){self, "--open-sockets", "500", "0", NULL}, "space");
	assert_int_equal(umount(disk), 0);
	assert_int_equal(rmdir(disk), 0);
}

/* In a process of its own, without any right. */
static void test_without_root(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("skipped: not root, so there are no rights to give up\n");
		skip();
	}
	char output[sizeof folder + 64];
	snprintf(output, sizeof output, "%s", in_folder("out.kmt"));
	unlink(output);
	int status;
	pid_t child = fork();
	if (child == 0) {
		struct capture_options options = options_for(output, NULL);
		struct capture_result result;
		struct kml_error error = {0};
		if (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
			_exit(3);
		bool captured = capture_run(&options, &result, &error);
		_exit(!captured && strstr(error.text, "root") && strstr(error.text, "kmemlab import") ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_not_equal(access(output, F_OK), 0);
}

/* Ctrl-C ends the capture and its command; the trace is there. */
static void test_interrupt(void **state)
{
	(void)state;
	skip_unless_available();
	const char *program = getenv("KMEMLAB");
	if (!program || access(program, X_OK) != 0) {
		print_message("skipped: KMEMLAB does not name the program\n");
		skip();
		return;
	}
	unlink(in_folder("out.kmt"));
	pid_t capture = fork();
	if (capture == 0) {
		execl(program, program, "capture", "--quiet", "-o", in_folder("out.kmt"), "--", "sleep", "600",
		      (char *)NULL);
		_exit(126);
	}
	char name[32];
	snprintf(name, sizeof name, "kmemlab-%d", (int)capture);
	for (int waited_ms = 0; waited_ms < 20000 && !tracefs_instance_exists(name); waited_ms += 10)
		sleep_ms(10);
	assert_true(tracefs_instance_exists(name));
	sleep_ms(500);
	assert_int_equal(kill(capture, SIGINT), 0);
	int status;
	assert_int_equal(waitpid(capture, &status, 0), capture);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(count_trace(in_folder("out.kmt"), "").slabinfos >= 2);
	assert_false(tracefs_instance_exists(name));
}

/* More than one chunk of memory holds comes back as it went in. */
static void test_store(void **state)
{
	(void)state;
	struct kml_error error = {0};
	struct store *store = store_create(1, &error);
	assert_non_null(store);
	assert_null(store_take(store));
	enum { ENTRIES = 3000, ENTRY_BYTES = 16000 };
	for (uint32_t i = 0; i < ENTRIES; i++) {
		struct store_entry *entry = store_reserve(store, ENTRY_BYTES, &error);
		assert_non_null(entry);
		entry->kind = STORE_PAGE;
		entry->detail = i;
		entry->bytes = ENTRY_BYTES - i; /* less than reserved */
		memset(entry->data, (int)(i & 0xff), entry->bytes);
		store_append(store, entry);
	}
	assert_non_null(store_reserve(store, store_entry_bytes_max(), &error)); /* never appended */
	for (uint32_t i = 0; i < ENTRIES; i++) {
		const struct store_entry *entry = store_take(store);
		assert_non_null(entry);
		assert_int_equal(entry->detail, i);
		assert_int_equal(entry->bytes, ENTRY_BYTES - i);
		assert_int_equal(entry->data[0], i & 0xff);
		assert_int_equal(entry->data[entry->bytes - 1], i & 0xff);
	}
	assert_null(store_take(store));
	store_destroy(store);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "--open-sockets") == 0)
		return open_sockets(atoi(argv[2]), atoi(argv[3]));
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store),
		cmocka_unit_test(test_every_socket_is_seen),
		cmocka_unit_test(test_origin_and_caches),
		cmocka_unit_test(test_for_a_time),
		cmocka_unit_test(test_memory_runs_short),
		cmocka_unit_test(test_lost_events_are_counted),
		cmocka_unit_test(test_stale_instances_are_removed),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_without_root),
		cmocka_unit_test(test_interrupt),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
