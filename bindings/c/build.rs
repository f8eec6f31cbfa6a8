//! Link arguments of the shared library: cargo sets none of them (T22).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // Must agree with ACKBUS_ABI_VERSION; the test `library.rs` compares them.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libackbus.so.0");
        // T9: threads and thread-local destructors would outlive the code.
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
        println!("cargo::rustc-cdylib-link-arg=-Wl,-z,defs");
    }
}
