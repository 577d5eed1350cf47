/* cmd_run.c - being written. */
#include <stdio.h>
#include "kmemlab/command.h"

int cmd_run(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs("kmemlab run: being written\n", stderr);
	return KML_EXIT_USAGE;
}
