/*
 * mutate_perf.c - perf.data files changed by item and field. Cost: O(bytes).
 *
 * An item has a head and a body, and may have numbers elsewhere that tell of it: its length, where it begins, how many
 * of its kind there are. Whatever an item is, one function (resize) makes room in it and mends these numbers of all
 * that is around or behind.
 */
#include "fuzz/mutate_perf.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/bounds.h"
#include "kmemlab/support/error.h"

enum {
	ITEMS_MAX = 4096,
	LAYOUTS_MAX = 64, /* attributes whose samples are told apart */
	NONE = ITEMS_MAX, /* no item */
	FIELDS_MAX = 16,  /* of an item */
	WORDS = 4,        /* among them, of no known place */
	ONE_MORE_IN = 8,  /* changes at once */
	GROWTH_MAX = 4096,
	NUMBER_TEXT_MAX = 21, /* digits of 64 bits, and one more character */
	RANGES_MAX = 4,       /* in a list of numbers */
	PIPE_HEADER_BYTES = 16,
	FILE_HEADER_BYTES = 104,
	HEADER_ATTR_BYTES = 16, /* where in the header: the bytes of an attribute; the sections; the bits */
	HEADER_SECTIONS = 24,
	HEADER_FEATURES = 72,
	SECTION_BYTES = 16, /* an offset and a length */
	FEATURE_BITS = 256,
	ATTR_BYTES_MIN = 64,
	ATTR_SAMPLE_TYPE = 24,
	RECORD_HEADER_BYTES = 8,
	RECORD_SIZE = 6,
	NODE_HEADER_BYTES = 20, /* number, memory in all, free memory */
	TRACING_MAGIC_BYTES = 10,
	TRACING_MACHINE_BYTES = 6, /* order of bytes, bytes of a long, of a page */
};

enum record_type { RECORD_SAMPLE = 9, RECORD_HEADER_ATTR = 64, RECORD_TRACING_DATA = 66, RECORD_FEATURE = 80 };
enum { RECORD_TYPES = 96 }; /* those of kernel and perf, and some that are not used yet */

enum feature {
	FEATURE_TRACING_DATA = 1,
	FEATURE_HOSTNAME = 3,
	FEATURE_OSRELEASE = 4,
	FEATURE_VERSION = 5,
	FEATURE_ARCH = 6,
	FEATURE_CPUDESC = 8,
	FEATURE_CPUID = 9,
	FEATURE_CMDLINE = 11,
	FEATURE_NUMA_TOPOLOGY = 14,
};

/* Words of a sample in front of its raw data, and what is of no fixed length among them. */
enum { SAMPLE_WORDS = 0x103cf, SAMPLE_VARIABLE = 0x30, SAMPLE_RAW = 0x400 };

enum item_kind {
	ITEM_HEADER,
	ITEM_SECTION, /* a part that an offset or a length tells of: also the data of a feature */
	ITEM_RECORD,
	ITEM_ATTR,
	ITEM_ID,
	ITEM_FEATURE, /* a line of the table of features */
	ITEM_NODE,
	ITEM_SYSTEM, /* its name and the formats of its events */
	ITEM_TEXT,
	ITEM_RAW, /* of a sample: what the event traced */
	ITEM_KINDS,
};

/* A number that tells how much there is from `counted` to the end of an item. */
struct length {
	size_t at, width, counted; /* at 0: there is none */
};

struct item {
	enum item_kind kind;
	size_t parent;           /* what it lies in, or NONE */
	size_t start, body, end; /* a head, then the body */
	struct length length;
	size_t offset_at; /* where it is told that it begins; 0: nowhere */
	size_t count_at;  /* where it is told how many of them there are; 0: nowhere */
	unsigned feature; /* of ITEM_FEATURE */
};

struct file {
	struct mutation mutation;
	struct item items[ITEMS_MAX + 1];
	size_t count;
	uint64_t sample_types[LAYOUTS_MAX];
	size_t layouts;
};

static size_t below(struct file *file, size_t count)
{
	return mutation_below(&file->mutation, count);
}

static uint64_t number(const struct file *file, size_t at, size_t width)
{
	return get_little_endian(file->mutation.bytes + at, width);
}

static void add_to_number(struct file *file, size_t at, size_t width, size_t added)
{
	put_little_endian(file->mutation.bytes + at, width, number(file, at, width) + added);
}

