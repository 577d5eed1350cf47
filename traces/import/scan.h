/* scan.h - numbers in the texts of traces: every one ends in a check, none overflows. */
#ifndef KMEMLAB_IMPORT_SCAN_H
#define KMEMLAB_IMPORT_SCAN_H

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What follows the decimal digits; NULL when there are none or they exceed 64 bits. */
static inline const char *scan_decimal(const char *text, uint64_t *value)
{
	uint64_t sum = 0;

	if (!isdigit((unsigned char)*text))
		return NULL;
	for (; isdigit((unsigned char)*text); text++) {
		uint64_t digit = (uint64_t)(*text - '0');
		if (sum > (UINT64_MAX - digit) / 10)
			return NULL;
		sum = sum * 10 + digit;
	}
	*value = sum;
	return text;
}

/* A whole text of decimal digits. */
static inline bool parse_decimal(const char *text, uint64_t *value)
{
	const char *end = scan_decimal(text, value);

	return end != NULL && *end == '\0';
}

static inline int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A whole text of hexadecimal digits, with or without 0x. */
static inline bool parse_hex(const char *text, uint64_t *value)
{
	uint64_t sum = 0;
	int digits = 0;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		text += 2;
	for (; hex_digit(*text) >= 0; text++, digits++)
		sum = sum << 4 | (uint64_t)hex_digit(*text);
	*value = sum;
	return *text == '\0' && digits > 0 && digits <= 16;
}

#endif
