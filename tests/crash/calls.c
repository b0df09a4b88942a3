// SPDX-License-Identifier: MIT
//
// What: the calls of a workload, as ptfs executes them on the live image.
// Not here: which calls (workload.c), and what they mean (expect.c, model.c).
#include <ucontext.h>

#include "tests/crash/crash.h"

static struct ptfs_fs *fs;
static struct ptfs_inode *held; // CALL_HOLD: open, without a name
static u8 data[MIB(3)];

static int mount_live(void)
{
	return ptfs_mount(&live.image.region, "live", 0, &fs);
}

int call_rebase_all(struct ptfs_fs *of)
{
	int err = 1;

	while (err == 1)
		err = ptfs_rebase(of, ~0u);
	return err;
}

void workload_mount(void)
{
	ptfs_assert(!mount_live());
}

void workload_abandon(void)
{
	held = NULL;
	ptfs_abandon(fs);
}

struct ptfs_fs *workload_fs(void)
{
	return fs;
}

// Unmount cleanly, and mount at this address.
static int move_to(u64 base)
{
	int err = ptfs_unmount(fs);

	live.image.region.base = PHYS(err ? live.image.region.base.pa : base);
	return err ? err : mount_live();
}

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

static int do_create(const struct op *op)
{
	return create_as(op->path, PTFS_S_IFREG | 0644, NULL);
}

static int do_mkdir(const struct op *op)
{
	return create_as(op->path, PTFS_S_IFDIR | 0755, NULL);
}

// Target of op->a bytes.
static int do_symlink(const struct op *op)
{
	char target[512];

	memset(target, 't', op->a);
	target[op->a] = 0;
	return create_as(op->path, PTFS_S_IFLNK | 0777, target);
}

static int do_link(const struct op *op)
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

static int do_unlink(const struct op *op)
{
	return remove_as(op->path, ptfs_unlink);
}

static int do_rmdir(const struct op *op)
{
	return remove_as(op->path, ptfs_rmdir);
}

// op->a: flags.
static int do_rename(const struct op *op)
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

static int do_truncate(const struct op *op)
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

static int do_fallocate(const struct op *op)
{
	return fallocate_as(op, false);
}

static int do_reserve(const struct op *op)
{
	return fallocate_as(op, true);
}

static int do_zero_range(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_zero_range(ip, op->a, op->b, false);
		ptfs_iput(ip);
	}
	return err;
}

static int do_punch(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_punch(ip, op->a, op->b);
		ptfs_iput(ip);
	}
	return err;
}

static int do_collapse(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_collapse(ip, op->a, op->b);
		ptfs_iput(ip);
	}
	return err;
}

void call_bytes(u8 *out, u64 pos, u64 len)
{
	for (u64 i = 0; i < len; i++)
		out[i] = (u8)((pos * 31 + len + i) * 2654435761u >> 13 | 1);
}

static int write_as(struct ptfs_inode *ip, u64 pos, u64 len, bool append)
{
	struct ptfs_iter it = host_iter(data, len);
	ssize n;

	call_bytes(data, pos, len);
	n = ptfs_write(ip, &it, &pos, len, append);
	return n < 0 ? (int)n : 0;
}

// op->b bytes at op->a.
static int do_write(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = write_as(ip, op->a, op->b, false);
		ptfs_iput(ip);
	}
	return err;
}

static int do_append(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = write_as(ip, 0, op->b, true);
		ptfs_iput(ip);
	}
	return err;
}

// Only regular files are mapped.
static int open_mapped(const char *path, struct ptfs_inode **ip)
{
	int err = namei(path, ip);

	if (err || ptfs_is(*ip, PTFS_S_IFREG))
		return err;
	ptfs_iput(*ip);
	return -ENODEV;
}

