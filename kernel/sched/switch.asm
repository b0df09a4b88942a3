; SPDX-License-Identifier: MIT
;
; What: the exchange of two kernel stacks. All else of a context switch is C (kernel/sched/sched.c).

global sched_switch_stacks
global thread_trampoline
extern thread_begin

section .text

; void sched_switch_stacks(u64 *save_rsp, u64 load_rsp)
; In: RDI = where to leave our stack pointer, RSI = the other thread's. Interrupts off.
; Returns on the other stack; to the caller, when somebody switches back. Keeps the registers that
; the System V ABI says a function keeps; the compiler has saved the others. Direction flag is
; clear.
sched_switch_stacks:
	push rbp
	push rbx
	push r12
	push r13
	push r14
	push r15
	mov [rdi], rsp
	mov rsp, rsi
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbx
	pop rbp
	ret

; Where a new thread comes to life: sched_switch_stacks() returns to here.
; RSP is 16-byte aligned. thread_begin() does not return.
thread_trampoline:
	xor ebp, ebp			; end of the frame-pointer chain, for backtraces
	call thread_begin
	ud2
