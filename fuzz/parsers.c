/*
 * parsers.c - targets that read foreign bytes. Each asks more than not to crash: what reads well must be written and
 * read back as the same; what is refused must be refused with words.
 *
 * Bytes are never put in a file on disk: they are a memfd, or a string.
 */
#include "fuzz/parsers.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "allocators/registry.h"
#include "allocators/registry_internal.h"
#include "fuzz/feedback.h"
#include "fuzz/program.h"
#include "fuzz/repair.h"
#include "kmemlab/support/error.h"
#include "traces/import/internal.h"
#include "traces/kmt/kmt.h"
#include "traces/proc/proc_text.h"

enum { TEXT_BYTES_MAX = 1 << 16 };

static void refused_with_words(const char *what, const struct kml_error *error)
{
	if (error->text[0] == '\0')
		fuzz_found("silent", "%s refused its input without a word", what);
}

/* ------------------------------------------------------------------------------------------------ memory files */

/* A file in memory that has a path; made once, used again and again. */
struct memory_file {
	FILE *stream;
	char path[32];
};

static void empty_file(struct memory_file *file)
{
	if (!file->stream) {
		int descriptor = memfd_create("kmemlab-fuzz", MFD_CLOEXEC);
		file->stream = descriptor < 0 ? NULL : fdopen(descriptor, "w+b");
		KML_CHECK(file->stream, "a file in memory: %s", strerror(errno));
		snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", descriptor);
	}
	rewind(file->stream);
	KML_CHECK(ftruncate(fileno(file->stream), 0) == 0, "a file in memory: %s", strerror(errno));
}

static const char *file_of(struct memory_file *file, const uint8_t *bytes, size_t byte_count)
{
	empty_file(file);
	KML_CHECK(pwrite(fileno(file->stream), bytes, byte_count, 0) == (ssize_t)byte_count, "a file in memory: %s",
		  strerror(errno));
	return file->path;
}

/* While it lasts, what is written to "-" (kmemlab/support/output.h) goes to the file. */
static FILE *divert_stdout(struct memory_file *file)
{
	FILE *kept = stdout;
	empty_file(file);
	stdout = file->stream;
	return kept;
}

/* ------------------------------------------------------------------------------------------------ .kmt */

static bool copy_items(struct kmt_reader *reader, struct kmt_writer *writer, struct kml_error *error)
{
	struct kmt_item item;
	enum kmt_item_kind kind;
	while ((kind = kmt_next(reader, &item, error)) == KMT_ITEM_EVENTS || kind == KMT_ITEM_SNAPSHOT)
		if (!kmt_write_item(writer, &item, error))
			return false;
	return kind == KMT_ITEM_END;
}

/* The whole trace, written again. */
static bool copy_trace(struct kmt_reader *reader, struct memory_file *file, struct kml_error *error)
{
	uint32_t cache_count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &cache_count);
	FILE *kept = divert_stdout(file);
	struct kmt_writer *writer = kmt_create("-", kmt_reader_origin(reader), caches, cache_count, error);
	bool copied = writer && copy_items(reader, writer, error);
	if (copied)
		copied = kmt_finish(writer, kmt_reader_totals(reader), error);
	else
		kmt_abandon(writer);
	stdout = kept;
	return copied;
}

static bool same_snapshot(const struct kmt_snapshot *a, const struct kmt_snapshot *b)
{
	return a->kind == b->kind && a->time_ns == b->time_ns && a->event == b->event &&
	       strcmp(a->label, b->label) == 0 && a->text_bytes == b->text_bytes &&
	       memcmp(a->text, b->text, a->text_bytes) == 0;
}

static bool same_totals(const struct kmt_totals *a, const struct kmt_totals *b)
{
	return a->events == b->events && memcmp(a->op_events, b->op_events, sizeof a->op_events) == 0 &&
	       a->warm_events == b->warm_events && a->objects == b->objects && a->duration_ns == b->duration_ns &&
	       a->snapshots == b->snapshots && a->top_address == b->top_address &&
	       memcmp(a->quirks, b->quirks, sizeof a->quirks) == 0 &&
	       a->perf_requested_bytes == b->perf_requested_bytes &&
	       a->perf_allocated_bytes == b->perf_allocated_bytes && a->perf_freed_bytes == b->perf_freed_bytes &&
	       a->perf_allocations == b->perf_allocations && a->perf_cross_cpu == b->perf_cross_cpu;
}

