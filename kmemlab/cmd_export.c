/*
 * cmd_export.c - `kmemlab export`: a .kmt for other people's tools, as CSV or as NumPy arrays.
 *
 * Constant memory. A .npz holds its arrays one after the other, so the trace is read once for each.
 */
#include <argp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/command.h"
#include "kmemlab/event_text.h"
#include "kmemlab/npz.h"
#include "kmemlab/options.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/output.h"
#include "kmemlab/support/progress.h"
#include "traces/kmt/kmt.h"
#include "workloads/generate/generate.h"

struct arguments {
	const char *trace;
	struct kml_answer answer;
};

static const struct argp_option options[] = {
	{"out", 'o', "OUT.csv|OUT.npz", 0,
	 "Where to write (needed); its ending tells the format. - is CSV on standard output", 0},
	{"quiet", 'q', NULL, 0, "No progress", 0},
	{0},
};

static const char doc[] =
	"Write the events of a trace (a .kmt, or the spec of a workload) for other tools: comma-separated values or a "
	"NumPy archive.\v"
	"Columns of the CSV file, one event a row:\n"
	"  event          number, from 0\n"
	"  time_ns        since the start of the trace\n"
	"  cpu            from 0\n"
	"  op             alloc, free, page_alloc, page_free, mark, ...\n"
	"  object         id, used again after its free; empty where the op has none\n"
	"  size_bytes     asked for; of pages 2^order pages\n"
	"  granted_bytes  given; 0 where it was not recorded\n"
	"  address        physical, as recorded; empty where it was not\n"
	"  order          of pages\n"
	"  align_log2     of the alignment asked for\n"
	"  cache          name; empty for requests by size alone\n"
	"  flags          names joined by |\n\n"
	"The .npz has an array for each (but `event`: it is the index), with numbers in the place of names: "
	"op_name[op], "
	"flag_name[bit], cache_name[cache]; 2^32-1 for no object, 2^64-1 for no address, 65535 for no cache. The "
	"caches are cache_name, cache_object_bytes, cache_slot_bytes, cache_align_bytes, cache_objects_per_slab, "
	"cache_pages_per_slab and cache_flags; cpu_count and page_bytes have one item.\n\n"
	"Examples:\n"
	"  kmemlab export traces/compile.kmt -o compile.csv\n"
	"  kmemlab export traces/compile.kmt -o compile.npz\n"
	"  python3 traces/examples/read_npz.py compile.npz\n\n"
	"Exit status: 0 done, 2 usage or bad input.";

static bool ends_so(const char *text, const char *end)
{
	size_t length = strlen(text), wanted = strlen(end);
	return length > wanted && strcmp(text + length - wanted, end) == 0;
}

static bool is_npz(const char *path)
{
	return ends_so(path, ".npz");
}

static void check_arguments(const struct arguments *arguments, struct argp_state *state)
{
	if (!arguments->trace)
		argp_error(state, "name a trace: kmemlab export TRACE -o OUT.csv");
	if (!arguments->answer.out)
		argp_error(state, "say where to write: -o OUT.csv or -o OUT.npz");
	else if (strcmp(arguments->answer.out, "-") != 0 && !ends_so(arguments->answer.out, ".csv") &&
		 !is_npz(arguments->answer.out))
		argp_error(state, "%s: the ending tells no format: .csv or .npz", arguments->answer.out);
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		kml_option_once(&arguments->trace, value, "trace", "", state);
		return 0;
	case ARGP_KEY_END:
		check_arguments(arguments, state);
		return 0;
	default:
		return kml_option_answer(key, value, &arguments->answer) ? 0 : ARGP_ERR_UNKNOWN;
	}
}

/* What is done with the events of a trace, block by block. */
typedef bool take_block(void *context, const struct kmt_event *events, uint32_t count, struct kml_error *error);

static bool each_block(struct kmt_reader *reader, struct kml_progress *progress, take_block *take, void *context,
		       struct kml_error *error)
{
	struct kmt_item item;
	uint64_t before = progress->done;

	if (!kmt_rewind(reader, error))
		return false;
	for (uint64_t events = 0;; events += item.event_count) {
		enum kmt_item_kind kind = kmt_next(reader, &item, error);
		if (kind == KMT_ITEM_ERROR)
			return false;
		if (kind == KMT_ITEM_END)
			return true;
		kml_progress_update(progress, before + events);
		if (item.event_count > 0 && !take(context, item.events, item.event_count, error))
			return false;
	}
}

