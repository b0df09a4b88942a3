// SPDX-License-Identifier: MIT
//
// What: brings an ELF file into an address space, and builds the stack that a program starts with.
// Not here: judging the file (kernel/proc/elf.c), the order of execve (exec.c).
//
// Where things go (fixed, so that runs can be compared instruction by instruction):
//
//      0x400000..           ET_EXEC as linked; its heap (brk) behind it
//      0x555555554000..     ET_DYN; its heap behind it
//      ..mmap_top           mappings, downwards
//      (1 MiB)              unmapped: a stack that overflows hits it
//      ..USER_END           stack, RLIMIT_STACK bytes of address space; pages come when touched
//
// Failure: any error leaves the address space half filled; the caller drops it.
#include "kernel/proc/exec_internal.h"

#include "fs/vfs.h"
#include "kernel/lib/errno.h"
#include "kernel/lib/string.h"
#include "kernel/random.h"
#include "kernel/x86/asm.h"
#include "mm/aspace.h"
#include "mm/heap.h"
#include "mm/layout.h"
#include "mm/uaccess.h"

#define PIE_BASE        0x555555554000ull
#define STACK_BYTES_MIN KIB(256)
#define STACK_BYTES_MAX MIB(64) // also for an unlimited RLIMIT_STACK
#define STACK_GUARD     MIB(1)

// Auxiliary vector (getauxval(3)).
enum {
	AT_NULL = 0,
	AT_PHDR = 3,
	AT_PHENT = 4,
	AT_PHNUM = 5,
	AT_PAGESZ = 6,
	AT_BASE = 7,
	AT_FLAGS = 8,
	AT_ENTRY = 9,
	AT_UID = 11,
	AT_EUID = 12,
	AT_GID = 13,
	AT_EGID = 14,
	AT_PLATFORM = 15,
	AT_HWCAP = 16,
	AT_CLKTCK = 17,
	AT_SECURE = 23,
	AT_RANDOM = 25,
	AT_HWCAP2 = 26,
	AT_EXECFN = 31,
	AT_MINSIGSTKSZ = 51,
};
#define AUX_MAX          22 // pairs, with AT_NULL
#define CLOCK_TICKS      100
#define SIGNAL_STACK_MIN 2048 // a frame and room for a small handler

// ---- Segments -----------------------------------------------------------------------------------

static unsigned prot_of(u32 flags)
{
	return (flags & ELF_PF_R ? PROT_READ : 0) | (flags & ELF_PF_W ? PROT_WRITE : 0) |
	       (flags & ELF_PF_X ? PROT_EXEC : 0);
}

static int map_anonymous(struct aspace *as, u64 start, u64 end, unsigned prot)
{
	struct map_request req = {
		.addr = UVA(start),
		.len = end - start,
		.prot = prot,
		.may_prot = PROT_READ | PROT_WRITE | PROT_EXEC,
		.flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS,
	};
	uva_t at;

	return start == end ? 0 : aspace_map(as, &req, &at);
}

static int map_from_file(struct aspace *as, struct file *f, u64 start, u64 end, u64 file_off,
			 unsigned prot)
{
	struct map_request req = {
		.addr = UVA(start),
		.len = end - start,
		.prot = prot,
		.may_prot = PROT_READ | PROT_WRITE | PROT_EXEC,
		.flags = MAP_PRIVATE | MAP_FIXED,
		.offset = file_off,
	};
	uva_t at;
	int err;

	if (!f->ops->mmap)
		return -ENODEV;
	err = f->ops->mmap(f, &req.object);
	return err ? err : aspace_map(as, &req, &at);
}

// For files that cannot be mapped: pages of our own with a copy.
static int copy_from_file(struct aspace *as, struct file *f, const struct elf_segment *s, u64 start,
			  u64 end, u64 bias)
{
	u8 *page = kmalloc(PAGE_SIZE);
	u64 done = 0;
	int err;

	if (!page)
		return -ENOMEM;
	err = map_anonymous(as, start, end, PROT_READ | PROT_WRITE);
	while (!err && done < s->file_bytes) {
		size_t want = min(PAGE_SIZE, s->file_bytes - done);
		ssize n = file_read_kernel(f, page, want, s->file_off + done);

		if (n <= 0)
			err = n < 0 ? (int)n : -ENOEXEC; // it shrank since we looked
		else
			err = copy_to_user(UVA(s->vaddr + bias + done), page, (size_t)n);
		done += n > 0 ? (u64)n : 0;
	}
	kfree(page);
	return err ? err : aspace_protect(as, UVA(start), end - start, prot_of(s->flags));
}

