//! The targets without a fuzzer: seeds, their mutations, and what once broke one.

use std::{ffi::OsStr, fs, path::Path};

use crate::{TARGETS, Target};

/// Inputs that broke a target once, a folder for each.
const CRASHERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crashers");

/// Gives each input that is kept in `folder` to `run`, with the target it broke. None where there is no such folder.
fn replay(folder: &Path, mut run: impl FnMut(Target, &[u8])) {
    if !folder.exists() {
        return;
    }
    for target in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = target.file_name().and_then(OsStr::to_str).unwrap();
        let known = crate::target(name).unwrap_or_else(|| panic!("crashers of no target: {name}"));
        for file in fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().path()) {
            // Shown if it fails.
            println!("{}", file.display());
            run(known, &fs::read(&file).unwrap());
        }
    }
}

#[test]
fn what_broke_a_target_once_does_not_again() {
    replay(Path::new(CRASHERS), |target, input| (target.run)(input));
}

/// The fuzzer finds an opcode that one of the two does not know when it runs; this is sooner.
#[test]
fn the_decoder_agrees_on_every_opcode() {
    crate::decoder::all_opcodes();
}

#[test]
fn every_input_that_is_kept_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for target in TARGETS {
        fs::create_dir(folder.path().join(target.name)).unwrap();
        for input in ["one", "two"] {
            fs::write(folder.path().join(target.name).join(input), input).unwrap();
            expected.push((target.name, input.as_bytes().to_vec()));
        }
    }
    let mut given = Vec::new();
    replay(folder.path(), |target, input| given.push((target.name, input.to_vec())));
    given.sort();
    expected.sort();
    assert_eq!(given, expected);
    replay(&folder.path().join("absent"), |target, _| panic!("{} has none", target.name));
}

/// xorshift64*, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % n.max(1)
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            match self.below(5) {
                0 => input.truncate(at),
                1 => input.insert(at, u8::try_from(self.below(256)).unwrap()),
                2 => drop(input.splice(at..at, vec![0xff; self.below(16)])),
                _ => {
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
    }
}

#[test]
fn seeds_and_their_mutations() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{} has no seed", target.name);
        let mut random = Random(0x5eed);
        for seed in &seeds {
            (target.run)(seed);
            for _ in 0..2_000 / seeds.len() {
                let mut input = seed.clone();
                random.mutate(&mut input);
                (target.run)(&input);
            }
        }
    }
}
