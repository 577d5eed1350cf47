/*
 * ring.c - an ftrace instance for kmem events; see ring.h.
 *
 * Followed: Documentation/trace/ftrace.rst and ring-buffer-design.rst of Linux 6.18.
 */
#include "traces/capture/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tracefs/tracefs.h>
#include <traceevent/kbuffer.h>

#include "kmemlab/support/error.h"

enum { MISSED_COUNT_BYTES = 8 /* the number of missed events follows a page's data when there is room */ };

static const struct {
	const char *name;
	bool required;
} kmem_events[] = {
	{"kmalloc", true},
	{"kfree", true},
	{"kmem_cache_alloc", true},
	{"kmem_cache_free", true},
	{"kmalloc_node", false}, /* until 6.0 */
	{"kmem_cache_alloc_node", false},
	{"mm_page_alloc", true},
	{"mm_page_free", true},
};

struct ring {
	struct tracefs_instance *instance;
	struct tracefs_cpu **cpus; /* NULL: no such cpu */
	uint32_t cpu_count;
	int free_buffer; /* closing it frees the buffers, see set_up_instance */
	size_t page_bytes_max;
	bool recording;
	struct kbuffer *kbuffer;
	struct tracepoints *tracepoints;
};

static bool fail_without_tracefs(struct kml_error *error)
{
	if (geteuid() != 0)
		return kml_fail(
			error,
			"capture needs root to read the kernel's kmem tracepoints (tracefs) and /proc/slabinfo: run "
			"it with sudo; `kmemlab import` of a trace recorded elsewhere, and everything else, needs no "
			"rights");
	return kml_fail(
		error,
		"capture needs tracefs with the kmem events, which this kernel (or this container) does not offer at "
		"/sys/kernel/tracing: mount it (mount -t tracefs nodev /sys/kernel/tracing) or capture on another "
		"machine; `kmemlab import` and everything else works without");
}

/* ---------------------------------------------------------------------------------------------- setting up */

/* Of tracefs_instances_walk. An instance in use by another pid namespace has open buffers: the kernel keeps it. */
static int remove_when_stale(const char *name, void *context)
{
	(void)context;
	char *end;
	if (strncmp(name, "kmemlab-", strlen("kmemlab-")) != 0)
		return 0;
	long pid = strtol(name + strlen("kmemlab-"), &end, 10);
	if (*end != '\0' || pid <= 0 || kill((pid_t)pid, 0) == 0 || errno != ESRCH)
		return 0;
	struct tracefs_instance *stale = tracefs_instance_create(name);
	if (stale) {
		tracefs_instance_destroy(stale);
		tracefs_instance_free(stale);
	}
	return 0;
}

static bool enable_events(struct ring *ring, struct kml_error *error)
{
	for (size_t i = 0; i < sizeof kmem_events / sizeof *kmem_events; i++) {
		const char *name = kmem_events[i].name;
		int format_bytes = 0;
		char *format = tracefs_event_file_read(ring->instance, "kmem", name, "format", &format_bytes);
		if (!format && !kmem_events[i].required)
			continue;
		if (!format)
			return kml_fail(error,
					"this kernel has no event kmem:%s (CONFIG_TRACEPOINTS, CONFIG_EVENT_TRACING); "
					"`kmemlab import` of a trace recorded elsewhere works",
					name);
		struct kml_error reason = {0};
		bool learnt = tracepoints_add(ring->tracepoints, format, (size_t)format_bytes, &reason);
		free(format);
		if (!learnt)
			return kml_fail(error, "event kmem:%s: %s", name, reason.text);
		if (tracefs_event_enable(ring->instance, "kmem", name) != 0)
			return kml_fail(error, "the kernel refused to enable event kmem:%s: %s", name, strerror(errno));
	}
	return true;
}

