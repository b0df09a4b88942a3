// SPDX-License-Identifier: MIT
//
// Ranges of files: fallocate of every kind, holes and how they are found, sparse files, and all of
// that under mappings, attached (MAP_DAXVM, which Linux takes for a flag it does not know) and
// plain.
#define _GNU_SOURCE
#include <limits.h>

#include "tests/abi/ops.h"

#define MAP_DAXVM 0x400000
#define KIB(n)    ((off_t)(n) << 10)
#define MIB(n)    ((off_t)(n) << 20)

static unsigned char *buffer, *want; // 5 MiB each
static const off_t most = MIB(5);

static void fill(int fd, off_t bytes)
{
	for (off_t i = 0; i < bytes; i++)
		want[i] = (unsigned char)(i / 4096 * 7 + i % 251 + 1);
	if (ftruncate(fd, 0) || pwrite(fd, want, (size_t)bytes, 0) != bytes)
		printf("# cannot fill\n");
}

static bool same(int fd, off_t bytes)
{
	struct stat st;

	fstat(fd, &st);
	return st.st_size == bytes && pread(fd, buffer, (size_t)most, 0) == bytes &&
	       memcmp(buffer, want, (size_t)bytes) == 0;
}

static long blocks(int fd)
{
	struct stat st;

	fstat(fd, &st);
	return st.st_blocks / 8;
}

// False, and a skipped case, if the file system lacks this kind.
static bool can(int fd, int mode, const char *name)
{
	if (fallocate(fd, mode, KIB(4), KIB(4)) == 0 || errno != EOPNOTSUPP)
		return true;
	skip(name, "not supported here");
	return false;
}

static void test_allocate(int fd)
{
	struct stat st;

	ftruncate(fd, 0);
	is(fallocate(fd, 0, 0, KIB(64)), 0, "fallocate");
	fstat(fd, &st);
	is(st.st_size, KIB(64), "sets the size");
	ok(blocks(fd) >= 16, "and has blocks");
	memset(want, 0, KIB(64));
	ok(same(fd, KIB(64)), "of zeros");
	is(fallocate(fd, FALLOC_FL_KEEP_SIZE, KIB(64), KIB(64)), 0, "KEEP_SIZE");
	ok(same(fd, KIB(64)), "keeps it");
	ok(blocks(fd) >= 32, "and has blocks beyond");
	is(ftruncate(fd, KIB(64)), 0, "truncate to the size");
	is(fallocate(fd, 0, KIB(10), KIB(4)), 0, "inside");
	ok(same(fd, KIB(64)), "changes nothing");
	fill(fd, KIB(20));
	is(fallocate(fd, 0, 0, KIB(40)), 0, "over data");
	memset(want + KIB(20), 0, KIB(20));
	ok(same(fd, KIB(40)), "keeps it");
	fails(fallocate(fd, 0, -1, 10), EINVAL, "a negative offset");
	fails(fallocate(fd, 0, 0, 0), EINVAL, "no length");
	fails(fallocate(fd, 0, 10, -1), EINVAL, "a negative length");
	fails(fallocate(fd, 0, LLONG_MAX - 5, 10), EFBIG, "beyond all bounds");
	fails(fallocate(fd, 0x100, 0, 10), EOPNOTSUPP, "an unknown mode");
	fails(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP, "PUNCH without KEEP_SIZE");
	fails(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0,
			1),
	      EOPNOTSUPP, "PUNCH and ZERO");
	fails(fallocate(77, 0, 0, 10), EBADF, "no descriptor");
}

static void test_kinds_of_files(void)
{
	int fd[2], dir = open(".", O_RDONLY), ro = open("f", O_RDONLY),
		   null = open("/dev/null", O_RDWR);

	pipe(fd);
	fails(fallocate(ro, 0, 0, 10), EBADF, "a read-only descriptor");
	fails(fallocate(dir, 0, 0, 10), EBADF, "a directory");
	fails(fallocate(fd[1], 0, 0, 10), ESPIPE, "a pipe");
	fails(fallocate(null, 0, 0, 10), ENODEV, "a device");
	close(fd[0]);
	close(fd[1]);
	close(dir);
	close(ro);
	close(null);
}

static void punch(int fd, off_t off, off_t len, off_t size, const char *name)
{
	is(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len), 0, name);
	if (off < size)
		memset(want + off, 0, (size_t)(len < size - off ? len : size - off));
	ok(same(fd, size), "%s: the bytes", name);
}

