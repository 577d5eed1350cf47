/*
 * tracepoint.c - binary kmem records to raw events; see tracepoint.h.
 *
 * libtraceevent reads the list of fields. It is not shown the `print fmt` line: all that is wanted from there is which
 * bit is called __GFP_ZERO and the like (the numbers differ from kernel to kernel), and that needs no expression
 * parser.
 *
 * Followed: include/trace/events/kmem.h and include/trace/events/mmflags.h of Linux 3.0 to 6.18.
 */
#include "traces/import/tracepoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"

enum {
	EVENTS_MAX = 32,
	FORMAT_BYTES_MAX = 64 << 10,
	NAME_BYTES_MAX = 256,
	COMMON_TYPE_BYTES = 2, /* every record begins with unsigned short common_type */
};

enum field_name {
	FIELD_CALL_SITE,
	FIELD_PTR,
	FIELD_NAME,
	FIELD_BYTES_REQ,
	FIELD_BYTES_ALLOC,
	FIELD_GFP_FLAGS,
	FIELD_ACCOUNTED,
	FIELD_PFN,
	FIELD_ORDER,
	FIELD_MIGRATETYPE,
	FIELD_NODE,
	FIELD_COUNT
};
static const char *const field_names[FIELD_COUNT] = {
	"call_site", "ptr", "name",  "bytes_req",   "bytes_alloc", "gfp_flags",
	"accounted", "pfn", "order", "migratetype", "node",
};

enum field_kind { FIELD_ABSENT, FIELD_NUMBER, FIELD_TEXT_INLINE, FIELD_TEXT_AT_OFFSET, FIELD_TEXT_AT_RELATIVE };
struct field {
	enum field_kind kind;
	uint32_t offset_bytes, size_bytes;
};

#define NEEDS(field) (1u << FIELD_##field)
static const struct {
	const char *name;
	enum raw_kind kind;
	uint32_t needs;
} known_events[] = {
	{"kmalloc", RAW_KMALLOC, NEEDS(PTR) | NEEDS(BYTES_REQ) | NEEDS(BYTES_ALLOC)},
	{"kmalloc_node", RAW_KMALLOC, NEEDS(PTR) | NEEDS(BYTES_REQ) | NEEDS(BYTES_ALLOC)},
	{"kfree", RAW_KFREE, NEEDS(PTR)},
	{"kmem_cache_alloc", RAW_CACHE_ALLOC, NEEDS(PTR) | NEEDS(BYTES_REQ) | NEEDS(BYTES_ALLOC)},
	{"kmem_cache_alloc_node", RAW_CACHE_ALLOC, NEEDS(PTR) | NEEDS(BYTES_REQ) | NEEDS(BYTES_ALLOC)},
	{"kmem_cache_free", RAW_CACHE_FREE, NEEDS(PTR)},
	{"mm_page_alloc", RAW_PAGE_ALLOC, NEEDS(PFN) | NEEDS(ORDER)},
	{"mm_page_free", RAW_PAGE_FREE, NEEDS(PFN) | NEEDS(ORDER)},
	{"mm_page_free_batched", RAW_PAGE_FREE_BATCHED, 0},
	{"mm_page_alloc_extfrag", RAW_OTHER, 0},
	{"mm_page_alloc_zone_locked", RAW_OTHER, 0},
	{"mm_page_pcpu_drain", RAW_OTHER, 0},
};

/* gfp_t bits by name; the first name found counts. __GFP_WAIT is what __GFP_DIRECT_RECLAIM was called before 4.4. */
enum gfp_bit { GFP_MAY_RECLAIM, GFP_ZERO, GFP_MOVABLE, GFP_RECLAIMABLE, GFP_DMA, GFP_ACCOUNT, GFP_BITS };
static const struct {
	enum gfp_bit bit;
	const char *quoted_name;
} gfp_names[] = {
	{GFP_MAY_RECLAIM, "\"__GFP_DIRECT_RECLAIM\""},
	{GFP_MAY_RECLAIM, "\"__GFP_WAIT\""},
	{GFP_MAY_RECLAIM, "\"GFP_WAIT\""},
	{GFP_ZERO, "\"__GFP_ZERO\""},
	{GFP_ZERO, "\"GFP_ZERO\""},
	{GFP_MOVABLE, "\"__GFP_MOVABLE\""},
	{GFP_MOVABLE, "\"GFP_MOVABLE\""},
	{GFP_RECLAIMABLE, "\"__GFP_RECLAIMABLE\""},
	{GFP_RECLAIMABLE, "\"GFP_RECLAIMABLE\""},
	{GFP_DMA, "\"__GFP_DMA\""},
	{GFP_DMA, "\"GFP_DMA\""},
	{GFP_ACCOUNT, "\"__GFP_ACCOUNT\""},
};

struct tracepoint {
	int id;
	enum raw_kind kind;
	struct field fields[FIELD_COUNT];
	uint64_t gfp_bits[GFP_BITS]; /* 0: this kernel does not say */
};

struct tracepoints {
	uint32_t count;
	int32_t last_node;
	struct tracepoint events[EVENTS_MAX];
	char name[NAME_BYTES_MAX];
};

struct tracepoints *tracepoints_create(void)
{
	return calloc(1, sizeof(struct tracepoints));
}

void tracepoints_destroy(struct tracepoints *tracepoints)
{
	free(tracepoints);
}

uint32_t tracepoints_count(const struct tracepoints *tracepoints)
{
	return tracepoints->count;
}

int32_t tracepoints_node(const struct tracepoints *tracepoints)
{
	return tracepoints->last_node;
}

/* ----------------------------------------------------------------------------------------- learning a format */

/*
 * The value before `quoted_name` in a table like {( unsigned long)(( gfp_t)((((1UL))) << (8))), "__GFP_ZERO"} or, of
 * older kernels, {(unsigned long)((gfp_t)0x8000u), "GFP_ZERO"}. 0 when absent or of another form.
 */
static uint64_t flag_value(const char *print_format, const char *quoted_name)
{
	const char *name = strstr(print_format, quoted_name);
	if (!name)
		return 0;
	const char *start = name;
	while (start > print_format && *start != '{')
		start--;
	const char *shift = strstr(start, "<<");
	if (shift && shift < name) {
		const char *digits = shift + 2 + strspn(shift + 2, " (");
		char *end;
		uint64_t bit = strtoul(digits, &end, 10);
		return end > digits && bit < 64 ? UINT64_C(1) << bit : 0;
	}
	const char *hexadecimal = strstr(start, "0x");
	return hexadecimal && hexadecimal < name ? strtoull(hexadecimal, NULL, 16) : 0;
}

static void learn_gfp_bits(struct tracepoint *tracepoint, const char *print_format)
{
	for (size_t i = 0; i < sizeof gfp_names / sizeof *gfp_names; i++) {
		uint64_t *bit = &tracepoint->gfp_bits[gfp_names[i].bit];
		if (*bit == 0)
			*bit = flag_value(print_format, gfp_names[i].quoted_name);
	}
}

/* The name in a declaration such as "const void * ptr", "__data_loc char[] name" or "char comm[16]", in place. */
static const char *declared_name(char *declaration)
{
	size_t length = strlen(declaration);
	char *bracket = strrchr(declaration, '[');
	if (bracket && declaration[length - 1] == ']')
		*bracket = '\0';
	size_t name = strlen(declaration);
	while (name > 0 && declaration[name - 1] != ' ' && declaration[name - 1] != '*')
		name--;
	return declaration + name;
}

static enum field_kind field_kind(const char *declaration, uint32_t size_bytes)
{
	if (strncmp(declaration, "__data_loc ", strlen("__data_loc ")) == 0)
		return size_bytes == 4 ? FIELD_TEXT_AT_OFFSET : FIELD_ABSENT;
	if (strncmp(declaration, "__rel_loc ", strlen("__rel_loc ")) == 0)
		return size_bytes == 4 ? FIELD_TEXT_AT_RELATIVE : FIELD_ABSENT;
	if (strchr(declaration, '['))
		return FIELD_TEXT_INLINE;
	return size_bytes == 1 || size_bytes == 2 || size_bytes == 4 || size_bytes == 8 ? FIELD_NUMBER : FIELD_ABSENT;
}

/* "	field:size_t bytes_req;	offset:24;	size:8;	signed:0;" Lines of another form are no fields of ours. */
static void learn_field(struct tracepoint *tracepoint, const char *line)
{
	char declaration[128];
	struct field field;
	if (sscanf(line, " field:%127[^;\n]; offset:%5" SCNu32 "; size:%5" SCNu32 ";", declaration, &field.offset_bytes,
		   &field.size_bytes) != 3)
		return;
	field.kind = field_kind(declaration, field.size_bytes);
	const char *field_name = declared_name(declaration);
	for (int name = 0; name < FIELD_COUNT; name++) {
		/* Linux 5.12 recorded the name of kmem_cache_free as a pointer: of no use outside that kernel. */
		bool is_text = field.kind != FIELD_NUMBER;
		if (strcmp(field_name, field_names[name]) == 0 && is_text == (name == FIELD_NAME))
			tracepoint->fields[name] = field;
	}
}

