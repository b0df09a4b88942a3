// SPDX-License-Identifier: MIT
//
// What: the boot order, one line a step. boot/boot.asm comes before; the init thread comes after.
#include "kernel/main.h"

#include "drivers/platform/vga.h"
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/machine.h"
#include "kernel/x86/time.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/kmap.h"
#include "mm/layout.h"

// Until the scheduler is there nobody can be preempted.
void sched_preempt(void);
__attribute__((weak)) void sched_preempt(void)
{
}

void main(u32 magic, phys_t info)
{
	cpu_init_gs(&cpus[0]);
	bootinfo_init(magic, info);
	vga_init(phys_to_virt(PHYS(VGA_PA)));
	console_init();
	time_init();
	log_info("dax64: memory is the file interface");
	bootinfo_report();
	vga_init(NULL); // its window was in the boot tables
	kmap_init();
	vga_init(kmap_device(PHYS(VGA_PA), VGA_BYTES));
	frame_init();
	heap_init();
	machine_exit(EXIT_TEST_PASS);
}
