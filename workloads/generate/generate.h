/*
 * generate.h - workloads that are made, not recorded: from textbooks, kernels' habits, and the worst case.
 *
 * A workload's spec is `NAME[:parameter=value,...]`, as in queue:sizes=exponential,mean=50. It stands wherever a trace
 * may stand: it is a reader of events (kmt_open_source) that are made as they are asked for, the same ones for the same
 * spec. Memory: O(live objects); a billion events need no more.
 *
 * A *reactive* generator plays against a living stack of its own and sees addresses and failures: an adversary, or a
 * queue that is never empty. Its spec may end with `against=STACK`; what comes out is a stream like any other, which
 * does to that stack, in the arena it names, what was done when it was made.
 *
 * Adding a generator = one file in this folder and one line in registry.c.
 */
#ifndef KMEMLAB_GENERATE_H
#define KMEMLAB_GENERATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocators/allocator.h"
#include "traces/kmt/kmt.h"

/* One workload on its way. */
struct generate;

/* What every generator can be told; the first member of its configuration. */
struct generate_common {
	uint64_t seed;
	uint64_t cpus;
	uint64_t arena_bytes; /* reactive ones: to play in; 0: the generator's own choice */
};

/* Rows of a generator's table of parameters: the first ones of all, and of reactive ones. */
#define GENERATE_PARAMS(default_cpus)                                                                                  \
	{.name = "seed",                                                                                               \
	 .type = KML_PARAM_NUMBER,                                                                                     \
	 .offset = offsetof(struct generate_common, seed),                                                             \
	 .default_text = "1",                                                                                          \
	 .maximum = UINT64_MAX,                                                                                        \
	 .help = "of the random numbers"},                                                                             \
	{                                                                                                              \
		.name = "cpus", .type = KML_PARAM_NUMBER, .offset = offsetof(struct generate_common, cpus),            \
		.default_text = (default_cpus), .minimum = 1, .maximum = 1024, .help = "cpus that take part"           \
	}
#define GENERATE_PARAM_ARENA(default_bytes)                                                                            \
	{                                                                                                              \
		.name = "arena", .type = KML_PARAM_SIZE, .offset = offsetof(struct generate_common, arena_bytes),      \
		.default_text = (default_bytes), .minimum = 1, .maximum = 1ull << 46,                                  \
		.help = "to play in; auto: what the sizes ask for"                                                     \
	}

/*
 * One kind of workload. `start` is called at the beginning of every pass, on zeroed state of state_bytes and a fresh
 * random sequence: false and *error when parameters contradict each other (it names the parameter and its range).
 * `step` makes the next event or the next few that belong together; false at the end.
 */
struct generator {
	const char *name;     /* [a-z0-9_]+ */
	const char *title;    /* "Knuth's bad sequence for the binary buddy system" */
	const char *citation; /* who invented it, where; for a kernel scenario: what was measured or which file */
	const char *summary;  /* one line: the rule, as a formula where there is one */
	const struct kml_param *params;
	size_t config_bytes, state_bytes;
	bool is_reactive;
	bool (*start)(struct generate *generate, void *state, const void *config, struct kml_error *error);
	bool (*step)(struct generate *generate, void *state);
	void (*end)(void *state); /* optional: what the state owns */
};

/* All, alphabetical. */
const struct generator *const *generators(size_t *count);
/* NULL when there is none of that name. */
const struct generator *generator_find(const char *name);

/* ------------------------------------------------------------------------------------------------ for its users */

/*
 * A trace by whatever names it: a .kmt, or the spec of a workload (a file of that name wins). `against`: the stack that
 * a reactive workload plays against where its spec names none; NULL: binary. NULL and *error; else the caller closes.
 */
struct kmt_reader *workload_open(const char *text, const char *against, struct kml_error *error);
/* What a reactive workload did to its living stack. */
struct workload_outcome {
	uint64_t arena_bytes;
	uint64_t peak_live_bytes; /* requested */
	uint64_t span_bytes;      /* from the lowest to the highest byte that was ever granted */
	uint64_t peak_held_bytes;
	uint64_t refused; /* allocations */
};
/*
 * Play a reactive workload to its end and keep nothing of it but its outcome. `against` as above. false and *error when
 * it cannot be played, and for a workload that is not reactive. Cost: that of one pass.
 */
bool workload_play(const char *text, const char *against, struct workload_outcome *outcome, struct kml_error *error);
/* Shall those that search before they play show how far they are, on a terminal? At first not. */
void workload_show_progress(bool shows);
/* Is it the spec of a workload: does it begin with a generator's name, and is no file called so? */
bool workload_is_spec(const char *text);

