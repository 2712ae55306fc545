//! The page's files, embedded.

/// The content that the page may load and run: its own files, and pictures that it draws itself.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
                                 connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($path:literal, $kind:expr;)*) => {
        /// Path in a URL, media type, text.
        const FILES: &[(&str, &str, &str)] = &[
            $((concat!("/", $path), $kind, include_str!(concat!("../../../web/", $path))),)*
        ];
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

files! {
    "index.html", HTML;
    "page.css", CSS;
    "icon.svg", "image/svg+xml";
    "js/bars.js", SCRIPT;
    "js/chart-paint.js", SCRIPT;
    "js/charts.js", SCRIPT;
    "js/command.js", SCRIPT;
    "js/controls.js", SCRIPT;
    "js/curves.js", SCRIPT;
    "js/dom.js", SCRIPT;
    "js/example.js", SCRIPT;
    "js/files.js", SCRIPT;
    "js/format.js", SCRIPT;
    "js/frame.js", SCRIPT;
    "js/history.js", SCRIPT;
    "js/main.js", SCRIPT;
    "js/network.js", SCRIPT;
    "js/over-time.js", SCRIPT;
    "js/plates.js", SCRIPT;
    "js/source.js", SCRIPT;
    "js/standing.js", SCRIPT;
    "js/statistics.js", SCRIPT;
    "js/store.js", SCRIPT;
    "js/tests.js", SCRIPT;
    "js/try.js", SCRIPT;
}

/// A file's media type and text.
pub(super) fn find(path: &str) -> Option<(&'static str, &'static str)> {
    let path = if path == "/" { "/index.html" } else { path };
    FILES.iter().find(|(known, ..)| *known == path).map(|(_, kind, text)| (*kind, *text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn names(folder: &Path, before: &str) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("the page's folder").map(|entry| entry.expect("an entry"));
        let name = |entry: &std::fs::DirEntry| format!("{before}/{}", entry.file_name().to_string_lossy());
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        entries.for_each(|entry| if entry.path().is_dir() { folders.push(entry) } else { files.push(name(&entry)) });
        folders.iter().for_each(|entry| files.extend(names(&entry.path(), &name(entry))));
        files
    }

    #[test]
    fn every_file_of_the_page_is_embedded() {
        let mut there = names(&Path::new(env!("CARGO_MANIFEST_DIR")).join("web"), "");
        let mut known: Vec<String> = FILES.iter().map(|(path, ..)| path.to_string()).collect();
        there.sort();
        known.sort();
        assert_eq!(there, known);
    }

    #[test]
    fn only_these_files_are_there() {
        assert_eq!(find("/"), find("/index.html"));
        assert!(find("/").is_some_and(|(kind, _)| kind == HTML));
        for path in ["/../Cargo.toml", "/js/", "/js/../page.css", "//index.html", "/etc/passwd", ""] {
            assert_eq!(find(path), None, "{path}");
        }
    }
}
