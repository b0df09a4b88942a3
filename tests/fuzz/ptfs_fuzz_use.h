// SPDX-License-Identifier: MIT
//
// What: everything that can be done with a ptfs image, for the fuzzer: looking at all of it, and
// short sequences of calls that the input spells out.
// Not here: the oracles (ptfs_fuzz.h).
//
// The calls are made as the kernel's VFS makes them: it asks for the contents of regular files
// only, and gives every reference back.
#pragma once

#include "tests/fuzz/ptfs_fuzz_image.h"

#define FUZZ_OP 4u // bytes of an operation

struct fuzz_mount {
	struct ptfs_fs *fs;
	struct ptfs_inode *root;
	unsigned flags;
	u64 stores; // before it
	unsigned depth, names;
};

static inline bool fuzz_mount(struct fuzz_mount *m)
{
	m->stores = fuzz.stores;
	if (ptfs_mount(&fuzz.at->image.region, "fuzz", m->flags, &m->fs))
		return false;
	FUZZ_MUST(!ptfs_iget(m->fs, PTFS_INO_ROOT, &m->root)); // a mount looks for it
	return true;
}

static inline void fuzz_unmount(struct fuzz_mount *m, bool crash)
{
	ptfs_iput(m->root);
	if (crash)
		ptfs_abandon(m->fs);
	else
		FUZZ_MUST(!ptfs_unmount(m->fs));
	FUZZ_MUST(!(m->flags & PTFS_MOUNT_RDONLY) || m->stores == fuzz.stores);
}

// ---- Looking ----

static bool fuzz_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next);

static void fuzz_map(struct ptfs_inode *ip, u64 off)
{
	struct ptfs_page page;
	struct ptfs_map map;

	ptfs_map_lock_shared(&ip->home);
	(void)!ptfs_map_page(ip, off, false, &page);
	if (!ptfs_map_ready(ip, 0, PTFS_FILE_MAX, 100))
		(void)!ptfs_map_table(ip, &map);
	(void)!ptfs_map_subtree(ip, off, PT_PUD, &map);
	ptfs_map_unlock_shared(&ip->home);
}

static void fuzz_look(struct fuzz_mount *m, struct ptfs_inode *ip)
{
	static u8 buf[KIB(16)];
	struct ptfs_iter it = host_iter(buf, sizeof(buf));
	struct ptfs_attr a;
	u64 pos = 0;

	ptfs_getattr(ip, &a);
	if (ptfs_is(ip, PTFS_S_IFLNK))
		(void)!ptfs_readlink(ip, (char *)buf, sizeof(buf));
	if (ptfs_is(ip, PTFS_S_IFREG)) {
		(void)!ptfs_read(ip, &it, 0, sizeof(buf));
		(void)!ptfs_seek(ip, 0, true);
		fuzz_map(ip, 0);
	}
	if (ptfs_is(ip, PTFS_S_IFDIR) && m->depth < 6) {
		m->depth++;
		(void)!ptfs_readdir(ip, &pos, fuzz_name, m);
		m->depth--;
	}
}

static bool fuzz_name(void *ctx, const char *name, size_t len, u64 ino, unsigned type, u64 next)
{
	struct fuzz_mount *m = ctx;
	struct ptfs_inode *ip;

	(void)type;
	(void)next;
	if (name[0] == '.' && len <= 2)
		return true;
	if (m->names++ < 100 && !ptfs_iget(m->fs, ino, &ip)) {
		fuzz_look(m, ip);
		ptfs_iput(ip);
	}
	return m->names < 100;
}

static inline void fuzz_walk(struct fuzz_mount *m)
{
	m->names = 0;
	fuzz_look(m, m->root);
}

// ---- Operating ----

static const char *const fuzz_names[] = {
	"small",
	"paged",
	"sparse",
	"tall",
	"link",
	"huge",
	"dir",
	"below",
	"sub",
	"new",
	"newer",
	"moved",
	".",
	"..",
	"a-name-that-is-longer-than-a-unit-of-sixty-four-bytes-and-so-takes-two-of-them",
	"a-name-of-two-hundred-and-fifty-five-bytes-......................................"
	".........................................................................................."
	".............................................................................."
	".....",
};

static const u64 fuzz_places[] = {
	0,       1,        100,          4095,          4096,
	5000,    28672,    32767,        32768,         40000,
	65536,   MIB(2),   MIB(2) + 1,   MIB(2) - 4096, MIB(3),
	MIB(16), GIB(1),   GIB(1) - 1,   GIB(2),        PTFS_FILE_MAX - 4096,
	12288,   MIB(512), MIB(4) + 512, PTFS_FILE_MAX,
};

