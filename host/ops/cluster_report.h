/* cluster_report: the cluster as people and programs are told of it. */
#ifndef TOVA_OPS_CLUSTER_REPORT_H
#define TOVA_OPS_CLUSTER_REPORT_H

#include "cluster/cluster.h"
#include "handler/worker/codec.h"

/* Members of the object that was begun. c NULL: there is this host only. */
void cluster_report(const struct cluster *c, struct codec_out *o);

#endif
