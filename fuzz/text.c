/*
 * text.c - programs as .ops text, a line an operation, and as .kmt.
 *
 * A line is words: what it is, what it is about, then name=value or words alone; '#' begins a comment. The setup comes
 * before the operations. Whether a free is of an object or of pages, the alloc says; whether a cache is closed at
 * first, its first open or close says, and the word `closed` must agree. A .kmt holds the events and the caches; the
 * lines of the rest of the setup are its origin's command.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/registry.h"
#include "fuzz/program.h"
#include "kmemlab/support/error.h"

static const char first_line[] = "kmemlab program 1";
static const char program_source[] = "program"; /* of the origin of a .kmt */

/* Setups by their defaults. */
enum { DEFAULT_PAGE_BYTES = 4096, WORDS_MAX = 24, PARSED_IDS = PROGRAM_EVENTS_MAX };

static const struct {
	const char *name;
	uint16_t flag;
} flag_names[] = {
	{"movable", KML_MOVABLE}, {"reclaimable", KML_RECLAIMABLE}, {"atomic", KML_ATOMIC},
	{"zeroed", KML_ZEROED},   {"contiguous", KML_CONTIGUOUS},   {"kmalloc", KML_KMALLOC},
	{"dma", KML_DMA},         {"accounted", KML_ACCOUNTED},     {"vmalloc", KML_VMALLOC},
};
enum { FLAG_NAMES = sizeof flag_names / sizeof flag_names[0] };

static const struct {
	const char *name;
	uint32_t flag;
} cache_flag_names[] = {
	{"constructor", KMT_CACHE_CONSTRUCTOR},
	{"rcu", KMT_CACHE_TYPESAFE_BY_RCU},
	{"reclaimable", KMT_CACHE_RECLAIMABLE},
	{"kmalloc", KMT_CACHE_KMALLOC},
};
enum { CACHE_FLAG_NAMES = sizeof cache_flag_names / sizeof cache_flag_names[0] };

/* The first event that opens or closes it opens it. */
static bool is_closed_at_first(const struct program *program, uint32_t cache)
{
	for (uint32_t i = 0; i < program->event_count; i++) {
		const struct kmt_event *event = &program->events[i];
		if (event->cache == cache && (event->op == KMT_CACHE_OPEN || event->op == KMT_CACHE_CLOSE))
			return event->op == KMT_CACHE_OPEN;
	}
	return false;
}

/* ------------------------------------------------------------------------------------------------ printing */

static void print_cache(const struct program *program, uint32_t index, FILE *stream)
{
	const struct kmt_cache *cache = &program->setup.caches[index];
	fprintf(stream, "cache %" PRIu32 " name=%s object=%" PRIu64, index, cache->name, cache->object_bytes);
	if (cache->align_bytes)
		fprintf(stream, " align=%" PRIu64, cache->align_bytes);
	for (size_t i = 0; i < CACHE_FLAG_NAMES; i++)
		if (cache->flags & cache_flag_names[i].flag)
			fprintf(stream, " %s", cache_flag_names[i].name);
	fprintf(stream, "%s\n", is_closed_at_first(program, index) ? " closed" : "");
}

/* What a .kmt has no place for of its own. */
static void print_stack(const struct program_setup *setup, FILE *stream)
{
	fprintf(stream, "stack %s\narena %" PRIu64 "\nseed %" PRIu64 "\ncheck %" PRIu32 "\n", setup->stack,
		setup->arena_bytes, setup->seed, setup->check_every);
}

static void print_common(const struct kmt_event *event, FILE *stream)
{
	if (event->cpu)
		fprintf(stream, " cpu=%u", event->cpu);
	if (event->cache != KMT_NO_CACHE)
		fprintf(stream, " cache=%u", event->cache);
	const char *separator = " flags=";
	for (size_t i = 0; i < FLAG_NAMES; i++) {
		if (!(event->flags & flag_names[i].flag))
			continue;
		fprintf(stream, "%s%s", separator, flag_names[i].name);
		separator = "+";
	}
	if (event->address != KMT_NO_ADDRESS)
		fprintf(stream, " at=%" PRIu64, event->address);
}

