// SPDX-License-Identifier: MIT
//
// The TLB epoch: when may an address, or a kernel object, get a new use?
//
// THE INVARIANT: when a slot becomes FREE, no CPU holds a translation of its former use; when an
// object is freed, no CPU holds a pointer to it. `check_forgotten` and `check_released` say so.
// Second: whoever waits for an epoch gets it (no deadlock), even if CPUs halt for ever.
//
// The cast
//   CPU 0   maps, unmaps, clears, stamps, waits and re-uses one slot of address space A, or
//           publishes, takes back and frees a kernel object
//   CPU 1   a busy machine: threads of A and of B, idling, ticks, code that holds the object with
//           preemption off, epochs advanced for reasons of its own
//   CPU 2   stays in A's user mode and only speculates: nobody there ever asked for the slot. It
//           takes ticks.
//
// The hardware, one process per CPU
//   - The walker caches any present entry of the loaded tables at any time, wanted or not. It never
//     evicts: that could only hide a mistake.
//   - TSO: a plain store waits in a first-in-first-out buffer for as long as it likes, while later
//     loads pass it. Locked instructions, MFENCE and MOV CR3 wait until the buffer is empty.
//     Walkers look at memory, not at buffers. No CPU here loads what it has buffered, so there is
//     no forwarding to model. Three places deep: no path has four plain stores without a barrier.
//
// Why the d_steps are sound: each stands for one load, one store, or one locked instruction, or for
// one MOV CR3, which other CPUs cannot observe half done. Checks of the invariant are no part of
// the machine and take no time. Everything else interleaves.
//
// A mistake is switched on by -DNAME; tests/model/epoch.t says which there are and what is
// expected.

#define CPUS	  3
#ifndef LIVES
#define LIVES	  2 // of the slot or the object, one after the other
#endif
#define ADVANCES  1 // epochs that CPU 1 begins without need

// Address spaces, as loaded_as and CR3 name them.
#define A	  1
#define B	  2
#define KERNEL	  3 // idle and kernel threads; no user entries in it
#define SWITCHING 4 // loaded_as only

#define FREE	0
#define LIVE	1
#define ZOMBIE	2 // unmapped, entry still present, not stamped
#define CLEARED 3 // entry cleared, fenced, stamped; waits for its epoch

// Memory.
byte E = 1;	       // the epoch; changed by locked instructions only
byte seen[CPUS] = 1;   // each written by its CPU
byte loaded_as[CPUS] = A;
byte entry;	       // the slot's entry in A's tables: 0, or the number of its use
byte object;	       // a pointer in some table: 0, or the number of the object

// CPUs.
byte cr3[CPUS] = A;
byte tlb[CPUS];	       // the slot's use that is cached, 0 none
byte held[CPUS];       // the object that code on it points to

byte state = FREE;     // the slot's; only CPU 0 changes it here (more in revoke.pml)
byte advances;

// ---- Stores, fences, translations ---------------------------------------------------------------

mtype = { ENTRY, OBJECT, LOADED, SEEN };
chan buffer[CPUS] = [3] of { mtype, byte };

#define store(cpu, where, what) buffer[cpu]!where, what
#define fenced(cpu)		empty(buffer[cpu])

active [CPUS] proctype hardware()
{
	byte what;

end:	do
	:: d_step { buffer[_pid]?[ENTRY, what] -> buffer[_pid]?ENTRY, what; entry = what; what = 0 }
	:: d_step { buffer[_pid]?[OBJECT, what] -> buffer[_pid]?OBJECT, what; object = what;
		what = 0 }
	:: d_step { buffer[_pid]?[LOADED, what] -> buffer[_pid]?LOADED, what;
		loaded_as[_pid] = what; what = 0 }
	:: d_step { buffer[_pid]?[SEEN, what] -> buffer[_pid]?SEEN, what; seen[_pid] = what;
		what = 0 }
	:: d_step { cr3[_pid] == A && entry && !tlb[_pid] -> tlb[_pid] = entry }
	od
}

inline load_cr3(cpu, as)
{
	d_step { fenced(cpu) -> cr3[cpu] = as;
#ifndef KEEP_OVER_SWITCH // as PCIDs do, or global user entries
		tlb[cpu] = 0
#endif
	}
}

inline flush(cpu)
{
	d_step { fenced(cpu) -> tlb[cpu] = 0 }
}

// ---- A quiescent point: read E, flush, publish. `last` is what this CPU published last ---
//
// A tick that finds no new epoch only flushes; leaving it out leaves more in the TLB.

inline quiesce(cpu, e, last)
{
#ifdef READ_E_AFTER_FLUSH
	flush(cpu);
	e = E;
	store(cpu, SEEN, e);
#else
	e = E;
#ifdef PUBLISH_BEFORE_FLUSH
	store(cpu, SEEN, e);
	flush(cpu);
#else
	flush(cpu);
	store(cpu, SEEN, e);
#endif
#endif
	d_step { last = e; e = 0 }
}

// ---- CPU 2: only speculates ---------------------------------------------------------------------

active proctype speculator()
{
	byte e, last = 1;

end:	do
	:: E != last -> quiesce(2, e, last)
	od
}

