/*
 * cmd_info.c - `kmemlab info`: what a .kmt holds. The summary needs only the file's header and footer; caches, events
 * and snapshots are read in one pass.
 *
 * The fragmentation lines are worded as `perf kmem stat` words them (linux/tools/perf/builtin-kmem.c).
 * Texts of a trace may hold anything: control characters are shown as \xNN, JSON gets valid UTF-8.
 */
#include <argp.h>
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kmemlab/command.h"
#include "kmemlab/event_text.h"
#include "kmemlab/options.h"
#include "kmemlab/support/error.h"
#include "traces/kmt/kmt.h"
#include "workloads/generate/generate.h"

enum { OPTION_CACHES = KML_OPTION_OWN, OPTION_EVENTS, OPTION_FROM, OPTION_LIMIT, OPTION_CSV, OPTION_SNAPSHOTS };

struct arguments {
	const char *path;
	const char *snapshot_kind; /* NULL: a list of all */
	uint64_t from, limit;
	bool caches, events, csv, snapshots;
	struct kml_answer answer;
};

static const struct argp_option options[] = {
	{"caches", OPTION_CACHES, NULL, 0, "Also every cache with its geometry and events, most allocations first", 0},
	{"events", OPTION_EVENTS, NULL, 0, "Print the events, one a line, instead of the summary", 0},
	{"from", OPTION_FROM, "N", 0, "With --events: begin at event N (the first is 0)", 0},
	{"limit", OPTION_LIMIT, "N", 0, "With --events: print at most N events", 0},
	{"csv", OPTION_CSV, NULL, 0, "With --events: comma-separated values", 0},
	{"snapshots", OPTION_SNAPSHOTS, "KIND", OPTION_ARG_OPTIONAL,
	 "List the snapshots, or print those of one kind: slabinfo, buddyinfo, meminfo ...", 0},
	{"json", KML_OPTION_JSON, NULL, 0, "Print the summary as JSON", 0},
	{0},
};

static bool parse_number(const char *text, uint64_t *number)
{
	char *end;
	errno = 0;
	*number = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno;
}

static void check_combination(const struct arguments *arguments, struct argp_state *state)
{
	if (!arguments->path)
		argp_error(state, "name a trace: kmemlab info TRACE.kmt");
	if (arguments->events + arguments->snapshots + (arguments->answer.json || arguments->caches) > 1)
		argp_error(state, "--events, --snapshots and the summary (--json, --caches) go one at a time");
	if (!arguments->events && (arguments->csv || arguments->from || arguments->limit != UINT64_MAX))
		argp_error(state, "--from, --limit and --csv go with --events");
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case OPTION_CACHES:
		arguments->caches = true;
		return 0;
	case OPTION_EVENTS:
		arguments->events = true;
		return 0;
	case OPTION_FROM:
	case OPTION_LIMIT:
		if (!parse_number(value, key == OPTION_FROM ? &arguments->from : &arguments->limit))
			argp_error(state, "'%s' is no number of events", value);
		return 0;
	case OPTION_CSV:
		arguments->csv = true;
		return 0;
	case OPTION_SNAPSHOTS:
		arguments->snapshots = true;
		arguments->snapshot_kind = value;
		return 0;
	case ARGP_KEY_ARG:
		if (arguments->path && arguments->snapshots && !arguments->snapshot_kind)
			arguments->snapshot_kind = value;
		else
			kml_option_once(&arguments->path, value, "trace", "", state);
		return 0;
	case ARGP_KEY_END:
		check_combination(arguments, state);
		return 0;
	default:
		return kml_option_answer(key, value, &arguments->answer) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "TRACE.kmt",
	.doc = "Tell where a trace came from and what it holds.\v"
	       "Examples:\n"
	       "  kmemlab info traces/compile.kmt\n"
	       "  kmemlab info --caches traces/compile.kmt\n"
	       "  kmemlab info --events --from 1000 --limit 20 traces/compile.kmt\n"
	       "  kmemlab info --events --csv traces/compile.kmt > events.csv\n"
	       "  kmemlab info --snapshots=slabinfo traces/compile.kmt\n"
	       "  kmemlab info --json traces/compile.kmt | jq .totals\n",
};

