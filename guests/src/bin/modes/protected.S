# 32-bit protected mode: exceptions with their error codes, single step, paging of three kinds, ring 3,
# virtual-8086 mode, hardware tasks.

.macro RESUME label
    movl $\label, low_resume
    movl %esp, low_resume_sp
.endm
.macro STEP32 insn:vararg
    \insn
.Lpm_step\@:
    .pushsection .rodata.pm_steps, "a", @progbits
    .long 1, .Lpm_step\@
    .popsection
.endm

.section .rodata.pm_steps, "a", @progbits
.balign 4
.globl pm_steps
pm_steps:

.section .low, "awx", @progbits
.code32
.globl pm_exceptions, pm_bp, pm_int, pm_of, pm_ud, pm_de, pm_gp, pm_np, pm_ss, pm_gate, pm_limit
pm_exceptions:
    int3
pm_bp:
    int $0x42
pm_int:
    movb $0x7f, %al
    addb $1, %al
    into
pm_of:
    RESUME 1f
pm_ud:
    ud2
1:  RESUME 2f
    xorl %ecx, %ecx
pm_de:
    divl %ecx
2:  RESUME 3f
    movl $0x103, %eax
pm_gp:
    movw %ax, %es               # beyond the table
3:  RESUME 4f
    movl $0x48, %eax
pm_np:
    movw %ax, %es
4:  RESUME 5f
    movl $0x48, %eax
pm_ss:
    movw %ax, %ss
5:  RESUME 6f
pm_gate:
    int $0x4f                   # gate not present
6:  RESUME 7f
pm_limit:
    int $0x50                   # beyond the table
7:  ret

.globl pm_step
pm_step:
    pushfl
    orl $0x100, (%esp)
    popfl
    STEP32 nop
    STEP32 xorl %eax, %eax
    STEP32 cpuid
    STEP32 pushfl
    STEP32 popl %eax
    STEP32 movl %eax, low_result
    STEP32 pushfl
    STEP32 popfl
    STEP32 pushfl
    STEP32 pushl $0x18
    STEP32 pushl $1f
    iretl
1:  .pushsection .rodata.pm_steps
    .long 1, 1b
    .popsection
    STEP32 pushfl
    STEP32 andl $0xfffffeff, (%esp)
    STEP32 popfl
    nop
    .pushsection .rodata.pm_steps
    .globl pm_steps_end
pm_steps_end:
    .popsection
    ret

# low_arg: CR3, CR4, then linear addresses: mapped, not present, read-only, reserved bit (or 0)
.globl pm_paging, pm_np_read, pm_np_write, pm_ro_write, pm_rsvd
pm_paging:
    movl low_arg, %eax
    movl %eax, %cr3
    movl low_arg + 4, %eax
    movl %eax, %cr4
    movl %cr0, %eax
    orl $0x80010000, %eax       # PG, WP
    movl %eax, %cr0
    jmp 1f
1:  movl low_arg + 8, %eax
    movl (%eax), %ebx
    movl %ebx, low_result
    movl $0x13572468, 4(%eax)
    cpuid                       # an exit with paging on
    movl low_arg + 8, %eax
    movl 4(%eax), %ebx
    movl %ebx, low_result + 4
    movl low_arg + 12, %eax
    RESUME 2f
pm_np_read:
    movl (%eax), %ebx
2:  movl low_arg + 12, %eax
    RESUME 3f
pm_np_write:
    movl %ebx, (%eax)
3:  movl low_arg + 16, %eax
    movl (%eax), %ebx
    movl %ebx, low_result + 8
    RESUME 4f
pm_ro_write:
    movl %ebx, (%eax)
4:  movl low_arg + 20, %eax
    testl %eax, %eax
    jz 5f
    RESUME 5f
pm_rsvd:
    movl (%eax), %ebx
5:  movl %cr0, %eax
    andl $0x7ffeffff, %eax
    movl %eax, %cr0
    xorl %eax, %eax
    movl %eax, %cr4
    movl $0x600d, low_result + 12
    ret

.balign 16
.globl pm_tss_a, pm_tss_b
pm_tss_a: .skip 104
pm_tss_b: .skip 104

.macro TO_USER eip
    pushl $0x3b
    pushl $0x7000
    pushl $2
    pushl $0x33
    pushl $\eip
    iretl
