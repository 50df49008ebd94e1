# What lives below 64 KiB: the descriptor table all modes share, the switches between long mode and
# real or 32-bit protected mode, and the exception entries of these two, which write a log.
# CS = DS = SS = 0 in real mode, flat segments in protected mode: labels are addresses everywhere.

.section .low, "awx", @progbits
.balign 16
.globl low_magic, low_gdt, low_gdtr, low_idt32, low_idtr32
low_magic: .ascii "low part"

low_gdt:
    .quad 0
    .quad 0x00af9b000000ffff    # 08 code64
    .quad 0x00cf93000000ffff    # 10 data, flat
    .quad 0x00cf9b000000ffff    # 18 code32, flat
    .quad 0x00009b000000ffff    # 20 code16
    .quad 0x000093000000ffff    # 28 data16
    .quad 0x00cffb000000ffff    # 30 user code32     } SYSRET's order
    .quad 0x00cff3000000ffff    # 38 user data       }
    .quad 0x00affb000000ffff    # 40 user code64     }
    .quad 0x00cf13000000ffff    # 48 data, not present
    .quad 0x00cf9b000000ffff    # 50 code32          } SYSENTER's order
    .quad 0x00cf93000000ffff    # 58 data            }
    .quad 0x00cffb000000ffff    # 60 user code32     }
    .quad 0x00cff3000000ffff    # 68 user data       }
    .quad 0                     # 70
    .quad 0, 0                  # 78 TSS of long mode
    .quad 0                     # 88 TSS32 A
    .quad 0                     # 90 TSS32 B
    .quad 0                     # 98
low_gdt_end:
low_gdtr:
    .word low_gdt_end - low_gdt - 1
    .quad low_gdt
.balign 8
low_idtr32:
    .word 0x50 * 8 - 1
    .long low_idt32
.balign 8
low_ivtr:
    .word 0x3ff
    .long 0
.balign 8
low_idt32: .skip 0x50 * 8

# Entry and exit -----------------------------------------------------------------------------------
low_saved_rsp: .quad 0
low_saved_cr0: .quad 0
low_saved_cr3: .quad 0
low_saved_cr4: .quad 0
low_saved_efer: .quad 0
low_saved_idtr: .skip 16
low_kind: .long 0
low_target: .long 0

# low_enter(edi: 0 real mode, 1 protected mode; esi: routine, near call)
.code64
.globl low_enter
low_enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushfq
    cli
    movl %edi, low_kind
    movl %esi, low_target
    movq %rsp, low_saved_rsp
    movq %cr0, %rax
    movq %rax, low_saved_cr0
    movq %cr3, %rax
    movq %rax, low_saved_cr3
    movq %cr4, %rax
    movq %rax, low_saved_cr4
    movl $0xc0000080, %ecx
    rdmsr
    andl $~0x400, %eax          # LMA is the CPU's
    movl %eax, low_saved_efer
    movl %edx, low_saved_efer + 4
    sidt low_saved_idtr
    pushq $0x18
    pushq $low_compatibility
    lretq

.code32
low_compatibility:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl $0x7c00, %esp
    movl $0x00000011, %eax      # PG off: long mode ends
    movl %eax, %cr0
    movl $0xc0000080, %ecx
    rdmsr
    andl $~0x100, %eax
    wrmsr
    xorl %eax, %eax
    movl %eax, %cr4
    movl %eax, %cr3
    cmpl $0, low_kind
    je low_to_real
    lidt low_idtr32
    call *low_target
.globl low_leave32, low_leave16
low_leave32:
    cli
    cld
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl low_saved_cr4, %eax
    movl %eax, %cr4
    movl low_saved_cr3, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    movl low_saved_efer, %eax
    movl low_saved_efer + 4, %edx
    wrmsr
    movl low_saved_cr0, %eax
    movl %eax, %cr0
    ljmp $8, $low_back
.code64
low_back:
    lidt low_saved_idtr
    movq low_saved_rsp, %rsp
    andb $~2, low_gdt + 0x78 + 5    # the TSS is not busy: LTR takes no busy one
    movl $0x78, %eax
    ltr %ax
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret

.code32
low_to_real:
    ljmp $0x20, $1f
.code16
1:  movw $0x28, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmp $0, $2f
2:  xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl $0x7c00, %esp
    lidt low_ivtr
    callw *low_target
low_leave16:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdt low_gdtr
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $0x18, $low_leave32

