// SPDX-License-Identifier: MIT
//
// What: the cache of names.
// Not here: walking a path through it (fs/namei.c).
//
//      negative --instantiate--> positive --delete--> dead: off the hash, alive while referenced
//          ^-----------unlinked-----'   if nobody else has a reference
//      hashed: the cache holds one reference, and the dentry stands in the LRU list
//      hashed, refs 1: only the cache knows it, it may be dropped at any time
//
// Invariants:
//   I1  References are taken under dcache_lock, or by who has one. So refs of a hashed dentry is 1
//       only while nobody can take another one without the lock, and one that reaches 0 has left
//       the hash and can be freed by who dropped it.
//   I2  A dentry holds a reference to its parent, so parents outlive children.
//   I3  New names come into a directory's part of the cache only under that directory's lock: no
//       name is hashed twice.
//   I4  A positive dentry stays positive with the same inode for everybody who has a reference.
//   I5  Names below a VOLATILE directory are never hashed.
//   I6  A hashed dentry stands in its parent's `children`. They leave the cache when the directory
//       is removed, so that nothing holds its inode; one that somebody uses at that moment stays
//       until the LRU list is swept.
// Locking: dcache_lock, a spinlock. A walk through cached names holds it once for the whole path
// and takes no reference on the way.
#include "fs/dcache.h"

#include "fs/vfs_internal.h"
#include "kernel/lib/string.h"
#include "kernel/panic.h"
#include "mm/frame.h"
#include "mm/heap.h"

#define SHRINK_STEP 64

struct spinlock dcache_lock = SPINLOCK_INIT(RANK_DCACHE);

struct dentry *dcache_buckets[1u << DCACHE_BITS];
static struct list lru = LIST_INIT(lru); // [dcache_lock] oldest first
static u64 nr_cached;                    // on `lru` [dcache_lock]

u64 name_word_by_bytes(const char *s, size_t n)
{
	u64 w = 0;

	for (size_t k = 0; k < min(n, 8ul) && s[k]; k++)
		w |= (u64)(u8)s[k] << (8 * k);
	return w;
}

u32 name_hash(const char *name, size_t len)
{
	u64 h = 0;

	for (; len >= 8; name += 8, len -= 8)
		h = name_hash_step(h, name_word(name, len));
	if (len)
		h = name_hash_step(h, name_word_head(name_word(name, len), len));
	return (u32)h;
}

bool name_equal(const char *a, const char *b, size_t len)
{
	for (; len >= 8; a += 8, b += 8, len -= 8)
		if (name_word(a, len) != name_word(b, len))
			return false;
	return !len || !name_word_head(name_word(a, len) ^ name_word(b, len), len);
}

static void chain_add(struct dentry *d)
{
	struct dentry **head = dcache_bucket(d->parent, d->hash);

	d->hash_next = *head;
	d->hash_prev = head;
	if (*head)
		(*head)->hash_prev = &d->hash_next;
	*head = d;
	list_add(&d->parent->children, &d->child_node);
}

static void chain_del(struct dentry *d)
{
	list_del(&d->child_node);
	*d->hash_prev = d->hash_next;
	if (d->hash_next)
		d->hash_next->hash_prev = d->hash_prev;
}

static void names_add(struct dentry *d)
{
	struct dentry **head = &d->inode->names;

	d->name_next = *head;
	d->name_prev = head;
	if (*head)
		(*head)->name_prev = &d->name_next;
	*head = d;
}

static void names_del(struct dentry *d)
{
	*d->name_prev = d->name_next;
	if (d->name_next)
		d->name_next->name_prev = d->name_prev;
}

// Into the cache, which takes a reference.
static void cache_add(struct dentry *d)
{
	if (d->inode)
		names_add(d);
	ref_get(&d->refs);
	d->flags |= DENTRY_HASHED;
	chain_add(d);
	list_add_tail(&lru, &d->lru_node);
	nr_cached++;
}

// Out of it. The cache's reference is now the caller's.
static void cache_remove(struct dentry *d)
{
	if (d->inode)
		names_del(d);
	d->flags &= ~DENTRY_HASHED;
	chain_del(d);
	list_del(&d->lru_node);
	nr_cached--;
}

char *dcache_long_name(const char *name, size_t len)
{
	char *copy = kzalloc(ALIGN_UP(len, 8));

	if (copy)
		memcpy(copy, name, len);
	return copy;
}

// `on_heap`: from dcache_long_name(), or NULL if the name fits inside.
static void set_name(struct dentry *d, const char *name, size_t len, char *on_heap)
{
	d->name = on_heap ? on_heap : d->inline_name;
	d->name_len = (u16)len;
	memset(d->inline_name, 0, sizeof(d->inline_name));
	memcpy(d->inline_name, name, min(len, sizeof(d->inline_name)));
}

