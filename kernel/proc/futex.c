// SPDX-License-Identifier: MIT
//
// What: futexes: hash buckets of sleeping threads, found by the word that they sleep at.
// Not here: decoding of futex(2) (kernel/sys/sys_futex.c), words of threads that end (robust.c).
//
// A word is known by a key: the address space and the address, or, if it is to be shared and lies
// in a shared mapping, the mapped object and the offset in it. As in Linux, who waits with and who
// waits without FUTEX_PRIVATE do not meet, even where the memory is private.
//
// Invariants:
//   I1  No wake-up is lost. A waiter looks at the word and enters its bucket in one critical
//       section of the bucket's lock. A waker has changed the word before it takes that lock. If
//       the waiter was first, the waker finds it; if the waker was first, the waiter sees the new
//       value and does not sleep.
//   I2  A waiter is in the bucket of its key, or woken. Who takes it out of the bucket, or into
//       another one, holds the locks of both.
//   I3  A waiter returns only after it held its bucket's lock once more: by then nobody touches it.
//   I4  A key with an object holds a reference, so no other object can take its address: one of
//       each waiter, and one of the caller while it looks.
// Locking: bucket lock (RANK_FUTEX; two of them: the lower address first), then wait queues. User
// memory is read with faults off under it; a page that is not there is brought in without it.
#include "kernel/proc/futex.h"

#include "kernel/lib/errno.h"
#include "kernel/lib/list.h"
#include "kernel/sched/lock.h"
#include "kernel/sched/thread.h"
#include "kernel/sched/wait.h"
#include "mm/aspace.h"
#include "mm/layout.h"
#include "mm/uaccess.h"
#include "mm/vmobject.h"

#define BUCKETS 256u

struct key {
	const void *space;        // the object, or the address space
	u64 where;                // offset in the object, or address; bit 0: shared
	struct vm_object *object; // with a reference; NULL: of this address space alone
};

static struct bucket {
	struct spinlock lock;
	struct list waiters; // first come first served [lock]
} __cacheline buckets[BUCKETS];

struct waiter {
	struct list node;       // [lock of `bucket`]
	struct bucket *bucket;  // I2
	struct key key;         // [lock of `bucket`]
	bool woken;             // [lock of `bucket`]
	u32 bitset;             // constant
	struct wait_queue wait; // it alone sleeps there
};

// ---- Keys ---------------------------------------------------------------------------------------

static void object_get(struct vm_object *o)
{
	if (o)
		vm_object_get(o);
}

static void object_put(struct vm_object *o)
{
	if (o)
		vm_object_put(o);
}

static int key_get(uva_t at, bool shared, struct key *key)
{
	struct aspace *as = thread_current()->as;
	struct vm_object *object;
	u64 offset;
	int err;

	if (!IS_ALIGNED(at.va, sizeof(u32)))
		return -EINVAL;
	if (at.va >= USER_END)
		return -EFAULT;
	*key = (struct key){ .space = as, .where = at.va + shared };
	if (!shared)
		return 0;
	err = aspace_shared_place(as, at, &object, &offset);
	if (err || !object)
		return err;
	*key = (struct key){ .space = object, .where = offset + shared, .object = object };
	return 0;
}

static void key_put(const struct key *key)
{
	object_put(key->object);
}

static bool same(const struct key *a, const struct key *b)
{
	return a->space == b->space && a->where == b->where;
}

static struct bucket *bucket_of(const struct key *key)
{
	u64 x = ((u64)key->space >> 4) * 0x9e3779b97f4a7c15ull + (key->where >> 2);

	x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull;
	return &buckets[(x >> 32) % BUCKETS];
}

// ---- Waiters ------------------------------------------------------------------------------------

// The word, bucket lock held. -EFAULT: not to be had without sleeping.
static int load(uva_t at, u32 *value)
{
	int err;

	uaccess_faults_off();
	err = user_load_u32(value, at);
	uaccess_faults_on();
	return err;
}

static int bring_in(uva_t at, bool write)
{
	return aspace_fault_in(thread_current()->as, at, sizeof(u32), write) ? -EFAULT : 0;
}

static int enter(struct waiter *w, uva_t at, u32 value)
{
	struct bucket *b = bucket_of(&w->key);
	u32 found;
	int err;

	for (;;) {
		spin_lock(&b->lock);
		err = load(at, &found);
		if (!err && found == value) { // I1
			w->bucket = b;
			list_add_tail(&b->waiters, &w->node);
		}
		spin_unlock(&b->lock);
		if (!err)
			return found == value ? 0 : -EAGAIN;
		err = bring_in(at, false);
		if (err)
			return err;
	}
}

