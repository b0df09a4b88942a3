// SPDX-License-Identifier: MIT
//
// What: time from the TSC, calibrated once against the PIT, and wall time from the CMOS clock.
//
// Not here: who sleeps until when (kernel/sched), the LAPIC's registers and its tick (lapic.c).
//
// Invariants:
//   I1 time_now_ns() is the TSC since boot in nanoseconds: monotonic on a CPU. All TSCs start
//      together at reset (SDM 3B, 17.17.3), as the emulators' do; dax64 does not correct them.
//   I2 after time_init() everything here is constant.
#include "kernel/x86/time.h"

#include "kernel/console.h"
#include "kernel/x86/asm.h"

#define NS_PER_SEC 1000000000ull

// The PIT's channel 2, gated and read back through port 61h (Intel 8254 data sheet).
#define PIT_HZ           1193182u
#define PORT_PIT_CH2     0x42
#define PORT_PIT_COMMAND 0x43
#define PORT_GATE        0x61
#define PIT_CH2_ONESHOT  0xb0 // channel 2, low then high byte, mode 0
#define GATE_CH2         0x01
#define GATE_SPEAKER     0x02
#define GATE_CH2_OUT     0x20
#define PIT_CH2_LATCH    0x80 // keep the count of this moment for the next two reads
#define CALIBRATE_HZ     500  // 2 ms each time
#define CALIBRATE_TIMES  20
#define CALIBRATE_ENOUGH 500 // good enough: off by a part in 500 at most
#define CALIBRATE_SPINS  1000000

#define PORT_CMOS_INDEX 0x70
#define PORT_CMOS_DATA  0x71
enum {
	CMOS_SECOND = 0,
	CMOS_MINUTE = 2,
	CMOS_HOUR = 4,
	CMOS_DAY = 7,
	CMOS_MONTH = 8,
	CMOS_YEAR = 9,
	CMOS_STATUS_A = 10,
	CMOS_STATUS_B = 11
};

static u64 tsc_hz __read_mostly;        // 0 until calibrated
static u64 ns_per_tsc_32 __read_mostly; // nanoseconds per tick, 32 fraction bits
static u64 tsc_at_start __read_mostly;
static u64 wall_at_start_ns __read_mostly; // 1970-based

static u64 tsc_to_ns(u64 tsc)
{
	return (u64)(((unsigned __int128)tsc * ns_per_tsc_32) >> 32);
}

u64 time_now_ns(void)
{
	return tsc_hz ? tsc_to_ns(asm_rdtsc() - tsc_at_start) : 0;
}

u64 time_wall_ns(void)
{
	return wall_at_start_ns + time_now_ns();
}

u64 time_tsc_hz(void)
{
	return tsc_hz;
}

void udelay(u64 us)
{
	u64 start = asm_rdtsc(), ticks = us * tsc_hz / 1000000;

	while (asm_rdtsc() - start < ticks)
		asm_pause();
}

// A reading of the PIT's counter, and when it was taken: in the middle of `width` TSC ticks.
struct reading {
	unsigned count;
	u64 tsc, width;
};

static struct reading read_pit(void)
{
	u64 before = asm_rdtsc_ordered(), after;
	unsigned low;

	asm_outb(PORT_PIT_COMMAND, PIT_CH2_LATCH);
	after = asm_rdtsc_ordered();
	low = asm_inb(PORT_PIT_CH2);
	return (struct reading){ low | (unsigned)asm_inb(PORT_PIT_CH2) << 8,
				 before + (after - before) / 2, after - before };
}

