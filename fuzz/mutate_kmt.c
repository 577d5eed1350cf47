/* mutate_kmt.c - loose .kmt files changed by block, part and field. Cost: O(bytes). */
#include "fuzz/mutate_kmt.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/bounds.h"
#include "fuzz/repair.h"
#include "kmemlab/support/error.h"
#include "traces/kmt/format.h"

enum {
	PARTS_MAX = 256,
	FIELDS_MAX = 4096,
	RUN_MAX = 8,             /* fields dropped or repeated at once */
	BIG_BYTES_MAX = 1 << 16, /* of parts that are made longer */
	PART_RAW = 0,            /* traces/README.md: how a part is stored */
	PART_ZEROS = 2,
	DETAIL_OFFSET = 4, /* in a block's head */
	STORED_BYTES_OFFSET = 8,
	REPEATS_MAX = 64,      /* of a block of events */
	NUMBER_BYTES_MAX = 11, /* one more than 64 bits take */
};

struct part {
	uint32_t block_kind;
	bool zeros;               /* has no data in the file */
	size_t place;             /* among the parts of its block */
	size_t block, start, end; /* of the block's head; of the part with its lengths */
	size_t data, data_bytes;
};

/* The number at `*at`, which comes to its end; wrong ones are read as far as they go. */
static uint64_t read_number(const uint8_t *bytes, size_t end, size_t *at)
{
	uint64_t value = 0;
	for (unsigned shift = 0; *at < end; shift += 7) {
		uint8_t byte = bytes[(*at)++];
		value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
		if (!(byte & 0x80))
			break;
	}
	return value;
}

static size_t write_number(uint8_t *out, uint64_t value)
{
	size_t size = 0;
	for (; value >= 0x80; value >>= 7)
		out[size++] = (uint8_t)(value | 0x80);
	out[size++] = (uint8_t)value;
	return size;
}

/* ------------------------------------------------------------------------------------------------ parts */

/* The sound parts of a block's payload. */
static size_t find_parts(const uint8_t *bytes, size_t block, size_t end, struct part *parts, size_t room)
{
	size_t at = block + KMT_BLOCK_HEADER_BYTES, count = 0;
	while (at < end && count < room) {
		struct part part = {.block_kind = (uint32_t)get_little_endian(bytes + block, 4),
				    .place = count,
				    .block = block,
				    .start = at};
		uint64_t data_bytes = read_number(bytes, end, &at);
		uint8_t mode = at < end ? bytes[at++] : (uint8_t)PART_RAW;
		part.zeros = mode == PART_ZEROS;
		uint64_t stored = part.zeros ? 0 : read_number(bytes, end, &at);
		bool sound = part.zeros ? data_bytes <= BIG_BYTES_MAX : mode == PART_RAW && stored == data_bytes;
		if (!sound || stored > end - at)
			break;
		part.data = at;
		part.data_bytes = (size_t)data_bytes;
		part.end = at += stored;
		parts[count++] = part;
	}
	return count;
}

/* Where the block that begins at `at` ends; 0: there is no whole one. */
static size_t block_end(const struct mutation *mutation, size_t at)
{
	if (mutation->byte_count < at || mutation->byte_count - at < KMT_BLOCK_HEADER_BYTES)
		return 0;
	size_t stored = get_little_endian(mutation->bytes + at + STORED_BYTES_OFFSET, 4);
	size_t left = mutation->byte_count - at - KMT_BLOCK_HEADER_BYTES;
	return stored <= left ? at + KMT_BLOCK_HEADER_BYTES + stored : 0;
}

static size_t find_all_parts(const struct mutation *mutation, struct part *parts)
{
	size_t count = 0;
	for (size_t at = KMT_PREAMBLE_BYTES, end; (end = block_end(mutation, at)); at = end)
		count += find_parts(mutation->bytes, at, end, parts + count, PARTS_MAX - count);
	return count;
}

