/*
 * columns.c - events to columns of bytes and back, told relative to the model (model.h).
 *
 * Cost: O(1) an event when reading but for walks of at most KMT_WALK steps; the writer looks for the shortest walk.
 * Invariant: decoding the columns of an encoded block gives exactly the events that were encoded, whatever they are;
 * predictions only make them short.
 */
#include <stdlib.h>
#include <xxhash.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/planted.h"
#include "traces/kmt/model.h"

enum anchor { ANCHOR_NEWEST, ANCHOR_CURSOR_OLDER, ANCHOR_CURSOR_NEWER, ANCHOR_OLDEST, ANCHORS };
enum { CODE_FRESH = 254, CODE_LITERAL = 255 };
_Static_assert(ANCHORS *KMT_WALK <= CODE_FRESH, "walk codes must stay below the special ones");
_Static_assert((int)KMT_RECENT <= (int)CODE_LITERAL, "ranks of recent addresses must stay below the special code");

static const char *kmt_column_name(enum kmt_column column)
{
	static const char *const names[KMT_COLUMNS] = {"time",    "cpu", "shape",   "new shape",  "alloc id",
						       "free id", "id",  "address", "new address"};
	return names[column];
}

static bool frees(uint8_t op)
{
	return op == KMT_FREE || op == KMT_PAGE_FREE || op == KMT_RCU_FREE || op == KMT_MISUSE;
}

static bool allocates(uint8_t op)
{
	return op == KMT_ALLOC || op == KMT_PAGE_ALLOC;
}

/* The list in which an event's id is sought. */
static uint32_t id_list(const struct kmt_model *model, uint8_t op, uint16_t cache, uint8_t order)
{
	bool among_free = allocates(op) || op == KMT_RCU_FREE || op == KMT_MISUSE;
	return among_free ? (uint32_t)KMT_FREE_IDS : kmt_model_list(model, op, cache, order);
}

/* ------------------------------------------------------------------------------------------------ walks */

static uint32_t walk_start(const struct kmt_model *model, const struct kmt_list *list, enum anchor anchor)
{
	switch (anchor) {
	case ANCHOR_NEWEST:
		return list->newest;
	case ANCHOR_CURSOR_OLDER:
		return list->cursor;
	case ANCHOR_CURSOR_NEWER:
		return list->cursor == KMT_NONE ? list->oldest : model->objects[list->cursor].newer;
	default:
		return list->oldest;
	}
}

static uint32_t walk_step(const struct kmt_model *model, uint32_t id, enum anchor anchor)
{
	bool to_older = anchor == ANCHOR_NEWEST || anchor == ANCHOR_CURSOR_OLDER;
	return to_older ? model->objects[id].older : model->objects[id].newer;
}

/* The code of the shortest walk to an id, CODE_LITERAL when there is none. */
static uint8_t walk_find(const struct kmt_model *model, uint32_t list_index, uint32_t id)
{
	if (id >= model->fresh || model->objects[id].list != list_index)
		return CODE_LITERAL;
	uint32_t at[ANCHORS];
	for (enum anchor anchor = 0; anchor < ANCHORS; anchor++)
		at[anchor] = walk_start(model, &model->lists[list_index], anchor);
	for (uint32_t steps = 0; steps < KMT_WALK; steps++) {
		for (enum anchor anchor = 0; anchor < ANCHORS; anchor++) {
			if (at[anchor] == id)
				return (uint8_t)(steps * ANCHORS + anchor);
			if (at[anchor] != KMT_NONE)
				at[anchor] = walk_step(model, at[anchor], anchor);
		}
	}
	return CODE_LITERAL;
}

/* KMT_NONE when the list ends before. */
static uint32_t walk_follow(const struct kmt_model *model, uint32_t list_index, uint8_t code)
{
	enum anchor anchor = code % ANCHORS;
	uint32_t id = walk_start(model, &model->lists[list_index], anchor);
	for (uint32_t steps = code / ANCHORS; steps && (KML_PLANTED(kmt_walk_unbounded) || id != KMT_NONE); steps--)
		id = walk_step(model, id, anchor);
	return id;
}

