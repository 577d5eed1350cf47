/*
 * write.c - resolved lifetimes to the .kmt: warm objects first, then everything in its order, with dense ids.
 *
 * Ids come from a stack of freed ones, so the latest freed is the next used: the working set of a replay is as small as
 * can be, and ids are below the largest number of lifetimes alive at once. The id of an object whose memory RCU gives
 * back later is kept until then.
 */
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/progress.h"
#include "traces/import/internal.h"
#include "traces/import/series.h"

enum { PROGRESS_EVENTS = 4096 };

struct writing {
	struct import *import;
	struct kmt_writer *writer;
	uint32_t *id_of; /* by lifetime */
	IMPORT_VECTOR(uint32_t) free_ids;
	uint32_t ids;
	uint32_t snapshots_done;
	uint64_t time_ns;
};

static bool take_id(struct writing *writing, uint32_t lifetime, struct kml_error *error)
{
	if (writing->free_ids.count > 0) {
		writing->id_of[lifetime] = writing->free_ids.items[--writing->free_ids.count];
		return true;
	}
	if (writing->ids >= KMT_OBJECTS_MAX)
		return kml_fail(error, "more than %u objects live at once; split the trace", KMT_OBJECTS_MAX);
	writing->id_of[lifetime] = writing->ids++;
	return true;
}

static bool give_id(struct writing *writing, uint32_t lifetime, struct kml_error *error)
{
	if (!import_reserve(&writing->free_ids, error))
		return false;
	writing->free_ids.items[writing->free_ids.count++] = writing->id_of[lifetime];
	return true;
}

/* By address, those without last: as the kernel's slabs hold them. */
static int by_address(const void *left, const void *right)
{
	const struct lifetime *a = *(const struct lifetime *const *)left, *b = *(const struct lifetime *const *)right;

	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	return a < b ? -1 : a > b;
}

static struct kmt_event event_of(const struct lifetime *lifetime, enum kmt_op op)
{
	return (struct kmt_event){
		.address = lifetime->address,
		.size_bytes = lifetime->size_bytes,
		.granted_bytes = lifetime->granted_bytes,
		/* Page demand has no cache; pages of the slab allocator tell whose slab they are. */
		.cache = lifetime->is_page && !(lifetime->flags & KMT_SLAB_PAGE) ? KMT_NO_CACHE : lifetime->cache,
		.flags = lifetime->flags,
		.op = (uint8_t)op,
		.order = lifetime->order,
		.align_log2 = lifetime->align_log2,
	};
}

struct kmt_event import_counted_alloc(const struct import *import, uint16_t cache)
{
	const struct kmt_cache *known = &import->caches.items[cache];
	bool is_kmalloc = (known->flags & KMT_CACHE_KMALLOC) != 0;

	return (struct kmt_event){
		.address = KMT_NO_ADDRESS,
		.size_bytes = known->object_bytes == 0 ? IMPORT_UNKNOWN_OBJECT_BYTES : known->object_bytes,
		.granted_bytes = known->slot_bytes,
		.cache = cache,
		.flags = (uint16_t)(KML_CONTIGUOUS | (is_kmalloc ? KML_KMALLOC : 0)),
		.op = KMT_ALLOC,
	};
}

/* They live to the end, so their ids are never given back. */
static bool write_unseen(struct writing *writing, uint16_t cache, uint64_t count, struct kml_error *error)
{
	struct kmt_event event = import_counted_alloc(writing->import, cache);

	event.flags |= KMT_WARM;
	if (count > KMT_OBJECTS_MAX - writing->ids)
		return kml_fail(error, "more than %u objects live at once; split the trace", KMT_OBJECTS_MAX);
	for (uint64_t i = 0; i < count; i++) {
		event.object = writing->ids++;
		if (!kmt_write_event(writing->writer, &event, error))
			return false;
	}
	return true;
}

static bool write_warm(struct writing *writing, struct kml_error *error)
{
	struct import *import = writing->import;
	uint32_t count = import->warm.count;
	const struct lifetime **sorted = malloc((count + 1u) * sizeof(struct lifetime *));
	bool done = true;

	if (sorted == NULL)
		return kml_fail(error, "out of memory");
	for (uint32_t i = 0; i < count; i++)
		sorted[i] = &import->lifetimes.items[import->warm.items[i]];
	qsort(sorted, count, sizeof(struct lifetime *), by_address);
	for (uint32_t i = 0; done && i < count; i++) {
		uint32_t index = (uint32_t)(sorted[i] - import->lifetimes.items);
		struct kmt_event event = event_of(sorted[i], sorted[i]->is_page ? KMT_PAGE_ALLOC : KMT_ALLOC);
		done = take_id(writing, index, error);
		event.object = writing->id_of[index];
		done = done && kmt_write_event(writing->writer, &event, error);
	}
	free(sorted);
	for (uint32_t i = 0; done && i < import->caches.count; i++)
		done = write_unseen(writing, (uint16_t)i, import->unseen[i], error);
	return done;
}

bool import_write_snapshot(const struct import *import, struct kmt_writer *writer, const struct stored_snapshot *stored,
			   struct kml_error *error)
{
	uint64_t start_ns = import->origin.start_ns;
	struct kmt_snapshot snapshot = {
		.kind = stored->kind,
		.time_ns = stored->time_ns > start_ns ? stored->time_ns - start_ns : 0,
		.label = stored->label,
		.text = stored->text,
		.text_bytes = stored->text_bytes,
	};

	return kmt_write_snapshot(writer, &snapshot, error);
}

