// SPDX-License-Identifier: MIT
//
// What: mounting and unmounting ptfs on a region of persistent memory.
// Not here: what mounting does to the medium (fs/ptfs), the table of mounts (the VFS).
//
// Order of mount: claim the region, mount the core, start the threads, make the root inode. Unmount
// is its mirror image and ends with a clean image.
#include "fs/ptfs_glue/ptfs_glue.h"

#include "drivers/nvdimm/region.h"
#include "fs/namei.h"
#include "fs/ptfs_glue/glue_internal.h"
#include "kernel/bootinfo.h"
#include "kernel/console.h"
#include "kernel/lib/printf.h"
#include "kernel/panic.h"
#include "kernel/random.h"
#include "mm/heap.h"

#define PTFS_STATFS_TYPE 0x50544653 // "PTFS"

static int glue_statfs(struct super *s, struct statfs_info *out)
{
	struct ptfs_statfs st;

	ptfs_statfs(glue_super(s)->fs, &st);
	*out = (struct statfs_info){
		.type = PTFS_STATFS_TYPE,
		.bsize = PTFS_BLOCK,
		.blocks = st.blocks,
		.bfree = st.blocks_free,
		.bavail = st.blocks_free,
		.files = st.inodes + st.blocks_free * (PTFS_BLOCK / PTFS_INODE_BYTES),
		.ffree = st.blocks_free * (PTFS_BLOCK / PTFS_INODE_BYTES),
		.namelen = PTFS_NAME_MAX,
		.flags = st.read_only ? 1 : 0,
	};
	memcpy(&out->fsid, st.uuid, sizeof(out->fsid));
	return 0;
}

static int glue_sync(struct super *s)
{
	return glue_write_back_all(glue_super(s));
}

static int make_root(struct glue_super *g)
{
	struct ptfs_inode *ip;
	int err = ptfs_iget(g->fs, PTFS_INO_ROOT, &ip);

	return err ? err : glue_inode_of(&g->vfs, ip, &g->vfs.root);
}

// Names and mappings are gone (the VFS has looked), so nothing can go wrong any more.
static int glue_unmount(struct super *s)
{
	(void)s;
	return 0;
}

// The root inode, the last one, is evicted by now: the core has no references left but the
// thread's.
static void glue_destroy(struct super *s)
{
	struct glue_super *g = glue_super(s);
	int err;

	glue_zero_stop(g);
	glue_ready_stop(g);
	err = ptfs_unmount(g->fs);
	ASSERT(err != -EBUSY);
	if (err)
		log_err("ptfs %s: unmounting: error %d; the next mount will scan", s->source, err);
	else
		log_info("ptfs %s: unmounted%s", s->source, s->read_only ? "" : ", clean");
	pmem_region_release(g->region);
	kfree(g);
}

static const struct super_ops glue_super_ops = {
	.statfs = glue_statfs,
	.sync = glue_sync,
	.unmount = glue_unmount,
	.destroy = glue_destroy,
};

static struct fs_type ptfs_type;

static int mount_core(struct glue_super *g, const struct ptfs_options *o)
{
	const struct ptfs_region region = {
		.view = g->region->virt,
		.base = g->region->base,
		.bytes = g->region->len,
		.read_only = g->region->read_only,
	};

	return ptfs_mount(&region, g->region->name, ptfs_options_flags(o), &g->fs);
}

