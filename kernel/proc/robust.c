// SPDX-License-Identifier: MIT
//
// What: the words in user memory that a thread leaves behind: mutexes of its robust list
// (set_robust_list(2)), and its number at clear_child_tid, which pthread_join waits for.
//
// Nothing in user memory is trusted: the list may be a circle, lead nowhere, or change meanwhile.
// The walk ends at the first address that cannot be read and after ENTRIES_MAX entries.
//
// Not here: anything about priority inheritance. Entries that are marked so are handled like the
// others, but nobody is woken for them.
#include "kernel/proc/robust.h"

#include "kernel/console.h"
#include "kernel/proc/futex.h"
#include "kernel/proc/process.h"
#include "mm/aspace.h"
#include "mm/uaccess.h"

#define ENTRIES_MAX 2048u // as Linux (ROBUST_LIST_LIMIT)

// The word of a robust mutex.
#define WORD_WAITERS    0x80000000u
#define WORD_OWNER_DIED 0x40000000u
#define WORD_TID        0x3fffffffu

#define ENTRY_PI 1ull // low bit of a pointer to an entry

// Tells the next owner that the last one died. `pending`: the thread was between the mutex and the
// list: the word may be free already, and the wake-up that goes with it missing. False: end of
// walk.
static bool mark_word(u64 va, bool pi, bool pending)
{
	u32 tid = thread_current()->tid, word, expected;
	int err;

	if (va % sizeof(u32) || user_load_u32(&word, UVA(va)))
		return false;
	do {
		expected = word;
		if (pending && !pi && !(word & WORD_TID)) {
			(void)futex_wake(UVA(va), FUTEX_ANY, true, 1);
			return true;
		}
		if ((word & WORD_TID) != tid)
			return true;
		err = user_cmpxchg_u32(UVA(va), &word, (word & WORD_WAITERS) | WORD_OWNER_DIED);
	} while (!err && word != expected);
	if (!err && !pi && (expected & WORD_WAITERS))
		(void)futex_wake(UVA(va), FUTEX_ANY, true, 1);
	return !err;
}

static void walk_robust_list(uva_t at)
{
	struct robust_head head;
	u64 entry, next;

	if (copy_from_user(&head, at, sizeof(head)))
		return;
	entry = head.next;
	for (unsigned n = 0; (entry & ~ENTRY_PI) != at.va && n < ENTRIES_MAX; n++) {
		u64 here = entry & ~ENTRY_PI;
		// Before the mutex is marked: its next owner may change the entry at once.
		bool more = !copy_from_user(&next, UVA(here), sizeof(next));

		if (here != (head.pending & ~ENTRY_PI) &&
		    !mark_word(here + (u64)head.offset, entry & ENTRY_PI, false))
			return;
		if (!more)
			return;
		entry = next;
	}
	if (head.pending & ~ENTRY_PI)
		(void)mark_word((head.pending & ~ENTRY_PI) + (u64)head.offset,
				head.pending & ENTRY_PI, true);
}

void thread_release_words(void)
{
	static const u32 zero;
	struct thread *t = thread_current();
	uva_t robust = t->user->robust_list, tid = t->user->clear_child_tid;

	t->user->robust_list = t->user->clear_child_tid = UVA(0);
	if (robust.va)
		walk_robust_list(robust);
	if (!tid.va || aspace_is_sole(t->as))
		return;
	// A bad address is the program's own affair. The waiter may know the word as a shared one:
	// C libraries wait for it in different ways.
	if (copy_to_user(tid, &zero, sizeof(zero)))
		log_debug("thread %u: no memory at clear_child_tid", t->tid);
	else
		(void)futex_wake(tid, FUTEX_ANY, true, 1);
}
