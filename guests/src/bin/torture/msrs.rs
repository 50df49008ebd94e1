//! Model-specific registers, read and written at random.

use crate::random::Random;
use guests::cpu;
use guests::exception::catch;

/// Those that do something.
const MSRS: [u32; 44] = [
    0x10,
    0x1b,
    0x8b,
    0xfe,
    0x174,
    0x175,
    0x176,
    0x179,
    0x17b,
    0x1d9,
    0x1db,
    0x200,
    0x201,
    0x250,
    0x268,
    0x277,
    0x2ff,
    0x79,
    0x3a,
    0x1a0,
    0x480,
    0x48f,
    0x48,
    0x49,
    0x6e0,
    0x800,
    0x830,
    0xda0,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0084,
    0xc000_0102,
    0xc000_0103,
    0xc000_0104,
    0xc001_0010,
    0xc001_0015,
    0xc001_001a,
    0xc001_0020,
    0xc001_0058,
    0xc001_0111,
    0xc001_0114,
    0xc001_0117,
    0xc001_011b,
];

/// One that means something, one near those, or any.
fn some(random: &mut Random) -> u32 {
    match random.below(4) {
        0 => {
            random.of(&[0, 0x800, 0xc000_0000, 0xc001_0000, 0x4000_0000])
                + random.below(0x2000) as u32
        }
        1 => random.next() as u32,
        _ => random.of(&MSRS),
    }
}

/// Reads one.
pub(crate) fn read(random: &mut Random) {
    let msr = some(random);
    let mut value = 0;
    catch(|| value |= cpu::rdmsr(msr));
}

/// Flips bits of one, and puts them back.
pub(crate) fn write(random: &mut Random) {
    let msr = some(random);
    let mut flip = random.number();
    match msr {
        // Switched off it cannot be switched on again; the mode that paging needs.
        0x1b => flip &= !0x800,
        0xc000_0080 => flip &= !0x500,
        // Where this guest's own code would go astray at once.
        0xc000_0100 | 0xc000_0101 => return,
        _ => {}
    }
    let mut old = 0;
    if catch(|| old = cpu::rdmsr(msr)).is_some() {
        catch(|| cpu::wrmsr(msr, flip));
        return;
    }
    catch(|| cpu::wrmsr(msr, old ^ flip));
    catch(|| cpu::wrmsr(msr, old));
}
