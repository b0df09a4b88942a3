// SPDX-License-Identifier: MIT
//
// What: decodes the NFIT in two passes. The first walks the structures and checks that every one
// has the length that its type asks for; nothing is believed before the whole table has passed. The
// second looks at each range of persistent memory, collects what the other structures say about it,
// and decides: ready, read-only, refused.
// Not here: finding the table (drivers/acpi), making devices of ranges (drivers/nvdimm/region.c).
//
// Invariants
//   I1  Bytes are read through nfit_u16/32/64 at offsets below `walk.end`, which never exceeds the
//       buffer.
//   I2  After table_check() each structure lies wholly inside the table and is long enough for
//       the fields of its type, so pass 2 reads fields without further checks.
//   I3  Arithmetic on bases and lengths is done only after range_check() has excluded overflow.
// Failure: a torn table names nothing at all. It may have lost exactly the structure that said "not
// armed"; a range from such a table could be written although it must not.

#include "drivers/nvdimm/nfit.h"
#include "kernel/lib/errno.h"

#define HEADER_BYTES 40 // standard ACPI header (36) and a reserved word

enum nfit_type {
	NFIT_SPA,
	NFIT_MAPPING,
	NFIT_INTERLEAVE,
	NFIT_SMBIOS,
	NFIT_CONTROL,
	NFIT_BLOCK_WINDOW,
	NFIT_FLUSH_HINT,
	NFIT_CAPABILITIES,
};

#define SPA_FLAG_COOKIE BIT(2) // ACPI 6.4: 8 more bytes follow
#define SPA_ATTR_WB     BIT(3) // EFI_MEMORY_WB
#define PAGE_MASK_BITS  (PAGE_SIZE - 1)

// One structure inside the table.
struct walk {
	const u8 *table;
	u32 end; // bytes of the table
	u32 off; // of the current structure
	u16 type;
	u16 len; // its bytes, header included
};

struct spa {
	u32 off;
	u16 index;
	u64 base, len, attr;
	bool is_pm;
};

// 66F0D379-B4F3-4074-AC43-0D3318B78CDB, byte-addressable persistent memory, in memory order: the
// first three groups of a GUID are little-endian.
static const u8 guid_pm[16] = { 0x79, 0xd3, 0xf0, 0x66, 0xf3, 0xb4, 0x74, 0x40,
				0xac, 0x43, 0x0d, 0x33, 0x18, 0xb7, 0x8c, 0xdb };

static u16 nfit_u16(const u8 *p)
{
	return (u16)(p[0] | p[1] << 8);
}

static u32 nfit_u32(const u8 *p)
{
	return nfit_u16(p) | (u32)nfit_u16(p + 2) << 16;
}

static u64 nfit_u64(const u8 *p)
{
	return nfit_u32(p) | (u64)nfit_u32(p + 4) << 32;
}

static void note(struct nfit *out, u32 off, const char *what, u32 value)
{
	if (out->nr_notes == NFIT_NOTES_MAX) {
		out->notes_lost++;
		return;
	}
	out->note[out->nr_notes++] = (struct nfit_note){ .off = off, .value = value, .what = what };
}

static int torn(struct nfit *out, u32 off, const char *why)
{
	out->error = why;
	out->error_off = off;
	return -EINVAL;
}

// --- Pass 1: is every structure whole? ---------------------------------------------------------

// Why the structure at hand is not as long as its own fields say, or NULL.
static const char *structure_check(const struct walk *w)
{
	static const u8 least[NFIT_TYPES] = { 56, 48, 16, 8, 32, 40, 16, 16 };
	const u8 *s = w->table + w->off;

	if (w->type >= NFIT_TYPES)
		return NULL;
	if (w->len < least[w->type])
		return "structure is shorter than its type";
	switch (w->type) {
	case NFIT_SPA:
		if ((nfit_u16(s + 6) & SPA_FLAG_COOKIE) && w->len < 64)
			return "range structure lacks its location cookie";
		break;
	case NFIT_INTERLEAVE: // u32 line offsets behind 16 bytes, counted at +8
		if (nfit_u32(s + 8) > (w->len - 16u) / 4)
			return "interleave structure is shorter than its lines";
		break;
	case NFIT_CONTROL: // without block windows (+30) the last 48 bytes may be missing
		if (nfit_u16(s + 30) != 0 && w->len < 80)
			return "control region lacks its block windows";
		break;
	case NFIT_FLUSH_HINT: // u64 addresses behind 16 bytes, counted at +8
		if (nfit_u16(s + 8) > (w->len - 16u) / 8)
			return "flush hint structure is shorter than its hints";
		break;
	}
	return NULL;
}

