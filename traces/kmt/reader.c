/*
 * reader.c - a .kmt as a stream of blocks in constant memory (and the model, O(objects)).
 *
 * Nothing in the file is believed before it is checked: a block's length against what the file still holds and its
 * kind's limit, its bytes against its checksum, each event against the header, everything together against the footer.
 *
 * Events of a source (and those in memory, which are one) have a reader too: it checks and counts them in a pass of its
 * own, and hands on what the source hands out.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "traces/kmt/model.h"

/* Events in memory as a source. */
struct memory {
	const struct kmt_event *events; /* borrowed */
	uint64_t event_count, next;
};

struct kmt_reader {
	char *path; /* NULL: of a source */
	struct kmt_source source;
	struct memory memory;
	int file;
	uint64_t file_bytes, footer_offset;
	struct kmt_origin origin;
	struct kmt_cache *caches;
	uint32_t cache_count;
	struct kmt_totals totals;
	char hash[17];

	uint64_t start_offset; /* of the first block behind the header */
	uint64_t offset;       /* of the next block */
	uint64_t block;        /* its number */
	bool at_end;
	bool failed;
	struct kml_error failure;
	struct kmt_tally tally;
	struct kmt_model model;
	struct kmt_columns columns;
	struct kmt_bytes payload, raw;
	struct kmt_bytes last_snapshot[KMT_SNAPSHOT_KINDS]; /* the prefix of the next of its kind */
	ZSTD_DCtx *context;
	struct kmt_event *events; /* of a block */
	uint32_t event_room;
	struct kmt_snapshot snapshot;
	char *label;
};

/* ------------------------------------------------------------------------------------------------ errors */

#define LAST_BLOCK UINT64_MAX

static bool damaged(const struct kmt_reader *reader, struct kml_error *error, const char *what)
{
	return kml_fail(error, "%s: %s: %s", reader->path, what, KMT_MEND);
}

static bool damaged_block(const struct kmt_reader *reader, uint64_t number, const char *kind, struct kml_error *error,
			  const char *what)
{
	if (number == LAST_BLOCK)
		return kml_fail(error, "%s: last block (%s): %s: %s", reader->path, kind, what, KMT_MEND);
	return kml_fail(error, "%s: block %" PRIu64 " (%s): %s: %s", reader->path, number, kind, what, KMT_MEND);
}

