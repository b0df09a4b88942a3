// SPDX-License-Identifier: MIT
//
// What: terminals over serial ports.
// Not here: the line discipline itself (fs/tty_ldisc.c), ioctls and sessions (fs/tty_ioctl.c), the
// port (drivers/serial).
//
//      interrupt -> ring -> input thread -> line discipline -> reader
//                                  \-> echo, signals
//
// The interrupt handler only fills the ring. A thread runs the line discipline, because echo and
// signals take locks that an interrupt must not wait for. While the line discipline is full (nobody
// reads) bytes stay in the ring; ^C is found there too and empties it.
//
// Invariants:
//   I1  ring: put by the interrupt handler, taken by the input thread, both under ring_lock.
//   I2  Output of one write() of up to CHUNK bytes is not torn by echo or by another writer.
// Locking: tty->lock (RANK_PIPE), a mutex, over the line discipline, output included. ring_lock
// (RANK_TTY, irq) over the ring. User memory is copied with neither held.
#include "fs/tty.h"

#include "fs/chrdev.h"
#include "fs/tty_internal.h"
#include "kernel/console.h"
#include "kernel/panic.h"
#include "kernel/sched/thread.h"
#include "kernel/x86/time.h"

#define CHUNK        256u
#define SLOW_PORT_NS 2000000ull // between tries to send to a port that is not ready
#define SIGTTIN      21
#define SIGTTOU      22

struct tty ttys[SERIAL_PORTS];
static void (*send_signal)(u32 session, u32 pgrp, int sig);
const struct tty_process_ops *tty_process;

void tty_set_signal(void (*fn)(u32 session, u32 pgrp, int sig))
{
	send_signal = fn;
}

void tty_set_process(const struct tty_process_ops *ops)
{
	tty_process = ops;
}

void tty_signal(u32 session, u32 group, int sig)
{
	if (send_signal && session && group)
		send_signal(session, group, sig);
}

// ---- Input --------------------------------------------------------------------------------------

static void receive(struct tty *t, u8 byte)
{
	u64 flags = spin_lock_irqsave(&t->ring_lock);

	if (t->ring_head - t->ring_tail < TTY_RING)
		t->ring[t->ring_head++ % TTY_RING] = byte;
	else
		t->lost++;
	spin_unlock_irqrestore(&t->ring_lock, flags);
	wait_wake_all(&t->input);
}

static void receive_com1(u8 byte)
{
	receive(&ttys[SERIAL_COM1], byte);
}

static void receive_com2(u8 byte)
{
	receive(&ttys[SERIAL_COM2], byte);
}

static bool ring_take(struct tty *t, u8 *byte)
{
	u64 flags = spin_lock_irqsave(&t->ring_lock);
	bool got = t->ring_head != t->ring_tail;

	if (got)
		*byte = t->ring[t->ring_tail++ % TTY_RING];
	spin_unlock_irqrestore(&t->ring_lock, flags);
	return got;
}

// Drops what stands before the first key that means a signal. False: there is none.
static bool ring_skip_to_signal(struct tty *t)
{
	u64 flags = spin_lock_irqsave(&t->ring_lock);
	u32 at = t->ring_tail;

	while (at != t->ring_head && !ldisc_signal_of(&t->ld, t->ring[at % TTY_RING]))
		at++;
	if (at != t->ring_head)
		t->ring_tail = at;
	spin_unlock_irqrestore(&t->ring_lock, flags);
	return at != READ_ONCE(t->ring_head);
}

// Runs keys through the line discipline as long as there are some and it has room.
static void digest(struct tty *t)
{
	bool changed = false, was_stopped;
	u8 key;

	mutex_lock(&t->lock);
	was_stopped = t->ld.stopped;
	__atomic_store_n(&t->room, false, __ATOMIC_RELAXED);
	while ((ldisc_room(&t->ld) || ring_skip_to_signal(t)) && ring_take(t, &key)) {
		int sig = ldisc_input(&t->ld, key);

		changed = true;
		if (sig)
			tty_signal(t->session, t->group, sig);
	}
	mutex_unlock(&t->lock);
	if (was_stopped && !t->ld.stopped)
		wait_wake_all(&t->writers);
	if (changed) {
		wait_wake_all(&t->readers);
		poll_wake(&t->pollers);
	}
}

static bool has_keys(struct tty *t)
{
	return READ_ONCE(t->ring_head) != READ_ONCE(t->ring_tail);
}

// New keys since `seen`, or room for those that wait.
static bool must_digest(struct tty *t, u32 seen)
{
	return READ_ONCE(t->ring_head) != seen ||
	       (has_keys(t) && __atomic_load_n(&t->room, __ATOMIC_ACQUIRE));
}

