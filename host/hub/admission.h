/* admission: whether an upgrade may come in, and the making of its session. */
#ifndef TOVA_HUB_ADMISSION_H
#define TOVA_HUB_ADMISSION_H

#include "net/conn.h"

/* For hub_conn_ops; ctx is the hub. */
void admission_upgrade(void *ctx, struct conn *c, struct request *r);
void admission_withdrawn(struct conn *c);

#endif
