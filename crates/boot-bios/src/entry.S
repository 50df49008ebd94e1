/* From the boot loader's 32-bit protected mode to long mode, and from there back to real mode.
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

    lgdt boot_gdtr
    ljmpl $0x18, $1f
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss

/* Is the VMM there already? A CPU without a hypervisor raises #UD, a foreign hypervisor answers otherwise
   or raises #UD or #GP: all exceptions come to probe_fault. */
    movl $probe_idt, %ebx
    movl $32, %ecx
1:  movl $probe_fault, %eax
    cmpl $32 - 2, %ecx
    jne 2f
    movl $probe_nmi, %eax
2:  movl %eax, %edx
    andl $0xFFFF, %eax
    orl $(0x18 << 16), %eax
    movl %eax, (%ebx)
    movw $0x8E00, %dx               /* present, 32-bit interrupt gate */
    movl %edx, 4(%ebx)
    addl $8, %ebx
    loop 1b
    lidt probe_idtr
    movl %edi, saved_magic
    movl %esi, saved_info
    movl $probe_intel, %ebp
    movl ${PROBE}, %eax
    vmmcall
    jmp probe_check
probe_intel:
    movl $probe_done, %ebp
    movl ${PROBE}, %eax
    vmcall
    jmp probe_check
probe_done:
    movl saved_magic, %edi
    movl saved_info, %esi

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
    movl %cr0, %eax
    orl $(1 << 31), %eax            /* PG */
    movl %eax, %cr0
    ljmpl $0x08, $entry64

/* EBP: where to go on if it was not answered. */
probe_check:
    cmpl ${ANSWER}, %eax
    jne probe_fault
    cmpl $~{PROBE}, %ecx
    jne probe_fault
    movl %ebx, next_disk
    movl $probe_done, %ebp
probe_fault:
    movl $__stack_top, %esp
    jmp *%ebp
probe_nmi:
    iretl

/* To real mode by the 16-bit code that lies at EDI, with EBX, EDX, ECX and ESI for it: setup's next.S. */
to_real:
    movl %cr0, %eax
    andl $0x7FFFFFFF, %eax
    movl %eax, %cr0
    movl %edi, %eax
    movw %ax, boot_gdt + 0x20 + 2
    shrl $16, %eax
    movb %al, boot_gdt + 0x20 + 4
    movl $0x28, %eax
    ljmpl $0x20, ${PROTECTED}

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
4:  cmpl $0x2BADB002, saved_magic
    je 5f
    cmpl $0x36D76289, saved_magic
    jne 9f
/* Nothing has been changed: what the firmware boots, or the next disk if that comes here again. */
5:  movzwl 0x413, %edi              /* KiB of conventional memory */
    decl %edi
    shll $10, %edi
    cmpl $0x10000, %edi
    jb 9f
    cmpl $0x9FC00, %edi
    ja 9f
/* The drive that this was started from, into CL, before the copy is made: the information may lie there. */
    movl saved_info, %eax
    xorl %ecx, %ecx
    cmpl $0x2BADB002, saved_magic
    je 4f
    movl (%eax), %edx               /* multiboot 2: a list of tags, type and size first */
    addl %eax, %edx
    addl $8, %eax
1:  leal 12(%eax), %esi
    cmpl %edx, %esi
    ja 5f
    cmpl $5, (%eax)
    je 3f
    movl 4(%eax), %esi
    cmpl $8, %esi
    jb 5f
    addl $7, %esi
    andl $~7, %esi
    addl %esi, %eax
    jnc 1b
    jmp 5f
3:  movb 8(%eax), %cl
    jmp 5f
4:  testb $2, (%eax)                /* multiboot 1: the highest byte of boot_device */
    jz 5f
    movb 15(%eax), %cl
5:  movl $0x8000, %edx              /* DH: the next disk */
    cmpb $0x80, %cl
    jne 6f
    movl $0x8100, %edx
6:  movl %edi, %ebx
    shll $12, %ebx
    orl ${ENTRY}, %ebx
    pushl %edi
    movl $next_begin, %esi
    movl $next_end, %ecx
    subl %esi, %ecx
    rep movsb
    popl %edi
    movl ${PAUSE}, %ecx
    movl $0x3F8, %esi
    jmp to_real
9:  cli
    hlt
    jmp 9b

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
    movl next_disk, %edx
    movl $__stack_top, %esp
    xorl %ebp, %ebp
    call boot
1:  cli
    hlt
    jmp 1b

/* leave(edi: where setup's next.S lies; esi, edx, ecx, r8d: EBX, EDX, ECX, ESI for it). */
    .globl leave
leave:
    cli
    movl %esi, %ebx
    movl %r8d, %esi
    movl $__stack_top, %esp
    pushq $0x18
    pushq $leave32
    lretq
    .code32
leave32:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %ecx, %ebp
    movl %edx, %esp                 /* nothing is pushed any more */
    movl %cr0, %eax
    andl $0x7FFFFFFF, %eax
    movl %eax, %cr0
    movl $0xC0000080, %ecx          /* EFER as it was */
    rdmsr
    andl $~(1 << 8), %eax
    wrmsr
    xorl %eax, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    andl $~(1 << 5), %eax
    movl %eax, %cr4
    movl %ebp, %ecx
    movl %esp, %edx
    jmp to_real
    .code64

    .section .rodata.entry32, "a"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00AF9B000000FFFF        /* 08: code, 64 bit, accessed */
    .quad 0x00CF93000000FFFF        /* 10: data, accessed */
    .quad 0x00CF9B000000FFFF        /* 18: code, 32 bit */
    .quad 0x00009B000000FFFF        /* 20: code, 16 bit; its base is filled in */
    .quad 0x000093000000FFFF        /* 28: data, 64 KiB */
boot_gdtr:
    .short boot_gdtr - boot_gdt - 1
    .long boot_gdt
probe_idtr:
    .short 32 * 8 - 1
    .long probe_idt
no_multiboot:
    .asciz "Ramooflax was not started by a multiboot loader. Expected: GRUB's multiboot or multiboot2 command, iPXE or QEMU. Start it with one of these. Halted."
no_long_mode:
    .asciz "Ramooflax cannot run on this CPU: it has no 64-bit long mode. Expected: a 64-bit AMD or Intel CPU with SVM and nested paging, or VMX and EPT. Use such a machine. The firmware boots on in 10 seconds or at a key."

    .section .bss.entry32, "aw", @nobits
    .balign 4096
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pd:
    .skip 4 * 4096
probe_idt:
    .skip 32 * 8
saved_magic:
    .skip 4
saved_info:
    .skip 4
next_disk:
    .skip 4
    .balign 16
    .skip 64 * 1024
__stack_top:
