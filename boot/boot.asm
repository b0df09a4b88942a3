; SPDX-License-Identifier: MIT
;
; What: the first instructions. Two loaders enter here, both in 32-bit protected mode without
; paging: GRUB by multiboot2 (EAX = magic, EBX = information) and QEMU's -kernel by PVH (EBX = start
; info). This file brings the boot CPU to 64-bit mode at main(magic, info).
;
; Not here: reading what the loader says (kernel/bootinfo.c), other CPUs (boot/trampoline.asm).
;
; The boot page tables map the first 4 GiB three times, all of it writable and executable:
;     at 0               so that this code goes on running while paging is switched on
;     at PHYSMAP_BASE    so that loader tables and device registers can be read early
;     at KERNEL_BASE     (first 2 GiB only) where the kernel is linked
; mm/kmap.c replaces them by tables with proper rights. The trampoline uses them once more.

PHYSMAP_SLOT	equ 256			; PML4 index of PHYSMAP_BASE (mm/layout.h)
MB2_MAGIC	equ 0xe85250d6
XEN_ELFNOTE_PHYS32_ENTRY equ 18

CR0_PE		equ 1 << 0
CR0_WP		equ 1 << 16
CR0_NW		equ 1 << 29
CR0_CD		equ 1 << 30
CR0_PG		equ 1 << 31
CR4_PAE		equ 1 << 5
MSR_EFER	equ 0xc0000080
EFER_LME	equ 1 << 8

PTE_PW		equ 3			; present, writable
PTE_LEAF	equ 0x83		; present, writable, large

extern main
global boot_multiboot2_entry
global boot_pvh_entry
global boot_pml4
global boot_gdt_pointer
global boot_stack_top

; ---- Headers by which the loaders find us -------------------------------------------------------

section .boot.header progbits alloc noexec nowrite align=8
mb2_start:
	dd MB2_MAGIC, 0, mb2_end - mb2_start, 0x100000000 - (MB2_MAGIC + (mb2_end - mb2_start))
	dw 1, 0				; tag: the memory map and the modules are needed
	dd 16, 6, 3
	dw 6, 0				; tag: modules begin on pages
	dd 8
	dw 0, 0				; end
	dd 8
mb2_end:

section .note.pvh note alloc noexec nowrite align=4
	dd 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
	db "Xen", 0
	dd boot_pvh_entry

; ---- 32-bit code, linked at its physical address ------------------------------------------------

section .boot.text progbits alloc exec nowrite align=16
bits 32

; In: EBX = struct hvm_start_info. EAX is undefined: 0 stands for PVH from here on.
boot_pvh_entry:
	xor eax, eax
; In: EAX = loader's magic, EBX = physical address of its information. Nothing else is known.
boot_multiboot2_entry:
	cli
	cld
	mov esp, boot_stack32_top
	mov edi, eax			; first and second argument of main(), kept from here on
	mov esi, ebx

	; 1. Does this CPU have 64-bit mode? CPUID exists if EFLAGS.ID can be flipped (SDM 1, 20.1).
	pushfd
	pop eax
	mov ecx, eax
	xor eax, 1 << 21
	push eax
	popfd
	pushfd
	pop eax
	mov edx, msg_no_cpuid
	cmp eax, ecx
	je boot_fail
	mov eax, 0x80000000
	cpuid
	mov edx, msg_no_long_mode
	cmp eax, 0x80000001
	jb boot_fail
	mov eax, 0x80000001
	cpuid
	bt edx, 29
	mov edx, msg_no_long_mode
	jnc boot_fail

	; 2. Boot page tables. Bochs' BIOS leaves the caches off (CR0.CD and NW): on with them.
	call fill_page_tables
	mov eax, cr0
	and eax, ~(CR0_CD | CR0_NW)
	mov cr0, eax

	; 3. PAE, then the tables, then EFER.LME, then paging: the order of SDM 3A, 9.8.5.
	mov eax, CR4_PAE
	mov cr4, eax
	mov eax, boot_pml4
	mov cr3, eax
	mov ecx, MSR_EFER
	rdmsr
	or eax, EFER_LME
	wrmsr
	mov eax, cr0
	or eax, CR0_PG | CR0_WP | CR0_PE
	mov cr0, eax

	; 4. A 64-bit code segment.
	lgdt [boot_gdt_pointer]
	jmp 8:enter64

; Identity, direct and kernel map of low memory by 2 MiB leaves. Clobbers EAX and ECX.
fill_page_tables:
	mov eax, boot_pdpt_low + PTE_PW
	mov [boot_pml4], eax
	mov [boot_pml4 + PHYSMAP_SLOT * 8], eax
	mov dword [boot_pml4 + 511 * 8], boot_pdpt_high + PTE_PW
	mov eax, boot_pd + PTE_PW
	xor ecx, ecx
.pdpt:
	mov [boot_pdpt_low + ecx * 8], eax
	add eax, 4096
	inc ecx
	cmp ecx, 4
	jb .pdpt
	mov dword [boot_pdpt_high + 510 * 8], boot_pd + PTE_PW
	mov dword [boot_pdpt_high + 511 * 8], boot_pd + 4096 + PTE_PW
	mov eax, PTE_LEAF
	xor ecx, ecx
.pd:
	mov [boot_pd + ecx * 8], eax
	add eax, 2 << 20
	inc ecx
	cmp ecx, 4 * 512
	jb .pd
	ret

; In: EDX = text, NUL-terminated. Shows it where somebody may look: COM1 and the VGA text screen.
boot_fail:
	mov ebx, 0xb8000
	mov esi, edx
.next:
	lodsb
	test al, al
	jz .halt
	mov ah, 0x4f			; white on red
	mov [ebx], ax
	add ebx, 2
	mov dx, 0x3f8
	out dx, al
	jmp .next
.halt:
	hlt
	jmp .halt

msg_no_cpuid:
	db "dax64: this CPU has no CPUID instruction; a 64-bit CPU is needed", 13, 10, 0
msg_no_long_mode:
	db "dax64: this CPU has no 64-bit mode (CPUID 80000001h EDX bit 29)", 13, 10, 0

bits 64
; In: EDI, ESI = arguments of main().
enter64:
	xor eax, eax			; null data segments: 64-bit mode does not look at them
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov fs, eax
	mov gs, eax
	mov edi, edi			; clear the upper halves
	mov esi, esi
	xor ebp, ebp			; end of the frame-pointer chain, for backtraces
	mov rsp, boot_stack_top
	mov rax, main
	call rax			; does not return
	ud2

align 8
boot_gdt:
	dq 0
	dq 0x00af9b000000ffff		; 08: 64-bit code, accessed (so that nobody writes here)
	dq 0x00cf93000000ffff		; 10: data
boot_gdt_end:
boot_gdt_pointer:
	dw boot_gdt_end - boot_gdt - 1
	dd boot_gdt, 0

; ---- Boot page tables and stacks ----------------------------------------------------------------

section .boot.bss nobits alloc noexec write align=4096
boot_pml4:	resb 4096
boot_pdpt_low:	resb 4096
boot_pdpt_high:	resb 4096
boot_pd:	resb 4 * 4096
boot_stack32:	resb 256
boot_stack32_top:

section .bss nobits alloc noexec write align=4096
boot_stack:	resb 16384
boot_stack_top:
