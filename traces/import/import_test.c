/*
 * import_test.c - what the import makes of kernel traces.
 *
 * fixtures/NAME.txt is a trace, NAME.snapshots (where there is one) a folder of snapshots, NAME.expected the events,
 * snapshots and quirks that must come of it, typed by hand from the rules. A case is added by adding files.
 * The rest: forms of input, damage of every kind, strict mode.
 */
#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "kmemlab/support/error.h"
#include "traces/import/import.h"

#define FIXTURES "traces/import/fixtures/"

static const char *output_folder(void)
{
	const char *folder = getenv("KMEMLAB_TEST_OUTPUT");
	return folder == NULL ? "/tmp" : folder;
}

static void output_path(char *path, size_t size, const char *name)
{
	snprintf(path, size, "%s/import_%d_%s", output_folder(), (int)getpid(), name);
}

/* ------------------------------------------------------------------------------------------------- texts */

struct text {
	char *bytes;
	size_t length;
};

static void append(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(struct text *text, const char *format, ...)
{
	char line[1024]; /* one line */
	va_list arguments;

	va_start(arguments, format);
	int length = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	assert_in_range(length, 0, sizeof(line) - 1);
	text->bytes = realloc(text->bytes, text->length + (size_t)length + 1);
	assert_non_null(text->bytes);
	memcpy(text->bytes + text->length, line, (size_t)length + 1);
	text->length += (size_t)length;
}

static struct text read_whole(const char *path)
{
	struct text text = {.bytes = calloc(1, 1)};
	FILE *file = fopen(path, "r");
	char line[8192];

	if (file == NULL)
		fail_msg("%s is missing", path);
	assert_non_null(text.bytes);
	while (fgets(line, sizeof(line), file) != NULL) {
		text.bytes = realloc(text.bytes, text.length + strlen(line) + 1);
		assert_non_null(text.bytes);
		memcpy(text.bytes + text.length, line, strlen(line) + 1);
		text.length += strlen(line);
	}
	fclose(file);
	assert_true(text.length > 0);
	return text;
}

static void write_whole(const char *path, const void *bytes, size_t length)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

/* ---------------------------------------------------------------------------------------------- rendering */

static void append_event(struct text *text, const struct kmt_event *event, const struct kmt_cache *caches)
{
	static const struct {
		uint32_t flag;
		const char *word;
	} flags[] = {{KML_MOVABLE, "movable"},       {KML_RECLAIMABLE, "reclaimable"},
		     {KML_ATOMIC, "atomic"},         {KML_ZEROED, "zeroed"},
		     {KML_CONTIGUOUS, "contiguous"}, {KML_PAGES, "pages"},
		     {KML_KMALLOC, "kmalloc"},       {KML_DMA, "dma"},
		     {KMT_SLAB_PAGE, "slab_page"},   {KMT_WARM, "warm"},
		     {KMT_IMPLICIT, "implicit"},     {KMT_LARGE, "large"},
		     {KMT_ACCOUNTED, "accounted"}};
	const char *cache = event->cache == KMT_NO_CACHE ? "-" : caches[event->cache].name;

	append(text, "%" PRIu64 " cpu%u %s", event->time_ns, event->cpu, kmt_op_name((enum kmt_op)event->op));
	if (event->op == KMT_MARK) {
		append(text, "\n");
		return;
	}
	if (event->op == KMT_REAP) {
		append(text, " kind=%u objects=%" PRIu64 "/%" PRIu64 " %s\n", event->order, event->size_bytes,
		       event->granted_bytes, cache);
		return;
	}
	append(text, " #%u %" PRIu64 "/%" PRIu64 " %s @", event->object, event->size_bytes, event->granted_bytes,
	       cache);
	if (event->address == KMT_NO_ADDRESS)
		append(text, "-");
	else
		append(text, "%" PRIx64, event->address);
	if ((event->flags & KML_PAGES) != 0)
		append(text, " order=%u", event->order);
	if (event->align_log2 != 0)
		append(text, " align=%u", 1u << event->align_log2);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		if ((event->flags & flags[i].flag) != 0)
			append(text, " %s", flags[i].word);
	}
	append(text, "\n");
}

