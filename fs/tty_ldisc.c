// SPDX-License-Identifier: MIT
//
// What: the line discipline, a pure state machine (termios(3)).
// Not here: the device, locks, sleeping readers (fs/tty.c).
//
// Invariants:
//   I1  `ends` is the number of entries in ready[tail, head) that are END or EOF.
//   I2  Whoever puts bytes in has asked ldisc_room(): then a full line fits behind what is
//       readable.
#include "fs/tty_ldisc.h"

// What an entry of `ready` means.
#define END      0x100u // the last byte of a line
#define EOF_MARK 0x200u // ^D: ends a line, and is no byte

#define CTRL(c)  ((c)&0x1f)
#define DEL      0x7f
#define DISABLED 0 // a control character that is off

void ldisc_init(struct ldisc *ld, void (*echo)(void *ctx, const char *bytes, size_t len), void *ctx)
{
	*ld = (struct ldisc){
		.echo = echo,
		.ctx = ctx,
		.t = {
			.iflag = ICRNL | IXON,
			.oflag = OPOST | ONLCR,
			.cflag = B115200 | CS8 | CREAD | HUPCL | CLOCAL,
			.lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
			.cc = { [VINTR] = CTRL('C'), [VQUIT] = CTRL('\\'), [VERASE] = DEL,
				[VKILL] = CTRL('U'), [VEOF] = CTRL('D'), [VMIN] = 1,
				[VSTART] = CTRL('Q'), [VSTOP] = CTRL('S'), [VSUSP] = CTRL('Z'),
				[VREPRINT] = CTRL('R'), [VDISCARD] = CTRL('O'),
				[VWERASE] = CTRL('W'), [VLNEXT] = CTRL('V') },
		},
	};
}

static bool local(const struct ldisc *ld, u32 flag)
{
	return ld->t.lflag & flag;
}

static bool is_key(const struct ldisc *ld, u8 key, unsigned which)
{
	return ld->t.cc[which] != DISABLED && ld->t.cc[which] == key;
}

// ---- Output -------------------------------------------------------------------------------------

static void move_column(struct ldisc *ld, u8 byte)
{
	if (byte == '\r')
		ld->column = 0;
	else if (byte == '\b')
		ld->column -= ld->column > 0;
	else if (byte == '\t')
		ld->column = (ld->column | 7) + 1;
	else if (byte >= ' ' && byte != DEL && (!(ld->t.iflag & IUTF8) || (byte & 0xc0) != 0x80))
		ld->column++;
}

size_t ldisc_output(struct ldisc *ld, u8 byte, char out[LDISC_OUT])
{
	u32 o = ld->t.oflag;
	size_t n = 0;

	if (!(o & OPOST)) {
		move_column(ld, byte);
		out[0] = (char)byte;
		return 1;
	}
	if (byte == '\r' && (o & OCRNL))
		byte = '\n';
	else if (byte == '\r' && (o & ONOCR) && ld->column == 0)
		return 0;
	if (byte == '\n') {
		if (o & ONLCR)
			out[n++] = '\r';
		if (o & (ONLCR | ONLRET))
			ld->column = 0;
	}
	if (byte == '\t' && (o & XTABS) == XTABS) {
		do {
			out[n++] = ' ';
			ld->column++;
		} while (ld->column & 7);
		return n;
	}
	if ((o & OLCUC) && byte >= 'a' && byte <= 'z')
		byte -= 'a' - 'A';
	move_column(ld, byte);
	out[n++] = (char)byte;
	return n;
}

static void show(struct ldisc *ld, u8 byte)
{
	char out[LDISC_OUT];
	size_t n = ldisc_output(ld, byte, out);

	ld->echo(ld->ctx, out, n);
}

// Control characters show as ^X.
static bool shows_as_caret(const struct ldisc *ld, u8 key)
{
	return local(ld, ECHOCTL) && key != '\t' && key != '\n' && (key < ' ' || key == DEL);
}

static void echo_key(struct ldisc *ld, u8 key)
{
	if (!local(ld, ECHO))
		return;
	if (shows_as_caret(ld, key)) {
		show(ld, '^');
		key ^= 0x40;
	}
	show(ld, key);
}

// ---- Readable bytes -----------------------------------------------------------------------------

static unsigned in_ready(const struct ldisc *ld)
{
	return (ld->head - ld->tail + LDISC_READY) % LDISC_READY;
}

bool ldisc_room(const struct ldisc *ld)
{
	return in_ready(ld) + ld->line_len + 2 < LDISC_READY - 1 &&
	       (!local(ld, ICANON) || in_ready(ld) <= LDISC_READY - LDISC_LINE - 2);
}

