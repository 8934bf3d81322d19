/* print: a host's answer for people: lists line by line, tables with a head, counters by name. */
#ifndef TOVA_CTL_PRINT_H
#define TOVA_CTL_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* json: as one line of JSON. */
void print_answer(FILE *f, const json_t *answer, bool json);

#endif