/* Time that passed before an operation other than `wait` is a line of its own. */
static void print_event(const struct kmt_event *event, uint64_t time_ns, FILE *stream)
{
	if (event->op == KMT_MARK || event->time_ns != time_ns)
		fprintf(stream, "wait %" PRIu64 "\n", event->time_ns - time_ns);
	switch ((enum kmt_op)event->op) {
	case KMT_ALLOC:
		fprintf(stream, "alloc %" PRIu32 " size=%" PRIu64, event->object, event->size_bytes);
		if (event->align_log2)
			fprintf(stream, " align=%" PRIu64, UINT64_C(1) << event->align_log2);
		break;
	case KMT_PAGE_ALLOC:
		fprintf(stream, "pages %" PRIu32 " order=%u", event->object, event->order);
		break;
	case KMT_FREE:
	case KMT_PAGE_FREE:
		fprintf(stream, "free %" PRIu32, event->object);
		break;
	case KMT_MISUSE:
		fprintf(stream, "misuse %" PRIu32 " kind=%s", event->object,
			kmt_misuse_name((enum kmt_misuse)event->order));
		if (event->size_bytes)
			fprintf(stream, " offset=%" PRIu64, event->size_bytes);
		break;
	case KMT_CACHE_OPEN:
	case KMT_CACHE_CLOSE:
		fprintf(stream, "%s %u\n", event->op == KMT_CACHE_OPEN ? "open" : "close", event->cache);
		return;
	case KMT_SHRINK:
		if (event->cache == KMT_NO_CACHE)
			fputs("shrink\n", stream);
		else
			fprintf(stream, "shrink %u\n", event->cache);
		return;
	case KMT_DRAIN:
		fprintf(stream, "drain %u\n", event->cpu);
		return;
	case KMT_EXHAUST:
		fprintf(stream, "exhaust %s", event->order ? "on" : "off");
		break;
	default:
		return;
	}
	print_common(event, stream);
	fputc('\n', stream);
}

bool program_print(const struct program *program, FILE *stream)
{
	const struct program_setup *setup = &program->setup;
	fprintf(stream, "%s\n", first_line);
	print_stack(setup, stream);
	fprintf(stream, "page %" PRIu32 "\ncpus %" PRIu32 "\n", setup->page_bytes, setup->cpu_count);
	for (uint32_t i = 0; i < setup->cache_count; i++)
		print_cache(program, i, stream);
	uint64_t time_ns = 0;
	for (uint32_t i = 0; i < program->event_count; i++) {
		print_event(&program->events[i], time_ns, stream);
		time_ns = program->events[i].time_ns;
	}
	return fflush(stream) == 0 && !ferror(stream);
}

/* ------------------------------------------------------------------------------------------------ parsing */

struct parser {
	struct program *program;
	const char *name;
	uint64_t line;
	char *word[WORDS_MAX];
	unsigned words;
	struct kml_error *error;
	bool closed[PROGRAM_CACHES_MAX]; /* told to be, at first */
	uint8_t alloc_order[PARSED_IDS]; /* of an id's last alloc: 255: an object, else 2^order pages */
};
enum { NO_PAGES = 255 };

__attribute__((format(printf, 2, 3))) static bool refuse(const struct parser *parser, const char *format, ...)
{
	char message[300];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(message, sizeof message, format, arguments);
	va_end(arguments);
	return kml_fail(parser->error, "%.150s: line %" PRIu64 ": %s", parser->name, parser->line, message);
}

static bool split(struct parser *parser, char *line)
{
	parser->words = 0;
	line[strcspn(line, "#\n")] = '\0';
	for (char *word; (word = strsep(&line, " \t\r"));) {
		if (!*word)
			continue;
		if (parser->words == WORDS_MAX)
			return refuse(parser, "more than %d words: split it", WORDS_MAX);
		parser->word[parser->words++] = word;
	}
	return true;
}

