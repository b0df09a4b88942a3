// SPDX-License-Identifier: MIT
//
// Slots as hazard pointers: attach and unmap without counts, against revoke.
//
// THE INVARIANT: when a file's table page (or block: whatever the slot's entry leads to) is freed,
// no entry leads to it, no CPU has cached the way, and none is added afterwards (`freed`). When the
// call that took it away returns, nobody reaches it through a mapping; only where a munmap is under
// way may a CPU still do so (`check_ended`). And a slot that is taken for a new use has an empty
// entry that no CPU remembers (`check_slot`). Every wait ends.
//
// The cast
//   CPU 0   maps the file in its one slot, unmaps, maps again warm, clears, faults
//   CPU 1   truncates the file, and runs a second thread of the process, which faults in the slot
//   CPU 2   has the address space loaded and only speculates
//
// The file begins with table page 1. Truncate takes that away and lets it rest; then the file grows
// again and has table page 2, and so on. What rests is free when each CPU has flushed since it was
// stamped, at a moment of its own (epoch.pml says how that is known).
//
// The hardware, one process per CPU
//   - The walker caches the slot's entry at any time in a paging-structure cache (`upper`), and
//     goes on from there, or from the entry, to a translation (`leaf`). Either outlives the entry.
//   - TSO: a plain store waits in a first-in-first-out buffer while later loads pass it. Locked
//     instructions and MFENCE wait until the buffer is empty. Words that a CPU stores without a
//     barrier and loads again are read by compare-and-swap only, which drains; so no forwarding.
//
// Flushes, whether somebody waits for them or not, come CPU by CPU at any point of what runs there:
// an interrupt does not wait for a section with preemption off, so it is *not* a proof that no such
// section is under way. That proof is SETTING.
//
// Why the d_steps are sound: each is one load, one store or one locked instruction; or the handler
// of the flush on one CPU, which is between two instructions of that CPU; or a check of the
// invariant.
//
// A mistake is switched on by -DNAME; tests/model/epoch.t says which there are and what is
// expected.

#define CPUS	 3
#ifndef MAPS
#define MAPS	 3 // new uses of the slot
#endif
#ifndef REVOKES
#define REVOKES	 3 // truncates and faults of CPU 1, in any mix
#endif

// The slot's state word. The lock bit is for who changes the entry of a slot that has one, for a
// moment. Faults, which may sleep, count themselves: a pin each.
#define FREE	 0
#define SETTING	 1
#define LIVE	 2
#define ZOMBIE	 3
#define CLEARED	 4
#define LOCK	 8
#define PIN	 16
#define UNPINNED 15 // state and lock bit

// Memory.
byte state = FREE;
byte desc;	   // the descriptor's inode: 0 some other, 1 the file
byte entry;	   // the slot's: 0, or the table page
byte root = 1;	   // the file's table page
bool flag;	   // the inode's revoke flag
bool exclusive;	   // the inode's mapping lock: a revoke
byte sharing;	   // and faults
bool unmapping;	   // a munmap has cleared the entry and not flushed yet (for check_ended)

#define TABLES	 (REVOKES + 2)
#define ALL_CPUS 7
byte awaits[TABLES]; // resting: CPUs that have not flushed since its stamp
bool freed[TABLES];
#define in_use(table) assert(!freed[table])

// CPUs.
byte upper[CPUS], leaf[CPUS];

// ---- Hardware -----------------------------------------------------------------------------------

mtype = { STATE, DESC, ENTRY, ROOT, FLAG };
chan buffer[CPUS] = [3] of { mtype, byte };

#define store(cpu, where, what) buffer[cpu]!where, what
#define fenced(cpu)		empty(buffer[cpu])
#define swap(cpu, old, new)	d_step { fenced(cpu) && state == (old) -> state = new }

// Within a d_step.
#ifdef FLUSH_LEAVES_ONLY
#define forget(cpu) leaf[cpu] = 0
#else
#define forget(cpu) upper[cpu] = 0; leaf[cpu] = 0
#endif

inline free(table)
{
	freed[table] = true;
	assert(entry != table);
	assert(upper[0] != table && upper[1] != table && upper[2] != table);
	assert(leaf[0] != table && leaf[1] != table && leaf[2] != table)
}

inline pass(cpu, table)
{
	if
	:: awaits[table] == 1 << cpu -> free(table)
	:: else
	fi;
	awaits[table] = awaits[table] & ~(1 << cpu)
}

