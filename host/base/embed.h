/* embed: files of the tree that the program carries in itself. */
#ifndef TOVA_BASE_EMBED_H
#define TOVA_BASE_EMBED_H

#include "common/span.h"

/* path: relative to the top of the tree, where compilers are run; the object's rule in the Makefile
 * names it, too. For one file, at its top level. */
#define EMBED(name, path) \
	__asm__(".pushsection .rodata\n" \
		".globl " #name "_begin\n" \
		".globl " #name "_end\n" \
		".hidden " #name "_begin\n" \
		".hidden " #name "_end\n" #name "_begin:\n" \
		".incbin \"" path "\"\n" #name "_end:\n" \
		".popsection\n"); \
	extern const char name##_begin[], name##_end[]

/* All of it. */
#define EMBEDDED(name) ((struct span){name##_begin, (size_t)(name##_end - name##_begin)})

#endif
