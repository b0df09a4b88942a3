// SPDX-License-Identifier: MIT
//
// Damaged images: a table of ways to break the file system of ptfs_damage.h. Each says which paths
// may be gone or different after the repair; everything else must be as it was.
#pragma once

#include "tests/host/ptfs_damage.h"

struct damage {
	const char *name;
	void (*make)(struct rig *r);
	const char *spoiled; // paths (and what is below) that may change, separated by blanks
};

#define S(f) offsetof(struct ptfs_super, f)
#define D(f) offsetof(struct ptfs_dinode, f)

#define DAMAGE(name) static void damage_##name(struct rig *r)

DAMAGE(super_magic)
{
	fill(r, 0, 0, 8);
}
DAMAGE(super_crc)
{
	fill(r, S(label), 'q', 3);
}
DAMAGE(super_zeroed)
{
	fill(r, 0, 0, PTFS_BLOCK);
}
DAMAGE(super_random)
{
	fill(r, 0, 0xa5, PTFS_BLOCK);
}
DAMAGE(super_copy)
{
	fill(r, r->fs->super_copy_off, 0, PTFS_BLOCK);
}
DAMAGE(super_copy_stale)
{
	fill(r, r->fs->super_copy_off + S(uuid), 9, 16);
}
DAMAGE(base_word)
{
	put8(r, S(base) + 8, 0x123456789);
}
DAMAGE(base_unused)
{
	put8(r, S(base) + 8 * 6, 77);
}
DAMAGE(base_current)
{
	put8(r, S(base_current), 9);
}
DAMAGE(itable_root_zero)
{
	put8(r, S(itable_root), 0);
}
DAMAGE(itable_root_outside)
{
	change8(r, S(itable_root), PTE_ADDR, 0x7fff000);
}
// Found by the fuzzer: the scan went on with the refused root, and its level led the walk out of
// the cursor.
DAMAGE(itable_root_level)
{
	change8(r, S(itable_root), 0, PTFS_E_LEVEL);
}
// Whoever follows it takes inodes for a table. With no way to the files nothing but this voted on
// what chunks are for; the chunk of inodes became one of tables, and the repair ended, content,
// with an empty root.
DAMAGE(itable_root_inodes)
{
	u64 root = ptfs_word(r->fs, S(itable_root)),
	    off = ALIGN_DOWN(inode_at(r, "/paged"), PTFS_BLOCK);

	put8(r, S(itable_root), (root & ~PTE_ADDR) | ptfs_pa(r->fs, off).pa);
}
// The same by way of a table page that is another file's: its blocks seemed to hold inodes.
DAMAGE(itable_page_of_a_file)
{
	u64 from = ALIGN_DOWN(slot_at(r, "/paged", 0, PT_PTE), PTFS_BLOCK);
	u64 to = ALIGN_DOWN(slot_at(r, NULL, 0, PT_PTE), PTFS_BLOCK);

	for (u64 i = 0; i < PTFS_BLOCK; i += 8)
		put8(r, to + i, ptfs_word(r->fs, from + i));
}
// A line of a slot, and the slot is closed; the image is not clean. It could be neither mounted nor
// repaired.
DAMAGE(journal_unreadable)
{
	put8(r, r->fs->journal_off + 2 * PTFS_JOURNAL_SLOT_BYTES + 192, PTFS_FAILED);
	put8(r, r->fs->snapshot_off + offsetof(struct ptfs_snapshot, clean), 0);
}
DAMAGE(size_and_level)
{
	put8(r, inode_at(r, "/paged") + D(size), ~0ull);
	change8(r, slot_at(r, "/paged", 0, PT_PMD), 0, PTFS_E_LEVEL);
}
DAMAGE(itable_entry_zero)
{
	put8(r, slot_at(r, NULL, 1, PT_PTE), 0);
}
DAMAGE(itable_entry_data)
{
	put8(r, slot_at(r, NULL, 1, PT_PTE), get8(r, slot_at(r, "/paged", 3, PT_PTE)));
}
DAMAGE(itable_entry_twice)
{
	put8(r, slot_at(r, NULL, 1, PT_PTE), get8(r, slot_at(r, NULL, 0, PT_PTE)));
}
DAMAGE(type_impossible)
{
	put_type(r, chunk_of(r, slot_at(r, "/paged", 0, PT_PTE)), 77);
}
DAMAGE(type_free)
{
	put_type(r, chunk_of(r, slot_at(r, "/paged", 0, PT_PTE)), PTFS_CHUNK_FREE);
}
DAMAGE(type_table)
{
	put_type(r, chunk_of(r, slot_at(r, "/paged", 0, PT_PMD)), PTFS_CHUNK_DATA);
}
DAMAGE(type_inode)
{
	put_type(r, chunk_of(r, slot_at(r, NULL, 0, PT_PTE)), PTFS_CHUNK_META);
}
DAMAGE(type_system)
{
	put_type(r, 0, PTFS_CHUNK_DATA);
}
DAMAGE(type_huge)
{
	put_type(r, chunk_of(r, slot_at(r, "/huge", 0, PT_PMD)), PTFS_CHUNK_TABLE);
}
DAMAGE(journal_head)
{
	put8(r, r->fs->journal_off + 3 * PTFS_JOURNAL_SLOT_BYTES, 5 << PTFS_TX_COUNT_BITS);
}
DAMAGE(journal_count)
{
	put8(r, r->fs->journal_off, 5 << PTFS_TX_COUNT_BITS | 31);
}
DAMAGE(bitmap_leak)
{
	fill(r,
	     r->fs->snapshot_off + PTFS_BLOCK +
		     chunk_of(r, slot_at(r, "/paged", 0, PT_PTE)) * PTFS_BITMAP_BYTES + 40,
	     0xff, 4);
	snapshot_seal(r);
}
DAMAGE(bitmap_missing)
{
	fill(r,
	     r->fs->snapshot_off + PTFS_BLOCK +
		     chunk_of(r, slot_at(r, "/paged", 0, PT_PTE)) * PTFS_BITMAP_BYTES,
	     0, 4);
	snapshot_seal(r);
}
DAMAGE(snapshot_inodes)
{
	change8(r, r->fs->snapshot_off + offsetof(struct ptfs_snapshot, inodes), 0, 1 << 20);
	snapshot_seal(r);
}
DAMAGE(inode_magic)
{
	fill(r, inode_at(r, "/paged"), 0, 4);
}
DAMAGE(inode_crc)
{
	fill(r, inode_at(r, "/paged") + 4, 0x11, 4);
}
DAMAGE(inode_number)
{
	put8(r, inode_at(r, "/paged") + D(ino), 999);
}
// Recovery frees what has no links. On an image that calls itself clean nobody would.
DAMAGE(inode_dead)
{
	change8(r, inode_at(r, "/fifo") + D(mode_links), 0xffull << 32, 0);
	put8(r, record_at(r, "/", "fifo"), 0);
}
// Found by the fuzzer: bits above the mode. The type below them was not believed, and there was no
// tree that told another, so nothing was mended; a later run, which found words where the first had
// taken away a broken root, made a regular file of it.
DAMAGE(mode_high_bits)
{
	u64 at = inode_at(r, "/fifo");

	change8(r, at + D(mode_links), 0, 0x360000);
	put8(r, at + D(root), 0x1234567);
	put8(r, at + D(direct), get8(r, slot_at(r, "/paged", 0, PT_PTE)));
}
DAMAGE(inode_type)
{
	change8(r, inode_at(r, "/paged") + D(mode_links), PTFS_S_IFMT, PTFS_S_IFMT);
}
DAMAGE(inode_type_dir)
{
	change8(r, inode_at(r, "/dir") + D(mode_links), PTFS_S_IFMT, 0);
}
DAMAGE(inode_size_huge)
{
	put8(r, inode_at(r, "/tail") + D(size), ~0ull);
}
DAMAGE(inode_flags)
{
	put8(r, inode_at(r, "/paged") + D(flags), 0xff00);
}
DAMAGE(inode_garbage)
{
	fill(r, inode_at(r, "/paged"), 0xa5, PTFS_INODE_BYTES);
}
DAMAGE(inode_zeroed)
{
	fill(r, inode_at(r, "/paged"), 0, PTFS_INODE_BYTES);
}
DAMAGE(inode_block)
{
	fill(r, ALIGN_DOWN(inode_at(r, "/paged"), PTFS_BLOCK), 0x5a, PTFS_BLOCK);
}
DAMAGE(root_garbage)
{
	fill(r, inode_at(r, "/"), 0xa5, PTFS_INODE_BYTES);
}
DAMAGE(root_zeroed)
{
	fill(r, inode_at(r, "/"), 0, PTFS_INODE_BYTES);
}
DAMAGE(root_crc)
{
	fill(r, inode_at(r, "/") + 4, 0x11, 4);
}
DAMAGE(root_type)
{
	change8(r, inode_at(r, "/") + D(mode_links), PTFS_S_IFMT, PTFS_S_IFREG);
}
DAMAGE(entry_outside)
{
	change8(r, slot_at(r, "/paged", 3, PT_PTE), PTE_ADDR, scene_base + GIB(1));
}
DAMAGE(entry_kernel)
{
	change8(r, slot_at(r, "/direct", 1, PT_PTE), PTE_ADDR, 0x200000);
}
DAMAGE(entry_bits)
{
	change8(r, slot_at(r, "/paged", 3, PT_PTE), 0, PTE_NX | PTE_G);
}
DAMAGE(entry_tag)
{
	change8(r, slot_at(r, "/paged", 3, PT_PTE), PTFS_E_TAG, 5ull << PTFS_E_TAG_SHIFT);
}
DAMAGE(entry_to_table)
{
	change8(r, slot_at(r, "/paged", 3, PT_PTE), PTE_ADDR,
		get8(r, slot_at(r, "/tall", 0, PT_PMD)) & PTE_ADDR);
}
DAMAGE(entry_to_super)
{
	change8(r, slot_at(r, "/dir", 0, PT_PTE), PTE_ADDR, scene_base);
}
DAMAGE(table_wiped)
{
	fill(r, (get8(r, slot_at(r, "/paged", 0, PT_PMD)) & PTE_ADDR) - scene_base, 0x77,
	     PTFS_BLOCK);
}
DAMAGE(root_level_none)
{
	change8(r, slot_at(r, "/paged", 0, PT_PMD), PTFS_E_LEVEL, 7 << PTFS_E_LEVEL_SHIFT);
}
DAMAGE(root_level_wrong)
{
	change8(r, slot_at(r, "/paged", 0, PT_PMD), PTFS_E_LEVEL, PT_PUD << PTFS_E_LEVEL_SHIFT);
}
DAMAGE(root_level_huge)
{
	change8(r, slot_at(r, "/huge", 0, PT_PUD), PTFS_E_LEVEL, PT_PMD << PTFS_E_LEVEL_SHIFT);
}
DAMAGE(root_outside)
{
	change8(r, slot_at(r, "/paged", 0, PT_PMD), PTE_ADDR, 0x7fff000);
}
DAMAGE(two_files_block)
{
	put8(r, slot_at(r, "/direct", 1, PT_PTE), get8(r, slot_at(r, "/tall", 9, PT_PTE)));
}
DAMAGE(two_files_table)
{
	put8(r, slot_at(r, "/paged", 0, PT_PMD), get8(r, slot_at(r, "/tall", 0, PT_PMD)));
}
DAMAGE(two_dirs_block)
{
	put8(r, slot_at(r, "/other", 0, PT_PTE), get8(r, slot_at(r, "/dir", 1, PT_PTE)));
}
DAMAGE(table_self)
{
	put8(r, slot_at(r, "/huge", 1, PT_PMD),
	     get8(r, slot_at(r, "/huge", 0, PT_PUD)) & ~PTFS_E_LEVEL);
}
DAMAGE(huge_over_small)
{
	change8(r, slot_at(r, "/huge", 0, PT_PMD), PTE_ADDR,
		ALIGN_DOWN(get8(r, slot_at(r, "/tall", 0, PT_PTE)) & PTE_ADDR, PTFS_CHUNK));
}
DAMAGE(small_in_huge)
{
	change8(r, slot_at(r, "/tall", 2, PT_PTE), PTE_ADDR,
		get8(r, slot_at(r, "/huge", 512, PT_PMD)) & PTE_ADDR);
}
DAMAGE(behind_eof)
{
	put8(r, inode_at(r, "/paged") + D(size), 5000);
}
DAMAGE(fifo_with_root)
{
	put8(r, inode_at(r, "/fifo") + D(root), get8(r, slot_at(r, "/paged", 0, PT_PMD)));
}
DAMAGE(symlink_size)
{
	put8(r, inode_at(r, "/link") + D(size), 0);
}
DAMAGE(symlink_block)
{
	put8(r, slot_at(r, "/longlink", 0, PT_PTE), 0);
}
DAMAGE(name_free_inode)
{
	put8(r, record_at(r, "/other", "one"), 500);
}
DAMAGE(name_no_inode)
{
	put8(r, record_at(r, "/other", "one"), 1ull << 60);
}
DAMAGE(name_cleared)
{
	put8(r, record_at(r, "/other", "one"), 0);
}
DAMAGE(name_type)
{
	change8(r, record_at(r, "/other", "one") + 8, 0xffull << 48, 4ull << 48);
}
DAMAGE(name_hash)
{
	change8(r, record_at(r, "/other", "one") + 8, 0xffffffff, 0x12345678);
}
DAMAGE(name_length)
{
	change8(r, record_at(r, "/other", "one") + 8, 0xffull << 40, 200ull << 40);
}
DAMAGE(name_units)
{
	change8(r, record_at(r, "/other", "one") + 8, 0xffull << 32, 255ull << 32);
}
DAMAGE(name_reserved)
{
	change8(r, record_at(r, "/other", "one") + 8, 0, PTFS_DE_RESERVED);
}
DAMAGE(name_slash)
{
	fill(r, record_at(r, "/other", "one") + PTFS_DIRENT_NAME, '/', 3);
}
DAMAGE(dir_block_random)
{
	fill(r, (get8(r, slot_at(r, "/dir", 1, PT_PTE)) & PTE_ADDR) - scene_base, 0xcc, PTFS_BLOCK);
}
DAMAGE(dir_block_zeroed)
{
	fill(r, (get8(r, slot_at(r, "/dir", 0, PT_PTE)) & PTE_ADDR) - scene_base, 0, PTFS_BLOCK);
}
DAMAGE(dir_hole)
{
	put8(r, slot_at(r, "/dir", 0, PT_PTE), 0);
}
DAMAGE(dir_size_zero)
{
	put8(r, inode_at(r, "/dir") + D(size), 0);
}
DAMAGE(dir_size_odd)
{
	put8(r, inode_at(r, "/dir") + D(size), 5001);
}
DAMAGE(dir_size_large)
{
	put8(r, inode_at(r, "/dir") + D(size), KIB(400));
}
DAMAGE(dir_parent)
{
	put8(r, inode_at(r, "/dir/sub") + D(parent), 777);
}
DAMAGE(dir_links)
{
	change8(r, inode_at(r, "/dir") + D(mode_links), 0, 64ull << 32);
}
DAMAGE(dir_unnamed)
{
	put8(r, record_at(r, "/", "dir"), 0);
}
DAMAGE(dir_two_names)
{
	put8(r, record_at(r, "/other", "one"), ino_of(r, "/dir/sub"));
}
DAMAGE(root_named)
{
	put8(r, record_at(r, "/other", "one"), PTFS_INO_ROOT);
}
DAMAGE(links_high)
{
	change8(r, inode_at(r, "/paged") + D(mode_links), 0, 8ull << 32);
}
DAMAGE(links_low)
{
	change8(r, inode_at(r, "/direct") + D(mode_links), 3ull << 32, 1ull << 32);
}
DAMAGE(links_zero)
{
	change8(r, inode_at(r, "/paged") + D(mode_links), 0xffull << 32, 0);
}

