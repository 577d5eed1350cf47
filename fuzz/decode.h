/*
 * decode.h - the parts of the decoder (decode.c): setups, operations and the sizes in them, each both ways.
 *
 * Each part stands in a file with its way back beside it, because an encoder tries what the decoder would make of a
 * byte: decode_setup.c, decode_op.c, decode_size.c.
 */
#ifndef KMEMLAB_FUZZ_DECODE_H
#define KMEMLAB_FUZZ_DECODE_H

#include "allocators/registry.h"
#include "fuzz/program.h"

enum {
	DECODE_PAGE_BYTES = 4096,
	DECODE_UNIT_BYTES = 16, /* the smallest arena of a page allocator is one of these */
};

/* A target's stack: layers and the parameters that its text fixes. */
struct stack_plan {
	char text[256];
	uint32_t layer_count;
	const struct kml_allocator *layer[KML_STACK_LAYERS]; /* NULL: of no such name */
	char given[KML_STACK_LAYERS][128];                   /* "order=2,fit=asked" */
	bool has_caches, is_recorded, is_objects;
	char plain[256]; /* the spec of defaults */
	size_t param_count;
	uint64_t number; /* of plans so far: tells setups of two stacks apart */
};

/* What a free needs to know of the alloc. */
struct decoded_alloc {
	uint16_t cache;
	uint8_t op, order;
};

/* What is known while operations are decoded. */
struct decoder {
	struct program *program;
	const struct stack_plan *plan;
	uint64_t live, dead;                          /* bits of ids that are live; that were, and are not */
	struct decoded_alloc object[PROGRAM_OBJECTS]; /* of a live id */
	struct kmt_event last;                        /* alloc; op KMT_OP_COUNT before the first */
	uint32_t birth[PROGRAM_OBJECTS];
	uint32_t births;
	uint8_t open; /* bits of caches that are surely open */
	bool has_areas;
	bool is_exhausted;
	uint64_t time_ns;
	uint64_t place_bytes; /* of `recorded`: from place to place; 0: none */
};

/* Of an operation: the code of its two bytes of size, which other kinds have other uses for. */
static inline unsigned decode_code(const uint8_t *op)
{
	return op[PROGRAM_BYTE_SIZE] | (unsigned)op[PROGRAM_BYTE_SIZE + 1] << 8;
}

static inline void encode_code(unsigned code, uint8_t *op)
{
	op[PROGRAM_BYTE_SIZE] = (uint8_t)code;
	op[PROGRAM_BYTE_SIZE + 1] = (uint8_t)(code >> 8);
}

/* The plan of a stack's text, made once and kept. Unknown names leave a plan without layers. */
const struct stack_plan *decode_plan(const char *stack);
/* PROGRAM_SETUP_BYTES to a setup, but for how often the deep checks run. A new one costs the parsing of its spec and a
 * stack made on trial. */
void decode_setup(struct program_setup *setup, const struct stack_plan *plan, const uint8_t *bytes);
/* Bytes that may mean the program's setup: false when there are none. Whether they do, decoding them tells. */
bool encode_setup(const struct program *program, const struct stack_plan *plan, uint8_t *bytes);
/* How often the deep checks run, by a setup's byte PROGRAM_BYTE_CHECK, in a program of so many events. */
uint32_t decode_check_every(uint8_t byte, uint32_t event_count);
/* Does a setup's byte PROGRAM_BYTE_CHECK allow areas of vmalloc? */
bool decode_has_areas(uint8_t byte);

/* Ready for the first operation of a program whose setup has been decoded from these bytes. */
void decode_start(struct decoder *decoder, struct program *program, const struct stack_plan *plan,
		  const uint8_t *setup);
/* PROGRAM_OP_BYTES to an event at the program's end, which has room for it, or to none. O(1). */
void decode_op(struct decoder *decoder, const uint8_t *op);
/* Bytes that may mean this event next: false when there are none. Whether they do, decoding them tells. */
bool encode_op(const struct decoder *decoder, const struct kmt_event *event, uint8_t *op);

/* Bytes asked for, 1 and more; the order of pages; how far beside an object a wrong free is. Back: false when no code
 * means it. */
uint64_t decode_size(const struct decoder *decoder, unsigned code);
bool encode_size(const struct decoder *decoder, uint64_t size_bytes, uint8_t *op);
unsigned decode_order(const struct decoder *decoder, unsigned code);
bool encode_order(const struct decoder *decoder, unsigned order, uint8_t *op);
uint64_t decode_offset(unsigned code);
bool encode_offset(uint64_t offset_bytes, uint8_t *op);

#endif
