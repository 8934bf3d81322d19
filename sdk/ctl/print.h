/* print: a host's answer for people: lists line by line, tables with a head, counters by name. */
#ifndef TOVA_CTL_PRINT_H
#define TOVA_CTL_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* json: as one line of JSON. What clients have chosen, such as the names of rooms, can not move a
 * terminal's cursor or turn its writing: such characters are escaped as JSON has it, and in a table
 * the value stands in quotes then. receivers: for people, too. */
void print_answer(FILE *f, const json_t *answer, bool json, bool receivers);
/* A line of JSON. */
void print_json(FILE *f, const json_t *object);
/* Objects, one a line, under a head. */
void print_table(FILE *f, const json_t *rows);
/* A text of the host's, likewise. */
void print_text(FILE *f, const char *text);

#endif
