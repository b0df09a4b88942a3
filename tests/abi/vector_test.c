// SPDX-License-Identifier: MIT
//
// AVX registers are a thread's own: over calls, switches, fork and signal handlers, and through the
// frame of a handler, which may look at them, change them, and lie about them. (They were not kept
// at first: programs that store with AVX ended with SIGILL.)
#define _GNU_SOURCE
#include <cpuid.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "tests/abi/tap.h"

#define REGISTERS 16
#define WORDS     4 // of 64 bits, in each

// Places in the state that XSAVE writes (SDM 1, 13.4) and that Linux puts into the frame.
#define STATE_XMM     160
#define STATE_MARK    464
#define STATE_IN_USE  512
#define STATE_COMPACT 520
#define STATE_YMM     576
#define STATE_BYTES   832
#define MAGIC1        0x46505853u
#define MAGIC2        0x46505845u
#define AVX_IN_USE    4u

typedef uint64_t vectors[REGISTERS][WORDS];

#define LOAD(n)  "vmovdqu " #n "*32(%[in]), %%ymm" #n "\n\t"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%[out])\n\t"
#define LOW(x)   x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7)
#define ALL(x)   LOW(x) x(8) x(9) x(10) x(11) x(12) x(13) x(14) x(15)
#define CLOBBERS                                                                                   \
	"rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",    \
		"xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

// A system call with `in` in all registers; `out` is what they are afterwards.
static long call_with(const vectors *in, vectors *out, long number, long arg0, long arg1)
{
	long ret;

	__asm__ volatile(ALL(LOAD) "syscall\n\t" ALL(STORE) "vzeroupper"
			 : "=a"(ret)
			 : "a"(number), "D"(arg0), "S"(arg1), [in] "r"(in), [out] "r"(out)
			 : CLOBBERS);
	return ret;
}

// The same without a call, for a while.
static void spin_with(const vectors *in, vectors *out, long times)
{
	__asm__ volatile(ALL(LOAD) "1: pause\n\tdec %[times]\n\tjnz 1b\n\t" ALL(STORE) "vzeroupper"
			 : [times] "+r"(times)
			 : [in] "r"(in), [out] "r"(out)
			 : CLOBBERS);
}

static void fill(vectors *v, uint64_t seed)
{
	for (int i = 0; i < REGISTERS * WORDS; i++)
		(*v)[i / WORDS][i % WORDS] = (seed + (uint64_t)i) * 0x9e3779b97f4a7c15u;
}

static bool same(const vectors *a, const vectors *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

// ---- Calls, switches, fork ----------------------------------------------------------------------

static int keeps_over_switches(void)
{
	vectors mine, got;

	fill(&mine, (uint64_t)getpid());
	for (int i = 0; i < 200; i++) {
		call_with(&mine, &got, SYS_sched_yield, 0, 0);
		if (!same(&mine, &got))
			return 1;
		spin_with(&mine, &got, 20000);
		if (!same(&mine, &got))
			return 2;
	}
	return 0;
}

// Several that share one CPU, each with registers of its own.
static void test_switches(void)
{
	cpu_set_t all, one;
	pid_t pids[4];
	int status, bad = 0;

	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	for (int i = 0; !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	sched_setaffinity(0, sizeof(one), &one);
	fflush(stdout);
	for (int i = 0; i < 4; i++)
		if ((pids[i] = fork()) == 0)
			_exit(keeps_over_switches());
	for (int i = 0; i < 4; i++)
		bad += waitpid(pids[i], &status, 0) != pids[i] || status != 0;
	sched_setaffinity(0, sizeof(all), &all);
	is(bad, 0, "AVX registers are kept over calls and switches");
}

static void test_fork(void)
{
	vectors mine, got;
	int status = -1;
	long pid;

	fill(&mine, 1);
	fflush(stdout);
	pid = call_with(&mine, &got, SYS_fork, 0, 0);
	if (pid == 0)
		_exit(same(&mine, &got) ? 0 : 1);
	ok(same(&mine, &got), "... and over fork, in the parent");
	ok(waitpid((pid_t)pid, &status, 0) == pid && status == 0, "... and in the child");
}

// ---- Signal handlers ----------------------------------------------------------------------------

static volatile bool handler_began_clean, frame_has_ymm;
static vectors sent;
static void (*change)(ucontext_t *uc, unsigned char *state);

static uint64_t word_at(const unsigned char *state, int at)
{
	uint64_t v;

	memcpy(&v, state + at, sizeof(v));
	return v;
}

static void set_word(unsigned char *state, int at, uint64_t v)
{
	memcpy(state + at, &v, sizeof(v));
}

static bool frame_shows(const unsigned char *state)
{
	uint32_t magic1, magic2;

	memcpy(&magic1, state + STATE_MARK, sizeof(magic1));
	memcpy(&magic2, state + STATE_BYTES, sizeof(magic2));
	// A CPU with more than AVX has more behind it: then the second mark is further back.
	if (magic1 != MAGIC1 || !(word_at(state, STATE_IN_USE) & AVX_IN_USE))
		return false;
	if (word_at(state, STATE_MARK + 16) == STATE_BYTES && magic2 != MAGIC2)
		return false;
	for (int i = 0; i < REGISTERS; i++)
		if (memcmp(state + STATE_XMM + 16 * i, &sent[i][0], 16) ||
		    memcmp(state + STATE_YMM + 16 * i, &sent[i][2], 16))
			return false;
	return true;
}

static void handler(int sig, siginfo_t *info, void *context)
{
	static const vectors other = { { 0x5555 } };
	ucontext_t *uc = context;
	unsigned char *state = (unsigned char *)uc->uc_mcontext.fpregs;
	uint64_t first[WORDS];
	vectors out;

	__asm__ volatile("vmovdqu %%ymm15, %0" : "=m"(first));
	(void)sig, (void)info;
	handler_began_clean = !(first[0] | first[1] | first[2] | first[3]);
	frame_has_ymm = (uc->uc_flags & 1) && frame_shows(state);
	if (change)
		change(uc, state);
	spin_with(&other, &out, 1);
}

// What the registers are after a handler that changed the frame by `fn`.
static void signal_with(void (*fn)(ucontext_t *, unsigned char *), vectors *got)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO };

	change = fn;
	sigaction(SIGUSR1, &sa, NULL);
	fill(&sent, 7);
	memset(got, 0xff, sizeof(*got));
	call_with(&sent, got, SYS_kill, getpid(), SIGUSR1);
}