static bool set_up_instance(struct ring *ring, uint64_t buffer_bytes, struct kml_error *error)
{
	if (tracefs_trace_off(ring->instance) != 0)
		return kml_fail(error, "tracefs: cannot stop the new instance: %s", strerror(errno));
	if (tracefs_instance_file_write(ring->instance, "trace_clock", "mono") < 0)
		return kml_fail(error, "this kernel has no trace clock 'mono' (it came with Linux 3.19)");
	/* disable_on_free: closing free_buffer, which the kernel does for a killed process too, frees the memory. */
	tracefs_option_enable(ring->instance, TRACEFS_OPTION_DISABLE_ON_FREE);
	ring->free_buffer = tracefs_instance_file_open(ring->instance, "free_buffer", O_WRONLY | O_CLOEXEC);
	size_t kib_per_cpu = (size_t)(buffer_bytes / 1024 / ring->cpu_count);
	if (tracefs_instance_set_buffer_size(ring->instance, kib_per_cpu ? kib_per_cpu : 1, -1) != 0)
		return kml_fail(
			error,
			"the kernel has no memory for trace buffers of %zu KiB on each of %u cpus: use a smaller "
			"--buffer",
			kib_per_cpu, ring->cpu_count);
	return enable_events(ring, error);
}

static bool open_cpus(struct ring *ring, struct kml_error *error)
{
	for (uint32_t cpu = 0; cpu < ring->cpu_count; cpu++) {
		char name[32];
		snprintf(name, sizeof name, "per_cpu/cpu%u", cpu);
		if (!tracefs_dir_exists(ring->instance, name))
			continue;
		ring->cpus[cpu] = tracefs_cpu_open(ring->instance, (int)cpu, true);
		if (!ring->cpus[cpu])
			return kml_fail(error, "tracefs: cannot open %s/trace_pipe_raw: %s", name, strerror(errno));
		int page_bytes = tracefs_cpu_read_size(ring->cpus[cpu]);
		if (page_bytes <= 0 || (size_t)page_bytes > store_entry_bytes_max() / 2)
			return kml_fail(error, "tracefs: %s has buffer pages of %d bytes", name, page_bytes);
		if ((size_t)page_bytes > ring->page_bytes_max)
			ring->page_bytes_max = (size_t)page_bytes;
	}
	return true;
}

static bool set_up(struct ring *ring, uint64_t buffer_bytes, struct kml_error *error)
{
	ring->cpus = calloc(ring->cpu_count, sizeof(struct tracefs_cpu *));
	ring->kbuffer = kbuffer_alloc(KBUFFER_LSIZE_SAME_AS_HOST, KBUFFER_ENDIAN_SAME_AS_HOST);
	ring->tracepoints = tracepoints_create();
	if (!ring->cpus || !ring->kbuffer || !ring->tracepoints)
		return kml_fail(error, "out of memory");
	tracefs_instances_walk(remove_when_stale, NULL);
	char name[32];
	snprintf(name, sizeof name, "kmemlab-%d", (int)getpid());
	ring->instance = tracefs_instance_create(name);
	if (!ring->instance)
		return fail_without_tracefs(error);
	return set_up_instance(ring, buffer_bytes, error) && open_cpus(ring, error);
}

bool ring_is_available(struct kml_error *error)
{
	tracefs_set_loglevel(TEP_LOG_NONE);
	const char *directory = tracefs_tracing_dir(); /* mounts it when it can */
	char instances[4096];
	snprintf(instances, sizeof instances, "%s/instances", directory ? directory : "");
	return (directory && access(instances, W_OK) == 0) || fail_without_tracefs(error);
}

struct ring *ring_open(uint64_t buffer_bytes, struct kml_error *error)
{
	if (!ring_is_available(error))
		return NULL;
	struct ring *ring = calloc(1, sizeof *ring);
	if (!ring) {
		kml_fail(error, "out of memory");
		return NULL;
	}
	ring->free_buffer = -1;
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	ring->cpu_count = cpus < 1 ? 1 : (uint32_t)cpus;
	if (!set_up(ring, buffer_bytes, error)) {
		ring_close(ring);
		return NULL;
	}
	return ring;
}

void ring_close(struct ring *ring)
{
	if (!ring)
		return;
	if (ring->instance)
		tracefs_trace_off(ring->instance);
	for (uint32_t cpu = 0; ring->cpus && cpu < ring->cpu_count; cpu++) {
		if (ring->cpus[cpu])
			tracefs_cpu_close(ring->cpus[cpu]);
	}
	if (ring->free_buffer >= 0)
		close(ring->free_buffer);
	if (ring->instance) {
		tracefs_instance_destroy(ring->instance);
		tracefs_instance_free(ring->instance);
	}
	kbuffer_free(ring->kbuffer);
	tracepoints_destroy(ring->tracepoints);
	free(ring->cpus);
	free(ring);
}

