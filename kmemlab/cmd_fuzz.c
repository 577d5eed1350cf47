/*
 * cmd_fuzz.c - `kmemlab fuzz`: campaigns over every stack and parser, and what one does with single inputs.
 *
 * A campaign is many processes of two engines and the books about them: fuzz/campaign/ runs it. What concerns
 * programs, oracles and minimising is done here.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuzz/exhaustive.h"
#include "fuzz/target.h"
#include "kmemlab/command.h"
#include "kmemlab/fuzz_inputs.h"
#include "kmemlab/options.h"
#include "kmemlab/scripts.h"
#include "kmemlab/support/error.h"
#include "kmemlab/support/nearest.h"

enum { WORDS_MAX = 1024, SECONDS_DEFAULT = 600, MINIMISE_SECONDS = 60, PYTHON_ARGUMENTS_MAX = WORDS_MAX + 32 };

enum mode {
	MODE_CAMPAIGN,
	MODE_LIST,
	MODE_SHOW,
	MODE_RUN,
	MODE_MINIMISE,
	MODE_WRITE_CORPUS,
	MODE_EXHAUSTIVE,
};

enum {
	OPTION_ENGINE = KML_OPTION_OWN,
	OPTION_SECONDS,
	OPTION_PLAIN,
	OPTION_NO_COVERAGE,
	OPTION_SYNC,
	OPTION_TARGET,
	OPTION_UNITS,
	OPTION_MODE, /* + enum mode */
};

struct arguments {
	enum mode mode;
	char *words[WORDS_MAX]; /* targets, files or stacks */
	int word_count;
	const char *engine, *sync, *target, *plugin;
	uint64_t seconds, minutes;
	uint64_t jobs, seed;
	uint32_t units;
	bool plain, no_coverage;
	struct kml_answer answer;
	const char *campaign_only; /* an option that another mode has no use for, or NULL */
};

static const struct argp_option options[] = {
	{NULL, 0, NULL, 0, "Campaigns (any of TARGET... or all, which is the default):", 1},
	{"engine", OPTION_ENGINE, "libfuzzer|afl|both", 0, "Which engines run (default both)", 1},
	{"minutes", 'm', "M", 0, "How long, all targets together (default 10)", 1},
	{"seconds", OPTION_SECONDS, "S", 0, "The same in seconds", 1},
	{"jobs", 'j', "N", 0, "Engines that run at a time (default: one a cpu)", 1},
	{"out", 'o', "FOLDER", 0,
	 "Corpora, finds and the report (default build/campaign of the source); a folder that is there goes on", 1},
	{"plain", OPTION_PLAIN, NULL, 0, "Without AddressSanitizer and UBSan: faster, sees less", 1},
	{"no-coverage", OPTION_NO_COVERAGE, NULL, 0, "Do not count the lines that the corpora cover: one build less",
	 1},
	{"sync", OPTION_SYNC, "FOLDER", 0,
	 "A folder shared by several machines: AFL++ exchanges inputs through it; see fuzz/README.md", 1},
	{"plugin", KML_OPTION_PLUGIN, "FILE.so", 0, "Fuzz the allocators of a shared object too", 1},
	{"seed", KML_OPTION_SEED, "N", 0, "Seed of the engines (default 1)", 1},
	{"json", KML_OPTION_JSON, NULL, 0, "Print JSON", 1},
	{NULL, 0, NULL, 0, "Instead of a campaign:", 2},
	{"list", OPTION_MODE + MODE_LIST, NULL, 0, "Every target: its name, kind and stack", 2},
	{"show", OPTION_MODE + MODE_SHOW, NULL, 0, "FILE (bytes of a target, .ops or .kmt) as .ops text", 2},
	{"run", OPTION_MODE + MODE_RUN, NULL, 0, "FILE...: what becomes of each", 2},
	{"minimise", OPTION_MODE + MODE_MINIMISE, NULL, 0,
	 "FILE to the smallest that fails alike: .ops on standard output, or the files of a find with --out PREFIX", 2},
	{"write-corpus", OPTION_MODE + MODE_WRITE_CORPUS, NULL, 0, "FOLDER: the first inputs of --target", 2},
	{"exhaustive", OPTION_MODE + MODE_EXHAUSTIVE, NULL, 0,
	 "[STACK...]: every state that can be reached in small arenas; with --minutes, --out and --units", 2},
	{"bench", OPTION_MODE + MODE_EXHAUSTIVE + 1, NULL, 0,
	 "Planted bugs against engines and a blind baseline ('kmemlab fuzz --bench --help')", 2},
	{"target", OPTION_TARGET, "NAME", 0,
	 "Whose bytes FILE holds (default: the target that a folder above it is named after)", 2},
	{"units", OPTION_UNITS, "N", 0, "Units or pages of the arena of --exhaustive", 2},
	{0},
};