static bool write_snapshots(struct writing *writing, uint32_t before_event, struct kml_error *error)
{
	const struct import *import = writing->import;

	for (; writing->snapshots_done < import->snapshots.count; writing->snapshots_done++) {
		const struct stored_snapshot *stored = &import->snapshots.items[writing->snapshots_done];
		if (stored->event > before_event)
			return true;
		if (!import_write_snapshot(import, writing->writer, stored, error))
			return false;
	}
	return true;
}

static bool write_mark(struct writing *writing, const struct stored_event *raw, struct kmt_event *event,
		       struct kml_error *error)
{
	const char *text = raw->name == IMPORT_NONE ? "" : writing->import->names.items[raw->name];
	struct kmt_snapshot snapshot = {.kind = KMT_SNAPSHOT_MARK,
					.time_ns = event->time_ns,
					.label = "",
					.text = text,
					.text_bytes = strlen(text)};

	return kmt_write_event(writing->writer, event, error) && kmt_write_snapshot(writing->writer, &snapshot, error);
}

/* Each cache by itself, as sysfs does it: the page allocator's lists stay as they are. */
static bool write_shrinks(struct writing *writing, struct kmt_event *event, struct kml_error *error)
{
	for (uint32_t i = 0; i < writing->import->caches.count; i++) {
		event->cache = (uint16_t)i;
		if (!kmt_write_event(writing->writer, event, error))
			return false;
	}
	return true;
}

/* Events without an object: marks, shrinks and drains. */
static bool write_plain(struct writing *writing, const struct action *action, const struct stored_event *raw,
			struct kml_error *error)
{
	struct kmt_event event = {.time_ns = writing->time_ns,
				  .address = KMT_NO_ADDRESS,
				  .cache = KMT_NO_CACHE,
				  .cpu = raw->cpu,
				  .op = action->op};

	if (action->op == KMT_MARK)
		return write_mark(writing, raw, &event, error);
	if (action->op == KMT_SHRINK)
		return write_shrinks(writing, &event, error);
	event.size_bytes = raw->bytes_requested;
	event.granted_bytes = raw->bytes_allocated;
	event.order = raw->order;
	if (import_names_a_cache(writing->import, raw->name) &&
	    !import_cache_named(writing->import, raw->name, &event.cache, error))
		return false;
	return kmt_write_event(writing->writer, &event, error);
}

static bool write_action(struct writing *writing, const struct action *action, struct kml_error *error)
{
	struct import *import = writing->import;
	const struct stored_event *raw = &import->events.items[action->event];

	writing->time_ns = raw->time_ns - import->origin.start_ns;
	if (action->lifetime == IMPORT_NONE)
		return write_plain(writing, action, raw, error);
	const struct lifetime *lifetime = &import->lifetimes.items[action->lifetime];
	if (lifetime->dropped)
		return true;
	bool begins = action->op == KMT_ALLOC || action->op == KMT_PAGE_ALLOC;
	if (begins && !take_id(writing, action->lifetime, error))
		return false;
	struct kmt_event event = event_of(lifetime, (enum kmt_op)action->op);
	event.time_ns = writing->time_ns;
	event.cpu = raw->cpu;
	event.object = action->op == KMT_PAGE_ADD ? 0 : writing->id_of[action->lifetime];
	event.flags |= action->implicit ? KMT_IMPLICIT : 0;
	import_count(import, KMT_QUIRK_SLAB_PAGES, lifetime->is_page && (lifetime->flags & KMT_SLAB_PAGE) != 0);
	bool ends = action->op == KMT_RCU_FREE || action->op == KMT_PAGE_FREE ||
		    (action->op == KMT_FREE && !lifetime->rcu_delayed);
	return kmt_write_event(writing->writer, &event, error) && (!ends || give_id(writing, action->lifetime, error));
}

static bool write_stream(struct writing *writing, struct kml_error *error)
{
	struct import *import = writing->import;

	struct kml_progress progress = {0};
	bool done = write_warm(writing, error);

	if (!import->options.quiet)
		kml_progress_start(&progress, "writing", "events", import->actions.count);
	for (uint32_t i = 0; done && i < import->actions.count; i++) {
		const struct action *action = &import->actions.items[i];
		done = write_snapshots(writing, action->event, error) && write_action(writing, action, error);
		if (i % PROGRESS_EVENTS == 0)
			kml_progress_update(&progress, i);
	}
	if (!import->options.quiet)
		kml_progress_finish(&progress);
	return done && write_snapshots(writing, UINT32_MAX, error);
}

/* Everything that import_resolve() found. */
static bool write_resolved(struct import *import, struct kmt_writer *writer, struct kml_error *error)
{
	struct writing writing = {.import = import, .writer = writer};

	KML_CHECK(import->unseen != NULL, "import_warm_unseen was not run");
	writing.id_of = malloc((import->lifetimes.count + 1u) * sizeof(*writing.id_of));
	if (writing.id_of == NULL)
		return kml_fail(error, "out of memory");
	bool done = write_stream(&writing, error);
	free(writing.id_of);
	free(writing.free_ids.items);
	return done;
}

bool import_write_kmt(struct import *import, const char *path, struct kml_error *error)
{
	if (import->events.count > 0)
		import->origin.start_ns = import->events.items[0].time_ns;
	else if (import->snapshots.count > 0)
		import->origin.start_ns = import->snapshots.items[0].time_ns;
	struct kmt_writer *writer =
		kmt_create(path, &import->origin, import->caches.items, import->caches.count, error);
	if (writer == NULL)
		return false;
	if (import->series != NULL ? series_write(import, writer, error) : write_resolved(import, writer, error))
		return kmt_finish(writer, &import->totals, error);
	kmt_abandon(writer);
	return false;
}