static void id_encode(struct kmt_model *model, struct kmt_columns *columns, const struct kmt_event *event)
{
	uint32_t list = id_list(model, event->op, event->cache, event->order);
	uint8_t code = walk_find(model, list, event->object);
	if (code == CODE_LITERAL && event->object == model->fresh)
		code = CODE_FRESH;
	kmt_put_u8(&columns->column[allocates(event->op) ? KMT_COLUMN_ALLOC_ID : KMT_COLUMN_FREE_ID], code);
	if (code == CODE_LITERAL)
		kmt_put_varint(&columns->column[KMT_COLUMN_ID], event->object);
}

static bool id_decode(struct kmt_model *model, const struct kmt_tally *tally, struct kmt_columns *columns,
		      struct kmt_event *event, struct kml_error *error)
{
	struct kmt_bytes *codes = &columns->column[allocates(event->op) ? KMT_COLUMN_ALLOC_ID : KMT_COLUMN_FREE_ID];
	uint8_t code = kmt_get_u8(codes);
	uint64_t id;
	if (codes->bad)
		return kml_fail(error, "its id is cut short");
	if (code == CODE_LITERAL) {
		id = kmt_get_varint(&columns->column[KMT_COLUMN_ID]);
	} else if (code == CODE_FRESH) {
		id = model->fresh;
	} else {
		id = walk_follow(model, id_list(model, event->op, event->cache, event->order), code);
		if (id == KMT_NONE)
			return kml_fail(error, "its id lies beyond the end of its list");
	}
	if (!kmt_id_check(tally, event->op, id, error))
		return false;
	event->object = (uint32_t)id;
	return kmt_model_see(model, event->object) || kml_fail(error, "memory exhausted");
}

/* ------------------------------------------------------------------------------------------------ shapes */

/* Fields that equal the object's are implied and left 0. The object was seen. */
static struct kmt_shape shape_of(const struct kmt_model *model, const struct kmt_event *event)
{
	struct kmt_shape shape = {
		.size_bytes = event->size_bytes,
		.granted_bytes = event->granted_bytes,
		.cache = event->cache,
		.flags = event->flags,
		.op = event->op,
		.order = event->order,
		.align_log2 = event->align_log2,
		.implied = event->address == KMT_NO_ADDRESS ? KMT_WITHOUT_ADDRESS : 0,
	};
	if (!frees(event->op))
		return shape;
	const struct kmt_object *object = &model->objects[event->object];
	if (shape.size_bytes == object->size_bytes)
		shape.implied |= KMT_SAME_SIZE, shape.size_bytes = 0;
	if (shape.granted_bytes == object->granted_bytes)
		shape.implied |= KMT_SAME_GRANTED, shape.granted_bytes = 0;
	if (shape.flags == object->flags)
		shape.implied |= KMT_SAME_FLAGS, shape.flags = 0;
	if (shape.align_log2 == object->align_log2)
		shape.implied |= KMT_SAME_ALIGN, shape.align_log2 = 0;
	if (event->address != KMT_NO_ADDRESS && event->address == object->address)
		shape.implied |= KMT_SAME_ADDRESS;
	return shape;
}

static void shape_apply(const struct kmt_model *model, const struct kmt_shape *shape, struct kmt_event *event)
{
	event->size_bytes = shape->size_bytes;
	event->granted_bytes = shape->granted_bytes;
	event->flags = shape->flags;
	event->align_log2 = shape->align_log2;
	event->address = KMT_NO_ADDRESS;
	if (!frees(event->op))
		return;
	const struct kmt_object *object = &model->objects[event->object];
	if (shape->implied & KMT_SAME_SIZE)
		event->size_bytes = object->size_bytes;
	if (shape->implied & KMT_SAME_GRANTED)
		event->granted_bytes = object->granted_bytes;
	if (shape->implied & KMT_SAME_FLAGS)
		event->flags = object->flags;
	if (shape->implied & KMT_SAME_ALIGN)
		event->align_log2 = object->align_log2;
	if (shape->implied & KMT_SAME_ADDRESS)
		event->address = object->address;
}

