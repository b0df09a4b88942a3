// SPDX-License-Identifier: MIT
//
// What: what must hold in an image that a power failure left (ptfs.md, "What is atomic").
//
// It mounts, and recovers. What is seen is what the call in progress promises: everything before or
// everything after it, or, in the one file that a MIXED call changes, each word of a block that
// existed old or new, each new block wholly there or not, and the size, with all behind the old
// size, old or new. Once a call has returned, it has happened. All other files are unchanged. Times
// are those before or after. The checker finds no error and no leak. The file system can be used:
// a name in every directory, everything deleted, all space back.
#include "tests/crash/crash.h"

static struct view state; // what is in the image

static u64 word_at(const u8 *p, u64 i)
{
	u64 v;

	memcpy(&v, p + i, 8);
	return v;
}

// The bytes of a word at file offset `pos` that lie before `end`.
static u64 mask_before(u64 pos, u64 end)
{
	if (pos >= end)
		return 0;
	return end - pos >= 8 ? ~0ull : BIT(8 * (end - pos)) - 1;
}

struct mixed {
	const struct oracle *o;
	const struct view_file *b, *a, *s;
};

static bool block_existed(const struct mixed *m, u64 index)
{
	for (u32 i = 0; i < m->b->blocks; i++)
		if (m->o->before->block[m->b->first + i].index == index)
			return true;
	return false;
}

static bool block_mixed(const struct mixed *m, u64 index)
{
	const u8 *s = view_bytes(&state, m->s, index);
	const u8 *b = view_bytes(m->o->before, m->b, index);
	const u8 *a = view_bytes(m->o->after, m->a, index);
	bool grown = m->s->size > m->b->size; // then what lies behind the old end is new
	bool whole = m->o->promise == PROMISE_BLOCKS ||
		     (m->o->promise == PROMISE_MIXED && !block_existed(m, index));
	bool old = true, fresh = true;

	for (u64 i = 0; i < PTFS_BLOCK; i += 8) {
		u64 pos = index * PTFS_BLOCK + i;
		u64 low = mask_before(pos, min(m->b->size, m->s->size));
		u64 seen = mask_before(pos, m->s->size);
		u64 ws = word_at(s, i), wb = word_at(b, i), wa = word_at(a, i);
		bool is_old = !((ws ^ wb) & low), is_new = !((ws ^ wa) & low);

		if ((ws & ~seen) || (grown && ((ws ^ wa) & seen & ~low)))
			return false;
		if (!is_old && !is_new)
			return false;
		old &= is_old;
		fresh &= is_new;
	}
	return !whole || old || fresh;
}

static bool file_mixed(const struct oracle *o, const struct view_file *s)
{
	struct mixed m = { .o = o,
			   .b = view_find(o->before, o->path),
			   .a = view_find(o->after, o->path),
			   .s = s };
	const struct view *views[3] = { &state, o->before, o->after };
	const struct view_file *files[3] = { m.s, m.b, m.a };

	if (!m.b || !m.a || s->ino != m.b->ino || s->mode != m.b->mode || s->nlink != m.b->nlink)
		return false;
	if (s->size != m.b->size && s->size != m.a->size)
		return false;
	for (unsigned v = 0; v < 3; v++)
		for (u32 i = 0; i < files[v]->blocks; i++)
			if (!block_mixed(&m, views[v]->block[files[v]->first + i].index))
				return false;
	return true;
}

static bool mixed_allowed(const struct oracle *o)
{
	const struct view_file *named = view_find(o->before, o->path);

	if (state.files != o->before->files)
		return false;
	for (u32 i = 0; i < state.files; i++) {
		const struct view_file *s = &state.file[i];

		// By number: the file may have several names.
		if (named && s->ino == named->ino) {
			struct oracle same = *o;

			same.path = s->path;
			if (!file_mixed(&same, s))
				return false;
		} else if (!view_same_file(&state, s, o->before, &o->before->file[i])) {
			return false;
		}
	}
	return true;
}

static const struct view_file *by_number(const struct view *v, u64 ino)
{
	for (u32 i = 0; i < v->files; i++)
		if (v->file[i].ino == ino)
			return &v->file[i];
	return NULL;
}