static void append_snapshot(struct text *text, const struct kmt_snapshot *snapshot)
{
	const char *name = snapshot->kind == KMT_SNAPSHOT_MARK ? snapshot->text : snapshot->label;

	append(text, "%" PRIu64 " snapshot %s %s\n", snapshot->time_ns, kmt_snapshot_name(snapshot->kind), name);
}

static struct text render(const char *path)
{
	struct kml_error error = {0};
	struct text text = {0};
	struct kmt_item item;
	uint32_t cache_count;
	struct kmt_reader *reader = kmt_open(path, &error);

	if (reader == NULL)
		fail_msg("%s", error.text);
	const struct kmt_origin *origin = kmt_reader_origin(reader);
	const struct kmt_cache *caches = kmt_reader_caches(reader, &cache_count);
	append(&text, "cpus=%u page=%u base=0x%" PRIx64 "%s\n", origin->cpu_count, origin->page_bytes,
	       origin->direct_map_base, origin->at_boot ? " boot" : "");
	for (enum kmt_item_kind kind; (kind = kmt_next(reader, &item, &error)) != KMT_ITEM_END;) {
		if (kind == KMT_ITEM_ERROR)
			fail_msg("%s", error.text);
		for (uint32_t i = 0; kind == KMT_ITEM_EVENTS && i < item.event_count; i++)
			append_event(&text, &item.events[i], caches);
		if (kind == KMT_ITEM_SNAPSHOT)
			append_snapshot(&text, item.snapshot);
	}
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	for (int i = 0; i < KMT_QUIRK_COUNT; i++) {
		if (totals->quirks[i] != 0)
			append(&text, "quirk %s %" PRIu64 "\n", kmt_quirk_name((enum kmt_quirk)i), totals->quirks[i]);
	}
	kmt_close(reader);
	return text;
}

/* ----------------------------------------------------------------------------------------------- importing */

static bool import_path(struct import *import, const char *path, const char *snapshots, const char *out,
			struct kml_error *error)
{
	struct import_input *input = import_input_open(path, error);
	bool done = input != NULL && import_any(import, input, error) &&
		    (snapshots == NULL || import_snapshots(import, snapshots, error)) &&
		    import_write(import, out, error);

	import_input_close(input);
	return done;
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

/* Import one file; *error tells why not. The .kmt is removed again, and must not be there after a failure. */
static bool try_import(const char *path, bool strict, struct kml_error *error)
{
	struct import_options options = {.strict = strict, .quiet = true};
	struct import *import = import_create(&options);
	char out[4096];

	output_path(out, sizeof(out), "try.kmt");
	memset(error, 0, sizeof(*error));
	assert_non_null(import);
	bool done = import_path(import, path, NULL, out, error);
	assert_int_equal(exists(out), done);
	if (!done)
		assert_string_not_equal(error->text, "");
	import_destroy(import);
	unlink(out);
	return done;
}

static bool try_bytes(const void *bytes, size_t length, bool strict, struct kml_error *error)
{
	char path[4096];

	output_path(path, sizeof(path), "try.txt");
	write_whole(path, bytes, length);
	bool done = try_import(path, strict, error);
	unlink(path);
	return done;
}

static void expect_refused(const void *bytes, size_t length, const char *fragment)
{
	struct kml_error error;

	assert_false(try_bytes(bytes, length, false, &error));
	if (strstr(error.text, fragment) == NULL)
		fail_msg("the error should hold \"%s\": %s", fragment, error.text);
}

/* ------------------------------------------------------------------------------------------------ fixtures */

static bool warned(const struct import *import, const char *fragment)
{
	const char *warning;

	for (uint32_t i = 0; (warning = import_warning(import, i)) != NULL; i++) {
		if (strstr(warning, fragment) != NULL)
			return true;
	}
	return false;
}

/* Comments are for the reader; "warning TEXT" is a warning that must have been given. */
static struct text expected_of(const char *path, const struct import *import)
{
	struct text whole = read_whole(path), kept = {0};
	char *state;

