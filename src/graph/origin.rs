//! Where the code of a function comes from, by its file.
//!
//! Nothing but the path is asked. Packages in a folder of any name (`pip install --target DIR`) are not told from the
//! program's own code: a folder `*.dist-info` beside them would tell, but only to who may look into the program's own
//! root, and a look at files can hang; names such as `vendor` are those of programs' own packages as well. So
//! they count as the program, which costs no more than that functions of theirs need a line in `analysis.stuck.idle`,
//! where the configuration says so.

/// What the paths of Python's own library have in them: where a prefix has it, in a tree of its sources, or when it is
/// frozen.
const PYTHON: [&str; 3] = ["/lib/python3.", "/Lib/asyncio/", "<frozen "];
/// What those of installed packages have in them: the module `site` of CPython, Debian's, PEP 582 (pdm), and wheels that
/// are unpacked each into a folder of its own (PEX).
const LIBRARIES: [&str; 4] = [
    "/site-packages/",
    "/dist-packages/",
    "/__pypackages__/",
    ".whl/",
];

/// Whether a file is in an installed package.
pub fn is_installed(file: &str) -> bool {
    LIBRARIES.iter().any(|part| file.contains(part))
}

/// Whether a file is in Python's own library, below which packages are installed.
pub fn is_python(file: &str) -> bool {
    PYTHON.iter().any(|part| file.contains(part)) && !is_installed(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_by_its_path() {
        for (file, of_package, of_python) in [
            ("/usr/lib/python3.14/asyncio/locks.py", false, true),
            ("/usr/lib/python3/dist-packages/aiohttp/web.py", true, false),
            (
                "/v/lib/python3.14/site-packages/aiohttp/web.py",
                true,
                false,
            ),
            ("/app/__pypackages__/3.14/lib/aiohttp/web.py", true, false),
            (
                "/pex/installed_wheels/0/ab/aiohttp-3.9-py3-none-any.whl/aiohttp/web.py",
                true,
                false,
            ),
            ("<frozen runpy>", false, true),
            ("/opt/app/vendor/web.py", false, false),
            ("/srv/app.py", false, false),
        ] {
            let told = (is_installed(file), is_python(file));
            assert_eq!(told, (of_package, of_python), "{file}");
        }
    }
}
