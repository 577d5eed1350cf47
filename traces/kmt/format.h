/*
 * format.h - private to traces/kmt: limits and layout of the .kmt file. The prose is traces/README.md.
 *
 *   "\x89KMT\r\n\x1a\n"  u32 version  u32 zero
 *   block 0: header | events and snapshots in stream order | last block: footer
 *   trailer: u64 offset of the footer, u64 bytes of the file, u64 XXH64 of those 16 bytes, "KMT-END\n"
 *
 * All integers are little-endian; `varint` is LEB128.
 */
#ifndef KMEMLAB_KMT_FORMAT_H
#define KMEMLAB_KMT_FORMAT_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <zstd.h>

#include "traces/kmt/kmt.h"

#define KMT_MAGIC_BYTES 8
extern const uint8_t kmt_magic[KMT_MAGIC_BYTES];
#define KMT_VERSION 1u
#define KMT_MEND "re-import or copy the file again"

enum {
	KMT_PREAMBLE_BYTES = 16,
	KMT_BLOCK_HEADER_BYTES = 32,
	KMT_TRAILER_BYTES = 32,
	KMT_NAME_BYTES_MAX = 255,   /* cache names, snapshot labels */
	KMT_TEXT_BYTES_MAX = 65535, /* texts of the origin */
};
#define KMT_COLUMN_BYTES_MAX (1u << 20)    /* of an events block, decompressed */
#define KMT_HEADER_BYTES_MAX (32u << 20)   /* decompressed */
#define KMT_SNAPSHOT_BYTES_MAX (16u << 20) /* decompressed, with its label */
#define KMT_FOOTER_BYTES_MAX (64u << 10)

enum kmt_block_kind { KMT_BLOCK_HEADER, KMT_BLOCK_EVENT, KMT_BLOCK_SNAPSHOT, KMT_BLOCK_FOOTER, KMT_BLOCK_KINDS };
const char *kmt_block_name(enum kmt_block_kind kind);

struct kmt_block_header {
	uint32_t kind;
	uint32_t detail;       /* events block: how many; snapshot: its kind; else 0 */
	uint32_t stored_bytes; /* payload in the file */
	uint64_t number;       /* 0, 1, 2 ... */
};

/* Bytes that grow while writing and are consumed while reading. A write beyond memory or a read beyond the end sets
 * `bad`. */
struct kmt_bytes {
	uint8_t *data;
	size_t used, capacity, at;
	bool bad;
};
void kmt_bytes_free(struct kmt_bytes *bytes);
bool kmt_bytes_reserve(struct kmt_bytes *bytes, size_t more);
void kmt_put(struct kmt_bytes *bytes, const void *data, size_t size);
void kmt_put_text(struct kmt_bytes *bytes, const char *text);
/* Of two bytes and more; see kmt_put_varint and kmt_get_varint. */
void kmt_put_long_varint(struct kmt_bytes *bytes, uint64_t value);
uint64_t kmt_get_long_varint(struct kmt_bytes *bytes);
/* Points into the bytes, NULL and `bad` when fewer are left. */
const uint8_t *kmt_get(struct kmt_bytes *bytes, size_t size);
/* A length and that many bytes without NUL inside, at most `limit`; a copy to be freed, NULL and `bad` on damage. */
char *kmt_get_text(struct kmt_bytes *bytes, size_t limit);

static inline void kmt_put_u8(struct kmt_bytes *bytes, uint8_t value)
{
	if (bytes->used < bytes->capacity)
		bytes->data[bytes->used++] = value;
	else
		kmt_put(bytes, &value, 1);
}

static inline uint8_t kmt_get_u8(struct kmt_bytes *bytes)
{
	if (bytes->at < bytes->used)
		return bytes->data[bytes->at++];
	bytes->bad = true;
	return 0;
}

static inline void kmt_put_varint(struct kmt_bytes *bytes, uint64_t value)
{
	if (value < 0x80)
		kmt_put_u8(bytes, (uint8_t)value);
	else
		kmt_put_long_varint(bytes, value);
}

static inline uint64_t kmt_get_varint(struct kmt_bytes *bytes)
{
	if (bytes->at < bytes->used && bytes->data[bytes->at] < 0x80)
		return bytes->data[bytes->at++];
	return kmt_get_long_varint(bytes);
}

static inline uint64_t kmt_zigzag(uint64_t difference)
{
	return difference << 1 ^ (difference >> 63 ? UINT64_MAX : 0);
}

static inline uint64_t kmt_unzigzag(uint64_t code)
{
	return code >> 1 ^ (code & 1 ? UINT64_MAX : 0);
}

/*
 * Append `raw` as one part: varint raw length, mode, varint stored length, stored bytes. `prefix` (may be NULL): bytes
 * known to the reader too, which the compressor may refer to. False: memory exhausted.
 */
bool kmt_pack(struct kmt_bytes *out, const struct kmt_bytes *raw, const struct kmt_bytes *prefix, ZSTD_CCtx *context);
/*
 * Read one part into `raw`, with the prefix it was packed with. False: damaged, or longer than `limit` (*why says
 * which); nothing is allocated beyond it.
 */
bool kmt_unpack(struct kmt_bytes *in, struct kmt_bytes *raw, const struct kmt_bytes *prefix, ZSTD_DCtx *context,
		size_t limit, const char **why);

void kmt_block_header_encode(uint8_t out[KMT_BLOCK_HEADER_BYTES], const struct kmt_block_header *header,
			     const uint8_t *payload);
void kmt_block_header_decode(struct kmt_block_header *header, uint64_t *checksum,
			     const uint8_t in[KMT_BLOCK_HEADER_BYTES]);
uint64_t kmt_block_checksum(const uint8_t header[KMT_BLOCK_HEADER_BYTES], const uint8_t *payload, size_t size);

void kmt_preamble_encode(uint8_t out[KMT_PREAMBLE_BYTES]);
/* False: another magic. The version is the caller's to judge. */
bool kmt_preamble_decode(const uint8_t in[KMT_PREAMBLE_BYTES], uint32_t *version);
void kmt_trailer_encode(uint8_t out[KMT_TRAILER_BYTES], uint64_t footer_offset, uint64_t file_bytes);
bool kmt_trailer_decode(const uint8_t in[KMT_TRAILER_BYTES], uint64_t *footer_offset, uint64_t *file_bytes);

/* The header block's payload, before packing. */
void kmt_header_encode(struct kmt_bytes *out, const struct kmt_origin *origin, const struct kmt_cache *caches,
		       uint32_t count);
/* Texts and *caches become the caller's (kmt_header_free), whatever the result. */
bool kmt_header_decode(struct kmt_bytes *in, struct kmt_origin *origin, struct kmt_cache **caches, uint32_t *count,
		       struct kml_error *error);
void kmt_header_free(struct kmt_origin *origin, struct kmt_cache *caches, uint32_t count);
/* What both the writer and the reader demand of origin and caches. */
bool kmt_header_check(const struct kmt_origin *origin, const struct kmt_cache *caches, uint32_t count,
		      struct kml_error *error);

void kmt_footer_encode(struct kmt_bytes *out, const struct kmt_totals *totals);
bool kmt_footer_decode(struct kmt_bytes *in, struct kmt_totals *totals, struct kml_error *error);

#endif
