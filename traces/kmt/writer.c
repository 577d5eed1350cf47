/*
 * writer.c - events and snapshots into a .kmt, block by block, under a temporary name until complete.
 *
 * Memory: one block of events and its columns, and the model (model.h). Every event is checked when it is given, so
 * that what this writer finishes, the reader accepts.
 */
#include <errno.h>
#include <stdlib.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/output.h"
#include "traces/kmt/model.h"

enum { COMPRESSION_LEVEL = 12, FIRST_EVENTS = 256 };

struct kmt_writer {
	struct kml_output output;
	struct kmt_origin origin;
	struct kmt_cache *caches;
	uint32_t cache_count;
	struct kmt_tally tally;
	struct kmt_model model;
	struct kmt_columns columns;
	struct kmt_bytes raw, payload;
	struct kmt_bytes last_snapshot[KMT_SNAPSHOT_KINDS]; /* the prefix of the next of its kind */
	ZSTD_CCtx *context;
	struct kmt_event *events;
	uint32_t event_count, event_room;
	uint64_t blocks, offset;
	bool failed;
};

static void writer_free(struct kmt_writer *writer)
{
	kmt_header_free(&writer->origin, writer->caches, writer->cache_count);
	kmt_model_free(&writer->model);
	for (enum kmt_column column = 0; column < KMT_COLUMNS; column++)
		kmt_bytes_free(&writer->columns.column[column]);
	for (enum kmt_snapshot_kind kind = 0; kind < KMT_SNAPSHOT_KINDS; kind++)
		kmt_bytes_free(&writer->last_snapshot[kind]);
	ZSTD_freeCCtx(writer->context);
	kmt_bytes_free(&writer->raw);
	kmt_bytes_free(&writer->payload);
	free(writer->events);
	free(writer);
}

static bool out_of_memory(struct kml_error *error)
{
	return kml_fail(error, "memory exhausted");
}

static bool write_bytes(struct kmt_writer *writer, const void *data, size_t size, struct kml_error *error)
{
	errno = 0;
	if (fwrite(data, 1, size, writer->output.stream) != size)
		return kml_fail(error, "%s: cannot write: %s: free some space or choose another place",
				writer->output.path, strerror(errno));
	writer->offset += size;
	return true;
}

/* writer->payload as the next block. */
static bool write_block(struct kmt_writer *writer, enum kmt_block_kind kind, uint32_t detail, struct kml_error *error)
{
	uint8_t bytes[KMT_BLOCK_HEADER_BYTES];
	if (writer->payload.bad || writer->payload.used > UINT32_MAX)
		return out_of_memory(error);
	struct kmt_block_header header = {
		.kind = kind,
		.detail = detail,
		.stored_bytes = (uint32_t)writer->payload.used,
		.number = writer->blocks++,
	};
	kmt_block_header_encode(bytes, &header, writer->payload.data);
	return write_bytes(writer, bytes, sizeof bytes, error) &&
	       write_bytes(writer, writer->payload.data, writer->payload.used, error);
}

/* writer->raw, packed, as the next block. */
static bool write_packed(struct kmt_writer *writer, enum kmt_block_kind kind, uint32_t detail,
			 const struct kmt_bytes *prefix, struct kml_error *error)
{
	writer->payload.used = 0;
	if (!kmt_pack(&writer->payload, &writer->raw, prefix, writer->context))
		return out_of_memory(error);
	return write_block(writer, kind, detail, error);
}

static bool flush_events(struct kmt_writer *writer, struct kml_error *error)
{
	if (writer->event_count == 0)
		return true;
	if (!kmt_columns_encode(&writer->model, &writer->columns, writer->events, writer->event_count))
		return out_of_memory(error);
	writer->payload.used = 0;
	for (enum kmt_column column = 0; column < KMT_COLUMNS; column++)
		if (!kmt_pack(&writer->payload, &writer->columns.column[column], NULL, writer->context))
			return out_of_memory(error);
	uint32_t events = writer->event_count;
	writer->event_count = 0;
	return write_block(writer, KMT_BLOCK_EVENT, events, error);
}

/* ------------------------------------------------------------------------------------------------ creation */

