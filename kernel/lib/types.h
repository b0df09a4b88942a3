// SPDX-License-Identifier: MIT
//
// Basic types, address types and the few macros that every file uses.
// Freestanding: compiles in the kernel and on the host.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef s64 ssize;

// Addresses of different spaces are different types, so that the compiler refuses to mix them.
// Only kernel pointers can be dereferenced.
typedef struct {
	u64 pa;
} phys_t; // physical address, bytes
typedef struct {
	u64 va;
} uva_t; // user-virtual address, bytes; reached only through mm/uaccess.h

#define PHYS(x)    ((phys_t){ (x) })
#define UVA(x)     ((uva_t){ (x) })
#define PHYS_NONE  PHYS(~0ull)
#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define PMD_SHIFT  21
#define PMD_SIZE   (1ull << PMD_SHIFT)
#define PUD_SHIFT  30
#define PUD_SIZE   (1ull << PUD_SHIFT)
#define P4D_SHIFT  39

#define KIB(n) ((u64)(n) << 10)
#define MIB(n) ((u64)(n) << 20)
#define GIB(n) ((u64)(n) << 30)

#define BIT(n)             (1ull << (n))
#define ARRAY_SIZE(a)      (sizeof(a) / sizeof((a)[0]))
#define ALIGN_DOWN(x, a)   ((x) & ~((__typeof__(x))(a)-1))
#define ALIGN_UP(x, a)     ALIGN_DOWN((x) + ((__typeof__(x))(a)-1), a)
#define IS_ALIGNED(x, a)   (((x) & ((__typeof__(x))(a)-1)) == 0)
#define DIV_ROUND_UP(n, d) (((n) + (d)-1) / (d))

#define min(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) min_a_ = (a);                                                        \
		__typeof__(b) min_b_ = (b);                                                        \
		min_a_ < min_b_ ? min_a_ : min_b_;                                                 \
	})
#define max(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(a) max_a_ = (a);                                                        \
		__typeof__(b) max_b_ = (b);                                                        \
		max_a_ > max_b_ ? max_a_ : max_b_;                                                 \
	})

#define container_of(ptr, type, member)                                                            \
	((type *)(void *)((char *)(uintptr_t)(ptr)-offsetof(type, member)))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

// Plain accesses that the compiler may neither tear, fuse nor repeat.
#define READ_ONCE(x)     (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

#define __must_check    __attribute__((warn_unused_result))
#define __noreturn      __attribute__((noreturn))
#define __printf(f, a)  __attribute__((format(printf, f, a)))
#define __cacheline     __attribute__((aligned(64)))
#define __section(name) __attribute__((section(name)))
// Read by every CPU, written hardly ever: not on a line with what is written (linker.ld).
#define __read_mostly __section(".data.read_mostly")
#define __unused      __attribute__((unused))