/* ------------------------------------------------------------------------------------------------ taking apart */

/* The last of all, where there is no room for more, is none: its index is NONE. */
static struct item *add(struct file *file, enum item_kind kind, size_t parent, size_t start, size_t body, size_t end)
{
	struct item *item = &file->items[file->count];
	file->count += file->count < ITEMS_MAX;
	*item = (struct item){.kind = kind, .parent = parent, .start = start, .body = body, .end = end};
	return item;
}

static size_t index_of(const struct file *file, const struct item *item)
{
	return (size_t)(item - file->items);
}

/* What is being read: items of `parent`, at `at`; `sound` until something does not fit in. */
struct place {
	size_t parent, at, end;
	bool sound;
};

static uint64_t take(const struct file *file, struct place *place, size_t width)
{
	place->sound = place->sound && width <= place->end - place->at;
	if (!place->sound)
		return 0;
	place->at += width;
	return number(file, place->at - width, width <= sizeof(uint64_t) ? width : 0);
}

/* A text that ends with NUL. */
static void find_name(struct file *file, struct place *place)
{
	const uint8_t *from = file->mutation.bytes + place->at;
	const uint8_t *nul = place->sound ? memchr(from, '\0', place->end - place->at) : NULL;
	place->sound = nul;
	if (!nul)
		return;
	size_t start = place->at, end = start + (size_t)(nul - from);
	add(file, ITEM_TEXT, place->parent, start, start, end);
	place->at = end + 1;
}

/* A length of `width` bytes and so many bytes of text. */
static void find_text(struct file *file, struct place *place, size_t width, size_t count_at)
{
	size_t start = place->at;
	uint64_t bytes = take(file, place, width);
	place->sound = place->sound && bytes <= place->end - place->at;
	if (!place->sound)
		return;
	size_t body = place->at;
	place->at += bytes;
	struct item *text = add(file, ITEM_TEXT, place->parent, start, body, place->at);
	text->length = (struct length){start, width, body};
	text->count_at = count_at;
}

static void find_texts(struct file *file, struct place *place, size_t width)
{
	size_t count_at = place->at;
	for (uint64_t left = take(file, place, 4); left > 0 && place->sound; left--)
		find_text(file, place, width, count_at);
}

static void find_system(struct file *file, struct place *place, size_t count_at)
{
	struct item *system = add(file, ITEM_SYSTEM, place->parent, place->at, place->at, place->at);
	struct place inside = *place;
	system->count_at = count_at;
	inside.parent = index_of(file, system);
	find_name(file, &inside);
	find_texts(file, &inside, 8);
	place->sound = inside.sound;
	system->end = place->at = inside.at;
}

static void find_node(struct file *file, struct place *place, size_t count_at)
{
	size_t start = place->at;
	take(file, place, NODE_HEADER_BYTES);
	if (!place->sound)
		return;
	struct item *node = add(file, ITEM_NODE, place->parent, start, place->at, place->at);
	struct place inside = *place;
	node->count_at = count_at;
	inside.parent = index_of(file, node);
	find_text(file, &inside, 4, 0);
	place->sound = inside.sound;
	node->end = place->at = inside.at;
}

typedef void find_one(struct file *file, struct place *place, size_t count_at);

static void find_list(struct file *file, struct place *place, find_one *find)
{
	size_t count_at = place->at;
	for (uint64_t left = take(file, place, 4); left > 0 && place->sound; left--)
		find(file, place, count_at);
}

static void find_tracing_data(struct file *file, struct place *place)
{
	take(file, place, TRACING_MAGIC_BYTES);
	find_name(file, place);
	take(file, place, TRACING_MACHINE_BYTES);
	for (int i = 0; i < 2; i++) { /* header_page, header_event */
		find_name(file, place);
		find_text(file, place, 8, 0);
	}
	find_texts(file, place, 8);
	find_list(file, place, find_system);
}

