# Address line 20 in real mode. low_arg: the routine that turns it off, the one that turns it on.
# low_result: for each state (off, on) 4 words: bits of the aliases seen, then what was read back.

.section .low, "awx", @progbits
.code16
.globl a20_run, a20_off_92, a20_on_92, a20_off_d1, a20_on_d1, a20_off_dd, a20_on_df
.globl a20_off_bios, a20_on_bios

a20_run:
    movw $0xffff, %ax
    movw %ax, %fs
    movw $low_result, %di
    callw *low_arg
    call a20_state
    movw $(low_result + 16), %di
    callw *low_arg + 4
    call a20_state
    retw

# %di: where the state goes: reads alias, writes alias, port 92h, output port of the controller
a20_state:
    xorl %ebp, %ebp
    movw $a20_offsets, %si
1:  movw (%si), %bx             # 0:bx is the byte that FFFF:bx+10h may alias
    addw $2, %si
    cmpw $0xffff, %bx
    je 2f
    movw %fs:16(%bx), %cx       # keep
    movw (%bx), %dx
    movw $0xa5a5, (%bx)
    movw $0x5a5a, %fs:16(%bx)
    shll $1, %ebp
    cmpw $0x5a5a, (%bx)         # the write to the high address arrived below
    sete %al
    movzbl %al, %eax
    orl %eax, %ebp
    movw $0x1234, (%bx)
    shll $1, %ebp
    cmpw $0x1234, %fs:16(%bx)   # the high address reads what lies below
    sete %al
    orl %eax, %ebp
    movw %cx, %fs:16(%bx)
    movw %dx, (%bx)
    jmp 1b
2:  movl %ebp, (%di)
    inb $0x92, %al
    movzbl %al, %eax
    movl %eax, 4(%di)
    call kbc_empty
    movb $0xd0, %al
    outb %al, $0x64
3:  inb $0x64, %al
    testb $1, %al
    jz 3b
    inb $0x60, %al
    movzbl %al, %eax
    movl %eax, 8(%di)
    retw

# First and last bytes, and some between that this guest does not live in.
a20_offsets: .word 0x600, 0x700, 0x7001, 0xf800, 0xfffe - 16, 0xffff

# Waits for room in the controller, throwing away what it has for us.
kbc_empty:
    inb $0x64, %al
    testb $1, %al
    jz 1f
    inb $0x60, %al
    jmp kbc_empty
1:  testb $2, %al
    jnz kbc_empty
    retw

a20_off_92:
    inb $0x92, %al
    andb $0xfc, %al             # bit 0 resets the machine
    outb %al, $0x92
    retw
a20_on_92:
    inb $0x92, %al
    andb $0xfe, %al
    orb $2, %al
    outb %al, $0x92
    retw

a20_off_d1:
    movb $0xdd, %ah
    jmp 1f
a20_on_d1:
    movb $0xdf, %ah
1:  call kbc_empty
    movb $0xd1, %al
    outb %al, $0x64
    call kbc_empty
    movb %ah, %al
    outb %al, $0x60
    call kbc_empty
    retw

a20_off_dd:
    movb $0xdd, %ah
    jmp 1f
a20_on_df:
    movb $0xdf, %ah
1:  call kbc_empty
    movb %ah, %al
    outb %al, $0x64
    call kbc_empty
    retw

a20_off_bios:
    movw $0x2400, %ax
    jmp 1f
a20_on_bios:
    movw $0x2401, %ax
1:  pushw %di
    int $0x15
    popw %di
    setc 12(%di)
    movb %ah, 13(%di)
    movw $0x2402, %ax
    pushw %di
    int $0x15
    popw %di
    movb %al, 14(%di)
    retw
.code64
.text
