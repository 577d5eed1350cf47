/* process.c - see process.h. */
#include "workloads/generate/process.h"

#include "kmemlab/support/error.h"
#include "workloads/generate/kernel_caches.h"

static void own(struct process *process, generate_id id)
{
	KML_CHECK(process->owned_count < PROCESS_OBJECTS, "a process of %u objects", process->owned_count);
	process->owned[process->owned_count++] = id;
}

static void own_objects(struct generate *generate, struct process *process, enum kernel_cache cache, uint32_t count)
{
	while (count--)
		own(process, kernel_alloc(generate, cache, process->cpu));
}

static void own_pages(struct generate *generate, struct process *process, uint16_t flags, uint32_t count)
{
	while (count--)
		own(process, kernel_pages(generate, 0, flags, process->cpu));
}

static void map_memory(struct generate *generate, struct process *process)
{
	own_objects(generate, process, KERNEL_MM, 1);
	own_pages(generate, process, 0, PROCESS_TABLE_PAGES);
	for (uint32_t i = 0; i < PROCESS_VMAS; i++) {
		own_objects(generate, process, KERNEL_VMA, 1);
		own_objects(generate, process, KERNEL_ANON_VMA_CHAIN, 1);
		own_objects(generate, process, KERNEL_ANON_VMA, i % 2);
	}
	own_objects(generate, process, KERNEL_MAPLE_NODE, PROCESS_MAPLE_NODES);
	own_pages(generate, process, KML_MOVABLE, PROCESS_PAGES);
}

void process_fork(struct generate *generate, struct process *process, uint16_t cpu)
{
	*process = (struct process){.cpu = cpu};
	process->task = kernel_alloc(generate, KERNEL_TASK, cpu);
	own_pages(generate, process, 0, PROCESS_STACK_PAGES);
	own_objects(generate, process, KERNEL_CRED, 1);
	own_objects(generate, process, KERNEL_FILES, 1);
	own_objects(generate, process, KERNEL_FS, 1);
	own_objects(generate, process, KERNEL_SIGHAND, 1);
	own_objects(generate, process, KERNEL_SIGNAL, 1);
	map_memory(generate, process);
	own_objects(generate, process, KERNEL_PID, 1);
}

void process_exit(struct generate *generate, struct process *process, uint16_t cpu, uint64_t grace_ns, bool leaks)
{
	while (process->owned_count > 0)
		generate_free(generate, process->owned[--process->owned_count], cpu);
	if (!leaks)
		generate_free_at(generate, process->task, cpu, generate_now(generate) + grace_ns);
}
