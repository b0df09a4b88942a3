// SPDX-License-Identifier: MIT
//
// What: CRC-32C by the CPU's own instruction (SDM 2A, CRC32), which works on general registers.
// Not here: the choice (cpu.c), the way for CPUs without it (kernel/lib/crc32c.c).
#include "kernel/lib/crc32c.h"

#include "kernel/lib/string.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"

u32 crc32c_by_instruction(u32 crc, const void *data, size_t len)
{
	const u8 *p = data, *end = p + len;
	u64 c = (u32)~crc;

	for (; end - p >= 32; p += 32) {
		c = asm_crc32_u64(c, p);
		c = asm_crc32_u64(c, p + 8);
		c = asm_crc32_u64(c, p + 16);
		c = asm_crc32_u64(c, p + 24);
	}
	for (; end - p >= 8; p += 8)
		c = asm_crc32_u64(c, p);
	for (; p < end; p++)
		c = asm_crc32_u8((u32)c, *p);
	return ~(u32)c;
}
