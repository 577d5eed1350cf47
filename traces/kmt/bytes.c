/*
 * bytes.c - the bytes of a .kmt: growing buffers, varints, compressed parts and block headers.
 *
 * Everything read here may come from a hostile file: each length is held against what is left and against a limit
 * before anything is allocated, and a read beyond the end yields zeros and sets `bad`, so that callers test once.
 */
#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>

#include "kmemlab/support/planted.h"
#include "traces/kmt/format.h"

/* As PNG's: a high bit, both line ends and a control-Z tell what a transfer as text would do to the file. */
const uint8_t kmt_magic[KMT_MAGIC_BYTES] = {0x89, 'K', 'M', 'T', '\r', '\n', 0x1a, '\n'};
static const uint8_t end_magic[KMT_MAGIC_BYTES] = {'K', 'M', 'T', '-', 'E', 'N', 'D', '\n'};

enum part_mode { PART_RAW, PART_ZSTD, PART_ZEROS, PART_MODES };

const char *kmt_block_name(enum kmt_block_kind kind)
{
	static const char *const names[KMT_BLOCK_KINDS] = {"header", "events", "snapshot", "footer"};
	return (unsigned)kind < KMT_BLOCK_KINDS ? names[kind] : "unknown kind";
}

void kmt_bytes_free(struct kmt_bytes *bytes)
{
	free(bytes->data);
	*bytes = (struct kmt_bytes){0};
}

bool kmt_bytes_reserve(struct kmt_bytes *bytes, size_t more)
{
	if (bytes->bad || more > SIZE_MAX / 2 - bytes->used)
		return false;
	if (bytes->capacity - bytes->used >= more)
		return true;
	size_t capacity = bytes->capacity < 64 ? 64 : bytes->capacity;
	while (capacity - bytes->used < more)
		capacity *= 2;
	uint8_t *data = realloc(bytes->data, capacity);
	if (!data) {
		bytes->bad = true;
		return false;
	}
	bytes->data = data;
	bytes->capacity = capacity;
	return true;
}

void kmt_put(struct kmt_bytes *bytes, const void *data, size_t size)
{
	if (!size || !kmt_bytes_reserve(bytes, size))
		return;
	memcpy(bytes->data + bytes->used, data, size);
	bytes->used += size;
}

void kmt_put_long_varint(struct kmt_bytes *bytes, uint64_t value)
{
	uint8_t code[10];
	size_t size = 0;
	for (; value >= 0x80; value >>= 7)
		code[size++] = (uint8_t)(value | 0x80);
	code[size++] = (uint8_t)value;
	kmt_put(bytes, code, size);
}

void kmt_put_text(struct kmt_bytes *bytes, const char *text)
{
	size_t size = strlen(text);
	kmt_put_varint(bytes, size);
	kmt_put(bytes, text, size);
}

const uint8_t *kmt_get(struct kmt_bytes *bytes, size_t size)
{
	if (bytes->bad || (!KML_PLANTED(kmt_length_unchecked) && size > bytes->used - bytes->at)) {
		bytes->bad = true;
		return NULL;
	}
	const uint8_t *data = bytes->data + bytes->at;
	bytes->at += size;
	return data;
}

uint64_t kmt_get_long_varint(struct kmt_bytes *bytes)
{
	enum { LAST_SHIFT = KML_PLANTED(kmt_varint_shift) ? 70 : 63 };
	uint64_t value = 0;
	for (unsigned shift = 0; shift <= LAST_SHIFT; shift += 7) {
		uint8_t byte = kmt_get_u8(bytes);
		if (bytes->bad || (shift == LAST_SHIFT && byte > 1))
			break;
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return value;
	}
	bytes->bad = true;
	return 0;
}

