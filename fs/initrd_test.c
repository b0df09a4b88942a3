// SPDX-License-Identifier: MIT
//
// Tests of unpacking: what a good archive makes, what a hostile one must not do.
#include "fs/initrd.h"

#include "fs/file.h"
#include "fs/namei.h"
#include "kernel/ktest.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "mm/heap.h"

#define AT AT_FDCWD

static char *archive;
static size_t len;

static void add(const char *name, u32 mode, u32 ino, u32 nlink, const char *data)
{
	size_t n = strlen(data);

	len += ksnprintf(archive + len, 128,
			 "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ino, mode, 0,
			 0, nlink, 1000, (u32)n, 0, 0, 1, 3, (u32)strlen(name) + 1, 0);
	strlcpy(archive + len, name, 512);
	len = ALIGN_UP(len + strlen(name) + 1, 4);
	strlcpy(archive + len, data, 512);
	memset(archive + len + n, 0, 4);
	len = ALIGN_UP(len + n, 4);
}

static bool begin(void)
{
	archive = kzalloc(8192);
	len = 0;
	return EXPECT(archive != NULL) && EXPECT_EQ(vfs_mkdirat(AT, "/ird", 0755), 0);
}

static bool says(const char *path, const char *text)
{
	char buf[64];
	struct file *f;
	ssize n;

	if (vfs_open(path, O_RDONLY, 0, &f))
		return false;
	n = file_read_kernel(f, buf, sizeof(buf), 0);
	file_put(f);
	return n == (ssize)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

static void remove(const char *path)
{
	if (vfs_unlinkat(AT, path))
		EXPECT_EQ(vfs_rmdirat(AT, path), 0);
}

static void end(void)
{
	kfree(archive);
	EXPECT_EQ(vfs_rmdirat(AT, "/ird"), 0);
	vfs_drop_caches();
}

KTEST(initrd_makes_all_kinds)
{
	struct dentry *d;

	if (!begin())
		return;
	add(".", S_IFDIR | 0755, 1, 2, "");
	add("deep/er/file", S_IFREG | 0640, 2, 1, "text");
	add("link", S_IFLNK | 0777, 3, 1, "deep/er/file");
	add("hard1", S_IFREG | 0644, 4, 2, "");
	add("hard2", S_IFREG | 0644, 4, 2, "both");
	add("null", S_IFCHR | 0666, 5, 1, "");
	add("TRAILER!!!", 0, 0, 1, "");
	add("second", S_IFREG | 0644, 1, 1, "archive");
	add("TRAILER!!!", 0, 0, 1, "");
	EXPECT_EQ(initrd_unpack_at(archive, len, "/ird"), 7);
	EXPECT(says("/ird/link", "text"));
	EXPECT(says("/ird/hard1", "both"));
	EXPECT(says("/ird/hard2", "both"));
	EXPECT(says("/ird/second", "archive"));
	if (EXPECT_EQ(path_at(AT, "/ird/deep/er/file", 0, &d), 0)) {
		struct inode_attr a;

		EXPECT_EQ(vfs_getattr(d->inode, &a), 0);
		EXPECT_EQ(a.mode, S_IFREG | 0640);
		EXPECT_EQ(a.mtime_ns, 1000ull * 1000000000);
		dentry_put(d);
	}
	if (EXPECT_EQ(path_at(AT, "/ird/null", 0, &d), 0)) {
		EXPECT_EQ(d->inode->rdev, 0x103);
		dentry_put(d);
	}
	// Once more over itself: what is there gives way.
	EXPECT_EQ(initrd_unpack_at(archive, len, "/ird"), 7);
	EXPECT(says("/ird/hard1", "both"));
	remove("/ird/deep/er/file");
	remove("/ird/deep/er");
	remove("/ird/deep");
	remove("/ird/link");
	remove("/ird/hard1");
	remove("/ird/hard2");
	remove("/ird/null");
	remove("/ird/second");
	end();
}

// Cut off anywhere: what came before is there, nothing else happens.
KTEST(initrd_survives_torn_archives)
{
	if (!begin())
		return;
	add("a", S_IFREG | 0644, 1, 1, "first");
	add("b", S_IFREG | 0644, 2, 1, "second");
	for (size_t n = 0; n < len; n += 13)
		EXPECT(initrd_unpack_at(archive, n, "/ird") <= 2);
	EXPECT(says("/ird/a", "first"));
	remove("/ird/a");
	(void)!vfs_unlinkat(AT, "/ird/b");
	end();
}

KTEST(initrd_refuses_nonsense)
{
	char *name = kmalloc(300);

	if (!EXPECT(name != NULL) || !begin())
		return;
	memset(name, 'n', 299);
	name[299] = 0;
	add(name, S_IFREG | 0644, 1, 1, "name too long");
	add("file", S_IFREG | 0644, 2, 1, "x");
	add("file/below", S_IFREG | 0644, 3, 1, "below a file");
	add("sock", S_IFSOCK | 0644, 4, 1, "");
	add("strange", 0170000, 5, 1, "");
	add("nolink", S_IFLNK | 0777, 6, 1, "");
	add("../../../ird/up", S_IFREG | 0644, 7, 1, "stays inside the root");
	EXPECT_EQ(initrd_unpack_at(archive, len, "/ird"), 2);
	EXPECT(says("/ird/file", "x"));
	EXPECT(says("/ird/up", "stays inside the root"));
	remove("/ird/file");
	remove("/ird/up");
	kfree(name);
	end();
}
