; SPDX-License-Identifier: MIT
;
; What: the ways into the kernel and out of it: traps and interrupts, SYSCALL, return to user mode.
; Each leaves a struct trapframe (kernel/x86/trap.h) on the stack and calls C (trap.c).
;
; Invariants:
;   I1 In C code, GS points at this CPU's struct cpu, the direction flag is clear, and so is
;      RFLAGS.AC (no access to user pages) except where uaccess sets it.
;   I2 SWAPGS is executed exactly when the privilege changes. Ordinary traps know by the saved CS.
;      NMI, #MC and #DF can strike between the change and the SWAPGS: they look at the GS base
;      itself, which is in the upper half for the kernel and never for a user: arch_prctl
;      sees to that.
;      So can #DB: a program that single-steps itself through SYSCALL gets its step trap at the
;      first instruction of syscall_entry, on CPUs that look at TF before FMASK has cleared it, with
;      the program's stack and GS.
;   I3 A frame from user mode lies at the very top of the thread's kernel stack.
;   I4 RBP links frames through a trap, so that a backtrace shows what was interrupted.

GS_USER_RSP	equ 8			; struct cpu (kernel/x86/cpu.h)
GS_KERNEL_RSP	equ 16
GS_LIGHT_BELOW	equ 64
GS_LIGHT_CALLS	equ 72
NOT_LIGHT	equ -65536
RFLAGS_OTHERS	equ 0xffdbf128		; all but what trap_sysret_possible() allows
SEG_USER_DATA	equ 0x2b		; kernel/x86/gdt.h
SEG_USER_CODE	equ 0x33
TRAP_SYSCALL	equ 256
MSR_GS_BASE	equ 0xc0000101

TF_VECTOR	equ 15 * 8		; struct trapframe
TF_RIP		equ 17 * 8
TF_CS		equ 18 * 8
TF_RSP		equ 20 * 8
TF_BYTES	equ 22 * 8

extern trap_dispatch
extern trap_dispatch_paranoid
extern trap_syscall_fn
extern trap_light_fn
extern trap_finish_user
extern trap_smap
global trap_stubs
global syscall_entry
global trap_return_user

section .text

; Vector and error code are on the stack: build the rest of the frame.
%macro PUSH_REGISTERS 0
	push r9
	push r8
	push r10
	push rdx
	push rsi
	push rdi
	push rcx
	push rax
	push r11
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
%endmacro

; Undoes it. Vector and error code stay.
%macro POP_REGISTERS 0
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
	pop r11
	pop rax
	pop rcx
	pop rdi
	pop rsi
	pop rdx
	pop r10
	pop r8
	pop r9
%endmacro

; A trap may interrupt a user copy with AC set. CLAC exists only where CPUID has SMAP.
%macro CLEAR_AC 0
	cmp byte [trap_smap], 0
	je %%none
	clac
%%none:
%endmacro

; In: RSP = frame. Makes [saved rbp, interrupted rip] the newest link of the frame chain (I4).
; Out: RDI = frame. The stack stays 16-byte aligned. Clobbers RAX.
%macro LINK_FRAME 0
	mov rdi, rsp
	mov rax, [rdi + TF_RIP]
	push rax
	push rbp
	mov rbp, rsp
%endmacro

; 256 stubs of 16 bytes. Exceptions 8, 10-14, 17, 21, 29 and 30 push an error code (SDM 3A, table
; 6-1; AMD APM 2, 8.2); for the others a zero takes its place.
align 16
trap_stubs:
%assign v 0
%rep 256
	align 16
%if !(v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21 || v == 29 || v == 30)
	push 0
%endif
	push v
%if v == 1
	jmp strict near trap_debug
%elif v == 18
	jmp strict near trap_debug
%elif v == 2 || v == 8
	jmp strict near trap_paranoid
%else
	jmp strict near trap_common
%endif
%assign v v+1
%endrep
	align 16

; In: vector, error code and the CPU's five words on the stack. Interrupts are off (all gates).
trap_common:
	cld
	test byte [rsp + 24], 3		; CS
	jz .enter
	swapgs
.enter:
	PUSH_REGISTERS
	CLEAR_AC
	LINK_FRAME
	call trap_dispatch
	add rsp, 16
	test byte [rsp + TF_CS], 3
	jnz return_to_user
	POP_REGISTERS
	add rsp, 16
	iretq

