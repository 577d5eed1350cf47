/*
 * perf_data.c - the kmem tracepoints of a perf.data file, read natively.
 *
 * A file begins with "PERFILE2" and a table of sections (attributes with their event ids, records, features); a stream
 * (`perf record -o -`) has records only, the tables among them. Both forms are read, and records that perf compressed
 * (`perf record -z`). Each sample's layout follows from its attribute's sample_type; the fields inside come from the
 * kernel's format texts in the file (tracepoint.h). Every length is checked against what contains it. Samples come in
 * rounds, ordered within a cpu only: the import sorts by time.
 *
 * Followed: tools/perf/Documentation/perf.data-file-format.txt, include/uapi/linux/perf_event.h and tools/lib/perf/
 * include/perf/event.h of Linux 6.18. Cost: O(bytes), the file in memory.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "traces/import/import.h"
#include "traces/import/tracepoint.h"

enum {
	HEADER_BYTES = 104, /* magic, size, attr_size, three sections, 256 feature bits */
	PIPE_HEADER_BYTES = 16,
	ATTR_BYTES_MIN = 64, /* PERF_ATTR_SIZE_VER0 */
	ATTRS_MAX = 512,
	FEATURE_BITS = 256,
	TEXT_BYTES_MAX = 4096,
	COMMAND_WORDS_MAX = 4096,
	SYSTEMS_MAX = 4096,
	FORMATS_MAX = 65536,
	RECORD_BYTES_MAX = 65535,
	INFLATE_BYTES = 128 << 10,
};

enum record_type {
	RECORD_LOST = 2,
	RECORD_SAMPLE = 9,
	RECORD_LOST_SAMPLES = 13,
	RECORD_HEADER_ATTR = 64,
	RECORD_TRACING_DATA = 66,
	RECORD_AUXTRACE = 71,
	RECORD_FEATURE = 80,
	RECORD_COMPRESSED = 81,
	RECORD_COMPRESSED2 = 83,
};

enum feature {
	FEATURE_TRACING_DATA = 1,
	FEATURE_OSRELEASE = 4,
	FEATURE_ARCH = 6,
	FEATURE_NRCPUS = 7,
	FEATURE_CMDLINE = 11,
	FEATURE_NUMA_TOPOLOGY = 14
};

/* PERF_SAMPLE_* in the order of the sample's body up to RAW, which is as far as we read. */
enum sample_bit {
	SAMPLE_IP = 1u << 0,
	SAMPLE_TID = 1u << 1,
	SAMPLE_TIME = 1u << 2,
	SAMPLE_ADDR = 1u << 3,
	SAMPLE_READ = 1u << 4,
	SAMPLE_CALLCHAIN = 1u << 5,
	SAMPLE_ID = 1u << 6,
	SAMPLE_CPU = 1u << 7,
	SAMPLE_PERIOD = 1u << 8,
	SAMPLE_STREAM_ID = 1u << 9,
	SAMPLE_RAW = 1u << 10,
	SAMPLE_IDENTIFIER = 1u << 16,
};
enum read_bit {
	READ_ENABLED = 1u << 0,
	READ_RUNNING = 1u << 1,
	READ_ID = 1u << 2,
	READ_GROUP = 1u << 3,
	READ_LOST = 1u << 4
};
#define ATTR_SAMPLE_ID_ALL (UINT64_C(1) << 18)
#define ATTR_USE_CLOCKID (UINT64_C(1) << 25)

struct attr {
	uint64_t sample_type, read_format;
	bool sample_id_all;
	bool has_clock;
	int32_t clock;
};

struct id {
	uint64_t id;
	uint32_t attr;
};

struct perf_data {
	struct import *import;
	const char *name; /* of the file, for messages */
	struct tracepoints *tracepoints;
	struct attr attrs[ATTRS_MAX];
	uint32_t attr_count;
	bool attrs_alike; /* one layout serves all samples */
	struct id *ids;
	size_t id_count, id_room;
	bool ids_sorted;
	ZSTD_DStream *inflater; /* NULL until the first compressed record */
	uint8_t *inflated;      /* what came out and is no whole record yet */
	size_t inflated_bytes;
	uint64_t last_time_ns;
	uint64_t samples;
	uint32_t page_bytes, cpu_count;
	bool has_nodes;
	int16_t node_of_cpu[KMT_CPUS_MAX];
	char release[TEXT_BYTES_MAX], machine[TEXT_BYTES_MAX], command[TEXT_BYTES_MAX];
};

