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
	const u8 *p = data;

	crc = ~crc;
	for (; len >= 8; p += 8, len -= 8)
		crc = asm_crc32_u64(crc, load64(p));
	for (; len; p++, len--)
		crc = asm_crc32_u8(crc, *p);
	return ~crc;
}
