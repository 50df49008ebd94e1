/* 16-bit code that starts a disk as a BIOS would, presented as disk 80h. It lies at offset 0 of a segment
   of conventional memory, in the low page of a machine that runs the VMM or, where the VMM was
   refused, below the end of conventional memory.
   Ralf Brown's Interrupt List, INT 13, INT 19 and INT 18; BIOS Boot Specification 1.01, 6.4 and 6.5.

   {ENTRY}, real mode:  DL number of the disk as things are now; CX timer ticks to wait first or until a
                        key is pressed; SI the UART that messages go to as well, 0 for none.
                        DL = 0: what the firmware boots, or if that was just done the disk in DH.
   {PROTECTED}, 16-bit protected mode without paging, CS based here: AX the selector of a 64-KiB data
                        segment based at 0, EBX a far pointer to go on at in real mode. */

    .set PNP, 0x506E5024            /* $PnP */
    .set MARK, 0x3178466D           /* any number */
    .set MARK_AT, 0x4F0             /* 40:F0, 16 bytes for programs that start each other */
    .set MARKED, 0x4F4              /* the ticks then */
    .set SOON, 18 * 60 * 10         /* ticks, ten minutes: longer than a boot takes */
    .set BASE_MEMORY, 0x413
    .set TICKS, 0x46C
    .set VECTOR_UD, 4 * 6
    .set VECTOR_13, 4 * 0x13
    .set SECTOR, 0x7C00

    .pushsection .rodata.next, "a"
    .code16
    .globl next_begin, next_end
next_begin:
    jmp .Lstart
    .skip {PROTECTED} - 2
.Lprotected:
    jmp .Lto_real
    .skip {OLD} - {PROTECTED} - 2
    .long 0                         /* {OLD}: the vector of int 13h before */
    .byte 0                         /* {DIFFER}: 80h with the bits of the other disk toggled */
    .byte 0                         /* {HOOKED}: int 13h has come here */
    .short 0                        /* {ASKED}: DX at the entry */
    .short 0                        /* {UART} */
    .short 0x3FF                    /* {VECTORS}: limit and base of the vectors */
    .long 0

.Lto_real:
    movw %ax, %ss
    movl $SECTOR, %esp
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    pushl %ebx
    lidtl %cs:{VECTORS}
    movl %cr0, %eax
    andb $0xFE, %al
    movl %eax, %cr0
    lretw

.Lstart:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ss
    movw $SECTOR, %sp
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %dx, %cs:{ASKED}
    movw %si, %cs:{UART}
    sti
    call .Lpause
    movw %cs:{ASKED}, %dx
    testb %dl, %dl
    jnz .Ldisk
/* A firmware may keep that memory over a reset: a mark of long ago is none. */
    movl $MARK, %eax
    movl TICKS, %ebx
    movl %ebx, %ecx
    subl MARKED, %ecx
    cmpl $SOON, %ecx
    jae 1f
    cmpl %eax, MARK_AT
    je 2f
1:  movl %eax, MARK_AT
    movl %ebx, MARKED
    int $0x19
2:  movl $0, MARK_AT
    movb %dh, %dl
    movb %dl, %cs:{ASKED}

/* DL: the disk. Its first sector is read before anything is exchanged. Whether an exchange of before is still in
   force shows meanwhile: a BIOS may have set the vector back by int 19h, and who took it over since passes it on. */
.Ldisk:
    movb $0, %cs:{HOOKED}
    movw $3, %di
1:  pushw %dx
    pushw %di
    xorb %dh, %dh
    movw $0x0201, %ax               /* one sector, the first of the disk */
    movw $0x0001, %cx
    movw $SECTOR, %bx
    int $0x13
    popw %di
    popw %dx
    jnc 2f
    pushw %dx
    pushw %di
    xorw %ax, %ax                   /* reset and try again */
    int $0x13
    popw %di
    popw %dx
    decw %di
    jnz 1b
    movw $(.Lunreadable - next_begin), %si
    jmp .Lrefuse
2:  cmpw $0xAA55, SECTOR + 510
    movw $(.Lno_loader - next_begin), %si
    jne .Lrefuse

/* Through an exchange of before to the number the firmware has for it. */
    cmpb $0, %cs:{HOOKED}
    jne 1f
    movb $0, %cs:{DIFFER}
1:  movb %cs:{DIFFER}, %al
    movb %al, %ah
    xorb $0x80, %ah
    cmpb $0x80, %dl
    je 1f
    cmpb %ah, %dl
    jne 2f
1:  xorb %al, %dl
2:  xorb $0x80, %dl
    movb %dl, %cs:{DIFFER}
    jz .Lgo
    cmpb $0, %cs:{HOOKED}
    jne .Lgo
/* Where nobody has reserved this memory yet it is taken as boot code has always done. */
    movw %cs, %bx
    movw BASE_MEMORY, %ax
    shlw $6, %ax
    cmpw %ax, %bx
    jae 3f
    shrw $6, %bx
    movw %bx, BASE_MEMORY
3:  cli
    movl VECTOR_13, %eax
    movl %eax, %cs:{OLD}
    movw $(.Lexchange - next_begin), VECTOR_13
    movw %cs, VECTOR_13 + 2
    sti

/* ES:DI: the Plug and Play installation check, if there is one; Plug and Play BIOS 1.0A, 4.4. */
.Lgo:
    movw $0xF000, %ax
    movw %ax, %es
    xorw %di, %di
