/*
 * babeltrace.c - the text that babeltrace2 makes of CTF traces (sink.text.pretty): kmem events as LTTng or
 * `perf data convert --to-ctf` name them, or the malloc calls of a program under liblttng-ust-libc-wrapper.
 *
 *   [10:41:11.301744702] (+0.000006194) HOST kmem_cache_alloc: { cpu_id = 0 }, { call_site = 0xF.., ptr = 0xF.., ... }
 *
 * Times may also be dates, seconds or clock cycles (--clock-date, --clock-seconds, --clock-cycles); times of day go on
 * into the next day. Fields are found by name, in whichever braces they are. LTTng's gfp_flags are bare numbers whose
 * bits differ from kernel to kernel: they are not interpreted.
 *
 * Processes are told apart by the context field vpid, where it was recorded: their pointers may be alike.
 *
 * Followed: lttng-modules include/instrumentation/events/kmem.h, lttng-ust liblttng-ust-libc-wrapper/ust_libc.h,
 * babeltrace2-plugin-sink.text.pretty(7).
 */
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/malloc_calls.h"
#include "traces/import/scan.h"
#include "traces/import/text_lines.h"

enum { PAIRS_MAX = 64 };
#define SECOND_NS 1000000000ull
#define DAY_NS (86400 * SECOND_NS)

static const char UST_PREFIX[] = "lttng_ust_libc:";

/* "key = value" of a line, cut up in place; texts without their quotes. */
struct pairs {
	struct {
		char *key, *value;
	} items[PAIRS_MAX];
	uint32_t count;
};

struct babeltrace {
	struct trace_line_parser parser;
	struct malloc_calls calls;
	uint64_t last_ns;           /* of the line before */
	uint64_t midnights_ns;      /* days that times of day went through */
	bool has_kernel, has_calls; /* which events were seen */
};

/* ------------------------------------------------------------------------------------------------- the head */

/* Days since 1970-01-01 of a date of the Gregorian calendar (from 1970 on). */
static uint64_t days_of(uint64_t year, uint64_t month, uint64_t day)
{
	/* Years that begin in March have their leap day at the end. */
	uint64_t years = month <= 2 ? year - 1 : year;
	uint64_t day_of_year = (153 * (month <= 2 ? month + 9 : month - 3) + 2) / 5 + day - 1;

	return years * 365 + years / 4 - years / 100 + years / 400 + day_of_year - 719468;
}

/* "2024-02-29 ", if there; NULL when it is no date. */
static const char *scan_date(const char *text, uint64_t *days)
{
	uint64_t year, month, day;
	const char *at = scan_decimal(text, &year);

	*days = 0;
	if (at == NULL || *at != '-')
		return text;
	if ((at = scan_decimal(at + 1, &month)) == NULL || *at != '-' || (at = scan_decimal(at + 1, &day)) == NULL ||
	    *at != ' ')
		return NULL;
	if (year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31)
		return NULL;
	*days = days_of(year, month, day);
	return at + 1;
}

/* "10:41:11" or "1730000000" in seconds. */
static const char *scan_seconds(const char *text, uint64_t *seconds, bool *is_of_day)
{
	uint64_t minutes, rest;
	const char *at = scan_decimal(text, seconds);

	*is_of_day = at != NULL && *at == ':';
	if (!*is_of_day)
		return at;
	if ((at = scan_decimal(at + 1, &minutes)) == NULL || *at != ':' || (at = scan_decimal(at + 1, &rest)) == NULL ||
	    *seconds > 24 || minutes > 60 || rest > 60)
		return NULL;
	*seconds = *seconds * 3600 + minutes * 60 + rest;
	return at;
}

