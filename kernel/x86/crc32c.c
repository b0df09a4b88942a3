// SPDX-License-Identifier: MIT
//
// What: CRC-32C by the CPU's own instruction (SDM 2A, CRC32), which works on general registers.
// Not here: the choice (cpu.c), the way for CPUs without it (kernel/lib/crc32c.c).
#include "kernel/lib/crc32c.h"

#include "kernel/lib/string.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"

static u64 four_words(u64 c, const u8 *p)
{
	c = asm_crc32_u64(c, p);
	c = asm_crc32_u64(c, p + 8);
	c = asm_crc32_u64(c, p + 16);
	return asm_crc32_u64(c, p + 24);
}

u32 crc32c_by_instruction(u32 crc, const void *data, size_t len)
{
	const u8 *p = data;
	u64 c = (u32)~crc;

	for (; len >= 64; p += 32, len -= 32)
		c = four_words(c, p);
	// What is left, by the bits of its length: no loop for the 24 or 56 bytes of a record.
	if (len & 32) {
		c = four_words(c, p);
		p += 32;
	}
	if (len & 16) {
		c = asm_crc32_u64(c, p);
		c = asm_crc32_u64(c, p + 8);
		p += 16;
	}
	if (len & 8) {
		c = asm_crc32_u64(c, p);
		p += 8;
	}
	for (len &= 7; len; p++, len--)
		c = asm_crc32_u8((u32)c, *p);
	return ~(u32)c;
}