// TSC ticks per second from two readings at least 1/CALIBRATE_HZ s apart, and how far it may be
// off. Whatever delays us between them (an emulator's host is busy) makes the distance longer, not
// the result wrong, unless the counter comes to its end: then it answers ~0. 0: the PIT does not
// count.
static u64 calibrate_once(u64 *error_hz)
{
	u8 gate = asm_inb(PORT_GATE) & (u8) ~(GATE_CH2 | GATE_SPEAKER);
	struct reading first, last;
	unsigned spins = 0, ticks;
	bool ended;

	asm_outb(PORT_GATE, gate);
	asm_outb(PORT_PIT_COMMAND, PIT_CH2_ONESHOT);
	asm_outb(PORT_PIT_CH2, 0xff);
	asm_outb(PORT_PIT_CH2, 0xff);
	asm_outb(PORT_GATE, gate | GATE_CH2);
	first = read_pit();
	do {
		last = read_pit();
		ticks = first.count - last.count;
		ended = asm_inb(PORT_GATE) & GATE_CH2_OUT;
	} while (!ended && ticks < PIT_HZ / CALIBRATE_HZ && ++spins < CALIBRATE_SPINS);
	asm_outb(PORT_GATE, gate);
	*error_hz = ~0ull;
	if (ended)
		return ~0ull;
	if (spins == CALIBRATE_SPINS)
		return 0;
	*error_hz = (first.width + last.width) * PIT_HZ / ticks;
	return (last.tsc - first.tsc) * PIT_HZ / ticks;
}

// The most exact of a few. Without a PIT a guess of 1 GHz makes clocks wrong, but nothing hangs.
static u64 calibrate(void)
{
	u64 best = ~0ull, best_error = ~0ull;

	for (unsigned i = 0; i < CALIBRATE_TIMES && best_error > best / CALIBRATE_ENOUGH; i++) {
		u64 error, hz = calibrate_once(&error);

		if (!hz)
			break;
		if (error < best_error) {
			best = hz;
			best_error = error;
		}
	}
	if (best == ~0ull) {
		log_warn("time: the PIT does not count; taking the TSC for 1 GHz");
		return NS_PER_SEC;
	}
	return best;
}

static u8 cmos_read(u8 index)
{
	asm_outb(PORT_CMOS_INDEX, index);
	return asm_inb(PORT_CMOS_DATA);
}

struct civil {
	unsigned second, minute, hour, day, month, year;
};

static struct civil cmos_fields(void)
{
	while (cmos_read(CMOS_STATUS_A) & 0x80) // the chip is counting up at this moment
		asm_pause();
	return (struct civil){
		cmos_read(CMOS_SECOND), cmos_read(CMOS_MINUTE), cmos_read(CMOS_HOUR),
		cmos_read(CMOS_DAY),    cmos_read(CMOS_MONTH),  cmos_read(CMOS_YEAR),
	};
}

static unsigned from_bcd(unsigned v)
{
	return (v >> 4) * 10 + (v & 15);
}

// Days from 1970-01-01 in the Gregorian calendar. The year is made to begin in March, so that the
// leap day is its last.
static u64 days_since_1970(unsigned year, unsigned month, unsigned day)
{
	unsigned y = month > 2 ? year : year - 1;
	unsigned m = month > 2 ? month - 3 : month + 9;

	return 365ull * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static u64 cmos_ns(void)
{
	struct civil c = cmos_fields();
	u8 b = cmos_read(CMOS_STATUS_B);
	bool pm = c.hour & 0x80;

	c.hour &= 0x7f;
	if (!(b & 0x04))
		c = (struct civil){ from_bcd(c.second), from_bcd(c.minute), from_bcd(c.hour),
				    from_bcd(c.day),    from_bcd(c.month),  from_bcd(c.year) };
	if (!(b & 0x02)) // 12-hour clock
		c.hour = c.hour % 12 + (pm ? 12 : 0);
	return (days_since_1970(2000 + c.year, c.month, c.day) * 86400 + c.hour * 3600 +
		c.minute * 60 + c.second) *
	       NS_PER_SEC;
}

void time_init(void)
{
	tsc_at_start = asm_rdtsc();
	wall_at_start_ns = cmos_ns();
	tsc_hz = calibrate();
	ns_per_tsc_32 = (NS_PER_SEC << 32) / tsc_hz;
	log_info("time: TSC runs at %lu.%03lu MHz", tsc_hz / 1000000, tsc_hz / 1000 % 1000);
}