// Stores of a program through its mapping, then msync.
static int do_mmap(const struct op *op)
{
	struct ptfs_inode *ip;
	struct ptfs_page page;
	int err = open_mapped(op->path, &ip);

	if (err)
		return err;
	for (u64 pos = op->a; !err && pos + 8 <= min(op->a + op->b, ip->size); pos += 8) {
		err = ptfs_map_page(ip, pos, true, &page);
		if (!err)
			pmem_store8(PHYS(page.pa.pa + pos % PTFS_BLOCK), call_word(pos));
	}
	if (!err)
		err = ptfs_sync_range(ip, op->a, op->b);
	ptfs_iput(ip);
	return err;
}

// What a program stores behind the end, nobody may ever see.
static int do_mmap_tail(const struct op *op)
{
	struct ptfs_inode *ip;
	struct ptfs_page page;
	int err = open_mapped(op->path, &ip);
	u64 pos;

	if (err)
		return err;
	pos = ALIGN_UP(ip->size, 8);
	err = pos % PTFS_BLOCK ? ptfs_map_page(ip, pos, true, &page) : 0;
	for (; !err && pos % PTFS_BLOCK; pos += 8)
		pmem_store8(PHYS(page.pa.pa + pos % PTFS_BLOCK), call_word(pos));
	if (!err)
		err = ptfs_sync_range(ip, 0, PTFS_FILE_MAX);
	ptfs_iput(ip);
	return err;
}

static int do_setattr(const struct op *op)
{
	struct ptfs_attr a = { .mode = CALL_ATTR_MODE,
			       .uid = CALL_ATTR_UID,
			       .gid = CALL_ATTR_GID,
			       .atime_ns = CALL_ATTR_ATIME,
			       .mtime_ns = CALL_ATTR_MTIME };
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_setattr(ip, op->a, &a);
		ptfs_iput(ip);
	}
	return err;
}

static int do_touch(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (!err) {
		err = ptfs_touch(ip);
		ptfs_iput(ip);
	}
	return err;
}

static int do_read(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (err)
		return err;
	ptfs_accessed(ip);
	ptfs_iput(ip);
	return 0;
}

// A program zeroes its mapping and never writes it back; then the file goes. The zeros are in the
// cache, and what lies below on the medium must not come up in the file that gets the block.
static int do_zero_unlink(const struct op *op)
{
	struct ptfs_inode *ip;
	struct ptfs_page page;
	int err = open_mapped(op->path, &ip);

	if (err)
		return err;
	err = ptfs_map_page(ip, 0, true, &page);
	for (u64 i = 0; !err && i < PTFS_BLOCK; i += 8)
		pmem_store8(PHYS(page.pa.pa + i), 0);
	ptfs_iput(ip);
	return err ? err : remove_as(op->path, ptfs_unlink);
}

// The last name goes while the file is open; it is written to and cut once more.
static int do_unlink_open(const struct op *op)
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
static int do_tmpfile(const struct op *op)
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

// The last name goes while the file is open, and it stays open: what a crash leaves is an orphan.
static int do_hold(const struct op *op)
{
	struct ptfs_inode *ip;
	int err = namei(op->path, &ip);

	if (err)
		return err;
	err = held ? -EBUSY : remove_as(op->path, ptfs_unlink);
	if (err)
		ptfs_iput(ip);
	else
		held = ip;
	return err;
}

static int do_remount(const struct op *op)
{
	return move_to(op->a ? op->a : live.image.region.base.pa);
}

static int do_rebase(const struct op *op)
{
	(void)op;
	return call_rebase_all(fs);
}

static int do_prezero(const struct op *op)
{
	medium_cpu = 1; // nobody else's fence waits for what it stores in the background
	ptfs_prezero(fs, op->a);
	medium_cpu = 0;
	return 0;
}

static int do_fail(const struct op *op)
{
	struct ptfs_inode *ip;
	struct ptfs_extent x;
	int err = namei(op->path, &ip);

	if (err)
		return err;
	err = ptfs_map_extent(ip, op->a >> PTFS_BLOCK_SHIFT, 1, &x);
	if (!err && !x.hole) {
		host_bad_add(ptfs_pa(fs, x.off).pa);
		ptfs_bad_store(fs);
	}
	ptfs_iput(ip);
	return err;
}

