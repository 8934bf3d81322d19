#include "ops/idempotency.h"

#include <openssl/evp.h>
#include <stdlib.h>

struct idempotency_sender {
	struct idempotency *all;
	LIST_ENTRY(idempotency_sender) others;
	uint8_t id[IDEMPOTENCY_DIGEST];
	TAILQ_HEAD(idempotency_list, idempotency_done) done; /* the oldest first */
	uint32_t n;
};

/* --- what is asked ---------------------------------------------------------------------------- */

/* Of all parts, each of which may hold any byte but a NUL, or is the last. */
static bool idempotency_digest(uint8_t digest[IDEMPOTENCY_DIGEST], const struct span *parts,
			       size_t n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
	for (size_t i = 0; i < n && ok; i++)
		ok = EVP_DigestUpdate(ctx, parts[i].p, parts[i].n) == 1 &&
		     (i + 1 == n || EVP_DigestUpdate(ctx, "", 1) == 1);
	ok = ok && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool idempotency_request_make(struct idempotency_request *r,
			      const uint8_t sender[IDEMPOTENCY_DIGEST], struct span key,
			      struct span method, struct span path, struct span body)
{
	const struct span whole[] = {method, path, body}, name[] = {key};
	memcpy(r->sender, sender, sizeof r->sender);
	return idempotency_digest(r->key, name, 1) && idempotency_digest(r->request, whole, 3);
}

/* --- who has asked ---------------------------------------------------------------------------- */

void idempotency_hold(struct idempotency_done **d)
{
	if (*d != NULL)
		(*d)->held = d;
}

void idempotency_cancel(struct idempotency_done *d)
{
	if (d->held != NULL)
		*d->held = NULL;
	hash_table_remove(&d->sender->all->table, &d->link);
	TAILQ_REMOVE(&d->sender->done, d, others);
	d->sender->n--;
	free(d->large);
	free(d);
}

static void idempotency_end_sender(struct idempotency *all, struct idempotency_sender *s)
{
	struct idempotency_done *d;
	while ((d = TAILQ_FIRST(&s->done)) != NULL)
		idempotency_cancel(d);
	LIST_REMOVE(s, others);
	all->n_senders--;
	free(s);
}

void idempotency_init(struct idempotency *all, const struct hash_key *hash)
{
	*all = (struct idempotency){.hash = *hash};
}

void idempotency_free(struct idempotency *all)
{
	struct idempotency_sender *s;
	while ((s = LIST_FIRST(&all->senders)) != NULL)
		idempotency_end_sender(all, s);
	hash_table_free(&all->table);
}

/* What is too old goes, and with the last of it its sender. */
static void idempotency_expire(struct idempotency *all, uint64_t now)
{
	struct idempotency_sender *s, *next;
	struct idempotency_done *d;
	for (s = LIST_FIRST(&all->senders); s != NULL; s = next) {
		next = LIST_NEXT(s, others);
		while ((d = TAILQ_FIRST(&s->done)) != NULL && now - d->at >= IDEMPOTENCY_MS)
			idempotency_cancel(d);
		if (s->n == 0)
			idempotency_end_sender(all, s);
	}
}

static struct idempotency_sender *idempotency_sender(const struct idempotency *all,
						     const uint8_t id[IDEMPOTENCY_DIGEST])
{
	struct idempotency_sender *s;
	LIST_FOREACH(s, &all->senders, others)
	if (memcmp(s->id, id, IDEMPOTENCY_DIGEST) == 0)
		return s;
	return NULL;
}

/* The one who has been silent longest makes room for another: he has a token no more, as there are
 * fewer of those. */
static void idempotency_make_room(struct idempotency *all)
{
	struct idempotency_sender *s, *oldest = NULL;
	LIST_FOREACH(s, &all->senders, others)
	if (oldest == NULL || TAILQ_LAST(&s->done, idempotency_list)->at <
				      TAILQ_LAST(&oldest->done, idempotency_list)->at)
		oldest = s;
	idempotency_end_sender(all, oldest);
}

/* NULL without memory. */
static struct idempotency_sender *idempotency_new_sender(struct idempotency *all,
							 const uint8_t id[IDEMPOTENCY_DIGEST])
{
	struct idempotency_sender *s = malloc(sizeof *s);
	if (s == NULL)
		return NULL;
	if (all->n_senders == IDEMPOTENCY_SENDERS_MAX)
		idempotency_make_room(all);
	s->all = all;
	memcpy(s->id, id, IDEMPOTENCY_DIGEST);
	TAILQ_INIT(&s->done);
	s->n = 0;
	LIST_INSERT_HEAD(&all->senders, s, others);
	all->n_senders++;
	return s;
}

/* --- what was done ---------------------------------------------------------------------------- */

static uint64_t idempotency_hash(const struct idempotency *all,
				 const uint8_t key[IDEMPOTENCY_DIGEST])
{
	return hash_bytes(&all->hash, key, IDEMPOTENCY_DIGEST);
}

const struct idempotency_done *idempotency_find(struct idempotency *all,
						const struct idempotency_request *r, uint64_t now,
						bool *same_r)
{
	idempotency_expire(all, now);
	const struct idempotency_sender *sender = idempotency_sender(all, r->sender);
	struct hash_link *at = hash_table_first(&all->table, idempotency_hash(all, r->key));
	for (; at != NULL; at = hash_link_next(at)) {
		const struct idempotency_done *d = HASH_ENTRY(at, struct idempotency_done, link);
		if (d->sender != sender || memcmp(d->key, r->key, sizeof d->key) != 0)
			continue;
		*same_r = memcmp(d->request, r->request, sizeof d->request) == 0;
		return d;
	}
	*same_r = false;
	return NULL;
}

struct idempotency_done *idempotency_begin(struct idempotency *all,
					   const struct idempotency_request *r, uint64_t now)
{
	struct idempotency_done *d = hash_table_reserve(&all->table) ? malloc(sizeof *d) : NULL;
	struct idempotency_sender *s = d != NULL ? idempotency_sender(all, r->sender) : NULL;
	if (d != NULL && s == NULL)
		s = idempotency_new_sender(all, r->sender);
	if (s == NULL) {
		free(d);
		return NULL;
	}
	if (s->n == IDEMPOTENCY_KEYS_MAX)
		idempotency_cancel(TAILQ_FIRST(&s->done));
	*d = (struct idempotency_done){.sender = s, .at = now};
	memcpy(d->key, r->key, sizeof d->key);
	memcpy(d->request, r->request, sizeof d->request);
	hash_table_add(&all->table, &d->link, idempotency_hash(all, r->key));
	TAILQ_INSERT_TAIL(&s->done, d, others);
	s->n++;
	return d;
}

void idempotency_end(struct idempotency_done *d, int status, struct span answer)
{
	char *to = d->small;
	if (answer.n > sizeof d->small)
		to = d->large = malloc(answer.n);
	if (to == NULL) {
		idempotency_cancel(d);
		return;
	}
	memcpy(to, answer.p, answer.n);
	d->len = (uint32_t)answer.n;
	d->status = status;
	d->held = NULL;
}
