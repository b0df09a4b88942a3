// SPDX-License-Identifier: MIT
//
// ELF64 executables: what the file says, checked. Pure functions, also compiled on the host;
// hostile files give an error, never more. (System V ABI, chapters 4 and 5; AMD64 supplement.)
#pragma once

#include "kernel/lib/types.h"

#define ELF_HEADER_BYTES 64
#define ELF_PHENT_BYTES  56
#define ELF_PHNUM_MAX    64
#define ELF_SEGMENTS_MAX 16

// Segment rights (p_flags).
#define ELF_PF_X 1u
#define ELF_PF_W 2u
#define ELF_PF_R 4u

struct elf_segment {
	u64 vaddr;        // as linked; add the load bias
	u64 file_off;     // congruent to vaddr modulo the page size
	u64 file_bytes;   // lie in the file
	u64 memory_bytes; // >= file_bytes; the rest is zero
	u32 flags;        // ELF_PF_*
};

struct elf_info {
	bool dynamic; // ET_DYN: loadable anywhere
	u64 entry;    // as linked
	u64 phdr_off; // program headers in the file
	u16 phnum;
	u64 phdr_vaddr;       // where a segment maps them; 0: nowhere
	u64 low, high;        // all segments lie in [low, high), whole pages
	unsigned nr_segments; // in rising order of address, not overlapping
	struct elf_segment segment[ELF_SEGMENTS_MAX];
	u64 interp_off, interp_bytes; // path of the program interpreter; 0 bytes: none
	bool exec_stack;              // PT_GNU_STACK asks for an executable stack
};

// The file header alone. 0, or -ENOEXEC: not an x86-64 executable that we can run. On success
// *phdr_off and *phnum say where the program headers are; they lie within file_bytes.
int elf_check_header(const void *header, u64 file_bytes, struct elf_info *out) __must_check;
// The program headers, out->phnum of them, as read from out->phdr_off. Fills the rest. -ENOEXEC.
int elf_check_segments(const void *phdrs, u64 file_bytes, u64 user_base, u64 user_end,
		       struct elf_info *out) __must_check;