static void find_feature(struct file *file, struct place *place, uint64_t feature)
{
	switch (feature) {
	case FEATURE_TRACING_DATA:
		find_tracing_data(file, place);
		return;
	case FEATURE_HOSTNAME:
	case FEATURE_OSRELEASE:
	case FEATURE_VERSION:
	case FEATURE_ARCH:
	case FEATURE_CPUDESC:
	case FEATURE_CPUID:
		find_text(file, place, 4, 0);
		return;
	case FEATURE_CMDLINE:
		find_texts(file, place, 4);
		return;
	case FEATURE_NUMA_TOPOLOGY:
		find_list(file, place, find_node);
		return;
	default:
		return;
	}
}

static void find_ids(struct file *file, size_t parent, size_t at, size_t end)
{
	for (; end - at >= sizeof(uint64_t); at += sizeof(uint64_t))
		add(file, ITEM_ID, parent, at, at, at + sizeof(uint64_t));
}

static void know_layout(struct file *file, size_t attr)
{
	if (file->layouts < LAYOUTS_MAX)
		file->sample_types[file->layouts++] = number(file, attr + ATTR_SAMPLE_TYPE, 8);
}

/* An attribute that tells its own length, then ids. */
static void find_attr_record(struct file *file, size_t record, size_t at, size_t end)
{
	uint64_t bytes = end - at >= ATTR_BYTES_MIN ? number(file, at + 4, 4) : 0;
	if (bytes < ATTR_BYTES_MIN || bytes > end - at)
		return;
	know_layout(file, at);
	add(file, ITEM_ATTR, record, at, at, at + bytes)->length = (struct length){at + 4, 4, at};
	find_ids(file, record, at + bytes, end);
}

/* The raw data of a sample, where the first attribute that it may be of has it. */
static void find_raw(struct file *file, size_t record, size_t body, size_t end)
{
	for (size_t i = 0; i < file->layouts; i++) {
		uint64_t type = file->sample_types[i];
		struct place place = {record, body, end, (type & SAMPLE_RAW) && !(type & SAMPLE_VARIABLE)};
		take(file, &place, (size_t)__builtin_popcountll(type & SAMPLE_WORDS) * 8);
		size_t start = place.at;
		uint64_t bytes = take(file, &place, 4);
		if (!place.sound || bytes > end - place.at)
			continue;
		add(file, ITEM_RAW, record, start, place.at, place.at + bytes)->length =
			(struct length){start, 4, place.at};
		return;
	}
}

/* The data behind a record, whose length is of its head alone: a field and no more. Where it ends. */
static size_t find_data(struct file *file, size_t parent, size_t at, size_t behind, size_t bytes)
{
	size_t end = behind + bytes, record = index_of(file, add(file, ITEM_RECORD, parent, at, behind, end));
	struct item *data = add(file, ITEM_SECTION, record, behind, behind, end);
	data->length = (struct length){at + RECORD_HEADER_BYTES, 4, behind};
	find_tracing_data(file, &(struct place){index_of(file, data), behind, end, true});
	return end;
}

/* One record; where it ends, with the data behind it; 0: it is not whole. */
static size_t find_record(struct file *file, size_t parent, size_t at, size_t end)
{
	size_t bytes = end - at >= RECORD_HEADER_BYTES ? number(file, at + RECORD_SIZE, 2) : 0;
	if (bytes < RECORD_HEADER_BYTES || bytes > end - at)
		return 0;
	size_t body = at + RECORD_HEADER_BYTES, behind = at + bytes;
	uint64_t type = number(file, at, 4);
	uint64_t data_bytes = type == RECORD_TRACING_DATA && behind - body >= 4 ? number(file, body, 4) : 0;
	if (data_bytes > 0 && data_bytes <= end - behind)
		return find_data(file, parent, at, behind, data_bytes);
	struct item *record = add(file, ITEM_RECORD, parent, at, body, behind);
	size_t index = index_of(file, record);
	record->length = (struct length){at + RECORD_SIZE, 2, at};
	if (type == RECORD_SAMPLE)
		find_raw(file, index, body, behind);
	else if (type == RECORD_HEADER_ATTR)
		find_attr_record(file, index, body, behind);
	else if (type == RECORD_FEATURE && behind - body >= 8)
		find_feature(file, &(struct place){index, body + 8, behind, true}, number(file, body, 8));
	return behind;
}

static void find_records(struct file *file, size_t parent, size_t at, size_t end)
{
	while (at < end && file->count < ITEMS_MAX && (at = find_record(file, parent, at, end)))
		;
}