static bool same_head(const struct kmt_reader *left, const struct kmt_reader *right)
{
	const struct kmt_origin *a = kmt_reader_origin(left), *b = kmt_reader_origin(right);
	uint32_t count_a, count_b;
	const struct kmt_cache *caches_a = kmt_reader_caches(left, &count_a),
			       *caches_b = kmt_reader_caches(right, &count_b);
	if (strcmp(a->source, b->source) != 0 || strcmp(a->kernel, b->kernel) != 0 ||
	    strcmp(a->command, b->command) != 0 || strcmp(a->clock, b->clock) != 0 || strcmp(a->note, b->note) != 0 ||
	    a->cpu_count != b->cpu_count || a->page_bytes != b->page_bytes || a->start_ns != b->start_ns ||
	    a->direct_map_base != b->direct_map_base || a->at_boot != b->at_boot || count_a != count_b)
		return false;
	for (uint32_t i = 0; i < count_a; i++) {
		const struct kmt_cache *x = &caches_a[i], *y = &caches_b[i];
		if (strcmp(x->name, y->name) != 0 || x->object_bytes != y->object_bytes ||
		    x->slot_bytes != y->slot_bytes || x->align_bytes != y->align_bytes ||
		    x->objects_per_slab != y->objects_per_slab || x->pages_per_slab != y->pages_per_slab ||
		    x->slabs_at_start != y->slabs_at_start || x->objects_at_start != y->objects_at_start ||
		    x->flags != y->flags)
			return false;
	}
	return true;
}

/* A stream, event by event, wherever its blocks end. */
struct cursor {
	struct kmt_reader *reader;
	struct kmt_item item;
	uint32_t at; /* in item.events */
};

static enum kmt_item_kind advance(struct cursor *cursor, struct kml_error *error)
{
	if (cursor->item.kind == KMT_ITEM_EVENTS && ++cursor->at < cursor->item.event_count)
		return KMT_ITEM_EVENTS;
	cursor->at = 0;
	return kmt_next(cursor->reader, &cursor->item, error);
}

static void compare_traces(struct kmt_reader *left, struct kmt_reader *right)
{
	struct cursor a = {.reader = left, .item.kind = KMT_ITEM_END};
	struct cursor b = {.reader = right, .item.kind = KMT_ITEM_END};
	struct kml_error error = {0};

	if (!same_head(left, right) || !same_totals(kmt_reader_totals(left), kmt_reader_totals(right)))
		fuzz_found("round-trip", "the head or the totals of a trace changed in writing");
	for (uint64_t place = 0;; place++) {
		enum kmt_item_kind kind = advance(&a, &error);
		if (advance(&b, &error) != kind || kind == KMT_ITEM_ERROR)
			fuzz_found("round-trip", "item %" PRIu64 " of a trace changed in writing: %s", place,
				   error.text);
		if (kind == KMT_ITEM_END)
			return;
		if (kind == KMT_ITEM_EVENTS ? !kmt_same_event(&a.item.events[a.at], &b.item.events[b.at])
					    : !same_snapshot(a.item.snapshot, b.item.snapshot))
			fuzz_found("round-trip", "item %" PRIu64 " of a trace changed in writing", place);
	}
}

/* To the end; false and *error when it is damaged. */
static bool read_through(struct kmt_reader *reader, struct kml_error *error)
{
	struct kmt_item item;
	enum kmt_item_kind kind;
	uint64_t events = 0;

	while ((kind = kmt_next(reader, &item, error)) != KMT_ITEM_END && kind != KMT_ITEM_ERROR)
		events += item.event_count;
	if (kind == KMT_ITEM_END && events != kmt_reader_totals(reader)->events)
		fuzz_found("totals", "%" PRIu64 " events read, %" PRIu64 " stated", events,
			   kmt_reader_totals(reader)->events);
	return kind == KMT_ITEM_END;
}

static void run_kmt(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	static struct memory_file original, copy;
	struct kml_error error = {0};
	(void)target;

	feedback_hold();
	struct repaired repaired = kmt_repair(bytes, byte_count);
	feedback_restore();
	struct kmt_reader *reader = kmt_open(file_of(&original, repaired.bytes, repaired.byte_count), &error);
	if (reader && read_through(reader, &error)) {
		kmt_rewind(reader, &error);
		if (!copy_trace(reader, &copy, &error))
			fuzz_found("round-trip", "what was read cannot be written: %s", error.text);
		struct kmt_reader *again = kmt_open(copy.path, &error);
		if (!again)
			fuzz_found("round-trip", "what was written cannot be read: %s", error.text);
		kmt_rewind(reader, &error);
		compare_traces(reader, again);
		kmt_close(again);
	} else {
		refused_with_words("the reader of .kmt", &error);
	}
	kmt_close(reader);
}

