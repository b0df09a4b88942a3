// SPDX-License-Identifier: MIT
//
// What: which words may be missing on the medium at a crash point, and the images that follow.
//
// A cached store is "maybe" until its line is written back and a fence of the same CPU follows; a
// non-temporal one until such a fence follows. Until then each 8-byte word is there or not, for
// itself; of two stores to one word the later one wins if both are there. That is more than the
// hardware does (within a line, stores reach the medium in order): what survives here survives
// there.
//
// Choices at a point with n pending words: all subsets while 2^n is small; else none, all, each
// line, pairs of lines, all but one line, single words and all but one word of a line, and random
// subsets with a seed that follows from the image. An image that was judged by the same oracle
// before is not built again.
#include <sys/mman.h>

#include "tests/crash/crash.h"

struct word {
	u64 off, value;
	u8 flushed; // by these CPUs
	bool history;
};

#define SEEN_BITS      24u
#define FAILURES_SHOWN 3u // then nothing more is tried
// An image of a second crash is not followed any further: the same one after a first crash may be.
#define SECOND_KEY 0x5ec0d5ec0d5ec0d5ull

struct pending {
	struct word *word; // in the order of the stores
	u64 n, room;
	struct word *pick; // those that would change something, at this point
	u64 picks, pick_room;
	u64 *line; // offsets of their lines
	u64 lines;
	u64 hash; // of scratch, relative to the first image
	u64 seed;
};

static struct {
	struct pending p;
	u64 *last;          // bitmap of the image's words, zero between uses
	u64 *seen, *images; // shared by all workers: (image, oracle), images
	struct trace recovery;
	bool second; // following a recovery
	struct oracle *oracle;
	u64 image;     // hash of the one that is tried
	u64 *alike;    // recoveries of this sequence, by hash of the places that they pass
	u16 *followed; // how many of them were followed
	u64 kinds;
} st;

#define KINDS_MAX 4096u

void state_init(void)
{
	size_t bytes = sizeof(u64) << SEEN_BITS;

	st.last = calloc(scratch.image.bytes / 512, 8);
	st.seen = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	st.alike = calloc(KINDS_MAX, sizeof(*st.alike));
	st.followed = calloc(KINDS_MAX, sizeof(*st.followed));
	ptfs_assert(st.last && st.seen != MAP_FAILED && st.alike && st.followed);
	st.images = st.seen + (1ull << SEEN_BITS);
}

void state_reset(void)
{
	st.p.n = 0;
	st.p.hash = 0;
	st.kinds = 0;
}

static u64 mixed(u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdull;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 33;
}

static u64 word_hash(u64 off, u64 value)
{
	return mixed(off * 0x9e3779b97f4a7c15ull + mixed(value + 0x1234567));
}

