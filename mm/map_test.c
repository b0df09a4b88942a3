// SPDX-License-Identifier: MIT
//
// Mapping where the last mapping was (mm/map.c): the vacant record, the remembered place of the
// entry, and the light calls that live on both. Shootdown on several CPUs: mm/ptbatch_test.c.
#include "kernel/lib/errno.h"
#include "mm/aspace_internal.h"
#include "mm/layout.h"
#include "mm/stat.h"
#include "mm/test_util.h"

#define RW     (PROT_READ | PROT_WRITE)
#define ATTACH (MAP_SHARED | MAP_DAXVM)

struct setup {
	struct aspace *as;
	struct test_file *f, *g;
};

static bool begin(struct setup *s, u64 bytes)
{
	s->as = test_enter();
	s->f = test_file_create(bytes);
	s->g = test_file_create(bytes);
	return s->as && s->f && s->g && test_file_fill(s->f, 0, bytes) &&
	       test_file_fill(s->g, PAGE_SIZE, PAGE_SIZE);
}

static void end_file(struct test_file *f)
{
	if (!f)
		return;
	EXPECT_EQ(f->refs, 0);
	EXPECT(list_empty(&f->object.vmas));
	test_file_destroy(f);
}

static void end(struct setup *s)
{
	if (s->as) {
		EXPECT(vma_tree_verify(&s->as->vmas));
		test_leave(s->as);
	}
	end_file(s->f);
	end_file(s->g);
}

static u64 map(struct setup *s, struct test_file *f, u64 len)
{
	return test_map_file(s->as, &f->object, 0, len, PROT_READ, ATTACH);
}

static bool unmap(struct setup *s, u64 at, u64 len)
{
	return aspace_unmap(s->as, UVA(at), len) == 0 && test_peek(at) == ~0ull;
}

// Another file, another length: what is seen is its own, and its size.
KTEST_NOMEM(map_where_the_last_was)
{
	struct setup s = { 0 };
	u64 at, attached;

	if (!begin(&s, KIB(64)) || !(at = map(&s, s.f, KIB(64))))
		goto out;
	EXPECT_EQ(test_peek(at), test_file_word(0));
	EXPECT(unmap(&s, at, KIB(64)));
	attached = mm_stat_read(MM_STAT_attach_pte_page);
	EXPECT_EQ(map(&s, s.g, KIB(40)), at);
	EXPECT_EQ(mm_stat_read(MM_STAT_attach_pte_page), attached + 1);
	EXPECT_EQ(s.as->mapped_bytes, KIB(40));
	EXPECT_EQ(test_peek(at + PAGE_SIZE), test_file_word(1));
	EXPECT_EQ(test_peek(at), 0); // a hole
	EXPECT(unmap(&s, at, KIB(40)));
	// That one was split for its hole, and is whole again.
	EXPECT_EQ(map(&s, s.f, KIB(64)), at);
	EXPECT_EQ(test_peek(at), test_file_word(0));
	// In use, it is nobody else's.
	EXPECT(map(&s, s.g, KIB(64)) != at);
	EXPECT_EQ(aspace_unmap(s.as, UVA(at), KIB(16)), 0);
	EXPECT_EQ(test_peek(at), ~0ull);
	EXPECT_EQ(test_peek(at + KIB(16)), test_file_word(4));
out:
	end(&s);
}

// Private tables that a mapping of 1 GiB has left for its stores are not taken for nothing.
KTEST(map_where_tables_were_left)
{
	struct setup s = { 0 };
	u64 at;

	if (!begin(&s, MIB(4)))
		goto out;
	at = test_map_file(s.as, &s.f->object, 0, MIB(4), RW, ATTACH);
	if (at && test_poke(at + MIB(2), 4711)) {
		EXPECT(unmap(&s, at, MIB(4)));
		at = map(&s, s.f, MIB(4));
		if (at) {
			EXPECT_EQ(test_peek(at + MIB(2)), 4711);
			EXPECT_EQ(test_peek(at), test_file_word(0));
			EXPECT(unmap(&s, at, MIB(4)));
		}
	}
out:
	end(&s);
}