/* Of an offset and a length at `at`; NONE where it lies outside of the file. */
static size_t find_section(struct file *file, size_t at)
{
	uint64_t offset = number(file, at, 8), bytes = number(file, at + 8, 8);
	size_t byte_count = file->mutation.byte_count;
	if (offset > byte_count || bytes > byte_count - offset)
		return NONE;
	struct item *section = add(file, ITEM_SECTION, NONE, offset, offset, offset + bytes);
	section->length = (struct length){at + 8, 8, offset};
	section->offset_at = at;
	return index_of(file, section);
}

static void find_attrs(struct file *file, size_t section)
{
	uint64_t bytes = number(file, HEADER_ATTR_BYTES, 8);
	size_t at = file->items[section].start, end = file->items[section].end;
	if (bytes < ATTR_BYTES_MIN + SECTION_BYTES)
		return;
	for (; bytes <= end - at; at += bytes) {
		size_t ids = find_section(file, at + bytes - SECTION_BYTES);
		know_layout(file, at);
		add(file, ITEM_ATTR, section, at, at, at + bytes);
		if (ids != NONE)
			find_ids(file, ids, file->items[ids].start, file->items[ids].end);
	}
}

static bool has_feature(const struct file *file, unsigned feature)
{
	return number(file, HEADER_FEATURES + feature / 8, 1) >> feature % 8 & 1;
}

static void find_features(struct file *file, size_t at)
{
	for (unsigned feature = 0; feature < FEATURE_BITS; feature++) {
		if (!has_feature(file, feature))
			continue;
		if (file->mutation.byte_count - at < SECTION_BYTES)
			return;
		add(file, ITEM_FEATURE, NONE, at, at, at + SECTION_BYTES)->feature = feature;
		size_t data = find_section(file, at);
		if (data != NONE)
			find_feature(file, &(struct place){data, file->items[data].start, file->items[data].end, true},
				     feature);
		at += SECTION_BYTES;
	}
}

/* False: it is no perf.data. */
static bool take_apart(struct file *file)
{
	size_t byte_count = file->mutation.byte_count;
	file->count = file->layouts = 0;
	if (byte_count < PIPE_HEADER_BYTES || memcmp(file->mutation.bytes, "PERFILE2", 8) != 0)
		return false;
	uint64_t header_bytes = number(file, 8, 8);
	if (header_bytes != PIPE_HEADER_BYTES && (header_bytes != FILE_HEADER_BYTES || byte_count < FILE_HEADER_BYTES))
		return false;
	add(file, ITEM_HEADER, NONE, 0, header_bytes, header_bytes);
	if (header_bytes == PIPE_HEADER_BYTES) {
		find_records(file, NONE, PIPE_HEADER_BYTES, byte_count);
		return true;
	}
	size_t attrs = find_section(file, HEADER_SECTIONS), data = find_section(file, HEADER_SECTIONS + SECTION_BYTES);
	if (attrs != NONE)
		find_attrs(file, attrs);
	if (data != NONE) {
		find_features(file, file->items[data].end);
		find_records(file, data, file->items[data].start, file->items[data].end);
	}
	find_section(file, HEADER_SECTIONS + 2 * SECTION_BYTES);
	return true;
}

/* ------------------------------------------------------------------------------------------------ room */

static bool is_around(const struct file *file, size_t outer, size_t item)
{
	while (item != NONE && item != outer)
		item = file->items[item].parent;
	return item == outer;
}

/*
 * `new_bytes` from `at` on in place of those to `end`, all of them in `around` (NONE: between sections). Lengths around
 * and offsets behind with it; the items tell of the file as it was. False where there is no room.
 */
static bool resize(struct file *file, size_t around, size_t at, size_t end, size_t new_bytes)
{
	size_t more = new_bytes - (end - at); /* modulo */
	if (file->mutation.byte_count + more > file->mutation.byte_max)
		return false;
	for (size_t i = around; i != NONE; i = file->items[i].parent)
		if (file->items[i].length.at)
			add_to_number(file, file->items[i].length.at, file->items[i].length.width, more);
	for (size_t i = 0; i < file->count; i++)
		if (file->items[i].offset_at && file->items[i].start >= end && !is_around(file, i, around))
			add_to_number(file, file->items[i].offset_at, 8, more);
	return mutation_splice(&file->mutation, at, end, NULL, new_bytes);
}