/* ------------------------------------------------------------------------------------------ reading in bounds */

struct cursor {
	const uint8_t *at, *end;
};

static size_t left(const struct cursor *cursor)
{
	return (size_t)(cursor->end - cursor->at);
}

static bool take(struct cursor *cursor, void *value, size_t bytes)
{
	if (left(cursor) < bytes)
		return false;
	if (value)
		memcpy(value, cursor->at, bytes);
	cursor->at += bytes;
	return true;
}

static bool take_part(struct cursor *cursor, uint64_t bytes, struct cursor *part)
{
	if (left(cursor) < (KML_PLANTED(perf_length_truncated) ? (uint32_t)bytes : bytes))
		return false;
	*part = (struct cursor){cursor->at, cursor->at + bytes};
	cursor->at += bytes;
	return true;
}

/* A NUL-terminated text; NULL when it has no end. */
static const char *take_text(struct cursor *cursor)
{
	const uint8_t *end = memchr(cursor->at, '\0', left(cursor));
	const char *text = (const char *)cursor->at;
	if (!end)
		return NULL;
	cursor->at = end + 1;
	return text;
}

/* u32 length and so many bytes with NULs at the end, as the features hold texts. */
static bool take_counted_text(struct cursor *cursor, char *text, size_t room_bytes)
{
	uint32_t bytes;
	struct cursor part;
	if (!take(cursor, &bytes, sizeof bytes) || !take_part(cursor, bytes, &part))
		return false;
	size_t length = strnlen((const char *)part.at, bytes);
	if (length >= room_bytes)
		length = room_bytes - 1;
	memcpy(text, part.at, length);
	text[length] = '\0';
	return true;
}

static bool section(const struct cursor *file, uint64_t offset, uint64_t bytes, struct cursor *part)
{
	size_t file_bytes = left(file);
	if (KML_PLANTED(perf_section_overflow) ? offset + bytes > file_bytes
					       : offset > file_bytes || bytes > file_bytes - offset)
		return false;
	*part = (struct cursor){file->at + offset, file->at + offset + bytes};
	return true;
}

/* --------------------------------------------------------------------------------------------- the attributes */

/* struct perf_event_attr, of which `size` says how much there is. */
static bool add_attr(struct perf_data *perf, struct cursor attr_bytes, struct kml_error *error)
{
	struct {
		uint32_t type, size;
		uint64_t config, period, sample_type, read_format, flags;
	} head;
	struct attr attr = {0};
	if (perf->attr_count == ATTRS_MAX)
		return kml_fail(error, "%s: more than %d event attributes", perf->name, ATTRS_MAX);
	size_t bytes = left(&attr_bytes);
	const uint8_t *start = attr_bytes.at;
	if (!take(&attr_bytes, &head, sizeof head) || bytes < ATTR_BYTES_MIN)
		return kml_fail(error, "%s: event attribute %u is cut short", perf->name, perf->attr_count);
	attr.sample_type = head.sample_type;
	attr.read_format = head.read_format;
	attr.sample_id_all = head.flags & ATTR_SAMPLE_ID_ALL;
	enum { CLOCKID_OFFSET = 92 };
	attr.has_clock = (head.flags & ATTR_USE_CLOCKID) && bytes >= CLOCKID_OFFSET + sizeof attr.clock;
	if (attr.has_clock)
		memcpy(&attr.clock, start + CLOCKID_OFFSET, sizeof attr.clock);
	const struct attr *first = &perf->attrs[0];
	perf->attrs_alike = perf->attr_count == 0 ||
			    (perf->attrs_alike && first->sample_type == attr.sample_type &&
			     first->read_format == attr.read_format && first->sample_id_all == attr.sample_id_all);
	perf->attrs[perf->attr_count++] = attr;
	return true;
}

/* Ids of the attribute added last. */
static bool add_ids(struct perf_data *perf, struct cursor ids, struct kml_error *error)
{
	uint64_t id;
	while (take(&ids, &id, sizeof id)) {
		if (perf->id_count == perf->id_room) {
			size_t room = perf->id_room ? perf->id_room * 2 : 64;
			struct id *grown = realloc(perf->ids, room * sizeof *grown);
			if (!grown)
				return kml_fail(error, "out of memory");
			perf->ids = grown;
			perf->id_room = room;
		}
		perf->ids[perf->id_count++] = (struct id){id, perf->attr_count - 1};
		perf->ids_sorted = false;
	}
	return true;
}

