// SPDX-License-Identifier: MIT
//
// What: common ground of the host tools.
#define _GNU_SOURCE // SEEK_DATA, SEEK_HOLE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "user/ptfs/tool.h"

#define COPY_BYTES MIB(4) // at least two chunks, so that large files get 2 MiB leaves

void tool_fail(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

void tool_open(struct tool *t, const char *path, enum host_open how)
{
	int err;

	if (host_image_open(&t->image, path, how))
		exit(1);
	err = ptfs_mount(&t->image.region, path, 0, &t->fs);
	if (err)
		tool_fail(path, err);
}

void tool_close(struct tool *t)
{
	int err = ptfs_unmount(t->fs);

	if (err)
		tool_fail("unmount", err);
	host_image_close(&t->image);
}

// Walks to the last component but `keep`.
static int walk(struct ptfs_fs *fs, const char *path, bool keep, struct ptfs_inode **out,
		const char **name, size_t *len)
{
	struct ptfs_inode *ip, *next;
	int err = ptfs_iget(fs, PTFS_INO_ROOT, &ip);

	*len = 0;
	while (!err) {
		path += strspn(path, "/");
		*name = path;
		*len = strcspn(path, "/");
		if (!*len || (keep && !path[*len + strspn(path + *len, "/")])) {
			*out = ip;
			return 0;
		}
		err = ptfs_lookup(ip, path, *len, &next);
		path += *len;
		ptfs_iput(ip);
		ip = next;
	}
	return err;
}

int tool_resolve(struct ptfs_fs *fs, const char *path, struct ptfs_inode **out)
{
	const char *name;
	size_t len;

	return walk(fs, path, false, out, &name, &len);
}

int tool_resolve_parent(struct ptfs_fs *fs, const char *path, struct ptfs_inode **dir,
			const char **name, size_t *len)
{
	int err = walk(fs, path, true, dir, name, len);

	if (!err && !*len) {
		ptfs_iput(*dir);
		return -EINVAL;
	}
	return err;
}

struct ptfs_inode *tool_get(struct ptfs_fs *fs, const char *path)
{
	struct ptfs_inode *ip;
	int err = tool_resolve(fs, path, &ip);

	if (err)
		tool_fail(path, err);
	return ip;
}

u64 tool_number(const char *text)
{
	static const char units[] = "KMGT";
	char *end;
	const char *unit;
	unsigned shift;
	u64 n;

	errno = 0;
	n = strtoull(text, &end, 0);
	unit = *end ? strchr(units, *end & ~0x20) : NULL;
	shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	if (end == text || errno || (*end && (!unit || end[1])) || strchr(text, '-') ||
	    n > ~0ull >> shift) {
		fprintf(stderr, "not a number, or too large: %s\n", text);
		exit(2);
	}
	return n << shift;
}

int tool_write(struct ptfs_inode *ip, const void *data, u64 bytes, u64 pos)
{
	struct ptfs_iter it = { .at = (u8 *)(uintptr_t)data, .left = bytes };

	while (it.left) {
		ssize n = ptfs_write(ip, &it, &pos, it.left, false);

		if (n < 0)
			return (int)n;
	}
	return 0;
}

static int copy_range(struct ptfs_inode *ip, int fd, u8 *buf, u64 from, u64 to)
{
	while (from < to) {
		ssize_t n = pread(fd, buf, min(to - from, (u64)COPY_BYTES), (off_t)from);
		int err;

		if (n <= 0)
			return n ? -errno : -EIO;
		err = tool_write(ip, buf, (u64)n, from);
		if (err)
			return err;
		from += (u64)n;
	}
	return 0;
}

int tool_copy_in(struct ptfs_inode *ip, int fd)
{
	off_t end = lseek(fd, 0, SEEK_END);
	off_t data, hole = 0;
	u8 *buf = malloc(COPY_BYTES);
	int err = buf ? end < 0 ? -errno : 0 : -ENOMEM;

	while (!err && hole < end) {
		data = lseek(fd, hole, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			data = hole;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole < 0)
			hole = end;
		// Whole chunks stay whole: begin and end where a 2 MiB leaf does.
		data = ALIGN_DOWN(data, (off_t)PTFS_CHUNK);
		err = copy_range(ip, fd, buf, (u64)data, (u64)hole);
	}
	if (!err && (u64)end != ip->size)
		err = ptfs_truncate(ip, (u64)end);
	free(buf);
	return err;
}

int tool_copy_out(struct ptfs_inode *ip, int fd)
{
	u8 *buf = malloc(COPY_BYTES);
	bool holes = lseek(fd, 0, SEEK_CUR) == 0; // not into a pipe
	u64 pos = 0;
	int err = buf ? 0 : -ENOMEM;

	while (!err && pos < ip->size) {
		s64 data = holes ? ptfs_seek(ip, pos, false) : (s64)pos;

		if (data < 0 && data != -ENXIO)
			err = (int)data;
		if (data < 0)
			break;
		if (holes && lseek(fd, data, SEEK_SET) < 0)
			err = -errno;
		pos = (u64)data;
		struct ptfs_iter it = { .at = buf, .left = COPY_BYTES };
		ssize n = err ? 0 : ptfs_read(ip, &it, pos, COPY_BYTES);

		if (n < 0)
			err = (int)n;
		for (ssize done = 0; !err && done < n;) {
			ssize_t w = write(fd, buf + done, (size_t)(n - done));

			if (w < 0)
				err = -errno;
			else
				done += w;
		}
		if (n <= 0)
			break;
		pos += (u64)n;
	}
	if (!err && holes && ftruncate(fd, (off_t)ip->size))
		err = -errno;
	free(buf);
	return err;
}