static void replace(struct file *file, size_t around, size_t at, size_t end, const void *bytes, size_t byte_count)
{
	if (resize(file, around, at, end, byte_count) && byte_count)
		memcpy(file->mutation.bytes + at, bytes, byte_count);
}

/* As replace, with bytes of the file itself, from where they are after it. */
static bool copy_within(struct file *file, size_t around, size_t at, size_t end, size_t from, size_t byte_count)
{
	if (!resize(file, around, at, end, byte_count))
		return false;
	if (from >= end)
		from = from - end + at + byte_count;
	if (from + byte_count <= file->mutation.byte_count)
		memmove(file->mutation.bytes + at, file->mutation.bytes + from, byte_count);
	return true;
}

static size_t body_bytes(const struct item *item)
{
	return item->end - item->body;
}

/* One of those of a kind: the first or the last half of the time, for there too are bounds, and what is read beyond
 * the last item is read beyond the file. */
static size_t pick(struct file *file, enum item_kind kind)
{
	size_t found = 0;
	for (size_t i = 0; i < file->count; i++)
		found += file->items[i].kind == kind;
	if (found == 0)
		return NONE;
	size_t side = below(file, 4), left = side == 0 ? 0 : side == 1 ? found - 1 : below(file, found), at = 0;
	while (file->items[at].kind != kind || left-- > 0)
		at++;
	return at;
}

/* ------------------------------------------------------------------------------------------------ fields */

enum field_kind { FIELD_NUMBER, FIELD_BITS, FIELD_TYPE, FIELD_LENGTH, FIELD_OFFSET };

struct field {
	enum field_kind kind;
	size_t at, width;
};

/* Those of fixed places, from where the item starts. */
static const struct {
	enum item_kind item;
	struct field field;
} fixed_fields[] = {
	{ITEM_HEADER, {FIELD_NUMBER, 8, 8}},
	{ITEM_HEADER, {FIELD_NUMBER, HEADER_ATTR_BYTES, 8}},
	{ITEM_HEADER, {FIELD_BITS, HEADER_FEATURES, FEATURE_BITS / 8}},
	{ITEM_RECORD, {FIELD_TYPE, 0, 4}},
	{ITEM_RECORD, {FIELD_NUMBER, 4, 2}},
	{ITEM_ATTR, {FIELD_NUMBER, 0, 4}},
	{ITEM_ATTR, {FIELD_NUMBER, 4, 4}},
	{ITEM_ATTR, {FIELD_NUMBER, 8, 8}},
	{ITEM_ATTR, {FIELD_BITS, ATTR_SAMPLE_TYPE, 4}},
	{ITEM_ATTR, {FIELD_BITS, ATTR_SAMPLE_TYPE + 8, 1}}, /* read_format */
	{ITEM_ATTR, {FIELD_BITS, ATTR_SAMPLE_TYPE + 16, 8}},
	{ITEM_ID, {FIELD_NUMBER, 0, 8}},
	{ITEM_FEATURE, {FIELD_OFFSET, 0, 8}},
	{ITEM_FEATURE, {FIELD_NUMBER, 8, 8}},
	{ITEM_NODE, {FIELD_NUMBER, 0, 4}},
};

/* Where in the body the first item within begins. */
static size_t own_end(const struct file *file, size_t index)
{
	size_t end = file->items[index].end;
	for (size_t i = 0; i < file->count; i++)
		if (file->items[i].parent == index && file->items[i].start < end)
			end = file->items[i].start;
	return end;
}

/* Fixed ones, those that tell of the item, and words anywhere in front of the items within. */
static size_t find_fields(struct file *file, size_t index, struct field *fields)
{
	const struct item *item = &file->items[index];
	size_t count = 0, bytes = item->end - item->start;
	for (size_t i = 0; i < sizeof fixed_fields / sizeof fixed_fields[0]; i++) {
		struct field field = fixed_fields[i].field;
		if (fixed_fields[i].item != item->kind || field.at + field.width > bytes)
			continue;
		field.at += item->start;
		fields[count++] = field;
	}
	if (item->length.at)
		fields[count++] = (struct field){FIELD_LENGTH, item->length.at, item->length.width};
	if (item->offset_at)
		fields[count++] = (struct field){FIELD_OFFSET, item->offset_at, 8};
	if (item->count_at)
		fields[count++] = (struct field){FIELD_NUMBER, item->count_at, 4};
	size_t own = item->kind == ITEM_TEXT ? 0 : own_end(file, index) - item->body;
	for (int i = 0; i < WORDS; i++) {
		size_t width = (size_t)1 << below(file, 4);
		if (own >= width)
			fields[count++] =
				(struct field){FIELD_NUMBER, item->body + below(file, own / width) * width, width};
	}
	return count;
}