static bool learn(struct tracepoints *tracepoints, struct tracepoint *tracepoint, uint32_t needs, const char *format,
		  const char *print_format, struct kml_error *error)
{
	for (const char *line = format; line && line < print_format; line = strchr(line, '\n')) {
		line += *line == '\n';
		learn_field(tracepoint, line);
	}
	for (int name = 0; name < FIELD_COUNT; name++) {
		if ((needs & 1u << name) && tracepoint->fields[name].kind == FIELD_ABSENT)
			return kml_fail(error, "it has no usable field '%s'", field_names[name]);
	}
	if (tracepoints->count == EVENTS_MAX)
		return kml_fail(error, "there are more than %d kmem events", EVENTS_MAX);
	learn_gfp_bits(tracepoint, print_format);
	tracepoints->events[tracepoints->count++] = *tracepoint;
	return true;
}

/* name, ID, "format:", the fields, "print fmt:". */
static bool learn_text(struct tracepoints *tracepoints, const char *format, struct kml_error *error)
{
	char name[64];
	struct tracepoint tracepoint = {0};
	const char *print_format = strstr(format, "print fmt:");
	if (sscanf(format, "name: %63[A-Za-z0-9_] ID: %5d", name, &tracepoint.id) != 2 || tracepoint.id < 0 ||
	    !print_format)
		return kml_fail(error, "it does not look like a file events/SYSTEM/EVENT/format");
	for (size_t i = 0; i < sizeof known_events / sizeof *known_events; i++) {
		if (strcmp(name, known_events[i].name) != 0)
			continue;
		tracepoint.kind = known_events[i].kind;
		return learn(tracepoints, &tracepoint, known_events[i].needs, format, print_format, error);
	}
	return true;
}

bool tracepoints_add(struct tracepoints *tracepoints, const char *format, size_t format_bytes, struct kml_error *error)
{
	if (format_bytes == 0 || format_bytes > FORMAT_BYTES_MAX)
		return kml_fail(error, "it has %zu bytes, 1 to %d are believable", format_bytes, FORMAT_BYTES_MAX);
	char *text = strndup(format, format_bytes);
	if (!text)
		return kml_fail(error, "out of memory");
	bool ok = learn_text(tracepoints, text, error);
	free(text);
	return ok;
}

/* ----------------------------------------------------------------------------------------- decoding a record */

static bool read_number(const uint8_t *record, size_t record_bytes, const struct field *field, uint64_t *value)
{
	if (field->offset_bytes > record_bytes ||
	    (!KML_PLANTED(tracepoint_size_unchecked) && field->size_bytes > record_bytes - field->offset_bytes))
		return false;
	const uint8_t *at = record + field->offset_bytes;
	uint16_t half;
	uint32_t word;
	switch (field->size_bytes) {
	case 1:
		*value = *at;
		return true;
	case 2:
		memcpy(&half, at, sizeof half);
		*value = half;
		return true;
	case 4:
		memcpy(&word, at, sizeof word);
		*value = word;
		return true;
	default:
		memcpy(value, at, sizeof *value);
		return true;
	}
}

/* The text of a name field into the own buffer. False when it lies outside of the record or has no end. */
static bool read_name(struct tracepoints *tracepoints, const uint8_t *record, size_t record_bytes,
		      const struct field *field)
{
	size_t offset_bytes = field->offset_bytes;
	size_t size_bytes = field->size_bytes;
	if (field->kind != FIELD_TEXT_INLINE) {
		/* __data_loc: length << 16 | offset from the record's (or, relative, the field's) end. */
		struct field location = {FIELD_NUMBER, field->offset_bytes, 4};
		uint64_t value;
		if (!read_number(record, record_bytes, &location, &value))
			return false;
		size_bytes = value >> 16 & 0xffff;
		offset_bytes = value & 0xffff;
		if (field->kind == FIELD_TEXT_AT_RELATIVE)
			offset_bytes += field->offset_bytes + 4;
	}
	if (!KML_PLANTED(tracepoint_text_unchecked) &&
	    (offset_bytes > record_bytes || size_bytes > record_bytes - offset_bytes))
		return false;
	size_t length = strnlen((const char *)record + offset_bytes, size_bytes);
	if (length == size_bytes || length >= NAME_BYTES_MAX)
		return false;
	memcpy(tracepoints->name, record + offset_bytes, length);
	tracepoints->name[length] = '\0';
	return true;
}

