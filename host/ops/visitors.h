/* visitors: who looks at the admin page without a token: by a code that whoever may administer the
 * host was shown, which is good once, and is changed for a secret of that browser's. Only digests
 * are kept. */
#ifndef TOVA_OPS_VISITORS_H
#define TOVA_OPS_VISITORS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/span.h"

#define VISITORS_MAX 16	    /* of each: the oldest gives way */
#define VISITORS_DIGEST 32
#define VISITORS_SECRET 33  /* bytes of a code, and of a secret, with the NUL behind it */
#define VISITORS_CODE_MS (10 * 60 * 1000)
#define VISITORS_STAY_MS (12 * 60 * 60 * 1000)

struct visitors {
	struct visitors_pass {
		uint8_t digest[VISITORS_DIGEST];
		uint64_t until; /* milliseconds of the loop's clock; 0: there is none */
	} codes[VISITORS_MAX], stays[VISITORS_MAX];
};

/* Makes a code. False: no random numbers. */
bool visitors_invite(struct visitors *v, uint64_t now, char code_r[VISITORS_SECRET]);
/* Changes a code, which is good no more then, for a secret. False: it is none, or too old. */
bool visitors_enter(struct visitors *v, struct span code, uint64_t now,
		    char secret_r[VISITORS_SECRET]);
/* Is it the secret of one of them? Fills what he is known by. Takes a time that does not depend on
 * how much of it is right. */
bool visitors_know(const struct visitors *v, struct span secret, uint64_t now,
		   uint8_t id_r[VISITORS_DIGEST]);

#endif
