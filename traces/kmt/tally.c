/*
 * tally.c - what every event of a .kmt obeys, and the totals: the same code for the writer and the reader.
 */
#include "kmemlab/support/error.h"
#include "traces/kmt/model.h"

static const uint16_t flags_known =
	0xff | KMT_SLAB_PAGE | KMT_WARM | KMT_IMPLICIT | KMT_LARGE | KMT_ACCOUNTED | KMT_VMALLOC;

bool kmt_op_has_object(uint8_t op)
{
	return op == KMT_ALLOC || op == KMT_FREE || op == KMT_PAGE_ALLOC || op == KMT_PAGE_FREE || op == KMT_RCU_FREE ||
	       op == KMT_MISUSE;
}

static bool takes_memory(uint8_t op)
{
	return op == KMT_ALLOC || op == KMT_PAGE_ALLOC || op == KMT_PAGE_ADD;
}

static uint64_t add_saturating(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* One past the last recorded byte of what the event takes; 0 when it takes none or the address is unknown. */
static uint64_t end_address(const struct kmt_tally *tally, const struct kmt_event *event)
{
	if (!takes_memory(event->op) || event->address == KMT_NO_ADDRESS)
		return 0;
	uint64_t bytes = event->size_bytes > event->granted_bytes ? event->size_bytes : event->granted_bytes;
	if (event->op != KMT_ALLOC) {
		uint64_t page = tally->origin->page_bytes;
		uint64_t pages = event->order < __builtin_clzll(page) ? page << event->order : UINT64_MAX;
		bytes = bytes > pages ? bytes : pages;
	}
	return add_saturating(event->address, bytes);
}

/* What a fuzzer's own operations must say. */
static bool program_op_check(const struct kmt_event *event, struct kml_error *error)
{
	if (event->op == KMT_MISUSE && event->order >= KMT_MISUSE_KINDS)
		return kml_fail(error, "misuse of unknown kind %u: below %d is possible", event->order,
				KMT_MISUSE_KINDS);
	if (event->op == KMT_MISUSE && event->order == KMT_MISUSE_CACHE && event->cache == KMT_NO_CACHE)
		return kml_fail(error, "misuse of a wrong cache, but no cache is named");
	if (event->op == KMT_EXHAUST && event->order > 1)
		return kml_fail(error, "exhaust of order %u: 1 (take) or 0 (give back) is possible", event->order);
	return true;
}

bool kmt_event_check(const struct kmt_tally *tally, const struct kmt_event *event, struct kml_error *error)
{
	if (event->op >= KMT_OP_COUNT)
		return kml_fail(error, "unknown operation %u", event->op);
	if (event->time_ns < tally->time_ns)
		return kml_fail(
			error, "%s at %llu ns, before its predecessor at %llu ns: events must be in order of time",
			kmt_op_name(event->op), (unsigned long long)event->time_ns, (unsigned long long)tally->time_ns);
	if (event->cpu >= tally->origin->cpu_count)
		return kml_fail(error, "%s on cpu %u: the trace has %u cpus", kmt_op_name(event->op), event->cpu,
				tally->origin->cpu_count);
	if (event->cache != KMT_NO_CACHE && event->cache >= tally->cache_count)
		return kml_fail(error, "%s of cache %u: the trace has %u caches", kmt_op_name(event->op), event->cache,
				tally->cache_count);
	if (event->order > 63)
		return kml_fail(error, "%s of order %u: at most 63 is possible", kmt_op_name(event->op), event->order);
	if (event->align_log2 > 63)
		return kml_fail(error, "%s aligned to 2^%u: at most 2^63 is possible", kmt_op_name(event->op),
				event->align_log2);
	if (event->flags & ~flags_known)
		return kml_fail(error, "%s with unknown flags 0x%x", kmt_op_name(event->op), event->flags);
	if ((event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC) && event->size_bytes == 0)
		return kml_fail(error, "%s of 0 bytes: at least 1 is needed", kmt_op_name(event->op));
	if (event->op >= KMT_MISUSE && !program_op_check(event, error))
		return false;
	if (end_address(tally, event) == UINT64_MAX)
		return kml_fail(error, "%s at 0x%llx reaches beyond the end of memory", kmt_op_name(event->op),
				(unsigned long long)event->address);
	if (!kmt_op_has_object(event->op))
		return !event->object || kml_fail(error, "%s names object %u: it has none, so 0 is needed",
						  kmt_op_name(event->op), event->object);
	return kmt_id_check(tally, event->op, event->object, error);
}

bool kmt_id_check(const struct kmt_tally *tally, uint8_t op, uint64_t id, struct kml_error *error)
{
	if (id < KMT_OBJECTS_MAX && id < tally->totals.events + KMT_ID_SLACK)
		return true;
	return kml_fail(error, "%s of object %llu after only %llu events: ids must be dense", kmt_op_name(op),
			(unsigned long long)id, (unsigned long long)tally->totals.events);
}

void kmt_tally_count(struct kmt_tally *tally, const struct kmt_event *event)
{
	struct kmt_totals *totals = &tally->totals;
	totals->events++;
	totals->op_events[event->op]++;
	totals->warm_events += (event->flags & KMT_WARM) != 0;
	if (kmt_op_has_object(event->op) && event->object >= totals->objects)
		totals->objects = event->object + UINT64_C(1);
	if (event->time_ns > totals->duration_ns)
		totals->duration_ns = event->time_ns;
	uint64_t end = end_address(tally, event);
	if (end > totals->top_address)
		totals->top_address = end;
	tally->time_ns = event->time_ns;
}

bool kmt_tally_within(const struct kmt_tally *tally, struct kml_error *error)
{
	const struct kmt_totals *counted = &tally->totals, *stated = tally->stated;
	if (counted->events <= stated->events && counted->objects <= stated->objects &&
	    counted->duration_ns <= stated->duration_ns && counted->top_address <= stated->top_address &&
	    counted->snapshots <= stated->snapshots)
		return true;
	return kml_fail(error, "more events, ids, time, snapshots or memory than the footer states");
}
