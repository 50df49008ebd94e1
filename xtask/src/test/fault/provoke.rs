//! The ways a VMM can fail, and what each must be told as.

use super::NOWHERE;

/// How the VMM is sent astray at its [`super::Place`].
pub(super) enum How {
    /// It goes on as it was.
    Nothing,
    /// These bytes are executed there.
    Code(Vec<u8>),
    /// It goes on at this address.
    Jump(u64),
    /// It goes on at the top of its own stack.
    IntoStack,
    /// It panics.
    Panic,
    /// The emulator's memory reports an error that cannot be corrected.
    MachineCheck,
}

/// One way to fail.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) how: How,
    /// What the report says, `{place}`, `{stack}` and `{nowhere}` filled in.
    pub(super) told: &'static str,
}

/// `mov rax, [ADDRESS]`.
fn load(address: u64) -> Vec<u8> {
    [&[0x48, 0xa1][..], &address.to_le_bytes()].concat()
}

/// `mov [ADDRESS], rax`.
fn store(address: u64) -> Vec<u8> {
    [&[0x48, 0xa3][..], &address.to_le_bytes()].concat()
}

/// All of them; the VMM's code to be written to is at `place`.
pub(super) fn kinds(place: u64) -> Vec<Kind> {
    let kind = |name, how, told| Kind { name, how, told };
    let code = |name, bytes: &[u8], told| kind(name, How::Code(bytes.to_vec()), told);
    vec![
        code("read", &load(NOWHERE), "vector 14 (#PF) error 0x0 at {place}, CR2 {nowhere}"),
        code("write", &store(NOWHERE), "vector 14 (#PF) error 0x2 at {place}, CR2 {nowhere}"),
        code("write to code", &store(place), "vector 14 (#PF) error 0x3 at {place}, CR2 {place}"),
        kind(
            "execute nothing",
            How::Jump(NOWHERE),
            "vector 14 (#PF) error 0x10 at {nowhere}, CR2 {nowhere}",
        ),
        kind("execute data", How::IntoStack, "vector 14 (#PF) error 0x11 at {stack}, CR2 {stack}"),
        kind(
            "execute the guest",
            How::Jump(0x7c00),
            "vector 14 (#PF) error 0x11 at 0x7c00, CR2 0x7c00",
        ),
        code("not canonical", &load(1 << 63), "vector 13 (#GP) error 0x0 at {place}"),
        code("invalid opcode", &[0x0f, 0x0b], "vector 6 (#UD) error 0x0 at {place}"),
        // xor ecx, ecx; div ecx
        code("divide by zero", &[0x31, 0xc9, 0xf7, 0xf1], "vector 0 (#DE) error 0x0 at {place+2}"),
        code("int3", &[0xcc], "vector 3 (#BP) error 0x0 at {place+1}"),
        code(
            "unexpected vector",
            &[0xcd, 200],
            "vector 200 (an interrupt nobody asked for) error 0x0 at {place+2}",
        ),
        // 1: push rax; jmp 1b
        code("stack overflow", &[0x50, 0xeb, 0xfd], "vector 14 (#PF) error 0x2 at {place}, CR2 "),
        // mov rsp, NOWHERE; push rax
        code(
            "stack lost",
            &[&[0x48, 0xbc][..], &NOWHERE.to_le_bytes(), &[0x50]].concat(),
            "vector 14 (#PF) error 0x2 at {place+10}",
        ),
        // sidt [rsp - 16]; mov rax, [rsp - 14]; mov byte [rax + 5], 0; xor ecx, ecx; div ecx: #DE has no gate, and the
        // #NP for want of it is the second of two.
        code(
            "double fault",
            &[
                0x0f, 0x01, 0x4c, 0x24, 0xf0, 0x48, 0x8b, 0x44, 0x24, 0xf2, 0xc6, 0x40, 0x05, 0x00,
                0x31, 0xc9, 0xf7, 0xf1,
            ],
            "vector 8 (#DF) error 0x0 at {place+16}",
        ),
        // mov rbp, NOWHERE; ud2: no frame can be read, whose address is refused on the stack of faults.
        code(
            "frame lost",
            &[&[0x48, 0xbd][..], &NOWHERE.to_le_bytes(), &[0x0f, 0x0b]].concat(),
            "vector 6 (#UD) error 0x0 at {place+10}",
        ),
        kind("machine check", How::MachineCheck, "vector 18 (#MC) error 0x0 at "),
        kind("panic", How::Panic, "VMM panic: panicked at provoked.rs:12:34:\n"),
    ]
}
