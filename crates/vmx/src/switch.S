# The world switch (SDM 3C, chapters 26 and 27). Guest FPU state is never touched: no code here or anywhere in
# the image uses it. CR2, DR0-3 and DR6 stay the guest's all the time.

# vmx_switch(rdi: *mut [u64; 16] general registers, rsi: *const u8 the NMI flag) -> eax: 0 after an exit, 1 if
# the CPU did not enter, 2 if an NMI was there first.
# RSP of the guest lies in the VMCS; its place in the array keeps what HOST_RSP was last.
# An NMI that the VMM's handler takes from vmx_switch_open on would wait for the next exit: it goes on at
# vmx_switch_nmi instead (the handler sees to it).
.global vmx_switch
.global vmx_switch_open
.global vmx_switch_enter
.global vmx_switch_nmi
vmx_switch:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdi
    cmp rsp, [rdi + 4*8]
    jne 2f
vmx_switch_open:
    cmp byte ptr [rsi], 0
    jne vmx_switch_nmi
    mov rax, [rdi + 0*8]
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
vmx_switch_enter:
    vmresume
    # It did not enter. VM-instruction error 5: never launched. Any other is the reason, which VMLAUNCH would replace by
    # an error of its own.
    push rax
    mov eax, 0x4400
    vmread rax, rax
    cmp eax, 5
    pop rax
    jne 4f
    vmlaunch
4:  mov eax, 1
    jmp 3f

vmx_switch_nmi:
    mov eax, 2
    jmp 3f

# HOST_RSP
2:  mov [rdi + 4*8], rsp
    mov eax, 0x6c14
    vmwrite rax, rsp
    jmp vmx_switch_open

# HOST_RIP
.global vmx_switch_exit
vmx_switch_exit:
    push rdi
    mov rdi, [rsp + 8]
    mov [rdi + 0*8], rax
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
    xor eax, eax
3:  pop rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
