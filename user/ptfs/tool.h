// SPDX-License-Identifier: MIT
//
// What mkfs.ptfs and ptfs share: open and mount an image, walk a path, speak about errors.
#pragma once

#include "user/ptfs/host_home.h"

struct tool {
	struct host_image image;
	struct ptfs_fs *fs;
};

// Opens and mounts; ends the program with a message if that fails. HOST_PRIVATE: whatever happens,
// recovery included, the file is not changed.
void tool_open(struct tool *t, const char *path, enum host_open how);
void tool_close(struct tool *t);

// Ends the program: "WHAT: reason of err".
void tool_fail(const char *what, int err) __noreturn;

// The inode that `path` names, with a reference; symlinks are not followed. 0 or -errno.
int tool_resolve(struct ptfs_fs *fs, const char *path, struct ptfs_inode **out) __must_check;
// The directory that holds it, and the last component in *name. -EINVAL: the root.
int tool_resolve_parent(struct ptfs_fs *fs, const char *path, struct ptfs_inode **dir,
			const char **name, size_t *len) __must_check;
// Resolve or end the program.
struct ptfs_inode *tool_get(struct ptfs_fs *fs, const char *path);

// "512M", "0x1000", "3G": bytes. Ends the program on anything else.
u64 tool_number(const char *text);

// Writes all of it at `pos`, or -errno.
int tool_write(struct ptfs_inode *ip, const void *data, u64 bytes, u64 pos) __must_check;

// Copies an open host file, holes included. 0 or -errno.
int tool_copy_in(struct ptfs_inode *ip, int fd) __must_check;
int tool_copy_out(struct ptfs_inode *ip, int fd) __must_check;

// Whole trees, with everything that an inode says. They end the program if something fails.
// The contents of the host's directory into `to`. `root_owner`: all of it belongs to root.
void tool_dir_in(struct ptfs_fs *fs, struct ptfs_inode *to, const char *dir, bool root_owner);
// The host's file or directory as `to`/`as`.
void tool_path_in(struct ptfs_fs *fs, struct ptfs_inode *to, const char *as, const char *path);
// An inode, and what is below it, as `path` on the host.
void tool_path_out(struct ptfs_inode *ip, const char *path);

// Status of `ptfs show` (show.c).
int tool_show(int argc, char **argv);

// Debugging aids of `ptfs` (poke.c): show and damage entries. Return the program's status.
int tool_peek(int argc, char **argv);
int tool_poke(int argc, char **argv);
int tool_unclean(int argc, char **argv);
