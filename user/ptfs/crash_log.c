// SPDX-License-Identifier: MIT
//
// What: the recorder behind crash tests (crash_log.h).
// Not here: which states are worth trying, and what must hold in them (the tests).
#include <stdlib.h>

#include "user/ptfs/crash_log.h"

#define LINE 64u

static void word_add(struct crash_log *log, u64 off, u64 value, bool flushed)
{
	if (log->words == log->room) {
		log->room = log->room ? log->room * 2 : 1024;
		log->word = realloc(log->word, log->room * sizeof(*log->word));
		ptfs_assert(log->word);
	}
	log->word[log->words++] =
		(struct crash_word){ .off = off, .value = value, .flushed = flushed };
}

// The bytes as whole words, with what stands around them now.
static void store_note(struct crash_log *log, const struct host_pm_event *e)
{
	for (u64 off = ALIGN_DOWN(e->off, 8); off < e->off + e->len; off += 8) {
		u8 bytes[8];
		u64 value;

		for (unsigned i = 0; i < 8; i++)
			bytes[i] = off + i >= e->off && off + i < e->off + e->len
					   ? e->data[off + i - e->off]
					   : log->image->map[off + i];
		memcpy(&value, bytes, 8);
		word_add(log, off, value, e->kind == HOST_PM_NT);
	}
}

static void flush_note(struct crash_log *log, const struct host_pm_event *e)
{
	u64 from = ALIGN_DOWN(e->off, LINE), to = ALIGN_UP(e->off + e->len, LINE);

	for (u64 i = 0; i < log->words; i++)
		if (log->word[i].off >= from && log->word[i].off < to)
			log->word[i].flushed = true;
}

static bool later_flushed(const struct crash_log *log, u64 i)
{
	for (u64 j = i + 1; j < log->words; j++)
		if (log->word[j].off == log->word[i].off && log->word[j].flushed)
			return true;
	return false;
}

// What was written back is durable now. An earlier store to the same word is history with it, even
// if nobody wrote it back: a line holds one value.
static void fence_note(struct crash_log *log)
{
	u64 kept = 0;

	log->fences++;
	if (log->at_fence)
		log->at_fence(log->ctx, log);
	for (u64 i = 0; i < log->words; i++) {
		struct crash_word w = log->word[i];

		if (w.flushed) {
			memcpy(log->durable + w.off, &w.value, 8);
			memcpy(log->scratch.map + w.off, &w.value, 8);
		} else if (!later_flushed(log, i)) {
			log->word[kept++] = w;
		}
	}
	log->words = kept;
}

static void note(void *ctx, const struct host_pm_event *e)
{
	struct crash_log *log = ctx;

	if (log->testing) {
		bool store = e->kind == HOST_PM_STORE || e->kind == HOST_PM_NT;

		for (u64 p = e->off / PTFS_BLOCK; store && p <= (e->off + e->len - 1) / PTFS_BLOCK;
		     p++)
			log->dirty[p] = 1;
		return;
	}
	switch (e->kind) {
	case HOST_PM_STORE:
	case HOST_PM_NT: store_note(log, e); break;
	case HOST_PM_FLUSH: flush_note(log, e); break;
	case HOST_PM_FENCE: fence_note(log); break;
	}
}

void crash_log_start(struct crash_log *log, struct host_image *image,
		     void (*at_fence)(void *ctx, struct crash_log *log), void *ctx)
{
	*log = (struct crash_log){ .image = image, .at_fence = at_fence, .ctx = ctx };
	log->durable = malloc(image->bytes);
	log->dirty = calloc(1, image->bytes / PTFS_BLOCK);
	ptfs_assert(log->durable && log->dirty);
	memcpy(log->durable, image->map, image->bytes);
	host_image_copy(&log->scratch, image->map, image->bytes, image->region.base.pa);
	host_image_activate(image);
	host_pm_record(note, log);
}

void crash_log_outside(struct crash_log *log, u64 off, u64 len)
{
	memcpy(log->durable + off, log->image->map + off, len);
	memcpy(log->scratch.map + off, log->image->map + off, len);
}

void crash_log_cached(struct crash_log *log, u64 off, u64 len)
{
	for (u64 at = off; at < off + len; at += 8) {
		u64 value;

		memcpy(&value, log->image->map + at, 8);
		word_add(log, at, value, false);
	}
}

void crash_log_pause(struct crash_log *log)
{
	(void)log;
	host_pm_record(NULL, NULL);
}

void crash_log_resume(struct crash_log *log)
{
	host_pm_record(note, log);
}

void crash_log_stop(struct crash_log *log)
{
	host_pm_record(NULL, NULL);
	host_image_close(&log->scratch);
	free(log->durable);
	free(log->dirty);
	free(log->word);
}

struct ptfs_region *crash_log_state(struct crash_log *log,
				    bool (*take)(void *ctx, u64 index, const struct crash_word *w),
				    void *ctx)
{
	log->testing = true;
	for (u64 i = 0; take && i < log->words; i++) {
		const struct crash_word *w = &log->word[i];

		if (!take(ctx, i, w))
			continue;
		memcpy(log->scratch.map + w->off, &w->value, 8);
		log->dirty[w->off / PTFS_BLOCK] = 1;
	}
	host_image_activate(&log->scratch);
	return &log->scratch.region;
}

void crash_log_back(struct crash_log *log)
{
	for (u64 p = 0; p < log->image->bytes / PTFS_BLOCK; p++) {
		if (!log->dirty[p])
			continue;
		memcpy(log->scratch.map + p * PTFS_BLOCK, log->durable + p * PTFS_BLOCK,
		       PTFS_BLOCK);
		log->dirty[p] = 0;
	}
	host_image_activate(log->image);
	log->testing = false;
}