static bool shape_add(struct kmt_model *model, const struct kmt_shape *shape)
{
	if (model->shape_count == KMT_SHAPES_MAX)
		return true;
	if (model->shape_count == model->shape_capacity) {
		uint32_t capacity = model->shape_capacity ? 2 * model->shape_capacity : 256;
		struct kmt_shape *shapes = realloc(model->shapes, capacity * sizeof *shapes);
		if (!shapes)
			return false;
		model->shapes = shapes;
		model->shape_capacity = capacity;
	}
	model->shapes[model->shape_count++] = *shape;
	return true;
}

static uint32_t shape_hash(const struct kmt_model *model, const struct kmt_shape *shape)
{
	return (uint32_t)XXH64(shape, sizeof *shape, 0) % model->shape_slots;
}

/* Its number plus 1, 0 when it is new; *slot is then its place in the table. */
static uint32_t shape_find(const struct kmt_model *model, const struct kmt_shape *shape, uint32_t *slot)
{
	for (*slot = shape_hash(model, shape); model->shape_table[*slot]; *slot = (*slot + 1) % model->shape_slots)
		if (memcmp(&model->shapes[model->shape_table[*slot] - 1], shape, sizeof *shape) == 0)
			return model->shape_table[*slot];
	return 0;
}

/* Room for one more, all entered anew where the table would be more than half full. */
static bool shape_room(struct kmt_model *model)
{
	if (model->shape_count >= KMT_SHAPES_MAX || 2 * (model->shape_count + 1) <= model->shape_slots)
		return true;
	uint32_t *table = calloc(2 * (size_t)model->shape_slots, sizeof *table), slot;
	if (!table)
		return false;
	free(model->shape_table);
	model->shape_table = table;
	model->shape_slots *= 2;
	for (uint32_t i = 0; i < model->shape_count; i++) {
		shape_find(model, &model->shapes[i], &slot);
		table[slot] = i + 1;
	}
	return true;
}

static bool shape_encode(struct kmt_model *model, struct kmt_columns *columns, const struct kmt_shape *shape)
{
	if (!shape_room(model))
		return false;
	uint32_t slot, number = shape_find(model, shape, &slot);
	kmt_put_varint(&columns->column[KMT_COLUMN_SHAPE], number);
	if (number)
		return true;
	struct kmt_bytes *out = &columns->column[KMT_COLUMN_SHAPE_NEW];
	kmt_put_u8(out, shape->op);
	kmt_put_u8(out, shape->implied);
	kmt_put_varint(out, (uint16_t)(shape->cache + 1));
	kmt_put_varint(out, shape->size_bytes);
	kmt_put_varint(out, shape->granted_bytes);
	kmt_put_varint(out, shape->flags);
	kmt_put_u8(out, shape->order);
	kmt_put_u8(out, shape->align_log2);
	if (model->shape_count < KMT_SHAPES_MAX)
		model->shape_table[slot] = model->shape_count + 1;
	return shape_add(model, shape);
}

static bool shape_decode_new(struct kmt_model *model, struct kmt_bytes *in, struct kmt_shape *shape,
			     struct kml_error *error)
{
	shape->op = kmt_get_u8(in);
	shape->implied = kmt_get_u8(in);
	uint64_t cache = kmt_get_varint(in);
	shape->size_bytes = kmt_get_varint(in);
	shape->granted_bytes = kmt_get_varint(in);
	uint64_t flags = kmt_get_varint(in);
	shape->order = kmt_get_u8(in);
	shape->align_log2 = kmt_get_u8(in);
	if (in->bad)
		return kml_fail(error, "the new shapes are cut short");
	uint8_t allowed = frees(shape->op) ? KMT_IMPLIED_ALL : KMT_WITHOUT_ADDRESS;
	uint8_t both = KMT_SAME_ADDRESS | KMT_WITHOUT_ADDRESS;
	if ((shape->implied & ~allowed) || (shape->implied & both) == both)
		return kml_fail(error, "a shape implies what it cannot (0x%x)", shape->implied);
	/* What cannot be told by the later check of the event: values that do not fit, or index the lists. */
	if (shape->op >= KMT_OP_COUNT || (!KML_PLANTED(kmt_cache_unchecked) && cache > model->cache_count) ||
	    flags > UINT16_MAX || (!KML_PLANTED(kmt_order_unchecked) && shape->order > 63))
		return kml_fail(error, "a shape has an unknown operation, cache, flag or order");
	shape->cache = (uint16_t)(cache - 1);
	shape->flags = (uint16_t)flags;
	return shape_add(model, shape) || kml_fail(error, "memory exhausted");
}

