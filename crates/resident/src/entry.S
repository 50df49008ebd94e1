# resident_entry(rdi: &HandOver): entered by setup at CPL 0 in 64-bit mode, interrupts off, on the
# boot stack in the hole.
.global resident_entry
resident_entry:
    cld
    xor ebp, ebp
    call resident_start
1:  cli
    hlt
    jmp 1b

# run_on_stack(rdi: argument, rsi: stack top, rdx: fn(argument) -> !)
.global run_on_stack
run_on_stack:
    mov rsp, rsi
    # The end of every backtrace.
    xor ebp, ebp
    call rdx
    ud2

# reset_last(): what resets a machine whose chipset's ways did nothing. The keyboard controller's pulse, and what chipsets make of
# a shutdown, may be an INIT: VMX root operation blocks it (SDM 3C, 26.3; VMXOFF lets it in), GIF = 0 holds it and
# VM_CR.R_INIT makes it an exception (APM 2, 15.17 and 15.28). So the extension is left before.
.global reset_last
reset_last:
    mov rax, cr4
    bt eax, 13                  # VMXE: Intel's
    jnc 1f
    vmxoff
    jmp 2f
1:  mov ecx, 0xc0000080
    rdmsr
    bt eax, 12                  # SVME
    jnc 2f
    mov ecx, 0xc0010114         # VM_CR
    rdmsr
    btr eax, 1                  # R_INIT
    wrmsr
    stgi
    # The controller takes a command when its input buffer is empty; where there is none all bits are 1.
2:  mov ecx, 0x10000
3:  in al, 0x64
    test al, 2
    loopnz 3b
    mov al, 0xfe
    out 0x64, al
    mov ecx, 0x10000            # about 1 microsecond each
4:  in al, 0x61
    loop 4b
# An exception that cannot be delivered, twice.
.global reset_shutdown
reset_shutdown:
    push 0
    push 0
    lidt [rsp]
    ud2

# Accesses that may raise #GP or #PF: the fault handler goes on at `refused`.
# msr_read(edi: msr, rsi: *mut u64) -> eax: 1 if it was read
.global msr_read
.global msr_read_at
msr_read:
    mov ecx, edi
msr_read_at:
    rdmsr
    shl rdx, 32
    or rax, rdx
    mov [rsi], rax
    mov eax, 1
    ret

# msr_write(edi: msr, rsi: value) -> eax: 1 if it was written
.global msr_write
.global msr_write_at
msr_write:
    mov ecx, edi
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
msr_write_at:
    wrmsr
    mov eax, 1
    ret

# xcr_write(edi: register, rsi: value) -> eax: 1 if it was written. XSETBV needs CR4.OSXSAVE (bit 18).
.global xcr_write
.global xcr_write_at
xcr_write:
    push rbx
    mov rbx, cr4
    mov rax, rbx
    bts rax, 18
    mov cr4, rax
    call 1f
    mov cr4, rbx
    pop rbx
    ret
1:  mov ecx, edi
    mov eax, esi
    mov rdx, rsi
    shr rdx, 32
xcr_write_at:
    xsetbv
    mov eax, 1
    ret

# memory_read(rdi: *mut u8, rsi: address, rdx: bytes) -> eax: 1 if all of it could be read
.global memory_read
.global memory_read_at
memory_read:
    mov rcx, rdx
memory_read_at:
    rep movsb
    mov eax, 1
    ret

.global refused
refused:
    xor eax, eax
    ret

# Every vector: its number and an error code (or 0) on the stack, general registers saved, then Rust. A stub pushes the number
# as one byte, whatever its sign, and leaves the rest to what all share: here and below there are 512, so their bytes count.
.macro exception number, to
.balign 8
    .byte 0x6a, \number        # push, one byte
    jmp \to
.endm

.balign 8
.global exception_stubs
exception_stubs:
.set n, 0
.rept 256
    .if (n == 8) || ((n >= 10) && (n <= 14)) || (n == 17) || (n == 21) || (n == 29) || (n == 30)
    exception n, exception_common
    .else
    exception n, exception_without_error
    .endif
    .set n, n + 1
.endr
.balign 8
# Rust counts on the stride: this does not assemble if a stub outgrew it.
.org exception_stubs + 256 * 8

exception_without_error:
    push [rsp]
    mov qword ptr [rsp + 8], 0
exception_common:
    # The byte was extended by its sign.
    and qword ptr [rsp], 0xff
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rdi, rsp
    mov rbp, rsp
    and rsp, -16
    cld
    call resident_exception
    mov rsp, rbp
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq

# NMI: sets this CPU's flag, the first byte behind GS. One that comes when nobody looks at the flag any more would
# wait for long: between the STGI and the HLT of AMD's halting window it returns behind the HLT, and
# between the look and the entry of Intel's world switch to where that gives up.
.balign 16
.global nmi_stub
nmi_stub:
    mov byte ptr gs:[0], 1
    push rax
    lea rax, [rip + svm_window_halt_open]
    cmp [rsp + 8], rax
    jb 1f
    lea rax, [rip + svm_window_halt_hlt]
    cmp [rsp + 8], rax
    ja 1f
    inc rax
    jmp 2f
1:  lea rax, [rip + vmx_switch_open]
    cmp [rsp + 8], rax
    jb 3f
    lea rax, [rip + vmx_switch_enter]
    cmp [rsp + 8], rax
    ja 3f
    lea rax, [rip + vmx_switch_nmi]
2:  mov [rsp + 8], rax
3:  pop rax
    iretq

# The interrupt window (svm): the vector into R10D, IF cleared in the frame, back.
.macro interrupt number
.balign 8
    .if \number == 18
    jmp window_18
    .elseif \number == 30
    jmp window_30
    .else
    .byte 0x41, 0xb2, \number  # mov r10b
    jmp window_taken
    .endif
.endm

# Vector 30 is an external interrupt, or #SX with its error code on top: an INIT (APM 2, 15.28). The word
# above the return address is CS in the one case and the return address in the other.
window_30:
    cmp qword ptr [rsp + 8], 8
    je 1f
    add rsp, 8
    mov byte ptr gs:[1], 1
    and qword ptr [rsp + 16], -0x201
    iretq
1:  mov r10b, 30
    jmp window_taken

# Vector 18 is an external interrupt, or #MC, which neither pushes an error code. MCG_STATUS.MCIP tells (APM 2, 9.3.1.2):
# #MC sets it, and a handler clears it at its end: the guest's own takes no interrupts meanwhile. Nothing else sets it:
# hv (msr.rs) keeps what the guest writes there out of the register.
window_18:
    push rax
    push rcx
    push rdx
    mov ecx, 0x17a
    rdmsr
    test al, 4
    pop rdx
    pop rcx
    pop rax
    jnz exception_stubs + 18 * 8
    mov r10b, 18
window_taken:
    movzx r10d, r10b
    and qword ptr [rsp + 16], -0x201
    iretq

.balign 8
.global window_stubs
window_stubs:
.set n, 0
.rept 256
    interrupt n
    .set n, n + 1
.endr
.balign 8
.org window_stubs + 256 * 8