/* Its length reaches to the end of the file, or a little before or beyond. */
static uint64_t length_to_the_end(struct file *file, const struct item *item)
{
	return file->mutation.byte_count - item->length.counted + below(file, 3) - 1;
}

/* The length behind the offset ends at a bound, over 2^64 where it must. */
static uint64_t offset_of_end(struct file *file, size_t at)
{
	return number_at_bound(&file->mutation.state) - number(file, at + 8, 8);
}

static uint64_t other_type(struct file *file)
{
	return below(file, 2) ? below(file, RECORD_TYPES) : number(file, file->items[pick(file, ITEM_RECORD)].start, 4);
}

/* Another number that `width` bytes can hold. */
static uint64_t number_that_fits(struct file *file, uint64_t value, size_t width)
{
	uint64_t number, most = UINT64_MAX >> 8 * (sizeof value - width);
	do
		number = mutation_number(&file->mutation, value);
	while (number > most && -number > most);
	return number;
}

static void change_field(struct file *file, size_t index)
{
	const struct item *item = &file->items[index];
	struct field fields[FIELDS_MAX];
	size_t count = find_fields(file, index, fields);
	if (count == 0)
		return;
	struct field field = fields[below(file, count)];
	uint8_t *at = file->mutation.bytes + field.at;
	bool related = below(file, 2);
	if (field.kind == FIELD_BITS) {
		size_t bit = below(file, field.width * 8);
		at[bit / 8] ^= (uint8_t)(1u << bit % 8);
		return;
	}
	uint64_t value = field.kind == FIELD_LENGTH && related   ? length_to_the_end(file, item)
			 : field.kind == FIELD_OFFSET && related ? offset_of_end(file, field.at)
			 : field.kind == FIELD_TYPE
				 ? other_type(file)
				 : number_that_fits(file, get_little_endian(at, field.width), field.width);
	put_little_endian(at, field.width, value);
}

/* ------------------------------------------------------------------------------------------------ contents */

/* The engine's own change of a body. */
static void change_bytes(struct file *file, size_t index)
{
	const struct item *item = &file->items[index];
	size_t count = body_bytes(item), room = file->mutation.byte_max - file->mutation.byte_count;
	room = count + (room < GROWTH_MAX ? room : GROWTH_MAX);
	if (room == 0)
		return;
	uint8_t *copy = malloc(room);
	KML_CHECK(copy, "memory exhausted");
	memcpy(copy, file->mutation.bytes + item->body, count);
	count = file->mutation.mutate(copy, count, room);
	replace(file, index, item->body, item->end, copy, count);
	free(copy);
}

/* Where the first digit from `at` on stands, or `end`. */
static size_t find_digit(const uint8_t *bytes, size_t at, size_t end)
{
	while (at < end && !isdigit(bytes[at]))
		at++;
	return at;
}

/* One of the numbers in a text at a bound; false: there is none. */
static bool change_number_of_text(struct file *file, size_t index)
{
	const struct item *item = &file->items[index];
	const uint8_t *bytes = file->mutation.bytes;
	char digits[NUMBER_TEXT_MAX];
	size_t from = item->body + (body_bytes(item) ? below(file, body_bytes(item)) : 0);
	size_t at = find_digit(bytes, from, item->end);
	if (at == item->end)
		at = find_digit(bytes, item->body, item->end);
	if (at == item->end)
		return false;
	size_t end = at;
	while (at > item->body && isdigit(bytes[at - 1]))
		at--;
	while (end < item->end && isdigit(bytes[end]))
		end++;
	int count = snprintf(digits, sizeof digits, "%" PRIu64, number_at_bound(&file->mutation.state));
	replace(file, index, at, end, digits, (size_t)count);
	return true;
}

