/* version: what this program is and what it was built with, for --version. */
#ifndef TOVA_VERSION_H
#define TOVA_VERSION_H

#include <stdio.h>

/* What stands below the version itself, three lines: what the host can do, the interfaces it
 * speaks with their versions, and the libraries that run. */
void version_print_features(FILE *out);

#endif
