//! The figures the project lives by: a change that misses a target does not pass.

use super::Test;
use crate::bench;

pub(super) fn tests() -> Vec<Test> {
    let figure = |name: &str, figure: &'static str| {
        Test::new(&format!("bench.{name}"), 600, move || bench::judge(figure))
    };
    vec![
        figure("image", "image.size"),
        figure("cpuid", "cpuid.cost"),
        figure("syscall", "syscall.cost").long(),
        figure("fault", "fault.cost").long(),
        figure("idle", "idle.exits").long(),
        figure("load", "load.exits").long(),
        figure("stop", "stop.latency").long(),
        figure("memory", "mem.rate").long(),
        figure("exits", "boot.exits").long(),
        figure("instructions", "boot.instructions").long(),
        figure("ram", "ram.taken").long(),
    ]
}
