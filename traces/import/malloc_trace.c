/*
 * malloc_trace.c - texts of malloc calls, three forms, told by their first line:
 *
 *   memory_replay  Android's, one call a line, threads by their number (system/memory/libmemory_trace):
 *                    TID: malloc PTR SIZE | calloc PTR COUNT SIZE | realloc PTR OLDPTR SIZE | memalign PTR ALIGN SIZE |
 *                    free PTR, each with or without START_NS END_NS; TID: thread_done 0x0 [END_NS]
 *   mtrace         glibc's (malloc/mtrace-impl.c), without threads and times:
 *                    = Start | @ CALLER + PTR SIZE | @ CALLER - PTR | @ CALLER < OLDPTR and @ CALLER > PTR SIZE, a
 *                    realloc | @ CALLER ! PTR SIZE, one that failed | = End
 *   course lab     of Bryant & O'Hallaron, Computer Systems, malloc lab: four lines with a number each (suggested heap
 *                    bytes, ids, operations, weight), then a ID SIZE | r ID SIZE | f ID (f -1: of NULL)
 *
 * Threads become cpus: a new one takes the lowest number that no living thread has, so that as many cpus are simulated
 * as threads lived at once, each with caches of its own. Beyond KMT_CPUS_MAX they share the last.
 *
 * Time: an allocation is there at the end of its call and a free at the start, so that a block given to another thread
 * meanwhile is free by then. Without times each operation takes a microsecond.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "traces/import/malloc_calls.h"
#include "traces/import/scan.h"
#include "traces/import/text_lines.h"

enum { WORDS_MAX = 8, LAB_HEADER_LINES = 4, OPERATION_NS = 1000 };

enum form { FORM_NONE, FORM_MEMORY_REPLAY, FORM_MTRACE, FORM_COURSE_LAB };

struct malloc_trace {
	struct malloc_calls calls;
	uint64_t time_ns; /* of the last call; counts operations where there are no times */

	/* memory_replay */
	struct kml_hashmap cpu_of_thread;
	bool is_taken[KMT_CPUS_MAX];

	/* mtrace: a line "<" waits for its ">" */
	bool in_realloc;
	uint64_t old_pointer;

	/* course lab */
	uint64_t header[LAB_HEADER_LINES];
	uint32_t header_lines;
	uint64_t operations;
	struct kml_hashmap live; /* ids */
};

/* Words between blanks, cut up in place; more than WORDS_MAX are left in the last. */
static uint32_t split(char *line, char *words[WORDS_MAX])
{
	uint32_t count = 0;
	char *state;

	for (char *word = strtok_r(line, " \t", &state); word != NULL && count < WORDS_MAX;
	     word = strtok_r(NULL, " \t", &state))
		words[count++] = word;
	return count;
}

static enum trace_line_status malformed(struct text_lines *text, const char *problem)
{
	text->problem = problem;
	return TRACE_LINE_MALFORMED;
}

static enum trace_line_status kept(bool added)
{
	return added ? TRACE_LINE_EVENT : TRACE_LINE_STOPPED;
}

static bool parse_address(const char *text, uint64_t *pointer)
{
	*pointer = 0;
	return strcmp(text, "(nil)") == 0 || parse_hex(text, pointer);
}

static bool parse_bytes(const char *text, uint64_t *bytes)
{
	return parse_decimal(text, bytes) && *bytes < MALLOC_BYTES_MAX;
}

/* --------------------------------------------------------------------------------------------- memory_replay */

enum call_kind { CALL_MALLOC, CALL_CALLOC, CALL_REALLOC, CALL_MEMALIGN, CALL_FREE, CALL_THREAD_DONE, CALL_KINDS };

static const struct {
	const char *name;
	uint32_t numbers; /* after the pointer */
} call_kinds[CALL_KINDS] = {
	[CALL_MALLOC] = {"malloc", 1},     [CALL_CALLOC] = {"calloc", 2}, [CALL_REALLOC] = {"realloc", 2},
	[CALL_MEMALIGN] = {"memalign", 2}, [CALL_FREE] = {"free", 0},     [CALL_THREAD_DONE] = {"thread_done", 0},
};

static enum call_kind kind_of(const char *word)
{
	int kind = 0;

	while (kind < CALL_KINDS && strcmp(word, call_kinds[kind].name) != 0)
		kind++;
	return (enum call_kind)kind;
}

static bool cpu_of(struct malloc_trace *trace, uint64_t thread, uint16_t *cpu, struct kml_error *error)
{
	uint32_t known = kml_hashmap_get(&trace->cpu_of_thread, thread);

	if (known == KML_HASHMAP_NONE) {
		known = 0;
		while (known < KMT_CPUS_MAX - 1 && trace->is_taken[known])
			known++;
		trace->is_taken[known] = true;
		if (!kml_hashmap_set(&trace->cpu_of_thread, thread, known))
			return kml_fail(error, "out of memory");
	}
	*cpu = (uint16_t)known;
	return true;
}

