// SPDX-License-Identifier: MIT
//
// ELF headers: a good file, then every field of it made hostile in turn, then random damage. What
// is accepted must keep the promises of kernel/proc/elf.h; nothing may read outside the buffers,
// which are malloc'ed to size for the address sanitizer.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/lib/errno.h"
#include "kernel/proc/elf.h"

#define USER_BASE 0x10000ull
#define USER_END  0x7ffffffff000ull
#define PHNUM     3
#define FILE_LEN  0x5000ull

enum {
	H_CLASS = 4,
	H_TYPE = 16,
	H_MACHINE = 18,
	H_ENTRY = 24,
	H_PHOFF = 32,
	H_PHENTSIZE = 54,
	H_PHNUM = 56
};
enum { P_TYPE = 0, P_FLAGS = 4, P_OFFSET = 8, P_VADDR = 16, P_FILESZ = 32, P_MEMSZ = 40 };

static u8 file[ELF_HEADER_BYTES + PHNUM * ELF_PHENT_BYTES];

static void put(size_t at, u64 v, size_t bytes)
{
	memcpy(file + at, &v, bytes);
}

static void put_ph(unsigned i, size_t field, u64 v)
{
	put(ELF_HEADER_BYTES + i * ELF_PHENT_BYTES + field, v, field < P_OFFSET ? 4 : 8);
}

static void put_load(unsigned i, u64 off, u64 vaddr, u64 filesz, u64 memsz, u32 flags)
{
	put_ph(i, P_TYPE, 1);
	put_ph(i, P_FLAGS, flags);
	put_ph(i, P_OFFSET, off);
	put_ph(i, P_VADDR, vaddr);
	put_ph(i, P_FILESZ, filesz);
	put_ph(i, P_MEMSZ, memsz);
}

// Text, data with bss, and a stack that need not be executable.
static int make_good(void **state)
{
	(void)state;
	memset(file, 0, sizeof(file));
	memcpy(file, "\177ELF\2\1\1", 7);
	put(H_TYPE, 2, 2);
	put(H_MACHINE, 62, 2);
	put(H_ENTRY, 0x401000, 8);
	put(H_PHOFF, ELF_HEADER_BYTES, 8);
	put(H_PHENTSIZE, ELF_PHENT_BYTES, 2);
	put(H_PHNUM, PHNUM, 2);
	put_load(0, 0, 0x400000, 0x2000, 0x2000, ELF_PF_R | ELF_PF_X);
	put_load(1, 0x2ff0, 0x403ff0, 0x1000, 0x9000, ELF_PF_R | ELF_PF_W);
	put_ph(2, P_TYPE, 0x6474e551);
	put_ph(2, P_FLAGS, ELF_PF_R | ELF_PF_W);
	return 0;
}

// As execve does it, from memory of exactly the needed size.
static int check(struct elf_info *info)
{
	u8 *header = malloc(ELF_HEADER_BYTES), *phdrs;
	int err;

	memcpy(header, file, ELF_HEADER_BYTES);
	err = elf_check_header(header, FILE_LEN, info);
	free(header);
	if (err)
		return err;
	phdrs = calloc(info->phnum, ELF_PHENT_BYTES);
	if (info->phdr_off < sizeof(file)) {
		size_t have = sizeof(file) - info->phdr_off;
		size_t want = (size_t)info->phnum * ELF_PHENT_BYTES;

		memcpy(phdrs, file + info->phdr_off, have < want ? have : want);
	}
	err = elf_check_segments(phdrs, FILE_LEN, USER_BASE, USER_END, info);
	free(phdrs);
	return err;
}

static void expect_refused(void)
{
	struct elf_info info;

	assert_int_equal(check(&info), -ENOEXEC);
}

static void test_good(void **state)
{
	struct elf_info info;

	(void)state;
	assert_int_equal(check(&info), 0);
	assert_false(info.dynamic);
	assert_false(info.exec_stack);
	assert_int_equal(info.entry, 0x401000);
	assert_int_equal(info.nr_segments, 2);
	assert_int_equal(info.low, 0x400000);
	assert_int_equal(info.high, 0x40d000);
	assert_int_equal(info.phdr_vaddr, 0x400000 + ELF_HEADER_BYTES);
	assert_int_equal(info.segment[1].memory_bytes, 0x9000);
}

static void test_header_fields(void **state)
{
	static const struct {
		size_t at;
		u64 v;
		size_t bytes;
	} bad[] = {
		{ 0, 0, 1 },         // magic
		{ H_CLASS, 1, 1 },   // 32 bits
		{ 5, 2, 1 },         // big-endian
		{ 6, 0, 1 },         // version
		{ H_TYPE, 1, 2 },    // relocatable
		{ H_TYPE, 4, 2 },    // core
		{ H_MACHINE, 3, 2 }, // i386
		{ H_PHENTSIZE, 32, 2 },
		{ H_PHENTSIZE, 0, 2 },
		{ H_PHNUM, 0, 2 },
		{ H_PHNUM, 0xffff, 2 },
		{ H_PHNUM, ELF_PHNUM_MAX + 1, 2 },
		{ H_PHOFF, FILE_LEN, 8 },
		{ H_PHOFF, ~0ull, 8 },
		{ H_PHOFF, 0ull - ELF_PHENT_BYTES, 8 }, // sum overflows
		{ H_ENTRY, 0, 8 },                      // in no segment
		{ H_ENTRY, 0x402000, 8 },               // right behind one
		{ H_ENTRY, 0xffffffff80200000, 8 },     // the kernel's
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make_good(state);
		put(bad[i].at, bad[i].v, bad[i].bytes);
		expect_refused();
	}
}

