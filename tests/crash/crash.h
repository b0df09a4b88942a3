// SPDX-License-Identifier: MIT
//
// The crash explorer of ptfs (docs/crash-testing.md): runs sequences of operations on a live image,
// builds what a power failure could leave at each fence and each return, and puts every such image
// through recovery, check, comparison and use.
//
//      workload.c   which operations, in which sequences
//      calls.c      how ptfs executes them
//      model*.c     what they mean: an independent model; expect.c: the same with these types
//      medium.c     two images, what is stored to them, and how to take it back
//      state.c      which words may be missing at a crash point, and the images that follow
//      view.c       what can be seen of a file system
//      judge.c      what must hold in an image
//      sites.c      the places in ptfs that flush or fence; mutate.c: each is switched off in turn
//      explore.c    the program; replay.c: another one, for the traces of whole systems
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "fs/ptfs/ptfs_internal.h"
#include "user/ptfs/host_home.h"

#define IMAGE_BYTES MIB(24)
#define OTHER_BASE  0x143e00000ull // where scratch is: a multiple of 2 MiB, not of 1 GiB
#define LINE_BYTES  64u

// Free space holds this where nothing was ever written: no file may show it.
#define STALE 0xa5

// ---- Media ----

// Old lines of an image, newest last.
struct undo {
	struct {
		u64 off;
		u8 old[LINE_BYTES];
	} * line;
	u64 n, room;
};

struct event {
	enum host_pm_kind kind;
	u32 site; // flushes and fences: number of the place in the source
	u32 cpu;  // a fence waits for what its own CPU has written back
	u64 off, len;
	u64 data; // stores: index of the new bytes in trace.bytes
};

// What was done to an image, in program order.
struct trace {
	struct event *event;
	u64 n, room;
	u8 *bytes;
	u64 used, bytes_room;
};

struct medium {
	struct host_image image;
	struct undo undo;
	struct trace *trace; // NULL: only undone
};

extern struct medium live, scratch;

// The live image, clean, at its own base; scratch is the same bytes at `scratch_base`.
void media_init(void (*populate)(struct host_image *im), u64 scratch_base);
// Both are these bytes.
void media_load(const void *bytes, u64 len, u64 scratch_base);
void trace_add(struct trace *t, const struct host_pm_event *e, u32 site, u32 cpu);
// Stores go to this medium from now on; trace may be NULL.
void medium_use(struct medium *m, struct trace *t);
// Change scratch as the hardware would, undoable.
void medium_poke(struct medium *m, u64 off, u64 value);
u64 medium_word(const struct medium *m, u64 off);
void medium_rollback(struct medium *m, u64 mark);
#define MEDIUM_CPUS 8u

// The CPU that runs, below MEDIUM_CPUS.
extern u32 medium_cpu;
// Called at each event, before it is recorded; NULL: nobody is. Stores: site 0.
extern void (*medium_at)(enum host_pm_kind kind, u32 site);

// ---- Places in the source that flush or fence ----

#define SITES_MAX 256u

struct site {
	bool fence;
	char function[48], where[48];
};

u32 site_count(void);
const struct site *site_get(u32 nr);
// This site does nothing from now on.
void site_switch_off(u32 nr);
// Number of the place that called the pmem function, found by the return addresses.
u32 site_here(void);
bool site_is_off(u32 nr);
void sites_init(void);

// ---- Views ----

#define VIEW_FILES  40u
#define VIEW_BLOCKS 8192u

struct view_block {
	u64 index;
	bool maybe;      // model: there, or a hole; both are right
	const u8 *bytes; // NULL: zeros
};

struct view_file {
	char path[320];
	u64 ino, size, time[3];
	u32 mode, nlink, uid, gid;
	u32 first, blocks; // in view.block; blocks that exist, by index
};

struct view {
	u32 files, blocks;
	struct view_file file[VIEW_FILES];
	struct view_block block[VIEW_BLOCKS];
	u64 hash;
	u8 *copies; // the blocks' bytes, for views that outlive the medium's state
	u64 used;
};

