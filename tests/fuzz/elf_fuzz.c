// SPDX-License-Identifier: MIT
//
// libFuzzer entry for the judgement of ELF files: the input is the file. What is accepted must keep
// the promises of kernel/proc/elf.h.

#include <stdlib.h>
#include <string.h>

#include "kernel/proc/elf.h"

#define USER_BASE 0x10000ull
#define USER_END  0x7ffffffff000ull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool truth)
{
	if (!truth)
		abort();
}

static void verify(const struct elf_info *info, u64 file_bytes)
{
	u64 before = info->low;

	for (unsigned i = 0; i < info->nr_segments; i++) {
		const struct elf_segment *s = &info->segment[i];

		demand(s->file_bytes <= s->memory_bytes && s->memory_bytes > 0);
		demand(s->file_off <= file_bytes && s->file_bytes <= file_bytes - s->file_off);
		demand(s->vaddr % PAGE_SIZE == s->file_off % PAGE_SIZE && s->vaddr >= before);
		demand(s->vaddr <= USER_END && s->memory_bytes <= USER_END - s->vaddr);
		before = ALIGN_UP(s->vaddr + s->memory_bytes, PAGE_SIZE);
	}
	demand(info->dynamic || info->low >= USER_BASE);
	demand(info->entry >= info->low && info->entry < info->high);
	demand(info->interp_off + info->interp_bytes <= file_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct elf_info info;
	uint8_t *phdrs;

	if (size < ELF_HEADER_BYTES || elf_check_header(data, size, &info))
		return 0;
	// Memory of exactly the promised size, for the address sanitizer.
	phdrs = malloc((size_t)info.phnum * ELF_PHENT_BYTES);
	memcpy(phdrs, data + info.phdr_off, (size_t)info.phnum * ELF_PHENT_BYTES);
	if (elf_check_segments(phdrs, size, USER_BASE, USER_END, &info) == 0)
		verify(&info, size);
	free(phdrs);
	return 0;
}
