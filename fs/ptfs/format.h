// SPDX-License-Identifier: MIT
//
// ptfs on the medium, byte for byte (docs/ptfs-format.md has the same in prose and pictures).
//
// All integers are little-endian and naturally aligned. "offset" is a distance in bytes from the
// start of the region. Reserved bytes are zero. A struct's comment says which of its words change
// in place; those change by one 8-byte store each and stand outside the checksum.
//
// Not here: what these structs look like in DRAM (ptfs_internal.h), how they are changed (the .c
// files).
#pragma once

#include "kernel/lib/endian.h"
#include "kernel/lib/pte.h"
#include "kernel/lib/types.h"

// Wrapper types: the compiler refuses to use a media word without a conversion.
typedef struct {
	u16 raw;
} le16_t;
typedef struct {
	u32 raw;
} le32_t;
typedef struct {
	u64 raw;
} le64_t;

// The value of a word in a copy.
static inline u16 le16_get(le16_t v)
{
	return LE_ORDER16(v.raw);
}

static inline u32 le32_get(le32_t v)
{
	return LE_ORDER32(v.raw);
}

static inline u64 le64(le64_t v)
{
	return LE_ORDER64(v.raw);
}

// Media words that change in place are read exactly once, untorn. Where the memory has failed this
// is a word that nobody wrote (~1): every reader refuses it.
static inline u64 le64_get(const le64_t *p)
{
	return LE_ORDER64(media_load64(&p->raw));
}

#define PTFS_FAILED PTE_FAILED

#define LE16(v) ((le16_t){ LE_ORDER16((u16)(v)) })
#define LE32(v) ((le32_t){ LE_ORDER32((u32)(v)) })
#define LE64(v) ((le64_t){ LE_ORDER64((u64)(v)) })

#define PTFS_BLOCK_SHIFT  12
#define PTFS_BLOCK        4096ull
#define PTFS_CHUNK_SHIFT  21
#define PTFS_CHUNK        (1ull << PTFS_CHUNK_SHIFT)
#define PTFS_CHUNK_BLOCKS 512u

#define PTFS_MAGIC      0x0a1a0d5346545000ull // "\0PTFS\r\x1a\n"
#define PTFS_VERSION    1u
#define PTFS_CHUNKS_MIN 8ull         // 16 MiB
#define PTFS_CHUNKS_MAX (1ull << 22) // 8 TiB
#define PTFS_FILE_MAX   (1ull << 39) // 512 GiB: what a root entry of level 4 covers
#define PTFS_NAME_MAX   255u

// ---- Chunk types: one byte a chunk, durable before the chunk's first use ----

#define PTFS_CHUNK_FREE  0
#define PTFS_CHUNK_META  1 // system area, directory blocks, long symlinks
#define PTFS_CHUNK_INODE 2 // blocks of the inode table
#define PTFS_CHUNK_TABLE 3 // page-table pages
#define PTFS_CHUNK_DATA  4 // blocks of regular files, and nothing else
#define PTFS_CHUNK_TYPES 5

// ---- Entries: x86-64 page-table words ----
//
//      0                     a hole
//      template | address | base tag << 52 [| level << 9 in a root word]
//
// The template is the whole of the remaining bits, so anything else is refused. P may be clear:
// then the entry is valid for software and invisible to the MMU (it was published but not yet
// durable).

#define PTFS_E_P           PTE_P
#define PTFS_E_TABLE       (PTE_W | PTE_U | PTE_A)
#define PTFS_E_LEAF        (PTE_W | PTE_U | PTE_A | PTE_D)
#define PTFS_E_HUGE        (PTFS_E_LEAF | PTE_PS) // a whole DATA chunk
#define PTFS_E_TAG_SHIFT   52
#define PTFS_E_TAG         (7ull << PTFS_E_TAG_SHIFT)
#define PTFS_E_LEVEL_SHIFT 9
#define PTFS_E_LEVEL       (7ull << PTFS_E_LEVEL_SHIFT) // root words only
// Levels of a root word: PT_PMD (names a PTE page, or is a 2 MiB leaf), PT_PUD, PT_PML4.
#define PTFS_ROOT_LEVEL_MIN PT_PMD
#define PTFS_ROOT_LEVEL_MAX PT_PML4

// ---- Base tags ----
//
// Word t of the base table says which base address the entries with tag t were written for:
// base | low 21 bits of crc32c(base as 8 bytes, then t as 8 bytes). Zero: the tag is free.