// False: nobody has woken it. NO_TSA: the lock is found in a loop.
static NO_TSA bool leave(struct waiter *w)
{
	struct bucket *b;
	bool woken;

	for (;;) {
		b = READ_ONCE(w->bucket);
		spin_lock(&b->lock); // I3
		if (b == w->bucket)
			break;
		spin_unlock(&b->lock); // moved to another bucket in between
	}
	woken = w->woken;
	list_del(&w->node);
	spin_unlock(&b->lock);
	return woken;
}

static void wake(struct waiter *w)
{
	list_del(&w->node);
	WRITE_ONCE(w->woken, true);
	wait_wake_all(&w->wait);
}

// Bucket lock held.
static s64 wake_matching(struct bucket *b, const struct key *key, u32 bitset, s32 count)
{
	struct waiter *w, *tmp;
	s64 woken = 0;

	list_for_each_safe(w, tmp, &b->waiters, node) {
		if (!same(&w->key, key) || !(w->bitset & bitset))
			continue;
		wake(w);
		if (++woken >= count)
			break;
	}
	return woken;
}

int futex_wait(uva_t at, u32 value, u32 bitset, bool shared, u64 deadline_ns)
{
	struct waiter w = { .bitset = bitset };
	int err = key_get(at, shared, &w.key);

	if (err)
		return err;
	wait_queue_init(&w.wait);
	err = enter(&w, at, value);
	if (!err) {
		err = wait_event_timeout(&w.wait, READ_ONCE(w.woken), deadline_ns);
		if (leave(&w))
			err = 0;
	}
	key_put(&w.key);
	return err;
}

s64 futex_wake(uva_t at, u32 bitset, bool shared, s32 count)
{
	struct bucket *b;
	struct key key;
	s64 ret = key_get(at, shared, &key);

	if (ret)
		return ret;
	b = bucket_of(&key);
	spin_lock(&b->lock);
	ret = wake_matching(b, &key, bitset, count);
	spin_unlock(&b->lock);
	key_put(&key);
	return ret;
}

// ---- Two words ----------------------------------------------------------------------------------

struct pair {
	uva_t from, to;
	struct key from_key, to_key;
	struct bucket *from_bucket, *to_bucket;
};

static int pair_get(struct pair *p, uva_t from, uva_t to, bool shared)
{
	int err = key_get(from, shared, &p->from_key);

	if (err)
		return err;
	err = key_get(to, shared, &p->to_key);
	if (err) {
		key_put(&p->from_key);
		return err;
	}
	p->from = from;
	p->to = to;
	p->from_bucket = bucket_of(&p->from_key);
	p->to_bucket = bucket_of(&p->to_key);
	return 0;
}

static void pair_put(const struct pair *p)
{
	key_put(&p->from_key);
	key_put(&p->to_key);
}

static NO_TSA void pair_lock(const struct pair *p)
{
	spin_lock(&min(p->from_bucket, p->to_bucket)->lock);
	if (p->from_bucket != p->to_bucket)
		spin_lock_nested(&max(p->from_bucket, p->to_bucket)->lock);
}

static NO_TSA void pair_unlock(const struct pair *p)
{
	if (p->from_bucket != p->to_bucket)
		spin_unlock(&max(p->from_bucket, p->to_bucket)->lock);
	spin_unlock(&min(p->from_bucket, p->to_bucket)->lock);
}

// Both locks held. How many were woken or moved; *moved of them with a reference to the object of
// `to`, so that as many to that of `from` are to be dropped.
static s64 requeue(const struct pair *p, s32 wake_count, s32 move_count, s32 *moved)
{
	bool stays = same(&p->from_key, &p->to_key);
	struct waiter *w, *tmp;
	s64 done = 0;

	*moved = 0;
	list_for_each_safe(w, tmp, &p->from_bucket->waiters, node) {
		if (!same(&w->key, &p->from_key))
			continue;
		if (done >= (s64)wake_count + move_count)
			break;
		if (done++ < wake_count) {
			wake(w);
			continue;
		}
		if (stays)
			continue;
		w->key = p->to_key;
		object_get(w->key.object); // I4
		(*moved)++;
		if (p->from_bucket == p->to_bucket)
			continue;
		list_del(&w->node);
		list_add_tail(&p->to_bucket->waiters, &w->node);
		__atomic_store_n(&w->bucket, p->to_bucket, __ATOMIC_RELAXED); // I2
	}
	return done;
}

