// SPDX-License-Identifier: MIT
//
// What: power-off, reset and test exit. Each tries ways from the proper to the crude; a way that
// the machine does not have is a write to a port where nobody listens.
//
// Not here: where the ACPI numbers come from (drivers/acpi/power.c).
#include "kernel/x86/machine.h"

#include "kernel/bootinfo.h"
#include "kernel/x86/asm.h"

#define PM1_SLP_EN        BIT(13) // ACPI 6.4, 4.8.3.2.1
#define PM1_SLP_TYP_SHIFT 10
#define PORT_QEMU_PM1A    0x604 // q35 and pc (4.x on), when no FADT told
#define PORT_BOCHS_POWER  0x8900
#define PORT_KBD_COMMAND  0x64
#define KBD_PULSE_RESET   0xfe
#define PORT_RESET        0xcf9
#define PORT_DEBUG_EXIT   0xf4

static struct {
	u16 pm1a, pm1b;
	u8 typ_a, typ_b;
} s5;

void machine_set_s5(u16 pm1a_port, u8 typ_a, u16 pm1b_port, u8 typ_b)
{
	s5.pm1a = pm1a_port;
	s5.typ_a = typ_a;
	s5.pm1b = pm1b_port;
	s5.typ_b = typ_b;
}

void machine_halt(void)
{
	for (;;) {
		asm_cli();
		asm_hlt();
	}
}

void machine_poweroff(void)
{
	asm_cli();
	if (s5.pm1a)
		asm_outw(s5.pm1a, (u16)(s5.typ_a << PM1_SLP_TYP_SHIFT | PM1_SLP_EN));
	if (s5.pm1b)
		asm_outw(s5.pm1b, (u16)(s5.typ_b << PM1_SLP_TYP_SHIFT | PM1_SLP_EN));
	asm_outw(PORT_QEMU_PM1A, PM1_SLP_EN);
	for (const char *s = "Shutdown"; *s; s++)
		asm_outb(PORT_BOCHS_POWER, (u8)*s);
	machine_halt();
}

void machine_reboot(void)
{
	asm_cli();
	asm_outb(PORT_KBD_COMMAND, KBD_PULSE_RESET);
	asm_outb(PORT_RESET, 0x02); // the two writes make the edge that resets
	asm_outb(PORT_RESET, 0x06);
	asm_load_empty_idt();
	asm_ud2();
	machine_halt();
}

void machine_exit(u8 code)
{
	if (bootparam_present("testexit"))
		asm_outl(PORT_DEBUG_EXIT, code);
	machine_poweroff();
}
