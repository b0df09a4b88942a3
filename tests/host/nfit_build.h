// SPDX-License-Identifier: MIT
//
// Builds NFITs as firmware would, for the host test and the fuzzer; and says what must hold for
// whatever the decoder makes of any bytes at all.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/nvdimm/nfit.h"

#define BUILD_MAX      8192
#define TEST_PHYS_BITS 40u

struct build {
	u8 b[BUILD_MAX];
	size_t len;
};

#define GUID_PM                                                                                    \
	((const u8[16]){ 0x79, 0xd3, 0xf0, 0x66, 0xf3, 0xb4, 0x74, 0x40, 0xac, 0x43, 0x0d, 0x33,   \
			 0x18, 0xb7, 0x8c, 0xdb })
#define GUID_VOLATILE                                                                              \
	((const u8[16]){ 0x4f, 0x94, 0x05, 0x73, 0xda, 0xfd, 0xe3, 0x44, 0xb1, 0x6c, 0x3f, 0x22,   \
			 0xd2, 0x52, 0xe5, 0xd0 })
#define ATTR_NV_WB 0x8008ull

static inline void put(u8 *p, u64 v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (u8)(v >> (8 * i));
}

static inline void build_seal(struct build *t)
{
	u8 sum = 0;

	put(t->b + 4, t->len, 4);
	t->b[9] = 0;
	for (size_t i = 0; i < t->len; i++)
		sum += t->b[i];
	t->b[9] = (u8)-sum;
}

static inline void build_start(struct build *t)
{
	memset(t, 0, sizeof(*t));
	memcpy(t->b, "NFIT", 4);
	t->b[8] = 1;
	memcpy(t->b + 10, "BOCHS BXPC    ", 14);
	t->len = 40;
}

// Appends a zeroed structure with its header; returns where it begins.
static inline u8 *build_add(struct build *t, u16 type, u16 len)
{
	u8 *s = t->b + t->len;

	memset(s, 0, len);
	put(s, type, 2);
	put(s + 2, len, 2);
	t->len += len;
	return s;
}

static inline u8 *build_spa(struct build *t, u16 index, const u8 *guid, u64 base, u64 len)
{
	u8 *s = build_add(t, 0, 56);

	put(s + 4, index, 2);
	put(s + 6, 3, 2);
	memcpy(s + 16, guid, 16);
	put(s + 32, base, 8);
	put(s + 40, len, 8);
	put(s + 48, ATTR_NV_WB, 8);
	return s;
}

static inline u8 *build_map(struct build *t, u32 handle, u16 spa, u64 size, u16 ways, u16 flags)
{
	u8 *s = build_add(t, 1, 48);

	put(s + 4, handle, 4);
	put(s + 12, spa, 2);
	put(s + 14, spa + 1u, 2);
	put(s + 16, size, 8);
	put(s + 42, ways, 2);
	put(s + 44, flags, 2);
	return s;
}

static inline u8 *build_control(struct build *t, u16 index)
{
	u8 *s = build_add(t, 4, 80);

	put(s + 4, index, 2);
	put(s + 6, 0x8086, 2);
	put(s + 24, 0x123456, 4);
	put(s + 28, 0x0301, 2);
	return s;
}

static inline u8 *build_caps(struct build *t, u8 highest, u32 caps)
{
	u8 *s = build_add(t, 7, 16);

	s[4] = highest;
	put(s + 8, caps, 4);
	return s;
}

// The three structures that QEMU writes for a DIMM in `slot`.
static inline void build_dimm(struct build *t, u16 slot, u64 base, u64 len, u16 flags)
{
	u16 index = (u16)((slot + 1) * 2);

	build_spa(t, index, GUID_PM, base, len);
	build_map(t, slot + 1u, index, len, 1, flags);
	build_control(t, (u16)(index + 1));
}

// What holds for every table, however broken. Returns NULL, or the property that does not.
static inline const char *nfit_property_broken(int err, const struct nfit *n)
{
	if ((err != 0) != (n->error != NULL))
		return "error code and error text agree";
	if (err && n->nr_regions)
		return "a torn table names nothing";
	if (n->nr_regions > NFIT_REGIONS_MAX || n->nr_notes > NFIT_NOTES_MAX)
		return "counts stay within the arrays";
	for (unsigned i = 0; i < n->nr_regions; i++) {
		const struct nfit_region *r = &n->region[i];

		if ((r->use == NFIT_READY) != (r->reason == NULL))
			return "a reason exactly where it is not ready";
		if (i && n->region[i - 1].base.pa > r->base.pa)
			return "sorted by base";
		if (r->use == NFIT_REFUSED)
			continue;
		if (!r->len || (r->base.pa | r->len) % PAGE_SIZE)
			return "usable ranges are whole pages";
		if (r->base.pa + r->len < r->base.pa || r->base.pa + r->len > BIT(TEST_PHYS_BITS))
			return "usable ranges are addressable";
		if (r->use == NFIT_READY && (r->flags & 0x4f))
			return "no failure flag on a writable range";
		for (unsigned k = 0; k < i; k++)
			if (n->region[k].use != NFIT_REFUSED &&
			    n->region[k].base.pa + n->region[k].len > r->base.pa)
				return "usable ranges do not overlap";
	}
	return NULL;
}

// Decodes from a heap block of exactly the table's size, so that the address sanitizer sees a read
// of one byte too many, and ends the program if a property is broken.
static inline int nfit_decode_exact(const u8 *bytes, size_t len, struct nfit *out)
{
	u8 *exact = malloc(len ? len : 1);
	const char *broken;
	int err;

	if (!exact)
		abort();
	memcpy(exact, bytes, len);
	err = nfit_decode(exact, len, TEST_PHYS_BITS, out);
	free(exact);
	broken = nfit_property_broken(err, out);
	if (broken) {
		fprintf(stderr, "does not hold: %s\n", broken);
		abort();
	}
	return err;
}

static inline int build_decode(struct build *t, struct nfit *out)
{
	build_seal(t);
	return nfit_decode_exact(t->b, t->len, out);
}

// Two DIMMs as QEMU describes them, the second of odd size, and the capabilities.
static inline void build_two_dimms(struct build *t, u64 base0, u64 len0)
{
	build_start(t);
	build_dimm(t, 0, base0, len0, 0);
	build_dimm(t, 1, base0 + len0, MIB(3), 0);
	build_caps(t, 1, 3);
}