// True if `key` was not there.
static bool set_add(u64 *set, u64 key)
{
	u64 i = key & ((1ull << SEEN_BITS) - 1);

	key += !key;
	for (;;) {
		u64 found = 0;

		if (__atomic_compare_exchange_n(&set[i], &found, key, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
		if (found == key)
			return false;
		i = (i + 1) & ((1ull << SEEN_BITS) - 1);
	}
}

static u64 rnd(void)
{
	return st.p.seed = mixed(st.p.seed + 0x9e3779b97f4a7c15ull);
}

// ---- The hardware ----

static void word_add(u64 off, u64 value, u8 flushed)
{
	if (st.p.n == st.p.room) {
		st.p.room = max(st.p.room * 2, (u64)4096);
		st.p.word = realloc(st.p.word, st.p.room * sizeof(*st.p.word));
		ptfs_assert(st.p.word);
	}
	st.p.word[st.p.n++] = (struct word){ .off = off, .value = value, .flushed = flushed };
}

// What stands in a word for whoever loads it: the last store, or the medium.
static u64 cached(u64 off)
{
	for (u64 i = st.p.n; i-- > 0;)
		if (st.p.word[i].off == off)
			return st.p.word[i].value;
	return medium_word(&scratch, off);
}

static void store(const struct trace *t, const struct event *e)
{
	for (u64 off = ALIGN_DOWN(e->off, 8); off < e->off + e->len; off += 8) {
		bool whole = off >= e->off && off + 8 <= e->off + e->len;
		u64 value = whole ? 0 : cached(off);

		for (unsigned i = 0; i < 8; i++)
			if (off + i >= e->off && off + i < e->off + e->len)
				((u8 *)&value)[i] = t->bytes[e->data + off + i - e->off];
		word_add(off, value, e->kind == HOST_PM_NT ? (u8)BIT(e->cpu) : 0);
	}
}

static void flush(const struct event *e)
{
	u64 from = ALIGN_DOWN(e->off, LINE_BYTES), to = ALIGN_UP(e->off + e->len, LINE_BYTES);

	for (u64 i = 0; i < st.p.n; i++)
		if (st.p.word[i].off >= from && st.p.word[i].off < to)
			st.p.word[i].flushed |= (u8)BIT(e->cpu);
}

static u64 *mark_of(u64 off, u64 *bit)
{
	*bit = BIT(off / 8 % 64);
	return &st.last[off / 512];
}

static void durable(const struct word *w)
{
	u64 old = medium_word(&scratch, w->off);

	if (old == w->value)
		return;
	st.p.hash ^= word_hash(w->off, old) ^ word_hash(w->off, w->value);
	medium_poke(&scratch, w->off, w->value);
}

// What this CPU has written back is durable. An earlier store to the same word is history with it,
// even if nobody wrote it back: a line holds one value.
static void fence(u32 cpu)
{
	u64 kept = 0, bit, *mark;
	u8 own = (u8)BIT(cpu);

	for (u64 i = 0; i < st.p.n; i++)
		if (st.p.word[i].flushed & own)
			durable(&st.p.word[i]);
	for (u64 i = st.p.n; i-- > 0;) {
		struct word *w = &st.p.word[i];

		mark = mark_of(w->off, &bit);
		w->history = (w->flushed & own) || (*mark & bit);
		if (w->flushed & own)
			*mark |= bit;
	}
	for (u64 i = 0; i < st.p.n; i++) {
		mark = mark_of(st.p.word[i].off, &bit);
		*mark &= ~bit;
		if (!st.p.word[i].history)
			st.p.word[kept++] = st.p.word[i];
	}
	st.p.n = kept;
}

// ---- One image ----

typedef bool (*chooser)(u64 i, u64 a, u64 b);

static void complain(const char *why, const char *how, u64 a, u64 b)
{
	if (__atomic_fetch_add(&ex.totals->failures, 1, __ATOMIC_RELAXED) >= FAILURES_SHOWN ||
	    ex.quiet)
		return;
	printf("# FAILED: %s%s, %s: %s\n#   choice %s %llu %llu of %llu words:\n", ex.doing,
	       st.second ? ", second crash" : "", st.oracle->returned ? "returned" : "at a fence",
	       why, how, (unsigned long long)a, (unsigned long long)b,
	       (unsigned long long)st.p.picks);
	for (u64 i = 0; i < st.p.picks && i < 12; i++)
		printf("#   %#llx: %#llx -> %#llx%s\n", (unsigned long long)st.p.pick[i].off,
		       (unsigned long long)medium_word(&scratch, st.p.pick[i].off),
		       (unsigned long long)st.p.pick[i].value,
		       st.p.pick[i].flushed ? " (flushed)" : "");
	if (st.oracle->before) {
		view_print(st.oracle->before, "before");
		view_print(st.oracle->after, "after");
	}
	fflush(stdout);
}

// What a recovery does, roughly: the places that it passes.
static u64 recovery_kind(const struct trace *t)
{
	u64 places[SITES_MAX / 64] = { 0 }, hash = 0;

	for (u64 i = 0; i < t->n; i++)
		if (t->event[i].kind == HOST_PM_FLUSH || t->event[i].kind == HOST_PM_FENCE)
			places[t->event[i].site / 64] |= BIT(t->event[i].site % 64);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
		hash = mixed(hash + places[i]);
	return hash;
}

bool state_wants(const struct trace *recovery, bool *rebase)
{
	u64 kind = recovery_kind(recovery);
	u64 k = 0;

	while (k < st.kinds && st.alike[k] != kind)
		k++;
	if (k == st.kinds && k < KINDS_MAX) {
		st.alike[k] = kind;
		st.followed[k] = 0;
		st.kinds++;
	}
	if (k < KINDS_MAX && st.followed[k] < ex.effort.alike) {
		*rebase = !(st.followed[k]++ & 1);
		return true;
	}
	*rebase = st.image & 1;
	return mixed(st.image) % ex.effort.second == 0;
}

static void follow_recovery(u64 hash);

// The image with the words that `take` chooses.
static void image_try(const char *how, chooser take, u64 a, u64 b)
{
	u64 mark = scratch.undo.n;
	u64 hash = st.p.hash;
	const char *why;
	bool use, follow;

	for (u64 i = 0; i < st.p.picks; i++) {
		const struct word *w = &st.p.pick[i];
		u64 old = medium_word(&scratch, w->off);

		if (!take(i, a, b) || old == w->value)
			continue;
		hash ^= word_hash(w->off, old) ^ word_hash(w->off, w->value);
		medium_poke(&scratch, w->off, w->value);
	}
	__atomic_fetch_add(&ex.totals->states, 1, __ATOMIC_RELAXED);
	if (!set_add(st.seen, mixed(hash ^ st.oracle->hash ^ (st.second ? SECOND_KEY : 0)))) {
		medium_rollback(&scratch, mark);
		return;
	}
	if (set_add(st.images, hash))
		__atomic_fetch_add(st.second ? &ex.totals->second_images : &ex.totals->images, 1,
				   __ATOMIC_RELAXED);
	use = mixed(hash + 1) % ex.effort.use == 0;
	st.recovery.n = st.recovery.used = 0;
	st.image = hash;
	why = judge_image(st.oracle, use, ex.effort.second && !st.second ? &st.recovery : NULL,
			  &follow);
	if (!why && follow)
		follow_recovery(hash);
	medium_rollback(&scratch, mark);
	if (why)
		complain(why, how, a, b);
}

// ---- The choices ----

static bool take_bits(u64 i, u64 bits, u64 unused)
{
	(void)unused;
	return bits >> i & 1;
}

static bool take_const(u64 i, u64 all, u64 unused)
{
	(void)i;
	(void)unused;
	return all;
}

static bool take_lines(u64 i, u64 a, u64 b)
{
	u64 line = ALIGN_DOWN(st.p.pick[i].off, LINE_BYTES);

	return line == a || line == b;
}

static bool take_not_line(u64 i, u64 a, u64 unused)
{
	return !take_lines(i, a, unused);
}

static bool take_word(u64 i, u64 which, u64 unused)
{
	(void)unused;
	return i == which;
}

static bool take_not_word(u64 i, u64 which, u64 unused)
{
	(void)unused;
	return i != which;
}

static bool take_random(u64 i, u64 seed, u64 bias)
{
	return mixed(seed + i * 0x9e3779b97f4a7c15ull) % 8 < bias;
}

// A random part of one line; of the others all or nothing.
static bool take_part(u64 i, u64 seed, u64 line)
{
	if (ALIGN_DOWN(st.p.pick[i].off, LINE_BYTES) == line)
		return mixed(seed + i) & 1;
	return seed & 1;
}

// Stores that change nothing make no other image, unless they hide an earlier one.
static void picks_collect(void)
{
	st.p.picks = st.p.lines = 0;
	if (st.p.pick_room < st.p.n) {
		st.p.pick_room = st.p.n * 2;
		st.p.pick = realloc(st.p.pick, st.p.pick_room * sizeof(*st.p.pick));
		st.p.line = realloc(st.p.line, st.p.pick_room * sizeof(*st.p.line));
		ptfs_assert(st.p.pick && st.p.line);
	}
	for (u64 i = 0; i < st.p.n; i++) {
		const struct word *w = &st.p.word[i];
		u64 line = ALIGN_DOWN(w->off, LINE_BYTES);
		u64 bit, *mark = mark_of(w->off, &bit);
		bool known = false;

		if (!(*mark & bit) && medium_word(&scratch, w->off) == w->value)
			continue;
		*mark |= bit;
		st.p.pick[st.p.picks++] = *w;
		for (u64 l = st.p.lines; l-- > 0 && !known && l + 16 > st.p.lines;)
			known = st.p.line[l] == line;
		if (!known)
			st.p.line[st.p.lines++] = line;
	}
	for (u64 i = 0; i < st.p.picks; i++)
		st.last[st.p.pick[i].off / 512] = 0;
}

static void lines_try(u64 most)
{
	bool all = st.p.lines <= most;
	u64 n = all ? st.p.lines : most;

	for (u64 i = 0; i < n; i++) {
		u64 line = st.p.line[all ? i : rnd() % st.p.lines];

		image_try("line", take_lines, line, line);
		image_try("all but line", take_not_line, line, line);
		image_try("part of line", take_part, rnd() & ~1ull, line);
		image_try("all, part of line", take_part, rnd() | 1, line);
	}
}

static void pairs_try(u64 most)
{
	if (st.p.lines * (st.p.lines - 1) / 2 <= most) {
		for (u64 i = 0; i < st.p.lines; i++)
			for (u64 j = i + 1; j < st.p.lines; j++)
				image_try("lines", take_lines, st.p.line[i], st.p.line[j]);
		return;
	}
	for (u64 i = 0; i < most; i++)
		image_try("lines", take_lines, st.p.line[rnd() % st.p.lines],
			  st.p.line[rnd() % st.p.lines]);
}

static void words_try(u64 most)
{
	bool all = st.p.picks <= most;

	for (u64 i = 0; i < (all ? st.p.picks : most); i++) {
		u64 w = all ? i : rnd() % st.p.picks;

		image_try("word", take_word, w, 0);
		image_try("all but word", take_not_word, w, 0);
	}
}

static void point_explore(void)
{
	const struct effort *e = &ex.effort;
	unsigned part = st.second ? 4 : 1;

	__atomic_fetch_add(st.second ? &ex.totals->second_points : &ex.totals->points, 1,
			   __ATOMIC_RELAXED);
	if (ex.totals->failures >= (ex.quiet ? 1 : FAILURES_SHOWN))
		return;
	picks_collect();
	st.p.seed = st.p.hash ^ st.oracle->hash;
	image_try("none", take_const, 0, 0);
	image_try("all", take_const, 1, 0);
	if (st.p.picks <= (st.second ? e->second_exhaustive : e->exhaustive)) {
		for (u64 bits = 1; bits + 1 < 1ull << st.p.picks; bits++)
			image_try("words", take_bits, bits, 0);
		return;
	}
	lines_try(e->lines / part);
	pairs_try(e->pairs / part);
	words_try(e->words / part);
	for (u64 i = 0; i < e->random / part; i++)
		image_try("random", take_random, rnd(), 1 + i % 7);
}

// ---- Traces ----

static void event_apply(const struct trace *t, const struct event *e)
{
	switch (e->kind) {
	case HOST_PM_STORE:
	case HOST_PM_NT: store(t, e); break;
	case HOST_PM_FLUSH: flush(e); break;
	case HOST_PM_FENCE: fence(e->cpu); break;
	}
}

void state_skip(const struct trace *t)
{
	for (u64 i = 0; i < t->n; i++)
		event_apply(t, &t->event[i]);
}

void state_follow(const struct trace *t, struct oracle *o)
{
	u64 hash = o->hash;

	st.oracle = o;
	o->returned = o->clean = false;
	for (u64 i = 0; i < t->n; i++) {
		if (t->event[i].kind == HOST_PM_FENCE && st.p.n)
			point_explore();
		event_apply(t, &t->event[i]);
	}
	o->returned = true;
	o->clean = o->cleans;
	o->hash = mixed(hash + 1);
	point_explore();
}

void state_sample(const struct trace *t, unsigned every, struct oracle *o)
{
	u64 fences = 0;

	st.oracle = o;
	for (u64 i = 0; i < t->n; i++) {
		if (t->event[i].kind == HOST_PM_FENCE && st.p.n && mixed(++fences) % every == 0)
			point_explore();
		event_apply(t, &t->event[i]);
	}
}

// The recovery of the image in scratch, whose hash this is, is an operation like any other: crash
// in it, too. The choices at the outer point go on afterwards, so it gets lists of its own.
static void follow_recovery(u64 hash)
{
	struct trace t = st.recovery;
	struct pending outer = st.p;
	struct oracle o = *st.oracle;
	u64 mark = scratch.undo.n;

	st.p = (struct pending){ .hash = hash };
	st.recovery = (struct trace){ 0 };
	st.second = true;
	st.oracle->clean = false;
	st.oracle->touched = o.promise != PROMISE_SOUND;
	for (u64 i = 0; i < t.n; i++) {
		if (t.event[i].kind == HOST_PM_FENCE && st.p.n)
			point_explore();
		event_apply(&t, &t.event[i]);
	}
	if (st.p.n) { // unmounted: what is still pending must not matter
		st.oracle->clean = true;
		st.oracle->hash = mixed(o.hash + 2);
		point_explore();
	}
	*st.oracle = o;
	st.second = false;
	free(st.p.word);
	free(st.p.pick);
	free(st.p.line);
	st.recovery = t;
	st.p = outer;
	medium_rollback(&scratch, mark);
}