static int compare_ids(const void *a, const void *b)
{
	const struct id *left_id = a, *right_id = b;
	return (left_id->id > right_id->id) - (left_id->id < right_id->id);
}

/* The attribute of a sample or NULL. Where all are laid out alike any will do; else the identifier, placed first,
 * tells. */
static const struct attr *attr_of(struct perf_data *perf, const struct cursor *body)
{
	if (perf->attr_count > 0 && perf->attrs_alike)
		return &perf->attrs[0];
	bool is_short = left(body) < sizeof(uint64_t) && !KML_PLANTED(perf_identifier_unchecked);
	if (is_short || perf->id_count == 0)
		return NULL;
	if (!perf->ids_sorted) {
		qsort(perf->ids, perf->id_count, sizeof *perf->ids, compare_ids);
		perf->ids_sorted = true;
	}
	struct id key = {0};
	memcpy(&key.id, body->at, sizeof key.id);
	const struct id *found = bsearch(&key, perf->ids, perf->id_count, sizeof *perf->ids, compare_ids);
	const struct attr *attr = found ? &perf->attrs[found->attr] : NULL;
	return attr && (attr->sample_type & SAMPLE_IDENTIFIER) ? attr : NULL;
}

/* ------------------------------------------------------------------------------------- tracing data: the formats */

static bool skip_counted(struct cursor *data)
{
	uint64_t bytes;
	struct cursor part;
	return take(data, &bytes, sizeof bytes) && take_part(data, bytes, &part);
}

static bool add_system(struct perf_data *perf, struct cursor *data, struct kml_error *error)
{
	const char *system = take_text(data);
	uint32_t count;
	if (!system || !take(data, &count, sizeof count) || count > FORMATS_MAX)
		return kml_fail(error, "%s: the list of event formats is damaged", perf->name);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t bytes;
		struct cursor format;
		struct kml_error reason = {0};
		if (!take(data, &bytes, sizeof bytes) || !take_part(data, bytes, &format))
			return kml_fail(error, "%s: event format %u of %.64s is cut short", perf->name, i, system);
		if (strcmp(system, "kmem") != 0)
			continue;
		if (!tracepoints_add(perf->tracepoints, (const char *)format.at, left(&format), &reason))
			return kml_fail(error, "%s: event format %u of kmem: %s", perf->name, i, reason.text);
	}
	return true;
}