static bool times_allowed(const struct oracle *o)
{
	for (u32 i = 0; i < state.files; i++) {
		const struct view_file *s = &state.file[i];
		const struct view_file *b = by_number(o->before, s->ino);
		const struct view_file *a = by_number(o->after, s->ino);

		for (unsigned t = 0; t < 3; t++)
			if (!(b && b->time[t] == s->time[t]) && !(a && a->time[t] == s->time[t]) &&
			    !(o->touched && t && s->time[t] == TOUCHED))
				return false;
	}
	return true;
}

enum presence { NOWHERE, PERHAPS, THERE };

static enum presence presence(const struct view *v, const struct view_file *f, u64 index)
{
	for (u32 b = 0; f && b < f->blocks; b++)
		if (v->block[f->first + b].index == index)
			return v->block[f->first + b].maybe ? PERHAPS : THERE;
	return NOWHERE;
}

// A block exists that the file never had, or one is missing that it had all the time.
static bool blocks_allowed_in(const struct oracle *o, const struct view_file *s)
{
	const struct view_file *b = by_number(o->before, s->ino);
	const struct view_file *a = by_number(o->after, s->ino);

	for (u32 i = 0; i < s->blocks; i++) {
		u64 index = state.block[s->first + i].index;

		if (!presence(o->before, b, index) && !presence(o->after, a, index))
			return false;
	}
	for (u32 i = 0; b && a && i < b->blocks; i++) {
		u64 index = o->before->block[b->first + i].index;

		if (presence(o->before, b, index) == THERE &&
		    presence(o->after, a, index) == THERE && !presence(&state, s, index))
			return false;
	}
	return true;
}

static const char *bystanders(const struct oracle *o)
{
	if (!times_allowed(o))
		return "times that never were";
	for (u32 i = 0; i < state.files; i++)
		if (!blocks_allowed_in(o, &state.file[i]))
			return "a block is gone, or too many";
	return NULL;
}

static bool all_touched(void)
{
	for (u32 i = 0; i < state.files; i++)
		if (state.file[i].time[1] != TOUCHED || state.file[i].time[2] != TOUCHED)
			return false;
	return true;
}

// All times as in this view, unless recovery was followed by touching all.
static bool times_are(const struct oracle *o, const struct view *v)
{
	return o->touched ? times_allowed(o) : view_same_times(&state, v);
}

static const char *compare(const struct oracle *o)
{
	if (o->touched && o->clean && !all_touched())
		return "touched after the recovery, but a second one undoes it";
	if (o->returned) {
		if (!view_same(&state, o->after))
			return "the call has returned, but a crash undoes it";
		if (!view_same_blocks(&state, o->after))
			return "the call has returned, but a crash takes blocks";
		return times_are(o, o->after) ? NULL : "the call has returned, but not its times";
	}
	if (o->promise == PROMISE_ATTRIBUTES) {
		bool before = view_same(&state, o->before) && times_are(o, o->before);
		bool after = view_same(&state, o->after) && times_are(o, o->after);

		return before || after ? NULL : "attributes neither before nor after";
	}
	if (view_same(&state, o->before) || view_same(&state, o->after))
		return bystanders(o);
	if (o->promise == PROMISE_ATOMIC)
		return "neither before nor after";
	if (!mixed_allowed(o))
		return "a mixture that is not allowed";
	return bystanders(o);
}

static char finding[160];

static void report(void *ctx, const char *what, u64 ino, u64 a, u64 b)
{
	(void)ctx;
	snprintf(finding, sizeof(finding), "check: inode %llu: %s: %llu, %llu",
		 (unsigned long long)ino, what, (unsigned long long)a, (unsigned long long)b);
}

static const char *check(void)
{
	struct ptfs_check_result r;

	if (ptfs_check(&scratch.image.region, report, NULL, &r))
		return "check cannot mount it";
	if (r.errors)
		return finding;
	if (r.leaked) {
		snprintf(finding, sizeof(finding), "check: %llu blocks leaked",
			 (unsigned long long)r.leaked);
		return finding;
	}
	return NULL;
}

// Blocks that have failed and are kept from being used.
static u64 retired(struct ptfs_fs *fs)
{
	u64 n = 0;

	for (u64 off = 0; ptfs_bad_count() && off < fs->region.bytes; off += PTFS_BLOCK) {
		const struct ptfs_chunk *c = ptfs_chunk_at(fs, off);
		unsigned i = ptfs_block_index(off);

		n += ptfs_is_bad(fs, off, 1) && ptfs_bit(c->used_map, i) &&
		     !ptfs_bit(c->claim_map, i);
	}
	return n;
}