static const u64 fuzz_lengths[] = {
	1,     8,     100,    512,    4096,   5000,   8192,   12288,
	32768, 65536, 100000, 262144, MIB(1), MIB(2), MIB(5), GIB(1),
};

// An operation: what, the first name and its directory, the second or a place, an argument.
struct fuzz_op {
	struct fuzz_mount *m;
	const u8 *b;
	struct ptfs_inode *dir, *dir2; // referenced
	const char *name, *name2;
	struct ptfs_inode *ip; // what the first name says, NULL: nothing
	u64 off, len;
};

static struct ptfs_inode *fuzz_dir(struct fuzz_mount *m, unsigned which)
{
	struct ptfs_inode *dir, *sub;

	if (which && !ptfs_lookup(m->root, "dir", 3, &dir)) {
		if (which & 2 && !ptfs_lookup(dir, "sub", 3, &sub)) {
			ptfs_iput(dir);
			dir = sub;
		}
		if (ptfs_is(dir, PTFS_S_IFDIR))
			return dir;
		ptfs_iput(dir);
	}
	ptfs_ihold(m->root);
	return m->root;
}

static void fuzz_op_create(struct fuzz_op *o)
{
	static const u32 modes[] = {
		PTFS_S_IFREG | 0644, PTFS_S_IFDIR | 0755, PTFS_S_IFLNK | 0777,
		PTFS_S_IFIFO | 0600, PTFS_S_IFCHR | 0600, PTFS_S_IFLNK | 0777
	};
	struct ptfs_create_args a = { .mode = modes[o->b[3] % ARRAY_SIZE(modes)],
				      .uid = o->b[2],
				      .target = o->b[3] & 8 ? fuzz_names[15] : "short" };
	struct ptfs_inode *ip;

	if (!ptfs_create(o->dir, o->name, strlen(o->name), &a, &ip))
		ptfs_iput(ip);
}

static void fuzz_op_tmpfile(struct fuzz_op *o)
{
	struct ptfs_create_args a = { .mode = PTFS_S_IFREG | 0600 };
	struct ptfs_inode *ip;

	if (ptfs_tmpfile(o->dir, &a, o->b[3] & 1, &ip))
		return;
	(void)!fuzz_write(ip, o->len, 0, false);
	if (o->b[3] & 2)
		(void)!ptfs_link(o->dir2, o->name2, strlen(o->name2), ip);
	ptfs_iput(ip);
}

static void fuzz_op_link(struct fuzz_op *o)
{
	if (o->ip)
		(void)!ptfs_link(o->dir2, o->name2, strlen(o->name2), o->ip);
}

// Also while the file is open, by o->ip.
static void fuzz_op_unlink(struct fuzz_op *o)
{
	(void)!ptfs_unlink(o->dir, o->name, strlen(o->name));
	if (o->ip && ptfs_is(o->ip, PTFS_S_IFREG) && o->b[3] & 1)
		(void)!fuzz_write(o->ip, o->len, o->off, false);
}

static void fuzz_op_rmdir(struct fuzz_op *o)
{
	(void)!ptfs_rmdir(o->dir, o->name, strlen(o->name));
}

static void fuzz_op_rename(struct fuzz_op *o)
{
	static const unsigned flags[] = { 0, PTFS_RENAME_NOREPLACE, PTFS_RENAME_EXCHANGE, 0 };

	(void)!ptfs_rename(o->dir, o->name, strlen(o->name), o->dir2, o->name2, strlen(o->name2),
			   flags[o->b[3] & 3]);
}

static void fuzz_op_setattr(struct fuzz_op *o)
{
	struct ptfs_attr a = { .mode = o->b[2], .uid = o->b[3], .gid = 5, .mtime_ns = o->off };

	if (!o->ip)
		return;
	(void)!ptfs_setattr(o->ip, o->b[3] & 31, &a);
	ptfs_accessed(o->ip);
	(void)!ptfs_touch(o->ip);
	ptfs_getattr(o->ip, &a);
}

static void fuzz_op_read(struct fuzz_op *o)
{
	static u8 buf[KIB(64)];
	u64 len = min(o->len, sizeof(buf));
	struct ptfs_iter it = host_iter(buf, len);

	(void)!ptfs_read(o->ip, &it, o->off, len);
	(void)!ptfs_seek(o->ip, o->off, o->b[3] & 16);
}

static void fuzz_op_write(struct fuzz_op *o)
{
	(void)!fuzz_write(o->ip, o->len, o->off, false);
}

