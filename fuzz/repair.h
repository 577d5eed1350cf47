/*
 * repair.h - .kmt files that mutations can reach into. A checksum over every block and compression within would let a
 * reader refuse all that an engine makes of a file at the first look.
 *
 * A loose file begins with KMT_LOOSE in place of the first byte of the magic; its parts are stored uncompressed. It has
 * no trailer. Repairing gives a block its checksum and its number, and the file its magic and trailer; all else stays
 * as it is, wrong lengths and kinds among it. A file that is not loose is taken as it is.
 */
#ifndef KMEMLAB_FUZZ_REPAIR_H
#define KMEMLAB_FUZZ_REPAIR_H

#include <stddef.h>
#include <stdint.h>

enum { KMT_LOOSE = 'R' };

/* Borrowed until the next call. */
struct repaired {
	const uint8_t *bytes;
	size_t byte_count;
};
struct repaired kmt_repair(const uint8_t *bytes, size_t byte_count);
/* Changes bytes in place, with room for byte_max; their new number. libFuzzer's LLVMFuzzerMutate is one. */
typedef size_t mutate_bytes(uint8_t *bytes, size_t byte_count, size_t byte_max);
/*
 * One part of a loose file is changed as by `mutate`, and the lengths around it are set right: a byte more or less in a
 * column would else be a damaged file and no more. Now and then, or where the file has no sound part, it is `mutate` of
 * the whole. Same seed, same part. O(bytes).
 */
size_t kmt_mutate_loose(uint8_t *bytes, size_t byte_count, size_t byte_max, uint64_t seed, mutate_bytes *mutate);
/* A whole .kmt as a loose one; no bytes when it is damaged. */
struct repaired kmt_loosen(const uint8_t *bytes, size_t byte_count);

#endif
