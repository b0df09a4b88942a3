// SPDX-License-Identifier: MIT
//
// What: decides whether an ELF file can be run and where its parts go.
// Not here: reading the file, mapping it (kernel/proc/exec.c).
//
// Invariants, of what is handed out as good:
//   I1  Segments rise in address and share no page, so that each can be mapped for itself.
//   I2  Each begins at the same offset in a page in file and in memory.
//   I3  No sum or rounding of addresses and lengths overflows; all lies in user space, for ET_DYN
//       relative to a base that the loader chooses.
// Failure: -ENOEXEC and nothing said about `out`.
#include "kernel/proc/elf.h"

#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"

struct elf_header {
	u8 magic[4];
	u8 class, data, version, osabi, abiversion, pad[7];
	u16 type, machine;
	u32 version2;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
_Static_assert(sizeof(struct elf_header) == ELF_HEADER_BYTES, "ELF64");

struct elf_phdr {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};
_Static_assert(sizeof(struct elf_phdr) == ELF_PHENT_BYTES, "ELF64");

#define CLASS_64      2
#define DATA_LSB      1
#define VERSION       1
#define TYPE_EXEC     2
#define TYPE_DYN      3
#define MACHINE_X8664 62
#define PT_LOAD       1
#define PT_INTERP     3
#define PT_GNU_STACK  0x6474e551u
#define INTERP_MAX    4096

// [a, a + b) within [0, limit], without overflow.
static bool range_fits(u64 a, u64 b, u64 limit)
{
	return a <= limit && b <= limit - a;
}

int elf_check_header(const void *header, u64 file_bytes, struct elf_info *out)
{
	struct elf_header h;

	*out = (struct elf_info){ 0 };
	if (file_bytes < sizeof(h))
		return -ENOEXEC;
	memcpy(&h, header, sizeof(h));
	if (memcmp(h.magic, "\177ELF", 4) != 0 || h.class != CLASS_64 || h.data != DATA_LSB ||
	    h.version != VERSION || h.machine != MACHINE_X8664)
		return -ENOEXEC;
	if (h.type != TYPE_EXEC && h.type != TYPE_DYN)
		return -ENOEXEC;
	if (h.phentsize != ELF_PHENT_BYTES || h.phnum == 0 || h.phnum > ELF_PHNUM_MAX ||
	    !range_fits(h.phoff, (u64)h.phnum * ELF_PHENT_BYTES, file_bytes))
		return -ENOEXEC;
	out->dynamic = h.type == TYPE_DYN;
	out->entry = h.entry;
	out->phdr_off = h.phoff;
	out->phnum = h.phnum;
	return 0;
}

static int add_segment(const struct elf_phdr *p, u64 file_bytes, u64 limit, struct elf_info *out)
{
	u64 end;

	if (p->memsz == 0)
		return 0;
	if (p->filesz > p->memsz || !range_fits(p->offset, p->filesz, file_bytes) ||
	    !range_fits(p->vaddr, p->memsz, limit))
		return -ENOEXEC;
	if ((p->vaddr ^ p->offset) & (PAGE_SIZE - 1)) // I2
		return -ENOEXEC;
	if (out->nr_segments == ELF_SEGMENTS_MAX)
		return -ENOEXEC;
	if (out->nr_segments && ALIGN_DOWN(p->vaddr, PAGE_SIZE) < out->high) // I1
		return -ENOEXEC;
	end = ALIGN_UP(p->vaddr + p->memsz, PAGE_SIZE); // at most `limit`, which is aligned
	if (out->nr_segments == 0)
		out->low = ALIGN_DOWN(p->vaddr, PAGE_SIZE);
	out->high = end;
	out->segment[out->nr_segments++] = (struct elf_segment){
		.vaddr = p->vaddr,
		.file_off = p->offset,
		.file_bytes = p->filesz,
		.memory_bytes = p->memsz,
		.flags = p->flags & (ELF_PF_R | ELF_PF_W | ELF_PF_X),
	};
	// The headers are in memory if the part of the file that holds them is.
	if (out->phdr_off >= p->offset &&
	    range_fits(out->phdr_off - p->offset, (u64)out->phnum * ELF_PHENT_BYTES, p->filesz))
		out->phdr_vaddr = p->vaddr + (out->phdr_off - p->offset);
	return 0;
}

static int add_interp(const struct elf_phdr *p, u64 file_bytes, struct elf_info *out)
{
	if (out->interp_bytes || p->filesz < 2 || p->filesz > INTERP_MAX ||
	    !range_fits(p->offset, p->filesz, file_bytes))
		return -ENOEXEC;
	out->interp_off = p->offset;
	out->interp_bytes = p->filesz;
	return 0;
}

static bool entry_in_segment(const struct elf_info *info)
{
	for (unsigned i = 0; i < info->nr_segments; i++) {
		const struct elf_segment *s = &info->segment[i];

		if (info->entry >= s->vaddr && info->entry - s->vaddr < s->memory_bytes)
			return true;
	}
	return false;
}

int elf_check_segments(const void *phdrs, u64 file_bytes, u64 user_base, u64 user_end,
		       struct elf_info *out)
{
	const u8 *at = phdrs;
	int err = 0;

	for (unsigned i = 0; i < out->phnum && !err; i++, at += ELF_PHENT_BYTES) {
		struct elf_phdr p;

		memcpy(&p, at, sizeof(p));
		if (p.type == PT_LOAD)
			err = add_segment(&p, file_bytes, user_end, out);
		else if (p.type == PT_INTERP)
			err = add_interp(&p, file_bytes, out);
		else if (p.type == PT_GNU_STACK)
			out->exec_stack = p.flags & ELF_PF_X;
	}
	if (err)
		return err;
	if (out->nr_segments == 0 || !entry_in_segment(out))
		return -ENOEXEC;
	// ET_DYN: the loader finds a place for [low, high); it must leave room for stack and heap.
	if (out->dynamic ? out->high - out->low > user_end / 2 : out->low < user_base)
		return -ENOEXEC;
	return 0;
}