static void test_segment_fields(void **state)
{
	static const struct {
		unsigned ph;
		size_t field;
		u64 v;
	} bad[] = {
		{ 0, P_VADDR, 0 }, // page 0
		{ 0, P_VADDR, USER_BASE - 0x1000 },
		{ 0, P_VADDR, 0xffffffff80200000 }, // the kernel
		{ 0, P_VADDR, 0xfffffffffffff000 }, // end overflows
		{ 0, P_VADDR, USER_END - 0x1000 },  // ends beyond user space
		{ 0, P_VADDR, 0x400008 },           // not congruent to its offset
		{ 0, P_OFFSET, FILE_LEN },
		{ 0, P_OFFSET, 0xfffffffffffff000 },
		{ 0, P_FILESZ, FILE_LEN + 1 },
		{ 0, P_FILESZ, ~0ull },
		{ 0, P_MEMSZ, 0x1000 }, // less than the file has
		{ 0, P_MEMSZ, ~0ull },
		{ 1, P_VADDR, 0x401ff0 }, // overlaps the one before
		{ 1, P_VADDR, 0x300ff0 }, // lies before it
		{ 1, P_MEMSZ, USER_END },
		{ 2, P_TYPE, 3 }, // an interpreter without a name
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make_good(state);
		put_ph(bad[i].ph, bad[i].field, bad[i].v);
		expect_refused();
	}
}

static void test_position_independent(void **state)
{
	struct elf_info info;

	(void)state;
	put(H_TYPE, 3, 2);
	put(H_ENTRY, 0x1000, 8);
	put_ph(0, P_VADDR, 0);
	put_ph(1, P_VADDR, 0x3ff0);
	assert_int_equal(check(&info), 0);
	assert_true(info.dynamic);
	assert_int_equal(info.low, 0);
	// A span that leaves no room for anything else is refused.
	put_ph(1, P_MEMSZ, USER_END / 2);
	expect_refused();
}

static void test_interpreter(void **state)
{
	struct elf_info info;

	(void)state;
	put_load(2, 0x100, 0, 10, 10, ELF_PF_R);
	put_ph(2, P_TYPE, 3);
	assert_int_equal(check(&info), 0);
	assert_int_equal(info.interp_off, 0x100);
	assert_int_equal(info.interp_bytes, 10);
	put_ph(2, P_OFFSET, FILE_LEN - 9);
	expect_refused();
	put_ph(2, P_OFFSET, 0x100);
	put_ph(2, P_FILESZ, 5000);
	expect_refused();
}

// What elf.h promises of everything that is accepted.
static void verify(const struct elf_info *info)
{
	u64 before = info->low;

	assert_true(info->nr_segments >= 1 && info->nr_segments <= ELF_SEGMENTS_MAX);
	for (unsigned i = 0; i < info->nr_segments; i++) {
		const struct elf_segment *s = &info->segment[i];

		assert_true(s->file_bytes <= s->memory_bytes && s->memory_bytes > 0);
		assert_true(s->file_off <= FILE_LEN && s->file_bytes <= FILE_LEN - s->file_off);
		assert_int_equal(s->vaddr % PAGE_SIZE, s->file_off % PAGE_SIZE);
		assert_true(s->vaddr >= before);
		assert_true(s->vaddr <= USER_END && s->memory_bytes <= USER_END - s->vaddr);
		before = ALIGN_UP(s->vaddr + s->memory_bytes, PAGE_SIZE);
	}
	assert_int_equal(before, info->high);
	assert_true(info->dynamic || info->low >= USER_BASE);
	assert_true(info->entry >= info->low && info->entry < info->high);
	assert_true(info->interp_off + info->interp_bytes <= FILE_LEN);
}

static void test_random_damage(void **state)
{
	static const u64 values[] = { 0,        1,     0xff,       0x1000,   0x400000,
				      USER_END, ~0ull, 1ull << 63, FILE_LEN, 0xfffffffffffff000 };
	struct elf_info info;
	unsigned accepted = 0;

	srand(1);
	for (int round = 0; round < 200000; round++) {
		make_good(state);
		for (int n = rand() % 4; n >= 0; n--) {
			size_t at = (size_t)rand() % (sizeof(file) - 8);

			if (rand() % 2)
				file[at] = (u8)rand();
			else
				put(at, values[rand() % 10], 8);
		}
		if (check(&info) == 0) {
			verify(&info);
			accepted++;
		}
	}
	assert_true(accepted > 1000); // else the damage is too coarse to test anything
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_good, make_good),
		cmocka_unit_test_setup(test_header_fields, make_good),
		cmocka_unit_test_setup(test_segment_fields, make_good),
		cmocka_unit_test_setup(test_position_independent, make_good),
		cmocka_unit_test_setup(test_interpreter, make_good),
		cmocka_unit_test_setup(test_random_damage, make_good),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