/* Behind "[...]", with the time in it; NULL when there is none. */
static const char *scan_time(struct babeltrace *babeltrace, const char *text, uint64_t *time_ns)
{
	uint64_t days, seconds, fraction;
	bool is_of_day;
	const char *at = *text == '[' ? scan_date(text + 1, &days) : NULL;

	if (at == NULL || (at = scan_seconds(at, &seconds, &is_of_day)) == NULL)
		return NULL;
	if (*at == ']' && !is_of_day) {
		*time_ns = seconds; /* cycles */
		return at + 1;
	}
	const char *digits = at + 1;
	if (*at != '.' || (at = scan_decimal(digits, &fraction)) == NULL || at - digits != 9 || *at != ']' ||
	    seconds > UINT64_MAX / SECOND_NS / 2)
		return NULL;
	*time_ns = days * DAY_NS + seconds * SECOND_NS + fraction;
	if (is_of_day && days == 0) {
		*time_ns += babeltrace->midnights_ns;
		if (*time_ns + DAY_NS / 2 < babeltrace->last_ns) {
			babeltrace->midnights_ns += DAY_NS;
			*time_ns += DAY_NS;
		}
	}
	return at + 1;
}

/* The event's name, cut out, and behind it the braces; NULL when this is no event. */
static char *scan_head(struct babeltrace *babeltrace, char *line, uint64_t *time_ns, char **braces)
{
	const char *after_time = scan_time(babeltrace, line, time_ns);
	char *end = after_time == NULL ? NULL : strstr(line + (after_time - line), ": {");

	if (end == NULL)
		return NULL;
	babeltrace->last_ns = *time_ns;
	*end = '\0';
	*braces = end + 2;
	char *blank = strrchr(line, ' ');
	return blank == NULL ? NULL : blank + 1;
}

/* ----------------------------------------------------------------------------------------------- the fields */

/* The end of a text, behind its quote; escapes are undone in place. NULL when it has none. */
static char *scan_text(char *at)
{
	char *to = at;

	for (; *at != '\0' && *at != '"'; at++) {
		if (*at == '\\' && at[1] != '\0')
			at++;
		*to++ = *at;
	}
	if (*at == '\0')
		return NULL;
	*to = '\0';
	return at + 1;
}

/* The end of a value: a comma or a blank outside of all braces. */
static char *scan_value(char *at)
{
	int depth = 0;

	for (; *at != '\0'; at++) {
		if (depth == 0 && (*at == ',' || *at == ' '))
			break;
		depth += (strchr("{[(", *at) != NULL) - (strchr("}])", *at) != NULL);
		if (depth < 0)
			break;
	}
	return at;
}

/* "{ cpu_id = 0 }, { ptr = 0x12, name = "dentry" }". false when it does not go on as it must. */
static bool split_pairs(char *at, struct pairs *pairs)
{
	pairs->count = 0;
	for (;;) {
		at += strspn(at, "{}, ");
		if (*at == '\0')
			return true;
		char *key = at, *equals = strstr(at, " = ");
		if (equals == NULL)
			return false;
		*equals = '\0';
		char *value = equals + 3;
		bool is_text = *value == '"';
		char *end = is_text ? scan_text(++value) : scan_value(value);
		if (end == NULL)
			return false;
		at = *end == '\0' ? end : end + 1;
		if (!is_text)
			*end = '\0';
		if (pairs->count < PAIRS_MAX) {
			pairs->items[pairs->count].key = key;
			pairs->items[pairs->count++].value = value;
		}
	}
}

static const char *field(const struct pairs *pairs, const char *key)
{
	for (uint32_t i = 0; i < pairs->count; i++) {
		if (strcmp(pairs->items[i].key, key) == 0)
			return pairs->items[i].value;
	}
	return NULL;
}

/* 0x12 or 18. */
static bool number(const struct pairs *pairs, const char *key, uint64_t *value)
{
	const char *text = field(pairs, key);

	return text != NULL && (strncmp(text, "0x", 2) == 0 ? parse_hex(text, value) : parse_decimal(text, value));
}

static enum trace_line_status malformed(struct text_lines *text, const char *problem)
{
	text->problem = problem;
	return TRACE_LINE_MALFORMED;
}

/* ----------------------------------------------------------------------------------------- events of a kernel */

