# Runs a piece of hostile code in any mode of the CPU and comes back by whatever exception ends it. All of it
# is below 64 KiB. What goes in is in torture_in, what came out in torture_out. A non-maskable interrupt
# (the timer's, by LINT0) ends what would not end; a trap after each instruction counts down a budget.

.set TICKS, 4                   # this many NMIs are too many for one case

# A stub for each vector.
.macro stubs push, common
.set vector, 0
.rept 33
    .balign 16
    \push $vector
    jmp \common
    .set vector, vector + 1
.endr
.endm

# Falls through after an NMI, unless it is one too many, and after a trap within the budget; else to END.
.macro unless_over compare, vector, dr6, end
    \compare $2, \vector
    je 1f
    \compare $1, \vector
    jne \end
    mov %dr6, \dr6
    testl $0x4000, %eax
    jz \end
    decl in_budget
    jz \end
    movl $0xffff0ff0, %eax
    mov \dr6, %dr6
    jmp 2f
1:  movb $0x0c, %al             # OCW3, poll: acknowledges
    outb %al, $0x20
    inb $0x20, %al
    movb $0x20, %al
    outb %al, $0x20
    incl out_ticks
    cmpl $TICKS, out_ticks
    jae \end
2:
.endm

.section .low, "awx", @progbits
.balign 4096                    # no code in a page that is written all the time
.globl torture_in, torture_out, torture_fpu, torture_home
torture_fpu: .skip 512          # what FXRSTOR loads before a case
torture_in:                     # struct In
in_regs: .skip 16 * 8
in_ip: .quad 0
in_cs: .quad 0
in_flags: .quad 0
in_sp: .quad 0
in_ss: .quad 0
in_cr0: .quad 0
in_cr3: .quad 0
in_cr4: .quad 0
in_ds: .word 0
in_es: .word 0
in_fs: .word 0
in_gs: .word 0
in_budget: .quad 0
torture_out:                    # struct Out
out_regs: .skip 16 * 8
out_frame: .skip 6 * 8          # as on the stack: an error code if there is one, IP, CS, FLAGS, ..
out_vector: .quad 0
out_cr2: .quad 0
out_dr6: .quad 0
out_ticks: .quad 0
torture_home: .quad 0           # struct Home
home_cr0: .quad 0
home_cr3: .quad 0
home_cr4: .quad 0
home_efer: .quad 0

.balign 8
idtr64: .word 4095
    .quad 0x1000
.balign 8
idtr32: .word 2047
    .long 0x2000
.balign 8
ivtr16: .word 1023
    .long 0x2800


.balign 4096
# Long mode ----------------------------------------------------------------------------------------
.code64
.globl torture_long
torture_long:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushfq
    cli
    movq %rsp, torture_home
    lidt idtr64
    movl $0x7000, %esp          # the case's tables do not show the stack in use
    movq in_cr3, %rax
    movq %rax, %cr3
    pushq in_ss
    pushq in_sp
    pushq in_flags
    pushq in_cs
    pushq in_ip
    movw in_ds, %ds
    movw in_es, %es
    movw in_fs, %fs
    movw in_gs, %gs
    movq in_regs, %rax
    movq in_regs + 8, %rcx
    movq in_regs + 16, %rdx
    movq in_regs + 24, %rbx
    movq in_regs + 40, %rbp
    movq in_regs + 48, %rsi
    movq in_regs + 56, %rdi
.irp n, 8, 9, 10, 11, 12, 13, 14, 15
    movq in_regs + 8 * \n, %r\n
.endr
    iretq

.balign 16
.globl torture_stubs64
torture_stubs64:
    stubs pushq, common64
common64:
    pushq %rax
    unless_over cmpq, 8(%rsp), %rax, end64
    popq %rax
    addq $8, %rsp
    iretq

end64:
    popq out_regs
    popq out_vector
    movq %rcx, out_regs + 8
    movq %rdx, out_regs + 16
    movq %rbx, out_regs + 24
    movq %rbp, out_regs + 40
    movq %rsi, out_regs + 48
    movq %rdi, out_regs + 56
.irp n, 8, 9, 10, 11, 12, 13, 14, 15
    movq %r\n, out_regs + 8 * \n
.endr
    cld
.irp n, 0, 1, 2, 3, 4, 5
    movq 8 * \n(%rsp), %rax
    movq %rax, out_frame + 8 * \n
.endr
    movq %cr2, %rax
    movq %rax, out_cr2
    movq %dr6, %rax
    movq %rax, out_dr6
    xorl %eax, %eax
    movq %rax, %dr7
    movq %rax, %cr8
    movq home_cr4, %rax
    movq %rax, %cr4
    movq home_cr3, %rax
    movq %rax, %cr3
    movq home_cr0, %rax
    movq %rax, %cr0
    movl $0xc0000080, %ecx
    movl home_efer, %eax
    movl home_efer + 4, %edx
    wrmsr
    lgdt low_gdtr
    andb $~2, low_gdt + 0x78 + 5
    movl $0x78, %eax
    ltr %ax
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    # By IRET: what ended it may have been an NMI.
    pushq $0x10
    pushq torture_home
    pushq $2
    pushq $8
    pushq $1f
    iretq
