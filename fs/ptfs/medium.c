// SPDX-License-Identifier: MIT
//
// What: the core's only access to the medium: const pointers for reading, the pmem functions for
// writing, and the meaning of entries (address, base tag, template).
// Not here: who may name what (verify.c).
//
// Invariants
//   I1  nothing outside [0, fs->region.bytes) is read or written
//   I2  the medium changes only while the clean mark is cleared (fs->dirty) or during recovery; the
//       exceptions are compare-and-swap, which verification uses to set P and to rebase, and the
//       base table: neither changes what is allocated
#include "fs/ptfs/ptfs_internal.h"

#define LINE 64u

// I2. Neither is ever set in a read-only mount.
static inline void check_changing(const struct ptfs_fs *fs)
{
	ptfs_assert(__atomic_load_n(&fs->dirty, __ATOMIC_ACQUIRE) || fs->recovering);
}

static inline void check_writable(const struct ptfs_fs *fs, u64 off, u64 len)
{
	ptfs_check_range(fs, off, len);
	check_changing(fs);
}

void ptfs_store8(struct ptfs_fs *fs, u64 off, u64 value)
{
	ptfs_check_word(fs, off);
	check_changing(fs);
	pmem_store8(ptfs_pa(fs, off), value);
}

void ptfs_store8_flush(struct ptfs_fs *fs, u64 off, u64 value)
{
	ptfs_check_word(fs, off);
	check_changing(fs);
	pmem_store8(ptfs_pa(fs, off), value);
	pmem_flush(ptfs_pa(fs, off), 8);
}

u64 ptfs_cas8(struct ptfs_fs *fs, u64 off, u64 old, u64 value)
{
	ptfs_check_range(fs, off, 8);
	ptfs_assert(!fs->read_only);
	return pmem_cas8(ptfs_pa(fs, off), old, value);
}

void ptfs_flush(struct ptfs_fs *fs, u64 off, u64 len)
{
	ptfs_check_range(fs, off, len);
	pmem_flush(ptfs_pa(fs, off), len);
}

void ptfs_fence(struct ptfs_fs *fs)
{
	(void)fs;
	pmem_fence();
}

void ptfs_copy_nt(struct ptfs_fs *fs, u64 off, const void *src, u64 len)
{
	if (!len)
		return;
	check_writable(fs, off, len);
	pmem_memcpy_nt(ptfs_pa(fs, off), src, len);
}

bool ptfs_loadable(const struct ptfs_fs *fs, u64 off, u64 len)
{
	for (u64 at = ALIGN_DOWN(off, LINE); at < off + len; at += LINE)
		if (ptfs_word(fs, at) == PTFS_FAILED)
			return false;
	return true;
}

static bool line_is_zero(const u64 *p)
{
	return !media_any8(p);
}

// Whole lines. A line that reads as zero may still differ on the medium below the cache, so it is
// written back all the same.
static void zero_lines(struct ptfs_fs *fs, u64 off, u64 end)
{
	while (off < end) {
		const u64 *p = ptfs_at(fs, off, end - off);
		bool zero = line_is_zero(p);
		u64 n = LINE;

		while (off + n < end && line_is_zero(p + n / 8) == zero)
			n += LINE;
		if (zero)
			pmem_flush(ptfs_pa(fs, off), n);
		else
			pmem_memset_nt(ptfs_pa(fs, off), 0, n);
		off += n;
	}
}

void ptfs_zero(struct ptfs_fs *fs, u64 off, u64 len)
{
	u64 end = off + len;
	u64 first = min(ALIGN_UP(off, LINE), end);
	u64 last = max(ALIGN_DOWN(end, LINE), first);

	if (!len)
		return;
	check_writable(fs, off, len);
	if (first > off)
		pmem_memset_nt(ptfs_pa(fs, off), 0, first - off);
	zero_lines(fs, first, last);
	if (end > last)
		pmem_memset_nt(ptfs_pa(fs, last), 0, end - last);
}

void ptfs_zero_data(struct ptfs_fs *fs, u64 off, u64 len)
{
	for (u64 end = off + len; off < end;) {
		u64 n = ptfs_before_bad(fs, off, end - off);

		ptfs_zero(fs, off, n);
		off += n ? n : min(end - off, PTFS_BLOCK - off % PTFS_BLOCK);
	}
}

