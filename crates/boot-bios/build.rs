//! Links the loader at its fixed address: GRUB, iPXE and QEMU load by the multiboot headers'
//! addresses, so the image cannot be moved.

fn main() {
    let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=loader.ld");
    println!("cargo:rustc-link-arg-bins=-T{dir}/loader.ld");
    println!("cargo:rustc-link-arg-bins=-no-pie");
}