static bool read_at(const struct kmt_reader *reader, uint64_t offset, void *buffer, size_t size,
		    struct kml_error *error)
{
	uint8_t *at = buffer;
	while (size) {
		ssize_t got = pread(reader->file, at, size, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return kml_fail(error, "%s: cannot read: %s", reader->path, strerror(errno));
		if (got == 0)
			return damaged(reader, error, "the file became shorter while it was read");
		at += got;
		offset += (uint64_t)got;
		size -= (size_t)got;
	}
	return true;
}

/* ------------------------------------------------------------------------------------------------ blocks */

static size_t stored_limit(uint32_t kind)
{
	/* Incompressible parts are stored as they are: a little more than the raw limit. */
	static const size_t limits[KMT_BLOCK_KINDS] = {
		[KMT_BLOCK_HEADER] = KMT_HEADER_BYTES_MAX + 64,
		[KMT_BLOCK_EVENT] = (size_t)KMT_COLUMNS * (KMT_COLUMN_BYTES_MAX + 64),
		[KMT_BLOCK_SNAPSHOT] = KMT_SNAPSHOT_BYTES_MAX + 64,
		[KMT_BLOCK_FOOTER] = KMT_FOOTER_BYTES_MAX + 64,
	};
	return limits[kind];
}

/* The block at an offset into reader->payload, checksum verified. `end`: where blocks must end at the latest. */
static bool read_block(struct kmt_reader *reader, uint64_t offset, uint64_t end, struct kmt_block_header *header,
		       struct kml_error *error)
{
	uint8_t bytes[KMT_BLOCK_HEADER_BYTES];
	uint64_t checksum, number = reader->block;
	if (end < offset || end - offset < sizeof bytes)
		return damaged_block(reader, number, "header of the block", error, "cut short");
	if (!read_at(reader, offset, bytes, sizeof bytes, error))
		return false;
	kmt_block_header_decode(header, &checksum, bytes);
	if (header->kind >= KMT_BLOCK_KINDS)
		return damaged_block(reader, number, "header of the block", error, "unknown kind of block");
	const char *kind = kmt_block_name(header->kind);
	if (header->stored_bytes > end - offset - sizeof bytes)
		return damaged_block(reader, number, kind, error, "longer than the rest of the file");
	if (header->stored_bytes > stored_limit(header->kind))
		return damaged_block(reader, number, kind, error, "longer than the format allows");
	struct kmt_bytes *payload = &reader->payload;
	payload->used = payload->at = 0;
	payload->bad = false;
	if (!kmt_bytes_reserve(payload, header->stored_bytes))
		return damaged_block(reader, number, kind, error, "memory exhausted");
	if (!read_at(reader, offset + sizeof bytes, payload->data, header->stored_bytes, error))
		return false;
	payload->used = header->stored_bytes;
	if (kmt_block_checksum(bytes, payload->data, payload->used) != checksum)
		return damaged_block(reader, number, kind, error, "wrong checksum");
	return true;
}

static uint64_t block_end(uint64_t offset, const struct kmt_block_header *header)
{
	return offset + KMT_BLOCK_HEADER_BYTES + header->stored_bytes;
}

/* The one packed part of a block into reader->raw. */
static bool unpack_block(struct kmt_reader *reader, const struct kmt_block_header *header,
			 const struct kmt_bytes *prefix, size_t limit, struct kml_error *error)
{
	const char *why;
	const char *kind = kmt_block_name(header->kind);
	if (!kmt_unpack(&reader->payload, &reader->raw, prefix, reader->context, limit, &why))
		return damaged_block(reader, header->number, kind, error, why);
	if (reader->payload.at != reader->payload.used)
		return damaged_block(reader, header->number, kind, error, "holds more than it should");
	return true;
}

/* ------------------------------------------------------------------------------------------------ opening */

static bool open_file(struct kmt_reader *reader, struct kml_error *error)
{
	struct stat status;
	reader->file = open(reader->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (reader->file < 0 || fstat(reader->file, &status) != 0)
		return kml_fail(error, "%s: cannot open: %s", reader->path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		return kml_fail(error, "%s: not a regular file: a .kmt is read from a file on disk", reader->path);
	reader->file_bytes = (uint64_t)status.st_size;
	return true;
}

static bool read_preamble(struct kmt_reader *reader, struct kml_error *error)
{
	uint8_t bytes[KMT_PREAMBLE_BYTES];
	uint32_t version;
	if (reader->file_bytes == 0)
		return damaged(reader, error, "the file is empty");
	size_t have = reader->file_bytes < sizeof bytes ? (size_t)reader->file_bytes : sizeof bytes;
	if (!read_at(reader, 0, bytes, have, error))
		return false;
	size_t magic = have < KMT_MAGIC_BYTES ? have : KMT_MAGIC_BYTES;
	if (memcmp(bytes, kmt_magic, magic) != 0)
		return kml_fail(error, "%s: not a .kmt trace: `kmemlab import` makes one of ftrace text or perf.data",
				reader->path);
	if (have < sizeof bytes || reader->file_bytes < KMT_PREAMBLE_BYTES + KMT_TRAILER_BYTES)
		return damaged(reader, error, "the file is cut short");
	if (!kmt_preamble_decode(bytes, &version))
		return damaged(reader, error, "the first bytes are damaged");
	if (version != KMT_VERSION)
		return kml_fail(error, "%s: format version %u, this program reads version %u: %s", reader->path,
				version, KMT_VERSION, version > KMT_VERSION ? "use a newer kmemlab" : KMT_MEND);
	return true;
}

static bool read_trailer(struct kmt_reader *reader, struct kml_error *error)
{
	uint8_t bytes[KMT_TRAILER_BYTES];
	uint64_t stated_bytes;
	if (!read_at(reader, reader->file_bytes - sizeof bytes, bytes, sizeof bytes, error))
		return false;
	if (!kmt_trailer_decode(bytes, &reader->footer_offset, &stated_bytes))
		return damaged(reader, error,
			       "the end is missing: the file is cut short, or something follows the trace");
	if (stated_bytes != reader->file_bytes)
		return kml_fail(error, "%s: %" PRIu64 " bytes, but %" PRIu64 " were written: %s", reader->path,
				reader->file_bytes, stated_bytes, KMT_MEND);
	if (reader->footer_offset < KMT_PREAMBLE_BYTES || reader->footer_offset > reader->file_bytes - sizeof bytes)
		return damaged(reader, error, "the trailer points outside the file");
	return true;
}

static bool read_header(struct kmt_reader *reader, struct kml_error *error)
{
	struct kmt_block_header header = {0};
	struct kml_error reason;
	if (!read_block(reader, KMT_PREAMBLE_BYTES, reader->footer_offset, &header, error))
		return false;
	if (header.kind != KMT_BLOCK_HEADER || header.number != 0 || header.detail != 0)
		return damaged_block(reader, 0, kmt_block_name(header.kind), error, "the header should stand here");
	if (!unpack_block(reader, &header, NULL, KMT_HEADER_BYTES_MAX, error))
		return false;
	if (!kmt_header_decode(&reader->raw, &reader->origin, &reader->caches, &reader->cache_count, &reason))
		return damaged_block(reader, 0, "header", error, reason.text);
	reader->start_offset = block_end(KMT_PREAMBLE_BYTES, &header);
	return true;
}

/* What callers size their tables by must be possible at all, before they do. */
static bool totals_possible(const struct kmt_totals *totals, uint64_t file_bytes)
{
	uint64_t blocks = file_bytes / KMT_BLOCK_HEADER_BYTES, operations = 0;
	if (totals->events / KMT_BLOCK_EVENTS > blocks || totals->snapshots > blocks)
		return false;
	for (enum kmt_op op = 0; op < KMT_OP_COUNT; op++) {
		if (totals->op_events[op] > totals->events)
			return false;
		operations += totals->op_events[op];
	}
	return operations == totals->events && totals->warm_events <= totals->events &&
	       totals->objects <= KMT_OBJECTS_MAX && totals->objects <= totals->events + KMT_ID_SLACK;
}

static bool read_footer(struct kmt_reader *reader, struct kml_error *error)
{
	struct kmt_block_header header = {0};
	struct kml_error reason;
	uint64_t end = reader->file_bytes - KMT_TRAILER_BYTES;
	reader->block = LAST_BLOCK; /* its number is known only when it was read */
	if (!read_block(reader, reader->footer_offset, end, &header, error))
		return false;
	if (header.kind != KMT_BLOCK_FOOTER || header.detail != 0 || block_end(reader->footer_offset, &header) != end)
		return damaged_block(reader, header.number, kmt_block_name(header.kind), error,
				     "the footer should stand here and end the file");
	if (!unpack_block(reader, &header, NULL, KMT_FOOTER_BYTES_MAX, error))
		return false;
	if (!kmt_footer_decode(&reader->raw, &reader->totals, &reason))
		return damaged_block(reader, header.number, "footer", error, reason.text);
	if (!totals_possible(&reader->totals, reader->file_bytes))
		return damaged_block(reader, header.number, "footer", error, "its totals are impossible");
	return true;
}

static bool open_reader(struct kmt_reader *reader, const char *path, struct kml_error *error)
{
	reader->file = -1;
	reader->path = strdup(path);
	reader->context = ZSTD_createDCtx();
	if (!reader->path || !reader->context)
		return kml_fail(error, "memory exhausted");
	if (!open_file(reader, error) || !read_preamble(reader, error) || !read_trailer(reader, error) ||
	    !read_header(reader, error) || !read_footer(reader, error))
		return false;
	if (!kmt_model_init(&reader->model, reader->cache_count, false))
		return kml_fail(error, "%s: memory exhausted", path);
	return kmt_rewind(reader, error);
}

struct kmt_reader *kmt_open(const char *path, struct kml_error *error)
{
	struct kmt_reader *reader = calloc(1, sizeof *reader);
	if (!reader) {
		kml_fail(error, "memory exhausted");
		return NULL;
	}
	if (!open_reader(reader, path, error)) {
		kmt_close(reader);
		return NULL;
	}
	return reader;
}

/* ------------------------------------------------------------------------------------------------ sources */

/* Check the events of a block and count them. */
static bool count_events(struct kmt_reader *reader, const struct kmt_item *item, struct kml_error *error)
{
	struct kml_error reason;
	struct kmt_tally *tally = &reader->tally;
	for (uint32_t i = 0; i < item->event_count; i++) {
		if (!kmt_event_check(tally, &item->events[i], &reason))
			return kml_fail(error, "%s: event %" PRIu64 ": %s", reader->source.name, tally->totals.events,
					reason.text);
		kmt_tally_count(tally, &item->events[i]);
	}
	if (!tally->stated || kmt_tally_within(tally, &reason))
		return true;
	return kml_fail(error, "%s: the second pass gave other events than the first", reader->source.name);
}

static bool count_item(struct kmt_reader *reader, const struct kmt_item *item, struct kml_error *error)
{
	if (item->kind == KMT_ITEM_EVENTS)
		return count_events(reader, item, error);
	reader->tally.totals.snapshots += item->kind == KMT_ITEM_SNAPSHOT;
	return true;
}

static enum kmt_item_kind next_of_source(struct kmt_reader *reader, struct kmt_item *item, struct kml_error *error)
{
	enum kmt_item_kind kind = reader->source.next(reader->source.context, item, error);
	item->kind = kind;
	if (kind == KMT_ITEM_SNAPSHOT) {
		reader->snapshot = *item->snapshot;
		reader->snapshot.event = reader->tally.totals.events;
		item->snapshot = &reader->snapshot;
	}
	/* What is in memory was checked, and does not change. */
	if (reader->source.context == &reader->memory || count_item(reader, item, error))
		return kind;
	item->kind = KMT_ITEM_ERROR;
	return KMT_ITEM_ERROR;
}

static bool rewind_source(struct kmt_reader *reader, struct kml_error *error)
{
	reader->tally = (struct kmt_tally){
		.origin = &reader->origin, .cache_count = reader->cache_count, .stated = &reader->totals};
	return reader->source.rewind(reader->source.context, error);
}

/* The pass that counts. */
static bool count_source(struct kmt_reader *reader, struct kml_error *error)
{
	struct kmt_item item;
	enum kmt_item_kind kind;
	reader->tally = (struct kmt_tally){.origin = &reader->origin, .cache_count = reader->cache_count};
	do {
		kind = reader->source.next(reader->source.context, &item, error);
		item.kind = kind;
		if (kind == KMT_ITEM_ERROR || !count_item(reader, &item, error))
			return false;
	} while (kind != KMT_ITEM_END);
	reader->totals = reader->tally.totals;
	return rewind_source(reader, error);
}

static enum kmt_item_kind next_in_memory(void *context, struct kmt_item *item, struct kml_error *error)
{
	struct memory *memory = context;
	uint64_t left = memory->event_count - memory->next;
	(void)error;
	if (left == 0)
		return KMT_ITEM_END; /* where there are none at all, there is nothing to point to */
	item->events = memory->events + memory->next;
	item->event_count = left < KMT_BLOCK_EVENTS ? (uint32_t)left : KMT_BLOCK_EVENTS;
	memory->next += item->event_count;
	return KMT_ITEM_EVENTS;
}

static bool rewind_memory(void *context, struct kml_error *error)
{
	((struct memory *)context)->next = 0;
	(void)error;
	return true;
}

static bool open_source(struct kmt_reader *reader, struct kml_error *error)
{
	struct kml_error reason;
	const struct kmt_source *source = &reader->source;
	reader->file = -1;
	reader->origin = *source->origin;
	reader->caches = (struct kmt_cache *)source->caches;
	reader->cache_count = source->cache_count;
	if (!kmt_header_check(source->origin, source->caches, source->cache_count, &reason))
		return kml_fail(error, "%s: %s", source->name, reason.text);
	return count_source(reader, error);
}

struct kmt_reader *kmt_open_source(const struct kmt_source *source, struct kml_error *error)
{
	struct kmt_reader *reader = calloc(1, sizeof *reader);
	if (!reader) {
		kml_fail(error, "memory exhausted");
		if (source->close)
			source->close(source->context);
		return NULL;
	}
	reader->source = *source;
	if (open_source(reader, error))
		return reader;
	kmt_close(reader);
	return NULL;
}

struct kmt_reader *kmt_open_events(const struct kmt_origin *origin, const struct kmt_cache *caches,
				   uint32_t cache_count, const struct kmt_event *events, uint64_t event_count,
				   struct kml_error *error)
{
	struct kmt_reader *reader = calloc(1, sizeof *reader);
	if (!reader) {
		kml_fail(error, "memory exhausted");
		return NULL;
	}
	reader->memory = (struct memory){.events = events, .event_count = event_count};
	reader->source = (struct kmt_source){.name = "program",
					     .origin = origin,
					     .caches = caches,
					     .cache_count = cache_count,
					     .next = next_in_memory,
					     .rewind = rewind_memory,
					     .context = &reader->memory};
	if (open_source(reader, error))
		return reader;
	kmt_close(reader);
	return NULL;
}

void kmt_close(struct kmt_reader *reader)
{
	if (!reader)
		return;
	if (!reader->path) {
		if (reader->source.close)
			reader->source.close(reader->source.context);
		free(reader); /* the rest is borrowed */
		return;
	}
	if (reader->file >= 0)
		close(reader->file);
	kmt_header_free(&reader->origin, reader->caches, reader->cache_count);
	kmt_model_free(&reader->model);
	for (enum kmt_column column = 0; column < KMT_COLUMNS; column++)
		kmt_bytes_free(&reader->columns.column[column]);
	for (enum kmt_snapshot_kind kind = 0; kind < KMT_SNAPSHOT_KINDS; kind++)
		kmt_bytes_free(&reader->last_snapshot[kind]);
	ZSTD_freeDCtx(reader->context);
	kmt_bytes_free(&reader->payload);
	kmt_bytes_free(&reader->raw);
	free(reader->label);
	free(reader->events);
	free(reader->path);
	free(reader);
}

bool kmt_rewind(struct kmt_reader *reader, struct kml_error *error)
{
	if (!reader->path)
		return rewind_source(reader, error);
	/* Nothing can fail: the file stays open. */
	kmt_model_reset(&reader->model);
	for (enum kmt_snapshot_kind kind = 0; kind < KMT_SNAPSHOT_KINDS; kind++)
		reader->last_snapshot[kind].used = 0;
	reader->tally = (struct kmt_tally){
		.origin = &reader->origin, .cache_count = reader->cache_count, .stated = &reader->totals};
	reader->offset = reader->start_offset;
	reader->block = 1;
	reader->at_end = reader->failed = false;
	return true;
}

const struct kmt_origin *kmt_reader_origin(const struct kmt_reader *reader)
{
	return &reader->origin;
}

const struct kmt_cache *kmt_reader_caches(const struct kmt_reader *reader, uint32_t *count)
{
	*count = reader->cache_count;
	return reader->caches;
}

const struct kmt_totals *kmt_reader_totals(const struct kmt_reader *reader)
{
	return &reader->totals;
}

const char *kmt_reader_path(const struct kmt_reader *reader)
{
	return reader->path ? reader->path : reader->source.name;
}

/* Of its name, which tells all parameters and the seed, and of what came of it. */
static const char *hash_source(struct kmt_reader *reader, struct kml_error *error)
{
	if (reader->source.context == &reader->memory) {
		kml_fail(error, "program: events in memory have no file to hash");
		return NULL;
	}
	uint64_t seed = XXH64(&reader->totals, sizeof reader->totals, KMT_VERSION);
	uint64_t hash = XXH64(reader->source.name, strlen(reader->source.name), seed);
	snprintf(reader->hash, sizeof reader->hash, "%016" PRIx64, hash);
	return reader->hash;
}

const char *kmt_reader_hash(struct kmt_reader *reader, struct kml_error *error)
{
	if (reader->hash[0])
		return reader->hash;
	if (!reader->path)
		return hash_source(reader, error);
	enum { CHUNK = 1 << 16 };
	uint8_t *chunk = malloc(CHUNK);
	XXH64_state_t *state = XXH64_createState();
	bool ok = (chunk && state) || kml_fail(error, "memory exhausted");
	if (ok)
		XXH64_reset(state, 0);
	for (uint64_t at = 0; ok && at < reader->file_bytes; at += CHUNK) {
		size_t size = reader->file_bytes - at < CHUNK ? (size_t)(reader->file_bytes - at) : CHUNK;
		ok = read_at(reader, at, chunk, size, error);
		if (ok)
			XXH64_update(state, chunk, size);
	}
	if (ok)
		snprintf(reader->hash, sizeof reader->hash, "%016" PRIx64, XXH64_digest(state));
	XXH64_freeState(state);
	free(chunk);
	return ok ? reader->hash : NULL;
}

/* ------------------------------------------------------------------------------------------------ the stream */

static bool reserve_events(struct kmt_reader *reader, uint32_t count)
{
	if (count <= reader->event_room)
		return true;
	free(reader->events);
	reader->events = malloc(count * sizeof *reader->events);
	reader->event_room = reader->events ? count : 0;
	return reader->events != NULL;
}

static bool take_events(struct kmt_reader *reader, const struct kmt_block_header *header, struct kmt_item *item,
			struct kml_error *error)
{
	const char *why;
	if (header->detail < 1 || header->detail > KMT_BLOCK_EVENTS)
		return damaged_block(reader, header->number, "events", error, "an impossible number of events");
	for (enum kmt_column column = 0; column < KMT_COLUMNS; column++)
		if (!kmt_unpack(&reader->payload, &reader->columns.column[column], NULL, reader->context,
				KMT_COLUMN_BYTES_MAX, &why))
			return damaged_block(reader, header->number, "events", error, why);
	if (reader->payload.at != reader->payload.used)
		return damaged_block(reader, header->number, "events", error, "holds more than it should");
	if (!reserve_events(reader, header->detail))
		return damaged_block(reader, header->number, "events", error, "memory exhausted");
	struct kml_error reason;
	uint64_t before = reader->tally.totals.events;
	if (!kmt_columns_decode(&reader->model, &reader->tally, &reader->columns, reader->events, header->detail,
				&reason)) {
		struct kml_error where;
		kml_fail(&where, "event %" PRIu64 ": %.400s", reader->tally.totals.events - before, reason.text);
		return damaged_block(reader, header->number, "events", error, where.text);
	}
	item->kind = KMT_ITEM_EVENTS;
	item->events = reader->events;
	item->event_count = header->detail;
	return true;
}

static bool take_snapshot(struct kmt_reader *reader, const struct kmt_block_header *header, struct kmt_item *item,
			  struct kml_error *error)
{
	uint32_t kind = header->detail;
	if (kind >= KMT_SNAPSHOT_KINDS)
		return damaged_block(reader, header->number, "snapshot", error, "of an unknown kind");
	struct kmt_bytes *last = &reader->last_snapshot[kind];
	if (!unpack_block(reader, header, last, KMT_SNAPSHOT_BYTES_MAX, error))
		return false;
	struct kmt_bytes before = *last;
	*last = reader->raw;
	reader->raw = before;

	struct kmt_snapshot *snapshot = &reader->snapshot;
	snapshot->time_ns = kmt_get_varint(last);
	free(reader->label);
	reader->label = kmt_get_text(last, KMT_NAME_BYTES_MAX);
	if (last->bad || !kmt_bytes_reserve(last, 1 - KML_PLANTED(kmt_snapshot_nul_beyond)))
		return damaged_block(reader, header->number, "snapshot", error, "its head is damaged");
	last->data[last->used] = '\0'; /* behind the end: the text is a string, the prefix is without it */
	snapshot->kind = kind;
	snapshot->event = reader->tally.totals.events;
	snapshot->label = reader->label;
	snapshot->text = (const char *)last->data + last->at;
	snapshot->text_bytes = last->used - last->at;
	struct kmt_totals *totals = &reader->tally.totals;
	totals->snapshots++;
	if (snapshot->time_ns > totals->duration_ns)
		totals->duration_ns = snapshot->time_ns;
	struct kml_error reason;
	if (!kmt_tally_within(&reader->tally, &reason))
		return damaged_block(reader, header->number, "snapshot", error, reason.text);
	item->kind = KMT_ITEM_SNAPSHOT;
	item->snapshot = snapshot;
	return true;
}

/* What the stream held must be what the footer says. */
static bool take_end(struct kmt_reader *reader, const struct kmt_block_header *header, uint64_t offset,
		     struct kmt_item *item, struct kml_error *error)
{
	const struct kmt_totals *counted = &reader->tally.totals, *stated = &reader->totals;
	if (offset != reader->footer_offset)
		return damaged_block(reader, header->number, "footer", error, "not where the trailer says");
	if (counted->events != stated->events || counted->warm_events != stated->warm_events ||
	    memcmp(counted->op_events, stated->op_events, sizeof stated->op_events) != 0 ||
	    (!KML_PLANTED(kmt_objects_not_compared) && counted->objects != stated->objects) ||
	    counted->duration_ns != stated->duration_ns || counted->snapshots != stated->snapshots ||
	    counted->top_address != stated->top_address)
		return damaged_block(reader, header->number, "footer", error, "its totals are not those of the events");
	reader->at_end = true;
	item->kind = KMT_ITEM_END;
	return true;
}

static bool take_block(struct kmt_reader *reader, struct kmt_item *item, struct kml_error *error)
{
	struct kmt_block_header header = {0};
	uint64_t offset = reader->offset;
	if (!read_block(reader, offset, reader->file_bytes - KMT_TRAILER_BYTES, &header, error))
		return false;
	if (header.number != reader->block)
		return damaged_block(reader, reader->block, kmt_block_name(header.kind), error,
				     "out of sequence: a block is missing, doubled or moved");
	reader->offset = block_end(offset, &header);
	reader->block++;
	switch ((enum kmt_block_kind)header.kind) {
	case KMT_BLOCK_EVENT:
		return take_events(reader, &header, item, error);
	case KMT_BLOCK_SNAPSHOT:
		return take_snapshot(reader, &header, item, error);
	case KMT_BLOCK_FOOTER:
		return take_end(reader, &header, offset, item, error);
	default:
		return damaged_block(reader, header.number, "header", error, "a second header");
	}
}

enum kmt_item_kind kmt_next(struct kmt_reader *reader, struct kmt_item *item, struct kml_error *error)
{
	*item = (struct kmt_item){.kind = KMT_ITEM_END};
	if (!reader->path)
		return next_of_source(reader, item, error);
	if (reader->at_end)
		return KMT_ITEM_END;
	if (!reader->failed && take_block(reader, item, &reader->failure))
		return item->kind;
	reader->failed = true;
	if (error)
		*error = reader->failure;
	item->kind = KMT_ITEM_ERROR;
	return KMT_ITEM_ERROR;
}
