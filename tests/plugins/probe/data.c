/* data: what a connection has of the plugin's. */
#include "probe.h"
#include "text.h"
#include "word.h"

static int data_put(struct probe_run *r, char *rest)
{
	size_t offset = (size_t)word_number(&rest), n = word_unescape(rest);
	char *data = tova_data(r->m);
	if (data == NULL || offset + n > probe_kind.data_size)
		return TOVA_E_STATE;
	memcpy(data + offset, rest, n);
	return 0;
}

static int data_get(struct probe_run *r, char *rest)
{
	(void)rest;
	struct text t = {NULL, 0, 0};
	const unsigned char *data = tova_data(r->m);
	text_add(&t, "%s", data == NULL ? "none" : "");
	for (size_t i = 0; data != NULL && i < probe_kind.data_size; i++)
		text_add(&t, "%02x", data[i]);
	return text_send(r->m, r->me, &t);
}

static int data_set(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	size_t n = word_unescape(rest);
	return tova_set(r->m, ws, rest, n);
}

/* setif WS OLD NEW */
static int data_set_if(struct probe_run *r, char *rest)
{
	tova_ws ws = word_ws(r, &rest);
	char *old = word_next(&rest);
	size_t n_old = word_unescape(old), n = word_unescape(rest);
	return tova_set_if(r->m, ws, rest, n, old, n_old);
}

const struct probe_command data_commands[] = {
	{"data", data_put},	{"getdata", data_get}, {"set", data_set},
	{"setif", data_set_if}, {NULL, NULL},
};
