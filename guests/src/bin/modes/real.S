# Real mode: exceptions, single step, the interrupt shadow, HLT, 4 GiB segments, the short ways to
# 16-bit and 32-bit protected mode and back.

# One stepped instruction, and where the #DB after it must point.
.macro STEP insn:vararg
    \insn
.Lreal_step\@:
    .pushsection .rodata.real_steps, "a", @progbits
    .long 1, .Lreal_step\@
    .popsection
.endm

.section .rodata.real_steps, "a", @progbits
.balign 4
.globl real_steps
real_steps:

.section .low, "awx", @progbits
.code16
.globl real_exceptions, real_bp, real_int, real_of, real_ud, real_de, real_gp, real_br
real_exceptions:
    int3
real_bp:
    int $0x42
real_int:
    movb $0x7f, %al
    addb $1, %al
    into
real_of:
    movl $1f, low_resume
    movw %sp, low_resume_sp
real_ud:
    ud2
1:  movl $2f, low_resume
    xorw %cx, %cx
real_de:
    divw %cx
2:  movl $3f, low_resume
real_gp:                        # 16 bytes: one too many
    .fill 15, 1, 0x66
    nop
3:  movl $4f, low_resume
    movw $9, %ax
real_br:
    .byte 0x62, 0x06            # BOUND AX, [real_bounds]: the assembler lacks it
    .word real_bounds
4:  retw
.balign 2
real_bounds: .word 1, 5

.globl real_step
real_step:
    pushfw
    popw %ax
    orw $0x100, %ax
    pushw %ax
    popfw                       # TF was clear when this began: no trap after it
    STEP nop
    STEP xorl %eax, %eax
    STEP cpuid
    STEP pushfw
    STEP popw %bx
    STEP pushw %bx
    STEP popfw
    STEP pushfw
    STEP pushw %cs
    STEP pushw $1f
    iretw
1:  .pushsection .rodata.real_steps
    .long 1, 1b
    .popsection
    STEP jmp 2f
2:  int3                        # enters with TF clear: #BP and no #DB
3:  .pushsection .rodata.real_steps
    .long 3, 3b
    .popsection
    STEP nop
    STEP inb $0x61, %al
    STEP movl %cr0, %eax
    STEP pushfw
    STEP popw %ax
    STEP andw $0xfeff, %ax
    STEP pushw %ax
    STEP popfw                  # TF was set when this began
    nop
    movw %bx, low_result
    retw
.pushsection .rodata.real_steps
.globl real_steps_end
real_steps_end:
.popsection

# An IRQ 0 is made to wait at the controller, then let in; vector 8 logs and sends no EOI.
real_pending:
    movb $0x0a, %al
    outb %al, $0x20
1:  inb $0x20, %al
    testb $1, %al
    jz 1b
    retw
real_eoi:
    movb $0x20, %al
    outb %al, $0x20
    retw
.globl real_shadow, real_shadow_cpuid, real_shadow_hlt, real_shadow_popf
real_shadow:
    call real_pending
    xorl %eax, %eax
    sti
    cpuid
real_shadow_cpuid:
    nop
    cli
    call real_eoi
    movl low_log_n, %eax
    movl %eax, low_result       # 1
    call real_pending
    sti
    cli                         # no interrupt between
    movl low_log_n, %eax
    movl %eax, low_result + 4   # still 1
    sti
    hlt
real_shadow_hlt:
    cli
    call real_eoi
    movl low_log_n, %eax
    movl %eax, low_result + 8   # 2
    call real_pending
    pushfw
    popw %ax
    orw $0x200, %ax
    pushw %ax
    popfw                       # no shadow after POPF
real_shadow_popf:
    nop
    cli
    call real_eoi
    retw

# HLT woken by the BIOS's timer interrupt.
.globl real_hlt
real_hlt:
    movl 0x46c, %ebx
    movw $4, %cx
    sti
1:  hlt
    decw %cx
    jnz 1b
    cli
    movl 0x46c, %eax
    subl %ebx, %eax
    movl %eax, low_result
    retw

# low_arg: an address above 1 MiB
.globl real_unreal
real_unreal:
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    movw $0x10, %bx
    movw %bx, %ds
    movw %bx, %gs
    andb $0xfe, %al
    movl %eax, %cr0
    xorw %bx, %bx
    movw %bx, %ds               # a load in real mode changes the base alone
    movl low_arg, %esi
    movl (%esi), %eax
    movl %eax, low_result
    movl $0xfeedface, 4(%esi)
    movl %gs:(%esi), %eax
    movl %eax, low_result + 4
    movw $0x100, %bx
    movw %bx, %ds
    movl -0x1000(%esi), %eax    # base 1000h now
    movl %eax, %cs:low_result + 8
    cpuid                       # an exit between must keep the limit
    movl -0x1000(%esi), %eax
    movl %eax, %cs:low_result + 12
    movl $0xfee00030 - 0x1000, %esi
    movl (%esi), %eax
    movl %eax, %cs:low_result + 16
    xorw %bx, %bx
    movw %bx, %ds
    movl %cr0, %eax
    movl %eax, low_result + 20
    retw

# Real, 16-bit protected, 32-bit protected, 16-bit protected, real: what PUSH takes from the stack.
.macro PUSHED n
    movl %esp, %ebx
    .byte 0x50                  # push of the default size
    subl %esp, %ebx
    addl %ebx, %esp
    movl %ebx, low_result + 4 * \n
.endm
.globl real_round
real_round:
    PUSHED 0
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmp $0x20, $1f
1:  movw $0x28, %ax
    movw %ax, %ds
    movw %ax, %ss
    PUSHED 1
    smsw %ax
    movw %ax, low_result + 20
    ljmpl $0x18, $2f
.code32
2:  movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %ss
    PUSHED 2
    ljmp $0x20, $3f
.code16
3:  movw $0x28, %ax
    movw %ax, %ds
    movw %ax, %ss
    PUSHED 3
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmp $0, $4f
4:  xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %ss
    PUSHED 4
    retw
.code64
.text