static bool shape_decode(struct kmt_model *model, struct kmt_columns *columns, struct kmt_shape *shape,
			 struct kml_error *error)
{
	uint64_t number = kmt_get_varint(&columns->column[KMT_COLUMN_SHAPE]);
	if (number == 0)
		return shape_decode_new(model, &columns->column[KMT_COLUMN_SHAPE_NEW], shape, error);
	if (number > model->shape_count)
		return kml_fail(error, "shape %llu of %u", (unsigned long long)number, model->shape_count);
	*shape = model->shapes[number - 1];
	return true;
}

/* ------------------------------------------------------------------------------------------------ addresses */

static uint8_t recent_find(const struct kmt_list *list, uint64_t address)
{
	for (uint32_t rank = 0; rank < list->recent_count; rank++)
		if (list->recent[list->recent_count - 1 - rank] == address)
			return (uint8_t)rank;
	return CODE_LITERAL;
}

static void address_encode(struct kmt_model *model, struct kmt_columns *columns, const struct kmt_event *event)
{
	struct kmt_list *list = &model->lists[kmt_model_list(model, event->op, event->cache, event->order)];
	uint8_t code = CODE_LITERAL;
	if (allocates(event->op)) {
		code = recent_find(list, event->address);
		kmt_put_u8(&columns->column[KMT_COLUMN_ADDRESS], code);
	}
	if (code == CODE_LITERAL)
		kmt_put_varint(&columns->column[KMT_COLUMN_ADDRESS_NEW],
			       kmt_zigzag(event->address - list->last_address));
	else
		kmt_recent_remove(list, code);
	list->last_address = event->address;
}

static bool address_decode(struct kmt_model *model, struct kmt_columns *columns, struct kmt_event *event,
			   struct kml_error *error)
{
	struct kmt_list *list = &model->lists[kmt_model_list(model, event->op, event->cache, event->order)];
	uint8_t code = allocates(event->op) ? kmt_get_u8(&columns->column[KMT_COLUMN_ADDRESS]) : CODE_LITERAL;
	if (code == CODE_LITERAL) {
		uint64_t difference = kmt_get_varint(&columns->column[KMT_COLUMN_ADDRESS_NEW]);
		event->address = list->last_address + kmt_unzigzag(difference);
		if (event->address == KMT_NO_ADDRESS)
			return kml_fail(error, "an address is recorded as not recorded");
	} else {
		if (code >= list->recent_count + KML_PLANTED(kmt_recent_off_by_one))
			return kml_fail(error, "recent address %u of %u", code, list->recent_count);
		event->address = list->recent[list->recent_count - 1 - code];
		kmt_recent_remove(list, code);
	}
	list->last_address = event->address;
	return true;
}

/* ------------------------------------------------------------------------------------------------ blocks */

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

/* All time differences of the block are multiples of it (traces in text count in microseconds). */
static uint64_t time_unit(uint64_t time_ns, const struct kmt_event *events, uint32_t count)
{
	uint64_t unit = 0;
	for (uint32_t i = 0; i < count; i++) {
		unit = greatest_common_divisor(events[i].time_ns - time_ns, unit);
		time_ns = events[i].time_ns;
	}
	return unit ? unit : 1;
}

