/*
 * regression.c - finds as files: the program as text and as a trace, and a cmocka test that needs neither.
 */
#include "fuzz/regression.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmemlab/support/error.h"
#include "kmemlab/support/output.h"

enum { BYTES_A_LINE = 16 };

/* ------------------------------------------------------------------------------------------- the C test */

/* The end of a path. */
static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* In a comment: nothing that would end it, one line. */
static void print_comment(FILE *stream, const char *text)
{
	for (const char *at = text; *at; at++)
		fputc((*at == '/' && at > text && at[-1] == '*') || !isprint((unsigned char)*at) ? ' ' : *at, stream);
}

/* A string literal a line; C11 promises room for lines of any length that we write. */
static void print_literals(FILE *stream, const char *text)
{
	for (const char *line = text; *line;) {
		size_t length = strcspn(line, "\n");
		fputs("\n\t\"", stream);
		for (size_t i = 0; i < length; i++) {
			unsigned char letter = (unsigned char)line[i];
			if (letter == '"' || letter == '\\')
				fprintf(stream, "\\%c", letter);
			else if (isprint(letter))
				fputc(letter, stream);
			else
				fprintf(stream, "\\%03o", letter);
		}
		fputs("\\n\"", stream);
		line += length + (line[length] == '\n');
	}
}

static void print_bytes(FILE *stream, const uint8_t *bytes, size_t count)
{
	/* C knows no empty array; its length is said apart. */
	if (count == 0)
		fputs("\n\t0,", stream);
	for (size_t i = 0; i < count; i++)
		fprintf(stream, "%s0x%02x,", i % BYTES_A_LINE ? " " : "\n\t", bytes[i]);
}

static void print_head(FILE *stream, const char *name, const struct fuzz_verdict *verdict)
{
	fprintf(stream, "/*\n * %s_test.c - found by a fuzzer: ", name);
	print_comment(stream, verdict->text);
	fprintf(stream,
		"\n *\n * In a CMakeLists.txt of kmemlab: kml_test(%s_test SOURCES %s_test.c LIBRARIES kml_fuzz)\n "
		"*/\n",
		name, name);
	fputs("#include <setjmp.h>\n#include <stdarg.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n"
	      "\n#include <cmocka.h>\n\n",
	      stream);
}

static void print_tail(FILE *stream, const char *name)
{
	fprintf(stream,
		"\nint main(void)\n{\n\tconst struct CMUnitTest tests[] = {cmocka_unit_test(passes)};\n"
		"\treturn cmocka_run_group_tests_name(\"%s\", tests, NULL, NULL);\n}\n",
		name);
}

static const char program_test[] =
	"\n"
	"static void passes(void **state)\n"
	"{\n"
	"\tstruct program program = {0};\n"
	"\tstruct program_outcome outcome = {0};\n"
	"\tstruct kml_error error = {\"\"};\n"
	"\t(void)state;\n"
	"\tsize_t count;\n"
	"\tfuzz_targets(&count); /* the canary is an allocator, too */\n"
	"\tFILE *stream = fmemopen((void *)(uintptr_t)operations, sizeof operations - 1, \"r\");\n"
	"\tassert_non_null(stream);\n"
	"\tif (!program_parse(&program, stream, \"operations\", &error) || !program_run(&program, &outcome, &error))\n"
	"\t\tfail_msg(\"%s\", error.text);\n"
	"\tif (outcome.failed)\n"
	"\t\tfail_msg(\"%s: %s\", outcome.oracle, outcome.error.text);\n"
	"\tprogram_free(&program);\n"
	"\tfclose(stream);\n"
	"}\n";

