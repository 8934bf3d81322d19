#include "tova/runtime/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void machine_push_load(lua_State *L)
{
	double average[3];
	if (getloadavg(average, 3) != 3) {
		lua_pushnil(L);
		return;
	}
	value_push_array(L, 3);
	for (int i = 0; i < 3; i++) {
		lua_pushnumber(L, average[i]);
		lua_rawseti(L, -2, i + 1);
	}
	value_array_made(L, -1, 3);
}

/* Pops a number. */
static void machine_add(lua_State *L, const char *name)
{
	bool absent = false;
	lua_pushstring(L, name);
	lua_insert(L, -2);
	value_add_member(L, lua_gettop(L) - 2, &absent);
}

static void machine_push_memory(lua_State *L)
{
	uint64_t total = 0, available = 0;
	char row[128];
	FILE *file = fopen("/proc/meminfo", "re");
	while (file != NULL && fgets(row, sizeof row, file) != NULL)
		if (sscanf(row, "MemTotal: %" SCNu64, &total) == 0)
			(void)sscanf(row, "MemAvailable: %" SCNu64, &available);
	if (file != NULL)
		fclose(file);
	if (total == 0) {
		lua_pushnil(L);
		return;
	}
	value_push_object(L, 2);
	lua_pushnumber(L, (lua_Number)total * 1024);
	machine_add(L, "total");
	lua_pushnumber(L, (lua_Number)(total - available) * 1024);
	machine_add(L, "used");
}

static void machine_push_host(lua_State *L, const tova_stats *s)
{
	const struct {
		const char *name;
		uint64_t value;
	} counters[] = {
		{"uptime", s->uptime_ms / 1000},
		{"connections", s->connections},
		{"rooms", s->rooms},
		{"messages_in", s->messages_in},
		{"messages_out", s->messages_out},
		{"bytes_in", s->bytes_in},
		{"bytes_out", s->bytes_out},
		{"slow", s->slow},
		{"dropped", s->dropped + s->rate_dropped},
		{"refused", s->refused + s->limited},
	};
	value_push_object(L, sizeof counters / sizeof *counters);
	for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
		lua_pushnumber(L, (lua_Number)counters[i].value);
		machine_add(L, counters[i].name);
	}
}

void machine_push_stats(lua_State *L, const tova_stats *stats)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	value_push_object(L, 4);
	int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	lua_pushnumber(L, (lua_Number)ms);
	machine_add(L, "time");
	machine_push_load(L);
	machine_add(L, "load");
	machine_push_memory(L);
	machine_add(L, "memory");
	if (stats != NULL)
		machine_push_host(L, stats);
	else
		lua_pushnil(L);
	machine_add(L, "host");
}
