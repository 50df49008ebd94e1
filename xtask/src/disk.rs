//! Disk images made without a loop device, root or a keystroke: an MBR with GRUB's boot sector, its
//! core image in the gap behind it, and one FAT partition filled by mtools.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::sh;

const SECTOR: u64 = 512;
/// First sector of the partition.
const PARTITION: u64 = 2048;
/// The same in bytes.
pub(crate) const PARTITION_AT: u64 = PARTITION * SECTOR;
/// Type of a FAT16 partition addressed by LBA.
const FAT16: u8 = 0x0e;
/// Type of a Linux file system's partition.
pub(crate) const LINUX: u8 = 0x83;
const MIB: u64 = 1 << 20;
/// Number of the file system, always the same: two images of the same files are the same.
const SERIAL: &str = "524d4f46";
/// Where GRUB's prebuilt modules are.
const GRUB: &str = "/usr/lib/grub/i386-pc";
/// What the core image must hold to read its menu and start anything a menu of ours asks for.
const MODULES: &str = "biosdisk part_msdos fat ext2 normal configfile loadenv test echo serial terminal \
                       linux linux16 gzio multiboot multiboot2 chain drivemap boot halt \
                       reboot sleep minicmd search search_fs_uuid";

/// What goes onto a disk: paths on the disk, and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// GRUB's `grub.cfg`.
    pub(crate) menu: String,
    /// Files of this computer and where they go, all in `/boot`.
    pub(crate) files: Vec<(PathBuf, String)>,
}

/// Writes a bootable disk to `image`.
///
/// # Errors
/// When a tool is missing or fails.
pub(crate) fn build(image: &Path, contents: &Contents) -> Result<()> {
    let mut bytes = 0;
    for (file, _) in &contents.files {
        let size = fs::metadata(file).with_context(|| format!("{}", file.display()))?.len();
        bytes += size.next_multiple_of(64 << 10);
    }
    // FAT16 wants at least 4085 clusters, and GRUB its environment: never below 32 MiB.
    let partition = (bytes + 8 * MIB).max(32 * MIB).next_multiple_of(MIB);
    empty(image, partition, FAT16)?;
    let at = format!("{}@@{}", image.display(), PARTITION * SECTOR);
    let sectors = (partition / SECTOR).to_string();
    let hidden = PARTITION.to_string();
    let shape = ["-T", &sectors, "-H", &hidden, "-h", "255", "-s", "63", "-N", SERIAL, "::"];
    mtools("mformat", &[&["-i", &at], &shape[..]].concat())?;
    mtools("mmd", &["-i", &at, "::/boot", "::/boot/grub"])?;
    for (file, name) in &contents.files {
        mtools("mcopy", &["-i", &at, &file.display().to_string(), &format!("::/boot/{name}")])?;
    }
    let mut put = Command::new("mcopy");
    put.args(["-i", &at, "-", "::/boot/grub/grub.cfg"]);
    sh::feed(&mut put, contents.menu.as_bytes())?;
    let mut put = Command::new("mcopy");
    put.args(["-i", &at, "-", "::/boot/grub/grubenv"]);
    sh::feed(&mut put, &environment("pass=1"))
}

/// Makes a disk with GRUB and one partition of `bytes`, which is empty yet, of type `kind`.
///
/// # Errors
/// As [`build`].
pub(crate) fn empty(image: &Path, bytes: u64, kind: u8) -> Result<()> {
    let disk = File::create(image).with_context(|| format!("{}", image.display()))?;
    disk.set_len(PARTITION_AT + bytes)?;
    disk.write_all_at(&boot_sector(bytes / SECTOR, kind)?, 0)?;
    disk.write_all_at(&core_image()?, SECTOR).with_context(|| format!("{}", image.display()))
}

fn mtools(tool: &str, args: &[&str]) -> Result<()> {
    // mtools would refuse an image whose geometry it has not been told.
    sh::output(Command::new(tool).args(args).env("MTOOLS_SKIP_CHECK", "1")).map(drop)
}

/// GRUB's boot sector with a partition table. It loads the core image from sector 1 as it is.
fn boot_sector(sectors: u64, kind: u8) -> Result<Vec<u8>> {
    let mut mbr = fs::read(Path::new(GRUB).join("boot.img")).context("GRUB's boot.img")?;
    if mbr.len() != 512 {
        bail!("{GRUB}/boot.img has {} bytes, not 512", mbr.len());
    }
    // Active; the CHS fields say "use LBA".
    let mut entry = vec![0x80, 0xFE, 0xFF, 0xFF, kind, 0xFE, 0xFF, 0xFF];
    entry.extend(u32::try_from(PARTITION)?.to_le_bytes());
    entry.extend(u32::try_from(sectors)?.to_le_bytes());
    mbr[446..510].fill(0);
    mbr[446..462].copy_from_slice(&entry);
    mbr[510..].copy_from_slice(&[0x55, 0xAA]);
    Ok(mbr)
}

/// GRUB's core image; its list of blocks already says "contiguous, from sector 2".
fn core_image() -> Result<Vec<u8>> {
    let mut out = tempfile::NamedTempFile::new()?;
    // No drive in the prefix: the one it was booted from, whatever its number then is.
    sh::output(
        Command::new("grub-mkimage")
            .args(["-O", "i386-pc", "-d", GRUB, "-p", "(,msdos1)/boot/grub", "-o"])
            .arg(out.path())
            .args(MODULES.split_whitespace()),
    )?;
    out.flush()?;
    let core = fs::read(out.path())?;
    if core.len() as u64 > (PARTITION - 1) * SECTOR {
        bail!("GRUB's core image does not fit before the partition: {} bytes", core.len());
    }
    Ok(core)
}

/// A GRUB environment block: 1024 bytes that `save_env` overwrites in place.
fn environment(variable: &str) -> Vec<u8> {
    let mut block = format!("# GRUB Environment Block\n{variable}\n").into_bytes();
    block.resize(1024, b'#');
    block
}