static void change_register(ucontext_t *uc, unsigned char *state)
{
	(void)uc;
	set_word(state, STATE_YMM + 16 * 3, 0x1234);
}

static void drop_mark(ucontext_t *uc, unsigned char *state)
{
	(void)uc;
	memset(state + STATE_MARK, 0, 4);
}

static void drop_state(ucontext_t *uc, unsigned char *state)
{
	(void)state;
	uc->uc_mcontext.fpregs = NULL;
}

static void use_unknown(ucontext_t *uc, unsigned char *state)
{
	(void)uc;
	set_word(state, STATE_IN_USE, ~(uint64_t)0);
}

static void use_compact(ucontext_t *uc, unsigned char *state)
{
	(void)uc;
	set_word(state, STATE_COMPACT, 1);
}

static void set_mxcsr(ucontext_t *uc, unsigned char *state)
{
	(void)uc;
	memset(state + 24, 0xff, 4);
}

static void lie_about_place(ucontext_t *uc, unsigned char *state)
{
	(void)state;
	uc->uc_mcontext.fpregs = (void *)(uintptr_t)0xffffffff80000000u;
}

static void test_handlers(void)
{
	vectors got, wanted;

	signal_with(NULL, &got);
	ok(same(&got, &sent), "a handler's end brings AVX registers back");
	ok(handler_began_clean, "... it began with clean ones");
	ok(frame_has_ymm, "... and its frame shows those of what it interrupted");

	signal_with(change_register, &got);
	memcpy(&wanted, &sent, sizeof(wanted));
	wanted[3][2] = 0x1234;
	ok(same(&got, &wanted), "what it changes in the frame is changed");

	signal_with(drop_mark, &got);
	for (int i = 0; i < REGISTERS; i++)
		wanted[i][0] = sent[i][0], wanted[i][1] = sent[i][1],
		wanted[i][2] = wanted[i][3] = 0;
	ok(same(&got, &wanted), "a frame without the mark has SSE registers only");

	signal_with(drop_state, &got);
	memset(&wanted, 0, sizeof(wanted));
	ok(same(&got, &wanted), "without any it leaves clean registers");
}

static void (*hostile)(ucontext_t *, unsigned char *);

static int returns_hostile_frame(void)
{
	vectors got;

	signal_with(hostile, &got);
	return 0;
}

static void test_hostile_frames(void)
{
	static const struct {
		void (*fn)(ucontext_t *, unsigned char *);
		const char *name;
	} cases[] = {
		{ use_unknown, "a frame with unknown components is SIGSEGV" },
		{ use_compact, "... of another form" },
		{ set_mxcsr, "... with bits in MXCSR that there are not" },
		{ lie_about_place, "... or that says it lies in the kernel" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		hostile = cases[i].fn;
		is(in_child(returns_hostile_frame), SIGSEGV, cases[i].name);
	}
}

static bool has_avx(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE) && (c & bit_AVX);
}

int main(void)
{
	if (!has_avx()) {
		ok(true, "this CPU has no AVX # SKIP");
		return tap_done();
	}
	test_switches();
	test_fork();
	test_handlers();
	test_hostile_frames();
	return tap_done();
}