/* "0-3,8": numbers and ranges of them, at bounds. */
static void list_numbers(struct file *file, size_t index)
{
	char text[RANGES_MAX * 2 * NUMBER_TEXT_MAX];
	size_t used = 0;
	for (size_t left = 1 + below(file, RANGES_MAX); left > 0; left--)
		for (size_t numbers = 1 + below(file, 2); numbers > 0; numbers--)
			used += (size_t)snprintf(text + used, sizeof text - used, "%" PRIu64 "%s",
						 number_at_bound(&file->mutation.state),
						 numbers > 1 ? "-"
						 : left > 1  ? ","
							     : "");
	replace(file, index, file->items[index].body, file->items[index].end, text, used + 1); /* with its NUL */
}

static void change_text(struct file *file, size_t index)
{
	char text[LENGTH_MAX];
	size_t choice = below(file, 4);
	if (choice == 0) {
		list_numbers(file, index);
	} else if (choice == 1) {
		memset(text, "a %0\xff"[below(file, 5)], sizeof text);
		replace(file, index, file->items[index].body, file->items[index].end, text,
			length_at_bound(&file->mutation.state));
	} else if (!change_number_of_text(file, index)) {
		change_bytes(file, index);
	}
}

/* Its head only, cut short, longer, or as another one. */
static void change_body(struct file *file, size_t index)
{
	static const uint16_t lengths[] = {1, 2, 3, 4, 7, 8, 9, 16, 64, 256};
	const struct item *item = &file->items[index], *other = &file->items[pick(file, item->kind)];
	size_t length;
	switch (below(file, 4)) {
	case 0:
		resize(file, index, item->body, item->end, 0);
		return;
	case 1:
		length = body_bytes(item) ? below(file, body_bytes(item)) : 0;
		resize(file, index, item->body + length, item->end, 0);
		return;
	case 2:
		length = lengths[below(file, sizeof lengths / sizeof lengths[0])];
		if (resize(file, index, item->end, item->end, length))
			memset(file->mutation.bytes + item->end, below(file, 2) ? 0 : (int)below(file, 256), length);
		return;
	default:
		copy_within(file, index, item->body, item->end, other->body, body_bytes(other));
	}
}

/* ------------------------------------------------------------------------------------------------ elements */

/* One of many: there may be more of it, or less. */
static bool is_element(const struct item *item)
{
	return item->kind == ITEM_RECORD || item->kind == ITEM_ID || item->kind == ITEM_FEATURE || item->count_at ||
	       (item->kind == ITEM_ATTR && item->length.at == 0);
}

static bool same_list(const struct item *item, const struct item *other)
{
	return other->kind == item->kind && other->parent == item->parent && other->count_at == item->count_at;
}

static size_t count_of_list(const struct file *file, const struct item *item, size_t end)
{
	size_t count = 0;
	for (size_t i = 0; i < file->count; i++)
		count += same_list(item, &file->items[i]) && file->items[i].start >= item->start &&
			 file->items[i].end <= end;
	return count;
}

static void drop_feature(struct file *file, const struct item *item)
{
	if (resize(file, NONE, item->start, item->end, 0))
		file->mutation.bytes[HEADER_FEATURES + item->feature / 8] &= (uint8_t) ~(1u << item->feature % 8);
}

/* With all that lie between it and another one, or alone. */
static void drop(struct file *file, const struct item *item, const struct item *other)
{
	bool run = same_list(item, other) && other->start > item->start && below(file, 2);
	size_t end = run ? other->end : item->end;
	if (resize(file, item->parent, item->start, end, 0) && item->count_at)
		add_to_number(file, item->count_at, 4, -count_of_list(file, item, end));
}

/* Another feature that has the data of this one. */
static void add_feature(struct file *file, const struct item *item)
{
	unsigned feature = (unsigned)below(file, 32), in_front = 0; /* perf has 32 */
	size_t at = NONE;
	if (has_feature(file, feature))
		return;
	for (size_t i = 0; i < file->count; i++) {
		const struct item *line = &file->items[i];
		if (line->kind != ITEM_FEATURE)
			continue;
		if (at == NONE)
			at = line->start;
		in_front += line->feature < feature;
	}
	at += in_front * SECTION_BYTES;
	if (copy_within(file, NONE, at, at, item->start, SECTION_BYTES))
		file->mutation.bytes[HEADER_FEATURES + feature / 8] |= (uint8_t)(1u << feature % 8);
}