/* Another content of a part, its lengths and its block's with it. */
static void replace_part(struct mutation *mutation, const struct part *part, const uint8_t *data, size_t data_bytes)
{
	uint8_t *whole = malloc(data_bytes + 2 * NUMBER_BYTES_MAX);
	KML_CHECK(whole, "memory exhausted");
	size_t used = write_number(whole, data_bytes);
	whole[used++] = PART_RAW;
	used += write_number(whole + used, data_bytes);
	if (data_bytes)
		memcpy(whole + used, data, data_bytes);
	used += data_bytes;
	uint8_t *stored = mutation->bytes + part->block + STORED_BYTES_OFFSET;
	if (mutation_splice(mutation, part->start, part->end, whole, used))
		put_little_endian(stored, 4, get_little_endian(stored, 4) + used - (part->end - part->start));
	free(whole);
}

/* ------------------------------------------------------------------------------------------------ fields */

enum field_kind { FIELD_NUMBER, FIELD_BYTE, FIELD_TEXT, FIELD_REST };

struct field {
	enum field_kind kind;
	size_t at, bytes;
};

/* A part as a list of fields, and room to change them. */
struct list {
	uint8_t *data;
	size_t used, room;
	struct field field[FIELDS_MAX];
	size_t count;
};

/* traces/README.md: five texts, five numbers (the last of them a byte), the number of caches; a cache is a text and
 * eight numbers. */
static enum field_kind header_field(size_t index)
{
	enum { TEXTS = 5, AT_BOOT = 9, CACHES = 11, CACHE_FIELDS = 9 };
	if (index < CACHES)
		return index < TEXTS ? FIELD_TEXT : index == AT_BOOT ? FIELD_BYTE : FIELD_NUMBER;
	return (index - CACHES) % CACHE_FIELDS == 0 ? FIELD_TEXT : FIELD_NUMBER;
}

static enum field_kind column_field(size_t column, size_t index)
{
	enum { NEW_SHAPE = 3, ALLOC_ID = 4, FREE_ID = 5, ADDRESS = 7, SHAPE_FIELDS = 8 };
	static const enum field_kind shape[SHAPE_FIELDS] = {FIELD_BYTE,   FIELD_BYTE,   FIELD_NUMBER, FIELD_NUMBER,
							    FIELD_NUMBER, FIELD_NUMBER, FIELD_BYTE,   FIELD_BYTE};
	if (column == NEW_SHAPE)
		return shape[index % SHAPE_FIELDS];
	return column == ALLOC_ID || column == FREE_ID || column == ADDRESS ? FIELD_BYTE : FIELD_NUMBER;
}

static enum field_kind field_kind(const struct part *part, size_t index)
{
	switch (part->block_kind) {
	case KMT_BLOCK_HEADER:
		return header_field(index);
	case KMT_BLOCK_EVENT:
		return column_field(part->place, index);
	case KMT_BLOCK_SNAPSHOT:
		return index == 0 ? FIELD_NUMBER : index == 1 ? FIELD_TEXT : FIELD_REST;
	default:
		return FIELD_NUMBER;
	}
}

static void find_fields(struct list *list, const struct part *part)
{
	size_t at = 0;
	for (list->count = 0; at < list->used && list->count < FIELDS_MAX; list->count++) {
		struct field *field = &list->field[list->count];
		*field = (struct field){.kind = field_kind(part, list->count), .at = at};
		uint64_t text_bytes = 0;
		if (field->kind == FIELD_BYTE)
			at++;
		else if (field->kind == FIELD_REST)
			at = list->used;
		else
			text_bytes = read_number(list->data, list->used, &at);
		if (field->kind == FIELD_TEXT)
			at += text_bytes < list->used - at ? text_bytes : list->used - at;
		field->bytes = at - field->at;
	}
}

