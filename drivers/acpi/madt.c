// SPDX-License-Identifier: MIT
//
// What: turns the MADT into the interrupt configuration that kernel/x86 takes, registers mapped.
#include "drivers/acpi/acpi.h"
#include "drivers/acpi/acpi_parse.h"
#include "kernel/console.h"
#include "kernel/x86/irq.h"
#include "mm/kmap.h"

_Static_assert(MADT_CPUS_MAX <= CPU_MAX && MADT_IOAPICS_MAX <= IOAPIC_MAX, "what is parsed fits");

void madt_read(struct apic_config *config)
{
	static struct madt_info info;
	u32 len = 0;
	const u8 *table = acpi_find("APIC", 0, &len);

	if (!table)
		log_err("acpi: no MADT: one CPU, no device interrupts");
	if (!acpi_parse_madt(table, len, &info) && table)
		log_warn("acpi: the MADT is torn; what came before the tear is used");
	*config = (struct apic_config){ .nr_ioapics = info.nr_ioapics, .nr_cpus = info.nr_cpus };
	config->lapic = kmap_device(PHYS(info.lapic_pa), PAGE_SIZE);
	for (unsigned i = 0; i < info.nr_ioapics; i++) {
		config->ioapic[i].regs = kmap_device(PHYS(info.ioapic[i].pa), PAGE_SIZE);
		config->ioapic[i].gsi_base = info.ioapic[i].gsi_base;
	}
	for (unsigned irq = 0; irq < ISA_IRQS; irq++) {
		config->isa[irq].gsi = info.isa[irq].gsi;
		config->isa[irq].low_active = info.isa[irq].low_active;
		config->isa[irq].level = info.isa[irq].level;
	}
	for (unsigned i = 0; i < info.nr_cpus; i++)
		config->cpu_apic_id[i] = info.cpu_apic_id[i];
	if (info.cpus_left_out)
		log_warn("acpi: %u CPUs more than the kernel can run", info.cpus_left_out);
}
