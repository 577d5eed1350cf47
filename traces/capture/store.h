/*
 * store.h - what a capture keeps while it runs: an append-only list of raw buffer pages and snapshots.
 *
 * A capture allocates too, and its page faults would show in the very events it records. So the memory is faulted in
 * before the recording begins; should that not be enough, it grows in large steps, by huge pages where the kernel
 * has them. Nothing is written to disk meanwhile. Cost: O(bytes), one copy.
 */
#ifndef KMEMLAB_CAPTURE_STORE_H
#define KMEMLAB_CAPTURE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"

enum store_kind { STORE_PAGE, STORE_SNAPSHOT };

struct store_entry {
	uint32_t kind;    /* enum store_kind */
	uint32_t detail;  /* cpu of a page, enum kmt_snapshot_kind of a snapshot */
	uint64_t time_ns; /* of a snapshot */
	uint64_t bytes;
	uint8_t data[];
};

struct store;

/* With room for at least `bytes`, faulted in. NULL and *error when memory is exhausted. */
struct store *store_create(uint64_t bytes, struct kml_error *error);
void store_destroy(struct store *store);

/*
 * Room for one entry of up to `bytes` (at most store_entry_bytes_max). Fill it in and call store_append with the bytes
 * really used; a reservation not appended costs nothing. NULL and *error when memory is exhausted.
 */
struct store_entry *store_reserve(struct store *store, size_t bytes, struct kml_error *error);
void store_append(struct store *store, struct store_entry *entry);
size_t store_entry_bytes_max(void);

/* The entries in the order they came; NULL at the end. Memory behind them is given back as they are passed. */
const struct store_entry *store_take(struct store *store);
uint64_t store_bytes(const struct store *store);

#endif