static bool event_encode(struct kmt_model *model, struct kmt_columns *columns, const struct kmt_event *event,
			 uint64_t unit)
{
	struct kmt_bytes *column = columns->column;
	kmt_put_varint(&column[KMT_COLUMN_TIME], (event->time_ns - model->time_ns) / unit);
	kmt_put_varint(&column[KMT_COLUMN_CPU], (uint16_t)(event->cpu ^ model->cpu));
	bool has_object = kmt_op_has_object(event->op);
	if (has_object) {
		id_encode(model, columns, event);
		if (!kmt_model_see(model, event->object))
			return false;
	}
	struct kmt_shape shape = shape_of(model, event);
	if (!shape_encode(model, columns, &shape))
		return false;
	if (!(shape.implied & (KMT_SAME_ADDRESS | KMT_WITHOUT_ADDRESS)))
		address_encode(model, columns, event);
	if (has_object && !kmt_model_apply(model, event))
		return false;
	model->time_ns = event->time_ns;
	model->cpu = event->cpu;
	return true;
}

bool kmt_columns_encode(struct kmt_model *model, struct kmt_columns *columns, const struct kmt_event *events,
			uint32_t count)
{
	for (enum kmt_column column = 0; column < KMT_COLUMNS; column++)
		columns->column[column].used = 0;
	uint64_t unit = time_unit(model->time_ns, events, count);
	kmt_put_varint(&columns->column[KMT_COLUMN_TIME], unit);
	for (uint32_t i = 0; i < count; i++)
		if (!event_encode(model, columns, &events[i], unit))
			return false;
	return true;
}

static bool event_decode(struct kmt_model *model, struct kmt_tally *tally, struct kmt_columns *columns,
			 struct kmt_event *event, uint64_t unit, struct kml_error *error)
{
	struct kmt_bytes *column = columns->column;
	struct kmt_shape shape = {0};
	uint64_t step;
	if (__builtin_mul_overflow(kmt_get_varint(&column[KMT_COLUMN_TIME]), unit, &step) ||
	    __builtin_add_overflow(model->time_ns, step, &event->time_ns))
		return kml_fail(error, "the time overflows");
	uint64_t cpu = kmt_get_varint(&column[KMT_COLUMN_CPU]) ^ model->cpu;
	if (cpu > UINT16_MAX)
		return kml_fail(error, "cpu %llu: the trace has %u cpus", (unsigned long long)cpu,
				tally->origin->cpu_count);
	event->cpu = (uint16_t)cpu;
	if (!shape_decode(model, columns, &shape, error))
		return false;
	event->op = shape.op;
	event->cache = shape.cache;
	event->order = shape.order;
	event->object = 0;
	bool has_object = kmt_op_has_object(event->op);
	if (has_object && !id_decode(model, tally, columns, event, error))
		return false;
	shape_apply(model, &shape, event);
	if (!(shape.implied & (KMT_SAME_ADDRESS | KMT_WITHOUT_ADDRESS)) &&
	    !address_decode(model, columns, event, error))
		return false;
	if (!kmt_event_check(tally, event, error))
		return false;
	if (has_object && !kmt_model_apply(model, event))
		return kml_fail(error, "memory exhausted");
	kmt_tally_count(tally, event);
	if (!kmt_tally_within(tally, error))
		return false;
	model->time_ns = event->time_ns;
	model->cpu = event->cpu;
	return true;
}

bool kmt_columns_decode(struct kmt_model *model, struct kmt_tally *tally, struct kmt_columns *columns,
			struct kmt_event *events, uint32_t count, struct kml_error *error)
{
	uint64_t unit = kmt_get_varint(&columns->column[KMT_COLUMN_TIME]);
	for (uint32_t i = 0; i < count; i++)
		if (!event_decode(model, tally, columns, &events[i], unit, error))
			return false;
	for (enum kmt_column column = 0; column < KMT_COLUMNS; column++)
		if (columns->column[column].bad || columns->column[column].at != columns->column[column].used)
			return kml_fail(error, "the column \"%s\" is %s", kmt_column_name(column),
					columns->column[column].bad ? "cut short" : "too long");
	return true;
}
