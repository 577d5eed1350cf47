/*
 * command.h - the table of subcommands. One file cmd_NAME.c each, one line in main.c's table.
 *
 * Options are parsed with argp. Exit status: 0 done, 1 the check failed, 2 usage or bad input.
 */
#ifndef KMEMLAB_COMMAND_H
#define KMEMLAB_COMMAND_H

enum { KML_EXIT_OK = 0, KML_EXIT_CHECK_FAILED = 1, KML_EXIT_USAGE = 2 };

struct kml_command {
	const char *name;
	const char *summary; /* one line of `kmemlab --help` */
	/* argv[0] is "kmemlab NAME". Returns the exit status. */
	int (*run)(int argc, char **argv);
};

/* argp_parse with exit status 2 on usage errors; the argp's own messages. Returns 0 or KML_EXIT_USAGE; --help exits 0.
 */
struct argp;
int kml_parse_arguments(const struct argp *argp, int argc, char **argv, void *input);

/* Print "kmemlab: TEXT" on stderr and return status. */
struct kml_error;
int kml_report(const struct kml_error *error, int status);

int cmd_list(int argc, char **argv);
int cmd_demo(int argc, char **argv);
int cmd_capture(int argc, char **argv);
int cmd_compare(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_fidelity(int argc, char **argv);
int cmd_fuzz(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_validate(int argc, char **argv);
int cmd_view(int argc, char **argv);

#endif
