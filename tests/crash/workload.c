// SPDX-License-Identifier: MIT
//
// What: the operations that the explorer runs, on one small file system that has a file of each
// shape. ACE style: every operation alone, pairs of them, and some longer sequences for what takes
// more than two steps to happen.
// Not here: which pairs (explore.c).
//
// A new operation is one line of `ops`. It may fail (its name may be gone): then nothing may
// change.
#include "tests/crash/crash.h"

static struct ptfs_fs *fs;
static u8 data[MIB(3)];

static int namei(const char *path, struct ptfs_inode **out)
{
	int err = ptfs_iget(fs, PTFS_INO_ROOT, out);

	while (!err && *path == '/') {
		size_t len = strcspn(++path, "/");
		struct ptfs_inode *dir = *out;

		if (!len)
			break;
		err = ptfs_lookup(dir, path, len, out);
		ptfs_iput(dir);
		path += len;
	}
	return err;
}

// The directory of the last name.
static int parent(const char *path, struct ptfs_inode **dir, const char **name)
{
	char up[320];

	*name = strrchr(path, '/') + 1;
	snprintf(up, sizeof(up), "%.*s", (int)(*name - path), path);
	return namei(up, dir);
}

static int create_as(const char *path, u32 mode, const char *target)
{
	struct ptfs_create_args a = { .mode = mode, .target = target };
	struct ptfs_inode *dir, *ip;
	const char *name;
	int err = parent(path, &dir, &name);

	if (err)
		return err;
	err = ptfs_create(dir, name, strlen(name), &a, &ip);
	if (!err)
		ptfs_iput(ip);
	ptfs_iput(dir);
	return err;
}

static int op_create(const struct op *op)
{
	return create_as(op->path, PTFS_S_IFREG | 0644, NULL);
}

static int op_mkdir(const struct op *op)
{
	return create_as(op->path, PTFS_S_IFDIR | 0755, NULL);
}

// Target of op->a bytes.
static int op_symlink(const struct op *op)
{
	char target[512];

	memset(target, 't', op->a);
	target[op->a] = 0;
	return create_as(op->path, PTFS_S_IFLNK | 0777, target);
}

static int op_link(const struct op *op)
{
	struct ptfs_inode *dir, *ip;
	const char *name;
	int err = namei(op->path, &ip);

	if (err)
		return err;
	err = parent(op->path2, &dir, &name);
	if (!err) {
		err = ptfs_link(dir, name, strlen(name), ip);
		ptfs_iput(dir);
	}
	ptfs_iput(ip);
	return err;
}

static int remove_as(const char *path, int (*fn)(struct ptfs_inode *, const char *, size_t))
{
	struct ptfs_inode *dir;
	const char *name;
	int err = parent(path, &dir, &name);

	if (err)
		return err;
	err = fn(dir, name, strlen(name));
	ptfs_iput(dir);
	return err;
}

static int op_unlink(const struct op *op)
{
	return remove_as(op->path, ptfs_unlink);
}

static int op_rmdir(const struct op *op)
{
	return remove_as(op->path, ptfs_rmdir);
}

// op->a: flags.
static int op_rename(const struct op *op)
{
	struct ptfs_inode *from, *to;
	const char *name, *name2;
	int err = parent(op->path, &from, &name);

	if (err)
		return err;
	err = parent(op->path2, &to, &name2);
	if (!err) {
		err = ptfs_rename(from, name, strlen(name), to, name2, strlen(name2),
				  (unsigned)op->a);
		ptfs_iput(to);
	}
	ptfs_iput(from);
	return err;
}

static int op_truncate(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_truncate(ip, op->a);
		ptfs_iput(ip);
	}
	return err;
}

static int fallocate_as(const struct op *op, bool keep_size)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_fallocate(ip, op->a, op->b, keep_size);
		ptfs_iput(ip);
	}
	return err;
}

static int op_fallocate(const struct op *op)
{
	return fallocate_as(op, false);
}

static int op_reserve(const struct op *op)
{
	return fallocate_as(op, true);
}

static int op_zero_range(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_zero_range(ip, op->a, op->b, false);
		ptfs_iput(ip);
	}
	return err;
}

static int op_punch(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_punch(ip, op->a, op->b);
		ptfs_iput(ip);
	}
	return err;
}

static int op_collapse(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_collapse(ip, op->a, op->b);
		ptfs_iput(ip);
	}
	return err;
}

static int write_as(struct ptfs_inode *ip, u64 pos, u64 len, bool append)
{
	struct ptfs_iter it = host_iter(data, len);
	ssize n;

	for (u64 i = 0; i < len; i++)
		data[i] = (u8)((pos * 31 + len + i) * 2654435761u >> 13 | 1);
	n = ptfs_write(ip, &it, &pos, len, append);
	return n < 0 ? (int)n : 0;
}

