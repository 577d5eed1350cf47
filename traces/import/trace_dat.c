/*
 * trace_dat.c - the kmem tracepoints of a trace.dat (trace-cmd.dat(5), versions 6 and 7) through libtracecmd.
 *
 * The library trusts its input: of 400 copies of a small version 6 file with a byte or two changed, 38 made
 * libtracecmd 3.1.6 crash. So it runs in a child process, which sends the formats and the raw records over a socket;
 * a child that dies or falls silent is a damaged file. What the fields of a record are is the business of tracepoint.c,
 * as for perf.data: the child writes each event's format as tracefs shows it.
 *
 * Cost: O(bytes), the file in memory (the library wants to seek in it). Buffers of instances are read too.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>

#include <trace-cmd/trace-cmd.h>

#include "kmemlab/support/error.h"
#include "traces/import/import.h"
#include "traces/import/tracepoint.h"

enum {
	SILENCE_SECONDS_MAX = 60,
	CONTENT_BYTES_MAX = 1 << 20, /* a format is some KiB, a record less than a page */
	PRINT_DEPTH_MAX = 8,         /* `cond ? __print_flags() : "none"` is 3 deep */
};

enum message_kind { MESSAGE_CPUS, MESSAGE_FORMAT, MESSAGE_RECORD, MESSAGE_LOST, MESSAGE_REFUSED, MESSAGE_END };

/* From child to parent; `bytes` of content follow. */
struct message {
	uint32_t kind; /* enum message_kind */
	uint32_t cpu;  /* CPUS: how many */
	uint64_t time_ns;
	uint32_t bytes, count; /* LOST: how many */
};

/* ------------------------------------------------------------------------------------------------- the child */

static void send_message(FILE *to, struct message message, const void *content)
{
	if (fwrite(&message, sizeof message, 1, to) != 1 || fwrite(content, 1, message.bytes, to) != message.bytes)
		_exit(1); /* the parent is gone */
}

static void send_text(FILE *to, enum message_kind kind, const char *text)
{
	send_message(to, (struct message){.kind = kind, .bytes = (uint32_t)strlen(text)}, text);
}

/* The names of flags, as `print fmt` has them. */
static void print_flags(FILE *to, const struct tep_print_arg *argument, int depth)
{
	if (!argument || depth > PRINT_DEPTH_MAX)
		return;
	if (argument->type == TEP_PRINT_OP) {
		print_flags(to, argument->op.left, depth + 1);
		print_flags(to, argument->op.right, depth + 1);
	}
	if (argument->type != TEP_PRINT_FLAGS)
		return;
	for (const struct tep_print_flag_sym *flag = argument->flags.flags; flag; flag = flag->next)
		fprintf(to, "{0x%llx, \"%s\"} ", strtoull(flag->value, NULL, 0), flag->str);
}

/* An event's description, as events/kmem/EVENT/format has it. */
static void send_format(FILE *to, const struct tep_event *event)
{
	char *text = NULL;
	size_t bytes = 0;
	FILE *format = open_memstream(&text, &bytes);

	if (!format)
		_exit(1);
	fprintf(format, "name: %s\nID: %d\nformat:\n", event->name, event->id);
	for (const struct tep_format_field *field = event->format.fields; field; field = field->next)
		fprintf(format, "\tfield:%s %s;\toffset:%d;\tsize:%d;\tsigned:%d;\n", field->type, field->name,
			field->offset, field->size, !!(field->flags & TEP_FIELD_IS_SIGNED));
	fputs("\nprint fmt: ", format);
	for (const struct tep_print_arg *argument = event->print_fmt.args; argument; argument = argument->next)
		print_flags(format, argument, 0);
	fclose(format);
	send_text(to, MESSAGE_FORMAT, text);
	free(text);
}

