/* top: what a host does each second, asked for again and again. */
#ifndef TOVA_CTL_TOP_H
#define TOVA_CTL_TOP_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "ctl/door.h"

struct top {
	unsigned every_s, times; /* times 0: until it is stopped */
	bool json;		 /* a line of JSON each time */
};

/* Shows it on f, over what it showed before where f is a terminal. False: the door says why. */
bool top_show(struct door *door, const struct top *top, FILE *f);

#endif
