// SPDX-License-Identifier: MIT
//
// What: the operations that the explorer runs, on one small file system that has a file of each
// shape. ACE style: every operation alone, pairs of them, and some longer sequences for what takes
// more than two steps to happen.
// Not here: how a call is made (calls.c), what it means (expect.c), which pairs (explore.c).
//
// A new operation is one line of `ops`. It may fail (its name may be gone): then nothing may
// change, and its error is the model's.
#include "tests/crash/crash.h"

#define L20     "llllllllllllllllllll"
#define L200    L20 L20 L20 L20 L20 L20 L20 L20 L20 L20
#define A       PROMISE_ATOMIC
#define M       PROMISE_MIXED
#define B       PROMISE_BLOCKS
#define BASE(n) (0x180000000 + (n)*0x12600000ull) // multiples of 2 MiB
#define ATTRS   (PTFS_ATTR_MODE | PTFS_ATTR_UID | PTFS_ATTR_GID)
#define TIMES   (PTFS_ATTR_ATIME | PTFS_ATTR_MTIME)

const struct op ops[] = {
	{ "create", CALL_CREATE, A, "/n", NULL, 0, 0 },
	{ "create in d", CALL_CREATE, A, "/d/n", NULL, 0, 0 },
	{ "create long", CALL_CREATE, A, "/d/" L200, NULL, 0, 0 },
	{ "mkdir", CALL_MKDIR, A, "/m", NULL, 0, 0 },
	{ "mkdir in d", CALL_MKDIR, A, "/d/m", NULL, 0, 0 },
	{ "symlink", CALL_SYMLINK, A, "/t", NULL, 20, 0 },
	{ "symlink in a block", CALL_SYMLINK, A, "/d/t", NULL, 300, 0 },
	{ "link", CALL_LINK, A, "/a", "/l", 0, 0 },
	{ "link into d", CALL_LINK, A, "/b", "/d/l", 0, 0 },
	{ "unlink direct", CALL_UNLINK, A, "/a", NULL, 0, 0 },
	{ "unlink tree", CALL_UNLINK, A, "/b", NULL, 0, 0 },
	{ "unlink one of two", CALL_UNLINK, A, "/h", NULL, 0, 0 },
	{ "unlink in d", CALL_UNLINK, A, "/d/x", NULL, 0, 0 },
	{ "unlink symlink", CALL_UNLINK, A, "/s", NULL, 0, 0 },
	{ "unlink open", CALL_UNLINK_OPEN, A, "/a", NULL, 0, 0 },
	{ "rmdir", CALL_RMDIR, A, "/e", NULL, 0, 0 },
	{ "rename", CALL_RENAME, A, "/a", "/r", 0, 0 },
	{ "rename into d", CALL_RENAME, A, "/a", "/d/r", 0, 0 },
	{ "rename over tree", CALL_RENAME, A, "/a", "/b", 0, 0 },
	{ "rename over from d", CALL_RENAME, A, "/d/x", "/a", 0, 0 },
	{ "rename directory", CALL_RENAME, A, "/e", "/d/e", 0, 0 },
	{ "rename directory over", CALL_RENAME, A, "/d", "/e", 0, 0 },
	{ "rename noreplace", CALL_RENAME, A, "/b", "/d/b", PTFS_RENAME_NOREPLACE, 0 },
	{ "truncate to 0", CALL_TRUNCATE, A, "/a", NULL, 0, 0 },
	{ "truncate in block", CALL_TRUNCATE, A, "/a", NULL, 3001, 0 },
	{ "truncate up", CALL_TRUNCATE, A, "/a", NULL, 9000, 0 },
	{ "truncate tree to 0", CALL_TRUNCATE, A, "/b", NULL, 0, 0 },
	{ "truncate to direct", CALL_TRUNCATE, A, "/b", NULL, 10001, 0 },
	{ "truncate tree", CALL_TRUNCATE, A, "/b", NULL, 36000, 0 },
	{ "truncate up past 2M", CALL_TRUNCATE, A, "/b", NULL, MIB(2) + 5, 0 },
	{ "truncate sparse", CALL_TRUNCATE, A, "/z", NULL, 100, 0 },
	{ "fallocate", CALL_FALLOCATE, M, "/a", NULL, 0, KIB(12) },
	{ "fallocate hole", CALL_FALLOCATE, M, "/z", NULL, KIB(4), KIB(12) },
	{ "fallocate past 32K", CALL_FALLOCATE, M, "/a", NULL, KIB(28), KIB(12) },
	{ "fallocate keep size", CALL_RESERVE, M, "/b", NULL, KIB(40), KIB(16) },
	{ "fallocate leaf", CALL_FALLOCATE, M, "/z", NULL, MIB(2), MIB(2) },
	{ "overwrite", CALL_WRITE, M, "/a", NULL, 0, 100 },
	{ "overwrite unaligned", CALL_WRITE, M, "/b", NULL, 4091, 4111 },
	{ "overlap", CALL_WRITE, M, "/a", NULL, 4990, 100 },
	{ "append", CALL_APPEND, M, "/a", NULL, 0, 4096 },
	{ "append 7", CALL_APPEND, M, "/d/x", NULL, 0, 7 },
	{ "append to tree", CALL_APPEND, M, "/b", NULL, 0, 9001 },
	{ "write behind a gap", CALL_WRITE, M, "/a", NULL, KIB(20) + 3, 500 },
	{ "write across 32K", CALL_WRITE, M, "/a", NULL, KIB(30), KIB(5) },
	{ "write across 2M", CALL_WRITE, M, "/b", NULL, MIB(2) - KIB(2), KIB(4) },
	{ "write at 1G", CALL_WRITE, M, "/d/x", NULL, GIB(1) - 5, 10 },
	{ "write into hole", CALL_WRITE, M, "/z", NULL, KIB(6), KIB(5) },
	{ "punch", CALL_PUNCH, M, "/b", NULL, KIB(4), KIB(12) },
	{ "punch unaligned", CALL_PUNCH, M, "/b", NULL, 4001, 9000 },
	{ "punch direct", CALL_PUNCH, M, "/a", NULL, 0, KIB(4) },
	{ "punch in leaf", CALL_PUNCH, M, "/z", NULL, MIB(2) + KIB(64), KIB(8) },
	{ "zero range", CALL_ZERO_RANGE, M, "/b", NULL, 4001, 9000 },
	{ "zero range past EOF", CALL_ZERO_RANGE, M, "/a", NULL, 4001, 9000 },
	{ "collapse", CALL_COLLAPSE, A, "/b", NULL, KIB(4), KIB(8) },
	{ "collapse direct", CALL_COLLAPSE, A, "/a", NULL, 0, KIB(4) },
	{ "collapse leaf", CALL_COLLAPSE, A, "/z", NULL, KIB(8), MIB(2) },
	{ "exchange", CALL_RENAME, A, "/a", "/d/x", PTFS_RENAME_EXCHANGE, 0 },
	{ "exchange directory", CALL_RENAME, A, "/d", "/a", PTFS_RENAME_EXCHANGE, 0 },
	{ "tmpfile", CALL_TMPFILE, A, "/d", NULL, 0, KIB(6) },
	{ "tmpfile linked", CALL_TMPFILE, A, "/d", "l", 0, KIB(6) },
	{ "setattr", CALL_SETATTR, PROMISE_ATTRIBUTES, "/a", NULL, ATTRS, 0 },
	{ "setattr times", CALL_SETATTR, PROMISE_ATTRIBUTES, "/d", NULL, TIMES, 0 },
	{ "touch", CALL_TOUCH, A, "/b", NULL, 0, 0 },
	{ "mmap store", CALL_MMAP, PROMISE_MAPPED, "/b", NULL, 4000, 200 },
	{ "zeros in the cache", CALL_ZERO_UNLINK, PROMISE_ANY, "/a", NULL, 0, 0 },
	{ "truncate new", CALL_TRUNCATE, A, "/n", NULL, KIB(4), 0 },
	{ "fallocate new", CALL_FALLOCATE, M, "/n", NULL, 0, KIB(4) },
	{ "mmap store into hole", CALL_MMAP, PROMISE_MAPPED, "/z", NULL, KIB(8), 64 },
	{ "remount", CALL_REMOUNT, A, NULL, NULL, 0, 0 },
	{ "truncate x", CALL_TRUNCATE, A, "/d/x", NULL, 50, 0 },
	{ "unlink new", CALL_UNLINK, A, "/d/n", NULL, 0, 0 },
	{ "rmdir new", CALL_RMDIR, A, "/d/m", NULL, 0, 0 },
	{ "hold tree", CALL_HOLD, A, "/b", NULL, 0, 0 },
	{ "crash", CALL_CRASH, A, NULL, NULL, 0, 0 },
	{ "move", CALL_REMOUNT, A, NULL, NULL, BASE(1), 0 },
	{ "rebase", CALL_REBASE, A, NULL, NULL, 0, 0 },
	{ "read", CALL_READ, A, "/a", NULL, 0, 0 },
};

