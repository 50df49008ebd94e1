# String I/O on a port in every form. rdi/rsi: a buffer below 4 GiB, dx: the port, rcx: the count.

.text
.code64
.globl uart_ins_d32, uart_ins_down, uart_outs_down, uart_outs_fs, uart_ins_word, uart_ins_dword
uart_ins_d32:                   # 32-bit address size
    rep insb %dx, %es:(%edi)
    ret
uart_ins_down:
    std
    rep insb
    cld
    ret
uart_outs_down:
    std
    rep outsb
    cld
    ret
uart_outs_fs:                   # segment override; FS has base 0 here
    rep outsb %fs:(%rsi), %dx
    ret
uart_ins_word:
    rep insw
    ret
uart_ins_dword:
    rep insl
    ret

.section .low, "awx", @progbits
.globl uart_real
# Real mode: 16-bit addresses, an ES that is not 0, and 32-bit addresses. low_arg: the port.
.code16
uart_real:
    movw low_arg, %dx
    movw $0x0700, %ax
    movw %ax, %es
    xorw %di, %di
    movw $4, %cx
    rep insb                    # to 0700:0000
    movl %es:0, %eax
    movl %eax, low_result
    xorw %ax, %ax
    movw %ax, %es
    movl $(low_result + 4), %edi
    movl $4, %ecx
    rep insb %dx, %es:(%edi)           # to 0:edi
    movl $0, low_result + 8
    movw $(low_result + 11), %di
    movw $4, %cx
    std
    rep insb
    cld
    inb %dx, %al
    movzbl %al, %eax
    movl %eax, low_result + 12
    movw $low_result, %si
    movw $2, %cx
    rep outsb %es:(%si), %dx
    movl $1, low_result + 16
    retw
.code64
.text