// Moves to the structure after the current one. False at the end of the table. Only for tables
// that table_check() has passed.
static bool walk_next(struct walk *w)
{
	w->off += w->len;
	if (w->off >= w->end)
		return false;
	w->type = nfit_u16(w->table + w->off);
	w->len = nfit_u16(w->table + w->off + 2);
	return true;
}

static struct walk walk_start(const u8 *table, u32 end)
{
	// An imaginary structure that ends where the first one begins.
	return (struct walk){ .table = table, .end = end, .off = 0, .len = HEADER_BYTES };
}

// Header, checksum, and the length of every structure.
static int table_check(const u8 *table, size_t bytes, u32 *end_out, struct nfit *out)
{
	struct walk w;
	u8 sum = 0;
	u32 end;

	if (bytes < HEADER_BYTES)
		return torn(out, 0, "table is shorter than its header");
	if (table[0] != 'N' || table[1] != 'F' || table[2] != 'I' || table[3] != 'T')
		return torn(out, 0, "signature is not NFIT");
	end = nfit_u32(table + 4);
	if (end < HEADER_BYTES || end > bytes)
		return torn(out, 4, "table length does not fit what is there");
	if (end > NFIT_BYTES_MAX)
		return torn(out, 4, "table is larger than any machine needs");
	for (u32 i = 0; i < end; i++)
		sum += table[i];
	if (sum)
		return torn(out, 9, "checksum is wrong");

	w = walk_start(table, end);
	for (w.off = HEADER_BYTES; w.off < end; w.off += w.len) {
		const char *why;

		if (end - w.off < 4)
			return torn(out, w.off, "table ends inside a structure's header");
		w.type = nfit_u16(table + w.off);
		w.len = nfit_u16(table + w.off + 2);
		if (w.len < 4)
			return torn(out, w.off, "structure length is below its header's");
		if (w.len > end - w.off)
			return torn(out, w.off, "structure runs past the end of the table");
		why = structure_check(&w);
		if (why)
			return torn(out, w.off, why);
	}
	*end_out = end;
	return 0;
}

// --- Pass 2: what do the structures say? -------------------------------------------------------

static struct spa spa_read(const struct walk *w)
{
	const u8 *s = w->table + w->off;
	struct spa r = { .off = w->off, .is_pm = true };

	r.index = nfit_u16(s + 4);
	r.base = nfit_u64(s + 32);
	r.len = nfit_u64(s + 40);
	r.attr = nfit_u64(s + 48);
	for (unsigned i = 0; i < sizeof(guid_pm); i++)
		if (s[16 + i] != guid_pm[i])
			r.is_pm = false;
	return r;
}

// Why [base, base+len) cannot be a range of memory on this CPU, or NULL.
static const char *range_check(const struct spa *r, unsigned phys_bits)
{
	u64 limit = phys_bits >= 64 ? ~0ull : BIT(phys_bits);

	if (r->len == 0)
		return "unused: length is zero";
	if (r->base > limit || r->len > limit - r->base)
		return "unused: beyond the CPU's physical addresses";
	if ((r->base & PAGE_MASK_BITS) || (r->len & PAGE_MASK_BITS))
		return "unused: base or length is not a multiple of 4 KiB";
	return NULL;
}

