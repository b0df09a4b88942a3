// SPDX-License-Identifier: MIT
//
// What: the numbers for switching off by ACPI (6.4, 4.8.3.2 and 7.4.2.6): control register ports
// from the FADT, SLP_TYP from the \_S5 package, which is found by its bytes, without interpreting
// AML.
#include "drivers/acpi/acpi.h"
#include "drivers/acpi/acpi_parse.h"
#include "kernel/console.h"
#include "kernel/lib/string.h"
#include "kernel/x86/machine.h"

enum { FADT_PM1A_CONTROL = 64, FADT_PM1B_CONTROL = 68 };

void acpi_power_init(void)
{
	u32 fadt_len, aml_len, pm1a, pm1b;
	const u8 *fadt = acpi_find("FACP", 0, &fadt_len);
	const u8 *dsdt = acpi_find("DSDT", 0, &aml_len);
	u8 typ_a, typ_b;

	if (!fadt || fadt_len < FADT_PM1B_CONTROL + 4 || !dsdt ||
	    !acpi_parse_s5(dsdt + sizeof(struct acpi_header), aml_len - sizeof(struct acpi_header),
			   &typ_a, &typ_b)) {
		log_warn("acpi: no power-off by ACPI");
		return;
	}
	memcpy(&pm1a, fadt + FADT_PM1A_CONTROL, 4);
	memcpy(&pm1b, fadt + FADT_PM1B_CONTROL, 4);
	machine_set_s5((u16)pm1a, typ_a, (u16)pm1b, typ_b);
	log_debug("acpi: power-off by port %#x, type %u", pm1a, typ_a);
}
