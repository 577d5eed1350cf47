/* mutate_text.c - texts changed by line, word and number. Cost: O(bytes). */
#include "fuzz/mutate_text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz/bounds.h"
#include "fuzz/mutate_file.h"

enum {
	CHANGES_MAX = 3,   /* in one call */
	LINES_MAX = 8,     /* dropped or taken at once */
	NUMBER_BYTES = 24, /* a number of 64 bits as text */
	HEX_DIGITS = 8,    /* that are taken for a number without 0x before them */
	COPY_BYTES_MAX = 4096,
};

/* What lines and words are taken from: the text itself or another. */
struct source {
	const uint8_t *bytes;
	size_t count;
};

/* A piece of a text. */
struct span {
	size_t start, end;
};

static bool is_word(uint8_t byte)
{
	return isalnum(byte) || byte == '_' || byte == '-' || byte == '.';
}

/* The lines from the one at `at` on, at most `count`, their ends with them. */
static struct span lines_at(const uint8_t *bytes, size_t byte_count, size_t at, size_t count)
{
	struct span lines = {at, at};
	while (lines.start > 0 && bytes[lines.start - 1] != '\n')
		lines.start--;
	for (; count > 0 && lines.end < byte_count; count--) {
		const uint8_t *newline = memchr(bytes + lines.end, '\n', byte_count - lines.end);
		lines.end = newline ? (size_t)(newline - bytes) + 1 : byte_count;
	}
	return lines;
}

/* The word at `at` or the next one; an empty span at the end where there is none. */
static struct span word_at(const uint8_t *bytes, size_t byte_count, size_t at)
{
	while (at < byte_count && !is_word(bytes[at]))
		at++;
	struct span word = {at, at};
	while (word.start > 0 && is_word(bytes[word.start - 1]))
		word.start--;
	while (word.end < byte_count && is_word(bytes[word.end]))
		word.end++;
	return word;
}

static struct span any_word(struct mutation *text)
{
	return word_at(text->bytes, text->byte_count, mutation_below(text, text->byte_count));
}

/* `span` gives way to a piece of `source`, which may be the text itself. */
static void take(struct mutation *text, struct span span, const struct source *source, struct span piece)
{
	uint8_t copy[COPY_BYTES_MAX];
	size_t size = piece.end - piece.start;
	if (size > sizeof copy)
		return;
	if (size)
		memcpy(copy, source->bytes + piece.start, size);
	mutation_splice(text, span.start, span.end, copy, size);
}

/* ------------------------------------------------------------------------------------------------ numbers */

static bool is_hex(const uint8_t *bytes, struct span digits)
{
	bool has_letters = false;
	for (size_t i = digits.start; i < digits.end; i++)
		has_letters |= isalpha(bytes[i]) != 0;
	return has_letters;
}

/* The digits of a number at or behind `at`: of hexadecimal ones those behind 0x, or a long run of them. */
static struct span number_at(const uint8_t *bytes, size_t byte_count, size_t at)
{
	while (at < byte_count && !isdigit(bytes[at]))
		at++;
	struct span decimal = {at, at}, hex;
	while (decimal.start > 0 && isdigit(bytes[decimal.start - 1]))
		decimal.start--;
	while (decimal.end < byte_count && isdigit(bytes[decimal.end]))
		decimal.end++;
	if (decimal.end == decimal.start + 1 && bytes[decimal.start] == '0' && decimal.end < byte_count &&
	    bytes[decimal.end] == 'x')
		decimal.start = decimal.end = decimal.end + 1;
	for (hex = decimal; hex.start > 0 && isxdigit(bytes[hex.start - 1]);)
		hex.start--;
	while (hex.end < byte_count && isxdigit(bytes[hex.end]))
		hex.end++;
	bool has_prefix = hex.start > 1 && bytes[hex.start - 1] == 'x' && bytes[hex.start - 2] == '0';
	return has_prefix || hex.end - hex.start >= HEX_DIGITS ? hex : decimal;
}