/* Bytes in place of fields from `at` to `end`. */
static void put_fields(struct list *list, size_t at, size_t end, const uint8_t *bytes, size_t byte_count)
{
	if (list->used - (end - at) + byte_count > list->room)
		return;
	memmove(list->data + at + byte_count, list->data + end, list->used - end);
	if (byte_count)
		memcpy(list->data + at, bytes, byte_count);
	list->used = list->used - (end - at) + byte_count;
}

static void set_number(struct mutation *mutation, struct list *list, const struct field *field)
{
	uint8_t bytes[NUMBER_BYTES_MAX];
	size_t at = field->at, used;
	uint64_t value = mutation_number(mutation, read_number(list->data, list->used, &at));
	used = write_number(bytes, value);
	/* Longer than it need be, by one or to where no 64 bits reach. */
	if (mutation_below(mutation, 16) == 0) {
		size_t length = mutation_below(mutation, 2) ? sizeof bytes : used + (used < sizeof bytes);
		bytes[used - 1] |= 0x80;
		memset(bytes + used, 0x80, length - used);
		bytes[length - 1] = 0;
		used = length;
	}
	put_fields(list, field->at, field->at + field->bytes, bytes, used);
}

static void set_text(struct mutation *mutation, struct list *list, const struct field *field)
{
	size_t length = length_at_bound(&mutation->state);
	uint8_t text[NUMBER_BYTES_MAX + LENGTH_MAX];
	size_t used = write_number(text, length);
	memset(text + used, "a %/\xff"[mutation_below(mutation, 5)], length);
	put_fields(list, field->at, field->at + field->bytes, text, used + length);
}

static void set_field(struct mutation *mutation, struct list *list, const struct field *field)
{
	switch (field->kind) {
	case FIELD_NUMBER:
		set_number(mutation, list, field);
		return;
	case FIELD_BYTE:
		list->data[field->at] = mutation_below(mutation, 2) ? (uint8_t)number_at_bound(&mutation->state)
								    : (uint8_t)mutation_below(mutation, 256);
		return;
	case FIELD_TEXT:
		set_text(mutation, list, field);
		return;
	case FIELD_REST:
		list->used = field->at + mutation->mutate(list->data + field->at, field->bytes, list->room - field->at);
	}
}

static void change_fields(struct mutation *mutation, struct list *list)
{
	size_t from = mutation_below(mutation, list->count), count = 1 + mutation_below(mutation, RUN_MAX);
	count = count < list->count - from ? count : list->count - from;
	const struct field *first = &list->field[from], *last = &list->field[from + count - 1],
			   *other = &list->field[mutation_below(mutation, list->count)];
	uint8_t *copy;
	switch (mutation_below(mutation, 8)) {
	case 0: /* gone */
		put_fields(list, first->at, last->at + last->bytes, NULL, 0);
		return;
	case 1: /* again, behind another one */
		copy = malloc(last->at + last->bytes - first->at);
		KML_CHECK(copy, "memory exhausted");
		memcpy(copy, list->data + first->at, last->at + last->bytes - first->at);
		put_fields(list, other->at, other->at, copy, last->at + last->bytes - first->at);
		free(copy);
		return;
	case 2: /* as another one */
		copy = malloc(other->bytes);
		KML_CHECK(copy, "memory exhausted");
		memcpy(copy, list->data + other->at, other->bytes);
		put_fields(list, first->at, first->at + first->bytes, copy, other->bytes);
		free(copy);
		return;
	default:
		set_field(mutation, list, first);
	}
}

/* ------------------------------------------------------------------------------------------------ changes */