/* The workload at its end, before it is closed: its live objects and its generator's own state. */
typedef void generate_observer(void *context, const struct generate *generate, const void *state);
/*
 * Play a workload once without a trace: its events are forgotten as they are made. For figures that a generator keeps
 * itself. `text` is a spec (workload_is_spec). false and *error as workload_open and kmt_next would say it.
 */
bool generate_play(const char *text, const char *against, generate_observer *see, void *context,
		   struct kml_error *error);

/* ---------------------------------------------------------------------------------------------- for generators */

/* What to ask for. Zero is a plain object without cache, on cpu 0. */
struct generate_ask {
	uint64_t size_bytes; /* with a cache: 0 is its objects' size */
	uint32_t cache;      /* 1 + what generate_cache gave; 0: none */
	uint16_t cpu;
	uint16_t flags; /* enum kml_flag, KMT_LARGE, KMT_VMALLOC */
	uint8_t align_log2;
	bool is_pages; /* 2^order pages; size_bytes is not read */
	uint8_t order;
};

/* A live object. */
typedef uint32_t generate_id;
#define GENERATE_REFUSED UINT32_MAX /* of a reactive workload: the allocation failed; nothing is to be freed */

/* The label of the mark that generate_report makes. */
#define GENERATE_REPORT "report"

/* In `start` only. 1 + its index, for generate_ask. The name is copied. */
uint32_t generate_cache(struct generate *generate, const struct kmt_cache *cache);

generate_id generate_alloc(struct generate *generate, const struct generate_ask *ask);
void generate_free(struct generate *generate, generate_id id, uint16_t cpu);
/* The object dies at that moment of the workload's clock. O(log live). */
void generate_free_at(struct generate *generate, generate_id id, uint16_t cpu, uint64_t time_ns);
/* The clock, in ns from the start. Advancing frees what dies meanwhile, each at its own time. */
uint64_t generate_now(const struct generate *generate);
void generate_advance_to(struct generate *generate, uint64_t time_ns);
/* To the next death; false when none is due ever. */
bool generate_advance_to_death(struct generate *generate);
/* Other events. */
void generate_shrink(struct generate *generate);                  /* all caches are emptied: drop_caches */
void generate_mark(struct generate *generate, const char *phase); /* a phase begins; at most one a step */
/* The last thing a workload says: a mark labelled GENERATE_REPORT whose text is a sentence; `kmemlab generate` prints
 * it. Copied. */
void generate_report(struct generate *generate, const char *text);

/* The workload cannot go on: the reader's error after this step, as "SPEC: what". The first one counts. */
void generate_fail(struct generate *generate, const char *what);

/* In `start`: how many cpus there are, where the spec leaves it open (cpus=0). */
void generate_choose_cpus(struct generate *generate, uint32_t cpu_count);

/* Live objects now; their requested bytes. */
uint64_t generate_live(const struct generate *generate);
uint64_t generate_live_bytes(const struct generate *generate);
/* The arena of a reactive workload; in `start` it may still be chosen. */
uint64_t generate_arena_bytes(const struct generate *generate);
void generate_choose_arena(struct generate *generate, uint64_t arena_bytes);
/* Reactive only: where the living stack put an object, and what it granted; its figures. */
uint64_t generate_address(const struct generate *generate, generate_id id);
uint64_t generate_granted_bytes(const struct generate *generate, generate_id id);
void generate_stats(const struct generate *generate, struct kml_stats *stats);
/* What was done to it in this pass so far. */
const struct workload_outcome *generate_outcome(const struct generate *generate);
/* Is a bar wanted (workload_show_progress)? */
bool generate_shows_progress(void);
/*
 * For one that tries before it does: in the first step, undo all that this pass did. Objects and events are forgotten,
 * the stack is a new one, the clock is at 0 again; only the random numbers go on. false: the stack cannot be made.
 */
bool generate_take_back(struct generate *generate);
/*
 * Memory of one size that outlives the pass, zeroed at first: what was found at some cost need not be found again after
 * a rewind. Freed with the workload. NULL without memory; the workload then fails.
 */
void *generate_keep(struct generate *generate, size_t size_bytes);

/* Random numbers of this pass. Uniform in [0, 1); below a limit (>= 1); exponential of a mean. */
double generate_uniform(struct generate *generate);
uint64_t generate_below(struct generate *generate, uint64_t limit);
double generate_exponential(struct generate *generate, double mean);
/* One of its cpus. */
uint16_t generate_cpu(struct generate *generate);

#endif