/* Once more, in front of or behind another one. */
static void repeat(struct file *file, const struct item *item, const struct item *other)
{
	size_t at = below(file, 2) ? other->start : other->end;
	if (copy_within(file, other->parent, at, at, item->start, item->end - item->start) && other->count_at)
		add_to_number(file, other->count_at, 4, 1);
}

static void reverse(uint8_t *from, uint8_t *to)
{
	while (from < to) {
		uint8_t byte = *from;
		*from++ = *--to;
		*to = byte;
	}
}

/* To the other side of another one in the same place. */
static void move(struct file *file, const struct item *item, const struct item *other)
{
	bool forward = item->start < other->start;
	const struct item *first = forward ? item : other, *last = forward ? other : item;
	if (!same_list(item, other) || first->end > last->start)
		return;
	uint8_t *bytes = file->mutation.bytes;
	size_t middle = forward ? item->end : item->start;
	reverse(bytes + first->start, bytes + middle);
	reverse(bytes + middle, bytes + last->end);
	reverse(bytes + first->start, bytes + last->end);
}

static void change_element(struct file *file, const struct item *item)
{
	const struct item *other = &file->items[pick(file, item->kind)];
	switch (below(file, 3)) {
	case 0:
		if (item->kind == ITEM_FEATURE)
			drop_feature(file, item);
		else
			drop(file, item, other);
		return;
	case 1:
		if (item->kind == ITEM_FEATURE)
			add_feature(file, item);
		else
			repeat(file, item, other->kind == ITEM_TEXT && !other->count_at ? item : other);
		return;
	default:
		move(file, item, other);
	}
}

/* ------------------------------------------------------------------------------------------------ the policy */

/* A kind's share of the changes, however few there are of it: most has what a file is for, least what nothing survives.
 */
static const uint8_t shares[ITEM_KINDS] = {
	[ITEM_HEADER] = 1,  [ITEM_SECTION] = 2, [ITEM_RECORD] = 6, [ITEM_ATTR] = 2, [ITEM_ID] = 2,
	[ITEM_FEATURE] = 2, [ITEM_NODE] = 2,    [ITEM_SYSTEM] = 2, [ITEM_TEXT] = 3, [ITEM_RAW] = 3,
};

static size_t pick_item(struct file *file)
{
	bool present[ITEM_KINDS] = {false};
	size_t sum = 0, kind = 0;
	for (size_t i = 0; i < file->count; i++)
		present[file->items[i].kind] = true;
	for (size_t i = 0; i < ITEM_KINDS; i++)
		sum += present[i] ? shares[i] : 0;
	for (size_t left = below(file, sum); !present[kind] || left >= shares[kind]; kind++)
		left -= present[kind] ? shares[kind] : 0;
	return pick(file, (enum item_kind)kind);
}

/* Has it more fields than lengths? */
static bool has_words(const struct item *item)
{
	return item->kind == ITEM_RECORD || item->kind == ITEM_ATTR || item->kind == ITEM_ID || item->kind == ITEM_RAW;
}

static void change_item(struct file *file, size_t index)
{
	const struct item *item = &file->items[index];
	size_t choice = below(file, 8);
	if (item->kind == ITEM_HEADER || choice < 2 || (choice < 4 && has_words(item)))
		change_field(file, index);
	else if (choice < 5 && is_element(item))
		change_element(file, item);
	else if (item->kind == ITEM_TEXT && choice < 7)
		change_text(file, index);
	else if (choice < 7 && item->kind != ITEM_ID && item->kind != ITEM_FEATURE)
		change_body(file, index);
	else
		change_bytes(file, index);
}

size_t perf_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, uint64_t seed, mutate_bytes *mutate)
{
	static struct file file;
	file.mutation = (struct mutation){
		.bytes = bytes, .byte_count = byte_count, .byte_max = byte_max, .state = seed, .mutate = mutate};
	if (byte_count > byte_max || !take_apart(&file) || below(&file, 4) == 0)
		return mutate(bytes, byte_count, byte_max);
	do
		change_item(&file, pick_item(&file));
	while (below(&file, ONE_MORE_IN) == 0 && take_apart(&file));
	return file.mutation.byte_count;
}
