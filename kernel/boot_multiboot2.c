// SPDX-License-Identifier: MIT
//
// What: reads the multiboot2 information (specification 2.0, section 3.6): a total size, then tags
// of (type, size), each padded to 8 bytes. A tag that does not fit into what is left ends the walk.
#include "kernel/bootinfo_internal.h"
#include "kernel/lib/string.h"
#include "kernel/x86/image.h"

enum mb2_tag_type {
	MB2_END = 0,
	MB2_CMDLINE = 1,
	MB2_MODULE = 3,
	MB2_MEMORY_MAP = 6,
	MB2_RSDP_V1 = 14,
	MB2_RSDP_V2 = 15,
};

struct mb2_info {
	u32 total_size, reserved;
};

struct mb2_tag {
	u32 type, size; // size counts this header, not the padding
};

struct mb2_module {
	struct mb2_tag tag;
	u32 start, end;
};

struct mb2_memory_map {
	struct mb2_tag tag;
	u32 entry_size, entry_version;
};

struct mb2_memory_entry {
	u64 base, len;
	u32 type, reserved;
};

static void read_memory_map(const struct mb2_memory_map *map)
{
	const u8 *at = (const u8 *)(map + 1), *end = (const u8 *)map + map->tag.size;

	if (map->entry_size < sizeof(struct mb2_memory_entry))
		return;
	for (; at + map->entry_size <= end; at += map->entry_size) {
		const struct mb2_memory_entry *e = (const void *)at;

		bootinfo_add_range(e->base, e->len, e->type);
	}
}

// The tag holds a copy of the RSDP. It is copied once more, into the image: the information itself
// lies in RAM that the frame allocator will hand out.
static void keep_rsdp(const struct mb2_tag *tag)
{
	static u8 rsdp_copy[64] __attribute__((aligned(16)));

	memcpy(rsdp_copy, tag + 1, min(sizeof(rsdp_copy), tag->size - sizeof(*tag)));
	bootinfo.rsdp = image_pa(rsdp_copy);
}

static void read_tag(const struct mb2_tag *tag)
{
	const void *body = tag;
	const struct mb2_module *mod = body;

	switch (tag->type) {
	case MB2_CMDLINE:
		bootinfo_set_cmdline((const char *)(tag + 1), tag->size - sizeof(*tag));
		break;
	case MB2_MODULE:
		if (tag->size >= sizeof(*mod) && mod->end > mod->start)
			bootinfo_add_module(mod->start, mod->end - mod->start);
		break;
	case MB2_MEMORY_MAP:
		if (tag->size >= sizeof(struct mb2_memory_map))
			read_memory_map(body);
		break;
	case MB2_RSDP_V1:
		if (bootinfo.rsdp.pa == PHYS_NONE.pa)
			keep_rsdp(tag);
		break;
	case MB2_RSDP_V2: // has the 64-bit table addresses: preferred over version 1
		keep_rsdp(tag);
		break;
	default: break;
	}
}

void bootinfo_read_multiboot2(phys_t info)
{
	const struct mb2_info *head = bootinfo_early_ptr(info.pa, sizeof(*head));
	u32 total = head ? head->total_size : 0;
	u32 at = sizeof(*head);

	bootinfo.loader = "multiboot2";
	if (!bootinfo_early_ptr(info.pa, total))
		return;
	while (at + sizeof(struct mb2_tag) <= total) {
		const struct mb2_tag *tag = (const void *)((const u8 *)head + at);

		if (tag->type == MB2_END || tag->size < sizeof(*tag) || tag->size > total - at)
			break;
		read_tag(tag);
		at += ALIGN_UP(tag->size, 8);
	}
}
