/*
 * process.h - what the kernel keeps for a process, for scenarios that fork (kernel/fork.c, mm/mmap.c): counts as in
 * traces/fork.kmt (Linux 6.18, small static programs).
 */
#ifndef KMEMLAB_GENERATE_PROCESS_H
#define KMEMLAB_GENERATE_PROCESS_H

#include "workloads/generate/generate.h"

enum {
	PROCESS_VMAS = 20,       /* each with a chain link; every other one with an anon_vma */
	PROCESS_MAPLE_NODES = 6, /* index the vmas */
	PROCESS_TABLE_PAGES = 9, /* page tables */
	PROCESS_PAGES = 24,      /* anonymous memory and its copies */
	PROCESS_STACK_PAGES = 4, /* of the kernel, mapped page by page (CONFIG_VMAP_STACK) */
	PROCESS_OBJECTS = 128,
};

struct process {
	generate_id task; /* outlives the rest by a grace period */
	generate_id owned[PROCESS_OBJECTS];
	uint32_t owned_count;
	uint16_t cpu; /* where it was forked */
};

/* fork(): after kernel_caches_tell. */
void process_fork(struct generate *generate, struct process *process, uint16_t cpu);
/* exit() on a cpu. The task_struct goes `grace_ns` later, unless it leaks. */
void process_exit(struct generate *generate, struct process *process, uint16_t cpu, uint64_t grace_ns, bool leaks);

#endif