void view_init(struct view *v);
void view_clear(struct view *v);
struct view_file *view_add(struct view *v, const char *path);
// Blocks are added to the file that was added last. `bytes`: copied; NULL: zeros.
void view_add_block(struct view *v, u64 index, const u8 *bytes, bool maybe);
// All files are there: sorts them.
void view_finish(struct view *v);
// NULL, or what is wrong. `copy`: bytes are copied, else they stay where they are.
const char *view_take(struct view *v, struct ptfs_fs *fs, bool copy);
const struct view_file *view_find(const struct view *v, const char *path);
// The bytes of a block; a page of zeros for holes.
const u8 *view_bytes(const struct view *v, const struct view_file *f, u64 index);
bool view_same_file(const struct view *a, const struct view_file *f, const struct view *b,
		    const struct view_file *g);
bool view_same(const struct view *a, const struct view *b);
// The same blocks exist, where the model (b) says so; the same times.
bool view_same_blocks(const struct view *a, const struct view *b);
bool view_same_times(const struct view *a, const struct view *b);
void view_print(const struct view *v, const char *title);

// ---- Judging ----

// What a call promises (ptfs.md, "What is atomic").
enum promise {
	PROMISE_ATOMIC,     // wholly or not at all; times of what it touches may lag
	PROMISE_ATTRIBUTES, // the same, times included
	PROMISE_MIXED,      // one file: words of existing blocks, and whole holes, old or new; the
			    // size, and what lies behind the old one, as a whole
	PROMISE_BLOCKS,     // MIXED, and blocks that existed are wholly old or new, too
	PROMISE_ANY,        // prepares what follows, and is not looked at
	PROMISE_MAPPED,     // MIXED, but stores of a program may tear a block that is new
	PROMISE_FORMAT,     // as before, as after, or no file system at all
	PROMISE_SOUND,      // whatever is there is sound
};

#define TOUCHED 5000000 // the time of that

struct oracle {
	const struct view *before, *after;
	enum promise promise;
	const char *path; // MIXED: the file
	bool cleans;      // it unmounts: once it has returned, the image mounts without recovery
	bool returned, clean;
	bool touched; // after a recovery all files were touched, or some of them
	u64 hash;     // differs when the answers may
};

// Is scratch, as it is now, an image that may be there? NULL, or what is wrong. It is mounted,
// recovered, compared, checked, used and emptied; all of that is undone again. With `recovery`, all
// stores of the mount are recorded there; then it may be asked for (state_wants): the image is not
// used, but perhaps rebased, all files are touched, and it is unmounted, which is recorded, too,
// and *follow is set.
const char *judge_image(const struct oracle *o, bool use, struct trace *recovery, bool *follow);

// ---- Crash points ----

struct effort {
	unsigned exhaustive; // all subsets of up to so many words
	unsigned lines, pairs, words, random;
	// Crashed again inside its recovery is: one image in so many (0: none), and of those whose
	// recoveries pass the same places, the first so many of a sequence.
	unsigned second, alike;
	unsigned second_exhaustive; // and there all subsets of up to so many words
	unsigned use;               // one image in so many is used and emptied
};

struct totals {
	u64 points, states, images, second_points, second_images, failures, sequences, calls;
};

struct explorer {
	struct effort effort;
	struct totals *totals; // shared by all workers
	bool quiet;            // mutation: say nothing, end at the first failure
	const char *doing;     // for messages
};

extern struct explorer ex;

void state_init(void);
// Is this recovery to be followed? *rebase: all entries are to be rewritten, too.
bool state_wants(const struct trace *recovery, bool *rebase);
// Forget what is pending: scratch is as the medium before the first store.
void state_reset(void);
// Follow a call's trace on scratch; at each fence, and at the end, with oracle->returned.
void state_follow(const struct trace *t, struct oracle *o);
// The same at one fence in `every` only, and not at the end.
void state_sample(const struct trace *t, unsigned every, struct oracle *o);
// The same without looking.
void state_skip(const struct trace *t);

