/* From the boot loader's 32-bit protected mode to long mode.
   Multiboot 0.6.96, 3.1 and 3.2; Multiboot 2.0, 3.1 and 3.3; AMD APM 2, 14.6 (to long mode). */

/* ---- What boot loaders look for ------------------------------------------------------------ */

    .section .multiboot, "ax"
    .balign 8
    /* Bits 0 (page-aligned modules), 1 (memory map), 16 (the addresses below are valid: this is
       a 64-bit ELF file, which a multiboot 1 loader would otherwise refuse). */
    .set MB1_MAGIC, 0x1BADB002
    .set MB1_FLAGS, 0x00010003
mb1_header:
    .long MB1_MAGIC, MB1_FLAGS, -(MB1_MAGIC + MB1_FLAGS)
    .long mb1_header, __load_start, __load_end, __bss_end, entry32

    .balign 8
    .set MB2_MAGIC, 0xE85250D6
    .set MB2_LEN, mb2_end - mb2_header
mb2_header:
    .long MB2_MAGIC, 0, MB2_LEN, -(MB2_MAGIC + MB2_LEN)
    .short 1, 0             /* must be given: command line, modules, memory map */
    .long 20, 1, 3, 6
    .balign 8
    .short 1, 1             /* may be given: the RSDP, old and new */
    .long 16, 14, 15
    .balign 8
    .short 2, 0             /* addresses */
    .long 24, mb2_header, __load_start, __load_end, __bss_end
    .balign 8
    .short 3, 0             /* entry address */
    .long 12, entry32
    .balign 8
    .short 6, 0             /* page-aligned modules */
    .long 8
    .balign 8
    .short 0, 0
    .long 8
mb2_end:

/* ---- 32-bit -------------------------------------------------------------------------------- */

    .section .text.entry32, "ax"
    .code32
    .globl entry32
entry32:
    cli
    cld
    movl $__stack_top, %esp
    movl %eax, %edi                 /* for boot(): the magic, the address of the information */
    movl %ebx, %esi

    movl $no_multiboot, %ebp
    cmpl $0x2BADB002, %edi
    je 1f
    cmpl $0x36D76289, %edi
    jne fail32
1:
    /* CPUID exists if EFLAGS.ID can be toggled (APM 2, 3.1.6). */
    movl $no_long_mode, %ebp
    pushfl
    popl %eax
    movl %eax, %ecx
    xorl $0x200000, %eax
    pushl %eax
    popfl
    pushfl
    popl %eax
    xorl %ecx, %eax
    testl $0x200000, %eax
    jz fail32
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb fail32
    movl $0x80000001, %eax
    cpuid
    testl $(1 << 29), %edx
    jz fail32

    /* Identity map of the first 4 GiB: present, writable; 2 MiB pages. */
    movl $(boot_pdpt + 3), boot_pml4
    xorl %ecx, %ecx
    movl $(boot_pd + 3), %eax
1:  movl %eax, boot_pdpt(, %ecx, 8)
    addl $4096, %eax
    incl %ecx
    cmpl $4, %ecx
    jb 1b
    xorl %ecx, %ecx
    movl $0x83, %eax
1:  movl %eax, boot_pd(, %ecx, 8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $2048, %ecx
    jb 1b

    movl %cr4, %eax
    orl $(1 << 5), %eax             /* PAE */
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xC0000080, %ecx          /* EFER.LME */
    rdmsr
    orl $(1 << 8), %eax
    wrmsr
    lgdt boot_gdtr
    movl %cr0, %eax
    orl $(1 << 31), %eax            /* PG */
    movl %eax, %cr0
    ljmpl $0x08, $entry64

/* EBP: the message. Shown at the top of a text screen and sent to COM1 at 115200 baud. */
fail32:
    movw $0x3FB, %dx                /* LCR: divisor latch */
    movb $0x80, %al
    outb %al, %dx
    movw $0x3F8, %dx
    movb $1, %al
    outb %al, %dx
    movw $0x3F9, %dx
    xorl %eax, %eax
    outb %al, %dx
    movw $0x3FB, %dx                /* 8 data bits, no parity, 1 stop bit */
    movb $3, %al
    outb %al, %dx
    movl $0xB8000, %ebx
1:  movb (%ebp), %al
    testb %al, %al
    jz 4f
    movb %al, (%ebx)
    movb $0x4F, 1(%ebx)
    addl $2, %ebx
    movb %al, %ah
    movw $0x3FD, %dx                /* LSR: transmitter empty, or no UART that ever will be */
    movl $0x10000, %ecx
2:  inb %dx, %al
    testb $0x20, %al
    jnz 3f
    loop 2b
3:  movb %ah, %al
    movw $0x3F8, %dx
    outb %al, %dx
    incl %ebp
    jmp 1b
4:  cli
    hlt
    jmp 4b

/* ---- 64-bit -------------------------------------------------------------------------------- */

    .code64
entry64:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    /* The upper halves are undefined after the mode switch (APM 1, 3.1.2). */
    movl %edi, %edi
    movl %esi, %esi
    movl $__stack_top, %esp
    xorl %ebp, %ebp
    call boot
1:  cli
    hlt
    jmp 1b

    .section .rodata.entry32, "a"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF        /* 08: code, 64 bit, accessed */
    .quad 0x00CF93000000FFFF        /* 10: data, accessed */
boot_gdtr:
    .short boot_gdtr - boot_gdt - 1
    .long boot_gdt
no_multiboot:
    .asciz "Ramooflax was not started by a multiboot loader. Expected: GRUB's multiboot or multiboot2 command, iPXE or QEMU. Start it with one of these. Halted."
no_long_mode:
    .asciz "Ramooflax cannot run on this CPU: it has no 64-bit long mode. Expected: a 64-bit AMD CPU with SVM and nested paging. Use such a machine. Halted."

    .section .bss.entry32, "aw", @nobits
    .balign 4096
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pd:
    .skip 4 * 4096
    .skip 64 * 1024
__stack_top:
