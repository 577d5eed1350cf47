/*
 * capture.c - the course of a capture; see capture.h.
 *
 *   set up -> record -> first snapshot -> let the command run -> drain and snapshot in turn -> last snapshot
 *          -> stop -> drain the rest -> decode the raw pages -> import -> .kmt
 *
 * While the kernel is recorded nothing is decoded and nothing written: raw pages and snapshots go to memory that is
 * there already (store.h). What this program allocates all the same (the command's process, reading /proc and the
 * buffers) is part of the trace, because it is part of what slabinfo counts.
 */
#include "traces/capture/capture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <traceevent/kbuffer.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/output.h"
#include "kmemlab/support/progress.h"
#include "traces/capture/child.h"
#include "traces/capture/proc.h"
#include "traces/capture/ring.h"
#include "traces/capture/store.h"
#include "traces/import/import.h"

#define DRAIN_INTERVAL_NS UINT64_C(50000000)
#define BUFFER_BYTES_MIN (UINT64_C(1) << 20)
#define STORE_BYTES_AT_START_MAX (UINT64_C(256) << 20)
/*
 * The import takes more than twice the memory of the raw events (measured: 275 MiB for 2.2 million of them); and
 * nobody's machine is to be brought down by a capture that was forgotten.
 */
#define IMPORT_BYTES_PER_STORE_BYTE 4

struct capture {
	const struct capture_options *options;
	struct capture_result *result;
	struct child child;
	struct ring *ring;
	struct proc *proc;
	struct store *store;
	int signals;    /* signalfd */
	int end_signal; /* that interrupted us; 0: none */
	uint64_t start_ns;
};

/* ---------------------------------------------------------------------------------------------- recording */

static bool take_snapshot(struct capture *capture, struct kml_error *error)
{
	capture->result->snapshots++;
	return proc_snapshot(capture->proc, capture->store, error);
}

static void read_signal(struct capture *capture)
{
	struct signalfd_siginfo info;
	if (read(capture->signals, &info, sizeof info) != (ssize_t)sizeof info)
		return;
	if (info.ssi_signo != SIGCHLD)
		capture->end_signal = (int)info.ssi_signo;
}

/* Wait for a signal, but not beyond until_ns. */
static void wait_until(struct capture *capture, uint64_t until_ns)
{
	uint64_t now_ns = proc_now_ns();
	int timeout_ms = until_ns > now_ns ? (int)((until_ns - now_ns) / 1000000 + 1) : 0;
	struct pollfd ready = {.fd = capture->signals, .events = POLLIN};
	if (poll(&ready, 1, timeout_ms) == 1)
		read_signal(capture);
}

static bool is_memory_short(const struct capture *capture)
{
	uint64_t import_bytes = store_bytes(capture->store) * IMPORT_BYTES_PER_STORE_BYTE;
	uint64_t available_bytes = proc_available_bytes(capture->proc);
	return import_bytes > available_bytes || available_bytes - import_bytes < capture->options->reserve_bytes;
}

static bool is_over(struct capture *capture)
{
	const struct capture_options *options = capture->options;
	capture->result->out_of_memory = is_memory_short(capture);
	if (capture->end_signal || capture->result->out_of_memory)
		return true;
	if (options->command && child_ended(&capture->child))
		return true;
	capture->result->timed_out = options->duration_ns && proc_now_ns() - capture->start_ns >= options->duration_ns;
	return capture->result->timed_out;
}

static bool follow(struct capture *capture, struct kml_error *error)
{
	uint64_t next_snapshot_ns = capture->start_ns + capture->options->interval_ns;
	while (!is_over(capture)) {
		uint64_t until_ns = proc_now_ns() + DRAIN_INTERVAL_NS;
		uint64_t end_ns = capture->start_ns + capture->options->duration_ns;
		if (until_ns > next_snapshot_ns)
			until_ns = next_snapshot_ns;
		if (capture->options->duration_ns && until_ns > end_ns)
			until_ns = end_ns;
		wait_until(capture, until_ns);
		if (!ring_drain(capture->ring, capture->store, error))
			return false;
		if (proc_now_ns() < next_snapshot_ns)
			continue;
		if (!take_snapshot(capture, error))
			return false;
		while (next_snapshot_ns <= proc_now_ns())
			next_snapshot_ns += capture->options->interval_ns;
	}
	return true;
}

