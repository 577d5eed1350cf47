/*
 * model.c - the stream so far: its objects in lists, and what each list gave back last.
 *
 * Memory: 48 bytes an object id seen, 40 a cache, 24 a shape; recent addresses only for lists that use them. All of it
 * grows with the events really read, never with a count that a file merely states.
 */
#include <stdlib.h>

#include "kmemlab/support/planted.h"
#include "traces/kmt/model.h"

/* ------------------------------------------------------------------------------------------------ life */

static void lists_clear(struct kmt_model *model)
{
	for (uint32_t i = 0; i < model->list_count; i++) {
		free(model->lists[i].recent);
		model->lists[i] = (struct kmt_list){.newest = KMT_NONE, .oldest = KMT_NONE, .cursor = KMT_NONE};
	}
}

bool kmt_model_init(struct kmt_model *model, uint32_t cache_count, bool writing)
{
	*model = (struct kmt_model){.cache_count = cache_count};
	model->list_count = 1 + cache_count + 1 + 64; /* free ids, caches, no cache, page orders */
	model->lists = calloc(model->list_count, sizeof *model->lists);
	model->shape_slots = writing ? KMT_SHAPE_TABLE_FIRST : 0;
	model->shape_table = writing ? calloc(model->shape_slots, sizeof *model->shape_table) : NULL;
	if (!model->lists || (writing && !model->shape_table)) {
		kmt_model_free(model);
		return false;
	}
	lists_clear(model);
	return true;
}

void kmt_model_free(struct kmt_model *model)
{
	if (model->lists)
		lists_clear(model);
	free(model->lists);
	free(model->objects);
	free(model->shapes);
	free(model->shape_table);
	*model = (struct kmt_model){0};
}

void kmt_model_reset(struct kmt_model *model)
{
	lists_clear(model);
	model->fresh = 0;
	model->shape_count = 0;
	if (model->shape_table)
		memset(model->shape_table, 0, model->shape_slots * sizeof *model->shape_table);
	model->time_ns = 0;
	model->cpu = 0;
}

/* ------------------------------------------------------------------------------------------------ objects */

bool kmt_model_see(struct kmt_model *model, uint32_t id)
{
	if (id < model->fresh)
		return true;
	if (id >= model->object_capacity) {
		uint64_t capacity = model->object_capacity ? model->object_capacity : 1024;
		while (capacity + KML_PLANTED(kmt_object_table_short) <= id)
			capacity *= 2;
		struct kmt_object *objects = realloc(model->objects, capacity * sizeof *objects);
		if (!objects)
			return false;
		model->objects = objects;
		model->object_capacity = (uint32_t)capacity;
	}
	for (; model->fresh <= id; model->fresh++)
		model->objects[model->fresh] = (struct kmt_object){.address = KMT_NO_ADDRESS, .list = KMT_NONE};
	return true;
}

static void list_remove(struct kmt_model *model, uint32_t id)
{
	struct kmt_object *object = &model->objects[id];
	if (object->list == KMT_NONE)
		return;
	struct kmt_list *list = &model->lists[object->list];
	if (object->newer == KMT_NONE)
		list->newest = object->older;
	else
		model->objects[object->newer].older = object->older;
	if (object->older == KMT_NONE)
		list->oldest = object->newer;
	else
		model->objects[object->older].newer = object->newer;
	list->cursor = object->older;
	object->list = KMT_NONE;
}

static void list_push(struct kmt_model *model, uint32_t index, uint32_t id)
{
	struct kmt_list *list = &model->lists[index];
	struct kmt_object *object = &model->objects[id];
	object->list = index;
	object->newer = KMT_NONE;
	object->older = list->newest;
	if (list->newest == KMT_NONE)
		list->oldest = id;
	else
		model->objects[list->newest].newer = id;
	list->newest = id;
}

uint32_t kmt_model_list(const struct kmt_model *model, uint8_t op, uint16_t cache, uint8_t order)
{
	if (op == KMT_PAGE_ALLOC || op == KMT_PAGE_FREE || op == KMT_PAGE_ADD)
		return 1 + model->cache_count + 1 + order;
	return 1 + (cache == KMT_NO_CACHE ? model->cache_count : cache);
}

static bool recent_push(struct kmt_list *list, uint64_t address)
{
	if (!list->recent)
		list->recent = malloc(KMT_RECENT * sizeof *list->recent);
	if (!list->recent)
		return false;
	if (list->recent_count == KMT_RECENT + KML_PLANTED(kmt_recent_unbounded))
		memmove(list->recent, list->recent + 1, --list->recent_count * sizeof *list->recent);
	list->recent[list->recent_count++] = address;
	return true;
}

void kmt_recent_remove(struct kmt_list *list, uint32_t rank)
{
	uint32_t at = list->recent_count - 1 - rank;
	memmove(list->recent + at, list->recent + at + 1, rank * sizeof *list->recent);
	list->recent_count--;
}

bool kmt_model_apply(struct kmt_model *model, const struct kmt_event *event)
{
	uint32_t index = kmt_model_list(model, event->op, event->cache, event->order);
	if (event->op == KMT_ALLOC || event->op == KMT_PAGE_ALLOC) {
		list_remove(model, event->object);
		struct kmt_object *object = &model->objects[event->object];
		object->address = event->address;
		object->size_bytes = event->size_bytes;
		object->granted_bytes = event->granted_bytes;
		object->flags = event->flags;
		object->align_log2 = event->align_log2;
		list_push(model, index, event->object);
	} else if (event->op == KMT_FREE || event->op == KMT_PAGE_FREE) {
		struct kmt_object *object = &model->objects[event->object];
		if (object->list == KMT_NONE || object->list == KMT_FREE_IDS)
			return true;
		if (object->address != KMT_NO_ADDRESS && !recent_push(&model->lists[object->list], object->address))
			return false;
		list_remove(model, event->object);
		list_push(model, KMT_FREE_IDS, event->object);
	}
	return true;
}