static bool parse_number(const struct parser *parser, const char *what, const char *text, uint64_t minimum,
			 uint64_t maximum, uint64_t *value)
{
	if (kml_parse_size(text, value) && *value >= minimum && *value <= maximum)
		return true;
	return refuse(parser, "%s %.40s: a number from %" PRIu64 " to %" PRIu64 " is needed", what, text, minimum,
		      maximum);
}

static bool parse_flags(const struct parser *parser, char *text, uint16_t *flags)
{
	for (char *name; (name = strsep(&text, "+"));) {
		size_t i = 0;
		while (i < FLAG_NAMES && strcmp(flag_names[i].name, name) != 0)
			i++;
		if (i == FLAG_NAMES)
			return refuse(parser,
				      "no flag '%.40s': movable, reclaimable, atomic, zeroed, contiguous, "
				      "kmalloc, dma, accounted and vmalloc are known, joined by '+'",
				      name);
		*flags |= flag_names[i].flag;
	}
	return true;
}

static bool parse_alignment(const struct parser *parser, const char *text, uint8_t *log2)
{
	uint64_t align_bytes;
	if (!parse_number(parser, "align", text, 1, UINT64_C(1) << 63, &align_bytes))
		return false;
	if (align_bytes & (align_bytes - 1))
		return refuse(parser, "align=%s: a power of two is needed", text);
	*log2 = (uint8_t)__builtin_ctzll(align_bytes);
	return true;
}

static bool parse_kind(const struct parser *parser, const char *text, uint8_t *kind)
{
	for (*kind = 0; *kind < KMT_MISUSE_KINDS; ++*kind)
		if (strcmp(kmt_misuse_name((enum kmt_misuse) * kind), text) == 0)
			return true;
	return refuse(parser, "no kind '%.40s' of misuse: double, interior, foreign, misaligned and cache are known",
		      text);
}

static bool parse_cache(const struct parser *parser, const char *text, uint16_t *cache)
{
	uint64_t index;
	if (parser->program->setup.cache_count == 0)
		return refuse(parser, "cache %.40s: the setup has no caches", text);
	if (!parse_number(parser, "cache", text, 0, parser->program->setup.cache_count - 1, &index))
		return false;
	*cache = (uint16_t)index;
	return true;
}

/* One name=value of an operation; `allowed`: the names it takes, each with a space behind. */
static bool parse_field(const struct parser *parser, char *word, const char *allowed, struct kmt_event *event)
{
	char name[16];
	uint64_t value;
	char *text = strchr(word, '=');
	size_t length = text ? (size_t)(text - word) : 0;
	if (length == 0 || length + 2 > sizeof name)
		return refuse(parser, "'%.40s' is not name=value", word);
	snprintf(name, sizeof name, "%.*s ", (int)length, word);
	if (!strstr(allowed, name))
		return refuse(parser, "'%.40s': only %sare known here", word, allowed);
	text++;
	switch (word[0] << 8 | word[1]) {
	case 's' << 8 | 'i': /* size */
		return parse_number(parser, "size", text, 1, UINT64_MAX, &event->size_bytes);
	case 'o' << 8 | 'f': /* offset */
		return parse_number(parser, "offset", text, 0, UINT64_MAX, &event->size_bytes);
	case 'o' << 8 | 'r': /* order */
		if (!parse_number(parser, "order", text, 0,
				  62 - (uint64_t)__builtin_ctz(parser->program->setup.page_bytes), &value))
			return false;
		event->order = (uint8_t)value;
		return true;
	case 'a' << 8 | 'l': /* align */
		return parse_alignment(parser, text, &event->align_log2);
	case 'a' << 8 | 't': /* at */
		return parse_number(parser, "at", text, 0, UINT64_MAX - 1, &event->address);
	case 'c' << 8 | 'p': /* cpu */
		if (!parse_number(parser, "cpu", text, 0, parser->program->setup.cpu_count - 1, &value))
			return false;
		event->cpu = (uint16_t)value;
		return true;
	case 'c' << 8 | 'a': /* cache */
		return parse_cache(parser, text, &event->cache);
	case 'k' << 8 | 'i': /* kind */
		return parse_kind(parser, text, &event->order);
	default: /* flags */
		return parse_flags(parser, text, &event->flags);
	}
}