/* ------------------------------------------------------------------------------------------------ imports */

typedef bool import_source(struct import *import, struct import_input *input, struct kml_error *error);

static void write_import(struct import *import, struct memory_file *file)
{
	struct kml_error error = {0};
	FILE *kept = divert_stdout(file);
	bool written = import_write_kmt(import, "-", &error);
	stdout = kept;
	if (!written)
		fuzz_found("import", "what was resolved cannot be written: %s", error.text);
}

/* A source may free what is dead; the trace made of it never does, and reuses no id of what is live. */
static void check_lives(const struct kmt_item *item, bool *is_live)
{
	for (uint32_t i = 0; i < item->event_count; i++) {
		const struct kmt_event *event = &item->events[i];
		bool begins = event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC,
		     ends = event->op == KMT_FREE || event->op == KMT_PAGE_FREE;
		if (begins ? is_live[event->object] : ends && !is_live[event->object])
			fuzz_found("import", "id %" PRIu32 ": %s of what is %s", event->object, kmt_op_name(event->op),
				   begins ? "live" : "dead");
		if (begins || ends)
			is_live[event->object] = begins;
	}
}

static void read_import(const char *path)
{
	struct kml_error error = {0};
	struct kmt_item item;
	enum kmt_item_kind kind = KMT_ITEM_ERROR;
	struct kmt_reader *reader = kmt_open(path, &error);
	bool *is_live = reader ? calloc(kmt_reader_totals(reader)->objects + 1, sizeof *is_live) : NULL;

	while (is_live && (kind = kmt_next(reader, &item, &error)) != KMT_ITEM_END && kind != KMT_ITEM_ERROR)
		check_lives(&item, is_live);
	if (kind != KMT_ITEM_END)
		fuzz_found("import", "what was imported cannot be read: %s", error.text);
	free(is_live);
	kmt_close(reader);
}

/* Writing costs as much as all the rest and is less likely to fail: one input of so many, by its bytes. */
enum { WRITTEN_ONE_IN = 8 };

static bool is_written(const uint8_t *bytes, size_t byte_count)
{
	return fuzz_thorough || XXH3_64bits(bytes, byte_count) % WRITTEN_ONE_IN == 0;
}

/* Whatever a source gives, the trace made of it is whole. */
static void run_import(import_source *source, const uint8_t *bytes, size_t byte_count)
{
	static struct memory_file original, made;
	struct import *import = import_create(&(struct import_options){.quiet = true});
	struct kml_error error = {0};

	struct import_input *input = import_input_open(file_of(&original, bytes, byte_count), &error);
	if (!import || !input || !source(import, input, &error) || !import_resolve(import, &error)) {
		refused_with_words("the import", &error);
	} else if (is_written(bytes, byte_count)) {
		write_import(import, &made);
		read_import(made.path);
	}
	import_input_close(input);
	import_destroy(import);
}

static void run_ftrace_text(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	(void)target;
	run_import(import_ftrace_text, bytes, byte_count);
}

static void run_perf_script(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	(void)target;
	run_import(import_perf_script, bytes, byte_count);
}

static void run_babeltrace(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	(void)target;
	run_import(import_babeltrace, bytes, byte_count);
}

static void run_malloc_trace(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	(void)target;
	run_import(import_malloc_trace, bytes, byte_count);
}

static void run_perf_data(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	(void)target;
	run_import(import_perf_data, bytes, byte_count);
}

/* ------------------------------------------------------------------------------------------------ slabinfo */

/* Events of a series are as many as the objects it counts: more tell nothing new. */
enum { SERIES_OBJECTS_MAX = 1 << 12 };

static char *text_of(const uint8_t *bytes, size_t byte_count)
{
	char *text = malloc(byte_count + 1);
	KML_CHECK(text, "memory exhausted");
	if (byte_count)
		memcpy(text, bytes, byte_count);
	text[byte_count] = '\0';
	return text;
}

