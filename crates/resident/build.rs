//! The image's entry point; all else is the target's default, a static PIE.
fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=--entry=resident_entry");
        // One relocation section of relative entries, and page-aligned segments of one protection each.
        println!("cargo:rustc-link-arg-bins=-zseparate-code");
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
    }
}
