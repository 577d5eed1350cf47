/*
 * proc.h - the kernel's own views of its memory: /proc snapshots while a capture runs, and the geometry of its caches.
 */
#ifndef KMEMLAB_CAPTURE_PROC_H
#define KMEMLAB_CAPTURE_PROC_H

#include <stdbool.h>
#include <stdint.h>

#include "traces/capture/store.h"
#include "traces/import/import.h"

struct proc;

/* Opens /proc/slabinfo (without it: NULL and *error), buddyinfo, meminfo, vmstat, zoneinfo (left out when missing). */
struct proc *proc_open(struct kml_error *error);
void proc_close(struct proc *proc);

/* One snapshot of each file to the store, with the time of CLOCK_MONOTONIC in the middle of its reading. */
bool proc_snapshot(struct proc *proc, struct store *store, struct kml_error *error);

/* MemAvailable of the snapshot taken last; UINT64_MAX when it does not say. */
uint64_t proc_available_bytes(const struct proc *proc);

/*
 * Every cache of the first slabinfo of the store's kernel to the import: from /sys/kernel/slab/NAME where there is one
 * (SLUB), which knows what slabinfo does not: the size asked for, the alignment, constructor, RCU, reclaimability.
 */
bool proc_add_caches(struct proc *proc, struct import *import, struct kml_error *error);

uint64_t proc_now_ns(void); /* CLOCK_MONOTONIC, the trace clock 'mono' */

#endif
