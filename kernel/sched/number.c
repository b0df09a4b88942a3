// SPDX-License-Identifier: MIT
//
// What: the numbers of threads, processes, groups and sessions (number.h).
//
// Invariants:
//   I1  A number's bit in `taken` is set exactly while its count of users is not zero.
// Locking: number_lock (RANK_NUMBER), a leaf.
// Failure: number_alloc() returns 0 when all are in use.
#include "kernel/sched/number.h"

#include "kernel/panic.h"
#include "kernel/sched/lock.h"

#define NUMBER_FIRST (NUMBER_INIT + 1)
#define WORDS        (NUMBER_MAX / 64)

static struct spinlock number_lock = SPINLOCK_INIT(RANK_NUMBER);
static u16 users[NUMBER_MAX];         // [number_lock]
static u64 taken[WORDS] = { BIT(0) }; // [number_lock] there is no number 0
static u32 last = NUMBER_FIRST - 1;   // [number_lock]

// The first free number >= from; 0: none.
static u32 next_free(u32 from)
{
	u64 skip = BIT(from % 64) - 1; // lower numbers of the first word

	for (u32 word = from / 64; word < WORDS; word++, skip = 0) {
		u64 vacant = ~(taken[word] | skip);

		if (vacant)
			return word * 64 + (u32)__builtin_ctzll(vacant);
	}
	return 0;
}

static void use(u32 nr)
{
	ASSERT(users[nr] != UINT16_MAX);
	users[nr]++;
	taken[nr / 64] |= BIT(nr % 64); // I1
}

u32 number_alloc(void)
{
	u32 nr;

	spin_lock(&number_lock);
	nr = next_free(last + 1 < NUMBER_MAX ? last + 1 : NUMBER_FIRST);
	if (!nr)
		nr = next_free(NUMBER_FIRST);
	if (nr) {
		use(nr);
		last = nr;
	}
	spin_unlock(&number_lock);
	return nr;
}

bool number_take(u32 nr)
{
	bool is_free;

	spin_lock(&number_lock);
	is_free = users[nr] == 0;
	if (is_free)
		use(nr);
	spin_unlock(&number_lock);
	return is_free;
}

void number_get(u32 nr)
{
	spin_lock(&number_lock);
	ASSERT(users[nr]);
	use(nr);
	spin_unlock(&number_lock);
}

void number_put(u32 nr)
{
	spin_lock(&number_lock);
	ASSERT(users[nr]);
	if (--users[nr] == 0)
		taken[nr / 64] &= ~BIT(nr % 64); // I1
	spin_unlock(&number_lock);
}

u32 number_last(void)
{
	return READ_ONCE(last);
}
