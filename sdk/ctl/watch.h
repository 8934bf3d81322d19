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

/* One line. True: it was the end of the only connection that is watched, or nobody reads what is
 * printed. */
bool watch_line(const struct watch *watch, json_t *line, FILE *f);
/* After the question was answered, over the control socket. False: the door says why. */
bool watch_show(struct door *door, const struct watch *watch, FILE *f);

#endif
