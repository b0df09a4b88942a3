// SPDX-License-Identifier: MIT
//
// ptfs-fuse: mounts an image on Linux, read-write, through libfuse3.
//
//      ptfs-fuse IMAGE MOUNTPOINT [options of FUSE]
//      fusermount3 -u MOUNTPOINT
//
// Unmounting leaves the image clean. If the program is ended otherwise, the next mount recovers, as
// after a crash; what had returned by then is there, as far as the host kept the file's pages.
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>

#include "tools/ptfs-fuse/ops.h"
#include "user/ptfs/tool.h"

static void caller(u32 *uid, u32 *gid)
{
	const struct fuse_context *c = fuse_get_context();

	*uid = c->uid;
	*gid = c->gid;
}

int main(int argc, char **argv)
{
	char *args[64] = { argv[0], argv[2], (char *)"-s", (char *)"-o",
			   (char *)"default_permissions,fsname=ptfs,subtype=ptfs" };
	int nr = 5, status;
	char *path;
	struct tool t;

	if (argc < 3 || argc > 40 || argv[1][0] == '-') {
		fprintf(stderr, "usage: ptfs-fuse IMAGE MOUNTPOINT [options of FUSE]\n");
		return 2;
	}
	for (int i = 3; i < argc; i++)
		args[nr++] = argv[i];
	path = realpath(argv[1], NULL); // going to the background changes the directory
	if (!path)
		tool_fail(argv[1], errno);
	tool_open(&t, path, HOST_SHARED);
	ptfs_fuse_start(t.fs, caller);
	status = fuse_main(nr, args, ptfs_fuse_operations(), NULL);
	tool_close(&t);
	free(path);
	return status;
}
