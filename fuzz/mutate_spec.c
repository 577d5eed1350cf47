/* mutate_spec.c - spec strings changed word by word. Cost: O(bytes). */
#include "fuzz/mutate_spec.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "fuzz/bounds.h"
#include "kmemlab/support/random.h"

enum { WORDS_MAX = 128, WORD_BYTES_MAX = 300, CHANGES_MAX = 3, NUMBER_BYTES = 24, RUN_MAX = 3 };

struct word {
	char before; /* the character in front of it; of the first '/' */
	uint16_t length;
	char text[WORD_BYTES_MAX];
};

struct words {
	struct word word[WORDS_MAX];
	size_t count;
};

static const char separators[] = "/:,=+";

static bool is_separator(uint8_t byte)
{
	return byte && strchr(separators, byte);
}

static void split(struct words *words, const uint8_t *bytes, size_t byte_count)
{
	words->count = 1;
	words->word[0] = (struct word){.before = '/'};
	for (size_t i = 0; i < byte_count; i++) {
		struct word *last = &words->word[words->count - 1];
		if (is_separator(bytes[i]) && words->count < WORDS_MAX)
			words->word[words->count++] = (struct word){.before = (char)bytes[i]};
		else if (last->length < WORD_BYTES_MAX)
			last->text[last->length++] = (char)bytes[i];
	}
}

/* Words that do not fit any more are left out. */
static size_t join(const struct words *words, uint8_t *bytes, size_t byte_max)
{
	size_t used = 0;
	for (size_t i = 0; i < words->count; i++) {
		const struct word *word = &words->word[i];
		if ((size_t)word->length + (i > 0) > byte_max - used)
			break;
		if (i > 0)
			bytes[used++] = (uint8_t)word->before;
		memcpy(bytes + used, word->text, word->length);
		used += word->length;
	}
	return used;
}

/* Room for a word at `at`; the last falls off where there is none. */
static struct word *open_word(struct words *words, size_t at)
{
	words->count += words->count < WORDS_MAX;
	memmove(&words->word[at + 1], &words->word[at], (words->count - at - 1) * sizeof words->word[0]);
	return &words->word[at];
}

static void drop_word(struct words *words, size_t at)
{
	words->count--;
	memmove(&words->word[at], &words->word[at + 1], (words->count - at) * sizeof words->word[0]);
}

static bool is_number(const struct word *word)
{
	return word->length > 0 && isdigit((unsigned char)word->text[0]);
}

static uint64_t value_of(const struct word *word)
{
	uint64_t value = 0;
	for (size_t i = 0; i < word->length && isdigit((unsigned char)word->text[i]); i++)
		value = 10 * value + (uint64_t)(word->text[i] - '0');
	return value;
}

static void write_number(struct word *word, uint64_t value, const char *suffix)
{
	word->length = (uint16_t)snprintf(word->text, NUMBER_BYTES + 4, "%" PRIu64 "%s", value, suffix);
}

/* A bound; of one with a suffix also where all of 64 bits end. */
static void set_number(struct word *word, uint64_t *state)
{
	static const char *const suffixes[] = {"k", "M", "G", "T", "KiB", "MB"};
	uint64_t random = random_next(state), value = number_at_bound(state);
	const char *suffix = random & 1 ? "" : suffixes[(random >> 1 & 0xff) % (sizeof suffixes / sizeof suffixes[0])];
	unsigned shift = !*suffix                           ? 0
			 : *suffix == 'k' || *suffix == 'K' ? 10
			 : *suffix == 'M'                   ? 20
			 : *suffix == 'G'                   ? 30
							    : 40;
	if (shift && random & 1 << 9)
		value = (UINT64_MAX >> shift) + (random >> 16) % 3;
	write_number(word, value, suffix);
}

