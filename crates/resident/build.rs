//! The image's entry point; all else is the target's default, a static PIE.
fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=--entry=resident_entry");
        // Page-aligned segments of one protection each.
        println!("cargo:rustc-link-arg-bins=-zseparate-code");
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
        // The relocations take 8 bytes for many, not 24 for each, and stay in memory with the rest. Setup applies them and
        // protects the segments; nobody protects what it has relocated by halves of pages.
        println!("cargo:rustc-link-arg-bins=--pack-dyn-relocs=relr");
        println!("cargo:rustc-link-arg-bins=-znorelro");
    }
}