/* ---------------------------------------------------------------------------------------------- options */

static void set_mode(struct arguments *arguments, enum mode mode, struct argp_state *state)
{
	if (arguments->mode != MODE_CAMPAIGN && arguments->mode != mode)
		argp_error(state, "one of --list, --show, --run, --minimise, --write-corpus, --exhaustive, --bench at "
				  "a time");
	arguments->mode = mode;
}

static const char *engine_of(const char *text, struct argp_state *state)
{
	static const char *const engines[] = {"libfuzzer", "afl", "both"};
	for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
		if (strcmp(text, engines[i]) == 0)
			return engines[i];
	argp_error(state, "engine '%s': give libfuzzer, afl or both", text);
	return NULL;
}

static void check_words(const struct arguments *arguments, struct argp_state *state)
{
	bool wants_files = arguments->mode == MODE_RUN;
	bool wants_one = arguments->mode == MODE_SHOW || arguments->mode == MODE_MINIMISE ||
			 arguments->mode == MODE_WRITE_CORPUS;
	if (arguments->minutes && arguments->seconds)
		argp_error(state, "--minutes or --seconds, not both");
	if (wants_files && arguments->word_count == 0)
		argp_error(state, "which files? Name one at least");
	if (wants_one && arguments->word_count != 1)
		argp_error(state, "name one %s, not %d", arguments->mode == MODE_WRITE_CORPUS ? "folder" : "file",
			   arguments->word_count);
	if (arguments->mode == MODE_WRITE_CORPUS && !arguments->target)
		argp_error(state, "whose first inputs? Give --target NAME ('kmemlab fuzz --list' shows all)");
	if (arguments->mode != MODE_CAMPAIGN && arguments->campaign_only)
		argp_error(state, "--%s belongs to campaigns", arguments->campaign_only);
	if (arguments->mode == MODE_CAMPAIGN && arguments->target)
		argp_error(state, "name the targets of a campaign without --target");
	if (arguments->mode != MODE_EXHAUSTIVE && arguments->units)
		argp_error(state, "--units belongs to --exhaustive");
}

static error_t parse_option(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		if (arguments->word_count == WORDS_MAX)
			argp_error(state, "more than %d words: name a folder, or all", WORDS_MAX);
		else
			arguments->words[arguments->word_count++] = value;
		return 0;
	case OPTION_ENGINE:
		arguments->engine = engine_of(value, state);
		arguments->campaign_only = "engine";
		return 0;
	case 'm':
		arguments->minutes = kml_option_number(value, 1, 1000000, "minutes", state);
		return 0;
	case OPTION_SECONDS:
		arguments->seconds = kml_option_number(value, 1, 60000000, "seconds", state);
		return 0;
	case 'j':
		arguments->jobs = kml_option_number(value, 1, 1024, "jobs", state);
		arguments->campaign_only = "jobs";
		return 0;
	case OPTION_PLAIN:
		arguments->plain = true;
		arguments->campaign_only = "plain";
		return 0;
	case OPTION_NO_COVERAGE:
		arguments->no_coverage = true;
		arguments->campaign_only = "no-coverage";
		return 0;
	case OPTION_SYNC:
		arguments->sync = value;
		arguments->campaign_only = "sync";
		return 0;
	case KML_OPTION_SEED:
		arguments->seed = kml_option_number(value, 1, UINT32_MAX, "seed", state);
		arguments->campaign_only = "seed";
		return 0;
	case KML_OPTION_PLUGIN:
		kml_option_once(&arguments->plugin, value, "plugin", "", state);
		kml_option_plugin(value, state);
		return 0;
	case OPTION_TARGET:
		arguments->target = value;
		return 0;
	case OPTION_UNITS:
		arguments->units = (uint32_t)kml_option_number(value, 1, 1000, "units", state);
		return 0;
	case ARGP_KEY_END:
		check_words(arguments, state);
		return 0;
	default:
		if (kml_option_answer(key, value, &arguments->answer))
			return 0;
		if (key < OPTION_MODE || key > OPTION_MODE + MODE_EXHAUSTIVE)
			return ARGP_ERR_UNKNOWN;
		set_mode(arguments, (enum mode)(key - OPTION_MODE), state);
		return 0;
	}
}

