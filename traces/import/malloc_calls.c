/*
 * malloc_calls.c - see malloc_calls.h. O(1) a call.
 *
 * The import pairs by pointer, so of a block reallocated in place the new one needs a name of its own: the pointer with
 * its lowest bit changed (no malloc gives odd pointers), and back at the next time.
 */
#include "traces/import/malloc_calls.h"

#include "kmemlab/support/error.h"

/* As instrumented kernels say it. */
static const char NO_CACHE[] = "-";

static uint64_t name_of(const struct malloc_calls *calls, uint64_t pointer)
{
	return pointer ^ (kml_hashmap_get(&calls->moved, pointer) != KML_HASHMAP_NONE);
}

static bool rename_in_place(struct malloc_calls *calls, uint64_t pointer, struct kml_error *error)
{
	if (kml_hashmap_get(&calls->moved, pointer) != KML_HASHMAP_NONE) {
		kml_hashmap_remove(&calls->moved, pointer);
		return true;
	}
	return kml_hashmap_set(&calls->moved, pointer, 0) || kml_fail(error, "out of memory");
}

static uint16_t ceil_log2(uint64_t bytes)
{
	return bytes <= 1 ? 0 : (uint16_t)(64 - __builtin_clzll(bytes - 1));
}

bool malloc_calls_alloc(struct malloc_calls *calls, const struct malloc_call *call, struct kml_error *error)
{
	struct raw_event event = RAW_EVENT_INIT;

	event.kind = RAW_KMALLOC;
	event.time_ns = call->time_ns;
	event.cpu = call->cpu;
	event.pointer = name_of(calls, call->pointer);
	event.name = NO_CACHE;
	event.bytes_requested = call->size_bytes;
	event.order = ceil_log2(call->align_bytes);
	event.gfp = call->zeroed ? RAW_GFP_ZERO : 0;
	return import_add_event(calls->import, &event, error);
}

static bool free_named(struct malloc_calls *calls, uint64_t time_ns, uint16_t cpu, uint64_t name,
		       struct kml_error *error)
{
	struct raw_event event = RAW_EVENT_INIT;

	event.kind = RAW_KFREE;
	event.time_ns = time_ns;
	event.cpu = cpu;
	event.pointer = name;
	event.name = NO_CACHE;
	return import_add_event(calls->import, &event, error);
}

bool malloc_calls_free(struct malloc_calls *calls, uint64_t time_ns, uint16_t cpu, uint64_t pointer,
		       struct kml_error *error)
{
	return free_named(calls, time_ns, cpu, name_of(calls, pointer), error);
}

bool malloc_calls_realloc(struct malloc_calls *calls, const struct malloc_call *call, uint64_t old_pointer,
			  struct kml_error *error)
{
	uint64_t old_name = name_of(calls, old_pointer);

	if (call->pointer == 0 && call->size_bytes == 0)
		return free_named(calls, call->time_ns, call->cpu, old_name, error);
	if (call->pointer == old_pointer && call->pointer != 0 && !rename_in_place(calls, old_pointer, error))
		return false;
	if (!malloc_calls_alloc(calls, call, error))
		return false;
	return call->pointer == 0 || old_pointer == 0 || free_named(calls, call->time_ns, call->cpu, old_name, error);
}

void malloc_calls_destroy(struct malloc_calls *calls)
{
	kml_hashmap_free(&calls->moved);
}

bool malloc_calls_product(uint64_t count, uint64_t size_bytes, uint64_t *bytes)
{
	return !__builtin_mul_overflow(count, size_bytes, bytes) && *bytes < MALLOC_BYTES_MAX;
}
