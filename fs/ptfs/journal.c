// SPDX-License-Identifier: MIT
//
// What: transactions over up to 16 words, by undo records.
// Not here: which words an operation changes (namei.c, inode.c).
//
// A transaction is atomic because at every moment either its head is 0 (its stores have all
// happened, or none has begun), or its head and all records are durable and tell how to undo what
// has happened.
//
// Persistence
//   1. records and head, flush, fence      (a torn set of records is known by txid and crc; then no
//                                           in-place store has begun, and the head is just cleared)
//   2. the in-place stores, flush, fence
//   3. head := 0, flush, fence             commit point
// A transaction over one word needs no records: the store of an aligned word is atomic by itself.
// It is made under the same lock, so no record of another transaction names the word, now or later,
// with the value from before. Nothing is fenced before it, so what the word leads to may not be
// durable when the word is. There are two: an inode that dies leads nowhere, and one that begins
// without links is thrown away by recovery, unread; its first link has records.
// Locking: tx_lock from begin to commit, so one transaction is open at a time, in slot 0; the other
// slots are for the day when transactions of unrelated objects run side by side, and recovery reads
// all. Words that are also stored plainly (times) are stored under the inode's lock, which whoever
// journals them holds: no word is stored by anybody else while a transaction over it is open.
#include "fs/ptfs/ptfs_internal.h"

#define TXID_MAX ((1ull << (64 - PTFS_TX_COUNT_BITS)) - 1)

static u64 slot_off(const struct ptfs_fs *fs, unsigned slot)
{
	return fs->journal_off + slot * sizeof(struct ptfs_journal_slot);
}

static u64 undo_off(const struct ptfs_fs *fs, unsigned slot, unsigned i)
{
	return slot_off(fs, slot) + offsetof(struct ptfs_journal_slot, undo) +
	       i * sizeof(struct ptfs_undo);
}

static u32 undo_crc(const struct ptfs_undo *u)
{
	return crc32c(0, u, offsetof(struct ptfs_undo, crc));
}

void ptfs_tx_begin(struct ptfs_tx *tx, struct ptfs_fs *fs)
{
	tx->fs = fs;
	tx->n = 0;
	ptfs_mutex_lock(&fs->tx_lock);
}

void ptfs_tx_set(struct ptfs_tx *tx, u64 off, u64 value)
{
	for (unsigned i = 0; i < tx->n; i++)
		ptfs_assert(tx->change[i].off != off);
	ptfs_assert(tx->n < PTFS_TX_RECORDS);
	tx->change[tx->n].off = off;
	tx->change[tx->n++].value = value;
}

static void records_write(struct ptfs_tx *tx, u64 txid)
{
	struct ptfs_undo undo[PTFS_TX_RECORDS]; // those of the transaction are set in full

	for (unsigned i = 0; i < tx->n; i++) {
		undo[i] = (struct ptfs_undo){
			.txid = LE64(txid),
			.off = LE64(tx->change[i].off),
			.old = LE64(ptfs_word(tx->fs, tx->change[i].off)),
		};
		undo[i].crc = LE32(undo_crc(&undo[i]));
	}
	ptfs_copy_nt(tx->fs, undo_off(tx->fs, 0, 0), undo, tx->n * sizeof(undo[0]));
}

static void changes_store(const struct ptfs_tx *tx)
{
	for (unsigned i = 0; i < tx->n; i++)
		ptfs_store8_flush(tx->fs, tx->change[i].off, tx->change[i].value);
	ptfs_fence(tx->fs);
}

static void commit_by_records(struct ptfs_tx *tx)
{
	struct ptfs_fs *fs = tx->fs;
	u64 txid = fs->next_txid;
	u64 head = slot_off(fs, 0);

	fs->next_txid = txid == TXID_MAX ? 1 : txid + 1;
	records_write(tx, txid);
	ptfs_store8_flush(fs, head, txid << PTFS_TX_COUNT_BITS | tx->n);
	ptfs_fence(fs);
	changes_store(tx);
	ptfs_store8_flush(fs, head, 0); // commit point
	ptfs_fence(fs);
}

void ptfs_tx_commit(struct ptfs_tx *tx)
{
	if (tx->n > 1)
		commit_by_records(tx);
	else if (tx->n)
		changes_store(tx); // commit point
	ptfs_mutex_unlock(&tx->fs->tx_lock);
}

// Of an image that is clean by its snapshot a slot that has failed was closed.
static u64 head_read(const struct ptfs_fs *fs, unsigned slot)
{
	u64 head = ptfs_word(fs, slot_off(fs, slot));

	return head == PTFS_FAILED ? 0 : head;
}

