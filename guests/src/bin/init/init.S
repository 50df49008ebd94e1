# An INIT to oneself from protected mode without paging. The BIOS finds Ah in CMOS 0Fh and jumps through 40:67, here, with little
# done before: what INIT leaves is still there.

.section .low, "awx", @progbits
.set ICR, 0xfee00300

.code32
.globl init_send
init_send:
    movl $init_landed, 0x467    # 0000:init_landed
    movb $0x8f, %al             # NMIs stay masked: nobody would take one
    outb %al, $0x70
    movb $0x0a, %al
    outb %al, $0x71
    movl 0xfee00020, %eax       # to the own ID
    movl %eax, ICR + 0x10
    movl $0x4500, ICR           # INIT, asserted
1:  pause
    jmp 1b

.code16
init_landed:
    cli
    movl %cr0, %eax
    movl %eax, %cs:low_result
    movl %cr2, %eax
    movl %eax, %cs:low_result + 4
    movl %cr3, %eax
    movl %eax, %cs:low_result + 8
    movl %cr4, %eax
    movl %eax, %cs:low_result + 12
    movl %dr0, %eax
    movl %eax, %cs:low_result + 16
    movl %dr1, %eax
    movl %eax, %cs:low_result + 20
    movl %dr2, %eax
    movl %eax, %cs:low_result + 24
    movl %dr3, %eax
    movl %eax, %cs:low_result + 28
    movl %dr6, %eax
    movl %eax, %cs:low_result + 32
    movl %dr7, %eax
    movl %eax, %cs:low_result + 36
    movl $0xc0000080, %ecx
    rdmsr
    movl %eax, %cs:low_result + 40
    movb $0x0f, %al
    outb %al, $0x70
    jmp low_leave16