/* One part by its fields or, one in four, by its bytes. */
static void change_part(struct mutation *mutation, const struct part *part)
{
	struct list *list = malloc(sizeof *list);
	KML_CHECK(list, "memory exhausted");
	list->used = part->data_bytes;
	list->room = part->data_bytes + (mutation->byte_max - mutation->byte_count) + 1;
	list->data = calloc(1, list->room);
	KML_CHECK(list->data, "memory exhausted");
	if (!part->zeros && list->used)
		memcpy(list->data, mutation->bytes + part->data, list->used);
	find_fields(list, part);
	if (list->count == 0 || mutation_below(mutation, 4) == 0)
		list->used = mutation->mutate(list->data, list->used, list->room);
	else
		change_fields(mutation, list);
	replace_part(mutation, part, list->data, list->used);
	free(list->data);
	free(list);
}

/* The head's detail: how many events there are, of what kind a snapshot is. */
static void change_detail(struct mutation *mutation, size_t block)
{
	uint8_t *at = mutation->bytes + block + DETAIL_OFFSET;
	uint64_t detail = get_little_endian(at, 4);
	size_t choice = mutation_below(mutation, 3);
	detail = choice == 0 ? detail + 1 : choice == 1 ? detail - 1 : number_at_bound(&mutation->state);
	put_little_endian(at, 4, detail);
}

/* A footer that states so many times as much: events beyond it are refused before a table is full. */
static void widen_footer(struct mutation *mutation, const struct part *footer, size_t factor)
{
	enum { KNOWN = 2 }; /* the first two numbers count kinds */
	uint8_t *data = malloc(footer->data_bytes * NUMBER_BYTES_MAX + 1);
	KML_CHECK(data, "memory exhausted");
	size_t at = footer->data, used = 0;
	for (size_t index = 0; !footer->zeros && at < footer->end; index++) {
		uint64_t value = read_number(mutation->bytes, footer->end, &at);
		used += write_number(data + used, index < KNOWN ? value : value * factor);
	}
	replace_part(mutation, footer, data, used);
	free(data);
}

/* A block again before the one at `to`, of events many times, now and then: tables fill only in a long trace. */
static void repeat_block(struct mutation *mutation, size_t block, size_t to, const struct part *last)
{
	bool has_events = get_little_endian(mutation->bytes + block, 4) == KMT_BLOCK_EVENT;
	size_t size = block_end(mutation, block) - block, times = 1;
	while (has_events && times < REPEATS_MAX && mutation_below(mutation, 2))
		times *= 2;
	if (has_events && last->block_kind == KMT_BLOCK_FOOTER)
		widen_footer(mutation, last, 1 + times);
	uint8_t *copy = malloc(size);
	KML_CHECK(copy, "memory exhausted");
	memcpy(copy, mutation->bytes + block, size);
	while (times > 0 && mutation_splice(mutation, to, to, copy, size))
		times--;
	free(copy);
}

/* A whole block goes, or comes again in another place. */
static void change_block(struct mutation *mutation, const struct part *parts, size_t count)
{
	size_t block = parts[mutation_below(mutation, count)].block, to = parts[mutation_below(mutation, count)].block;
	size_t choice = mutation_below(mutation, 4);
	if (choice == 0)
		change_detail(mutation, block);
	else if (choice == 1)
		mutation_splice(mutation, block, block_end(mutation, block), NULL, 0);
	else
		repeat_block(mutation, block, to, &parts[count - 1]);
}

size_t kmt_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, uint64_t seed, mutate_bytes *mutate)
{
	struct mutation mutation = {
		.bytes = bytes, .byte_count = byte_count, .byte_max = byte_max, .state = seed, .mutate = mutate};
	struct part parts[PARTS_MAX];
	size_t count = byte_count > 0 && byte_count <= byte_max && bytes[0] == KMT_LOOSE
			       ? find_all_parts(&mutation, parts)
			       : 0;
	if (count == 0 || mutation_below(&mutation, 4) == 0)
		return mutate(bytes, byte_count, byte_max);
	if (mutation_below(&mutation, 6) == 0)
		change_block(&mutation, parts, count);
	else
		change_part(&mutation, &parts[mutation_below(&mutation, count)]);
	return mutation.byte_count;
}
