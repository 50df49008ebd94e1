# Two tasks in 32-bit protected mode: A asks for B in each way there is, B tells what it was given and goes back.

.section .low, "awx", @progbits
.code32
.balign 16
.globl task_a, task_b
task_a: .skip 104
task_b: .skip 104
task_sp: .long 0

# low_arg: routine; where to go on after an exception (0: return to it); how B leaves: 0 by JMP, 1 by IRET, 2 by IRET as
# the handler of NMIs; where A's IP is to be changed (0: not)
.globl task_go, task_out, task_jump, task_jumped, task_call, task_called, task_int, task_inted, task_ud, task_gp, task_back
.globl task_nmi, task_code, task_nop
task_go:
    movl %esp, task_sp
    movl low_arg + 4, %eax
    movl %eax, low_resume
    movl %esp, low_resume_sp
    movl $0x88, %eax
    ltr %ax
    movl $0xa1, %eax
    movl $0xa2, %ecx
    movl $0xa3, %edx
    movl $0xa4, %esi
    jmp *low_arg

task_jump:
    ljmp $0x90, $0
task_jumped:
    jmp task_out
task_call:
    lcall $0x90, $0
task_called:
    jmp task_out
task_int:
    int $0x44
task_inted:
    jmp task_out
task_ud:
    ud2
task_gp:
    movl $0x103, %eax
    movw %ax, %es               # beyond the table
task_nop:
    nop
    jmp task_out
task_back:                      # as if A had been called by the task it is linked to
    pushfl
    orl $0x4000, (%esp)
    popfl
    iretl
    jmp task_out
task_nmi:
    movl $0xfee00300, %edi
    movl $0x4400, (%edi)        # NMI to the CPU of ICR's upper half: itself
    nop
    nop
    nop
    jmp task_out

# However it ended, in whichever task.
task_out:
    movl $0x10, %ebx
    movl %ebx, %ss
    movl task_sp, %esp
    movl %ebx, %ds
    movl %ebx, %es
    xorl %ebx, %ebx
    lldt %bx
    str %bx
    movl %ebx, low_result + 4 * 32
    pushfl
    popl low_result + 4 * 33
    movl %cr0, %ebx
    movl %ebx, low_result + 4 * 34
    movzwl %ax, %eax
    movl %eax, low_result + 4 * 35
    movl %dr6, %ebx
    movl %ebx, low_result + 4 * 36
    movl %dr7, %ebx
    movl %ebx, low_result + 4 * 37
    pushl $2
    popfl
    clts
    ret

# B. Of its segments SS alone is sure to be one that can be written.
task_code:
    movl %ss, %ebx
    movl %ebx, %ss:low_result + 4
    movzwl %sp, %ebx
    movl %ebx, %ss:low_result + 8
    movl %ss:(%ebx), %ebx       # the error code, if there is one
    movl %ebx, %ss:low_result + 12
    movl $0x10, %ebx
    movl %ebx, %ss
    movzwl %sp, %esp
    pushfl
    popl %ss:low_result + 16
    movl %ds, %ebx
    movl %ebx, %ss:low_result + 20
    movl $0x10, %ebx
    movl %ebx, %ds
    movl %es, %ebx
    movl %ebx, low_result + 24
    movl %fs, %ebx
    movl %ebx, low_result + 28
    movl %gs, %ebx
    movl %ebx, low_result + 32
    xorl %ebx, %ebx
    str %bx
    movl %ebx, low_result
    sldt %bx
    movl %ebx, low_result + 36
    movl %cr0, %ebx
    movl %ebx, low_result + 40
    movl %dr7, %ebx
    movl %ebx, low_result + 44
    movzwl %cx, %ecx
    movl %ecx, low_result + 48
    movzwl %bp, %ecx
    movl %ecx, low_result + 52
    incl low_result + 56
    cmpl $2, low_arg + 8
    jne 1f
    # NMI's handler: the next one comes after its IRET, and once.
    cmpl $1, low_result + 56
    jne 1f
    movl $0xfee00300, %edi
    movl $0x4400, (%edi)
    nop
    nop
    movl low_result + 56, %ecx
    movl %ecx, low_result + 60
1:  movl low_arg + 12, %ebx     # A would fault again
    testl %ebx, %ebx
    jz 3f
    movzwl (%ebx), %ecx
    movl %ecx, low_result + 64
    movw $task_nop, (%ebx)
3:  cmpl $0, low_arg + 8
    jne 2f
    ljmp $0x88, $0
2:  iretl
    jmp task_code               # called again: from behind the IRET
.code64
.text
