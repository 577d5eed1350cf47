/* level.c - the names of the levels at which a trace can be replayed. */
#include "workloads/replay.h"

#include <string.h>

const char *replay_level_name(enum replay_level level)
{
	static const char *const names[REPLAY_LEVELS] = {"all", "objects", "pages"};
	return (unsigned)level < REPLAY_LEVELS ? names[level] : "unknown";
}

bool replay_level_parse(const char *text, enum replay_level *level)
{
	for (int i = 0; i < REPLAY_LEVELS; i++) {
		if (strcmp(text, replay_level_name(i)) != 0)
			continue;
		*level = i;
		return true;
	}
	return false;
}
