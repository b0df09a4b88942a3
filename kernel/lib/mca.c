// SPDX-License-Identifier: MIT
//
// What: grading of machine-check errors. The order of the questions is the SDM's (3B, 16.10.4, the
// example of a handler, and tables 16-6 to 16-9).
//
// Without software error recovery every error that was not corrected ends the machine: nothing then
// tells whether the damage has spread.
#include "kernel/lib/mca.h"

#define MISC_LSB     0x3full // lowest bit of the address that is right
#define MISC_MODE    (7ull << 6)
#define MISC_PHYS    (2ull << 6)
#define LSB_PAGE_MAX 12u

static enum mca_grade fatal(const char **why, const char *text)
{
	*why = text;
	return MCA_FATAL;
}

static enum mca_grade grade_action(const struct mca_error *e, const struct mca_context *c,
				   const char **why)
{
	u32 code = MCI_CODE(e->status);
	bool fetched = code == MCA_FETCH && c->user; // CPUs do not set EIPV for it

	if (!(c->mcg & MCG_STATUS_EIPV) && (c->mcg & MCG_STATUS_RIPV) && !fetched)
		return MCA_OTHER;
	if (e->status & MCI_OVER)
		return fatal(why, "an uncorrected error hides another one");
	if (code != MCA_DATA_LOAD && code != MCA_FETCH)
		return fatal(why,
			     "an uncorrected error of a kind that nothing is known to be done for");
	return MCA_ACTION;
}

enum mca_grade mca_grade(const struct mca_error *e, const struct mca_context *c, const char **why)
{
	u64 s = e->status;

	*why = "";
	if (!(s & MCI_VAL))
		return MCA_NONE;
	if (!(s & MCI_UC))
		return MCA_CORRECTED;
	if (s & MCI_PCC)
		return fatal(why, "an uncorrected error has damaged the CPU's state");
	if (!c->ser)
		return (s & MCI_EN) ? fatal(why, "an uncorrected error, and a CPU without recovery")
				    : MCA_OPTIONAL;
	if (!(s & MCI_S)) // not signalled: found, and left where it was
		return MCA_OPTIONAL;
	if (!(s & MCI_EN))
		return MCA_OPTIONAL;
	return (s & MCI_AR) ? grade_action(e, c, why) : MCA_OPTIONAL;
}

bool mca_address(const struct mca_error *e, unsigned phys_bits, u64 *pa)
{
	const u64 wanted = MCI_VAL | MCI_ADDRV | MCI_MISCV;
	unsigned lsb = (unsigned)(e->misc & MISC_LSB);

	if ((e->status & wanted) != wanted || (e->misc & MISC_MODE) != MISC_PHYS ||
	    lsb > LSB_PAGE_MAX)
		return false;
	*pa = e->addr & (BIT(phys_bits) - 1) & ~(BIT(lsb) - 1);
	return true;
}

// Compound codes: SDM 3B, 16.9.2. The general forms come after the two exact ones.
const char *mca_text(u64 status)
{
	u32 code = MCI_CODE(status);

	if (code == MCA_DATA_LOAD)
		return "data load";
	if (code == MCA_FETCH)
		return "instruction fetch";
	if ((code & 0xff80) == 0x0080)
		return (code & 0x70) == 0x40 ? "memory scrubbing" : "memory controller";
	if ((code & 0xef00) == 0x0100)
		return (code & 0xf0) == 0x70 ? "cache write-back" : "cache";
	if ((code & 0xfff0) == 0x0010)
		return "TLB";
	if ((code & 0xe800) == 0x0800)
		return "bus";
	return "internal";
}