static const struct argp argp = {
	options,
	parse_option,
	"[TARGET...|all]\n"
	"--list|--show FILE|--run FILE...|--minimise FILE|--write-corpus FOLDER|--exhaustive [STACK...]|--bench ...",
	"Fuzz allocator stacks and parsers with libFuzzer and AFL++, and keep what they find.\v"
	"Examples:\n"
	"  kmemlab fuzz                                 everything, 10 minutes\n"
	"  kmemlab fuzz slub-binary kmt --minutes 60 --jobs 2 --out mine\n"
	"  kmemlab fuzz mine --plugin ./mine.so         an allocator of your own\n"
	"  kmemlab fuzz --run mine/found/*.ops          do the finds still fail?\n"
	"  kmemlab fuzz --minimise crash.ops >small.ops\n"
	"  kmemlab replay --check mine/found/NAME.kmt   a find is a trace\n\n"
	"A campaign may be interrupted or killed: the same --out goes on. fuzz/README.md tells all. Exit status: 0 "
	"done "
	"and nothing found, 1 something was found, 2 usage, or a tool is missing.",
	NULL,
	NULL,
	NULL};

/* --------------------------------------------------------------------------------------------- campaigns */

static const char *own_path(void)
{
	static char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
	path[length > 0 ? length : 0] = '\0';
	return path;
}

/* Become python3 SOURCE/SCRIPT ARGUMENT...; returns only when that cannot be. */
static int become_script(const char *script, char **python_arguments)
{
	static char path[4200];
	struct kml_error error;
	snprintf(path, sizeof path, "%s/%s", kml_source_directory(), script);
	if (access(path, R_OK) != 0) {
		kml_fail(&error, "%s is not there: set KMEMLAB_SOURCE to the source folder", path);
		return kml_report(&error, KML_EXIT_USAGE);
	}
	python_arguments[0] = (char *)(uintptr_t)KML_PYTHON;
	python_arguments[1] = path;
	setenv("KMEMLAB_SOURCE", kml_source_directory(), 1);
	setenv("KMEMLAB", own_path(), 1);
	fflush(NULL);
	execvp(KML_PYTHON, python_arguments);
	kml_fail(&error, "%s cannot be started: %s: install python3", KML_PYTHON, strerror(errno));
	return kml_report(&error, KML_EXIT_USAGE);
}

static bool know_target(const char *name, struct kml_error *error)
{
	struct kml_nearest nearest = kml_nearest_start(name);
	size_t count;
	const struct fuzz_target *targets = fuzz_targets(&count);
	if (fuzz_target_find(name) || strcmp(name, "all") == 0)
		return true;
	for (size_t i = 0; i < count; i++)
		kml_nearest_offer(&nearest, targets[i].name);
	return kml_fail(error, "no target '%s'; the nearest is '%s' ('kmemlab fuzz --list' shows all)", name,
			kml_nearest_name(&nearest));
}

struct command_line {
	char *words[PYTHON_ARGUMENTS_MAX];
	int count;
};

