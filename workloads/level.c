/* level.c - the names of the levels at which a trace can be replayed. */
#include "workloads/replay.h"

const char *replay_level_name(enum replay_level level)
{
	static const char *const names[REPLAY_LEVELS] = {"all", "objects", "pages"};
	return (unsigned)level < REPLAY_LEVELS ? names[level] : "unknown";
}