unsigned op_count(void)
{
	return ARRAY_SIZE(ops);
}

// These stand in sequences only.
static const struct op more_ops[] = {
	{ "move 2", CALL_REMOUNT, A, NULL, NULL, BASE(2), 0 },
	{ "move 3", CALL_REMOUNT, A, NULL, NULL, BASE(3), 0 },
	{ "move 4", CALL_REMOUNT, A, NULL, NULL, BASE(4), 0 },
	{ "move 5", CALL_REMOUNT, A, NULL, NULL, BASE(5), 0 },
	{ "move 6", CALL_REMOUNT, A, NULL, NULL, BASE(6), 0 },
	{ "move 7", CALL_REMOUNT, A, NULL, NULL, BASE(7), 0 },
	{ "format", CALL_FORMAT, PROMISE_FORMAT, NULL, NULL, 0, 0 },
	{ "mmap store behind", CALL_MMAP_TAIL, PROMISE_ANY, "/a", NULL, 0, 0 },
	{ "write at 36K", CALL_WRITE, M, "/a", NULL, KIB(36), 100 },
	{ "move there", CALL_REMOUNT, A, NULL, NULL, OTHER_BASE, 0 },
	{ "move home", CALL_REMOUNT, A, NULL, NULL, HOST_DEFAULT_BASE, 0 },
	{ "write, stopped", CALL_WRITE_STOP, PROMISE_ANY, "/z", NULL, KIB(8), KIB(4) },
	{ "two blocks, stopped", CALL_WRITE_STOP, PROMISE_ANY, "/z", NULL, KIB(8), KIB(8) },
	{ "and the second", CALL_WRITE_GO, M, "/z", NULL, KIB(8), KIB(8) },
	{ "append, stopped", CALL_WRITE_STOP, PROMISE_ANY, "/a", NULL, KIB(8), KIB(4) },
	{ "and goes on", CALL_WRITE_GO, A, "/z", NULL, KIB(8), KIB(4) },
	{ "unlink long", CALL_UNLINK, A, "/d/" L200, NULL, 0, 0 },
	{ "truncate z up", CALL_TRUNCATE, A, "/z", NULL, MIB(6), 0 },
	{ "write leaf", CALL_WRITE, M, "/z", NULL, MIB(2), MIB(2) },
	{ "refill leaf", CALL_WRITE, M, "/z", NULL, MIB(2) + KIB(64), KIB(8) },
	{ "truncate in leaf", CALL_TRUNCATE, A, "/z", NULL, MIB(3) + 77, 0 },
	{ "zero free blocks", CALL_PREZERO, A, NULL, NULL, KIB(40), 0 },
	{ "a fails", CALL_FAIL, PROMISE_ANY, "/a", NULL, KIB(4), 0 },
	{ "rewrite a", CALL_WRITE, B, "/a", NULL, KIB(4), 904 },
	{ "b fails", CALL_FAIL, PROMISE_ANY, "/b", NULL, KIB(8), 0 },
	{ "rewrite b", CALL_WRITE, B, "/b", NULL, KIB(8), KIB(4) },
	{ "zero b", CALL_ZERO_RANGE, B, "/b", NULL, KIB(8), KIB(4) },
	{ "leaf fails", CALL_FAIL, PROMISE_ANY, "/z", NULL, MIB(2) + KIB(64), 0 },
	{ "rewrite in leaf", CALL_WRITE, B, "/z", NULL, MIB(2) + KIB(64), KIB(4) },
};