#define PTFS_TAGS     8u // tag 0 is never used
#define PTFS_BASE_CRC (PTFS_CHUNK - 1)

// ---- Superblock, block 0; a copy stands in the last block of the system area ----
//
// The rest of the block is zero. The first 256 bytes never change (crc). These words change in
// place: generation, base_current, itable_root, base[].
struct ptfs_super {
	le64_t magic;
	le32_t version;
	le32_t block_bytes;
	le32_t chunk_bytes;
	le32_t inode_bytes;
	le64_t chunks; // size of the file system
	u8 uuid[16];
	le64_t journal_off;
	le32_t journal_slots;
	le32_t journal_slot_bytes;
	le64_t chunk_map_off;
	le64_t chunk_map_bytes;
	le64_t snapshot_off; // header block, then one 64-byte bitmap a chunk
	le64_t snapshot_bytes;
	le64_t system_bytes; // the system area is [0, system_bytes)
	le64_t copy_off;
	le64_t root_ino;
	le64_t incompat;  // feature bits; unknown ones forbid mounting
	le64_t ro_compat; // feature bits; unknown ones forbid writing
	le64_t created_ns;
	u8 label[32]; // NUL-padded
	u8 reserved0[76];
	le32_t crc; // crc32c of the bytes before it
	// 256: changes in place
	le64_t generation;   // goes up by one before the first write of each mount
	le64_t base_current; // tag of new entries
	le64_t itable_root;  // root word of the inode table
	u8 reserved1[40];
	// 320
	le64_t base[PTFS_TAGS];
};
#define PTFS_SUPER_CRC_BYTES 252u

// Blocks whose memory has failed: words in the rest of the superblock's block, which change in
// place and check themselves (badlist.c). In bits 12-63 the offset of the block, below the low bits
// of a CRC over it and the word's number. 0: none.
#define PTFS_BAD_OFF 512u
#define PTFS_BAD_MAX 448u
#define PTFS_BAD_CRC 0xfffull
_Static_assert(PTFS_BAD_OFF + 8 * PTFS_BAD_MAX == 4096, "format");

_Static_assert(offsetof(struct ptfs_super, chunks) == 24, "format");
_Static_assert(offsetof(struct ptfs_super, uuid) == 32, "format");
_Static_assert(offsetof(struct ptfs_super, journal_off) == 48, "format");
_Static_assert(offsetof(struct ptfs_super, journal_slots) == 56, "format");
_Static_assert(offsetof(struct ptfs_super, journal_slot_bytes) == 60, "format");
_Static_assert(offsetof(struct ptfs_super, chunk_map_off) == 64, "format");
_Static_assert(offsetof(struct ptfs_super, chunk_map_bytes) == 72, "format");
_Static_assert(offsetof(struct ptfs_super, snapshot_off) == 80, "format");
_Static_assert(offsetof(struct ptfs_super, snapshot_bytes) == 88, "format");
_Static_assert(offsetof(struct ptfs_super, system_bytes) == 96, "format");
_Static_assert(offsetof(struct ptfs_super, copy_off) == 104, "format");
_Static_assert(offsetof(struct ptfs_super, root_ino) == 112, "format");
_Static_assert(offsetof(struct ptfs_super, incompat) == 120, "format");
_Static_assert(offsetof(struct ptfs_super, ro_compat) == 128, "format");
_Static_assert(offsetof(struct ptfs_super, created_ns) == 136, "format");
_Static_assert(offsetof(struct ptfs_super, label) == 144, "format");
_Static_assert(offsetof(struct ptfs_super, crc) == PTFS_SUPER_CRC_BYTES, "format");
_Static_assert(offsetof(struct ptfs_super, generation) == 256, "format");
_Static_assert(offsetof(struct ptfs_super, base_current) == 264, "format");
_Static_assert(offsetof(struct ptfs_super, itable_root) == 272, "format");
_Static_assert(offsetof(struct ptfs_super, base) == 320, "format");
_Static_assert(sizeof(struct ptfs_super) == 384, "format");

// ---- Journal: slots of undo records ----
//
// A slot is open while its head is nonzero: head = txid << 5 | number of records. The head, like
// the records, is rewritten by each transaction; a record belongs to the open transaction if its
// txid is the head's and its crc is right.
struct ptfs_undo {
	le64_t txid;
	le64_t off; // of the 8-byte word that the transaction changes
	le64_t old; // what it held before
	le32_t crc; // crc32c of the 24 bytes before it
	le32_t reserved;
};

