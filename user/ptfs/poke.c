// SPDX-License-Identifier: MIT
//
// What: `ptfs peek`, `poke` and `unclean`: show the entries that lead to a block, and damage them.
// Tests make hostile images with these; nothing else writes the medium around the core.
//
//      ptfs poke IMAGE PATH BLOCK LEVEL CHANGE...
//
// changes the entry of LEVEL on the way to file block BLOCK (level 1: the block's own; the highest
// is the root word; a file in direct entries has level 1 only). The changes are made in turn:
//      =V            the whole word            address=V     the address bits
//      tag=N         the base tag              set=V clear=V  bits
//      self          address of the table page that the entry stands in
//      entry=PATH:BLOCK:LEVEL  the word of another entry (level bits of a root word follow the
//                              place)
#include <stdio.h>
#include <stdlib.h>

#include "fs/ptfs/ptfs_internal.h"
#include "user/ptfs/tool.h"

// Offset of the entry of `level` for `block`, or ends the program. Reads only; refuses nothing that
// it does not have to walk through.
static u64 slot_of(struct ptfs_inode *ip, u64 block, int level)
{
	struct ptfs_walk w;

	if (!ptfs_walk_init(&w, ip)) {
		if (level == PT_PTE && block < PTFS_DIRECT)
			return PTFS_FIELD(ip, direct) + 8 * block;
		tool_fail("no such entry: the file is in its direct entries", ENOENT);
	}
	if (level > w.c.top || block << PTFS_BLOCK_SHIFT >= pt_span(w.c.top))
		tool_fail("no such entry: the tree is lower", ENOENT);
	if (pt_cursor_descend(&w.c, block << PTFS_BLOCK_SHIFT, level) != level)
		tool_fail("no such entry: the walk ends above it", ENOENT);
	return ptfs_walk_slot(&w);
}

static void print_entry(struct ptfs_inode *ip, int level, u64 off)
{
	printf("level %d at offset %#llx: %#018llx\n", level, (unsigned long long)off,
	       (unsigned long long)ptfs_word(ip->fs, off));
}

int tool_peek(int argc, char **argv)
{
	u64 block = argc > 2 ? tool_number(argv[2]) : 0;
	struct ptfs_inode *ip;
	struct ptfs_walk w;
	struct tool t;

	tool_open(&t, argv[0], HOST_PRIVATE);
	ip = tool_get(t.fs, argv[1]);
	if (!ptfs_walk_init(&w, ip)) {
		if (block < PTFS_DIRECT)
			print_entry(ip, PT_PTE, PTFS_FIELD(ip, direct) + 8 * block);
	} else if (block << PTFS_BLOCK_SHIFT < pt_span(w.c.top)) {
		do {
			print_entry(ip, w.c.level, ptfs_walk_slot(&w));
		} while (pt_cursor_down(&w.c, block << PTFS_BLOCK_SHIFT));
	}
	ptfs_iput(ip);
	tool_close(&t);
	return 0;
}

// The word of the entry that "PATH:BLOCK:LEVEL" names.
static u64 other_entry(struct ptfs_fs *fs, const char *arg)
{
	char *path = strdup(arg);
	char *level = path ? strrchr(path, ':') : NULL;
	char *block;
	struct ptfs_inode *ip;
	u64 word;

	if (level)
		*level++ = 0;
	block = level ? strrchr(path, ':') : NULL;
	if (!block)
		tool_fail("entry=PATH:BLOCK:LEVEL", EINVAL);
	*block++ = 0;
	ip = tool_get(fs, path);
	word = ptfs_word(fs, slot_of(ip, tool_number(block), (int)tool_number(level)));
	ptfs_iput(ip);
	free(path);
	return word;
}

static u64 change(struct ptfs_fs *fs, u64 word, u64 slot, u64 level_bits, const char *how)
{
	const char *value = strchr(how, '=');

	if (!strcmp(how, "self"))
		return (word & ~PTE_ADDR) | ptfs_pa(fs, ALIGN_DOWN(slot, PTFS_BLOCK)).pa;
	if (!value)
		tool_fail(how, EINVAL);
	value++;
	if (how[0] == '=')
		return tool_number(value);
	if (!strncmp(how, "address=", 8))
		return (word & ~PTE_ADDR) | (tool_number(value) & PTE_ADDR);
	if (!strncmp(how, "tag=", 4))
		return (word & ~PTFS_E_TAG) | (tool_number(value) & 7) << PTFS_E_TAG_SHIFT;
	if (!strncmp(how, "set=", 4))
		return word | tool_number(value);
	if (!strncmp(how, "clear=", 6))
		return word & ~tool_number(value);
	if (!strncmp(how, "entry=", 6))
		return (other_entry(fs, value) & ~PTFS_E_LEVEL) | level_bits;
	tool_fail(how, EINVAL);
}

int tool_poke(int argc, char **argv)
{
	u64 block = tool_number(argv[2]);
	int level = (int)tool_number(argv[3]);
	struct ptfs_inode *ip;
	struct tool t;
	u64 slot, word, level_bits;

	tool_open(&t, argv[0], HOST_SHARED);
	ip = tool_get(t.fs, argv[1]);
	slot = slot_of(ip, block, level);
	word = ptfs_word(t.fs, slot);
	level_bits = slot == ip->root_off ? word & PTFS_E_LEVEL : 0;
	for (int i = 4; i < argc; i++)
		word = change(t.fs, word, slot, level_bits, argv[i]);
	word = LE_ORDER64(word);
	memcpy(t.image.map + slot, &word, sizeof(word));
	print_entry(ip, level, slot);
	ptfs_iput(ip);
	// Nothing was written by the core, so the image is as clean as before.
	ptfs_abandon(t.fs);
	host_image_close(&t.image);
	return 0;
}

int tool_unclean(int argc, char **argv)
{
	struct tool t;
	int err;

	(void)argc;
	tool_open(&t, argv[0], HOST_SHARED);
	err = ptfs_dirty(t.fs);
	if (err)
		tool_fail(argv[0], err);
	ptfs_abandon(t.fs);
	host_image_close(&t.image);
	return 0;
}