// What takes several steps: chunks that change their type, records that are split and merged, a
// tree that goes back into the inode while its table page is taken by another file.
static const char *const sequences[][10] = {
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
	// Dead records are merged for a longer name, and split for a shorter one.
	{ "create long", "unlink long", "create in d" },
	{ "create in d", "mkdir in d", "unlink new", "rmdir new", "create long" },
	// Entries of another address, and its tag for a third one.
	{ "write across 2M", "move", "rebase", "append", "move 2", "rebase", "append to tree" },
	{ "move there", "move home", "append" },
	// All entries are of that address, and moving home is cut off: what an image there says to
	// be current must not be the address that its own pass then forgets.
	{ "move there", "rebase", "move home" },
	{ "move", "move 2", "move 3", "move 4", "move 5", "move 6", "move 7", "append" },
	// Recovery has something to do: an open file without a name; bytes behind the end.
	{ "hold tree", "crash", "append", "remount" },
	{ "fallocate leaf", "hold tree", "crash", "remount", "truncate sparse" },
	{ "format" },
	{ "truncate z up", "write leaf" },
	// What lies behind the end is not trusted. (An image that is clean is not looked through.)
	{ "touch", "mmap store behind", "truncate up" },
	{ "touch", "mmap store behind", "append" },
	{ "touch", "mmap store behind", "fallocate past 32K" },
	// A program stores into a block that another CPU is just publishing.
	{ "write, stopped", "mmap store into hole", "and goes on" },
	// It is published, and the other CPU has not come to its next fence.
	{ "two blocks, stopped", "mmap store into hole", "and the second" },
	// It never ends: recovery takes the block away, which must not come back in a longer file.
	{ "append, stopped", "crash", "truncate up" },
	// A leaf that was split is merged, and its table page serves another file at once.
	{ "fallocate leaf", "punch in leaf", "refill leaf", "write at 36K", "truncate sparse" },
	{ "fallocate leaf", "truncate in leaf", "append to tree", "truncate sparse" },
	// Blocks that are zeroed ahead of their use: of a file that goes, for files that come.
	// (The append makes a chunk the CPU's own, which is zeroed first and taken from next.)
	{ "unlink tree", "append", "zero free blocks", "write into hole", "create",
	  "fallocate new" },
	{ "append", "zero free blocks", "mmap store into hole" },
	{ "append", "zero free blocks", "create", "fallocate new" },
	{ "append", "zero free blocks", "write into hole" },
	// Memory fails, and another block takes its place: old or new, and never a hole.
	{ "a fails", "rewrite a", "append to tree", "remount", "unlink direct" },
	{ "b fails", "rewrite b", "append", "remount", "unlink tree" },
	{ "b fails", "zero b", "append", "overwrite unaligned" },
	{ "fallocate leaf", "leaf fails", "rewrite in leaf", "append", "truncate sparse" },
	// Or it leaves the file with others.
	{ "b fails", "punch", "append", "remount" },
	{ "b fails", "collapse", "append" },
	{ "b fails", "unlink tree", "append", "remount" },
	// A table page is free, and the next call takes it at once.
	{ "truncate to direct", "write at 36K" },
};

