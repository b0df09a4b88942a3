// SPDX-License-Identifier: MIT
//
// The memory map is made sorted and free of overlaps, and what two entries claim is RAM only if
// both say so. Works on the real `bootinfo` and puts it back.
#include "kernel/bootinfo_internal.h"
#include "kernel/ktest.h"
#include "kernel/lib/string.h"

static struct bootinfo saved;

static void begin(const char *cmdline)
{
	saved = bootinfo;
	memset(&bootinfo, 0, sizeof(bootinfo));
	bootinfo_set_cmdline(cmdline, 100);
}

static void end(void)
{
	bootinfo = saved;
}

static bool is(unsigned i, u64 base, u64 limit, u32 type)
{
	const struct boot_range *r = &bootinfo.range[i];

	return r->base.pa == base && r->base.pa + r->len == limit && r->type == type;
}

KTEST(bootinfo_sorts)
{
	begin("");
	bootinfo_add_range(0x5000, 0x1000, 2);
	bootinfo_add_range(0x1000, 0x1000, 1);
	bootinfo_add_range(0x3000, 0, 1);         // empty
	bootinfo_add_range(~0ull - 5, 0x1000, 1); // wraps
	bootinfo_normalise();
	EXPECT_EQ(bootinfo.nr_ranges, 2);
	EXPECT(is(0, 0x1000, 0x2000, 1) && is(1, 0x5000, 0x6000, 2));
	end();
}

KTEST(bootinfo_overlap_is_not_ram)
{
	begin("");
	bootinfo_add_range(0x1000, 0x9000, 1); // RAM with a hole that is something else
	bootinfo_add_range(0x3000, 0x1000, 2);
	bootinfo_add_range(0x8000, 0x4000, 20); // and another one over its end
	bootinfo_normalise();
	EXPECT_EQ(bootinfo.nr_ranges, 4);
	EXPECT(is(0, 0x1000, 0x3000, 1) && is(1, 0x3000, 0x4000, 2));
	EXPECT(is(2, 0x4000, 0x8000, 1) && is(3, 0x8000, 0xc000, 20));
	end();
}

KTEST(bootinfo_ram_under_reserved_vanishes)
{
	begin("");
	bootinfo_add_range(0x1000, 0x4000, 2);
	bootinfo_add_range(0x2000, 0x1000, 1);
	bootinfo_normalise();
	EXPECT_EQ(bootinfo.nr_ranges, 1);
	EXPECT(is(0, 0x1000, 0x5000, 2));
	end();
}

KTEST(bootparam_values)
{
	char buf[8];
	u64 v = 0;
	bool ok;

	begin("  one two=2M two=0x10 three= fourth=abcdefghijk onemore");
	ok = bootparam_present("one") && !bootparam_present("on") && !bootparam_present("four");
	ok = ok && bootparam_u64("two", &v) && v == 16; // the last one counts
	ok = ok && bootparam_nth("two", 0, buf, sizeof(buf)) && strcmp(buf, "2M") == 0;
	ok = ok && !bootparam_nth("two", 2, buf, sizeof(buf));
	ok = ok && bootparam_get("three", buf, sizeof(buf)) && buf[0] == '\0';
	ok = ok && bootparam_get("fourth", buf, sizeof(buf)) && strcmp(buf, "abcdefg") == 0;
	ok = ok && !bootparam_u64("fourth", &v);
	end();
	EXPECT(ok);
}