bool ptfs_journal_open(const struct ptfs_fs *fs)
{
	for (unsigned s = 0; s < PTFS_JOURNAL_SLOTS; s++)
		if (head_read(fs, s))
			return true;
	return false;
}

// Without them nobody can tell what an open transaction has changed.
int ptfs_journal_loadable(const struct ptfs_fs *fs)
{
	u64 bytes = (u64)PTFS_JOURNAL_SLOTS * PTFS_JOURNAL_SLOT_BYTES;
	u64 at;

	for (at = fs->journal_off; at < fs->journal_off + bytes; at += PTFS_JOURNAL_SLOT_BYTES)
		if (!ptfs_loadable(fs, at, PTFS_JOURNAL_SLOT_BYTES))
			break;
	if (at == fs->journal_off + bytes)
		return 0;
	ptfs_log(PTFS_LOG_ERROR, "ptfs %s: the journal slot at offset %#llx cannot be read",
		 fs->name, (unsigned long long)at);
	return ptfs_damage(fs, at);
}

// A record can be believed if it is whole, of this transaction, and names a word that transactions
// change: one in a chunk of inodes or directories, behind the system area.
static bool undo_valid(const struct ptfs_fs *fs, const struct ptfs_undo *u, u64 txid)
{
	u64 off = le64(u->off);
	unsigned type;

	if (le64(u->txid) != txid || le32_get(u->crc) != undo_crc(u) || !IS_ALIGNED(off, 8) ||
	    off < fs->system_bytes || off >= fs->region.bytes)
		return false;
	type = ptfs_chunk_at(fs, off)->type;
	return type == PTFS_CHUNK_INODE || type == PTFS_CHUNK_META;
}

// The records of an open slot, copied and then looked at. 0: it is not open, or nothing in place
// was changed yet.
static unsigned slot_read(const struct ptfs_fs *fs, unsigned slot, u64 head, struct ptfs_undo *undo)
{
	unsigned n = head & ((1u << PTFS_TX_COUNT_BITS) - 1);

	if (n > PTFS_TX_RECORDS)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		ptfs_copy_out(fs, &undo[i], undo_off(fs, slot, i), sizeof(undo[i]));
		if (!undo_valid(fs, &undo[i], head >> PTFS_TX_COUNT_BITS))
			return 0;
	}
	return n;
}

static void slot_recover(struct ptfs_fs *fs, unsigned slot)
{
	u64 head = ptfs_word(fs, slot_off(fs, slot));
	struct ptfs_undo undo[PTFS_TX_RECORDS];
	unsigned n = slot_read(fs, slot, head, undo);

	if (!head)
		return;
	for (unsigned i = n; i-- > 0;)
		ptfs_store8_flush(fs, le64(undo[i].off), le64(undo[i].old));
	ptfs_fence(fs);
	// Rolled back twice is as once; before one of the words changes, ptfs_dirty fences.
	ptfs_store8_flush(fs, slot_off(fs, slot), 0);
	ptfs_log(PTFS_LOG_INFO, "ptfs %s: transaction in slot %u %s", fs->name, slot,
		 n ? "rolled back" : "had not begun");
}

void ptfs_journal_recover(struct ptfs_fs *fs)
{
	for (unsigned s = 0; s < PTFS_JOURNAL_SLOTS; s++)
		slot_recover(fs, s);
}

int ptfs_journal_shadow(struct ptfs_fs *fs)
{
	struct ptfs_undo undo[PTFS_TX_RECORDS];

	for (unsigned s = 0; s < PTFS_JOURNAL_SLOTS; s++) {
		u64 head = ptfs_word(fs, slot_off(fs, s));

		for (unsigned i = slot_read(fs, s, head, undo); i-- > 0;) {
			int err = ptfs_shadow_set(fs, le64(undo[i].off), le64(undo[i].old));

			if (err)
				return err;
		}
	}
	return 0;
}

void ptfs_journal_init(struct ptfs_fs *fs)
{
	u64 last = 0;

	for (unsigned s = 0; s < PTFS_JOURNAL_SLOTS; s++) {
		for (unsigned i = 0; i < PTFS_TX_RECORDS; i++) {
			u64 txid = ptfs_word(fs, undo_off(fs, s, i));

			last = txid == PTFS_FAILED ? last : max(last, txid);
		}
	}
	fs->next_txid = last < TXID_MAX ? last + 1 : 1;
}
