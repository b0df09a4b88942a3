// SPDX-License-Identifier: MIT
//
// Intrusive circular doubly-linked list. The head is a node of its own; a node that is in no
// list points at itself. Not locked: the owner of the list says which lock guards it.
#pragma once

#include "kernel/lib/types.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name)                                                                            \
	{                                                                                          \
		&(name), &(name)                                                                   \
	}

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

// Insert `n` right before `at`: with a list head, that is the tail of the list.
static inline void list_add_tail(struct list *at, struct list *n)
{
	n->prev = at->prev;
	n->next = at;
	at->prev->next = n;
	at->prev = n;
}

// Insert `n` right after `at`: with a list head, that is the front of the list.
static inline void list_add(struct list *at, struct list *n)
{
	list_add_tail(at->next, n);
}

// Take `n` out of its list and leave it pointing at itself, so that a second call does no harm.
static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

static inline struct list *list_pop(struct list *head)
{
	struct list *n = head->next;

	if (n == head)
		return NULL;
	list_del(n);
	return n;
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)

#define list_for_each(it, head, member)                                                            \
	for (it = list_entry((head)->next, __typeof__(*it), member); &it->member != (head);        \
	     it = list_entry(it->member.next, __typeof__(*it), member))

// Survives deletion of the current element.
#define list_for_each_safe(it, tmp, head, member)                                                  \
	for (it = list_entry((head)->next, __typeof__(*it), member),                               \
	    tmp = list_entry(it->member.next, __typeof__(*it), member);                            \
	     &it->member != (head);                                                                \
	     it = tmp, tmp = list_entry(it->member.next, __typeof__(*it), member))