#define PTFS_TX_RECORDS         16u
#define PTFS_TX_COUNT_BITS      5
#define PTFS_JOURNAL_SLOTS      64u
#define PTFS_JOURNAL_SLOT_BYTES 1024u

struct ptfs_journal_slot {
	le64_t head;
	u8 reserved0[56];
	struct ptfs_undo undo[PTFS_TX_RECORDS];
	u8 reserved1[448];
};

_Static_assert(sizeof(struct ptfs_undo) == 32, "format");
_Static_assert(offsetof(struct ptfs_undo, off) == 8, "format");
_Static_assert(offsetof(struct ptfs_undo, old) == 16, "format");
_Static_assert(offsetof(struct ptfs_undo, crc) == 24, "format");
_Static_assert(offsetof(struct ptfs_journal_slot, undo) == 64, "format");
_Static_assert(sizeof(struct ptfs_journal_slot) == PTFS_JOURNAL_SLOT_BYTES, "format");

// ---- Snapshot: the allocation bitmap of a clean image ----
//
// Valid if `clean`, `generation` and the superblock's generation are equal and the checksums fit.
// The superblock's generation becomes another one, durably, before the first write of a mount. The
// header's block is followed by one 64-byte bitmap per chunk (bit b of byte i: block 8 * i + b is
// in use); those of FREE chunks are not written, and not part of data_crc.
struct ptfs_snapshot {
	le64_t magic;
	le64_t generation;
	le64_t chunks;
	le64_t inode_hint; // no free inode below this number
	le64_t inodes;     // inodes in use
	u8 reserved0[16];
	le32_t data_crc; // over the bitmaps of all chunks that are not FREE, in order
	le32_t crc;      // crc32c of the bytes before it
	// 64: changes in place
	le64_t clean;
};
#define PTFS_SNAPSHOT_MAGIC     0x70616e7353465450ull // "PTFSsnap"
#define PTFS_SNAPSHOT_CRC_BYTES 60u
#define PTFS_BITMAP_BYTES       64u

_Static_assert(offsetof(struct ptfs_snapshot, inode_hint) == 24, "format");
_Static_assert(offsetof(struct ptfs_snapshot, inodes) == 32, "format");
_Static_assert(offsetof(struct ptfs_snapshot, data_crc) == 56, "format");
_Static_assert(offsetof(struct ptfs_snapshot, crc) == PTFS_SNAPSHOT_CRC_BYTES, "format");
_Static_assert(offsetof(struct ptfs_snapshot, clean) == 64, "format");
_Static_assert(sizeof(struct ptfs_snapshot) == 72, "format");

// ---- Inodes: inode n is at byte n * 256 of the inode table ----
//
// Free while mode_links is 0. The first 64 bytes never change while it is in use (crc). All other
// words change in place. mode_links, owner, parent and the times are changed by transactions; a
// word is stored plainly (times, by write) only under the inode's lock, which a transaction holds
// too.
#define PTFS_DIRECT       8u
#define PTFS_INODE_BYTES  256u
#define PTFS_INODE_MAGIC  0x444f4e49u        // "INOD"
#define PTFS_INO_ITABLE   0ull               // stands for the inode table itself; never a file
#define PTFS_INO_ROOT     1ull               // the root directory
#define PTFS_INLINE_BYTES (PTFS_DIRECT * 8u) // symlinks up to this length live in direct[]

struct ptfs_dinode {
	le32_t magic;
	le32_t crc; // crc32c of bytes 8 to 63
	le64_t ino;
	le64_t generation; // of the file system when the inode was made
	le64_t rdev;       // device files
	le64_t created_ns;
	u8 reserved0[24];
	// 64
	le64_t mode_links; // mode in the low half (Linux values, with the type), links in the high
	le64_t owner;      // uid in the low half, gid in the high
	le64_t size;       // bytes; the commit point of append and truncate
	le64_t flags;      // PTFS_INODE_*
	le64_t atime_ns;
	le64_t mtime_ns;
	le64_t ctime_ns;
	le64_t parent; // directories: the directory that holds this one
	// 128
	le64_t root; // root word; 0: the direct entries are the file
	u8 reserved1[56];
	// 192: one cache line
	le64_t direct[PTFS_DIRECT]; // mean nothing while root is nonzero
};
#define PTFS_INODE_CRC_FROM 8u
#define PTFS_INODE_CRC_TO   64u

