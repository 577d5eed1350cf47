/*
 * main.c - the program: a table of subcommands.
 *
 * Exit status: 0 done, 1 the check failed, 2 usage or bad input.
 */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocators/allocator.h"
#include "kmemlab/command.h"
#include "kmemlab/support/nearest.h"
#include "kmemlab/support/output.h"

static const struct kml_command commands[] = {
	{"list", "every allocator with its parameters, defaults and citation", cmd_list},
	{"demo", "the textbook examples as memory maps", cmd_demo},
	{"capture", "record the running kernel's allocations (root)", cmd_capture},
	{"import", "turn ftrace text, perf.data, trace.dat, LTTng text, traces of malloc ... into a .kmt", cmd_import},
	{"export", "a trace as CSV or as NumPy arrays", cmd_export},
	{"info", "what a .kmt holds: origin, caches, events, quirks", cmd_info},
	{"generate", "make a workload: distributions, scenarios, worst cases, the twin of a trace", cmd_generate},
	{"replay", "one trace on one allocator stack", cmd_replay},
	{"run", "many traces on many stacks: CSV files, figures, a summary table", cmd_run},
	{"fidelity", "does a stack end where the recorded kernel ended: slabs predicted and actual", cmd_fidelity},
	{"compare", "how near are two workloads on the same stack: a trace and its twin", cmd_compare},
	{"fuzz", "fuzz allocators and parsers; minimise and explain what is found", cmd_fuzz},
	{"validate", "figures of the literature recomputed, expected beside measured", cmd_validate},
	{"view", "a replay seen as the kernel's own /proc files", cmd_view},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

int kml_report(const struct kml_error *error, int status)
{
	fprintf(stderr, "kmemlab: %s\n", error->text);
	return status;
}

int kml_parse_arguments(const struct argp *argp, int argc, char **argv, void *input)
{
	argp_err_exit_status = KML_EXIT_USAGE;
	error_t failed = argp_parse(argp, argc, argv, 0, NULL, input);
	if (!failed)
		return KML_EXIT_OK;
	if (failed != EINVAL) /* argp has said what is wrong with the arguments itself */
		fprintf(stderr, "%s: %s\n", argv[0], strerror(failed));
	return KML_EXIT_USAGE;
}

static void print_help(FILE *stream)
{
	fputs("Usage: kmemlab COMMAND [OPTION...]\n"
	      "A laboratory for kernel memory allocators: real kernel activity in, a fair comparison out.\n\n",
	      stream);
	for (int i = 0; i < COMMAND_COUNT; i++)
		fprintf(stream, "  %-8s  %s\n", commands[i].name, commands[i].summary);
	fputs("\nExamples:\n"
	      "  kmemlab demo                                         see buddy systems at work\n"
	      "  sudo kmemlab capture -o mine.kmt -- make -j2         record a kernel at work\n"
	      "  kmemlab import -o mine.kmt trace.txt.zst             or import an ftrace file\n"
	      "  kmemlab replay mine.kmt --allocator binary --check   replay it on an allocator\n"
	      "  kmemlab run mine.kmt                                 on every allocator, with figures\n\n"
	      "'kmemlab COMMAND --help' tells more. Exit status: 0 done, 1 a check failed, 2 usage or bad input.\n",
	      stream);
}

static int run_command(const struct kml_command *command, int argc, char **argv)
{
	char name[64];
	snprintf(name, sizeof name, "kmemlab %s", command->name);
	argv[0] = name;
	int status = command->run(argc, argv);
	/* A full disk or a closed pipe behind standard output shows only now. */
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == KML_EXIT_OK && errno != EPIPE) {
		fprintf(stderr, "kmemlab: standard output: cannot write: %s\n", strerror(errno));
		return KML_EXIT_USAGE;
	}
	return status;
}

/* Nothing partial stays behind; then die of the signal, as the caller expects. */
static void on_signal(int number)
{
	kml_output_abandon_all();
	raise(number); /* SA_RESETHAND: the default action now */
}

static void install_signal_handlers(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		sigaction(numbers[i], &action, NULL);
}

int main(int argc, char **argv)
{
	install_signal_handlers();
	if (argc < 2) {
		print_help(stderr);
		return KML_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return KML_EXIT_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("kmemlab " KML_VERSION);
		return KML_EXIT_OK;
	}
	struct kml_nearest nearest = kml_nearest_start(argv[1]);
	for (int i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(commands[i].name, argv[1]) == 0)
			return run_command(&commands[i], argc - 1, argv + 1);
		kml_nearest_offer(&nearest, commands[i].name);
	}
	fprintf(stderr, "kmemlab: no command '%s'; the nearest is '%s' ('kmemlab --help' shows all)\n", argv[1],
		kml_nearest_name(&nearest));
	return KML_EXIT_USAGE;
}