static const struct op *by_name(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
		if (!strcmp(ops[i].name, name))
			return &ops[i];
	for (unsigned i = 0; i < ARRAY_SIZE(more_ops); i++)
		if (!strcmp(more_ops[i].name, name))
			return &more_ops[i];
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

#define MADE PROMISE_ANY

// On free space that is full of a pattern.
static const struct op made[] = {
	{ "a", CALL_CREATE, MADE, "/a", NULL, 0, 0 },
	{ "a", CALL_WRITE, MADE, "/a", NULL, 0, 5000 },
	{ "b", CALL_CREATE, MADE, "/b", NULL, 0, 0 },
	{ "b", CALL_WRITE, MADE, "/b", NULL, 0, 40001 },
	{ "z", CALL_CREATE, MADE, "/z", NULL, 0, 0 },
	{ "z", CALL_WRITE, MADE, "/z", NULL, KIB(24), 10 }, // begins with holes
	{ "d", CALL_MKDIR, MADE, "/d", NULL, 0, 0 },
	{ "e", CALL_MKDIR, MADE, "/e", NULL, 0, 0 },
	{ "s", CALL_SYMLINK, MADE, "/s", NULL, 6, 0 },
	{ "x", CALL_CREATE, MADE, "/d/x", NULL, 0, 0 },
	{ "x", CALL_WRITE, MADE, "/d/x", NULL, 0, 100 },
	{ "h", CALL_LINK, MADE, "/d/x", "/h", 0, 0 },
};

static void free_space_fill(struct host_image *im)
{
	struct ptfs_fs *fs = workload_fs();

	for (u64 off = 0; off < im->bytes; off += PTFS_BLOCK)
		if (!ptfs_bit(ptfs_chunk_at(fs, off)->used_map, ptfs_block_index(off)))
			memset(im->map + off, STALE, PTFS_BLOCK);
}

void workload_populate(struct host_image *im)
{
	static const struct ptfs_format_options o = { .label = "crash" };

	host_clock_set(CLOCK_START);
	ptfs_assert(!ptfs_format(&im->region, &o));
	workload_mount();
	free_space_fill(im);
	for (unsigned i = 0; i < ARRAY_SIZE(made); i++)
		ptfs_assert(!call_run(&made[i]));
	ptfs_assert(!ptfs_unmount(workload_fs()));
}

void workload_expect(void)
{
	expect_reset();
	for (unsigned i = 0; i < ARRAY_SIZE(made); i++)
		ptfs_assert(!expect_run(&made[i]));
}
