//! What the book promises: its links lead somewhere, and what a person may be told is explained.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
};

use crate::paths;

/// Where pages are, seen from the root.
const PLACES: [&str; 4] = ["", "guests", "docs/src", "docs/decisions"];

/// All pages by path.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    for place in PLACES {
        for entry in fs::read_dir(paths::root().join(place)).expect("a directory of pages") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|it| it == "md") {
                let text = fs::read_to_string(&path).expect("a page");
                pages.insert(path, text);
            }
        }
    }
    pages
}

/// Lines that are no blocks of code.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut kept = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with("    ") {
            kept.push(line);
        }
    }
    kept.join("\n")
}

/// The anchors of a page's headings, as mdbook and GitHub make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for heading in prose(text).lines().filter(|line| line.starts_with('#')) {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        assert!(anchors.insert(anchor), "two headings {heading:?}");
    }
    anchors
}

/// Targets of links that are not elsewhere on the net.
fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(to, _)| to.to_owned()).filter(|to| !to.contains("://")).collect()
}

/// `path` without `..`, by its words: `docs/src/decisions` is a link to another directory.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    plain
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (page, text) in &pages {
        for link in links(text) {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = match file {
                "" => page.clone(),
                file => plain(&page.parent().unwrap_or(page).join(file)),
            };
            // In the book the decisions are a directory below the pages that name them.
            let to = to.canonicalize().unwrap_or(to);
            let there = to.exists()
                && (anchor.is_empty()
                    || pages.get(&to).is_some_and(|text| anchors(text).contains(anchor)));
            let inside = !page.starts_with(paths::root().join("docs/decisions"))
                || to.parent() == page.parent();
            if !there || !inside {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 100, "{seen} links");
}

#[test]
fn all_pages_are_in_the_table() {
    let root = paths::root();
    let table = fs::read_to_string(root.join("docs/src/SUMMARY.md")).expect("the table");
    let listed: BTreeSet<String> = links(&table).into_iter().collect();
    for page in pages().keys() {
        let name = page.file_name().unwrap_or_default().to_string_lossy();
        let link = match page.parent() {
            Some(parent) if parent == root.join("docs/decisions") => format!("decisions/{name}"),
            Some(parent) if parent == root.join("docs/src") => name.into_owned(),
            _ => continue,
        };
        assert!(link == "SUMMARY.md" || listed.contains(&link), "{link} is not in the table");
    }
}

/// Where a person is spoken to: what stands before a message, and behind it.
const MESSAGES: [(&str, &str, &str); 19] = [
    ("crates/hv/src/apic.rs", "machine.log(", ");"),
    ("crates/hv/src/counter.rs", "machine.log(", "))"),
    ("crates/hv/src/debug.rs", "machine.log(", ");"),
    ("crates/hv/src/probe.rs", "machine.log(", ");"),
    ("crates/hv/src/run.rs", "machine.log(", ");"),
    ("crates/resident/src/cpu.rs", "impl fmt::Display", "\n}"),
    ("crates/setup/src/cpu.rs", "impl fmt::Display", "\n}"),
    ("crates/setup/src/error.rs", "impl fmt::Display", "\n}"),
    ("crates/setup/src/next.S", ".asciz ", "\n"),
    ("crates/firmware/src/e820.rs", "impl fmt::Display", "\n}"),
    ("crates/firmware/src/error.rs", "impl fmt::Display", "\n}"),
    ("crates/firmware/src/multiboot/mod.rs", "impl fmt::Display", "\n}"),
    ("crates/boot-bios/src/entry.S", ".asciz ", "\n"),
    ("crates/boot-bios/src/main.rs", ".fatal(&", ")"),
    ("crates/boot-bios/src/main.rs", "console.line(", "),"),
    ("crates/boot-bios/src/main.rs", "memory,\n            &", ");"),
    ("xtask/src/image.rs", "echo '", "'\\n"),
    ("dist/grub.d/41_ramooflax", "grub_warn", "\n"),
    ("dist/ipxe/ramooflax.ipxe", "echo", "\n"),
];

/// The strings in a piece of source; all of it where there are none.
fn strings(source: &str) -> Vec<String> {
    let joined = source.split("\\\n").map(str::trim_start).collect::<Vec<_>>().concat();
    match joined.contains('"') {
        true => joined.split('"').skip(1).step_by(2).map(str::to_owned).collect(),
        false => vec![joined],
    }
}

/// What is always the same in the first sentence of `message`, in pieces.
fn pieces(message: &str) -> Vec<String> {
    let ends = [". ", ".\\r", ": ", "; ", ", or "].iter().filter_map(|end| message.find(end)).min();
    let sentence = &message[..ends.unwrap_or(message.len())];
    let mut pieces = vec![String::new()];
    for word in sentence.split_whitespace() {
        // A value: {of Rust} or $OF/the/shell.
        match word.contains(['{', '$']) {
            true => pieces.push(String::new()),
            false => pieces.iter_mut().next_back().expect("one").extend([word, " "]),
        }
    }
    let words = pieces.iter().map(|piece| piece.trim().trim_end_matches('.'));
    words.filter(|piece| piece.contains(' ')).map(str::to_owned).collect()
}

#[test]
fn messages_are_explained() {
    let root = paths::root();
    let page = fs::read_to_string(root.join("docs/src/troubleshooting.md")).expect("the page");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut missing = Vec::new();
    for (file, before, behind) in MESSAGES {
        let source = fs::read_to_string(root.join(file)).expect("a source");
        let messages = source.split(before).skip(1).filter_map(|rest| rest.split(behind).next());
        let pieces: Vec<_> =
            messages.flat_map(strings).flat_map(|message| pieces(&message)).collect();
        assert!(!pieces.is_empty(), "{file} says nothing behind {before:?}");
        let new = pieces.into_iter().filter(|piece| !page.contains(piece));
        missing.extend(new.map(|piece| format!("{file}: {piece}")));
    }
    assert!(missing.is_empty(), "not in troubleshooting.md: {missing:#?}");
}