// A new name in every directory; then nothing is left but the root.
static const char *use_all(struct ptfs_fs *fs)
{
	struct ptfs_create_args args = { .mode = PTFS_S_IFREG | 0600 };
	struct ptfs_inode *dir, *ip;
	struct ptfs_statfs s;

	// By path, so backwards every directory comes after what is in it; the root is the first.
	for (u32 i = state.files; i-- > 0;) {
		const char *path = i ? state.file[i].path : "";

		if ((state.file[i].mode & PTFS_S_IFMT) != PTFS_S_IFDIR)
			continue;
		if (ptfs_iget(fs, state.file[i].ino, &dir))
			return "use: a directory is gone";
		if (ptfs_create(dir, "~new", 4, &args, &ip)) {
			ptfs_iput(dir);
			return "use: no name can be made";
		}
		ptfs_iput(ip);
		if (ptfs_unlink(dir, "~new", 4)) {
			ptfs_iput(dir);
			return "use: a new name cannot be removed";
		}
		for (u32 k = state.files; --k > 0;) {
			const struct view_file *f = &state.file[k];
			size_t len = strlen(path);
			const char *name = f->path + len + 1;
			int err;

			if (strncmp(f->path, path, len) || f->path[len] != '/' || strchr(name, '/'))
				continue;
			err = (f->mode & PTFS_S_IFMT) == PTFS_S_IFDIR
				      ? ptfs_rmdir(dir, name, strlen(name))
				      : ptfs_unlink(dir, name, strlen(name));
			if (err) {
				ptfs_iput(dir);
				return "use: a name cannot be removed";
			}
		}
		ptfs_iput(dir);
	}
	ptfs_statfs(fs, &s);
	if (s.inodes != 1)
		return "use: inodes are left";
	return s.used[PTFS_CHUNK_DATA] != retired(fs) ? "use: data blocks are left" : NULL;
}

static const char *touch_all(struct ptfs_fs *fs)
{
	struct ptfs_inode *ip;
	int err = 0;

	host_clock_set(TOUCHED);
	for (u32 i = 0; i < state.files && !err; i++) {
		err = ptfs_iget(fs, state.file[i].ino, &ip);
		if (err)
			break;
		err = ptfs_touch(ip);
		ptfs_iput(ip);
	}
	return err ? "use: a file cannot be touched" : NULL;
}

static bool is_clean(void)
{
	struct ptfs_probe p;

	return !ptfs_probe(&scratch.image.region, &p) && p.clean;
}

static const char *judge(const struct oracle *o, bool use, struct trace *recovery, bool *follow)
{
	struct ptfs_fs *fs;
	const char *why;
	bool rebase = false;
	int err;

	if (o->clean && !is_clean())
		return "unmounted, but a crash makes it unclean";
	medium_use(&scratch, recovery);
	err = ptfs_mount(&scratch.image.region, "state", 0, &fs);
	if (err)
		return err == -EUCLEAN && o->promise == PROMISE_FORMAT && !o->returned
			       ? NULL
			       : "it does not mount";
	why = o->promise == PROMISE_SOUND ? NULL : view_take(&state, fs, false);
	if (!why && o->promise != PROMISE_SOUND)
		why = compare(o);
	if (why && !ex.quiet && !ex.totals->failures)
		view_print(&state, "state");
	*follow = recovery && !why && state_wants(recovery, &rebase);
	if (!*follow)
		medium_use(&scratch, NULL);
	use &= o->promise != PROMISE_SOUND;
	if (rebase && *follow && call_rebase_all(fs))
		why = "use: it cannot be rebased";
	if (!why && *follow)
		why = touch_all(fs);
	else if (!why && use)
		why = use_all(fs);
	if (why || !(use || *follow)) {
		ptfs_abandon(fs);
		return why ? why : check();
	}
	if (ptfs_unmount(fs))
		return "use: inodes stay busy";
	medium_use(&scratch, NULL);
	return check();
}

const char *judge_image(const struct oracle *o, bool use, struct trace *recovery, bool *follow)
{
	u64 mark = scratch.undo.n;
	const char *why;

	if (!state.copies)
		view_init(&state);
	*follow = false;
	why = judge(o, use, recovery, follow);
	medium_rollback(&scratch, mark);
	medium_use(&live, NULL);
	return why;
}