/* A list goes on with equal steps, for as many as tables have room for, and one more. */
static void continue_list(struct words *words, size_t at, uint64_t *state)
{
	static const uint8_t counts[] = {1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65};
	uint64_t value = value_of(&words->word[at]);
	uint64_t step = at > 0 && is_number(&words->word[at - 1]) ? value - value_of(&words->word[at - 1]) : value;
	if (step == 0 || step > value || random_below(state, 2))
		step = 1ull << random_below(state, 8);
	for (size_t left = counts[random_below(state, sizeof counts)]; left > 0 && words->count < WORDS_MAX; left--) {
		struct word *next = open_word(words, ++at);
		next->before = '+';
		write_number(next, value += step, "");
	}
}

static void change_letters(struct word *word, uint64_t *state)
{
	uint64_t random = random_next(state);
	if (random & 1 && word->length > 0) {
		word->text[random_below(state, word->length)] = (char)(random >> 8);
	} else if (random & 2 && word->length > 0) {
		word->length--;
	} else {
		/* To a length, also of a buffer. */
		static const uint16_t lengths[] = {1, 2, 8, 31, 32, 63, 64, 127, 128, 254, 255, 256, 257};
		size_t wanted = random & 4 ? word->length + 1u : lengths[(random >> 8) % 13];
		while (word->length < wanted && word->length < WORD_BYTES_MAX)
			word->text[word->length++] = (char)(random & 8 ? '0' : 'a');
	}
}

/* One of another's words that stand behind the same character, if there is one. */
static const struct word *like(const struct words *other, char before, uint64_t *state)
{
	size_t from = (size_t)random_below(state, other->count);
	for (size_t i = 0; i < other->count; i++) {
		const struct word *word = &other->word[(from + i) % other->count];
		if (word->before == before || (before == ':' && word->before == ','))
			return word;
	}
	return NULL;
}

/* A run of another's words, from one of the same kind on, behind or in place of this one. */
static void take_run(struct words *words, size_t at, const struct words *other, uint64_t *state)
{
	const struct word *from = like(other, words->word[at].before, state);
	size_t place = from ? (size_t)(from - other->word) : 0;
	size_t count = from ? 1 + (size_t)random_below(state, other->count - place) : 0;
	if (random_below(state, 2) && words->count > 1 && from)
		drop_word(words, at);
	at += at < words->count;
	for (size_t i = 0; i < count && words->count < WORDS_MAX; i++)
		*open_word(words, at + i) = other->word[place + i];
}

static void change_word(struct words *words, const struct words *other, uint64_t *state)
{
	size_t at = (size_t)random_below(state, words->count), run = 1 + (size_t)random_below(state, RUN_MAX);
	struct word *word = &words->word[at], copy = *word;
	switch (random_below(state, 10)) {
	case 0:
	case 1:
		for (size_t i = 0; i < words->count && !is_number(word); i++)
			word = &words->word[at = (at + 1) % words->count];
		set_number(word, state);
		return;
	case 2:
	case 3:
		for (size_t i = 0; i < words->count && !is_number(word); i++)
			word = &words->word[at = (at + 1) % words->count];
		continue_list(words, at, state);
		return;
	case 4:
		change_letters(word, state);
		return;
	case 5:
		while (run-- > 0 && words->count > 1 && at < words->count)
			drop_word(words, at);
		return;
	case 6:
		*open_word(words, at + 1 < words->count ? at + 1 : at) = copy;
		return;
	case 7:
		word->before = separators[random_below(state, sizeof separators - 1)];
		return;
	default:
		take_run(words, at, other, state);
	}
}

size_t spec_mutate(uint8_t *bytes, size_t byte_count, size_t byte_max, const uint8_t *other, size_t other_count,
		   uint64_t seed)
{
	static struct words words, taken;
	uint64_t state = seed;
	split(&words, bytes, byte_count);
	split(&taken, other ? other : bytes, other ? other_count : byte_count);
	for (uint64_t left = 1 + random_below(&state, CHANGES_MAX); left > 0; left--)
		change_word(&words, &taken, &state);
	return join(&words, bytes, byte_max);
}
