# The hole as real mode with 4 GiB segments and 32-bit paging see it. low_arg: the hole, a buffer of
# the guest's, a page directory. low_result: what was read.

.section .low, "awx", @progbits
.code16
.globl hole_unreal
hole_unreal:
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    movw $0x10, %bx
    movw %bx, %ds               # limit 4 GiB, kept after PE is cleared
    movw %bx, %es
    andb $0xfe, %al
    movl %eax, %cr0
    xorw %bx, %bx
    movw %bx, %ds
    movw %bx, %es
    movl low_arg, %esi
    movl (%esi), %eax
    movl %eax, low_result
    movl $0x12345678, (%esi)
    movb $0x5a, 5(%esi)
    movl (%esi), %eax
    movl %eax, low_result + 4
    movl 4(%esi), %eax
    movl %eax, low_result + 8
    movl low_arg + 4, %edi      # out of the hole
    movl $16, %ecx
    rep movsb (%esi), (%edi)
    movl low_arg + 4, %eax
    movl (%eax), %ebx
    movl %ebx, low_result + 12
    movl 12(%eax), %ebx
    movl %ebx, low_result + 16
    movl $0x600df00d, (%eax)    # and into it
    movl %eax, %esi
    movl low_arg, %edi
    movl $4, %ecx
    rep movsl (%esi), (%edi)
    movl low_arg, %esi
    movl (%esi), %eax
    movl %eax, low_result + 20
    lock incl (%esi)
    setz low_result + 24
    movl (%esi), %eax
    movl %eax, low_result + 28
    retw

.code32
.globl hole_paging32
hole_paging32:
    movl 0xfffff000, %eax       # for comparison with the walk through the hole
    movl %eax, low_result + 12
    movl low_arg + 8, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x10, %eax             # PSE
    movl %eax, %cr4
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    jmp 1f
1:  movl low_arg, %esi
    movl (%esi), %eax
    movl %eax, low_result
    movl $0x12345678, (%esi)
    movl (%esi), %eax
    movl %eax, low_result + 4
    movl low_arg + 4, %eax      # a linear address whose page table lies in the hole
    movl (%eax), %eax
    movl %eax, low_result + 8
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl %cr4, %eax
    andl $~0x10, %eax
    movl %eax, %cr4
    ret
.code64
.text