/* As tools/perf/util/trace-event-info.c writes it. */
static bool read_tracing_data(struct perf_data *perf, struct cursor data, struct kml_error *error)
{
	static const char MAGIC[] = "\x17\x08\x44tracing";
	char magic[sizeof MAGIC - 1];
	uint8_t big_endian, long_bytes;
	uint32_t page_bytes, ftrace_events, systems;
	if (tracepoints_count(perf->tracepoints) > 0)
		return kml_fail(error, "%s: tracing data comes twice", perf->name);
	if (!take(&data, magic, sizeof magic) || memcmp(magic, MAGIC, sizeof magic) != 0 || !take_text(&data) ||
	    !take(&data, &big_endian, 1) || !take(&data, &long_bytes, 1) ||
	    !take(&data, &page_bytes, sizeof page_bytes))
		return kml_fail(error, "%s: the tracing data (event formats) is damaged", perf->name);
	if (big_endian)
		return kml_fail(error,
				"%s was recorded on a big-endian machine: import the text of `perf script` instead",
				perf->name);
	if (page_bytes < 4096 || page_bytes > 65536 || (page_bytes & (page_bytes - 1)))
		return kml_fail(error, "%s: a page of %u bytes cannot be", perf->name, page_bytes);
	perf->page_bytes = page_bytes;
	for (int i = 0; i < 2; i++) { /* header_page, header_event */
		if (!take_text(&data) || !skip_counted(&data))
			return kml_fail(error, "%s: the tracing data (event formats) is cut short", perf->name);
	}
	if (!take(&data, &ftrace_events, sizeof ftrace_events) || ftrace_events > FORMATS_MAX)
		return kml_fail(error, "%s: the tracing data (event formats) is damaged", perf->name);
	for (uint32_t i = 0; i < ftrace_events; i++) {
		if (!skip_counted(&data))
			return kml_fail(error, "%s: the tracing data (event formats) is cut short", perf->name);
	}
	if (!take(&data, &systems, sizeof systems) || systems > SYSTEMS_MAX)
		return kml_fail(error, "%s: the tracing data (event formats) is damaged", perf->name);
	for (uint32_t i = 0; i < systems; i++) {
		if (!add_system(perf, &data, error))
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------------------------------------- the features */

static bool read_command(struct perf_data *perf, struct cursor data)
{
	uint32_t words;
	char word[TEXT_BYTES_MAX];
	size_t used_bytes = 0;
	if (!take(&data, &words, sizeof words) || words > COMMAND_WORDS_MAX)
		return false;
	for (uint32_t i = 0; i < words; i++) {
		if (!take_counted_text(&data, word, sizeof word))
			return false;
		if (used_bytes + 1 < sizeof perf->command)
			used_bytes += (size_t)snprintf(perf->command + used_bytes, sizeof perf->command - used_bytes,
						       "%s%s", i ? " " : "", word);
	}
	return true;
}

/* "0-3,8" */
static void set_node(struct perf_data *perf, const char *cpus, int16_t node)
{
	for (const char *at = cpus; *at >= '0' && *at <= '9';) {
		char *end;
		unsigned long first = strtoul(at, &end, 10);
		unsigned long last = *end == '-' ? strtoul(end + 1, &end, 10) : first;
		for (unsigned long cpu = first;
		     cpu <= last && (KML_PLANTED(perf_cpu_list_unbounded) || cpu < KMT_CPUS_MAX); cpu++)
			perf->node_of_cpu[cpu] = node;
		at = end + (*end == ',');
	}
}

static bool read_nodes(struct perf_data *perf, struct cursor data)
{
	uint32_t count;
	char cpus[TEXT_BYTES_MAX];
	struct {
		uint32_t node;
		uint64_t total_kib, free_kib;
	} __attribute__((packed)) entry;
	if (!take(&data, &count, sizeof count))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!take(&data, &entry, sizeof entry) || !take_counted_text(&data, cpus, sizeof cpus))
			return false;
		set_node(perf, cpus, (int16_t)entry.node);
		perf->has_nodes = true;
	}
	return true;
}

static bool read_feature(struct perf_data *perf, uint64_t feature, struct cursor data, struct kml_error *error)
{
	bool ok = true;
	switch (feature) {
	case FEATURE_TRACING_DATA:
		return read_tracing_data(perf, data, error);
	case FEATURE_OSRELEASE:
		ok = take_counted_text(&data, perf->release, sizeof perf->release);
		break;
	case FEATURE_ARCH:
		ok = take_counted_text(&data, perf->machine, sizeof perf->machine);
		break;
	case FEATURE_NRCPUS:
		ok = take(&data, &perf->cpu_count, sizeof perf->cpu_count) && perf->cpu_count >= 1 &&
		     perf->cpu_count <= KMT_CPUS_MAX;
		break;
	case FEATURE_CMDLINE:
		ok = read_command(perf, data);
		break;
	case FEATURE_NUMA_TOPOLOGY:
		ok = read_nodes(perf, data);
		break;
	default:
		break;
	}
	return ok || kml_fail(error, "%s: header feature %" PRIu64 " is damaged", perf->name, feature);
}

/* -------------------------------------------------------------------------------------------------- the records */

static bool skip_read_values(struct cursor *body, uint64_t format)
{
	uint64_t values = 1;
	uint64_t per_value = 1 + !!(format & READ_ID) + !!(format & READ_LOST);
	uint64_t times = !!(format & READ_ENABLED) + !!(format & READ_RUNNING);
	if ((format & READ_GROUP) && (!take(body, &values, sizeof values) || values > RECORD_BYTES_MAX))
		return false;
	return take(body, NULL, (size_t)(times + values * per_value) * sizeof(uint64_t));
}

struct sample {
	uint64_t time_ns;
	uint32_t cpu;
	struct cursor raw;
};

