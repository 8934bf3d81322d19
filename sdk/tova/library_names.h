/* library_names: the names that every program knows without saying so. One list for the checker and
 * for what brings them. */
#ifndef TOVA_SDK_LIBRARY_NAMES_H
#define TOVA_SDK_LIBRARY_NAMES_H

/* name, fewest and most arguments (99: any number) */
#define LIBRARY_FUNCTIONS(X) \
	/* rooms, connections, time */ \
	X(join, 2, 3) \
	X(leave, 2, 2) \
	X(leave_all, 1, 1) \
	X(prolong, 2, 2) \
	X(close_room, 1, 4) \
	X(watch, 1, 2) \
	X(unwatch, 1, 2) \
	X(broadcast, 1, 2) \
	X(broadcast_to, 2, 4) \
	X(members, 2, 2) \
	X(users, 2, 2) \
	X(info, 2, 3) \
	X(room_state, 2, 2) \
	X(set_room, 3, 3) \
	X(count, 2, 2) \
	X(history, 2, 2) \
	X(every, 2, 2) \
	X(after, 2, 2) \
	X(cancel, 1, 1) \
	X(now, 0, 0) \
	X(stats, 0, 0) \
	X(print, 0, 99) \
	/* any value */ \
	X(len, 1, 1) \
	X(typeOf, 1, 1) \
	X(type_of, 1, 1) \
	X(toString, 1, 1) \
	X(toInt, 1, 1) \
	X(toFloat, 1, 1) \
	X(toBool, 1, 1) \
	X(isEmpty, 1, 1) \
	X(clone, 1, 1) \
	X(contains, 2, 2) \
	X(includes, 2, 2) \
	X(indexOf, 2, 2) \
	X(lastIndexOf, 2, 2) \
	X(slice, 1, 3) \
	/* strings */ \
	X(upper, 1, 1) \
	X(lower, 1, 1) \
	X(capitalize, 1, 1) \
	X(trim, 1, 1) \
	X(trimStart, 1, 1) \
	X(trimEnd, 1, 1) \
	X(split, 1, 2) \
	X(chars, 1, 1) \
	X(words, 1, 1) \
	X(lines, 1, 1) \
	X(startsWith, 2, 2) \
	X(endsWith, 2, 2) \
	X(replace, 3, 3) \
	X(replaceFirst, 3, 3) \
	X(repeat, 2, 2) \
	X(padStart, 2, 3) \
	X(padEnd, 2, 3) \
	X(charAt, 2, 2) \
	X(substr, 2, 3) \
	/* arrays */ \
	X(range, 1, 3) \
	X(filled, 2, 2) \
	X(map, 2, 2) \
	X(filter, 2, 2) \
	X(reduce, 2, 3) \
	X(find, 2, 2) \
	X(findIndex, 2, 2) \
	X(any, 2, 2) \
	X(all, 2, 2) \
	X(sum, 1, 1) \
	X(min, 1, 99) \
	X(max, 1, 99) \
	X(sorted, 1, 2) \
	X(reversed, 1, 1) \
	X(first, 1, 1) \
	X(last, 1, 1) \
	X(take, 2, 2) \
	X(drop, 2, 2) \
	X(unique, 1, 1) \
	X(flatten, 1, 1) \
	X(flatMap, 2, 2) \
	X(enumerate, 1, 1) \
	X(zip, 1, 99) \
	X(groupBy, 2, 2) \
	X(partition, 2, 2) \
	/* objects */ \
	X(keys, 1, 1) \
	X(values, 1, 1) \
	X(entries, 1, 1) \
	X(fromEntries, 1, 1) \
	X(hasKey, 2, 2) \
	X(merge, 0, 99) \
	X(pick, 2, 2) \
	X(omit, 2, 2) \
	X(mapValues, 2, 2) \
	/* numbers */ \
	X(abs, 1, 1) \
	X(floor, 1, 1) \
	X(ceil, 1, 1) \
	X(round, 1, 1) \
	X(trunc, 1, 1) \
	X(sign, 1, 1) \
	X(clamp, 3, 3) \
	X(sqrt, 1, 1) \
	X(pow, 2, 2) \
	X(random, 0, 0) \
	X(randomInt, 2, 2) \
	X(choice, 1, 1) \
	X(shuffle, 1, 1) \
	X(isNaN, 1, 1) \
	X(isFinite, 1, 1) \
	X(toFixed, 2, 2)

/* What is no function. */
#define LIBRARY_VALUES(X) \
	X(JSON) \
	X(Math) \
	X(PI) \
	X(E) \
	X(INF)

#endif