// op->b bytes at op->a.
static int op_write(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = write_as(ip, op->a, op->b, false);
		ptfs_iput(ip);
	}
	return err;
}

static int op_append(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = write_as(ip, 0, op->b, true);
		ptfs_iput(ip);
	}
	return err;
}

// Stores of a program through its mapping, then msync.
static int op_mmap(const struct op *op)
{
	struct ptfs_inode *ip;
	struct ptfs_page page;
	int err = namei(op->path, &ip);

	if (err)
		return err;
	for (u64 pos = op->a; !err && pos < min(op->a + op->b, ip->size); pos += 8) {
		err = ptfs_map_page(ip, pos, true, &page);
		if (!err && pos + 8 <= ip->size)
			pmem_store8(PHYS(page.pa.pa + pos % PTFS_BLOCK), pos * 0x0101010101ull | 1);
	}
	if (!err)
		err = ptfs_sync_range(ip, op->a, op->b);
	ptfs_iput(ip);
	return err;
}

static int op_setattr(const struct op *op)
{
	struct ptfs_attr a = { .mode = 0600, .uid = 5, .gid = 6, .atime_ns = 77, .mtime_ns = 99 };
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_setattr(ip, op->a, &a);
		ptfs_iput(ip);
	}
	return err;
}

static int op_touch(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_touch(ip);
		ptfs_iput(ip);
	}
	return err;
}

// A program zeroes its mapping and never writes it back; then the file goes. The zeros are in the
// cache, and what lies below on the medium must not come up in the file that gets the block.
static int op_zero_unlink(const struct op *op)
{
	struct ptfs_inode *ip;
	struct ptfs_page page;
	int err = namei(op->path, &ip);

	if (err)
		return err;
	err = ptfs_map_page(ip, 0, true, &page);
	for (u64 i = 0; !err && i < PTFS_BLOCK; i += 8)
		pmem_store8(PHYS(page.pa.pa + i), 0);
	ptfs_iput(ip);
	return err ? err : remove_as(op->path, ptfs_unlink);
}

// The last name goes while the file is open; it is written to and cut once more.
static int op_unlink_open(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (err)
		return err;
	err = remove_as(op->path, ptfs_unlink);
	if (!err && !ip->nlink)
		err = write_as(ip, KIB(30), KIB(6), false);
	if (!err && !ip->nlink)
		err = ptfs_truncate(ip, KIB(2));
	ptfs_iput(ip);
	return err;
}

// A file without a name gets bytes; with op->path2 it is linked there.
static int op_tmpfile(const struct op *op)
{
	struct ptfs_create_args a = { .mode = PTFS_S_IFREG | 0644 };
	struct ptfs_inode *dir, *ip;
	int err = namei(op->path, &dir);

	if (err)
		return err;
	err = ptfs_tmpfile(dir, &a, true, &ip);
	if (!err) {
		err = write_as(ip, 0, op->b, false);
		if (!err && op->path2)
			err = ptfs_link(dir, op->path2, strlen(op->path2), ip);
		ptfs_iput(ip);
	}
	ptfs_iput(dir);
	return err;
}

static int op_remount(const struct op *op)
{
	int err = ptfs_unmount(fs);

	(void)op;
	return err ? err : ptfs_mount(&live.image.region, "live", 0, &fs);
}

#define L20   "llllllllllllllllllll"
#define L200  L20 L20 L20 L20 L20 L20 L20 L20 L20 L20
#define A     PROMISE_ATOMIC
#define M     PROMISE_MIXED
#define ATTRS (PTFS_ATTR_MODE | PTFS_ATTR_UID | PTFS_ATTR_GID)
#define TIMES (PTFS_ATTR_ATIME | PTFS_ATTR_MTIME)

