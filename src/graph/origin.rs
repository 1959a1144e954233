//! Where the code of a function comes from, by its file.

/// What the paths of Python's own library have in them: where a prefix has it, in a tree of its sources, or when it is
/// frozen.
const PYTHON: [&str; 3] = ["/lib/python3.", "/Lib/asyncio/", "<frozen "];
/// What those of installed packages have in them (the module `site` of CPython, and Debian's).
const LIBRARIES: [&str; 2] = ["/site-packages/", "/dist-packages/"];

/// Whether a file is in an installed package.
pub fn is_installed(file: &str) -> bool {
    LIBRARIES.iter().any(|part| file.contains(part))
}

/// Whether a file is in Python's own library, below which packages are installed.
pub fn is_python(file: &str) -> bool {
    PYTHON.iter().any(|part| file.contains(part)) && !is_installed(file)
}