active [CPUS] proctype hardware()
{
	byte what;

end:	do
	:: d_step { buffer[_pid]?[STATE, what] -> buffer[_pid]?STATE, what; state = what; what = 0 }
	:: d_step { buffer[_pid]?[DESC, what] -> buffer[_pid]?DESC, what; desc = what; what = 0 }
	:: d_step { buffer[_pid]?[ENTRY, what] -> buffer[_pid]?ENTRY, what; entry = what; what = 0;
		in_use(entry) }
	:: d_step { buffer[_pid]?[ROOT, what] -> buffer[_pid]?ROOT, what; root = what; what = 0 }
	:: d_step { buffer[_pid]?[FLAG, what] -> buffer[_pid]?FLAG, what; flag = what; what = 0 }

	:: d_step { entry && !upper[_pid] -> upper[_pid] = entry; in_use(entry) }
	:: d_step { upper[_pid] && !leaf[_pid] -> leaf[_pid] = upper[_pid]; in_use(upper[_pid]) }

	// Each CPU forgets now and then. The last to do so ends a rest.
	:: d_step { (awaits[1] | awaits[2] | awaits[3]) & (1 << _pid) ->
		forget(_pid); pass(_pid, 1); pass(_pid, 2); pass(_pid, 3) }
	od
}

inline flush_one(cpu)
{
	d_step { forget(cpu) }
}

inline flush_all()
{
	flush_one(0);
	flush_one(1);
	flush_one(2)
}

// Within a d_step.
inline check_slot()
{
	assert(!entry);
	assert(!upper[0] && !upper[1] && !upper[2] && !leaf[0] && !leaf[1] && !leaf[2])
}

// ---- Map and unmap: CPU 0, preemption off -------------------------------------------------------

inline to_setting()
{
#ifdef SETTING_WITHOUT_BARRIER
	d_step { state == FREE -> check_slot() };
	store(0, STATE, SETTING)
#else
	d_step { fenced(0) && state == FREE -> check_slot(); state = SETTING }
#endif
}

inline give_up()		// the slow path: wait for the revoke, preemptible
{
	store(0, STATE, FREE);
	!flag
}

inline map()
{
#ifdef FLAG_BEFORE_DESC
	!flag;
	store(0, DESC, 1);
	to_setting();
	table = root;
	store(0, ENTRY, table);
	store(0, STATE, LIVE)
#else
#ifdef FLAG_AFTER_ENTRY
	store(0, DESC, 1);
	to_setting();
	table = root;
	store(0, ENTRY, table);
	fenced(0);
	if
	:: flag -> store(0, ENTRY, 0); fenced(0); flush_all(); give_up()
	:: else -> store(0, STATE, LIVE)
	fi
#else
#ifdef DESC_AFTER_SETTING
	to_setting();
	store(0, DESC, 1);
#else
	store(0, DESC, 1);
	to_setting();
#endif
	if
	:: flag -> give_up()
	:: else ->
		table = root;
#ifdef LIVE_BEFORE_ENTRY
		store(0, STATE, LIVE);
		store(0, ENTRY, table)
#else
		store(0, ENTRY, table);	// TSO: nobody sees LIVE without the entry
		store(0, STATE, LIVE)
#endif
	fi
#endif
#endif
	;
	table = 0
}

// A ZOMBIE is cleared by whoever has its lock bit, and CLEARED says that the entry *is* cleared: a
// revoke that finds this state takes it at its word.
inline clear(cpu)
{
#ifdef CLEARED_BEFORE_CLEAR
	swap(cpu, ZOMBIE, CLEARED);
	store(cpu, ENTRY, 0);
	fenced(cpu)
#else
#ifdef UNMAP_IGNORES_PIN
	d_step { fenced(cpu) && (state & UNPINNED) == ZOMBIE -> state = state | LOCK };
#else
	swap(cpu, ZOMBIE, ZOMBIE + LOCK);
#endif
	store(cpu, ENTRY, 0);
	fenced(cpu);
	store(cpu, STATE, CLEARED)
#endif
}

// The epoch has passed: the slot goes back to its pool, once.
inline retire(cpu)
{
	d_step { fenced(cpu) -> assert(state == CLEARED); state = FREE }
}

