/* cmd_demo.c - being written. */
#include <stdio.h>
#include "kmemlab/command.h"

int cmd_demo(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs("kmemlab demo: being written\n", stderr);
	return KML_EXIT_USAGE;
}