// ---- Workloads ----

enum call {
	CALL_CREATE,
	CALL_MKDIR,
	CALL_SYMLINK, // a: bytes of the target
	CALL_LINK,
	CALL_UNLINK,
	CALL_RMDIR,
	CALL_RENAME,    // a: PTFS_RENAME_*
	CALL_TRUNCATE,  // a: size
	CALL_FALLOCATE, // a: offset, b: bytes, and so below
	CALL_RESERVE,   // fallocate that keeps the size
	CALL_ZERO_RANGE,
	CALL_PUNCH,
	CALL_COLLAPSE,
	CALL_WRITE,
	CALL_APPEND,
	CALL_MMAP,      // stores through a mapping, then msync
	CALL_MMAP_TAIL, // the same behind the end, in the last page
	CALL_SETATTR,   // a: PTFS_ATTR_*
	CALL_TOUCH,
	CALL_READ,        // atime
	CALL_ZERO_UNLINK, // zeros through a mapping, no msync; then unlink
	CALL_UNLINK_OPEN, // unlink, then write and truncate what is still open
	CALL_TMPFILE,     // b: bytes written; path2: a name in the directory `path` that it gets
	CALL_HOLD,        // unlink, and leave it open
	CALL_REMOUNT,     // a: at this address, 0: where it is
	CALL_REBASE,      // rewrite all entries for this address
	CALL_CRASH,       // mount again without unmounting
	CALL_FORMAT,      // a new file system in place of the old one
	// Another CPU: a write into a hole, which stops before its first entry is written back, or,
	// if it is longer than a block, before the second one is filled.
	CALL_WRITE_STOP,
	CALL_WRITE_GO, // the rest of it
	CALL_PREZERO,  // a: bytes of zeroing that the background does
	CALL_FAIL,     // the memory of the block at byte a fails, and the medium's list says so
};

struct op {
	const char *name;
	enum call call;
	enum promise promise;
	const char *path, *path2;
	u64 a, b;
};

#define CLOCK_START 1000 // when the file system was made

// What CALL_SETATTR sets.
#define CALL_ATTR_MODE  0600
#define CALL_ATTR_UID   5
#define CALL_ATTR_GID   6
#define CALL_ATTR_ATIME 77
#define CALL_ATTR_MTIME 99

extern const struct op ops[];
unsigned op_count(void);
void workload_populate(struct host_image *im);
// The model of that.
void workload_expect(void);
// The n-th longer sequence: fills `list`, returns its length; 0: there are no more.
unsigned workload_sequence(unsigned n, const struct op **list, unsigned max);

// ptfs executes the call on the live image.
int call_run(const struct op *op);
void workload_mount(void);
void workload_abandon(void);
struct ptfs_fs *workload_fs(void);
// All entries are written for the address of the mount.
int call_rebase_all(struct ptfs_fs *of);
// The bytes that a write of `len` at `pos` writes (appending: at 0), and a word stored at `pos`.
void call_bytes(u8 *out, u64 pos, u64 len);
static inline u64 call_word(u64 pos)
{
	return pos * 0x0101010101ull | 1;
}

// ---- What the calls mean: the model, seen with the explorer's types ----

void expect_reset(void);
void expect_clock(u64 now);
int expect_run(const struct op *op);
// What must be seen now. Inode numbers are taken over from `seen`, where the model has none yet.
// NULL, or why that cannot be.
const char *expect_view(struct view *v, const struct view *seen);

// ---- Mutation ----

#define MUTATION_TASKS 160u

// The running task passes the site.
void mutation_pass(u32 site);
// What runs for each place: run(number).
void mutation_task(bool (*run)(u64 task), u64 number);
// A task without mutation. False: there is no such task.
bool mutation_baseline(u64 task);
// Places `first` to `last`.
void mutate_all(u32 first, u32 last, unsigned jobs,
		const char *(*name)(bool (*run)(u64 task), u64 number));
