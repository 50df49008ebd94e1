//! Real mode.

use guests::cpu::{self, Racy};
use guests::report::{fact, holds};
use guests::{low, pic};

guests::labels!(
    real_exceptions,
    real_bp,
    real_int,
    real_of,
    real_ud,
    real_de,
    real_gp,
    real_br,
    real_step,
    real_steps,
    real_steps_end,
    real_shadow,
    real_shadow_cpuid,
    real_shadow_hlt,
    real_shadow_popf,
    real_hlt,
    real_unreal,
    real_round,
);

static HIGH: Racy<[u32; 4]> = Racy::new([0; 4]);

/// Everything.
pub(crate) fn all() {
    exceptions();
    steps();
    timer();
    unreal();
    round();
}

fn exceptions() {
    low::with_vectors(&[0, 3, 4, 5, 6, 13, 0x42], || low::real(real_exceptions()));
    let expected = [
        ("bp", 3, real_bp()),
        ("int", 0x42, real_int()),
        ("of", 4, real_of()),
        ("ud", 6, real_ud()),
        ("de", 0, real_de()),
        ("gp", 13, real_gp()),
        ("br", 5, real_br()),
    ];
    for (n, (name, vector, ip)) in expected.into_iter().enumerate() {
        let r = low::log(n);
        fact(format_args!("real.{name}"), (r.vector, u64::from(r.ip), r.cs), (vector, ip, 0));
    }
    fact("real.exception-count", low::log_len(), expected.len());
}

/// The log of the last routine against a table of vectors and addresses.
pub(crate) fn compare_steps(name: &str, from: u64, to: u64) {
    let expected = (to - from) / 8;
    fact(format_args!("{name}.step-count"), low::log_len() as u64, expected);
    for n in 0..expected {
        let r = low::log(n as usize);
        let want = (cpu::read32(from + 8 * n), cpu::read32(from + 8 * n + 4));
        fact(format_args!("{name}.step-{n}"), (r.vector, r.ip), want);
    }
}

fn steps() {
    low::with_vectors(&[1, 3], || low::real(real_step()));
    compare_steps("real", real_steps(), real_steps_end());
    fact("real.step-pushf-shows-tf", low::result(0) & 0x100, 0x100);
}

fn timer() {
    let masks = pic::unmask_timer();
    low::real(real_hlt());
    // A host that is busy elsewhere adds a tick; it takes none away.
    holds("real.hlt-ticks", (4..=8).contains(&low::result(0)));
    low::with_vectors(&[8], || low::real(real_shadow()));
    pic::restore(masks);
    fact("real.shadow-counts", [0, 1, 2].map(low::result), [1, 1, 2]);
    let at = [real_shadow_cpuid(), real_shadow_hlt(), real_shadow_popf()];
    for (n, name) in ["sti-cpuid", "sti-hlt", "popf"].into_iter().enumerate() {
        let r = low::log(n);
        fact(format_args!("real.shadow-{name}"), (r.vector, u64::from(r.ip)), (8, at[n]));
    }
    fact("real.shadow-all", low::log_len(), 3);
}

fn unreal() {
    HIGH.set([0xcafe_f00d, 0, 0, 0]);
    low::set_arg(0, HIGH.address() as u32);
    low::real(real_unreal());
    for (n, name) in ["read", "read-gs", "read-based", "read-after-exit"].into_iter().enumerate() {
        fact(format_args!("unreal.{name}"), low::result(n as u64), 0xcafe_f00d);
    }
    fact("unreal.write", HIGH.get()[1], 0xfeed_face);
    fact("unreal.apic", low::result(4), cpu::read32(0xfee0_0030));
    fact("unreal.pe-clear", low::result(5) & 0x8000_0001, 0);
}

fn round() {
    low::real(real_round());
    fact("round.push-sizes", [0, 1, 2, 3, 4].map(low::result), [2, 2, 4, 2, 2]);
    holds("round.pe-set", low::result(5) & 1 == 1);
}
