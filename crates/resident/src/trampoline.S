# Where another CPU begins: at the first byte of a page of low memory, in real mode, CS = page / 16. It is copied there with
# its words filled in, and takes the CPU to 64-bit mode at once: APM 2, 14.6; SDM 3A, 9.8.5.
    .section .rodata.trampoline, "a"
    .balign 16
    .global trampoline
trampoline:
    .code16
    cli
    cld
    mov ax, cs
    mov ds, ax
    mov eax, dword ptr ds:[0xa8]        # CR4
    mov cr4, eax
    mov eax, dword ptr ds:[0xa0]        # CR3
    mov cr3, eax
    mov ecx, 0xc0000080
    xor edx, edx
    mov eax, dword ptr ds:[0xac]        # EFER
    wrmsr
    .byte 0x66, 0x0f, 0x01, 0x16        # lgdtd [0xb0]
    .word 0xb0
    mov eax, dword ptr ds:[0xa4]        # CR0
    mov cr0, eax
    .byte 0x66, 0xff, 0x2e              # ljmpd [0xb8]
    .word 0xb8

    .org trampoline + 0x60
    .code64
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov rsp, [rip + trampoline + 0xc0]
    mov rdi, [rip + trampoline + 0xc8]
    xor ebp, ebp
    call [rip + trampoline + 0xd0]

    # The GDT: 64-bit code at 8.
    .org trampoline + 0x80
    .quad 0, 0x00af9b000000ffff

    # The words: CR3, CR0, CR4, EFER; GDTR; the far pointer to the code above; stack, seat, entry.
    .org trampoline + 0xa0
    .long 0, 0, 0, 0
    .word 15
    .long 0
    .word 0
    .long 0
    .word 8, 0
    .org trampoline + 0x100
    .text
