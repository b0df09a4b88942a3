// SPDX-License-Identifier: MIT
//
// What: memory of an image that fails, for tests: the host's side of "Memory that has failed" in
// fs/ptfs/platform.h. What a machine check is in the kernel is here a look at a list, at each load.
// Not here: what the core makes of it.
//
// Locking: none. Lines fail while one thread is at work.
#include <string.h>

#include "media_load.h"
#include "user/ptfs/host_home.h"

#define LINE      64u
#define LINES_MAX 64u
#define BAD_MAX   512u

u32 host_failing;
static struct {
	const u8 *at;
	phys_t pa;
	bool met; // and not told yet
} failing[LINES_MAX];

u32 host_bad_count;
static u64 bad_pa[BAD_MAX];

// ---- The list of what is known ----

void host_bad_add(u64 pa)
{
	phys_t known;

	if (ptfs_bad_find(PHYS(pa), 1, &known))
		return;
	ptfs_assert(host_bad_count < ARRAY_SIZE(bad_pa));
	bad_pa[host_bad_count++] = ALIGN_DOWN(pa, PTFS_BLOCK);
}

void ptfs_bad_add(phys_t block)
{
	if (host_bad_count < BAD_MAX)
		host_bad_add(block.pa);
}

void host_bad_forget(void)
{
	host_bad_count = 0;
}

bool ptfs_bad_find(phys_t start, u64 len, phys_t *first)
{
	u64 lowest = ~0ull;

	for (u32 i = 0; i < host_bad_count; i++)
		if (bad_pa[i] + PTFS_BLOCK > start.pa && bad_pa[i] < start.pa + len)
			lowest = min(lowest, bad_pa[i]);
	*first = PHYS(lowest);
	return lowest != ~0ull;
}

// ---- Loads that meet it ----

void host_fail_line(const struct host_image *im, u64 off)
{
	ptfs_assert(host_failing < LINES_MAX && off < im->bytes);
	off = ALIGN_DOWN(off, LINE);
	failing[host_failing].at = im->map + off;
	failing[host_failing].pa = PHYS(im->region.base.pa + off);
	failing[host_failing++].met = false;
}

void host_fail_none(void)
{
	host_failing = 0;
}

size_t host_sound(const void *src, size_t bytes)
{
	const u8 *from = src;

	for (u32 i = 0; i < host_failing; i++) {
		if (failing[i].at + LINE <= from || failing[i].at >= from + bytes)
			continue;
		failing[i].met = true;
		bytes = failing[i].at > from ? (size_t)(failing[i].at - from) : 0;
	}
	return bytes;
}

u64 host_load64(const u64 *p)
{
	return host_sound(p, 8) ? __atomic_load_n(p, __ATOMIC_ACQUIRE) : LE_ORDER64(PTFS_FAILED);
}

void ptfs_bad_update(void)
{
	for (u32 i = 0; i < host_failing; i++) {
		if (failing[i].met)
			host_bad_add(failing[i].pa.pa);
		failing[i].met = false;
	}
}

void ptfs_medium_copy(void *dst, const void *src, size_t bytes)
{
	size_t n = host_sound(src, bytes);

	memcpy(dst, src, n);
	memset((u8 *)dst + n, 0xff, bytes - n);
}
