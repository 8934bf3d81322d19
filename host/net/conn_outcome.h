/* conn_outcome: how a conn ended, and what became of what it was to be sent. */
#ifndef TOVA_NET_CONN_OUTCOME_H
#define TOVA_NET_CONN_OUTCOME_H

/* Why a connection ended without a close command. */
enum conn_end {
	CONN_END_CLOSE,	    /* the peer's close frame */
	CONN_END_PROTOCOL,  /* the peer broke the protocol; our close frame is under way */
	CONN_END_TRANSPORT, /* reset, or a write failed */
	CONN_END_EOF,	    /* the peer ended the stream without a close frame */
	CONN_END_IDLE,	    /* silent for too long */
	CONN_END_LIMIT,	    /* the peer sent more than it may; our close frame is under way */
};

/* What conn_send made of a message. */
enum conn_sent {
	CONN_SENT,
	/* not queued: more than limits.queue_max would wait, after a write was attempted */
	CONN_FULL,
	CONN_GONE,	/* not queued: it has ended */
	CONN_NO_MEMORY, /* not queued */
};

#endif
