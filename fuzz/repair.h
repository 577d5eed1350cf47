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
/* A whole .kmt as a loose one; no bytes when it is damaged. */
struct repaired kmt_loosen(const uint8_t *bytes, size_t byte_count);

#endif