// One reference, not hashed. Takes over the reference to `i` and takes one to `parent`.
static struct dentry *dentry_alloc(struct dentry *parent, const char *name, size_t len,
				   struct inode *i)
{
	struct dentry *d = kzalloc(sizeof(*d));
	char *on_heap = NULL;

	if (!d)
		return NULL;
	if (len > DENTRY_INLINE) {
		on_heap = dcache_long_name(name, len);
		if (!on_heap) {
			kfree(d);
			return NULL;
		}
	}
	set_name(d, name, len, on_heap);
	d->refs = 1;
	d->inode = i;
	list_init(&d->lru_node);
	list_init(&d->children);
	list_init(&d->child_node);
	d->parent = parent ? dentry_get(parent) : d;
	d->super = parent ? parent->super : i->super;
	return d;
}

struct dentry *dentry_create_root(struct inode *i)
{
	return dentry_alloc(NULL, "", 0, i);
}

struct dentry *dentry_create_dead(struct dentry *parent, const char *name, size_t len,
				  struct inode *i)
{
	struct dentry *d = dentry_alloc(parent, name, len, i);

	if (d)
		d->flags |= DENTRY_DEAD;
	return d;
}

struct dentry *dentry_get(struct dentry *d)
{
	ref_get(&d->refs);
	return d;
}

// Frees a dentry that nobody can find. The reference to its parent is now the caller's.
static struct dentry *dentry_free(struct dentry *d)
{
	struct dentry *parent = d->parent != d ? d->parent : NULL;

	if (d->inode)
		inode_put(d->inode);
	if (d->name != d->inline_name)
		kfree(d->name);
	kfree(d);
	return parent;
}

static u64 cache_limit(void)
{
	static u64 limit; // the same whoever computes it

	if (!limit)
		limit = max(min(frame_stats().total / 32, 65536ull), 1024ull);
	return limit;
}

// Up to `count` unused dentries (of `s`, if given) leave the cache and go to `out`; `look` at so
// many. Those in use, and those found lately, go to the end of the list.
static void collect(struct super *s, u64 count, u64 look, bool second_chance, struct list *out)
{
	struct dentry *d, *next;

	list_for_each_safe(d, next, &lru, lru_node) {
		if (!count || !look--)
			return;
		if (s && d->super != s)
			continue;
		if (d->refs > 1 || (second_chance && (d->flags & DENTRY_USED))) {
			d->flags &= ~DENTRY_USED;
			list_del(&d->lru_node);
			list_add_tail(&lru, &d->lru_node);
			continue;
		}
		cache_remove(d);
		list_add_tail(out, &d->lru_node);
		count--;
	}
}

static u64 free_collected(struct list *dead)
{
	struct list *n;
	u64 freed = 0;

	for (; (n = list_pop(dead)); freed++)
		dentry_put(list_entry(n, struct dentry, lru_node));
	return freed;
}

static void shrink_some(void)
{
	struct list dead = LIST_INIT(dead);

	spin_lock(&dcache_lock);
	collect(NULL, SHRINK_STEP, 4 * SHRINK_STEP, true, &dead);
	spin_unlock(&dcache_lock);
	free_collected(&dead);
}

void dcache_shrink(struct super *s)
{
	struct list dead = LIST_INIT(dead);

	do { // a parent becomes unused when its last child went
		spin_lock(&dcache_lock);
		collect(s, ~0ull, nr_cached, false, &dead);
		spin_unlock(&dcache_lock);
	} while (free_collected(&dead));
}

void dentry_put(struct dentry *d)
{
	while (d && ref_put_is_last(&d->refs)) {
		ASSERT(!(d->flags & DENTRY_HASHED));
		d = dentry_free(d);
	}
}

// A directory that has a name in the cache already. A damaged file system may say so; with two
// names its lock would be two places in the order of locks (fs/rename.c).
static bool is_elsewhere(const struct inode *i)
{
	bool named;

	if (!S_ISDIR(i->mode) || (i->flags & INODE_VOLATILE))
		return false;
	spin_lock(&dcache_lock);
	named = i->names;
	spin_unlock(&dcache_lock);
	return named;
}

int dcache_lookup(struct dentry *parent, const char *name, size_t len, u32 hash,
		  struct dentry **out)
{
	struct inode *dir = parent->inode;
	struct inode *found = NULL;
	struct dentry *d;
	bool crowded;
	int err;

