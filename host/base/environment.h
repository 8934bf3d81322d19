/* environment: which of the host's own variables its children get.
 *
 * A service manager's environment holds what is nobody else's business, and an odd one may hold
 * names that look like facts of a request. So children get a short list, what --passenv adds, and
 * what the host itself says to them.
 */
#ifndef TOVA_BASE_ENVIRONMENT_H
#define TOVA_BASE_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>

/* What children get without being asked for, for people. */
#define ENVIRONMENT_GIVEN "PATH, HOME, USER, LOGNAME, SHELL, LANG, LANGUAGE, LC_*, TZ and TMPDIR"

/* What is wrong with an item of --passenv: a static sentence, or NULL. An item is a name, or the
 * beginning of names and a star. */
const char *environment_item_error(const char *item);
/* Is this variable ("NAME=value") one that children get? items: of --passenv. */
bool environment_passes(const char *variable, char *const *items, size_t n);

#endif
