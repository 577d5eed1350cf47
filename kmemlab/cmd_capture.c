/* cmd_capture.c - being written. */
#include <stdio.h>
#include "kmemlab/command.h"

int cmd_capture(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs("kmemlab capture: being written\n", stderr);
	return KML_EXIT_USAGE;
}