; #DB and #MC, on a stack of the interrupt stack table each. One from user mode is an ordinary trap,
; whose handler may sleep: its frame moves to the thread's stack (I3).
trap_debug:
	test byte [rsp + 24], 3		; CS
	jz trap_paranoid
	cld
	swapgs
	push rdi
	mov rdi, rsp			; RDI, vector, error, rip, cs, rflags, rsp, ss
	mov rsp, [gs:GS_KERNEL_RSP]
	push qword [rdi + 56]
	push qword [rdi + 48]
	push qword [rdi + 40]
	push qword [rdi + 32]
	push qword [rdi + 24]
	push qword [rdi + 16]
	push qword [rdi + 8]
	mov rdi, [rdi]
	jmp trap_common.enter

; NMI, #DF, and #DB and #MC from the kernel: on a stack of the table, from anywhere (I2).
trap_paranoid:
	cld
	PUSH_REGISTERS
	CLEAR_AC
	mov ecx, MSR_GS_BASE
	rdmsr
	mov ebx, edx			; EBX < 0: GS is the kernel's. Survives the call
	test ebx, ebx
	js .enter
	swapgs
.enter:
	LINK_FRAME
	call trap_dispatch_paranoid
	add rsp, 16
	test ebx, ebx
	js .leave
	swapgs
.leave:
	POP_REGISTERS
	add rsp, 16
	iretq

; SYSCALL: RCX = user's rip, R11 = user's rflags; RSP is still the user's, interrupts are off
; (FMASK).
align 16
syscall_entry:
	swapgs
	mov [gs:GS_USER_RSP], rsp
	mov rsp, [gs:GS_KERNEL_RSP]
	cmp rax, [gs:GS_LIGHT_BELOW]	; 0, or TRAP_LIGHT_MAX
	jae syscall_usual
	cmp qword [trap_light_fn + rax * 8], 0
	jne syscall_light
syscall_usual:
	push SEG_USER_DATA
	push qword [gs:GS_USER_RSP]
	push r11
	push SEG_USER_CODE
	push rcx
	push rax			; "error" = number of the call
	push TRAP_SYSCALL
	PUSH_REGISTERS
	mov rdi, rsp
	xor ebp, ebp			; end of the frame chain
	call [trap_syscall_fn]		; AL = 1: the frame is fit for SYSRET
	test al, al
	jz return_to_user
	POP_REGISTERS			; RCX = rip and R11 = rflags, or C would have said no
	mov rsp, [rsp + TF_RSP - TF_VECTOR]
	swapgs
	o64 sysret

; What C does not preserve, but RAX.
%macro PUSH_CHANGED 0
	push r11
	push rcx
	push r9
	push r8
	push r10
	push rdx
	push rsi
	push rdi
%endmacro

%macro POP_CHANGED 0
	pop rdi
	pop rsi
	pop rdx
	pop r10
	pop r8
	pop r9
	pop rcx
	pop r11
%endmacro

; A call that has a light function, which gets six arguments in registers and nothing else: no frame
; is built, and what C preserves is not saved. RCX and R11 are as SYSCALL made them, so SYSRET may
; have them back; what of the flags it may not bring back (trap.h) the usual way knows.
; In: as syscall_usual. NOT_LIGHT: nothing has happened; everything is as it was.
syscall_light:
	test r11d, RFLAGS_OTHERS
	jnz syscall_usual
	PUSH_CHANGED
	push rax			; number of the call
	push rbp
	xor ebp, ebp			; end of the frame chain
	mov rcx, r10			; the fourth argument, where C has it
	call [trap_light_fn + rax * 8]
	pop rbp
	cmp rax, NOT_LIGHT
	je .usual
	pop rdi
	inc qword [gs:GS_LIGHT_CALLS + rdi * 8]
	POP_CHANGED
	mov rsp, [gs:GS_USER_RSP]
	swapgs
	o64 sysret
.usual:
	pop rax
	POP_CHANGED
	jmp syscall_usual

; void trap_return_user(struct trapframe *tf). In: RDI = frame at the top of this kernel stack.
trap_return_user:
	mov rsp, rdi
	xor ebp, ebp
	call trap_finish_user
; In: RSP = frame for user mode that trap.c has made safe. Interrupts off.
return_to_user:
	POP_REGISTERS
	add rsp, 16
	swapgs
	iretq
