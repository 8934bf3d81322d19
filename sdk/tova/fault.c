#include "tova/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int fault_compare(const void *a, const void *b)
{
	const struct position *x = &((const struct fault *)a)->at,
			      *y = &((const struct fault *)b)->at;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->column < y->column ? -1 : x->column > y->column;
}

void fault_add(struct faults *faults, struct position at, const char *format, ...)
{
	va_list args;
	for (size_t i = 0; i < faults->n; i++)
		if (faults->v[i].at.line == at.line && faults->v[i].at.column == at.column)
			return;
	if (faults->n == FAULTS_MAX) {
		faults->dropped++;
		return;
	}
	struct fault *f = &faults->v[faults->n++];
	f->at = at;
	va_start(args, format);
	vsnprintf(f->text, sizeof f->text, format, args);
	va_end(args);
}

bool faults_has_line(const struct faults *faults, unsigned line)
{
	for (size_t i = 0; i < faults->n; i++)
		if (faults->v[i].at.line == line)
			return true;
	return false;
}

void faults_sort(struct faults *faults)
{
	qsort(faults->v, faults->n, sizeof *faults->v, fault_compare);
}