/* As mm/slab_common.c: cache_show and slabinfo_show_stats print it. */
static void print_slabinfo(char *text, size_t size, const struct slabinfo_line *line)
{
	snprintf(text, size,
		 "%-17s %6" PRIu64 " %6" PRIu64 " %6" PRIu64 " %4" PRIu32 " %4" PRIu32 " : tunables %4" PRIu32
		 " %4" PRIu32 " %4" PRIu32 " : slabdata %6" PRIu64 " %6" PRIu64 " %6" PRIu64 "\n",
		 line->name, line->active_objects, line->total_objects, line->slot_bytes, line->objects_per_slab,
		 line->pages_per_slab, line->limit, line->batchcount, line->shared_factor, line->active_slabs,
		 line->slabs, line->shared_available);
}

static bool same_line(const struct slabinfo_line *a, const struct slabinfo_line *b)
{
	return strcmp(a->name, b->name) == 0 && a->active_objects == b->active_objects &&
	       a->total_objects == b->total_objects && a->slot_bytes == b->slot_bytes &&
	       a->objects_per_slab == b->objects_per_slab && a->pages_per_slab == b->pages_per_slab &&
	       a->limit == b->limit && a->batchcount == b->batchcount && a->shared_factor == b->shared_factor &&
	       a->active_slabs == b->active_slabs && a->slabs == b->slabs && a->shared_available == b->shared_available;
}

/* Every field holds the byte before: one that is not filled in tells. */
static bool read_line(const char **text, struct slabinfo_line *line, int before)
{
	memset(line, before, sizeof *line);
	return slabinfo_next(text, line);
}

static void run_slabinfo(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	char *text = text_of(bytes, byte_count);
	const char *at = text;
	struct slabinfo_line line, again;
	uint64_t number;
	(void)target;

	for (const char *from = at; read_line(&at, &line, 0x11); from = at) {
		char printed[1024];
		if (!read_line(&from, &again, 0x22) || !same_line(&line, &again))
			fuzz_found("unfilled", "a line of slabinfo leaves a field as it was: %.500s", text);
		print_slabinfo(printed, sizeof printed, &line);
		from = printed;
		if (!slabinfo_next(&from, &again) || !same_line(&line, &again))
			fuzz_found("round-trip", "a line of slabinfo changed in printing: %s", printed);
	}
	if (at != text + strlen(text))
		fuzz_found("slabinfo", "reading stopped before the end of the text");
	meminfo_find(text, "Slab", &number);
	slab_walk_pages(text, &number);
	free(text);
}

static bool counts_few(const char *text)
{
	struct slabinfo_line line;
	uint64_t objects = 0;

	while (objects <= SERIES_OBJECTS_MAX && slabinfo_next(&text, &line))
		objects = line.active_objects > SERIES_OBJECTS_MAX ? UINT64_MAX : objects + line.active_objects;
	return objects <= SERIES_OBJECTS_MAX;
}

/* The writer itself checks that the live objects are the counts. */
static void run_series(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	char *text = text_of(bytes, byte_count);
	(void)target;

	if (counts_few(text))
		run_import(import_slabinfo_series, bytes, byte_count);
	free(text);
}

/* ------------------------------------------------------------------------------------------------ specs */

/* A stack that was created does its work: one block, taken and given back. */
static void use_stack(const struct kml_stack *stack, const char *text)
{
	struct kml_heap *heap = kml_stack_top(stack);
	struct kml_request request = {.size_bytes = 100,
				      .recorded = KML_NO_ADDRESS,
				      .cache = KML_NO_CACHE,
				      .flags = KML_KMALLOC | KML_CONTIGUOUS};
	struct kml_grant grant = heap->allocator->alloc(heap, &request);
	struct kml_error error = {0};

	if (grant.status == KML_OK && grant.granted_bytes < request.size_bytes)
		fuzz_found("too-small", "%s: %" PRIu64 " bytes granted of %" PRIu64, text, grant.granted_bytes,
			   request.size_bytes);
	if (grant.status == KML_OK) {
		struct kml_release release = {.address = grant.address, .cache = KML_NO_CACHE, .flags = request.flags};
		enum kml_status status = heap->allocator->free(heap, &release);
		if (status != KML_OK)
			fuzz_found("free-refused", "%s: %s", text, kml_status_name(status));
	}
	if (!heap->allocator->validate(heap, &error))
		fuzz_found("validate", "%s: %s", text, error.text);
}