static int send_record(struct tracecmd_input *input, struct tep_record *record, int cpu, void *context)
{
	(void)input;
	/* -1: some were lost, it is not known how many. */
	if (record->missed_events)
		send_message(context,
			     (struct message){
				     .kind = MESSAGE_LOST,
				     .count = record->missed_events > 0 ? (uint32_t)record->missed_events : 1,
			     },
			     "");
	send_message(context,
		     (struct message){
			     .kind = MESSAGE_RECORD,
			     .cpu = (uint32_t)cpu,
			     .time_ns = record->ts,
			     .bytes = record->size > 0 ? (uint32_t)record->size : 0,
		     },
		     record->data);
	return 0;
}

static void send_all(int file, FILE *to)
{
	tracecmd_set_loglevel(TEP_LOG_NONE);
	struct tracecmd_input *input =
		tracecmd_open_fd(file, TRACECMD_FL_LOAD_NO_PLUGINS | TRACECMD_FL_LOAD_NO_SYSTEM_PLUGINS);
	if (!input) {
		send_text(to, MESSAGE_REFUSED, "libtracecmd cannot read it: it is cut short, damaged or too new");
		return;
	}
	struct tep_handle *tep = tracecmd_get_tep(input);
	if (tep_is_file_bigendian(tep) != tep_is_local_bigendian(tep)) {
		send_text(to, MESSAGE_REFUSED,
			  "it was recorded on a machine of the other byte order: import the text of `trace-cmd report` "
			  "instead");
		return;
	}
	send_message(to, (struct message){.kind = MESSAGE_CPUS, .cpu = (uint32_t)tep_get_cpus(tep)}, "");
	for (int i = 0; i < tep_get_events_count(tep); i++) {
		const struct tep_event *event = tep_get_event(tep, i);
		if (strcmp(event->system, "kmem") == 0)
			send_format(to, event);
	}
	tracecmd_iterate_events(input, NULL, 0, send_record, to);
	for (int i = 0; i < tracecmd_buffer_instances(input); i++) {
		struct tracecmd_input *instance = tracecmd_buffer_instance_handle(input, i);
		if (instance)
			tracecmd_iterate_events(instance, NULL, 0, send_record, to);
	}
	send_message(to, (struct message){.kind = MESSAGE_END}, "");
}

/* Whatever the library says or does is of no interest to the user's terminal. */
static void run_child(int file, int to)
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
	FILE *stream = fdopen(to, "w");

	for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
		signal(fatal[i], SIG_DFL);
	if (!stream || nowhere < 0 || dup2(nowhere, STDOUT_FILENO) < 0 || dup2(nowhere, STDERR_FILENO) < 0)
		_exit(1);
	send_all(file, stream);
	fflush(stream);
	_exit(0);
}

/* ------------------------------------------------------------------------------------------------- the parent */

struct trace_dat {
	struct import *import;
	const char *name;
	struct tracepoints *tracepoints;
	FILE *from;
	char *content;
	uint32_t cpu_count;
	uint64_t records;
};

/* The next message with its content; false when there is none. */
static bool receive(struct trace_dat *dat, struct message *message)
{
	if (fread(message, sizeof *message, 1, dat->from) != 1 || message->bytes > CONTENT_BYTES_MAX ||
	    fread(dat->content, 1, message->bytes, dat->from) != message->bytes)
		return false;
	dat->content[message->bytes] = '\0';
	return true;
}

static bool add_record(struct trace_dat *dat, const struct message *message, struct kml_error *error)
{
	struct raw_event event = RAW_EVENT_INIT;
	enum tracepoint_status status = tracepoints_decode(dat->tracepoints, dat->content, message->bytes, &event);

	if (status == TRACEPOINT_EVENT && message->cpu < KMT_CPUS_MAX) {
		event.time_ns = message->time_ns;
		event.cpu = (uint16_t)message->cpu;
		dat->records++;
		return import_add_event(dat->import, &event, error);
	}
	if (import_is_strict(dat->import))
		return kml_fail(error, "%s: a record at %" PRIu64 " ns %s; without --strict it is skipped", dat->name,
				message->time_ns,
				status == TRACEPOINT_UNKNOWN ? "is no kmem event" : "is shorter than its fields");
	import_count(dat->import, status == TRACEPOINT_UNKNOWN ? KMT_QUIRK_UNKNOWN_EVENT : KMT_QUIRK_MALFORMED, 1);
	return true;
}