static bool record(struct capture *capture, struct kml_error *error)
{
	char **command = capture->options->command;
	capture->start_ns = proc_now_ns();
	bool ok = ring_start(capture->ring, error) && take_snapshot(capture, error) &&
		  (!command || child_release(&capture->child, command[0], error)) && follow(capture, error) &&
		  take_snapshot(capture, error);
	capture->result->duration_ns = proc_now_ns() - capture->start_ns;
	return ring_stop(capture->ring, ok ? error : NULL) && ok && ring_drain(capture->ring, capture->store, error);
}

/* ----------------------------------------------------------------------------------------------- importing */

static bool add_lost(struct import *import, uint16_t cpu, uint64_t time_ns, uint64_t events, struct kml_error *error)
{
	struct raw_event lost = RAW_EVENT_INIT;
	lost.kind = RAW_LOST;
	lost.cpu = cpu;
	lost.time_ns = time_ns;
	lost.bytes_requested = events;
	return import_add_event(import, &lost, error);
}

/* Events of one raw page. *missed grows by those the page says are missing before it. */
static bool add_page(struct capture *capture, struct kbuffer *kbuffer, const struct store_entry *entry,
		     struct import *import, uint64_t *missed, struct kml_error *error)
{
	unsigned long long time_ns = 0;
	if (kbuffer_load_subbuffer(kbuffer, (void *)entry->data) != 0)
		return kml_fail(error, "a raw page of cpu %u cannot be read", entry->detail);
	int missed_here = kbuffer_missed_events(kbuffer); /* -1: some, the kernel did not note how many */
	void *record = kbuffer_read_event(kbuffer, &time_ns);
	if (missed_here > 0) {
		*missed += (uint64_t)missed_here;
		if (!add_lost(import, (uint16_t)entry->detail, time_ns, (uint64_t)missed_here, error))
			return false;
	}
	for (; record; record = kbuffer_next_event(kbuffer, &time_ns)) {
		struct raw_event event = RAW_EVENT_INIT;
		event.cpu = (uint16_t)entry->detail;
		event.time_ns = time_ns;
		switch (tracepoints_decode(ring_tracepoints(capture->ring), record, (size_t)kbuffer_event_size(kbuffer),
					   &event)) {
		case TRACEPOINT_EVENT:
			if (!import_add_event(import, &event, error))
				return false;
			break;
		case TRACEPOINT_UNKNOWN:
			import_count(import, KMT_QUIRK_UNKNOWN_EVENT, 1);
			break;
		case TRACEPOINT_MALFORMED:
			import_count(import, KMT_QUIRK_MALFORMED, 1);
			break;
		}
		capture->result->events++;
	}
	return true;
}

static bool add_snapshot(const struct store_entry *entry, struct import *import, uint32_t *number,
			 struct kml_error *error)
{
	char label[16];
	if (entry->detail == KMT_SNAPSHOT_SLABINFO) /* the first of each moment */
		(*number)++;
	snprintf(label, sizeof label, "%04u", *number - 1);
	return import_add_snapshot(import, (enum kmt_snapshot_kind)entry->detail, entry->time_ns, label,
				   (const char *)entry->data, (size_t)entry->bytes, error);
}

static bool add_entries(struct capture *capture, struct kbuffer *kbuffer, struct import *import, uint64_t *missed,
			struct kml_error *error)
{
	struct kml_progress progress = {0};
	uint64_t done_bytes = 0;
	uint32_t snapshot = 0;
	bool ok = true;
	if (!capture->options->quiet)
		kml_progress_start(&progress, "decoding", "bytes", store_bytes(capture->store));
	for (const struct store_entry *entry; ok && (entry = store_take(capture->store));) {
		done_bytes += entry->bytes + sizeof *entry;
		ok = entry->kind == STORE_PAGE ? add_page(capture, kbuffer, entry, import, missed, error)
					       : add_snapshot(entry, import, &snapshot, error);
		if (!capture->options->quiet)
			kml_progress_update(&progress, done_bytes);
	}
	if (!capture->options->quiet)
		kml_progress_finish(&progress);
	return ok;
}

/* "cc -c small.c": the command's words with blanks between. Owned by the caller; NULL: memory exhausted. */
static char *command_text(char **command)
{
	size_t bytes = 1;
	for (char **word = command; word && *word; word++)
		bytes += strlen(*word) + 1;
	char *text = calloc(1, bytes);
	char *end = text;
	for (char **word = command; text && word && *word; word++)
		end = stpcpy(stpcpy(end, word == command ? "" : " "), *word);
	return text;
}