static bool read_sample(const struct attr *attr, struct cursor body, struct sample *sample)
{
	uint64_t type = attr->sample_type;
	uint64_t chain;
	uint32_t raw_bytes;
	*sample = (struct sample){0};
	size_t before_time = (size_t)(!!(type & SAMPLE_IDENTIFIER) + !!(type & SAMPLE_IP) + !!(type & SAMPLE_TID)) *
			     sizeof(uint64_t);
	size_t before_cpu = (size_t)(!!(type & SAMPLE_ADDR) + !!(type & SAMPLE_ID) + !!(type & SAMPLE_STREAM_ID)) *
			    sizeof(uint64_t);
	if (!take(&body, NULL, before_time) || ((type & SAMPLE_TIME) && !take(&body, &sample->time_ns, 8)) ||
	    !take(&body, NULL, before_cpu))
		return false;
	if ((type & SAMPLE_CPU) && (!take(&body, &sample->cpu, 4) || !take(&body, NULL, 4)))
		return false;
	if ((type & SAMPLE_PERIOD) && !take(&body, NULL, 8))
		return false;
	if ((type & SAMPLE_READ) && !skip_read_values(&body, attr->read_format))
		return false;
	if ((type & SAMPLE_CALLCHAIN) &&
	    (!take(&body, &chain, 8) || chain > RECORD_BYTES_MAX || !take(&body, NULL, (size_t)chain * 8)))
		return false;
	if (!(type & SAMPLE_RAW))
		return true; /* not of a tracepoint */
	return take(&body, &raw_bytes, 4) && take_part(&body, raw_bytes, &sample->raw);
}

static bool add_sample(struct perf_data *perf, struct cursor body, uint64_t offset, struct kml_error *error)
{
	struct sample sample;
	const struct attr *attr = attr_of(perf, &body);
	if (!attr)
		return kml_fail(error, "%s: offset %" PRIu64 ": a sample of an event that the file does not describe",
				perf->name, offset);
	if (!read_sample(attr, body, &sample))
		return kml_fail(error,
				"%s: offset %" PRIu64 ": a sample is shorter than its fields: the file is damaged",
				perf->name, offset);
	if (left(&sample.raw) == 0)
		return true;
	if (!(attr->sample_type & SAMPLE_TIME))
		return kml_fail(error, "%s: the samples carry no time: record with `perf record -T`", perf->name);
	struct raw_event event = RAW_EVENT_INIT;
	enum tracepoint_status status = tracepoints_decode(perf->tracepoints, sample.raw.at, left(&sample.raw), &event);
	bool has_cpu = sample.cpu < KMT_CPUS_MAX || KML_PLANTED(perf_sample_cpu_unchecked);
	if (status == TRACEPOINT_EVENT && has_cpu) {
		event.time_ns = perf->last_time_ns = sample.time_ns;
		event.cpu = (uint16_t)sample.cpu;
		int32_t node = tracepoints_node(perf->tracepoints);
		event.cross_node = perf->has_nodes && node >= 0 && node != perf->node_of_cpu[sample.cpu];
		perf->samples++;
		return import_add_event(perf->import, &event, error);
	}
	import_count(perf->import, status == TRACEPOINT_UNKNOWN ? KMT_QUIRK_UNKNOWN_EVENT : KMT_QUIRK_MALFORMED, 1);
	return true;
}

static bool add_lost(struct perf_data *perf, struct cursor body, bool has_id, struct kml_error *error)
{
	struct raw_event lost = RAW_EVENT_INIT;
	lost.kind = RAW_LOST;
	lost.time_ns = perf->last_time_ns;
	if ((has_id && !take(&body, NULL, 8)) || !take(&body, &lost.bytes_requested, 8))
		return kml_fail(error, "%s: a record of lost events is cut short", perf->name);
	return lost.bytes_requested == 0 || import_add_event(perf->import, &lost, error);
}

/* In streams: the attribute (its second word is its size), then its ids. */
static bool add_attr_record(struct perf_data *perf, struct cursor body, struct kml_error *error)
{
	struct cursor attr = body;
	uint32_t type, attr_bytes;
	if (!take(&attr, &type, 4) || !take(&attr, &attr_bytes, 4) || !take_part(&body, attr_bytes, &attr))
		return kml_fail(error, "%s: an event attribute is cut short", perf->name);
	return add_attr(perf, attr, error) && add_ids(perf, body, error);
}

static bool add_feature_record(struct perf_data *perf, struct cursor body, struct kml_error *error)
{
	uint64_t feature;
	if (!take(&body, &feature, 8))
		return kml_fail(error, "%s: a header feature is cut short", perf->name);
	return read_feature(perf, feature, body, error);
}

struct record {
	uint32_t type;
	uint64_t offset; /* in the file */
	struct cursor body;
};