1:  cmpl $PNP, %es:(%di)
    jne 3f
    movzbw %es:5(%di), %cx
    movw %di, %bx
    xorb %al, %al
2:  addb %es:(%bx), %al
    incw %bx
    loop 2b
    testb %al, %al
    jz 4f
3:  addw $16, %di
    jnc 1b
    movw %di, %es                   /* 0: none */
4:  xorw %bx, %bx
    xorw %cx, %cx
    xorw %si, %si
    xorw %bp, %bp
    movw $0x0080, %dx
    movw $0xAA55, %ax
    ljmpw $0, $SECTOR

/* SI: why not. No UART: there is a VMM, whose log gets it. If it takes no calls any more each is #UD, and skipped. */
.Lrefuse:
    pushw %si
    cmpw $0, %cs:{UART}
    jne 1f
    movb %cs:{ASKED}, %bl
    cmpw $(.Lno_loader - next_begin), %si
    sete %bh
    movl ${NO_DISK}, %eax
    cli
    pushl VECTOR_UD
    movw $(.Lskip - next_begin), VECTOR_UD
    movw %cs, VECTOR_UD + 2
    vmmcall
    vmcall
    popl VECTOR_UD
    sti
1:
    movb $0x0F, %ah                 /* in a text mode it can be read */
    int $0x10
    andb $0x7F, %al
    cmpb $7, %al
    je 1f
    cmpb $3, %al
    jbe 1f
    movw $0x0003, %ax
    int $0x10
1:  movb $0x03, %ah                 /* below what the loader has written there */
    xorb %bh, %bh
    int $0x10
    cmpb $10, %dh
    jae 2f
    movw $(10 << 8), %dx
    movb $0x02, %ah
    int $0x10
2:  movw $(.Ldisk_number - next_begin), %si
    call .Lprint
    movb %cs:{ASKED}, %al
    movb %al, %ch
    shrb $4, %al
    call .Ldigit
    movb %ch, %al
    andb $0x0F, %al
    call .Ldigit
    popw %si
    call .Lprint
    movw $91, %cx
    call .Lpause
    int $0x18
3:  cli
    hlt
    jmp 3b

/* #UD in VMMCALL or VMCALL, 3 bytes each. */
.Lskip:
    pushw %bp
    movw %sp, %bp
    addw $3, 2(%bp)
    popw %bp
    iretw

/* CX: timer ticks, 18.2 a second, or until a key is pressed. */
.Lpause:
    jcxz 3f
    movw TICKS, %bx
1:  movb $1, %ah
    int $0x16
    jnz 2f
    movw TICKS, %ax
    subw %bx, %ax
    cmpw %cx, %ax
    jb 1b
    ret
2:  xorw %ax, %ax
    int $0x16
3:  ret

.Ldigit:
    addb $'0', %al
    cmpb $'9', %al
    jbe .Lput
    addb $('A' - '9' - 1), %al
/* AL: a character, to the screen and the UART. */
.Lput:
    pushw %cx
    pushw %si
    movw %cs:{UART}, %dx
    testw %dx, %dx
    jz 3f
    movb %al, %ah
    xorw %cx, %cx
    addw $5, %dx
1:  inb %dx, %al                    /* transmitter empty, or after 65,536 looks */
    testb $0x20, %al
    loopz 1b
    subw $5, %dx
    movb %ah, %al
    outb %al, %dx
3:  movb $0x0E, %ah
    movw $0x0007, %bx
    int $0x10
    popw %si
    popw %cx
    ret

.Lprint:
    movb %cs:(%si), %al
    incw %si
    testb %al, %al
    jz 1f
    call .Lput
    jmp .Lprint
1:  ret

/* Int 13h: disk 80h and the other one change places. AH = 08h gives the number of disks in DL and AH = 15h
   a part of the size in DX; all other services leave DL as it is. */
.Lexchange:
    movb $1, %cs:{HOOKED}
    cmpb $0x80, %dl
    je 1f
    pushw %ax
    movb %cs:{DIFFER}, %al
    xorb $0x80, %al
    cmpb %al, %dl
    popw %ax
    je 1f
    ljmpw *%cs:{OLD}
1:  pushw %dx
    pushw %ax
    xorb %cs:{DIFFER}, %dl
    pushfw
    lcallw *%cs:{OLD}
    pushw %bp
    movw %sp, %bp                   /* BP, AX, DX, IP, CS, flags */
    pushw %ax
    lahf
    movb %ah, 10(%bp)
    movb 4(%bp), %al
    xorb %cs:{DIFFER}, %al
    cmpb %al, %dl                   /* something else came back */
    jne 3f
    testb $1, %ah
    jnz 2f
    movb 3(%bp), %ah
    cmpb $0x08, %ah
    je 3f
    cmpb $0x15, %ah
    je 3f
2:  movb 4(%bp), %dl
3:  popw %ax
    popw %bp
    addw $4, %sp
    iretw

.Ldisk_number:
    .asciz "Ramooflax: disk "
.Lunreadable:
    .asciz " cannot be read. Expected: a disk of this number. Attach it, or choose another by boot=. The firmware goes on.\r\n"
.Lno_loader:
    .asciz " has no boot sector. Expected: 55AA at its end. Choose another disk by boot=. The firmware goes on.\r\n"
next_end:
    .code64
    .popsection
