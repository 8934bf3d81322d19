/* watch: the lines of a trace, printed as they come. */
#ifndef TOVA_CTL_WATCH_H
#define TOVA_CTL_WATCH_H

#include <stdbool.h>
#include <stdio.h>

#include "ctl/door.h"

struct watch {
	unsigned for_s;	  /* 0: until the host, or the connection, is gone */
	const char *conn; /* the only one that is watched; NULL: there may be several */
	bool json;
};

/* After the question was answered. False: the door says why. */
bool watch_show(struct door *door, const struct watch *watch, FILE *f);

#endif
