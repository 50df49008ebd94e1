# The same as main.rs in short, for 32-bit GNU Mach. A trap is a far call through the call gate 7 of the LDT
# (GNU Mach's i386/i386/ldt.h), its number in EAX, the arguments on the stack behind a return address.

.macro trap number
    movl $\number, %eax
    lcall $7, $0
.endm

.section .text
.code32
.globl _start
_start:
    movl %cs, %eax
    andl $3, %eax
    addb %al, ring_digit
    movl $in_ring, %ecx
    call say

    # 1024 pages, each touched for the first time, then read back.
    movl $memory, %edi
    movl $1024, %ecx
1:  movl %ecx, (%edi)
    addl $4096, %edi
    decl %ecx
    jnz 1b
    movl $memory, %edi
    movl $1024, %ecx
2:  cmpl %ecx, (%edi)
    jne wrong
    addl $4096, %edi
    decl %ecx
    jnz 2b
    movl $pages, %ecx
    call say

    trap -28                    # mach_task_self
    movl %eax, %ebx
    testl %eax, %eax
    jz wrong
    trap -26                    # mach_reply_port
    testl %eax, %eax
    jz wrong
    cmpl %eax, %ebx
    je wrong
    movl $ports, %ecx
    call say

    movl $10000, %esi
3:  pushl $0
    pushl $0                    # in place of a return address
    trap -59                    # swtch_pri
    addl $8, %esp
    decl %esi
    jnz 3b
    movl $done, %ecx
    call say
4:  pushl $0
    pushl $0
    trap -59
    addl $8, %esp
    jmp 4b

wrong:
    movl $failed, %ecx
    call say
    jmp 4b

# Prints the string at ECX.
say:
    pushl %ecx
    pushl $0
    trap -30                    # mach_print
    addl $8, %esp
    ret

.section .data
in_ring: .ascii "task: in ring "
ring_digit: .asciz "0\n"
pages: .asciz "task: 1024 pages hold what was written\n"
ports: .asciz "task: ports are two\n"
done: .asciz "task: back from 10000 traps, done\n"
failed: .asciz "task: wrong\n"

.section .bss
.balign 4096
memory: .skip 1024 * 4096