/* ------------------------------------------------------------------------------------------------ texts */

static void print_text(const char *text)
{
	for (const char *at = text; *at; at++) {
		unsigned char byte = (unsigned char)*at;
		if (byte < 0x20 || byte == 0x7f)
			printf("\\x%02x", byte);
		else
			putchar(byte);
	}
}

static void print_field(const char *label, const char *text)
{
	printf("%-14s", label);
	print_text(*text ? text : "unknown");
	putchar('\n');
}

/* Bytes of the valid UTF-8 sequence at text, 0 when there is none. */
static size_t utf8_length(const unsigned char *text)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	for (size_t extra = 0; extra < 4; extra++) {
		if ((text[0] & forms[extra].mask) != forms[extra].lead)
			continue;
		uint32_t point = text[0] & (unsigned char)~forms[extra].mask;
		for (size_t i = 1; i <= extra; i++) {
			if ((text[i] & 0xc0) != 0x80)
				return 0;
			point = point << 6 | (text[i] & 0x3f);
		}
		bool surrogate = point >= 0xd800 && point <= 0xdfff;
		return point >= forms[extra].least && point <= 0x10ffff && !surrogate ? extra + 1 : 0;
	}
	return 0;
}

static void json_text(cJSON *object, const char *name, const char *text)
{
	char *copy = strdup(text);
	for (unsigned char *at = (unsigned char *)copy; at && *at;) {
		size_t length = utf8_length(at);
		if (!length)
			*at = '?';
		at += length ? length : 1;
	}
	cJSON_AddStringToObject(object, name, copy ? copy : "");
	free(copy);
}

/* cJSON's numbers are doubles: 64-bit counts go in as they are written. */
static void json_number(cJSON *object, const char *name, uint64_t number)
{
	char text[24];
	snprintf(text, sizeof text, "%" PRIu64, number);
	cJSON_AddRawToObject(object, name, text);
}

static const char *cache_name(const struct kmt_reader *reader, uint16_t cache)
{
	uint32_t count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &count);
	return cache < count ? caches[cache].name : "-";
}

/* ------------------------------------------------------------------------------------------------ caches */

struct cache_use {
	uint32_t cache;
	uint64_t allocs, frees, requested_bytes;
	int64_t live, live_peak;
};

static int by_allocations(const void *a, const void *b)
{
	const struct cache_use *x = a, *y = b;
	if (x->allocs != y->allocs)
		return x->allocs > y->allocs ? -1 : 1;
	return x->cache > y->cache ? 1 : -1;
}

static void use_count(struct cache_use *use, const struct kmt_event *event)
{
	if (event->op == KMT_ALLOC) {
		use->allocs++;
		use->requested_bytes += event->size_bytes;
		if (++use->live > use->live_peak)
			use->live_peak = use->live;
	} else if (event->op == KMT_FREE) {
		use->frees++;
		use->live--;
	}
}

/* One pass over the file; one entry a cache and a last one for no cache, most allocations first. NULL and *error. */
static struct cache_use *count_uses(struct kmt_reader *reader, struct kml_error *error)
{
	uint32_t count;
	struct kmt_item item;
	kmt_reader_caches(reader, &count);
	struct cache_use *uses = calloc(count + 1, sizeof *uses);
	if (!uses) {
		kml_fail(error, "memory exhausted");
		return NULL;
	}
	for (uint32_t i = 0; i <= count; i++)
		uses[i].cache = i;
	for (;;) {
		enum kmt_item_kind kind = kmt_next(reader, &item, error);
		if (kind == KMT_ITEM_END)
			break;
		if (kind == KMT_ITEM_ERROR) {
			free(uses);
			return NULL;
		}
		for (uint32_t i = 0; i < item.event_count; i++)
			use_count(&uses[item.events[i].cache < count ? item.events[i].cache : count], &item.events[i]);
	}
	qsort(uses, count + 1, sizeof *uses, by_allocations);
	return uses;
}