static void test_punch(int fd)
{
	static const off_t sizes[] = { KIB(30), KIB(200), MIB(2) + KIB(100), MIB(5) };

	for (unsigned i = 0; i < 4; i++) {
		off_t size = sizes[i];
		long n;

		fill(fd, size);
		n = blocks(fd);
		punch(fd, KIB(8), KIB(8), size, "punch two blocks");
		ok(blocks(fd) <= n - 2, "they are free");
		punch(fd, 1, 10, size, "punch in a block");
		punch(fd, KIB(4) - 1, KIB(5), size, "punch across blocks");
		punch(fd, size - 100, KIB(8), size, "punch over the end");
		punch(fd, size, KIB(64), size, "punch beyond the end");
		punch(fd, size / 2, size / 4, size, "punch a quarter");
		is(pwrite(fd, "new", 3, KIB(12)), 3, "write into a hole");
		memcpy(want + KIB(12), "new", 3);
		ok(same(fd, size), "the hole around it is zero");
		punch(fd, 0, size, size, "punch all");
	}
}

static void test_zero(int fd)
{
	const int mode = FALLOC_FL_ZERO_RANGE;

	fill(fd, KIB(64));
	if (!can(fd, mode, "ZERO_RANGE"))
		return;
	memset(want + KIB(4), 0, KIB(4));
	ok(same(fd, KIB(64)), "zero a block");
	is(fallocate(fd, mode, KIB(9), KIB(10)), 0, "zero some bytes");
	memset(want + KIB(9), 0, KIB(10));
	ok(same(fd, KIB(64)), "the bytes");
	is(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, KIB(32), KIB(16)), 0, "holes");
	memset(want + KIB(32), 0, KIB(16));
	is(fallocate(fd, mode, KIB(30), KIB(20)), 0, "zero over them");
	memset(want + KIB(30), 0, KIB(20));
	ok(same(fd, KIB(64)), "the bytes again");
	ok(blocks(fd) >= 16, "the holes have blocks now");
	is(fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, KIB(60), KIB(20)), 0, "beyond, KEEP_SIZE");
	memset(want + KIB(60), 0, KIB(4));
	ok(same(fd, KIB(64)), "the size stays");
	is(fallocate(fd, mode, KIB(62), KIB(20)), 0, "beyond");
	memset(want + KIB(62), 0, KIB(20));
	ok(same(fd, KIB(82)), "the size grows");
}

static void test_collapse(int fd)
{
	static const off_t sizes[] = { KIB(30), KIB(200), MIB(2) + KIB(100), MIB(5) - 7 };

	for (unsigned i = 0; i < 4; i++) {
		off_t size = sizes[i], cut[][2] = { { KIB(4), KIB(4) },
						    { 0, KIB(8) },
						    { KIB(12), size > MIB(3) ? MIB(2) : KIB(4) } };

		fill(fd, size);
		for (unsigned k = 0; k < 3; k++) {
			off_t off = cut[k][0], len = cut[k][1];

			if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, off, len) &&
			    errno == EOPNOTSUPP) {
				skip("COLLAPSE_RANGE", "not supported here");
				return;
			}
			size -= len;
			memmove(want + off, want + off + len, (size_t)(size - off));
			ok(same(fd, size), "collapse %ld bytes at %ld", (long)len, (long)off);
		}
		is(pwrite(fd, "end", 3, size), 3, "append");
		memcpy(want + size, "end", 3);
		ok(same(fd, size + 3), "follows");
	}
	fails(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 1, KIB(4)), EINVAL, "an odd offset");
	fails(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, KIB(4) + 1), EINVAL, "an odd length");
	fails(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, MIB(8)), EINVAL, "up to the end");
}