static bool parse_fields(struct parser *parser, unsigned from, const char *allowed, struct kmt_event *event)
{
	for (unsigned i = from; i < parser->words; i++)
		if (!parse_field(parser, parser->word[i], allowed, event))
			return false;
	return true;
}

static bool has_field(const struct parser *parser, const char *name)
{
	size_t length = strlen(name);
	for (unsigned i = 1; i < parser->words; i++)
		if (strncmp(parser->word[i], name, length) == 0 && parser->word[i][length] == '=')
			return true;
	return false;
}

static bool parse_id(const struct parser *parser, struct kmt_event *event)
{
	uint64_t id;
	if (parser->words < 2)
		return refuse(parser, "%s: of which id?", parser->word[0]);
	if (!parse_number(parser, "id", parser->word[1], 0, PARSED_IDS - 1, &id))
		return false;
	event->object = (uint32_t)id;
	return true;
}

static bool parse_alloc(struct parser *parser, struct kmt_event *event)
{
	event->op = KMT_ALLOC;
	if (!parse_id(parser, event) || !parse_fields(parser, 2, "size align cpu cache flags at ", event))
		return false;
	if (event->size_bytes == 0 && event->cache == KMT_NO_CACHE)
		return refuse(parser, "alloc %" PRIu32 ": of which size? Give size= or cache=", event->object);
	if (event->size_bytes == 0)
		event->size_bytes = parser->program->setup.caches[event->cache].object_bytes;
	parser->alloc_order[event->object] = NO_PAGES;
	return true;
}

static bool parse_pages(struct parser *parser, struct kmt_event *event)
{
	event->op = KMT_PAGE_ALLOC;
	if (!parse_id(parser, event) || !parse_fields(parser, 2, "order cpu flags at ", event))
		return false;
	if (!has_field(parser, "order"))
		return refuse(parser, "pages %" PRIu32 ": how many? Give order=", event->object);
	event->size_bytes = (uint64_t)parser->program->setup.page_bytes << event->order;
	parser->alloc_order[event->object] = event->order;
	return true;
}

static bool parse_free(struct parser *parser, struct kmt_event *event)
{
	event->op = KMT_FREE;
	if (!parse_id(parser, event) || !parse_fields(parser, 2, "cpu cache at ", event))
		return false;
	uint8_t order = parser->alloc_order[event->object];
	if (order != NO_PAGES) {
		event->op = KMT_PAGE_FREE;
		event->order = order;
	}
	return true;
}

static bool parse_misuse(struct parser *parser, struct kmt_event *event)
{
	event->op = KMT_MISUSE;
	if (!parse_id(parser, event) || !parse_fields(parser, 2, "kind offset cache cpu ", event))
		return false;
	return has_field(parser, "kind") ||
	       refuse(parser, "misuse %" PRIu32 ": of which kind? Give kind=", event->object);
}

/* open, close, shrink, drain, exhaust, wait: one word of its own, or none. */
static bool parse_other(struct parser *parser, struct kmt_event *event, uint64_t *wait_ns)
{
	const char *op = parser->word[0], *about = parser->words > 1 ? parser->word[1] : NULL;
	uint64_t value;
	bool is_exhaust = strcmp(op, "exhaust") == 0;
	event->op = KMT_SHRINK;
	if (!about)
		return strcmp(op, "shrink") == 0 || refuse(parser, "%s: of what?", op);
	if (parser->words > 2 && !is_exhaust)
		return refuse(parser, "'%.40s' is too much behind %s", parser->word[2], op);
	if (strcmp(op, "wait") == 0) {
		event->op = KMT_MARK;
		return parse_number(parser, "wait", about, 0, UINT64_MAX / 2 / PROGRAM_EVENTS_MAX, wait_ns);
	}
	if (strcmp(op, "drain") == 0) {
		event->op = KMT_DRAIN;
		if (!parse_number(parser, "cpu", about, 0, parser->program->setup.cpu_count - 1, &value))
			return false;
		event->cpu = (uint16_t)value;
		return true;
	}
	if (is_exhaust) {
		event->op = KMT_EXHAUST;
		event->order = strcmp(about, "on") == 0;
		if (!event->order && strcmp(about, "off") != 0)
			return refuse(parser, "exhaust %.40s: on or off is needed", about);
		return parse_fields(parser, 2, "cpu flags ", event);
	}
	event->op = strcmp(op, "open") == 0 ? KMT_CACHE_OPEN : strcmp(op, "close") == 0 ? KMT_CACHE_CLOSE : KMT_SHRINK;
	return parse_cache(parser, about, &event->cache);
}

