// SPDX-License-Identifier: MIT
//
// What: waiting for children.
//
// Invariants:
//   I1  A zombie is taken out of the tables under proc_lock, so exactly one waiter gets it.
// Locking: proc_lock.
#include "kernel/proc/process.h"

#include "kernel/lib/errno.h"

static bool matches(const struct process *me, const struct process *child, s64 which)
{
	if (which > 0)
		return child->pid == (u64)which;
	if (which == 0)
		return child->pgid == me->pgid;
	return which == WAIT_ANY || child->pgid == -which;
}

// What of a living child has not been told yet; 0: nothing.
static int news_of(struct process *c, unsigned options)
{
	int status = 0;

	if (c->stop_report && (options & WUNTRACED))
		status = WAIT_STOPPED(c->stop_report);
	else if (c->cont_report && (options & WCONTINUED))
		status = WAIT_CONTINUED;
	if (status && !(options & WNOWAIT)) {
		if (status == WAIT_CONTINUED)
			c->cont_report = false;
		else
			c->stop_report = 0;
	}
	return status;
}

static void take(struct process *me, struct process *child, unsigned options,
		 struct wait_result *out)
{
	*out = (struct wait_result){ .pid = child->pid,
				     .uid = child->uid,
				     .status = child->wait_status,
				     .usage = child->final };
	usage_add(&out->usage, &child->dead_children);
	if (options & WNOWAIT)
		return;
	usage_add(&me->dead_children, &out->usage);
	process_unlink_locked(child); // I1
}

// 1: *out is filled, and *dead is to be dropped unless NULL; 0: not yet; -ECHILD: nobody to wait
// for.
static int look(struct process *me, s64 which, unsigned options, struct wait_result *out,
		struct process **dead)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct process *c;
	int ret = -ECHILD, status;

	list_for_each(c, &me->children, sibling) {
		if (!matches(me, c, which))
			continue;
		ret = 0;
		if (c->state == PROCESS_ZOMBIE && (options & WEXITED)) {
			take(me, c, options, out);
			if (!(options & WNOWAIT))
				*dead = c;
			ret = 1;
			break;
		}
		status = c->state == PROCESS_ALIVE ? news_of(c, options) : 0;
		if (status) {
			*out = (struct wait_result){ .pid = c->pid,
						     .uid = c->uid,
						     .status = status };
			ret = 1;
			break;
		}
	}
	spin_unlock_irqrestore(&proc_lock, flags);
	return ret;
}

int process_wait(s64 which, unsigned options, struct wait_result *out)
{
	struct process *me = process_current(), *dead = NULL;
	int ret = 0, err;

	if (options & WNOHANG) {
		ret = look(me, which, options, out, &dead);
	} else {
		err = wait_event_interruptible(&me->child_wait,
					       (ret = look(me, which, options, out, &dead)) != 0);
		if (err)
			return err;
	}
	if (dead)
		process_reaped(dead);
	return ret;
}
