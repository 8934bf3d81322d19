/* tls_server_names: whom certificates are for, and which of them some listeners show. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tls/tls_server_parts.h"

/* Lower case, without the dot that may end it; false: it can be no name. */
static bool tls_server_names_fold(const unsigned char *text, size_t n,
				  char dst[TLS_SERVER_NAME_MAX + 1])
{
	n -= n > 0 && text[n - 1] == '.';
	if (n == 0 || n > TLS_SERVER_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (text[i] <= ' ' || text[i] >= 0x7F)
			return false;
		dst[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
	}
	dst[n] = '\0';
	return true;
}

static bool tls_server_names_add_one(struct tls_server *s, size_t pair, const ASN1_STRING *text)
{
	char folded[TLS_SERVER_NAME_MAX + 1];
	if (!tls_server_names_fold(ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text),
				   folded))
		return true;
	struct tls_server_name *names = reallocarray(s->names, s->n_names + 1, sizeof *names);
	if (names == NULL)
		return false;
	s->names = names;
	names[s->n_names] = (struct tls_server_name){.name = strdup(folded), .pair = pair};
	return names[s->n_names].name != NULL && ++s->n_names > 0;
}

/* Its DNS names; the common name is one only where there are none (RFC 6125 6.4.4). */
bool tls_server_names_add(struct tls_server *s, size_t pair, const X509 *leaf)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	bool any = false, ok = true;
	for (int i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
		if (name->type != GEN_DNS)
			continue;
		any = true;
		ok = ok && tls_server_names_add_one(s, pair, name->d.dNSName);
	}
	GENERAL_NAMES_free(all);
	X509_NAME *subject = X509_get_subject_name(leaf);
	int at = any ? -1 : X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	if (at >= 0)
		ok = tls_server_names_add_one(s, pair,
					      X509_NAME_ENTRY_get_data(
						      X509_NAME_get_entry(subject, at)));
	ERR_clear_error();
	return ok;
}

int tls_server_names_compare(const void *a, const void *b)
{
	const struct tls_server_name *x = a, *y = b;
	int order = strcmp(x->name, y->name);
	return order != 0 ? order : (x->pair > y->pair) - (x->pair < y->pair);
}

/* The first of several pairs that have it. */
static const struct tls_server_name *tls_server_names_lookup(const struct tls_server *s,
							     const char *name)
{
	size_t from = 0, to = s->n_names;
	while (from < to) {
		size_t middle = (from + to) / 2;
		if (strcmp(s->names[middle].name, name) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from < s->n_names && strcmp(s->names[from].name, name) == 0 ? &s->names[from] : NULL;
}

static bool tls_server_names_group_has(const struct tls_server *s, const struct tls_server_group *g,
				       size_t pair)
{
	bool has = false;
	for (size_t i = 0; i < g->n && !has; i++)
		has = s->shown[g->pairs[i]].ctx == s->shown[pair].ctx;
	return has;
}

/* The first of the group's; NULL: of all. */
static const struct tls_server_name *tls_server_names_lookup_in(const struct tls_server *s,
								const struct tls_server_group *g,
								const char *name)
{
	const struct tls_server_name *found = tls_server_names_lookup(s, name),
				     *end = s->names + s->n_names;
	while (found != NULL && g != NULL && !tls_server_names_group_has(s, g, found->pair))
		found = found + 1 < end && strcmp(found[1].name, name) == 0 ? found + 1 : NULL;
	return found;
}

const struct tls_server_name *tls_server_names_match(const struct tls_server *s,
						     const struct tls_server_group *g,
						     const char *name)
{
	char folded[TLS_SERVER_NAME_MAX + 1];
	if (!tls_server_names_fold((const unsigned char *)name, strlen(name), folded) ||
	    folded[0] == '*')
		return NULL;
	const struct tls_server_name *found = tls_server_names_lookup_in(s, g, folded);
	char *dot = strchr(folded, '.');
	if (found != NULL || dot == NULL || dot == folded)
		return found;
	*--dot = '*'; /* in place of the first label (RFC 6125 6.4.3) */
	return tls_server_names_lookup_in(s, g, dot);
}

static bool tls_server_names_shows(const struct tls_server *s, size_t pair, const char *name)
{
	bool found = false;
	for (size_t i = s->shown[pair].from; i < s->shown[pair].to && !found; i++)
		found = strcmp(s->names[i].name, name) == 0;
	return found;
}

bool tls_server_names_covers(const struct tls_server *s, size_t a, size_t b)
{
	bool all = s->shown[a].from < s->shown[a].to;
	for (size_t i = s->shown[a].from; i < s->shown[a].to && all; i++)
		all = tls_server_names_shows(s, b, s->names[i].name);
	return all;
}

void tls_server_names_group_free(struct tls_server_group *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->names[i]);
	free(g->names);
	free(g->pairs);
}

/* What an operator names: also a wildcard, as a certificate has it. */
static const struct tls_server_name *tls_server_names_wanted(const struct tls_server *s,
							     const char *name)
{
	char folded[TLS_SERVER_NAME_MAX + 1];
	if (name[0] != '*')
		return tls_server_names_match(s, NULL, name);
	return tls_server_names_fold((const unsigned char *)name, strlen(name), folded)
		       ? tls_server_names_lookup(s, folded)
		       : NULL;
}

static bool tls_server_names_make_group(struct tls_server_build *b, struct tls_server_group *g,
					const struct tls_server_names *wanted)
{
	*g = (struct tls_server_group){.names = calloc(wanted->n, sizeof *g->names),
				       .pairs = calloc(wanted->n, sizeof *g->pairs)};
	if (g->names == NULL || g->pairs == NULL)
		return tls_server_pair_fail(b, TLS_SERVER_ITSELF, wanted->names[0], "no memory");
	for (; g->n < wanted->n; g->n++) {
		const struct tls_server_name *found =
			tls_server_names_wanted(b->s, wanted->names[g->n]);
		if (found == NULL)
			return tls_server_pair_fail(b, TLS_SERVER_GROUP, wanted->names[g->n],
						    "no certificate is for this name");
		g->names[g->n] = strdup(wanted->names[g->n]);
		g->pairs[g->n] = found->pair;
		if (g->names[g->n] == NULL)
			return tls_server_pair_fail(b, TLS_SERVER_ITSELF, wanted->names[g->n],
						    "no memory");
	}
	return true;
}

bool tls_server_names_make_groups(struct tls_server_build *b, const struct tls_server *old)
{
	struct tls_server *s = b->s;
	size_t n = old != NULL ? old->n_groups : b->set->n_groups;
	s->groups = n > 0 ? calloc(n, sizeof *s->groups) : NULL;
	if (n > 0 && s->groups == NULL)
		return tls_server_pair_fail(b, TLS_SERVER_ITSELF, b->set->certs[0], "no memory");
	bool ok = true;
	for (; ok && s->n_groups < n; s->n_groups++) {
		const struct tls_server_group *before =
			old != NULL ? &old->groups[s->n_groups] : NULL;
		struct tls_server_names wanted =
			before != NULL
				? (struct tls_server_names){(const char *const *)before->names,
							    before->n}
				: b->set->groups[s->n_groups];
		ok = tls_server_names_make_group(b, &s->groups[s->n_groups], &wanted);
	}
	return ok;
}