static bool is_op(const char *word)
{
	static const char *const ops[] = {"alloc", "pages",  "free",  "misuse",  "open",
					  "close", "shrink", "drain", "exhaust", "wait"};
	for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
		if (strcmp(ops[i], word) == 0)
			return true;
	return false;
}

static bool parse_op(struct parser *parser)
{
	const char *op = parser->word[0];
	struct kmt_event event = {.address = KMT_NO_ADDRESS, .cache = KMT_NO_CACHE};
	uint64_t wait_ns = 0;
	bool good = strcmp(op, "alloc") == 0    ? parse_alloc(parser, &event)
		    : strcmp(op, "pages") == 0  ? parse_pages(parser, &event)
		    : strcmp(op, "free") == 0   ? parse_free(parser, &event)
		    : strcmp(op, "misuse") == 0 ? parse_misuse(parser, &event)
						: parse_other(parser, &event, &wait_ns);
	if (!good)
		return false;
	struct program *program = parser->program;
	if (!program_add(program, &event))
		return refuse(parser, "more than %d operations, or no memory for them", PROGRAM_EVENTS_MAX);
	program->events[program->event_count - 1].time_ns += wait_ns;
	return true;
}

/* ------------------------------------------------------------------------------------------------ the setup */

static bool name_cache(struct program_setup *setup, uint32_t index, const char *name)
{
	size_t room = sizeof setup->cache_names[0];
	setup->caches[index].name = setup->cache_names[index];
	if (!*name || strlen(name) >= room || name[strcspn(name, "# \t\r\n")])
		return false;
	strcpy(setup->cache_names[index], name);
	return true;
}

static bool parse_cache_word(struct parser *parser, char *word, uint32_t index)
{
	struct program_setup *setup = &parser->program->setup;
	struct kmt_cache *cache = &setup->caches[index];
	uint8_t log2 = 0;
	if (strncmp(word, "name=", 5) == 0)
		return name_cache(setup, index, word + 5) ||
		       refuse(parser, "a cache's name has 1 to %zu characters", sizeof setup->cache_names[0] - 1);
	if (strncmp(word, "object=", 7) == 0)
		return parse_number(parser, "object", word + 7, 1, UINT64_MAX, &cache->object_bytes);
	if (strncmp(word, "align=", 6) == 0) {
		if (!parse_alignment(parser, word + 6, &log2))
			return false;
		cache->align_bytes = UINT64_C(1) << log2;
		return true;
	}
	if (strcmp(word, "closed") == 0)
		return parser->closed[index] = true;
	for (size_t i = 0; i < CACHE_FLAG_NAMES; i++) {
		if (strcmp(word, cache_flag_names[i].name) != 0)
			continue;
		cache->flags |= cache_flag_names[i].flag;
		return true;
	}
	return refuse(parser,
		      "'%.40s': a cache is told by name=, object=, align=, constructor, rcu, reclaimable, "
		      "kmalloc, closed",
		      word);
}

