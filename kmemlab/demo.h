/*
 * demo.h - the examples of `kmemlab demo` (demo_buddy.c, demo_objects.c), and the stage they play on (demo_stage.c).
 */
#ifndef KMEMLAB_DEMO_H
#define KMEMLAB_DEMO_H

#include <stdbool.h>
#include <stdint.h>

#include "allocators/registry.h"
#include "workloads/orders.h"

#define STAGE_PAGE_BYTES 4096u
#define KIB 1024ull
#define MIB (1024 * KIB)
#define STAGE_INDENT "            " /* below the map */

enum { STAGE_MAP_CELLS = 64, STAGE_NAMES = 26 };

/* One allocator on an arena of its own, and what its blocks are called. */
struct stage {
	struct kml_spec *spec;
	struct kml_arena *arena;
	struct kml_stack stack;
	struct kml_heap *heap;
	uint64_t window_bytes;         /* the map shows the arena up to here */
	uint64_t address[STAGE_NAMES]; /* of 'A' and so on; KML_NO_ADDRESS: not granted */
};

/* Print the spec and be ready. False and *error: it cannot be created. */
bool stage_open(struct stage *stage, const char *spec, uint64_t arena_bytes, struct kml_error *error);
void stage_close(struct stage *stage);
struct kml_stats stage_stats(const struct stage *stage);
struct kml_grant stage_ask(const struct stage *stage, uint64_t size_bytes, uint16_t flags);
/* A refusal stops the program. */
void stage_give_back(const struct stage *stage, uint64_t address, uint16_t flags);
/* Ask for a block and call it `name`, or free it; draw and say what was granted or merged. */
void stage_alloc(struct stage *stage, char name, uint64_t size_bytes);
void stage_free(struct stage *stage, char name);

/* One row: what happened, and the arena now. */
void stage_draw(const struct stage *stage, const char *what);
/* The whole arena in rows of cells: granted, partly, free. */
void stage_draw_density(const struct stage *stage);
void stage_print_free_lists(const struct stage *stage, const char *before);
struct free_orders stage_orders(const struct stage *stage);
/* The free blocks as a line of /proc/buddyinfo. */
void stage_print_buddyinfo(const struct stage *stage, const char *when);

/* 70k for whole KiB, else the number of bytes. */
struct size_text {
	char text[24];
};
struct size_text size_text(uint64_t size_bytes);

/* The examples. False and *error: a stage could not be had, or nothing came as foretold. */
bool demo_binary(struct kml_error *error);
bool demo_rounding(struct kml_error *error);
bool demo_fibonacci(struct kml_error *error);
bool demo_weights(struct kml_error *error);
bool demo_ternary(struct kml_error *error);
bool demo_pages(struct kml_error *error);
bool demo_order(struct kml_error *error);
bool demo_fragmentation(struct kml_error *error);
bool demo_slabinfo(struct kml_error *error);
bool demo_vmalloc(struct kml_error *error);
/* With --time. */
bool demo_vmalloc_time(struct kml_error *error);

#endif