static bool copy_text(const char **copy, const char *text)
{
	*copy = strdup(text);
	return *copy != NULL;
}

static bool copy_header(struct kmt_writer *writer, const struct kmt_origin *origin, const struct kmt_cache *caches,
			uint32_t count)
{
	struct kmt_origin *copy = &writer->origin;
	*copy = *origin;
	copy->source = copy->kernel = copy->command = copy->clock = copy->note = NULL;
	if (!copy_text(&copy->source, origin->source) || !copy_text(&copy->kernel, origin->kernel) ||
	    !copy_text(&copy->command, origin->command) || !copy_text(&copy->clock, origin->clock) ||
	    !copy_text(&copy->note, origin->note))
		return false;
	writer->caches = calloc(count + 1, sizeof *writer->caches);
	if (!writer->caches)
		return false;
	for (; writer->cache_count < count; writer->cache_count++) {
		struct kmt_cache *cache = &writer->caches[writer->cache_count];
		*cache = caches[writer->cache_count];
		if (!copy_text(&cache->name, caches[writer->cache_count].name))
			return false;
	}
	return true;
}

static bool begin(struct kmt_writer *writer, const char *path, const struct kmt_origin *origin,
		  const struct kmt_cache *caches, uint32_t count, struct kml_error *error)
{
	writer->tally = (struct kmt_tally){.origin = &writer->origin, .cache_count = count};
	writer->context = ZSTD_createCCtx();
	if (writer->context)
		ZSTD_CCtx_setParameter(writer->context, ZSTD_c_compressionLevel, COMPRESSION_LEVEL);
	if (!writer->context || !copy_header(writer, origin, caches, count) ||
	    !kmt_model_init(&writer->model, count, true))
		return out_of_memory(error);
	if (!kml_output_open(&writer->output, path, error))
		return false;
	uint8_t preamble[KMT_PREAMBLE_BYTES];
	kmt_preamble_encode(preamble);
	kmt_header_encode(&writer->raw, &writer->origin, writer->caches, count);
	if (write_bytes(writer, preamble, sizeof preamble, error) &&
	    write_packed(writer, KMT_BLOCK_HEADER, 0, NULL, error))
		return true;
	kml_output_abandon(&writer->output);
	return false;
}

struct kmt_writer *kmt_create(const char *path, const struct kmt_origin *origin, const struct kmt_cache *caches,
			      uint32_t cache_count, struct kml_error *error)
{
	struct kml_error reason;
	if (!kmt_header_check(origin, caches, cache_count, &reason)) {
		kml_fail(error, "%s: %s", path, reason.text);
		return NULL;
	}
	struct kmt_writer *writer = calloc(1, sizeof *writer);
	if (!writer) {
		out_of_memory(error);
		return NULL;
	}
	if (!begin(writer, path, origin, caches, cache_count, error)) {
		writer_free(writer);
		return NULL;
	}
	return writer;
}

/* ------------------------------------------------------------------------------------------------ content */

/* After a failure the stream has a hole: nothing more is taken, and kmt_finish refuses. */
static bool remember(struct kmt_writer *writer, bool ok)
{
	writer->failed |= !ok;
	return ok;
}

/* Of a block's events: FIRST_EVENTS, 2 * FIRST_EVENTS ... KMT_BLOCK_EVENTS. */
static bool reserve_event(struct kmt_writer *writer)
{
	if (writer->event_count < writer->event_room)
		return true;
	uint32_t room = writer->event_room ? 2 * writer->event_room : FIRST_EVENTS;
	struct kmt_event *events = realloc(writer->events, room * sizeof *events);
	if (!events)
		return false;
	writer->events = events;
	writer->event_room = room;
	return true;
}

bool kmt_write_event(struct kmt_writer *writer, const struct kmt_event *event, struct kml_error *error)
{
	struct kml_error reason;
	if (!kmt_event_check(&writer->tally, event, &reason))
		return remember(writer, kml_fail(error, "%s: event %llu: %s", writer->output.path,
						 (unsigned long long)writer->tally.totals.events, reason.text));
	if (!reserve_event(writer))
		return remember(writer, out_of_memory(error));
	kmt_tally_count(&writer->tally, event);
	writer->events[writer->event_count++] = *event;
	return writer->event_count < KMT_BLOCK_EVENTS || remember(writer, flush_events(writer, error));
}