static void fuzz_op_append(struct fuzz_op *o)
{
	(void)!fuzz_write(o->ip, o->len, 0, true);
}

static void fuzz_op_truncate(struct fuzz_op *o)
{
	(void)!ptfs_truncate(o->ip, o->off);
}

static void fuzz_op_fallocate(struct fuzz_op *o)
{
	(void)!ptfs_fallocate(o->ip, o->off, o->len, o->b[3] & 16);
}

static void fuzz_op_punch(struct fuzz_op *o)
{
	(void)!ptfs_punch(o->ip, o->off, o->len);
}

static void fuzz_op_zero(struct fuzz_op *o)
{
	(void)!ptfs_zero_range(o->ip, o->off, min(o->len, MIB(2)), o->b[3] & 16);
}

static void fuzz_op_collapse(struct fuzz_op *o)
{
	(void)!ptfs_collapse(o->ip, o->off & ~(PTFS_BLOCK - 1), ALIGN_UP(o->len, PTFS_BLOCK));
}

static void fuzz_op_fault(struct fuzz_op *o)
{
	struct ptfs_page page;

	ptfs_map_lock_shared(&o->ip->home);
	(void)!ptfs_map_page(o->ip, o->off, o->b[3] & 1, &page);
	ptfs_map_unlock_shared(&o->ip->home);
	fuzz_map(o->ip, o->off);
	(void)!ptfs_sync_range(o->ip, o->off, o->len);
}

static void fuzz_op_look(struct fuzz_op *o)
{
	struct ptfs_statfs s;

	ptfs_statfs(o->m->fs, &s);
	fuzz_look(o->m, o->dir);
	if (o->ip)
		fuzz_look(o->m, o->ip);
}

static void fuzz_op_rebase(struct fuzz_op *o)
{
	for (unsigned i = 0; i < 1 + o->b[3] % 16u; i++)
		if (ptfs_rebase(o->m->fs, 4) != 1)
			break;
}

static const struct {
	void (*call)(struct fuzz_op *o);
	bool contents; // for regular files only
} fuzz_ops[] = {
	{ fuzz_op_create, false },  { fuzz_op_tmpfile, false }, { fuzz_op_link, false },
	{ fuzz_op_unlink, false },  { fuzz_op_rmdir, false },   { fuzz_op_rename, false },
	{ fuzz_op_setattr, false }, { fuzz_op_look, false },    { fuzz_op_rebase, false },
	{ fuzz_op_read, true },     { fuzz_op_write, true },    { fuzz_op_append, true },
	{ fuzz_op_truncate, true }, { fuzz_op_punch, true },    { fuzz_op_fallocate, true },
	{ fuzz_op_zero, true },     { fuzz_op_fault, true },    { fuzz_op_collapse, true },
	{ fuzz_op_rename, false },
};
#define FUZZ_REMOUNT ARRAY_SIZE(fuzz_ops) // the one after them: at another address

// False: the mount is gone, for good.
static inline bool fuzz_remount(struct fuzz_mount *m, const u8 *b)
{
	u64 base = fuzz_bases[b[1] % ARRAY_SIZE(fuzz_bases)];

	fuzz_unmount(m, b[2] & 1);
	fuzz.at->image.region.base = PHYS(base ? base : fuzz.at->base);
	m->flags = b[3] & PTFS_MOUNT_SCAN;
	return fuzz_mount(m);
}

static inline bool fuzz_operate(struct fuzz_mount *m, const u8 *b)
{
	unsigned what = b[0] % (FUZZ_REMOUNT + 1);
	struct fuzz_op o = { .m = m,
			     .b = b,
			     .name = fuzz_names[b[1] & 15],
			     .name2 = fuzz_names[b[2] & 15],
			     .off = fuzz_places[b[2] % ARRAY_SIZE(fuzz_places)],
			     .len = fuzz_lengths[b[3] & 15] };

	if (what == FUZZ_REMOUNT)
		return fuzz_remount(m, b);
	o.dir = fuzz_dir(m, b[1] >> 4 & 3);
	o.dir2 = fuzz_dir(m, b[2] >> 4 & 3);
	if (ptfs_lookup(o.dir, o.name, strlen(o.name), &o.ip))
		o.ip = NULL;
	if (!fuzz_ops[what].contents || (o.ip && ptfs_is(o.ip, PTFS_S_IFREG)))
		fuzz_ops[what].call(&o);
	if (o.ip)
		ptfs_iput(o.ip);
	ptfs_iput(o.dir2);
	ptfs_iput(o.dir);
	return true;
}
