//! The opcode maps (APM 3, appendix A), eight opcodes a row, for the disassembler.
//!
//! An entry is a mnemonic and its operands in the letters of the manual's tables: `E` is ModRM's register or memory,
//! `G` its register, `M` memory alone, `R` the register alone, `I` an immediate, `J` a relative target, `A` a far
//! pointer, `O` an offset, `S C D` segment, control and debug registers, `Z` the register in the opcode's low bits;
//! behind it the size: `b w d q`, `v` by the operand size, `z` the same but 32 bits at most, `y` 32 or 64 bits,
//! `s` a byte that is sign-extended, `p` a far pointer. What is in capitals or digits beyond that is itself.
//! In a mnemonic `*` is the suffix of the operand size. Before it: `^` has 64-bit operands in 64-bit mode, `!` is
//! none in 64-bit mode. `@n` takes the mnemonic from group n by ModRM's register; `#` is one of the CPU's
//! extensions for vectors, of which only the length is known; `-` is nothing.

/// The first 256 opcodes. 40h to 4Fh are prefixes in 64-bit mode; so are, always, those that say so by `-`.
pub(super) const ONE: &str = "\
add Eb,Gb|add Ev,Gv|add Gb,Eb|add Gv,Ev|add AL,Ib|add rAX,Iz|!push ES|!pop ES|\
or Eb,Gb|or Ev,Gv|or Gb,Eb|or Gv,Ev|or AL,Ib|or rAX,Iz|!push CS|-|\
adc Eb,Gb|adc Ev,Gv|adc Gb,Eb|adc Gv,Ev|adc AL,Ib|adc rAX,Iz|!push SS|!pop SS|\
sbb Eb,Gb|sbb Ev,Gv|sbb Gb,Eb|sbb Gv,Ev|sbb AL,Ib|sbb rAX,Iz|!push DS|!pop DS|\
and Eb,Gb|and Ev,Gv|and Gb,Eb|and Gv,Ev|and AL,Ib|and rAX,Iz|-|!daa|\
sub Eb,Gb|sub Ev,Gv|sub Gb,Eb|sub Gv,Ev|sub AL,Ib|sub rAX,Iz|-|!das|\
xor Eb,Gb|xor Ev,Gv|xor Gb,Eb|xor Gv,Ev|xor AL,Ib|xor rAX,Iz|-|!aaa|\
cmp Eb,Gb|cmp Ev,Gv|cmp Gb,Eb|cmp Gv,Ev|cmp AL,Ib|cmp rAX,Iz|-|!aas|\
inc Zv|inc Zv|inc Zv|inc Zv|inc Zv|inc Zv|inc Zv|inc Zv|\
dec Zv|dec Zv|dec Zv|dec Zv|dec Zv|dec Zv|dec Zv|dec Zv|\
^push Zv|^push Zv|^push Zv|^push Zv|^push Zv|^push Zv|^push Zv|^push Zv|\
^pop Zv|^pop Zv|^pop Zv|^pop Zv|^pop Zv|^pop Zv|^pop Zv|^pop Zv|\
!pusha*|!popa*|!bound Gv,Mv|arpl Ew,Gw|-|-|-|-|\
^push Iz|imul Gv,Ev,Iz|^push Is|imul Gv,Ev,Is|insb|ins+|outsb|outs+|\
jo Jb|jno Jb|jb Jb|jae Jb|je Jb|jne Jb|jbe Jb|ja Jb|\
js Jb|jns Jb|jp Jb|jnp Jb|jl Jb|jge Jb|jle Jb|jg Jb|\
@1 Eb,Ib|@1 Ev,Iz|!@1 Eb,Ib|@1 Ev,Is|test Eb,Gb|test Ev,Gv|xchg Eb,Gb|xchg Ev,Gv|\
mov Eb,Gb|mov Ev,Gv|mov Gb,Eb|mov Gv,Ev|mov Ev,Sw|lea Gv,Mv|mov Sw,Ev|@14 Ev|\
xchg Zv,rAX|xchg Zv,rAX|xchg Zv,rAX|xchg Zv,rAX|xchg Zv,rAX|xchg Zv,rAX|xchg Zv,rAX|xchg Zv,rAX|\
cbw|cwd|!call Ap|wait|^pushf*|^popf*|sahf|lahf|\
mov AL,Ob|mov rAX,Ov|mov Ob,AL|mov Ov,rAX|movsb|movs*|cmpsb|cmps*|\
test AL,Ib|test rAX,Iz|stosb|stos*|lodsb|lods*|scasb|scas*|\
mov Zb,Ib|mov Zb,Ib|mov Zb,Ib|mov Zb,Ib|mov Zb,Ib|mov Zb,Ib|mov Zb,Ib|mov Zb,Ib|\
mov Zv,Iv|mov Zv,Iv|mov Zv,Iv|mov Zv,Iv|mov Zv,Iv|mov Zv,Iv|mov Zv,Iv|mov Zv,Iv|\
@2 Eb,Ib|@2 Ev,Ib|^ret Iw|^ret|!les Gv,Mp|!lds Gv,Mp|@11 Eb,Ib|@11 Ev,Iz|\
^enter Iw,Ib|^leave|retf Iw|retf|int3|int Ib|!into|iret*|\
@2 Eb,1|@2 Ev,1|@2 Eb,CL|@2 Ev,CL|!aam Ib|!aad Ib|!salc|xlatb|\
-|-|-|-|-|-|-|-|\
loopne Jb|loope Jb|loop Jb|j=cxz Jb|in AL,Ib|in eAX,Ib|out Ib,AL|out Ib,eAX|\
^call Jz|^jmp Jz|!jmp Ap|^jmp Jb|in AL,DX|in eAX,DX|out DX,AL|out DX,eAX|\
-|int1|-|-|hlt|cmc|@3 Eb|@3 Ev|\
clc|stc|cli|sti|cld|std|@4 Eb|@5 Ev";