static void print_caches(const struct kmt_reader *reader, const struct cache_use *uses)
{
	uint32_t count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &count);
	printf("\n%-24s %8s %8s %6s %6s %9s %10s %10s %10s\n", "cache", "objsize", "slotsize", "perslab", "pages",
	       "at start", "allocs", "frees", "peak live");
	for (uint32_t i = 0; i <= count; i++) {
		const struct cache_use *use = &uses[i];
		bool none = use->cache == count;
		if (none && !use->allocs && !use->frees)
			continue;
		static const struct kmt_cache nameless = {.name = "(no cache)"};
		const struct kmt_cache *cache = none ? &nameless : &caches[use->cache];
		size_t length = strlen(cache->name);
		print_text(cache->name);
		printf("%*s %8" PRIu64 " %8" PRIu64 " %6u %6u %9" PRIu64 " %10" PRIu64 " %10" PRIu64 " %10" PRId64 "\n",
		       length < 24 ? (int)(24 - length) : 0, "", cache->object_bytes, cache->slot_bytes,
		       cache->objects_per_slab, cache->pages_per_slab, cache->objects_at_start, use->allocs, use->frees,
		       use->live_peak);
	}
}

/* ------------------------------------------------------------------------------------------------ summary */

static uint64_t file_bytes(const char *path)
{
	struct stat status;
	return stat(path, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static double fragmentation_percent(const struct kmt_totals *totals)
{
	if (totals->perf_allocated_bytes == 0)
		return 0.0;
	return 100.0 - 100.0 * (double)totals->perf_requested_bytes / (double)totals->perf_allocated_bytes;
}

static void print_origin(const struct kmt_reader *reader, const char *hash)
{
	const struct kmt_origin *origin = kmt_reader_origin(reader);
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	print_field("trace", kmt_reader_path(reader));
	printf("%-14s%s (XXH64)\n", "hash", hash);
	print_field("source", origin->source);
	print_field("kernel", origin->kernel);
	print_field("command", origin->command);
	print_field("clock", origin->clock);
	if (*origin->note)
		print_field("note", origin->note);
	printf("%-14s%u\n", "cpus", origin->cpu_count);
	printf("%-14s%u bytes\n", "page size", origin->page_bytes);
	printf("%-14s%" PRIu64 ".%09" PRIu64 " s\n", "duration", totals->duration_ns / 1000000000,
	       totals->duration_ns % 1000000000);
	printf("%-14s%s\n", "begins", origin->at_boot ? "at boot" : "in the middle of the kernel's life");
	if (origin->direct_map_base)
		printf("%-14s0x%" PRIx64 "\n", "direct map", origin->direct_map_base);
}

static void print_totals(const struct kmt_reader *reader, uint64_t bytes)
{
	uint32_t caches;
	kmt_reader_caches(reader, &caches);
	const struct kmt_totals *totals = kmt_reader_totals(reader);
	printf("%-14s%" PRIu64 "\n", "file bytes", bytes);
	printf("%-14s%u\n", "caches", caches);
	printf("%-14s%" PRIu64 "\n", "snapshots", totals->snapshots);
	printf("%-14s%" PRIu64 "\n", "object ids", totals->objects);
	if (totals->top_address)
		printf("%-14s0x%" PRIx64 "\n", "top address", totals->top_address);
	printf("%-14s%" PRIu64 "\n", "events", totals->events);
	/* Warm events are cheap and many: they would flatter the figure. */
	uint64_t recorded = totals->events - totals->warm_events;
	if (recorded)
		printf("%-14s%.2f, not counting warm ones; header and snapshots included\n", "bytes/event",
		       (double)bytes / (double)recorded);
	for (enum kmt_op op = 0; op < KMT_OP_COUNT; op++)
		if (totals->op_events[op])
			printf("  %-12s%12" PRIu64 "\n", kmt_op_name(op), totals->op_events[op]);
	printf("  %-12s%12" PRIu64 "  of these: live before the trace began\n", "warm", totals->warm_events);
}

static void print_quirks(const struct kmt_totals *totals)
{
	puts("\nquirks");
	bool any = false;
	for (enum kmt_quirk quirk = 0; quirk < KMT_QUIRK_COUNT; quirk++) {
		if (!totals->quirks[quirk])
			continue;
		any = true;
		printf("  %-20s%10" PRIu64 "  %s\n", kmt_quirk_name(quirk), totals->quirks[quirk],
		       kmt_quirk_help(quirk));
	}
	if (!any)
		puts("  none");
}

static void print_perf(const struct kmt_totals *totals)
{
	uint64_t requested = totals->perf_requested_bytes, allocated = totals->perf_allocated_bytes;
	puts("\nas perf kmem stat counts");
	printf("Total bytes requested: %" PRIu64 "\n", requested);
	printf("Total bytes allocated: %" PRIu64 "\n", allocated);
	printf("Total bytes freed:     %" PRIu64 "\n", totals->perf_freed_bytes);
	if (allocated > totals->perf_freed_bytes)
		printf("Net total bytes allocated: %" PRIu64 "\n", allocated - totals->perf_freed_bytes);
	printf("Total bytes wasted on internal fragmentation: %" PRIu64 "\n", allocated - requested);
	printf("Internal fragmentation: %f%%\n", fragmentation_percent(totals));
	printf("Cross CPU allocations: %" PRIu64 "/%" PRIu64 "\n", totals->perf_cross_cpu, totals->perf_allocations);
}

/* ------------------------------------------------------------------------------------------------ JSON */

static void json_origin(cJSON *root, const struct kmt_reader *reader)
{
	const struct kmt_origin *origin = kmt_reader_origin(reader);
	cJSON *object = cJSON_AddObjectToObject(root, "origin");
	json_text(object, "source", origin->source);
	json_text(object, "kernel", origin->kernel);
	json_text(object, "command", origin->command);
	json_text(object, "clock", origin->clock);
	json_text(object, "note", origin->note);
	json_number(object, "cpu_count", origin->cpu_count);
	json_number(object, "page_bytes", origin->page_bytes);
	json_number(object, "start_ns", origin->start_ns);
	json_number(object, "direct_map_base", origin->direct_map_base);
	cJSON_AddBoolToObject(object, "at_boot", origin->at_boot);
}

static void json_totals(cJSON *root, const struct kmt_totals *totals)
{
	cJSON *object = cJSON_AddObjectToObject(root, "totals");
	json_number(object, "events", totals->events);
	json_number(object, "warm_events", totals->warm_events);
	json_number(object, "objects", totals->objects);
	json_number(object, "duration_ns", totals->duration_ns);
	json_number(object, "snapshots", totals->snapshots);
	json_number(object, "top_address", totals->top_address);
	cJSON *ops = cJSON_AddObjectToObject(root, "events_by_op");
	for (enum kmt_op op = 0; op < KMT_OP_COUNT; op++)
		json_number(ops, kmt_op_name(op), totals->op_events[op]);
	cJSON *quirks = cJSON_AddObjectToObject(root, "quirks");
	for (enum kmt_quirk quirk = 0; quirk < KMT_QUIRK_COUNT; quirk++)
		json_number(quirks, kmt_quirk_name(quirk), totals->quirks[quirk]);
	cJSON *perf = cJSON_AddObjectToObject(root, "perf_kmem");
	json_number(perf, "requested_bytes", totals->perf_requested_bytes);
	json_number(perf, "allocated_bytes", totals->perf_allocated_bytes);
	json_number(perf, "freed_bytes", totals->perf_freed_bytes);
	json_number(perf, "allocations", totals->perf_allocations);
	json_number(perf, "cross_cpu", totals->perf_cross_cpu);
	cJSON_AddNumberToObject(perf, "internal_fragmentation_percent", fragmentation_percent(totals));
}

static void json_caches(cJSON *root, const struct kmt_reader *reader, const struct cache_use *uses)
{
	uint32_t count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &count);
	cJSON *list = cJSON_AddArrayToObject(root, "caches");
	for (uint32_t i = 0; i < count + (uses != NULL); i++) {
		uint32_t index = uses ? uses[i].cache : i;
		cJSON *object = cJSON_CreateObject();
		cJSON_AddItemToArray(list, object);
		if (index < count) {
			const struct kmt_cache *cache = &caches[index];
			json_number(object, "index", index);
			json_text(object, "name", cache->name);
			json_number(object, "object_bytes", cache->object_bytes);
			json_number(object, "slot_bytes", cache->slot_bytes);
			json_number(object, "align_bytes", cache->align_bytes);
			json_number(object, "objects_per_slab", cache->objects_per_slab);
			json_number(object, "pages_per_slab", cache->pages_per_slab);
			json_number(object, "slabs_at_start", cache->slabs_at_start);
			json_number(object, "objects_at_start", cache->objects_at_start);
			json_number(object, "flags", cache->flags);
		} else {
			cJSON_AddNullToObject(object, "index");
		}
		if (!uses)
			continue;
		json_number(object, "allocs", uses[i].allocs);
		json_number(object, "frees", uses[i].frees);
		json_number(object, "requested_bytes", uses[i].requested_bytes);
		cJSON_AddNumberToObject(object, "peak_live", (double)uses[i].live_peak);
	}
}

static bool print_json(const struct kmt_reader *reader, const char *hash, const struct cache_use *uses,
		       struct kml_error *error)
{
	cJSON *root = cJSON_CreateObject();
	json_text(root, "trace", kmt_reader_path(reader));
	cJSON_AddStringToObject(root, "xxh64", hash);
	json_number(root, "file_bytes", file_bytes(kmt_reader_path(reader)));
	json_origin(root, reader);
	json_totals(root, kmt_reader_totals(reader));
	json_caches(root, reader, uses);
	char *text = cJSON_Print(root);
	cJSON_Delete(root);
	if (!text)
		return kml_fail(error, "memory exhausted");
	puts(text);
	free(text);
	return true;
}

static bool show_summary(struct kmt_reader *reader, const struct arguments *arguments, struct kml_error *error)
{
	const char *hash = kmt_reader_hash(reader, error);
	if (!hash)
		return false;
	struct cache_use *uses = arguments->caches ? count_uses(reader, error) : NULL;
	if (arguments->caches && !uses)
		return false;
	bool ok = true;
	if (arguments->answer.json) {
		ok = print_json(reader, hash, uses, error);
	} else {
		print_origin(reader, hash);
		print_totals(reader, file_bytes(kmt_reader_path(reader)));
		print_quirks(kmt_reader_totals(reader));
		print_perf(kmt_reader_totals(reader));
		if (uses)
			print_caches(reader, uses);
	}
	free(uses);
	return ok;
}

/* ------------------------------------------------------------------------------------------------ events */

static void print_event(const struct kmt_reader *reader, const struct kmt_event *event, uint64_t number)
{
	printf("%9" PRIu64 " %6" PRIu64 ".%09" PRIu64 " %4u %-11s ", number, event->time_ns / 1000000000,
	       event->time_ns % 1000000000, event->cpu, kmt_op_name(event->op));
	if (kmt_op_has_object(event->op))
		printf("%9u ", event->object);
	else
		printf("%9s ", "-");
	printf("%9" PRIu64 " %9" PRIu64 " ", event->size_bytes, event->granted_bytes);
	if (event->address == KMT_NO_ADDRESS)
		printf("%18s ", "-");
	else
		printf("0x%016" PRIx64 " ", event->address);
	printf("%5u %5u ", event->order, event->align_log2);
	print_text(cache_name(reader, event->cache));
	putchar(' ');
	if (event->flags)
		event_print_flags(stdout, event->flags);
	else
		putchar('-');
	putchar('\n');
}

static void print_event_csv(const struct kmt_reader *reader, const struct kmt_event *event, uint64_t number)
{
	event_print_csv(stdout, reader, event, number);
}

/* False when whoever reads standard output is gone or it cannot be written: main reports the latter. */
static bool print_block(const struct kmt_reader *reader, const struct arguments *arguments, const struct kmt_item *item,
			uint64_t first)
{
	for (uint32_t i = 0; i < item->event_count; i++) {
		uint64_t number = first + i;
		if (number < arguments->from)
			continue;
		if (number - arguments->from >= arguments->limit)
			return false;
		(arguments->csv ? print_event_csv : print_event)(reader, &item->events[i], number);
		if (ferror(stdout))
			return false;
	}
	return true;
}

static bool show_events(struct kmt_reader *reader, const struct arguments *arguments, struct kml_error *error)
{
	struct kmt_item item;
	if (arguments->csv)
		event_print_csv_heading(stdout);
	else
		printf("#%8s %16s %4s %-11s %9s %9s %9s %18s %5s %5s cache flags\n", "event", "seconds", "cpu", "op",
		       "object", "size", "granted", "address", "order", "align");
	for (uint64_t number = 0;; number += item.event_count) {
		enum kmt_item_kind kind = kmt_next(reader, &item, error);
		if (kind == KMT_ITEM_ERROR)
			return false;
		if (kind == KMT_ITEM_END || !print_block(reader, arguments, &item, number))
			return true;
	}
}

/* ------------------------------------------------------------------------------------------------ snapshots */

static bool find_kind(const char *name, enum kmt_snapshot_kind *found, struct kml_error *error)
{
	char known[256] = "";
	for (enum kmt_snapshot_kind kind = 0; kind < KMT_SNAPSHOT_KINDS; kind++) {
		*found = kind;
		if (strcmp(kmt_snapshot_name(kind), name) == 0)
			return true;
		strcat(strcat(known, kind ? ", " : ""), kmt_snapshot_name(kind));
	}
	return kml_fail(error, "no kind of snapshot '%s': %s are known", name, known);
}

static void print_snapshot(const struct kmt_snapshot *snapshot, bool whole)
{
	if (whole) {
		printf("### %" PRIu64 ".%09" PRIu64 " s, before event %" PRIu64 ", %s ", snapshot->time_ns / 1000000000,
		       snapshot->time_ns % 1000000000, snapshot->event, kmt_snapshot_name(snapshot->kind));
		print_text(snapshot->label);
		putchar('\n');
		fwrite(snapshot->text, 1, snapshot->text_bytes, stdout);
		if (snapshot->text_bytes && snapshot->text[snapshot->text_bytes - 1] != '\n')
			putchar('\n');
		return;
	}
	printf("%6" PRIu64 ".%09" PRIu64 " %10" PRIu64 " %10zu %-15s ", snapshot->time_ns / 1000000000,
	       snapshot->time_ns % 1000000000, snapshot->event, snapshot->text_bytes,
	       kmt_snapshot_name(snapshot->kind));
	print_text(snapshot->label);
	putchar('\n');
}

static bool show_snapshots(struct kmt_reader *reader, const struct arguments *arguments, struct kml_error *error)
{
	struct kmt_item item;
	enum kmt_snapshot_kind wanted = 0;
	bool whole = arguments->snapshot_kind != NULL;
	if (whole && !find_kind(arguments->snapshot_kind, &wanted, error))
		return false;
	if (!whole)
		printf("#%15s %10s %10s %-15s label\n", "seconds", "event", "bytes", "kind");
	while (!ferror(stdout)) {
		enum kmt_item_kind kind = kmt_next(reader, &item, error);
		if (kind == KMT_ITEM_ERROR)
			return false;
		if (kind == KMT_ITEM_END)
			break;
		if (kind == KMT_ITEM_SNAPSHOT && (!whole || item.snapshot->kind == wanted))
			print_snapshot(item.snapshot, whole);
	}
	return true;
}

int cmd_info(int argc, char **argv)
{
	struct arguments arguments = {.limit = UINT64_MAX};
	struct kml_error error;
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	signal(SIGPIPE, SIG_IGN); /* `| head` is no error: main tells a closed pipe from a full disk */
	struct kmt_reader *reader = workload_open(arguments.path, NULL, &error);
	if (!reader)
		return kml_report(&error, KML_EXIT_USAGE);
	bool ok = arguments.events      ? show_events(reader, &arguments, &error)
		  : arguments.snapshots ? show_snapshots(reader, &arguments, &error)
					: show_summary(reader, &arguments, &error);
	kmt_close(reader);
	return ok ? KML_EXIT_OK : kml_report(&error, KML_EXIT_USAGE);
}