static void ready_put(struct ldisc *ld, unsigned entry)
{
	ld->ready[ld->head] = (u16)entry;
	ld->head = (ld->head + 1) % LDISC_READY;
	ld->ends += (entry & (END | EOF_MARK)) != 0;
}

// There is nothing, or the newest entry ends a line: with one mark at most for each key,
// ldisc_room() knows of all that comes.
static bool ends_line(const struct ldisc *ld)
{
	unsigned last = ld->ready[(ld->head + LDISC_READY - 1) % LDISC_READY];

	return ld->head == ld->tail || (last & (END | EOF_MARK));
}

// The edited line becomes readable, with `last` behind it.
static void finish_line(struct ldisc *ld, unsigned last)
{
	for (unsigned k = 0; k < ld->line_len; k++)
		ready_put(ld, ld->line[k]);
	ready_put(ld, last);
	ld->line_len = 0;
}

unsigned ldisc_readable(const struct ldisc *ld)
{
	unsigned left = ld->ends, count = 0;

	for (unsigned k = ld->tail; k != ld->head; k = (k + 1) % LDISC_READY) {
		if (local(ld, ICANON) && !left)
			break;
		count += !(ld->ready[k] & EOF_MARK);
		left -= (ld->ready[k] & (END | EOF_MARK)) != 0;
	}
	return count;
}

bool ldisc_has_input(const struct ldisc *ld)
{
	return local(ld, ICANON) ? ld->ends > 0 : ld->head != ld->tail;
}

static unsigned ready_take(struct ldisc *ld)
{
	unsigned entry = ld->ready[ld->tail];

	ld->tail = (ld->tail + 1) % LDISC_READY;
	ld->ends -= (entry & (END | EOF_MARK)) != 0;
	return entry;
}

size_t ldisc_read(struct ldisc *ld, u8 *buf, size_t bytes, bool *end)
{
	bool lines = local(ld, ICANON);
	size_t n = 0;

	*end = false;
	if (lines && !ld->ends)
		return 0;
	while (ld->head != ld->tail) {
		// A ^D right behind the last byte that fits belongs to this read.
		if (n == bytes && !(lines && n && (ld->ready[ld->tail] & EOF_MARK)))
			break;
		unsigned entry = ready_take(ld);

		if (!(entry & EOF_MARK))
			buf[n++] = (u8)entry;
		if (lines && (entry & (END | EOF_MARK))) {
			*end = true;
			break;
		}
	}
	return n;
}

void ldisc_flush(struct ldisc *ld)
{
	ld->head = ld->tail = ld->ends = ld->line_len = 0;
	ld->literal = false;
}

void ldisc_set_termios(struct ldisc *ld, const struct termios *t)
{
	bool was_canonical = local(ld, ICANON);

	ld->t = *t;
	if (was_canonical && !local(ld, ICANON)) {
		for (unsigned k = 0; k < ld->line_len; k++)
			ready_put(ld, ld->line[k]);
		ld->line_len = 0;
	} else if (!was_canonical && local(ld, ICANON) && !ends_line(ld)) {
		ready_put(ld, EOF_MARK); // what was typed before is a line of its own
	}
	if (!(t->iflag & IXON))
		ld->stopped = false;
}

// ---- Editing ------------------------------------------------------------------------------------

static bool is_continuation(const struct ldisc *ld, u8 byte)
{
	return (ld->t.iflag & IUTF8) && (byte & 0xc0) == 0x80;
}

// The column behind the first `len` bytes of the line.
static unsigned column_behind(const struct ldisc *ld, unsigned len)
{
	unsigned col = ld->line_column;

	for (unsigned k = 0; k < len; k++) {
		u8 c = ld->line[k];

		if (c == '\t')
			col = (col | 7) + 1;
		else if (shows_as_caret(ld, c))
			col += 2;
		else if (c >= ' ' && c != DEL && !is_continuation(ld, c))
			col++;
	}
	return col;
}

// Takes the line back to `len` bytes, on the screen too.
static void erase_to(struct ldisc *ld, unsigned len, bool visibly)
{
	unsigned from = column_behind(ld, ld->line_len), to = column_behind(ld, len);
	bool tab = false;

	for (unsigned k = len; k < ld->line_len; k++)
		tab |= ld->line[k] == '\t';
	ld->line_len = len;
	if (!local(ld, ECHO) || !visibly)
		return;
	for (; from > to; from--) {
		show(ld, '\b');
		if (!tab) { // a tab left nothing to wipe out
			show(ld, ' ');
			show(ld, '\b');
		}
	}
}

static void erase_char(struct ldisc *ld)
{
	unsigned len = ld->line_len;

	if (!len)
		return;
	do
		len--;
	while (len && is_continuation(ld, ld->line[len]));
	if (!local(ld, ECHOE) && local(ld, ECHO))
		echo_key(ld, ld->t.cc[VERASE]);
	erase_to(ld, len, local(ld, ECHOE));
}

