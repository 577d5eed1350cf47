/* trace_line.c - see trace_line.h. The scanner reads bytes by hand: 2.2 million lines take about a second. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "kmemlab/support/planted.h"
#include "traces/import/scan.h"
#include "traces/import/trace_line.h"

#define PTR_HIDDEN "(____ptrval____)"

static const char *const field_names[TRACE_FIELDS] = {"call_site",   "ptr",  "bytes_req", "bytes_alloc", "gfp_flags",
						      "accounted",   "name", "page",      "pfn",         "order",
						      "migratetype", "kind", "avail",     "tofree"};

/* What an event needs of them, and what it is. */
struct shape {
	const char *event;
	enum raw_kind kind;
	uint32_t needs; /* bits of enum trace_field */
};
#define NEED(field) (1u << TRACE_FIELD_##field)
#define NEED_OBJECT (NEED(PTR) | NEED(BYTES_REQ) | NEED(BYTES_ALLOC))
#define NEED_PAGES (NEED(PFN) | NEED(ORDER))

static const struct shape shapes[] = {
	{"kmem_cache_alloc", RAW_CACHE_ALLOC, NEED_OBJECT},
	{"kmem_cache_free", RAW_CACHE_FREE, NEED(PTR)},
	{"kmalloc", RAW_KMALLOC, NEED_OBJECT},
	{"kfree", RAW_KFREE, NEED(PTR)},
	{"mm_page_alloc", RAW_PAGE_ALLOC, NEED_PAGES},
	{"mm_page_free", RAW_PAGE_FREE, NEED_PAGES},
	{"kmem_cache_alloc_node", RAW_CACHE_ALLOC, NEED_OBJECT},
	{"kmalloc_node", RAW_KMALLOC, NEED_OBJECT},
	{"mm_page_free_direct", RAW_PAGE_FREE, NEED_PAGES}, /* until 3.3 */
	{"mm_page_free_batched", RAW_PAGE_FREE_BATCHED, 0},
	{"mm_pagevec_free", RAW_PAGE_FREE_BATCHED, 0}, /* until 3.3 */
	{"slab_page_alloc", RAW_SLAB_PAGE_ALLOC, NEED_PAGES},
	{"slab_page_free", RAW_SLAB_PAGE_FREE, NEED_PAGES},
	{"slab_drain", RAW_SLAB_DRAIN, NEED(KIND)},
	{"slob_rcu_free", RAW_SLOB_RCU_FREE, NEED(PTR)},
	{"gt_mark", RAW_MARK, NEED(NAME)},
	{"mm_page_alloc_extfrag", RAW_OTHER, 0},
	{"mm_page_alloc_zone_locked", RAW_OTHER, 0},
	{"mm_page_pcpu_drain", RAW_OTHER, 0},
	{"mm_alloc_contig_migrate_range_info", RAW_OTHER, 0},
	{"rss_stat", RAW_OTHER, 0},
};

/* ----------------------------------------------------------------------------------------------- numbers */

/* A page frame number: 0x123 since 5.13, decimal before (include/trace/events/kmem.h). */
static bool parse_pfn(const char *text, uint64_t *value)
{
	return text[0] == '0' && text[1] == 'x' ? parse_hex(text, value) : parse_decimal(text, value);
}

/* "5356.840035:" in seconds, with 6 or 9 digits; "5356840035:" of a clock without seconds. NULL when it is none. */
static const char *scan_time(const char *text, uint64_t *time_ns)
{
	uint64_t seconds, fraction = 0, unit = 1000000000;

	text = scan_decimal(text, &seconds);
	if (text == NULL)
		return NULL;
	if (*text == ':') {
		*time_ns = seconds;
		return text + 1;
	}
	if (*text++ != '.' || seconds > UINT64_MAX / 1000000000 - 1)
		return NULL;
	for (; isdigit((unsigned char)*text) && unit > 1; text++) {
		unit /= 10;
		fraction += (uint64_t)(*text - '0') * unit;
	}
	if (*text != ':' || unit == 1000000000)
		return NULL;
	*time_ns = seconds * 1000000000 + fraction;
	return text + 1;
}

