// SPDX-License-Identifier: MIT
//
// What: the local APIC (SDM 3A, chapter 10): in x2APIC mode by MSRs where CPUID has it, else by
// memory-mapped registers; inter-processor interrupts and the periodic tick.
//
// Not here: which CPUs there are (drivers/acpi/madt.c), device interrupts (ioapic.c).
//
// Invariants: `x2apic`, `regs` and `ticks_per_period` are constant after the boot CPU's init.
#include "kernel/console.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/irq.h"
#include "kernel/x86/msr.h"
#include "kernel/x86/time.h"
#include "kernel/x86/trap_internal.h"

// Register numbers: byte offset in the window / 16, which is also the MSR's number - 800h.
enum lapic_register {
	LAPIC_ID = 0x02,
	LAPIC_TPR = 0x08,
	LAPIC_EOI = 0x0b,
	LAPIC_SPURIOUS = 0x0f,
	LAPIC_ESR = 0x28,
	LAPIC_ICR = 0x30, // 64 bits with x2APIC; else 0x31 is the upper half
	LAPIC_ICR_HIGH = 0x31,
	LAPIC_LVT_TIMER = 0x32,
	LAPIC_LVT_LINT0 = 0x35,
	LAPIC_LVT_LINT1 = 0x36,
	LAPIC_LVT_ERROR = 0x37,
	LAPIC_TIMER_INITIAL = 0x38,
	LAPIC_TIMER_CURRENT = 0x39,
	LAPIC_TIMER_DIVIDE = 0x3e,
};

#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)
#define SPURIOUS_ENABLE  0x100u
#define LVT_MASKED       0x10000u
#define LVT_NMI          0x400u
#define LVT_PERIODIC     0x20000u
#define TIMER_DIVIDE_16  0x3u
#define ICR_PENDING      0x1000u
#define ICR_NMI          0x4400u
#define ICR_INIT         0xc500u // assert, level
#define ICR_STARTUP      0x4600u
#define ICR_FIXED        0x4000u
#define CALIBRATE_US     2000

static volatile u32 *regs;
static bool x2apic __read_mostly;
static u32 ticks_per_period; // of the timer, for one TICK_HZ period; 0 until calibrated
static void (*tick)(void) __read_mostly;

static u32 lapic_read(enum lapic_register r)
{
	return x2apic ? (u32)asm_rdmsr(MSR_X2APIC + r) : regs[r * 4];
}

static void lapic_write(enum lapic_register r, u32 v)
{
	if (x2apic)
		asm_wrmsr(MSR_X2APIC + r, v);
	else
		regs[r * 4] = v;
}

bool lapic_ready(void)
{
	return x2apic || regs;
}

u32 lapic_id(void)
{
	return x2apic ? lapic_read(LAPIC_ID) : lapic_read(LAPIC_ID) >> 24;
}

void irq_end(u8 vector)
{
	if (vector != VECTOR_SPURIOUS)
		lapic_write(LAPIC_EOI, 0);
}

// Interrupts off: a handler's own IPI between the two halves would send ours astray.
static void send(u32 apic_id, u32 command)
{
	u64 flags = asm_irq_save();

	if (x2apic) {
		asm_mfence(); // the MSR write does not order earlier stores (SDM 3A, 10.12.3)
		asm_wrmsr(MSR_X2APIC + LAPIC_ICR, (u64)apic_id << 32 | command);
	} else {
		while (lapic_read(LAPIC_ICR) & ICR_PENDING)
			asm_pause();
		lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
		lapic_write(LAPIC_ICR, command);
	}
	asm_irq_restore(flags);
}

void lapic_send(u32 apic_id, u8 vector)
{
	send(apic_id, ICR_FIXED | vector);
}

void lapic_send_nmi(u32 apic_id)
{
	send(apic_id, ICR_NMI);
}

void lapic_send_init(u32 apic_id)
{
	send(apic_id, ICR_INIT);
}

void lapic_send_startup(u32 apic_id, u8 page)
{
	send(apic_id, ICR_STARTUP | page);
}

static void tick_interrupt(struct trapframe *tf __unused)
{
	if (tick)
		tick();
}

void time_set_tick(void (*fn)(void))
{
	tick = fn;
}

// Count down from the top for a while that the TSC measures.
static u32 calibrate(void)
{
	u64 start, elapsed;
	u32 counted;

	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED);
	lapic_write(LAPIC_TIMER_INITIAL, ~0u);
	start = time_now_ns();
	udelay(CALIBRATE_US);
	counted = ~0u - lapic_read(LAPIC_TIMER_CURRENT);
	elapsed = time_now_ns() - start;
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	return (u32)max((u64)counted * 1000000000ull / elapsed / TICK_HZ, 1ull);
}

void time_init_cpu(void)
{
	lapic_write(LAPIC_TIMER_DIVIDE, TIMER_DIVIDE_16);
	if (!ticks_per_period) {
		ticks_per_period = calibrate();
		trap_set_handler(VECTOR_TICK, tick_interrupt);
		log_debug("lapic: %u timer counts a tick", ticks_per_period);
	}
	lapic_write(LAPIC_LVT_TIMER, LVT_PERIODIC | VECTOR_TICK);
	lapic_write(LAPIC_TIMER_INITIAL, ticks_per_period);
}

void lapic_init_cpu(void)
{
	u64 base = asm_rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;

	asm_wrmsr(MSR_APIC_BASE, base);
	if (x2apic)
		asm_wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED);
	lapic_write(LAPIC_LVT_LINT0, LVT_MASKED); // the PICs' line
	lapic_write(LAPIC_LVT_LINT1, LVT_NMI);
	lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
	lapic_write(LAPIC_ESR, 0);
	lapic_write(LAPIC_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
	lapic_write(LAPIC_EOI, 0); // what the firmware may have left in service
	this_cpu()->apic_id = lapic_id();
}

void lapic_init(volatile u32 *window)
{
	regs = window;
	x2apic = cpu_features.x2apic;
	lapic_init_cpu();
	log_info("lapic: %s mode, boot CPU has id %u", x2apic ? "x2APIC" : "xAPIC", lapic_id());
}
