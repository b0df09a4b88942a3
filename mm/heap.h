// SPDX-License-Identifier: MIT
//
// Kernel memory in bytes: slab caches, and kmalloc over a ladder of them. Objects up to 2 KiB come
// from slabs, larger ones straight from frames (rounded up to a power of two, at most 2 MiB).
//
// Context: any; never sleeps. Locks: RANK_HEAP, RANK_FRAME. NULL when memory is short.
#pragma once

#include "kernel/lib/types.h"

struct slab_cache;

void *kmalloc(size_t bytes) __must_check; // 16-byte aligned; 64-byte aligned from 64 bytes up
void *kzalloc(size_t bytes) __must_check;
void kfree(void *p); // NULL is fine

// A cache of objects of one size (at most 2 KiB; align at most 64). Lives for ever. `name` is kept
// by pointer. NULL when memory is short.
struct slab_cache *slab_create(const char *name, size_t bytes, size_t align);
void *slab_alloc(struct slab_cache *c) __must_check;
void slab_free(struct slab_cache *c, void *p);

u64 heap_objects_in_use(void); // for leak checks
void heap_init(void);          // registers the leak check; allocation works before

char *kstrdup(const char *s) __must_check;