static void input_thread(void *arg)
{
	struct tty *t = arg;
	u32 lost_seen = 0, seen;

	for (;;) {
		seen = READ_ONCE(t->ring_head);
		digest(t);
		if (READ_ONCE(t->lost) != lost_seen) {
			lost_seen = READ_ONCE(t->lost);
			log_warn("ttyS%u: input overrun, %u bytes lost so far", t->port, lost_seen);
		}
		wait_event(&t->input, must_digest(t, seen));
	}
}

// ---- Reading ------------------------------------------------------------------------------------

// Job control: a background process may not read (nor, with TOSTOP, write).
int tty_check_foreground(struct tty *t, int sig)
{
	u32 group;

	if (!tty_process || !t->session || tty_process->session() != t->session)
		return 0;
	group = tty_process->group();
	if (group == READ_ONCE(t->group))
		return 0;
	if (tty_process->shuns(sig))
		return sig == SIGTTIN ? -EIO : 0;
	if (tty_process->is_orphaned())
		return -EIO;
	tty_signal(tty_process->session(), group, sig);
	return -ERESTARTSYS;
}

static bool canonical(const struct tty *t)
{
	return t->ld.t.lflag & ICANON;
}

// Is there what a read of `want` bytes waits for: a line, or VMIN bytes?
static bool input_ready(const struct tty *t, size_t want)
{
	size_t least = max((size_t)t->ld.t.cc[VMIN], (size_t)1);

	if (canonical(t))
		return ldisc_has_input(&t->ld);
	return ldisc_readable(&t->ld) >= min(least, want);
}

static bool input_changed(const struct tty *t, bool was_canonical, unsigned had)
{
	if (canonical(t) != was_canonical)
		return true;
	return canonical(t) ? ldisc_has_input(&t->ld) : ldisc_readable(&t->ld) > had;
}

// Sleeps until there is something to read, or VTIME is up (termios(3)). Lock held before and after.
static int wait_for_input(struct tty *t, const struct file *f, size_t want) REQUIRES(t->lock)
{
	while (!input_ready(t, want)) {
		bool lines = canonical(t);
		unsigned had = lines ? 0 : ldisc_readable(&t->ld);
		u8 least = t->ld.t.cc[VMIN], tenths = t->ld.t.cc[VTIME];
		u64 deadline = 0;
		int err;

		if (f->flags & O_NONBLOCK)
			return had ? 0 : -EAGAIN;
		if (!lines && !least && !tenths)
			return 0;
		// With VMIN > 0 the clock runs between bytes, from the first one on.
		if (!lines && tenths && (!least || had))
			deadline = time_now_ns() + tenths * 100000000ull;
		mutex_unlock(&t->lock);
		err = wait_event_timeout(&t->readers, input_changed(t, lines, had), deadline);
		mutex_lock(&t->lock);
		if (err == -ETIMEDOUT)
			return 0;
		if (err)
			return -ERESTARTSYS;
	}
	return 0;
}

static struct tty *tty_of(const struct file *f)
{
	return f->private;
}

// Takes up to a chunk of what is there. Then the line discipline has room again.
static size_t take(struct tty *t, u8 *chunk, size_t bytes, bool *end)
{
	size_t n;

	mutex_lock(&t->lock);
	n = ldisc_read(&t->ld, chunk, bytes, end);
	mutex_unlock(&t->lock);
	if (has_keys(t)) {
		__atomic_store_n(&t->room, true, __ATOMIC_RELEASE);
		wait_wake_all(&t->input);
	}
	return n;
}

static ssize tty_read(struct file *f, struct iov_iter *to, u64 *pos __unused)
{
	struct tty *t = tty_of(f);
	u8 chunk[CHUNK];
	ssize done = 0;
	bool end = false;
	int err = tty_check_foreground(t, SIGTTIN);

	if (err || !to->left)
		return err;
	mutex_lock(&t->lock);
	err = wait_for_input(t, f, to->left);
	mutex_unlock(&t->lock);
	if (err)
		return err;
	while (to->left && !end) {
		size_t n = take(t, chunk, min(to->left, sizeof(chunk)), &end);
		size_t got = n ? iov_copy_to(to, chunk, n) : 0;

		done += (ssize)got;
		if (got < n)
			return done ? done : -EFAULT;
		if (!n)
			break;
	}
	return done;
}

// ---- Writing ------------------------------------------------------------------------------------

static void to_screen(void *ctx, const char *bytes, size_t len)
{
	const struct tty *t = ctx;

	for (;;) {
		size_t sent = console_write(t->port, bytes, len);

		bytes += sent;
		len -= sent;
		if (!len)
			break;
		thread_sleep_ns(SLOW_PORT_NS); // nobody takes what the port sends: wait for him
	}
}

