/* ids: connections as text, which is how they travel. */
#ifndef TOVA_SDK_IDS_H
#define TOVA_SDK_IDS_H

#include <stdbool.h>

#include "tova_plugin.h"

/* base64url of the 16 bytes. */
void ids_text(tova_ws ws, char text_r[TOVA_WS_TEXT]);
bool ids_parse(const char *text, size_t len, tova_ws *ws_r);

#endif