static void add_word(struct command_line *line, const char *word)
{
	line->words[line->count++] = (char *)(uintptr_t)word;
}

static void add_number(struct command_line *line, const char *option, uint64_t number)
{
	char text[32];
	snprintf(text, sizeof text, "%" PRIu64, number);
	add_word(line, option);
	add_word(line, strdup(text)); /* the process ends or becomes another */
}

static void add_option(struct command_line *line, const char *option, const char *value)
{
	if (!value)
		return;
	add_word(line, option);
	add_word(line, value);
}

static int run_campaign(const struct arguments *arguments)
{
	static struct command_line line = {.count = 2};
	struct kml_error error;
	uint64_t seconds = arguments->minutes ? 60 * arguments->minutes : arguments->seconds;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	for (int i = 0; i < arguments->word_count; i++)
		if (!know_target(arguments->words[i], &error))
			return kml_report(&error, KML_EXIT_USAGE);
	add_option(&line, "--engine", arguments->engine ? arguments->engine : "both");
	add_option(&line, "--out", arguments->answer.out);
	add_option(&line, "--sync", arguments->sync);
	add_option(&line, "--plugin", arguments->plugin);
	add_number(&line, "--seconds", seconds ? seconds : SECONDS_DEFAULT);
	add_number(&line, "--jobs", arguments->jobs ? arguments->jobs : (uint64_t)(cpus > 0 ? cpus : 1));
	add_number(&line, "--seed", arguments->seed ? arguments->seed : 1);
	if (arguments->plain)
		add_word(&line, "--plain");
	if (arguments->no_coverage)
		add_word(&line, "--no-coverage");
	if (arguments->answer.json)
		add_word(&line, "--json");
	for (int i = 0; i < arguments->word_count; i++)
		add_word(&line, arguments->words[i]);
	return become_script("fuzz/campaign/campaign.py", line.words);
}

/* All words after --bench are its own. */
static int run_bench(int argc, char **argv)
{
	static struct command_line line = {.count = 2};
	struct kml_error error;
	if (argc > WORDS_MAX) {
		kml_fail(&error, "more than %d words", WORDS_MAX);
		return kml_report(&error, KML_EXIT_USAGE);
	}
	for (int i = 2; i < argc; i++)
		add_word(&line, argv[i]);
	return become_script("fuzz/bench.py", line.words);
}

static int run_exhaustive(const struct arguments *arguments)
{
	const struct exhaustive_options exhaustive = {
		.stacks = arguments->word_count ? (const char *const *)arguments->words : NULL,
		.stack_count = (size_t)arguments->word_count,
		.units = arguments->units,
		.minutes = arguments->minutes ? (uint32_t)arguments->minutes : (uint32_t)(arguments->seconds + 59) / 60,
		.out_folder = arguments->answer.out};
	return fuzz_exhaustive_command(&exhaustive);
}

int cmd_fuzz(int argc, char **argv)
{
	static struct arguments arguments;
	if (argc > 1 && strcmp(argv[1], "--bench") == 0)
		return run_bench(argc, argv);
	int status = kml_parse_arguments(&argp, argc, argv, &arguments);
	if (status)
		return status;
	switch (arguments.mode) {
	case MODE_LIST:
		return fuzz_list_targets(arguments.answer.json);
	case MODE_SHOW:
		return fuzz_show(arguments.words[0], arguments.target);
	case MODE_RUN:
		return fuzz_run_files(arguments.words, arguments.word_count, arguments.target, arguments.answer.json);
	case MODE_MINIMISE:
		return fuzz_minimise_file(arguments.words[0], arguments.target, arguments.answer.out,
					  arguments.seconds ? (unsigned)arguments.seconds : MINIMISE_SECONDS,
					  arguments.answer.json);
	case MODE_WRITE_CORPUS:
		return fuzz_write_corpus(arguments.words[0], arguments.target);
	case MODE_EXHAUSTIVE:
		return run_exhaustive(&arguments);
	case MODE_CAMPAIGN:
	default:
		return run_campaign(&arguments);
	}
}