/// Those behind 0Fh.
pub(super) const TWO: &str = "\
@6 Ew|@7 Ew|lar Gv,Ew|lsl Gv,Ew|-|syscall|clts|sysret|\
invd|wbinvd|-|ud2|-|prefetchw M|femms|#i|\
#|#|#|#|#|#|#|#|\
prefetch M|nop Ev|nop Ev|nop Ev|nop Ev|nop Ev|nop Ev|nop Ev|\
mov Rq,C|mov Rq,D|mov C,Rq|mov D,Rq|-|-|-|-|\
#|#|#|#|#|#|#|#|\
wrmsr|rdtsc|rdmsr|rdpmc|sysenter|sysexit|-|getsec|\
#3|-|#3i|-|-|-|-|-|\
cmovo Gv,Ev|cmovno Gv,Ev|cmovb Gv,Ev|cmovae Gv,Ev|\
cmove Gv,Ev|cmovne Gv,Ev|cmovbe Gv,Ev|cmova Gv,Ev|\
cmovs Gv,Ev|cmovns Gv,Ev|cmovp Gv,Ev|cmovnp Gv,Ev|\
cmovl Gv,Ev|cmovge Gv,Ev|cmovle Gv,Ev|cmovg Gv,Ev|\
#|#|#|#|#|#|#|#|\
#|#|#|#|#|#|#|#|\
#|#|#|#|#|#|#|#|\
#|#|#|#|#|#|#|#|\
#i|#i|#i|#i|#|#|#|emms|\
#|#|-|-|#|#|#|#|\
^jo Jz|^jno Jz|^jb Jz|^jae Jz|^je Jz|^jne Jz|^jbe Jz|^ja Jz|\
^js Jz|^jns Jz|^jp Jz|^jnp Jz|^jl Jz|^jge Jz|^jle Jz|^jg Jz|\
seto Eb|setno Eb|setb Eb|setae Eb|sete Eb|setne Eb|setbe Eb|seta Eb|\
sets Eb|setns Eb|setp Eb|setnp Eb|setl Eb|setge Eb|setle Eb|setg Eb|\
^push FS|^pop FS|cpuid|bt Ev,Gv|shld Ev,Gv,Ib|shld Ev,Gv,CL|-|-|\
^push GS|^pop GS|rsm|bts Ev,Gv|shrd Ev,Gv,Ib|shrd Ev,Gv,CL|@15 M|imul Gv,Ev|\
cmpxchg Eb,Gb|cmpxchg Ev,Gv|lss Gv,Mp|btr Ev,Gv|lfs Gv,Mp|lgs Gv,Mp|movzx Gv,Eb|movzx Gv,Ew|\
popcnt Gv,Ev|ud1 Gv,Ev|@8 Ev,Ib|btc Ev,Gv|bsf Gv,Ev|bsr Gv,Ev|movsx Gv,Eb|movsx Gv,Ew|\
xadd Eb,Gb|xadd Ev,Gv|#i|movnti My,Gy|#i|#i|#i|@9 M|\
bswap Zv|bswap Zv|bswap Zv|bswap Zv|bswap Zv|bswap Zv|bswap Zv|bswap Zv|\
#|#|#|#|#|#|#|#|\
#|#|#|#|#|#|#|#|\
#|#|#|#|#|#|#|#|\
#|#|#|#|#|#|#|#|\
#|#|#|#|#|#|#|#|\
#|#|#|#|#|#|#|ud0";