static void test_seek(int fd)
{
	ftruncate(fd, 0);
	fails(lseek(fd, 0, SEEK_DATA), ENXIO, "SEEK_DATA in an empty file");
	fails(lseek(fd, 0, SEEK_HOLE), ENXIO, "SEEK_HOLE there");
	pwrite(fd, "a", 1, 0);
	pwrite(fd, "b", 1, KIB(64));
	pwrite(fd, "c", 1, MIB(4));
	is(lseek(fd, 0, SEEK_DATA), 0, "data at the beginning");
	is(lseek(fd, 0, SEEK_HOLE), KIB(4), "the hole behind it");
	is(lseek(fd, 100, SEEK_DATA), 100, "inside data");
	is(lseek(fd, KIB(4), SEEK_DATA), KIB(64), "the next data");
	is(lseek(fd, KIB(10), SEEK_HOLE), KIB(10), "inside a hole");
	is(lseek(fd, KIB(64), SEEK_HOLE), KIB(68), "the next hole");
	is(lseek(fd, KIB(68), SEEK_DATA), MIB(4), "data across tables");
	is(lseek(fd, MIB(4), SEEK_HOLE), MIB(4) + 1, "the end is a hole");
	fails(lseek(fd, MIB(4) + 1, SEEK_DATA), ENXIO, "SEEK_DATA at the end");
	fails(lseek(fd, MIB(4) + 1, SEEK_HOLE), ENXIO, "SEEK_HOLE at the end");
	fails(lseek(fd, -1, SEEK_DATA), ENXIO, "a negative offset");
	is(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, KIB(100)), 0, "punch");
	is(lseek(fd, 0, SEEK_DATA), MIB(4), "nothing before the last");
	ftruncate(fd, MIB(16));
	fails(lseek(fd, MIB(5), SEEK_DATA), ENXIO, "a hole at the end");
	lseek(fd, 10, SEEK_SET);
	fails(lseek(fd, LLONG_MAX, SEEK_CUR), EINVAL, "a position beyond all bounds");
	is(lseek(fd, 0, SEEK_CUR), 10, "does not move");
}

static void test_sparse(int fd)
{
	const off_t far = 500ll << 30;
	char byte = 'x';

	ftruncate(fd, 0);
	is(pwrite(fd, "far", 3, far), 3, "a write at 500 GiB");
	is(lseek(fd, 0, SEEK_END), far + 3, "the size");
	ok(blocks(fd) < 32, "few blocks");
	is(pread(fd, &byte, 1, far - 1), 1, "read before it");
	is(byte, 0, "zero");
	is(lseek(fd, 0, SEEK_DATA), far, "SEEK_DATA finds it");
	is(ftruncate(fd, far + 1), 0, "shorten");
	is(pread(fd, buffer, 10, far), 1, "one byte is left");
	is(ftruncate(fd, KIB(10)), 0, "shorten to 10 KiB");
	ok(blocks(fd) <= 1, "no blocks");
	is(ftruncate(fd, 1ll << 39), 0, "512 GiB");
	if (!on_ptfs()) {
		skip("beyond 512 GiB", "another limit here");
		ftruncate(fd, 0);
		return;
	}
	fails(ftruncate(fd, (1ll << 39) + 1), EFBIG, "one byte more");
	fails(pwrite(fd, "x", 1, 1ll << 39), EFBIG, "a write there");
	is(pwrite(fd, "xyz", 3, (1ll << 39) - 1), 1, "a write up to there is short");
	fails(fallocate(fd, 0, 1ll << 39, 1), EFBIG, "fallocate there");
	fails(lseek(fd, (1ll << 39) + 1, SEEK_SET), EINVAL, "lseek there");
	is(ftruncate(fd, 0), 0, "empty it");
}

