// SPDX-License-Identifier: MIT
//
// What: the ways in which dax64 changes persistent memory by more than a word (words: pmem.h), and
// the choice of the instruction that writes a cache line back.
// Not here: which memory is persistent (region.c), what is written when (fs/ptfs).
//
// Invariants
//   I1  Stores go through the alias at PMEM_ALIAS_BASE, which maps writable regions and nothing
//       else. A destination outside them is a page fault at a kernel address: a panic, never a
//       store to RAM or to a DIMM that is not armed. So no function here looks up a region.
//   I2  An aligned 8-byte word changes by one instruction, also where only some of its bytes are
//       written: after a crash it is old or new, and a program's store to its other bytes through a
//       mapping is not lost.
// Persistence: a store is durable when its line was written back and a fence followed. Non-temporal
// stores bypass the caches and need the fence only.
#include "drivers/nvdimm/pmem.h"

#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "kernel/x86/cpu.h"
#include "mm/uaccess.h"
#include "media_load.h"

#define LINE PMEM_LINE

enum pmem_write_back pmem_write_back __read_mostly = PMEM_WRITE_BACK_CLFLUSH;

void pmem_flush_lines(phys_t start, u64 len)
{
	const u8 *line = phys_to_virt(PHYS(ALIGN_DOWN(start.pa, LINE)));
	const u8 *end = phys_to_virt(PHYS(start.pa + len));

	switch (pmem_write_back) {
	case PMEM_WRITE_BACK_NONE: asm_barrier(); break;
	case PMEM_WRITE_BACK_CLWB: // the usual one: syncs call it for whole chunks
		for (; line + 4 * LINE <= end; line += 4 * LINE) {
			asm_clwb(line);
			asm_clwb(line + LINE);
			asm_clwb(line + 2 * LINE);
			asm_clwb(line + 3 * LINE);
		}
		for (; line < end; line += LINE)
			asm_clwb(line);
		break;
	case PMEM_WRITE_BACK_CLFLUSHOPT:
		for (; line < end; line += LINE)
			asm_clflushopt(line);
		break;
	case PMEM_WRITE_BACK_CLFLUSH:
		for (; line < end; line += LINE)
			asm_clflush(line);
		break;
	}
}

// Replaces `n` bytes from dst on, which all lie in one aligned word (I2). If that word has failed
// its other bytes are lost already.
static void store_part(phys_t dst, const u8 *src, size_t n)
{
	phys_t word = PHYS(ALIGN_DOWN(dst.pa, 8));
	size_t at = dst.pa - word.pa;
	u64 found = media_load64(phys_to_virt(word)), old, new;

	do {
		old = new = found;
		memcpy((u8 *)&new + at, src, n);
		found = pmem_cas8(word, old, new);
	} while (found != old);
	pmem_flush(word, 8);
}

// Bytes from dst to the next 8-byte boundary, at most len.
static size_t head_bytes(phys_t dst, size_t len)
{
	return min((size_t)(-dst.pa & 7), len);
}

void pmem_memcpy_nt(phys_t dst, const void *src, size_t len)
{
	size_t head = head_bytes(dst, len);
	const u8 *s = src;
	u8 *d;

	if (head) {
		store_part(dst, s, head);
		dst.pa += head;
		s += head;
		len -= head;
	}
	d = pmem_alias(dst);
	for (; len >= LINE; d += LINE, s += LINE, len -= LINE)
		asm_movnti_line(d, s);
	for (; len >= 8; d += 8, s += 8, len -= 8)
		asm_movnti(d, load64(s));
	if (len)
		store_part(PHYS((u64)d - PMEM_ALIAS_BASE), s, len);
}

void pmem_memset_nt(phys_t dst, u8 byte, size_t len)
{
	u64 word = byte * 0x0101010101010101ull;
	size_t head = head_bytes(dst, len);
	u8 *d;

	if (head) {
		store_part(dst, (const u8 *)&word, head);
		dst.pa += head;
		len -= head;
	}
	d = pmem_alias(dst);
	for (; len >= LINE; d += LINE, len -= LINE)
		asm_movnti_fill(d, word);
	for (; len >= 8; d += 8, len -= 8)
		asm_movnti(d, word);
	if (len)
		store_part(PHYS((u64)d - PMEM_ALIAS_BASE), (const u8 *)&word, len);
}

// At most one word from user memory. Bytes done.
static size_t user_part(phys_t dst, uva_t src, size_t n)
{
	u8 bytes[8];
	size_t got = n - copy_from_user_partial(bytes, src, n);

	if (got)
		store_part(dst, bytes, got);
	return got;
}

// Three steps: to a word boundary, whole words, the rest. If the words stop at a missing page, the
// last step takes the bytes that are still there, so that the caller faults in the page that is
// not.
size_t pmem_copy_from_user_nt(phys_t dst, uva_t src, size_t len)
{
	size_t head = head_bytes(dst, len), done = 0, words;

	uaccess_faults_off();
	if (head)
		done = user_part(dst, src, head);
	if (likely(done == head)) {
		words = ALIGN_DOWN(len - head, 8);
		done += words - copy_from_user_nt(pmem_alias(PHYS(dst.pa + head)),
						  UVA(src.va + head), words);
		if (done < len)
			done += user_part(PHYS(dst.pa + done), UVA(src.va + done),
					  min(len - done, 8ul));
	}
	uaccess_faults_on();
	return len - done;
}

void pmem_ops_init(bool caches_persistent)
{
	static const char *const name[] = {
		[PMEM_WRITE_BACK_NONE] = "none: CPU caches are persistent",
		[PMEM_WRITE_BACK_CLWB] = "CLWB",
		[PMEM_WRITE_BACK_CLFLUSHOPT] = "CLFLUSHOPT",
		[PMEM_WRITE_BACK_CLFLUSH] = "CLFLUSH",
	};

	if (caches_persistent)
		pmem_write_back = PMEM_WRITE_BACK_NONE;
	else if (cpu_features.clwb)
		pmem_write_back = PMEM_WRITE_BACK_CLWB;
	else if (cpu_features.clflushopt)
		pmem_write_back = PMEM_WRITE_BACK_CLFLUSHOPT;
	else
		pmem_write_back =
			PMEM_WRITE_BACK_CLFLUSH; // in every CPU that has SSE2 (SDM 1, 11.4.4.1)
	log_info("pmem: write-back by %s", name[pmem_write_back]);
}