static bool parse_cache_line(struct parser *parser)
{
	struct program_setup *setup = &parser->program->setup;
	uint64_t index;
	char name[16];
	if (parser->words < 2)
		return refuse(parser, "cache: which? They are numbered from 0");
	if (!parse_number(parser, "cache", parser->word[1], setup->cache_count, setup->cache_count, &index))
		return false;
	if (index == PROGRAM_CACHES_MAX)
		return refuse(parser, "more than %d caches", PROGRAM_CACHES_MAX);
	setup->caches[index] = (struct kmt_cache){0};
	snprintf(name, sizeof name, "c%u", (unsigned)index);
	name_cache(setup, (uint32_t)index, name);
	for (unsigned i = 2; i < parser->words; i++)
		if (!parse_cache_word(parser, parser->word[i], (uint32_t)index))
			return false;
	if (setup->caches[index].object_bytes == 0)
		return refuse(parser, "cache %" PRIu64 ": of what size? Give object=", index);
	setup->cache_count++;
	return true;
}

static bool parse_setup_line(struct parser *parser)
{
	struct program_setup *setup = &parser->program->setup;
	const char *what = parser->word[0];
	uint64_t value;
	if (strcmp(what, "cache") == 0)
		return parse_cache_line(parser);
	if (parser->words != 2)
		return refuse(parser, "%.40s: one value is needed", what);
	const char *text = parser->word[1];
	if (strcmp(what, "stack") == 0) {
		if (strlen(text) >= sizeof setup->stack)
			return refuse(parser, "the stack is longer than %zu bytes", sizeof setup->stack - 1);
		strcpy(setup->stack, text);
		return true;
	}
	if (strcmp(what, "arena") == 0)
		return parse_number(parser, what, text, 1, UINT64_MAX, &setup->arena_bytes);
	if (strcmp(what, "seed") == 0)
		return parse_number(parser, what, text, 0, UINT64_MAX, &setup->seed);
	if (strcmp(what, "page") == 0) {
		if (!parse_number(parser, what, text, 4096, 65536, &value))
			return false;
		setup->page_bytes = (uint32_t)value;
		return (value & (value - 1)) == 0 || refuse(parser, "page %s: a power of two is needed", text);
	}
	if (strcmp(what, "cpus") == 0) {
		if (!parse_number(parser, what, text, 1, KMT_CPUS_MAX, &value))
			return false;
		setup->cpu_count = (uint32_t)value;
		return true;
	}
	if (strcmp(what, "check") == 0) {
		if (!parse_number(parser, what, text, 0, UINT32_MAX, &value))
			return false;
		setup->check_every = (uint32_t)value;
		return true;
	}
	return refuse(parser, "'%.40s' is neither of a setup nor an operation", what);
}

/* ------------------------------------------------------------------------------------------------ a whole text */

static bool parse_line(struct parser *parser, char *line)
{
	parser->line++;
	if (!split(parser, line) || parser->words == 0)
		return parser->words == 0;
	if (is_op(parser->word[0]))
		return parse_op(parser);
	if (parser->program->event_count > 0)
		return refuse(parser, "'%.40s' behind an operation: the setup comes first", parser->word[0]);
	return parse_setup_line(parser);
}

static void clear(struct program *program)
{
	struct program_setup *setup = &program->setup;
	program->event_count = 0;
	setup->stack[0] = '\0';
	setup->arena_bytes = 0;
	setup->page_bytes = DEFAULT_PAGE_BYTES;
	setup->cpu_count = 1;
	setup->seed = 1;
	setup->check_every = 0;
	setup->cache_count = 0;
}

/* What no line shows alone. */
static bool check_program(const struct parser *parser)
{
	const struct program *program = parser->program;
	const struct program_setup *setup = &program->setup;
	struct kml_error reason;
	if (!setup->stack[0] || setup->arena_bytes == 0)
		return kml_fail(parser->error, "%.150s: %s is missing", parser->name,
				setup->stack[0] ? "the arena's size ('arena 64k')" : "the stack ('stack slub/binary')");
	for (uint32_t i = 0; i < setup->cache_count; i++)
		if (parser->closed[i] != is_closed_at_first(program, i))
			return kml_fail(parser->error,
					"%.150s: cache %" PRIu32
					": %s: 'closed' goes with a first 'open' of it, and only with that",
					parser->name, i,
					parser->closed[i] ? "closed, but not opened" : "opened while it is open");
	struct kmt_reader *reader = program_reader(program, &reason);
	kmt_close(reader);
	return reader || kml_fail(parser->error, "%.150s: %.300s", parser->name, reason.text);
}

