/*
 * model.h - private to traces/kmt: what writer and reader both know of the stream so far, and predict from.
 *
 * Three kinds of memory, all O(objects + caches), none of it searched by hashing when reading:
 *  - shapes: each combination of op, cache, size, granted, flags, order and alignment seen so far, by number;
 *  - objects: of each id its last allocation, and its neighbours in a list: the free ids (last freed first), or the
 * live objects of one cache (or page order), newest first. Which object is freed is told as a short walk in its list;
 *  - recent addresses: of each cache the addresses freed last, because allocators hand those out first.
 */
#ifndef KMEMLAB_KMT_MODEL_H
#define KMEMLAB_KMT_MODEL_H

#include "traces/kmt/format.h"

#define KMT_NONE UINT32_MAX

enum {
	KMT_SHAPES_MAX = 65536,
	KMT_SHAPE_TABLE_FIRST = 1024, /* slots of the writer's table at first */
	KMT_ID_SLACK = 65536,         /* an id is below this plus the number of events before it */
	KMT_WALK = 62,                /* steps of a walk in a list, at most */
	KMT_RECENT = 64,              /* addresses remembered of a list */
	KMT_FREE_IDS = 0,             /* the list of free ids */
};

/* A shape's fields that say "as the object's allocation" (frees only) instead of a value, and where the address is. */
enum kmt_implied {
	KMT_SAME_SIZE = 1u << 0,
	KMT_SAME_GRANTED = 1u << 1,
	KMT_SAME_FLAGS = 1u << 2,
	KMT_SAME_ALIGN = 1u << 3,
	KMT_SAME_ADDRESS = 1u << 4,
	KMT_WITHOUT_ADDRESS = 1u << 5,
	KMT_IMPLIED_ALL = (1u << 6) - 1,
};

struct kmt_shape {
	uint64_t size_bytes, granted_bytes;
	uint16_t cache, flags;
	uint8_t op, order, align_log2, implied;
};

struct kmt_object {
	uint64_t address, size_bytes, granted_bytes;
	uint32_t list; /* KMT_NONE: in none */
	uint32_t newer, older;
	uint16_t flags;
	uint8_t align_log2;
};

struct kmt_list {
	uint32_t newest, oldest;
	uint32_t cursor; /* the older neighbour of what was removed last; KMT_NONE: it was the oldest */
	uint32_t recent_count;
	uint64_t last_address; /* told last */
	uint64_t *recent;      /* [KMT_RECENT], most recent last; NULL until needed */
};

struct kmt_model {
	uint32_t cache_count;
	uint32_t list_count;
	struct kmt_list *lists;
	struct kmt_object *objects; /* [object_capacity], grown with the ids seen */
	uint32_t object_capacity;
	uint32_t fresh; /* ids from here on were never seen */
	struct kmt_shape *shapes;
	uint32_t shape_count, shape_capacity;
	uint32_t *shape_table; /* hash table of the writer's, at most half full; NULL when reading */
	uint32_t shape_slots;  /* in it */
	uint64_t time_ns;      /* of the event before */
	uint16_t cpu;
};

/* The events so far as they must agree with the header before them and the footer behind them. */
struct kmt_tally {
	const struct kmt_origin *origin; /* borrowed */
	uint32_t cache_count;
	uint64_t time_ns;                /* of the event before */
	struct kmt_totals totals;        /* quirks and perf sums stay 0 */
	const struct kmt_totals *stated; /* by the footer; NULL when writing */
};

/* What kmt.h promises of every event. */
bool kmt_event_check(const struct kmt_tally *tally, const struct kmt_event *event, struct kml_error *error);
/* Dense enough to be kept in a table. */
bool kmt_id_check(const struct kmt_tally *tally, uint8_t op, uint64_t id, struct kml_error *error);
/* Count a checked event in the totals; it becomes the predecessor. */
void kmt_tally_count(struct kmt_tally *tally, const struct kmt_event *event);

bool kmt_model_init(struct kmt_model *model, uint32_t cache_count, bool writing);
void kmt_model_free(struct kmt_model *model);
/* As after init. */
void kmt_model_reset(struct kmt_model *model);

/*
 * False: more was counted than the footer states. Callers size their tables by the footer before they read the events,
 * so an event beyond it must not reach them.
 */
bool kmt_tally_within(const struct kmt_tally *tally, struct kml_error *error);

/* Make room for an id. False: memory exhausted. */
bool kmt_model_see(struct kmt_model *model, uint32_t id);
/* The list in which an operation puts or seeks objects. */
uint32_t kmt_model_list(const struct kmt_model *model, uint8_t op, uint16_t cache, uint8_t order);
/* Move the event's object to where it belongs now. Its id was seen. False: memory exhausted. */
bool kmt_model_apply(struct kmt_model *model, const struct kmt_event *event);
/* Forget the recent address at a rank (0: the most recent). */
void kmt_recent_remove(struct kmt_list *list, uint32_t rank);

/* Events to columns and back. An event is checked before it is added and after it is decoded. */
enum kmt_column {
	KMT_COLUMN_TIME,
	KMT_COLUMN_CPU,
	KMT_COLUMN_SHAPE,
	KMT_COLUMN_SHAPE_NEW,
	KMT_COLUMN_ALLOC_ID,
	KMT_COLUMN_FREE_ID,
	KMT_COLUMN_ID,
	KMT_COLUMN_ADDRESS,
	KMT_COLUMN_ADDRESS_NEW,
	KMT_COLUMNS
};

struct kmt_columns {
	struct kmt_bytes column[KMT_COLUMNS];
};

/* Reset the columns and encode. The events were checked. False: memory exhausted. */
bool kmt_columns_encode(struct kmt_model *model, struct kmt_columns *columns, const struct kmt_event *events,
			uint32_t count);
/* Decode exactly `count` events, check and count each; nothing may be left. */
bool kmt_columns_decode(struct kmt_model *model, struct kmt_tally *tally, struct kmt_columns *columns,
			struct kmt_event *events, uint32_t count, struct kml_error *error);

#endif
