/* cmd_import.c - being written. */
#include <stdio.h>
#include "kmemlab/command.h"

int cmd_import(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	fputs("kmemlab import: being written\n", stderr);
	return KML_EXIT_USAGE;
}