// /other/two becomes a second "one".
DAMAGE(name_twice)
{
	u64 one = record_at(r, "/other", "one"), two = record_at(r, "/other", "two");

	memcpy(r->image.map + two + 8, r->image.map + one + 8, 56);
}

// /dir has no name but the one below itself.
DAMAGE(dir_circle)
{
	u64 deep = record_at(r, "/dir/sub/deep", "bottom");

	put8(r, deep, ino_of(r, "/dir"));
	change8(r, deep + 8, 0xffull << 48, 4ull << 48);
	put8(r, inode_at(r, "/dir") + D(parent), ino_of(r, "/dir/sub/deep"));
	put8(r, record_at(r, "/", "dir"), 0);
}

#undef S
#undef D

#define W(name, spoiled)                                                                           \
	{                                                                                          \
#name, damage_##name, spoiled                                                      \
	}
static const struct damage damages[] = {
	W(super_magic, ""),
	W(super_crc, ""),
	W(super_zeroed, ""),
	W(super_random, ""),
	W(super_copy, ""),
	W(super_copy_stale, ""),
	W(base_word, ""),
	W(base_unused, ""),
	W(base_current, ""),
	W(itable_root_zero, ""),
	W(itable_root_outside, ""),
	W(itable_root_level, ""),
	W(itable_root_inodes, ""),
	W(itable_page_of_a_file, ""),
	W(inode_dead, "/fifo"),
	W(mode_high_bits, ""),
	W(size_and_level, "/paged"),
	W(itable_entry_zero, ""),
	W(itable_entry_data, ""),
	W(itable_entry_twice, ""),
	W(type_impossible, ""),
	W(type_free, ""),
	W(type_table, ""),
	W(type_inode, ""),
	W(type_system, ""),
	W(type_huge, ""),
	W(journal_head, ""),
	W(journal_unreadable, ""),
	W(journal_count, ""),
	W(bitmap_leak, ""),
	W(bitmap_missing, ""),
	W(snapshot_inodes, ""),
	W(inode_magic, ""),
	W(inode_crc, ""),
	W(inode_number, ""),
	W(inode_type, ""),
	W(inode_type_dir, ""),
	W(inode_size_huge, "/tail"),
	W(inode_flags, ""),
	W(inode_garbage, "/paged"),
	W(inode_zeroed, "/paged"),
	W(inode_block, "/"), // 16 inodes, the root among them
	W(root_garbage, "/"),
	W(root_zeroed, "/"),
	W(root_crc, ""),
	W(root_type, ""),
	W(entry_outside, "/paged"),
	W(entry_kernel, "/direct /hard"),
	W(entry_bits, "/paged"),
	W(entry_tag, "/paged"),
	W(entry_to_table, "/paged"),
	W(entry_to_super, "/dir"),
	W(table_wiped, "/paged"),
	W(root_level_none, ""),
	W(root_level_wrong, ""),
	W(root_level_huge, ""),
	W(root_outside, "/paged"),
	W(two_files_block, "/direct /hard"),
	W(two_files_table, "/paged"),
	W(two_dirs_block, "/other /dir"), // files with names in both, now
	W(table_self, "/huge"),
	W(huge_over_small, "/huge"),
	W(small_in_huge, "/tall"),
	W(behind_eof, "/paged"),
	W(fifo_with_root, ""),
	W(symlink_size, ""),
	W(symlink_block, "/longlink"),
	W(name_free_inode, "/other/one"),
	W(name_no_inode, "/other/one"),
	W(name_cleared, "/other/one"),
	W(name_type, ""),
	W(name_hash, ""),
	W(name_length, ""),
	W(name_units, ""),
	W(name_reserved, ""),
	W(name_slash, "/other/one"),
	W(name_twice, "/other/two"),
	W(dir_block_random, "/dir"),
	W(dir_block_zeroed, "/dir"),
	W(dir_hole, "/dir"),
	W(dir_size_zero, ""),
	W(dir_size_odd, ""),
	W(dir_size_large, ""),
	W(dir_parent, ""),
	W(dir_links, ""),
	W(dir_unnamed, "/dir"),
	W(dir_two_names, "/other/one"),
	W(root_named, "/other/one"),
	W(dir_circle, "/dir"),
	W(links_high, ""),
	W(links_low, ""),
	W(links_zero, ""),
};
#undef W
