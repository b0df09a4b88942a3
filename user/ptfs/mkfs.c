// SPDX-License-Identifier: MIT
//
// mkfs.ptfs: makes an image, and fills it from a directory of the host.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "user/ptfs/tool.h"

#define FALLOCATE_MAX 64u

static const char usage[] =
	"usage: mkfs.ptfs [options] IMAGE\n"
	"  -d DIR                 copy the contents of DIR into it\n"
	"  --root-owner           everything in it belongs to root\n"
	"  -s SIZE                size (512M, 1G; default 1G); the file is sparse\n"
	"  -L LABEL               up to 32 bytes\n"
	"  -U UUID                default: a random one\n"
	"  -f                     although IMAGE holds something already, or is in use\n"
	"  --base ADDR            address at which the image will be mapped (default 0x100000000)\n"
	"  --fallocate PATH:SIZE  a file of zeros with all its blocks; may be repeated\n";

struct options {
	const char *dir, *image;
	u64 bytes, base;
	bool force, root_owner, have_uuid;
	struct ptfs_format_options format;
	const char *fallocate[FALLOCATE_MAX];
	unsigned nr_fallocate;
};

// "01234567-89ab-...": 32 hexadecimal digits; dashes are for the eye.
static void parse_uuid(u8 *uuid, const char *text)
{
	unsigned n = 0;

	memset(uuid, 0, 16);
	for (; *text && n < 33; text++) {
		const char *digits = "0123456789abcdef";
		const char *d = strchr(digits, *text | 0x20);

		if (*text == '-')
			continue;
		if (!d || n == 32)
			n = 33;
		else
			uuid[n / 2] |= (u8)((d - digits) << (n % 2 ? 0 : 4));
		n++;
	}
	if (n != 32) {
		fprintf(stderr, "not a UUID\n");
		exit(2);
	}
}

static void parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "base", 1, NULL, 'B' },
					       { "fallocate", 1, NULL, 'F' },
					       { "root-owner", 0, NULL, 'R' },
					       { "help", 0, NULL, 'h' },
					       { NULL, 0, NULL, 0 } };
	int c;

	*o = (struct options){ .bytes = GIB(1), .base = HOST_DEFAULT_BASE };
	while ((c = getopt_long(argc, argv, "d:s:L:U:fh", longs, NULL)) != -1) {
		switch (c) {
		case 'd': o->dir = optarg; break;
		case 's': o->bytes = tool_number(optarg); break;
		case 'L':
			if (strlen(optarg) > sizeof(o->format.label) - 1) {
				fprintf(stderr, "a label has at most 32 bytes\n");
				exit(2);
			}
			strcpy(o->format.label, optarg);
			break;
		case 'f': o->force = true; break;
		case 'R': o->root_owner = true; break;
		case 'U':
			parse_uuid(o->format.uuid, optarg);
			o->have_uuid = true;
			break;
		case 'B': o->base = tool_number(optarg); break;
		case 'F':
			if (o->nr_fallocate == FALLOCATE_MAX) {
				fprintf(stderr, "--fallocate: at most %u of them\n", FALLOCATE_MAX);
				exit(2);
			}
			o->fallocate[o->nr_fallocate++] = optarg;
			break;
		default: fputs(usage, c == 'h' ? stdout : stderr); exit(c == 'h' ? 0 : 2);
		}
	}
	if (optind != argc - 1) {
		fputs(usage, stderr);
		exit(2);
	}
	o->image = argv[optind];
}