1:  popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

# Protected mode, 16 and 32 bits, virtual-8086 mode; called by low_enter -------------------------------
.code32
.globl torture_protected
torture_protected:
    lidt idtr32
    movl in_cr4, %eax
    movl %eax, %cr4
    movl in_cr3, %eax
    movl %eax, %cr3
    movl in_cr0, %eax
    movl %eax, %cr0
    movl $0x88, %eax
    ltr %ax
    testl $0x20000, in_flags
    jnz 1f
    testl $3, in_cs
    jnz 1f
    movw in_ss, %ss
    movl in_sp, %esp
    jmp 2f
1:  movzwl in_gs, %eax          # virtual-8086 mode takes all nine, ring 3 the last five
    pushl %eax
    movzwl in_fs, %eax
    pushl %eax
    movzwl in_ds, %eax
    pushl %eax
    movzwl in_es, %eax
    pushl %eax
    pushl in_ss
    pushl in_sp
2:  pushl in_flags
    pushl in_cs
    pushl in_ip
    movl in_regs + 8, %ecx
    movl in_regs + 16, %edx
    movl in_regs + 24, %ebx
    movl in_regs + 40, %ebp
    movl in_regs + 48, %esi
    movl in_regs + 56, %edi
    testl $0x20000, in_flags
    movl in_regs, %eax
    jnz 3f
    movw in_es, %es
    movw in_fs, %fs
    movw in_gs, %gs
    movw in_ds, %ds
3:  iretl

.balign 16
.globl torture_stubs32, torture_double_fault
torture_stubs32:
    stubs pushl, common32
common32:
    pushl %eax
    pushl %ds
    pushl $0x10
    popl %ds
    unless_over cmpl, 8(%esp), %eax, end32
    popl %ds
    popl %eax
    addl $4, %esp
    iretl

end32:
    movl 4(%esp), %eax
    movl %eax, out_regs
    movl 8(%esp), %eax
    movl %eax, out_vector
    movl %ecx, out_regs + 8
    movl %edx, out_regs + 16
    movl %ebx, out_regs + 24
    movl %ebp, out_regs + 40
    movl %esi, out_regs + 48
    movl %edi, out_regs + 56
.irp n, 0, 1, 2, 3
    movl 12 + 4 * \n(%esp), %eax
    movl %eax, out_frame + 8 * \n
.endr
leave32:
    cld
    movl %cr2, %eax
    movl %eax, out_cr2
    movl %dr6, %eax
    movl %eax, out_dr6
    xorl %eax, %eax
    movl %eax, %dr7
    lgdt low_gdtr
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %ss
    movl $0x7000, %esp
    pushl $2                    # a task gate sets NT
    popfl
    pushl $2
    pushl $0x18
    pushl $low_leave32
    iretl

# The task of the double fault: the case had no stack.
torture_double_fault:
    movl $8, out_vector
    jmp leave32

# Real mode; called by low_enter ---------------------------------------------------------------------
.code16
.globl torture_real
torture_real:
    lidt ivtr16
    movw in_ss, %ss
    movl in_sp, %esp
    pushw in_flags
    pushw in_cs
    pushw in_ip
    movl in_regs, %eax
    movl in_regs + 8, %ecx
    movl in_regs + 16, %edx
    movl in_regs + 24, %ebx
    movl in_regs + 40, %ebp
    movl in_regs + 48, %esi
    movl in_regs + 56, %edi
    movw in_es, %es
    movw in_fs, %fs
    movw in_gs, %gs
    movw in_ds, %ds
    iretw

.balign 16
.globl torture_stubs16
torture_stubs16:
    stubs pushw, common16
common16:
    pushl %eax
    pushw %ds
    xorw %ax, %ax
    movw %ax, %ds
    movl %ebp, out_regs + 40
    movw %sp, %bp
    unless_over cmpw, 6(%bp), %eax, end16
    movl out_regs + 40, %ebp
    popw %ds
    popl %eax
    addw $2, %sp
    iretw

end16:
    movl 2(%bp), %eax
    movl %eax, out_regs
    movzwl 6(%bp), %eax
    movl %eax, out_vector
    movl %ecx, out_regs + 8
    movl %edx, out_regs + 16
    movl %ebx, out_regs + 24
    movl %esi, out_regs + 48
    movl %edi, out_regs + 56
.irp n, 0, 1, 2
    movzwl 8 + 2 * \n(%bp), %eax
    movl %eax, out_frame + 8 * \n
.endr
    cld
    movl %dr6, %eax
    movl %eax, out_dr6
    xorl %eax, %eax
    movl %eax, %dr7
    movw %ax, %ss
    movl $0x7000, %esp
    pushw $2
    pushw $0
    pushw $low_leave16
    iretw
.code64
.text
