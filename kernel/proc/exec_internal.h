// SPDX-License-Identifier: MIT
//
// What the files of execve share.
#pragma once

#include "kernel/proc/elf.h"
#include "kernel/proc/process.h"

struct aspace;

// Argument and environment strings on their way from the old program to the new one.
struct exec_args {
	char *buf; // argv strings, then envp strings, each with its NUL
	size_t used, capacity;
	size_t env_off; // where the environment begins
	unsigned argc, envc;
};

#define EXEC_BYTES_MAX  MIB(1)   // of all strings
#define EXEC_STRING_MAX KIB(128) // of one

// Copies the strings in. -E2BIG, -EFAULT, -ENOMEM. free() in any case.
int exec_args_collect(struct exec_args *a, const struct exec_strings *from) __must_check;
// Replaces argv[0] by `count` strings.
int exec_args_prepend(struct exec_args *a, const char *const *string, unsigned count) __must_check;
void exec_args_free(struct exec_args *a);

// A program in an address space.
struct exec_image {
	u64 bias; // load address - linked address
	u64 entry;
	u64 phdr; // where its program headers are in memory; 0: nowhere
	u64 end;  // first address behind it
};

// Reads and checks the headers. -ENOEXEC, -EIO, -ENOMEM.
int exec_read_elf(struct file *f, struct elf_info *info) __must_check;
// Maps the file's segments into the current address space, which is new. -errno as aspace_map.
int exec_load(struct aspace *as, struct file *f, const struct elf_info *info, bool interpreter,
	      struct exec_image *out) __must_check;

// What the auxiliary vector says.
struct exec_aux {
	u64 phdr, phnum, base, entry;
	u32 uid, euid, gid, egid;
	const char *execfn;
};
// Reserves address space for the stack and says where mappings begin below it. First of all.
int exec_reserve_stack(struct aspace *as, u64 stack_limit, bool executable) __must_check;
// Puts strings, vectors and auxv on the stack. *sp is the new stack pointer. -E2BIG.
int exec_fill_stack(const struct exec_args *args, const struct exec_aux *aux, u64 stack_limit,
		    u64 *sp) __must_check;