static int load_segment(struct aspace *as, struct file *f, const struct elf_segment *s, u64 bias)
{
	u64 vaddr = s->vaddr + bias, start = ALIGN_DOWN(vaddr, PAGE_SIZE);
	u64 file_end = vaddr + s->file_bytes, file_pages_end = ALIGN_UP(file_end, PAGE_SIZE);
	u64 end = ALIGN_UP(vaddr + s->memory_bytes, PAGE_SIZE);
	unsigned prot = prot_of(s->flags);
	int err = 0;

	if (s->file_bytes == 0)
		return map_anonymous(as, start, end, prot);
	err = map_from_file(as, f, start, file_pages_end, ALIGN_DOWN(s->file_off, PAGE_SIZE), prot);
	if (err == -ENODEV || err == -EOPNOTSUPP)
		err = copy_from_file(as, f, s, start, file_pages_end, bias);
	// Zeros begin in the middle of a page: what the file has there belongs to something else.
	// The whole rest of the page is cleared, as on Linux: ld.so takes it for zeroed heap.
	if (!err && s->memory_bytes > s->file_bytes && (prot & PROT_WRITE))
		err = clear_user(UVA(file_end), file_pages_end - file_end);
	return err ? err : map_anonymous(as, file_pages_end, max(end, file_pages_end), prot);
}

// Where a file that may lie anywhere goes.
static int choose_bias(struct aspace *as, const struct elf_info *info, bool interpreter, u64 *bias)
{
	struct map_request req = {
		.len = info->high - info->low,
		.may_prot = PROT_READ | PROT_WRITE | PROT_EXEC,
		.flags = MAP_PRIVATE | MAP_ANONYMOUS,
	};
	uva_t at;
	int err;

	*bias = 0;
	if (!info->dynamic)
		return 0;
	if (!interpreter) {
		*bias = PIE_BASE - info->low;
		return info->high - info->low > as->mmap_top - PIE_BASE ? -ENOMEM : 0;
	}
	// Let the address space find a gap; the segments then take its place.
	err = aspace_map(as, &req, &at);
	*bias = at.va - info->low;
	return err;
}

int exec_load(struct aspace *as, struct file *f, const struct elf_info *info, bool interpreter,
	      struct exec_image *out)
{
	u64 bias;
	int err = choose_bias(as, info, interpreter, &bias);

	for (unsigned i = 0; i < info->nr_segments && !err; i++)
		err = load_segment(as, f, &info->segment[i], bias);
	*out = (struct exec_image){
		.bias = bias,
		.entry = info->entry + bias,
		.phdr = info->phdr_vaddr ? info->phdr_vaddr + bias : 0,
		.end = info->high + bias,
	};
	return err;
}

int exec_read_elf(struct file *f, struct elf_info *info)
{
	u8 header[ELF_HEADER_BYTES];
	struct inode_attr attr;
	size_t bytes;
	ssize n;
	u8 *phdrs;
	int err = vfs_getattr(f->inode, &attr);

	if (err)
		return err;
	n = file_read_kernel(f, header, sizeof(header), 0);
	if (n != sizeof(header))
		return n < 0 ? (int)n : -ENOEXEC;
	err = elf_check_header(header, attr.size, info);
	if (err)
		return err;
	bytes = (size_t)info->phnum * ELF_PHENT_BYTES;
	phdrs = kmalloc(bytes);
	if (!phdrs)
		return -ENOMEM;
	n = file_read_kernel(f, phdrs, bytes, info->phdr_off);
	if (n < 0)
		err = (int)n;
	else if ((size_t)n < bytes)
		err = -ENOEXEC;
	else
		err = elf_check_segments(phdrs, attr.size, USER_BASE, USER_END, info);
	kfree(phdrs);
	return err;
}

// ---- Stack --------------------------------------------------------------------------------------

// What the kernel puts above the vectors, from the top down.
struct stack_block {
	u64 strings, execfn, platform, random; // addresses
	u64 bottom;
};

static int put(u64 *sp, const void *data, size_t bytes)
{
	*sp -= bytes;
	return copy_to_user(UVA(*sp), data, bytes);
}

