/* store.c - memory for a running capture; see store.h. */
#include "traces/capture/store.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kmemlab/support/error.h"

#define CHUNK_BYTES ((size_t)16 << 20)

struct chunk {
	struct chunk *next;
	size_t used_bytes; /* of data */
	alignas(16) uint8_t data[];
};

struct store {
	struct chunk *first;   /* being taken */
	struct chunk *current; /* being filled */
	size_t taken_bytes;    /* of first's data */
	uint64_t bytes;
};

static size_t aligned(size_t bytes)
{
	return (bytes + 15) & ~(size_t)15;
}

size_t store_entry_bytes_max(void)
{
	return CHUNK_BYTES - sizeof(struct chunk) - sizeof(struct store_entry);
}

static struct chunk *chunk_create(struct kml_error *error)
{
	struct chunk *chunk = mmap(NULL, CHUNK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (chunk == MAP_FAILED) {
		kml_fail(error, "out of memory for the captured events: capture for a shorter time");
		return NULL;
	}
	madvise(chunk, CHUNK_BYTES, MADV_HUGEPAGE);
	memset(chunk, 0, CHUNK_BYTES); /* faulted in now rather than in the middle of the recording */
	return chunk;
}

struct store *store_create(uint64_t bytes, struct kml_error *error)
{
	struct store *store = calloc(1, sizeof *store);
	if (!store) {
		kml_fail(error, "out of memory");
		return NULL;
	}
	struct chunk **link = &store->first;
	for (uint64_t ready = 0; ready == 0 || ready < bytes; ready += CHUNK_BYTES) {
		*link = chunk_create(error);
		if (!*link) {
			store_destroy(store);
			return NULL;
		}
		link = &(*link)->next;
	}
	store->current = store->first;
	return store;
}

void store_destroy(struct store *store)
{
	if (!store)
		return;
	for (struct chunk *chunk = store->first; chunk;) {
		struct chunk *next = chunk->next;
		munmap(chunk, CHUNK_BYTES);
		chunk = next;
	}
	free(store);
}

struct store_entry *store_reserve(struct store *store, size_t bytes, struct kml_error *error)
{
	KML_CHECK(bytes <= store_entry_bytes_max(), "an entry of %zu bytes", bytes);
	size_t room = CHUNK_BYTES - sizeof(struct chunk) - store->current->used_bytes;
	if (room < sizeof(struct store_entry) + bytes) {
		if (!store->current->next)
			store->current->next = chunk_create(error);
		if (!store->current->next)
			return NULL;
		store->current = store->current->next;
	}
	return (struct store_entry *)(store->current->data + store->current->used_bytes);
}

void store_append(struct store *store, struct store_entry *entry)
{
	KML_CHECK((uint8_t *)entry == store->current->data + store->current->used_bytes, "an entry out of its place");
	size_t bytes = aligned(sizeof *entry + entry->bytes);
	size_t room = CHUNK_BYTES - sizeof(struct chunk) - store->current->used_bytes;
	store->current->used_bytes += bytes < room ? bytes : room;
	store->bytes += bytes;
}

const struct store_entry *store_take(struct store *store)
{
	while (store->taken_bytes == store->first->used_bytes) {
		struct chunk *passed = store->first;
		if (passed == store->current)
			return NULL;
		store->first = passed->next;
		store->taken_bytes = 0;
		munmap(passed, CHUNK_BYTES);
	}
	struct chunk *chunk = store->first;
	struct store_entry *entry = (struct store_entry *)(chunk->data + store->taken_bytes);
	size_t end_bytes = store->taken_bytes + aligned(sizeof *entry + entry->bytes);
	store->taken_bytes = end_bytes < chunk->used_bytes ? end_bytes : chunk->used_bytes;
	return entry;
}

uint64_t store_bytes(const struct store *store)
{
	return store->bytes;
}
