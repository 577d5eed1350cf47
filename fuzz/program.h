/*
 * program.h - operation programs: what a fuzzer's bytes mean.
 *
 * A program is a setup (which stack, in which arena) and a stream of trace events (traces/kmt/kmt.h), the same that
 * `kmemlab replay` runs: a recorded kernel, a generated workload and a fuzzer's find differ only in where they come
 * from. It exists in four forms:
 *
 *   bytes     what an engine mutates: PROGRAM_SETUP_BYTES, then PROGRAM_OP_BYTES an operation. Every byte string is a
 *             program: missing bytes are 0, and every value of every byte means something.
 *   .ops      a line an operation, to read and to write by hand (grammar: fuzz/README.md)
 *   .kmt      the events as a trace that carries its setup: `kmemlab replay --check crash.kmt` needs no options
 *   struct    this one
 *
 * Objects are ids below PROGRAM_OBJECTS; an alloc of a live id is decoded as one of the next dead id, a free of a dead
 * id as one of the next live id; what cannot be at all (a free when nothing is live) is left out. Whether an
 * allocation succeeded is not known to the decoder: the id of a failed one is dead at its free, as everywhere.
 */
#ifndef KMEMLAB_FUZZ_PROGRAM_H
#define KMEMLAB_FUZZ_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "traces/kmt/kmt.h"
#include "workloads/replay.h"

enum {
	PROGRAM_SETUP_BYTES = 48,
	PROGRAM_OP_BYTES = 6,
	PROGRAM_OPS = 128,          /* operations that the engines may write */
	PROGRAM_EVENTS_MAX = 16384, /* a longer text or trace is refused */
	PROGRAM_OBJECTS = 64,       /* ids that bytes can name */
	PROGRAM_CACHES = 4,         /* the cache table of decoded programs; texts may have more */
	PROGRAM_CACHES_MAX = 64,
};
#define PROGRAM_BYTES_MAX (PROGRAM_SETUP_BYTES + PROGRAM_OPS * PROGRAM_OP_BYTES)

/* Where the bytes of a setup and of an operation are, for those that change them (mutate.c). */
enum program_setup_byte {
	PROGRAM_BYTE_ARENA,      /* pages or units of the arena, by a curve that reaches odd sizes */
	PROGRAM_BYTE_ARENA_TAIL, /* bytes beyond whole units */
	PROGRAM_BYTE_CPUS,
	PROGRAM_BYTE_CHECK,  /* low 3 bits: how often the deep checks run; high 4 all set: there are areas of vmalloc */
	PROGRAM_BYTE_SEED,   /* of the allocators that draw random numbers */
	PROGRAM_BYTE_CACHES, /* 2 bytes a cache: its object size; its alignment and flags */
	PROGRAM_BYTE_PARAMETERS = PROGRAM_BYTE_CACHES + 2 * PROGRAM_CACHES,
	/* A byte a parameter, layers from the top; below 128: the default. The rest of the setup. */
};
enum program_op_byte {
	PROGRAM_BYTE_KIND,   /* kind = byte * PROGRAM_KINDS / 256: every kind has about the same share of values */
	PROGRAM_BYTE_OBJECT, /* modulo PROGRAM_OBJECTS; both bits above set: large blocks may be zeroed */
	PROGRAM_BYTE_CPU,    /* low half: cpu; high half: alignment */
	PROGRAM_BYTE_FLAGS,  /* cache or none, and flags */
	PROGRAM_BYTE_SIZE,   /* 2 bytes: 12 bits of mantissa, 4 of what to make of it */
};
/* Of PROGRAM_BYTE_CHECK: 0 in these bits, only at the end. */
enum { PROGRAM_CHECK_BITS = 7 };
/* An operation of a byte program. */
enum program_kind {
	PROGRAM_ALLOC, /* an object: of a cache or by size */
	PROGRAM_FREE,
	PROGRAM_PAGES,       /* 2^order pages; in an arena smaller than one as ALLOC */
	PROGRAM_ALLOC_AGAIN, /* an object like the last one: fills slabs */
	PROGRAM_FREE_OLDEST, /* of the live ids the one allocated first */
	PROGRAM_MISUSE,      /* a free that must be refused */
	PROGRAM_SHRINK,      /* one cache or all */
	PROGRAM_DRAIN,       /* one cpu */
	PROGRAM_CACHE,       /* open or close a cache */
	PROGRAM_EXHAUST,     /* all memory that is left is taken (of an eighth of the flag bytes), or given back */
	PROGRAM_WAIT,        /* time passes: timers fire */
	PROGRAM_KINDS
};

struct program_setup {
	char stack[256]; /* the spec, with parameters */
	uint64_t arena_bytes;
	uint32_t page_bytes;
	uint32_t cpu_count;
	uint64_t seed;
	uint32_t check_every; /* deep checks after every so many events; 0: only at the end */
	uint32_t cache_count;
	struct kmt_cache caches[PROGRAM_CACHES_MAX]; /* names point into cache_names */
	char cache_names[PROGRAM_CACHES_MAX][32];
};

struct program {
	struct program_setup setup;
	uint32_t event_count, event_room;
	struct kmt_event *events; /* owned; grows */
};

/* Zero-initialise; free what it owns. A program may be decoded or read into again and again. */
void program_free(struct program *program);
/* Append an event, its time that of the last one. False without memory or beyond PROGRAM_EVENTS_MAX. */
bool program_add(struct program *program, const struct kmt_event *event);

/*
 * Bytes to the program they mean on a stack given by its names ("slub/fibonacci"; parameters in it stand fast, the
 * others come from the bytes). Always succeeds. O(bytes); no allocation once `program` has grown.
 */
void program_decode(struct program *program, const char *stack, const uint8_t *bytes, size_t byte_count);
/*
 * Bytes that decode to this program (its stack apart from parameters is the decoder's to know): false when it cannot be
 * said in bytes exactly. `bytes` has room for PROGRAM_SETUP_BYTES + events * PROGRAM_OP_BYTES.
 */
bool program_encode(const struct program *program, uint8_t *bytes, size_t *byte_count);

/* .ops text. Parsing refuses what it does not understand, with file and line; print then parse gives the same. */
bool program_print(const struct program *program, FILE *stream);
bool program_parse(struct program *program, FILE *stream, const char *name, struct kml_error *error);

/* A .kmt that carries the setup. `path` is written as every output is: whole or not at all. */
bool program_save(const struct program *program, const char *path, struct kml_error *error);
/* Does the file hold a program? A trace without a setup, or what cannot be read, is none. */
bool program_is(const char *path);
/* .ops or .kmt, told by its first bytes. */
bool program_load(struct program *program, const char *path, struct kml_error *error);

/* What became of a run. */
struct program_outcome {
	bool failed;
	struct kml_error error; /* "event 7 (free of id 3): overlap: ..." */
	char oracle[32];        /* the invariant that broke: "overlap"; "replay" when it has no name of its own */
	struct replay_result result;
};

/* Its events, borrowed, as a trace; kmt_close is the caller's. NULL and *error: they are not valid. O(events). */
struct kmt_reader *program_reader(const struct program *program, struct kml_error *error);

/* Run it as `kmemlab replay --check` does, deep checks and the final drain included. False and *error: no run (its
 * stack cannot be created). O(events). */
bool program_run(const struct program *program, struct program_outcome *outcome, struct kml_error *error);

#endif
