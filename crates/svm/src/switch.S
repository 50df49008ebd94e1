# The world switch and the interrupt window (APM 2, 15.5, 15.17, 15.21). The VMM runs with GIF = 0 and
# RFLAGS.IF = 0 except inside the window below. Guest FPU state is never touched: no code here
# or anywhere in the image uses it.

# svm_switch(rdi: *mut [u64; 16] general registers, rsi: VMCB, rdx: host VMCB; physical addresses)
# RAX and RSP of the guest lie in the VMCB. FS, GS, TR, LDTR, KernelGSBase, STAR..SFMASK and
# SYSENTER_* are exchanged by VMLOAD and VMSAVE; VMRUN itself restores the host's other state.
.global svm_switch
svm_switch:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdx
    push rdi
    mov rax, rsi
    vmload rax
    mov rcx, [rdi + 1*8]
    mov rdx, [rdi + 2*8]
    mov rbx, [rdi + 3*8]
    mov rbp, [rdi + 5*8]
    mov rsi, [rdi + 6*8]
    mov r8,  [rdi + 8*8]
    mov r9,  [rdi + 9*8]
    mov r10, [rdi + 10*8]
    mov r11, [rdi + 11*8]
    mov r12, [rdi + 12*8]
    mov r13, [rdi + 13*8]
    mov r14, [rdi + 14*8]
    mov r15, [rdi + 15*8]
    mov rdi, [rdi + 7*8]
    vmrun rax
    vmsave rax
    xchg rdi, [rsp]
    mov [rdi + 1*8], rcx
    mov [rdi + 2*8], rdx
    mov [rdi + 3*8], rbx
    mov [rdi + 5*8], rbp
    mov [rdi + 6*8], rsi
    mov [rdi + 8*8], r8
    mov [rdi + 9*8], r9
    mov [rdi + 10*8], r10
    mov [rdi + 11*8], r11
    mov [rdi + 12*8], r12
    mov [rdi + 13*8], r13
    mov [rdi + 14*8], r14
    mov [rdi + 15*8], r15
    pop rcx
    mov [rdi + 7*8], rcx
    pop rax
    vmload rax
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# svm_window_look(rdi: window IDTR, rsi: main IDTR) -> eax: vector, or FFFFFFFFh
# The window IDT's stubs put their vector into R10D, clear IF in the frame and return, so at most
# one interrupt is taken. STI holds interrupts off for one instruction: the first NOP.
.global svm_window_look
svm_window_look:
    lidt [rdi]
    mov r10d, 0xffffffff
    stgi
    sti
    nop
    nop
    cli
    clgi
    lidt [rsi]
    mov eax, r10d
    ret

# svm_window_halt: the same, but sleeps until an interrupt, NMI or SMI comes. An interrupt that is already
# pending is taken after HLT began, as STI's shadow covers it: none is slept through. An NMI that
# comes from svm_window_halt_open on skips the HLT (the handler sees to it).
.global svm_window_halt
.global svm_window_halt_open
.global svm_window_halt_hlt
svm_window_halt:
    lidt [rdi]
    mov r10d, 0xffffffff
    stgi
svm_window_halt_open:
    sti
svm_window_halt_hlt:
    hlt
    cli
    clgi
    lidt [rsi]
    mov eax, r10d
    ret

# svm_window_mwaitx(rdi, rsi, rdx: any address of ours, ecx: TSC ticks): the same, but for no longer than
# that (APM 3, MWAITX: ECX bit 1 is the timer, EBX its length; EAX 0 asks for C1).
.global svm_window_mwaitx
svm_window_mwaitx:
    push rbx
    mov ebx, ecx
    mov rax, rdx
    xor ecx, ecx
    xor edx, edx
    monitorx
    mov ecx, 2
    xor eax, eax
    lidt [rdi]
    mov r10d, 0xffffffff
    stgi
    sti
    mwaitx
    cli
    clgi
    lidt [rsi]
    mov eax, r10d
    pop rbx
    ret

# svm_window_nmi: only an NMI is taken, by the main IDT's handler. One that was injected has the CPU block further ones
# until an IRET (APM 2, 8.2.3), and the guest's may exit before it unblocks them, or be done for it: so here is one.
.global svm_window_nmi
svm_window_nmi:
    mov rax, rsp
    mov ecx, ss
    push rcx
    push rax
    pushfq
    mov ecx, cs
    push rcx
    lea rax, [rip + 2f]
    push rax
    iretq
2:
    stgi
    nop
    clgi
    mov eax, 0xffffffff
    ret
