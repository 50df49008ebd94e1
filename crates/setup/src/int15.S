/* The page of conventional memory the guest begins in and keeps: its first instruction, and the
   memory services of `int 15h` answered from tables, everything else left to the firmware.
   ACPI 6.5, 15.1 (E820h); Ralf Brown's Interrupt List, INT 15/AX=E801h, INT 15/AH=88h.

   What some vendors' firmware offers beside these would tell the memory as it was. So it fails as on
   machines without it: AX=E881h and AH=8Ah (Phoenix), AX=DA88h (AMI), AH=C7h (PS/2). Their callers
   fall back on the others.

   The page starts at offset 0 of its segment. Offsets of the data, filled in by setup:
     {OLD} the firmware's vector; {E801} AX and BX of E801h; {EXT88} AX of 88h;
     {COUNT} number of E820h entries; {TABLE} the entries, 24 bytes each. */

    .pushsection .rodata.int15, "a"
    .code16
    .globl int15_begin, int15_end
int15_begin:
    .skip {START}
    int $0x19
1:  cli
    hlt
    jmp 1b
    .skip {HANDLER} - {START} - 6

handler:
    cmpw $0xE820, %ax
    je e820
    cmpw $0xE801, %ax
    je e801
    cmpb $0x88, %ah
    je ext88
    cmpw $0xE881, %ax
    je failure
    cmpw $0xDA88, %ax
    je failure
    cmpb $0x8A, %ah
    je failure
    cmpb $0xC7, %ah
    je failure
    ljmpw *%cs:{OLD}

ext88:
    movw %cs:{EXT88}, %ax
    jmp success

e801:
    movw %cs:{E801}, %ax
    movw %cs:{E801} + 2, %bx
    movw %ax, %cx
    movw %bx, %dx

/* The caller's carry flag is the one IRET takes from its stack. */
success:
    pushw %bp
    movw %sp, %bp
    andb $0xFE, 6(%bp)
    popw %bp
    iretw

/* EBX: index of the entry, 0 to begin; ES:DI: buffer of ECX bytes; EDX: 'SMAP'. */
e820:
    cmpl $0x534D4150, %edx
    jne failure
    cmpl $20, %ecx
    jb failure
    cmpl %cs:{COUNT}, %ebx
    jae failure
    cmpl $24, %ecx
    movl $20, %ecx
    jb 1f
    movb $24, %cl
1:  pushw %ds
    pushw %si
    pushw %di
    pushw %cx
    pushw %cs
    popw %ds
    imulw $24, %bx, %si
    addw ${TABLE}, %si
    cld
    rep movsb
    popw %cx
    popw %di
    popw %si
    popw %ds
    incl %ebx
    cmpl %cs:{COUNT}, %ebx
    jb 1f
    xorl %ebx, %ebx
1:  movl %edx, %eax
    jmp success

failure:
    movb $0x86, %ah
    pushw %bp
    movw %sp, %bp
    orb $1, 6(%bp)
    popw %bp
    iretw
code_end:
    /* Refused by the assembler if the code does not end before the entries. */
    .skip {TABLE} - (code_end - int15_begin)
int15_end:
    .code64
    .popsection