// Why this range contradicts another one of the table, or NULL.
static const char *range_conflict(struct walk w, const struct spa *r, unsigned phys_bits)
{
	while (walk_next(&w)) {
		struct spa o;

		if (w.type != NFIT_SPA || w.off == r->off)
			continue;
		o = spa_read(&w);
		if (o.index == r->index && o.index != 0)
			return "unused: two ranges have one index";
		if (range_check(&o, phys_bits))
			continue;
		if (o.base < r->base + r->len && r->base < o.base + o.len)
			return "unused: overlaps another range of the table";
	}
	return NULL;
}

static bool spa_known(struct walk w, u16 index)
{
	while (walk_next(&w))
		if (w.type == NFIT_SPA && nfit_u16(w.table + w.off + 4) == index)
			return true;
	return false;
}

static bool interleave_known(struct walk w, u16 index)
{
	while (walk_next(&w)) {
		const u8 *s = w.table + w.off;

		if (w.type == NFIT_INTERLEAVE && nfit_u16(s + 4) == index)
			return nfit_u32(s + 8) != 0 && nfit_u32(s + 12) != 0;
	}
	return false;
}

static bool handle_seen_before(struct walk w, u16 spa_index, u32 handle, u32 before_off)
{
	while (walk_next(&w) && w.off < before_off) {
		const u8 *s = w.table + w.off;

		if (w.type == NFIT_MAPPING && nfit_u16(s + 12) == spa_index &&
		    nfit_u32(s + 4) == handle)
			return true;
	}
	return false;
}

// Adds the DIMMs of range `r` to `reg`. Why they do not make up the range, or NULL.
static const char *mappings_check(const struct walk *start, const struct spa *r,
				  struct nfit_region *reg)
{
	struct walk w = *start;
	unsigned nr = 0, ways = 0;
	u64 left = r->len;

	while (walk_next(&w)) {
		const u8 *s = w.table + w.off;
		unsigned this_ways, interleave;
		u64 size;

		if (w.type != NFIT_MAPPING || nfit_u16(s + 12) != r->index)
			continue;
		size = nfit_u64(s + 16);
		interleave = nfit_u16(s + 40);
		this_ways = nfit_u16(s + 42);
		if (this_ways == 0)
			this_ways = 1; // some firmware writes 0 for "not interleaved"
		reg->flags |= nfit_u16(s + 44);
		if (nr++ == 0) {
			ways = this_ways;
			reg->handle = nfit_u32(s + 4);
		}
		if (this_ways != ways)
			return "unused: DIMMs disagree about interleave ways";
		if (handle_seen_before(*start, r->index, nfit_u32(s + 4), w.off))
			return "unused: one DIMM is mapped twice";
		if (interleave ? !interleave_known(*start, interleave) : ways > 1)
			return "unused: interleave description is missing or empty";
		if (nfit_u64(s + 24) >= r->len)
			return "unused: region offset is outside the range";
		if (size == 0 || size > left)
			return "unused: DIMM regions are larger than the range";
		left -= size;
	}
	reg->ways = (u16)ways;
	if (nr == 0)
		return NULL;
	if (nr != ways)
		return "unused: number of DIMMs is not the interleave ways";
	return left ? "unused: DIMM regions are smaller than the range" : NULL;
}

// What the DIMMs' state flags and the platform's capabilities leave of a sound range.
static void region_judge(struct nfit_region *reg, const struct nfit *out)
{
	u32 needed = NFIT_CAP_CACHE_FLUSH | NFIT_CAP_MC_FLUSH;

	reg->use = NFIT_READ_ONLY;
	if (reg->flags & NFIT_MAP_NOT_MAPPED) {
		reg->use = NFIT_REFUSED;
		reg->reason = "unused: firmware did not map the DIMM";
	} else if (reg->flags & NFIT_MAP_NOT_ARMED) {
		reg->reason = "read-only: not armed";
	} else if (reg->flags & NFIT_MAP_SAVE_FAILED) {
		reg->reason = "read-only: last save failed";
	} else if (reg->flags & NFIT_MAP_RESTORE_FAILED) {
		reg->reason = "read-only: last restore failed";
	} else if (reg->flags & NFIT_MAP_FLUSH_FAILED) {
		reg->reason = "read-only: last platform flush failed";
	} else if (out->has_capabilities && !(out->capabilities & needed)) {
		// The platform says that even the memory controller's queues are lost.
		reg->reason = "read-only: platform does not flush at power loss";
	} else {
		reg->use = NFIT_READY;
	}
}