static const char bytes_test[] = "\n"
				 "static void passes(void **state)\n"
				 "{\n"
				 "\tstruct fuzz_verdict verdict;\n"
				 "\tstruct kml_error error;\n"
				 "\t(void)state;\n"
				 "\tconst struct fuzz_input input = {.target = fuzz_target_find(TARGET), .bytes = "
				 "bytes, .byte_count = BYTE_COUNT};\n"
				 "\tassert_non_null(input.target);\n"
				 "\tif (!fuzz_judge(&input, &verdict, &error))\n"
				 "\t\tfail_msg(\"%s\", error.text);\n"
				 "\tif (verdict.failed)\n"
				 "\t\tfail_msg(\"%s\", verdict.trace);\n"
				 "}\n";

/* --------------------------------------------------------------------------------------------- the files */

static bool write_operations(FILE *stream, const struct fuzz_input *input, const struct fuzz_verdict *verdict)
{
	if (!program_print(input->program, stream))
		return false;
	fputs("# ", stream);
	print_comment(stream, verdict->text);
	fputc('\n', stream);
	return true;
}

static bool write_bytes(FILE *stream, const struct fuzz_input *input)
{
	return fwrite(input->bytes, 1, input->byte_count, stream) == input->byte_count;
}

static bool write_program_test(FILE *stream, const char *name, const struct fuzz_input *input,
			       const struct fuzz_verdict *verdict)
{
	char *text = NULL;
	size_t text_bytes;
	FILE *memory = open_memstream(&text, &text_bytes);
	bool good = memory && program_print(input->program, memory);
	good = memory && fclose(memory) == 0 && good;
	if (good) {
		print_head(stream, name, verdict);
		fputs("#include \"fuzz/program.h\"\n#include \"fuzz/target.h\"\n\nstatic const char operations[] =",
		      stream);
		print_literals(stream, text);
		fputs(";\n", stream);
		fputs(program_test, stream);
		print_tail(stream, name);
	}
	free(text);
	return good;
}

static bool write_bytes_test(FILE *stream, const char *name, const struct fuzz_input *input,
			     const struct fuzz_verdict *verdict)
{
	print_head(stream, name, verdict);
	fprintf(stream,
		"#include \"fuzz/judge.h\"\n\n#define TARGET \"%s\"\n#define BYTE_COUNT %zuu\n\n"
		"static const uint8_t bytes[] = {",
		input->target->name, input->byte_count);
	print_bytes(stream, input->bytes, input->byte_count);
	fputs("\n};\n", stream);
	fputs(bytes_test, stream);
	print_tail(stream, name);
	return true;
}

enum find_file { FIND_OPERATIONS, FIND_INPUT, FIND_TEST };

static bool write_file(const char *prefix, enum find_file file, const struct fuzz_input *input,
		       const struct fuzz_verdict *verdict, struct kml_error *error)
{
	static const char *const suffixes[] = {".ops", ".input", "_test.c"};
	struct kml_output output;
	char path[4096];
	bool good;
	snprintf(path, sizeof path, "%.4000s%s", prefix, suffixes[file]);
	if (!kml_output_open(&output, path, error))
		return false;
	if (file == FIND_OPERATIONS)
		good = write_operations(output.stream, input, verdict);
	else if (file == FIND_INPUT)
		good = write_bytes(output.stream, input);
	else if (input->program)
		good = write_program_test(output.stream, base_of(prefix), input, verdict);
	else
		good = write_bytes_test(output.stream, base_of(prefix), input, verdict);
	if (good || ferror(output.stream)) /* a full disk is told by the commit */
		return kml_output_commit(&output, error);
	kml_output_abandon(&output);
	return kml_fail(error, "%s: out of memory", path);
}

bool fuzz_write_find(const char *prefix, const struct fuzz_input *input, const struct fuzz_verdict *verdict,
		     struct kml_error *error)
{
	char path[4096];
	snprintf(path, sizeof path, "%.4000s.kmt", prefix);
	if (!input->program)
		return write_file(prefix, FIND_INPUT, input, verdict, error) &&
		       write_file(prefix, FIND_TEST, input, verdict, error);
	return write_file(prefix, FIND_OPERATIONS, input, verdict, error) &&
	       program_save(input->program, path, error) && write_file(prefix, FIND_TEST, input, verdict, error);
}
