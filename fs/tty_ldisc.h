// SPDX-License-Identifier: MIT
//
// The line discipline of a terminal as a pure state machine: keys in, echo and readable bytes out.
// No locks, no devices, no memory of its own; compiles on the host.
//
//      key --ldisc_input--> line being edited --Enter, ^D--> readable --ldisc_read--> program
//               |echo, signal
//      program --ldisc_output--> what the screen gets
//
// Limits: a line has at most LDISC_LINE - 1 bytes (more keys ring the bell, a newline still ends
// it); LDISC_READY bytes wait to be read. While ldisc_room() is false nothing may be put in: the
// caller keeps it, so that nothing is lost silently.
#pragma once

#include "kernel/lib/types.h"

#define LDISC_LINE  4096u
#define LDISC_READY 8192u // two full lines: one that waits, and the one being edited

#define NCCS 19
enum {
	VINTR,
	VQUIT,
	VERASE,
	VKILL,
	VEOF,
	VTIME,
	VMIN,
	VSWTC,
	VSTART,
	VSTOP,
	VSUSP,
	VEOL,
	VREPRINT,
	VDISCARD,
	VWERASE,
	VLNEXT,
	VEOL2
};

// c_iflag
#define ISTRIP  0000040u
#define INLCR   0000100u
#define IGNCR   0000200u
#define ICRNL   0000400u
#define IUCLC   0001000u
#define IXON    0002000u
#define IXANY   0004000u
#define IMAXBEL 0020000u
#define IUTF8   0040000u
// c_oflag
#define OPOST  0000001u
#define OLCUC  0000002u
#define ONLCR  0000004u
#define OCRNL  0000010u
#define ONOCR  0000020u
#define ONLRET 0000040u
#define XTABS  0014000u
// c_cflag: shown to programs; a serial port here is always 115200 8N1.
#define B115200 0010002u
#define CS8     0000060u
#define CREAD   0000200u
#define HUPCL   0002000u
#define CLOCAL  0004000u
// c_lflag
#define ISIG    0000001u
#define ICANON  0000002u
#define ECHO    0000010u
#define ECHOE   0000020u
#define ECHOK   0000040u
#define ECHONL  0000100u
#define NOFLSH  0000200u
#define TOSTOP  0000400u
#define ECHOCTL 0001000u
#define ECHOKE  0004000u
#define IEXTEN  0100000u

// struct termios of the system call (TCGETS).
struct termios {
	u32 iflag, oflag, cflag, lflag;
	u8 line;
	u8 cc[NCCS];
};
_Static_assert(sizeof(struct termios) == 36, "struct termios of the ABI");

enum { LDISC_SIGINT = 2, LDISC_SIGQUIT = 3, LDISC_SIGTSTP = 20 };

struct ldisc {
	struct termios t;
	void (*echo)(void *ctx, const char *bytes, size_t len); // to the screen, as it is
	void *ctx;
	bool stopped;         // ^S: output waits
	bool literal;         // ^V was typed: the next key is taken as it is
	unsigned column;      // of the cursor
	unsigned line_column; // where the line being edited began
	unsigned line_len;
	unsigned head, tail; // readable: ready[tail .. head), modulo LDISC_READY
	unsigned ends;       // of lines, among what is readable
	u8 line[LDISC_LINE];
	u16 ready[LDISC_READY]; // a byte, and what it means to a reader (tty_ldisc.c)
};

// Linux's first settings: canonical, echo, signals, CR to NL and back.
void ldisc_init(struct ldisc *ld, void (*echo)(void *ctx, const char *bytes, size_t len),
		void *ctx);
// TCSETS. An unfinished line becomes readable when canonical mode ends.
void ldisc_set_termios(struct ldisc *ld, const struct termios *t);

// Room for one more key?
bool ldisc_room(const struct ldisc *ld);
// One key. The signal for the foreground group, or 0.
int ldisc_input(struct ldisc *ld, u8 key);
// The signal that `key` stands for, or 0.
int ldisc_signal_of(const struct ldisc *ld, u8 key);

// Bytes that a read would get now (canonical: of finished lines).
unsigned ldisc_readable(const struct ldisc *ld);
// Is there something for a reader: a line or end of file, or in raw mode bytes?
bool ldisc_has_input(const struct ldisc *ld);
// Takes bytes, in canonical mode at most to the end of a line (*end: it was reached).
size_t ldisc_read(struct ldisc *ld, u8 *buf, size_t bytes, bool *end);
void ldisc_flush(struct ldisc *ld); // throws away what was typed

// What the screen gets for one byte of output: up to LDISC_OUT bytes. Their number.
#define LDISC_OUT 8
size_t ldisc_output(struct ldisc *ld, u8 byte, char out[LDISC_OUT]);