.endm
.macro USER_SEGMENTS
    movl $0x3b, %eax
    movl %eax, %ds
    movl %eax, %es
.endm
.globl pm_user, pm_user_int, pm_user_cli, pm_user_gate, pm_user_sysenter, pm_user_syscall
# low_arg: whether SYSENTER, whether SYSCALL
pm_user:
    movl $0x88, %eax
    ltr %ax
    movl %esp, pm_user_sp
    TO_USER 1f
1:  USER_SEGMENTS
    int $0x43                   # a gate for ring 3: returns here
pm_user_int:
    movl $2f, low_resume
    movl pm_user_sp, %eax
    movl %eax, low_resume_sp
pm_user_cli:
    cli
2:  TO_USER 3f
3:  USER_SEGMENTS
    movl $4f, low_resume
    movl pm_user_sp, %eax
    movl %eax, low_resume_sp
pm_user_gate:
    int $0x42                   # a gate for ring 0
4:  cmpl $0, low_arg
    je 6f
    TO_USER 5f
5:  USER_SEGMENTS
    movl $6f, low_resume
    movl pm_user_sp, %eax
    movl %eax, low_resume_sp
    movl $7f, %edx
    movl %esp, %ecx
    sysenter
7:  int $0x43
pm_user_sysenter:
6:  cmpl $0, low_arg + 4
    je 9f
    TO_USER 8f
8:  USER_SEGMENTS
    movl $9f, low_resume
    movl pm_user_sp, %eax
    movl %eax, low_resume_sp
    syscall
    int $0x43
pm_user_syscall:
9:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    ret
pm_user_sp: .long 0

.globl pm_sysenter_entry, pm_syscall_entry
pm_sysenter_entry:
    movl $0x10, %eax
    movl %eax, %ds
    movl %cs, %eax
    movl %eax, low_result
    movl %esp, low_result + 4
    movl $0x6b, %eax
    movl %eax, %ds
    sysexit
pm_syscall_entry:
    movl %cs, %eax
    movl %eax, low_result + 8
    movl %ecx, low_result + 12
    sysret

# low_arg: EFLAGS of the task. Code segment 0, so that labels are offsets.
.globl pm_vm86, vm86_bp, vm86_int, vm86_int_at, vm86_hlt, vm86_cpuid
pm_vm86:
    movl $0x88, %eax
    ltr %ax
    movl %esp, pm_user_sp
    pushl $0x40                 # GS
    pushl $0                    # FS
    pushl $0                    # DS
    pushl $0                    # ES
    pushl $0                    # SS
    pushl $0x7000
    pushl low_arg
    pushl $0                    # CS
    pushl $vm86_code
    iretl
pm_vm86_end:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    ret
.code16
vm86_code:
    movw %gs, %ax
    movw %ax, low_result
    movw %gs:0x13, %ax          # 0040:0013: conventional memory
    movw %ax, low_result + 4
    xorl %eax, %eax
    cpuid
vm86_cpuid:
    movl %ebx, low_result + 8
    int3
vm86_bp:
    movw low_arg + 4, %ax
    testw %ax, %ax
    jz 1f
    movl $pm_vm86_end, low_resume
    movl pm_user_sp, %eax
    movl %eax, low_resume_sp
1:
vm86_int_at:
    int $0x43
vm86_int:
    pushfw
    popw %ax
    movw %ax, low_result + 12
    movl $pm_vm86_end, low_resume
    movl pm_user_sp, %eax
    movl %eax, low_resume_sp
vm86_hlt:
    hlt
.code32

.globl pm_task, pm_task_b, pm_task_gate
pm_task:
    movl $0x88, %eax
    ltr %ax
    ljmp $0x90, $0
    str %ax
    movw %ax, low_result + 20   # back in A
    lcall $0x90, $0
    pushfl
    popl low_result + 24        # NT is B's alone
    int $0x44                   # a task gate
pm_task_gate:
    str %ax
    movw %ax, low_result + 28
    clts
    ret
pm_task_b:
    str %ax
    movw %ax, low_result
    movl %cr0, %eax
    movl %eax, low_result + 4
    movl %ecx, low_result + 32
    ljmp $0x88, $0
    pushfl                      # called
    popl low_result + 8
    movzwl pm_tss_b, %eax
    movl %eax, low_result + 12
    iretl
    pushfl                      # by the gate
    popl low_result + 16
    iretl
.code64
.text
