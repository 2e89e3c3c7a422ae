//! How the daemon is linked: smaller by a tenth, and the same program.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let of_target = |name: &str| std::env::var(name).unwrap_or_default();
    if of_target("CARGO_CFG_TARGET_OS") != "linux" || of_target("CARGO_CFG_TARGET_ENV") != "gnu" {
        return;
    }
    for flag in [
        // Addresses to be relocated as a bitmap: DT_RELR, glibc 2.36. An older linker ignores it.
        "-Wl,-z,pack-relative-relocs",
        // An index for unwinding: the daemon aborts where it panics, and has no symbols to name.
        "-Wl,--no-eh-frame-hdr",
    ] {
        println!("cargo::rustc-link-arg-bin=mastiffd={flag}");
    }
    println!(
        "cargo::rustc-link-arg-bin=mastiffd=-Wl,-T,{}/mastiffd.ld",
        env!("CARGO_MANIFEST_DIR")
    );
}