static void thread_done(struct malloc_trace *trace, uint64_t thread)
{
	uint32_t cpu = kml_hashmap_get(&trace->cpu_of_thread, thread);

	if (cpu == KML_HASHMAP_NONE)
		return;
	trace->is_taken[cpu] = false;
	kml_hashmap_remove(&trace->cpu_of_thread, thread);
}

/* The two times behind a call, or none. */
static bool read_times(struct malloc_trace *trace, char *const *words, uint32_t count, uint64_t *start_ns,
		       uint64_t *end_ns)
{
	if (count == 0) {
		trace->time_ns += OPERATION_NS;
		*start_ns = *end_ns = trace->time_ns;
		return true;
	}
	if (count != 2 || !parse_decimal(words[0], start_ns) || !parse_decimal(words[1], end_ns) || *end_ns < *start_ns)
		return false;
	trace->time_ns = *end_ns;
	return true;
}

static enum trace_line_status add_realloc(struct text_lines *text, struct malloc_call *call, char *const *words,
					  struct kml_error *error)
{
	struct malloc_trace *trace = text->context;
	uint64_t old_pointer;

	if (!parse_address(words[0], &old_pointer))
		return malformed(text, "the old pointer of a realloc is no address");
	if (!parse_bytes(words[1], &call->size_bytes))
		return malformed(text, "the size is no number of bytes");
	return kept(malloc_calls_realloc(&trace->calls, call, old_pointer, error));
}

static enum trace_line_status add_alloc(struct text_lines *text, enum call_kind kind, struct malloc_call *call,
					char *const *words, struct kml_error *error)
{
	struct malloc_trace *trace = text->context;
	uint64_t first = 1, size_bytes;

	if (kind != CALL_MALLOC && !parse_decimal(words[0], &first))
		return malformed(text, kind == CALL_CALLOC ? "the count is no number" : "the alignment is no number");
	if (!parse_decimal(words[kind == CALL_MALLOC ? 0 : 1], &size_bytes) ||
	    !malloc_calls_product(kind == CALL_CALLOC ? first : 1, size_bytes, &call->size_bytes))
		return malformed(text, "the size is no number of bytes");
	if (kind == CALL_MEMALIGN && first > MALLOC_BYTES_MAX)
		return malformed(text, "an absurd alignment");
	call->align_bytes = kind == CALL_MEMALIGN ? first : 0;
	call->zeroed = kind == CALL_CALLOC;
	return kept(malloc_calls_alloc(&trace->calls, call, error));
}

static enum trace_line_status take_memory_replay(struct text_lines *text, char *line, struct kml_error *error)
{
	struct malloc_trace *trace = text->context;
	struct malloc_call call = {0};
	char *words[WORDS_MAX], *colon;
	uint64_t thread, start_ns;

	uint32_t count = split(line, words);
	if (count < 2 || (colon = strchr(words[0], ':')) == NULL || colon[1] != '\0')
		return TRACE_LINE_UNKNOWN;
	*colon = '\0';
	enum call_kind kind = kind_of(words[1]);
	if (!parse_decimal(words[0], &thread) || kind == CALL_KINDS)
		return TRACE_LINE_UNKNOWN;
	if (kind == CALL_THREAD_DONE) {
		thread_done(trace, thread);
		return TRACE_LINE_IGNORED;
	}
	uint32_t used = 3 + call_kinds[kind].numbers;
	if (count < used)
		return malformed(text, "a field the call needs is missing");
	if (!parse_address(words[2], &call.pointer))
		return malformed(text, "the pointer is no address");
	if (!read_times(trace, words + used, count - used, &start_ns, &call.time_ns))
		return malformed(text, "behind the call stand neither two times nor nothing");
	if (!cpu_of(trace, thread, &call.cpu, error))
		return TRACE_LINE_STOPPED;
	if (kind == CALL_FREE)
		return kept(malloc_calls_free(&trace->calls, start_ns, call.cpu, call.pointer, error));
	return kind == CALL_REALLOC ? add_realloc(text, &call, words + 3, error)
				    : add_alloc(text, kind, &call, words + 3, error);
}

/* ---------------------------------------------------------------------------------------------------- mtrace */

/* A "<" whose ">" does not follow freed its block all the same. */
static bool end_realloc(struct malloc_trace *trace, struct kml_error *error)
{
	if (!trace->in_realloc)
		return true;
	trace->in_realloc = false;
	return malloc_calls_free(&trace->calls, trace->time_ns, 0, trace->old_pointer, error);
}

