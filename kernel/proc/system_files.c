// SPDX-License-Identifier: MIT
//
// What: the files of /proc that tell about the whole system: CPU time, load, CPUs (proc(5)).
// Not here: /proc/meminfo (kernel/sys/mm_proc.c).
#include "kernel/proc/proc_files.h"

#include "fs/procfs.h"
#include "kernel/console.h"
#include "kernel/proc/process.h"
#include "kernel/sched/timer.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/time.h"

#define NS_PER_TICK 10000000ul // USER_HZ is 100
#define NS_PER_SEC  1000000000ul

// ---- Load: exponentially damped means of the number of runnable threads over 1, 5 and 15 minutes
// --

#define LOAD_PERIOD_NS (5 * NS_PER_SEC)
#define LOAD_SHIFT     11 // fixed point

static const u32 load_decay[3] = { 1884, 2014, 2037 }; // 2048 * exp(-5 s / 1, 5, 15 min)
static u32 load_mean[3];                               // [the timer's function]
static struct timer load_timer;

static void sample_load(struct timer *t)
{
	u64 now = (u64)sched_stats().runnable << LOAD_SHIFT;

	for (int i = 0; i < 3; i++)
		WRITE_ONCE(load_mean[i], (u32)((load_mean[i] * (u64)load_decay[i] +
						now * ((1u << LOAD_SHIFT) - load_decay[i])) >>
					       LOAD_SHIFT));
	timer_start(t, t->deadline_ns + LOAD_PERIOD_NS);
}

static void show_loadavg(struct seq *s, void *arg)
{
	struct sched_stats st = sched_stats();

	(void)arg;
	for (int i = 0; i < 3; i++) {
		u32 v = READ_ONCE(load_mean[i]);

		seq_printf(s, "%u.%02u ", v >> LOAD_SHIFT,
			   ((v & ((1u << LOAD_SHIFT) - 1)) * 100) >> LOAD_SHIFT);
	}
	seq_printf(s, "%u/%u %u\n", st.runnable, st.threads, number_last());
}

// ---- The others ---------------------------------------------------------------------------------

static void show_uptime(struct seq *s, void *arg)
{
	u64 up = time_now_ns(), idle = sched_stats().idle_ns;

	(void)arg;
	seq_printf(s, "%lu.%02lu %lu.%02lu\n", up / NS_PER_SEC, up % NS_PER_SEC / NS_PER_TICK,
		   idle / NS_PER_SEC, idle % NS_PER_SEC / NS_PER_TICK);
}

// Time that a CPU was not idle is shown as user time: the split is known per process only.
static void show_cpu_line(struct seq *s, const char *name, u64 up_ns, u64 idle_ns)
{
	u64 busy_ns = up_ns > idle_ns ? up_ns - idle_ns : 0;

	seq_printf(s, "%s %lu 0 0 %lu 0 0 0 0 0 0\n", name, busy_ns / NS_PER_TICK,
		   idle_ns / NS_PER_TICK);
}

static void show_stat(struct seq *s, void *arg)
{
	struct sched_stats st = sched_stats();
	u64 up_ns = time_now_ns();

	(void)arg;
	show_cpu_line(s, "cpu ", up_ns * cpu_count(), st.idle_ns);
	for (unsigned i = 0; i < cpu_count(); i++) {
		seq_printf(s, "cpu%u", i);
		show_cpu_line(s, "", up_ns, sched_idle_ns(i));
	}
	seq_printf(s, "ctxt %lu\nbtime %lu\nprocesses %u\nprocs_running %u\nprocs_blocked 0\n",
		   st.switches, (time_wall_ns() - up_ns) / NS_PER_SEC, number_last(), st.runnable);
}

static void show_cpuinfo(struct seq *s, void *arg)
{
	const struct cpu_features *f = &cpu_features;

	(void)arg;
	for (unsigned i = 0; i < cpu_count(); i++) {
		seq_printf(s, "processor\t: %u\nvendor_id\t: %s\nmodel name\t: %s\n", i, f->vendor,
			   f->brand);
		seq_printf(s, "cpu MHz\t\t: %lu.%03lu\napicid\t\t: %u\n", time_tsc_hz() / 1000000,
			   time_tsc_hz() / 1000 % 1000, cpus[i].apic_id);
		seq_printf(s, "flags\t\t: fpu sse sse2%s%s%s%s%s%s%s%s%s%s\n",
			   f->xsave ? " xsave avx" : "", f->avx2 ? " avx2" : "", f->nx ? " nx" : "",
			   f->smep ? " smep" : "", f->smap ? " smap" : "", f->umip ? " umip" : "",
			   f->gib_pages ? " pdpe1gb" : "", f->clflushopt ? " clflushopt" : "",
			   f->clwb ? " clwb" : "", f->invariant_tsc ? " constant_tsc" : "");
		seq_printf(s, "address sizes\t: %u bits physical, %u bits virtual\n\n",
			   f->phys_bits, f->virt_bits);
	}
}

static void show_version(struct seq *s, void *arg)
{
	(void)arg;
	seq_printf(s, "Linux version 6.1.0-dax64 (dax64: memory is the file interface)\n");
}

void system_files_init(void)
{
	static const struct {
		const char *name;
		void (*show)(struct seq *s, void *arg);
	} files[] = {
		{ "loadavg", show_loadavg }, { "uptime", show_uptime },   { "stat", show_stat },
		{ "cpuinfo", show_cpuinfo }, { "version", show_version },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		if (proc_register(files[i].name, files[i].show, NULL))
			log_warn("no /proc/%s", files[i].name);
	timer_init(&load_timer, sample_load);
	timer_start(&load_timer, time_now_ns() + LOAD_PERIOD_NS);
}
