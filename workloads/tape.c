/* tape.c - the events of one level in memory. */
#include "workloads/tape.h"

#include <stdlib.h>

#include "workloads/scan.h"

static const uint64_t TAPE_MAX_BYTES = 256u << 20;

static bool append_events(struct replay_tape *tape, uint64_t *capacity, enum replay_level level,
			  const struct kmt_item *item)
{
	for (uint32_t i = 0; i < item->event_count; i++) {
		const struct kmt_event *event = &item->events[i];
		bool tells = event->op == KMT_REAP || event->op == KMT_RCU_FREE;
		if (!replay_event_belongs(level, event) && !(tells && level != REPLAY_PAGES))
			continue;
		if (tape->count == *capacity) {
			*capacity = *capacity ? *capacity * 2 : KMT_BLOCK_EVENTS;
			if (*capacity * sizeof *tape->events > TAPE_MAX_BYTES)
				return false;
			struct kmt_event *larger = realloc(tape->events, *capacity * sizeof *larger);
			if (!larger)
				return false;
			tape->events = larger;
		}
		tape->events[tape->count++] = *event;
	}
	return true;
}

bool replay_tape_read(struct kmt_reader *reader, enum replay_level level, struct replay_tape *tape,
		      struct kml_error *error)
{
	struct kmt_item item;
	uint64_t capacity = 0;
	*tape = (struct replay_tape){0};
	if (!kmt_rewind(reader, error))
		return false;
	for (;;) {
		switch (kmt_next(reader, &item, error)) {
		case KMT_ITEM_EVENTS:
			if (append_events(tape, &capacity, level, &item))
				break;
			replay_tape_free(tape);
			return true;
		case KMT_ITEM_SNAPSHOT:
			break;
		case KMT_ITEM_END:
			return true;
		case KMT_ITEM_ERROR:
			replay_tape_free(tape);
			return false;
		}
	}
}

void replay_tape_free(struct replay_tape *tape)
{
	free(tape->events);
	*tape = (struct replay_tape){0};
}
