// SPDX-License-Identifier: MIT
//
// ptfs: the core's interface, for its homes (kernel VFS and VM layer, host tools, tests).
//
// Errors are 0 or -errno. -EUCLEAN: the medium says something impossible; one log line named it.
// All functions may sleep. Everything that a call changed is durable when it returns.
//
// Locking, outermost first
//   directory lock    the caller's (kernel: the VFS's, RANK_DIR). Every call below that takes a
//                     `dir` wants that directory's lock held; two directories: both.
//   mapping lock      the home's (platform.h), one per inode. Calls named ptfs_map_* want it held
//                     shared; all other calls take it themselves.
//   inode lock and the core's own
#pragma once

#include "fs/ptfs/format.h"
#include "fs/ptfs/platform.h"

// A range of persistent memory: read through `view`, written through the pmem functions at `base`.
struct ptfs_region {
	const void *view;
	phys_t base;
	u64 bytes;
	bool read_only;
};

struct ptfs_fs;
struct ptfs_dir_index;

// In-core inode. Homes may read the fields; the core changes them.
// Locks: [const] set at load, [lock] the inode's lock, [tx] the file system's transaction lock,
// [cache] the inode cache's lock, [dir] the directory lock.
struct ptfs_inode {
	struct ptfs_fs *fs;               // [const]
	u64 ino;                          // [const]
	u64 generation;                   // [const]
	u64 media_off;                    // offset of the struct ptfs_dinode [const]
	u64 root_off;                     // offset of the root word [const]
	u64 rdev;                         // [const]
	u64 created_ns;                   // [const]
	u32 mode;                         // the type never changes [tx]
	u32 nlink, uid, gid;              // [tx]
	u64 parent;                       // directories [tx]
	u64 size;                         // [lock], read without it by one 8-byte load
	u64 atime_ns, mtime_ns, ctime_ns; // [lock]
	u64 flags;                        // PTFS_INODE_* [lock]
	u8 leaf_type;          // chunk type of its leaves, 0: it has none (short symlink) [const]
	int bad;               // -EUCLEAN or -EIO, for all data calls: direct entries or root were
			       // refused [const]
	bool blocks_known;     // `blocks` is right; any change of the tree clears it [atomic]
	u64 blocks;            // leaf blocks when they were counted last
	u64 bad_answer;        // ptfs_has_bad's, and to which count of bad blocks (map.c) [atomic]
	u64 pte_page;          // the PTE page found last (table.c, I4) [atomic]
	u64 ahead;             // fallocate has asked for so many bytes: a hint (place.c) [atomic]
	u32 merge_mark;        // 1 + a 2 MiB unit that may be merged (merge.c), 0: none [atomic]
	bool orphan;           // nlink reached 0; freed by the last ptfs_iput [tx]
	bool linkable;         // made without a name, and may get one [tx]
	u32 refs;              // [cache]
	struct list hash_node; // [cache]
	struct list lru_node;  // while refs is 0 [cache]
	struct ptfs_dir_index *index; // directories, made at first use [dir]
	struct ptfs_mutex lock;
	struct ptfs_mutex
		grow_lock; // PTFS_RANK_OUTER: direct entries against their move into a table
	struct ptfs_home_inode home;
};

// ---- Images: looking at one, making one ----

struct ptfs_probe {
	u64 base;  // address of its last writable mount
	u64 bytes; // size of the file system
	u64 generation;
	bool clean; // mounts without a scan
	u8 uuid[16];
	char label[33];
};

// Reads the superblock. -EUCLEAN: not a ptfs image, or a damaged one (logged).
int ptfs_probe(const struct ptfs_region *r, struct ptfs_probe *out) __must_check;

struct ptfs_format_options {
	u8 uuid[16];
	char label[33];
};

// Makes an empty file system, which is clean, over the whole region. Writes little more than the
// system area; what lies in the rest is never shown. -EINVAL: base not 2 MiB aligned or too small.
int ptfs_format(const struct ptfs_region *r, const struct ptfs_format_options *o) __must_check;

// ---- Mounting ----

#define PTFS_MOUNT_RDONLY BIT(0)
#define PTFS_MOUNT_SCAN   BIT(1) // rebuild by scan although the image is clean
// Read-only: look at an image that needs recovery as it is, but without the changes of transactions
// that are open. Nothing is written. What recovery would free stays where it is: files behind their
// end (where reads never come; a mapping shows what stands there in the last block), blocks of
// files without a name, which count as free.
#define PTFS_MOUNT_NORECOVERY BIT(2)
// Verify all table pages before ptfs_mount returns. What is refused is in the log, and the mount
// stands.
#define PTFS_MOUNT_VERIFY BIT(3)

