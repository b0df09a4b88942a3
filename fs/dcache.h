// SPDX-License-Identifier: MIT
//
// Names in memory: a dentry is one edge (directory, name) -> inode, or the knowledge that there is
// no such name (negative). Dentries make path walks cheap and give getcwd and "..". A file system
// is mounted in one place, so a dentry alone says where one is; `mounted` and super->covered lead
// across mount points.
#pragma once

#include "fs/vfs.h"
#include "kernel/lib/string.h"

enum dentry_flags {
	DENTRY_HASHED = 1, // in the cache
	DENTRY_USED = 2,   // found since the list was last swept: gets a second chance
	DENTRY_DEAD = 4,   // the name was removed
};

#define DENTRY_INLINE 40

struct dentry {
	struct dentry *parent; // reference held; itself for a root [dcache_lock]
	struct inode *inode;   // reference held; NULL: negative. Goes from NULL to an inode once
	struct super *super;
	struct super *mounted;                 // what is mounted on it [dcache_lock]
	u32 refs;                              // atomic; the cache's own counts
	u32 hash;                              // of the name [dcache_lock]
	u16 flags;                             // [dcache_lock]
	u16 name_len;                          // [dcache_lock]
	char *name;                            // inline_name, or from the heap [dcache_lock]
	struct dentry *hash_next, **hash_prev; // [dcache_lock]
	struct dentry *name_next, **name_prev; // other names of the inode [dcache_lock]
	struct list children, child_node; // hashed names in it; in parent->children [dcache_lock]
	struct list lru_node;             // [dcache_lock]
	// The name, or the beginning of one that is longer. Behind a name there are zeros, here and
	// on the heap, to the next multiple of 8 bytes.
	union {
		u64 head;
		char inline_name[DENTRY_INLINE];
	};
};

extern struct spinlock dcache_lock; // RANK_DCACHE: all of the above, contexts' root and cwd

static inline struct inode *dentry_inode(const struct dentry *d)
{
	return __atomic_load_n(&d->inode, __ATOMIC_ACQUIRE);
}

// ---- Names by words of 8 bytes: most have one or two ----

// The up to `n` bytes of a name (or a path, which ends in NUL: then n is 8) that begin at s, and
// anything behind them. The next page may not be there, so bytes near the end of one are taken one
// by one.
u64 name_word_by_bytes(const char *s, size_t n);
static inline u64 name_word(const char *s, size_t n)
{
	if (likely(((u64)s & (PAGE_SIZE - 1)) <= PAGE_SIZE - 8))
		return load64(s);
	return name_word_by_bytes(s, n);
}

// The lowest bit set is the top bit of the first byte of w that is 0; no bit: there is none.
static inline u64 name_zero_byte(u64 w)
{
	return (w - 0x0101010101010101ull) & ~w & 0x8080808080808080ull;
}

// The first n < 8 bytes, zeros behind.
static inline u64 name_word_head(u64 w, size_t n)
{
	return w & (BIT(8 * n) - 1);
}

// The hash goes on with a word; the last one of a name with zeros behind it, if it is not empty.
static inline u64 name_hash_step(u64 h, u64 w)
{
	h = (h ^ w) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 32;
}

// The first 8 bytes of a name, zeros behind it.
static inline u64 name_head(const char *name, size_t len)
{
	u64 w = name_word(name, len);

	return len < 8 ? name_word_head(w, len) : w;
}

u32 name_hash(const char *name, size_t len);
bool name_equal(const char *a, const char *b, size_t len);

// Is it the name that `d` has, which ends in zeros? The first 8 bytes are known to be.
static inline bool name_equal_behind_head(const struct dentry *d, const char *name, size_t len)
{
	const char *have = d->name;

	for (; len > 8; have += 8, name += 8, len -= 8)
		if (load64(have + 8) != name_head(name + 8, len - 8))
			return false;
	return true;
}

// The root of a mounted file system (takes over the caller's reference to `i`), or a place for an
// inode without a name. NULL: out of memory, the reference stays the caller's.
struct dentry *dentry_create_root(struct inode *i);

// A name in `parent` that nobody can look up, as of a removed file: for files that never had one.
// Takes over the reference to `i`; NULL as above.
struct dentry *dentry_create_dead(struct dentry *parent, const char *name, size_t len,
				  struct inode *i);

struct dentry *dentry_get(struct dentry *d);
void dentry_put(struct dentry *d); // may sleep (inode_put)

#define DCACHE_BITS 13

extern struct dentry *dcache_buckets[1u << DCACHE_BITS]; // [dcache_lock]
static inline struct dentry **dcache_bucket(const struct dentry *parent, u32 hash)
{
	u64 h = ((u64)parent + hash) * 0x9e3779b97f4a7c15ull;

	return &dcache_buckets[h >> (64 - DCACHE_BITS)];
}

// The cached name, or NULL; no reference. `head`: name_head(). In line: each step of a walk.
static inline struct dentry *dcache_find(struct dentry *parent, const char *name, size_t len,
					 u32 hash, u64 head) REQUIRES(dcache_lock)
{
	struct dentry *d;

	for (d = *dcache_bucket(parent, hash); d; d = d->hash_next)
		if (d->hash == hash && d->parent == parent && d->name_len == len &&
		    d->head == head && name_equal_behind_head(d, name, len)) {
			// Found often: the line stays where it is read.
			if (unlikely(!(d->flags & DENTRY_USED)))
				d->flags |= DENTRY_USED;
			break;
		}
	return d;
}

// The name, from the cache or by the file system's lookup: a dentry with a reference, negative if
// there is none such. The directory's lock is held. -ENOENT: the directory was removed; -ENOMEM.
int dcache_lookup(struct dentry *parent, const char *name, size_t len, u32 hash,
		  struct dentry **out) __must_check;
// A negative dentry comes to name `i` (reference taken over).
void dcache_instantiate(struct dentry *d, struct inode *i);
// The name was removed from the file system, or another file comes to it. What the cache knows
// about names in `d` goes with it: of a directory that is no more nothing keeps the inode.
void dcache_delete(struct dentry *d);
// The name of a file that is no directory was removed. If the caller alone has a reference, the
// cache keeps the knowledge that there is no such name. Returns the inode if `d` has let go of it:
// the reference is the caller's, to be dropped without the directory's lock. Else NULL.
struct inode *dcache_unlinked(struct dentry *d) __must_check;
// A copy on the heap, of a name that does not fit inside a dentry (DENTRY_INLINE). NULL: no memory.
char *dcache_long_name(const char *name, size_t len);
// The file was renamed. `heap_name` (from dcache_long_name, or NULL if the name fits inside) is
// taken over.
void dcache_move(struct dentry *d, struct dentry *new_parent, const char *name, size_t len,
		 char *heap_name);
void dcache_exchange(struct dentry *a, struct dentry *b);

// Drop unused names: all of `s`, or of everything (NULL).
void dcache_shrink(struct super *s);

// Is `d` inside (or equal to) `ancestor`? Follows parents within one file system.
bool dentry_is_inside(struct dentry *d, const struct dentry *ancestor);
