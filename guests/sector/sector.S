# A disk that boots by itself: a boot sector and the sectors behind it, all in real mode. It reports over
# COM2 how the BIOS started it, what int 13h says of the disks, whether a VMM answers its probe
# in each mode; then it ends as the byte `mode` says.
#
#     as --32 -o sector.o sector.S && ld -m elf_i386 -Ttext=0x7c00 --oformat=binary -o disk.img sector.o

.set COM2, 0x2f8
.set BUFFER, 0x6000             # 512 bytes; the stack is below
.set PACKET, 0x5f00
.set TABLES, 0x10000            # a page directory
.set MARK, 0x4B4F4F48            # any number
.set MARK_AT, 0x4F8             # 40:F0, for programs that start each other; the first 4 are next.S's
.set SECTORS, 4                 # behind the first
.set PROBE, 0x8f526d66          # crates/handover

.code16
.globl _start
_start:
    cli
    xorw %bx, %bx
    movw %bx, %ss
    movw $0x5f00, %sp
    movw %bx, %ds
    movw %ax, entry_ax
    movw %dx, entry_dx
    movw %es, entry_es
    movw %di, entry_di
    movw %cs, entry_cs
    ljmpw $0, $1f
1:  movw %bx, %es
    sti
    cld
    movw $(0x0200 + SECTORS), %ax
    movw $2, %cx
    xorb %dh, %dh
    movw $0x7e00, %bx
    int $0x13
    jnc second
    movw $unreadable, %si
    call print
1:  hlt
    jmp 1b

# SI: text
print:
    lodsb
    testb %al, %al
    jz 1f
    call put
    jmp print
1:  retw
put:
    pushw %dx
    pushw %ax
    movw $(COM2 + 5), %dx
1:  inb %dx, %al
    testb $0x20, %al
    jz 1b
    popw %ax
    movw $COM2, %dx
    outb %al, %dx
    popw %dx
    retw
# AX, AL in hexadecimal
hex16:
    pushw %ax
    movb %ah, %al
    call hex8
    popw %ax
hex8:
    pushw %ax
    shrb $4, %al
    call hex4
    popw %ax
    andb $15, %al
hex4:
    addb $'0', %al
    cmpb $'9', %al
    jbe put
    addb $('a' - '9' - 1), %al
    jmp put

unreadable: .asciz "SECTOR unreadable\n"
entry_ax: .word 0
entry_dx: .word 0
entry_es: .word 0
entry_di: .word 0
entry_cs: .word 0

.org 0x1a0
# What the disk's maker fills in.
mode: .byte 0                   # how it ends: `ends`
.org 0x1a4
target: .long 0                 # where mode 6 jumps to
.org 0x1b8
signature: .ascii "SELF"
.org 0x1fe
.word 0xaa55

second:
    cmpb $7, mode
    jne 1f
    cmpl $MARK, MARK_AT
    je 1f
    movl $MARK, MARK_AT         # once: int 13h as before, then the boot order anew, as some BIOSes do by int 19h
    movw 4 * 0x13 + 2, %es
    movl %es:8, %eax            # crates/setup: next.S, OLD
    movl %eax, 4 * 0x13
    int $0x19
1:
    movw $text_sector, %si
    call print
    movb entry_dx, %al
    call hex8
    movw $text_ax, %si
    call print
    movw entry_ax, %ax
    call hex16
    movw $text_cs, %si
    call print
    movw entry_cs, %ax
    call hex16
    movw $text_pnp, %si
    call print
    movw entry_es, %es
    movw entry_di, %di
    movb $'0', %al
    cmpl $0x506e5024, %es:(%di)
    jne 1f
    incb %al
1:  call put
    movw $text_kib, %si
    call print
    movw 0x413, %ax
    call hex16
    call newline
    call disks
    call probes
    movw $text_end, %si
    call print
    movzbw mode, %bx
    shlw $1, %bx
    jmpw *ends(%bx)
ends: .word end_halt, end_triple, end_keyboard, end_cf9, end_92, end_jump, end_hole, end_halt

newline:
    movb $10, %al
    jmp put

# Every service for disks 80h to 82h.
disks:
    movw $services, %si
1:  lodsb
    cmpb $0xff, %al
    je 3f
    movb %al, %bl
    movb $0x80, %dl
2:  pushw %si
    pushw %bx
    pushw %dx
    call service
    popw %dx
    popw %bx
    popw %si
    incb %dl
    cmpb $0x83, %dl
    jb 2b
    jmp 1b
3:  retw
services: .byte 0x00, 0x02, 0x04, 0x08, 0x10, 0x15, 0x41, 0x42, 0x44, 0x47, 0x48, 0x4b, 0x4e, 0x99, 0xff

# BL: service, DL: disk
service:
    movw $text_int13, %si
    call print
    movb %dl, %al
    call hex8
    movb $' ', %al
    call put
    movb %bl, %al
    call hex8
    movl $0, BUFFER + 0x1b8
    movl $0x00010010, PACKET    # one sector to BUFFER, LBA 0
    movl $BUFFER, PACKET + 4
    movl $0, PACKET + 8
    movl $0, PACKET + 12
    movw $0x001e, BUFFER        # AH = 48h: size of the result
    movl $0, BUFFER + 16
    movb %bl, %ah
    movb $1, %al
    movw $1, %cx
    movb $0x7b, %dh
    cmpb $2, %ah
    je 1f
    cmpb $4, %ah
    jne 2f