inline unmap()
{
#ifdef UNMAP_IGNORES_PIN
	d_step { fenced(0) && (state & UNPINNED) == LIVE -> state = state - LIVE + ZOMBIE };
#else
	swap(0, LIVE, ZOMBIE);		// no lock bit, no pin
#endif
	unmapping = true;
	do
#ifdef WARM_WITHOUT_SWAP
	:: state == ZOMBIE -> store(0, STATE, LIVE); break
#else
	:: swap(0, ZOMBIE, LIVE); break			// mapped again, warm
#endif
	:: clear(0); flush_all(); retire(0); break
	:: state == CLEARED || state == FREE -> break	// a revoke was faster
	od;
	unmapping = false
}

// ---- Fault: any thread of the process; preemptible ----------------------------------------------

// The entry is installed with the mapping lock held shared, from reading the root on.
inline install(cpu)
{
#ifndef FAULT_WITHOUT_MAP_LOCK
	d_step { fenced(cpu) && !exclusive -> sharing++ };
#endif
	table = root;
	store(cpu, ENTRY, table);
#ifndef FAULT_WITHOUT_MAP_LOCK
	d_step { fenced(cpu) -> sharing-- };
#endif
	table = 0
}

// The pin comes first: waiting for the mapping lock, the fault sleeps, and whoever unmaps waits for
// it. A revoke does not, or the two would wait for each other.
inline fault(cpu)
{
	if
#ifdef FAULT_WITHOUT_PIN
	:: state == LIVE -> install(cpu)
#else
	:: d_step { fenced(cpu) && (state & UNPINNED) == LIVE -> state = state + PIN };
		install(cpu);
		d_step { fenced(cpu) -> state = state - PIN }
#endif
	:: (state & 7) != LIVE		// SIGSEGV
	fi
}

active proctype mapper()
{
	byte maps, table;

	do
	:: state == FREE && maps < MAPS -> maps++; map()
	:: (state & 7) == LIVE -> unmap()
	:: (state & 7) == LIVE && !entry -> fault(0)
	:: maps == MAPS && state == FREE -> break
	od
}

// ---- Revoke: CPU 1 ------------------------------------------------------------------------------

inline find_mappings()
{
	if
	:: desc == 1 ->
		if				// waits while the slot is SETTING, or locked
#ifdef REVOKE_AWAITS_PIN
		:: swap(1, LIVE, LIVE + LOCK);
#else
		:: d_step { fenced(1) && (state & UNPINNED) == LIVE -> state = state | LOCK };
#endif
			found = true;
			store(1, ENTRY, 0);
			d_step { fenced(1) -> state = state & ~LOCK }
		:: clear(1); found = true; mine = true
		:: (state & UNPINNED) == FREE || (state & UNPINNED) == CLEARED
#ifdef SETTING_NOT_AWAITED
		:: state == SETTING
#endif
		fi
	:: else
	fi
}

inline rest(what)		// stamped now
{
	d_step { awaits[what] = ALL_CPUS }
}

inline check_ended(what)
{
	d_step { assert(unmapping ||
		(upper[0] != what && upper[1] != what && upper[2] != what &&
		leaf[0] != what && leaf[1] != what && leaf[2] != what)) }
}

inline truncate()
{
	d_step { fenced(1) && !sharing -> exclusive = true; table = root };
#ifdef FLAG_PLAIN_STORE
	store(1, FLAG, true);
#else
	d_step { fenced(1) -> flag = true };
#endif
#ifdef STAMP_BEFORE_CLEAR
	rest(table);
#endif
	find_mappings();
#ifdef FLAG_LOWERED_EARLY
	d_step { fenced(1) -> flag = false };
#endif
	store(1, ROOT, 0);
	// No fence is missing here: all that has changed an entry ends with a locked instruction.
	// Nobody is interrupted where nothing was found. Another CPU may have cleared an entry and
	// not flushed yet: that is what the rest is for.
	if
#ifdef NO_FLUSH
	:: found
#else
	:: found -> flush_all()
#endif
	:: !found
	fi;
	fenced(1);
	check_ended(table);
#ifndef STAMP_BEFORE_CLEAR
#ifdef FREED_AT_ONCE
	d_step { free(table) };
#else
	rest(table);
#endif
#endif
	if
	:: mine -> retire(1)
	:: else
	fi;
	store(1, ROOT, table + 1);	// the file grows
	store(1, FLAG, false);
	d_step { fenced(1) -> exclusive = false; table = 0; found = false; mine = false }
}

active proctype revoker()
{
	byte rounds, table;
	bool found, mine;

	do
	:: rounds < REVOKES -> rounds++; truncate()
	:: rounds < REVOKES -> rounds++; fault(1)
	:: break
	od
}