/* ------------------------------------------------------------------------------------------------- running */

bool ring_start(struct ring *ring, struct kml_error *error)
{
	ring->recording = true;
	return tracefs_trace_on(ring->instance) == 0 ||
	       kml_fail(error, "tracefs: cannot start the recording: %s", strerror(errno));
}

bool ring_stop(struct ring *ring, struct kml_error *error)
{
	ring->recording = false;
	return tracefs_trace_off(ring->instance) == 0 ||
	       kml_fail(error, "tracefs: cannot stop the recording: %s", strerror(errno));
}

/*
 * One buffer page, without its unused end. False when there is no more (*error empty) or on an error. A page that is
 * still being filled ends the matter while recording: to follow a busy cpu event by event would never end.
 */
static bool drain_page(struct ring *ring, uint32_t cpu, struct store *store, struct kml_error *error)
{
	struct store_entry *entry = store_reserve(store, ring->page_bytes_max, error);
	if (!entry)
		return false;
	errno = 0;
	int bytes = tracefs_cpu_read(ring->cpus[cpu], entry->data, true);
	if (bytes == 0 || (bytes < 0 && (errno == EAGAIN || errno == EINTR || errno == 0)))
		return false;
	if (bytes < 0)
		return kml_fail(error, "tracefs: reading the buffer of cpu %u: %s", cpu, strerror(errno));
	if (kbuffer_load_subbuffer(ring->kbuffer, entry->data) != 0)
		return kml_fail(error, "tracefs: a page of cpu %u has an unknown layout", cpu);
	uint64_t used_bytes = (uint64_t)kbuffer_start_of_data(ring->kbuffer) +
			      (uint64_t)kbuffer_subbuffer_size(ring->kbuffer) + MISSED_COUNT_BYTES;
	entry->kind = STORE_PAGE;
	entry->detail = cpu;
	entry->time_ns = 0;
	entry->bytes = used_bytes < (uint64_t)bytes ? used_bytes : (uint64_t)bytes;
	store_append(store, entry);
	return !ring->recording || used_bytes > ring->page_bytes_max / 2;
}

bool ring_drain(struct ring *ring, struct store *store, struct kml_error *error)
{
	struct kml_error reason = {0};
	for (uint32_t cpu = 0; cpu < ring->cpu_count; cpu++) {
		while (ring->cpus[cpu] && drain_page(ring, cpu, store, &reason))
			;
		if (reason.text[0] != '\0')
			return kml_fail(error, "%s", reason.text);
	}
	return true;
}

/* The number after `label` in a text like "entries: 0\noverrun: 34674\n". */
static uint64_t statistic(const char *text, const char *label)
{
	size_t length = strlen(label);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, label, length) == 0 && line[length] == ':')
			return strtoull(line + length + 1, NULL, 10);
	}
	return 0;
}

bool ring_counts(struct ring *ring, struct ring_counts *counts, struct kml_error *error)
{
	*counts = (struct ring_counts){0};
	for (uint32_t cpu = 0; cpu < ring->cpu_count; cpu++) {
		char name[40];
		snprintf(name, sizeof name, "per_cpu/cpu%u/stats", cpu);
		if (!ring->cpus[cpu])
			continue;
		char *text = tracefs_instance_file_read(ring->instance, name, NULL);
		if (!text)
			return kml_fail(error, "tracefs: cannot read %s, so lost events cannot be counted", name);
		counts->read += statistic(text, "read events");
		counts->overwritten += statistic(text, "overrun");
		counts->dropped += statistic(text, "commit overrun") + statistic(text, "dropped events");
		free(text);
	}
	return true;
}

uint32_t ring_cpu_count(const struct ring *ring)
{
	return ring->cpu_count;
}

struct tracepoints *ring_tracepoints(const struct ring *ring)
{
	return ring->tracepoints;
}
