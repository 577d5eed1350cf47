/* cmd_info.c - being written. */
#include <stdio.h>
#include "kmemlab/command.h"

int cmd_info(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs("kmemlab info: being written\n", stderr);
	return KML_EXIT_USAGE;
}
