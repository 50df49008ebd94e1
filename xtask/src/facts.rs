//! What the guests print for us to read, understood.

use std::{collections::BTreeMap, ops::Range};

use anyhow::{Context, Result};

/// The kernel symbols that the userland of a Debian guest printed, by name.
pub(crate) type Symbols = BTreeMap<String, u64>;

/// Reads the lines `SYMBOL address type name`.
pub(crate) fn symbols(console: &str) -> Symbols {
    let lines = console.lines().filter_map(|line| line.strip_prefix("SYMBOL "));
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((words.nth(1)?.to_owned(), address))
        })
        .collect()
}

/// One of `symbols`.
///
/// # Errors
/// When the guest did not print it.
pub(crate) fn symbol(symbols: &Symbols, name: &str) -> Result<u64> {
    symbols.get(name).copied().with_context(|| format!("the kernel named no symbol {name}"))
}

/// Reads the lines `IOMEM first-last : name` that are not inside another: first byte to the one
/// after the last, and the name.
pub(crate) fn iomem(console: &str) -> Vec<(Range<u64>, String)> {
    let lines = console.lines().filter_map(|line| line.strip_prefix("IOMEM "));
    lines
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| {
            let (range, name) = line.split_once(" : ")?;
            let (first, last) = range.split_once('-')?;
            let first = u64::from_str_radix(first, 16).ok()?;
            let last = u64::from_str_radix(last, 16).ok()?;
            Some((first..last.checked_add(1)?, name.to_owned()))
        })
        .collect()
}

/// Bytes of usable RAM in the map of physical memory.
///
/// # Errors
/// When there is no such map, as when the guest was not asked to print it.
pub(crate) fn ram(console: &str) -> Result<u64> {
    let map = iomem(console);
    let ram = map.iter().filter(|(_, name)| name == "System RAM");
    let sum = ram.map(|(range, _)| range.end - range.start).sum();
    (sum > 0).then_some(sum).context("the kernel named no System RAM")
}

/// The parts of `ranges` that no range of `without` covers, in ascending order; both ascend.
pub(crate) fn missing(ranges: &[Range<u64>], without: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    for range in ranges {
        let mut from = range.start;
        for other in without.iter().filter(|o| o.start < range.end && o.end > range.start) {
            if from < other.start {
                left.push(from..other.start);
            }
            from = from.max(other.end);
        }
        if from < range.end {
            left.push(from..range.end);
        }
    }
    left
}

/// The lines of a test guest that must be the same with and without the VMM.
pub(crate) fn values(console: &str) -> Vec<String> {
    console.lines().filter(|line| line.contains(": VALUE ")).map(str::to_owned).collect()
}

/// The number after `name` and a space, on a line of its own.
///
/// # Errors
/// When there is no such line.
pub(crate) fn number(console: &str, name: &str) -> Result<u64> {
    let lines = console.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let mut numbers = lines.filter_map(|rest| rest.trim().parse().ok());
    numbers.next().with_context(|| format!("no line `{name} NUMBER` in:\n{console}"))
}

/// The lines of `monitor counters`, a name and a number each, but the sum and what is 0.
pub(crate) fn counters(text: &str) -> Vec<(String, u64)> {
    let counter = |line: &str| {
        let (name, number) = line.trim().rsplit_once(char::is_whitespace)?;
        let (name, number) = (name.trim().trim_end_matches(':'), number.parse().ok()?);
        (!name.is_empty() && number > 0 && name != "total").then(|| (name.to_owned(), number))
    };
    text.lines().filter_map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "junk\nIOMEM 00001000-0009fbff : System RAM\n\
        IOMEM 00100000-001fffff : System RAM\nIOMEM   00180000-0018ffff : System RAM\n\
        IOMEM 00200000-003fffff : Reserved\n\
        SYMBOL ffffffff9f91ffe0 D linux_banner\nSYMBOL 1fb80 A current_task\ncpuid.ticks 42\n";

    #[test]
    fn nested_ranges_do_not_count_twice() {
        assert_eq!(ram(CONSOLE).unwrap(), 0x9ec00 + 0x10_0000);
        assert_eq!(iomem(CONSOLE)[2], (0x20_0000..0x40_0000, "Reserved".to_owned()));
        assert!(ram("IOMEM nonsense").is_err());
    }

    #[test]
    fn what_is_missing() {
        let (ranges, others) = ([0..10, 20..30], [2..4, 25..26]);
        assert_eq!(missing(&ranges, &others), [0..2, 4..10, 20..25, 26..30]);
        assert!(missing(&ranges, &ranges).is_empty());
        assert_eq!(missing(&ranges, &[0..6, 9..40]).first(), Some(&(6..9)));
    }

    #[test]
    fn symbols_are_found_by_name() {
        let symbols = symbols(CONSOLE);
        assert_eq!(symbol(&symbols, "linux_banner").unwrap(), 0xffff_ffff_9f91_ffe0);
        assert_eq!(symbol(&symbols, "current_task").unwrap(), 0x1fb80);
        assert!(symbol(&symbols, "schedule").is_err());
    }

    #[test]
    fn counters_are_names_and_numbers() {
        let counters = counters("exception  12\nhlt: 3\nmsr 0\ntotal 15\n\nnonsense\n");
        assert_eq!(counters, [("exception".to_owned(), 12), ("hlt".to_owned(), 3)]);
    }

    #[test]
    fn a_number_needs_its_whole_name() {
        assert_eq!(number(CONSOLE, "cpuid.ticks").unwrap(), 42);
        assert!(number(CONSOLE, "cpuid").is_err());
    }
}