s64 futex_requeue(uva_t from, uva_t to, bool shared, s32 wake_count, s32 move_count,
		  const u32 *expected)
{
	struct pair p;
	s32 moved = 0;
	u32 found;
	s64 ret;
	int err;

	if (wake_count < 0 || move_count < 0)
		return -EINVAL;
	ret = pair_get(&p, from, to, shared);
	if (ret)
		return ret;
	do {
		pair_lock(&p);
		err = expected ? load(from, &found) : 0;
		if (!err && expected && found != *expected)
			ret = -EAGAIN;
		else if (!err)
			ret = requeue(&p, wake_count, move_count, &moved);
		pair_unlock(&p);
		if (err)
			ret = bring_in(from, false);
	} while (err && !ret);
	while (moved-- > 0)
		object_put(p.from_key.object);
	pair_put(&p);
	return ret;
}

// ---- FUTEX_WAKE_OP ------------------------------------------------------------------------------

enum { OP_SET, OP_ADD, OP_OR, OP_ANDN, OP_XOR };
enum { CMP_EQ, CMP_NE, CMP_LT, CMP_LE, CMP_GT, CMP_GE };
#define OP_SHIFT 8u // the operand is a bit number

struct wake_op {
	unsigned op, cmp;
	s32 operand, against;
};

static int decode_op(u32 word, struct wake_op *out)
{
	*out = (struct wake_op){
		.op = word >> 28 & 7,
		.cmp = word >> 24 & 15,
		.operand = (s32)(word << 8) >> 20, // 12 bits with a sign
		.against = (s32)(word << 20) >> 20,
	};
	if (word >> 28 & OP_SHIFT)
		out->operand = (s32)(1u << (out->operand & 31));
	return out->op <= OP_XOR && out->cmp <= CMP_GE ? 0 : -ENOSYS;
}

static u32 apply(const struct wake_op *o, u32 old)
{
	switch (o->op) {
	case OP_SET: return (u32)o->operand;
	case OP_ADD: return old + (u32)o->operand;
	case OP_OR: return old | (u32)o->operand;
	case OP_ANDN: return old & ~(u32)o->operand;
	default: return old ^ (u32)o->operand;
	}
}

static bool compares(const struct wake_op *o, u32 value)
{
	s32 old = (s32)value;

	switch (o->cmp) {
	case CMP_EQ: return old == o->against;
	case CMP_NE: return old != o->against;
	case CMP_LT: return old < o->against;
	case CMP_LE: return old <= o->against;
	case CMP_GT: return old > o->against;
	default: return old >= o->against;
	}
}

// Atomically, with faults off. *old: what was there.
static int change(uva_t at, const struct wake_op *o, u32 *old)
{
	u32 expected;
	int err;

	uaccess_faults_off();
	err = user_load_u32(old, at);
	do {
		expected = *old;
		if (!err)
			err = user_cmpxchg_u32(at, old, apply(o, expected));
	} while (!err && *old != expected);
	uaccess_faults_on();
	return err;
}

s64 futex_wake_op(uva_t from, uva_t to, bool shared, s32 wake_count, s32 wake_to, u32 operation)
{
	struct wake_op o;
	struct pair p;
	u32 old;
	s64 ret;
	int err;

	// As Linux: the addresses are looked at before the operation is.
	ret = pair_get(&p, from, to, shared);
	if (ret)
		return ret;
	ret = decode_op(operation, &o);
	err = ret ? 0 : -EFAULT;
	while (err && !ret) {
		pair_lock(&p);
		err = change(to, &o, &old);
		if (!err) {
			ret = wake_matching(p.from_bucket, &p.from_key, FUTEX_ANY, wake_count);
			if (compares(&o, old))
				ret += wake_matching(p.to_bucket, &p.to_key, FUTEX_ANY, wake_to);
		}
		pair_unlock(&p);
		if (err)
			ret = bring_in(to, true);
	}
	pair_put(&p);
	return ret;
}

void futex_init(void)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		spin_init(&buckets[i].lock, RANK_FUTEX);
		list_init(&buckets[i].waiters);
	}
}
