# What a started CPU runs, copied to 40000h: it counts itself and stays, deaf to interrupts, and
# returns from an NMI.

.text
.globl trampoline_start, trampoline_nmi, trampoline_end
.code16
trampoline_start:
    cli
    movw %cs, %ax
    movw %ax, %ds
    lidtw trampoline_idtr - trampoline_start
    lock incl 0xff8             # TRAMPOLINE_COUNT
    pushfw                      # IRET lets NMIs in again if one led here
    pushw %cs
    pushw $1f - trampoline_start
    iretw
1:  hlt
    jmp 1b
trampoline_nmi:
    iretw
trampoline_idtr:
    .word 0x3ff
    .long 0x40400
trampoline_end:
.code64