static int put_block(u64 top, const struct exec_args *args, const char *execfn,
		     struct stack_block *b)
{
	static const char platform[] = "x86_64";
	u64 zero = 0, sp = top;
	u8 seed[16];
	int err;

	random_bytes(seed, sizeof(seed));
	err = put(&sp, &zero, sizeof(zero));
	err = err ? err : put(&sp, execfn, strlen(execfn) + 1);
	b->execfn = sp;
	err = err ? err : put(&sp, args->buf, args->used);
	b->strings = sp;
	err = err ? err : put(&sp, platform, sizeof(platform));
	b->platform = sp;
	sp = ALIGN_DOWN(sp, 16ull);
	err = err ? err : put(&sp, seed, sizeof(seed));
	b->random = sp;
	b->bottom = sp;
	return err;
}

static unsigned fill_aux(u64 *v, const struct exec_aux *aux, const struct stack_block *b)
{
	const u64 pairs[][2] = {
		{ AT_HWCAP, asm_cpuid(1, 0).edx },
		{ AT_PAGESZ, PAGE_SIZE },
		{ AT_CLKTCK, CLOCK_TICKS },
		{ AT_PHDR, aux->phdr },
		{ AT_PHENT, ELF_PHENT_BYTES },
		{ AT_PHNUM, aux->phnum },
		{ AT_BASE, aux->base },
		{ AT_FLAGS, 0 },
		{ AT_ENTRY, aux->entry },
		{ AT_UID, aux->uid },
		{ AT_EUID, aux->euid },
		{ AT_GID, aux->gid },
		{ AT_EGID, aux->egid },
		{ AT_SECURE, aux->uid != aux->euid || aux->gid != aux->egid },
		{ AT_RANDOM, b->random },
		{ AT_HWCAP2, 0 },
		{ AT_EXECFN, b->execfn },
		{ AT_PLATFORM, b->platform },
		{ AT_MINSIGSTKSZ, SIGNAL_STACK_MIN },
		{ AT_NULL, 0 },
	};
	_Static_assert(ARRAY_SIZE(pairs) <= AUX_MAX, "room in the vector");

	memcpy(v, pairs, sizeof(pairs));
	return ARRAY_SIZE(pairs) * 2;
}

// argc, argv, NULL, envp, NULL, auxv: the ABI's picture of the stack at entry.
static unsigned fill_vectors(u64 *v, const struct exec_args *args, const struct exec_aux *aux,
			     const struct stack_block *b)
{
	const char *s = args->buf;
	unsigned n = 0, i;

	v[n++] = args->argc;
	for (i = 0; i < args->argc; i++, s += strlen(s) + 1)
		v[n++] = b->strings + (u64)(s - args->buf);
	v[n++] = 0;
	for (i = 0; i < args->envc; i++, s += strlen(s) + 1)
		v[n++] = b->strings + (u64)(s - args->buf);
	v[n++] = 0;
	return n + fill_aux(v + n, aux, b);
}

static u64 stack_bytes(u64 limit)
{
	return ALIGN_UP(max(min(limit, STACK_BYTES_MAX), STACK_BYTES_MIN), PAGE_SIZE);
}

int exec_reserve_stack(struct aspace *as, u64 stack_limit, bool executable)
{
	u64 bytes = stack_bytes(stack_limit);

	as->mmap_top = USER_END - bytes - STACK_GUARD;
	return map_anonymous(as, USER_END - bytes, USER_END,
			     PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0));
}

int exec_fill_stack(const struct exec_args *args, const struct exec_aux *aux, u64 stack_limit,
		    u64 *sp)
{
	size_t words = 3 + args->argc + args->envc + 2 * AUX_MAX, used;
	u64 needed = args->used + words * sizeof(u64) + PATH_MAX + PAGE_SIZE;
	struct stack_block block;
	u64 *v;
	int err;

	// As Linux: strings and vectors may take a quarter of the stack, but a small one always
	// works.
	if (needed > stack_bytes(stack_limit) / 4 && needed > STACK_BYTES_MIN / 2)
		return -E2BIG;
	err = put_block(USER_END, args, aux->execfn, &block);
	if (err)
		return err;
	v = kmalloc(words * sizeof(u64));
	if (!v)
		return -ENOMEM;
	used = fill_vectors(v, args, aux, &block);
	*sp = ALIGN_DOWN(block.bottom - used * sizeof(u64), 16ull);
	err = copy_to_user(UVA(*sp), v, used * sizeof(u64));
	kfree(v);
	return err;
}
