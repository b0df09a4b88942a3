# SPDX-License-Identifier: MIT
#
# Turns `nm -n` of the kernel into the symbol table that is linked into it (kernel/symbols.c): the
# count, sorted pairs (offset from text_start, offset of the name), and the names.

# Of the low 32 bits: the upper half is the same for the whole kernel.
function hex(s,   i, v) {
	v = 0
	s = substr(s, 9)
	for (i = 1; i <= length(s); i++)
		v = v * 16 + index("0123456789abcdef", substr(s, i, 1)) - 1
	return v
}

BEGIN { n = at = 0 }

$3 == "text_start" { start = hex($1); next }
$3 == "text_end"   { end = hex($1); next }
$2 == "t" || $2 == "T" {
	addr[n] = hex($1)
	name[n++] = $3
}

# Entry code at its physical address, section bounds and the assembler's own labels are left out.
function wanted(i) {
	return start <= addr[i] && addr[i] < end && name[i] !~ /\.\.@/
}

END {
	for (i = 0; i < n; i++)
		count += wanted(i)
	print "section .ksyms progbits alloc noexec nowrite align=8"
	print "global ksym_table"
	printf "ksym_table:\n\tdq %d\n", count
	for (i = 0; i < n; i++) {
		if (!wanted(i))
			continue
		printf "\tdd %d, %d\n", addr[i] - start, at
		at += length(name[i]) + 1
	}
	for (i = 0; i < n; i++)
		if (wanted(i))
			printf "\tdb '%s', 0\n", name[i]
}
