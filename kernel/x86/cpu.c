// SPDX-License-Identifier: MIT
//
// What: the per-CPU blocks, what CPUID says, and the control registers of each CPU.
//
// Not here: segments (gdt.c), interrupt tables (trap.c), starting CPUs (smp.c).
//
// Invariant: a feature is used only if CPUID announces it. Trying proves nothing: emulators accept
// instructions and CR4 bits that then do not work.
#include "kernel/x86/cpu.h"

#include "kernel/console.h"
#include "kernel/lib/crc32c.h"
#include "kernel/lib/string.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/fpu.h"
#include "kernel/x86/gdt.h"
#include "kernel/x86/mce.h"
#include "kernel/x86/msr.h"
#include "kernel/x86/trap_internal.h"

struct cpu cpus[CPU_MAX];
struct cpu_features cpu_features __read_mostly;

static u8 boot_ist_area[IST_AREA_BYTES] __attribute__((aligned(16)));

void cpu_init_gs(struct cpu *c)
{
	c->self = c;
	c->index = (u32)(c - cpus);
	asm_wrmsr(MSR_GS_BASE, (u64)c);
	asm_wrmsr(MSR_KERNEL_GS_BASE, 0); // the user's
}

// Registers of CPUID hold text, four characters each.
static void append_text(char *dst, const u32 *regs, unsigned n)
{
	memcpy(dst, regs, n * sizeof(*regs));
	dst[n * sizeof(*regs)] = '\0';
}

static void read_names(struct cpu_features *f, u32 max_extended)
{
	struct cpuid r = asm_cpuid(0, 0);
	char *at = f->brand;

	append_text(f->vendor, (const u32[]){ r.ebx, r.edx, r.ecx }, 3);
	if (max_extended < 0x80000004)
		return;
	for (u32 leaf = 0x80000002; leaf <= 0x80000004; leaf++, at += 16) {
		r = asm_cpuid(leaf, 0);
		append_text(at, (const u32[]){ r.eax, r.ebx, r.ecx, r.edx }, 4);
	}
}

// Leaves and bits: SDM 2A, CPUID.
static void read_features(struct cpu_features *f)
{
	u32 max_basic = asm_cpuid(0, 0).eax, max_extended = asm_cpuid(0x80000000, 0).eax;
	struct cpuid r1 = asm_cpuid(1, 0), r7 = {}, x1 = asm_cpuid(0x80000001, 0), x7 = {}, x8 = {};

	if (max_basic >= 7)
		r7 = asm_cpuid(7, 0);
	if (max_extended >= 0x80000007)
		x7 = asm_cpuid(0x80000007, 0);
	if (max_extended >= 0x80000008)
		x8 = asm_cpuid(0x80000008, 0);
	f->mce = r1.edx & BIT(7);
	f->pge = r1.edx & BIT(13);
	f->mca = f->mce && (r1.edx & BIT(14));
	f->clflush = r1.edx & BIT(19);
	f->pcid = r1.ecx & BIT(17);
	f->sse42 = r1.ecx & BIT(20);
	f->x2apic = r1.ecx & BIT(21);
	f->tsc_deadline = r1.ecx & BIT(24);
	f->hypervisor = r1.ecx & BIT(31);
	f->xsave = fpu_has_xsave();
	f->fsgsbase = r7.ebx & BIT(0);
	f->avx2 = f->xsave && (r7.ebx & BIT(5));
	f->smep = r7.ebx & BIT(7);
	f->smap = r7.ebx & BIT(20);
	f->clflushopt = r7.ebx & BIT(23);
	f->clwb = r7.ebx & BIT(24);
	f->umip = r7.ecx & BIT(2);
	f->la57 = r7.ecx & BIT(16);
	f->nx = x1.edx & BIT(20);
	f->gib_pages = x1.edx & BIT(26);
	f->rdtscp = x1.edx & BIT(27);
	f->invariant_tsc = x7.edx & BIT(8);
	f->phys_bits = x8.eax ? x8.eax & 0xff : 36;
	f->virt_bits = x8.eax ? x8.eax >> 8 & 0xff : 48;
	read_names(f, max_extended);
}

static void log_features(const struct cpu_features *f)
{
	log_info("cpu: %s, %s", f->vendor, f->brand[0] ? f->brand : "no name");
	log_info("cpu:%s%s%s%s%s%s%s%s%s", f->nx ? " nx" : "", f->smep ? " smep" : "",
		 f->smap ? " smap" : "", f->umip ? " umip" : "", f->gib_pages ? " 1g-pages" : "",
		 f->clwb ? " clwb" : "", f->clflushopt ? " clflushopt" : "",
		 f->x2apic ? " x2apic" : "", f->invariant_tsc ? " invariant-tsc" : "");
	if (!f->nx || !f->smep || !f->smap)
		log_warn("cpu: without%s%s%s: less protection of the kernel", f->nx ? "" : " nx",
			 f->smep ? "" : " smep", f->smap ? "" : " smap");
}

// CR4 is written as a whole: what the firmware may have left (PCIDE, FSGSBASE) goes. OSXSAVE tells
// programs that AVX registers are kept for them; without, they keep to SSE2.
static void set_control_registers(const struct cpu_features *f)
{
	u64 cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;

	if (f->nx)
		asm_wrmsr(MSR_EFER, asm_rdmsr(MSR_EFER) | EFER_NXE);
	asm_wrmsr(MSR_EFER, asm_rdmsr(MSR_EFER) | EFER_SCE);
	cr4 |= f->mce ? CR4_MCE : 0;
	cr4 |= f->pge ? CR4_PGE : 0;
	cr4 |= f->umip ? CR4_UMIP : 0;
	cr4 |= f->xsave ? CR4_OSXSAVE : 0;
	cr4 |= f->smep ? CR4_SMEP : 0;
	cr4 |= f->smap ? CR4_SMAP : 0;
	mce_init_cpu(); // before a machine check can come
	asm_write_cr4(cr4);
	asm_write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	fpu_init_cpu();
}

void cpu_init_ap(struct cpu *c, void *ist_area)
{
	gdt_init_cpu(c, ist_area);
	trap_load_idt();
	set_control_registers(&cpu_features);
	trap_init_syscall();
}

void cpu_init(void)
{
	read_features(&cpu_features);
	if (cpu_features.sse42)
		crc32c_use(crc32c_by_instruction);
	trap_init();
	cpu_init_ap(&cpus[0], boot_ist_area);
	log_features(&cpu_features);
}
