/*
 * proc.c - /proc snapshots and cache geometry; see proc.h.
 *
 * The files stay open and are read from their beginning each time: opening them would allocate more than reading does.
 * Followed: mm/slab_common.c (slabinfo 2.1) and mm/slub.c (the attributes of /sys/kernel/slab) of Linux 6.18.
 */
#include "traces/capture/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kmemlab/support/clock.h"
#include "kmemlab/support/error.h"
#include "traces/proc/cache_names.h"
#include "traces/proc/proc_text.h"

#define SNAPSHOT_BYTES_MAX ((size_t)2 << 20)

static const enum kmt_snapshot_kind snapshot_kinds[] = {
	KMT_SNAPSHOT_SLABINFO, KMT_SNAPSHOT_BUDDYINFO, KMT_SNAPSHOT_MEMINFO, KMT_SNAPSHOT_VMSTAT, KMT_SNAPSHOT_ZONEINFO,
};
enum { SNAPSHOT_FILES = sizeof snapshot_kinds / sizeof *snapshot_kinds };

struct proc {
	int files[SNAPSHOT_FILES]; /* -1: this kernel has none */
	uint64_t available_bytes;
};

uint64_t proc_now_ns(void)
{
	return kml_clock_ns(CLOCK_MONOTONIC);
}

struct proc *proc_open(struct kml_error *error)
{
	struct proc *proc = malloc(sizeof *proc);
	if (!proc) {
		kml_fail(error, "out of memory");
		return NULL;
	}
	proc->available_bytes = UINT64_MAX;
	for (int i = 0; i < SNAPSHOT_FILES; i++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/%s", kmt_snapshot_name(snapshot_kinds[i]));
		proc->files[i] = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (proc->files[0] >= 0)
		return proc;
	kml_fail(error, "capture needs /proc/slabinfo (%s): %s; `kmemlab import` and everything else works without",
		 strerror(errno = errno ? errno : ENOENT),
		 geteuid() == 0 ? "this kernel was built without CONFIG_SLUB_DEBUG, or a container hides it"
				: "run it as root");
	proc_close(proc);
	return NULL;
}

void proc_close(struct proc *proc)
{
	for (int i = 0; proc && i < SNAPSHOT_FILES; i++) {
		if (proc->files[i] >= 0)
			close(proc->files[i]);
	}
	free(proc);
}

/* The whole of an open /proc file. -1 on errors. */
static ssize_t read_from_start(int file, uint8_t *text, size_t room_bytes)
{
	size_t used_bytes = 0;
	if (lseek(file, 0, SEEK_SET) != 0)
		return -1;
	while (used_bytes < room_bytes) {
		ssize_t got = read(file, text + used_bytes, room_bytes - used_bytes);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -1 : (ssize_t)used_bytes;
		used_bytes += (size_t)got;
	}
	errno = EFBIG;
	return -1;
}

static void learn_available(struct proc *proc, const char *meminfo, size_t bytes)
{
	static const char LABEL[] = "MemAvailable:";
	const char *line = memmem(meminfo, bytes, LABEL, strlen(LABEL));
	if (line)
		proc->available_bytes = strtoull(line + strlen(LABEL), NULL, 10) * 1024;
}

uint64_t proc_available_bytes(const struct proc *proc)
{
	return proc->available_bytes;
}

bool proc_snapshot(struct proc *proc, struct store *store, struct kml_error *error)
{
	for (int i = 0; i < SNAPSHOT_FILES; i++) {
		if (proc->files[i] < 0)
			continue;
		struct store_entry *entry = store_reserve(store, SNAPSHOT_BYTES_MAX, error);
		if (!entry)
			return false;
		uint64_t before_ns = proc_now_ns();
		ssize_t bytes = read_from_start(proc->files[i], entry->data, SNAPSHOT_BYTES_MAX - 1);
		if (bytes < 0)
			return kml_fail(error, "/proc/%s: %s", kmt_snapshot_name(snapshot_kinds[i]), strerror(errno));
		entry->data[bytes] = '\0';
		if (snapshot_kinds[i] == KMT_SNAPSHOT_MEMINFO)
			learn_available(proc, (const char *)entry->data, (size_t)bytes);
		entry->kind = STORE_SNAPSHOT;
		entry->detail = snapshot_kinds[i];
		entry->time_ns = before_ns + (proc_now_ns() - before_ns) / 2;
		entry->bytes = (uint64_t)bytes;
		store_append(store, entry);
	}
	return true;
}

/* ------------------------------------------------------------------------------------------------- geometry */

/* A number from /sys/kernel/slab/CACHE/ATTRIBUTE; `absent` where there is none. */
static uint64_t slab_attribute(const char *cache, const char *attribute, uint64_t absent)
{
	char path[512], text[64];
	snprintf(path, sizeof path, "/sys/kernel/slab/%s/%s", cache, attribute);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return absent;
	ssize_t got = read(file, text, sizeof text - 1);
	close(file);
	if (got <= 0)
		return absent;
	text[got] = '\0';
	char *end;
	uint64_t value = strtoull(text, &end, 10);
	return end == text ? absent : value;
}

static bool has_constructor(const char *cache)
{
	char path[512], byte;
	snprintf(path, sizeof path, "/sys/kernel/slab/%s/ctor", cache);
	int file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	bool present = read(file, &byte, 1) == 1 && byte != '\n';
	close(file);
	return present;
}

static void refine_from_sysfs(struct kmt_cache *cache)
{
	cache->slot_bytes = slab_attribute(cache->name, "slab_size", cache->slot_bytes);
	cache->object_bytes = slab_attribute(cache->name, "object_size", cache->slot_bytes);
	cache->align_bytes = slab_attribute(cache->name, "align", 0);
	cache->objects_per_slab = (uint32_t)slab_attribute(cache->name, "objs_per_slab", cache->objects_per_slab);
	uint64_t order = slab_attribute(cache->name, "order", 32);
	if (order < 32)
		cache->pages_per_slab = 1u << order;
	if (has_constructor(cache->name))
		cache->flags |= KMT_CACHE_CONSTRUCTOR;
	if (slab_attribute(cache->name, "destroy_by_rcu", 0))
		cache->flags |= KMT_CACHE_TYPESAFE_BY_RCU;
	if (slab_attribute(cache->name, "reclaim_account", 0))
		cache->flags |= KMT_CACHE_RECLAIMABLE;
	if (cache_name_is_kmalloc(cache->name))
		cache->flags |= KMT_CACHE_KMALLOC;
}

static bool add_cache(struct import *import, const struct slabinfo_line *line, struct kml_error *error)
{
	struct kmt_cache cache = {.name = line->name,
				  .slot_bytes = line->slot_bytes,
				  .object_bytes = line->slot_bytes,
				  .objects_per_slab = line->objects_per_slab,
				  .pages_per_slab = line->pages_per_slab};
	refine_from_sysfs(&cache);
	return import_add_cache(import, &cache, error);
}

bool proc_add_caches(struct proc *proc, struct import *import, struct kml_error *error)
{
	char *text = malloc(SNAPSHOT_BYTES_MAX + 1);
	if (!text)
		return kml_fail(error, "out of memory");
	ssize_t bytes = read_from_start(proc->files[0], (uint8_t *)text, SNAPSHOT_BYTES_MAX);
	bool ok = bytes >= 0 || kml_fail(error, "/proc/slabinfo: %s", strerror(errno));
	text[ok ? bytes : 0] = '\0';
	struct slabinfo_line line;
	for (const char *rest = text; ok && slabinfo_next(&rest, &line);)
		ok = add_cache(import, &line, error);
	free(text);
	return ok;
}
