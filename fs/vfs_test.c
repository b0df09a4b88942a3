// SPDX-License-Identifier: MIT
//
// Tests of path walk, names and open files, on the RAM file system. Each works in a directory of
// its own, which it removes, and drops cached names at its end: they would count as leaks.
#include "fs/dcache.h"
#include "fs/file.h"
#include "fs/namei.h"
#include "fs/vfs_internal.h"
#include "kernel/ktest.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "kernel/sched/thread.h"
#include "mm/heap.h"

#define AT AT_FDCWD

static int touch(const char *path)
{
	struct file *f;
	int err = vfs_open(path, O_CREAT | O_EXCL | O_WRONLY, 0644, &f);

	if (!err)
		file_put(f);
	return err;
}

static int look(const char *path, unsigned flags)
{
	struct dentry *d;
	int err = path_at(AT, path, flags, &d);

	if (!err)
		dentry_put(d);
	return err;
}

static bool leads_to(const char *path, const char *expected)
{
	char buf[300];
	struct dentry *d;
	bool same;

	if (path_at(AT, path, LOOKUP_FOLLOW, &d))
		return false;
	same = vfs_path(d, buf, sizeof(buf)) >= 0 && strcmp(buf, expected) == 0;
	dentry_put(d);
	return same;
}

// Names are read by words of 8 bytes. Near the end of a page they are not, and the result is the
// same: hash, comparison, and where a component ends, at every length and place.
KTEST(vfs_names_at_page_ends)
{
	static const char text[] = "/t/.//.././t/0123456789abcdefghij//";
	char *pages = kmalloc(2 * PAGE_SIZE);
	struct dentry *d;

	if (!EXPECT(pages))
		return;
	for (size_t len = 1; len <= 20; len++)
		for (size_t at = PAGE_SIZE - 24; at <= PAGE_SIZE; at++) {
			memset(pages, 'x', 2 * PAGE_SIZE);
			memcpy(pages + at, text + 13, len);
			EXPECT_EQ(name_hash(pages + at, len), name_hash(text + 13, len));
			EXPECT(name_equal(pages + at, text + 13, len));
			pages[at + len - 1] ^= 1;
			EXPECT(!name_equal(pages + at, text + 13, len));
		}
	EXPECT_EQ(vfs_mkdirat(AT, "/t", 0755), 0);
	EXPECT_EQ(touch("/t/0123456789abcdefghij"), 0);
	for (size_t at = PAGE_SIZE - sizeof(text); at <= PAGE_SIZE; at++) {
		memset(pages, 'x', 2 * PAGE_SIZE);
		memcpy(pages + at, text, sizeof(text));
		EXPECT_EQ(path_at(AT, pages + at, 0, &d), -ENOTDIR);
		pages[at + sizeof(text) - 3] = 0;
		if (EXPECT_EQ(path_at(AT, pages + at, 0, &d), 0))
			dentry_put(d);
	}
	EXPECT_EQ(vfs_unlinkat(AT, "/t/0123456789abcdefghij"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/t"), 0);
	kfree(pages);
	dcache_shrink(NULL);
}

KTEST(vfs_walk_basics)
{
	EXPECT_EQ(vfs_mkdirat(AT, "/t", 0755), 0);
	EXPECT_EQ(vfs_mkdirat(AT, "/t", 0755), -EEXIST);
	EXPECT_EQ(vfs_mkdirat(AT, "/t/a/", 0755), 0);
	EXPECT_EQ(touch("/t/f"), 0);
	EXPECT_EQ(touch("/t/f"), -EEXIST);
	EXPECT(leads_to("/t/a/../f", "/t/f"));
	EXPECT(leads_to("//t//.//a/./..//f", "/t/f"));
	EXPECT(leads_to("/../../t/a/", "/t/a"));
	EXPECT(leads_to("/", "/"));
	EXPECT(leads_to("t/f", "/t/f"));
	EXPECT_EQ(look("/t/f/", 0), -ENOTDIR);
	EXPECT_EQ(look("/t/f/.", 0), -ENOTDIR);
	EXPECT_EQ(look("/t/f/x", 0), -ENOTDIR);
	EXPECT_EQ(look("/t/none", 0), -ENOENT);
	EXPECT_EQ(look("/t/none/x", 0), -ENOENT);
	EXPECT_EQ(look("", 0), -ENOENT);
	EXPECT_EQ(look("/t/f", LOOKUP_DIRECTORY), -ENOTDIR);
	EXPECT_EQ(vfs_unlinkat(AT, "/t"), -EISDIR);
	EXPECT_EQ(vfs_unlinkat(AT, "/t/f/"), -ENOTDIR);
	EXPECT_EQ(vfs_rmdirat(AT, "/t/f"), -ENOTDIR);
	EXPECT_EQ(vfs_rmdirat(AT, "/t/a/."), -EINVAL);
	EXPECT_EQ(vfs_rmdirat(AT, "/t/a/.."), -ENOTEMPTY);
	EXPECT_EQ(vfs_rmdirat(AT, "/t"), -ENOTEMPTY);
	EXPECT_EQ(vfs_rmdirat(AT, "/"), -EBUSY);
	EXPECT_EQ(vfs_rmdirat(AT, "/proc"), -EBUSY);
	EXPECT_EQ(vfs_unlinkat(AT, "/t/f"), 0);
	EXPECT_EQ(look("/t/f", 0), -ENOENT);
	EXPECT_EQ(vfs_rmdirat(AT, "/t/a"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/t"), 0);
	EXPECT_EQ(look("/t", 0), -ENOENT);
	vfs_drop_caches();
}

KTEST(vfs_name_lengths)
{
	char *path = kmalloc(PATH_MAX);

	if (!EXPECT(path != NULL))
		return;
	memset(path, 'x', PATH_MAX);
	path[0] = '/';
	path[1 + 255] = 0;
	EXPECT_EQ(touch(path), 0);
	EXPECT(leads_to(path, path));
	EXPECT_EQ(vfs_unlinkat(AT, path), 0);
	path[1 + 255] = 'x';
	path[1 + 256] = 0;
	EXPECT_EQ(touch(path), -ENAMETOOLONG);
	EXPECT_EQ(look(path, 0), -ENAMETOOLONG);
	kfree(path);
	vfs_drop_caches();
}

// Path of a name of `len` bytes. Names of two lengths, or of two ends, begin alike.
static const char *long_path(size_t len, char end)
{
	static char path[300];

	memcpy(path, "/t/", 3);
	for (size_t i = 0; i < len; i++)
		path[3 + i] = (char)('a' + i % 26);
	path[3 + len - 1] = end;
	path[3 + len] = 0;
	return path;
}

// The cache compares names by words, the first apart from the others, and keeps long ones in
// another place: names that end at each place of a word, with neighbours that differ in the end.
KTEST(vfs_names_in_cache)
{
	static char from[300];

	EXPECT_EQ(vfs_mkdirat(AT, "/t", 0755), 0);
	for (size_t len = 1; len <= 58; len++)
		EXPECT_EQ(touch(long_path(len, '1')), 0);
	for (size_t len = 1; len <= 58; len++) {
		EXPECT(leads_to(long_path(len, '1'), long_path(len, '1')));
		EXPECT_EQ(look(long_path(len, '2'), 0), -ENOENT);
	}
	for (size_t len = 1; len <= 58; len++) {
		strlcpy(from, long_path(len, '1'), sizeof(from));
		EXPECT_EQ(vfs_renameat(AT, from, AT, long_path(59 - len, '2'), 0), 0);
	}
	for (size_t len = 1; len <= 58; len++) {
		EXPECT_EQ(look(long_path(len, '1'), 0), -ENOENT);
		EXPECT(leads_to(long_path(len, '2'), long_path(len, '2')));
	}
	strlcpy(from, long_path(58, '2'), sizeof(from)); // on the heap, and inside the dentry
	EXPECT_EQ(vfs_renameat(AT, from, AT, long_path(9, '2'), RENAME_EXCHANGE), 0);
	EXPECT(leads_to(from, from));
	for (size_t len = 1; len <= 58; len++) {
		EXPECT(leads_to(long_path(len, '2'), long_path(len, '2')));
		EXPECT_EQ(vfs_unlinkat(AT, long_path(len, '2')), 0);
	}
	EXPECT_EQ(vfs_rmdirat(AT, "/t"), 0);
	vfs_drop_caches();
}

KTEST(vfs_symlinks)
{
	char buf[64];
	struct file *f;

	EXPECT_EQ(vfs_mkdirat(AT, "/s", 0755), 0);
	EXPECT_EQ(vfs_mkdirat(AT, "/s/d", 0755), 0);
	EXPECT_EQ(touch("/s/d/f"), 0);
	EXPECT_EQ(vfs_symlinkat("d", AT, "/s/rel"), 0);
	EXPECT_EQ(vfs_symlinkat("/s/d/", AT, "/s/abs"), 0);
	EXPECT_EQ(vfs_symlinkat("rel/f", AT, "/s/two"), 0);
	EXPECT_EQ(vfs_symlinkat("loop2", AT, "/s/loop"), 0);
	EXPECT_EQ(vfs_symlinkat("loop", AT, "/s/loop2"), 0);
	EXPECT_EQ(vfs_symlinkat("made", AT, "/s/dangling"), 0);
	EXPECT_EQ(vfs_symlinkat("", AT, "/s/empty"), -ENOENT);
	EXPECT(leads_to("/s/rel/f", "/s/d/f"));
	EXPECT(leads_to("/s/abs/../rel/f", "/s/d/f"));
	EXPECT(leads_to("/s/two", "/s/d/f"));
	EXPECT(leads_to("/s/rel/../two", "/s/d/f"));
	EXPECT_EQ(look("/s/two/", LOOKUP_FOLLOW), -ENOTDIR);
	EXPECT_EQ(look("/s/rel/", 0), 0);
	EXPECT_EQ(look("/s/loop", LOOKUP_FOLLOW), -ELOOP);
	EXPECT_EQ(look("/s/loop", 0), 0);
	EXPECT_EQ(look("/s/loop/x", 0), -ELOOP);
	EXPECT_EQ(vfs_open("/s/rel", O_NOFOLLOW, 0, &f), -ELOOP);
	EXPECT_EQ(vfs_open("/s/dangling", O_CREAT | O_EXCL, 0644, &f), -EEXIST);
	EXPECT_EQ(vfs_open("/s/dangling", O_RDONLY, 0, &f), -ENOENT);
	if (EXPECT_EQ(vfs_open("/s/dangling", O_CREAT | O_RDWR, 0644, &f), 0)) {
		EXPECT(file_path(f, buf, sizeof(buf)) > 0 && strcmp(buf, "/s/made") == 0);
		file_put(f);
	}
	for (unsigned k = 0; k < 7; k++) {
		static const char *const names[] = { "rel",   "abs",      "two", "loop",
						     "loop2", "dangling", "made" };

		ksnprintf(buf, sizeof(buf), "/s/%s", names[k]);
		EXPECT_EQ(vfs_unlinkat(AT, buf), 0);
	}
	EXPECT_EQ(vfs_unlinkat(AT, "/s/d/f"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/s/d"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/s"), 0);
	vfs_drop_caches();
}

// A chain of links: 40 are followed, the 41st is one too many.
KTEST(vfs_forty_links)
{
	char name[32], target[32];

	EXPECT_EQ(touch("/chain0"), 0);
	for (unsigned k = 1; k <= 41; k++) {
		ksnprintf(name, sizeof(name), "/chain%u", k);
		ksnprintf(target, sizeof(target), "chain%u", k - 1);
		EXPECT_EQ(vfs_symlinkat(target, AT, name), 0);
	}
	EXPECT_EQ(look("/chain40", LOOKUP_FOLLOW), 0);
	EXPECT_EQ(look("/chain41", LOOKUP_FOLLOW), -ELOOP);
	for (unsigned k = 0; k <= 41; k++) {
		ksnprintf(name, sizeof(name), "/chain%u", k);
		EXPECT_EQ(vfs_unlinkat(AT, name), 0);
	}
	vfs_drop_caches();
}

KTEST(vfs_rename_rules)
{
	EXPECT_EQ(vfs_mkdirat(AT, "/r", 0755), 0);
	EXPECT_EQ(vfs_mkdirat(AT, "/r/a", 0755), 0);
	EXPECT_EQ(vfs_mkdirat(AT, "/r/a/b", 0755), 0);
	EXPECT_EQ(vfs_mkdirat(AT, "/r/e", 0755), 0);
	EXPECT_EQ(touch("/r/f"), 0);
	EXPECT_EQ(touch("/r/a/b/g"), 0);
	EXPECT_EQ(vfs_renameat(AT, "/r/a", AT, "/r/a/b/c", 0), -EINVAL);
	EXPECT_EQ(vfs_renameat(AT, "/r/a/b/g", AT, "/r/a", 0), -ENOTEMPTY);
	EXPECT_EQ(vfs_renameat(AT, "/r/f", AT, "/r/e", 0), -EISDIR);
	EXPECT_EQ(vfs_renameat(AT, "/r/e", AT, "/r/f", 0), -ENOTDIR);
	EXPECT_EQ(vfs_renameat(AT, "/r/f", AT, "/r/none/", 0), -ENOTDIR);
	EXPECT_EQ(vfs_renameat(AT, "/r/f", AT, "/proc/x", 0), -EXDEV);
	EXPECT_EQ(vfs_renameat(AT, "/r/f", AT, "/r/e", RENAME_NOREPLACE), -EEXIST);
	EXPECT_EQ(vfs_renameat(AT, "/r/.", AT, "/r/x", 0), -EBUSY);
	EXPECT_EQ(vfs_renameat(AT, "/r/a", AT, "/r/e", 0), 0); // over an empty directory
	EXPECT(leads_to("/r/e/b/g", "/r/e/b/g"));
	EXPECT_EQ(look("/r/a", 0), -ENOENT);
	EXPECT_EQ(vfs_renameat(AT, "/r/f", AT, "/r/f", 0), 0);
	EXPECT_EQ(vfs_renameat(AT, "/r/f", AT, "/r/e", RENAME_EXCHANGE), 0);
	EXPECT(leads_to("/r/f/b/g", "/r/f/b/g"));
	EXPECT_EQ(look("/r/e/", 0), -ENOTDIR);
	EXPECT_EQ(vfs_renameat(AT, "/r/e", AT, "/r/f/b/g", 0), 0);
	EXPECT_EQ(vfs_unlinkat(AT, "/r/f/b/g"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/r/f/b"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/r/f"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/r"), 0);
	vfs_drop_caches();
}

KTEST(vfs_links_and_unlinked_files)
{
	struct inode_attr a;
	struct file *f;
	char buf[64];

	EXPECT_EQ(touch("/h1"), 0);
	EXPECT_EQ(vfs_linkat(AT, "/h1", AT, "/h2", 0), 0);
	EXPECT_EQ(vfs_linkat(AT, "/h1", AT, "/h2", 0), -EEXIST);
	EXPECT_EQ(vfs_linkat(AT, "/proc", AT, "/h3", 0), -EXDEV);
	EXPECT_EQ(vfs_linkat(AT, "/tmp", AT, "/h3", 0), -EPERM);
	if (!EXPECT_EQ(vfs_open("/h2", O_RDWR, 0, &f), 0))
		return;
	EXPECT_EQ(vfs_getattr(f->inode, &a), 0);
	EXPECT_EQ(a.nlink, 2);
	EXPECT_EQ(vfs_unlinkat(AT, "/h1"), 0);
	EXPECT_EQ(vfs_unlinkat(AT, "/h2"), 0);
	EXPECT_EQ(vfs_getattr(f->inode, &a), 0);
	EXPECT_EQ(a.nlink, 0);
	EXPECT_EQ(file_write_kernel(f, "still here", 10, 0), 10);
	EXPECT_EQ(file_read_kernel(f, buf, sizeof(buf), 0), 10);
	EXPECT(file_path(f, buf, sizeof(buf)) > 0 && strcmp(buf, "/h2 (deleted)") == 0);
	EXPECT_EQ(vfs_linkat(AT, "/proc/none", AT, "/h1", 0), -ENOENT);
	file_put(f);
	vfs_drop_caches();
}

KTEST(vfs_open_flags)
{
	struct file *f;

	EXPECT_EQ(vfs_mkdirat(AT, "/o", 0755), 0);
	EXPECT_EQ(vfs_open("/o", O_WRONLY, 0, &f), -EISDIR);
	EXPECT_EQ(vfs_open("/o", O_CREAT, 0644, &f), -EISDIR);
	EXPECT_EQ(vfs_open("/o/x/", O_CREAT, 0644, &f), -EISDIR);
	EXPECT_EQ(vfs_open("/o/x", O_DIRECTORY, 0, &f), -ENOENT);
	EXPECT_EQ(vfs_open("/o", O_TMPFILE | O_DIRECTORY | O_RDONLY, 0600, &f), -EINVAL);
	if (EXPECT_EQ(vfs_open("/o", O_TMPFILE | O_DIRECTORY | O_RDWR, 0600, &f), 0))
		file_put(f); // it never had a name: the test's leak check sees whether it goes
	if (EXPECT_EQ(vfs_open("/o/x", O_CREAT | O_RDWR, 0, &f), 0)) { // mode 0 is no obstacle
		EXPECT_EQ(file_write_kernel(f, "abc", 3, 0), 3);
		file_put(f);
	}
	EXPECT_EQ(vfs_open("/o/x", O_DIRECTORY, 0, &f), -ENOTDIR);
	if (EXPECT_EQ(vfs_open("/o/x", O_TRUNC | O_WRONLY, 0, &f), 0)) {
		struct inode_attr a;

		EXPECT_EQ(vfs_getattr(f->inode, &a), 0);
		EXPECT_EQ(a.size, 0);
		EXPECT_EQ(inode_deny_write(f->inode), -ETXTBSY);
		file_put(f);
	}
	if (EXPECT_EQ(vfs_open("/o/x", O_RDONLY, 0, &f), 0)) {
		struct file *w;

		EXPECT_EQ(inode_deny_write(f->inode), 0);
		EXPECT_EQ(vfs_open("/o/x", O_WRONLY, 0, &w), -ETXTBSY);
		inode_allow_write(f->inode);
		file_put(f);
	}
	EXPECT_EQ(vfs_unlinkat(AT, "/o/x"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/o"), 0);
	vfs_drop_caches();
}

KTEST(vfs_mount_and_unmount)
{
	struct file *f;

	EXPECT_EQ(vfs_mkdirat(AT, "/m", 0755), 0);
	EXPECT_EQ(vfs_mount("none", "/m", "nofs", "", 0), -ENODEV);
	EXPECT_EQ(vfs_mount("none", "/m/none", "ramfs", "", 0), -ENOENT);
	EXPECT_EQ(vfs_mount("none", "/m", "ramfs", "", 0), 0);
	EXPECT_EQ(vfs_mkdirat(AT, "/m/d", 0755), 0);
	EXPECT_EQ(vfs_mkdirat(AT, "/m/d/e", 0755), 0);
	EXPECT_EQ(touch("/m/d/e/f"), 0);
	EXPECT(leads_to("/m/d/../..", "/"));
	EXPECT(leads_to("/m/d/e/f", "/m/d/e/f"));
	EXPECT_EQ(vfs_rmdirat(AT, "/m"), -EBUSY);
	EXPECT_EQ(vfs_renameat(AT, "/m", AT, "/n", 0), -EBUSY);
	if (EXPECT_EQ(vfs_open("/m/d/e/f", O_RDONLY, 0, &f), 0)) {
		EXPECT_EQ(vfs_unmount("/m"), -EBUSY);
		EXPECT(leads_to("/m/d/e/f", "/m/d/e/f"));
		file_put(f);
	}
	EXPECT_EQ(vfs_unmount("/m/d"), -EINVAL);
	EXPECT_EQ(vfs_unmount("/m"), 0);
	EXPECT_EQ(look("/m/d", 0), -ENOENT);
	EXPECT_EQ(vfs_mount("none", "/m", "ramfs", "", MOUNT_RDONLY), 0);
	EXPECT_EQ(touch("/m/f"), -EROFS);
	EXPECT_EQ(vfs_mkdirat(AT, "/m/d", 0755), -EROFS);
	EXPECT_EQ(vfs_unmount("/m"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/m"), 0);
	vfs_drop_caches();
}

static bool count_entry(void *ctx, const char *name __unused, size_t len __unused, u64 ino __unused,
			unsigned d_type __unused, u64 next_pos __unused)
{
	unsigned *left = ctx;

	if (!*left)
		return false;
	--*left;
	return true;
}

// Entries that come and go between calls of readdir: those that stay are seen once.
KTEST(vfs_readdir_goes_on)
{
	char name[32];
	struct file *f;
	unsigned left;

	EXPECT_EQ(vfs_mkdirat(AT, "/rd", 0755), 0);
	for (unsigned k = 0; k < 20; k++) {
		ksnprintf(name, sizeof(name), "/rd/f%u", k);
		EXPECT_EQ(touch(name), 0);
	}
	if (!EXPECT_EQ(vfs_open("/rd", O_RDONLY | O_DIRECTORY, 0, &f), 0))
		return;
	left = 7; // ".", "..", f0 .. f4
	EXPECT_EQ(file_readdir(f, count_entry, &left), 0);
	EXPECT_EQ(left, 0);
	EXPECT_EQ(vfs_unlinkat(AT, "/rd/f2"), 0);
	EXPECT_EQ(vfs_unlinkat(AT, "/rd/f5"), 0);
	left = 100;
	EXPECT_EQ(file_readdir(f, count_entry, &left), 0);
	EXPECT_EQ(left, 100 - 14); // f6 .. f19
	EXPECT_EQ(file_lseek(f, 0, SEEK_SET), 0);
	left = 100;
	EXPECT_EQ(file_readdir(f, count_entry, &left), 0);
	EXPECT_EQ(left, 100 - 20);
	file_put(f);
	for (unsigned k = 0; k < 20; k++) {
		ksnprintf(name, sizeof(name), "/rd/f%u", k);
		EXPECT_EQ(vfs_unlinkat(AT, name), k == 2 || k == 5 ? -ENOENT : 0);
	}
	EXPECT_EQ(vfs_rmdirat(AT, "/rd"), 0);
	vfs_drop_caches();
}

// Permission bits as a user without rights meets them.
KTEST(vfs_permissions)
{
	struct credentials *c = fs_credentials(fs_current()), root = *c;
	struct file *f;

	EXPECT_EQ(vfs_mkdirat(AT, "/p", 0755), 0);
	EXPECT_EQ(vfs_mkdirat(AT, "/p/sticky", 0777), 0);
	EXPECT_EQ(vfs_mkdirat(AT, "/p/closed", 0700), 0);
	EXPECT_EQ(touch("/p/f"), 0);
	EXPECT_EQ(touch("/p/sticky/theirs"), 0);
	if (EXPECT_EQ(vfs_open("/p/sticky", O_RDONLY, 0, &f), 0)) {
		EXPECT_EQ(inode_chmod(f->inode, 01777), 0);
		file_put(f);
	}
	c->fsuid = 1000;
	c->fsgid = 1000;
	EXPECT_EQ(vfs_open("/p/f", O_RDWR, 0, &f), -EACCES);
	EXPECT_EQ(vfs_open("/p/f", O_RDONLY | O_TRUNC, 0, &f), -EACCES);
	EXPECT_EQ(look("/p/closed/x", 0), -EACCES);
	EXPECT_EQ(touch("/p/mine"), -EACCES);
	EXPECT_EQ(vfs_unlinkat(AT, "/p/f"), -EACCES);
	EXPECT_EQ(vfs_unlinkat(AT, "/p/sticky/theirs"), -EPERM);
	EXPECT_EQ(vfs_renameat(AT, "/p/sticky/theirs", AT, "/p/sticky/x", 0), -EPERM);
	EXPECT_EQ(touch("/p/sticky/mine"), 0);
	EXPECT_EQ(vfs_unlinkat(AT, "/p/sticky/mine"), 0);
	if (EXPECT_EQ(vfs_open("/p/f", O_RDONLY, 0, &f), 0)) {
		EXPECT_EQ(inode_chmod(f->inode, 0777), -EPERM);
		EXPECT_EQ(inode_chown(f->inode, 1000, ~0u), -EPERM);
		file_put(f);
	}
	*c = root;
	EXPECT_EQ(vfs_unlinkat(AT, "/p/sticky/theirs"), 0);
	EXPECT_EQ(vfs_unlinkat(AT, "/p/f"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/p/sticky"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/p/closed"), 0);
	EXPECT_EQ(vfs_rmdirat(AT, "/p"), 0);
	vfs_drop_caches();
}