bool kmt_write_snapshot(struct kmt_writer *writer, const struct kmt_snapshot *snapshot, struct kml_error *error)
{
	const char *path = writer->output.path;
	if ((unsigned)snapshot->kind >= KMT_SNAPSHOT_KINDS)
		return remember(writer,
				kml_fail(error, "%s: snapshot of unknown kind %u", path, (unsigned)snapshot->kind));
	if (strnlen(snapshot->label, KMT_NAME_BYTES_MAX + 1) > KMT_NAME_BYTES_MAX)
		return remember(writer, kml_fail(error, "%s: a snapshot's label is longer than %d bytes", path,
						 KMT_NAME_BYTES_MAX));
	if (snapshot->text_bytes > KMT_SNAPSHOT_BYTES_MAX - 1024)
		return remember(writer, kml_fail(error, "%s: snapshot %s of %zu bytes: at most %u are possible", path,
						 snapshot->label, snapshot->text_bytes, KMT_SNAPSHOT_BYTES_MAX - 1024));
	if (!flush_events(writer, error))
		return remember(writer, false);
	struct kmt_bytes *raw = &writer->raw;
	raw->used = 0;
	kmt_put_varint(raw, snapshot->time_ns);
	kmt_put_text(raw, snapshot->label);
	kmt_put(raw, snapshot->text, snapshot->text_bytes);
	struct kmt_totals *totals = &writer->tally.totals;
	totals->snapshots++;
	if (snapshot->time_ns > totals->duration_ns)
		totals->duration_ns = snapshot->time_ns;
	struct kmt_bytes *last = &writer->last_snapshot[snapshot->kind];
	if (!remember(writer, write_packed(writer, KMT_BLOCK_SNAPSHOT, snapshot->kind, last, error)))
		return false;
	struct kmt_bytes before = *last;
	*last = *raw;
	*raw = before;
	return true;
}

bool kmt_write_item(struct kmt_writer *writer, const struct kmt_item *item, struct kml_error *error)
{
	if (item->kind == KMT_ITEM_SNAPSHOT)
		return kmt_write_snapshot(writer, item->snapshot, error);
	for (uint32_t i = 0; i < item->event_count; i++)
		if (!kmt_write_event(writer, &item->events[i], error))
			return false;
	return true;
}

/* ------------------------------------------------------------------------------------------------ the end */

static bool finish(struct kmt_writer *writer, const struct kmt_totals *known, struct kml_error *error)
{
	struct kmt_totals totals = writer->tally.totals;
	if (known) {
		memcpy(totals.quirks, known->quirks, sizeof totals.quirks);
		totals.perf_requested_bytes = known->perf_requested_bytes;
		totals.perf_allocated_bytes = known->perf_allocated_bytes;
		totals.perf_freed_bytes = known->perf_freed_bytes;
		totals.perf_allocations = known->perf_allocations;
		totals.perf_cross_cpu = known->perf_cross_cpu;
	}
	if (writer->failed)
		return kml_fail(error, "%s: not written: an event or snapshot before was refused", writer->output.path);
	if (!flush_events(writer, error))
		return false;
	uint64_t footer_offset = writer->offset;
	writer->raw.used = 0;
	kmt_footer_encode(&writer->raw, &totals);
	if (!write_packed(writer, KMT_BLOCK_FOOTER, 0, NULL, error))
		return false;
	uint8_t trailer[KMT_TRAILER_BYTES];
	kmt_trailer_encode(trailer, footer_offset, writer->offset + sizeof trailer);
	return write_bytes(writer, trailer, sizeof trailer, error);
}

bool kmt_finish(struct kmt_writer *writer, const struct kmt_totals *known, struct kml_error *error)
{
	bool ok = finish(writer, known, error);
	if (ok)
		ok = kml_output_commit(&writer->output, error);
	else
		kml_output_abandon(&writer->output);
	writer_free(writer);
	return ok;
}

void kmt_abandon(struct kmt_writer *writer)
{
	if (!writer)
		return;
	kml_output_abandon(&writer->output);
	writer_free(writer);
}