/* ------------------------------------------------------------------------------------------------ CSV */

struct csv {
	FILE *stream;
	const struct kmt_reader *reader;
	uint64_t number;
};

static bool take_csv(void *context, const struct kmt_event *events, uint32_t count, struct kml_error *error)
{
	struct csv *csv = context;
	for (uint32_t i = 0; i < count; i++)
		event_print_csv(csv->stream, csv->reader, &events[i], csv->number++);
	(void)error;
	return !ferror(csv->stream);
}

static bool export_csv(struct kmt_reader *reader, struct kml_progress *progress, FILE *stream, struct kml_error *error)
{
	struct csv csv = {stream, reader, 0};
	event_print_csv_heading(stream);
	return each_block(reader, progress, take_csv, &csv, error);
}

/* ------------------------------------------------------------------------------------------------ NumPy */

/* A member of a struct as an array. */
struct column {
	const char *name, *type;
	size_t bytes, offset;
};

static const struct column columns[] = {
#define COLUMN(member, type)                                                                                           \
	{                                                                                                              \
#member, type, sizeof((struct kmt_event *)0)->member, offsetof(struct kmt_event, member)               \
	}
	COLUMN(time_ns, "u8"),    COLUMN(cpu, "u2"),           COLUMN(op, "u1"),      COLUMN(object, "u4"),
	COLUMN(size_bytes, "u8"), COLUMN(granted_bytes, "u8"), COLUMN(address, "u8"), COLUMN(order, "u1"),
	COLUMN(align_log2, "u1"), COLUMN(cache, "u2"),         COLUMN(flags, "u2"),
#undef COLUMN
};
enum { COLUMN_COUNT = sizeof columns / sizeof *columns };
_Static_assert(KMT_NO_ADDRESS == UINT64_MAX && KMT_NO_CACHE == UINT16_MAX, "as the help has them");

struct array {
	struct npz *npz;
	const struct column *column;
	uint8_t items[KMT_BLOCK_EVENTS * sizeof(uint64_t)];
};

static bool take_column(void *context, const struct kmt_event *events, uint32_t count, struct kml_error *error)
{
	struct array *array = context;
	size_t bytes = array->column->bytes;

	for (uint32_t i = 0; i < count; i++) {
		struct kmt_event event = events[i];
		/* Else 0, as the id of the first object. */
		if (!kmt_op_has_object(event.op))
			event.object = UINT32_MAX;
		memcpy(array->items + i * bytes, (const char *)&event + array->column->offset, bytes);
	}
	return npz_write(array->npz, array->items, count * bytes, error);
}

static bool write_columns(struct npz *npz, struct kmt_reader *reader, struct kml_progress *progress,
			  struct kml_error *error)
{
	struct array *array = malloc(sizeof *array);
	uint64_t events = kmt_reader_totals(reader)->events;
	bool done = true;

	if (!array)
		return kml_fail(error, "memory exhausted");
	for (int i = 0; done && i < COLUMN_COUNT; i++) {
		array->npz = npz;
		array->column = &columns[i];
		done = npz_begin(npz, columns[i].name, columns[i].type, columns[i].bytes, events, error) &&
		       each_block(reader, progress, take_column, array, error) && npz_end(npz, error);
	}
	free(array);
	return done;
}

/* Texts of one width, the longest's, filled up with zeros: NumPy's S type. */
static bool write_texts(struct npz *npz, const char *name, const char *const *texts, uint32_t count,
			struct kml_error *error)
{
	char item[256] = {0}, type[16];
	size_t width = 1;

	for (uint32_t i = 0; i < count; i++) {
		size_t length = strlen(texts[i]);
		width = length > width ? length : width;
	}
	KML_CHECK(width < sizeof item, "a name of %zu bytes", width);
	snprintf(type, sizeof type, "S%zu", width);
	bool done = npz_begin(npz, name, type, width, count, error);
	for (uint32_t i = 0; done && i < count; i++) {
		strncpy(item, texts[i], sizeof item - 1); /* zeros behind it */
		done = npz_write(npz, item, width, error);
	}
	return done && npz_end(npz, error);
}

static bool write_number(struct npz *npz, const char *name, uint32_t number, struct kml_error *error)
{
	return npz_begin(npz, name, "u4", sizeof number, 1, error) && npz_write(npz, &number, sizeof number, error) &&
	       npz_end(npz, error);
}

