/* page: the admin page at / of --admin, with what it needs beside the rest of the API. */
#ifndef TOVA_OPS_PAGE_H
#define TOVA_OPS_PAGE_H

#include "ops/api_call.h"

/* Answer with the parts of the page, which need no token and tell nothing. */
void page_answer(struct api_call *call);
void page_answer_script(struct api_call *call);
void page_answer_style(struct api_call *call);

/* POST {"code":"…"} answers {"token":"…"}: whoever was shown a URL with a code may look. */
void page_enter(struct api_call *call);
/* Answers {"url":"…"}, with such a code. */
void page_admin_url(struct api_call *call);
/* Where clients connect, and which host this is. */
void page_host(struct api_call *call);
/* What the log said last: ?which=trouble (errors and warnings) or refused. */
void page_log(struct api_call *call);

#endif
