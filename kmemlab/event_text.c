/* event_text.c - see event_text.h. */
#include "kmemlab/event_text.h"

#include <inttypes.h>

#include "workloads/cell.h"

static const char *const flag_names[EVENT_FLAG_BITS] = {
	"movable", "reclaimable", "atomic", "zeroed",   "contiguous", "pages",     "kmalloc",
	"dma",     "slab_page",   "warm",   "implicit", "large",      "accounted", "vmalloc",
};
_Static_assert(KML_DMA == 1 << 7 && KMT_SLAB_PAGE == 1 << 8 && KMT_VMALLOC == 1 << 13, "the names are in this order");

const char *event_flag_name(unsigned bit)
{
	return bit < EVENT_FLAG_BITS ? flag_names[bit] : "";
}

void event_print_flags(FILE *to, unsigned flags)
{
	const char *separator = "";

	for (unsigned bit = 0; bit < EVENT_FLAG_BITS; bit++) {
		if (!(flags >> bit & 1))
			continue;
		fprintf(to, "%s%s", separator, flag_names[bit]);
		separator = "|";
	}
}

void event_print_csv_heading(FILE *to)
{
	fputs("event,time_ns,cpu,op,object,size_bytes,granted_bytes,address,order,align_log2,cache,flags\n", to);
}

void event_print_csv(FILE *to, const struct kmt_reader *reader, const struct kmt_event *event, uint64_t number)
{
	uint32_t cache_count;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &cache_count);

	fprintf(to, "%" PRIu64 ",%" PRIu64 ",%u,%s,", number, event->time_ns, event->cpu, kmt_op_name(event->op));
	if (kmt_op_has_object(event->op))
		fprintf(to, "%u", event->object);
	fprintf(to, ",%" PRIu64 ",%" PRIu64 ",", event->size_bytes, event->granted_bytes);
	if (event->address != KMT_NO_ADDRESS)
		fprintf(to, "%" PRIu64, event->address);
	fprintf(to, ",%u,%u,", event->order, event->align_log2);
	if (event->cache < cache_count)
		cell_write_text(caches[event->cache].name, to);
	putc(',', to);
	event_print_flags(to, event->flags);
	putc('\n', to);
}