# The log ------------------------------------------------------------------------------------------
# Record: vector, error code, ip, cs, flags, cr2, sp at entry, width (16 or 32).
.set LOG_MAX, 48
.globl low_log_n, low_log, low_resume, low_resume_sp, low_result, low_arg
.balign 4
low_log_n: .long 0
low_resume: .long 0             # where to go on after the next exception, once; 0: return to it
low_resume_sp: .long 0
low_arg: .skip 16 * 4
low_result: .skip 64 * 4
low_log: .skip LOG_MAX * 32

.code32
.balign 16
.globl low_stubs32
low_stubs32:
.set vector, 0
.rept 0x50
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
    pushl $0
    .endif
    pushl $vector
    jmp low_common32
    .set vector, vector + 1
.endr
low_common32:
    pushal
    pushl %ds
    pushl %es
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl low_log_n, %ebx
    cmpl $LOG_MAX, %ebx
    jae low_leave32             # a fault nobody resumes: give up rather than loop
    incl low_log_n
    shll $5, %ebx
    addl $low_log, %ebx
    movl 40(%esp), %eax
    movl %eax, (%ebx)
    movl 44(%esp), %eax
    movl %eax, 4(%ebx)
    movl 48(%esp), %eax
    movl %eax, 8(%ebx)
    movl 52(%esp), %eax
    movl %eax, 12(%ebx)
    movl 56(%esp), %eax
    movl %eax, 16(%ebx)
    movl %cr2, %eax
    movl %eax, 20(%ebx)
    movl %esp, 24(%ebx)
    movl $32, 28(%ebx)
    movl low_resume, %eax
    testl %eax, %eax
    jz 1f
    movl $0, low_resume
    movl low_resume_sp, %esp
    jmp *%eax
1:  popl %es
    popl %ds
    popal
    addl $8, %esp
    iretl

.code16
.balign 16
.globl low_stubs16
low_stubs16:
.set vector, 0
.rept 0x50
    .balign 8
    pushw $vector
    jmp low_common16
    .set vector, vector + 1
.endr
low_common16:
    pushl %eax
    pushl %ebx
    pushw %bp
    pushw %ds
    movw %sp, %bp
    xorw %ax, %ax
    movw %ax, %ds
    movl low_log_n, %ebx
    cmpl $LOG_MAX, %ebx
    jae low_leave16
    incl low_log_n
    shll $5, %ebx
    addl $low_log, %ebx
    movzwl 12(%bp), %eax
    movl %eax, (%bx)
    movl $0, 4(%bx)
    movzwl 14(%bp), %eax
    movl %eax, 8(%bx)
    movzwl 16(%bp), %eax
    movl %eax, 12(%bx)
    movzwl 18(%bp), %eax
    movl %eax, 16(%bx)
    movl $0, 20(%bx)
    movzwl %sp, %eax
    movl %eax, 24(%bx)
    movl $16, 28(%bx)
    movw low_resume, %ax
    testw %ax, %ax
    jz 1f
    movl $0, low_resume
    movw low_resume_sp, %sp
    jmpw *%ax
1:  popw %ds
    popw %bp
    popl %ebx
    popl %eax
    addw $2, %sp
    iretw

# BIOS call: registers in and out of low_regs ------------------------------------------------------
# eax ebx ecx edx esi edi ebp eflags, then words ds es.
.globl low_bios, low_regs, low_bios_int
.balign 4
low_regs: .skip 8 * 4 + 4
low_bios:
    movl low_regs, %eax
    movl low_regs + 4, %ebx
    movl low_regs + 8, %ecx
    movl low_regs + 12, %edx
    movl low_regs + 16, %esi
    movl low_regs + 20, %edi
    movl low_regs + 24, %ebp
    movw low_regs + 34, %es
    movw low_regs + 32, %ds
    sti
low_bios_int:
    int $0                      # the number is written by the caller, in another mode
    cli
    cld
    movl %eax, %cs:low_regs
    pushfl
    popl %eax
    movl %eax, %cs:low_regs + 28
    movl %ebx, %cs:low_regs + 4
    movl %ecx, %cs:low_regs + 8
    movl %edx, %cs:low_regs + 12
    movl %esi, %cs:low_regs + 16
    movl %edi, %cs:low_regs + 20
    movl %ebp, %cs:low_regs + 24
    movw %ds, %cs:low_regs + 32
    movw %es, %cs:low_regs + 34
    retw
.code64
.text
