/* tickets: the keys that seal TLS sessions into tickets, which clients keep and resume with (RFC
 * 5077, RFC 8446 4.6.1).
 *
 * A key seals for TICKETS_AGE and opens for as long again, so that whoever steals one opens two
 * hours of TLS 1.2 and not the whole past. They live in memory only and go on over a reload. Any
 * thread may use them: a handshake takes the lock once or twice.
 */
#ifndef TOVA_TLS_TICKETS_H
#define TOVA_TLS_TICKETS_H

#define TICKETS_AGE 3600 /* seconds; also the time for which a session may be resumed */

struct tickets;
struct evp_cipher_ctx_st; /* openssl/evp.h */
struct evp_mac_ctx_st;

/* NULL without memory or random numbers. */
struct tickets *tickets_new(void);
struct tickets *tickets_ref(struct tickets *t);
void tickets_unref(struct tickets **t_p);

/* What OpenSSL asks for (SSL_CTX_set_tlsext_ticket_key_evp_cb): readies the contexts to seal or to
 * open. Returns what it wants to hear: 1 done, 2 done but the key is an old one, 0 the key is
 * unknown, -1 failed. */
int tickets_seal(struct tickets *t, unsigned char name[16], unsigned char *iv,
		 struct evp_cipher_ctx_st *cipher, struct evp_mac_ctx_st *mac);
int tickets_open(struct tickets *t, const unsigned char name[16], const unsigned char *iv,
		 struct evp_cipher_ctx_st *cipher, struct evp_mac_ctx_st *mac);

#endif
