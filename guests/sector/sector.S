# A disk that boots by itself: a boot sector and the sectors behind it, all in real mode. It reports over
# COM2 how the BIOS started it, what int 13h says of the disks, whether a VMM answers its probe
# in each mode; then it ends as the byte `mode` says.
#
#     as --32 -I . -o sector.o sector.S && ld -m elf_i386 -Ttext=0x7c00 --oformat=binary -o disk.img sector.o

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
    movw $(COM2 + 3), %dx       # 115200 baud, 8 data bits; from power-on it has 5
    movb $0x83, %al
    outb %al, %dx
    movw $COM2, %dx
    movb $1, %al
    outb %al, %dx
    incw %dx
    decb %al
    outb %al, %dx
    movw $(COM2 + 3), %dx
    movb $3, %al
    outb %al, %dx
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

.include "disks.S"
.include "probes.S"

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
