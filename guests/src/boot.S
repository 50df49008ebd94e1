# Multiboot entry (32-bit protected mode, paging off) to 64-bit Rust, identity-mapped to 4 GiB.

.set MAGIC, 0x1badb002
.set FLAGS, 0x00010002          # memory information wanted; the address fields are valid

.section .multiboot, "ax", @progbits
.balign 4
header:
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)
    .long header                # header_addr
    .long __load_start          # load_addr
    .long __load_end            # load_end_addr
    .long __bss_end             # bss_end_addr
    .long _start                # entry_addr

.section .boot, "ax", @progbits
.code32
.globl _start
_start:
    cli
    cld
    movl $boot_stack_top, %esp
    movl %ebx, %ebp             # multiboot information

    # 2048 large pages, user-accessible so that ring 3 tests run anywhere.
    movl $boot_pd, %edi
    movl $0x87, %eax            # present, writable, user, large
    movl $2048, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $0x200000, %eax
    addl $8, %edi
    decl %ecx
    jnz 1b
    movl $boot_pdpt, %edi
    movl $(boot_pd + 7), %eax
    movl $4, %ecx
2:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    decl %ecx
    jnz 2b
    movl $(boot_pdpt + 7), boot_pml4

    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0x20, %eax            # PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx      # EFER.LME
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl $0x80010011, %eax      # PG, WP, ET, PE
    movl %eax, %cr0
    lgdt boot_gdtr
    ljmp $8, $3f
.code64
3:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl %ebp, %edi
    xorl %ebp, %ebp
    call guest_start
4:  cli
    hlt
    jmp 4b

.balign 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdtr:
    .word . - boot_gdt - 1
    .long boot_gdt

.section .bss.boot, "aw", @nobits
.balign 4096
.globl boot_pml4, boot_pdpt, boot_pd
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pd: .skip 4 * 4096
.skip 65536
boot_stack_top:
.text