/* A spec that parses makes a stack, or says why not. */
static void create_stack(const struct kml_spec *spec)
{
	enum { ARENA_BYTES = 1 << 18, PAGE_BYTES = 4096 };
	struct kml_error error = {0};
	struct kml_arena *arena = kml_arena_create(ARENA_BYTES, PAGE_BYTES, true, &error);
	struct kml_stack stack;

	KML_CHECK(arena, "%s", error.text);
	struct kml_environment environment = {.arena = arena, .page_bytes = PAGE_BYTES, .cpu_count = 2};
	if (!kml_stack_create(&stack, spec, &environment, &error)) {
		refused_with_words(spec->text, &error);
	} else {
		use_stack(&stack, spec->text);
		kml_stack_destroy(&stack);
	}
	kml_arena_destroy(arena);
}

static void run_spec(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	char *text = text_of(bytes, byte_count < TEXT_BYTES_MAX ? byte_count : TEXT_BYTES_MAX);
	struct kml_error error = {0};
	struct kml_spec *spec = kml_spec_parse(text, &error);
	uint64_t size;
	(void)target;

	if (kml_parse_size(text, &size) && size < strtoull(text, NULL, 10))
		fuzz_found("size", "%s is read as %" PRIu64 " bytes", text, size);
	if (!spec)
		refused_with_words("the parser of specs", &error);
	else
		create_stack(spec);
	kml_spec_free(spec);
	free(text);
}

/* ------------------------------------------------------------------------------------------------ plugins */

/*
 * Bytes to a plugin's parameter table: how many, config_bytes, then PARAM_BYTES each; behind them lines: what a user
 * writes behind the ':', then of each parameter its name, its default and its choices, joined by '|'.
 */
enum { PARAMS_MAX = 6, CHOICES_MAX = 4, HEAD_BYTES = 3, PARAM_BYTES = 6, GIVEN_BYTES_MAX = 512 };

struct hostile {
	struct kml_param params[PARAMS_MAX + 1];
	const char *choices[PARAMS_MAX][CHOICES_MAX + 1];
};

/* Powers of two and their neighbours, up to all of 64 bits. */
static uint64_t limit_of(uint8_t byte)
{
	return ((byte & 0x3f) == 0x3f ? UINT64_MAX : 1ull << (byte & 0x3f)) + (byte >> 6) - 1;
}

static char *next_word(char **rest, const char *separator, char *missing)
{
	char *word = *rest ? strsep(rest, separator) : NULL;
	return word ? word : missing;
}

static void fill_param(struct hostile *hostile, size_t place, const uint8_t *bytes, char **lines)
{
	static char default_name[] = "p", default_value[] = "1", no_choices[] = "";
	struct kml_param *param = &hostile->params[place];
	*param = (struct kml_param){
		.name = next_word(lines, "\n", default_name),
		.type = (enum kml_param_type)(bytes[0] % 5),
		.offset = bytes[1] == 0xff ? SIZE_MAX - bytes[2] : (size_t)(bytes[1] << 3 | (bytes[2] & 7)),
		.minimum = limit_of(bytes[3]),
		.maximum = limit_of(bytes[4]),
		.default_text = next_word(lines, "\n", default_value),
		.choices = bytes[5] & 1 ? NULL : hostile->choices[place],
		.help = bytes[5] & 2 ? NULL : "help",
	};
	char *choices = next_word(lines, "\n", no_choices);
	for (size_t i = 0; i < CHOICES_MAX && choices && *choices; i++)
		hostile->choices[place][i] = strsep(&choices, "|");
}

/* What the parser stored keeps to the table; of a single parameter, because places may overlap. */
static void check_config(const struct kml_param *param, const void *config)
{
	const void *place = (const char *)config + param->offset;
	uint64_t value;
	uint32_t choice, choices = 0;
	double real;

	switch (param->type) {
	case KML_PARAM_SIZE:
	case KML_PARAM_NUMBER:
		memcpy(&value, place, sizeof value);
		if ((value < param->minimum || value > param->maximum) &&
		    !(value == 0 && strcmp(param->default_text, "auto") == 0))
			fuzz_found("parameter-range", "%s: %" PRIu64, param->name, value);
		return;
	case KML_PARAM_CHOICE:
		memcpy(&choice, place, sizeof choice);
		while (param->choices[choices])
			choices++;
		if (choice >= choices && strcmp(param->default_text, "auto") != 0)
			fuzz_found("parameter-range", "%s: choice %" PRIu32, param->name, choice);
		return;
	case KML_PARAM_SIZES:
		if (((const struct kml_sizes *)place)->count > KML_SIZES_MAX)
			fuzz_found("parameter-range", "%s: too many sizes", param->name);
		return;
	case KML_PARAM_REAL:
		memcpy(&real, place, sizeof real);
		if (!(real >= (double)param->minimum && real <= (double)param->maximum))
			fuzz_found("parameter-range", "%s: %g", param->name, real);
		return;
	case KML_PARAM_TEXT:
		return;
	}
}