void ptfs_base_store(struct ptfs_fs *fs, u64 off, u64 value)
{
	ptfs_check_range(fs, off, 8);
	ptfs_assert(!fs->read_only);
	pmem_store8(ptfs_pa(fs, off), value);
	pmem_flush(ptfs_pa(fs, off), 8);
}

// Also in the copy: fsck that falls back on it needs all bases, and the list of failed blocks.
void ptfs_super_store(struct ptfs_fs *fs, u64 off, u64 value)
{
	ptfs_base_store(fs, off, value);
	ptfs_base_store(fs, fs->super_copy_off + off, value);
}

static u32 base_crc(u64 base, unsigned t)
{
	le64_t words[2] = { LE64(base), LE64(t) };

	return crc32c(0, words, sizeof(words)) & PTFS_BASE_CRC;
}

u64 ptfs_base_decode(u64 word, unsigned t)
{
	u64 base = word & ~PTFS_BASE_CRC;

	if (!word)
		return 0;
	return (word & PTFS_BASE_CRC) == base_crc(base, t) ? base : PTFS_NOTHING;
}

u64 ptfs_base_encode(u64 base, unsigned t)
{
	return base | base_crc(base, t);
}

// Address and tag. The base is that of the tag, and not the region's: a pass that makes room in the
// base table works at the newest base, wherever the region is.
static u64 entry_base(const struct ptfs_fs *fs, u64 off)
{
	return (fs->base[fs->tag] + off) | (u64)fs->tag << PTFS_E_TAG_SHIFT;
}

u64 ptfs_entry_table(const struct ptfs_fs *fs, u64 off)
{
	return entry_base(fs, off) | PTFS_E_TABLE | PTFS_E_P;
}

u64 ptfs_entry_leaf(const struct ptfs_fs *fs, u64 off, int level)
{
	return entry_base(fs, off) | (level == PT_PTE ? PTFS_E_LEAF : PTFS_E_HUGE) | PTFS_E_P;
}

const char *ptfs_entry_decode(const struct ptfs_fs *fs, u64 e, int level, struct ptfs_ref *out)
{
	unsigned tag = (e & PTFS_E_TAG) >> PTFS_E_TAG_SHIFT;
	bool huge = level == PT_PMD && (e & PTE_PS);
	u64 want = level == PT_PTE ? PTFS_E_LEAF : huge ? PTFS_E_HUGE : PTFS_E_TABLE;
	u64 span = huge ? PTFS_CHUNK : PTFS_BLOCK;
	u64 address = e & PTE_ADDR;
	u64 base = __atomic_load_n(&fs->base[tag], __ATOMIC_RELAXED);

	if ((e & ~(PTE_ADDR | PTFS_E_TAG | PTFS_E_P)) != want)
		return "reserved or wrong bits";
	if (!base)
		return "unknown base tag";
	if (!IS_ALIGNED(address, span))
		return "address not aligned";
	if (address < base || address - base >= fs->region.bytes)
		return "outside the region";
	*out = (struct ptfs_ref){
		.off = address - base,
		.leaf = level == PT_PTE || huge,
		.soft = !(e & PTFS_E_P) || tag != fs->tag,
	};
	return NULL;
}

int ptfs_damage(const struct ptfs_fs *fs, u64 off)
{
	ptfs_bad_update();
	return ptfs_is_bad(fs, off, 1) ? -EIO : -EUCLEAN;
}

int ptfs_refuse(struct ptfs_fs *fs, const struct ptfs_inode *ip, const char *what, u64 entry_off,
		int level, u64 index, u64 value)
{
	__atomic_fetch_add(&fs->refused, 1, __ATOMIC_RELAXED);
	ptfs_log(PTFS_LOG_ERROR,
		 "ptfs %s: inode %llu: entry at offset %#llx (level %d, index %llu) = %#llx "
		 "refused: %s",
		 fs->name, (unsigned long long)ip->ino, (unsigned long long)entry_off, level,
		 (unsigned long long)index, (unsigned long long)value, what);
	return ptfs_damage(fs, entry_off);
}
