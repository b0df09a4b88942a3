// SPDX-License-Identifier: MIT
//
// What: arrays in page-sized pieces. No single allocation of ptfs grows with the file system or a
// directory beyond 128 KiB, which is what a kernel heap can be asked for at any time.
#include "fs/ptfs/ptfs_internal.h"

static int segs_widen(struct ptfs_segs *s, u32 nr)
{
	u32 cap = max(s->cap * 2, 8u);
	void **page;

	while (cap < nr)
		cap *= 2;
	if (cap > PTFS_SEGS_MAX)
		return -ENOMEM;
	page = ptfs_alloc(cap * sizeof(*page));
	if (!page)
		return -ENOMEM;
	if (s->nr)
		memcpy(page, s->page, s->nr * sizeof(*page));
	ptfs_free(s->page);
	s->page = page;
	s->cap = cap;
	return 0;
}

int ptfs_segs_grow(struct ptfs_segs *s, u32 nr)
{
	if (nr > s->cap) {
		int err = segs_widen(s, nr);

		if (err)
			return err;
	}
	while (s->nr < nr) {
		s->page[s->nr] = ptfs_zalloc(PTFS_SEG_BYTES);
		if (!s->page[s->nr])
			return -ENOMEM;
		s->nr++;
	}
	return 0;
}

void ptfs_segs_free(struct ptfs_segs *s)
{
	while (s->nr)
		ptfs_free(s->page[--s->nr]);
	ptfs_free(s->page);
	*s = (struct ptfs_segs){ 0 };
}
