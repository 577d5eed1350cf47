/*
 * fork_storm.c - generations of processes: all alive at once, then dead in another order.
 *
 * A fork takes some ninety objects of fourteen caches and forty pages (process.h); the exits free them on whatever cpu
 * the process ended, task_struct a grace period later. In between each process has a child that lives for a moment.
 * The recorded counterpart is traces/fork.kmt.
 */
#include "workloads/generate/generators.h"
#include "workloads/generate/ids.h"
#include "workloads/generate/kernel_caches.h"
#include "workloads/generate/process.h"

static const uint64_t FORK_NS = 300000; /* as in traces/fork.kmt */
static const uint64_t GRACE_NS = 20000000;

struct fork_storm_config {
	struct generate_common common;
	uint64_t processes, generations;
};

static const struct kml_param params[] = {
	GENERATE_PARAMS("2"),
	{.name = "processes",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct fork_storm_config, processes),
	 .default_text = "100",
	 .minimum = 1,
	 .maximum = 1 << 20,
	 .help = "alive at once"},
	{.name = "generations",
	 .type = KML_PARAM_NUMBER,
	 .offset = offsetof(struct fork_storm_config, generations),
	 .default_text = "4",
	 .minimum = 1,
	 .maximum = 1 << 20,
	 .help = "how often all are forked, and end"},
	{0},
};

struct fork_storm {
	const struct fork_storm_config *config;
	struct process *alive;
	uint64_t count; /* of them now */
	uint64_t generation;
	bool are_ending;
};

static bool start(struct generate *generate, void *state, const void *config, struct kml_error *error)
{
	struct fork_storm *storm = state;
	storm->config = config;
	storm->alive = calloc(storm->config->processes, sizeof *storm->alive);
	kernel_caches_tell(generate);
	return storm->alive || kml_fail(error, "fork_storm: processes: no memory for %llu: ask for fewer",
					(unsigned long long)storm->config->processes);
}

static void end(void *state)
{
	free(((struct fork_storm *)state)->alive);
}

/* A process, and its child. */
static void fork_one(struct generate *generate, struct fork_storm *storm)
{
	struct process child;
	generate_advance_to(generate, generate_now(generate) + FORK_NS);
	process_fork(generate, &storm->alive[storm->count++], generate_cpu(generate));
	process_fork(generate, &child, generate_cpu(generate));
	generate_advance_to(generate, generate_now(generate) + FORK_NS);
	process_exit(generate, &child, generate_cpu(generate), GRACE_NS, false);
}

static void end_one(struct generate *generate, struct fork_storm *storm)
{
	generate_advance_to(generate, generate_now(generate) + FORK_NS / 2);
	struct process *ends = &storm->alive[generate_below(generate, storm->count)];
	process_exit(generate, ends, generate_cpu(generate), GRACE_NS, false);
	*ends = storm->alive[--storm->count];
}

static bool step(struct generate *generate, void *state)
{
	struct fork_storm *storm = state;
	if (!storm->are_ending) {
		if (storm->count == 0)
			generate_mark(generate, "fork");
		fork_one(generate, storm);
		storm->are_ending = storm->count == storm->config->processes;
		return true;
	}
	if (storm->count == storm->config->processes)
		generate_mark(generate, "exit");
	end_one(generate, storm);
	if (storm->count > 0)
		return true;
	storm->are_ending = false;
	if (++storm->generation < storm->config->generations)
		return true;
	while (generate_advance_to_death(generate))
		;
	return false;
}

const struct generator generator_fork_storm = {
	.name = "fork_storm",
	.title = "Generations of processes",
	.citation = "kernel/fork.c, mm/mmap.c; objects a process as in traces/fork.kmt (Linux 6.18)",
	.summary =
		"ninety objects and forty pages a process; all alive at once, then freed process by process, shuffled",
	.params = params,
	.config_bytes = sizeof(struct fork_storm_config),
	.state_bytes = sizeof(struct fork_storm),
	.start = start,
	.step = step,
	.end = end,
};
