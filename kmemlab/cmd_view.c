/* cmd_view.c - being written. */
#include <stdio.h>
#include "kmemlab/command.h"

int cmd_view(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs("kmemlab view: being written\n", stderr);
	return KML_EXIT_USAGE;
}