/* LTTng calls kmalloc kmem_kmalloc and mm_page_alloc kmem_mm_page_alloc, perf has the system before a colon. */
static const char *kernel_name(const char *name)
{
	if (strncmp(name, "kmem:", 5) == 0)
		return name + 5;
	return strncmp(name, "kmem_", 5) == 0 && strncmp(name, "kmem_cache_", 11) != 0 ? name + 5 : name;
}

static enum trace_line_status take_kernel(struct text_lines *text, const char *name, const struct pairs *pairs,
					  struct raw_event *event, struct kml_error *error)
{
	struct babeltrace *babeltrace = text->context;
	char *values[TRACE_FIELDS] = {NULL};

	for (uint32_t i = 0; i < pairs->count; i++) {
		int known = trace_field_find(pairs->items[i].key, strlen(pairs->items[i].key));
		if (known >= 0 && values[known] == NULL)
			values[known] = pairs->items[i].value;
	}
	enum trace_line_status status = trace_event_parse(&babeltrace->parser, kernel_name(name), values, event);
	text->problem = babeltrace->parser.problem;
	if (status != TRACE_LINE_EVENT)
		return status;
	babeltrace->has_kernel = true;
	return import_add_event(text->import, event, error) ? status : TRACE_LINE_STOPPED;
}

/* --------------------------------------------------------------------------------------- calls of a C library */

enum ust_kind { UST_MALLOC, UST_CALLOC, UST_REALLOC, UST_MEMALIGN, UST_POSIX_MEMALIGN, UST_FREE, UST_KINDS };
static const char *const ust_names[UST_KINDS] = {"malloc", "calloc", "realloc", "memalign", "posix_memalign", "free"};

static const char *pointer_field(enum ust_kind kind)
{
	return kind == UST_POSIX_MEMALIGN ? "out_ptr" : "ptr";
}

/* Another process's pointers are other ones; their lowest bits stay. */
static uint64_t of_process(const struct pairs *pairs, uint64_t pointer)
{
	uint64_t process;

	if (pointer == 0 || !number(pairs, "vpid", &process))
		return pointer;
	return pointer ^ (kml_hash64(process) & ~15ull);
}

static bool add_call(struct babeltrace *babeltrace, enum ust_kind kind, const struct malloc_call *call,
		     uint64_t old_pointer, struct kml_error *error)
{
	struct malloc_calls *calls = &babeltrace->calls;

	if (kind == UST_FREE)
		return malloc_calls_free(calls, call->time_ns, call->cpu, call->pointer, error);
	if (kind == UST_REALLOC)
		return malloc_calls_realloc(calls, call, old_pointer, error);
	return malloc_calls_alloc(calls, call, error);
}

static enum trace_line_status take_ust(struct text_lines *text, const char *name, const struct pairs *pairs,
				       const struct raw_event *head, struct kml_error *error)
{
	struct babeltrace *babeltrace = text->context;
	struct malloc_call call = {.time_ns = head->time_ns, .cpu = head->cpu};
	uint64_t old_pointer = 0, count = 1, failed = 0;
	int kind = 0;

	while (kind < UST_KINDS && strcmp(name, ust_names[kind]) != 0)
		kind++;
	if (kind == UST_KINDS)
		return TRACE_LINE_UNKNOWN;
	if (!number(pairs, pointer_field((enum ust_kind)kind), &call.pointer) ||
	    (kind == UST_REALLOC && !number(pairs, "in_ptr", &old_pointer)))
		return malformed(text, "a call without its pointer");
	if (kind == UST_CALLOC && !number(pairs, "nmemb", &count))
		return malformed(text, "a calloc without a count");
	if (kind != UST_FREE && (!number(pairs, "size", &call.size_bytes) ||
				 !malloc_calls_product(count, call.size_bytes, &call.size_bytes)))
		return malformed(text, "the size is no number of bytes");
	bool is_aligned = kind == UST_MEMALIGN || kind == UST_POSIX_MEMALIGN;
	if (is_aligned && (!number(pairs, "alignment", &call.align_bytes) || call.align_bytes > MALLOC_BYTES_MAX))
		return malformed(text, "the alignment is no number of bytes");
	call.zeroed = kind == UST_CALLOC;
	/* posix_memalign leaves the pointer as it was when it fails. */
	if (kind == UST_POSIX_MEMALIGN && number(pairs, "result", &failed) && failed != 0)
		call.pointer = 0;
	call.pointer = of_process(pairs, call.pointer);
	babeltrace->has_calls = true;
	return add_call(babeltrace, (enum ust_kind)kind, &call, of_process(pairs, old_pointer), error)
		       ? TRACE_LINE_EVENT
		       : TRACE_LINE_STOPPED;
}