// ---- CPU 1: switches, idles, holds pointers -----------------------------------------------------

// A switch is a quiescent point, too: its flush is the load of CR3.
inline switch_to(as)
{
	e = E;
#ifdef LOADED_BEFORE_CR3
	store(1, LOADED, as);
	load_cr3(1, as);
#else
#ifndef NO_SWITCHING
	store(1, LOADED, SWITCHING);
#endif
	load_cr3(1, as);
	store(1, LOADED, as);
#endif
	store(1, SEEN, e);
	d_step { last = e; e = 0 }
}

inline go_idle()
{
#ifdef LAZY_TLB			// the old tables stay loaded and nobody counts this CPU
	store(1, LOADED, KERNEL);
#else
#ifdef LAZY_TLB_COUNTED		// they stay loaded, and others wait for a CPU that is asleep
	skip;
#else
	switch_to(KERNEL);
#endif
#endif
}

active proctype other()
{
	byte e, last = 1;
	byte on = A;

	do
	// The tick interrupts user or preemptible code. There is none on an idle CPU.
	:: on != KERNEL && E != last -> quiesce(1, e, last)

	// Code with preemption off follows a pointer; then preempt_enable. A tick in between leaves
	// the quiescent point to preempt_enable, which is the alternative above.
#ifdef KERNEL_THREAD_HOLDS
	:: object ->
#else
	:: on != KERNEL && object ->
#endif
		held[1] = object;
#ifdef SEEN_IN_SECTION
		if
		:: E != last -> quiesce(1, e, last)
		:: skip
		fi;
#endif
		held[1] = 0

	:: on != A -> switch_to(A); on = A
	:: on != B -> switch_to(B); on = B
	:: on != KERNEL -> go_idle(); on = KERNEL

	:: d_step { advances < ADVANCES && fenced(1) -> advances++; E++ }
	:: break
	od;
	// From here on it does what it does for ever: sleep, or take ticks.
end:	do
	:: on != KERNEL && E != last -> quiesce(1, e, last)
	od
}

// ---- CPU 0: the life of a slot, and of an object ------------------------------------------------

// Relevant CPUs. For a slot: those on A, and those that may be leaving or entering it. For an
// object (as for blocks and table pages): all but those on the kernel's own tables.
#define SLOT   1
#define POINTER 2
#define may_reach_slot(cpu) (loaded_as[cpu] == A || loaded_as[cpu] == SWITCHING)
#ifdef RELEVANT_BEFORE_CLEAR
byte early; // what was relevant before the clear, a bit per CPU
#define may_reach(what, cpu) (what == SLOT -> early & (1 << cpu) : loaded_as[cpu] != KERNEL)
#else
#define may_reach(what, cpu) (what == SLOT -> may_reach_slot(cpu) : loaded_as[cpu] != KERNEL)
#endif

#ifdef SEEN_EQUAL
#define passed(cpu) (seen[cpu] >= stamp)
#else
#define passed(cpu) (seen[cpu] > stamp)
#endif

// Rest until each CPU that may reach the thing has seen an epoch after `stamp`. One look at a time,
// in any mix with what this CPU does meanwhile. The first one to need an epoch begins it.
inline wait_for_epoch(what)
{
	i = 0;
	do
	:: i < CPUS && (!may_reach(what, i) || passed(i)) -> i++
	:: d_step { E == stamp && fenced(0) -> E++ }
	:: E != last -> quiesce(0, e, last)
	:: i == CPUS -> break
	od;
	i = 0
}

inline check_forgotten()
{
	d_step { assert(!tlb[0] && !tlb[1] && !tlb[2]) }
}

inline check_released()
{
	d_step { assert(!held[0] && !held[1] && !held[2]) }
}

inline live_as_slot()
{
	state = LIVE;
	store(0, ENTRY, life);
	do
	:: state == LIVE -> state = ZOMBIE;	// munmap
#ifdef STAMP_AT_UNMAP
		stamp = E
#endif
	:: state == ZOMBIE -> state = LIVE	// mapped again, warm: nothing to write or to flush
	:: state == ZOMBIE -> break
	od;
#ifdef RELEVANT_BEFORE_CLEAR
	early = may_reach_slot(0) | (may_reach_slot(1) << 1) | (may_reach_slot(2) << 2);
#endif
	store(0, ENTRY, 0);
#ifdef STAMP_BEFORE_FENCE
	stamp = E;
#endif
	fenced(0);
#ifndef STAMP_AT_UNMAP
#ifndef STAMP_BEFORE_FENCE
	stamp = E;
#endif
#endif
	state = CLEARED;
	wait_for_epoch(SLOT);
	check_forgotten();
	state = FREE
}

inline live_as_object()
{
	store(0, OBJECT, life);
	store(0, OBJECT, 0);
	fenced(0);
	stamp = E;
	wait_for_epoch(POINTER);
	check_released()
}

active proctype mapper()
{
	byte life = 1, stamp, i, e, last = 1;

	do
	:: life <= LIVES ->
		if
		:: live_as_slot()
		:: live_as_object()
		fi;
		d_step { stamp = 0; life++ }
	:: else -> break
	od
}