static void random_uuid(u8 *uuid)
{
	int fd = open("/dev/urandom", O_RDONLY);

	if (fd < 0 || read(fd, uuid, 16) != 16) {
		u64 now = ptfs_time_ns();

		memcpy(uuid, &now, sizeof(now));
	}
	if (fd >= 0)
		close(fd);
	uuid[6] = (uuid[6] & 0x0f) | 0x40; // version 4, RFC 4122
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

// What the formats that one meets on a disk are known by, as blkid(8) knows them.
static const struct {
	const char *what;
	unsigned off;
	const char *bytes;
	unsigned len;
} signatures[] = {
	{ "a ptfs", 0, "\0PTFS\r\x1a\n", 8 },
	{ "an ext2, ext3 or ext4 file system", 0x438, "\x53\xef", 2 },
	{ "an XFS file system", 0, "XFSB", 4 },
	{ "a Btrfs file system", 0x10040, "_BHRfS_M", 8 },
	{ "an F2FS file system", 0x400, "\x10\x20\xf5\xf2", 4 },
	{ "a squashfs", 0, "hsqs", 4 },
	{ "an NTFS file system", 3, "NTFS    ", 8 },
	{ "an exFAT file system", 3, "EXFAT   ", 8 },
	{ "an ISO 9660 file system", 0x8001, "CD001", 5 },
	{ "a LUKS volume", 0, "LUKS\xba\xbe", 6 },
	{ "an LVM volume", 0x218, "LVM2 001", 8 },
	{ "swap space", 0xff6, "SWAPSPACE2", 10 },
	{ "an NVDIMM namespace", 0x1000, "NVDIMM_PFN_INFO", 15 },
	{ "a partition table (GPT)", 0x200, "EFI PART", 8 },
	{ "a FAT file system, or a partition table", 0x1fe, "\x55\xaa", 2 },
};

// NULL: nothing but zeros, as far as it was looked at.
static const char *found_in(const u8 *head, size_t n)
{
	for (unsigned i = 0; i < ARRAY_SIZE(signatures); i++)
		if (signatures[i].off + signatures[i].len <= n &&
		    !memcmp(head + signatures[i].off, signatures[i].bytes, signatures[i].len))
			return signatures[i].what;
	for (size_t i = 0; i < n; i++)
		if (head[i])
			return "data of an unknown kind";
	return NULL;
}

static void refuse(const char *image, const char *verb, const char *what)
{
	fprintf(stderr, "%s: %s %s; -f makes a new image all the same\n", image, verb, what);
	exit(1);
}

// Not over bytes that may be somebody's, nor under somebody who has the file open as an image
// (ptfs-fuse, another tool, or a machine whose DIMM it is, hold its lock).
static void refuse_existing(const struct options *o)
{
	static u8 head[KIB(128)];
	int fd = o->force ? -1 : open(o->image, O_RDONLY);
	const char *what;
	ssize_t n;

	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX | LOCK_NB))
		refuse(o->image, "is", "in use: mounted, or another program works on it");
	n = pread(fd, head, sizeof(head), 0);
	what = found_in(head, n < 0 ? 0 : (size_t)n);
	if (what)
		refuse(o->image, "holds", what);
	close(fd);
}

static void fallocate_file(struct ptfs_fs *fs, const char *arg)
{
	static const struct ptfs_create_args regular = { .mode = PTFS_S_IFREG | 0644 };
	char *path = strdup(arg);
	char *colon = path ? strrchr(path, ':') : NULL;
	struct ptfs_inode *dir, *ip;
	const char *name;
	size_t len;
	int err;

	if (!colon) {
		fprintf(stderr, "--fallocate wants PATH:SIZE, not %s\n", arg);
		exit(2);
	}
	*colon = 0;
	err = tool_resolve_parent(fs, path, &dir, &name, &len);
	if (err)
		tool_fail(path, err);
	err = ptfs_create(dir, name, len, &regular, &ip);
	if (!err)
		err = ptfs_fallocate(ip, 0, tool_number(colon + 1), false);
	if (err)
		tool_fail(path, err);
	ptfs_iput(ip);
	ptfs_iput(dir);
	free(path);
}

int main(int argc, char **argv)
{
	struct options o;
	struct tool t;
	int err;

	parse(argc, argv, &o);
	refuse_existing(&o);
	host_clock_from_environment();
	if (!o.have_uuid)
		random_uuid(o.format.uuid);
	if (host_image_create(&t.image, o.image, o.bytes, o.base))
		return 1;
	err = ptfs_format(&t.image.region, &o.format);
	if (err == -EINVAL)
		fprintf(stderr,
			"the base must be a multiple of 2 MiB, and the size at least 16 MiB\n");
	if (!err)
		err = ptfs_mount(&t.image.region, o.image, 0, &t.fs);
	if (err)
		tool_fail(o.image, err);
	if (o.dir) {
		struct ptfs_inode *root = tool_get(t.fs, "/");

		tool_dir_in(t.fs, root, o.dir, o.root_owner);
		ptfs_iput(root);
	}
	for (unsigned i = 0; i < o.nr_fallocate; i++)
		fallocate_file(t.fs, o.fallocate[i]);
	tool_close(&t);
	return 0;
}
