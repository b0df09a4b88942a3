; SPDX-License-Identifier: MIT
;
; What: where a CPU begins that smp.c starts: in real mode, at a page below 1 MiB to which smp.c has
; copied this code and in which it has filled in the words at the end. It goes straight to 64-bit
; mode (SDM 3A, 9.8.5 allows that from real mode) on the boot page tables, which still map low
; memory, then changes to the kernel's own and calls C.
;
; Position: the code runs at cs:0; all references are relative to trampoline_start.

TRAMPOLINE	equ 0x8000		; kernel/x86/smp.c, SMP_TRAMPOLINE_PA

CR0_PE_PG_WP	equ 0x80010001
CR4_PAE		equ 1 << 5
MSR_EFER	equ 0xc0000080

%define at(label) (TRAMPOLINE + label - trampoline_start)

extern smp_ap_main
global trampoline_start
global trampoline_end
global trampoline_args

section .rodata
bits 16
align 16
; In: CS = TRAMPOLINE >> 4, interrupts off. Nothing else is known.
trampoline_start:
	cli
	cld
	xor ax, ax
	mov ds, ax

	; 1. Caches on: INIT leaves CR0.CD and NW as they were. Then tables, EFER, paging.
	mov eax, CR4_PAE
	mov cr4, eax
	mov eax, [at(arg_boot_pml4)]
	mov cr3, eax
	mov ecx, MSR_EFER
	xor edx, edx
	mov eax, [at(arg_efer)]
	wrmsr
	mov eax, CR0_PE_PG_WP
	mov cr0, eax

	; 2. A 64-bit code segment.
	lgdt [at(gdt_pointer)]
	jmp dword 8:at(enter64)

bits 64
enter64:
	; 3. Take the place that is there for one CPU (XCHG is locked). One that smp.c has given up
	; may come late: it must not run on the stack, or as the struct cpu, of the next one.
	xor edi, edi
	xchg rdi, [at(arg_cpu)]
	test rdi, rdi
	jz nobody

	; 4. Stack and tables of the kernel. From the jump on nothing below 1 MiB is needed.
	mov rsp, [at(arg_stack)]
	mov rsi, [at(arg_ist)]
	mov rdx, [at(arg_cr3)]
	mov rax, enter_high
	jmp rax

nobody:
	hlt
	jmp nobody

align 8
gdt:
	dq 0
	dq 0x00af9b000000ffff		; 08: 64-bit code
gdt_end:
gdt_pointer:
	dw gdt_end - gdt - 1
	dd at(gdt)

align 8
; struct smp_trampoline_args (kernel/x86/smp.c)
trampoline_args:
arg_boot_pml4:	dq 0
arg_efer:	dq 0
arg_cr3:	dq 0
arg_stack:	dq 0
arg_ist:	dq 0
arg_cpu:	dq 0
trampoline_end:

section .text
; In: RDI = struct cpu, RSI = IST area, RDX = CR3 of the kernel, RSP = own stack.
enter_high:
	xor eax, eax
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov cr3, rdx
	xor ebp, ebp			; end of the frame-pointer chain
	call smp_ap_main		; does not return
	ud2
