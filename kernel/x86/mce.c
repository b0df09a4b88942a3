// SPDX-License-Identifier: MIT
//
// What: machine checks: the banks of each CPU, the handler, and the records that it leaves.
// Not here: what the words mean (kernel/lib/mca.c), what failed memory means for files
// (drivers/nvdimm/poison.c).
//
//	interrupted        action required at                 then
//	user mode          memory that somebody owns          the owner detaches it; try again
//	kernel, copying    the same                           the copy ends short
//	kernel, elsewhere  the same, and the owner can        go on
//	                   put something in its place
//	anything else      -                                  panic, with the reason
//
// Invariants
//   I1  in a machine check that interrupted the kernel no lock is taken and nothing is logged,
//       unless it is a panic: the interrupted code may hold any lock.
//   I2  MCIP is cleared last, when the banks have been read: another machine check before that
//       shuts the CPU down, but after it the banks may change.
//   I3  a bank is cleared by the CPU that deals with it: what is another CPU's stays (banks may be
//       shared, and machine checks go to all CPUs of a package). A fatal error stays as well, for
//       the firmware to find after the reset.
//
// Locking: none; a record changes hands by its state.
#include "kernel/x86/mce.h"

#include "kernel/panic.h"
#include "kernel/x86/asm.h"
#include "kernel/x86/cpu.h"
#include "kernel/x86/msr.h"
#include "kernel/x86/time.h"
#include "kernel/x86/trap.h"

#define RECORDS    32u
#define BANKS_MAX  32u // IA32_MC32 and on would lie among the registers of other things
#define POLL_TICKS TICK_HZ

static struct {
	enum { FREE, FILLING, FULL, EMPTYING } state; // [atomic]
	struct mce_record r;
} records[RECORDS];
static u32 waiting; // records FULL, or about to be [atomic]
static u32 lost;    // [atomic]

static const struct mce_owner *owner; // set once at boot
static unsigned ticks[CPU_MAX];       // since the last poll, each CPU's own

// The worst that a CPU found.
struct finding {
	struct mce_record worst;
	const char *why;
	struct mca_context context;
};

static unsigned bank_count(u64 cap)
{
	return min((unsigned)(cap & MCG_CAP_BANKS), BANKS_MAX);
}

