//! The description gdb reads and the bytes it then gets must tell the same story.
extern crate std;
use super::{Registers, Slot, change, slot, slots};
use crate::{Register, Regs};
use std::string::ToString as _;
use std::vec::Vec;

/// The value of an XML attribute in one `<reg .../>`.
fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let start = element.find(name).unwrap() + name.len() + 2;
    element[start..].split('"').next().unwrap()
}

#[test]
fn the_description_has_the_slots_in_their_order_and_sizes() {
    let (mark, xml) = crate::description::piece(b"target.xml:0,ffff", 0x1_0000).unwrap();
    let xml = xml.to_string();
    assert!(mark == 'l');
    assert_eq!(xml, include_str!("../target.xml").replace('\n', ""));
    let described: Vec<_> = xml.split("<reg ").skip(1).collect();
    assert_eq!(described.len(), slots().count());
    for (number, element) in described.iter().enumerate() {
        let slot = slot(number).unwrap();
        let bits: usize = attribute(element, "bitsize").parse().unwrap();
        assert_eq!(bits, slot.bytes() * 8, "{element}");
        match slot {
            Slot::Held(register) => assert_eq!(attribute(element, "name"), register.name()),
            Slot::Absent(_) => assert!(element.contains("i387_ext") || element.contains("float")),
        }
    }
}

#[test]
fn registers_survive_the_wire() {
    let mut regs = Regs::default();
    for (index, &register) in Register::ALL.iter().enumerate() {
        register.put(&mut regs, 0x0101_0101_0101_0101 * (index as u64 + 1));
    }
    let mut bytes = Vec::new();
    regs.gdb_serialize(|byte| bytes.push(byte.unwrap_or(0)));
    let mut back = Regs::default();
    back.gdb_deserialize(&bytes).unwrap();
    // eflags has 32 bits on the wire.
    assert_eq!(back.eflags, regs.eflags & 0xffff_ffff);
    assert_eq!(Regs { eflags: regs.eflags, ..back }, regs);
    assert_eq!(back.gdb_deserialize(&bytes[1..]), Err(()));
    bytes.push(0);
    assert_eq!(back.gdb_deserialize(&bytes), Err(()));
}

#[test]
fn rip_is_linear_and_ip_the_offset() {
    let mut regs = Regs::default();
    regs.cs.base = 0xf_0000;
    change(&mut regs, Register::Rip, 0xf_fff0);
    assert_eq!((regs.rip_linear, regs.ip), (0xf_fff0, 0xfff0));
    change(&mut regs, Register::Ip, 0xe05b);
    assert_eq!((regs.rip_linear, regs.ip), (0xf_e05b, 0xe05b));
}