// Power fails after everything has reached the medium that was stored.
static int do_crash(const struct op *op)
{
	(void)op;
	workload_abandon();
	return mount_live();
}

// ---- Another CPU, which stops in the middle of a write ----
//
// It is a second stack. It stops where a hole's entry has been stored with P clear and is not yet
// written back: whoever meets that entry now finishes the job. Or, if it has more than that block
// to write, after it: the block can be used, and nobody finishes anything.

static struct {
	ucontext_t main, other;
	const struct op *op;
	int err;
	bool published;
	char stack[KIB(256)];
} cpu;

static void other_stop(enum host_pm_kind kind, u32 site)
{
	if (kind == HOST_PM_FLUSH && !strcmp(site_get(site)->function, "publish"))
		cpu.published = true;
	if (!cpu.published || (cpu.op->b > PTFS_BLOCK && kind != HOST_PM_NT))
		return;
	medium_at = NULL;
	swapcontext(&cpu.other, &cpu.main);
}

static void other_go_on(void)
{
	medium_cpu = 1;
	swapcontext(&cpu.main, &cpu.other);
	medium_cpu = 0;
}

static void other_run(void)
{
	cpu.err = do_write(cpu.op);
}

static int do_write_stop(const struct op *op)
{
	cpu.op = op;
	getcontext(&cpu.other);
	cpu.other.uc_stack.ss_sp = cpu.stack;
	cpu.other.uc_stack.ss_size = sizeof(cpu.stack);
	cpu.other.uc_link = &cpu.main;
	makecontext(&cpu.other, other_run, 0);
	cpu.published = false;
	medium_at = other_stop;
	other_go_on();
	ptfs_assert(!medium_at); // it has stopped
	return 0;
}

static int do_write_go(const struct op *op)
{
	(void)op;
	other_go_on();
	return cpu.err;
}

// What was there is forgotten, as by mkfs of an image that is not mounted.
static int do_format(const struct op *op)
{
	static const struct ptfs_format_options o = { .label = "crash" };
	int err;

	(void)op;
	workload_abandon();
	err = ptfs_format(&live.image.region, &o);
	return err ? err : mount_live();
}

int call_run(const struct op *op)
{
	static int (*const run[])(const struct op *op) = {
		[CALL_CREATE] = do_create,
		[CALL_MKDIR] = do_mkdir,
		[CALL_SYMLINK] = do_symlink,
		[CALL_LINK] = do_link,
		[CALL_UNLINK] = do_unlink,
		[CALL_RMDIR] = do_rmdir,
		[CALL_RENAME] = do_rename,
		[CALL_TRUNCATE] = do_truncate,
		[CALL_FALLOCATE] = do_fallocate,
		[CALL_RESERVE] = do_reserve,
		[CALL_ZERO_RANGE] = do_zero_range,
		[CALL_PUNCH] = do_punch,
		[CALL_COLLAPSE] = do_collapse,
		[CALL_WRITE] = do_write,
		[CALL_APPEND] = do_append,
		[CALL_MMAP] = do_mmap,
		[CALL_MMAP_TAIL] = do_mmap_tail,
		[CALL_SETATTR] = do_setattr,
		[CALL_TOUCH] = do_touch,
		[CALL_READ] = do_read,
		[CALL_ZERO_UNLINK] = do_zero_unlink,
		[CALL_UNLINK_OPEN] = do_unlink_open,
		[CALL_TMPFILE] = do_tmpfile,
		[CALL_HOLD] = do_hold,
		[CALL_REMOUNT] = do_remount,
		[CALL_REBASE] = do_rebase,
		[CALL_CRASH] = do_crash,
		[CALL_FORMAT] = do_format,
		[CALL_WRITE_STOP] = do_write_stop,
		[CALL_WRITE_GO] = do_write_go,
		[CALL_PREZERO] = do_prezero,
		[CALL_FAIL] = do_fail,
	};

	return run[op->call](op);
}
