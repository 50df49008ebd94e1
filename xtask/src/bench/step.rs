//! Steps a second.

use anyhow::{Result, ensure};
use testing::Rsp;

use super::{BenchArgs, rivals::Rivals, rows::Row, stop};

/// Steps in a turn.
const STEPS: u64 = 300;

/// Client round trips of one step each, against the emulator's own stub, which runs natively: steps alone,
/// and as gdb takes them to show where the guest is (our stop reply says it, the emulator's stub is asked).
pub(super) fn rate(args: &BenchArgs) -> Result<Vec<Row>> {
    let mut rivals = Rivals::start(args)?;
    let (ours, theirs) = rivals.compare(&mut alone, &mut alone)?;
    let row = Row::new("step.rate", "", "cloud", ours, "steps/s").against(theirs);
    let mut rows = vec![row.at_least(theirs * 0.5)];
    // From now on stop replies carry registers.
    rivals.ours.turn(&mut |rsp| rsp.request(b"p10").map(|_| 0))?;
    let (ours, theirs) = rivals.compare(&mut told, &mut asked)?;
    rows.push(Row::new("step.rate", "registers", "cloud", ours, "steps/s").against(theirs));
    let cost = stop::step(args)? as f64;
    rows.push(Row::new("step.rate", "cost", "cloud", cost, "instructions"));
    Ok(rows)
}

fn step(rsp: &mut Rsp, how: &[u8]) -> Result<Vec<u8>> {
    let said = rsp.request(how)?;
    let done = said.starts_with(b"T05") || said == b"S05";
    ensure!(done, "a step gave {:?}", String::from_utf8_lossy(&said));
    Ok(said)
}

fn alone(rsp: &mut Rsp) -> Result<u64> {
    for _ in 0..STEPS {
        step(rsp, b"s")?;
    }
    Ok(STEPS)
}

/// As gdb says it.
const STEP: &[u8] = b"vCont;s:1;c";

fn told(rsp: &mut Rsp) -> Result<u64> {
    for _ in 0..STEPS {
        // RIP is register 10h.
        let said = step(rsp, STEP)?;
        let carried = said.windows(4).any(|part| part == b";10:");
        ensure!(carried, "no RIP in {:?}", String::from_utf8_lossy(&said));
    }
    Ok(STEPS)
}

fn asked(rsp: &mut Rsp) -> Result<u64> {
    for _ in 0..STEPS {
        step(rsp, STEP)?;
        let registers = rsp.request(b"g")?;
        ensure!(registers.len() >= 17 * 16, "only {} digits of registers", registers.len());
    }
    Ok(STEPS)
}
