# Long-mode exception entry: 256 stubs, one frame for all, and the way out of a caught fault.

.text
.code64
.balign 16
.globl exception_stubs
exception_stubs:
.set vector, 0
.rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq $vector
    jmp exception_common
    .set vector, vector + 1
.endr

exception_common:
    cld
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    call exception_dispatch     # the CPU aligned the stack; the frame is 11 * 16 bytes
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
.globl exception_return
exception_return:
    iretq

# catch_enter(rdi: extern "C" fn(rsi), rsi) -> 1 if the call ended by an exception, else 0
.globl catch_enter, catch_landing, catch_sp
catch_enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushfq
    pushq catch_sp(%rip)
    subq $8, %rsp
    movq %rsp, catch_sp(%rip)
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
    xorl %eax, %eax
1:  addq $8, %rsp
    popq catch_sp(%rip)
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    cld
    ret
catch_landing:                  # by IRETQ from the dispatcher
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movq catch_sp(%rip), %rsp
    movl $1, %eax
    jmp 1b

.section .bss.catch, "aw", @nobits
.balign 8
catch_sp: .skip 8
.text