/* Behind the caller: "@ ./a.out:(main+0x1e)[0x401156] + 0x...". */
static char *after_caller(char *line)
{
	char *bracket = strncmp(line, "@ ", 2) == 0 ? strrchr(line, ']') : NULL;

	return bracket != NULL && bracket[1] == ' ' ? bracket + 2 : line;
}

static enum trace_line_status add_mtrace(struct text_lines *text, char sign, struct malloc_call *call,
					 struct kml_error *error)
{
	struct malloc_trace *trace = text->context;

	switch (sign) {
	case '+':
		return kept(malloc_calls_alloc(&trace->calls, call, error));
	case '-':
		return kept(malloc_calls_free(&trace->calls, call->time_ns, 0, call->pointer, error));
	case '<':
		trace->in_realloc = true;
		trace->old_pointer = call->pointer;
		return TRACE_LINE_IGNORED;
	case '!': /* the old block stays as it was */
		call->pointer = 0;
		return kept(malloc_calls_alloc(&trace->calls, call, error));
	default: /* '>' */
		if (!trace->in_realloc)
			return malformed(text, "the second half of a realloc without the first");
		trace->in_realloc = false;
		return kept(malloc_calls_realloc(&trace->calls, call, trace->old_pointer, error));
	}
}

static enum trace_line_status take_mtrace(struct text_lines *text, char *line, struct kml_error *error)
{
	struct malloc_trace *trace = text->context;
	struct malloc_call call = {0};
	char *words[WORDS_MAX];

	if (line[0] == '=')
		return TRACE_LINE_IGNORED;
	uint32_t count = split(after_caller(line), words);
	if (count < 2 || strlen(words[0]) != 1 || strchr("+-<>!", words[0][0]) == NULL)
		return TRACE_LINE_UNKNOWN;
	char sign = words[0][0];
	bool has_size = sign != '-' && sign != '<';
	if (sign != '>' && !end_realloc(trace, error))
		return TRACE_LINE_STOPPED;
	if (!parse_address(words[1], &call.pointer))
		return malformed(text, "the pointer is no address");
	if (count != (has_size ? 3 : 2))
		return malformed(text, "a call with fields missing, or too many");
	if (has_size && (!parse_hex(words[2], &call.size_bytes) || call.size_bytes >= MALLOC_BYTES_MAX))
		return malformed(text, "the size is no number of bytes");
	call.time_ns = trace->time_ns += OPERATION_NS;
	return add_mtrace(text, sign, &call, error);
}

/* ------------------------------------------------------------------------------------------------ course lab */

static enum trace_line_status take_header(struct text_lines *text, char *const *words, uint32_t count)
{
	struct malloc_trace *trace = text->context;

	if (count != 1 || !parse_decimal(words[0], &trace->header[trace->header_lines]))
		return TRACE_LINE_UNKNOWN;
	trace->header_lines++;
	return TRACE_LINE_IGNORED;
}

/* Ids as pointers: even, and beyond what stands for "no memory". */
static uint64_t pointer_of_id(uint64_t id)
{
	return (id + 16) * 2;
}

/* The lab's driver keeps a NULL for an id without a block: its realloc is a malloc. */
static enum trace_line_status add_lab_alloc(struct text_lines *text, bool is_realloc, uint64_t id,
					    struct malloc_call *call, struct kml_error *error)
{
	struct malloc_trace *trace = text->context;
	bool has_block = is_realloc && kml_hashmap_get(&trace->live, id) != KML_HASHMAP_NONE;

	if (has_block && call->size_bytes == 0) {
		call->pointer = 0;
		kml_hashmap_remove(&trace->live, id);
	} else if (!kml_hashmap_set(&trace->live, id, 0)) {
		kml_fail(error, "out of memory");
		return TRACE_LINE_STOPPED;
	}
	return kept(malloc_calls_realloc(&trace->calls, call, has_block ? pointer_of_id(id) : 0, error));
}

static enum trace_line_status take_course_lab(struct text_lines *text, char *line, struct kml_error *error)
{
	struct malloc_trace *trace = text->context;
	struct malloc_call call = {0};
	char *words[WORDS_MAX];
	uint64_t id;

	uint32_t count = split(line, words);
	if (count == 0)
		return TRACE_LINE_IGNORED;
	if (trace->header_lines < LAB_HEADER_LINES)
		return take_header(text, words, count);
	if (strlen(words[0]) != 1 || strchr("arf", words[0][0]) == NULL)
		return TRACE_LINE_UNKNOWN;
	char letter = words[0][0];
	trace->operations++;
	if (count != (letter == 'f' ? 2 : 3))
		return malformed(text, "an operation with fields missing, or too many");
	call.time_ns = trace->time_ns += OPERATION_NS;
	if (letter == 'f' && strcmp(words[1], "-1") == 0)
		return kept(malloc_calls_free(&trace->calls, call.time_ns, 0, 0, error));
	if (!parse_decimal(words[1], &id) || id >= trace->header[1])
		return malformed(text, "an id that is not below the number of ids of the heading");
	call.pointer = pointer_of_id(id);
	if (letter == 'f') {
		kml_hashmap_remove(&trace->live, id);
		return kept(malloc_calls_free(&trace->calls, call.time_ns, 0, call.pointer, error));
	}
	if (!parse_bytes(words[2], &call.size_bytes))
		return malformed(text, "the size is no number of bytes");
	return add_lab_alloc(text, letter == 'r', id, &call, error);
}

/* What the heading promised. */
static void judge_course_lab(const struct text_lines *text, const struct malloc_trace *trace)
{
	uint64_t promised = trace->header[2];

	if (trace->operations < promised)
		import_count(text->import, KMT_QUIRK_LOST, promised - trace->operations);
	if (trace->operations != promised)
		import_warn(text->import,
			    "%s: the heading tells of %" PRIu64 " operations, the file holds %" PRIu64
			    ": is it cut short?",
			    import_input_name(text->input), promised, trace->operations);
}

/* -------------------------------------------------------------------------------------------------- the file */

/* Lines with nothing but a number, as the lab's heading, and behind them an operation. */
static bool is_course_lab(const char *head)
{
	for (int line = 0; line < LAB_HEADER_LINES; line++) {
		head += strspn(head, " \t\r\n");
		size_t digits = strspn(head, "0123456789");
		if (digits == 0 || strchr(" \t\r\n", head[digits]) == NULL)
			return false;
		head += digits;
		head += strspn(head, " \t\r");
		if (*head != '\n' && *head != '\0')
			return false;
	}
	head += strspn(head, " \t\r\n");
	return *head == '\0' || (strchr("arf", *head) != NULL && (head[1] == ' ' || head[1] == '\t'));
}

static bool is_memory_replay(const char *head)
{
	size_t digits = strspn(head, "0123456789");

	if (digits == 0 || strncmp(head + digits, ": ", 2) != 0)
		return false;
	const char *word = head + digits + 2;
	for (int kind = 0; kind < CALL_KINDS; kind++) {
		size_t length = strlen(call_kinds[kind].name);
		if (strncmp(word, call_kinds[kind].name, length) == 0 && word[length] == ' ')
			return true;
	}
	return false;
}

static enum form form_of(const char *head)
{
	head += strspn(head, "\r\n");
	if (strncmp(head, "= Start", 7) == 0 || strncmp(head, "@ ", 2) == 0)
		return FORM_MTRACE;
	if (is_memory_replay(head))
		return FORM_MEMORY_REPLAY;
	return is_course_lab(head) ? FORM_COURSE_LAB : FORM_NONE;
}

bool import_is_malloc_trace(const char *head)
{
	return form_of(head) != FORM_NONE;
}

static bool read_trace(struct text_lines *text, enum form form, struct kml_error *error)
{
	struct malloc_trace *trace = text->context;

	if (!import_text_lines(text, error) || !end_realloc(trace, error) || !import_text_judge(text, error))
		return false;
	if (form == FORM_COURSE_LAB)
		judge_course_lab(text, trace);
	return true;
}

bool import_malloc_trace(struct import *import, struct import_input *input, struct kml_error *error)
{
	static const struct {
		const char *source;
		enum trace_line_status (*take)(struct text_lines *text, char *line, struct kml_error *error);
	} forms[] = {
		[FORM_NONE] = {"memory_replay text", take_memory_replay},
		[FORM_MEMORY_REPLAY] = {"memory_replay text", take_memory_replay},
		[FORM_MTRACE] = {"mtrace text", take_mtrace},
		[FORM_COURSE_LAB] = {"malloc lab trace", take_course_lab},
	};
	char head[4096 + 1];
	int64_t length = import_input_peek(input, head, sizeof(head) - 1, error);
	if (length < 0)
		return false;
	head[length] = '\0';
	enum form form = form_of(head);
	struct malloc_trace *trace = calloc(1, sizeof(*trace));
	if (trace == NULL)
		return kml_fail(error, "out of memory");
	trace->calls.import = import;
	struct text_lines text = {.import = import,
				  .input = input,
				  .take = forms[form].take,
				  .context = trace,
				  .event = "call of malloc or free",
				  .wanted = "a trace of memory_replay, of mtrace or of a malloc lab"};
	import_pointers_are_names(import);
	import_set_origin(import, &(struct kmt_origin){.source = forms[form].source, .page_bytes = 4096});
	bool done = read_trace(&text, form, error);
	malloc_calls_destroy(&trace->calls);
	kml_hashmap_free(&trace->cpu_of_thread);
	kml_hashmap_free(&trace->live);
	free(trace);
	return done;
}
