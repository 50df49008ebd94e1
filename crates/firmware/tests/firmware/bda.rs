use crate::ram::Ram;
use firmware::bda::{base_memory_kib, ebda, hide_uart, set_base_memory_kib};

fn bda(ports: [u16; 4], equipment: u16) -> Ram {
    let mut page = vec![0; 0x100];
    for (slot, port) in page.chunks_exact_mut(2).zip(ports) {
        slot.copy_from_slice(&port.to_le_bytes());
    }
    page[0xe..0x10].copy_from_slice(&0x9fc0u16.to_le_bytes());
    page[0x10..0x12].copy_from_slice(&equipment.to_le_bytes());
    page[0x13..0x15].copy_from_slice(&639u16.to_le_bytes());
    Ram::default().put(0x400, &page)
}

#[test]
fn the_first_of_two_uarts_vanishes() {
    let mut mem = bda([0x3f8, 0x2f8, 0, 0], 0xf5ff);
    assert!(hide_uart(&mut mem, 0x3f8));
    assert_eq!([0x400, 0x402, 0x404, 0x406].map(|at| mem.u16(at)), [0x2f8, 0, 0, 0]);
    assert_eq!(mem.u16(0x410), 0xf3ff);
    assert!(!hide_uart(&mut mem, 0x3f8));
    assert!(hide_uart(&mut mem, 0x2f8));
    assert_eq!((mem.u16(0x400), mem.u16(0x410)), (0, 0xf1ff));
}

#[test]
fn a_uart_the_bios_did_not_find_changes_nothing() {
    let mut mem = bda([0x3f8, 0x2f8, 0x3e8, 0x2e8], 0x0800);
    assert!(!hide_uart(&mut mem, 0x1234));
    assert!(!hide_uart(&mut mem, 0));
    assert_eq!(mem.stored, 0);
    assert!(hide_uart(&mut mem, 0x3e8));
    assert_eq!([0x400, 0x402, 0x404, 0x406].map(|at| mem.u16(at)), [0x3f8, 0x2f8, 0x2e8, 0]);
    assert_eq!(mem.u16(0x410), 0x0600);
}

#[test]
fn conventional_memory_and_ebda() {
    let mut mem = bda([0; 4], 0);
    assert_eq!(base_memory_kib(&mem), Some(639));
    assert!(set_base_memory_kib(&mut mem, 631));
    assert_eq!(base_memory_kib(&mem), Some(631));
    assert_eq!(ebda(&mem), Some(0x9_fc00));
    assert_eq!(ebda(&Ram::default().put(0x400, &[0xff; 0x100])), None);
    assert_eq!(ebda(&Ram::default().put(0x400, &[0; 0x100])), None);

    let mut nothing = Ram::default();
    assert_eq!((base_memory_kib(&nothing), ebda(&nothing)), (None, None));
    assert!(!set_base_memory_kib(&mut nothing, 1) && !hide_uart(&mut nothing, 0x3f8));
}
