/* fuzz: what the fuzz targets share. */
#ifndef TOVA_TESTS_FUZZ_H
#define TOVA_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A result that must not be: told like a crash, so that the fuzzer keeps the input. */
#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* Sizes of pieces, 1 to 2^k, from a number that the input chose. */
static inline size_t fuzz_piece(uint32_t *seed, size_t left)
{
	size_t n;

	*seed = *seed * 1664525u + 1013904223u;
	n = 1 + (*seed >> 8) % (1u << (*seed >> 28));
	return n < left ? n : left;
}

#endif