// A place that was left is free for all kinds of mappings, also for those that know it.
KTEST_NOMEM(map_fixed_where_the_last_was)
{
	struct setup s = { 0 };
	struct map_request req = { .len = KIB(8),
				   .prot = RW,
				   .may_prot = RW,
				   .flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE };
	uva_t out;
	u64 at;

	if (!begin(&s, KIB(64)) || !(at = map(&s, s.f, KIB(64))))
		goto out;
	EXPECT(unmap(&s, at, KIB(64)));
	req.addr = UVA(at + KIB(4));
	if (aspace_map(s.as, &req, &out) == 0) {
		EXPECT_EQ(out.va, at + KIB(4));
		EXPECT(vma_tree_verify(&s.as->vmas));
		EXPECT_EQ(aspace_map(s.as, &req, &out), -EEXIST);
		EXPECT(map(&s, s.f, KIB(64)) != at);
	}
out:
	end(&s);
}

KTEST(map_light_is_the_same)
{
	struct setup s = { 0 };
	u64 at;

	if (!EXPECT(begin(&s, KIB(64))) || !EXPECT((at = map(&s, s.f, KIB(64)))))
		goto out;
	s.f->held = true;
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(test_peek(at), test_file_word(0));
		EXPECT_EQ(s.f->refs, 1);
		EXPECT(!test_unmap_light(s.as, at, KIB(60)));
		EXPECT(!test_unmap_light(s.as, at + PAGE_SIZE, KIB(60)));
		EXPECT(test_unmap_light(s.as, at, KIB(64) - 1)); // to whole pages
		EXPECT_EQ(test_peek(at), ~0ull);
		EXPECT_EQ(s.f->refs, 0);
		EXPECT_EQ(s.as->mapped_bytes, 0);
		EXPECT(!test_unmap_light(s.as, at, KIB(64)));
		EXPECT_EQ(test_map_light(s.as, &s.f->object, KIB(64)), at);
		EXPECT_EQ(test_map_light(s.as, &s.f->object, KIB(64)), 0);
		EXPECT_EQ(s.as->mapped_bytes, KIB(64));
		EXPECT(!test_poke(at, 1));
	}
	// Not twice in the file's list, nor forgotten there: a revoke finds it.
	EXPECT_EQ(test_peek(at + KIB(8)), test_file_word(2));
	EXPECT(test_file_resize(s.f, KIB(4)));
	EXPECT_EQ(test_peek(at + KIB(8)), ~0ull);
out:
	end(&s);
}

// What cannot be done without sleep, and with one lock, is left to the usual way.
KTEST(map_light_gives_way)
{
	struct setup s = { 0 };
	u64 at;

	if (!EXPECT(begin(&s, KIB(64))) || !EXPECT((at = map(&s, s.f, KIB(64)))))
		goto out;
	// The last reference is let go by the usual way, which finds the rest done.
	s.f->held = false;
	EXPECT(!test_unmap_light(s.as, at, KIB(64)));
	EXPECT_EQ(s.f->refs, 0);
	EXPECT_EQ(test_peek(at), ~0ull);
	EXPECT(!rwlock_is_mine(&s.as->lock));
	// The file is being changed, or its root is not known.
	rwlock_write_lock(&s.f->object.map_lock);
	EXPECT_EQ(test_map_light(s.as, &s.f->object, KIB(64)), 0);
	rwlock_write_unlock(&s.f->object.map_lock);
	EXPECT(test_file_resize(s.f, KIB(60)));
	EXPECT_EQ(test_map_light(s.as, &s.f->object, KIB(64)), 0);
	EXPECT_EQ(map(&s, s.f, KIB(64)), at);
	EXPECT(unmap(&s, at, KIB(64)));
	// Somebody else changes the space, or its sum is limited.
	rwlock_read_lock(&s.as->lock);
	EXPECT_EQ(test_map_light(s.as, &s.f->object, KIB(64)), 0);
	rwlock_read_unlock(&s.as->lock);
	s.as->limit_bytes = KIB(4);
	EXPECT_EQ(test_map_light(s.as, &s.f->object, KIB(64)), 0);
	EXPECT_EQ(map(&s, s.f, KIB(64)), 0);
	s.as->limit_bytes = ~0ull;
	EXPECT_EQ(test_map_light(s.as, &s.f->object, KIB(64)), at);
out:
	end(&s);
}
