#include "tova/runtime/number_text.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t number_integer(int64_t value, char *text)
{
	char digits[24], *at = digits + sizeof digits;
	uint64_t left = value < 0 ? (uint64_t)-value : (uint64_t)value;
	do
		*--at = (char)('0' + left % 10);
	while ((left /= 10) > 0);
	if (value < 0)
		*--at = '-';
	size_t n = (size_t)(digits + sizeof digits - at);
	memcpy(text, at, n);
	return n;
}

/* The digits of a positive number, without a dot, and where that stands: value = 0.DIGITS *
 * 10^*point.
 */
static int number_digits(double value, char digits[20], int *point)
{
	char text[40];
	int n = 0;
	/* numbers near 0 have fewer digits of their own */
	for (int precision = value < DBL_MIN ? 0 : 14; precision <= 16; precision++) {
		snprintf(text, sizeof text, "%.*e", precision, value);
		if (strtod(text, NULL) == value)
			break;
	}
	for (const char *p = text; *p != 'e'; p++)
		if (*p != '.')
			digits[n++] = *p;
	*point = atoi(strchr(text, 'e') + 1) + 1;
	while (n > 1 && digits[n - 1] == '0')
		n--;
	return n;
}

static size_t number_exponent(const char *digits, int n, int point, char *text)
{
	size_t at = 0;
	text[at++] = digits[0];
	if (n > 1) {
		text[at++] = '.';
		memcpy(text + at, digits + 1, (size_t)n - 1);
		at += (size_t)n - 1;
	}
	text[at++] = 'e';
	text[at++] = point > 0 ? '+' : '-';
	return at + number_integer(abs(point - 1), text + at);
}

static size_t number_positive(double value, char *text)
{
	char digits[20] = {0};
	int point, n = number_digits(value, digits, &point);
	size_t at = 0;
	if (point > 21 || point < -5)
		return number_exponent(digits, n, point, text);
	if (point <= 0) {
		memcpy(text, "0.000000", (size_t)(2 - point));
		memcpy(text + 2 - point, digits, (size_t)n);
		return (size_t)(2 - point + n);
	}
	for (int i = 0; i < n || i < point; i++) {
		if (i == point)
			text[at++] = '.';
		text[at++] = (char)(i < n ? digits[i] : '0');
	}
	return at;
}

size_t number_text(double value, char text_r[NUMBER_TEXT_MAX])
{
	if (fabs(value) < 9007199254740992.0 && value == (double)(int64_t)value)
		return number_integer((int64_t)value, text_r);
	const char *word = isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
	if (!isfinite(value))
		return (size_t)snprintf(text_r, NUMBER_TEXT_MAX, "%s", word);
	if (value > 0)
		return number_positive(value, text_r);
	text_r[0] = '-';
	return 1 + number_positive(-value, text_r + 1);
}