static void change_number(struct mutation *text)
{
	struct span digits = number_at(text->bytes, text->byte_count, mutation_below(text, text->byte_count));
	char written[NUMBER_BYTES] = "";
	size_t size = digits.end - digits.start;
	bool hex = is_hex(text->bytes, digits) || (digits.start > 0 && text->bytes[digits.start - 1] == 'x');
	if (size >= sizeof written)
		size = sizeof written - 1;
	memcpy(written, text->bytes + digits.start, size);
	uint64_t value = mutation_number(text, strtoull(written, NULL, hex ? 16 : 10));
	int length = snprintf(written, sizeof written, hex ? "%" PRIx64 : "%" PRIu64, value);
	mutation_splice(text, digits.start, digits.end, (const uint8_t *)written, (size_t)length);
}

/* ------------------------------------------------------------------------------------------------ words and lines */

/* A word as long as some buffer, or many times so. */
static void lengthen_word(struct mutation *text)
{
	uint8_t letters[16 * LENGTH_MAX];
	struct span word = any_word(text);
	size_t wanted = length_at_bound(&text->state) << (mutation_below(text, 2) ? 4 : 0);
	memset(letters, word.start < word.end ? text->bytes[word.start] : 'a', sizeof letters);
	mutation_splice(text, word.end, word.end, letters, wanted);
}

static void drop_word(struct mutation *text)
{
	struct span word = any_word(text);
	word.end += word.end < text->byte_count && text->bytes[word.end] != '\n'; /* what parts it from the next */
	mutation_splice(text, word.start, word.end, NULL, 0);
}

static void take_word(struct mutation *text, const struct source *source)
{
	if (source->count)
		take(text, any_word(text), source,
		     word_at(source->bytes, source->count, mutation_below(text, source->count)));
}

static void drop_lines(struct mutation *text)
{
	size_t at = mutation_below(text, text->byte_count), count = 1 + mutation_below(text, LINES_MAX);
	struct span lines = lines_at(text->bytes, text->byte_count, at, count);
	mutation_splice(text, lines.start, lines.end, NULL, 0);
}

/* Lines of the source come before one of the text's. */
static void take_lines(struct mutation *text, const struct source *source)
{
	if (!source->count)
		return;
	size_t count = 1 + mutation_below(text, LINES_MAX);
	struct span lines = lines_at(source->bytes, source->count, mutation_below(text, source->count), count);
	size_t to = lines_at(text->bytes, text->byte_count, mutation_below(text, text->byte_count), 0).start;
	take(text, (struct span){to, to}, source, lines);
}

/* A line ends where it does not, or goes on where it ends. */
static void break_line(struct mutation *text)
{
	size_t at = mutation_below(text, text->byte_count);
	struct span line = lines_at(text->bytes, text->byte_count, at, 1);
	if (mutation_below(text, 2))
		mutation_splice(text, at, line.end - (text->bytes[line.end - 1] == '\n'), NULL, 0);
	else if (text->bytes[line.end - 1] == '\n')
		text->bytes[line.end - 1] = ' ';
}

static void change(struct mutation *text, const struct source *source)
{
	switch (mutation_below(text, 10)) {
	case 0:
		lengthen_word(text);
		return;
	case 1:
		drop_word(text);
		return;
	case 2:
	case 3:
		take_word(text, source);
		return;
	case 4:
		drop_lines(text);
		return;
	case 5:
		take_lines(text, source);
		return;
	case 6:
		break_line(text);
		return;
	default:
		change_number(text);
	}
}

size_t text_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, const uint8_t *other, size_t other_count,
		   uint64_t seed)
{
	struct mutation text = {.bytes = bytes, .byte_count = byte_count, .byte_max = byte_max, .state = seed};
	for (size_t left = 1 + mutation_below(&text, CHANGES_MAX); left > 0 && text.byte_count > 0; left--) {
		struct source own = {text.bytes, text.byte_count}, foreign = {other, other_count};
		change(&text, other ? &foreign : &own);
	}
	return text.byte_count;
}