static void test_mapped(int fd, int flags, const char *name)
{
	unsigned char *map;
	bool good = true;

	fill(fd, MIB(4));
	map = mmap(NULL, (size_t)MIB(4), PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
	ok(map != MAP_FAILED, "%s: mmap", name);
	for (off_t i = 0; i < MIB(4); i += KIB(4))
		good &= map[i] == want[i];
	ok(good, "%s: shows the file", name);
	map[KIB(40)] = want[KIB(40)] = 99;
	punch(fd, KIB(36), KIB(12), MIB(4), name);
	ok(map[KIB(36)] == 0 && map[KIB(40)] == 0 && map[KIB(48)] == want[KIB(48)],
	   "%s: a hole reads as zeros", name);
	map[KIB(40) + 1] = want[KIB(40) + 1] = 7;
	ok(same(fd, MIB(4)), "%s: a store fills it", name);
	punch(fd, MIB(1), MIB(2), MIB(4), name);
	ok(map[MIB(1)] == 0 && map[MIB(3) - 1] == 0 && map[MIB(3)] == want[MIB(3)],
	   "%s: a large hole", name);
	pwrite(fd, "w", 1, MIB(2));
	want[MIB(2)] = 'w';
	ok(map[MIB(2)] == 'w', "%s: write shows in it", name);
	if (fallocate(fd, FALLOC_FL_ZERO_RANGE, KIB(60), KIB(10)) == 0) {
		memset(want + KIB(60), 0, KIB(10));
		ok(map[KIB(60)] == 0 && map[KIB(70) - 1] == 0 && map[KIB(70)] == want[KIB(70)],
		   "%s: zeroed", name);
	} else {
		skip(name, "ZERO_RANGE not supported here");
	}
	if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, KIB(8), MIB(1)) == 0) {
		memmove(want + KIB(8), want + KIB(8) + MIB(1), (size_t)(MIB(3) - KIB(8)));
		good = true;
		for (off_t i = 0; i < MIB(3); i += KIB(4))
			good &= map[i] == want[i];
		ok(good, "%s: collapsed", name);
		map[MIB(2)] = want[MIB(2)] = 42;
		ok(same(fd, MIB(3)), "%s: stores go to where the bytes are now", name);
	} else {
		skip(name, "COLLAPSE_RANGE not supported here");
	}
	is(msync(map, (size_t)MIB(1), MS_SYNC), 0, "msync");
	munmap(map, (size_t)MIB(4));
}

// fallocate gives large leaves where they fit: punched in the middle they fall apart.
static void test_mapped_large(int fd, int flags, const char *name)
{
	unsigned char *map;

	ftruncate(fd, 0);
	is(fallocate(fd, 0, 0, MIB(4)), 0, name);
	memset(want, 0, (size_t)MIB(4));
	map = mmap(NULL, (size_t)MIB(4), PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
	for (off_t i = 0; i < MIB(4); i += KIB(4))
		map[i] = want[i] = (unsigned char)(i >> 12 | 1);
	punch(fd, MIB(1), KIB(4), MIB(4), name);
	ok(map[MIB(1)] == 0 && map[MIB(1) + KIB(4)] == want[MIB(1) + KIB(4)],
	   "%s: the rest is where it was", name);
	map[MIB(1) + 5] = want[MIB(1) + 5] = 1;
	map[MIB(1) - 1] = want[MIB(1) - 1] = 2;
	ok(same(fd, MIB(4)), "%s: stores around the hole", name);
	punch(fd, MIB(2) - KIB(4), KIB(8), MIB(4), name);
	ftruncate(fd, MIB(3) + 1);
	ok(same(fd, MIB(3) + 1), "%s: truncated in a leaf", name);
	memset(want + MIB(3) + 1, 0, (size_t)(MIB(1) - 1));
	ftruncate(fd, MIB(4));
	ok(same(fd, MIB(4)) && map[MIB(3) + 5] == 0, "%s: and zeros when it grows", name);
	munmap(map, (size_t)MIB(4));
}

static void test_sync(int fd)
{
	int dir = open(".", O_RDONLY), path = open("f", O_PATH), p[2];

	is(fsync(fd), 0, "fsync");
	is(fdatasync(fd), 0, "fdatasync");
	is(fsync(dir), 0, "fsync of a directory");
	is(syncfs(fd), 0, "syncfs");
	fails(fsync(path), EBADF, "fsync of an O_PATH descriptor");
	fails(fsync(77), EBADF, "fsync of none");
	fails(fdatasync(77), EBADF, "fdatasync of none");
	pipe(p);
	fails(fsync(p[0]), EINVAL, "fsync of a pipe");
	sync();
	close(p[0]);
	close(p[1]);
	close(dir);
	close(path);
}

int main(void)
{
	int fd;

	enter_scratch_folder();
	buffer = malloc((size_t)most);
	want = calloc(1, (size_t)most + 4096);
	fd = open("f", O_RDWR | O_CREAT, 0600);
	test_allocate(fd);
	test_kinds_of_files();
	test_punch(fd);
	test_zero(fd);
	test_collapse(fd);
	test_seek(fd);
	test_sparse(fd);
	test_mapped(fd, 0, "plain");
	test_mapped(fd, MAP_DAXVM, "attached");
	test_mapped_large(fd, 0, "large, plain");
	test_mapped_large(fd, MAP_DAXVM, "large, attached");
	test_sync(fd);
	close(fd);
	unlink("f");
	leave_scratch_folder();
	return tap_done();
}
