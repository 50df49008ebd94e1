# Ring 3 of long mode, compatibility mode, and stepped code.

.text
.globl user64_int, user64_int_after, user64_cli, user64_syscall, user64_syscall_after, user64_pf
.globl user64_syscall_back, syscall64_entry, syscall64_count, syscall32_entry
.globl user32_int, user32_int_after, user32_syscall, user32_syscall_back
.globl user32_sysenter, sysenter64_entry, sysenter64_back, sysenter64_carry
.globl compat_code, compat_ud, compat_result, compat_back, compat_bad
.code64
user64_int:
    int $0x80
user64_int_after:
user64_cli:
    cli
user64_pf:
    movq %rax, (%rax)
user64_syscall:
    syscall
user64_syscall_after:
    int $0x80
user64_syscall_back:
syscall64_entry:
    incq syscall64_count(%rip)
    movq %rcx, syscall64_count + 8(%rip)
    movq %r11, syscall64_count + 16(%rip)
    sysretq
syscall32_entry:
    incq syscall64_count(%rip)
    movq %cs, %rax
    movq %rax, syscall64_count + 8(%rip)
    sysretl
.code32
user32_int:
    int $0x80
user32_int_after:
user32_syscall:
    syscall
    int $0x80
user32_syscall_back:
user32_sysenter:
    sysenter
.code64
sysenter64_entry:
    xorl %eax, %eax
    stc
    cpuid
    setc sysenter64_carry(%rip)
    int $0x80
sysenter64_back:
.code32

# Compatibility mode of ring 0: by far return here, by far jump back.
compat_code:
    movl %esp, %ebx
    pushl %eax                  # four bytes
    subl %esp, %ebx
    addl %ebx, %esp
    movl %ebx, compat_result
    movl $0x12345678, %eax
    .byte 0x40                  # INC EAX here, a REX prefix in 64-bit mode
    nop
    movl %eax, compat_result + 4
    xorl %eax, %eax
    cpuid
    movl %ebx, compat_result + 8
    ljmp $8, $1f
.code64
1:  jmp *%r8
.code32
compat_bad:
compat_ud:
    ud2
.code64

.macro STEP64 insn:vararg
    \insn
.Llong_step\@:
    .pushsection .rodata.long_steps, "a", @progbits
    .quad .Llong_step\@
    .popsection
.endm
.pushsection .rodata.long_steps, "a", @progbits
.balign 8
.globl long_steps
long_steps:
.popsection
.globl long_step
long_step:
    pushq %rbx
    pushfq
    orl $0x100, (%rsp)
    popfq
    STEP64 nop
    STEP64 xorl %eax, %eax
    STEP64 cpuid
    STEP64 pushfq
    STEP64 popq %rax
    STEP64 movq %rax, %r8
    STEP64 pushfq
    STEP64 popfq
    STEP64 movl $0x277, %ecx
    STEP64 rdmsr
    STEP64 movq %cr0, %rax
    STEP64 movq %cr3, %rax
    STEP64 movq %rsp, %rax
    STEP64 pushq $0x10
    STEP64 pushq %rax
    STEP64 pushfq
    STEP64 pushq $8
    STEP64 leaq 1f(%rip), %rcx
    STEP64 pushq %rcx
    iretq
1:  .pushsection .rodata.long_steps
    .quad 1b
    .popsection
    STEP64 movl $0x61, %edx
    STEP64 inb %dx, %al
    STEP64 pushfq
    STEP64 andl $0xfffffeff, (%rsp)
    STEP64 popfq
    nop
    popq %rbx
    ret
.pushsection .rodata.long_steps
.globl long_steps_end
long_steps_end:
.popsection

.section .bss.modes, "aw", @nobits
.balign 8
syscall64_count: .skip 24
compat_result: .skip 16
sysenter64_carry: .skip 8
.text
