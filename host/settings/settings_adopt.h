/* settings_adopt: what a reload read, compared with what runs. */
#ifndef TOVA_SETTINGS_SETTINGS_ADOPT_H
#define TOVA_SETTINGS_SETTINGS_ADOPT_H

#include "settings/settings.h"

#define SETTINGS_ADOPT_TEXT 256 /* room for a value as people read it; a longer one is cut */

/* One thing that differs. */
struct settings_change {
	const struct option_row *row;
	const char *mount;	  /* NULL: it is not one mount's */
	const char *runs, *asked; /* values, NULL: none */
	bool waits;		  /* for a restart: what runs stays */
};

typedef void settings_on_change(void *ctx, const struct settings_change *change);

/* Tells each difference between what runs and what was asked for, and puts what runs into *asked
 * wherever a change waits for a restart: afterwards *asked is what is to run from now on, with the
 * same mounts, each with the same kind of handler. What was replaced is in *runs, to be freed by
 * the caller like the rest of it. */
void settings_adopt(struct settings *runs, struct settings *asked, settings_on_change *on_change,
		    void *ctx);

/* Takes the value of this option back: *asked gets what runs. */
void settings_adopt_not(struct settings *runs, struct settings *asked, enum option_id id);
/* Likewise an option that each mount has its own value of (OPTION_SCOPED). */
void settings_adopt_not_scoped(struct settings *runs, struct settings_mount *asked,
			       enum option_id id);
/* Likewise the handler of a mount, which is one of *asked, and its settings. */
void settings_adopt_not_handler(struct settings *runs, struct settings_mount *asked);

#endif