#define PTFS_INODE_PREALLOC BIT(0) // blocks beyond EOF are meant; recovery keeps them
#define PTFS_INODE_FLAGS    PTFS_INODE_PREALLOC

_Static_assert(offsetof(struct ptfs_dinode, ino) == 8, "format");
_Static_assert(offsetof(struct ptfs_dinode, generation) == 16, "format");
_Static_assert(offsetof(struct ptfs_dinode, rdev) == 24, "format");
_Static_assert(offsetof(struct ptfs_dinode, created_ns) == 32, "format");
_Static_assert(offsetof(struct ptfs_dinode, mode_links) == 64, "format");
_Static_assert(offsetof(struct ptfs_dinode, owner) == 72, "format");
_Static_assert(offsetof(struct ptfs_dinode, size) == 80, "format");
_Static_assert(offsetof(struct ptfs_dinode, flags) == 88, "format");
_Static_assert(offsetof(struct ptfs_dinode, atime_ns) == 96, "format");
_Static_assert(offsetof(struct ptfs_dinode, mtime_ns) == 104, "format");
_Static_assert(offsetof(struct ptfs_dinode, ctime_ns) == 112, "format");
_Static_assert(offsetof(struct ptfs_dinode, parent) == 120, "format");
_Static_assert(offsetof(struct ptfs_dinode, root) == 128, "format");
_Static_assert(offsetof(struct ptfs_dinode, direct) == 192, "format");
_Static_assert(sizeof(struct ptfs_dinode) == PTFS_INODE_BYTES, "format");

// File types and the bits of a mode (inode(7)).
#define PTFS_S_IFMT   0170000u
#define PTFS_S_IFIFO  0010000u
#define PTFS_S_IFCHR  0020000u
#define PTFS_S_IFDIR  0040000u
#define PTFS_S_IFBLK  0060000u
#define PTFS_S_IFREG  0100000u
#define PTFS_S_IFLNK  0120000u
#define PTFS_S_IFSOCK 0140000u

// ---- Directory entries: units of 64 bytes, never across a block boundary ----
//
// A block is a chain of records; each says in `head` how many units it takes (0: up to the end of
// the block, so a block of zeros is one free record). A record is live while ino is nonzero. ino
// changes by transaction; head and name change only while ino is 0, but for the type in head: a
// transaction that exchanges names of files of different types changes it with ino.
struct ptfs_dirent {
	le64_t ino;
	le64_t head; // hash | units << 32 | name bytes << 40 | type << 48
	u8 name[48]; // and on into the following units
};
#define PTFS_DIRENT_UNIT      64u
#define PTFS_DIRENT_NAME      16u // offset of the name
#define PTFS_DIR_UNITS        (PTFS_BLOCK / PTFS_DIRENT_UNIT)
#define PTFS_DE_HASH(h)       ((u32)(h)) // crc32c of the name
#define PTFS_DE_UNITS(h)      ((u32)((h) >> 32) & 0xff)
#define PTFS_DE_NAME_BYTES(h) ((u32)((h) >> 40) & 0xff)
#define PTFS_DE_TYPE(h)       ((u32)((h) >> 48) & 0xff) // (mode & S_IFMT) >> 12
#define PTFS_DE_TYPE_SHIFT    48
#define PTFS_DE_TYPE_MASK     (0xffull << PTFS_DE_TYPE_SHIFT)
#define PTFS_DE_RESERVED      (0xffull << 56)
#define PTFS_DE_HEAD(hash, units, name_bytes, type)                                                \
	((u64)(u32)(hash) | (u64)(units) << 32 | (u64)(name_bytes) << 40 | (u64)(type) << 48)

_Static_assert(offsetof(struct ptfs_dirent, head) == 8, "format");
_Static_assert(offsetof(struct ptfs_dirent, name) == PTFS_DIRENT_NAME, "format");
_Static_assert(sizeof(struct ptfs_dirent) == PTFS_DIRENT_UNIT, "format");

// A page-table page: PTFS entries, level by place.
struct ptfs_table {
	pte_t e[PT_ENTRIES];
};
_Static_assert(sizeof(struct ptfs_table) == PTFS_BLOCK, "format");
