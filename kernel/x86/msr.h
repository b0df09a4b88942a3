// SPDX-License-Identifier: MIT
//
// Model-specific registers (SDM 4, table 2-2) and control register bits (SDM 3A, 2.5) that are
// used.
#pragma once

#include "kernel/lib/types.h"

#define MSR_APIC_BASE      0x1b
#define MSR_MCG_CAP        0x179
#define MSR_MCG_STATUS     0x17a
#define MSR_MCG_CTL        0x17b
#define MSR_MC_CTL(bank)   (0x400u + 4 * (bank))
#define MSR_MC_STATUS(b)   (0x401u + 4 * (b))
#define MSR_MC_ADDR(bank)  (0x402u + 4 * (bank))
#define MSR_MC_MISC(bank)  (0x403u + 4 * (bank))
#define MSR_X2APIC         0x800 // first of the x2APIC registers
#define MSR_EFER           0xc0000080
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_FMASK          0xc0000084
#define MSR_FS_BASE        0xc0000100
#define MSR_GS_BASE        0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102 // in the kernel: the user's GS base; SWAPGS exchanges the two

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_PG BIT(31)

#define CR4_PAE        BIT(5)
#define CR4_MCE        BIT(6)
#define CR4_PGE        BIT(7)
#define CR4_OSFXSR     BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP       BIT(11)
#define CR4_OSXSAVE    BIT(18)
#define CR4_SMEP       BIT(20)
#define CR4_SMAP       BIT(21)

#define RFLAGS_CF   BIT(0)
#define RFLAGS_ONE  BIT(1) // always set
#define RFLAGS_PF   BIT(2)
#define RFLAGS_AF   BIT(4)
#define RFLAGS_ZF   BIT(6)
#define RFLAGS_SF   BIT(7)
#define RFLAGS_TF   BIT(8)
#define RFLAGS_DF   BIT(10)
#define RFLAGS_OF   BIT(11)
#define RFLAGS_IOPL (3 * BIT(12))
#define RFLAGS_NT   BIT(14)
#define RFLAGS_RF   BIT(16)
#define RFLAGS_AC   BIT(18)
#define RFLAGS_ID   BIT(21)