// `name` is for the log ("pmem0"). Errors, each with a log line that tells why:
//   -EUCLEAN  not ptfs, or damaged beyond mounting     -EINVAL  base not 2 MiB aligned, region too
//             small, NORECOVERY of a writable mount
//   -EROFS    read-only, and the image needs recovery   -ENOMEM
// A writable region may be mounted read-only; a read-only region is never written.
// The region may lie elsewhere than when the image was written last: ptfs_rebase.
int ptfs_mount(const struct ptfs_region *r, const char *name, unsigned flags, struct ptfs_fs **out)
	__must_check;
// The options of mount(8), from one table (options.c): what is parsed, what /proc/mounts shows and
// what docs/ptfs.md lists.
struct ptfs_options {
	bool read_only, writable;
	bool no_attach;  // nodaxvm: mappings by faults only
	bool norecovery; // PTFS_MOUNT_NORECOVERY
	bool verify;     // PTFS_MOUNT_VERIFY
	bool has_addr, has_prezero;
	u64 addr;    // where the region must be
	u64 prezero; // MiB that are zeroed in the background each second
};
// Adds what `text`, comma-separated, says; NULL and empty words are fine. -EINVAL with a log line:
// an option that is not known, is not complete, is there twice with different values, or
// contradicts another one.
int ptfs_options_parse(const char *text, struct ptfs_options *o) __must_check;
unsigned ptfs_options_flags(const struct ptfs_options *o); // PTFS_MOUNT_*
// As text that parses to the same, but for ro and rw; NUL-terminated, and cut off at `bytes`.
#define PTFS_OPTIONS_TEXT 96u // is enough
void ptfs_options_show(const struct ptfs_options *o, char *text, size_t bytes);
// Row `i` of the table for people: as it is written, and what it does. NULL behind the last.
const char *ptfs_options_help(unsigned i, const char **help);

// -EBUSY: an inode is still referenced; nothing happened. Otherwise the image is clean afterwards.
int ptfs_unmount(struct ptfs_fs *fs) __must_check;
// Forget the mount and write nothing, as after a crash. Inodes may still be referenced; they are
// gone.
void ptfs_abandon(struct ptfs_fs *fs);

// After a move, entries are rewritten when their table page is verified. This verifies all the rest
// and then gives the tags of other base addresses back: at most `budget` inodes of that, one caller
// at a time. 1: call again (let others run first); 0: nothing is left to do; -EUCLEAN: damage keeps
// the tags in use; -ENOMEM.
int ptfs_rebase(struct ptfs_fs *fs, unsigned budget) __must_check;
bool ptfs_rebase_pending(const struct ptfs_fs *fs);

// Makes free blocks zero ahead of their use: about `bytes` of looking and writing, one caller at a
// time. Returns what it took; less than `bytes`: nothing is left to do for now.
u64 ptfs_prezero(struct ptfs_fs *fs, u64 bytes);

struct ptfs_statfs {
	u64 blocks;                   // of 4 KiB, all
	u64 blocks_free;              // usable for file data now
	u64 chunks[PTFS_CHUNK_TYPES]; // chunks by type
	u64 used[PTFS_CHUNK_TYPES];   // blocks in use by type
	u64 inodes;                   // in use
	bool read_only;
	u8 uuid[16];
};
void ptfs_statfs(struct ptfs_fs *fs, struct ptfs_statfs *out);
bool ptfs_read_only(const struct ptfs_fs *fs);

// ---- Inodes ----

// A reference to inode `ino`. -ENOENT: it is free. -EUCLEAN, -ENOMEM.
int ptfs_iget(struct ptfs_fs *fs, u64 ino, struct ptfs_inode **out) __must_check;
void ptfs_ihold(struct ptfs_inode *ip);
// Drops one. The last reference to an inode without links frees its blocks: no mapping may exist
// then.
void ptfs_iput(struct ptfs_inode *ip);

struct ptfs_attr {
	u64 ino, generation, size, blocks; // blocks of 4 KiB, tables not counted
	u32 mode, nlink, uid, gid;
	u64 rdev, atime_ns, mtime_ns, ctime_ns, created_ns;
	u64 flags;
};
#define PTFS_ATTR_MODE  BIT(0) // permission bits; the type stays
#define PTFS_ATTR_UID   BIT(1)
#define PTFS_ATTR_GID   BIT(2)
#define PTFS_ATTR_ATIME BIT(3)
#define PTFS_ATTR_MTIME BIT(4)

