// SPDX-License-Identifier: MIT
//
// What: GDT and TSS. In 64-bit mode segments say only privilege and code size; the TSS says which
// stack a trap begins on.
//
// Invariant: TSS.RSP0 and gs:kernel_rsp are equal: the stack for entries from user mode by a trap
// and by SYSCALL is the same, and a user frame is always at its very top.
#include "kernel/x86/gdt.h"

#include "kernel/x86/asm.h"

#define GDT_ENTRIES 10

struct __attribute__((packed)) tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7]; // ist[0] is IST 1
	u64 reserved2;
	u16 reserved3;
	u16 io_map; // beyond the limit: no port is open to user mode
};
_Static_assert(sizeof(struct tss) == 104, "SDM 3A, figure 8-11");

static struct arch_cpu {
	u64 gdt[GDT_ENTRIES];
	struct tss tss;
} __cacheline arch_cpu[CPU_MAX];

// Present, accessed (so that loading them writes nothing).
#define DESC_KERNEL_CODE 0x00af9b000000ffffull
#define DESC_KERNEL_DATA 0x00cf93000000ffffull
#define DESC_USER_DATA   0x00cff3000000ffffull
#define DESC_USER_CODE   0x00affb000000ffffull
#define DESC_TSS         0x0000890000000000ull

static void fill_gdt(struct arch_cpu *a)
{
	u64 base = (u64)&a->tss, limit = sizeof(a->tss) - 1;

	a->gdt[SEG_KERNEL_CODE / 8] = DESC_KERNEL_CODE;
	a->gdt[SEG_KERNEL_DATA / 8] = DESC_KERNEL_DATA;
	a->gdt[SEG_USER_DATA / 8] = DESC_USER_DATA;
	a->gdt[SEG_USER_CODE / 8] = DESC_USER_CODE;
	a->gdt[SEG_TSS / 8] =
		DESC_TSS | limit | (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
	a->gdt[SEG_TSS / 8 + 1] = base >> 32;
}

void gdt_init_cpu(struct cpu *c, void *ist_area)
{
	struct arch_cpu *a = &arch_cpu[c->index];
	u64 each = IST_AREA_BYTES / (IST_COUNT - 1) & ~15ull;

	c->arch = a;
	fill_gdt(a);
	a->tss.io_map = sizeof(a->tss);
	for (unsigned i = 1; i < IST_COUNT; i++)
		a->tss.ist[i - 1] = (u64)ist_area + i * each;
	asm_load_gdt(a->gdt, sizeof(a->gdt), SEG_KERNEL_CODE, SEG_TSS);
	cpu_init_gs(c);
}

void cpu_set_kernel_stack(u64 top)
{
	struct cpu *c = this_cpu();
	struct arch_cpu *a = c->arch;

	c->kernel_rsp = top;
	a->tss.rsp[0] = top;
}