/// Mnemonics by ModRM's register; a line each group: its number, then eight.
pub(super) const GROUPS: &str = "\
1 add or adc sbb and sub xor cmp
2 rol ror rcl rcr shl shr shl sar
3 test test not neg mul imul div idiv
4 inc dec - - - - - -
5 inc dec call callf jmp jmpf push -
6 sldt str lldt ltr verr verw - -
7 sgdt sidt lgdt lidt smsw - lmsw invlpg
8 - - - - bt bts btr btc
9 - cmpxchg8b - xrstors xsavec xsaves vmptrld vmptrst
11 mov - - - - - - -
14 pop - - - - - - -
15 fxsave fxrstor ldmxcsr stmxcsr xsave xrstor xsaveopt clflush
";

/// Instructions that are a whole ModRM behind 0F 01.
pub(super) const SYSTEM: &str = "\
c0 enclv
c1 vmcall
c2 vmlaunch
c3 vmresume
c4 vmxoff
c5 pconfig
c6 wrmsrns
c7 pbndkb
c8 monitor
c9 mwait
ca clac
cb stac
cf encls
d0 xgetbv
d1 xsetbv
d4 vmfunc
d5 xend
d6 xtest
d7 enclu
d8 vmrun
d9 vmmcall
da vmload
db vmsave
dc stgi
dd clgi
de skinit
df invlpga
e8 serialize
ee rdpkru
ef wrpkru
f8 swapgs
f9 rdtscp
fa monitorx
fb mwaitx
fc clzero
fd rdpru
fe invlpgb
ff tlbsync
";

/// x87 with memory: a line each opcode from D8h on, by ModRM's register.
pub(super) const X87: &str = "\
fadd fmul fcom fcomp fsub fsubr fdiv fdivr
fld - fst fstp fldenv fldcw fnstenv fnstcw
fiadd fimul ficom ficomp fisub fisubr fidiv fidivr
fild fisttp fist fistp - fld - fstp
fadd fmul fcom fcomp fsub fsubr fdiv fdivr
fld fisttp fst fstp frstor - fnsave fnstsw
fiadd fimul ficom ficomp fisub fisubr fidiv fidivr
fild fisttp fist fistp fbld fild fbstp fistp
";

/// The `n`th entry of a map.
pub(super) fn entry(map: &'static str, n: u8) -> &'static str {
    map.split('|').nth(n.into()).unwrap_or("-")
}

/// The `n`th line of a table.
pub(super) fn line(table: &'static str, n: u8) -> &'static str {
    table.lines().nth(n.into()).unwrap_or("-")
}

/// What stands behind `key` in the line that begins with it.
pub(super) fn keyed(map: &'static str, key: &str) -> &'static str {
    let found = map.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    found.unwrap_or("-")
}

/// The `n`th word of a line.
pub(super) fn word(line: &'static str, n: u8) -> &'static str {
    line.split(' ').nth(n.into()).unwrap_or("-")
}
