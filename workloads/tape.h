/*
 * tape.h - the events of one level in memory: for a search that replays the same trace many times.
 */
#ifndef KMEMLAB_TAPE_H
#define KMEMLAB_TAPE_H

#include "workloads/replay.h"

struct replay_tape {
	struct kmt_event *events; /* NULL: not in memory, too many */
	uint64_t count;
};

/* Read the trace from its start, leaving out what the level does not feed. Longer ones than 256 MiB stay on disk. */
bool replay_tape_read(struct kmt_reader *reader, enum replay_level level, struct replay_tape *tape,
		      struct kml_error *error);
void replay_tape_free(struct replay_tape *tape);

/*
 * Replay for nothing but the failures: no samples, no peaks, no means. From the tape, or where it is empty from the
 * reader.
 */
bool replay_run_bare(struct kmt_reader *reader, const struct replay_tape *tape, const struct kml_spec *spec,
		     const struct replay_options *options, struct replay_result *result, struct kml_error *error);

#endif
