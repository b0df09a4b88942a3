// SPDX-License-Identifier: MIT
//
// What the words of a machine check mean (kernel/lib/mca.c), and that this CPU is ready for one.
#include "kernel/ktest.h"
#include "kernel/lib/mca.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/msr.h"

#define HERE      (MCG_STATUS_MCIP | MCG_STATUS_RIPV | MCG_STATUS_EIPV)
#define ELSEWHERE (MCG_STATUS_MCIP | MCG_STATUS_RIPV)
#define SIGNALLED (MCI_VAL | MCI_UC | MCI_EN | MCI_S)
#define SRAR      (SIGNALLED | MCI_AR | MCI_MISCV | MCI_ADDRV | MCA_DATA_LOAD)

static enum mca_grade grade(u64 status, u64 mcg, bool ser, bool user)
{
	struct mca_context c = { .mcg = mcg, .ser = ser, .user = user };
	struct mca_error e = { .status = status };
	const char *why;

	return mca_grade(&e, &c, &why);
}

KTEST(mca_grades)
{
	static const struct {
		u64 status, mcg;
		enum mca_grade recovery, none; // with software error recovery, and without
	} row[] = {
		{ 0, HERE, MCA_NONE, MCA_NONE },
		{ SRAR & ~MCI_VAL, HERE, MCA_NONE, MCA_NONE },
		{ MCI_VAL | MCI_EN | 0x90, ELSEWHERE, MCA_CORRECTED, MCA_CORRECTED },
		{ SRAR, HERE, MCA_ACTION, MCA_FATAL },
		{ SRAR, MCG_STATUS_MCIP | MCG_STATUS_EIPV, MCA_ACTION, MCA_FATAL },
		{ SRAR, ELSEWHERE, MCA_OTHER, MCA_FATAL },
		{ SRAR, MCG_STATUS_MCIP, MCA_ACTION, MCA_FATAL }, // nobody can go on
		{ SRAR | MCI_OVER, HERE, MCA_FATAL, MCA_FATAL },
		{ SRAR | MCI_PCC, HERE, MCA_FATAL, MCA_FATAL },
		{ SIGNALLED | MCI_AR | 0x136, HERE, MCA_FATAL, MCA_FATAL }, // eviction: unknown
		{ SIGNALLED | 0xc0, ELSEWHERE, MCA_OPTIONAL, MCA_FATAL },
		{ MCI_VAL | MCI_UC | 0x90, ELSEWHERE, MCA_OPTIONAL, MCA_OPTIONAL },
		{ SRAR & ~MCI_EN, HERE, MCA_OPTIONAL, MCA_OPTIONAL },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		EXPECT_EQ(grade(row[i].status, row[i].mcg, true, true), row[i].recovery);
		EXPECT_EQ(grade(row[i].status, row[i].mcg, false, true), row[i].none);
	}
}

// CPUs do not set EIPV for a fetch. In user mode it counts as the interrupted code's; the kernel
// fetches nothing from memory that may fail, so there it is that of the sibling in the same core.
// It was taken for the kernel's own once, and would have been a panic.
KTEST(mca_fetch)
{
	const u64 fetch = (SRAR & ~0xffffull) | MCA_FETCH;

	EXPECT_EQ(grade(fetch, ELSEWHERE, true, true), MCA_ACTION);
	EXPECT_EQ(grade(fetch, ELSEWHERE, true, false), MCA_OTHER);
	EXPECT_EQ(grade(fetch, HERE, true, true), MCA_ACTION);
	EXPECT_EQ(grade(fetch, ELSEWHERE, false, true), MCA_FATAL);
}

KTEST(mca_address)
{
	struct mca_error e = { .status = SRAR, .addr = 0xfff0000123456789ull, .misc = 0x86 };
	u64 pa = 0;

	EXPECT(mca_address(&e, 46, &pa)); // to a line, and no bit that the CPU does not have
	EXPECT_EQ(pa, 0x123456780ull);
	e.misc = 0x8c; // to a page
	EXPECT(mca_address(&e, 46, &pa));
	EXPECT_EQ(pa, 0x123456000ull);
	e.misc = 0x8d; // coarser: which block has failed?
	EXPECT(!mca_address(&e, 46, &pa));
	e.misc = 0x46; // a linear address
	EXPECT(!mca_address(&e, 46, &pa));
	e.misc = 0x86;
	e.status = SRAR & ~MCI_ADDRV;
	EXPECT(!mca_address(&e, 46, &pa));
	e.status = SRAR & ~MCI_MISCV;
	EXPECT(!mca_address(&e, 46, &pa));
}

KTEST(mce_is_on)
{
	if (!cpu_features.mca)
		return;
	EXPECT(asm_read_cr4() & CR4_MCE);
	EXPECT(!(asm_rdmsr(MSR_MCG_STATUS) & MCG_STATUS_MCIP));
	if (asm_rdmsr(MSR_MCG_CAP) & MCG_CAP_BANKS)
		EXPECT_EQ(asm_rdmsr(MSR_MC_CTL(0)), ~0ull);
}