	for (char *line = strtok_r(whole.bytes, "\n", &state); line != NULL; line = strtok_r(NULL, "\n", &state)) {
		if (line[0] == '#')
			continue;
		if (strncmp(line, "warning ", 8) != 0)
			append(&kept, "%s\n", line);
		else if (!warned(import, line + 8))
			fail_msg("%s: no such warning: %s", path, line + 8);
	}
	free(whole.bytes);
	return kept;
}

/* false, with both texts shown, when they differ. */
static bool check_fixture(const char *name)
{
	struct import_options options = {.quiet = true};
	struct import *import = import_create(&options);
	char path[4096], snapshots[4096], out[4096];
	struct kml_error error = {0};

	assert_non_null(import);
	snprintf(path, sizeof(path), FIXTURES "%s.txt", name);
	snprintf(snapshots, sizeof(snapshots), FIXTURES "%s.snapshots", name);
	output_path(out, sizeof(out), "fixture.kmt");
	if (!import_path(import, path, exists(snapshots) ? snapshots : NULL, out, &error))
		fail_msg("%s: %s", name, error.text);
	struct text actual = render(out);
	snprintf(path, sizeof(path), FIXTURES "%s.expected", name);
	struct text expected = expected_of(path, import);
	bool same = actual.bytes != NULL && expected.bytes != NULL && strcmp(actual.bytes, expected.bytes) == 0;
	if (!same)
		fprintf(stderr, "%s:\n--- expected\n%s--- actual\n%s", name, expected.bytes, actual.bytes);
	free(actual.bytes);
	free(expected.bytes);
	unlink(out);
	import_destroy(import);
	return same;
}

static int is_trace(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');
	return dot != NULL && strcmp(dot, ".txt") == 0;
}

static void every_fixture_gives_what_was_typed_by_hand(void **state)
{
	struct dirent **entries;
	int count = scandir(FIXTURES, &entries, is_trace, alphasort);

	(void)state;
	assert_in_range(count, 31, 1000);
	int failures = 0;
	for (int i = 0; i < count; i++) {
		*strrchr(entries[i]->d_name, '.') = '\0';
		failures += !check_fixture(entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	assert_int_equal(failures, 0);
}

/* -------------------------------------------------------------------------------------------------- forms */

static const char one_event[] =
	"a-1 [000] ..... 1.000001: kmem_cache_alloc: call_site=a+0x1/0x2 ptr=ffff888000000100 name=filp bytes_req=184 "
	"bytes_alloc=192 gfp_flags=GFP_KERNEL node=-1 accounted=false\n";

/* Lines of many allocations: enough to fill the buffers several times. */
static struct text many_events(uint32_t count)
{
	struct text text = {0};

	text.bytes = malloc((size_t)count * 200 + 1);
	assert_non_null(text.bytes);
	for (uint32_t i = 0; i < count; i++)
		text.length += (size_t)sprintf(text.bytes + text.length,
					       "a-1 [000] ..... 1.%06u: kmem_cache_alloc: call_site=a+0x1/0x2 "
					       "ptr=ffff8880%08x name=filp bytes_req=184 bytes_alloc=192 "
					       "gfp_flags=GFP_KERNEL node=-1 accounted=false\n",
					       i % 1000000, i * 192);
	return text;
}

static struct text gzipped(const void *bytes, size_t length)
{
	z_stream stream = {0};
	struct text packed = {.bytes = malloc(length + 1024)};

	assert_non_null(packed.bytes);
	assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	stream.next_in = (Bytef *)bytes;
	stream.avail_in = (uInt)length;
	stream.next_out = (Bytef *)packed.bytes;
	stream.avail_out = (uInt)(length + 1024);
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	packed.length = stream.total_out;
	deflateEnd(&stream);
	return packed;
}

static struct text zstd_packed(const void *bytes, size_t length)
{
	struct text packed = {.bytes = malloc(ZSTD_compressBound(length))};

	assert_non_null(packed.bytes);
	packed.length = ZSTD_compress(packed.bytes, ZSTD_compressBound(length), bytes, length, 3);
	assert_false(ZSTD_isError(packed.length));
	return packed;
}

static uint64_t events_of(const struct text *bytes)
{
	struct import_options options = {.quiet = true};
	struct import *import = import_create(&options);
	char path[4096], out[4096];
	struct kml_error error = {0};

	output_path(path, sizeof(path), "form.bin");
	output_path(out, sizeof(out), "form.kmt");
	write_whole(path, bytes->bytes, bytes->length);
	if (!import_path(import, path, NULL, out, &error))
		fail_msg("%s", error.text);
	uint64_t events = import_totals(import)->events;
	import_destroy(import);
	unlink(path);
	unlink(out);
	return events;
}

static void plain_gzip_and_zstd_are_told_by_content(void **state)
{
	struct text plain = many_events(30000);
	struct text gzip = gzipped(plain.bytes, plain.length), zstd = zstd_packed(plain.bytes, plain.length);

	(void)state;
	assert_int_equal(events_of(&plain), 30000);
	assert_int_equal(events_of(&gzip), 30000);
	assert_int_equal(events_of(&zstd), 30000);
	free(plain.bytes);
	free(gzip.bytes);
	free(zstd.bytes);
}

static struct text twice(const struct text *bytes)
{
	struct text both = {.bytes = malloc(bytes->length * 2), .length = bytes->length * 2};

	assert_non_null(both.bytes);
	memcpy(both.bytes, bytes->bytes, bytes->length);
	memcpy(both.bytes + bytes->length, bytes->bytes, bytes->length);
	return both;
}

/* As zcat and zstdcat: `cat a.gz b.gz` is a gzip file. Each object is allocated twice, so freed once in between. */
static void members_and_frames_one_after_the_other_are_one_stream(void **state)
{
	struct text plain = many_events(1000);
	struct text gzip = gzipped(plain.bytes, plain.length), zstd = zstd_packed(plain.bytes, plain.length);
	struct text two_gzip = twice(&gzip), two_zstd = twice(&zstd);

	(void)state;
	assert_int_equal(events_of(&two_gzip), 3000);
	assert_int_equal(events_of(&two_zstd), 3000);
	free(plain.bytes);
	free(gzip.bytes);
	free(zstd.bytes);
	free(two_gzip.bytes);
	free(two_zstd.bytes);
}

/* ------------------------------------------------------------------------------------------------- damage */

static void truncated_and_damaged_streams_are_refused_with_the_offset(void **state)
{
	struct text plain = many_events(20000);
	struct text packed[2] = {gzipped(plain.bytes, plain.length), zstd_packed(plain.bytes, plain.length)};

	(void)state;
	for (int i = 0; i < 2; i++) {
		/* Where the file ends is where the error says. */
		char offset[64];
		snprintf(offset, sizeof(offset), "at byte %zu", packed[i].length / 2);
		expect_refused(packed[i].bytes, packed[i].length / 2, "truncated");
		expect_refused(packed[i].bytes, packed[i].length / 2, offset);
		expect_refused(packed[i].bytes, packed[i].length - 1, "truncated");
		memset(packed[i].bytes + packed[i].length / 2, 0xff, 64);
		expect_refused(packed[i].bytes, packed[i].length, "damaged");
		free(packed[i].bytes);
	}
	free(plain.bytes);
}

static void files_that_are_no_trace_are_refused_by_name(void **state)
{
	static const char zeros[4096];
	static char long_line[70000];

	(void)state;
	memset(long_line, 'x', sizeof(long_line));
	expect_refused("", 0, "is empty");
	expect_refused("\n\n\n", 3, "no kmem event");
	expect_refused("hello\nworld\n", 12, "no kmem event in its 2 lines");
	expect_refused(zeros, sizeof(zeros), "neither trace text nor perf.data nor trace.dat");
	expect_refused("\x7f"
		       "ELF\x02\x01\x01\0",
		       9, "at byte 7: is neither");
	expect_refused("\x17\x08\x44tracing6", 11, "libtracecmd cannot read it");
	expect_refused("\x89KMT\r\n\x1a\n", 8, "is a .kmt trace already");
	expect_refused("slabinfo - version: 2.1\n", 24, "no cache in any of its snapshots");
	expect_refused(long_line, sizeof(long_line), "a line longer than");
	expect_refused("# tracer: nop\n#\n", 16, "no kmem event");
}

static void hidden_pointers_name_the_mend(void **state)
{
	static const char hidden[] =
		"a-1 [000] ..... 1.000001: kfree: call_site=(____ptrval____) ptr=(____ptrval____)\n";

	(void)state;
	expect_refused(hidden, sizeof(hidden) - 1, "hash-ptr");
	expect_refused(hidden, sizeof(hidden) - 1, "no_hash_pointers");
}

static void a_missing_or_unreadable_file_is_named(void **state)
{
	struct kml_error error = {0};

	(void)state;
	assert_null(import_input_open("no/such/file", &error));
	assert_non_null(strstr(error.text, "no/such/file"));
	assert_null(import_input_open("traces", &error));
	assert_non_null(strstr(error.text, "is a folder"));
}

static uint64_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

/* Bytes of every fixture changed, lines dropped and doubled: an error or a trace, never a crash. */
static void mutated_fixtures_never_crash(void **state)
{
	struct dirent **entries;
	int count = scandir(FIXTURES, &entries, is_trace, alphasort);
	uint64_t random = 20250101, imported = 0;

	(void)state;
	for (int i = 0; i < count; i++) {
		char path[4096];
		snprintf(path, sizeof(path), FIXTURES "%s", entries[i]->d_name);
		struct text original = read_whole(path);
		for (int round = 0; round < 20; round++) {
			struct text mutant = {.bytes = malloc(original.length * 2 + 1), .length = original.length};
			assert_non_null(mutant.bytes);
			memcpy(mutant.bytes, original.bytes, original.length);
			for (uint64_t changes = 1 + next_random(&random) % 12; changes > 0; changes--)
				mutant.bytes[next_random(&random) % (mutant.length + 1)] =
					"0123456789abcdef xX=[]:-.\n\0\xff~"[next_random(&random) % 30];
			if (round % 4 == 0) {
				memcpy(mutant.bytes + mutant.length, original.bytes, original.length / 2);
				mutant.length += original.length / 2;
			}
			struct kml_error error;
			imported += try_bytes(mutant.bytes, mutant.length, round % 5 == 4, &error);
			free(mutant.bytes);
		}
		free(original.bytes);
		free(entries[i]);
	}
	free(entries);
	/* Most damage is survived: were none imported, the test would test nothing. */
	assert_in_range(imported, 100, UINT64_MAX);
}

/* ------------------------------------------------------------------------------------------------- strict */

static void strict_accepts_a_complete_trace_and_nothing_else(void **state)
{
	static const struct {
		const char *lines, *fragment;
	} cases[] = {
		{"a-1 [000] ..... 1.000002: kmem_cache_free: call_site=a+0x1/0x2 ptr=ffff888000000900 name=filp\n",
		 "unmatched_free 1"},
		{"CPU:0 [LOST 5 EVENTS]\n", "lost 5"},
		{"a-1 [000] ..... 1.000002: kmem_cache_free: name=filp\n", ":2: a field the event needs is missing"},
		{"a-1 [000] ..... 1.000002: sched_switch: x=1\n", ":2: no kmem event"},
	};
	struct kml_error error;
	char text[1024];

	(void)state;
	if (!try_bytes(one_event, sizeof(one_event) - 1, true, &error))
		fail_msg("%s", error.text);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int length = snprintf(text, sizeof(text), "%s%s", one_event, cases[i].lines);
		assert_false(try_bytes(text, (size_t)length, true, &error));
		if (strstr(error.text, cases[i].fragment) == NULL)
			fail_msg("the error should hold \"%s\": %s", cases[i].fragment, error.text);
		assert_true(try_bytes(text, (size_t)length, false, &error));
	}
}

/* ----------------------------------------------------------------------------------------------- snapshots */

/* A ustar member, as POSIX describes it. */
static void add_member(struct text *tar, const char *name, const char *contents)
{
	unsigned char header[512] = {0};
	size_t length = strlen(contents), padded = (length + 511) / 512 * 512;
	unsigned sum = 0;

	strcpy((char *)header, name);
	sprintf((char *)header + 124, "%011zo", length);
	memset(header + 148, ' ', 8);
	header[156] = '0';
	strcpy((char *)header + 257, "ustar");
	header[263] = header[264] = '0';
	for (int i = 0; i < 512; i++)
		sum += header[i];
	sprintf((char *)header + 148, "%06o", sum);
	tar->bytes = realloc(tar->bytes, tar->length + 512 + padded);
	assert_non_null(tar->bytes);
	memcpy(tar->bytes + tar->length, header, 512);
	memset(tar->bytes + tar->length + 512, 0, padded);
	for (size_t i = 0; i < length; i++)
		tar->bytes[tar->length + 512 + i] = contents[i];
	tar->length += 512 + padded;
}

static void end_tar(struct text *tar)
{
	tar->bytes = realloc(tar->bytes, tar->length + 1024);
	assert_non_null(tar->bytes);
	memset(tar->bytes + tar->length, 0, 1024);
	tar->length += 1024;
}

static void snapshots_alone_are_a_trace(void **state)
{
	struct text tar = {0}, packed;
	char path[4096], out[4096];
	struct kml_error error = {0};
	struct import_options options = {.quiet = true};
	struct import *import = import_create(&options);

	(void)state;
	add_member(&tar, "snapshots/README", "not a snapshot");
	add_member(&tar, "snapshots/0000-5000000000.meminfo", "MemTotal: 4 kB\n");
	add_member(&tar, "snapshots/0001-5500000000.buddyinfo", "Node 0, zone DMA 1\n");
	end_tar(&tar);
	packed = zstd_packed(tar.bytes, tar.length);
	output_path(path, sizeof(path), "snapshots.tar.zst");
	output_path(out, sizeof(out), "snapshots.kmt");
	write_whole(path, packed.bytes, packed.length);
	if (!import_path(import, path, NULL, out, &error))
		fail_msg("%s", error.text);
	struct text text = render(out);
	assert_string_equal(text.bytes, "cpus=1 page=4096 base=0x0\n"
					"0 snapshot meminfo 0000\n"
					"500000000 snapshot buddyinfo 0001\n");
	free(text.bytes);
	free(tar.bytes);
	free(packed.bytes);
	unlink(path);
	unlink(out);
	import_destroy(import);
}

static void damaged_snapshots_are_refused(void **state)
{
	struct text tar = {0};

	(void)state;
	add_member(&tar, "0000-5000000000.meminfo", "MemTotal: 4 kB\n");
	size_t whole = tar.length;
	expect_refused(tar.bytes, whole - 200, "truncated");
	expect_refused(tar.bytes, whole, "truncated"); /* the end marker is missing */
	end_tar(&tar);
	tar.bytes[3] = '7'; /* the header no longer adds up */
	expect_refused(tar.bytes, tar.length, "checksum");
	free(tar.bytes);
	tar = (struct text){0};
	add_member(&tar, "other", "x");
	end_tar(&tar);
	expect_refused(tar.bytes, tar.length, "holds no snapshot");
	free(tar.bytes);
}

/* A trace and one slabinfo line at a time of our choosing. */
static bool with_slabinfo(const char *name, const char *line, struct kml_error *error)
{
	struct import_options options = {.quiet = true};
	struct import *import = import_create(&options);
	char folder[3000], path[4096], trace[4096], out[4096];

	output_path(folder, sizeof(folder), "snapshots");
	mkdir(folder, 0755);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	output_path(trace, sizeof(trace), "trace.txt");
	output_path(out, sizeof(out), "out.kmt");
	write_whole(path, line, strlen(line));
	write_whole(trace, one_event, sizeof(one_event) - 1);
	bool done = import_path(import, trace, folder, out, error);
	unlink(path);
	unlink(trace);
	unlink(out);
	rmdir(folder);
	import_destroy(import);
	return done;
}

static void absurd_snapshots_are_refused(void **state)
{
	struct kml_error error = {0};

	(void)state;
	assert_true(with_slabinfo("0000-1000001000.slabinfo", "filp 3 21 192 21 1 : tunables 0 0 0 : slabdata 1 1 0\n",
				  &error));
	assert_false(with_slabinfo("0000-1000001000.slabinfo",
				   "filp 999999999999 21 192 21 1 : tunables 0 0 0 : slabdata 1 1 0\n", &error));
	assert_non_null(strstr(error.text, "more than can be"));
	/* An hour before the trace: of another recording. */
	assert_false(with_slabinfo("0000-9999000000000.slabinfo",
				   "filp 3 21 192 21 1 : tunables 0 0 0 : slabdata 1 1 0\n", &error));
	assert_non_null(strstr(error.text, "another clock"));
	assert_false(
		with_slabinfo("07-steady.slabinfo", "filp 3 21 192 21 1 : tunables 0 0 0 : slabdata 1 1 0\n", &error));
	assert_non_null(strstr(error.text, "no mark of the trace names it"));
}

/* ------------------------------------------------------------------------------------------- perf and gfp */

/*
 * tools/perf/builtin-kmem.c by hand: 100 + 60 + 30 asked, 128 + 64 + 32 granted; the first pointer is freed twice (it
 * counts twice: 128 + 128), then the second allocation there (32); the unknown pointer does not count.
 */
static void perf_sums_follow_perf(void **state)
{
	static const char text[] =
		"a-1 [000] ..... 1.000001: kmalloc: call_site=a ptr=ffff888000000100 bytes_req=100 bytes_alloc=128\n"
		"a-1 [000] ..... 1.000002: kmalloc: call_site=a ptr=ffff888000000200 bytes_req=60 bytes_alloc=64\n"
		"a-1 [000] ..... 1.000003: kfree: call_site=a ptr=ffff888000000100\n"
		"a-1 [000] ..... 1.000004: kfree: call_site=a ptr=ffff888000000100\n"
		"a-1 [000] ..... 1.000005: kmem_cache_alloc: call_site=a ptr=ffff888000000100 bytes_req=30 "
		"bytes_alloc=32\n"
		"a-1 [000] ..... 1.000006: kmem_cache_free: call_site=a ptr=ffff888000000100\n"
		"a-1 [000] ..... 1.000007: kfree: call_site=a ptr=ffff888000000300\n";
	struct import_options options = {.quiet = true};
	struct import *import = import_create(&options);
	char path[4096], out[4096];
	struct kml_error error = {0};

	(void)state;
	output_path(path, sizeof(path), "perf.txt");
	output_path(out, sizeof(out), "perf.kmt");
	write_whole(path, text, sizeof(text) - 1);
	if (!import_path(import, path, NULL, out, &error))
		fail_msg("%s", error.text);
	const struct kmt_totals *totals = import_totals(import);
	assert_int_equal(totals->perf_requested_bytes, 190);
	assert_int_equal(totals->perf_allocated_bytes, 224);
	assert_int_equal(totals->perf_freed_bytes, 288);
	assert_int_equal(totals->perf_allocations, 3);
	import_destroy(import);
	unlink(path);
	unlink(out);
}

static void gfp_words_are_understood(void **state)
{
	static const struct {
		const char *text;
		uint32_t gfp;
	} cases[] = {
		{"GFP_KERNEL", 0},
		{"GFP_KERNEL|__GFP_ZERO", RAW_GFP_ZERO},
		{"GFP_KERNEL_ACCOUNT", RAW_GFP_ACCOUNT},
		{"GFP_ATOMIC|__GFP_NOWARN", RAW_GFP_ATOMIC},
		{"GFP_NOWAIT", RAW_GFP_ATOMIC},
		{"none", RAW_GFP_ATOMIC},
		{"__GFP_IO|__GFP_FS|__GFP_NOWARN", RAW_GFP_ATOMIC},
		{"GFP_HIGHUSER_MOVABLE|__GFP_COMP", RAW_GFP_MOVABLE},
		{"GFP_HIGHUSER|__GFP_ACCOUNT", RAW_GFP_ACCOUNT},
		{"GFP_NOFS|__GFP_MOVABLE", RAW_GFP_MOVABLE},
		{"GFP_TRANSHUGE_LIGHT", RAW_GFP_MOVABLE | RAW_GFP_ATOMIC},
		{"GFP_KERNEL|GFP_DMA32", 0},
		{"GFP_DMA|__GFP_DIRECT_RECLAIM", RAW_GFP_DMA},
		{"GFP_WAIT|GFP_IO|GFP_ZERO", RAW_GFP_ZERO}, /* 2.6.x */
		{"GFP_TEMPORARY", RAW_GFP_RECLAIMABLE},     /* until 4.13 */
		{"0xcc0", 0},
		{"GFP_ATOMIC|0x80000000", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (raw_gfp_parse(cases[i].text) != cases[i].gfp)
			fail_msg("%s: %#x, not %#x", cases[i].text, raw_gfp_parse(cases[i].text), cases[i].gfp);
	}
}

/* What /proc/slabinfo does not tell comes from a table; the columns are found by their headings. */
static void cache_tables_are_read_by_heading(void **state)
{
	static const char table[] = "#name alias_of object_size slab_size objs_per_slab order align flags ctor\n"
				    "filp - 184 192 21 0 64 0x80000 0\n"
				    "ext4_inode_cache - 1100 1104 29 3 8 0x20000 init_once\n"
				    "alias_of_filp filp 184 192 21 0 64 0x0 0\n";
	struct import_options options = {.quiet = true};
	struct import *import = import_create(&options);
	char path[4096], trace[4096], out[4096];
	struct kml_error error = {0};
	uint32_t count;

	(void)state;
	output_path(path, sizeof(path), "table.txt");
	output_path(trace, sizeof(trace), "table_trace.txt");
	output_path(out, sizeof(out), "table.kmt");
	write_whole(path, table, sizeof(table) - 1);
	write_whole(trace, one_event, sizeof(one_event) - 1);
	assert_true(import_cache_table(import, path, &error));
	assert_true(import_path(import, trace, NULL, out, &error));
	struct kmt_reader *reader = kmt_open(out, &error);
	assert_non_null(reader);
	const struct kmt_cache *caches = kmt_reader_caches(reader, &count);
	assert_int_equal(count, 2);
	assert_string_equal(caches[0].name, "filp");
	assert_int_equal(caches[0].flags, KMT_CACHE_TYPESAFE_BY_RCU);
	assert_int_equal(caches[0].align_bytes, 64);
	assert_int_equal(caches[0].slot_bytes, 192);
	assert_int_equal(caches[1].object_bytes, 1100);
	assert_int_equal(caches[1].pages_per_slab, 8);
	assert_int_equal(caches[1].objects_per_slab, 29);
	assert_int_equal(caches[1].flags, KMT_CACHE_CONSTRUCTOR | KMT_CACHE_RECLAIMABLE);
	kmt_close(reader);
	import_destroy(import);
	import = import_create(&options);
	write_whole(path, "a b c\n", 6);
	assert_false(import_cache_table(import, path, &error));
	assert_non_null(strstr(error.text, "no column `name`"));
	import_destroy(import);
	unlink(path);
	unlink(trace);
	unlink(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_fixture_gives_what_was_typed_by_hand),
		cmocka_unit_test(plain_gzip_and_zstd_are_told_by_content),
		cmocka_unit_test(members_and_frames_one_after_the_other_are_one_stream),
		cmocka_unit_test(truncated_and_damaged_streams_are_refused_with_the_offset),
		cmocka_unit_test(files_that_are_no_trace_are_refused_by_name),
		cmocka_unit_test(hidden_pointers_name_the_mend),
		cmocka_unit_test(a_missing_or_unreadable_file_is_named),
		cmocka_unit_test(mutated_fixtures_never_crash),
		cmocka_unit_test(strict_accepts_a_complete_trace_and_nothing_else),
		cmocka_unit_test(snapshots_alone_are_a_trace),
		cmocka_unit_test(damaged_snapshots_are_refused),
		cmocka_unit_test(absurd_snapshots_are_refused),
		cmocka_unit_test(perf_sums_follow_perf),
		cmocka_unit_test(gfp_words_are_understood),
		cmocka_unit_test(cache_tables_are_read_by_heading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