const struct op ops[] = {
	{ "create", op_create, A, "/n", NULL, 0, 0 },
	{ "create in d", op_create, A, "/d/n", NULL, 0, 0 },
	{ "create long", op_create, A, "/d/" L200, NULL, 0, 0 },
	{ "mkdir", op_mkdir, A, "/m", NULL, 0, 0 },
	{ "mkdir in d", op_mkdir, A, "/d/m", NULL, 0, 0 },
	{ "symlink", op_symlink, A, "/t", NULL, 20, 0 },
	{ "symlink in a block", op_symlink, A, "/d/t", NULL, 300, 0 },
	{ "link", op_link, A, "/a", "/l", 0, 0 },
	{ "link into d", op_link, A, "/b", "/d/l", 0, 0 },
	{ "unlink direct", op_unlink, A, "/a", NULL, 0, 0 },
	{ "unlink tree", op_unlink, A, "/b", NULL, 0, 0 },
	{ "unlink one of two", op_unlink, A, "/h", NULL, 0, 0 },
	{ "unlink in d", op_unlink, A, "/d/x", NULL, 0, 0 },
	{ "unlink symlink", op_unlink, A, "/s", NULL, 0, 0 },
	{ "unlink open", op_unlink_open, A, "/a", NULL, 0, 0 },
	{ "rmdir", op_rmdir, A, "/e", NULL, 0, 0 },
	{ "rename", op_rename, A, "/a", "/r", 0, 0 },
	{ "rename into d", op_rename, A, "/a", "/d/r", 0, 0 },
	{ "rename over tree", op_rename, A, "/a", "/b", 0, 0 },
	{ "rename over from d", op_rename, A, "/d/x", "/a", 0, 0 },
	{ "rename directory", op_rename, A, "/e", "/d/e", 0, 0 },
	{ "rename directory over", op_rename, A, "/d", "/e", 0, 0 },
	{ "rename noreplace", op_rename, A, "/b", "/d/b", PTFS_RENAME_NOREPLACE, 0 },
	{ "truncate to 0", op_truncate, A, "/a", NULL, 0, 0 },
	{ "truncate in block", op_truncate, A, "/a", NULL, 3001, 0 },
	{ "truncate up", op_truncate, A, "/a", NULL, 9000, 0 },
	{ "truncate tree to 0", op_truncate, A, "/b", NULL, 0, 0 },
	{ "truncate to direct", op_truncate, A, "/b", NULL, 10001, 0 },
	{ "truncate tree", op_truncate, A, "/b", NULL, 36000, 0 },
	{ "truncate up past 2M", op_truncate, A, "/b", NULL, MIB(2) + 5, 0 },
	{ "truncate sparse", op_truncate, A, "/z", NULL, 100, 0 },
	{ "fallocate", op_fallocate, M, "/a", NULL, 0, KIB(12) },
	{ "fallocate hole", op_fallocate, M, "/z", NULL, KIB(4), KIB(12) },
	{ "fallocate past 32K", op_fallocate, M, "/a", NULL, KIB(28), KIB(12) },
	{ "fallocate keep size", op_reserve, M, "/b", NULL, KIB(40), KIB(16) },
	{ "fallocate leaf", op_fallocate, M, "/z", NULL, MIB(2), MIB(2) },
	{ "overwrite", op_write, M, "/a", NULL, 0, 100 },
	{ "overwrite unaligned", op_write, M, "/b", NULL, 4091, 4111 },
	{ "overlap", op_write, M, "/a", NULL, 4990, 100 },
	{ "append", op_append, M, "/a", NULL, 0, 4096 },
	{ "append 7", op_append, M, "/d/x", NULL, 0, 7 },
	{ "append to tree", op_append, M, "/b", NULL, 0, 9001 },
	{ "write behind a gap", op_write, M, "/a", NULL, KIB(20) + 3, 500 },
	{ "write across 32K", op_write, M, "/a", NULL, KIB(30), KIB(5) },
	{ "write across 2M", op_write, M, "/b", NULL, MIB(2) - KIB(2), KIB(4) },
	{ "write at 1G", op_write, M, "/d/x", NULL, GIB(1) - 5, 10 },
	{ "write into hole", op_write, M, "/z", NULL, KIB(6), KIB(5) },
	{ "punch", op_punch, M, "/b", NULL, KIB(4), KIB(12) },
	{ "punch unaligned", op_punch, M, "/b", NULL, 4001, 9000 },
	{ "punch direct", op_punch, M, "/a", NULL, 0, KIB(4) },
	{ "punch in leaf", op_punch, M, "/z", NULL, MIB(2) + KIB(64), KIB(8) },
	{ "zero range", op_zero_range, M, "/b", NULL, 4001, 9000 },
	{ "zero range past EOF", op_zero_range, M, "/a", NULL, 4001, 9000 },
	{ "collapse", op_collapse, A, "/b", NULL, KIB(4), KIB(8) },
	{ "collapse direct", op_collapse, A, "/a", NULL, 0, KIB(4) },
	{ "collapse leaf", op_collapse, A, "/z", NULL, KIB(8), MIB(2) },
	{ "exchange", op_rename, A, "/a", "/d/x", PTFS_RENAME_EXCHANGE, 0 },
	{ "exchange directory", op_rename, A, "/d", "/a", PTFS_RENAME_EXCHANGE, 0 },
	{ "tmpfile", op_tmpfile, A, "/d", NULL, 0, KIB(6) },
	{ "tmpfile linked", op_tmpfile, A, "/d", "l", 0, KIB(6) },
	{ "setattr", op_setattr, PROMISE_ATTRIBUTES, "/a", NULL, ATTRS, 0 },
	{ "setattr times", op_setattr, PROMISE_ATTRIBUTES, "/d", NULL, TIMES, 0 },
	{ "touch", op_touch, A, "/b", NULL, 0, 0 },
	{ "mmap store", op_mmap, PROMISE_MAPPED, "/b", NULL, 4000, 200 },
	{ "zeros in the cache", op_zero_unlink, PROMISE_ANY, "/a", NULL, 0, 0 },
	{ "truncate new", op_truncate, A, "/n", NULL, KIB(4), 0 },
	{ "fallocate new", op_fallocate, M, "/n", NULL, 0, KIB(4) },
	{ "mmap store into hole", op_mmap, PROMISE_MAPPED, "/z", NULL, KIB(8), 64 },
	{ "remount", op_remount, A, NULL, NULL, 0, 0 },
};