	if (dir->flags & INODE_DEAD)
		return -ENOENT;
	spin_lock(&dcache_lock);
	d = dcache_find(parent, name, len, hash, name_head(name, len));
	if (d)
		dentry_get(d);
	spin_unlock(&dcache_lock);
	*out = d;
	if (d)
		return 0;
	err = dir->ops->lookup(dir, name, len, &found);
	if (err && err != -ENOENT)
		return err;
	if (found && unlikely(is_elsewhere(found))) {
		inode_put(found);
		return -EUCLEAN;
	}
	d = dentry_alloc(parent, name, len, found);
	if (!d) {
		if (found)
			inode_put(found);
		return -ENOMEM;
	}
	d->hash = hash;
	if (!(dir->flags & INODE_VOLATILE)) {
		spin_lock(&dcache_lock);
		cache_add(d);
		crowded = nr_cached > cache_limit();
		spin_unlock(&dcache_lock);
		if (crowded)
			shrink_some();
	}
	*out = d;
	return 0;
}

void dcache_instantiate(struct dentry *d, struct inode *i)
{
	ASSERT(!d->inode);
	spin_lock(&dcache_lock);
	__atomic_store_n(&d->inode, i, __ATOMIC_RELEASE);
	if (d->flags & DENTRY_HASHED)
		names_add(d);
	spin_unlock(&dcache_lock);
}

// Up to SHRINK_STEP names in `d` that nobody uses leave the cache and go to `out`.
static void collect_children(struct dentry *d, struct list *out)
{
	struct dentry *child, *next;
	u64 count = SHRINK_STEP;

	list_for_each_safe(child, next, &d->children, child_node) {
		if (child->refs > 1)
			continue;
		cache_remove(child);
		list_add_tail(out, &child->lru_node);
		if (!--count)
			return;
	}
}

static void drop_children(struct dentry *d)
{
	struct list dead = LIST_INIT(dead);

	do {
		spin_lock(&dcache_lock);
		collect_children(d, &dead);
		spin_unlock(&dcache_lock);
	} while (free_collected(&dead) == SHRINK_STEP);
}

void dcache_delete(struct dentry *d)
{
	bool cached;

	if (d->inode && S_ISDIR(d->inode->mode))
		drop_children(d);
	spin_lock(&dcache_lock);
	cached = d->flags & DENTRY_HASHED;
	if (cached)
		cache_remove(d);
	d->flags |= DENTRY_DEAD;
	spin_unlock(&dcache_lock);
	if (cached)
		dentry_put(d); // not the last one: the caller has its own
}

struct inode *dcache_unlinked(struct dentry *d)
{
	struct inode *i = NULL;

	spin_lock(&dcache_lock);
	if ((d->flags & DENTRY_HASHED) && d->refs == 2) { // I1: the cache's and the caller's
		i = d->inode;
		names_del(d);
		__atomic_store_n(&d->inode, NULL, __ATOMIC_RELEASE);
	}
	spin_unlock(&dcache_lock);
	if (!i)
		dcache_delete(d);
	return i;
}

void dcache_move(struct dentry *d, struct dentry *new_parent, const char *name, size_t len,
		 char *heap_name)
{
	struct dentry *old_parent = d->parent;
	char *old_name;

	dentry_get(new_parent);
	spin_lock(&dcache_lock);
	chain_del(d);
	old_name = d->name != d->inline_name ? d->name : NULL;
	set_name(d, name, len, heap_name);
	d->hash = name_hash(name, len);
	d->parent = new_parent;
	chain_add(d);
	spin_unlock(&dcache_lock);
	kfree(old_name);
	dentry_put(old_parent);
}

void dcache_exchange(struct dentry *a, struct dentry *b)
{
	char inline_name[DENTRY_INLINE];
	struct dentry *parent = a->parent;
	char *name = a->name != a->inline_name ? a->name : NULL;
	u16 len = a->name_len;
	u32 hash = a->hash;

	spin_lock(&dcache_lock);
	chain_del(a);
	chain_del(b);
	memcpy(inline_name, a->inline_name, sizeof(inline_name));
	memcpy(a->inline_name, b->inline_name, sizeof(inline_name));
	memcpy(b->inline_name, inline_name, sizeof(inline_name));
	a->name = b->name != b->inline_name ? b->name : a->inline_name;
	b->name = name ? name : b->inline_name;
	a->name_len = b->name_len;
	b->name_len = len;
	a->hash = b->hash;
	b->hash = hash;
	a->parent = b->parent; // each takes over the other's reference
	b->parent = parent;
	chain_add(a);
	chain_add(b);
	spin_unlock(&dcache_lock);
}

bool dentry_is_inside(struct dentry *d, const struct dentry *ancestor)
{
	bool inside;

	spin_lock(&dcache_lock);
	while (d != ancestor && d->parent != d)
		d = d->parent;
	inside = d == ancestor;
	spin_unlock(&dcache_lock);
	return inside;
}
