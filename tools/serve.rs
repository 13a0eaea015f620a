//! A static file server for trying the site on this machine: standard library only, compiled by build.sh with plain
//! `rustc`, so that serving needs nothing that building did not. Not for the internet.
//!
//! usage: serve FOLDER [PORT]     prints `http://localhost:PORT/`, then a line a request; PORT 0 takes a free one

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};

/// The page's own policy, sent for workers too: a `<meta>` policy does not reach them.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self' blob: data:; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (folder, port) = match arguments.as_slice() {
        [folder] => (folder, 8000),
        [folder, port] => (folder, port.parse().unwrap_or_else(|_| stop(&format!("expected a port, found {port}")))),
        _ => stop("usage: serve FOLDER [PORT]"),
    };
    let root = Path::new(folder).canonicalize().unwrap_or_else(|error| stop(&format!("{folder}: {error}")));
    // This machine alone may connect.
    let listener = TcpListener::bind(("127.0.0.1", port))
        .unwrap_or_else(|error| stop(&format!("port {port}: {error}; choose another with --port")));
    let port = listener.local_addr().map_or(port, |address| address.port());
    println!("http://localhost:{port}/");
    for stream in listener.incoming().flatten() {
        let root = root.clone();
        std::thread::spawn(move || {
            // A browser that hangs up early is no error of ours.
            let _ = answer(stream, &root);
        });
    }
}

fn stop(message: &str) -> ! {
    eprintln!("serve: {message}");
    std::process::exit(2)
}

fn answer(mut stream: TcpStream, root: &Path) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?.take(64 * 1024));
    reader.read_line(&mut line)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    println!("{}", line.trim_end());
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    if !matches!(method, "GET" | "HEAD") {
        return respond(&mut stream, "405 Method Not Allowed", "text/plain", b"", true);
    }
    match find(root, target).and_then(|path| Some((std::fs::read(&path).ok()?, path))) {
        Some((body, path)) => respond(&mut stream, "200 OK", media_type(&path), &body, method == "GET"),
        None => respond(&mut stream, "404 Not Found", "text/plain", b"not found\n", method == "GET"),
    }
}

/// The file that a request target names, or nothing where it would lead out of `root`.
fn find(root: &Path, target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.trim_start_matches('/');
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    let file = root.join(path);
    let file = if file.is_dir() { file.join("index.html") } else { file };
    (plain && file.canonicalize().ok()?.starts_with(root)).then_some(file)
}

fn media_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "webmanifest") => "application/json",
        Some("wasm") => "application/wasm",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        _ => "application/octet-stream",
    }
}

fn respond(stream: &mut TcpStream, status: &str, media: &str, body: &[u8], with_body: bool) -> std::io::Result<()> {
    let size_bytes = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {media}\r\nContent-Length: {size_bytes}\r\nCache-Control: no-cache\r\n\
         Content-Security-Policy: {POLICY}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )?;
    if with_body {
        stream.write_all(body)?;
    }
    stream.flush()
}