static int mount_claimed(struct pmem_region *r, const struct ptfs_options *o, struct super **out)
{
	struct glue_super *g = kzalloc(sizeof(*g));
	char text[PTFS_OPTIONS_TEXT];
	int err;

	if (!g)
		return -ENOMEM;
	g->region = r;
	g->options = *o;
	g->no_attach = o->no_attach;
	mutex_init(&g->dirty_lock, RANK_FS_INNER);
	list_init(&g->dirty);
	spin_init(&g->ready_lock, RANK_FS_SPIN);
	wait_queue_init(&g->ready_wait);
	err = mount_core(g, o);
	if (err)
		goto free;
	ptfs_options_show(o, text, sizeof(text));
	super_init(&g->vfs, &ptfs_type, &glue_super_ops, r->name, text, ptfs_read_only(g->fs));
	err = glue_ready_start(g);
	if (err)
		goto unmount;
	err = glue_zero_start(g);
	if (err)
		goto stop;
	err = make_root(g);
	if (err)
		goto stop_both;
	*out = &g->vfs;
	return 0;
stop_both:
	glue_zero_stop(g);
stop:
	glue_ready_stop(g);
unmount:
	if (ptfs_unmount(g->fs))
		log_err("ptfs %s: unmounting after a failed mount went wrong", r->name);
free:
	kfree(g);
	return err;
}

static int glue_mount(const char *source, const char *options, bool read_only, struct super **out)
{
	struct ptfs_options o = { .read_only = read_only };
	struct pmem_region *r;
	int err;

	if (strncmp(source, "/dev/", 5) == 0)
		source += 5;
	r = pmem_region_find(source);
	if (!r) {
		log_err("ptfs: no persistent-memory region '%s'", source);
		return -ENODEV;
	}
	err = ptfs_options_parse(options, &o);
	if (err)
		return err;
	if (o.has_addr && o.addr != r->base.pa) {
		log_err("ptfs %s: is at 0x%llx, not at 0x%llx as asked", r->name,
			(unsigned long long)r->base.pa, (unsigned long long)o.addr);
		return -EINVAL;
	}
	err = pmem_region_claim(r);
	if (err) {
		log_err("ptfs %s: cannot be mounted: %s", r->name,
			err == -EBUSY ? "it is mounted already" : r->state);
		return err;
	}
	err = mount_claimed(r, &o, out);
	if (err) {
		pmem_region_release(r);
		return err;
	}
	log_info("ptfs %s: mounted%s%s", r->name, (*out)->read_only ? " read-only" : "",
		 r->read_only ? " (DIMM is not writable)" : "");
	return 0;
}

static struct fs_type ptfs_type = { .name = "ptfs", .mount = glue_mount };

void ptfs_glue_init(void)
{
	fs_register(&ptfs_type);
	glue_zero_init();
	glue_epoch_init();
}

bool glue_region_is_blank(const struct pmem_region *r)
{
	const u64 *word = r->virt;

	if (!r->usable || r->read_only || r->in_use || r->len < MIB(16))
		return false;
	for (unsigned i = 0; i < PTFS_BLOCK / 8; i++)
		if (word[i])
			return false;
	return true;
}

// Boot parameter `format`, for machines without persistent memory: what was carved out of RAM
// begins empty each time, and nobody on the host can put a file system there.
static void format_blank(const struct pmem_region *r)
{
	const struct ptfs_region region = { r->virt, r->base, r->len, false };
	struct ptfs_format_options o = { .label = "carved" };
	int err;

	if (r->origin != PMEM_CARVED || !glue_region_is_blank(r))
		return;
	random_bytes(o.uuid, sizeof(o.uuid));
	err = ptfs_format(&region, &o);
	if (err)
		log_err("ptfs %s: formatting failed, error %d", r->name, -err);
}

void ptfs_mount_regions(void)
{
	for (unsigned i = 0; i < pmem_region_count(); i++) {
		const struct pmem_region *r = pmem_region_get(i);
		char path[16] = "/pmem";
		int err;

		if (!r->usable)
			continue;
		if (bootparam_present("format"))
			format_blank(r);
		if (i)
			ksnprintf(path, sizeof(path), "/pmem%u", i);
		err = vfs_mkdirat(AT_FDCWD, path, 0755);
		if (!err || err == -EEXIST)
			err = vfs_mount(r->name, path, "ptfs", "", r->read_only ? MOUNT_RDONLY : 0);
		if (err)
			log_warn("ptfs %s: is not mounted at %s (error %d)", r->name, path, -err);
	}
}
