// SPDX-License-Identifier: MIT
//
// What: what sysfuzz calls the kernel with: numbers, and arguments of each kind that are likely to
// get past the first check, or to be handled badly.
// Not here: calling (sysfuzz.c).
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "tests/stress/stress.h"

#define ARENA_BYTES 65536u

// user/daxvm.h
#define MAP_DAXVM           0x400000
#define MAP_DAXVM_BATCHING  0x200000
#define MAP_DAXVM_NOSYNC    0x800000
#define MAP_DAXVM_EPHEMERAL 0x4000000
#define EPHEMERAL           (MAP_SHARED | MAP_DAXVM | MAP_DAXVM_EPHEMERAL)

// Arguments by call, as far as a hint helps to get past the first check:
//   f descriptor  p buffer  l length  s path  a mapped address  n small number  g flags  S signal
//   P process  o offset  c flags of clone  b break  m flags of mmap  u user or group
//   i command of ioctl  F command of fcntl  r anything
static const struct hint {
	short nr;
	char kinds[7];
} hints[] = {
	{ 0, "fpl" },     { 1, "fpl" },      { 2, "sgn" },      { 3, "f" },       { 4, "sp" },
	{ 5, "fp" },      { 6, "sp" },       { 7, "pnn" },      { 8, "fon" },     { 9, "alnmfo" },
	{ 10, "aln" },    { 11, "al" },      { 12, "b" },       { 13, "Sppn" },   { 14, "nppn" },
	{ 16, "fip" },    { 17, "fplo" },    { 18, "fplo" },    { 19, "fpn" },    { 20, "fpn" },
	{ 21, "sn" },     { 22, "p" },       { 23, "npppp" },   { 25, "allga" },  { 26, "aln" },
	{ 27, "alp" },    { 28, "aln" },     { 32, "f" },       { 33, "fn" },     { 35, "pp" },
	{ 36, "np" },     { 38, "npp" },     { 40, "ffpl" },    { 56, "cpppp" },  { 59, "spp" },
	{ 61, "Ppnp" },   { 63, "p" },       { 72, "fFp" },     { 73, "fn" },     { 74, "f" },
	{ 75, "f" },      { 76, "so" },      { 77, "fo" },      { 79, "pl" },     { 80, "s" },
	{ 81, "f" },      { 82, "ss" },      { 83, "sn" },      { 84, "s" },      { 85, "sn" },
	{ 86, "ss" },     { 87, "s" },       { 88, "ss" },      { 89, "spl" },    { 90, "sn" },
	{ 91, "fn" },     { 92, "suu" },     { 93, "fuu" },     { 94, "suu" },    { 95, "n" },
	{ 96, "pp" },     { 97, "np" },      { 105, "u" },      { 106, "u" },     { 112, "" },
	{ 113, "uu" },    { 114, "uu" },     { 117, "uuu" },    { 118, "ppp" },   { 119, "uuu" },
	{ 120, "ppp" },   { 121, "P" },      { 122, "u" },      { 123, "u" },     { 124, "P" },
	{ 37, "n" },      { 201, "p" },      { 306, "f" },      { 141, "nnn" },   { 140, "nn" },
	{ 98, "np" },     { 99, "p" },       { 100, "p" },      { 103, "npl" },   { 109, "PP" },
	{ 115, "np" },    { 116, "np" },     { 127, "pn" },     { 128, "pppn" },  { 129, "PSp" },
	{ 130, "pn" },    { 131, "pp" },     { 132, "sp" },     { 133, "snr" },   { 137, "sp" },
	{ 138, "fp" },    { 149, "al" },     { 157, "nppn" },   { 158, "rr" },    { 160, "np" },
	{ 161, "s" },     { 165, "sssgp" },  { 166, "sn" },     { 170, "pl" },    { 188, "sspln" },
	{ 191, "sspl" },  { 203, "Plp" },    { 202, "pnnppn" }, { 204, "Plp" },   { 217, "fpl" },
	{ 218, "p" },     { 221, "fool" },   { 228, "np" },     { 229, "np" },    { 230, "nnpp" },
	{ 235, "sp" },    { 247, "nPpnp" },  { 257, "fsgn" },   { 258, "fsn" },   { 259, "fsnr" },
	{ 260, "fsuug" }, { 262, "fspg" },   { 263, "fsg" },    { 264, "fsfs" },  { 265, "fsfsg" },
	{ 266, "sfs" },   { 267, "fspl" },   { 268, "fsn" },    { 269, "fsn" },   { 273, "pn" },
	{ 274, "Ppp" },   { 270, "nppppp" }, { 271, "pnppl" },  { 280, "fspg" },  { 285, "fnoo" },
	{ 292, "fng" },   { 293, "pg" },     { 295, "fpno" },   { 296, "fpno" },  { 302, "Pnpp" },
	{ 309, "pp" },    { 316, "fsfsg" },  { 318, "plg" },    { 332, "fsggp" }, { 439, "fsng" },
};