// `blocks` is counted by a walk over the tables; of a damaged file it counts what can be reached.
void ptfs_getattr(struct ptfs_inode *ip, struct ptfs_attr *out);
// One transaction; sets ctime. Size is changed by ptfs_truncate.
int ptfs_setattr(struct ptfs_inode *ip, u64 which, const struct ptfs_attr *a) __must_check;
// atime := now, if it is not later than mtime and ctime (as Linux's "relatime", without its daily
// change).
void ptfs_accessed(struct ptfs_inode *ip);
// Would it do nothing? The answer for most reads.
static inline bool ptfs_atime_stands(const struct ptfs_inode *ip)
{
	u64 atime = READ_ONCE(ip->atime_ns);

	return atime > READ_ONCE(ip->mtime_ns) && atime > READ_ONCE(ip->ctime_ns);
}
// mtime and ctime := now, after stores through a mapping.
int ptfs_touch(struct ptfs_inode *ip) __must_check;

// ---- Names. `dir` is locked by the caller (see above) ----

struct ptfs_create_args {
	u32 mode; // with the type
	u32 uid, gid;
	u64 rdev;
	const char *target; // symlinks: NUL-terminated
};

// -ENOENT: no such name, -ENOTDIR, -ENAMETOOLONG. "." and ".." are looked up too.
int ptfs_lookup(struct ptfs_inode *dir, const char *name, size_t len, struct ptfs_inode **out)
	__must_check;
// Makes a file of any type, directories included. -EEXIST, -ENOSPC, -ENAMETOOLONG, -EMLINK, -EROFS.
int ptfs_create(struct ptfs_inode *dir, const char *name, size_t len,
		const struct ptfs_create_args *a, struct ptfs_inode **out) __must_check;
int ptfs_link(struct ptfs_inode *dir, const char *name, size_t len, struct ptfs_inode *target)
	__must_check;
// Not for directories (-EISDIR).
int ptfs_unlink(struct ptfs_inode *dir, const char *name, size_t len) __must_check;
// -ENOTEMPTY, -ENOTDIR.
int ptfs_rmdir(struct ptfs_inode *dir, const char *name, size_t len) __must_check;

// A file that no name leads to; the last ptfs_iput frees it, and so does recovery, unless ptfs_link
// has given it a name (`linkable`; else that is refused). Regular files.
int ptfs_tmpfile(struct ptfs_inode *dir, const struct ptfs_create_args *a, bool linkable,
		 struct ptfs_inode **out) __must_check;

#define PTFS_RENAME_NOREPLACE BIT(0)
#define PTFS_RENAME_EXCHANGE  BIT(1) // the two change places, whatever they are; both must be there
// Besides both directory locks the caller holds one global lock if a directory moves between
// directories. -EINVAL: into itself or below; -ENOTEMPTY, -EISDIR, -ENOTDIR, -EEXIST.
int ptfs_rename(struct ptfs_inode *from, const char *name, size_t len, struct ptfs_inode *to,
		const char *new_name, size_t new_len, unsigned flags) __must_check;

// Calls emit for every entry from *pos (0: the start, "." first) on until it returns false, and
// leaves *pos at the first entry not taken. next_pos is what *pos becomes once this entry is taken.
// `type` is (mode & S_IFMT) >> 12, which is d_type.
typedef bool (*ptfs_emit)(void *ctx, const char *name, size_t len, u64 ino, unsigned type,
			  u64 next_pos);
int ptfs_readdir(struct ptfs_inode *dir, u64 *pos, ptfs_emit emit, void *ctx) __must_check;

// Bytes copied (not NUL-terminated, cut at `bytes`), or -EINVAL: not a symlink.
ssize ptfs_readlink(struct ptfs_inode *ip, char *buf, size_t bytes) __must_check;

// ---- Contents of regular files ----

// Bytes read, 0 at EOF. -EISDIR, -EINVAL, -EFAULT, -EUCLEAN.
ssize ptfs_read(struct ptfs_inode *ip, struct ptfs_iter *to, u64 pos, u64 bytes) __must_check;
// Bytes written, short if space ran out or a page was missing. -ENOSPC, -EFBIG, -EFAULT, -EROFS,
// -EUCLEAN. Two calls to one file take turns. With `append`, *pos is set to the size first; it is
// moved behind what was written. A block whose memory has failed gets another one if all that the
// file has in it is written (mend.c), which takes all of these bytes at once: -EFAULT when not all
// of their pages are there. -EIO: a part of it was to be written. With `append` it is short there:
// what was written is in one piece before *pos.
ssize ptfs_write(struct ptfs_inode *ip, struct ptfs_iter *from, u64 *pos, u64 bytes, bool append)
	__must_check;