static const struct column cache_columns[] = {
#define COLUMN(member, type)                                                                                           \
	{                                                                                                              \
		"cache_" #member, type, sizeof((struct kmt_cache *)0)->member, offsetof(struct kmt_cache, member)      \
	}
	COLUMN(object_bytes, "u8"),     COLUMN(slot_bytes, "u8"),     COLUMN(align_bytes, "u8"),
	COLUMN(objects_per_slab, "u4"), COLUMN(pages_per_slab, "u4"), COLUMN(flags, "u4"),
#undef COLUMN
};

static bool write_cache_column(struct npz *npz, const struct column *column, const struct kmt_cache *caches,
			       uint32_t count, struct kml_error *error)
{
	bool done = npz_begin(npz, column->name, column->type, column->bytes, count, error);

	for (uint32_t i = 0; done && i < count; i++)
		done = npz_write(npz, (const char *)&caches[i] + column->offset, column->bytes, error);
	return done && npz_end(npz, error);
}

static bool write_caches(struct npz *npz, const struct kmt_reader *reader, struct kml_error *error)
{
	uint32_t count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &count);
	const char **names = malloc((count + 1) * sizeof *names);

	if (!names)
		return kml_fail(error, "memory exhausted");
	for (uint32_t i = 0; i < count; i++)
		names[i] = caches[i].name;
	bool done = write_texts(npz, "cache_name", names, count, error);
	free(names);
	for (size_t i = 0; done && i < sizeof cache_columns / sizeof *cache_columns; i++)
		done = write_cache_column(npz, &cache_columns[i], caches, count, error);
	return done;
}

/* What the numbers in the columns mean. */
static bool write_words(struct npz *npz, const struct kmt_reader *reader, struct kml_error *error)
{
	const char *ops[KMT_OP_COUNT], *flags[EVENT_FLAG_BITS];

	for (int op = 0; op < KMT_OP_COUNT; op++)
		ops[op] = kmt_op_name((enum kmt_op)op);
	for (unsigned bit = 0; bit < EVENT_FLAG_BITS; bit++)
		flags[bit] = event_flag_name(bit);
	return write_texts(npz, "op_name", ops, KMT_OP_COUNT, error) &&
	       write_texts(npz, "flag_name", flags, EVENT_FLAG_BITS, error) &&
	       write_number(npz, "cpu_count", kmt_reader_origin(reader)->cpu_count, error) &&
	       write_number(npz, "page_bytes", kmt_reader_origin(reader)->page_bytes, error);
}

static bool export_npz(struct kmt_reader *reader, struct kml_progress *progress, FILE *stream, struct kml_error *error)
{
	struct npz *npz = npz_create(stream, error);

	if (!npz)
		return false;
	if (write_columns(npz, reader, progress, error) && write_caches(npz, reader, error) &&
	    write_words(npz, reader, error))
		return npz_finish(npz, error);
	npz_abandon(npz);
	return false;
}

/* ------------------------------------------------------------------------------------------------ the command */

static bool export_to(struct kmt_reader *reader, const struct arguments *arguments, FILE *stream,
		      struct kml_error *error)
{
	bool npz = is_npz(arguments->answer.out);
	struct kml_progress progress = {0};

	if (!arguments->answer.quiet)
		kml_progress_start(&progress, "writing", "events",
				   kmt_reader_totals(reader)->events * (npz ? COLUMN_COUNT : 1));
	bool done = (npz ? export_npz : export_csv)(reader, &progress, stream, error);
	if (!arguments->answer.quiet)
		kml_progress_finish(&progress);
	return done;
}

static bool export_trace(const struct arguments *arguments, struct kml_error *error)
{
	struct kml_output output;
	struct kmt_reader *reader = workload_open(arguments->trace, NULL, error);

	if (!reader)
		return false;
	bool opened = kml_output_open(&output, arguments->answer.out, error);
	/* What could not be written, the output says itself. */
	bool whole = opened && (export_to(reader, arguments, output.stream, error) || ferror(output.stream));
	kmt_close(reader);
	if (opened && !whole)
		kml_output_abandon(&output);
	return whole && kml_output_commit(&output, error);
}

int cmd_export(int argc, char **argv)
{
	static const struct argp argp = {options, parse_option, "TRACE", doc, NULL, NULL, NULL};
	struct arguments arguments = {0};
	struct kml_error error = {0};

	if (kml_parse_arguments(&argp, argc, argv, &arguments) != 0)
		return KML_EXIT_USAGE;
	return export_trace(&arguments, &error) ? KML_EXIT_OK : kml_report(&error, KML_EXIT_USAGE);
}