static void region_insert(struct nfit *out, const struct nfit_region *reg)
{
	unsigned i = out->nr_regions++;

	for (; i > 0 && out->region[i - 1].base.pa > reg->base.pa; i--)
		out->region[i] = out->region[i - 1];
	out->region[i] = *reg;
}

static void region_decode(const struct walk *start, const struct spa *r, unsigned phys_bits,
			  struct nfit *out)
{
	struct nfit_region reg = { .base = PHYS(r->base), .len = r->len, .spa_index = r->index };

	if (out->nr_regions == NFIT_REGIONS_MAX) {
		note(out, r->off, "more persistent ranges than supported, this one left out",
		     r->index);
		return;
	}
	reg.use = NFIT_REFUSED;
	reg.reason = range_check(r, phys_bits);
	if (!reg.reason && r->index == 0)
		reg.reason = "unused: range index is zero";
	if (!reg.reason && !(r->attr & SPA_ATTR_WB))
		reg.reason = "unused: memory is not write-back cacheable";
	if (!reg.reason)
		reg.reason = range_conflict(*start, r, phys_bits);
	if (!reg.reason)
		reg.reason = mappings_check(start, r, &reg);
	if (!reg.reason) {
		region_judge(&reg, out);
		if (reg.ways == 0)
			note(out, r->off, "range without a DIMM mapping, taken as armed", r->index);
		if (reg.flags & NFIT_MAP_HEALTH_EVENT)
			note(out, r->off, "DIMM reports a health event", reg.handle);
	}
	region_insert(out, &reg);
}

static void capabilities_take(const struct walk *w, struct nfit *out)
{
	const u8 *s = w->table + w->off;
	unsigned highest = s[4]; // number of the last bit that means anything

	// Two structures: only what both promise holds.
	if (out->has_capabilities)
		note(out, w->off, "second capabilities structure", 0);
	else
		out->capabilities = ~0u;
	out->has_capabilities = true;
	out->capabilities &= nfit_u32(s + 8);
	if (highest < 31)
		out->capabilities &= (u32)(BIT(highest + 1) - 1);
}

// Counts structures, takes the capabilities and notes what is odd but harmless.
static void survey(const struct walk *start, struct nfit *out)
{
	struct walk w = *start;

	while (walk_next(&w)) {
		const u8 *s = w.table + w.off;

		if (w.type >= NFIT_TYPES) {
			out->unknown++;
			note(out, w.off, "structure of unknown type skipped", w.type);
			continue;
		}
		out->count[w.type]++;
		if (w.type == NFIT_CAPABILITIES)
			capabilities_take(&w, out);
		if (w.type == NFIT_MAPPING && nfit_u16(s + 12) != 0 &&
		    !spa_known(*start, nfit_u16(s + 12)))
			note(out, w.off, "mapping of a range that is not there", nfit_u16(s + 12));
	}
}

int nfit_decode(const void *buf, size_t bytes, unsigned phys_bits, struct nfit *out)
{
	struct walk start, w;
	u32 end = 0;
	int err;

	*out = (struct nfit){ 0 };
	err = table_check(buf, bytes, &end, out);
	if (err)
		return err;
	start = walk_start(buf, end);
	if (((const u8 *)buf)[8] != 1)
		note(out, 8, "table revision is not 1", ((const u8 *)buf)[8]);
	survey(&start, out);
	for (w = start; walk_next(&w);) {
		struct spa r;

		if (w.type != NFIT_SPA)
			continue;
		r = spa_read(&w);
		if (r.is_pm)
			region_decode(&start, &r, phys_bits, out);
		else
			note(out, w.off, "range of another kind than persistent memory", r.index);
	}
	return 0;
}
