/* cmd_replay.c - being written. */
#include <stdio.h>
#include "kmemlab/command.h"

int cmd_replay(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs("kmemlab replay: being written\n", stderr);
	return KML_EXIT_USAGE;
}
