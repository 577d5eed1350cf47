/* repair.c - loose .kmt files to sound ones and back. Cost: O(bytes). */
#include "fuzz/repair.h"

#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/kmt/format.h"
#include "traces/kmt/model.h"

enum { PART_RAW }; /* traces/README.md: how a part is stored */

static struct kmt_bytes made;

static struct repaired given(void)
{
	KML_CHECK(!made.bad, "memory exhausted");
	return (struct repaired){made.data, made.used};
}

static void start(void)
{
	uint8_t preamble[KMT_PREAMBLE_BYTES];
	kmt_preamble_encode(preamble);
	made.used = 0;
	made.bad = false;
	kmt_put(&made, preamble, sizeof preamble);
}

static void finish(uint64_t footer_offset)
{
	uint8_t trailer[KMT_TRAILER_BYTES];
	kmt_trailer_encode(trailer, footer_offset, made.used + sizeof trailer);
	kmt_put(&made, trailer, sizeof trailer);
}

struct repaired kmt_repair(const uint8_t *bytes, size_t byte_count)
{
	if (byte_count < KMT_PREAMBLE_BYTES || bytes[0] != KMT_LOOSE)
		return (struct repaired){bytes, byte_count};
	size_t at = KMT_PREAMBLE_BYTES;
	uint64_t number = 0, footer_offset = KMT_PREAMBLE_BYTES, checksum;
	start();
	/* The version may be another one. */
	memcpy(made.data + KMT_MAGIC_BYTES, bytes + KMT_MAGIC_BYTES, KMT_PREAMBLE_BYTES - KMT_MAGIC_BYTES);
	while (byte_count - at >= KMT_BLOCK_HEADER_BYTES) {
		struct kmt_block_header header;
		uint8_t head[KMT_BLOCK_HEADER_BYTES];
		const uint8_t *payload = bytes + at + sizeof head;
		kmt_block_header_decode(&header, &checksum, bytes + at);
		if (header.stored_bytes > byte_count - at - sizeof head)
			break;
		header.number = number++;
		kmt_block_header_encode(head, &header, payload);
		footer_offset = made.used;
		kmt_put(&made, head, sizeof head);
		kmt_put(&made, payload, header.stored_bytes);
		at += sizeof head + header.stored_bytes;
	}
	kmt_put(&made, bytes + at, byte_count - at);
	finish(footer_offset);
	return given();
}

/* A block's parts, each unpacked and stored as it is. */
static bool loosen_block(const struct kmt_block_header *header, struct kmt_bytes *payload, struct kmt_bytes *loose,
			 struct kmt_bytes *prefix, ZSTD_DCtx *context)
{
	static const size_t limits[KMT_BLOCK_KINDS] = {KMT_HEADER_BYTES_MAX, KMT_COLUMN_BYTES_MAX,
						       KMT_SNAPSHOT_BYTES_MAX, KMT_FOOTER_BYTES_MAX};
	struct kmt_bytes raw = {0};
	const char *why;
	bool sound = true;
	loose->used = 0;
	while (sound && payload->at < payload->used) {
		sound = kmt_unpack(payload, &raw, header->kind == KMT_BLOCK_SNAPSHOT ? prefix : NULL, context,
				   limits[header->kind], &why);
		kmt_put_varint(loose, raw.used);
		kmt_put_u8(loose, PART_RAW);
		kmt_put_varint(loose, raw.used);
		kmt_put(loose, raw.data, raw.used);
	}
	if (header->kind == KMT_BLOCK_SNAPSHOT) {
		struct kmt_bytes before = *prefix;
		*prefix = raw;
		raw = before;
	}
	kmt_bytes_free(&raw);
	return sound;
}

struct repaired kmt_loosen(const uint8_t *bytes, size_t byte_count)
{
	struct kmt_bytes loose = {0}, prefix[KMT_SNAPSHOT_KINDS] = {{0}};
	ZSTD_DCtx *context = ZSTD_createDCtx();
	size_t at = KMT_PREAMBLE_BYTES;
	bool sound = context && byte_count >= KMT_PREAMBLE_BYTES + KMT_TRAILER_BYTES;

	start();
	made.data[0] = KMT_LOOSE;
	while (sound && byte_count - at >= KMT_BLOCK_HEADER_BYTES + KMT_TRAILER_BYTES) {
		struct kmt_block_header header;
		uint64_t checksum;
		uint8_t head[KMT_BLOCK_HEADER_BYTES];
		kmt_block_header_decode(&header, &checksum, bytes + at);
		at += sizeof head;
		sound = header.kind < KMT_BLOCK_KINDS && header.stored_bytes <= byte_count - at &&
			(header.kind != KMT_BLOCK_SNAPSHOT || header.detail < KMT_SNAPSHOT_KINDS);
		if (!sound)
			break;
		struct kmt_bytes payload = {.data = (uint8_t *)(uintptr_t)(bytes + at), .used = header.stored_bytes};
		at += header.stored_bytes;
		sound = loosen_block(&header, &payload, &loose,
				     &prefix[header.kind == KMT_BLOCK_SNAPSHOT ? header.detail : 0], context);
		header.stored_bytes = (uint32_t)loose.used;
		kmt_block_header_encode(head, &header, loose.data);
		kmt_put(&made, head, sizeof head);
		kmt_put(&made, loose.data, loose.used);
	}
	for (int kind = 0; kind < KMT_SNAPSHOT_KINDS; kind++)
		kmt_bytes_free(&prefix[kind]);
	kmt_bytes_free(&loose);
	ZSTD_freeDCtx(context);
	return sound ? given() : (struct repaired){NULL, 0};
}
