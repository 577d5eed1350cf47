/*
 * broken_plugin.c - allocators that are wrong on purpose: what `run` must survive and name. They bump an address.
 */
#include <signal.h>
#include <stdlib.h>

#include "allocators/allocator.h"

struct broken {
	struct kml_heap heap;
	uint64_t cursor, live_bytes, allocations;
};

extern const struct kml_allocator *const kml_plugin_allocators[];

static struct broken *of(const struct kml_heap *heap)
{
	return (struct broken *)(uintptr_t)heap;
}

static struct kml_heap *create(const struct kml_environment *environment, const struct kml_allocator *allocator)
{
	struct broken *broken = calloc(1, sizeof *broken);
	(void)environment;
	if (broken)
		broken->heap.allocator = allocator;
	return &broken->heap;
}

static void destroy(struct kml_heap *heap)
{
	free(of(heap));
}

static struct kml_grant bump(struct kml_heap *heap, const struct kml_request *request)
{
	struct broken *broken = of(heap);
	uint64_t align = request->align_bytes > 1 ? request->align_bytes : 1;
	uint64_t address = (broken->cursor + align - 1) & ~(align - 1);
	broken->cursor = address + request->size_bytes;
	broken->live_bytes += request->size_bytes;
	broken->allocations++;
	return (struct kml_grant){KML_OK, address, request->size_bytes};
}

static struct kml_grant crash(struct kml_heap *heap, const struct kml_request *request)
{
	if (of(heap)->allocations == 10)
		raise(SIGKILL); /* what no sanitizer turns into something else */
	return bump(heap, request);
}

static struct kml_grant refuse(struct kml_heap *heap, const struct kml_request *request)
{
	(void)heap;
	(void)request;
	return (struct kml_grant){KML_NO_MEMORY, KML_NO_ADDRESS, 0};
}

static enum kml_status obey(struct kml_heap *heap, const struct kml_release *release)
{
	(void)heap;
	(void)release;
	return KML_OK;
}

static uint64_t usable(const struct kml_heap *heap, uint64_t address)
{
	(void)heap;
	(void)address;
	return 0;
}

/* Never counts what was freed. */
static void stats(const struct kml_heap *heap, struct kml_stats *figures)
{
	*figures = (struct kml_stats){.granted_bytes = of(heap)->live_bytes, .held_bytes = of(heap)->live_bytes};
}

static uint32_t free_areas(const struct kml_heap *heap, struct kml_free_area *areas)
{
	(void)heap;
	(void)areas;
	return 0;
}

static void walk(const struct kml_heap *heap, kml_visit *visit, void *context)
{
	(void)heap;
	(void)visit;
	(void)context;
}

static bool validate(const struct kml_heap *heap, struct kml_error *error)
{
	(void)heap;
	(void)error;
	return true;
}

/* NOLINTBEGIN(bugprone-macro-parentheses): NAME is declared, ALLOC initialises. */
#define BROKEN(NAME, ALLOC)                                                                                            \
	static const struct kml_allocator NAME;                                                                        \
	static struct kml_heap *create_##NAME(const struct kml_environment *environment, const void *config,           \
					      struct kml_error *error)                                                 \
	{                                                                                                              \
		(void)config;                                                                                          \
		(void)error;                                                                                           \
		return create(environment, &NAME);                                                                     \
	}                                                                                                              \
	static const struct kml_allocator NAME = {.abi_version = KML_ABI_VERSION,                                      \
						  .name = #NAME,                                                       \
						  .title = "Broken",                                                   \
						  .citation = "none",                                                  \
						  .summary = "wrong on purpose",                                       \
						  .layer = KML_LAYER_PAGES,                                            \
						  .create = create_##NAME,                                             \
						  .destroy = destroy,                                                  \
						  .alloc = ALLOC,                                                      \
						  .free = obey,                                                        \
						  .usable = usable,                                                    \
						  .stats = stats,                                                      \
						  .free_areas = free_areas,                                            \
						  .walk = walk,                                                        \
						  .validate = validate}
/* NOLINTEND(bugprone-macro-parentheses) */

BROKEN(crasher, crash);
BROKEN(refuser, refuse);
BROKEN(liar, bump);

const struct kml_allocator *const kml_plugin_allocators[] = {&crasher, &refuser, &liar, NULL};