/* ----------------------------------------------------------------------------------------- head of a line */

static const char *skip_blanks(const char *text)
{
	while (*text == ' ' || *text == '\t')
		text++;
	return text;
}

/* ftrace's flags ("d.h1." or so): the third tells what runs (kernel/trace/trace_output.c: trace_print_lat_fmt). */
static uint8_t interrupt_depth(const char *flags, size_t length)
{
	if (length < 3 || flags[2] == '.')
		return 0;
	return flags[2] == 's' ? 1 : 2;
}

/* After "[CPU]": flags or not, the time, the event's name. The event's name is cut out; NULL when this is no such. */
static char *scan_after_cpu(char *text, struct raw_event *event, char **event_name)
{
	uint64_t *time_ns = &event->time_ns;
	const char *at = skip_blanks(text);
	const char *end = scan_time(at, time_ns);

	event->depth = 0;
	if (end == NULL) {
		const char *flags = at;
		while (*at != '\0' && *at != ' ')
			at++;
		event->depth = interrupt_depth(flags, (size_t)(at - flags));
		end = scan_time(skip_blanks(at), time_ns);
	}
	if (end == NULL)
		return NULL;
	char *name = text + (skip_blanks(end) - text);
	/* perf script may print the sample's period first. */
	uint64_t ignored;
	const char *after = scan_decimal(name, &ignored);
	if (after != NULL && *after == ' ')
		name += skip_blanks(after) - name;
	if (strncmp(name, "kmem:", 5) == 0)
		name += 5;
	char *name_end = name;
	while (isalnum((unsigned char)*name_end) || *name_end == '_')
		name_end++;
	if (name_end == name || *name_end != ':')
		return NULL;
	*name_end = '\0';
	*event_name = name;
	return name + (skip_blanks(name_end + 1) - name);
}

/* A task's name may hold brackets, so the first "[digits]" after which the line goes on as it must is the cpu. */
static char *scan_head(char *line, uint64_t *cpu, struct raw_event *event, char **event_name)
{
	for (char *bracket = strchr(line, '['); bracket != NULL; bracket = strchr(bracket + 1, '[')) {
		const char *end = scan_decimal(bracket + 1, cpu);
		if (end == NULL || end[0] != ']' || end[1] != ' ')
			continue;
		char *fields = scan_after_cpu(bracket + (end + 1 - bracket), event, event_name);
		if (fields == NULL)
			continue;
		event->task = (uint8_t)XXH3_64bits(line, (size_t)(bracket - line));
		return fields;
	}
	return NULL;
}

/* ------------------------------------------------------------------------------------------------- fields */

int trace_field_find(const char *key, size_t length)
{
	for (int i = 0; i < TRACE_FIELDS + KML_PLANTED(trace_field_past_table); i++) {
		if (field_names[i][0] == key[0] && strncmp(field_names[i], key, length) == 0 &&
		    field_names[i][length] == '\0')
			return i;
	}
	return -1;
}

/* "key=value key=value", cut up in place. A word without '=' belongs to the value before it (names with blanks). */
static void split_fields(char *text, char *values[TRACE_FIELDS])
{
	int field = -1;
	char *value_end = NULL;

	memset(values, 0, TRACE_FIELDS * sizeof(values[0]));
	while (*text != '\0') {
		char *word = text;
		char *equals = NULL;
		for (; *text != '\0' && *text != ' '; text++) {
			if (*text == '=' && equals == NULL)
				equals = text;
		}
		if (equals != NULL) {
			if (field >= 0)
				*value_end = '\0';
			field = trace_field_find(word, (size_t)(equals - word));
			if (field >= 0 && values[field] == NULL)
				values[field] = equals + 1;
			else
				field = -1;
			value_end = text;
		} else if (field == TRACE_FIELD_NAME && text > word) {
			value_end = text;
		}
		while (*text == ' ')
			text++;
	}
	if (field >= 0)
		*value_end = '\0';
}

static enum trace_line_status malformed(struct trace_line_parser *parser, const char *problem)
{
	parser->problem = problem;
	return TRACE_LINE_MALFORMED;
}

