/* library: what programs can call. Functions are Lua's, with what they work on as the first
 * argument: the receiver of a method; a function that is none is made of it by leaving out the
 * argument in front (see value.h). */
#ifndef TOVA_SDK_RUNTIME_LIBRARY_H
#define TOVA_SDK_RUNTIME_LIBRARY_H

#include "tova/runtime/argument.h"

/* Fills B, R and the metatables of a new state. Called in a protected call, as it may lack memory.
 */
int library_open(lua_State *L);

/* Adds functions to the table on top of the stack; `free`: as functions that are no methods. The
 * list ends with a NULL name. */
void library_add(lua_State *L, const luaL_Reg *functions, bool free);

/* Each of these is a list as library_add takes it. */
extern const luaL_Reg library_text_methods[], library_text_functions[];
extern const luaL_Reg library_array_methods[], library_array_functions[];
extern const luaL_Reg library_sort_methods[], library_sort_functions[];
extern const luaL_Reg library_object_functions[];
extern const luaL_Reg library_number_methods[], library_number_functions[], library_math[];
extern const luaL_Reg library_any_functions[], library_json[];
extern const luaL_Reg library_host_functions[], library_room_functions[];
extern const luaL_Reg library_helpers[];

/* library_any.c: functions that ask of what kind their first argument is. */
int library_slice_text(lua_State *L);
int library_index_of_text(lua_State *L);
int library_last_index_of_text(lua_State *L);
/* The same of arrays. */
int library_slice_array(lua_State *L);
int library_index_of_array(lua_State *L);
int library_last_index_of_array(lua_State *L);
/* join(), count() and includes() of an array; the last of a text and an object, too. */
int library_join_array(lua_State *L);
int library_count_array(lua_State *L);
int library_includes(lua_State *L);

/* library_host.c: the metatable of a connection, on top of the stack. */
void library_connection_meta(lua_State *L);

#endif
