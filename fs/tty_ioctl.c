// SPDX-License-Identifier: MIT
//
// What: what programs ask of a terminal: settings, size, whose it is.
// Not here: input and output (fs/tty.c).
#include "fs/chrdev.h"
#include "fs/fs_context.h"
#include "fs/ioctls.h"
#include "fs/tty_internal.h"
#include "kernel/lib/string.h"
#include "mm/uaccess.h"

// Signals that change of size or owner sends (signal(7)).
#define SIGHUP   1
#define SIGCONT  18
#define SIGTTOU  22
#define SIGWINCH 28

static s64 set_termios(struct tty *t, u64 arg, bool flush)
{
	struct termios new;

	if (copy_from_user(&new, UVA(arg), sizeof(new)))
		return -EFAULT;
	mutex_lock(&t->lock);
	if (flush)
		ldisc_flush(&t->ld);
	ldisc_set_termios(&t->ld, &new);
	mutex_unlock(&t->lock);
	wait_wake_all(&t->readers); // what they wait for may be there in the new mode
	wait_wake_all(&t->writers);
	poll_wake(&t->pollers);
	return 0;
}

static s64 set_size(struct tty *t, u64 arg)
{
	struct winsize new;
	u32 session, group;
	bool changed;

	if (copy_from_user(&new, UVA(arg), sizeof(new)))
		return -EFAULT;
	mutex_lock(&t->lock);
	changed = memcmp(&new, &t->size, sizeof(new)) != 0;
	t->size = new;
	session = t->session;
	group = t->group;
	mutex_unlock(&t->lock);
	if (changed)
		tty_signal(session, group, SIGWINCH);
	return 0;
}

// A session has one terminal. Only root takes one away from another session.
static s64 take_session(struct tty *t, bool steal)
{
	u32 session = tty_process ? tty_process->session() : 0, group;
	s64 err = 0;

	if (!session || !tty_process->is_leader())
		return -EPERM;
	if (tty_of_session(session, &group) && !tty_is_mine(t))
		return -EPERM;
	steal = steal && !fs_credentials(fs_current())->euid;
	mutex_lock(&t->lock);
	if (t->session && t->session != session && !steal) {
		err = -EPERM;
	} else if (t->session != session) {
		t->session = session;
		t->group = tty_process->group();
	}
	mutex_unlock(&t->lock);
	return err;
}

bool tty_is_mine(const struct tty *t)
{
	return tty_process && t->session && tty_process->session() == t->session;
}

static s64 put_u32(u64 arg, u32 value)
{
	return copy_to_user(UVA(arg), &value, sizeof(value));
}

static s64 set_group(struct tty *t, u64 arg)
{
	u32 group;

	if (!tty_is_mine(t))
		return -ENOTTY;
	if (copy_from_user(&group, UVA(arg), sizeof(group)))
		return -EFAULT;
	if ((s32)group < 0)
		return -EINVAL;
	if (!tty_process->group_in_session(group, t->session))
		return -EPERM;
	mutex_lock(&t->lock);
	t->group = group;
	mutex_unlock(&t->lock);
	return 0;
}

static s64 give_up_session(struct tty *t)
{
	if (!tty_is_mine(t))
		return -ENOTTY;
	if (tty_process->is_leader())
		tty_session_ended(t->session);
	return 0;
}

static s64 flush_queue(struct tty *t, u64 queue)
{
	if (queue > 2)
		return -EINVAL;
	if (queue == 1) // output: nothing waits here
		return 0;
	mutex_lock(&t->lock);
	ldisc_flush(&t->ld);
	mutex_unlock(&t->lock);
	return 0;
}

static s64 get_state(struct tty *t, unsigned cmd, u64 arg)
{
	struct termios termios;
	struct winsize size;
	u32 bytes;

	mutex_lock(&t->lock);
	termios = t->ld.t;
	size = t->size;
	bytes = ldisc_readable(&t->ld);
	mutex_unlock(&t->lock);
	if (cmd == TCGETS)
		return copy_to_user(UVA(arg), &termios, sizeof(termios));
	if (cmd == TIOCGWINSZ)
		return copy_to_user(UVA(arg), &size, sizeof(size));
	return put_u32(arg, bytes);
}

// What a process in the background may not do to the terminal.
static bool changes_something(unsigned cmd)
{
	return cmd == TCSETS || cmd == TCSETSW || cmd == TCSETSF || cmd == TCFLSH ||
	       cmd == TIOCSPGRP;
}

s64 tty_ioctl(struct file *f, unsigned cmd, u64 arg)
{
	struct tty *t = f->private;
	s64 err = changes_something(cmd) ? tty_check_foreground(t, SIGTTOU) : 0;

	if (err == -EIO && cmd == TIOCSPGRP)
		return -ENOTTY;
	if (err)
		return err;
	switch (cmd) {
	case TCGETS:
	case TIOCGWINSZ:
	case FIONREAD: return get_state(t, cmd, arg);
	case TCSETS:
	case TCSETSW: // output is sent before write returns: nothing to wait for
	case TCSETSF: return set_termios(t, arg, cmd == TCSETSF);
	case TIOCSWINSZ: return set_size(t, arg);
	case TIOCOUTQ: return put_u32(arg, 0);
	case TCSBRK: return 0;
	case TCFLSH: return flush_queue(t, arg);
	case TIOCSCTTY: return take_session(t, arg == 1);
	case TIOCNOTTY: return give_up_session(t);
	case TIOCGPGRP: return tty_is_mine(t) ? put_u32(arg, t->group) : -ENOTTY;
	case TIOCGSID: return tty_is_mine(t) ? put_u32(arg, t->session) : -ENOTTY;
	case TIOCSPGRP: return set_group(t, arg);
	default: return -ENOTTY;
	}
}

// ---- Sessions ----------------------------------------------------------------------------------

void tty_session_ended(u32 session)
{
	for (unsigned k = 0; k < SERIAL_PORTS; k++) {
		struct tty *t = &ttys[k];
		u32 group = 0;

		mutex_lock(&t->lock);
		if (session && t->session == session) {
			group = t->group;
			t->session = t->group = 0;
		}
		mutex_unlock(&t->lock);
		tty_signal(session, group, SIGHUP);
		tty_signal(session, group, SIGCONT);
	}
}

u64 tty_of_session(u32 session, u32 *foreground)
{
	for (unsigned k = 0; k < SERIAL_PORTS; k++)
		if (session && READ_ONCE(ttys[k].session) == session) {
			*foreground = READ_ONCE(ttys[k].group);
			return MKDEV(TTY_MAJOR, TTY_MINOR + k);
		}
	*foreground = 0;
	return 0;
}