static uint32_t gfp_of(struct trace_line_parser *parser, const char *text)
{
	uint64_t key = XXH3_64bits(text, strlen(text));
	uint32_t known = kml_hashmap_get(&parser->gfp_of, key);

	if (known != KML_HASHMAP_NONE)
		return known;
	uint32_t gfp = raw_gfp_parse(text);
	kml_hashmap_set(&parser->gfp_of, key, gfp); /* without memory for it, it is parsed again */
	return gfp;
}

static bool read_pointer(struct trace_line_parser *parser, const char *text, uint64_t *pointer)
{
	if (strcmp(text, "(null)") == 0 || strcmp(text, "(nil)") == 0) {
		*pointer = 0;
		return true;
	}
	if (strcmp(text, PTR_HIDDEN) == 0) {
		parser->hidden_pointers++;
		return false;
	}
	if (!parse_hex(text, pointer))
		return false;
	bool wide = strlen(text) == 16 || (text[1] == 'x' && strlen(text) == 18);
	parser->hashed_pointers += wide && *pointer > 0xffff && *pointer >> 32 == 0;
	return true;
}

/* printk's word, or the number that CTF has. */
static bool is_true(const char *text)
{
	return strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
}

static enum trace_line_status parse_object(struct trace_line_parser *parser, char *const values[TRACE_FIELDS],
					   struct raw_event *event)
{
	if (!read_pointer(parser, values[TRACE_FIELD_PTR], &event->pointer))
		return malformed(parser, "ptr is no address");
	if (values[TRACE_FIELD_BYTES_REQ] != NULL &&
	    !parse_decimal(values[TRACE_FIELD_BYTES_REQ], &event->bytes_requested))
		return malformed(parser, "bytes_req is no number");
	if (values[TRACE_FIELD_BYTES_ALLOC] != NULL &&
	    !parse_decimal(values[TRACE_FIELD_BYTES_ALLOC], &event->bytes_allocated))
		return malformed(parser, "bytes_alloc is no number");
	/* 2^47 bytes: beyond what any kernel maps. */
	if (event->bytes_requested >> 47 != 0 || event->bytes_allocated >> 47 != 0)
		return malformed(parser, "a size beyond 128 TiB");
	const char *site = values[TRACE_FIELD_CALL_SITE];
	if (site != NULL && !parse_hex(site, &event->call_site))
		event->call_site = XXH3_64bits(site, strlen(site));
	event->accounted = values[TRACE_FIELD_ACCOUNTED] != NULL && is_true(values[TRACE_FIELD_ACCOUNTED]);
	return TRACE_LINE_EVENT;
}

static enum trace_line_status parse_pages(struct trace_line_parser *parser, char *const values[TRACE_FIELDS],
					  struct raw_event *event)
{
	uint64_t page = 1, order, migrate_type;

	/* A failed allocation: page=(null), page=0000000000000000, or pfn=-1. */
	if (values[TRACE_FIELD_PAGE] != NULL && (strcmp(values[TRACE_FIELD_PAGE], "(null)") == 0 ||
						 (parse_hex(values[TRACE_FIELD_PAGE], &page) && page == 0)))
		return TRACE_LINE_IGNORED;
	if (!parse_pfn(values[TRACE_FIELD_PFN], &event->pfn))
		return malformed(parser, "pfn is no number");
	if (event->pfn == UINT64_MAX)
		return TRACE_LINE_IGNORED;
	if (!parse_decimal(values[TRACE_FIELD_ORDER], &order) || order > UINT8_MAX)
		return malformed(parser, "order is no number");
	event->order = (uint16_t)order;
	if (values[TRACE_FIELD_MIGRATETYPE] != NULL && parse_decimal(values[TRACE_FIELD_MIGRATETYPE], &migrate_type) &&
	    migrate_type < 64)
		event->migrate_type = (int32_t)migrate_type;
	return TRACE_LINE_EVENT;
}

static enum trace_line_status parse_drain(struct trace_line_parser *parser, char *const values[TRACE_FIELDS],
					  struct raw_event *event)
{
	static const char *const kinds[KMT_REAP_KINDS] = {"reap_begin", "reap_end", "cpu",
							  "shared",     "freelist", "tune"};
	uint64_t available = 0, to_free = 0;

