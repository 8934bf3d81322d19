/* command: what a shell command of the operator's names, as far as that can be known without a
 * shell. */
#ifndef TOVA_BASE_COMMAND_H
#define TOVA_BASE_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

/* Is there the program that it begins with, and the file that an interpreter is to run? True also
 * where that can not be told: a command with redirections, several commands, a program of the
 * shell's own. False with a sentence in `why`. */
bool command_check(const char *command, char *why, size_t cap);

#endif