static char *arena; // ARENA_BYTES of memory, then nothing
static char *read_only, *no_access, *file_map, *past_end;
static char *last_mapping; // what mmap returned
static const char *paths[] = { "a",
			       "b",
			       "c",
			       "d",
			       "a/x",
			       "a/y",
			       "d/../b",
			       "./c",
			       "l",
			       "",
			       ".",
			       "..",
			       "a/",
			       "b//",
			       "../",
			       "mnt",
			       "mnt/x",
			       "nosuch/x",
			       "/proc/self/maps",
			       "/proc/self/fd",
			       "/proc/self/status",
			       "/proc/self/exe",
			       "/proc/pagetable",
			       "/proc/meminfo",
			       "/proc/self/mem",
			       "/proc/self/fd/5",
			       "null",
			       "zero",
			       "full",
			       "random",
			       "/dev/tty",
			       "/proc/self",
			       "ramfs",
			       "proc",
			       "ptfs",
			       "devtmpfs",
			       "program",
			       "fifo",
			       "/proc/1/cwd",
			       "/proc/1/maps",
			       "/proc/self/task" };
static char *long_path;

static uint64_t pick_pointer(void)
{
	uint64_t bad[] = { 0,
			   1,
			   8,
			   0xfff,
			   0x1000,
			   0x7fffffffefff,
			   0x7ffffffff000,
			   0x7fffffffffff,
			   0x800000000000,
			   0xffff800000000000,
			   0xffff800000001000,
			   0xffffffff80000000,
			   0xffffffff80100000,
			   0xffffffffffffffff,
			   0xfffffffffffff000,
			   0x8000000000000000,
			   0xfe00000000000 };

	switch (rng_below(12)) {
	case 0: return bad[rng_below(sizeof(bad) / sizeof(bad[0]))];
	case 1: return (uint64_t)arena + ARENA_BYTES - rng_below(64);
	case 2: return (uint64_t)read_only + rng_below(64) * 8;
	case 3: return (uint64_t)no_access - rng_below(3) * 8;
	case 4: return (uint64_t)file_map + rng_below(8192);
	case 5: return (uint64_t)past_end + rng_below(3) * 4095;
	case 6: return rng_next();
	default: return (uint64_t)arena + rng_below(ARENA_BYTES / 8) * 8;
	}
}

static uint64_t pick_length(void)
{
	static const uint64_t odd[] = { 0,
					1,
					7,
					8,
					0x7fffffff,
					0x80000000,
					0xffffffff,
					0x100000000,
					0x7ffffffff000,
					0x7fffffffffffffff,
					0x8000000000000000,
					0xffffffffffffffff,
					0xfffffffffffff000,
					0xffffffffffffe000,
					0x7fffffffffffe000,
					0x7ffffffffffff000,
					0xffffffff00000000 };

	switch (rng_below(5)) {
	case 0: return odd[rng_below(sizeof(odd) / sizeof(odd[0]))];
	case 1: return rng_below(64) * 4096 + rng_below(3) - 1;
	case 2: return (uint64_t)rng_below(16) << rng_below(40);
	default: return rng_below(5000);
	}
}

static uint64_t pick_flags(void)
{
	static const int some[] = { O_RDWR,
				    O_RDWR | O_CREAT,
				    O_DIRECTORY,
				    O_APPEND | O_WRONLY,
				    O_TRUNC | O_RDWR,
				    O_NONBLOCK,
				    O_PATH,
				    O_EXCL | O_CREAT,
				    O_TMPFILE | O_RDWR,
				    O_NOFOLLOW,
				    MAP_PRIVATE,
				    MAP_SHARED,
				    MAP_PRIVATE | MAP_ANONYMOUS,
				    MAP_SHARED | MAP_ANONYMOUS,
				    MAP_SHARED | MAP_FIXED,
				    MAP_SHARED | MAP_DAXVM,
				    MAP_PRIVATE | MAP_DAXVM,
				    MAP_SHARED | MAP_DAXVM | MAP_POPULATE,
				    3,
				    7,
				    AT_EMPTY_PATH,
				    AT_SYMLINK_NOFOLLOW,
				    AT_REMOVEDIR };

	return rng_below(6) ? (uint64_t)some[rng_below(sizeof(some) / sizeof(some[0]))]
			    : 1ull << rng_below(64);
}

