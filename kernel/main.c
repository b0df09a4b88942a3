// SPDX-License-Identifier: MIT
//
// What: the boot order, one line a step. boot/boot.asm comes before; the init thread comes after.
#include "kernel/main.h"

#include "drivers/acpi/acpi.h"
#include "drivers/nvdimm/poison.h"
#include "drivers/nvdimm/region.h"
#include "drivers/platform/iomem.h"
#include "drivers/platform/vga.h"
#include "fs/initrd.h"
#include "fs/ptfs_glue/ptfs_glue.h"
#include "fs/tty.h"
#include "fs/vfs.h"
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/crash.h"
#include "kernel/ktest.h"
#include "kernel/panic.h"
#include "kernel/proc/process.h"
#include "kernel/sched/epoch.h"
#include "kernel/sched/thread.h"
#include "kernel/sys/mm_proc.h"
#include "kernel/sys/syscall.h"
#include "kernel/sys/trace_proc.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/irq.h"
#include "kernel/x86/machine.h"
#include "kernel/x86/smp.h"
#include "kernel/x86/time.h"
#include "mm/arena.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/heap.h"
#include "mm/kmap.h"
#include "mm/ptbatch.h"
#include "mm/shadow.h"
#include "mm/layout.h"

static struct apic_config apics;
static const struct smp_stacks stacks = { kmap_stack_alloc, KSTACK_SIZE };

// What is only kept in case, and what waits for its epoch, is no leak.
static void settle(void)
{
	vfs_drop_caches();
	epoch_synchronize();
	shadow_settle();
}

// With `ktest=GLOB` the kernel runs its tests and ends.
static void run_tests(void)
{
	char glob[64];

	ktest_set_settle(settle);
	if (bootparam_get("ktest", glob, sizeof(glob)))
		machine_exit(ktest_run(glob) ? EXIT_TEST_FAIL : EXIT_TEST_PASS);
}

static void ap_main(void)
{
	time_init_cpu();
	sched_init_cpu();
	sched_start();
}

// In the context of process 1, before its program runs.
static void mount_all(void)
{
	if (!bootparam_present("nomount"))
		ptfs_mount_regions();
}

// The first thread: all that may sleep while it prepares the system for programs.
static void init_thread(void *arg)
{
	(void)arg;
	vfs_init();
	tty_init();
	arena_start();
	shadow_start();
	poison_start();
	initrd_unpack();
	ptfs_glue_init();
	crash_if_asked();
	run_tests();
	process_init();
	syscall_init();
	process_start_init(mount_all);
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
	cpu_init();
	panic_init();
	vga_init(NULL); // its window was in the boot tables
	kmap_init();
	vga_init(kmap_device(PHYS(VGA_PA), VGA_BYTES));
	frame_init();
	heap_init();
	fault_init();
	place_init();
	ptbatch_init();
	mm_proc_init();
	trace_proc_init();
	acpi_init();
	acpi_power_init();
	iomem_init();
	pmem_init();
	poison_init();
	madt_read(&apics);
	if (bootparam_present("nosmp"))
		apics.nr_cpus = 0;
	irq_init(&apics);
	time_init_cpu();
	sched_init_cpu();
	smp_start(&apics, &stacks, ap_main);
	if (!thread_create("init", init_thread, NULL))
		panic("no memory for the first thread");
	sched_start();
}