static bool parse_stream(struct parser *parser, FILE *stream)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t length = getline(&line, &room, stream);
	bool good = length > 0 && strncmp(line, first_line, strlen(first_line)) == 0 &&
		    strspn(line + strlen(first_line), " \t\r\n") == strlen(line + strlen(first_line));
	parser->line = 1;
	if (!good)
		refuse(parser, "a program begins with the line '%s'", first_line);
	while (good && (length = getline(&line, &room, stream)) >= 0)
		good = (strlen(line) == (size_t)length || refuse(parser, "a byte 0 behind it")) &&
		       parse_line(parser, line);
	if (good && ferror(stream))
		good = kml_fail(parser->error, "%.150s: cannot read: %s", parser->name, strerror(errno));
	free(line);
	return good && check_program(parser);
}

static struct parser *start_parser(struct program *program, const char *name, struct kml_error *error)
{
	struct parser *parser = calloc(1, sizeof *parser);
	if (!parser) {
		kml_fail(error, "memory exhausted");
		return NULL;
	}
	parser->program = program;
	parser->name = name;
	parser->error = error;
	memset(parser->alloc_order, NO_PAGES, sizeof parser->alloc_order);
	clear(program);
	return parser;
}

bool program_parse(struct program *program, FILE *stream, const char *name, struct kml_error *error)
{
	struct parser *parser = start_parser(program, name, error);
	bool good = parser && parse_stream(parser, stream);
	free(parser);
	return good;
}

/* ------------------------------------------------------------------------------------------------ .kmt */

bool program_save(const struct program *program, const char *path, struct kml_error *error)
{
	const struct program_setup *setup = &program->setup;
	char command[sizeof setup->stack + 128] = "";
	FILE *stream = fmemopen(command, sizeof command, "w");
	if (!stream)
		return kml_fail(error, "memory exhausted");
	print_stack(setup, stream);
	fclose(stream);
	const struct kmt_origin origin = {.source = program_source,
					  .kernel = "",
					  .command = command,
					  .clock = "",
					  .note = "",
					  .cpu_count = setup->cpu_count,
					  .page_bytes = setup->page_bytes};
	struct kmt_writer *writer = kmt_create(path, &origin, setup->caches, setup->cache_count, error);
	if (!writer)
		return false;
	for (uint32_t i = 0; i < program->event_count; i++) {
		if (kmt_write_event(writer, &program->events[i], error))
			continue;
		kmt_abandon(writer);
		return false;
	}
	return kmt_finish(writer, NULL, error);
}

static bool load_caches(struct parser *parser, const struct kmt_cache *caches, uint32_t count)
{
	struct program_setup *setup = &parser->program->setup;
	if (count > PROGRAM_CACHES_MAX)
		return kml_fail(parser->error, "%.150s: %" PRIu32 " caches: a program has %d at most", parser->name,
				count, PROGRAM_CACHES_MAX);
	for (uint32_t i = 0; i < count; i++) {
		setup->caches[i] = (struct kmt_cache){.object_bytes = caches[i].object_bytes,
						      .align_bytes = caches[i].align_bytes,
						      .flags = caches[i].flags};
		if (!name_cache(setup, i, caches[i].name) || caches[i].object_bytes == 0 ||
		    (caches[i].align_bytes & (caches[i].align_bytes - 1)))
			return kml_fail(parser->error,
					"%.150s: cache %" PRIu32 " has no name, size or alignment of a program's",
					parser->name, i);
	}
	setup->cache_count = count;
	return true;
}

