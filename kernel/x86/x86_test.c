// SPDX-License-Identifier: MIT
//
// Traps, the exception table, time and calls between CPUs.
#include "kernel/ktest.h"
#include "kernel/lib/crc32c.h"
#include "kernel/lib/string.h"
#include "kernel/sched/thread.h"
#include "kernel/symbols.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/image.h"
#include "kernel/x86/msr.h"
#include "kernel/x86/smp.h"
#include "kernel/x86/time.h"
#include "kernel/x86/trap.h"

KTEST(extable_catches_fault)
{
	u64 v, word = 0x1122334455667788ull;

	EXPECT(asm_read_word((u64)&word, &v));
	EXPECT_EQ(v, word);
	EXPECT(!asm_read_word(IOMAP_BASE - PAGE_SIZE, &v)); // the end of the address space for PMem
	EXPECT(!asm_read_word(BIT(63), &v));                // not canonical: general protection
}

static unsigned breakpoints;

static void count_breakpoint(struct trapframe *tf __unused)
{
	breakpoints++;
}

// Every register survives a trap: the compiler's own, which it keeps over the loop, show it.
KTEST(trap_keeps_registers)
{
	u64 sum = 0;

	breakpoints = 0;
	trap_set_handler(3, count_breakpoint);
	for (u64 i = 0; i < 100; i++) {
		asm_int3();
		sum += i;
	}
	trap_set_handler(3, NULL);
	EXPECT_EQ(sum, 4950);
	EXPECT_EQ(breakpoints, 100);
}

KTEST(control_registers)
{
	EXPECT_EQ(cpu_features.smap, !!(asm_read_cr4() & CR4_SMAP));
	EXPECT_EQ(cpu_features.smep, !!(asm_read_cr4() & CR4_SMEP));
	EXPECT(asm_read_cr0() & CR0_WP);
	EXPECT_EQ(cpu_features.xsave, !!(asm_read_cr4() & CR4_OSXSAVE));
}

KTEST(time_advances)
{
	u64 start = time_now_ns(), wall = time_wall_ns();

	udelay(1000);
	EXPECT(time_now_ns() - start >= 990000);
	EXPECT(time_wall_ns() - wall >= 990000);
	EXPECT(wall > 1577836800ull * 1000000000); // 2020
}

KTEST(symbols_name_functions)
{
	u64 offset = 1;
	const char *name = symbol_find((u64)smp_call, &offset);

	EXPECT(name && strcmp(name, "smp_call") == 0);
	EXPECT_EQ(offset, 0);
	EXPECT(!symbol_find((u64)data_start, &offset));
}

static u64 called; // bit per CPU

static void note_call(void *arg)
{
	if (EXPECT(!(asm_rflags() & RFLAGS_IF)))
		__atomic_fetch_or((u64 *)arg, BIT(this_cpu()->index), __ATOMIC_RELAXED);
}

KTEST(smp_call_reaches_all_others)
{
	for (unsigned round = 0; round < 100; round++) {
		u64 me;

		called = 0;
		preempt_disable();
		me = BIT(this_cpu()->index);
		smp_call(cpumask_all(), note_call, &called);
		preempt_enable();
		EXPECT_EQ(called, cpumask_all().bits & ~me);
	}
}

// The instruction and the table agree on every length and alignment; and both on RFC 3720's values.
KTEST(crc32c_ways_agree)
{
	static const u8 zeros[32];
	u8 bytes[80];

	EXPECT_EQ(crc32c(0, "123456789", 9), 0xe3069283u);
	EXPECT_EQ(crc32c(0, zeros, sizeof(zeros)), 0x8a9136aau);
	if (!cpu_features.sse42)
		return;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(i * 89 + 7);
	for (unsigned at = 0; at < 8; at++)
		for (unsigned len = 0; len <= sizeof(bytes) - at; len++)
			EXPECT_EQ(crc32c_by_instruction(len, bytes + at, len),
				  crc32c_by_table(len, bytes + at, len));
}