unsigned op_count(void)
{
	return ARRAY_SIZE(ops);
}

// What takes several steps: chunks that change their type, records that are split and merged, a
// tree that goes back into the inode while its table page is taken by another file.
static const char *const sequences[][9] = {
	{ "unlink tree", "unlink direct", "unlink one of two", "unlink in d", "truncate sparse",
	  "mkdir", "create", "append" },
	{ "fallocate leaf", "truncate sparse", "write across 2M", "fallocate keep size" },
	{ "fallocate leaf", "overwrite", "remount", "truncate sparse", "remount", "create" },
	{ "truncate to direct", "write across 32K", "write into hole", "truncate to 0" },
	{ "write across 2M", "truncate tree", "append to tree", "truncate to direct",
	  "append to tree" },
	{ "create long", "unlink in d", "create in d", "mkdir in d", "symlink in a block",
	  "rename into d" },
	{ "fallocate past 32K", "truncate to 0", "fallocate", "append", "unlink direct" },
	{ "fallocate keep size", "append to tree", "truncate tree", "append to tree" },
	{ "write at 1G", "truncate up past 2M", "unlink in d", "unlink one of two", "remount" },
	{ "symlink in a block", "link", "rename over tree", "unlink open",
	  "rename directory over" },
	{ "remount", "remount", "unlink symlink", "remount", "create" },
	{ "fallocate leaf", "punch in leaf", "collapse leaf", "truncate sparse" },
	{ "punch", "collapse", "append to tree", "exchange", "truncate to 0", "collapse" },
	{ "zeros in the cache", "create", "fallocate new", "truncate new" },
	{ "mmap store", "truncate tree", "mmap store", "unlink tree", "append" },
};

static const struct op *by_name(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		if (!strcmp(ops[i].name, name))
			return &ops[i];
	ptfs_bug(__FILE__, __LINE__, name);
}

unsigned workload_sequence(unsigned n, const struct op **list, unsigned max)
{
	unsigned len = 0;

	while (n < ARRAY_SIZE(sequences) && len < max && sequences[n][len]) {
		list[len] = by_name(sequences[n][len]);
		len++;
	}
	return len;
}

// ---- The file system that they run on ----

static void file_make(const char *path, u64 bytes, u64 at)
{
	struct ptfs_inode *ip;

	ptfs_assert(!create_as(path, PTFS_S_IFREG | 0644, NULL) && !namei(path, &ip) &&
		    !write_as(ip, at, bytes, false));
	ptfs_iput(ip);
}

static void free_space_fill(struct host_image *im)
{
	for (u64 off = 0; off < im->bytes; off += PTFS_BLOCK)
		if (!ptfs_bit(ptfs_chunk_at(fs, off)->used_map, ptfs_block_index(off)))
			memset(im->map + off, STALE, PTFS_BLOCK);
}

void workload_populate(struct host_image *im)
{
	static const struct ptfs_format_options o = { .label = "crash" };
	const struct op link = { .path = "/d/x", .path2 = "/h" };

	host_clock_set(1000);
	ptfs_assert(!ptfs_format(&im->region, &o) && !ptfs_mount(&im->region, "live", 0, &fs));
	free_space_fill(im);
	file_make("/a", 5000, 0);
	file_make("/b", 40001, 0);
	file_make("/z", 10, KIB(24)); // begins with holes
	ptfs_assert(!create_as("/d", PTFS_S_IFDIR | 0755, NULL) &&
		    !create_as("/e", PTFS_S_IFDIR | 0755, NULL) &&
		    !create_as("/s", PTFS_S_IFLNK | 0777, "target"));
	file_make("/d/x", 100, 0);
	ptfs_assert(!op_link(&link));
	ptfs_assert(!ptfs_unmount(fs));
}

void workload_mount(void)
{
	ptfs_assert(!ptfs_mount(&live.image.region, "live", 0, &fs));
}

void workload_abandon(void)
{
	ptfs_abandon(fs);
}

struct ptfs_fs *workload_fs(void)
{
	return fs;
}
