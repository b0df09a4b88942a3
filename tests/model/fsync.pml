// SPDX-License-Identifier: MIT
//
// Dirty bit, W, and fsync: does write-back find every store?
//
// THE INVARIANT, in two parts
//   - what fsync owes: when it returns, every store that was in the caches at its call is in
//     persistent memory (`owed`);
//   - what the next fsync can find: a line that is not written back belongs to a round that is
//     under way, or its chunk's dirty bit is set (`check_marked`).
//
// The cast: one file, one chunk of 2 MiB, of which two lines matter, mapped by two slots
//   CPU 0, CPU 1   threads of the process: each mapped one of the slots, faults in it, unmaps it
//                  and maps it again warm; CPU 1 stores by the other one's, too, if it can
//   CPU 2          two threads that call fsync at any time and lose the CPU at any time, and msync
//                  of the first line by somebody
//
// The hardware: a walker caches the slot's entry, with its W, at any time; a store needs a cached
// W, and waits in the CPU's buffer (TSO). An interrupt drains the buffer, so a shootdown does. A
// store fault drops the cached entry that it came from (SDM 3A, 4.10.4.1), so no stale "read-only"
// has to be modelled.
//
// Why the d_steps are sound: each is one load, one store, or one locked instruction; or the handler
// of the shootdown on one CPU, which is between two instructions of that CPU. Stores of the kernel
// are not buffered here: those to bit and W come before the release of the lock, and in front of
// the shootdown is a fence. epoch.pml and revoke.pml show what happens without one.
//
// A mistake is switched on by -DNAME; tests/model/epoch.t says which there are and what is
// expected.

#define USERS  2
#define SLOTS  2
#define LIVE   1
#define ZOMBIE 2 // unmapped, entry present; one compare-and-swap makes it LIVE again

byte state[SLOTS] = LIVE;
bool W[SLOTS];		 // in the slot's entry
bool dirty;		 // the inode's dirty bit of the chunk
bool lock;		 // the inode's; over dirty and W
bool syncing;		 // one fsync at a time per inode

bool cached[4];		 // by CPU c: the entry of slot s, with W, at 2 * c + s
byte buffer[USERS];	 // a store on its way to the cache: 1 + line
bool unsaved0, unsaved1; // the lines: in the cache, not written back

byte under_way;		 // rounds that have begun and not ended
bool owed0[4], owed1[4]; // by each caller of fsync, by its process number

inline check_marked()
{
	assert(dirty || under_way || (!unsaved0 && !unsaved1))
}

// Within a d_step.
inline drain(cpu)
{
	if
	:: buffer[cpu] == 1 -> unsaved0 = true
	:: buffer[cpu] == 2 -> unsaved1 = true
	:: else
	fi;
	buffer[cpu] = 0
}

#define locked d_step { !lock -> lock = true }

// ---- A thread that stores -----------------------------------------------------------------------

// One lock covers both halves: whoever takes W away under it takes the bit with it, or finds
// neither.
inline fault(slot)
{
#ifdef BIT_WITHOUT_LOCK
	dirty = true;
	locked;
	W[slot] = true;
	lock = false
#else
#ifdef GRANT_AFTER_UNLOCK
	locked;
	dirty = true;
	lock = false;
	W[slot] = true
#else
#ifdef BIT_AFTER_UNLOCK
	locked;
	W[slot] = true;
	lock = false;
	dirty = true
#else
	locked;
	dirty = true;
	W[slot] = true;
	lock = false
#endif
#endif
#endif
}

#define may_store (cached[2 * _pid] || cached[2 * _pid + 1])

active [USERS] proctype user()
{
end:	do
	// Hardware.
	:: d_step { W[0] && !cached[2 * _pid] -> cached[2 * _pid] = true }
	:: d_step { _pid == 1 && W[1] && !cached[3] -> cached[3] = true }
	:: d_step { buffer[_pid] -> drain(_pid); check_marked() }

	// The program stores; by an unmapped slot, too: its own process may reach it for a while.
	:: d_step { may_store && !buffer[_pid] -> buffer[_pid] = 1 }
	:: d_step { may_store && !buffer[_pid] -> buffer[_pid] = 2 }

	:: !may_store && !W[_pid] && state[_pid] == LIVE -> fault(_pid)

	// munmap, and a warm map.
	:: d_step { state[_pid] == LIVE -> state[_pid] = ZOMBIE }
	:: d_step { state[_pid] == ZOMBIE -> state[_pid] = LIVE }
	od
}

// ---- A thread that calls fsync ------------------------------------------------------------------

inline take_W_of(which)
{
#ifdef ZOMBIES_SKIPPED
	d_step {
		if
		:: state[which] == LIVE -> W[which] = false
		:: else
		fi
	}
#else
	W[which] = false
#endif
}

inline take_W()
{
	take_W_of(0);
	take_W_of(1)
}

inline shootdown()
{
	d_step { drain(0); cached[0] = false; cached[1] = false };
	d_step { drain(1); cached[2] = false; cached[3] = false }
}

inline write_back_0()
{
	d_step { unsaved0 = false; owed0[2] = false; owed0[3] = false }
}

inline write_back_1()
{
	d_step { unsaved1 = false; owed1[2] = false; owed1[3] = false }
}

inline round()
{
#ifdef CLEAR_BIT_AFTER_SHOOTDOWN
	taken = dirty;
	locked;
	take_W();
	lock = false;
	shootdown();
	dirty = false;
	write_back_0();
	write_back_1()
#else
#ifdef CLEAR_BIT_FIRST		// "clean, then protect"
	d_step { taken = dirty; dirty = false };
	write_back_0();
	write_back_1();
	locked;
	take_W();
	lock = false;
	shootdown()
#else
	locked;
	d_step { taken = dirty; dirty = false };
#ifdef TWO_SECTIONS // not a mistake, see docs/epochs.md
	lock = false;
	locked;
#endif
	take_W();
	lock = false;
	if
	:: taken ->
#ifdef WRITE_BACK_BEFORE_SHOOTDOWN
		write_back_0();
		write_back_1();
		shootdown()
#else
		shootdown();
		write_back_0();
		write_back_1()
#endif
	:: else // nobody stored since the last round, which is complete
	fi
#endif
#endif
}

active [2] proctype syncer()
{
	bool taken;

end:	do
	:: d_step { owed0[_pid] = unsaved0; owed1[_pid] = unsaved1 };
#ifdef SECOND_NOT_WAITING
		under_way++;
#else
		d_step { !syncing -> syncing = true; under_way++ };
#endif
		round();
		d_step { under_way--; check_marked(); taken = false; syncing = false };
		d_step { assert(!owed0[_pid] && !owed1[_pid]) }

	// msync of the first line: the rest of the chunk stays as dirty as it was.
	::
#ifdef MSYNC_CLEANS_CHUNK
		d_step { !syncing -> syncing = true; under_way++ };
		locked;
		dirty = false;
		take_W();
		lock = false;
		shootdown();
		write_back_0();
		d_step { under_way--; check_marked(); syncing = false }
#else
		write_back_0()
#endif
	od
}