static void keep(const struct mce_record *r)
{
	for (unsigned i = 0; i < RECORDS; i++) {
		u32 was = FREE;

		if (!__atomic_compare_exchange_n((u32 *)&records[i].state, &was, FILLING, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		records[i].r = *r;
		__atomic_fetch_add(&waiting, 1, __ATOMIC_RELAXED);
		__atomic_store_n((u32 *)&records[i].state, FULL, __ATOMIC_RELEASE);
		return;
	}
	__atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
}

bool mce_take(struct mce_record *out)
{
	for (unsigned i = 0; i < RECORDS && READ_ONCE(waiting); i++) {
		u32 was = FULL;

		if (!__atomic_compare_exchange_n((u32 *)&records[i].state, &was, EMPTYING, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		*out = records[i].r;
		__atomic_fetch_sub(&waiting, 1, __ATOMIC_RELAXED);
		__atomic_store_n((u32 *)&records[i].state, FREE, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

u32 mce_lost(void)
{
	return READ_ONCE(lost);
}

static struct mca_error bank_read(unsigned bank)
{
	struct mca_error e = { .status = asm_rdmsr(MSR_MC_STATUS(bank)) };

	// Only where the status says that they are there: reading them otherwise may fault.
	if ((e.status & MCI_VAL) && (e.status & MCI_ADDRV))
		e.addr = asm_rdmsr(MSR_MC_ADDR(bank));
	if ((e.status & MCI_VAL) && (e.status & MCI_MISCV))
		e.misc = asm_rdmsr(MSR_MC_MISC(bank));
	return e;
}

// Action can be taken for memory that somebody owns, and knows where it is. Each such error in the
// banks is looked at, not only the worst of them: what is cleared is forgotten.
static void grade(struct mce_record *r, const struct mca_context *c, const char **why)
{
	r->grade = mca_grade(&r->error, c, why);
	r->located = mca_address(&r->error, cpu_features.phys_bits, &r->pa);
	if (r->grade != MCA_ACTION)
		return;
	if (!r->located)
		*why = "an uncorrected error without a valid address";
	else if (!owner || !owner->owns(r->pa))
		*why = "an uncorrected error in memory that is not persistent memory";
	else
		return;
	r->grade = MCA_FATAL;
}

// `polling`: only what needs no action is taken.
static void scan(struct finding *f, u64 mcg, bool user, bool polling)
{
	u64 cap = asm_rdmsr(MSR_MCG_CAP);

	*f = (struct finding){ .why = "",
			       .context = { .mcg = mcg, .ser = cap & MCG_CAP_SER, .user = user } };
	for (unsigned b = 0; b < bank_count(cap); b++) {
		struct mce_record r = { .error = bank_read(b),
					.cpu = this_cpu()->index,
					.bank = b };
		const char *why;

		grade(&r, &f->context, &why);
		if (r.grade == MCA_NONE || (polling && r.grade > MCA_OPTIONAL))
			continue;
		if (r.grade > f->worst.grade) {
			f->worst = r;
			f->why = why;
		}
		if (r.grade == MCA_OTHER || r.grade == MCA_FATAL)
			continue; // I3
		keep(&r);
		asm_wrmsr(MSR_MC_STATUS(b), 0);
	}
}

static void give_up(const struct trapframe *tf, const struct finding *f, const char *why)
{
	const struct mce_record *r = &f->worst;

	panic_trap(
		tf,
		"machine check: %s (%s, bank %u, status %#lx, address %#lx, misc %#lx, MCG %#lx)",
		why, mca_text(r->error.status), r->bank, r->error.status, r->error.addr,
		r->error.misc, f->context.mcg);
}

// What neither mode survives.
static void check_survivable(const struct trapframe *tf, const struct finding *f)
{
	const struct mce_record *r = &f->worst;

	if (r->grade == MCA_FATAL)
		give_up(tf, f, f->why);
	if (r->grade != MCA_ACTION && !(f->context.mcg & MCG_STATUS_RIPV))
		give_up(tf, f, "the interrupted code cannot go on, and no bank says why");
}

void mce_in_kernel(struct trapframe *tf)
{
	struct finding f;
	bool copying;

	scan(&f, asm_rdmsr(MSR_MCG_STATUS), false, false);
	check_survivable(tf, &f);
	if (f.worst.grade == MCA_ACTION) {
		if (!(f.context.mcg & MCG_STATUS_RIPV))
			give_up(tf, &f,
				"the kernel cannot go on where it met an uncorrected error");
		copying = trap_fixup_memory(tf);
		if (!owner->in_kernel(f.worst.pa, copying) && !copying)
			give_up(tf, &f, "an uncorrected error met by the kernel itself");
	}
	asm_wrmsr(MSR_MCG_STATUS, 0);
}

void mce_from_user(struct trapframe *tf)
{
	struct finding f;

	scan(&f, asm_rdmsr(MSR_MCG_STATUS), true, false);
	check_survivable(tf, &f);
	asm_wrmsr(MSR_MCG_STATUS, 0); // I2
	asm_sti();
	if (f.worst.grade == MCA_ACTION)
		owner->in_user(tf, f.worst.pa, f.context.mcg & MCG_STATUS_RIPV);
	else if (owner && f.worst.grade != MCA_NONE)
		owner->wake();
}

void mce_poll(void)
{
	struct finding f;
	u64 irq = asm_irq_save();

	if (cpu_features.mca)
		scan(&f, MCG_STATUS_RIPV, false, true);
	asm_irq_restore(irq);
}

void mce_tick(void)
{
	if (++ticks[this_cpu()->index] >= POLL_TICKS) {
		ticks[this_cpu()->index] = 0;
		mce_poll();
	}
	if (unlikely(READ_ONCE(waiting)) && owner)
		owner->wake();
}

void mce_set_owner(const struct mce_owner *o)
{
	owner = o;
}

// SDM 3B, 16.8: everything on, old errors out, then CR4.MCE.
void mce_init_cpu(void)
{
	u64 cap;

	if (!cpu_features.mca)
		return;
	cap = asm_rdmsr(MSR_MCG_CAP);
	if (cap & MCG_CAP_CTL)
		asm_wrmsr(MSR_MCG_CTL, ~0ull);
	mce_poll();
	for (unsigned b = 0; b < bank_count(cap); b++) {
		asm_wrmsr(MSR_MC_CTL(b), ~0ull);
		asm_wrmsr(MSR_MC_STATUS(b), 0);
	}
	asm_wrmsr(MSR_MCG_STATUS, 0);
}