static int wait_while_stopped(struct tty *t, const struct file *f) REQUIRES(t->lock)
{
	while (t->ld.stopped) {
		int err = -EAGAIN;

		if (f->flags & O_NONBLOCK)
			return err;
		mutex_unlock(&t->lock);
		err = wait_event_interruptible(&t->writers, !READ_ONCE(t->ld.stopped));
		mutex_lock(&t->lock);
		if (err)
			return -ERESTARTSYS;
	}
	return 0;
}

static int put_chunk(struct tty *t, const struct file *f, const u8 *chunk, size_t n)
{
	char out[CHUNK + LDISC_OUT];
	size_t len = 0;
	int err;

	mutex_lock(&t->lock); // I2
	err = wait_while_stopped(t, f);
	for (size_t k = 0; k < n && !err; k++) {
		len += ldisc_output(&t->ld, chunk[k], out + len);
		if (len >= CHUNK || k + 1 == n) {
			to_screen(t, out, len);
			len = 0;
		}
	}
	mutex_unlock(&t->lock);
	return err;
}

static ssize tty_write(struct file *f, struct iov_iter *from, u64 *pos __unused)
{
	struct tty *t = tty_of(f);
	u8 chunk[CHUNK];
	ssize done = 0;
	int err = t->ld.t.lflag & TOSTOP ? tty_check_foreground(t, SIGTTOU) : 0;

	while (from->left && !err) {
		size_t want = min(from->left, sizeof(chunk));
		size_t n = iov_copy_from(from, chunk, want);

		err = put_chunk(t, f, chunk, n);
		if (err)
			break;
		done += (ssize)n;
		if (n < want)
			err = -EFAULT;
	}
	return done ? done : err;
}

static unsigned tty_poll(struct file *f, struct poll_table *pt)
{
	struct tty *t = tty_of(f);
	unsigned ready = 0;

	poll_wait(&t->pollers, pt);
	mutex_lock(&t->lock);
	if (input_ready(t, 1))
		ready |= POLLIN | POLLRDNORM;
	if (!t->ld.stopped)
		ready |= POLLOUT | POLLWRNORM;
	mutex_unlock(&t->lock);
	return ready;
}

// ---- Opening ------------------------------------------------------------------------------------

static int tty_open(struct inode *i, struct file *f)
{
	unsigned minor = (unsigned)(i->rdev & 0xff);

	f->stream = true;
	if (i->rdev == MKDEV(5, 0)) { // /dev/tty
		unsigned k = 0;

		while (k < SERIAL_PORTS && !tty_is_mine(&ttys[k]))
			k++;
		if (k == SERIAL_PORTS)
			return -ENXIO;
		f->private = &ttys[k];
		return 0;
	}
	f->private = &ttys[minor >= TTY_MINOR ? minor - TTY_MINOR : SERIAL_COM1];
	return 0;
}

static const struct file_ops tty_ops = {
	.open = tty_open,
	.read = tty_read,
	.write = tty_write,
	.ioctl = tty_ioctl,
	.poll = tty_poll,
};

static void setup(struct tty *t, unsigned port)
{
	t->port = port;
	mutex_init(&t->lock, RANK_PIPE);
	spin_init(&t->ring_lock, RANK_TTY);
	wait_queue_init(&t->readers);
	wait_queue_init(&t->writers);
	wait_queue_init(&t->input);
	poll_head_init(&t->pollers);
	ldisc_init(&t->ld, to_screen, t);
	t->size = (struct winsize){ .rows = 24, .cols = 80 };
}

void tty_register(void)
{
	static const struct {
		u64 rdev;
		const char *name;
		u32 mode;
	} names[] = {
		{ MKDEV(5, 1), "console", 0600 },
		{ MKDEV(5, 0), "tty", 0666 },
		{ MKDEV(TTY_MAJOR, TTY_MINOR), "ttyS0", 0660 },
		{ MKDEV(TTY_MAJOR, TTY_MINOR + 1), "ttyS1", 0660 },
	};

	for (unsigned k = 0; k < ARRAY_SIZE(names); k++)
		if (chrdev_register(names[k].rdev, names[k].name, names[k].mode, &tty_ops))
			panic("no room for the terminals");
	for (unsigned k = 0; k < SERIAL_PORTS; k++)
		setup(&ttys[k], k);
}

static void start_input(struct tty *t, void (*receiver)(u8 byte))
{
	int err;

	if (!serial_present(t->port))
		return;
	if (!thread_create("tty", input_thread, t)) {
		log_err("ttyS%u: no memory for its thread, no input", t->port);
		return;
	}
	err = serial_set_receiver(t->port, receiver);
	if (err)
		log_err("ttyS%u: no interrupt, no input (error %d)", t->port, -err);
}

void tty_init(void)
{
	start_input(&ttys[SERIAL_COM1], receive_com1);
	start_input(&ttys[SERIAL_COM2], receive_com2);
}
