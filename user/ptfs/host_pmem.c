// SPDX-License-Identifier: MIT
//
// What: images on the host and the pmem functions over them. An image is registered at a base
// address; a store names that address, as in the kernel, and is told to the recorder before it is
// done.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/ptfs/host_home.h"

static struct {
	struct host_image *images;
	void (*record)(void *ctx, const struct host_pm_event *e);
	void *record_ctx;
} pm;

void host_pm_record(void (*fn)(void *ctx, const struct host_pm_event *e), void *ctx)
{
	pm.record = fn;
	pm.record_ctx = ctx;
}

static void image_register(struct host_image *im, u64 base, bool read_only)
{
	im->region = (struct ptfs_region){
		.view = im->map, .base = PHYS(base), .bytes = im->bytes, .read_only = read_only
	};
	im->next = pm.images;
	pm.images = im;
}

static int image_map(struct host_image *im, const char *path, int map_flags)
{
	im->map = mmap(NULL, im->bytes, PROT_READ | PROT_WRITE, map_flags, im->fd, 0);
	if (im->map != MAP_FAILED)
		return 0;
	im->map = NULL;
	perror(path);
	return -errno;
}

int host_image_open_raw(struct host_image *im, const char *path, enum host_open how)
{
	struct stat st;
	int err;

	*im = (struct host_image){ .fd = open(path, how == HOST_SHARED ? O_RDWR : O_RDONLY) };
	if (im->fd < 0 || fstat(im->fd, &st)) {
		err = -errno;
		perror(path);
		goto fail;
	}
	im->bytes = (u64)st.st_size;
	err = -EINVAL;
	if (im->bytes < PTFS_CHUNKS_MIN * PTFS_CHUNK) {
		fprintf(stderr, "%s: too small for a ptfs image\n", path);
		goto fail;
	}
	if (how == HOST_SHARED && flock(im->fd, LOCK_EX | LOCK_NB)) {
		fprintf(stderr, "%s: in use by another program\n", path);
		err = -EBUSY;
		goto fail;
	}
	err = image_map(im, path, how == HOST_SHARED ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE);
	if (err)
		goto fail;
	image_register(im, 0, false);
	return 0;
fail:
	if (im->fd >= 0)
		close(im->fd);
	im->fd = -1;
	return err;
}

int host_image_open(struct host_image *im, const char *path, enum host_open how)
{
	struct ptfs_probe probe;
	int err = host_image_open_raw(im, path, how);

	if (err)
		return err;
	err = ptfs_probe(&im->region, &probe);
	if (err) {
		fprintf(stderr, "%s: not a ptfs image that can be read\n", path);
		host_image_close(im);
		return err;
	}
	im->region.base = PHYS(probe.base);
	return 0;
}

int host_image_create(struct host_image *im, const char *path, u64 bytes, u64 base)
{
	int err;

	*im = (struct host_image){ .fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644),
				   .bytes = bytes };
	if (im->fd < 0 || ftruncate(im->fd, (off_t)bytes)) {
		err = -errno;
		perror(path);
	} else {
		err = image_map(im, path, MAP_SHARED);
	}
	if (!err) {
		image_register(im, base, false);
		return 0;
	}
	if (im->fd >= 0)
		close(im->fd);
	im->fd = -1;
	return err;
}

void host_image_memory(struct host_image *im, u64 bytes, u64 base)
{
	*im = (struct host_image){ .fd = -1, .bytes = bytes };
	if (image_map(im, "memory", MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE))
		exit(2);
	image_register(im, base, false);
}

void host_image_copy(struct host_image *im, const void *from, u64 bytes, u64 base)
{
	host_image_memory(im, bytes, base);
	memcpy(im->map, from, bytes);
}

static void image_unregister(struct host_image *im)
{
	struct host_image **p = &pm.images;

	while (*p && *p != im)
		p = &(*p)->next;
	if (*p)
		*p = im->next;
}

void host_image_activate(struct host_image *im)
{
	image_unregister(im);
	im->next = pm.images;
	pm.images = im;
}

void host_image_close(struct host_image *im)
{
	image_unregister(im);
	if (im->map)
		munmap(im->map, im->bytes);
	if (im->fd >= 0)
		close(im->fd);
	im->map = NULL;
	im->fd = -1;
}

// The image that holds [dst, dst + len). The newest registration wins: tests register a copy of an
// image at the address of the original.
static struct host_image *image_at(phys_t dst, u64 len)
{
	for (struct host_image *im = pm.images; im; im = im->next)
		if (dst.pa - im->region.base.pa < im->bytes &&
		    len <= im->bytes - (dst.pa - im->region.base.pa))
			return im;
	ptfs_bug(__FILE__, __LINE__, "a store outside all regions");
}

static u8 *pm_note(enum host_pm_kind kind, phys_t dst, u64 len, const void *data)
{
	struct host_image *im = image_at(dst, len);
	struct host_pm_event e = { .kind = kind,
				   .image = im,
				   .off = dst.pa - im->region.base.pa,
				   .len = len,
				   .data = data };

	if (pm.record)
		pm.record(pm.record_ctx, &e);
	return im->map + e.off;
}

void pmem_store8(phys_t dst, u64 value)
{
	u8 *p;

	ptfs_assert(IS_ALIGNED(dst.pa, 8));
	value = LE_ORDER64(value);
	p = pm_note(HOST_PM_STORE, dst, 8, &value);
	__atomic_store_n((u64 *)(void *)p, value, __ATOMIC_RELEASE);
}

u64 pmem_cas8(phys_t dst, u64 old, u64 value)
{
	struct host_image *im = image_at(dst, 8);
	u64 *p = (u64 *)(void *)(im->map + (dst.pa - im->region.base.pa));

	ptfs_assert(IS_ALIGNED(dst.pa, 8));
	old = LE_ORDER64(old);
	value = LE_ORDER64(value);
	if (unlikely(!host_sound(p, 8)))
		return PTFS_FAILED;
	if (__atomic_load_n(p, __ATOMIC_ACQUIRE) == old)
		pm_note(HOST_PM_STORE, dst, 8, &value);
	__atomic_compare_exchange_n(p, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return LE_ORDER64(old);
}

void pmem_flush(phys_t start, u64 len)
{
	if (len)
		pm_note(HOST_PM_FLUSH, start, len, NULL);
}

void pmem_fence(void)
{
	struct host_pm_event e = { .kind = HOST_PM_FENCE };

	if (pm.record)
		pm.record(pm.record_ctx, &e);
}

void pmem_memcpy_nt(phys_t dst, const void *src, size_t len)
{
	if (len)
		memcpy(pm_note(HOST_PM_NT, dst, len, src), src, len);
}

void pmem_memset_nt(phys_t dst, u8 byte, size_t len)
{
	u8 page[PTFS_BLOCK];

	memset(page, byte, sizeof(page));
	while (len) {
		size_t n = min(len, sizeof(page));

		pmem_memcpy_nt(dst, page, n);
		dst.pa += n;
		len -= n;
	}
}
