/*
 * task_leak.c - a task_struct that is never put: what an unbalanced get_task_struct() does to a machine over days.
 *
 * Processes come at a steady rate and live for an exponential time; of one in `every` the task_struct stays for ever
 * while all else is freed. slabinfo shows the cache growing in a straight line: processes / every, five a slab of eight
 * pages. Between leaks the slabs are shared with living processes, so held memory runs ahead of what has leaked.
 */
#include "workloads/generate/generators.h"
#include "workloads/generate/kernel_caches.h"
#include "workloads/generate/ids.h"
#include "workloads/generate/process.h"

static const uint64_t GRACE_NS = 20000000;

struct task_leak_config {
	struct generate_common common;
	uint64_t processes, alive, every;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("2"),
	{.name = "processes",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct task_leak_config, processes),
	 .default_text = "2000",
	 .minimum = 1,
	 .maximum = 1ull << 32,
	 .help = "forked in all"},
	{.name = "alive",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct task_leak_config, alive),
	 .default_text = "50",
	 .minimum = 1,
	 .maximum = 1 << 20,
	 .help = "processes alive at once"},
	{.name = "every",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct task_leak_config, every),
	 .default_text = "10",
	 .minimum = 1,
	 .maximum = 1ull << 32,
	 .help = "of so many processes one leaks its task_struct"},
	{0},
};

struct task_leak {
	const struct task_leak_config *config;
	struct process *alive;
	uint64_t count, forked;
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct task_leak *leak = state;
	leak->config = config;
	leak->alive = calloc(leak->config->alive, sizeof *leak->alive);
	kernel_caches_tell(generate);
	return leak->alive || kml_fail(error, "task_leak: alive: no memory for %llu processes: ask for fewer",
				       (unsigned long long)leak->config->alive);
}

static void end(void *state)
{
	free(((struct task_leak *)state)->alive);
}

static void end_one(struct generate *generate, struct task_leak *leak, bool leaks)
{
	struct process *ends = &leak->alive[generate_below(generate, leak->count)];
	process_exit(generate, ends, generate_cpu(generate), GRACE_NS, leaks);
	*ends = leak->alive[--leak->count];
}

/* One ends, of all alike, and one is forked: the time that a process lives is geometric in steps. */
static bool step(struct generate *generate, void *state)
{
	struct task_leak *leak = state;
	generate_advance_to(generate, generate_now(generate) + (uint64_t)generate_exponential(generate, 1e6));
	if (leak->forked == leak->config->processes) {
		while (leak->count > 0)
			end_one(generate, leak, false);
		while (generate_advance_to_death(generate))
			;
		return false; /* what has leaked is live at the end */
	}
	if (leak->count == leak->config->alive)
		end_one(generate, leak, leak->forked % leak->config->every == 0);
	process_fork(generate, &leak->alive[leak->count++], generate_cpu(generate));
	leak->forked++;
	return true;
}

const struct generator generator_task_leak = {
	.name = "task_leak",
	.title = "A leaking reference to task_struct",
	.citation = "include/linux/sched/task.h: a get_task_struct() without its put; geometry of Linux 6.18",
	.summary = "processes come and go; of one in `every` the task_struct stays for ever",
	.params = params,
	.config_bytes = sizeof(struct task_leak_config),
	.state_bytes = sizeof(struct task_leak),
	.start = start,
	.step = step,
	.end = end,
};