static uint32_t gfp_of(const struct tracepoint *tracepoint, uint64_t flags)
{
	static const uint32_t raw_flags[GFP_BITS] = {
		[GFP_ZERO] = RAW_GFP_ZERO, [GFP_MOVABLE] = RAW_GFP_MOVABLE, [GFP_RECLAIMABLE] = RAW_GFP_RECLAIMABLE,
		[GFP_DMA] = RAW_GFP_DMA,   [GFP_ACCOUNT] = RAW_GFP_ACCOUNT,
	};
	uint32_t gfp = 0;
	for (int bit = 0; bit < GFP_BITS; bit++) {
		if (flags & tracepoint->gfp_bits[bit])
			gfp |= raw_flags[bit];
	}
	uint64_t may_reclaim = tracepoint->gfp_bits[GFP_MAY_RECLAIM];
	if (may_reclaim && !(flags & may_reclaim))
		gfp |= RAW_GFP_ATOMIC;
	return gfp;
}

static const struct tracepoint *find(const struct tracepoints *tracepoints, uint16_t id)
{
	for (uint32_t i = 0; i < tracepoints->count; i++) {
		if (tracepoints->events[i].id == id)
			return &tracepoints->events[i];
	}
	return NULL;
}

enum tracepoint_status tracepoints_decode(struct tracepoints *tracepoints, const void *record, size_t record_bytes,
					  struct raw_event *event)
{
	uint16_t id;
	if (record_bytes < COMMON_TYPE_BYTES)
		return TRACEPOINT_MALFORMED;
	memcpy(&id, record, sizeof id);
	const struct tracepoint *tracepoint = find(tracepoints, id);
	if (!tracepoint)
		return TRACEPOINT_UNKNOWN;

	uint64_t values[FIELD_COUNT] = {
		[FIELD_PFN] = UINT64_MAX, [FIELD_MIGRATETYPE] = UINT32_MAX, [FIELD_NODE] = UINT32_MAX};
	for (int name = 0; name < FIELD_COUNT; name++) {
		const struct field *field = &tracepoint->fields[name];
		if (field->kind == FIELD_NUMBER && !read_number(record, record_bytes, field, &values[name]))
			return TRACEPOINT_MALFORMED;
	}
	const struct field *name = &tracepoint->fields[FIELD_NAME];
	if (name->kind != FIELD_ABSENT && !read_name(tracepoints, record, record_bytes, name))
		return TRACEPOINT_MALFORMED;
	if (values[FIELD_ORDER] > UINT16_MAX)
		return TRACEPOINT_MALFORMED;

	tracepoints->last_node = (int32_t)(uint32_t)values[FIELD_NODE];
	event->kind = tracepoint->kind;
	event->pointer = values[FIELD_PTR];
	event->name = name->kind == FIELD_ABSENT ? NULL : tracepoints->name;
	event->call_site = values[FIELD_CALL_SITE];
	event->bytes_requested = values[FIELD_BYTES_REQ];
	event->bytes_allocated = values[FIELD_BYTES_ALLOC];
	event->gfp = gfp_of(tracepoint, values[FIELD_GFP_FLAGS]);
	event->accounted = values[FIELD_ACCOUNTED] != 0 || (event->gfp & RAW_GFP_ACCOUNT);
	event->pfn = values[FIELD_PFN];
	event->order = (uint16_t)values[FIELD_ORDER];
	event->migrate_type = (int32_t)(uint32_t)values[FIELD_MIGRATETYPE];
	/* mm_page_alloc records a failed allocation with pfn -1 (of 32 bits on 32-bit kernels). */
	bool failed = tracepoint->kind == RAW_PAGE_ALLOC &&
		      (event->pfn == UINT64_MAX ||
		       (tracepoint->fields[FIELD_PFN].size_bytes == 4 && event->pfn == UINT32_MAX));
	if (failed)
		event->kind = RAW_OTHER;
	return TRACEPOINT_EVENT;
}
