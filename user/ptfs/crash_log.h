// SPDX-License-Identifier: MIT
//
// Crash states of an image: what may be on the medium if the power fails at this moment.
//
// The log follows every store, write-back and fence of one image and keeps two things: the durable
// bytes, and the 8-byte words that are stored but not yet durable. A cached word becomes durable by
// write-back and fence, a non-temporal one by a fence; before that it may be there or not, each
// word for itself (a later store to the same word supersedes an earlier one, if both are there).
//
//      crash_log_start(&log, &image, at_fence, ctx)
//      ... operations; at_fence is called at every fence before it takes effect ...
//          crash_log_state(&log, ...)  builds one possible state in log.scratch, ready to be
//          mounted
//      crash_log_stop(&log)
#pragma once

#include "user/ptfs/host_home.h"

struct crash_word {
	u64 off, value;
	bool flushed; // the next fence makes it durable
};

struct crash_log {
	struct host_image *image;
	struct host_image scratch; // the state under test; same base address
	u8 *durable;
	struct crash_word *word; // in the order of the stores
	u64 words, room;
	u8 *dirty; // pages of scratch that differ from `durable`
	u64 fences;
	bool testing; // scratch is in use: its stores are not the image's
	void (*at_fence)(void *ctx, struct crash_log *log);
	void *ctx;
};

void crash_log_start(struct crash_log *log, struct host_image *image,
		     void (*at_fence)(void *ctx, struct crash_log *log), void *ctx);
void crash_log_stop(struct crash_log *log);
// Bytes of the image that were changed past the pmem functions (by a mapping, say) and are durable.
void crash_log_outside(struct crash_log *log, u64 off, u64 len);
// The same, still in the cache only.
void crash_log_cached(struct crash_log *log, u64 off, u64 len);
// Between the two nothing is recorded: for looking at the image, not for changing it.
void crash_log_pause(struct crash_log *log);
void crash_log_resume(struct crash_log *log);

// Make scratch the durable bytes and those words that `take` chooses (NULL: none), and direct the
// pmem functions to it. Ends with crash_log_back().
struct ptfs_region *crash_log_state(struct crash_log *log,
				    bool (*take)(void *ctx, u64 index, const struct crash_word *w),
				    void *ctx);
void crash_log_back(struct crash_log *log);
