/* runtime: one program in one Lua state: its limits, and what an event has changed so far. */
#ifndef TOVA_SDK_RUNTIME_RUNTIME_H
#define TOVA_SDK_RUNTIME_RUNTIME_H

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buffer.h"
#include "tova/fault.h"
#include "tova_plugin.h"

/* Values kept in Lua's registry, at these indices behind those that Lua itself uses. */
enum runtime_slot {
	RUNTIME_ARRAY = LUA_RIDX_LAST + 1, /* metatables */
	RUNTIME_OBJECT,
	RUNTIME_ERROR,
	RUNTIME_CONNECTION,
	RUNTIME_BYTES,
	RUNTIME_LIBRARY,  /* B, see generator.h */
	RUNTIME_TOP,	  /* T */
	RUNTIME_HANDLERS, /* H */
	RUNTIME_HELPERS,  /* R */
	RUNTIME_KEPT,	  /* what was handed over at a reload, by name */
	RUNTIME_JOURNAL,
	RUNTIME_LATER, /* functions of timers and queries, by id */
	RUNTIME_DATA,  /* ws.data of the event's connection */
};

struct runtime {
	lua_State *L;
	tova_mount *mount; /* NULL: a program that only computes */
	/* limits */
	size_t memory, memory_max; /* bytes */
	int64_t instructions, instructions_max;
	/* Processor time that an event may take, since some instructions take long (comparing long
	 * strings). It is looked at from the first RUNTIME_HOOK_EVERY instructions on. */
	uint64_t cpu_max_ms, cpu_began_ns; /* 0: not looked at yet */
	bool fatal;			   /* what went wrong can not be caught */
	struct position starved; /* where the program last asked for memory beyond the bound */
	/* where each line of the Lua text comes from */
	const struct position *lines;
	size_t n_lines;
	/* the event at hand */
	bool in_event;
	size_t journal; /* entries: what an event that fails takes back */
	tova_ws ws;
	const tova_request *request; /* in on_open */
	/* those that the answer at hand lists, and where one was found last */
	const tova_member *listed;
	size_t n_listed, found;
	enum { RUNTIME_DATA_UNREAD, RUNTIME_DATA_READ } data;
	struct position data_at; /* where it was set, or read first */
	/* timers and queries */
	uint64_t next_id;
	bool starting;
	bool has_stats;
	tova_stats stats;
	struct buffer text; /* for whoever writes one */
};

static inline struct runtime *runtime_of(lua_State *L)
{
	return *(struct runtime **)lua_getextraspace(L);
}

/* A state with nothing in it but the slots; NULL without memory. */
lua_State *runtime_open(struct runtime *r);
void runtime_close(struct runtime *r);

/* Ends the C function at hand with a fault of the program: a sentence without its place, which is
 * added when it is caught. Does not return; `return runtime_fault(...)`. */
__attribute__((noreturn, format(printf, 2, 3))) int runtime_fault(lua_State *L, const char *format,
								  ...);
/* As that, of something that was done elsewhere in the program. */
__attribute__((noreturn, format(printf, 3, 4))) int runtime_fault_at(lua_State *L,
								     struct position at,
								     const char *format, ...);
/* Where the program is; {0, 0}: nowhere. */
struct position runtime_place(lua_State *L);
/* As runtime_fault, and it can not be caught. */
__attribute__((noreturn, format(printf, 2, 3))) int runtime_fatal(lua_State *L, const char *format,
								  ...);
/* Counts work that no instruction stands for, such as elements that are walked. */
void runtime_charge(lua_State *L, size_t n);

/* lua_pcall: what is on the stack then, if it failed, is an error of the program's (see
 * RUNTIME_ERROR). */
int runtime_call(lua_State *L, int arguments, int results);
/* Writes the place and the text of the error on top of the stack, and pops it. */
void runtime_error_text(struct runtime *r, const char *file, char *text_r, size_t cap);

/* From now on what is changed can be taken back. */
void runtime_begin(struct runtime *r);
void runtime_commit(struct runtime *r);
void runtime_undo(struct runtime *r);
/* Sets t[k] = v without metamethods, where k and v are on top of the stack (they are popped) and t
 * is at `table`, and notes what was there. */
void runtime_set(lua_State *L, int table);

#endif