/* Records that may stand anywhere, compressed ones included. */
static bool add_record(struct perf_data *perf, const struct record *record, struct kml_error *error)
{
	switch (record->type) {
	case RECORD_SAMPLE:
		return add_sample(perf, record->body, record->offset, error);
	case RECORD_LOST:
		return add_lost(perf, record->body, true, error);
	case RECORD_LOST_SAMPLES:
		return add_lost(perf, record->body, false, error);
	default:
		return true;
	}
}

/* struct perf_event_header: type, misc, size (with the header). 1: a record; 0: not whole; -1: damaged. */
static int take_record(struct cursor *records, struct record *record)
{
	struct {
		uint32_t type;
		uint16_t misc, size;
	} header;
	struct cursor ahead = *records;
	if (!take(&ahead, &header, sizeof header))
		return 0;
	if (header.size < sizeof header)
		return -1;
	if (!take_part(&ahead, header.size - sizeof header, &record->body))
		return 0;
	record->type = header.type;
	*records = ahead;
	return 1;
}

/* ------------------------------------------------------------------------------------------- compressed records */

/* Whole records out of perf->inflated; the rest moves to its front. */
static bool add_inflated(struct perf_data *perf, uint64_t offset, struct kml_error *error)
{
	struct cursor records = {perf->inflated, perf->inflated + perf->inflated_bytes};
	struct record record = {.offset = offset};
	int got;
	while ((got = take_record(&records, &record)) == 1) {
		if (!add_record(perf, &record, error))
			return false;
	}
	if (got < 0)
		return kml_fail(error, "%s: offset %" PRIu64 ": the compressed records are damaged", perf->name,
				offset);
	perf->inflated_bytes = left(&records);
	memmove(perf->inflated, records.at, perf->inflated_bytes);
	return true;
}

static bool inflate(struct perf_data *perf, struct cursor body, uint64_t offset, struct kml_error *error)
{
	if (!perf->inflater) {
		perf->inflater = ZSTD_createDStream();
		perf->inflated = malloc(INFLATE_BYTES + RECORD_BYTES_MAX);
		if (!perf->inflater || !perf->inflated)
			return kml_fail(error, "out of memory");
	}
	ZSTD_inBuffer in = {body.at, left(&body), 0};
	bool full = true;
	while (in.pos < in.size || full) {
		ZSTD_outBuffer out = {perf->inflated + perf->inflated_bytes, INFLATE_BYTES, 0};
		size_t status = ZSTD_decompressStream(perf->inflater, &out, &in);
		if (ZSTD_isError(status))
			return kml_fail(error, "%s: offset %" PRIu64 ": the compressed records are damaged (%s)",
					perf->name, offset, ZSTD_getErrorName(status));
		full = out.pos == out.size;
		perf->inflated_bytes += out.pos;
		if (!add_inflated(perf, offset, error))
			return false;
	}
	return true;
}

/* PERF_RECORD_COMPRESSED2 (6.15) pads its data and says how much of it is data. */
static bool add_compressed2(struct perf_data *perf, struct cursor body, uint64_t offset, struct kml_error *error)
{
	uint64_t bytes;
	struct cursor data;
	if (!take(&body, &bytes, 8) || !take_part(&body, bytes, &data))
		return kml_fail(error, "%s: offset %" PRIu64 ": a compressed record is cut short", perf->name, offset);
	return inflate(perf, data, offset, error);
}

/* ---------------------------------------------------------------------------------------------------- the file */

/* Records that are followed by data beyond their own size, or that hold tables: of the file's top level only. */
static bool add_top_record(struct perf_data *perf, const struct record *record, struct cursor *records,
			   struct kml_error *error)
{
	struct cursor body = record->body, data;
	uint32_t data_bytes32;
	uint64_t data_bytes;
	switch (record->type) {
	case RECORD_HEADER_ATTR:
		return add_attr_record(perf, body, error);
	case RECORD_FEATURE:
		return add_feature_record(perf, body, error);
	case RECORD_COMPRESSED:
		return inflate(perf, body, record->offset, error);
	case RECORD_COMPRESSED2:
		return add_compressed2(perf, body, record->offset, error);
	case RECORD_TRACING_DATA:
		if (!take(&body, &data_bytes32, 4) || !take_part(records, data_bytes32, &data))
			return kml_fail(error, "%s: offset %" PRIu64 ": the tracing data is cut short", perf->name,
					record->offset);
		return read_tracing_data(perf, data, error);
	case RECORD_AUXTRACE:
		if (!take(&body, &data_bytes, 8) || !take_part(records, data_bytes, &data))
			return kml_fail(error, "%s: offset %" PRIu64 ": an auxtrace record is cut short", perf->name,
					record->offset);
		return true;
	default:
		return add_record(perf, record, error);
	}
}

