#include "common/nearest.h"

#include <stdint.h>
#include <string.h>

#define NEAREST_NAME_MAX 40

/* How many characters must be changed, added, left out or swapped with their neighbour to turn a
 * into b. */
static size_t nearest_distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b), d[NEAREST_NAME_MAX + 1][NEAREST_NAME_MAX + 1];

	if (n > NEAREST_NAME_MAX || m > NEAREST_NAME_MAX)
		return SIZE_MAX;
	for (size_t i = 0; i <= n; i++) {
		for (size_t j = 0; j <= m; j++) {
			size_t best = i == 0   ? j
				      : j == 0 ? i
					       : d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			if (i > 0 && j > 0 && d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (i > 0 && j > 0 && d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[n][m];
}

const char *nearest_name(const char *name, const char *const *names, size_t n)
{
	size_t len = strlen(name), best = len < 3 ? 1 : 1 + len / 3;
	const char *nearest = NULL;

	/* Who types the beginning of a name means it, though another may be fewer changes away. */
	for (size_t i = 0; i < n && len >= 2; i++)
		if (strncmp(name, names[i], len) == 0)
			return names[i];
	for (size_t i = 0; i < n; i++) {
		size_t d = nearest_distance(name, names[i]);

		if (d <= best && (nearest == NULL || d < best)) {
			best = d;
			nearest = names[i];
		}
	}
	return nearest;
}
