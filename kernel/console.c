// SPDX-License-Identifier: MIT
//
// What: the kernel log. Each line goes into a ring in memory and, if its level says so, to the
// serial port and the VGA screen.
//
// Not here: the devices (drivers/serial, drivers/platform/vga), the terminal (fs/tty.c), panic.
//
// Invariants:
//   I1 ring[i % RING_BYTES] holds byte i of the log for written - RING_BYTES <= i < written.
//   I2 every line in the ring ends with a newline.
//
// Locking: console_lock guards everything here and is the innermost lock of all (RANK_CONSOLE), so
// that one may log with any lock held. console_panic() does away with it.
#include "kernel/console.h"

#include <stdarg.h>

#include "drivers/platform/vga.h"
#include "drivers/serial/serial.h"
#include "kernel/bootinfo.h"
#include "kernel/lib/printf.h"
#include "kernel/lib/string.h"
#include "kernel/sched/lock.h"
#include "kernel/x86/time.h"

#define RING_BYTES KIB(64)
#define LINE_BYTES 512

static struct spinlock console_lock = SPINLOCK_INIT(RANK_CONSOLE);
static char ring[RING_BYTES];           // [console_lock]
static u64 written;                     // [console_lock]
static enum log_level shown = LOG_INFO; // constant after console_init
static unsigned log_port;               // constant after console_init
static bool ready;                      // devices are set up
static bool lock_gone;                  // set once, by console_panic

static u64 lock(void) NO_TSA
{
	return READ_ONCE(lock_gone) ? 0 : spin_lock_irqsave(&console_lock);
}

static void unlock(u64 flags) NO_TSA
{
	if (!READ_ONCE(lock_gone))
		spin_unlock_irqrestore(&console_lock, flags);
}

// The devices want CR LF, the ring has plain newlines.
static void show_line(const char *line, size_t len)
{
	size_t text = len - 1;

	serial_write(log_port, line, text);
	serial_write(log_port, "\r\n", 2);
	vga_write(line, len);
}

static void store_line(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++)
		ring[(written + i) % RING_BYTES] = line[i];
	written += len;
}

// Appends the text and the newline to `line`, which has `len` bytes already, and puts the line out.
static void emit(char *line, size_t len, bool show, const char *fmt, va_list ap)
{
	u64 flags;

	len += kvsnprintf(line + len, LINE_BYTES - len, fmt, ap);
	len = min(len, (size_t)LINE_BYTES - 2); // a longer line is cut
	line[len++] = '\n';

	flags = lock();
	store_line(line, len);
	if (ready && show)
		show_line(line, len);
	unlock(flags);
}

void klog(enum log_level level, const char *fmt, ...)
{
	char line[LINE_BYTES];
	u64 now = time_now_ns() / 1000;
	size_t len = ksnprintf(line, sizeof(line), "[%5lu.%06lu] ", now / 1000000, now % 1000000);
	va_list ap;

	va_start(ap, fmt);
	emit(line, len, level <= shown, fmt, ap);
	va_end(ap);
}

void klog_plain(const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	emit(line, 0, true, fmt, ap);
	va_end(ap);
}

size_t console_write(unsigned port, const char *bytes, size_t len)
{
	u64 flags = lock();
	size_t sent = serial_try_write(port, bytes, len);

	if (port == log_port)
		vga_write(bytes, sent);
	unlock(flags);
	return sent;
}

unsigned console_port(void)
{
	return log_port;
}

u64 klog_end(void)
{
	u64 flags = lock(), end = written;

	unlock(flags);
	return end;
}

// After an overrun the first bytes in the ring are the end of some line: skip it.
static u64 oldest_line(void)
{
	u64 at = written > RING_BYTES ? written - RING_BYTES : 0;

	while (at && at < written && ring[(at - 1) % RING_BYTES] != '\n')
		at++;
	return at;
}

size_t klog_read(u64 *pos, char *buf, size_t len)
{
	u64 flags = lock();
	size_t done = 0, n;

	*pos = max(*pos, oldest_line());
	for (n = 0; *pos + n < written && n < len; n++) {
		buf[n] = ring[(*pos + n) % RING_BYTES];
		if (buf[n] == '\n')
			done = n + 1;
	}
	if (!done) // a buffer shorter than the line
		done = n;
	*pos += done;
	unlock(flags);
	return done;
}

void console_panic(void)
{
	WRITE_ONCE(lock_gone, true);
}

// Lines that were logged before the devices were there.
static void show_early_lines(void)
{
	char line[LINE_BYTES];
	u64 pos = 0;
	size_t len, start;

	while ((len = klog_read(&pos, line, sizeof(line))))
		for (start = 0; start < len;) {
			const char *nl = memchr(line + start, '\n', len - start);
			size_t n = (size_t)(nl - (line + start)) + 1;

			show_line(line + start, n);
			start += n;
		}
}

void console_init(void)
{
	char port[16] = "";
	u64 level;

	if (bootparam_u64("loglevel", &level))
		shown = (enum log_level)min(level, (u64)LOG_DEBUG);
	bootparam_get("console", port, sizeof(port));
	log_port = strcmp(port, "ttyS1") == 0 ? SERIAL_COM2 : SERIAL_COM1;
	serial_init();
	show_early_lines();
	ready = true;
}
