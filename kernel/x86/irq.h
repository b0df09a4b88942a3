// SPDX-License-Identifier: MIT
//
// Interrupt controllers: local APIC of each CPU, I/O APICs, and the legacy PICs, which are
// silenced. Registration of handlers is in trap.h (irq_register).
#pragma once

#include "kernel/lib/types.h"
#include "kernel/x86/cpu.h"

#define IOAPIC_MAX   8
#define ISA_IRQS     16
#define APIC_ID_NONE 0xffffffffu

// What the firmware says (MADT); filled by drivers/acpi/madt.c. Windows are mapped, uncached.
struct apic_config {
	volatile u32 *lapic;
	unsigned nr_ioapics;
	struct {
		volatile u32 *regs;
		u32 gsi_base;
	} ioapic[IOAPIC_MAX];
	struct {
		u32 gsi;
		bool low_active, level;
	} isa[ISA_IRQS]; // where the ISA interrupts really arrive
	unsigned nr_cpus;
	u32 cpu_apic_id[CPU_MAX]; // usable CPUs, the boot CPU included, in the table's order
};

// Mask the PICs, set up the boot CPU's LAPIC and mask all inputs of the I/O APICs. Once.
void irq_init(const struct apic_config *config);
// The LAPIC of the running CPU.
void lapic_init_cpu(void);
// Called by irq_init().
void lapic_init(volatile u32 *window);

// Acknowledge an interrupt. Nothing for spurious ones.
void irq_end(u8 vector);

bool lapic_ready(void);
u32 lapic_id(void);
void lapic_send(u32 apic_id, u8 vector);
void lapic_send_nmi(u32 apic_id);
void lapic_send_init(u32 apic_id);
void lapic_send_startup(u32 apic_id, u8 page); // real-mode start at page << 12