1:  xorb %dh, %dh
2:  movw $0x55aa, %bx
    cmpb $0x41, %ah
    je 3f
    movw $BUFFER, %bx
3:  movw $PACKET, %si
    cmpb $0x48, %ah
    jne 4f
    movw $BUFFER, %si
4:  pushw %ax
    stc
    int $0x13
    popw %di
    pushfw
    pushw %dx
    pushw %cx
    pushw %ax
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %sp, %bp
    movw $text_f, %si
    call print
    movw 6(%bp), %ax            # CF, and IF must be on as before
    andw $0x0201, %ax
    call hex16
    movw $3, %cx
5:  movb $' ', %al
    call put
    movw (%bp), %ax
    call hex16
    addw $2, %bp
    loop 5b
    addw $8, %sp
    shrw $8, %di
    cmpw $2, %di                # what was read
    je 6f
    cmpw $0x42, %di
    je 6f
    cmpw $0x48, %di             # sectors
    jne newline
    movw $(BUFFER + 16), %bx
    jmp 7f
6:  movw $(BUFFER + 0x1b8), %bx
7:  movb $' ', %al
    call put
    movw 2(%bx), %ax
    call hex16
    movw (%bx), %ax
    call hex16
    jmp newline

# The probe in each mode, CS = DS = 0 everywhere.
probes:
    cli
    movl 4 * 6, %eax
    movl %eax, old_ud
    movl $ud_real, 4 * 6
    movw $text_real, %si
    call probe16
    lgdt gdtr
    lidt idtr
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $0x08, $1f
.code32
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    call probe32
    movl %eax, in_protected
    movl $TABLES, %edi          # the first 4 MiB
    xorl %eax, %eax
    movl $1024, %ecx
    rep stosl
    movl $0x83, TABLES
    movl $TABLES, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orb $0x10, %al              # 4-MiB pages
    movl %eax, %cr4
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    call probe32
    movl %eax, in_paging
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    call probe32
    movl %eax, after_paging
    ljmpl $0x18, $2f
.code16
2:  movw $0x20, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmpw $0, $3f
3:  xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    lidt real_idtr
    movw $text_protected, %si
    movl in_protected, %eax
    call answer
    movw $text_paging, %si
    movl in_paging, %eax
    call answer
    movw $text_after, %si
    movl after_paging, %eax
    call answer
    movw $text_real, %si
    call probe16
    movl old_ud, %eax
    movl %eax, 4 * 6
    sti
    retw

# SI: text; the vector of #UD comes to ud_real
probe16:
    movl $PROBE, %eax
    vmmcall
1:  jmp answer
ud_real:
    addw $6, %sp
    xorl %eax, %eax
# SI: text, EAX: 0 for #UD
answer:
    pushl %eax
    call print
    popl %eax
    movw $text_ud, %si
    testl %eax, %eax
    jz print
    movw $text_answered, %si
    jmp print

.code32
probe32:
    movl $PROBE, %eax
    vmmcall
    ret
ud_protected:
    addl $12, %esp
    xorl %eax, %eax
    ret
.code16

# The ends.
end_halt:
    cli
    hlt
    jmp end_halt
end_triple:
    lidt no_idt
    int3
end_keyboard:
    movb $0xfe, %al
    outb %al, $0x64
    jmp end_halt
end_cf9:
    movw $0xcf9, %dx
    movb $2, %al
    outb %al, %dx
    movb $6, %al
    outb %al, %dx
    jmp end_halt
end_92:
    inb $0x92, %al
    orb $1, %al
    outb %al, $0x92
    jmp end_halt
end_jump:
    ljmpw $0xf000, $0xfff0
end_hole:                       # no interrupt table: what cannot be executed ends in a triple fault
    cli
    lgdt gdtr
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $0x08, $1f
.code32
1:  lidt no_idt
    jmpl *target
.code16

.balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    # 08 code32
    .quad 0x00cf93000000ffff    # 10 data
    .quad 0x00009b000000ffff    # 18 code16
    .quad 0x000093000000ffff    # 20 data16
gdtr:
    .word gdtr - gdt - 1
    .long gdt
idt:
    .skip 6 * 8
    .word ud_protected, 0x08, 0x8e00, 0
idtr:
    .word idtr - idt - 1
    .long idt
real_idtr:
    .word 0x3ff
    .long 0
no_idt:
    .word 0
    .long 0
old_ud: .long 0
in_protected: .long 0
in_paging: .long 0
after_paging: .long 0
text_sector: .asciz "SECTOR dl="
text_ax: .asciz " ax="
text_cs: .asciz " cs="
text_pnp: .asciz " pnp="
text_kib: .asciz " kib="
text_int13: .asciz "INT13 "
text_f: .asciz " f="
text_real: .asciz "PROBE real"
text_protected: .asciz "PROBE protected"
text_paging: .asciz "PROBE paging"
text_after: .asciz "PROBE after"
text_ud: .asciz " ud\n"
text_answered: .asciz " answered\n"
text_end: .asciz "END\n"
.org 512 * (1 + SECTORS)