static bool set_origin(struct capture *capture, struct import *import, struct kml_error *error)
{
	struct utsname kernel;
	char *command = command_text(capture->options->command);
	if (!command || uname(&kernel) != 0) {
		free(command);
		return kml_fail(error, "out of memory");
	}
	char kernel_text[sizeof kernel];
	snprintf(kernel_text, sizeof kernel_text, "%s %s %s", kernel.sysname, kernel.release, kernel.machine);
	import_set_origin(import, &(struct kmt_origin){
					  .source = "capture",
					  .kernel = kernel_text,
					  .command = command,
					  .clock = "mono",
					  .note = capture->options->note ? capture->options->note : "",
					  .cpu_count = ring_cpu_count(capture->ring),
					  .page_bytes = (uint32_t)sysconf(_SC_PAGESIZE),
				  });
	free(command);
	return true;
}

static bool write_trace(struct capture *capture, struct import *import, struct kml_error *error)
{
	struct ring_counts counts;
	struct kbuffer *kbuffer = kbuffer_alloc(KBUFFER_LSIZE_SAME_AS_HOST, KBUFFER_ENDIAN_SAME_AS_HOST);
	if (!kbuffer)
		return kml_fail(error, "out of memory");
	uint64_t missed = 0;
	bool ok = set_origin(capture, import, error) && proc_add_caches(capture->proc, import, error) &&
		  ring_counts(capture->ring, &counts, error) && add_entries(capture, kbuffer, import, &missed, error);
	kbuffer_free(kbuffer);
	if (!ok)
		return false;
	/* The pages tell where events are missing, the statistics how many: what no page told is counted at the end. */
	capture->result->lost = counts.overwritten + counts.dropped;
	if (capture->result->lost > missed)
		import_count(import, KMT_QUIRK_LOST, capture->result->lost - missed);
	return import_write(import, capture->options->output, error);
}

/* ------------------------------------------------------------------------------------------------ the whole */

static bool output_is_writable(const char *path, struct kml_error *error)
{
	struct kml_output probe;
	if (!kml_output_open(&probe, path, error))
		return false;
	kml_output_abandon(&probe);
	return true;
}

static bool set_up(struct capture *capture, const sigset_t *old_mask, struct kml_error *error)
{
	const struct capture_options *options = capture->options;
	uint64_t buffer_bytes = options->buffer_bytes < BUFFER_BYTES_MIN ? BUFFER_BYTES_MIN : options->buffer_bytes;
	if (!ring_is_available(error) || !output_is_writable(options->output, error))
		return false;
	/* First of all the fork, so that the command's process shares nothing of what follows. */
	if (options->command && !child_prepare(&capture->child, options->command, old_mask, error))
		return false;
	capture->ring = ring_open(buffer_bytes, error);
	capture->proc = capture->ring ? proc_open(error) : NULL;
	uint64_t store_start_bytes = buffer_bytes < STORE_BYTES_AT_START_MAX ? buffer_bytes : STORE_BYTES_AT_START_MAX;
	capture->store = capture->proc ? store_create(store_start_bytes, error) : NULL;
	if (!capture->store)
		return false;
	capture->result->cpus = ring_cpu_count(capture->ring);
	return true;
}

static bool run(struct capture *capture, const sigset_t *old_mask, struct kml_error *error)
{
	bool ok = set_up(capture, old_mask, error) && record(capture, error);
	child_stop(&capture->child, capture->end_signal ? capture->end_signal : SIGTERM);
	capture->result->command_status = capture->child.status;
	capture->result->interrupted = capture->end_signal != 0;
	struct import *import = ok ? import_create(&(struct import_options){.quiet = capture->options->quiet}) : NULL;
	if (ok && !import)
		ok = kml_fail(error, "out of memory");
	ok = ok && write_trace(capture, import, error);
	import_destroy(import);
	store_destroy(capture->store);
	proc_close(capture->proc);
	ring_close(capture->ring);
	return ok;
}

bool capture_run(const struct capture_options *options, struct capture_result *result, struct kml_error *error)
{
	*result = (struct capture_result){0};
	struct capture capture = {.options = options, .result = result, .child = {.go = -1, .outcome = -1}};
	sigset_t caught, old_mask;
	sigemptyset(&caught);
	sigaddset(&caught, SIGINT);
	sigaddset(&caught, SIGTERM);
	sigaddset(&caught, SIGHUP);
	sigaddset(&caught, SIGCHLD);
	sigprocmask(SIG_BLOCK, &caught, &old_mask);
	capture.signals = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
	bool ok = capture.signals >= 0 ? run(&capture, &old_mask, error)
				       : kml_fail(error, "signalfd: %s", strerror(errno));
	if (capture.signals >= 0)
		close(capture.signals);
	/* A second Ctrl-C while the file is written waits until here. */
	sigprocmask(SIG_SETMASK, &old_mask, NULL);
	return ok;
}
