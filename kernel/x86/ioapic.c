// SPDX-License-Identifier: MIT
//
// What: device interrupts: the I/O APICs (Intel 82093AA data sheet), the legacy PICs masked, and
// the handlers of the ISA interrupts. All interrupts go to the boot CPU.
//
// Locking: irq_lock guards the handler table while it is being filled and the register window (an
// index and a data register). Handlers read the table without it: an entry is complete before its
// input is unmasked, and never changes afterwards.
#include "kernel/console.h"
#include "kernel/lib/errno.h"
#include "kernel/sched/lock.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/irq.h"
#include "kernel/x86/trap_internal.h"

enum { IOAPIC_VERSION = 1, IOAPIC_REDIRECTION = 0x10 }; // two registers for each input
#define REDIRECT_LOW_ACTIVE BIT(13)
#define REDIRECT_LEVEL      BIT(15)
#define REDIRECT_MASKED     BIT(16)

#define PIC1_COMMAND 0x20
#define PIC1_DATA    0x21
#define PIC2_COMMAND 0xa0
#define PIC2_DATA    0xa1

static struct apic_config config;
static struct {
	void (*fn)(void *arg);
	void *arg;
} isa_handler[ISA_IRQS];
static struct spinlock irq_lock = SPINLOCK_INIT(RANK_IRQ);

static u32 ioapic_read(unsigned i, u32 reg)
{
	config.ioapic[i].regs[0] = reg;
	return config.ioapic[i].regs[4];
}

static void ioapic_write(unsigned i, u32 reg, u32 v)
{
	config.ioapic[i].regs[0] = reg;
	config.ioapic[i].regs[4] = v;
}

static u32 ioapic_inputs(unsigned i)
{
	return (ioapic_read(i, IOAPIC_VERSION) >> 16 & 0xff) + 1;
}

static void set_redirection(unsigned i, u32 input, u64 entry)
{
	ioapic_write(i, IOAPIC_REDIRECTION + input * 2, REDIRECT_MASKED);
	ioapic_write(i, IOAPIC_REDIRECTION + input * 2 + 1, (u32)(entry >> 32));
	ioapic_write(i, IOAPIC_REDIRECTION + input * 2, (u32)entry);
}

static void isa_interrupt(struct trapframe *tf)
{
	unsigned irq = (unsigned)tf->vector - VECTOR_ISA;

	isa_handler[irq].fn(isa_handler[irq].arg);
}

// The redirection entry is written last: from then on the interrupt can come.
static int route(unsigned irq)
{
	u32 gsi = config.isa[irq].gsi;

	for (unsigned i = 0; i < config.nr_ioapics; i++) {
		u32 base = config.ioapic[i].gsi_base;
		u64 entry = VECTOR_ISA + irq;

		if (gsi < base || gsi - base >= ioapic_inputs(i))
			continue;
		entry |= config.isa[irq].low_active ? REDIRECT_LOW_ACTIVE : 0;
		entry |= config.isa[irq].level ? REDIRECT_LEVEL : 0;
		entry |= (u64)(cpus[0].apic_id & 0xff) << 56;
		set_redirection(i, gsi - base, entry);
		return 0;
	}
	return -ENODEV;
}

int irq_register(unsigned irq, void (*fn)(void *arg), void *arg)
{
	u64 flags;
	int err;

	if (irq >= ISA_IRQS)
		return -ENODEV;
	flags = spin_lock_irqsave(&irq_lock);
	if (isa_handler[irq].fn) {
		spin_unlock_irqrestore(&irq_lock, flags);
		return -EBUSY;
	}
	isa_handler[irq].fn = fn;
	isa_handler[irq].arg = arg;
	trap_set_handler((u8)(VECTOR_ISA + irq), isa_interrupt);
	err = route(irq);
	if (err)
		isa_handler[irq].fn = NULL;
	spin_unlock_irqrestore(&irq_lock, flags);
	return err;
}

// Both PICs to vectors 32-47, so that what they might still raise is no exception, and all masked.
static void silence_pics(void)
{
	static const u8 master[] = { VECTOR_ISA, 0x04, 0x01 },
			slave[] = { VECTOR_ISA + 8, 0x02, 0x01 };

	asm_outb(PIC1_COMMAND, 0x11);
	asm_outb(PIC2_COMMAND, 0x11);
	for (unsigned i = 0; i < ARRAY_SIZE(master); i++) {
		asm_outb(PIC1_DATA, master[i]);
		asm_outb(PIC2_DATA, slave[i]);
	}
	asm_outb(PIC1_DATA, 0xff);
	asm_outb(PIC2_DATA, 0xff);
}

void irq_init(const struct apic_config *c)
{
	config = *c;
	silence_pics();
	lapic_init(config.lapic);
	for (unsigned i = 0; i < config.nr_ioapics; i++) {
		u32 inputs = ioapic_inputs(i);

		for (u32 n = 0; n < inputs; n++)
			set_redirection(i, n, REDIRECT_MASKED);
		log_debug("ioapic %u: interrupts %u-%u", i, config.ioapic[i].gsi_base,
			  config.ioapic[i].gsi_base + inputs - 1);
	}
}
