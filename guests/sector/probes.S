# Whether a VMM answers the probe in each mode, CS = DS = 0 everywhere. Part of sector.S.

probes:
    cli
    xorl %eax, %eax             # Intel's hypercall is VMCALL, 0F 01 C1
    cpuid
    cmpl $0x756e6547, %ebx
    jne 1f
    movb $0xc1, hypercall16 + 2
    movb $0xc1, hypercall32 + 2
1:
    movl 4 * 6, %eax
    movl %eax, old_ud
    movl $ud_real, 4 * 6
    movw $text_real, %si
    call probe16
    lgdt gdtr
    lidt idtr
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $0x08, $1f
.code32
1:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    call probe32
    movl %eax, in_protected
    movl $TABLES, %edi          # the first 4 MiB
    xorl %eax, %eax
    movl $1024, %ecx
    rep stosl
    movl $0x83, TABLES
    movl $TABLES, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orb $0x10, %al              # 4-MiB pages
    movl %eax, %cr4
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    call probe32
    movl %eax, in_paging
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    call probe32
    movl %eax, after_paging
    ljmpl $0x18, $2f
.code16
2:  movw $0x20, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl %cr0, %eax
    andb $0xfe, %al
    movl %eax, %cr0
    ljmpw $0, $3f
3:  xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    lidt real_idtr
    movw $text_protected, %si
    movl in_protected, %eax
    call answer
    movw $text_paging, %si
    movl in_paging, %eax
    call answer
    movw $text_after, %si
    movl after_paging, %eax
    call answer
    movw $text_real, %si
    call probe16
    movl old_ud, %eax
    movl %eax, 4 * 6
    sti
    retw

# SI: text; the vector of #UD comes to ud_real
probe16:
    movl $PROBE, %eax
hypercall16:
    vmmcall
    jmp answer
ud_real:
    addw $6, %sp
    xorl %eax, %eax
# SI: text, EAX: 0 for #UD
answer:
    pushl %eax
    call print
    popl %eax
    movw $text_ud, %si
    testl %eax, %eax
    jz print
    movw $text_answered, %si
    jmp print

.code32
probe32:
    movl $PROBE, %eax
hypercall32:
    vmmcall
    ret
ud_protected:
    addl $12, %esp
    xorl %eax, %eax
    ret
.code16