/* Only what lines can say: an event of a recording has more. */
static bool is_of_programs(const struct kmt_event *event, uint32_t page_bytes)
{
	uint16_t known = 0;
	for (size_t i = 0; i < FLAG_NAMES; i++)
		known |= flag_names[i].flag;
	bool is_known = event->op != KMT_PAGE_ADD && event->op != KMT_REAP && event->op != KMT_RCU_FREE &&
			!(event->flags & ~known) && event->granted_bytes == 0 && event->object < PARSED_IDS;
	if (event->op != KMT_PAGE_ALLOC)
		return is_known;
	return is_known && event->order < 63 - __builtin_ctz(page_bytes) &&
	       event->size_bytes == (uint64_t)page_bytes << event->order;
}

static bool load_events(struct parser *parser, struct kmt_reader *reader)
{
	struct kmt_item item;
	struct program *program = parser->program;
	enum kmt_item_kind kind;
	while ((kind = kmt_next(reader, &item, parser->error)) == KMT_ITEM_EVENTS)
		for (uint32_t i = 0; i < item.event_count; i++) {
			if (!is_of_programs(&item.events[i], program->setup.page_bytes))
				return kml_fail(parser->error, "%.150s: event %" PRIu32 " (%s) is none of a program's",
						parser->name, program->event_count, kmt_op_name(item.events[i].op));
			if (!program_add(program, &item.events[i]))
				return kml_fail(parser->error, "%.150s: more than %d operations, or no memory for them",
						parser->name, PROGRAM_EVENTS_MAX);
			program->events[program->event_count - 1].time_ns = item.events[i].time_ns;
		}
	if (kind == KMT_ITEM_SNAPSHOT)
		return kml_fail(parser->error, "%.150s: a program has no snapshots", parser->name);
	return kind == KMT_ITEM_END;
}

static bool load_setup(struct parser *parser, const struct kmt_origin *origin)
{
	struct program_setup *setup = &parser->program->setup;
	if (strcmp(origin->source, program_source) != 0)
		return kml_fail(parser->error, "%.150s: not a program but a trace (%.100s): it carries no setup",
				parser->name, origin->source);
	setup->cpu_count = origin->cpu_count;
	setup->page_bytes = origin->page_bytes;
	char *lines = strdup(origin->command), *rest = lines;
	bool good = lines || kml_fail(parser->error, "memory exhausted");
	for (char *line; good && (line = strsep(&rest, "\n"));)
		good = split(parser, line) && (parser->words == 0 || parse_setup_line(parser));
	free(lines);
	return good;
}

static bool load_kmt(struct parser *parser)
{
	uint32_t cache_count;
	struct kmt_reader *reader = kmt_open(parser->name, parser->error);
	if (!reader)
		return false;
	const struct kmt_cache *caches = kmt_reader_caches(reader, &cache_count);
	bool good = load_setup(parser, kmt_reader_origin(reader)) && load_caches(parser, caches, cache_count) &&
		    load_events(parser, reader);
	kmt_close(reader);
	for (uint32_t i = 0; good && i < cache_count; i++)
		parser->closed[i] = is_closed_at_first(parser->program, i);
	return good && check_program(parser);
}

bool program_is(const char *path)
{
	char start[sizeof first_line] = "";
	FILE *stream = fopen(path, "re");
	if (!stream)
		return false;
	size_t length = fread(start, 1, sizeof start - 1, stream);
	fclose(stream);
	if (length == strlen(first_line) && memcmp(start, first_line, length) == 0)
		return true;
	struct kmt_reader *reader = kmt_open(path, NULL);
	bool is_program = reader && strcmp(kmt_reader_origin(reader)->source, program_source) == 0;
	kmt_close(reader);
	return is_program;
}

bool program_load(struct program *program, const char *path, struct kml_error *error)
{
	FILE *stream = fopen(path, "re");
	if (!stream)
		return kml_fail(error, "%.200s: cannot open: %s", path, strerror(errno));
	int first = getc(stream);
	rewind(stream);
	struct parser *parser = start_parser(program, path, error);
	/* A .kmt begins with a byte that no text has. */
	bool good = parser && (first == 0x89 ? load_kmt(parser) : parse_stream(parser, stream));
	free(parser);
	fclose(stream);
	return good;
}