static void run_plugin(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	static struct kml_allocator registered, fresh;
	struct hostile hostile = {0};
	struct kml_error error = {0};
	(void)target;

	if (!registered.name) {
		registered = *kml_registry_find("first_fit");
		registered.name = "hostile";
		KML_CHECK(kml_registry_add(&registered), "the registry is full");
	}
	/* Missing bytes are 0. */
	uint8_t head[HEAD_BYTES + PARAMS_MAX * PARAM_BYTES] = {0};
	if (byte_count)
		memcpy(head, bytes, byte_count < sizeof head ? byte_count : sizeof head);
	size_t count = head[0] % (PARAMS_MAX + 1), head_bytes = HEAD_BYTES + count * PARAM_BYTES;
	size_t text_bytes = byte_count > head_bytes ? byte_count - head_bytes : 0;
	char *text = text_of(bytes + byte_count - text_bytes, text_bytes), *lines = text;
	char given[GIVEN_BYTES_MAX];
	snprintf(given, sizeof given, "hostile:%s", next_word(&lines, "\n", text + strlen(text)));
	for (size_t i = 0; i < count; i++)
		fill_param(&hostile, i, head + HEAD_BYTES + i * PARAM_BYTES, &lines);
	registered.params = hostile.params;
	registered.config_bytes = (size_t)(head[1] << 3 | (head[2] & 7));
	fresh = registered;
	fresh.name = "fresh";
	const struct kml_allocator *const exported[] = {&fresh, NULL};
	struct kml_spec *spec = NULL;
	if (kml_plugin_check("plugin", exported, 0, &error))
		spec = kml_spec_parse(given, &error);
	if (!spec)
		refused_with_words("the check of plugins", &error);
	else if (count == 1 && spec->layer[0] == &registered)
		check_config(&hostile.params[0], spec->config[0]);
	kml_spec_free(spec);
	registered.params = NULL;
	free(text);
}

/* ------------------------------------------------------------------------------------------------ .ops */

static char *print_program(const struct program *program)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	KML_CHECK(stream, "memory exhausted");
	if (!program_print(program, stream))
		fuzz_found("round-trip", "a program that was read cannot be printed");
	fclose(stream);
	return text;
}

static bool parse_program(struct program *program, const void *bytes, size_t byte_count, struct kml_error *error)
{
	FILE *stream = fmemopen((void *)(uintptr_t)bytes, byte_count, "rb");
	KML_CHECK(stream, "memory exhausted");
	bool parsed = program_parse(program, stream, "input", error);
	fclose(stream);
	return parsed;
}

static void run_ops(const struct fuzz_target *target, const uint8_t *bytes, size_t byte_count)
{
	static struct program first, second;
	struct kml_error error = {0};
	(void)target;

	if (byte_count == 0)
		return; /* fmemopen has no empty files */
	if (!parse_program(&first, bytes, byte_count, &error)) {
		refused_with_words("the parser of .ops", &error);
		return;
	}
	char *printed = print_program(&first);
	if (!parse_program(&second, printed, strlen(printed), &error))
		fuzz_found("round-trip", "what was printed cannot be read: %s", error.text);
	char *again = print_program(&second);
	if (strcmp(printed, again) != 0 || first.event_count != second.event_count)
		fuzz_found("round-trip", "a program changed in printing");
	for (uint32_t i = 0; i < first.event_count; i++)
		if (!kmt_same_event(&first.events[i], &second.events[i]))
			fuzz_found("round-trip", "event %" PRIu32 " of a program changed in printing", i);
	free(printed);
	free(again);
}

const struct fuzz_parser fuzz_parsers[] = {
	{"kmt", run_kmt},
	{"perf-data", run_perf_data},
	{"perf-script", run_perf_script},
	{"ftrace-text", run_ftrace_text},
	{"babeltrace", run_babeltrace},
	{"malloc-trace", run_malloc_trace},
	{"slabinfo", run_slabinfo},
	{"series", run_series},
	{"spec", run_spec},
	{"plugin", run_plugin},
	{"ops", run_ops},
	{NULL, NULL},
};