static bool read_records(struct perf_data *perf, const struct cursor *file, struct cursor records,
			 struct kml_error *error)
{
	while (left(&records) > 0) {
		struct record record = {.offset = (uint64_t)(records.at - file->at)};
		if (take_record(&records, &record) != 1)
			return kml_fail(error,
					"%s: offset %" PRIu64
					": a record is cut short or damaged: record again, and let "
					"perf end by itself",
					perf->name, record.offset);
		if (!add_top_record(perf, &record, &records, error))
			return false;
	}
	return true;
}

struct file_header {
	uint64_t magic, size_bytes, attr_bytes;
	uint64_t attrs_offset, attrs_bytes;
	uint64_t data_offset, data_bytes;
	uint64_t types_offset, types_bytes;
	uint64_t features[FEATURE_BITS / 64];
};
_Static_assert(sizeof(struct file_header) == HEADER_BYTES, "the header as perf writes it");

static bool read_attrs(struct perf_data *perf, const struct cursor *file, const struct file_header *header,
		       struct kml_error *error)
{
	struct cursor attrs, attr, ids;
	struct {
		uint64_t offset, bytes;
	} where;
	if (header->attr_bytes < ATTR_BYTES_MIN + sizeof where ||
	    !section(file, header->attrs_offset, header->attrs_bytes, &attrs))
		return kml_fail(error,
				"%s: the list of event attributes lies outside of the file: it is cut short or damaged",
				perf->name);
	while (take_part(&attrs, header->attr_bytes - sizeof where, &attr)) {
		if (!take(&attrs, &where, sizeof where) || !section(file, where.offset, where.bytes, &ids))
			return kml_fail(error, "%s: the ids of event attribute %u lie outside of the file", perf->name,
					perf->attr_count);
		if (!add_attr(perf, attr, error) || !add_ids(perf, ids, error))
			return false;
	}
	return true;
}

static bool read_features(struct perf_data *perf, const struct cursor *file, const struct file_header *header,
			  struct kml_error *error)
{
	struct cursor table, data;
	struct {
		uint64_t offset, bytes;
	} where;
	uint64_t table_offset = header->data_offset + header->data_bytes;
	if (!section(file, table_offset, left(file) - table_offset, &table))
		return kml_fail(error, "%s: the header features lie outside of the file", perf->name);
	for (uint64_t feature = 0; feature < FEATURE_BITS; feature++) {
		if (!(header->features[feature / 64] >> feature % 64 & 1))
			continue;
		if (!take(&table, &where, sizeof where) || !section(file, where.offset, where.bytes, &data))
			return kml_fail(error,
					"%s: header feature %" PRIu64
					" lies outside of the file: it is cut short or damaged",
					perf->name, feature);
		if (!read_feature(perf, feature, data, error))
			return false;
	}
	return true;
}

static bool read_file(struct perf_data *perf, struct cursor file, struct kml_error *error)
{
	struct file_header header;
	struct cursor records;
	memcpy(&header, file.at, sizeof header);
	if (header.data_bytes == 0)
		return kml_fail(
			error,
			"%s: perf did not finish writing this file (no records): record again, and let perf end "
			"by itself",
			perf->name);
	if (!section(&file, header.data_offset, header.data_bytes, &records))
		return kml_fail(error,
				"%s: the records end at %" PRIu64 ", the file at %zu: it is cut short or damaged",
				perf->name, header.data_offset + header.data_bytes, left(&file));
	return read_attrs(perf, &file, &header, error) && read_features(perf, &file, &header, error) &&
	       read_records(perf, &file, records, error);
}