/* ------------------------------------------------------------------------------------------------- the file */

/* "WARNING: Tracer discarded 5 events between [..] and [..] in trace ..." comes on standard error, if it is there. */
static bool take_discarded(struct import *import, const char *line)
{
	static const char DISCARDED[] = "Tracer discarded ";
	const char *at = strstr(line, DISCARDED);
	uint64_t count;

	if (at == NULL || line[0] == '[')
		return false;
	import_count(import, KMT_QUIRK_LOST, scan_decimal(at + sizeof(DISCARDED) - 1, &count) != NULL ? count : 1);
	return true;
}

static enum trace_line_status take(struct text_lines *text, char *line, struct kml_error *error)
{
	struct babeltrace *babeltrace = text->context;
	struct raw_event event = RAW_EVENT_INIT;
	struct pairs pairs;
	char *braces;
	uint64_t cpu = 0;

	if (take_discarded(text->import, line))
		return TRACE_LINE_IGNORED;
	const char *name = scan_head(babeltrace, line, &event.time_ns, &braces);
	if (name == NULL)
		return TRACE_LINE_UNKNOWN;
	if (!split_pairs(braces, &pairs))
		return malformed(text, "the fields of the event are cut short");
	if (field(&pairs, "cpu_id") != NULL && (!number(&pairs, "cpu_id", &cpu) || cpu >= KMT_CPUS_MAX))
		return malformed(text, "an absurd cpu number");
	event.cpu = (uint16_t)cpu;
	if (strncmp(name, UST_PREFIX, sizeof(UST_PREFIX) - 1) == 0)
		return take_ust(text, name + sizeof(UST_PREFIX) - 1, &pairs, &event, error);
	return take_kernel(text, name, &pairs, &event, error);
}

static bool judge(const struct text_lines *text, const struct babeltrace *babeltrace, struct kml_error *error)
{
	if (!import_text_judge(text, error))
		return false;
	if (babeltrace->has_kernel && babeltrace->has_calls)
		return kml_fail(error,
				"%s: holds events of a kernel and calls of programs, two heaps: import them one at a "
				"time (babeltrace2 TRACE | grep lttng_ust_libc)",
				import_input_name(text->input));
	if (babeltrace->has_calls)
		import_pointers_are_names(text->import);
	import_set_origin(text->import, &(struct kmt_origin){
						.source = "babeltrace2 text",
						.page_bytes = babeltrace->has_calls ? 4096 : 0,
					});
	return true;
}

bool import_babeltrace(struct import *import, struct import_input *input, struct kml_error *error)
{
	struct babeltrace babeltrace = {.calls.import = import};
	struct text_lines text = {
		.import = import,
		.input = input,
		.take = take,
		.context = &babeltrace,
		.event = "kmem event or call of malloc",
		.wanted = "what babeltrace2 prints of a trace with kmem or lttng_ust_libc events",
	};

	bool done = import_text_lines(&text, error) && judge(&text, &babeltrace, error);
	trace_line_parser_free(&babeltrace.parser);
	malloc_calls_destroy(&babeltrace.calls);
	return done;
}

bool import_is_babeltrace(const char *head)
{
	struct babeltrace none = {0};
	uint64_t time_ns;

	head += strspn(head, "\r\n");
	const char *after = scan_time(&none, head, &time_ns);
	return after != NULL && *after == ' ';
}