	for (event->order = 0; event->order < KMT_REAP_KINDS; event->order++) {
		if (strcmp(values[TRACE_FIELD_KIND], kinds[event->order]) == 0)
			break;
	}
	if (event->order == KMT_REAP_KINDS)
		return malformed(parser, "slab_drain of an unknown kind");
	if (values[TRACE_FIELD_AVAIL] != NULL)
		parse_decimal(values[TRACE_FIELD_AVAIL], &available);
	if (values[TRACE_FIELD_TOFREE] != NULL)
		parse_decimal(values[TRACE_FIELD_TOFREE], &to_free);
	bool objects = event->order == KMT_REAP_CPU || event->order == KMT_REAP_SHARED;
	event->bytes_requested = objects ? to_free : available;
	event->bytes_allocated = objects ? available : to_free;
	return TRACE_LINE_EVENT;
}

static enum trace_line_status parse_fields(struct trace_line_parser *parser, const struct shape *shape,
					   char *const values[TRACE_FIELDS], struct raw_event *event)
{
	for (int i = 0; i < (KML_PLANTED(trace_needs_unchecked) ? TRACE_FIELD_PFN : TRACE_FIELDS); i++) {
		if ((shape->needs & 1u << i) != 0 && values[i] == NULL)
			return malformed(parser, "a field the event needs is missing");
	}
	event->kind = shape->kind;
	event->name = values[TRACE_FIELD_NAME];
	if (values[TRACE_FIELD_GFP] != NULL)
		event->gfp = gfp_of(parser, values[TRACE_FIELD_GFP]);
	switch (shape->kind) {
	case RAW_MARK:
		/* Ticks that tie time to the stream: no phase begins. */
		event->kind = strcmp(event->name, "TIME_US") == 0 ? RAW_OTHER : RAW_MARK;
		return TRACE_LINE_EVENT;
	case RAW_SLAB_DRAIN:
		return parse_drain(parser, values, event);
	case RAW_PAGE_ALLOC:
	case RAW_PAGE_FREE:
	case RAW_SLAB_PAGE_ALLOC:
	case RAW_SLAB_PAGE_FREE:
		return parse_pages(parser, values, event);
	case RAW_OTHER:
	case RAW_PAGE_FREE_BATCHED:
		return TRACE_LINE_EVENT;
	default:
		return parse_object(parser, values, event);
	}
}

static const struct shape *find_shape(const char *event_name)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		if (strcmp(event_name, shapes[i].event) == 0)
			return &shapes[i];
	}
	return NULL;
}

enum trace_line_status trace_event_parse(struct trace_line_parser *parser, const char *event_name,
					 char *const values[TRACE_FIELDS], struct raw_event *event)
{
	const struct shape *shape = find_shape(event_name);

	return shape == NULL ? TRACE_LINE_UNKNOWN : parse_fields(parser, shape, values, event);
}

enum trace_line_status trace_line_parse(struct trace_line_parser *parser, char *line, struct raw_event *event)
{
	char *event_name, *values[TRACE_FIELDS];
	uint64_t cpu = 0;

	*event = (struct raw_event)RAW_EVENT_INIT;
	char *fields = scan_head(line, &cpu, event, &event_name);
	if (fields == NULL)
		return TRACE_LINE_UNKNOWN;
	if (cpu >= KMT_CPUS_MAX)
		return malformed(parser, "an absurd cpu number");
	event->cpu = (uint16_t)cpu;
	parser->early_lines += strncmp(skip_blanks(line), "<early>-", 8) == 0;
	if (strcmp(event_name, "tracing_mark_write") == 0 || strcmp(event_name, "print") == 0) {
		event->kind = RAW_MARK;
		event->name = fields;
		return TRACE_LINE_EVENT;
	}
	const struct shape *shape = find_shape(event_name);
	if (shape == NULL)
		return TRACE_LINE_UNKNOWN;
	split_fields(fields, values);
	return parse_fields(parser, shape, values, event);
}

void trace_line_parser_free(struct trace_line_parser *parser)
{
	kml_hashmap_free(&parser->gfp_of);
}