static uint64_t pick_mmap_flags(void)
{
	static const int some[] = { EPHEMERAL,
				    EPHEMERAL | MAP_DAXVM_BATCHING,
				    EPHEMERAL | MAP_DAXVM_BATCHING | MAP_DAXVM_NOSYNC,
				    MAP_SHARED_VALIDATE | MAP_DAXVM,
				    MAP_SHARED | MAP_DAXVM | MAP_FIXED,
				    MAP_PRIVATE | MAP_DAXVM | MAP_FIXED,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
				    MAP_SHARED | MAP_POPULATE,
				    MAP_SHARED | 0x100000 }; // MAP_FIXED_NOREPLACE

	return rng_below(3) ? (uint64_t)some[rng_below(sizeof(some) / sizeof(some[0]))]
			    : pick_flags();
}

// Where the heap ends, or somewhat or very far from there.
static uint64_t pick_break(void)
{
	uint64_t now = (uint64_t)syscall(SYS_brk, 0);

	switch (rng_below(4)) {
	case 0: return rng_next() >> rng_below(64);
	case 1: return now - (uint64_t)rng_below(64) * 4096;
	default: return now + (rng_next() >> (17 + rng_below(40)));
	}
}

static uint64_t pick_address(void)
{
	char *base[] = { arena, file_map, past_end, no_access, file_map + (4u << 20) };
	uint64_t at = (uint64_t)base[rng_below(5)] + (uint64_t)rng_below(8) * 4096;

	switch (rng_below(8)) {
	case 0: return pick_pointer();
	case 1: return at + rng_below(4096);
	case 2: return 0x200000000000 + ((uint64_t)rng_below(64) << 21);
	case 4: return (uint64_t)last_mapping + (uint64_t)rng_below(3) * 4096;
	case 3: return 0;
	default: return at;
	}
}

static uint64_t pick_clone_flags(void)
{
	const uint64_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
	const uint64_t words = CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;

	return (rng_next() & words) | (rng_below(2) ? thread : (rng_next() & thread) | SIGCHLD);
}

static uint64_t pick_ioctl(void)
{
	static const unsigned short some[] = { 0x5401, 0x5402, 0x5403, 0x5404, 0x5409, 0x540b,
					       0x540e, 0x540f, 0x5410, 0x5411, 0x5413, 0x5414,
					       0x541b, 0x5421, 0x5422, 0x5429, 0x5450, 0x5451 };

	return rng_below(4) ? some[rng_below(sizeof(some) / sizeof(some[0]))] : rng_next();
}

static uint64_t pick_fcntl(void)
{
	switch (rng_below(4)) {
	case 0: return 36 + rng_below(3); // locks of open files
	case 1: return 1030 + rng_below(3);
	default: return rng_below(11);
	}
}

// Mostly those that the children have, or no change.
static uint64_t pick_user(void)
{
	static const uint32_t some[] = { 0, 1000, 1000, 1001, ~0u, ~0u };

	return rng_below(16) ? some[rng_below(6)] : rng_next();
}

static uint64_t pick(char kind)
{
	switch (kind) {
	case 'f':
		return rng_below(8)
			       ? 3 + rng_below(15)
			       : (uint64_t)(int64_t[]){ -1,  AT_FDCWD, 0x7fffffff,
							999, -9999,    0x100000003 }[rng_below(6)];
	case 'p': return pick_pointer();
	case 'l': return pick_length();
	case 's':
		return rng_below(10)  ? (uint64_t)paths[rng_below(sizeof(paths) / sizeof(paths[0]))]
		       : rng_below(2) ? (uint64_t)long_path
				      : pick_pointer();
	case 'a': return pick_address();
	case 'n': return rng_below(5) ? rng_below(32) : pick_length();
	case 'g': return pick_flags();
	case 'm': return pick_mmap_flags();
	case 'b': return pick_break();
	case 'S': return rng_below(70);
	case 'i': return pick_ioctl();
	case 'F': return pick_fcntl();
	case 'u': return pick_user();
	case 'c': return pick_clone_flags();
	case 'P': return rng_below(3) ? 0 : 0x3ffffffu;
	case 'o': return rng_below(3) ? rng_below(1u << 24) : pick_length();
	default: return rng_next() >> rng_below(64);
	}
}

static const char *kinds_of(long nr)
{
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (hints[i].nr == nr)
			return hints[i].kinds;
	}
	return "";
}
