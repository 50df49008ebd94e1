# A boot loader that lies: started by GRUB with the loader of Ramooflax as its first module and the resident
# image as its second, it hands the loader a memory map of its maker's and firmware tables it has damaged, or does not
# say that it is multiboot.
#
#     as --32 -o shim.o shim.S && ld -m elf_i386 -Ttext=0x1000000 -o shim shim.o

.set MAGIC, 0x1badb002
.set FLAGS, 0x3

.text
.balign 4
header:
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)
    .ascii "SHIM"
# What its maker fills in.
damage: .long 0                 # to the firmware's tables: `damages`
map_len: .long 0                # bytes of the map; 0: the true one
map: .skip 8192

.globl _start
_start:
    cli
    cld
    movl $stack, %esp
    movl %ebx, %ebp
    movl 24(%ebp), %esi         # the first module: start, end, string
    movl (%esi), %edx
    movl 4(%esi), %ecx
    movl 8(%esi), %eax
    movl %eax, command_line
    addl $16, %esi
    movl %esi, modules
    movl 12(%ebp), %eax
    movl %eax, boot_device
    movl 44(%ebp), %eax
    movl %eax, mmap_length
    movl 48(%ebp), %eax
    movl %eax, mmap_address
    movl map_len, %eax
    testl %eax, %eax
    jz 1f
    movl %eax, mmap_length
    movl $map, mmap_address
1:  movl %edx, %esi             # the loader's own header
2:  cmpl $MAGIC, (%esi)
    je 3f
    addl $4, %esi
    jmp 2b
3:  movl 12(%esi), %eax         # header, load address, end, end of zeroes, entry
    subl 16(%esi), %eax
    movl 16(%esi), %edi
    movl 20(%esi), %ecx
    movl 24(%esi), %ebx
    movl 28(%esi), %edx
    movl %edx, entry
    subl %eax, %esi
    subl %edi, %ecx
    subl %edi, %ebx
    subl %ecx, %ebx
    rep movsb
    movl %ebx, %ecx
    xorl %eax, %eax
    rep stosb

    movl damage, %eax
    testl %eax, %eax
    jz go
    movl $0xe0000, %esi         # the ACPI root pointer
4:  cmpl $0x20445352, (%esi)    # "RSD "
    jne 5f
    cmpl $0x20525450, 4(%esi)   # "PTR "
    je 6f
5:  addl $16, %esi
    cmpl $0x100000, %esi
    jb 4b
    jmp go
6:  movl 16(%esi), %esi         # the RSDT
    movl 4(%esi), %ecx
    leal (%esi, %ecx), %ecx
    leal 36(%esi), %ebx
7:  movl (%ebx), %edi
    cmpl $0x43495041, (%edi)    # "APIC"
    je 8f
    addl $4, %ebx
    cmpl %ecx, %ebx
    jb 7b
    jmp go
8:  jmp *damages - 4(, %eax, 4) # ESI: the RSDT, EBX: its pointer to the MADT, EDI: the MADT
damages: .long zero_entry, long_madt, loop, long_rsdt, madt_nowhere, sum, no_own, no_magic
zero_entry:                     # an entry of length 0
    movb $0, 45(%edi)
    jmp go
long_madt:                      # a table longer than memory
    movl $0x7ffffff0, 4(%edi)
    jmp go
loop:                           # a root that names itself
    movl %esi, (%ebx)
    jmp go
long_rsdt:                      # a root longer than memory
    movl $0xfffffff0, 4(%esi)
    jmp go
madt_nowhere:                   # a table where nothing is
    movl $0xfffffffc, (%ebx)
    jmp go
sum:                            # wrong sums: systems use such tables all the same
    incb 9(%edi)
    incb 9(%esi)
    jmp go
no_own:                         # a table without this CPU
    movb $0x55, 47(%edi)
    jmp go
no_magic:                       # what no multiboot loader has in EAX
    xorl %eax, %eax
    jmp 9f
go:
    movl $0x2badb002, %eax
9:  movl $information, %ebx
    jmp *entry

.balign 4
entry: .long 0
information:
    .long 0x4e                  # boot device, command line, modules, memory map
    .long 0, 0
boot_device: .long 0
command_line: .long 0
    .long 1
modules: .long 0
    .skip 16
mmap_length: .long 0
mmap_address: .long 0
    .skip 16
    .skip 1024
stack:
