.text
.code64
.globl exits_loop, exits_halt, exits_deaf
exits_loop:
    sti
1:  incq exits_counter(%rip)
    jmp 1b
exits_deaf:
    cli
    jmp 1b
exits_halt:
    sti
2:  incq exits_counter(%rip)
    hlt
    jmp 2b

.section .bss.exits, "aw", @nobits
.balign 8
.globl exits_counter, exits_ticks
exits_counter: .skip 8
exits_ticks: .skip 8
.text