/* A kmem event whose format is of no use: its records are unknown ones. */
static void add_format(struct trace_dat *dat, const struct message *message)
{
	struct kml_error reason = {{0}};

	if (!tracepoints_add(dat->tracepoints, dat->content, message->bytes, &reason))
		import_warn(dat->import, "%s: an event format was left out: %s", dat->name, reason.text);
}

static bool take_message(struct trace_dat *dat, const struct message *message, struct kml_error *error)
{
	switch (message->kind) {
	case MESSAGE_CPUS:
		dat->cpu_count = message->cpu <= KMT_CPUS_MAX ? message->cpu : 0;
		return true;
	case MESSAGE_FORMAT:
		add_format(dat, message);
		return true;
	case MESSAGE_LOST:
		import_count(dat->import, KMT_QUIRK_LOST, message->count);
		return true;
	case MESSAGE_RECORD:
		return add_record(dat, message, error);
	default:
		return kml_fail(error, "%s: %s", dat->name, dat->content);
	}
}

static bool receive_all(struct trace_dat *dat, struct kml_error *error)
{
	struct message message;

	while (receive(dat, &message)) {
		if (message.kind == MESSAGE_END)
			return true;
		if (!take_message(dat, &message, error))
			return false;
	}
	return kml_fail(error,
			"%s: libtracecmd %s: the file is damaged; record again, or import the text of `trace-cmd "
			"report`",
			dat->name,
			ferror(dat->from) ? "made nothing of it for a minute" : "broke down while reading it");
}

static bool finish(struct trace_dat *dat, struct kml_error *error)
{
	if (dat->records == 0)
		return kml_fail(error, "%s holds no kmem events: record with `trace-cmd record -e kmem`", dat->name);
	import_set_origin(dat->import, &(struct kmt_origin){.source = "trace.dat", .cpu_count = dat->cpu_count});
	return true;
}

static bool read_from_child(struct trace_dat *dat, int file, struct kml_error *error)
{
	int ends[2];
	const struct timeval silence = {.tv_sec = SILENCE_SECONDS_MAX};

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return kml_fail(error, "%s: no socket for libtracecmd: %s", dat->name, strerror(errno));
	pid_t child = fork();
	if (child == 0)
		run_child(file, ends[1]);
	close(ends[1]);
	setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
	dat->from = fdopen(ends[0], "r");
	bool done = child > 0 && dat->from
			    ? receive_all(dat, error) && finish(dat, error)
			    : kml_fail(error, "%s: no process for libtracecmd: %s", dat->name, strerror(errno));
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	if (dat->from)
		fclose(dat->from);
	else
		close(ends[0]);
	return done;
}

/* The input, whatever it is, as a file that can be sought in. -1 and *error. */
static int copy_to_memory(struct import_input *input, struct kml_error *error)
{
	uint8_t buffer[1 << 16];
	int64_t got;
	int file = memfd_create("trace.dat", MFD_CLOEXEC);

	while (file >= 0 && (got = import_input_read(input, buffer, sizeof buffer, error)) != 0) {
		if (got > 0 && write(file, buffer, (size_t)got) == got)
			continue;
		if (got > 0)
			kml_fail(error, "%s: cannot be kept in memory: %s", import_input_name(input), strerror(errno));
		close(file);
		return -1;
	}
	if (file < 0 || lseek(file, 0, SEEK_SET) != 0) {
		kml_fail(error, "%s: cannot be kept in memory: %s", import_input_name(input), strerror(errno));
		return -1;
	}
	return file;
}

bool import_trace_dat(struct import *import, struct import_input *input, struct kml_error *error)
{
	int file = copy_to_memory(input, error);
	if (file < 0)
		return false;
	struct trace_dat dat = {.import = import,
				.name = import_input_name(input),
				.tracepoints = tracepoints_create(),
				.content = malloc(CONTENT_BYTES_MAX + 1)};
	bool done =
		dat.tracepoints && dat.content ? read_from_child(&dat, file, error) : kml_fail(error, "out of memory");
	tracepoints_destroy(dat.tracepoints);
	free(dat.content);
	close(file);
	return done;
}