char *kmt_get_text(struct kmt_bytes *bytes, size_t limit)
{
	uint64_t size = kmt_get_varint(bytes);
	if (size > limit)
		bytes->bad = true;
	const uint8_t *data = bytes->bad ? NULL : kmt_get(bytes, size);
	if (!data || memchr(data, 0, size)) {
		bytes->bad = true;
		return NULL;
	}
	char *text = malloc(size + 1);
	if (!text) {
		bytes->bad = true;
		return NULL;
	}
	memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

/* ------------------------------------------------------------------------------------------------ parts */

static bool all_zero(const struct kmt_bytes *raw)
{
	return raw->used == 0 || (raw->data[0] == 0 && memcmp(raw->data, raw->data + 1, raw->used - 1) == 0);
}

bool kmt_pack(struct kmt_bytes *out, const struct kmt_bytes *raw, const struct kmt_bytes *prefix, ZSTD_CCtx *context)
{
	if (raw->bad)
		return false;
	kmt_put_varint(out, raw->used);
	if (all_zero(raw)) {
		kmt_put_u8(out, PART_ZEROS);
		return !out->bad;
	}
	size_t bound = ZSTD_compressBound(raw->used);
	uint8_t *packed = malloc(bound);
	if (!packed)
		return false;
	if (prefix && prefix->used)
		ZSTD_CCtx_refPrefix(context, prefix->data, prefix->used);
	size_t size = ZSTD_compress2(context, packed, bound, raw->data, raw->used);
	bool smaller = !ZSTD_isError(size) && size < raw->used;
	kmt_put_u8(out, smaller ? PART_ZSTD : PART_RAW);
	kmt_put_varint(out, smaller ? size : raw->used);
	kmt_put(out, smaller ? packed : raw->data, smaller ? size : raw->used);
	free(packed);
	return !out->bad;
}

bool kmt_unpack(struct kmt_bytes *in, struct kmt_bytes *raw, const struct kmt_bytes *prefix, ZSTD_DCtx *context,
		size_t limit, const char **why)
{
	uint64_t size = kmt_get_varint(in);
	uint8_t mode = kmt_get_u8(in);
	raw->used = raw->at = 0;
	raw->bad = false;
	*why = "a part is cut short";
	if (in->bad)
		return false;
	*why = "a part is longer than the format allows";
	if (size > limit)
		return false;
	*why = "memory exhausted";
	if (!kmt_bytes_reserve(raw, size))
		return false;
	if (mode == PART_ZEROS) {
		if (size)
			memset(raw->data, 0, size);
		raw->used = size;
		return true;
	}
	*why = "a part is stored in an unknown way";
	if (mode >= PART_MODES)
		return false;
	uint64_t stored = kmt_get_varint(in);
	const uint8_t *data = kmt_get(in, stored);
	*why = "a part is cut short";
	if (!data)
		return false;
	*why = "a part has another length than it states";
	if (mode == PART_RAW) {
		if (!KML_PLANTED(kmt_raw_length_unchecked) && stored != size)
			return false;
		if (size)
			memcpy(raw->data, data, size);
	} else {
		if (prefix && prefix->used)
			ZSTD_DCtx_refPrefix(context, prefix->data, prefix->used);
		if (ZSTD_decompressDCtx(context, raw->data, size, data, stored) != size)
			return false;
	}
	raw->used = size;
	return true;
}

/* ------------------------------------------------------------------------------------------------ blocks */

static void put_le32(uint8_t *out, uint32_t value)
{
	value = htole32(value);
	memcpy(out, &value, sizeof value);
}

static void put_le64(uint8_t *out, uint64_t value)
{
	value = htole64(value);
	memcpy(out, &value, sizeof value);
}

static uint32_t get_le32(const uint8_t *in)
{
	uint32_t value;
	memcpy(&value, in, sizeof value);
	return le32toh(value);
}

static uint64_t get_le64(const uint8_t *in)
{
	uint64_t value;
	memcpy(&value, in, sizeof value);
	return le64toh(value);
}

uint64_t kmt_block_checksum(const uint8_t header[KMT_BLOCK_HEADER_BYTES], const uint8_t *payload, size_t size)
{
	/* The header's own hash seeds the payload's: both are covered, without a copy and without state. */
	return XXH64(payload, size, XXH64(header, KMT_BLOCK_HEADER_BYTES - sizeof(uint64_t), 0));
}

void kmt_block_header_encode(uint8_t out[KMT_BLOCK_HEADER_BYTES], const struct kmt_block_header *header,
			     const uint8_t *payload)
{
	put_le32(out, header->kind);
	put_le32(out + 4, header->detail);
	put_le32(out + 8, header->stored_bytes);
	put_le32(out + 12, 0);
	put_le64(out + 16, header->number);
	put_le64(out + 24, kmt_block_checksum(out, payload, header->stored_bytes));
}

void kmt_block_header_decode(struct kmt_block_header *header, uint64_t *checksum,
			     const uint8_t in[KMT_BLOCK_HEADER_BYTES])
{
	header->kind = get_le32(in);
	header->detail = get_le32(in + 4);
	header->stored_bytes = get_le32(in + 8);
	header->number = get_le64(in + 16);
	*checksum = get_le64(in + 24);
}

void kmt_preamble_encode(uint8_t out[KMT_PREAMBLE_BYTES])
{
	memcpy(out, kmt_magic, KMT_MAGIC_BYTES);
	put_le32(out + 8, KMT_VERSION);
	put_le32(out + 12, 0);
}

bool kmt_preamble_decode(const uint8_t in[KMT_PREAMBLE_BYTES], uint32_t *version)
{
	*version = get_le32(in + 8);
	return memcmp(in, kmt_magic, KMT_MAGIC_BYTES) == 0 && get_le32(in + 12) == 0;
}

void kmt_trailer_encode(uint8_t out[KMT_TRAILER_BYTES], uint64_t footer_offset, uint64_t file_bytes)
{
	put_le64(out, footer_offset);
	put_le64(out + 8, file_bytes);
	put_le64(out + 16, XXH64(out, 16, KMT_VERSION));
	memcpy(out + 24, end_magic, KMT_MAGIC_BYTES);
}

bool kmt_trailer_decode(const uint8_t in[KMT_TRAILER_BYTES], uint64_t *footer_offset, uint64_t *file_bytes)
{
	*footer_offset = get_le64(in);
	*file_bytes = get_le64(in + 8);
	return memcmp(in + 24, end_magic, KMT_MAGIC_BYTES) == 0 && get_le64(in + 16) == XXH64(in, 16, KMT_VERSION);
}
