#include "common/abi.h"

#include <stdio.h>

#include "common/header.h"
#include "common/rules.h"
#include "common/utf8.h"

bool abi_refusal_ok(unsigned status, const char *type, const char *body, size_t body_len)
{
	return status >= 300 && status <= 599 && (body != NULL || body_len == 0) &&
	       (type == NULL || (strlen(type) < RULES_TYPE_MAX && header_ok("X", type)));
}

/* Texts of a list are there, and it is no longer than it may be. */
static bool abi_list_ok(const char *const *list, size_t n)
{
	if (n > RULES_LIST_MAX || (n > 0 && list == NULL))
		return false;
	for (size_t i = 0; i < n; i++)
		if (list[i] == NULL)
			return false;
	return true;
}

bool abi_among_ok(const tova_among *among)
{
	return among != NULL && among->size >= sizeof *among &&
	       abi_list_ok(among->rooms, among->n_rooms) &&
	       abi_list_ok(among->exclude_users, among->n_exclude_users) &&
	       abi_list_ok(among->exclude_rooms, among->n_exclude_rooms) &&
	       among->n_exclude <= RULES_LIST_MAX &&
	       (among->exclude != NULL || among->n_exclude == 0);
}

size_t abi_fail_text(char dst[ABI_FAIL_MAX], const char *text, size_t len)
{
	size_t n = len > 0 ? strnlen(text, len < ABI_FAIL_MAX - 1 ? len : ABI_FAIL_MAX - 1) : 0;
	while (n > 0 && !utf8_valid(text, n))
		n--;
	if (n > 0)
		memcpy(dst, text, n);
	dst[n] = '\0';
	return n;
}

const tova_setting_spec *abi_setting(const tova_plugin *plugin, const char *key)
{
	const tova_setting_spec *spec = plugin->settings;
	while (spec != NULL && spec->name != NULL && strcmp(spec->name, key) != 0)
		spec++;
	return spec != NULL && spec->name != NULL ? spec : NULL;
}

bool abi_setting_ok(const tova_plugin *plugin, const char *key, char *why, size_t why_cap)
{
	if (plugin->settings == NULL || abi_setting(plugin, key) != NULL)
		return true;
	int n = snprintf(why, why_cap, "the plugin %s has no setting \"%s\"; expected%s",
			 plugin->name, key, plugin->settings->name == NULL ? " none" : "");
	for (const tova_setting_spec *s = plugin->settings;
	     s->name != NULL && n > 0 && (size_t)n < why_cap; s++)
		n += snprintf(why + n, why_cap - (size_t)n, "%s %s",
			      s == plugin->settings ? ""
			      : s[1].name != NULL   ? ","
						    : " or",
			      s->name);
	return false;
}
