// SPDX-License-Identifier: MIT
//
// What: looks up code addresses in the linked-in symbol table (linker.ld, tools/ksyms.awk).
#include "kernel/symbols.h"

#include "kernel/lib/printf.h"
#include "kernel/symbols_internal.h"
#include "kernel/x86/image.h"

const char *symbol_find(u64 va, u64 *offset)
{
	const struct ksym_table *t = &ksym_table;
	u64 lo = 0, hi, want = va - (u64)text_start;

	if (!t || va < (u64)text_start || va >= (u64)text_end || t->count == 0)
		return NULL;
	hi = t->count; // entry[lo].offset <= want < entry[hi].offset
	if (t->entry[0].offset > want)
		return NULL;
	while (hi - lo > 1) {
		u64 mid = lo + (hi - lo) / 2;

		if (t->entry[mid].offset <= want)
			lo = mid;
		else
			hi = mid;
	}
	*offset = want - t->entry[lo].offset;
	return (const char *)&t->entry[t->count] + t->entry[lo].name;
}

const char *symbol_format(char *buf, size_t size, u64 va)
{
	u64 offset = 0;
	const char *name = symbol_find(va, &offset);

	if (name)
		ksnprintf(buf, size, "%s+%#lx", name, offset);
	else
		ksnprintf(buf, size, "%#lx", va);
	return buf;
}