static bool is_word(u8 c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       c == '_' || c >= 0x80;
}

static void erase_word(struct ldisc *ld)
{
	unsigned len = ld->line_len;

	while (len && !is_word(ld->line[len - 1]))
		len--;
	while (len && is_word(ld->line[len - 1]))
		len--;
	erase_to(ld, len, local(ld, ECHOE));
}

static void kill_line(struct ldisc *ld)
{
	bool wipe = local(ld, ECHOKE) && local(ld, ECHOE);

	if (!wipe)
		echo_key(ld, ld->t.cc[VKILL]);
	erase_to(ld, 0, wipe);
	if (!wipe && local(ld, ECHOK) && local(ld, ECHO))
		show(ld, '\n');
}

static void reprint(struct ldisc *ld)
{
	echo_key(ld, ld->t.cc[VREPRINT]);
	if (local(ld, ECHO))
		show(ld, '\n');
	ld->line_column = ld->column;
	for (unsigned k = 0; k < ld->line_len; k++)
		echo_key(ld, ld->line[k]);
}

static void add_to_line(struct ldisc *ld, u8 key)
{
	if (ld->line_len >= LDISC_LINE - 1) {
		if (local(ld, ECHO))
			ld->echo(ld->ctx, "\a", 1);
		return;
	}
	if (!ld->line_len)
		ld->line_column = ld->column;
	ld->line[ld->line_len++] = key;
	echo_key(ld, key);
}

static void canonical_key(struct ldisc *ld, u8 key)
{
	if (is_key(ld, key, VERASE)) {
		erase_char(ld);
	} else if (is_key(ld, key, VKILL)) {
		kill_line(ld);
	} else if (is_key(ld, key, VWERASE) && local(ld, IEXTEN)) {
		erase_word(ld);
	} else if (is_key(ld, key, VREPRINT) && local(ld, IEXTEN)) {
		reprint(ld);
	} else if (is_key(ld, key, VLNEXT) && local(ld, IEXTEN)) {
		ld->literal = true;
		if (local(ld, ECHO) && local(ld, ECHOCTL))
			ld->echo(ld->ctx, "^\b", 2);
	} else if (key == '\n') {
		if (local(ld, ECHO) || local(ld, ECHONL))
			show(ld, '\n');
		finish_line(ld, '\n' | END);
	} else if (is_key(ld, key, VEOF)) {
		finish_line(ld, EOF_MARK);
	} else if (is_key(ld, key, VEOL) || (is_key(ld, key, VEOL2) && local(ld, IEXTEN))) {
		echo_key(ld, key);
		finish_line(ld, key | END);
	} else {
		add_to_line(ld, key);
	}
}

int ldisc_signal_of(const struct ldisc *ld, u8 key)
{
	if (!local(ld, ISIG) || ld->literal)
		return 0;
	if (is_key(ld, key, VINTR))
		return LDISC_SIGINT;
	if (is_key(ld, key, VQUIT))
		return LDISC_SIGQUIT;
	return is_key(ld, key, VSUSP) ? LDISC_SIGTSTP : 0;
}

// True: the key was for the flow of output.
static bool flow_key(struct ldisc *ld, u8 key)
{
	if (!(ld->t.iflag & IXON))
		return false;
	if (is_key(ld, key, VSTOP) || is_key(ld, key, VSTART)) {
		ld->stopped = is_key(ld, key, VSTOP) && !is_key(ld, key, VSTART);
		return true;
	}
	if (ld->t.iflag & IXANY)
		ld->stopped = false;
	return false;
}

int ldisc_input(struct ldisc *ld, u8 key)
{
	u32 i = ld->t.iflag;
	int sig;

	if (i & ISTRIP)
		key &= 0x7f;
	if (ld->literal) {
		ld->literal = false;
		if (local(ld, ICANON))
			add_to_line(ld, key);
		else
			ready_put(ld, key);
		return 0;
	}
	if (flow_key(ld, key))
		return 0;
	sig = ldisc_signal_of(ld, key);
	if (sig) {
		if (!local(ld, NOFLSH))
			ldisc_flush(ld);
		ld->stopped = false;
		echo_key(ld, key);
		return sig;
	}
	if (key == '\r') {
		if (i & IGNCR)
			return 0;
		if (i & ICRNL)
			key = '\n';
	} else if (key == '\n' && (i & INLCR)) {
		key = '\r';
	}
	if (local(ld, ICANON)) {
		canonical_key(ld, key);
		return 0;
	}
	ready_put(ld, key);
	echo_key(ld, key);
	return 0;
}
