// SPDX-License-Identifier: MIT
//
// The copy of a file's tables in DRAM, against what changes the tables (mm/shadow.c).
//
// THE INVARIANT: whoever gets the mapping lock exclusively finds in the copy, if there is one, what
// stands in the file's table, and leaves it so (`matches`). So no entry is missing for good that
// the file has, and none leads to a block that the file has lost.
//
// The cast
//   two publishers   fill holes with new blocks, the mapping lock shared
//   a maker          makes the copy, likewise
//   a revoker        takes blocks away, or the copy as a whole, the mapping lock exclusively
//
// One table page of two entries stands for all. Its lifetime, and that of the copy's page, is
// revoke.pml's business: entries that lead there and CPUs that remember the way.
//
// The hardware: TSO. What counts here is one store, the one by which the maker makes the copy
// known: a plain one would wait in its CPU's buffer while the loads after it pass it, which is the
// mistake READ_BEFORE_KNOWN. Publishers store by locked compare-and-swap, and all else is under a
// lock, which drains.
//
// Why the d_steps are sound: each is one locked instruction, or the taking of a lock.
//
// A mistake is switched on by -DNAME; tests/model/epoch.t says which there are.

#ifndef FILLS
#define FILLS  2 // by each publisher
#endif
#ifndef MAKES
#define MAKES  2
#endif
#ifndef CUTS
#define CUTS   2
#endif

byte file[2];	// the entries of the file's table; 0: a hole, else a block that was never used before
byte copy[2];	// and of the copy
bool known;	// object.shadow is set
bool made;	// there is a copy
bool lock;	// its lock
byte sharing;	// the mapping lock
bool exclusive;
byte blocks;	// given out so far

inline share() { d_step { !exclusive; sharing++ } }
inline unshare() { sharing-- }
inline take() { d_step { !lock; lock = true } }
inline drop() { lock = false }

#define matches (!made || (copy[0] == file[0] && copy[1] == file[1]))

// An entry was stored: the copy follows. `k`: is there one to be told?
inline tell(i, k)
{
	if
	:: k ->
#ifndef TELL_WITHOUT_LOCK
		take();
#endif
		if
		:: made -> v = file[i]; copy[i] = v
		:: else
		fi;
#ifndef TELL_WITHOUT_LOCK
		drop();
#endif
	:: else
	fi
}

proctype publisher()
{
	byte n, i, v;
	bool k, mine;

	for (n : 1 .. FILLS) {
		share();
		select(i : 0 .. 1);
#ifdef LOOK_BEFORE_STORE
		k = known;
#endif
		d_step { // the compare-and-swap
			mine = file[i] == 0;
			if
			:: mine -> blocks++; file[i] = blocks
			:: else
			fi
		}
#ifdef TELL_AFTER_UNSHARE
		unshare();
#endif
#ifndef LOOK_BEFORE_STORE
		k = known;
#endif
		if
		:: mine -> tell(i, k)
		:: else
		fi;
#ifndef TELL_AFTER_UNSHARE
		unshare();
#endif
	}
}

proctype maker()
{
	byte n, v, w;

	for (n : 1 .. MAKES) {
		share();
#ifdef READ_BEFORE_KNOWN
		v = file[0];
		w = file[1];
#endif
		known = true; // locked
		take();
		if
		:: !made ->
#ifndef READ_BEFORE_KNOWN
			v = file[0];
			w = file[1];
#endif
			copy[0] = v;
			copy[1] = w;
			made = true;
		:: else
		fi;
		drop();
		unshare();
	}
}

proctype revoker()
{
	byte n, i, v;
	bool k;

	for (n : 1 .. CUTS) {
		d_step { !exclusive && sharing == 0; exclusive = true };
		assert(matches);
		if
		:: select(i : 0 .. 1);
			k = known;
#ifdef TELL_BEFORE_CUT
			tell(i, k);
			file[i] = 0;
#else
			file[i] = 0;
#ifndef CUT_UNTOLD
			tell(i, k);
#endif
#endif
		:: take();
			made = false;
			drop();
		fi;
		assert(matches);
		exclusive = false;
	}
}

// Holds the lock exclusively when all is over, too.
proctype last()
{
	_nr_pr == 2;
	assert(matches);
}

init
{
	atomic {
		run last();
		run publisher();
		run publisher();
		run maker();
		run revoker();
	}
}
