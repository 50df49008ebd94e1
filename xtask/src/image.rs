//! `cargo xtask image`: a disk for a USB stick that starts Ramooflax and then the machine's own disk, with no
//! key pressed.
//!
//! Nothing is written to it, ever: its one menu starts the loader each time, and the loader notices
//! that the VMM runs already.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use firmware::options::{self, OPTIONS};

use crate::{
    build,
    disk::{self, Contents},
};

/// What GRUB's shell would take apart a command at (GNU GRUB Manual, "Quoting").
const ODD: [char; 14] = ['\'', '"', '$', '\\', ';', '\n', '{', '}', '#', '|', '&', '<', '>', '\r'];

/// Options of `image`.
#[derive(Args, Debug)]
pub(crate) struct ImageArgs {
    /// The file to be written; one that is there is replaced.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Ramooflax's options.
    #[arg(long, default_value = "link=uart:0x3f8,115200", long_help = long_help())]
    options: String,
}

/// The list of options as people read it.
fn long_help() -> String {
    let list = OPTIONS.iter().map(|(name, meaning)| format!("\n  {name}\n      {meaning}"));
    format!("Ramooflax's options, one string:{}\n", list.collect::<String>())
}

/// Makes the image and says what to do with it.
///
/// # Errors
/// When the options are wrong, the file cannot be written or is none.
pub(crate) fn image(args: &ImageArgs) -> Result<()> {
    let file = &args.output;
    println!("building Ramooflax and making the disk");
    write(file, &args.options)?;
    println!(
        "{0}: write it to a USB stick, of which everything else is lost: \
         dd if={0} of=/dev/THE-STICK bs=1M conv=fsync",
        file.display()
    );
    Ok(())
}

/// Writes the image to `file` with these options.
///
/// # Errors
/// As [`image`].
pub(crate) fn write(file: &Path, options: &str) -> Result<()> {
    plain(options)?;
    if let Err(error) = options::parse(options.as_bytes()) {
        bail!("{error}; the options are:\n{}", long_help());
    }
    if let Ok(there) = fs::metadata(file) {
        ensure!(
            there.is_file(),
            "{} is no regular file. Expected: a file to be made or replaced. Write the image to a \
             file, then that to the stick by dd.",
            file.display()
        );
    }
    let dir = match file.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let vmm = build::vmm()?;
    let files = vec![(vmm.loader, "ramooflax".to_owned()), (vmm.stripped, "resident".to_owned())];
    let new = tempfile::Builder::new()
        .prefix(".ramooflax-")
        .tempfile_in(dir)
        .with_context(|| format!("{} cannot be written", dir.display()))?;
    disk::build(new.path(), &Contents { menu: menu(options), files })?;
    File::open(new.path())?.sync_all()?;
    // Whoever reads the file has the old image or the new one, whole.
    new.persist(file).with_context(|| format!("{}", file.display()))?;
    readable(file)
}

/// Whether GRUB's shell hands the options over as they are.
fn plain(options: &str) -> Result<()> {
    if let Some(odd) = options.chars().find(|c| ODD.contains(c)) {
        bail!(
            "{odd:?} in the options {options:?}. Expected: none of {}, which GRUB's shell takes for its own. \
             Write the options as they are listed, without quotes around them.",
            ODD.iter().map(|c| c.escape_debug().to_string()).collect::<Vec<_>>().join(" ")
        );
    }
    Ok(())
}

/// As if it had been made in the usual way: temporary files are their owner's alone.
fn readable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("{}", file.display()))
}

/// GRUB's script. What follows `boot` runs when it could not load the files.
pub(crate) fn menu(options: &str) -> String {
    format!(
        "set pager=0\n\
         multiboot2 /boot/ramooflax {options}\n\
         module2 /boot/resident\n\
         boot\n\
         echo 'Ramooflax was not loaded: the files on this disk are damaged. Write it anew.'\n\
         echo 'The next disk boots in 10 seconds.'\n\
         sleep 10\n\
         drivemap -s hd0 hd1\n\
         set root=(hd1)\n\
         chainloader +1\n\
         boot\n\
         exit\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_every_option() {
        let help = long_help();
        assert!(
            OPTIONS.iter().all(|(name, meaning)| help.contains(name) && help.contains(meaning))
        );
    }

    #[test]
    fn wrong_options_and_places_leave_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("stick.img");
        fs::write(&file, "before").unwrap();
        let error = write(&file, "boot=second").unwrap_err().to_string();
        assert!(error.contains("option `boot=second`") && error.contains("boot=int19|next|"));
        for odd in ["wait;", "wait&", "wait|", "wait<", "wait>", "#wait", "wait\n"] {
            let error = write(&file, odd).unwrap_err().to_string();
            assert!(error.contains("in the options"), "{error}");
        }
        let error = plain("wait | halt").unwrap_err().to_string();
        assert!(error.contains("'|' in the options \"wait | halt\"") && error.contains("Expected"));
        assert!(plain("link=uart:0x3f8,115200 boot=disk:0x81 wait").is_ok());
        assert_eq!(fs::read(&file).unwrap(), b"before");
        assert!(write(dir.path(), "").unwrap_err().to_string().contains("no regular file"));
        assert!(write(Path::new("/dev/null"), "").unwrap_err().to_string().contains("regular"));
        assert!(write(&dir.path().join("none/stick.img"), "").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