static bool read_any(struct perf_data *perf, struct cursor file, struct kml_error *error)
{
	struct {
		char magic[8];
		uint64_t size_bytes;
	} start;
	if (left(&file) < sizeof start)
		return kml_fail(error, "%s: %zu bytes are no perf.data file", perf->name, left(&file));
	memcpy(&start, file.at, sizeof start);
	if (memcmp(start.magic, "2ELIFREP", 8) == 0)
		return kml_fail(error,
				"%s was recorded on a big-endian machine: import the text of `perf script` instead",
				perf->name);
	if (memcmp(start.magic, "PERFILE2", 8) != 0)
		return kml_fail(error, "%s: this is no perf.data file (it does not begin with PERFILE2)", perf->name);
	if (start.size_bytes == PIPE_HEADER_BYTES)
		return read_records(perf, &file, (struct cursor){file.at + PIPE_HEADER_BYTES, file.end}, error);
	if (start.size_bytes == HEADER_BYTES && left(&file) >= HEADER_BYTES)
		return read_file(perf, file, error);
	return kml_fail(error, "%s: a file header of %" PRIu64 " bytes: it is cut short or damaged", perf->name,
			start.size_bytes);
}

/* ---------------------------------------------------------------------------------------------------- the import */

static const char *clock_name(const struct perf_data *perf)
{
	if (perf->attr_count == 0 || !perf->attrs[0].has_clock)
		return "perf";
	switch (perf->attrs[0].clock) {
	case 0:
		return "realtime";
	case 1:
		return "mono";
	case 4:
		return "mono_raw";
	case 7:
		return "boot";
	default:
		return "perf";
	}
}

static bool finish(struct perf_data *perf, struct kml_error *error)
{
	if (tracepoints_count(perf->tracepoints) == 0 || perf->samples == 0)
		return kml_fail(error, "%s holds no samples of kmem events: record with `perf record -a -e 'kmem:*'`",
				perf->name);
	import_warn(perf->import,
		    "perf record misses, in silence, frees that RCU runs in soft interrupts, so live counts drift; "
		    "`kmemlab capture` and ftrace's own trace file are complete");
	char kernel[2 * TEXT_BYTES_MAX + 16];
	snprintf(kernel, sizeof kernel, "Linux %s %s", perf->release, perf->machine);
	import_set_origin(perf->import, &(struct kmt_origin){
						.source = "perf.data",
						.kernel = perf->release[0] ? kernel : NULL,
						.command = perf->command,
						.clock = clock_name(perf),
						.note = "perf record misses, in silence, frees that RCU runs in soft "
							"interrupts: live counts drift",
						.cpu_count = perf->cpu_count,
						.page_bytes = perf->page_bytes,
					});
	return true;
}

/* The whole input. The buffer doubles as bytes really come, whatever a header claims. NULL and *error on failure. */
static uint8_t *read_whole(struct import_input *input, size_t *bytes, struct kml_error *error)
{
	size_t room_bytes = (size_t)64 << 10;
	uint8_t *buffer = malloc(room_bytes);
	int64_t got = 1;
	*bytes = 0;
	while (buffer && got > 0) {
		if (*bytes == room_bytes) {
			uint8_t *grown = realloc(buffer, room_bytes *= 2);
			if (!grown)
				break;
			buffer = grown;
		}
		got = import_input_read(input, buffer + *bytes, room_bytes - *bytes, error);
		*bytes += got > 0 ? (size_t)got : 0;
	}
	if (buffer && got == 0) {
		/* Not a byte more than there are: tools that watch for reads beyond the end then see them. */
		uint8_t *exact = realloc(buffer, *bytes ? *bytes : 1);
		return exact ? exact : buffer;
	}
	if (!buffer || got > 0)
		kml_fail(error, "%s: out of memory after %zu bytes", import_input_name(input), *bytes);
	free(buffer);
	return NULL;
}

bool import_perf_data(struct import *import, struct import_input *input, struct kml_error *error)
{
	size_t bytes;
	uint8_t *buffer = read_whole(input, &bytes, error);
	struct perf_data *perf = buffer ? calloc(1, sizeof *perf) : NULL;
	if (!perf) {
		free(buffer);
		return buffer && kml_fail(error, "out of memory");
	}
	perf->import = import;
	perf->name = import_input_name(input);
	perf->tracepoints = tracepoints_create();
	bool ok = perf->tracepoints
			  ? read_any(perf, (struct cursor){buffer, buffer + bytes}, error) && finish(perf, error)
			  : kml_fail(error, "out of memory");
	tracepoints_destroy(perf->tracepoints);
	ZSTD_freeDStream(perf->inflater);
	free(perf->inflated);
	free(perf->ids);
	free(perf);
	free(buffer);
	return ok;
}