// Both ways. -EFBIG, -EROFS, -EUCLEAN (nothing changed).
int ptfs_truncate(struct ptfs_inode *ip, u64 size) __must_check;
// The calls on [off, off + len): -EINVAL: len is 0; -EFBIG, -EROFS, -EUCLEAN.
//
// Fills the holes with zeroed blocks, 2 MiB leaves where they fit. keep_size: blocks beyond EOF
// stay there, the size too. -ENOSPC: nothing was changed beyond the old EOF.
int ptfs_fallocate(struct ptfs_inode *ip, u64 off, u64 len, bool keep_size) __must_check;
// Makes holes; in blocks that the range covers in part its bytes become zero. The size stays.
int ptfs_punch(struct ptfs_inode *ip, u64 off, u64 len) __must_check;
// As ptfs_fallocate, and what was there becomes zero, in place.
int ptfs_zero_range(struct ptfs_inode *ip, u64 off, u64 len, bool keep_size) __must_check;
// Takes the range out; what follows moves up. -EINVAL: not block multiples, or not inside the size.
// -ENOSPC: the file is as it was.
int ptfs_collapse(struct ptfs_inode *ip, u64 off, u64 len) __must_check;
// Writes back cached stores to [off, off + len), made through a mapping, and fences.
int ptfs_sync_range(struct ptfs_inode *ip, u64 off, u64 len) __must_check;
// SEEK_DATA / SEEK_HOLE: the first offset >= off in data (a hole), -ENXIO: none before EOF.
s64 ptfs_seek(struct ptfs_inode *ip, u64 off, bool hole) __must_check;

// ---- For the VM layer: mapping lock held shared from the call until its result is installed ----

struct ptfs_page {
	phys_t pa; // of the 4 KiB block asked for
	int level; // PT_PTE, or PT_PMD when the block lies in a 2 MiB leaf
	bool hole; // no block there; pa is not set
};

// The block at byte offset `off`. With `write`, a hole is allocated, zeroed and published first.
// -ENXIO: wholly at or beyond EOF; -ENOSPC, -EUCLEAN, -EROFS, -ENOMEM.
int ptfs_map_page(struct ptfs_inode *ip, u64 off, bool write, struct ptfs_page *out) __must_check;

enum ptfs_map_kind {
	PTFS_MAP_NONE,   // not ready, or read-only and of another base: use ptfs_map_page
	PTFS_MAP_ROOT,   // `entry` of `level`
	PTFS_MAP_DIRECT, // `direct`
};

struct ptfs_map {
	enum ptfs_map_kind kind;
	int level;   // PT_PMD: names a PTE page or is a 2 MiB leaf; PT_PUD, PT_PML4
	pte_t entry; // address and template rights, P set; level bits and base tag removed
	pte_t direct[PTFS_DIRECT]; // likewise; 0: hole
};

// The file's stored table if it is ready. An empty file is DIRECT with eight holes. -EUCLEAN.
int ptfs_map_table(struct ptfs_inode *ip, struct ptfs_map *out) __must_check;
// The smallest ready subtree that covers `off` at a level <= `level` (PT_PMD: a PTE page or a 2 MiB
// leaf; PT_PUD: a PMD page). kind NONE: a hole, direct entries, or not ready. -EUCLEAN.
int ptfs_map_subtree(struct ptfs_inode *ip, u64 off, int level, struct ptfs_map *out) __must_check;
// Verify tables that cover [off, off + len), at most `budget` table pages of them. 0: all of the
// range is ready; 1: budget used up, call again; -EUCLEAN.
int ptfs_map_ready(struct ptfs_inode *ip, u64 off, u64 len, unsigned budget) __must_check;

// Does the file use memory that is known to have failed, in its blocks (those behind the end, too)
// or in its tables? Then it must not be attached. Walks the whole file, once for each time that
// memory fails, and once more when blocks have left the file since.
bool ptfs_has_bad(struct ptfs_inode *ip);
// Writes what is known to have failed into the list on the medium, durably, if it is not there yet:
// to be called now and then when ptfs_bad_count() has changed. Unmounting does it, too.
void ptfs_bad_store(struct ptfs_fs *fs);
// A call met such memory in this file: from now on each call looks at the list of bad blocks first.
// Takes the mapping lock exclusively.
void ptfs_bad_met(struct ptfs_inode *ip);

// ---- Checking ----

struct ptfs_check_result {
	u64 errors; // broken invariants, each reported
	u64 leaked; // blocks in use by the bitmap that nothing names (harmless)
	u64 bad; // blocks in the list of those that have failed: in use and nobody's, or a file's
	u64 inodes, directories, tables;
	u64 used[PTFS_CHUNK_TYPES]; // blocks by type of their chunk
	bool was_clean;
};

// One finding: what is wrong with inode `ino`, and two numbers that `what` explains.
typedef void (*ptfs_report)(void *ctx, const char *what, u64 ino, u64 a, u64 b);

// All invariants of an image that is not mounted. An unclean one is recovered first, so the region
// must be writable: callers that must not change the image pass a private copy of it. Refused
// entries are counted here and named in the log. 0 (see result->errors), or -errno: cannot be
// mounted at all.
int ptfs_check(const struct ptfs_region *r, ptfs_report report, void *ctx,
	       struct ptfs_check_result *result) __must_check;
